//! GETMETADATA, SETMETADATA (RFC 5464), GETANNOTATION, SETANNOTATION (the draft before).

use crate::wire::cursor::Bytes;
use crate::wire::limits::LIST_ELEMENTS_MAX;
use crate::wire::{Cursor, SyntaxError};

/// How deep GETMETADATA looks below an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Depth {
    /// `0`: the entry alone.
    #[default]
    Entry,
    /// `1`: and its children.
    Children,
    /// `infinity`: and all below.
    Infinity,
}

/// Arguments of GETMETADATA.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GetMetadataArgs<'a> {
    /// The mailbox as typed, empty for the server. Cyrus takes patterns and lists of them.
    pub mailboxes: Vec<Bytes<'a>>,
    /// MAXSIZE.
    pub max_size: Option<u32>,
    /// DEPTH.
    pub depth: Depth,
    /// The entries as typed.
    pub entries: Vec<Bytes<'a>>,
}

/// ```text
/// getmetadata         = "GETMETADATA" [SP getmetadata-options] SP mailbox SP entries
/// getmetadata-options = "(" getmetadata-option *(SP getmetadata-option) ")"
/// entries             = entry / "(" entry *(SP entry) ")"
/// entry               = astring      RFC 5464 section 5
/// ```
/// Deviates: the options may stand behind the mailbox too, as in RFC 5464's own examples.
///
/// # Errors
/// The arguments are not so.
pub fn getmetadata_args(args: &[u8]) -> Result<GetMetadataArgs<'_>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    let mut get =
        GetMetadataArgs { mailboxes: Vec::new(), max_size: None, depth: Depth::Entry, entries: Vec::new() };
    if begins_options(&cursor) {
        read_options(&mut cursor, &mut get)?;
        cursor.sp()?;
    }
    get.mailboxes = if cursor.peek() == Some(b'(') {
        list(&mut cursor, Cursor::list_mailbox)?
    } else {
        vec![cursor.list_mailbox()?]
    };
    cursor.sp()?;
    if begins_options(&cursor) {
        read_options(&mut cursor, &mut get)?;
        cursor.sp()?;
    }
    get.entries = if cursor.peek() == Some(b'(') {
        list(&mut cursor, Cursor::list_mailbox)?
    } else {
        vec![cursor.list_mailbox()?]
    };
    cursor.end()?;
    Ok(get)
}

/// Arguments of SETMETADATA.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetMetadataArgs<'a> {
    /// The mailbox as typed, empty for the server.
    pub mailbox: Bytes<'a>,
    /// Entries and their values; `None` takes an entry away.
    pub entries: Vec<(Bytes<'a>, Option<Bytes<'a>>)>,
    /// The list of entries and values, with its parentheses.
    pub raw: &'a [u8],
}

/// ```text
/// setmetadata  = "SETMETADATA" SP mailbox SP entry-values
/// entry-values = "(" entry-value *(SP entry-value) ")"
/// entry-value  = entry SP value
/// value        = nstring / literal8      RFC 5464 section 5
/// ```
///
/// # Errors
/// The arguments are not so, or more than [`LIST_ELEMENTS_MAX`] entries.
pub fn setmetadata_args(args: &[u8]) -> Result<SetMetadataArgs<'_>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    let mailbox = cursor.list_mailbox()?;
    cursor.sp()?;
    let raw = cursor.rest();
    let entries = list(&mut cursor, |cursor| {
        let entry = cursor.astring()?;
        cursor.sp()?;
        Ok((entry, cursor.nstring()?))
    })?;
    cursor.end()?;
    Ok(SetMetadataArgs { mailbox, entries, raw })
}

/// Arguments of GETANNOTATION and SETANNOTATION.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnnotationArgs<'a> {
    /// The mailbox pattern as typed, empty for the server.
    pub mailbox: Bytes<'a>,
    /// What stands behind it, unread.
    pub rest: &'a [u8],
}

/// Reads the mailbox pattern of GETANNOTATION and SETANNOTATION.
///
/// ```text
/// getannotation = "GETANNOTATION" SP list-mailbox SP entries SP attributes      draft-daboo-imap-annotatemore-08
/// ```
///
/// # Errors
/// No pattern, or nothing behind it.
pub fn annotation_args(args: &[u8]) -> Result<AnnotationArgs<'_>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    let mailbox = cursor.list_mailbox()?;
    cursor.sp()?;
    if cursor.is_at_end() {
        return Err(cursor.error("entry"));
    }
    Ok(AnnotationArgs { mailbox, rest: cursor.rest() })
}

/// Whether a parenthesis with options stands here, not one with mailboxes or entries.
fn begins_options(cursor: &Cursor<'_>) -> bool {
    let mut cursor = cursor.clone();
    cursor.take_if(b'(') && (cursor.take_word(b"MAXSIZE") || cursor.take_word(b"DEPTH"))
}

/// ```text
/// getmetadata-option = "MAXSIZE" SP number / "DEPTH" SP ("0" / "1" / "infinity")      RFC 5464 section 5
/// ```
fn read_options(cursor: &mut Cursor<'_>, get: &mut GetMetadataArgs<'_>) -> Result<(), SyntaxError> {
    cursor.byte(b'(', "(")?;
    loop {
        if cursor.take_word(b"MAXSIZE") {
            cursor.sp()?;
            get.max_size = Some(cursor.number()?);
        } else if cursor.take_word(b"DEPTH") {
            cursor.sp()?;
            get.depth = depth(cursor)?;
        } else {
            return Err(cursor.error("option of GETMETADATA"));
        }
        if cursor.take_if(b')') {
            return Ok(());
        }
        cursor.sp()?;
    }
}

fn depth(cursor: &mut Cursor<'_>) -> Result<Depth, SyntaxError> {
    for (word, depth) in [(&b"0"[..], Depth::Entry), (b"1", Depth::Children), (b"infinity", Depth::Infinity)]
    {
        if cursor.take_word(word) {
            return Ok(depth);
        }
    }
    Err(cursor.error("0, 1 or infinity"))
}

/// One or more elements in parentheses.
fn list<'a, T>(
    cursor: &mut Cursor<'a>,
    element: impl Fn(&mut Cursor<'a>) -> Result<T, SyntaxError>,
) -> Result<Vec<T>, SyntaxError> {
    let mut elements = Vec::new();
    cursor.byte(b'(', "(")?;
    loop {
        if elements.len() == LIST_ELEMENTS_MAX {
            return Err(cursor.error("fewer elements"));
        }
        elements.push(element(cursor)?);
        if cursor.take_if(b')') {
            return Ok(elements);
        }
        cursor.sp()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_before_or_behind_the_mailbox() {
        for args in [
            &b"(MAXSIZE 1024 DEPTH infinity) INBOX (/shared/comment /private/x)"[..],
            b"INBOX (DEPTH INFINITY MAXSIZE 1024) (/shared/comment /private/x)",
        ] {
            let get = getmetadata_args(args).unwrap();
            assert_eq!(&*get.mailboxes[0], b"INBOX");
            assert_eq!((get.max_size, get.depth), (Some(1024), Depth::Infinity));
            assert_eq!(get.entries.len(), 2);
        }
    }

    #[test]
    fn one_entry_needs_no_parentheses() {
        let get = getmetadata_args(b"\"\" /shared/comment").unwrap();
        assert_eq!((&*get.mailboxes[0], &*get.entries[0]), (&b""[..], &b"/shared/comment"[..]));
        assert_eq!((get.max_size, get.depth), (None, Depth::Entry));
    }

    #[test]
    fn several_mailboxes_are_no_options() {
        let get = getmetadata_args(b"(INBOX \"a b\" x*) /shared/comment").unwrap();
        assert_eq!(get.mailboxes.len(), 3);
    }

    #[test]
    fn values_are_nstrings_and_literals() {
        let set = setmetadata_args(b"INBOX (/shared/comment \"x\" /private/y NIL /private/z ~{3}\r\na\0b)")
            .unwrap();
        assert_eq!(set.entries[0].1.as_deref(), Some(&b"x"[..]));
        assert_eq!(set.entries[1].1, None);
        assert_eq!(set.entries[2].1.as_deref(), Some(&b"a\0b"[..]));
        assert!(set.raw.starts_with(b"(/shared"));
    }

    #[test]
    fn malformed_arguments_are_refused() {
        for args in [
            &b""[..],
            b"INBOX",
            b"INBOX ()",
            b"(MAXSIZE) INBOX x",
            b"(DEPTH 2) INBOX x",
            b"INBOX (a",
            b"INBOX a b",
        ] {
            assert!(getmetadata_args(args).is_err(), "{}", args.escape_ascii());
        }
        for args in [&b"INBOX"[..], b"INBOX ()", b"INBOX (a)", b"INBOX (a b)", b"INBOX (a \"b\") c"] {
            assert!(setmetadata_args(args).is_err(), "{}", args.escape_ascii());
        }
    }

    #[test]
    fn annotations_leave_the_rest_raw() {
        let annotation = annotation_args(b"\"*\" \"/comment\" \"value.shared\"").unwrap();
        assert_eq!(
            (&*annotation.mailbox, annotation.rest),
            (&b"*"[..], &b"\"/comment\" \"value.shared\""[..])
        );
        assert!(annotation_args(b"INBOX ").is_err());
    }
}
