//! SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS (RFC 4314 section 3).

use crate::wire::cursor::Bytes;
use crate::wire::{Cursor, SyntaxError};

/// Arguments of the commands of RFC 4314, as many as the command has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AclArgs<'a> {
    /// The mailbox as typed.
    pub mailbox: Bytes<'a>,
    /// The identifier; empty for GETACL and MYRIGHTS.
    pub identifier: Bytes<'a>,
    /// The rights with their `+` or `-`; empty for all but SETACL, where they may be empty too.
    pub rights: Bytes<'a>,
}

/// ```text
/// setacl = "SETACL" SP mailbox SP identifier SP mod-rights      RFC 4314 section 6
/// ```
///
/// # Errors
/// The arguments are not so.
pub fn setacl_args(args: &[u8]) -> Result<AclArgs<'_>, SyntaxError> {
    strings(args).map(|[mailbox, identifier, rights]| AclArgs { mailbox, identifier, rights })
}

/// ```text
/// deleteacl = "DELETEACL" SP mailbox SP identifier      RFC 4314 section 6
/// ```
///
/// # Errors
/// The arguments are not so.
pub fn deleteacl_args(args: &[u8]) -> Result<AclArgs<'_>, SyntaxError> {
    strings(args).map(|[mailbox, identifier]| AclArgs { mailbox, identifier, rights: b"".into() })
}

/// ```text
/// listrights = "LISTRIGHTS" SP mailbox SP identifier      RFC 4314 section 6
/// ```
///
/// # Errors
/// The arguments are not so.
pub fn listrights_args(args: &[u8]) -> Result<AclArgs<'_>, SyntaxError> {
    deleteacl_args(args)
}

/// ```text
/// getacl = "GETACL" SP mailbox      RFC 4314 section 6
/// ```
///
/// # Errors
/// The arguments are not so.
pub fn getacl_args(args: &[u8]) -> Result<AclArgs<'_>, SyntaxError> {
    strings(args).map(|[mailbox]| AclArgs { mailbox, identifier: b"".into(), rights: b"".into() })
}

/// ```text
/// myrights = "MYRIGHTS" SP mailbox      RFC 4314 section 6
/// ```
///
/// # Errors
/// The arguments are not so.
pub fn myrights_args(args: &[u8]) -> Result<AclArgs<'_>, SyntaxError> {
    getacl_args(args)
}

/// Exactly `N` astrings.
fn strings<const N: usize>(args: &[u8]) -> Result<[Bytes<'_>; N], SyntaxError> {
    let mut cursor = Cursor::new(args);
    let mut strings = [const { Bytes::Borrowed(&[]) }; N];
    for (n, string) in strings.iter_mut().enumerate() {
        if n > 0 {
            cursor.sp()?;
        }
        *string = cursor.astring()?;
    }
    cursor.end()?;
    Ok(strings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_its_number_of_arguments() {
        let acl = setacl_args(b"INBOX -anyone +lrs").unwrap();
        assert_eq!(
            (&*acl.mailbox, &*acl.identifier, &*acl.rights),
            (&b"INBOX"[..], &b"-anyone"[..], &b"+lrs"[..])
        );
        assert_eq!(&*setacl_args(b"INBOX fred \"\"").unwrap().rights, b"");
        assert_eq!(&*deleteacl_args(b"INBOX {9+}\r\ngroup:a b").unwrap().identifier, b"group:a b");
        assert!(setacl_args(b"INBOX fred").is_err());
        assert!(deleteacl_args(b"INBOX").is_err());
        assert!(listrights_args(b"INBOX fred x").is_err());
        assert!(getacl_args(b"INBOX fred").is_err());
        assert!(myrights_args(b"").is_err());
    }
}
