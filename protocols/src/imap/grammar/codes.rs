//! Response codes.

use std::num::NonZeroU32;

use crate::wire::{Cursor, Error};

use super::set::SequenceSet;

/// `[APPENDUID uidvalidity uids]` (RFC 4315 section 3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppendUid {
    /// UIDVALIDITY of the destination.
    pub uidvalidity: NonZeroU32,
    /// What the messages got, in order.
    pub uids: SequenceSet,
}

/// `[COPYUID uidvalidity source-uids destination-uids]` (RFC 4315 section 3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopyUid {
    /// UIDVALIDITY of the destination.
    pub uidvalidity: NonZeroU32,
    /// What was copied, in order.
    pub source: SequenceSet,
    /// What the copies got, in the same order.
    pub destination: SequenceSet,
}

/// Name and arguments of the response code at the front of a text.
///
/// ```text
/// resp-text = ["[" resp-text-code "]" SP] [text]      RFC 9051 section 9
/// ```
pub fn code(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (inside, _) = split_code(text)?;
    Some(match memchr::memchr(b' ', inside) {
        Some(space) => (&inside[..space], &inside[space + 1..]),
        None => (inside, b""),
    })
}

/// The text for humans: what stands behind the response code, or all of it.
pub fn human_text(text: &[u8]) -> &[u8] {
    match split_code(text) {
        Some((_, behind)) => behind.strip_prefix(b" ").unwrap_or(behind),
        None => text,
    }
}

/// ```text
/// resp-code-apnd = "APPENDUID" SP nz-number SP append-uid      RFC 9051 section 9
/// ```
///
/// # Errors
/// The arguments are not so.
pub fn append_uid(args: &[u8]) -> Result<AppendUid, Error> {
    let mut cursor = Cursor::new(args);
    let uidvalidity = nz_number(&mut cursor)?;
    cursor.sp()?;
    let uids = SequenceSet::parse(cursor.sequence_set()?)?;
    cursor.end()?;
    Ok(AppendUid { uidvalidity, uids })
}

/// ```text
/// resp-code-copy = "COPYUID" SP nz-number SP uid-set SP uid-set      RFC 9051 section 9
/// ```
///
/// # Errors
/// The arguments are not so. Cyrus frontends leave the source set out (issue 4027).
pub fn copy_uid(args: &[u8]) -> Result<CopyUid, Error> {
    let mut cursor = Cursor::new(args);
    let uidvalidity = nz_number(&mut cursor)?;
    cursor.sp()?;
    let source = SequenceSet::parse(cursor.sequence_set()?)?;
    cursor.sp()?;
    let destination = SequenceSet::parse(cursor.sequence_set()?)?;
    cursor.end()?;
    Ok(CopyUid { uidvalidity, source, destination })
}

/// The argument of UIDVALIDITY, UIDNEXT, UNSEEN.
///
/// # Errors
/// It is no number from 1 on.
pub fn nz_argument(args: &[u8]) -> Result<NonZeroU32, Error> {
    let mut cursor = Cursor::new(args);
    let number = nz_number(&mut cursor)?;
    cursor.end()?;
    Ok(number)
}

/// The argument of HIGHESTMODSEQ (RFC 7162 section 3.1.2.1): 63 bits; 0 is taken too.
///
/// # Errors
/// It is no number.
pub fn highest_modseq(args: &[u8]) -> Result<u64, Error> {
    let mut cursor = Cursor::new(args);
    let modseq = cursor.number64()?;
    cursor.end()?;
    Ok(modseq)
}

/// The capabilities in the arguments of a CAPABILITY code or response.
pub fn capabilities(args: &[u8]) -> impl Iterator<Item = &[u8]> {
    args.split(|byte| *byte == b' ').filter(|capability| !capability.is_empty())
}

/// What stands in the brackets and what behind them. A `]` in a quoted string does not end a code.
fn split_code(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = text.strip_prefix(b"[")?;
    let mut quoted = false;
    let mut escaped = false;
    let end = inside.iter().position(|byte| {
        let was_escaped = std::mem::take(&mut escaped);
        match byte {
            b'"' if !was_escaped => quoted = !quoted,
            b'\\' if quoted && !was_escaped => escaped = true,
            b']' => return !quoted,
            _ => {}
        }
        false
    })?;
    Some((&inside[..end], &inside[end + 1..]))
}

/// ```text
/// nz-number = digit-nz *DIGIT      RFC 9051 section 9
/// ```
fn nz_number(cursor: &mut Cursor<'_>) -> Result<NonZeroU32, Error> {
    let expected = cursor.error("number from 1 on");
    Ok(NonZeroU32::new(cursor.number()?).ok_or(expected)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_arguments_and_text_are_told_apart() {
        let text = b"[APPENDUID 38505 3955] Completed";
        assert_eq!(code(text), Some((&b"APPENDUID"[..], &b"38505 3955"[..])));
        assert_eq!(human_text(text), b"Completed");
        assert_eq!(code(b"[CLOSED]"), Some((&b"CLOSED"[..], &b""[..])));
        assert_eq!(code(b"Completed [x]"), None);
        assert_eq!(human_text(b"Completed [x]"), b"Completed [x]");
        assert_eq!(code(b"[UNENDING"), None);
        assert_eq!(code(b""), None);
    }

    #[test]
    fn quoted_bracket_does_not_end_a_code() {
        let text = br#"[BADURL "/x;\"]y]"] gone"#;
        assert_eq!(code(text), Some((&b"BADURL"[..], &br#""/x;\"]y]""#[..])));
        assert_eq!(human_text(text), b"gone");
    }

    #[test]
    fn uidplus_codes_are_read() {
        let append = append_uid(b"38505 3955:3957").unwrap();
        assert_eq!((append.uidvalidity.get(), append.uids.count(NonZeroU32::MIN)), (38505, 3));
        let copy = copy_uid(b"38505 304,319:320 3956:3958").unwrap();
        assert_eq!(copy.source.count(NonZeroU32::MIN), copy.destination.count(NonZeroU32::MIN));
        assert!(copy_uid(b"38505 3956:3958").is_err(), "the source set is missing");
        assert!(append_uid(b"0 1").is_err());
    }

    #[test]
    fn capabilities_are_words() {
        let words: Vec<_> = capabilities(b"IMAP4rev1  LITERAL+ ").collect();
        assert_eq!(words, [&b"IMAP4rev1"[..], b"LITERAL+"]);
    }

    #[test]
    fn numbers_of_select_codes_are_read() {
        assert_eq!(nz_argument(b"3857529045").map(NonZeroU32::get), Ok(3_857_529_045));
        assert_eq!(highest_modseq(b"9223372036854775807"), Ok(9_223_372_036_854_775_807));
        assert!(nz_argument(b"1 2").is_err());
    }
}
