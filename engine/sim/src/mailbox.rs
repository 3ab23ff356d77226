//! A mailbox of a simulated backend: messages, mod-sequences, and what has vanished.

use std::fmt::Write as _;
use std::rc::Rc;

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
    /// Its server is about to give it away: it is nobody's to open.
    pub is_moving: bool,
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
    /// `\Deleted`.
    pub is_deleted: bool,
    /// Of its last change.
    pub modseq: u64,
}

impl Message {
    /// Its flags as in a FETCH.
    pub fn flags(&self) -> &'static str {
        if self.is_deleted { "\\Seen \\Deleted" } else { "\\Seen" }
    }
}

impl Default for Mailbox {
    fn default() -> Mailbox {
        Mailbox { messages: Vec::new(), next_uid: 1, modseq: 1, vanished: Vec::new(), is_moving: false }
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
    pub fn append(&mut self, seed: u64, bytes: Rc<[u8]>, is_deleted: bool) -> u32 {
        let uid = self.next_uid;
        self.next_uid += 1;
        self.modseq += 1;
        self.messages.push(Message { uid, seed, bytes, is_deleted, modseq: self.modseq });
        uid
    }

    /// Sets or takes `\Deleted`; whether the message is there.
    pub fn mark(&mut self, uid: u32, is_deleted: bool) -> bool {
        let Some(message) = self.messages.iter_mut().find(|message| message.uid == uid) else { return false };
        if message.is_deleted != is_deleted {
            self.modseq += 1;
            (message.is_deleted, message.modseq) = (is_deleted, self.modseq);
        }
        true
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
    fn what_vanished_is_told_since_a_moment() {
        let mut mailbox = Mailbox::default();
        for seed in 0..3 {
            mailbox.append(seed, Rc::from(*b"x"), false);
        }
        mailbox.expunge(1);
        let since = mailbox.modseq();
        mailbox.expunge(3);
        assert_eq!(mailbox.vanished_since(since), [3]);
        assert_eq!(mailbox.vanished_since(0), [1, 3]);
        assert!(mailbox.message(2).is_some() && mailbox.message(1).is_none());
    }
}
