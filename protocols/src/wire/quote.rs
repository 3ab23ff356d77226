//! Writes strings so that they are read back as the same bytes.

use memchr::memchr3;

/// How a literal is announced to the peer. The caller knows what the peer offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LiteralStyle {
    /// `{n}`: towards a client, or to a server that will be waited for.
    Synchronising,
    /// `{n+}`: to a server that offers LITERAL+ (RFC 7888).
    NonSynchronising,
}

/// A byte that no quoted string can hold: CR, LF or NUL.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("CR, LF or NUL in a quoted string")]
pub struct Unquotable;

/// Writes an atom where the bytes are one, else a quoted string, else a literal as a server writes it
/// (`{n}`, nobody waits).
///
/// ```text
/// astring = 1*ASTRING-CHAR / string      RFC 9051 section 9
/// ```
pub fn astring_out(out: &mut Vec<u8>, bytes: &[u8]) {
    astring_out_as(out, bytes, LiteralStyle::Synchronising);
}

/// As [`astring_out`], with the literal announced in `style`.
pub fn astring_out_as(out: &mut Vec<u8>, bytes: &[u8], style: LiteralStyle) {
    if is_plain_astring(bytes) {
        out.extend_from_slice(bytes);
    } else {
        string_out(out, bytes, style);
    }
}

/// Writes the name of a mailbox for a client. One in UTF-8, which only a client sees that asked for it, is
/// a quoted string.
///
/// ```text
/// quoted        =/ DQUOTE *uQUOTED-CHAR DQUOTE
/// uQUOTED-CHAR  = QUOTED-CHAR / UTF8-2 / UTF8-3 / UTF8-4      RFC 6855 section 3
/// ```
pub fn mailbox_out(out: &mut Vec<u8>, name: &[u8]) {
    if name.is_ascii() || std::str::from_utf8(name).is_err() || quoted_out(out, name).is_err() {
        astring_out(out, name);
    }
}

/// Writes a quoted string of 7-bit text, or a literal for anything else.
///
/// ```text
/// string = quoted / literal      RFC 9051 section 9
/// ```
pub fn string_out(out: &mut Vec<u8>, bytes: &[u8], style: LiteralStyle) {
    if !bytes.is_ascii() || quoted_out(out, bytes).is_err() {
        literal_out(out, bytes, style);
    }
}

/// Writes `NIL`, or the string.
///
/// ```text
/// nstring = string / nil      RFC 9051 section 9
/// ```
pub fn nstring_out(out: &mut Vec<u8>, bytes: Option<&[u8]>, style: LiteralStyle) {
    match bytes {
        None => out.extend_from_slice(b"NIL"),
        Some(bytes) => string_out(out, bytes, style),
    }
}

/// Writes a quoted string. Bytes over 127 stay as they are: MUPDATE and ManageSieve want them so, IMAP
/// does not (see [`string_out`]).
///
/// # Errors
/// [`Unquotable`]; nothing is written.
pub fn quoted_out(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Unquotable> {
    if memchr3(b'\r', b'\n', 0, bytes).is_some() {
        return Err(Unquotable);
    }
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    for byte in bytes {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
    Ok(())
}

/// Writes a literal. The bytes must not hold NUL: no name or text that was read here does.
pub fn literal_out(out: &mut Vec<u8>, bytes: &[u8], style: LiteralStyle) {
    announce_out(out, bytes.len() as u64, style);
    out.extend_from_slice(bytes);
}

/// Writes the announcement of a literal and the line end behind it.
pub fn announce_out(out: &mut Vec<u8>, len: u64, style: LiteralStyle) {
    out.push(b'{');
    number_out(out, len);
    out.extend_from_slice(match style {
        LiteralStyle::Synchronising => b"}\r\n",
        LiteralStyle::NonSynchronising => b"+}\r\n",
    });
}

/// Writes a number in decimal.
pub fn number_out(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        // Truncation: a remainder of ten is a digit.
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Whether the bytes can stand as an astring without quotes. `NIL` cannot: what reads an nstring
/// there would see nothing.
fn is_plain_astring(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.iter().all(|byte| byte.is_ascii() && super::cursor::is_astring_char(*byte))
        && !bytes.eq_ignore_ascii_case(b"NIL")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn astring(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        astring_out(&mut out, bytes);
        out
    }

    #[test]
    fn shortest_form_is_chosen() {
        assert_eq!(astring(b"INBOX.Sent"), b"INBOX.Sent");
        assert_eq!(astring(b"a]b"), b"a]b");
        assert_eq!(astring(b""), b"\"\"");
        assert_eq!(astring(b"Sent Items"), b"\"Sent Items\"");
        assert_eq!(astring(b"a\"b\\c"), b"\"a\\\"b\\\\c\"");
        assert_eq!(astring(b"100%"), b"\"100%\"");
        assert_eq!(astring(b"nil"), b"\"nil\"");
    }

    #[test]
    fn what_no_quoted_string_holds_is_a_literal() {
        assert_eq!(astring(b"a\r\nb"), b"{4}\r\na\r\nb");
        assert_eq!(astring(b"\xc3\xa4"), b"{2}\r\n\xc3\xa4");
        let mut out = Vec::new();
        string_out(&mut out, b"a\nb", LiteralStyle::NonSynchronising);
        assert_eq!(out, b"{3+}\r\na\nb");
    }

    #[test]
    fn refused_quoted_string_writes_nothing() {
        let mut out = b"x".to_vec();
        assert_eq!(quoted_out(&mut out, b"a\0b"), Err(Unquotable));
        assert_eq!(out, b"x");
        assert_eq!(quoted_out(&mut out, b"\xff"), Ok(()));
        assert_eq!(out, b"x\"\xff\"");
    }

    #[test]
    fn numbers_of_all_lengths_are_written() {
        for number in [0, 9, 10, 4096, u64::MAX] {
            let mut out = Vec::new();
            number_out(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
