//! Tag and verb of a command.

use memchr::memchr;

use crate::wire::cursor::is_astring_char;
use crate::wire::{limits, line};

use super::verb::Verb;

/// A command, its arguments unread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Command<'a> {
    /// The tag.
    pub tag: &'a [u8],
    /// The verb.
    pub verb: Verb,
    /// `UID` stood before the verb.
    pub uid: bool,
    /// The verb as typed, without `UID`.
    pub name: &'a [u8],
    /// What stands behind the space behind the verb, without the line end.
    pub args: &'a [u8],
    /// Where `args` begins in what was parsed.
    pub args_at: usize,
}

/// Why a line is no command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    /// What stands first is no tag: answered as `* BAD`.
    #[error("invalid tag")]
    InvalidTag,
    /// A tag, but no verb behind it: answered as `tag BAD`.
    #[error("no command behind the tag")]
    NullCommand {
        /// Bytes of the tag at the front of the line.
        tag_len: usize,
    },
}

impl<'a> Command<'a> {
    /// Reads tag and verb. `line` is a whole head with its line end, or its first line, with the end
    /// or without.
    ///
    /// ```text
    /// command = tag SP (command-any / command-auth / ...) CRLF
    /// tag     = 1*<any ASTRING-CHAR except "+">      RFC 9051 section 9
    /// ```
    ///
    /// # Errors
    /// See [`CommandError`]; the line was cut or hostile.
    #[inline]
    pub fn parse(line: &'a [u8]) -> Result<Command<'a>, CommandError> {
        let line = line::without_end(line);
        let tag_len = line.iter().position(|byte| !is_tag_char(*byte)).unwrap_or(line.len());
        if tag_len == 0 || tag_len > limits::TAG_BYTES_MAX {
            return Err(CommandError::InvalidTag);
        }
        let tag = &line[..tag_len];
        match line.get(tag_len) {
            Some(b' ') => {}
            None => return Err(CommandError::NullCommand { tag_len }),
            Some(_) => return Err(CommandError::InvalidTag),
        }
        let (name, args_at) = word(line, tag_len + 1);
        if name.is_empty() {
            return Err(CommandError::NullCommand { tag_len });
        }
        if name.eq_ignore_ascii_case(b"UID") {
            return Ok(Command::behind_uid(line, tag, name, args_at));
        }
        Ok(Command { tag, verb: Verb::parse(name), uid: false, name, args: &line[args_at..], args_at })
    }

    /// The verb behind `UID`; `Unknown` when it takes none or nothing is there.
    fn behind_uid(line: &'a [u8], tag: &'a [u8], uid: &'a [u8], at: usize) -> Command<'a> {
        let (name, args_at) = word(line, at);
        if name.is_empty() {
            return Command {
                tag,
                verb: Verb::Unknown,
                uid: true,
                name: uid,
                args: &line[at..],
                args_at: at,
            };
        }
        let verb = Verb::parse(name);
        let verb = if verb.takes_uid() { verb } else { Verb::Unknown };
        Command { tag, verb, uid: true, name, args: &line[args_at..], args_at }
    }
}

/// The word at `at` and where the one behind its space begins.
#[inline]
fn word(line: &[u8], at: usize) -> (&[u8], usize) {
    let rest = &line[at..];
    match memchr(b' ', rest) {
        Some(space) => (&rest[..space], at + space + 1),
        None => (rest, line.len()),
    }
}

/// ```text
/// tag = 1*<any ASTRING-CHAR except "+">      RFC 9051 section 9
/// ```
#[inline]
fn is_tag_char(byte: u8) -> bool {
    const TABLE: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0_u8;
        while byte < 0x7f {
            table[byte as usize] =
                !matches!(byte, 0..=b' ' | b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b'+');
            byte += 1;
        }
        table
    };
    debug_assert!(!TABLE[byte as usize] || is_astring_char(byte));
    TABLE[byte as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &[u8]) -> Command<'_> {
        Command::parse(line).unwrap()
    }

    #[test]
    fn tag_verb_and_arguments_are_spans() {
        let command = parsed(b"a1 login {3+}\r\nfoo bar\r\n");
        assert_eq!(command.tag, b"a1");
        assert_eq!(command.verb, Verb::Login);
        assert_eq!(command.name, b"login");
        assert_eq!(command.args, b"{3+}\r\nfoo bar");
        assert_eq!(command.args_at, 9);
    }

    #[test]
    fn uid_is_a_prefix_of_few_verbs() {
        let command = parsed(b"a UID Fetch 1:* FLAGS\r\n");
        assert_eq!((command.verb, command.uid, command.args), (Verb::Fetch, true, &b"1:* FLAGS"[..]));
        let command = parsed(b"a UID NOOP");
        assert_eq!((command.verb, command.uid), (Verb::Unknown, true));
        for line in [&b"a UID"[..], b"a UID "] {
            assert_eq!((parsed(line).verb, parsed(line).uid), (Verb::Unknown, true));
        }
    }

    #[test]
    fn verb_alone_has_no_arguments() {
        for line in [&b"a NOOP\r\n"[..], b"a NOOP\n", b"a NOOP"] {
            let command = parsed(line);
            assert_eq!((command.verb, command.args), (Verb::Noop, &b""[..]));
        }
    }

    #[test]
    fn what_is_no_tag_is_told_apart_from_a_missing_verb() {
        for line in [
            &b"\r\n"[..],
            b" NOOP",
            b"+ NOOP",
            b"a+b NOOP",
            b"* NOOP",
            b"(a NOOP",
            b"\xff NOOP",
            b"a\tNOOP",
            b"\0",
        ] {
            assert_eq!(Command::parse(line), Err(CommandError::InvalidTag), "{}", line.escape_ascii());
        }
        for line in [&b"abc\r\n"[..], b"abc ", b"abc  NOOP"] {
            assert_eq!(Command::parse(line), Err(CommandError::NullCommand { tag_len: 3 }));
        }
    }

    #[test]
    fn tag_over_limit_is_refused() {
        let mut line = vec![b'x'; limits::TAG_BYTES_MAX];
        line.extend_from_slice(b" NOOP");
        assert!(Command::parse(&line).is_ok());
        line.insert(0, b'x');
        assert_eq!(Command::parse(&line), Err(CommandError::InvalidTag));
    }
}
