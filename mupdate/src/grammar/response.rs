//! Responses, as a slave reads them.

use std::borrow::Cow;

use super::scan::{From, Scan};
use super::{Stop, message_out};

/// A response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Response<'a> {
    /// `tag MAILBOX name location acl`
    Mailbox {
        /// The command's tag.
        tag: &'a [u8],
        /// The internal name.
        name: Cow<'a, [u8]>,
        /// `server!partition`
        location: Cow<'a, [u8]>,
        /// The ACL.
        acl: Cow<'a, [u8]>,
    },
    /// `tag RESERVE name location`
    Reserve {
        /// The command's tag.
        tag: &'a [u8],
        /// The internal name.
        name: Cow<'a, [u8]>,
        /// `server!partition`
        location: Cow<'a, [u8]>,
    },
    /// `tag DELETE name`
    Delete {
        /// The command's tag.
        tag: &'a [u8],
        /// The internal name.
        name: Cow<'a, [u8]>,
    },
    /// `tag POSITION sequence`: ours, see [`crate::grammar`].
    Position {
        /// The command's tag.
        tag: &'a [u8],
        /// The sequence number in digits, as it came.
        sequence: Cow<'a, [u8]>,
    },
    /// `tag OK "text"` and its like; the text may be unquoted.
    Status {
        /// The command's tag, or `*`.
        tag: &'a [u8],
        /// Which.
        status: Status,
        /// For people; in the greeting the rest of the line.
        text: Cow<'a, [u8]>,
    },
    /// Any other line: a capability of the greeting, or something new.
    Other {
        /// The first word.
        tag: &'a [u8],
        /// The second word.
        keyword: &'a [u8],
        /// The rest of the line.
        rest: &'a [u8],
    },
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// OK.
    Ok,
    /// NO.
    No,
    /// BAD.
    Bad,
    /// BYE: the server closes.
    Bye,
}

impl Status {
    const ALL: [(Status, &'static str); 4] =
        [(Status::Ok, "OK"), (Status::No, "NO"), (Status::Bad, "BAD"), (Status::Bye, "BYE")];

    /// The keyword.
    pub fn keyword(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::No => "NO",
            Status::Bad => "BAD",
            Status::Bye => "BYE",
        }
    }
}

impl Response<'_> {
    /// Appends the response as we would send it; false when it is of no kind that we send.
    pub fn write(&self, out: &mut Vec<u8>) -> bool {
        match self {
            Response::Mailbox { tag, name, location, acl } => {
                message_out(out, tag, "MAILBOX", &[name, location, acl]);
            }
            Response::Reserve { tag, name, location } => {
                message_out(out, tag, "RESERVE", &[name, location]);
            }
            Response::Delete { tag, name } => message_out(out, tag, "DELETE", &[name]),
            Response::Position { tag, sequence } => message_out(out, tag, "POSITION", &[sequence]),
            // A NUL, which only an unquoted text can hold, fits into no string.
            Response::Status { text, .. } if memchr::memchr(0, text).is_some() => return false,
            Response::Status { tag, status, text } => message_out(out, tag, status.keyword(), &[text]),
            Response::Other { .. } => return false,
        }
        true
    }
}

/// Reads a response; also how many bytes it takes.
///
/// # Errors
/// `Incomplete`; `TooLong` and `Malformed`, after which the connection is of no use.
pub fn response(bytes: &[u8]) -> Result<(Response<'_>, usize), Stop> {
    let mut scan = Scan::new(bytes, From::Server);
    let tag = scan.word()?;
    if scan.is_end()? {
        scan.end()?;
        return Ok((Response::Other { tag, keyword: b"", rest: b"" }, scan.at));
    }
    scan.byte(b' ')?;
    let keyword = scan.word()?;
    let is = |name: &str| name.as_bytes().eq_ignore_ascii_case(keyword);
    let response = if is("MAILBOX") {
        let name = argument(&mut scan)?;
        let location = argument(&mut scan)?;
        let acl = argument(&mut scan)?;
        finished(&mut scan, Response::Mailbox { tag, name, location, acl })?
    } else if is("RESERVE") {
        let name = argument(&mut scan)?;
        let location = argument(&mut scan)?;
        finished(&mut scan, Response::Reserve { tag, name, location })?
    } else if is("DELETE") {
        let name = argument(&mut scan)?;
        finished(&mut scan, Response::Delete { tag, name })?
    } else if is("POSITION") {
        let sequence = argument(&mut scan)?;
        finished(&mut scan, Response::Position { tag, sequence })?
    } else if let Some((status, _)) = Status::ALL.iter().find(|(_, name)| is(name)) {
        Response::Status { tag, status: *status, text: status_text(&mut scan)? }
    } else {
        let rest = scan.rest_of_line()?;
        Response::Other { tag, keyword, rest: rest.strip_prefix(b" ").unwrap_or(rest) }
    };
    Ok((response, scan.at))
}

fn argument<'a>(scan: &mut Scan<'a>) -> Result<Cow<'a, [u8]>, Stop> {
    scan.byte(b' ')?;
    scan.string()
}

fn finished<'a>(scan: &mut Scan<'a>, response: Response<'a>) -> Result<Response<'a>, Stop> {
    scan.end()?;
    Ok(response)
}

/// ```text
/// status-text = [SP (string / text)] CRLF
/// ```
/// Cyrus sends some texts unquoted, and in the greeting more than one string.
fn status_text<'a>(scan: &mut Scan<'a>) -> Result<Cow<'a, [u8]>, Stop> {
    if scan.is_end()? {
        scan.end()?;
        return Ok(Cow::Borrowed(b""));
    }
    scan.byte(b' ')?;
    let start = scan.at;
    if matches!(scan.peek()?, b'"' | b'{') {
        match scan.string() {
            Ok(text) if scan.is_end()? => {
                scan.end()?;
                return Ok(text);
            }
            Ok(_) | Err(Stop::Malformed { .. }) => scan.at = start,
            Err(stop) => return Err(stop),
        }
    }
    scan.rest_of_line().map(Cow::Borrowed)
}
