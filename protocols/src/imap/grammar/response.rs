//! Sorts the lines that a server sends.

use memchr::memchr;

use crate::wire::line;

/// The result of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Done.
    Ok,
    /// Refused or failed.
    No,
    /// Not understood.
    Bad,
}

/// What an untagged response tells.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UntaggedKind {
    /// `* OK`.
    Ok,
    /// `* NO`.
    No,
    /// `* BAD`.
    Bad,
    /// `* BYE`.
    Bye,
    /// `* PREAUTH`.
    Preauth,
    /// `* CAPABILITY`.
    Capability,
    /// `* FLAGS`.
    Flags,
    /// `* n EXISTS`.
    Exists,
    /// `* n RECENT`.
    Recent,
    /// `* n EXPUNGE`.
    Expunge,
    /// `* n FETCH`.
    Fetch,
    /// `* uid UIDFETCH` (RFC 9586).
    UidFetch,
    /// `* VANISHED` (RFC 7162).
    Vanished,
    /// `* LIST`.
    List,
    /// `* XLIST`.
    XList,
    /// `* LSUB`.
    Lsub,
    /// `* SEARCH`.
    Search,
    /// `* ESEARCH`.
    Esearch,
    /// `* SORT`.
    Sort,
    /// `* THREAD`.
    Thread,
    /// `* STATUS`.
    Status,
    /// `* ACL`.
    Acl,
    /// `* LISTRIGHTS`.
    ListRights,
    /// `* MYRIGHTS`.
    MyRights,
    /// `* METADATA`.
    Metadata,
    /// `* ANNOTATION`.
    Annotation,
    /// `* QUOTA`.
    Quota,
    /// `* QUOTAROOT`.
    QuotaRoot,
    /// `* ENABLED`.
    Enabled,
    /// `* ID`.
    Id,
    /// `* NAMESPACE`.
    Namespace,
    /// Anything else.
    Other,
}

/// One response, or its first line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Response<'a> {
    /// `tag SP resp-cond-state`.
    Tagged {
        /// The tag.
        tag: &'a [u8],
        /// The result.
        status: Status,
        /// Response code and text.
        text: &'a [u8],
    },
    /// `* ...`.
    Untagged {
        /// The number before the kind: a message, or a count.
        number: Option<u32>,
        /// The kind.
        kind: UntaggedKind,
        /// What stands behind the space behind the kind.
        rest: &'a [u8],
    },
    /// `+ ...`.
    Continuation {
        /// What stands behind the `+` and its space.
        text: &'a [u8],
    },
    /// None of them: the server is broken, or no IMAP server.
    Invalid,
}

/// Sorts a response. `line` is the whole of it with its literals and line end, or its first line,
/// with the end or without.
///
/// ```text
/// response = *(continue-req / response-data) response-done
/// response-tagged = tag SP resp-cond-state CRLF
/// continue-req    = "+" SP (resp-text / base64) CRLF      RFC 9051 section 9
/// ```
/// Deviates: a bare `+` is a continuation request too; some servers send it so.
#[inline]
pub fn response(line: &[u8]) -> Response<'_> {
    match line::without_end(line) {
        [b'*', b' ', rest @ ..] => untagged(rest),
        [b'+'] => Response::Continuation { text: b"" },
        [b'+', b' ', text @ ..] => Response::Continuation { text },
        line => tagged(line),
    }
}

/// ```text
/// response-tagged = tag SP resp-cond-state CRLF
/// ```
fn tagged(line: &[u8]) -> Response<'_> {
    let (tag, rest) = word(line);
    let (status, text) = word(rest);
    if tag.is_empty() || matches!(tag[0], b'*' | b'+') {
        return Response::Invalid;
    }
    let status = match status {
        status if status.eq_ignore_ascii_case(b"OK") => Status::Ok,
        status if status.eq_ignore_ascii_case(b"NO") => Status::No,
        status if status.eq_ignore_ascii_case(b"BAD") => Status::Bad,
        _ => return Response::Invalid,
    };
    Response::Tagged { tag, status, text }
}

/// ```text
/// response-data = "*" SP (resp-cond-state / resp-cond-bye / mailbox-data / message-data / ...) CRLF
/// ```
fn untagged(rest: &[u8]) -> Response<'_> {
    let (first, behind) = word(rest);
    if first.is_empty() {
        return Response::Invalid;
    }
    let (number, name, rest) = if first[0].is_ascii_digit() {
        let (name, rest) = word(behind);
        (number(first), name, rest)
    } else {
        (None, first, behind)
    };
    let kind = match kind(name) {
        kind if kind.takes_number() == number.is_some() => kind,
        _ => UntaggedKind::Other,
    };
    Response::Untagged { number, kind, rest }
}

impl UntaggedKind {
    /// Whether a number stands before it.
    fn takes_number(self) -> bool {
        matches!(
            self,
            UntaggedKind::Exists
                | UntaggedKind::Recent
                | UntaggedKind::Expunge
                | UntaggedKind::Fetch
                | UntaggedKind::UidFetch
        )
    }
}

/// The number, if it has at most 32 bits.
#[inline]
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |n, digit| {
        let digit = digit.is_ascii_digit().then(|| u32::from(digit - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

/// The word at the front and what stands behind its space.
#[inline]
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b' ', text) {
        Some(space) => (&text[..space], &text[space + 1..]),
        None => (text, b""),
    }
}

/// The kind that is spelled so, in any case.
fn kind(name: &[u8]) -> UntaggedKind {
    /// The frequent ones first.
    const KINDS: &[(&[u8], UntaggedKind)] = &[
        (b"FETCH", UntaggedKind::Fetch),
        (b"OK", UntaggedKind::Ok),
        (b"EXISTS", UntaggedKind::Exists),
        (b"RECENT", UntaggedKind::Recent),
        (b"EXPUNGE", UntaggedKind::Expunge),
        (b"VANISHED", UntaggedKind::Vanished),
        (b"FLAGS", UntaggedKind::Flags),
        (b"LIST", UntaggedKind::List),
        (b"LSUB", UntaggedKind::Lsub),
        (b"STATUS", UntaggedKind::Status),
        (b"SEARCH", UntaggedKind::Search),
        (b"ESEARCH", UntaggedKind::Esearch),
        (b"UIDFETCH", UntaggedKind::UidFetch),
        (b"NO", UntaggedKind::No),
        (b"BAD", UntaggedKind::Bad),
        (b"BYE", UntaggedKind::Bye),
        (b"PREAUTH", UntaggedKind::Preauth),
        (b"CAPABILITY", UntaggedKind::Capability),
        (b"XLIST", UntaggedKind::XList),
        (b"SORT", UntaggedKind::Sort),
        (b"THREAD", UntaggedKind::Thread),
        (b"ACL", UntaggedKind::Acl),
        (b"LISTRIGHTS", UntaggedKind::ListRights),
        (b"MYRIGHTS", UntaggedKind::MyRights),
        (b"METADATA", UntaggedKind::Metadata),
        (b"ANNOTATION", UntaggedKind::Annotation),
        (b"QUOTA", UntaggedKind::Quota),
        (b"QUOTAROOT", UntaggedKind::QuotaRoot),
        (b"ENABLED", UntaggedKind::Enabled),
        (b"ID", UntaggedKind::Id),
        (b"NAMESPACE", UntaggedKind::Namespace),
    ];
    KINDS
        .iter()
        .find(|(spelled, _)| spelled.eq_ignore_ascii_case(name))
        .map_or(UntaggedKind::Other, |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tagged_lines_carry_status_and_text() {
        assert_eq!(
            response(b"A04 OK [CAPABILITY IMAP4rev1] done\r\n"),
            Response::Tagged { tag: b"A04", status: Status::Ok, text: b"[CAPABILITY IMAP4rev1] done" }
        );
        assert_eq!(response(b"a no"), Response::Tagged { tag: b"a", status: Status::No, text: b"" });
    }

    #[test]
    fn numbers_belong_to_four_kinds() {
        let untagged = |number, kind, rest| Response::Untagged { number, kind, rest };
        assert_eq!(response(b"* 23 EXISTS\r\n"), untagged(Some(23), UntaggedKind::Exists, b""));
        assert_eq!(response(b"* 1 FETCH (UID 7)"), untagged(Some(1), UntaggedKind::Fetch, b"(UID 7)"));
        assert_eq!(response(b"* 7 UIDFETCH ()"), untagged(Some(7), UntaggedKind::UidFetch, b"()"));
        assert_eq!(response(b"* 1 LIST x"), untagged(Some(1), UntaggedKind::Other, b"x"));
        assert_eq!(response(b"* 4294967296 EXISTS"), untagged(None, UntaggedKind::Other, b""));
        assert_eq!(response(b"* FETCH x"), untagged(None, UntaggedKind::Other, b"x"));
    }

    #[test]
    fn continuations_are_seen_with_and_without_text() {
        assert_eq!(response(b"+ go ahead\r\n"), Response::Continuation { text: b"go ahead" });
        assert_eq!(response(b"+ \r\n"), Response::Continuation { text: b"" });
        assert_eq!(response(b"+\r\n"), Response::Continuation { text: b"" });
    }

    #[test]
    fn anything_else_is_invalid() {
        for line in [&b""[..], b"\r\n", b"*", b"* ", b"*OK", b"+x", b"tag", b"tag ", b"tag BYE x", b" OK x"] {
            assert_eq!(response(line), Response::Invalid, "{}", line.escape_ascii());
        }
    }
}
