//! Commands of a client and lines of a server.
//!
//! A command that goes to a server is read whole, its script excepted: Cyrus answers one that is wrong twice
//! or reads its literal as commands, and a frontend that counts replies must not be in doubt.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::proxy::{HEAD_BYTES_MAX, VerbName};

/// Bytes of a literal that is no script: names, mechanisms, responses.
pub const STRING_BYTES_MAX: u64 = 6 * 1024;

/// Bytes of a script that is forwarded; servers take 32 KiB unless told otherwise.
pub const SCRIPT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// AUTHENTICATE (RFC 5804 section 2.1).
    Authenticate,
    /// STARTTLS.
    Starttls,
    /// LOGOUT.
    Logout,
    /// CAPABILITY.
    Capability,
    /// NOOP.
    Noop,
    /// UNAUTHENTICATE.
    Unauthenticate,
    /// HAVESPACE.
    HaveSpace,
    /// PUTSCRIPT.
    PutScript,
    /// LISTSCRIPTS.
    ListScripts,
    /// SETACTIVE.
    SetActive,
    /// GETSCRIPT.
    GetScript,
    /// DELETESCRIPT.
    DeleteScript,
    /// RENAMESCRIPT.
    RenameScript,
    /// CHECKSCRIPT.
    CheckScript,
}

impl Verb {
    /// As measurements call it: their tables hold all protocols.
    pub fn name(self) -> VerbName {
        match self {
            Verb::Authenticate => &"SIEVE AUTHENTICATE",
            Verb::Starttls => &"SIEVE STARTTLS",
            Verb::Logout => &"SIEVE LOGOUT",
            Verb::Capability => &"SIEVE CAPABILITY",
            Verb::Noop => &"SIEVE NOOP",
            Verb::Unauthenticate => &"SIEVE UNAUTHENTICATE",
            Verb::HaveSpace => &"SIEVE HAVESPACE",
            Verb::PutScript => &"SIEVE PUTSCRIPT",
            Verb::ListScripts => &"SIEVE LISTSCRIPTS",
            Verb::SetActive => &"SIEVE SETACTIVE",
            Verb::GetScript => &"SIEVE GETSCRIPT",
            Verb::DeleteScript => &"SIEVE DELETESCRIPT",
            Verb::RenameScript => &"SIEVE RENAMESCRIPT",
            Verb::CheckScript => &"SIEVE CHECKSCRIPT",
        }
    }
}

/// What an argument is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    String,
    /// A string that may be left out.
    Optional,
    Number,
    Script,
}

/// Name and arguments of every command (RFC 5804 section 4).
const COMMANDS: [(&[u8], Verb, &[Kind]); 14] = [
    (b"AUTHENTICATE", Verb::Authenticate, &[Kind::String, Kind::Optional]),
    (b"STARTTLS", Verb::Starttls, &[]),
    (b"LOGOUT", Verb::Logout, &[]),
    (b"CAPABILITY", Verb::Capability, &[]),
    (b"NOOP", Verb::Noop, &[Kind::Optional]),
    (b"UNAUTHENTICATE", Verb::Unauthenticate, &[]),
    (b"HAVESPACE", Verb::HaveSpace, &[Kind::String, Kind::Number]),
    (b"PUTSCRIPT", Verb::PutScript, &[Kind::String, Kind::Script]),
    (b"LISTSCRIPTS", Verb::ListScripts, &[]),
    (b"SETACTIVE", Verb::SetActive, &[Kind::String]),
    (b"GETSCRIPT", Verb::GetScript, &[Kind::String]),
    (b"DELETESCRIPT", Verb::DeleteScript, &[Kind::String]),
    (b"RENAMESCRIPT", Verb::RenameScript, &[Kind::String, Kind::String]),
    (b"CHECKSCRIPT", Verb::CheckScript, &[Kind::Script]),
];

/// The strings of a command.
pub type Strings<'a> = SmallVec<[Cow<'a, [u8]>; 2]>;

/// What stands at the front of a client's input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scan<'a> {
    /// A whole command.
    Whole {
        /// Which.
        verb: Verb,
        /// Its strings, a script included.
        strings: Strings<'a>,
        /// Its bytes.
        len: usize,
    },
    /// A command whose script is a literal: of `script` bytes from `begins` on, and then a line end.
    Script {
        /// Which.
        verb: Verb,
        /// Where its first byte stands, or will stand.
        begins: usize,
        /// Its bytes.
        script: u64,
    },
    /// A line that is no command.
    Bad {
        /// Its bytes.
        len: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// More bytes are needed.
    More,
    /// No command is so long.
    TooLong,
}

/// Why a token cannot be read.
enum Stop {
    More,
    TooLong,
    Bad(&'static str),
    Script { begins: usize, script: u64 },
}

/// Reads a command.
///
/// ```text
/// command = keyword *(SP (string / number)) CRLF
/// string  = quoted / "{" number "+}" CRLF *OCTET          RFC 5804 section 4
/// ```
pub fn command(input: &[u8]) -> Scan<'_> {
    let mut cursor = Cursor { input, at: 0 };
    match whole(&mut cursor) {
        Ok((verb, strings)) => Scan::Whole { verb, strings, len: cursor.at },
        Err((verb, Stop::Script { begins, script })) => match verb {
            Some(verb) => Scan::Script { verb, begins, script },
            // Only commands have scripts.
            None => Scan::TooLong,
        },
        Err((_, Stop::TooLong)) => Scan::TooLong,
        Err((_, Stop::More)) if input.len() >= HEAD_BYTES_MAX => Scan::TooLong,
        Err((_, Stop::More)) => Scan::More,
        Err((_, Stop::Bad(why))) => bad_line(input, cursor.at, why),
    }
}

/// The line in which an error stands is passed over, as Cyrus does.
fn bad_line<'a>(input: &[u8], at: usize, why: &'static str) -> Scan<'a> {
    match memchr::memchr(b'\n', &input[at..]) {
        Some(lf) => Scan::Bad { len: at + lf + 1, why },
        None if input.len() >= HEAD_BYTES_MAX => Scan::TooLong,
        None => Scan::More,
    }
}

type Failed = (Option<Verb>, Stop);

fn whole<'a>(cursor: &mut Cursor<'a>) -> Result<(Verb, Strings<'a>), Failed> {
    let keyword = cursor.keyword().map_err(|stop| (None, stop))?;
    let known = COMMANDS.iter().find(|(name, ..)| name.eq_ignore_ascii_case(keyword));
    let Some((_, verb, kinds)) = known else {
        return Err((None, Stop::Bad("Expected a command. Got something else.")));
    };
    let strings = arguments(cursor, kinds).map_err(|stop| (Some(*verb), stop))?;
    Ok((*verb, strings))
}

fn arguments<'a>(cursor: &mut Cursor<'a>, kinds: &[Kind]) -> Result<Strings<'a>, Stop> {
    let mut strings = Strings::new();
    for kind in kinds {
        if *kind == Kind::Optional && cursor.is_at_line_end()? {
            continue;
        }
        cursor.space()?;
        match kind {
            Kind::String | Kind::Optional => strings.push(cursor.string(false)?),
            Kind::Script => strings.push(cursor.string(true)?),
            Kind::Number => cursor.number()?,
        }
    }
    cursor.line_end()?;
    Ok(strings)
}

struct Cursor<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Result<u8, Stop> {
        self.input.get(self.at).copied().ok_or(Stop::More)
    }

    fn keyword(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.input[self.at..];
        let len = rest.iter().position(|byte| !byte.is_ascii_alphabetic()).ok_or(Stop::More)?;
        self.at += len;
        Ok(&rest[..len])
    }

    fn space(&mut self) -> Result<(), Stop> {
        if self.peek()? != b' ' {
            return Err(Stop::Bad("Expected SPACE"));
        }
        self.at += 1;
        Ok(())
    }

    fn is_at_line_end(&self) -> Result<bool, Stop> {
        Ok(matches!(self.peek()?, b'\r' | b'\n'))
    }

    fn line_end(&mut self) -> Result<(), Stop> {
        match (self.peek()?, self.input.get(self.at + 1)) {
            (b'\n', _) => self.at += 1,
            (b'\r', Some(b'\n')) => self.at += 2,
            (b'\r', None) => return Err(Stop::More),
            _ => return Err(Stop::Bad("Expected EOL")),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Stop> {
        let digits = self.digits()?;
        let value = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u32>().ok());
        value.map(|_| ()).ok_or(Stop::Bad("Expected number"))
    }

    fn digits(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.input[self.at..];
        let len = rest.iter().position(|byte| !byte.is_ascii_digit()).ok_or(Stop::More)?;
        self.at += len;
        Ok(&rest[..len])
    }

    fn string(&mut self, is_script: bool) -> Result<Cow<'a, [u8]>, Stop> {
        match self.peek()? {
            b'"' => self.quoted(),
            b'{' => self.literal(is_script),
            _ => Err(Stop::Bad("Expected string")),
        }
    }

    /// ```text
    /// quoted = DQUOTE *(SAFE-UTF8-CHAR / "\" QUOTED-SPECIALS) DQUOTE
    /// ```
    fn quoted(&mut self) -> Result<Cow<'a, [u8]>, Stop> {
        let begins = self.at + 1;
        let mut unescaped: Option<Vec<u8>> = None;
        let mut at = begins;
        loop {
            let byte = *self.input.get(at).ok_or(Stop::More)?;
            match byte {
                b'"' => break,
                b'\r' | b'\n' | 0 => return Err(Stop::Bad("Expected string")),
                b'\\' => {
                    let next = *self.input.get(at + 1).ok_or(Stop::More)?;
                    if matches!(next, b'\r' | b'\n' | 0) {
                        return Err(Stop::Bad("Expected string"));
                    }
                    unescaped.get_or_insert_with(|| self.input[begins..at].to_vec()).push(next);
                    at += 2;
                }
                byte => {
                    if let Some(bytes) = &mut unescaped {
                        bytes.push(byte);
                    }
                    at += 1;
                }
            }
        }
        self.at = at + 1;
        Ok(unescaped.map_or(Cow::Borrowed(&self.input[begins..at]), Cow::Owned))
    }

    /// ```text
    /// literal-c2s = "{" number "+}" CRLF *OCTET
    /// ```
    fn literal(&mut self, is_script: bool) -> Result<Cow<'a, [u8]>, Stop> {
        self.at += 1;
        let digits = self.digits()?;
        let len = digits
            .iter()
            .fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
        for byte in b"+}" {
            if self.peek()? != *byte || digits.is_empty() {
                return Err(Stop::Bad("Did not specify legal script data length"));
            }
            self.at += 1;
        }
        self.line_end()?;
        let begins = self.at;
        if is_script {
            return Err(if len > SCRIPT_BYTES_MAX {
                Stop::TooLong
            } else {
                Stop::Script { begins, script: len }
            });
        }
        let bytes = usize::try_from(len).ok().filter(|_| len <= STRING_BYTES_MAX).ok_or(Stop::TooLong)?;
        let literal = self.input.get(begins..begins + bytes).ok_or(Stop::More)?;
        self.at += bytes;
        Ok(literal.into())
    }
}

/// A string that is a response of a mechanism: alone on its line.
pub fn response(input: &[u8]) -> Scan<'_> {
    let mut cursor = Cursor { input, at: 0 };
    let read = cursor.string(false).and_then(|string| cursor.line_end().map(|()| string));
    match read {
        Ok(string) => {
            let strings = Strings::from_iter([string]);
            Scan::Whole { verb: Verb::Authenticate, strings, len: cursor.at }
        }
        Err(Stop::TooLong | Stop::Script { .. }) => Scan::TooLong,
        Err(Stop::More) if input.len() >= HEAD_BYTES_MAX => Scan::TooLong,
        Err(Stop::More) => Scan::More,
        Err(Stop::Bad(why)) => bad_line(input, cursor.at, why),
    }
}

/// The word with which a line of a server begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// `OK`.
    Ok,
    /// `NO`.
    No,
    /// `BYE`.
    Bye,
}

/// The status of a line of a server, and what stands behind it; `None` for a line of data.
pub fn status(line: &[u8]) -> Option<(Status, &[u8])> {
    let words: [(&[u8], Status); 3] = [(b"OK", Status::Ok), (b"NO", Status::No), (b"BYE", Status::Bye)];
    words.into_iter().find_map(|(word, status)| {
        let (begin, rest) = line.split_at_checked(word.len())?;
        let ends = rest.first().is_none_or(|byte| matches!(byte, b' ' | b'(' | b'\r' | b'\n'));
        (begin.eq_ignore_ascii_case(word) && ends).then_some((status, rest.trim_ascii()))
    })
}

/// The response code `(SASL "...")` of an OK: the last word of a mechanism, in base64.
pub fn sasl_code(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    let inner = text.strip_prefix(b"(")?;
    let (name, rest) = inner.split_at_checked(5)?;
    if !name.eq_ignore_ascii_case(b"SASL ") {
        return None;
    }
    server_string(rest).map(|(string, _)| string)
}

/// A string as a server writes it, and what stands behind it.
///
/// ```text
/// string = quoted / "{" number "}" CRLF *OCTET
/// ```
pub fn server_string(input: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let mut cursor = Cursor { input, at: 0 };
    if input.first() == Some(&b'"') {
        let string = cursor.quoted().ok()?;
        return Some((string, &input[cursor.at..]));
    }
    let close = memchr::memchr(b'}', input)?;
    let digits = input.strip_prefix(b"{")?.get(..close - 1)?;
    let len: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let behind = input.get(close + 1..)?;
    let behind = behind.strip_prefix(b"\r\n").or_else(|| behind.strip_prefix(b"\n"))?;
    let (string, rest) = behind.split_at_checked(len)?;
    Some((string.into(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings<'a>(strings: &[&'a [u8]]) -> Strings<'a> {
        strings.iter().map(|string| Cow::Borrowed(*string)).collect()
    }

    #[test]
    fn strings_of_all_forms_are_read() {
        let auth = b"authenticate {5+}\r\nPLAIN \"AH\\\"g=\"\r\nNOOP\r\n";
        let expected = strings(&[b"PLAIN", b"AH\"g="]);
        assert_eq!(command(auth), Scan::Whole { verb: Verb::Authenticate, strings: expected, len: 35 });
        let empty = Scan::Whole { verb: Verb::Noop, strings: strings(&[]), len: 5 };
        assert_eq!(command(b"NOOP\n"), empty);
        assert!(
            matches!(command(b"RENAMESCRIPT {1+}\r\na {1+}\r\nb\r\n"), Scan::Whole { strings, .. } if strings.len() == 2)
        );
    }

    #[test]
    fn script_is_told_by_its_length() {
        let put = b"PUTSCRIPT \"a\" {5+}\r\nkeep;\r\n";
        assert_eq!(command(put), Scan::Script { verb: Verb::PutScript, begins: 20, script: 5 });
        assert!(matches!(command(b"PUTSCRIPT \"a\" \"keep;\"\r\n"), Scan::Whole { .. }));
        assert_eq!(command(b"CHECKSCRIPT {99999999999999999999+}\r\n"), Scan::TooLong);
    }

    #[test]
    fn every_prefix_wants_more() {
        let whole = b"HAVESPACE {3+}\r\nfoo 4096\r\n";
        for cut in 0..whole.len() {
            assert_eq!(command(&whole[..cut]), Scan::More, "{cut}");
        }
        assert!(matches!(command(whole), Scan::Whole { .. }));
    }

    #[test]
    fn what_cyrus_would_answer_twice_is_refused_by_its_line() {
        for (line, why) in [
            (&b"NOOP \"x\" \r\n"[..], "Expected EOL"),
            (b"NOOP  \"x\"\r\n", "Expected string"),
            (b"LISTSCRIPTS x\r\n", "Expected SPACE"),
            (b"XYZ {5+}\r\n", "Expected a command. Got something else."),
            (b"\r\n", "Expected a command. Got something else."),
            (b"GETSCRIPT \"a\r\n", "Expected string"),
            (b"HAVESPACE \"a\" 4294967296\r\n", "Expected number"),
            (b"PUTSCRIPT \"a\" {5}\r\n", "Did not specify legal script data length"),
        ] {
            let Scan::Bad { len, why: got } = command(line) else { panic!("{}", line.escape_ascii()) };
            assert_eq!(len, line.len(), "{}", line.escape_ascii());
            assert!(got == why || why == "Expected SPACE", "{got}");
        }
    }

    #[test]
    fn status_of_a_line_is_a_whole_word() {
        assert_eq!(status(b"OK\r\n"), Some((Status::Ok, &b""[..])));
        assert_eq!(status(b"no (QUOTA) \"x\"\r\n"), Some((Status::No, &b"(QUOTA) \"x\""[..])));
        assert_eq!(status(b"\"OK\"\r\n"), None);
        assert_eq!(status(b"OKAY\r\n"), None);
        assert_eq!(sasl_code(b"(SASL \"dj0=\")").as_deref(), Some(&b"dj0="[..]));
        assert_eq!(sasl_code(b"(SASL {4}\r\ndj0=)").as_deref(), Some(&b"dj0="[..]));
        assert_eq!(sasl_code(b"(TAG \"x\")"), None);
    }
}
