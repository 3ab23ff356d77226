//! Commands, as a server reads them.

use std::borrow::Cow;

use super::scan::{From, Scan};
use super::{ARGUMENTS_MAX, Stop, message_out};

/// A command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command<'a> {
    /// Its tag; empty when the line was empty.
    pub tag: &'a [u8],
    /// The word behind the tag; empty when there was none.
    pub verb_text: &'a [u8],
    /// Which command it is.
    pub verb: Verb,
    /// What follows.
    pub request: Request<'a>,
}

/// The arguments of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request<'a> {
    /// Strings.
    Arguments(Vec<Cow<'a, [u8]>>),
    /// No command word: nothing behind the tag.
    NoCommand,
    /// A space behind the tag and no command word.
    NullCommand,
    /// Something that is not a string, or more strings than any command has.
    Extra,
    /// A string that is not well formed.
    Malformed,
}

/// The commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names of RFC 3656 section 4, and RESUME (`crate::grammar`)")]
pub enum Verb {
    Activate,
    Authenticate,
    Compress,
    Deactivate,
    Delete,
    Find,
    List,
    Logout,
    Noop,
    Reserve,
    Resume,
    Starttls,
    Update,
    /// Any other word.
    Unknown,
}

impl Verb {
    const ALL: [(Verb, &'static str); 13] = [
        (Verb::Activate, "ACTIVATE"),
        (Verb::Authenticate, "AUTHENTICATE"),
        (Verb::Compress, "COMPRESS"),
        (Verb::Deactivate, "DEACTIVATE"),
        (Verb::Delete, "DELETE"),
        (Verb::Find, "FIND"),
        (Verb::List, "LIST"),
        (Verb::Logout, "LOGOUT"),
        (Verb::Noop, "NOOP"),
        (Verb::Reserve, "RESERVE"),
        (Verb::Resume, "RESUME"),
        (Verb::Starttls, "STARTTLS"),
        (Verb::Update, "UPDATE"),
    ];

    /// Reads a word, in any case.
    pub fn parse(word: &[u8]) -> Verb {
        let found = Verb::ALL.iter().find(|(_, name)| name.as_bytes().eq_ignore_ascii_case(word));
        found.map_or(Verb::Unknown, |(verb, _)| *verb)
    }
}

impl Command<'_> {
    /// Appends the command as we would send it.
    pub fn write(&self, out: &mut Vec<u8>) {
        if let Request::Arguments(arguments) = &self.request {
            let strings: Vec<&[u8]> = arguments.iter().map(|argument| &**argument).collect();
            message_out(out, self.tag, self.verb_text, &strings);
        }
    }
}

/// Reads a command; also how many bytes it takes.
///
/// A line that makes no sense is a command with a [`Request`] that says why, so that it is answered
/// and the next line is read.
///
/// # Errors
/// `Incomplete`, `GoAhead`, `TooLong`.
pub fn command(bytes: &[u8]) -> Result<(Command<'_>, usize), Stop> {
    let mut scan = Scan::new(bytes, From::Client);
    let tag = scan.word()?;
    if scan.is_end()? {
        scan.end()?;
        return Ok((refused(tag, Request::NoCommand), scan.at));
    }
    if scan.peek()? != b' ' {
        scan.rest_of_line()?;
        return Ok((refused(tag, Request::NullCommand), scan.at));
    }
    scan.byte(b' ')?;
    let verb_text = scan.word()?;
    if verb_text.is_empty() {
        scan.rest_of_line()?;
        return Ok((refused(tag, Request::NullCommand), scan.at));
    }
    let request = arguments(&mut scan)?;
    Ok((Command { tag, verb_text, verb: Verb::parse(verb_text), request }, scan.at))
}

fn refused<'a>(tag: &'a [u8], request: Request<'a>) -> Command<'a> {
    Command { tag, verb_text: b"", verb: Verb::Unknown, request }
}

/// ```text
/// arguments = *(SP string) CRLF
/// ```
fn arguments<'a>(scan: &mut Scan<'a>) -> Result<Request<'a>, Stop> {
    let mut arguments = Vec::new();
    while !scan.is_end()? {
        if scan.peek()? != b' ' || arguments.len() == ARGUMENTS_MAX {
            scan.rest_of_line()?;
            return Ok(Request::Extra);
        }
        scan.byte(b' ')?;
        if scan.is_end()? {
            break;
        }
        scan.stray_sign()?;
        let starts_string = matches!(scan.peek()?, b'"' | b'{');
        match scan.string() {
            Ok(argument) => arguments.push(argument),
            Err(Stop::Malformed { .. }) => {
                scan.rest_of_line()?;
                return Ok(if starts_string { Request::Malformed } else { Request::Extra });
            }
            Err(stop) => return Err(stop),
        }
    }
    scan.end()?;
    Ok(Request::Arguments(arguments))
}
