//! SASLprep (RFC 4013).

use std::borrow::Cow;

use zeroize::Zeroize;

use crate::secret::Secret;

/// Prepares a user name. `None` when it is not UTF-8, holds what is prohibited, or becomes empty: "If
/// the preparation fails or results in an empty string, verification SHALL fail" (RFC 4616 section 2).
pub fn prepare_user(user: &[u8]) -> Option<Box<[u8]>> {
    let prepared = prepared(user)?;
    Some(prepared.as_bytes().into())
}

/// Prepares a password; as [`prepare_user`].
pub fn prepare_password(password: &[u8]) -> Option<Secret> {
    match prepared(password)? {
        Cow::Borrowed(text) => Some(Secret::new(text.as_bytes())),
        Cow::Owned(mut text) => {
            let secret = Secret::new(text.as_bytes());
            text.zeroize();
            Some(secret)
        }
    }
}

fn prepared(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(bytes).ok()?;
    stringprep::saslprep(text).ok().filter(|prepared| !prepared.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_rfc_4013_are_prepared() {
        assert_eq!(prepare_user("I\u{ad}X".as_bytes()).as_deref(), Some(&b"IX"[..]));
        assert_eq!(prepare_user(b"user").as_deref(), Some(&b"user"[..]));
        assert_eq!(prepare_user(b"USER").as_deref(), Some(&b"USER"[..]));
        assert_eq!(prepare_user("\u{aa}".as_bytes()).as_deref(), Some(&b"a"[..]));
        assert_eq!(prepare_user("\u{2168}".as_bytes()).as_deref(), Some(&b"IX"[..]));
        assert_eq!(prepare_user(b"\x07"), None);
        assert_eq!(prepare_user("\u{627}\u{31}".as_bytes()), None);
    }

    #[test]
    fn not_utf8_and_nothing_are_refused() {
        assert!(prepare_password(b"\xff").is_none());
        assert!(prepare_password(b"").is_none());
        assert!(prepare_password("\u{ad}".as_bytes()).is_none());
        assert_eq!(prepare_password(b"pencil").unwrap().expose(), b"pencil");
    }
}
