//! COPY, MOVE, and the head of APPEND.

use crate::wire::cursor::Bytes;
use crate::wire::{Cursor, SyntaxError};

/// Arguments of COPY and MOVE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopyArgs<'a> {
    /// The messages as typed, `$` included.
    pub set: &'a [u8],
    /// The destination as typed.
    pub mailbox: Bytes<'a>,
}

/// ```text
/// copy = "COPY" SP sequence-set SP mailbox
/// move = "MOVE" SP sequence-set SP mailbox      RFC 9051 section 9
/// ```
///
/// # Errors
/// The arguments are not so.
pub fn copy_args(args: &[u8]) -> Result<CopyArgs<'_>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    let set = cursor.sequence_set()?;
    cursor.sp()?;
    let mailbox = cursor.astring()?;
    cursor.end()?;
    Ok(CopyArgs { set, mailbox })
}

/// The head of an APPEND, and of REPLACE behind its message number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppendHead<'a> {
    /// The destination as typed.
    pub mailbox: Bytes<'a>,
    /// Flags, date and what else stands before the first message, unread; it ends with the
    /// announcement of a literal, or of a URL of CATENATE.
    pub rest: &'a [u8],
    /// Where `rest` begins in the arguments.
    pub rest_at: usize,
}

/// Reads the mailbox of an APPEND; the messages need not be there.
///
/// ```text
/// append         = "APPEND" SP mailbox 1*append-message
/// append-message = append-opts SP append-data      RFC 4466 section 6
/// ```
///
/// # Errors
/// No mailbox, or nothing behind it.
pub fn append_head(args: &[u8]) -> Result<AppendHead<'_>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    let mailbox = cursor.astring()?;
    cursor.sp()?;
    if cursor.is_at_end() {
        return Err(cursor.error("message"));
    }
    Ok(AppendHead { mailbox, rest: cursor.rest(), rest_at: cursor.position() })
}

/// Reads the message of a REPLACE and the head of what takes its place.
///
/// ```text
/// replace = "REPLACE" SP seq-number SP mailbox append-message      RFC 8508 section 5
/// ```
///
/// # Errors
/// No number, no mailbox, or nothing behind it.
pub fn replace_head(args: &[u8]) -> Result<(&[u8], AppendHead<'_>), SyntaxError> {
    let mut cursor = Cursor::new(args);
    let message = if cursor.take_if(b'*') {
        &args[..1]
    } else {
        cursor.number()?;
        &args[..cursor.position()]
    };
    cursor.sp()?;
    let begins = cursor.position();
    let head = append_head(&args[begins..])?;
    Ok((message, AppendHead { rest_at: begins + head.rest_at, ..head }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_has_a_set_and_a_mailbox() {
        let copy = copy_args(b"2:4,7,* {5+}\r\na b c").unwrap();
        assert_eq!((copy.set, &*copy.mailbox), (&b"2:4,7,*"[..], &b"a b c"[..]));
        assert_eq!(copy_args(b"$ x").unwrap().set, b"$");
        for args in [&b"1:4"[..], b"x y", b"1 a b", b"1 ", b" x"] {
            assert!(copy_args(args).is_err(), "{}", args.escape_ascii());
        }
    }

    #[test]
    fn append_leaves_the_message_alone() {
        let head = append_head(b"INBOX (\\Seen) {310}").unwrap();
        assert_eq!((&*head.mailbox, head.rest, head.rest_at), (&b"INBOX"[..], &b"(\\Seen) {310}"[..], 6));
        let head = append_head(b"{5}\r\na b c ~{310+}").unwrap();
        assert_eq!((&*head.mailbox, head.rest), (&b"a b c"[..], &b"~{310+}"[..]));
        assert!(append_head(b"INBOX").is_err());
        assert!(append_head(b"INBOX ").is_err());
        assert!(append_head(b"{310}").is_err());
    }
}
