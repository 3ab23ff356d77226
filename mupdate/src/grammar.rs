//! MUPDATE as really spoken (RFC 3656 and what Cyrus makes of it): bytes to commands and responses,
//! and back.
//!
//! ```text
//!   command  = tag SP word *(SP string) CRLF
//!   response = tag SP keyword [SP string *(SP string)] CRLF
//!   string   = DQUOTE *(any but DQUOTE "\" CR LF NUL / "\" any) DQUOTE
//!            / "{" number ["+"] "}" CRLF *octet
//! ```
//!
//! A bare LF ends a line too. Arguments are strings, never atoms. Towards a server `{n}` waits for
//! `+ go ahead`, `{n+}` does not; what a server sends is never waited for. We write quoted strings
//! wherever the data allow: releases of Cyrus exist that reject a server's `{n+}`.

//!
//! # RESUME: ours
//!
//! A stream that broke may go on where it was, without the whole list. Only who asks is told more
//! than RFC 3656 has, so no program of Cyrus notices.
//!
//! ```text
//!   greeting  * RESUME "epoch"                the history that the server's sequence numbers are of
//!   command   tag RESUME "epoch" "sequence"   the last position that the client was told; "" "0"
//!                                             when it has none
//!   answer    what has changed since, as in UPDATE, then tag OK: this is a stream as after UPDATE;
//!             or tag NO: the client goes on with UPDATE on the same connection
//!   position  tag POSITION "sequence"         on a connection that has sent RESUME, behind the OK of
//!                                             a dump and behind changes: all up to there are told
//! ```
//!
//! A position is a sequence number with the epoch of the greeting. It may be kept with the list and
//! used on a later connection, also when the server has another epoch then: it knows its earlier
//! ones. A server that was restored from an old copy does not know those that it has lost, and
//! says NO ([`crate::directory::History`]). A client whose list is ahead of its position is told some
//! changes twice, which does no harm.

mod command;
mod response;
mod scan;

#[cfg(test)]
mod tests;

pub use command::{Command, Request, Verb, command};
pub use response::{Response, Status, response};
pub use scan::{Stop, line};

/// Octets of a tag, verb or keyword.
pub const WORD_BYTES_MAX: usize = 1024;

/// Octets of a string: the longest is an ACL.
pub const STRING_BYTES_MAX: usize = 64 * 1024;

/// Octets of a whole command or response.
pub const MESSAGE_BYTES_MAX: usize = 128 * 1024;

/// Arguments of a command: UPDATE has up to 30 hosts.
pub const ARGUMENTS_MAX: usize = 30;

/// Appends a string: quoted, or as a literal when it holds CR, LF or NUL.
pub fn string_out(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        out.extend_from_slice(format!("{{{}+}}\r\n", bytes.len()).as_bytes());
        out.extend_from_slice(bytes);
        return;
    }
    out.push(b'"');
    for &byte in bytes {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// Appends `tag word "string" ...` and CRLF: a command or a response.
pub fn message_out(out: &mut Vec<u8>, tag: &[u8], word: impl AsRef<[u8]>, strings: &[&[u8]]) {
    out.extend_from_slice(tag);
    out.push(b' ');
    out.extend_from_slice(word.as_ref());
    for string in strings {
        out.push(b' ');
        string_out(out, string);
    }
    out.extend_from_slice(b"\r\n");
}

/// What a fuzzer calls with any bytes: parses them both ways, at whole and in two parts, and checks
/// that what was understood is understood again from what we write.
///
/// # Panics
/// When a property does not hold.
pub fn fuzz(bytes: &[u8]) {
    tests_support::check(bytes);
}

mod tests_support {
    use super::{Stop, command, response};

    pub(super) fn check(bytes: &[u8]) {
        if let Ok((parsed, n)) = command(bytes) {
            assert!(n <= bytes.len(), "no more is taken than there is");
            for cut in [0, n / 2, n.saturating_sub(1)] {
                let cut_off = command(&bytes[..cut]);
                assert!(
                    matches!(cut_off, Err(Stop::Incomplete { .. } | Stop::GoAhead { .. })),
                    "the front of a command is incomplete"
                );
            }
            if let super::Request::Arguments(_) = parsed.request
                && !parsed.tag.is_empty()
                && !parsed.verb_text.is_empty()
            {
                let mut written = Vec::new();
                parsed.write(&mut written);
                let again = command(&written).map(|(again, n)| (again == parsed, n));
                assert_eq!(again, Ok((true, written.len())), "a command is what it is written as");
            }
        }
        if let Ok((parsed, n)) = response(bytes) {
            assert!(n <= bytes.len(), "no more is taken than there is");
            let mut written = Vec::new();
            if parsed.write(&mut written) {
                let again = response(&written).map(|(again, n)| (again == parsed, n));
                assert_eq!(again, Ok((true, written.len())), "a response is what it is written as");
            }
        }
    }
}
