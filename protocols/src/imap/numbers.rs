//! The numbers by which a mailbox is known again on another connection.
//!
//! A client's picture of the selected mailbox is a list of UIDs that nobody but he has. Four numbers
//! say whether a new connection shows the same list: UIDVALIDITY, the HIGHESTMODSEQ of the moment
//! from which on expunged messages are counted, how many messages he counts, and how many he was told
//! to be expunged since.

use std::num::NonZeroU32;

use super::grammar::code;
use super::grammar::codes::{highest_modseq, nz_argument};
use super::grammar::{Response, SequenceSet, UntaggedKind, response};

/// What a client was told of the mailbox of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Numbers {
    /// UIDVALIDITY.
    pub(super) validity: Option<NonZeroU32>,
    /// HIGHESTMODSEQ when it was selected; 0 where the server has none (NOMODSEQ).
    pub(super) modseq: u64,
    /// Messages that the client counts.
    pub(super) messages: u32,
    /// Messages that he was told to be gone, since HIGHESTMODSEQ was told.
    pub(super) expunged: u32,
}

impl Numbers {
    /// Takes a line that goes to the client into account. Most are FETCH responses, of which no more
    /// is looked at than the number.
    #[inline]
    pub(super) fn note(&mut self, line: &[u8]) {
        if let [b'*', b' ', first, ..] = line {
            match first {
                b'0'..=b'9' if !is_count(line) => {}
                b'0'..=b'9' | b'O' | b'o' | b'V' | b'v' => self.note_response(line),
                _ => {}
            }
        }
    }

    fn note_response(&mut self, line: &[u8]) {
        let Response::Untagged { number, kind, rest } = response(line) else { return };
        match (kind, number) {
            (UntaggedKind::Exists, Some(count)) => self.messages = count,
            (UntaggedKind::Expunge, Some(_)) => self.gone(1),
            (UntaggedKind::Vanished, _) => self.gone(vanished(rest).unwrap_or(0)),
            (UntaggedKind::Ok, _) => self.note_code(rest),
            _ => {}
        }
    }

    /// So many messages were told to be gone.
    pub(super) fn gone(&mut self, count: u32) {
        self.messages = self.messages.saturating_sub(count);
        self.expunged = self.expunged.saturating_add(count);
    }

    fn note_code(&mut self, text: &[u8]) {
        let Some((name, args)) = code(text) else { return };
        if name.eq_ignore_ascii_case(b"UIDVALIDITY") {
            self.validity = nz_argument(args).ok();
            (self.modseq, self.expunged) = (0, 0);
        } else if name.eq_ignore_ascii_case(b"HIGHESTMODSEQ") {
            self.modseq = highest_modseq(args).unwrap_or(0);
            self.expunged = 0;
        }
    }
}

/// Whether the word behind the number of a response may be EXISTS or EXPUNGE.
fn is_count(line: &[u8]) -> bool {
    let digits = line[2..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    matches!(line.get(2 + digits..2 + digits + 2), Some([b' ', b'E' | b'e']))
}

/// How many UIDs a VANISHED response names; `None` for what was gone earlier (RFC 7162 section 3.2.10),
/// and for what cannot be read.
pub(super) fn vanished(rest: &[u8]) -> Option<u32> {
    let is_earlier = rest.first() == Some(&b'(');
    if is_earlier { None } else { uids_in(rest) }
}

/// How many UIDs `* VANISHED (EARLIER) set` names.
pub(super) fn vanished_earlier(rest: &[u8]) -> Option<u32> {
    uids_in(earlier_set(rest)?)
}

/// The set of `* VANISHED (EARLIER) set`.
pub(super) fn earlier_set(rest: &[u8]) -> Option<&[u8]> {
    const EARLIER: &[u8] = b"(EARLIER) ";
    let (word, set) = rest.split_at_checked(EARLIER.len())?;
    word.eq_ignore_ascii_case(EARLIER).then_some(set)
}

fn uids_in(set: &[u8]) -> Option<u32> {
    let set = SequenceSet::parse(set).ok()?;
    Some(u32::try_from(set.count(NonZeroU32::MAX)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[&str]) -> Numbers {
        let mut numbers = Numbers::default();
        lines.iter().for_each(|line| numbers.note(format!("{line}\r\n").as_bytes()));
        numbers
    }

    #[test]
    fn numbers_of_a_select_are_read_and_followed() {
        let selected = ["* 5 EXISTS", "* OK [UIDVALIDITY 7] Ok", "* OK [HIGHESTMODSEQ 12] Ok"];
        let numbers = after(&selected);
        assert_eq!(numbers, Numbers { validity: NonZeroU32::new(7), modseq: 12, messages: 5, expunged: 0 });
        let more = ["* 2 EXPUNGE", "* 6 EXISTS", "* VANISHED 3:4,9", "* 1 FETCH (FLAGS ())", "* 1 RECENT"];
        let numbers = after(&[&selected[..], &more[..]].concat());
        assert_eq!((numbers.messages, numbers.expunged, numbers.modseq), (3, 4, 12));
    }

    #[test]
    fn what_was_gone_earlier_is_no_news() {
        let numbers = after(&["* 5 EXISTS", "* VANISHED (EARLIER) 1:300", "* vanished 1"]);
        assert_eq!((numbers.messages, numbers.expunged), (4, 1));
        assert_eq!(vanished_earlier(b"(earlier) 1:3,9"), Some(4));
        assert_eq!(vanished_earlier(b"1:3"), None);
    }

    #[test]
    fn another_select_begins_anew() {
        let numbers = after(&[
            "* 5 EXISTS",
            "* OK [UIDVALIDITY 7] Ok",
            "* OK [HIGHESTMODSEQ 12] Ok",
            "* 1 EXPUNGE",
            "* 9 EXISTS",
            "* OK [UIDVALIDITY 8] Ok",
            "* OK [NOMODSEQ] Sorry",
        ]);
        assert_eq!(numbers, Numbers { validity: NonZeroU32::new(8), modseq: 0, messages: 9, expunged: 0 });
    }
}
