//! A mailbox of a simulated backend: messages, mod-sequences, and what has vanished.

use std::fmt::Write as _;
use std::rc::Rc;

use crate::flags::Flags;
use crate::quotas::LIMIT;

/// UIDVALIDITY of every mailbox; moving it to another server does not change it.
pub const VALIDITY: u32 = 1;

/// A mailbox. It moves from backend to backend as a whole.
#[derive(Debug)]
pub struct Mailbox {
    /// In the order of their UIDs.
    messages: Vec<Message>,
    next_uid: u32,
    modseq: u64,
    /// UIDs that were expunged, and when.
    vanished: Vec<(u32, u64)>,
    /// The limit of the quota root that it is, if it is one.
    pub limit: u64,
    /// Whether it may be opened.
    pub door: Door,
}

/// Whether a mailbox may be opened: not while its server is about to give it away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Door {
    /// It may.
    #[default]
    Open,
    /// Whoever asks for it is referred to the other server.
    Refers,
    /// It is locked: whoever asks for it hears nothing.
    Locked,
}

/// A message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its UID.
    pub uid: u32,
    /// What tells it from all others, wherever it is copied.
    pub seed: u64,
    /// Its bytes.
    pub bytes: Rc<[u8]>,
    /// Its flags.
    pub flags: Flags,
    /// Its internal date.
    pub date: Rc<str>,
    /// No session has been told of it.
    is_recent: bool,
    /// Of its last change.
    pub modseq: u64,
}

impl Default for Mailbox {
    fn default() -> Mailbox {
        Mailbox {
            messages: Vec::new(),
            next_uid: 1,
            modseq: 1,
            vanished: Vec::new(),
            limit: LIMIT,
            door: Door::Open,
        }
    }
}

impl Mailbox {
    /// The messages that are there.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The message of a UID.
    pub fn message(&self, uid: u32) -> Option<&Message> {
        let at = self.messages.binary_search_by_key(&uid, |message| message.uid).ok()?;
        self.messages.get(at)
    }

    /// UIDNEXT.
    pub fn next_uid(&self) -> u32 {
        self.next_uid
    }

    /// HIGHESTMODSEQ.
    pub fn modseq(&self) -> u64 {
        self.modseq
    }

    /// Adds a message; its UID.
    pub fn append(&mut self, seed: u64, bytes: Rc<[u8]>, flags: Flags, date: Rc<str>) -> u32 {
        let uid = self.next_uid;
        self.next_uid += 1;
        self.modseq += 1;
        self.messages.push(Message { uid, seed, bytes, flags, date, is_recent: true, modseq: self.modseq });
        uid
    }

    /// Sets or takes flags of a message.
    pub fn mark(&mut self, uid: u32, flags: &Flags, is_set: bool) {
        let Some(message) = self.messages.iter_mut().find(|message| message.uid == uid) else { return };
        if message.flags.change(flags, is_set) {
            self.modseq += 1;
            message.modseq = self.modseq;
        }
    }

    /// The messages of which a session is the first to be told.
    pub fn take_recent(&mut self) -> Vec<u32> {
        let all = self.messages.iter_mut();
        all.filter_map(|message| std::mem::take(&mut message.is_recent).then_some(message.uid)).collect()
    }

    /// Takes a message away.
    pub fn expunge(&mut self, uid: u32) {
        self.messages.retain(|message| message.uid != uid);
        self.modseq += 1;
        self.vanished.push((uid, self.modseq));
    }

    /// UIDs that vanished after a mod-sequence.
    pub fn vanished_since(&self, modseq: u64) -> Vec<u32> {
        self.vanished.iter().filter(|(_, at)| *at > modseq).map(|(uid, _)| *uid).collect()
    }
}

/// UIDs as a set.
pub fn set_of(uids: &[u32]) -> String {
    let mut set = String::new();
    for (n, uid) in uids.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(set, "{}{uid}", if n == 0 { "" } else { "," });
    }
    set
}

/// Whether a set names a number; `*` is the last.
pub fn names(set: &str, number: u32, last: u32) -> bool {
    let bound = |text: &str| if text == "*" { Some(last) } else { text.parse().ok() };
    set.split(',').any(|range| {
        let (from, to) = range.split_once(':').unwrap_or((range, range));
        match (bound(from), bound(to)) {
            (Some(from), Some(to)) => from.min(to) <= number && number <= from.max(to),
            (None, _) | (_, None) => false,
        }
    })
}

/// The numbers of a set without `*`.
pub fn numbers(set: &str) -> Vec<u32> {
    let ranges = set.split(',').filter_map(|range| {
        let (from, to) = range.split_once(':').unwrap_or((range, range));
        Some(from.parse().ok()?..=to.parse::<u32>().ok()?)
    });
    ranges.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read_as_they_are_written() {
        assert_eq!(numbers(&set_of(&[1, 5, 9])), [1, 5, 9]);
        assert_eq!(numbers("1:3,7"), [1, 2, 3, 7]);
        assert!(names("2:*", 9, 9) && !names("2:*", 1, 9) && names("*:3", 4, 5));
    }

    #[test]
    fn message_is_recent_to_one_session() {
        let mut mailbox = Mailbox::default();
        mailbox.append(1, Rc::from(*b"x"), Flags::default(), "".into());
        assert_eq!(mailbox.take_recent(), [1]);
        mailbox.append(2, Rc::from(*b"x"), Flags::default(), "".into());
        assert_eq!(mailbox.take_recent(), [2]);
    }

    #[test]
    fn what_vanished_is_told_since_a_moment() {
        let mut mailbox = Mailbox::default();
        for seed in 0..3 {
            mailbox.append(seed, Rc::from(*b"x"), Flags::default(), "".into());
        }
        mailbox.expunge(1);
        let since = mailbox.modseq();
        mailbox.expunge(3);
        assert_eq!(mailbox.vanished_since(since), [3]);
        assert_eq!(mailbox.vanished_since(0), [1, 3]);
        assert!(mailbox.message(2).is_some() && mailbox.message(1).is_none());
    }
}
