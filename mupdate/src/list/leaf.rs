//! A leaf: up to [`LEAF_ENTRIES_MAX`] entries in key order, front-coded in one run of bytes.
//!
//! ```text
//!   leaf   count (u8) acls entry*
//!   acls   n (u8) varint*n          the distinct ACLs of the leaf, n = 255: too many to tell
//!   entry  shared (varint)          octets that the key has in common with the one before
//!          length*2 + same (varint) octets of its own; same: the value of the one before
//!          suffix
//!          [ location*2 + reserved (varint)  acl (varint) ]     unless same
//! ```
//!
//! A look-up walks the entries without building keys: while the shared part is longer than what
//! the wanted key has in common with the last key, the entry cannot matter and is skipped.

use std::cmp::Ordering;
use std::sync::Arc;

use super::key;

/// Entries that a leaf holds at most.
pub(crate) const LEAF_ENTRIES_MAX: usize = 128;

/// Below this a leaf looks for a neighbour to merge with.
pub(crate) const LEAF_ENTRIES_MIN: usize = 40;

/// Octets after which a leaf is split although it has room for more entries.
pub(crate) const LEAF_BYTES_MAX: usize = 16 * 1024;

/// Distinct ACLs that the head of a leaf names.
const LEAF_ACLS_MAX: usize = 6;

/// Says that a leaf has more than [`LEAF_ACLS_MAX`] distinct ACLs.
const ACLS_MANY: u8 = 255;

/// Octets that each leaf has.
pub(crate) const HEAD_BYTES: usize = 2;

/// What an entry says beside its name: numbers in the tables of locations and ACLs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Value {
    /// Number of the location.
    pub location: u32,
    /// Reserved, not active.
    pub reserved: bool,
    /// Number of the ACL.
    pub acl: u32,
}

/// An encoded leaf.
pub(crate) type Leaf = Arc<[u8]>;

/// A decoded entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Item {
    /// The sort key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Value,
}

/// Walks the entries of a leaf; holds the current key.
pub(crate) struct Walk<'a> {
    rest: &'a [u8],
    value: Value,
}

/// One step of a walk.
struct Step<'a> {
    shared: usize,
    suffix: &'a [u8],
}

impl<'a> Walk<'a> {
    /// Begins in front of the first entry.
    pub(crate) fn new(leaf: &'a [u8]) -> Walk<'a> {
        let mut rest = &leaf[1..];
        let acls = rest[0];
        rest = &rest[1..];
        if acls != ACLS_MANY {
            for _ in 0..acls {
                varint(&mut rest);
            }
        }
        Walk { rest, value: Value::default() }
    }

    /// Goes to the next entry and makes `key` its key.
    pub(crate) fn next(&mut self, key: &mut Vec<u8>) -> Option<Value> {
        let step = self.step()?;
        key.truncate(step.shared);
        key.extend_from_slice(step.suffix);
        Some(self.value)
    }

    /// Whether no entry follows.
    pub(crate) fn is_finished(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline(always)]
    fn step(&mut self) -> Option<Step<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let shared = varint(&mut self.rest) as usize;
        let head = varint(&mut self.rest);
        let (suffix, behind) = self.rest.split_at((head >> 1) as usize);
        self.rest = behind;
        if head & 1 == 0 {
            let location = varint(&mut self.rest);
            self.value.reserved = location & 1 == 1;
            self.value.location = location >> 1;
            self.value.acl = varint(&mut self.rest);
        }
        Some(Step { shared, suffix })
    }
}

/// Finds a key.
pub(crate) fn find(leaf: &[u8], wanted: &[u8]) -> Option<Value> {
    let mut walk = Walk::new(leaf);
    // Octets that the wanted key has in common with the last key, which is smaller.
    let mut matched = 0;
    while let Some(step) = walk.step() {
        match step.shared.cmp(&matched) {
            Ordering::Greater => {}
            Ordering::Less => return None,
            Ordering::Equal => {
                let rest = &wanted[matched..];
                let more = key::common(step.suffix, rest);
                matched += more;
                match (step.suffix.get(more), rest.get(more)) {
                    (None, None) => return Some(walk.value),
                    (None, Some(_)) => {}
                    (Some(_), None) => return None,
                    (Some(has), Some(wants)) if has > wants => return None,
                    (Some(_), Some(_)) => {}
                }
            }
        }
    }
    None
}

/// The distinct ACLs of a leaf; `None` when they are too many to tell.
pub(crate) fn acls(leaf: &[u8]) -> Option<impl Iterator<Item = u32>> {
    let n = leaf[1];
    let mut rest = &leaf[2..];
    (n != ACLS_MANY).then(move || (0..n).map(move |_| varint(&mut rest)))
}

/// Entries of a leaf.
pub(crate) fn len(leaf: &[u8]) -> usize {
    usize::from(leaf[0])
}

/// Decodes a leaf.
pub(crate) fn decode(leaf: &[u8]) -> Vec<Item> {
    let mut items = Vec::with_capacity(len(leaf) + 1);
    let mut walk = Walk::new(leaf);
    let mut key = Vec::new();
    while let Some(value) = walk.next(&mut key) {
        items.push(Item { key: key.clone(), value });
    }
    items
}

/// Encodes at most [`LEAF_ENTRIES_MAX`] items, which stand in order.
pub(crate) fn encode(items: &[Item]) -> Leaf {
    let mut encoder = Encoder::default();
    for item in items {
        encoder.push(&item.key, item.value);
    }
    encoder.finish()
}

/// Encodes a leaf entry by entry.
#[derive(Default)]
pub(crate) struct Encoder {
    entries: Vec<u8>,
    last: Vec<u8>,
    value: Value,
    count: usize,
    acls: Vec<u32>,
}

impl Encoder {
    /// Appends an entry, whose key is behind the last.
    pub(crate) fn push(&mut self, key: &[u8], value: Value) {
        debug_assert!(self.count == 0 || *self.last < *key, "keys in order");
        let shared = key::common(&self.last, key);
        let same = self.count > 0 && self.value == value;
        put_varint(shared as u32, &mut self.entries);
        put_varint(((key.len() - shared) as u32) << 1 | u32::from(same), &mut self.entries);
        self.entries.extend_from_slice(&key[shared..]);
        if !same {
            put_varint(value.location << 1 | u32::from(value.reserved), &mut self.entries);
            put_varint(value.acl, &mut self.entries);
            if self.acls.len() <= LEAF_ACLS_MAX && !self.acls.contains(&value.acl) {
                self.acls.push(value.acl);
            }
        }
        self.last.truncate(shared);
        self.last.extend_from_slice(&key[shared..]);
        self.value = value;
        self.count += 1;
    }

    /// Entries so far.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Octets so far.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.len()
    }

    /// The key of the last entry.
    pub(crate) fn last(&self) -> &[u8] {
        &self.last
    }

    /// Gives the leaf and begins a new one.
    pub(crate) fn finish(&mut self) -> Leaf {
        let mut bytes = Vec::with_capacity(self.entries.len() + 2 + 5 * self.acls.len());
        bytes.push(self.count as u8);
        if self.acls.len() > LEAF_ACLS_MAX {
            bytes.push(ACLS_MANY);
        } else {
            bytes.push(self.acls.len() as u8);
            for &acl in &self.acls {
                put_varint(acl, &mut bytes);
            }
        }
        bytes.extend_from_slice(&self.entries);
        self.entries.clear();
        self.last.clear();
        self.acls.clear();
        self.count = 0;
        bytes.into()
    }
}

/// Reads a number of 1 to 5 octets, 7 bits each, low first.
#[inline(always)]
fn varint(rest: &mut &[u8]) -> u32 {
    let first = rest[0];
    if first < 0x80 {
        *rest = &rest[1..];
        return u32::from(first);
    }
    long_varint(rest)
}

fn long_varint(rest: &mut &[u8]) -> u32 {
    let mut number = 0;
    let mut shift = 0;
    loop {
        let byte = rest[0];
        *rest = &rest[1..];
        number |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return number;
        }
        shift += 7;
    }
}

fn put_varint(mut number: u32, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(key: &[u8], location: u32, reserved: bool, acl: u32) -> Item {
        Item { key: key.to_vec(), value: Value { location, reserved, acl } }
    }

    fn sample() -> Vec<Item> {
        vec![
            item(b"a", 1, false, 200),
            item(b"ab", 1, false, 200),
            item(b"abc\x1fd", 1, true, 0),
            item(b"abd", 1_000_000, false, 70_000),
            item(b"b", 1_000_000, false, 70_000),
            item(&[b'c'; 490], 0, false, 1),
        ]
    }

    #[test]
    fn a_leaf_decodes_to_what_it_was_made_of() {
        assert_eq!(decode(&encode(&sample())), sample());
        assert_eq!(len(&encode(&sample())), 6);
    }

    #[test]
    fn every_key_is_found_and_every_neighbour_is_not() {
        let leaf = encode(&sample());
        for Item { key, value } in sample() {
            assert_eq!(find(&leaf, &key), Some(value));
            for other in
                [[&key[..], b"\0"].concat(), [&key[..], b"\xff"].concat(), key[..key.len() - 1].to_vec()]
            {
                let expected = sample().iter().find(|item| item.key == other).map(|item| item.value);
                assert_eq!(find(&leaf, &other), expected, "{other:?}");
            }
        }
        assert_eq!(find(&leaf, b""), None);
    }

    #[test]
    fn the_head_names_the_acls_until_they_are_too_many() {
        let few = encode(&sample());
        assert_eq!(acls(&few).map(|acls| acls.collect::<Vec<_>>()), Some(vec![200, 0, 70_000, 1]));
        let many: Vec<Item> = (0..7).map(|n| item(&[b'a' + n], 0, false, u32::from(n))).collect();
        assert!(acls(&encode(&many)).is_none());
        assert_eq!(decode(&encode(&many)), many);
    }
}
