//! An internal name taken apart, borrowed from its text.

use std::borrow::Cow;

/// The parts of an internal name. Components are in internal spelling (`^` for a dot).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Name<'a> {
    /// The domain, `None` in the default domain.
    pub domain: Option<&'a [u8]>,
    /// The hexadecimal time at the end of a mailbox that delayed deletion kept.
    pub deleted: Option<&'a [u8]>,
    /// The localpart of the owner.
    pub localpart: Option<&'a [u8]>,
    /// The components behind the owner, or all of a shared name; empty for an INBOX.
    pub boxes: &'a [u8],
}

impl<'a> Name<'a> {
    /// Takes an internal name apart. Every text has parts; whether it is a good name is another
    /// question.
    pub fn parse(internal: &'a [u8], deleted_prefix: &[u8], default_domain: &[u8]) -> Name<'a> {
        let (domain, mut boxes) = match memchr::memchr(b'!', internal) {
            Some(bang) => (Some(&internal[..bang]), &internal[bang + 1..]),
            None => (None, internal),
        };
        let deleted = deleted_time(boxes, deleted_prefix);
        if let Some(time) = deleted {
            boxes = &boxes[deleted_prefix.len() + 1..boxes.len() - time.len() - 1];
        }
        let mut localpart = None;
        if let Some(behind) = boxes.strip_prefix(b"user.") {
            let (first, rest) = split_first(behind);
            localpart = Some(first);
            boxes = rest;
        }
        Name { domain: domain.filter(|domain| *domain != default_domain), deleted, localpart, boxes }
    }

    /// The first component of [`Name::boxes`].
    pub fn first_box(&self) -> Option<&'a [u8]> {
        if self.boxes.is_empty() { None } else { Some(split_first(self.boxes).0) }
    }

    /// The owner as in `Identity.user`: localpart with dots, `@domain` outside the default domain.
    pub fn owner(&self) -> Option<Vec<u8>> {
        let localpart = self.localpart?;
        let mut user = Vec::with_capacity(localpart.len() + 1 + self.domain.map_or(0, <[u8]>::len));
        user.extend(localpart.iter().map(|byte| plain_byte(*byte)));
        if let Some(domain) = self.domain {
            user.push(b'@');
            user.extend_from_slice(domain);
        }
        Some(user)
    }

    /// Whether a canonical user owns the mailbox. Allocates nothing.
    pub fn is_owned_by(&self, user: &[u8], default_domain: &[u8]) -> bool {
        let Some(localpart) = self.localpart else { return false };
        let (user_localpart, user_domain) = split_user(user, default_domain);
        self.domain == user_domain && is_same(localpart, user_localpart)
    }
}

/// The part of a user id before the last `@`, and the domain unless it is the default one.
pub(super) fn split_user<'u>(user: &'u [u8], default_domain: &[u8]) -> (&'u [u8], Option<&'u [u8]>) {
    match memchr::memrchr(b'@', user) {
        Some(at) => (&user[..at], Some(&user[at + 1..]).filter(|domain| *domain != default_domain)),
        None => (user, None),
    }
}

/// The first component and what is behind its separator.
pub(super) fn split_first(boxes: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'.', boxes) {
        Some(dot) => (&boxes[..dot], &boxes[dot + 1..]),
        None => (boxes, b""),
    }
}

/// The time at the end of `PREFIX.something.TIME`: 1 to 8 hexadecimal digits, not all zero.
fn deleted_time<'a>(boxes: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let behind = boxes.strip_prefix(prefix)?.strip_prefix(b".")?;
    let dot = memchr::memrchr(b'.', behind).filter(|dot| *dot > 0)?;
    let time = &behind[dot + 1..];
    let is_time = matches!(time.len(), 1..=8)
        && time.iter().all(u8::is_ascii_hexdigit)
        && time.iter().any(|digit| *digit != b'0');
    is_time.then_some(time)
}

/// Whether an internal component spells `plain`, in which a dot is a dot.
pub(super) fn is_same(component: &[u8], plain: &[u8]) -> bool {
    component.len() == plain.len()
        && component.iter().zip(plain).all(|(internal, plain)| plain_byte(*internal) == *plain)
}

/// A byte of an internal component as the user means it.
pub(super) fn plain_byte(byte: u8) -> u8 {
    if byte == b'^' { b'.' } else { byte }
}

/// A plain component (a localpart) in internal spelling.
pub(super) fn internal_component(plain: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'.', plain).is_none() {
        return Cow::Borrowed(plain);
    }
    Cow::Owned(plain.iter().map(|byte| if *byte == b'.' { b'^' } else { *byte }).collect())
}
