//! ESEARCH over several mailboxes (RFC 7377).

use crate::wire::cursor::Bytes;
use crate::wire::{Cursor, SyntaxError};

/// Mailboxes that one command may name.
const MAILBOXES_MAX: usize = 256;

/// Arguments of ESEARCH, as far as they say where is searched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EsearchArgs<'a> {
    /// Behind `IN (`; empty without it: the selected mailbox.
    pub sources: Vec<Source<'a>>,
    /// What stands behind the last source, its closing parenthesis included: scope, return options, program.
    pub rest: &'a [u8],
}

/// Where is searched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source<'a> {
    /// Which mailboxes.
    pub kind: SourceKind,
    /// Those that it names.
    pub mailboxes: Vec<Bytes<'a>>,
    /// As it stands.
    pub text: &'a [u8],
}

/// Which mailboxes are searched (RFC 7377 section 2.2, RFC 5465 section 6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SourceKind {
    /// `selected`, `selected-delayed`.
    Selected,
    /// `inboxes`, `personal`.
    Personal,
    /// `subscribed`.
    Subscribed,
    /// `subtree`, `subtree-one`.
    Subtree,
    /// `mailboxes`.
    Mailboxes,
}

/// ```text
/// esearch     = "ESEARCH" [SP "IN" SP "(" source-mbox [SP "(" scope-options ")"] ")"]
///               [SP search-return-opts] SP search-program
/// source-mbox = filter-mailboxes *(SP filter-mailboxes)      RFC 7377 section 3
/// ```
///
/// # Errors
/// The sources are not so, or nothing is to be searched for.
pub fn esearch_args(args: &[u8]) -> Result<EsearchArgs<'_>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    let mut sources = Vec::new();
    if !cursor.take_word(b"IN") {
        return if args.is_empty() {
            Err(cursor.error("search"))
        } else {
            Ok(EsearchArgs { sources, rest: args })
        };
    }
    cursor.sp()?;
    cursor.byte(b'(', "(")?;
    let mut named = 0;
    loop {
        let source = source(&mut cursor, args)?;
        named += source.mailboxes.len();
        if named > MAILBOXES_MAX {
            return Err(cursor.error("fewer mailboxes"));
        }
        sources.push(source);
        let is_last = match cursor.rest() {
            [b')', ..] | [b' ', b'(', ..] => true,
            [b' ', ..] => false,
            _ => return Err(cursor.error(")")),
        };
        if is_last {
            return Ok(EsearchArgs { sources, rest: cursor.rest() });
        }
        cursor.sp()?;
    }
}

pub(super) fn source<'a>(cursor: &mut Cursor<'a>, args: &'a [u8]) -> Result<Source<'a>, SyntaxError> {
    let begins = cursor.position();
    let name = cursor.atom()?;
    let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
    let kind = if is("selected") || is("selected-delayed") {
        SourceKind::Selected
    } else if is("inboxes") || is("personal") {
        SourceKind::Personal
    } else if is("subscribed") {
        SourceKind::Subscribed
    } else if is("subtree") || is("subtree-one") {
        SourceKind::Subtree
    } else if is("mailboxes") {
        SourceKind::Mailboxes
    } else {
        return Err(cursor.error("source of messages"));
    };
    let mut mailboxes = Vec::new();
    if matches!(kind, SourceKind::Subtree | SourceKind::Mailboxes) {
        cursor.sp()?;
        if cursor.take_if(b'(') {
            mailboxes.push(cursor.astring()?);
            while cursor.take_if(b' ') {
                mailboxes.push(cursor.astring()?);
            }
            cursor.byte(b')', ")")?;
        } else {
            mailboxes.push(cursor.astring()?);
        }
    }
    Ok(Source { kind, mailboxes, text: &args[begins..cursor.position()] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_and_the_rest_is_kept() {
        let args = b"IN (selected mailboxes (\"a b\" c) subtree-one d (depth 1)) RETURN (MIN) SUBJECT x";
        let esearch = esearch_args(args).unwrap();
        let kinds: Vec<_> = esearch.sources.iter().map(|source| source.kind).collect();
        assert_eq!(kinds, [SourceKind::Selected, SourceKind::Mailboxes, SourceKind::Subtree]);
        assert_eq!(esearch.sources[1].text, b"mailboxes (\"a b\" c)");
        assert_eq!(
            esearch.sources[1].mailboxes.iter().map(|name| &**name).collect::<Vec<_>>(),
            [&b"a b"[..], b"c"]
        );
        assert_eq!(esearch.rest, b" (depth 1)) RETURN (MIN) SUBJECT x");
        assert!(esearch_args(b"RETURN (MIN) ALL").unwrap().sources.is_empty());
    }

    #[test]
    fn what_is_no_source_is_refused() {
        for args in [
            "",
            "IN",
            "IN ()",
            "IN (nosuch) ALL",
            "IN (mailboxes) ALL",
            "IN (mailboxes () ALL",
            "IN (personal",
        ] {
            assert!(esearch_args(args.as_bytes()).is_err(), "{args}");
        }
    }
}
