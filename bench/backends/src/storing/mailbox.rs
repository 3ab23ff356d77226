//! Mailboxes in memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::acl::Acl;

/// One message.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) uid: u32,
    pub(crate) flags: BTreeSet<String>,
    /// Seconds since 1970.
    pub(crate) date: i64,
    pub(crate) body: Arc<[u8]>,
    /// The mailbox's modification sequence when its flags last changed.
    pub(crate) modseq: u64,
}

/// One mailbox.
#[derive(Clone, Debug)]
pub(crate) struct Mailbox {
    pub(crate) acl: Acl,
    pub(crate) uid_validity: u32,
    pub(crate) uid_next: u32,
    pub(crate) modseq: u64,
    /// By UID.
    pub(crate) messages: Vec<Stored>,
}

impl Mailbox {
    pub(crate) fn new(acl: Acl, uid_validity: u32) -> Mailbox {
        Mailbox { acl, uid_validity, uid_next: 1, modseq: 1, messages: Vec::new() }
    }

    /// Adds a message; returns its UID.
    pub(crate) fn append(&mut self, body: Arc<[u8]>, flags: BTreeSet<String>, date: i64) -> u32 {
        let uid = self.uid_next;
        self.uid_next += 1;
        self.modseq += 1;
        self.messages.push(Stored { uid, flags, date, body, modseq: self.modseq });
        uid
    }

    pub(crate) fn find(&self, uid: u32) -> Option<&Stored> {
        let at = self.messages.binary_search_by_key(&uid, |m| m.uid).ok()?;
        self.messages.get(at)
    }

    /// Changes the flags of a message; true when something changed.
    pub(crate) fn set_flags(&mut self, uid: u32, flags: BTreeSet<String>) -> bool {
        let Ok(at) = self.messages.binary_search_by_key(&uid, |m| m.uid) else { return false };
        let message = &mut self.messages[at];
        if message.flags == flags {
            return false;
        }
        self.modseq += 1;
        (message.flags, message.modseq) = (flags, self.modseq);
        true
    }

    /// Removes messages for good.
    pub(crate) fn expunge(&mut self, uids: &BTreeSet<u32>) {
        self.messages.retain(|m| !uids.contains(&m.uid));
        self.modseq += 1;
    }

    pub(crate) fn unseen(&self) -> usize {
        self.messages.iter().filter(|m| !m.flags.contains("\\Seen")).count()
    }

    /// Flags of all messages beside the system's own.
    pub(crate) fn keywords(&self) -> BTreeSet<&str> {
        let flags = self.messages.iter().flat_map(|m| m.flags.iter());
        flags.map(String::as_str).filter(|f| !f.starts_with('\\')).collect()
    }
}

/// How a user names an internal name: `user.fred.Sent` is fred's `INBOX.Sent`.
pub(crate) fn external(internal: &str, user: &str) -> String {
    match internal.strip_prefix("user.").and_then(|rest| rest.strip_prefix(user)) {
        Some("") => "INBOX".to_owned(),
        Some(rest) if rest.starts_with('.') => format!("INBOX{rest}"),
        Some(_) | None => internal.to_owned(),
    }
}

/// The internal name of what a user typed.
pub(crate) fn internal(external: &str, user: &str) -> String {
    match external.split_at_checked(5) {
        Some((head, rest)) if head.eq_ignore_ascii_case("INBOX") => match rest {
            "" => format!("user.{user}"),
            _ if rest.starts_with('.') => format!("user.{user}{rest}"),
            _ => external.to_owned(),
        },
        Some(_) | None => external.to_owned(),
    }
}

/// Whose mailbox it is.
pub(crate) fn owner(internal: &str) -> Option<&str> {
    internal.strip_prefix("user.")?.split('.').next()
}

/// Whether a name matches a LIST pattern: `*` is anything, `%` anything but the separator.
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    // reached[n]: what was read of the pattern so far can match the first n bytes of the name.
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for byte in pattern {
        let mut next = vec![false; name.len() + 1];
        for n in 0..=name.len() {
            next[n] = match byte {
                b'*' => reached[n] || (n > 0 && next[n - 1]),
                b'%' => reached[n] || (n > 0 && next[n - 1] && name[n - 1] != b'.'),
                _ => n > 0 && reached[n - 1] && name[n - 1] == *byte,
            };
        }
        reached = next;
    }
    reached[name.len()]
}

/// A sequence set over numbers up to `last`: `*` is `last`, ranges in either direction.
pub(crate) fn sequence_set(text: &str, last: u32) -> Option<Vec<(u32, u32)>> {
    let number = |t: &str| if t == "*" { Some(last) } else { t.parse().ok().filter(|n| *n > 0) };
    text.split(',')
        .map(|part| {
            let (a, b) = part.split_once(':').unwrap_or((part, part));
            let (a, b) = (number(a)?, number(b)?);
            Some((a.min(b), a.max(b)))
        })
        .collect()
}

/// Writes ascending numbers as a set with ranges.
pub(crate) fn set_text(numbers: &[u32]) -> String {
    let mut out = String::new();
    let mut rest = numbers;
    while let Some(first) = rest.first() {
        let run = rest.iter().zip(*first..).take_while(|(a, b)| **a == *b).count();
        let comma = if out.is_empty() { "" } else { "," };
        let last = rest[run - 1];
        out += &if run == 1 { format!("{comma}{first}") } else { format!("{comma}{first}:{last}") };
        rest = &rest[run..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_out_and_in() {
        for (internal_name, user, external_name) in [
            ("user.fred", "fred", "INBOX"),
            ("user.fred.Sent", "fred", "INBOX.Sent"),
            ("user.freddy", "fred", "user.freddy"),
            ("team", "fred", "team"),
        ] {
            assert_eq!(external(internal_name, user), external_name);
            assert_eq!(internal(external_name, user), internal_name);
        }
        assert_eq!(internal("inbox.Sent", "fred"), "user.fred.Sent");
    }

    #[test]
    fn percent_stops_at_the_separator() {
        assert!(matches(b"INBOX.%", b"INBOX.Sent"));
        assert!(!matches(b"INBOX.%", b"INBOX.Sent.2026"));
        assert!(matches(b"*26", b"INBOX.Sent.2026"));
        assert!(!matches(b"%", b"INBOX.Sent"));
        assert!(!matches(&b"*a".repeat(200), &b"a".repeat(199)), "and this ends soon");
    }

    #[test]
    fn sets_are_read_and_written() {
        assert_eq!(sequence_set("5:3,*", 9), Some(vec![(3, 5), (9, 9)]));
        assert_eq!(sequence_set("0", 9), None);
        assert_eq!(sequence_set("1:", 9), None);
        assert_eq!(set_text(&[1, 2, 3, 7, 9, 10]), "1:3,7,9:10");
    }

    #[test]
    fn uids_are_never_used_again() {
        let mut mailbox = Mailbox::new(Acl::default(), 1);
        let first = mailbox.append(Arc::from(&b"x"[..]), BTreeSet::new(), 0);
        mailbox.expunge(&BTreeSet::from([first]));
        assert_ne!(mailbox.append(Arc::from(&b"x"[..]), BTreeSet::new(), 0), first);
    }
}
