//! Sequence sets: message numbers or UIDs.

use std::num::NonZeroU32;

use smallvec::SmallVec;

use crate::wire::limits::SET_RANGES_MAX;
use crate::wire::quote::number_out;
use crate::wire::{Cursor, Error};

/// A message number, a UID, or the largest one there is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Bound {
    /// `nz-number`.
    Number(NonZeroU32),
    /// `*`.
    Largest,
}

/// `first:last`, in the order written; a single number has both alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// Before the colon.
    pub first: Bound,
    /// Behind it.
    pub last: Bound,
}

/// A sequence set in the order written.
///
/// ```text
/// sequence-set = (seq-number / seq-range) ["," sequence-set]
/// seq-range    = seq-number ":" seq-number
/// seq-number   = nz-number / "*"      RFC 9051 section 9
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SequenceSet {
    ranges: SmallVec<[Range; 4]>,
}

impl SequenceSet {
    /// Reads a whole set. `$` (a saved result, RFC 5182) is none: test for it before.
    ///
    /// # Errors
    /// `Syntax`, or `TooLong` past [`SET_RANGES_MAX`] ranges.
    pub fn parse(bytes: &[u8]) -> Result<SequenceSet, Error> {
        let mut cursor = Cursor::new(bytes);
        let mut ranges = SmallVec::new();
        loop {
            if ranges.len() == SET_RANGES_MAX {
                return Err(Error::TooLong { what: "sequence set", limit: SET_RANGES_MAX as u64 });
            }
            let first = bound(&mut cursor)?;
            let last = if cursor.take_if(b':') { bound(&mut cursor)? } else { first };
            ranges.push(Range { first, last });
            if !cursor.take_if(b',') {
                cursor.end()?;
                return Ok(SequenceSet { ranges });
            }
        }
    }

    /// The set of these numbers in their order; runs that ascend become ranges.
    pub fn from_numbers(numbers: impl IntoIterator<Item = NonZeroU32>) -> SequenceSet {
        let mut set = SequenceSet::default();
        for number in numbers {
            set.push(number);
        }
        set
    }

    /// Adds a number at the end.
    pub fn push(&mut self, number: NonZeroU32) {
        if let Some(Range { first: Bound::Number(first), last: Bound::Number(last) }) = self.ranges.last_mut()
            && *first <= *last
            && last.checked_add(1) == Some(number)
        {
            *last = number;
            return;
        }
        self.ranges.push(Range { first: Bound::Number(number), last: Bound::Number(number) });
    }

    /// Whether nothing is in it; the grammar has no such set.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges as written.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// The numbers in the order written, each range from its smaller to its larger end, `*` being
    /// `largest`.
    pub fn numbers(&self, largest: NonZeroU32) -> impl Iterator<Item = NonZeroU32> + '_ {
        self.ranges.iter().flat_map(move |range| {
            let (low, high) = range.ends(largest);
            (low.get()..=high.get()).filter_map(NonZeroU32::new)
        })
    }

    /// How many numbers [`SequenceSet::numbers`] gives. COPYUID pairs two sets of equal length.
    pub fn count(&self, largest: NonZeroU32) -> u64 {
        self.ranges
            .iter()
            .map(|range| {
                let (low, high) = range.ends(largest);
                u64::from(high.get() - low.get()) + 1
            })
            .sum()
    }

    /// Whether `number` is in it, `*` being `largest`.
    pub fn contains(&self, number: NonZeroU32, largest: NonZeroU32) -> bool {
        self.ranges.iter().any(|range| {
            let (low, high) = range.ends(largest);
            low <= number && number <= high
        })
    }

    /// Sorts the ranges and joins those that touch. A range with `*` stays as it is, at the end.
    pub fn normalise(&mut self) {
        for range in &mut self.ranges {
            if range.first > range.last {
                std::mem::swap(&mut range.first, &mut range.last);
            }
        }
        self.ranges.sort_unstable_by_key(|range| (range.last == Bound::Largest, range.first, range.last));
        self.ranges.dedup_by(|next, kept| {
            joined(kept, *next).is_some_and(|both| {
                *kept = both;
                true
            })
        });
    }

    /// Writes the set.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for (n, range) in self.ranges.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            range.encode(out);
        }
    }
}

impl Range {
    /// Writes the range; both ends alike as one number.
    pub fn encode(self, out: &mut Vec<u8>) {
        self.first.encode(out);
        if self.last != self.first {
            out.push(b':');
            self.last.encode(out);
        }
    }

    /// The smaller and the larger end, `*` being `largest`.
    fn ends(self, largest: NonZeroU32) -> (NonZeroU32, NonZeroU32) {
        let (first, last) = (self.first.value(largest), self.last.value(largest));
        (first.min(last), first.max(last))
    }
}

impl Bound {
    /// The number, `*` being `largest`.
    fn value(self, largest: NonZeroU32) -> NonZeroU32 {
        match self {
            Bound::Number(number) => number,
            Bound::Largest => largest,
        }
    }

    fn encode(self, out: &mut Vec<u8>) {
        match self {
            Bound::Number(number) => number_out(out, u64::from(number.get())),
            Bound::Largest => out.push(b'*'),
        }
    }
}

/// ```text
/// seq-number = nz-number / "*"      RFC 9051 section 9
/// ```
fn bound(cursor: &mut Cursor<'_>) -> Result<Bound, Error> {
    if cursor.take_if(b'*') {
        return Ok(Bound::Largest);
    }
    let expected = cursor.error("number from 1 on");
    let number = NonZeroU32::new(cursor.number()?).ok_or(expected)?;
    Ok(Bound::Number(number))
}

/// One range for two sorted ones that overlap or touch.
fn joined(low: &Range, high: Range) -> Option<Range> {
    let (Bound::Number(low_last), Bound::Number(high_first), Bound::Number(_)) =
        (low.last, high.first, high.last)
    else {
        return (*low == high).then_some(high);
    };
    let touches = high_first.get() <= low_last.get().saturating_add(1);
    touches.then(|| Range { first: low.first, last: low.last.max(high.last) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nz(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    fn set(bytes: &[u8]) -> SequenceSet {
        SequenceSet::parse(bytes).unwrap()
    }

    fn encoded(set: &SequenceSet) -> String {
        let mut out = Vec::new();
        set.encode(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn numbers(bytes: &[u8], largest: u32) -> Vec<u32> {
        set(bytes).numbers(nz(largest)).map(NonZeroU32::get).collect()
    }

    #[test]
    fn set_is_written_as_it_was_read() {
        for text in ["1", "*", "1:*", "*:4", "5:3,1,9:9", "4294967295"] {
            assert_eq!(encoded(&set(text.as_bytes())), text.replace("9:9", "9"));
        }
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for text in ["", "0", "1,", ",1", "1:", ":1", "1::2", "a", "1 ", "$", "4294967296", "1:2:3", "**"] {
            assert!(SequenceSet::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_come_in_the_order_written() {
        assert_eq!(numbers(b"7,3:5,*", 9), [7, 3, 4, 5, 9]);
        assert_eq!(numbers(b"5:3", 9), [3, 4, 5]);
        assert_eq!(numbers(b"12:*", 9), [9, 10, 11, 12]);
        assert_eq!(set(b"7,3:5,*").count(nz(9)), 5);
        assert_eq!(set(b"1:*").count(nz(u32::MAX)), u64::from(u32::MAX));
    }

    #[test]
    fn normalised_sets_are_sorted_and_joined() {
        for (from, to) in [
            ("3,2,1", "1:3"),
            ("5:3,1,4:9", "1,3:9"),
            ("1:5,2:3", "1:5"),
            ("*,3,*,2", "2:3,*"),
            ("7:*,1", "1,7:*"),
            ("4294967295,4294967294", "4294967294:4294967295"),
        ] {
            let mut set = set(from.as_bytes());
            set.normalise();
            assert_eq!(encoded(&set), to);
        }
    }

    #[test]
    fn pushed_runs_become_ranges() {
        let set = SequenceSet::from_numbers([1, 2, 3, 7, 6, 5, 6].map(nz));
        assert_eq!(encoded(&set), "1:3,7,6,5:6");
    }

    #[test]
    fn membership_sees_the_largest_number() {
        let set = set(b"2:3,7:*");
        assert!(set.contains(nz(3), nz(9)));
        assert!(!set.contains(nz(4), nz(9)));
        assert!(set.contains(nz(8), nz(9)));
        assert!(!set.contains(nz(10), nz(9)));
    }

    #[test]
    fn ranges_over_limit_are_refused() {
        let mut text = b"1,".repeat(SET_RANGES_MAX);
        text.push(b'1');
        assert!(matches!(SequenceSet::parse(&text), Err(Error::TooLong { .. })));
        assert!(SequenceSet::parse(&text[2..]).is_ok());
    }
}
