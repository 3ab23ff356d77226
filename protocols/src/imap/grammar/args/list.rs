//! LIST, RLIST, XLIST, LSUB, RLSUB.

use crate::wire::cursor::Bytes;
use crate::wire::limits::LIST_ELEMENTS_MAX;
use crate::wire::{Cursor, SyntaxError};

/// Arguments of LIST and its family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListArgs<'a> {
    /// Which mailboxes; nothing set for a basic LIST.
    pub selection: ListSelection<'a>,
    /// The reference as typed.
    pub reference: Bytes<'a>,
    /// The patterns as typed, one or more.
    pub patterns: Vec<Bytes<'a>>,
    /// What is told of them; nothing set for a basic LIST.
    pub returns: ListReturn<'a>,
    /// Selection options, a list of patterns or RETURN stood there, even if empty (RFC 5258 section 3).
    pub extended: bool,
}

/// Selection options (RFC 5258 section 3.1 and later).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ListSelection<'a> {
    /// SUBSCRIBED.
    pub subscribed: bool,
    /// REMOTE.
    pub remote: bool,
    /// RECURSIVEMATCH.
    pub recursive_match: bool,
    /// SPECIAL-USE (RFC 6154).
    pub special_use: bool,
    /// VENDOR.CMU-DAV.
    pub dav: bool,
    /// VENDOR.CMU-INCLUDE-DELETED.
    pub deleted: bool,
    /// VENDOR.FM-INCLUDE-NONEXISTENT.
    pub nonexistent: bool,
    /// METADATA: what stands behind the word, its parentheses included (RFC 9590 knows it as a return
    /// option; Cyrus puts its depth here).
    pub metadata: Option<&'a [u8]>,
}

/// Return options (RFC 5258 section 3.2 and later).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ListReturn<'a> {
    /// SUBSCRIBED.
    pub subscribed: bool,
    /// CHILDREN.
    pub children: bool,
    /// SPECIAL-USE (RFC 6154).
    pub special_use: bool,
    /// MYRIGHTS (RFC 8440).
    pub my_rights: bool,
    /// STATUS: the items, with their parentheses (RFC 5819).
    pub status: Option<&'a [u8]>,
    /// METADATA: the entries, with their parentheses (RFC 9590).
    pub metadata: Option<&'a [u8]>,
}

/// Reads the arguments of LIST, RLIST and XLIST.
///
/// ```text
/// list = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]
/// mbox-or-pat      = list-mailbox / patterns
/// patterns         = "(" list-mailbox *(SP list-mailbox) ")"
/// list-return-opts = "RETURN" SP "(" [return-option *(SP return-option)] ")"      RFC 5258 section 6
/// ```
///
/// # Errors
/// The arguments are not so, or an option is not known: "the server SHOULD respond with a tagged BAD
/// response" (RFC 5258 section 3).
pub fn list_args(args: &[u8]) -> Result<ListArgs<'_>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    let mut extended = false;
    let mut selection = ListSelection::default();
    if cursor.peek() == Some(b'(') {
        extended = true;
        selection = list_select_opts(&mut cursor)?;
        cursor.sp()?;
    }
    let reference = cursor.list_mailbox()?;
    cursor.sp()?;
    extended |= cursor.peek() == Some(b'(');
    let patterns = mbox_or_pat(&mut cursor)?;
    let mut returns = ListReturn::default();
    if cursor.take_if(b' ') {
        extended = true;
        returns = list_return_opts(&mut cursor)?;
    }
    cursor.end()?;
    Ok(ListArgs { selection, reference, patterns, returns, extended })
}

/// Reads the arguments of LSUB and RLSUB.
///
/// ```text
/// lsub = "LSUB" SP mailbox SP list-mailbox      RFC 3501 section 9
/// ```
///
/// # Errors
/// The arguments are not so.
pub fn lsub_args(args: &[u8]) -> Result<ListArgs<'_>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    let reference = cursor.list_mailbox()?;
    cursor.sp()?;
    let patterns = vec![cursor.list_mailbox()?];
    cursor.end()?;
    Ok(ListArgs {
        selection: ListSelection::default(),
        reference,
        patterns,
        returns: ListReturn::default(),
        extended: false,
    })
}

/// ```text
/// mbox-or-pat = list-mailbox / patterns      RFC 5258 section 6
/// ```
fn mbox_or_pat<'a>(cursor: &mut Cursor<'a>) -> Result<Vec<Bytes<'a>>, SyntaxError> {
    if !cursor.take_if(b'(') {
        return Ok(vec![cursor.list_mailbox()?]);
    }
    let mut patterns = Vec::new();
    loop {
        if patterns.len() == LIST_ELEMENTS_MAX {
            return Err(cursor.error("fewer patterns"));
        }
        patterns.push(cursor.list_mailbox()?);
        if cursor.take_if(b')') {
            return Ok(patterns);
        }
        cursor.sp()?;
    }
}

/// ```text
/// list-select-opts = "(" [(*(list-select-opt SP) list-select-base-opt *(SP list-select-opt))
///                    / (list-select-independent-opt *(SP list-select-independent-opt))] ")"
/// ```
/// RFC 5258 section 6. RECURSIVEMATCH alone is refused: it "MUST NOT" stand without a base option.
fn list_select_opts<'a>(cursor: &mut Cursor<'a>) -> Result<ListSelection<'a>, SyntaxError> {
    let mut selection = ListSelection::default();
    let opening = cursor.error("option that RECURSIVEMATCH modifies");
    cursor.byte(b'(', "(")?;
    let mut is_first = true;
    while !cursor.take_if(b')') {
        if !std::mem::take(&mut is_first) {
            cursor.sp()?;
        }
        let unknown = cursor.error("selection option");
        let option = cursor.atom()?;
        let is = |word: &[u8]| option.eq_ignore_ascii_case(word);
        if is(b"SUBSCRIBED") {
            selection.subscribed = true;
        } else if is(b"REMOTE") {
            selection.remote = true;
        } else if is(b"RECURSIVEMATCH") {
            selection.recursive_match = true;
        } else if is(b"SPECIAL-USE") {
            selection.special_use = true;
        } else if is(b"VENDOR.CMU-DAV") {
            selection.dav = true;
        } else if is(b"VENDOR.CMU-INCLUDE-DELETED") {
            selection.deleted = true;
        } else if is(b"VENDOR.FM-INCLUDE-NONEXISTENT") {
            selection.nonexistent = true;
        } else if is(b"METADATA") {
            cursor.sp()?;
            selection.metadata = Some(cursor.parenthesised()?);
        } else {
            return Err(unknown);
        }
    }
    if selection.recursive_match
        && !(selection.subscribed || selection.special_use || selection.metadata.is_some())
    {
        return Err(opening);
    }
    Ok(selection)
}

/// ```text
/// list-return-opts = "RETURN" SP "(" [return-option *(SP return-option)] ")"
/// return-option    = "SUBSCRIBED" / "CHILDREN" / "SPECIAL-USE" / "MYRIGHTS" / status-option / metadata-option
/// status-option    = "STATUS" SP "(" status-att *(SP status-att) ")"      RFC 5819 section 4
/// ```
fn list_return_opts<'a>(cursor: &mut Cursor<'a>) -> Result<ListReturn<'a>, SyntaxError> {
    let mut returns = ListReturn::default();
    if !cursor.take_word(b"RETURN") {
        return Err(cursor.error("RETURN"));
    }
    cursor.sp()?;
    cursor.byte(b'(', "(")?;
    let mut is_first = true;
    while !cursor.take_if(b')') {
        if !std::mem::take(&mut is_first) {
            cursor.sp()?;
        }
        let unknown = cursor.error("return option");
        let option = cursor.atom()?;
        let is = |word: &[u8]| option.eq_ignore_ascii_case(word);
        if is(b"SUBSCRIBED") {
            returns.subscribed = true;
        } else if is(b"CHILDREN") {
            returns.children = true;
        } else if is(b"SPECIAL-USE") {
            returns.special_use = true;
        } else if is(b"MYRIGHTS") {
            returns.my_rights = true;
        } else if is(b"STATUS") {
            cursor.sp()?;
            returns.status = Some(cursor.parenthesised()?);
        } else if is(b"METADATA") {
            cursor.sp()?;
            returns.metadata = Some(cursor.parenthesised()?);
        } else {
            return Err(unknown);
        }
    }
    Ok(returns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_list_has_no_options() {
        let list = list_args(b"\"\" INBOX.%").unwrap();
        assert_eq!((&*list.reference, &*list.patterns[0], list.extended), (&b""[..], &b"INBOX.%"[..], false));
        let list = list_args(b"{0+}\r\n {1+}\r\n*").unwrap();
        assert_eq!((&*list.reference, &*list.patterns[0]), (&b""[..], &b"*"[..]));
    }

    #[test]
    fn all_options_are_read() {
        let list = list_args(
            b"(subscribed REMOTE RECURSIVEMATCH SPECIAL-USE vendor.cmu-dav METADATA (depth 1)) \"\" (\"a b\" c%) \
              RETURN (SUBSCRIBED CHILDREN SPECIAL-USE MYRIGHTS STATUS (MESSAGES UNSEEN) METADATA (\"/shared/x\"))",
        )
        .unwrap();
        let selection = list.selection;
        assert!(selection.subscribed && selection.remote && selection.recursive_match);
        assert!(selection.special_use && selection.dav && !selection.deleted);
        assert_eq!(selection.metadata, Some(&b"(depth 1)"[..]));
        assert_eq!(list.patterns.iter().map(|pattern| &**pattern).collect::<Vec<_>>(), [&b"a b"[..], b"c%"]);
        let returns = list.returns;
        assert!(returns.subscribed && returns.children && returns.special_use && returns.my_rights);
        assert_eq!(returns.status, Some(&b"(MESSAGES UNSEEN)"[..]));
        assert_eq!(returns.metadata, Some(&b"(\"/shared/x\")"[..]));
        assert!(list.extended);
    }

    #[test]
    fn empty_options_make_a_list_extended() {
        for args in [&b"() \"\" *"[..], b"\"\" (*)", b"\"\" * RETURN ()"] {
            assert!(list_args(args).unwrap().extended, "{}", args.escape_ascii());
        }
    }

    #[test]
    fn malformed_arguments_are_refused() {
        for args in [
            &b""[..],
            b"\"\"",
            b"\"\" ",
            b"\"\" ()",
            b"\"\" (a",
            b"\"\" * RETURN",
            b"\"\" * RETURN (",
            b"\"\" * RETURN (NEW)",
            b"\"\" * RETURN (STATUS)",
            b"\"\" * x",
            b"(NEW) \"\" *",
            b"(RECURSIVEMATCH) \"\" *",
            b"(RECURSIVEMATCH REMOTE) \"\" *",
            b"(SUBSCRIBED \"\" *",
        ] {
            assert!(list_args(args).is_err(), "{}", args.escape_ascii());
        }
    }

    #[test]
    fn lsub_takes_no_options() {
        assert_eq!(&*lsub_args(b"\"\" %").unwrap().patterns[0], b"%");
        assert!(lsub_args(b"\"\" (%)").is_err());
        assert!(lsub_args(b"\"\" % RETURN ()").is_err());
    }
}
