//! One entry or change as it is stored.

use mupdate::list::key;
use protocols::proxy::{Change, Entry, Location};

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

/// A change with its number, for the log: the number, the length of the sort key, the key, and the
/// record of the entry unless it was deleted.
pub(crate) fn encode_logged(number: u64, change: &Change) -> Vec<u8> {
    let key = key::key(change.name());
    // Names that are stored are shorter than a key length can say.
    let len = u16::try_from(key.len()).unwrap_or(u16::MAX);
    let mut value = number.to_be_bytes().to_vec();
    value.extend_from_slice(&len.to_be_bytes());
    value.extend_from_slice(&key[..usize::from(len)]);
    value.extend_from_slice(&encode(change).unwrap_or_default());
    value
}

/// The change of a row of the log; `None` when it makes no sense.
pub(crate) fn decode_logged(value: &[u8]) -> Option<(u64, Change)> {
    let (number, rest) = value.split_first_chunk::<8>()?;
    let (len, rest) = rest.split_first_chunk::<2>()?;
    let (key, entry) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
    let change = match entry {
        [] => Change::Deleted { name: key::name(key).into_boxed_slice() },
        entry => decode(key, entry)?,
    };
    Some((u64::from_be_bytes(*number), change))
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
            assert_eq!(decode_logged(&encode_logged(9, &change)), Some((9, change)));
            for cut in 0..3 {
                assert_eq!(decode(&key::key(&name), &value[..cut]), None);
            }
        }
        let deleted = Change::Deleted { name };
        assert_eq!(encode(&deleted), None);
        assert_eq!(decode_logged(&encode_logged(7, &deleted)), Some((7, deleted)));
        assert_eq!(decode(b"a", b"A\0\x05be"), None);
        assert_eq!(decode(b"a", b"X\0\0"), None);
    }
}
