//! Literals as they are announced at the end of a line.

use super::limits::{LITERAL_MINUS_BYTES_MAX, LITERAL_TAIL_BYTES_MAX};

/// A literal announced at the end of a line.
///
/// ```text
/// literal  = "{" number64 ["+"] "}" CRLF *CHAR8      RFC 9051 section 9
/// literal8 = "~{" number64 ["+"] "}" CRLF *OCTET     RFC 9051 section 9
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Announced {
    /// Bytes of the literal. A number over 64 bits is `u64::MAX`, which no limit allows.
    pub len: u64,
    /// `{n}`: the sender waits for a continuation request. False for `{n+}` (RFC 7888).
    pub sync: bool,
    /// `~{n}`: the bytes may hold NUL (RFC 3516).
    pub binary: bool,
}

impl Announced {
    /// Whether a client may send it unasked to a server that offers LITERAL- only: "the client MUST
    /// NOT send non-synchronizing literals larger than 4096 octets" (RFC 7888 section 5).
    pub fn fits_literal_minus(self) -> bool {
        self.sync || self.len <= LITERAL_MINUS_BYTES_MAX
    }
}

/// Reads the announcement at the end of a line that was cut off its CRLF; `None` when there is
/// none. Looks at the last [`LITERAL_TAIL_BYTES_MAX`] bytes only, so the tail of a line is enough.
///
/// More digits than that tail holds are an announcement of `u64::MAX` bytes: a peer that counts them
/// must not be able to hide a literal from us.
#[inline]
pub fn at_line_end(line: &[u8]) -> Option<Announced> {
    let (b'}', before) = line.split_last()? else { return None };
    let (sync, before) = match before {
        [rest @ .., b'+'] => (false, rest),
        rest => (true, rest),
    };
    let window = &before[before.len().saturating_sub(LITERAL_TAIL_BYTES_MAX - 2)..];
    let digits = window.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (opening, digits) = window.split_at(window.len() - digits);
    match (opening, digits) {
        (_, []) => None,
        // The window is full of digits.
        ([], _) if window.len() == LITERAL_TAIL_BYTES_MAX - 2 => {
            Some(Announced { len: u64::MAX, sync, binary: false })
        }
        ([rest @ .., b'{'], _) => {
            Some(Announced { len: saturating_number(digits), sync, binary: rest.last() == Some(&b'~') })
        }
        _ => None,
    }
}

/// The value of decimal digits; `u64::MAX` when it is larger than that.
fn saturating_number(digits: &[u8]) -> u64 {
    digits.iter().fold(0_u64, |n, digit| n.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(len: u64, sync: bool, binary: bool) -> Option<Announced> {
        Some(Announced { len, sync, binary })
    }

    #[test]
    fn all_forms_are_seen() {
        assert_eq!(at_line_end(b"a APPEND INBOX {310}"), announced(310, true, false));
        assert_eq!(at_line_end(b"a APPEND INBOX {310+}"), announced(310, false, false));
        assert_eq!(at_line_end(b"a APPEND INBOX ~{310}"), announced(310, true, true));
        assert_eq!(at_line_end(b"a APPEND INBOX ~{310+}"), announced(310, false, true));
        assert_eq!(at_line_end(b"{0}"), announced(0, true, false));
        assert_eq!(at_line_end(b"x {007}"), announced(7, true, false));
    }

    #[test]
    fn what_only_resembles_an_announcement_is_none() {
        for line in [
            &b""[..],
            b"}",
            b"{}",
            b"{+}",
            b"{-1}",
            b"{1-}",
            b"{1 }",
            b"{a}",
            b"{1}x",
            b"\"{1}\"",
            b"1}",
            b"{1++}",
        ] {
            assert_eq!(at_line_end(line), None, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn length_of_64_bits_is_exact_and_more_saturates() {
        assert_eq!(at_line_end(b"~{18446744073709551615+}"), announced(u64::MAX, false, true));
        assert_eq!(at_line_end(b"{18446744073709551614}"), announced(u64::MAX - 1, true, false));
        assert_eq!(at_line_end(b"{18446744073709551616}"), announced(u64::MAX, true, false));
    }

    #[test]
    fn digits_beyond_the_tail_do_not_hide_a_literal() {
        assert_eq!(
            at_line_end(b"a X {0000000000000000000000000000000005}"),
            announced(u64::MAX, true, false)
        );
        assert_eq!(
            at_line_end(b"a X {0000000000000000000000000000000005+}"),
            announced(u64::MAX, false, false)
        );
    }

    #[test]
    fn the_tail_of_a_line_is_enough() {
        let line = b"tag APPEND \"some mailbox\" (\\Seen) ~{18446744073709551615+}";
        let tail = &line[line.len() - LITERAL_TAIL_BYTES_MAX..];
        assert_eq!(at_line_end(tail), at_line_end(line));
    }

    #[test]
    fn literal_minus_bounds_only_what_is_sent_unasked() {
        let fits = |line: &[u8]| at_line_end(line).unwrap().fits_literal_minus();
        assert!(fits(b"{4096+}"));
        assert!(!fits(b"{4097+}"));
        assert!(fits(b"{4097}"));
    }
}
