//! Commands that name one mailbox, STATUS, RENAME.

use crate::wire::cursor::Bytes;
use crate::wire::{Cursor, SyntaxError};

/// The argument of DELETE, SUBSCRIBE, UNSUBSCRIBE and the like.
///
/// ```text
/// delete  = "DELETE" SP mailbox
/// mailbox = "INBOX" / astring      RFC 9051 section 9
/// ```
///
/// # Errors
/// Anything else.
pub fn mailbox_args(args: &[u8]) -> Result<Bytes<'_>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    let mailbox = cursor.astring()?;
    cursor.end()?;
    Ok(mailbox)
}

/// The arguments of SUBSCRIBE and UNSUBSCRIBE: `MAILBOX name` is an older form that Cyrus takes.
///
/// ```text
/// subscribe = "SUBSCRIBE" SP mailbox      RFC 9051 section 9
/// ```
///
/// # Errors
/// Anything else.
pub fn subscribe_args(args: &[u8]) -> Result<Bytes<'_>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    let first = cursor.astring()?;
    if cursor.is_at_end() {
        return Ok(first);
    }
    if !first.eq_ignore_ascii_case(b"MAILBOX") {
        return Err(cursor.error("end of line"));
    }
    cursor.sp()?;
    let mailbox = cursor.astring()?;
    cursor.end()?;
    Ok(mailbox)
}

/// Arguments of STATUS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatusArgs<'a> {
    /// The mailbox as typed.
    pub mailbox: Bytes<'a>,
    /// The items, with their parentheses.
    pub items: &'a [u8],
}

/// ```text
/// status = "STATUS" SP mailbox SP "(" status-att *(SP status-att) ")"      RFC 9051 section 9
/// ```
/// The items are the backend's to judge.
///
/// # Errors
/// The arguments are not so.
pub fn status_args(args: &[u8]) -> Result<StatusArgs<'_>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    let mailbox = cursor.astring()?;
    cursor.sp()?;
    let items = cursor.parenthesised()?;
    cursor.end()?;
    Ok(StatusArgs { mailbox, items })
}

/// Arguments of RENAME.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RenameArgs<'a> {
    /// The mailbox as typed.
    pub old: Bytes<'a>,
    /// Its new name as typed.
    pub new: Bytes<'a>,
    /// Where it shall go: `partition`, `server!partition` or `server!`; Cyrus' third argument.
    pub location: Option<Bytes<'a>>,
}

/// ```text
/// rename = "RENAME" SP mailbox SP mailbox      RFC 9051 section 9
///          [SP astring]                        Cyrus
/// ```
///
/// # Errors
/// The arguments are not so.
pub fn rename_args(args: &[u8]) -> Result<RenameArgs<'_>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    let old = cursor.astring()?;
    cursor.sp()?;
    let new = cursor.astring()?;
    let location = if cursor.take_if(b' ') { Some(cursor.astring()?) } else { None };
    cursor.end()?;
    Ok(RenameArgs { old, new, location })
}

/// Arguments of XFER.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct XferArgs<'a> {
    /// The mailbox as typed.
    pub mailbox: Bytes<'a>,
    /// The server that it shall move to.
    pub server: Bytes<'a>,
    /// The partition there.
    pub partition: Option<Bytes<'a>>,
}

/// ```text
/// xfer = "XFER" SP mailbox SP astring [SP astring]      Cyrus
/// ```
///
/// # Errors
/// The arguments are not so.
pub fn xfer_args(args: &[u8]) -> Result<XferArgs<'_>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    let mailbox = cursor.astring()?;
    cursor.sp()?;
    let server = cursor.astring()?;
    let partition = if cursor.take_if(b' ') { Some(cursor.astring()?) } else { None };
    cursor.end()?;
    Ok(XferArgs { mailbox, server, partition })
}

/// The mailbox at the front of the arguments of a command whose other arguments are the backend's to judge,
/// and where those begin, their space included.
///
/// # Errors
/// What stands first is no mailbox.
pub fn first_mailbox(args: &[u8]) -> Result<(Bytes<'_>, usize), SyntaxError> {
    let mut cursor = Cursor::new(args);
    let mailbox = cursor.astring()?;
    if !cursor.is_at_end() && cursor.peek() != Some(b' ') {
        return Err(cursor.error("SP"));
    }
    Ok((mailbox, cursor.position()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mailbox_and_nothing_else() {
        assert_eq!(&*mailbox_args(b"\"Sent Items\"").unwrap(), b"Sent Items");
        assert_eq!(&*mailbox_args(b"\"a\\\"b\\\\c\"").unwrap(), b"a\"b\\c");
        assert!(mailbox_args(b"a b").is_err());
        assert!(mailbox_args(b"").is_err());
        assert!(mailbox_args(b"a*").is_err());
    }

    #[test]
    fn subscribe_takes_the_older_form() {
        assert_eq!(&*subscribe_args(b"team").unwrap(), b"team");
        assert_eq!(&*subscribe_args(b"MAILBOX team").unwrap(), b"team");
        assert_eq!(&*subscribe_args(b"mailbox").unwrap(), b"mailbox");
        assert!(subscribe_args(b"a team").is_err());
    }

    #[test]
    fn status_leaves_its_items_raw() {
        let status = status_args(b"INBOX (MESSAGES X-NEW (1 2))").unwrap();
        assert_eq!(status.items, b"(MESSAGES X-NEW (1 2))");
        assert!(status_args(b"INBOX MESSAGES").is_err());
        assert!(status_args(b"INBOX (MESSAGES").is_err());
    }

    #[test]
    fn rename_may_name_a_location() {
        let rename = rename_args(b"a b").unwrap();
        assert_eq!(rename.location, None);
        let rename = rename_args(b"user.x user.x backend2.example.com!default").unwrap();
        assert_eq!(rename.location.as_deref(), Some(&b"backend2.example.com!default"[..]));
        assert!(rename_args(b"a").is_err());
        assert!(rename_args(b"a b c d").is_err());
    }
}
