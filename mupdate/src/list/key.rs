//! Sort keys: internal mailbox names as bytes whose plain order is the hierarchy order.
//!
//! Cyrus keeps its list under such keys (spec: "dbname"), so LIST and UPDATE of its master come in
//! this order: `user.foo`, `user.foo.x`, `user.foo-bar`.
//!
//! ```text
//!   name   domain "!" rest         key    domain 0x1D rest'
//!   rest   any byte but "."        rest'  the byte; "^" (a dot inside a component) becomes "."
//!          "."                            0x1F
//! ```
//!
//! Dots in the domain are no separators and stay. The mapping is one to one for names that
//! [`is_storable`] accepts.

use std::cmp::Ordering;
use std::ops::Range;

use smallvec::SmallVec;

/// Longest name that is stored, in octets: what Cyrus lets a mailbox be created with.
pub const NAME_BYTES_MAX: usize = 490;

/// Stands for the separator of a name.
pub(crate) const SEPARATOR: u8 = 0x1f;

/// Stands for the end of the domain.
pub(crate) const DOMAIN_END: u8 = 0x1d;

/// Whether the list can hold this name: 1 to [`NAME_BYTES_MAX`] octets, no control characters.
pub fn is_storable(name: &[u8]) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.iter().any(|&byte| byte < 0x20 || byte == 0x7f)
}

/// Appends the sort key of a name.
pub(crate) fn encode(name: &[u8], key: &mut Vec<u8>) {
    let rest = match memchr::memchr(b'!', name) {
        Some(bang) => {
            key.extend_from_slice(&name[..bang]);
            key.push(DOMAIN_END);
            &name[bang + 1..]
        }
        None => name,
    };
    key.extend(rest.iter().map(|&byte| match byte {
        b'.' => SEPARATOR,
        b'^' => b'.',
        other => other,
    }));
}

/// The sort key of a name: [`name`] leads back, plain order of keys is hierarchy order.
pub fn key(name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 1);
    encode(name, &mut key);
    key
}

/// The name of a sort key.
pub fn name(key: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(key.len());
    decode(key, &mut name);
    name
}

/// Replaces `name` by the name of a key.
pub(crate) fn decode(key: &[u8], name: &mut Vec<u8>) {
    name.clear();
    let rest = match memchr::memchr(DOMAIN_END, key) {
        Some(end) => {
            name.extend_from_slice(&key[..end]);
            name.push(b'!');
            &key[end + 1..]
        }
        None => key,
    };
    name.extend(rest.iter().map(|&byte| match byte {
        SEPARATOR => b'.',
        b'.' => b'^',
        other => other,
    }));
}

/// Compares two names in hierarchy order.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    key(a).cmp(&key(b))
}

/// The key prefixes, in order, under which all names with a given byte prefix stand.
///
/// One in most cases; two when the prefix has a dot or `^` but no `!` yet, for it may be the start
/// of a domain or of a name without one.
pub(crate) fn prefixes(prefix: &[u8]) -> SmallVec<[Vec<u8>; 2]> {
    let mapped = key(prefix);
    let mut found = SmallVec::new();
    if memchr::memchr(b'!', prefix).is_none() && mapped != prefix {
        found.push(prefix.to_vec());
    }
    found.push(mapped);
    found.sort();
    found
}

/// The owner in `[domain!][DELETED.]user.owner`.
pub(crate) struct OwnerParts<'a> {
    /// Without the `!`; empty when there is none.
    pub domain: &'a [u8],
    /// As in the name: a dot of the user is a `^`.
    pub local: &'a [u8],
}

/// Whose mailbox an internal name is: `[domain!][DELETED.]user.local[.sub]`.
pub(crate) fn owner(name: &[u8]) -> Option<OwnerParts<'_>> {
    let (domain, rest) = split_domain(name);
    let local = rest.strip_prefix(b"DELETED.").unwrap_or(rest).strip_prefix(b"user.")?;
    let local = &local[..memchr::memchr(b'.', local).unwrap_or(local.len())];
    (!local.is_empty()).then_some(OwnerParts { domain, local })
}

/// Writes the user id of an owner, as it stands in ACLs: `local` with dots, `@domain` if any.
pub(crate) fn write_owner_id(owner: &OwnerParts<'_>, id: &mut Vec<u8>) {
    id.extend(owner.local.iter().map(|&byte| if byte == b'^' { b'.' } else { byte }));
    if !owner.domain.is_empty() {
        id.push(b'@');
        id.extend_from_slice(owner.domain);
    }
}

/// Splits `domain!rest`; the domain is empty when there is none.
pub(crate) fn split_domain(name: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'!', name) {
        Some(bang) => (&name[..bang], &name[bang + 1..]),
        None => (&[], name),
    }
}

/// The key range `[start, end)` of a key prefix; no end when nothing sorts behind it.
pub(crate) fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// Length of what two byte strings have in common at the front.
pub(crate) fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// The part of `b` that tells it from `a`, for `a < b`: a fence between the two.
pub(crate) fn fence(a: &[u8], b: &[u8]) -> Range<usize> {
    0..(common(a, b) + 1).min(b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a master of Cyrus 3.6.1 lists these names.
    #[test]
    fn separator_sorts_before_every_other_character() {
        let mut names: Vec<&[u8]> = vec![
            b"user.foo/x",
            b"user.foo#x",
            b"user.foo-bar",
            b"user.foo",
            b"user.foo.x",
            b"user.foo^x",
            b"user.foo x",
            b"user.foo!x",
            b"example.com!user.a",
            b"example!user.z",
            b"DELETED.user.x.5E",
        ];
        names.sort_by(|a, b| compare(a, b));
        let expected: Vec<&[u8]> = vec![
            b"DELETED.user.x.5E",
            b"example!user.z",
            b"example.com!user.a",
            b"user.foo",
            b"user.foo.x",
            b"user.foo x",
            b"user.foo#x",
            b"user.foo-bar",
            b"user.foo^x",
            b"user.foo/x",
            b"user.foo!x",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn keys_lead_back_to_their_names() {
        for name in [&b"user.john^doe.A-B"[..], b"ex.am.ple!user.x^y.z", b"a!b!c.d", b"x^y!u.v", b"^", b"!"] {
            let mut back = Vec::new();
            decode(&key(name), &mut back);
            assert_eq!(back, name);
        }
    }

    #[test]
    fn control_characters_and_lengths_decide_what_is_storable() {
        assert!(is_storable(b"user.fred"));
        assert!(is_storable(&[b'a'; NAME_BYTES_MAX]));
        assert!(!is_storable(&[b'a'; NAME_BYTES_MAX + 1]));
        for name in [&b""[..], b"a\x1fb", b"a\0b", b"a\nb", b"a\x7f"] {
            assert!(!is_storable(name));
        }
    }

    #[test]
    fn owner_is_found_with_domain_and_below_deleted() {
        let id = |name: &[u8]| {
            owner(name).map(|owner| {
                let mut id = Vec::new();
                write_owner_id(&owner, &mut id);
                String::from_utf8(id).unwrap()
            })
        };
        assert_eq!(id(b"user.fred.Sent").as_deref(), Some("fred"));
        assert_eq!(id(b"ex.com!user.john^doe").as_deref(), Some("john.doe@ex.com"));
        assert_eq!(id(b"DELETED.user.fred.A.5E").as_deref(), Some("fred"));
        assert_eq!(id(b"team.docs"), None);
        assert_eq!(id(b"user"), None);
        assert_eq!(id(b"user."), None);
    }

    #[test]
    fn end_of_a_prefix_is_behind_all_that_begin_with_it() {
        assert_eq!(end_of(b"user").as_deref(), Some(&b"uses"[..]));
        assert_eq!(end_of(b"a\xff\xff").as_deref(), Some(&b"b"[..]));
        assert_eq!(end_of(b"\xff"), None);
        assert_eq!(end_of(b""), None);
    }

    #[test]
    fn a_prefix_with_dots_may_begin_a_domain_or_a_name() {
        assert_eq!(prefixes(b"user").as_slice(), [b"user".to_vec()]);
        assert_eq!(prefixes(b"a.b").as_slice(), [b"a\x1fb".to_vec(), b"a.b".to_vec()]);
        assert_eq!(prefixes(b"a.b!c.d").as_slice(), [b"a.b\x1dc\x1fd".to_vec()]);
    }
}
