//! GETQUOTA, SETQUOTA, GETQUOTAROOT (RFC 2087, RFC 9208).

use crate::wire::cursor::Bytes;
use crate::wire::limits::LIST_ELEMENTS_MAX;
use crate::wire::{Cursor, SyntaxError};

use super::mailbox::mailbox_args;

/// A resource and its limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuotaResource<'a> {
    /// STORAGE, MESSAGE, ...
    pub name: &'a [u8],
    /// The limit; `None` for Cyrus' `-1`, which takes a limit away.
    pub limit: Option<u64>,
}

/// Arguments of SETQUOTA.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetQuotaArgs<'a> {
    /// The quota root as typed; Cyrus takes a `+` before it to create one.
    pub root: Bytes<'a>,
    /// What shall hold.
    pub resources: Vec<QuotaResource<'a>>,
}

/// ```text
/// getquota = "GETQUOTA" SP quota-root-name      RFC 9208 section 7
/// ```
///
/// # Errors
/// The argument is not so.
pub fn getquota_args(args: &[u8]) -> Result<Bytes<'_>, SyntaxError> {
    mailbox_args(args)
}

/// ```text
/// getquotaroot = "GETQUOTAROOT" SP mailbox      RFC 9208 section 7
/// ```
///
/// # Errors
/// The argument is not so.
pub fn getquotaroot_args(args: &[u8]) -> Result<Bytes<'_>, SyntaxError> {
    mailbox_args(args)
}

/// ```text
/// setquota       = "SETQUOTA" SP quota-root-name SP setquota-list
/// setquota-list  = "(" [setquota-resource *(SP setquota-resource)] ")"
/// setquota-resource = resource-name SP resource-limit      RFC 9208 section 7
/// ```
/// Deviates: the limit may be `-1`, as in Cyrus.
///
/// # Errors
/// The arguments are not so, or more than [`LIST_ELEMENTS_MAX`] resources.
pub fn setquota_args(args: &[u8]) -> Result<SetQuotaArgs<'_>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    let root = cursor.astring()?;
    let mut resources = Vec::new();
    cursor.sp()?;
    cursor.byte(b'(', "(")?;
    while !cursor.take_if(b')') {
        if resources.len() == LIST_ELEMENTS_MAX {
            return Err(cursor.error("fewer resources"));
        }
        if !resources.is_empty() {
            cursor.sp()?;
        }
        let name = cursor.atom()?;
        cursor.sp()?;
        let limit = if cursor.take_word(b"-1") { None } else { Some(cursor.number64()?) };
        resources.push(QuotaResource { name, limit });
    }
    cursor.end()?;
    Ok(SetQuotaArgs { root, resources })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_pairs() {
        let quota = setquota_args(b"user.fred (STORAGE 512 X-NUM-FOLDERS -1)").unwrap();
        assert_eq!(&*quota.root, b"user.fred");
        assert_eq!(
            quota.resources,
            [
                QuotaResource { name: b"STORAGE", limit: Some(512) },
                QuotaResource { name: b"X-NUM-FOLDERS", limit: None }
            ]
        );
        assert_eq!(setquota_args(b"x ()").unwrap().resources, []);
    }

    #[test]
    fn malformed_resources_are_refused() {
        for args in [
            &b"x"[..],
            b"x STORAGE 1",
            b"x (STORAGE)",
            b"x (STORAGE a)",
            b"x (STORAGE -12)",
            b"x (STORAGE 1",
            b"x () y",
        ] {
            assert!(setquota_args(args).is_err(), "{}", args.escape_ascii());
        }
    }

    #[test]
    fn a_root_may_be_empty() {
        assert_eq!(&*getquota_args(b"\"\"").unwrap(), b"");
        assert!(getquotaroot_args(b"a b").is_err());
    }
}
