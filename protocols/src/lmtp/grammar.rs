//! Commands of a client and replies of a server.

use std::borrow::Cow;

/// Bytes of a command line, its end included: what Cyrus reads as one.
pub const LINE_BYTES_MAX: usize = 4096;

/// Bytes of one reply of all its lines together (Cyrus' longest has about 400).
pub const REPLY_BYTES_MAX: usize = 4096;

/// A command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command<'a> {
    /// `LHLO name`.
    Lhlo(&'a [u8]),
    /// `MAIL FROM:<path> parameters`.
    Mail(Mail<'a>),
    /// `RCPT TO:<path> parameters`.
    Rcpt(Rcpt<'a>),
    /// `DATA`.
    Data,
    /// `RSET`.
    Rset,
    /// `NOOP`.
    Noop,
    /// `QUIT`.
    Quit,
    /// `VRFY who`.
    Vrfy,
    /// `STARTTLS`.
    Starttls,
    /// `AUTH mechanism [initial-response]`.
    Auth {
        /// As it was typed.
        mechanism: &'a [u8],
        /// Base64, or `=`.
        initial: Option<&'a [u8]>,
    },
    /// `TRACE id`: Cyrus' own.
    Trace(&'a [u8]),
}

/// `MAIL`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mail<'a> {
    /// With its brackets.
    pub path: &'a [u8],
    /// `SIZE=` (RFC 1870).
    pub size: Option<u64>,
    /// `BODY=` (RFC 6152).
    pub body: Option<Body>,
    /// `AUTH=` (RFC 4954) as it was sent; `<>` is nobody.
    pub auth: Option<&'a [u8]>,
}

/// `BODY=`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// `7BIT`.
    SevenBit,
    /// `8BITMIME`.
    EightBit,
}

/// `RCPT`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rcpt<'a> {
    /// With its brackets.
    pub path: &'a [u8],
    /// `IGNOREQUOTA`: Cyrus' own.
    pub ignore_quota: bool,
}

/// Why a line is no command. Texts are Cyrus'.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    /// No verb that there is, or not so.
    #[error("500 5.5.2 Syntax error")]
    Verb,
    /// Path or parameters cannot be read.
    #[error("501 5.5.4 Syntax error in parameters")]
    Parameters,
    /// A parameter that there is not.
    #[error("501 5.5.4 Unrecognized parameters")]
    Parameter,
    /// `BODY=` with another word.
    #[error("501 5.5.4 Unrecognized BODY type")]
    Body,
    /// `SIZE=` without a number.
    #[error("501 5.5.2 SIZE requires a value")]
    Size,
}

/// Reads a command line without its end.
///
/// # Errors
/// [`CommandError`], whose text is the reply.
pub fn command(line: &[u8]) -> Result<Command<'_>, CommandError> {
    let (verb, rest) = match memchr::memchr(b' ', line) {
        Some(at) => (&line[..at], Some(&line[at + 1..])),
        None => (line, None),
    };
    let mut lower = [0; 8];
    let Some(name) = lower.get_mut(..verb.len()) else { return Err(CommandError::Verb) };
    name.copy_from_slice(verb);
    name.make_ascii_lowercase();
    match (&*name, rest) {
        (b"lhlo", Some(name)) => Ok(Command::Lhlo(name)),
        (b"mail", Some(rest)) => mail(rest).map(Command::Mail),
        (b"rcpt", Some(rest)) => rcpt(rest).map(Command::Rcpt),
        (b"data", None) => Ok(Command::Data),
        (b"rset", None) => Ok(Command::Rset),
        (b"noop", _) => Ok(Command::Noop),
        (b"quit", None) => Ok(Command::Quit),
        (b"vrfy", Some(_)) => Ok(Command::Vrfy),
        (b"starttls", None) => Ok(Command::Starttls),
        (b"auth", Some(rest)) => {
            let mut words = rest.splitn(2, |byte| *byte == b' ');
            Ok(Command::Auth { mechanism: words.next().unwrap_or_default(), initial: words.next() })
        }
        (b"trace", Some(id)) => Ok(Command::Trace(id)),
        _ => Err(CommandError::Verb),
    }
}

/// ```text
/// "MAIL FROM:" reverse-path *(SP mail-parameter)      RFC 5321 section 4.1.1.2
/// ```
fn mail(rest: &[u8]) -> Result<Mail<'_>, CommandError> {
    let (path, parameters) = argument(rest, b"from:")?;
    let mut mail = Mail { path, size: None, body: None, auth: None };
    for parameter in words(parameters) {
        let (name, value) = match memchr::memchr(b'=', parameter) {
            Some(at) => (&parameter[..at], &parameter[at + 1..]),
            None => return Err(CommandError::Parameter),
        };
        if name.eq_ignore_ascii_case(b"size") {
            mail.size = Some(number(value).ok_or(CommandError::Size)?);
        } else if name.eq_ignore_ascii_case(b"body") {
            mail.body = Some(body(value)?);
        } else if name.eq_ignore_ascii_case(b"auth") {
            mail.auth = Some(value).filter(|value| is_xtext(value));
        } else {
            return Err(CommandError::Parameter);
        }
    }
    Ok(mail)
}

/// ```text
/// "RCPT TO:" forward-path *(SP rcpt-parameter)      RFC 5321 section 4.1.1.3
/// ```
fn rcpt(rest: &[u8]) -> Result<Rcpt<'_>, CommandError> {
    let (path, parameters) = argument(rest, b"to:")?;
    let mut rcpt = Rcpt { path, ignore_quota: false };
    for parameter in words(parameters) {
        if !parameter.eq_ignore_ascii_case(b"ignorequota") {
            return Err(CommandError::Parameter);
        }
        rcpt.ignore_quota = true;
    }
    Ok(rcpt)
}

/// The path behind a keyword, and what stands behind it. A space in front is taken, which RFC 5321 does
/// not allow and some send.
fn argument<'a>(rest: &'a [u8], keyword: &[u8]) -> Result<(&'a [u8], &'a [u8]), CommandError> {
    let (head, behind) = rest.split_at_checked(keyword.len()).ok_or(CommandError::Parameters)?;
    if !head.eq_ignore_ascii_case(keyword) {
        return Err(CommandError::Parameters);
    }
    let behind = behind.trim_ascii_start();
    let length = super::address::path_bytes(behind).ok_or(CommandError::Parameters)?;
    let (path, parameters) = behind.split_at(length);
    match parameters {
        [] | [b' ', ..] => Ok((path, parameters)),
        _ => Err(CommandError::Parameters),
    }
}

fn words(parameters: &[u8]) -> impl Iterator<Item = &[u8]> {
    parameters.split(|byte| *byte == b' ').filter(|word| !word.is_empty())
}

fn number(digits: &[u8]) -> Option<u64> {
    let is_number = matches!(digits.len(), 1..=20) && digits.iter().all(u8::is_ascii_digit);
    // What does not fit is more than anybody takes.
    is_number.then(|| std::str::from_utf8(digits).ok()?.parse().ok().or(Some(u64::MAX))).flatten()
}

fn body(value: &[u8]) -> Result<Body, CommandError> {
    if value.eq_ignore_ascii_case(b"7bit") {
        Ok(Body::SevenBit)
    } else if value.eq_ignore_ascii_case(b"8bitmime") {
        Ok(Body::EightBit)
    } else {
        Err(CommandError::Body)
    }
}

/// ```text
/// xtext = *( xchar / hexchar )      RFC 3461 section 4
/// ```
fn is_xtext(value: &[u8]) -> bool {
    !value.is_empty()
        && (value == b"<>" || value.iter().all(|byte| (b'!'..=b'~').contains(byte) && *byte != b'='))
}

/// The text of an xtext.
pub fn from_xtext(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'+') {
        return value.into();
    }
    let mut text = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, behind)) = rest.split_first() {
        let code =
            behind.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (byte, code) {
            (b'+', Some(code)) => {
                text.push(code);
                rest = &behind[2..];
            }
            _ => {
                text.push(byte);
                rest = behind;
            }
        }
    }
    text.into()
}

/// A reply, with all its lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reply<'a> {
    /// Three digits.
    pub code: u16,
    /// Its lines, with their ends.
    pub text: &'a [u8],
}

/// Why bytes are no reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReplyError {
    /// More bytes are needed.
    #[error("incomplete")]
    Incomplete,
    /// They are none.
    #[error("no LMTP reply")]
    Invalid,
}

/// Takes the first reply of `input`, which has as many lines as say `-` behind the code and one more.
///
/// # Errors
/// `Incomplete`; `Invalid` when a line has no code, another one, NUL or a CR inside, or all is too long.
pub fn reply(input: &[u8]) -> Result<Reply<'_>, ReplyError> {
    let (mut at, mut first) = (0, None);
    loop {
        let rest = &input[at..];
        let Some(lf) = memchr::memchr(b'\n', rest) else {
            let is_long = input.len() >= REPLY_BYTES_MAX;
            return Err(if is_long { ReplyError::Invalid } else { ReplyError::Incomplete });
        };
        let line = crate::wire::line::without_end(&rest[..=lf]);
        let code = code(line).filter(|_| memchr::memchr2(b'\r', 0, line).is_none());
        let code = code.filter(|code| first.is_none_or(|first| first == *code)).ok_or(ReplyError::Invalid)?;
        first = Some(code);
        at += lf + 1;
        if at > REPLY_BYTES_MAX {
            return Err(ReplyError::Invalid);
        }
        match line.get(3) {
            Some(b'-') => {}
            Some(b' ') | None => return Ok(Reply { code, text: &input[..at] }),
            Some(_) => return Err(ReplyError::Invalid),
        }
    }
}

/// ```text
/// Reply-code = %x32-35 %x30-35 %x30-39      RFC 5321 section 4.2
/// ```
fn code(line: &[u8]) -> Option<u16> {
    let [a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', ..] = line else { return None };
    let digit = |byte: &u8| u16::from(byte - b'0');
    Some(digit(a) * 100 + digit(b) * 10 + digit(c))
}

impl<'a> Reply<'a> {
    /// Done.
    pub fn is_positive(&self) -> bool {
        matches!(self.code, 200..=299)
    }

    /// Refused for good.
    pub fn is_permanent(&self) -> bool {
        matches!(self.code, 500..=599)
    }

    /// The last line, without code and end.
    pub fn last_text(&self) -> &'a [u8] {
        let lines = crate::wire::line::without_end(self.text);
        let start = memchr::memrchr(b'\n', lines).map_or(0, |lf| lf + 1);
        lines.get(start + 4..).unwrap_or_default()
    }

    /// The lines, without codes and ends.
    pub fn lines(&self) -> impl Iterator<Item = &'a [u8]> {
        let lines = crate::wire::line::without_end(self.text);
        lines.split(|byte| *byte == b'\n').map(|line| {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            line.get(4..).unwrap_or_default()
        })
    }

    /// Whether it says that there is no such mailbox: `550 5.1.1` and its like.
    pub fn is_unknown_mailbox(&self) -> bool {
        matches!(self.code, 550 | 551 | 553) && self.last_text().starts_with(b"5.1.")
    }

    /// Whether it says that the message is too large, which Cyrus says once for all recipients.
    pub fn is_too_large(&self) -> bool {
        self.code == 552 && self.last_text().starts_with(b"5.2.3")
    }

    /// Whether it judges a recipient or message, not how we speak.
    pub fn is_judgement(&self) -> bool {
        matches!(self.code, 250 | 251 | 450..=452 | 550..=556)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_in_any_case() {
        let Ok(Command::Mail(mail)) = command(b"mail From:<a@b.c> size=10 BODY=8bitmime AUTH=x+3Dy") else {
            panic!("no MAIL");
        };
        assert_eq!((mail.path, mail.size), (&b"<a@b.c>"[..], Some(10)));
        assert_eq!((mail.body, mail.auth), (Some(Body::EightBit), Some(&b"x+3Dy"[..])));
        assert_eq!(&*from_xtext(b"x+3Dy"), b"x=y");
        let rcpt = Rcpt { path: b"<\"a b+x\"@c>", ignore_quota: true };
        assert_eq!(command(b"RCPT TO:<\"a b+x\"@c> IGNOREQUOTA"), Ok(Command::Rcpt(rcpt)));
        assert_eq!(command(b"DATA"), Ok(Command::Data));
        assert_eq!(command(b"trace abc"), Ok(Command::Trace(b"abc")));
        let auth = Command::Auth { mechanism: b"PLAIN", initial: Some(b"=") };
        assert_eq!(command(b"AUTH PLAIN ="), Ok(auth));
    }

    #[test]
    fn texts_of_refusals_are_those_of_cyrus() {
        for (line, reply) in [
            (&b"BDAT 10"[..], "500 5.5.2 Syntax error"),
            (b"EHLO x", "500 5.5.2 Syntax error"),
            (b"LHLO", "500 5.5.2 Syntax error"),
            (b"MAIL FROM:a@b", "501 5.5.4 Syntax error in parameters"),
            (b"MAIL FROM:<a@b>x", "501 5.5.4 Syntax error in parameters"),
            (b"MAIL FROM:<a@b> BODY=BINARYMIME", "501 5.5.4 Unrecognized BODY type"),
            (b"MAIL FROM:<a@b> SIZE=", "501 5.5.2 SIZE requires a value"),
            (b"MAIL FROM:<a@b> RET=FULL", "501 5.5.4 Unrecognized parameters"),
            (b"RCPT TO:<a@b> NOTIFY=NEVER", "501 5.5.4 Unrecognized parameters"),
        ] {
            assert_eq!(command(line).unwrap_err().to_string(), reply, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn reply_has_all_its_lines() {
        let text = b"550-Mailbox unknown.\r\n550-name or\r\n550 5.1.1 User unknown\r\n";
        let read = reply(&[&text[..], b"250 x"].concat()).map(|reply| reply.text.to_vec());
        assert_eq!(read, Ok(text.to_vec()));
        let read = reply(text).unwrap();
        assert!(read.is_unknown_mailbox() && read.is_permanent());
        assert_eq!(read.last_text(), b"5.1.1 User unknown");
        for cut in 0..text.len() {
            assert_eq!(reply(&text[..cut]), Err(ReplyError::Incomplete), "{cut}");
        }
    }

    #[test]
    fn what_is_no_reply_is_told() {
        for text in
            [&b"2x0 ok\r\n"[..], b"\r\n", b"250-a\r\n251 b\r\n", b"250x\r\n", b"250 a\rb\r\n", b"150 a\r\n"]
        {
            assert_eq!(reply(text), Err(ReplyError::Invalid), "{}", text.escape_ascii());
        }
        assert_eq!(reply(&[b'2'; REPLY_BYTES_MAX]), Err(ReplyError::Invalid));
        assert!(reply(b"250\r\n").is_ok());
    }
}
