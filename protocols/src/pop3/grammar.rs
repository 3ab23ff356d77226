//! Lines of POP3: commands of a client, replies of a server.

use crate::proxy::VerbName;

/// A command line without its end.
///
/// ```text
/// command = keyword *(SP argument) CRLF      RFC 1939 section 3, RFC 2449 section 4
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Command<'a> {
    /// Which.
    pub verb: Verb,
    /// What stands behind the first space; `None` when nothing does.
    pub argument: Option<&'a [u8]>,
}

/// The keyword of a command that a frontend serves itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// USER.
    User,
    /// PASS.
    Pass,
    /// APOP, which no source of passwords here can check: none keeps them readable.
    Apop,
    /// AUTH (RFC 5034).
    Auth,
    /// CAPA (RFC 2449).
    Capa,
    /// STLS (RFC 2595).
    Stls,
    /// QUIT.
    Quit,
    /// Any other.
    Unknown,
}

impl Verb {
    /// As measurements call it: their tables hold all protocols.
    pub fn name(self) -> VerbName {
        match self {
            Verb::User => &"POP3 USER",
            Verb::Pass => &"POP3 PASS",
            Verb::Apop => &"POP3 APOP",
            Verb::Auth => &"POP3 AUTH",
            Verb::Capa => &"POP3 CAPA",
            Verb::Stls => &"POP3 STLS",
            Verb::Quit => &"POP3 QUIT",
            Verb::Unknown => &"POP3 other",
        }
    }
}

const VERBS: [(&[u8], Verb); 7] = [
    (b"USER", Verb::User),
    (b"PASS", Verb::Pass),
    (b"APOP", Verb::Apop),
    (b"AUTH", Verb::Auth),
    (b"CAPA", Verb::Capa),
    (b"STLS", Verb::Stls),
    (b"QUIT", Verb::Quit),
];

impl<'a> Command<'a> {
    /// Reads a line. Spaces at its end count for nothing but in PASS: "spaces in the argument to PASS are
    /// treated as part of the password" (RFC 1939 section 7).
    pub fn parse(line: &'a [u8]) -> Command<'a> {
        let (keyword, argument) = match memchr::memchr(b' ', line) {
            Some(space) => (&line[..space], Some(&line[space + 1..])),
            None => (line, None),
        };
        let verb = VERBS.iter().find(|(name, _)| name.eq_ignore_ascii_case(keyword));
        let verb = verb.map_or(Verb::Unknown, |(_, verb)| *verb);
        let argument = match verb {
            Verb::Pass => argument,
            Verb::User | Verb::Apop | Verb::Auth | Verb::Capa | Verb::Stls | Verb::Quit | Verb::Unknown => {
                argument.map(<[u8]>::trim_ascii).filter(|argument| !argument.is_empty())
            }
        };
        Command { verb, argument }
    }
}

/// The arguments of AUTH.
///
/// ```text
/// auth-command = "AUTH" [SP auth-type [SP (base64 / "=")]]      RFC 5034 section 6
/// ```
pub fn auth_args(argument: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b' ', argument) {
        Some(space) => (&argument[..space], Some(argument[space + 1..].trim_ascii())),
        None => (argument, None),
    }
}

/// A line of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply<'a> {
    /// `+OK`, and what stands behind it.
    Ok(&'a [u8]),
    /// `-ERR`, and what stands behind it.
    Err(&'a [u8]),
    /// `+ ` and a challenge.
    Challenge(&'a [u8]),
    /// None of these: a line of a multi-line reply, or no POP3.
    Other(&'a [u8]),
}

/// Reads a line of a server, cut off its end.
pub fn reply(line: &[u8]) -> Reply<'_> {
    let behind = |word: &[u8]| {
        let (begin, rest) = line.split_at_checked(word.len())?;
        let is_word = rest.first().is_none_or(|byte| *byte == b' ');
        (begin.eq_ignore_ascii_case(word) && is_word).then_some(rest)
    };
    if let Some(text) = behind(b"+OK") {
        Reply::Ok(text)
    } else if let Some(text) = behind(b"-ERR") {
        Reply::Err(text)
    } else if let Some(challenge) = behind(b"+") {
        Reply::Challenge(challenge.trim_ascii())
    } else {
        Reply::Other(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_keeps_its_spaces_and_nothing_else_does() {
        let parse = |line| Command::parse(line);
        assert_eq!(parse(b"pass  a b "), Command { verb: Verb::Pass, argument: Some(b" a b ") });
        assert_eq!(parse(b"User fred "), Command { verb: Verb::User, argument: Some(b"fred") });
        assert_eq!(parse(b"PASS "), Command { verb: Verb::Pass, argument: Some(b"") });
        assert_eq!(parse(b"QUIT "), Command { verb: Verb::Quit, argument: None });
        assert_eq!(parse(b"STAT").verb, Verb::Unknown);
    }

    #[test]
    fn initial_response_is_what_stands_behind_the_mechanism() {
        assert_eq!(auth_args(b"PLAIN AHg="), (&b"PLAIN"[..], Some(&b"AHg="[..])));
        assert_eq!(auth_args(b"PLAIN"), (&b"PLAIN"[..], None));
    }

    #[test]
    fn replies_are_told_apart() {
        assert_eq!(reply(b"+OK ready"), Reply::Ok(b" ready"));
        assert_eq!(reply(b"+ok"), Reply::Ok(b""));
        assert_eq!(reply(b"-ERR [IN-USE] locked"), Reply::Err(b" [IN-USE] locked"));
        assert_eq!(reply(b"+ cj1h"), Reply::Challenge(b"cj1h"));
        assert_eq!(reply(b"+"), Reply::Challenge(b""));
        assert_eq!(reply(b"+OKAY"), Reply::Other(b"+OKAY"));
        assert_eq!(reply(b"SASL PLAIN"), Reply::Other(b"SASL PLAIN"));
    }
}
