//! What was read from the source and what the destination made of it.

use std::num::NonZeroU32;

use super::super::grammar::codes::{append_uid, copy_uid};
use super::super::grammar::{Range, SequenceSet, code};
use crate::proxy::AUTHORED_BYTES_MAX;

/// Ranges of UIDs in one STORE or EXPUNGE; 250 have at most 5,500 bytes.
const RANGES_PER_COMMAND_MAX: usize = 250;

/// The messages of one copy, by UID.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// In the order in which the source sent them.
    source: SequenceSet,
    count: u64,
    /// Those that had no `\Deleted`.
    undeleted: SequenceSet,
    /// What the destination told of the copies.
    validity: Option<NonZeroU32>,
    copies: SequenceSet,
}

impl Ledger {
    /// A message was read to its end.
    pub(super) fn add(&mut self, uid: NonZeroU32, mark: Mark) {
        self.source.push(uid);
        self.count += 1;
        if mark == Mark::Undeleted {
            self.undeleted.push(uid);
        }
    }

    /// Whether this is one of the messages.
    pub(super) fn has(&self, uid: NonZeroU32) -> bool {
        self.source.contains(uid, NonZeroU32::MAX)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Reads APPENDUID, or the copies of COPYUID (RFC 4315 section 3). Servers leave it out when the user
    /// may not read the destination.
    pub(super) fn note_copies(&mut self, text: &[u8]) {
        let Some((name, args)) = code(text) else { return };
        let told = if name.eq_ignore_ascii_case(b"APPENDUID") {
            append_uid(args).map(|told| (told.uidvalidity, told.uids))
        } else if name.eq_ignore_ascii_case(b"COPYUID") {
            copy_uid(args).map(|told| (told.uidvalidity, told.destination))
        } else {
            return;
        };
        if let Ok((validity, copies)) = told {
            self.validity = Some(validity);
            copies.numbers(NonZeroU32::MAX).take(self.missing()).for_each(|uid| self.copies.push(uid));
        }
    }

    /// How many more UIDs of copies there may be, and one to notice too many by.
    fn missing(&self) -> usize {
        let missing = self.count.saturating_sub(self.told());
        usize::try_from(missing).unwrap_or(usize::MAX).saturating_add(1)
    }

    fn told(&self) -> u64 {
        self.copies.count(NonZeroU32::MAX)
    }

    /// Whether the destination told of another number of copies than was sent.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.validity.is_some() && self.told() != self.count
    }

    /// `[COPYUID validity source copies] `, or nothing when the destination did not tell, or told
    /// something else, or the sets have too many ranges for a line.
    pub(super) fn copy_uid(&self) -> Vec<u8> {
        let Some(validity) = self.validity.filter(|_| !self.is_in_doubt()) else { return Vec::new() };
        let mut text = format!("[COPYUID {validity} ").into_bytes();
        self.source.encode(&mut text);
        text.push(b' ');
        self.copies.encode(&mut text);
        text.extend_from_slice(b"] ");
        if text.len() > AUTHORED_BYTES_MAX / 2 { Vec::new() } else { text }
    }

    /// For operators: UIDs at the source, and what the destination made of them.
    pub(super) fn told_of(&self) -> Vec<u8> {
        let mut text = b"UIDs ".to_vec();
        self.source.encode(&mut text);
        if let Some(validity) = self.validity {
            text.extend_from_slice(format!(" became UIDVALIDITY {validity} UIDs ").as_bytes());
            self.copies.encode(&mut text);
        }
        text
    }

    /// The source UIDs in sets that fit a command each.
    pub(super) fn sets(&self) -> Vec<Vec<u8>> {
        self.source.ranges().chunks(RANGES_PER_COMMAND_MAX).map(encoded).collect()
    }

    /// As [`Ledger::sets`], of those messages that have to be marked before they can be expunged.
    pub(super) fn undeleted_sets(&self) -> Vec<Vec<u8>> {
        self.undeleted.ranges().chunks(RANGES_PER_COMMAND_MAX).map(encoded).collect()
    }
}

/// Whether a message had `\Deleted` when it was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Mark {
    #[default]
    Undeleted,
    Deleted,
}

fn encoded(ranges: &[Range]) -> Vec<u8> {
    let mut set = Vec::new();
    for (n, range) in ranges.iter().enumerate() {
        set.extend_from_slice(if n == 0 { b"" } else { b"," });
        range.encode(&mut set);
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(uids: impl IntoIterator<Item = u32>) -> Ledger {
        let mut ledger = Ledger::default();
        uids.into_iter().filter_map(NonZeroU32::new).for_each(|uid| ledger.add(uid, Mark::Undeleted));
        ledger
    }

    #[test]
    fn too_many_copies_are_in_doubt_however_many() {
        let mut ledger = ledger([1, 2]);
        ledger.note_copies(b"[APPENDUID 5 1:4294967295] Completed");
        assert!(ledger.is_in_doubt());
        assert!(ledger.copy_uid().is_empty());
    }

    #[test]
    fn scattered_uids_are_removed_by_several_commands() {
        let ledger = ledger((1..=600).map(|n| n * 2));
        let sets = ledger.sets();
        assert_eq!(sets.len(), 3);
        assert!(sets.iter().all(|set| set.len() < 6 * 1024));
        let all = sets.join(&b","[..]);
        assert_eq!(SequenceSet::parse(&all).unwrap().count(NonZeroU32::MAX), 600);
    }
}
