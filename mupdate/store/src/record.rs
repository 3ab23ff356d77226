//! One entry or change as it is stored.

use mupdate::list::key;
use protocols::proxy::{Change, Entry, Location, Position};

use crate::history;

/// The value of an entry; `None` for a deletion, which is no record.
pub(crate) fn encode(change: &Change) -> Option<Vec<u8>> {
    let (kind, location, acl): (u8, &Location, &[u8]) = match change {
        Change::Active(entry) => (b'A', &entry.location, &entry.acl),
        Change::Reserved { location, .. } => (b'R', location, b""),
        Change::Deleted { .. } => return None,
    };
    let len = u16::try_from(location.0.len()).ok()?;
    let mut value = Vec::with_capacity(3 + location.0.len() + acl.len());
    value.push(kind);
    value.extend_from_slice(&len.to_be_bytes());
    value.extend_from_slice(&location.0);
    value.extend_from_slice(acl);
    Some(value)
}

/// The entry of a key and value; `None` when they make no sense.
pub(crate) fn decode(sort_key: &[u8], value: &[u8]) -> Option<Change> {
    let (kind, rest) = value.split_first()?;
    let (len, rest) = rest.split_first_chunk::<2>()?;
    let (location, acl) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
    let name = key::name(sort_key).into_boxed_slice();
    let location = Location(location.into());
    match kind {
        b'A' => Some(Change::Active(Entry { name, location, acl: acl.into() })),
        b'R' if acl.is_empty() => Some(Change::Reserved { name, location }),
        _ => None,
    }
}

/// A change: the length of the sort key, the key, and the record of the entry unless it was deleted.
pub(crate) fn encode_change(change: &Change) -> Vec<u8> {
    let key = key::key(change.name());
    // Names that are stored are shorter than a key length can say.
    let len = u16::try_from(key.len()).unwrap_or(u16::MAX);
    let mut value = len.to_be_bytes().to_vec();
    value.extend_from_slice(&key[..usize::from(len)]);
    value.extend_from_slice(&encode(change).unwrap_or_default());
    value
}

/// The change of its bytes; `None` when they make no sense.
pub(crate) fn decode_change(value: &[u8]) -> Option<Change> {
    let (len, rest) = value.split_first_chunk::<2>()?;
    let (key, entry) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
    match entry {
        [] => Some(Change::Deleted { name: key::name(key).into_boxed_slice() }),
        entry => decode(key, entry),
    }
}

/// Changes that were committed together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Batch {
    /// The number of the last change.
    pub(crate) sequence: u64,
    /// Where a slave's list stands in the history of its source behind them.
    pub(crate) source: Option<Position>,
    /// In order; may be none.
    pub(crate) changes: Vec<Change>,
}

/// A batch as it is stored: the number, the length of the position and the position, then each
/// change behind its length.
pub(crate) fn encode_batch(changes: &[Change], sequence: u64, source: Option<&Position>) -> Vec<u8> {
    let mut value = sequence.to_be_bytes().to_vec();
    let source = source.map(history::encode_position).unwrap_or_default();
    value.extend_from_slice(&(source.len() as u32).to_be_bytes());
    value.extend_from_slice(&source);
    for change in changes {
        let bytes = encode_change(change);
        value.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        value.extend_from_slice(&bytes);
    }
    value
}

/// Reads a batch; `None` when it makes no sense.
pub(crate) fn decode_batch(value: &[u8]) -> Option<Batch> {
    let (sequence, mut rest) = value.split_first_chunk::<8>()?;
    let source = match take(&mut rest)? {
        [] => None,
        source => Some(history::decode_position(source)?),
    };
    let mut changes = Vec::new();
    while !rest.is_empty() {
        changes.push(decode_change(take(&mut rest)?)?);
    }
    Some(Batch { sequence: u64::from_be_bytes(*sequence), source, changes })
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, behind) = rest.split_first_chunk::<4>()?;
    let (bytes, behind) = behind.split_at_checked(u32::from_be_bytes(*len) as usize)?;
    *rest = behind;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_lead_back_to_their_entries() {
        let name: Box<[u8]> = b"ex.com!user.a^b.c".as_slice().into();
        let location = Location(b"be1!p".as_slice().into());
        let active = Change::Active(Entry {
            name: name.clone(),
            location: location.clone(),
            acl: b"a.b@ex.com\tlrs\t".as_slice().into(),
        });
        let reserved = Change::Reserved { name: name.clone(), location };
        for change in [active, reserved] {
            let value = encode(&change).unwrap();
            assert_eq!(decode(&key::key(&name), &value), Some(change.clone()));
            assert_eq!(decode_change(&encode_change(&change)), Some(change));
            for cut in 0..3 {
                assert_eq!(decode(&key::key(&name), &value[..cut]), None);
            }
        }
        let deleted = Change::Deleted { name };
        assert_eq!(encode(&deleted), None);
        assert_eq!(decode_change(&encode_change(&deleted)), Some(deleted));
        assert_eq!(decode(b"a", b"A\0\x05be"), None);
        assert_eq!(decode(b"a", b"X\0\0"), None);
    }

    #[test]
    fn batches_lead_back_to_their_changes() {
        let changes: Vec<Change> =
            [b"user.a", b"user.b"].map(|name| Change::Deleted { name: (*name).into() }).into();
        let source = Position { epoch: "abc".into(), sequence: 9 };
        for source in [None, Some(source)] {
            let value = encode_batch(&changes, 7, source.as_ref());
            let batch = Batch { sequence: 7, source, changes: changes.clone() };
            assert_eq!(decode_batch(&value), Some(batch));
            assert_eq!(decode_batch(&value[..value.len() - 1]), None);
        }
        assert_eq!(decode_batch(&encode_batch(&[], 3, None)).unwrap().changes, []);
    }
}
