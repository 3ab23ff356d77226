//! SELECT and EXAMINE.

use std::num::NonZeroU32;

use crate::wire::cursor::Bytes;
use crate::wire::{Cursor, SyntaxError};

/// Arguments of SELECT and EXAMINE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SelectArgs<'a> {
    /// The mailbox as typed.
    pub mailbox: Bytes<'a>,
    /// All parameters, with their parentheses (RFC 4466 section 2.2).
    pub parameters: Option<&'a [u8]>,
    /// CONDSTORE is among them (RFC 7162 section 3.1.8).
    pub condstore: bool,
    /// QRESYNC is among them (RFC 7162 section 3.2.5).
    pub qresync: Option<Qresync<'a>>,
}

/// The QRESYNC parameter: what the client knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Qresync<'a> {
    /// The UIDVALIDITY that it saw.
    pub uidvalidity: NonZeroU32,
    /// The mod-sequence up to which it knows all changes.
    pub modseq: u64,
    /// The UIDs that it knows.
    pub known_uids: Option<&'a [u8]>,
    /// Message numbers and their UIDs, with the parentheses.
    pub matches: Option<&'a [u8]>,
}

/// ```text
/// select        = "SELECT" SP mailbox [select-params]
/// select-params = SP "(" select-param *(SP select-param) ")"      RFC 4466 section 2.2
/// ```
/// Parameters that are not known here are kept in the raw span.
///
/// # Errors
/// The arguments are not so.
pub fn select_args(args: &[u8]) -> Result<SelectArgs<'_>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    let mailbox = cursor.astring()?;
    let mut select = SelectArgs { mailbox, parameters: None, condstore: false, qresync: None };
    if cursor.take_if(b' ') {
        let mut inside = cursor.clone();
        select.parameters = Some(cursor.parenthesised()?);
        read_parameters(&mut inside, &mut select)?;
    }
    cursor.end()?;
    Ok(select)
}

/// ```text
/// select-param       = select-param-name [SP select-param-value]
/// select-param-name  = tagged-ext-label
/// select-param-value = tagged-ext-val      RFC 4466 section 6
/// ```
fn read_parameters<'a>(cursor: &mut Cursor<'a>, select: &mut SelectArgs<'a>) -> Result<(), SyntaxError> {
    cursor.byte(b'(', "(")?;
    loop {
        let name = cursor.atom()?;
        if name.eq_ignore_ascii_case(b"CONDSTORE") {
            select.condstore = true;
        } else if name.eq_ignore_ascii_case(b"QRESYNC") {
            cursor.sp()?;
            select.qresync = Some(qresync(cursor)?);
        } else if cursor.peek() == Some(b' ') && cursor.rest().get(1) == Some(&b'(') {
            cursor.sp()?;
            cursor.parenthesised()?;
        }
        if cursor.take_if(b')') {
            return Ok(());
        }
        cursor.sp()?;
    }
}

/// ```text
/// select-param =/ "QRESYNC" SP "(" uidvalidity SP mod-sequence-value [SP known-uids] [SP seq-match-data] ")"
/// ```
/// RFC 7162 section 7.
fn qresync<'a>(cursor: &mut Cursor<'a>) -> Result<Qresync<'a>, SyntaxError> {
    cursor.byte(b'(', "(")?;
    let expected = cursor.error("number from 1 on");
    let uidvalidity = NonZeroU32::new(cursor.number()?).ok_or(expected)?;
    cursor.sp()?;
    let mut qresync = Qresync { uidvalidity, modseq: cursor.number64()?, known_uids: None, matches: None };
    while cursor.take_if(b' ') {
        match cursor.peek() {
            Some(b'(') if qresync.matches.is_none() => qresync.matches = Some(cursor.parenthesised()?),
            _ if qresync.known_uids.is_none() && qresync.matches.is_none() => {
                qresync.known_uids = Some(cursor.sequence_set()?);
            }
            _ => return Err(cursor.error(")")),
        }
    }
    cursor.byte(b')', ")")?;
    Ok(qresync)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_select_has_no_parameters() {
        let select = select_args(b"INBOX").unwrap();
        assert_eq!((select.parameters, select.condstore, select.qresync), (None, false, None));
    }

    #[test]
    fn known_parameters_are_seen_among_others() {
        let args =
            b"INBOX (ANNOTATE condstore X-OTHER (1 2) QRESYNC (67890007 20050715194045000 41,43:211 (1 2)))";
        let select = select_args(args).unwrap();
        assert_eq!(select.parameters, Some(&args[6..]));
        assert!(select.condstore);
        let qresync = select.qresync.unwrap();
        assert_eq!((qresync.uidvalidity.get(), qresync.modseq), (67_890_007, 20_050_715_194_045_000));
        assert_eq!((qresync.known_uids, qresync.matches), (Some(&b"41,43:211"[..]), Some(&b"(1 2)"[..])));
    }

    #[test]
    fn known_uids_may_be_left_out() {
        let select = select_args(b"INBOX (QRESYNC (1 2 (3 4)))").unwrap();
        let qresync = select.qresync.unwrap();
        assert_eq!((qresync.known_uids, qresync.matches), (None, Some(&b"(3 4)"[..])));
    }

    #[test]
    fn malformed_parameters_are_refused() {
        for args in [
            &b"INBOX "[..],
            b"INBOX ()",
            b"INBOX (CONDSTORE",
            b"INBOX CONDSTORE",
            b"INBOX (QRESYNC)",
            b"INBOX (QRESYNC (0 1))",
            b"INBOX (QRESYNC (1))",
            b"INBOX (QRESYNC (1 2 3 4))",
            b"INBOX (QRESYNC (1 2 (3 4) 5))",
            b"INBOX (CONDSTORE) x",
        ] {
            assert!(select_args(args).is_err(), "{}", args.escape_ascii());
        }
    }
}
