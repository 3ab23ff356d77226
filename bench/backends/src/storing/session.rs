//! One client's session: who he is, what he has selected, what he has been told of it.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::fetch::flags_text;
use super::mailbox::Mailbox;
use super::notify::Watch;

/// What the next line of the client is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Awaits {
    Command,
    /// The response to AUTHENTICATE PLAIN.
    PlainResponse {
        tag: String,
    },
    LoginName {
        tag: String,
    },
    LoginPassword {
        tag: String,
        name: String,
    },
    /// DONE.
    IdleEnd {
        tag: String,
    },
    /// Nothing is read: the master is asked.
    Master,
    /// The connection is being closed.
    Nothing,
}

/// Who is logged in.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) admin: bool,
}

/// A selected mailbox as this client knows it.
#[derive(Clone, Debug)]
pub(crate) struct Selected {
    pub(crate) name: String,
    pub(crate) read_only: bool,
    /// UIDs by message number, as told.
    pub(crate) view: Vec<u32>,
    /// All changes up to this one were told.
    pub(crate) modseq: u64,
    /// UIDs that `$` stands for (RFC 5182).
    pub(crate) saved: BTreeSet<u32>,
}

/// Which untagged responses may be told (RFC 9051 section 7.5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Telling {
    Everything,
    /// Not EXPUNGE: message numbers are in use.
    NoExpunge,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) user: Option<User>,
    pub(crate) selected: Option<Selected>,
    pub(crate) awaits: Awaits,
    /// Up to where the last `+` let the client go on.
    pub(crate) gone_ahead: usize,
    /// What he is told of by NOTIFY.
    pub(crate) watch: Option<Watch>,
}

impl Session {
    pub(crate) fn new() -> Session {
        Session { user: None, selected: None, awaits: Awaits::Command, gone_ahead: 0, watch: None }
    }
}

impl Selected {
    /// Tells what has changed since the client was last told.
    pub(crate) fn tell(&mut self, mailbox: Option<&Mailbox>, telling: Telling, out: &mut Vec<u8>) {
        let mut text = String::new();
        let gone: Vec<usize> = match mailbox {
            Some(m) => (0..self.view.len()).filter(|n| m.find(self.view[*n]).is_none()).collect(),
            None => (0..self.view.len()).collect(),
        };
        if telling == Telling::Everything {
            for at in gone.iter().rev() {
                self.view.remove(*at);
                // Writing to a String cannot fail.
                let _ = write!(text, "* {} EXPUNGE\r\n", at + 1);
            }
        }
        let Some(mailbox) = mailbox else {
            out.extend_from_slice(text.as_bytes());
            return;
        };
        let last = self.view.last().copied().unwrap_or(0);
        let new: Vec<u32> = mailbox.messages.iter().map(|m| m.uid).filter(|uid| *uid > last).collect();
        if !new.is_empty() {
            let _ = write!(text, "* {} EXISTS\r\n* 0 RECENT\r\n", self.view.len() + new.len());
        }
        let told = self.modseq;
        for (n, uid) in self.view.iter().enumerate() {
            if let Some(message) = mailbox.find(*uid).filter(|m| m.modseq > told) {
                let _ = write!(text, "* {} FETCH (UID {uid} {})\r\n", n + 1, flags_text(message));
            }
        }
        self.view.extend(new);
        if telling == Telling::Everything || gone.is_empty() {
            self.modseq = mailbox.modseq;
        }
        out.extend_from_slice(text.as_bytes());
    }

    /// Whether anything is left to tell.
    pub(crate) fn is_behind(&self, mailbox: Option<&Mailbox>) -> bool {
        mailbox.map_or(!self.view.is_empty(), |m| m.modseq > self.modseq)
    }

    /// Message numbers (from 1) with their UIDs, of a set of numbers or UIDs.
    pub(crate) fn chosen(&self, set: &[(u32, u32)], by_uid: bool) -> Vec<(usize, u32)> {
        let all = self.view.iter().enumerate().map(|(n, uid)| (n + 1, *uid));
        let within = |n: u32| set.iter().any(|(a, b)| (*a..=*b).contains(&n));
        all.filter(|(n, uid)| within(if by_uid { *uid } else { u32::try_from(*n).unwrap_or(u32::MAX) }))
            .collect()
    }

    /// The same of what was saved, as far as it is still there.
    pub(crate) fn saved(&self) -> Vec<(usize, u32)> {
        let all = self.view.iter().enumerate().map(|(n, uid)| (n + 1, *uid));
        all.filter(|(_, uid)| self.saved.contains(uid)).collect()
    }

    /// What `*` stands for.
    pub(crate) fn last(&self, by_uid: bool) -> u32 {
        if by_uid {
            self.view.last().copied().unwrap_or(1)
        } else {
            u32::try_from(self.view.len()).unwrap_or(u32::MAX).max(1)
        }
    }
}

/// Flags out of a list, system flags in their own spelling; `None` for one that is no flag.
pub(crate) fn flags<'a>(words: impl Iterator<Item = &'a str>) -> Option<BTreeSet<String>> {
    const SYSTEM: [&str; 5] = ["\\Answered", "\\Flagged", "\\Draft", "\\Deleted", "\\Seen"];
    let mut out = BTreeSet::new();
    for word in words {
        if word.eq_ignore_ascii_case("\\Recent") {
            continue;
        }
        let known = SYSTEM.iter().find(|system| system.eq_ignore_ascii_case(word));
        if word.starts_with('\\') && known.is_none() {
            return None;
        }
        out.insert(known.map_or(word, |system| system).to_owned());
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::acl::Acl;
    use super::*;

    fn selected(view: Vec<u32>, modseq: u64) -> Selected {
        Selected { name: "user.a".into(), read_only: false, view, modseq, saved: BTreeSet::new() }
    }

    #[test]
    fn expunges_are_told_from_the_end_and_only_when_allowed() {
        let mut mailbox = Mailbox::new(Acl::default(), 1);
        for _ in 0..3 {
            mailbox.append(Arc::from(&b"x"[..]), BTreeSet::new(), 0);
        }
        let mut client = selected(vec![1, 2, 3], mailbox.modseq);
        mailbox.expunge(&BTreeSet::from([1, 3]));
        let mut out = Vec::new();
        client.tell(Some(&mailbox), Telling::NoExpunge, &mut out);
        assert!(out.is_empty());
        client.tell(Some(&mailbox), Telling::Everything, &mut out);
        assert_eq!(out, b"* 3 EXPUNGE\r\n* 1 EXPUNGE\r\n");
        assert!(!client.is_behind(Some(&mailbox)));
    }

    #[test]
    fn arrivals_and_flags_are_told_once() {
        let mut mailbox = Mailbox::new(Acl::default(), 1);
        let first = mailbox.append(Arc::from(&b"x"[..]), BTreeSet::new(), 0);
        let mut client = selected(vec![first], mailbox.modseq);
        mailbox.set_flags(first, ["\\Seen".to_owned()].into());
        mailbox.append(Arc::from(&b"y"[..]), BTreeSet::new(), 0);
        let mut out = Vec::new();
        client.tell(Some(&mailbox), Telling::Everything, &mut out);
        assert_eq!(out, b"* 2 EXISTS\r\n* 0 RECENT\r\n* 1 FETCH (UID 1 FLAGS (\\Seen))\r\n");
        out.clear();
        client.tell(Some(&mailbox), Telling::Everything, &mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn unknown_system_flag_is_refused_and_recent_ignored() {
        assert!(flags(["\\Bogus"].into_iter()).is_none());
        assert_eq!(flags(["\\seen", "\\Recent", "mine"].into_iter()).unwrap().len(), 2);
    }
}
