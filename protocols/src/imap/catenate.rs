//! CATENATE (RFC 4469): parts of messages that lie on another server than the new one.
//!
//! A server takes URLs of its own mailboxes alone. A part of another one is read there by the user's own
//! login, with his rights, and goes into the APPEND as a TEXT in the URL's place; it is never held. What
//! cannot be read goes as the URL that it was, and the server says what it thinks of it.
//!
//! ```text
//!  Start ──find──> ExpectFound ──> ExpectSource ──EXAMINE──> ExpectExamined ──FETCH──> ExpectPart
//!    │                 └── on the server itself: the URL                               │ {n}
//!    └── no URL of ours, not there, not readable: the URL        (ExpectGo) ──> ExpectTail ──> ExpectFetched
//! ```

use super::agenda::{Agenda, located, result_of, server_of, string_for};
use super::grammar::responses::{Body, FetchItems};
use super::grammar::url::MessageUrl;
use super::grammar::{Response, Status, UntaggedKind, code, codes, response};
use super::offer::Offer;
use super::task::{Context, Line, News, Want};
use crate::login::desk::host_of;
use crate::mailbox::{Identity, Spelling, utf7};
use crate::proxy::{BackendId, Side};
use crate::wire::cursor::Bytes;
use crate::wire::limits::LITERAL_MINUS_BYTES_MAX;
use crate::wire::quote::{LiteralStyle, announce_out, string_out};
use crate::wire::{Announced, Cursor, SyntaxError, literal};

/// Our tags at the source.
const EXAMINE: u32 = 10;
const FETCH: u32 = 11;

/// Where in the arguments of an APPEND the client is.
#[derive(Debug, Default)]
pub(super) struct Catenation {
    /// Between the parentheses of CATENATE.
    is_inside: bool,
}

/// A piece of a line of an APPEND.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Piece {
    /// Goes to the server as it is.
    Text(Vec<u8>),
    /// A URL, without its quotes.
    Url(Vec<u8>),
    /// A URL that follows as a literal.
    UrlLiteral(Announced),
}

impl Catenation {
    /// Cuts a line without its end; the last piece is always text or a literal's announcement. A line
    /// that is not understood is text: the server judges it.
    ///
    /// ```text
    /// cat-part  = "TEXT" SP literal / "URL" SP url-resource
    /// append-data =/ "CATENATE" SP "(" cat-part *(SP cat-part) ")"      RFC 4469 section 5
    /// ```
    pub(super) fn cut(&mut self, line: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut cursor = Cursor::new(line);
        let mut from = 0;
        while let Some((at, found)) = self.next_url(&mut cursor) {
            pieces.push(Piece::Text(line[from..at].to_vec()));
            match found {
                Ok(url) => pieces.push(Piece::Url(url.into_owned())),
                Err(announced) => {
                    pieces.push(Piece::UrlLiteral(announced));
                    return pieces;
                }
            }
            from = cursor.position();
        }
        pieces.push(Piece::Text(line[from..].to_vec()));
        pieces
    }

    /// Goes on to the next URL: where `URL` begins, and what it is.
    fn next_url<'a>(&mut self, cursor: &mut Cursor<'a>) -> Option<(usize, Result<Bytes<'a>, Announced>)> {
        loop {
            let at = cursor.position();
            if self.is_inside && cursor.take_word(b"URL") && cursor.take_if(b' ') {
                if let Some(announced) = literal::at_line_end(cursor.rest())
                    && cursor.rest().first() == Some(&b'{')
                {
                    return Some((at, Err(announced)));
                }
                return cursor.astring().ok().map(|url| (at, Ok(url)));
            }
            self.step(cursor).ok()?;
        }
    }

    /// Passes one word, string or parenthesis.
    fn step(&mut self, cursor: &mut Cursor<'_>) -> Result<(), SyntaxError> {
        match cursor.rest() {
            [] => return Err(cursor.error("more")),
            [b'"', ..] => drop(cursor.quoted()?),
            [b')', ..] => {
                cursor.take_if(b')');
                self.is_inside = false;
            }
            _ if !self.is_inside && cursor.take_word(b"CATENATE") => {
                if cursor.take_if(b' ') && cursor.take_if(b'(') {
                    self.is_inside = true;
                }
            }
            [byte, ..] if byte.is_ascii_alphanumeric() => drop(cursor.atom()?),
            [byte, ..] => {
                let byte = *byte;
                cursor.take_if(byte);
            }
        }
        Ok(())
    }
}

/// One URL on its way into an APPEND.
#[derive(Debug)]
pub(super) struct Part {
    destination: BackendId,
    /// As typed.
    url: Vec<u8>,
    source: Option<BackendId>,
    /// As the user names it, for the source.
    mailbox: Vec<u8>,
    step: Step,
    agenda: Agenda,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Start,
    ExpectFound,
    ExpectSource,
    ExpectExamined,
    ExpectPart,
    /// The destination is asked for a literal of so many bytes.
    ExpectGo(u64),
    /// The bytes go; the line behind them.
    ExpectTail,
    ExpectFetched,
    /// The destination cannot be sent more.
    Torn,
    Over,
}

/// How a part ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PartEnd {
    /// The APPEND goes on.
    Whole,
    /// The destination cannot be used any more.
    Torn,
}

impl Part {
    pub(super) fn new(destination: BackendId, url: Vec<u8>) -> Part {
        let (source, mailbox, step) = (None, Vec::new(), Step::Start);
        Part { destination, url, source, mailbox, step, agenda: Agenda::default() }
    }

    /// How it ended, if it has and all that it wanted is said.
    pub(super) fn end(&self) -> Option<PartEnd> {
        match self.step {
            Step::Over => Some(PartEnd::Whole),
            Step::Torn => Some(PartEnd::Torn),
            Step::Start
            | Step::ExpectFound
            | Step::ExpectSource
            | Step::ExpectExamined
            | Step::ExpectPart
            | Step::ExpectGo(_)
            | Step::ExpectTail
            | Step::ExpectFetched => None,
        }
    }

    /// Whether a connection is the one that is read from.
    pub(super) fn reads(&self, backend: BackendId) -> bool {
        self.source == Some(backend)
    }

    /// Where the bytes of a connection go at the moment.
    pub(super) fn forwards_to(&self, from: BackendId) -> Option<BackendId> {
        (self.reads(from) && self.step == Step::ExpectTail).then_some(self.destination)
    }

    pub(super) fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        if self.step == Step::Start {
            self.start(cx);
        }
        self.agenda.poll(out)
    }

    fn start(&mut self, cx: &Context<'_>) {
        let url = MessageUrl::parse(&self.url).filter(|url| is_here(url, cx));
        let place = url.as_ref().and_then(|url| place(url, cx));
        match place {
            Some((internal, mailbox)) => {
                self.mailbox = mailbox;
                self.agenda.find(internal);
                self.step = Step::ExpectFound;
            }
            None => self.pass_on(),
        }
    }

    /// The URL itself goes to the destination.
    fn pass_on(&mut self) {
        let relative = MessageUrl::parse(&self.url).map_or(self.url.as_slice(), |url| url.relative);
        let mut out = b"URL ".to_vec();
        string_out(&mut out, relative, LiteralStyle::NonSynchronising);
        self.agenda.send(self.destination, out);
        self.leave();
        self.step = Step::Over;
    }

    fn leave(&mut self) {
        if let Some(source) = self.source.take() {
            self.agenda.want(Want::Dismiss(source));
        }
    }

    pub(super) fn handle_news(&mut self, news: &News<'_>, cx: &Context<'_>) {
        match (&self.step, news) {
            (Step::ExpectFound, News::Found(finding)) => {
                let entry = located(finding.clone()).ok();
                let server = entry.as_ref().and_then(|entry| server_of(entry, cx));
                match server.filter(|server| cx.server(self.destination) != Some(server)) {
                    Some(server) => {
                        self.agenda.want(Want::Apart { server: server.to_vec() });
                        self.step = Step::ExpectSource;
                    }
                    None => self.pass_on_absolute(cx),
                }
            }
            (Step::ExpectSource, News::Backend(Ok(source))) => {
                self.source = Some(*source);
                let mut line = own_tag(EXAMINE, cx);
                line.extend_from_slice(b" EXAMINE ");
                string_for(*source, &self.mailbox, cx, &mut line);
                line.extend_from_slice(b"\r\n");
                self.agenda.send(*source, line);
                self.step = Step::ExpectExamined;
            }
            (Step::ExpectSource, News::Backend(Err(_))) => self.pass_on(),
            (_, News::Lost(lost)) if self.reads(*lost) => self.source_lost(),
            (_, News::ForwardBroken { from: Side::Backend(from), .. }) if self.reads(*from) => self.abort(),
            _ => {}
        }
    }

    /// A URL without a mailbox means the selected one, which the destination may not have selected.
    fn pass_on_absolute(&mut self, cx: &Context<'_>) {
        let is_relative = MessageUrl::parse(&self.url).is_some_and(|url| url.mailbox.is_none());
        let is_selected = cx.selected.is_some_and(|selected| selected.backend == self.destination);
        match cx.server(self.destination) {
            Some(server) if is_relative && !is_selected => {
                self.agenda.want(Want::Apart { server: server.to_vec() });
                self.step = Step::ExpectSource;
            }
            Some(_) | None => self.pass_on(),
        }
    }

    fn source_lost(&mut self) {
        self.source = None;
        match self.step {
            // What was sent stands.
            Step::ExpectFetched => self.step = Step::Over,
            // The server waits for a literal that does not come.
            Step::ExpectGo(_) | Step::ExpectTail => self.tear(),
            Step::Start
            | Step::ExpectFound
            | Step::ExpectSource
            | Step::ExpectExamined
            | Step::ExpectPart => self.pass_on(),
            Step::Torn | Step::Over => {}
        }
    }

    fn tear(&mut self) {
        self.agenda.want(Want::Abandon(self.destination));
        self.step = Step::Torn;
    }

    /// The destination is gone, or does not want the rest.
    pub(super) fn abort(&mut self) {
        if let Some(source) = self.source.take() {
            self.agenda.want(Want::Abandon(source));
        }
        self.step = Step::Torn;
    }

    /// Takes a line of the source.
    pub(super) fn handle_line(&mut self, line: &[u8], cx: &Context<'_>) -> Line {
        match self.step {
            Step::ExpectExamined => self.handle_examined(line, cx),
            Step::ExpectPart => return self.handle_part(line, cx),
            Step::ExpectGo(_) => return Line::Hold,
            Step::ExpectTail => {
                self.step = Step::ExpectFetched;
                return Line::Taken;
            }
            Step::ExpectFetched if result_of(line, &own_tag(FETCH, cx)).is_some() => {
                self.leave();
                self.step = Step::Over;
            }
            Step::ExpectFetched
            | Step::Start
            | Step::ExpectFound
            | Step::ExpectSource
            | Step::Torn
            | Step::Over => {}
        }
        Line::Drop
    }

    fn handle_examined(&mut self, line: &[u8], cx: &Context<'_>) {
        let Some(url) = MessageUrl::parse(&self.url) else { return self.pass_on() };
        if let Response::Untagged { kind: UntaggedKind::Ok, rest, .. } = response(line)
            && let Some((name, args)) = code(rest)
            && name.eq_ignore_ascii_case(b"UIDVALIDITY")
            && let (Some(meant), Ok(is)) = (url.validity, codes::nz_argument(args))
            && meant != is
        {
            return self.pass_on();
        }
        match (result_of(line, &own_tag(EXAMINE, cx)), self.source) {
            (Some((Status::Ok, _)), Some(source)) => {
                let mut line = own_tag(FETCH, cx);
                line.extend_from_slice(format!(" UID FETCH {} BODY.PEEK[", url.uid).as_bytes());
                line.extend_from_slice(&url.section);
                line.push(b']');
                if let Some((first, count)) = url.partial {
                    // To the end: no message has more.
                    let count = count.unwrap_or(u64::from(u32::MAX) - first);
                    line.extend_from_slice(format!("<{first}.{count}>").as_bytes());
                }
                line.extend_from_slice(b"\r\n");
                self.agenda.send(source, line);
                self.step = Step::ExpectPart;
            }
            (Some(_), _) => self.pass_on(),
            (None, _) => {}
        }
    }

    fn handle_part(&mut self, line: &[u8], cx: &Context<'_>) -> Line {
        let items = match response(line) {
            Response::Untagged { kind: UntaggedKind::Fetch, rest, .. } => FetchItems::read_head(rest),
            Response::Untagged { kind: UntaggedKind::UidFetch, rest, number } => {
                FetchItems::read_uid(number, rest)
            }
            Response::Tagged { tag, .. } if tag == own_tag(FETCH, cx) => {
                self.pass_on();
                return Line::Drop;
            }
            Response::Untagged { .. }
            | Response::Tagged { .. }
            | Response::Continuation { .. }
            | Response::Invalid => return Line::Drop,
        };
        match items.map(|items| items.body) {
            Ok(Some(Body::Announced(announced))) => {
                self.announce(announced.len, cx);
                Line::Taken
            }
            Ok(Some(Body::Inline(bytes))) => {
                let mut out = b"TEXT ".to_vec();
                announce_out(&mut out, bytes.len() as u64, LiteralStyle::NonSynchronising);
                out.extend_from_slice(&bytes);
                self.agenda.send(self.destination, out);
                self.step = Step::ExpectFetched;
                Line::Drop
            }
            Ok(Some(Body::Nil) | None) | Err(_) => Line::Drop,
        }
    }

    fn announce(&mut self, len: u64, cx: &Context<'_>) {
        let offer = cx.offer(self.destination);
        let may_send = offer.has(Offer::LITERAL_PLUS)
            || (offer.has(Offer::LITERAL_MINUS) && len <= LITERAL_MINUS_BYTES_MAX);
        let mut out = b"TEXT ".to_vec();
        if may_send {
            announce_out(&mut out, len, LiteralStyle::NonSynchronising);
            self.agenda.send(self.destination, out);
            self.forward(len);
        } else {
            announce_out(&mut out, len, LiteralStyle::Synchronising);
            self.agenda.send(self.destination, out);
            self.step = Step::ExpectGo(len);
        }
    }

    fn forward(&mut self, len: u64) {
        self.step = Step::ExpectTail;
        if let Some(source) = self.source.filter(|_| len > 0) {
            let (from, to) = (Side::Backend(source), Side::Backend(self.destination));
            self.agenda.want(Want::Forward { from, to, n: len });
        }
    }

    /// The destination wants the literal; whether it was asked.
    pub(super) fn handle_go(&mut self) -> bool {
        let Step::ExpectGo(len) = self.step else { return false };
        self.forward(len);
        true
    }

    /// The destination has answered the command: one that was asked for a literal wants no more.
    pub(super) fn handle_refusal(&mut self) {
        if matches!(self.step, Step::ExpectGo(_)) {
            self.abort();
        }
    }
}

/// Whether a URL means a mailbox of this murder and nobody's authorization.
fn is_here(url: &MessageUrl<'_>, cx: &Context<'_>) -> bool {
    let is_ours = |host: &[u8]| {
        let name = String::from_utf8_lossy(host);
        host_of(&cx.config.servername).eq_ignore_ascii_case(host_of(&name))
    };
    !url.is_authorized && url.server.is_none_or(is_ours)
}

/// The internal name of a URL's mailbox, and as the user names it.
fn place(url: &MessageUrl<'_>, cx: &Context<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
    let namespace = &cx.config.namespace;
    let internal = match &url.mailbox {
        Some(mailbox) => {
            let who = Identity { spelling: Spelling::Utf7, ..(**cx.identity).clone() };
            namespace.internal(&utf7::from_utf8(mailbox).ok()?, &who).ok()?
        }
        None => cx.selected?.name.to_vec(),
    };
    let mailbox = namespace.external(&internal, cx.identity)?;
    Some((internal, mailbox))
}

fn own_tag(number: u32, cx: &Context<'_>) -> Vec<u8> {
    let mut tag = Vec::new();
    cx.own_tag(number, &mut tag);
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Piece {
        Piece::Text(text.as_bytes().to_vec())
    }

    fn url(url: &str) -> Piece {
        Piece::Url(url.as_bytes().to_vec())
    }

    #[test]
    fn urls_are_found_between_the_parentheses_alone() {
        let mut lines = Catenation::default();
        let cut =
            lines.cut(br#"(\Seen "URL x") "05-Jan-2026 10:00:00 +0000" CATENATE (URL "/a/;UID=1" TEXT {5+}"#);
        let head = r#"(\Seen "URL x") "05-Jan-2026 10:00:00 +0000" CATENATE ("#;
        assert_eq!(cut, [text(head), url("/a/;UID=1"), text(" TEXT {5+}")]);
        let cut = lines.cut(br#" URL /b/;UID=2 URL "/c/;UID=3") (\Flagged) {7}"#);
        let end = [url("/b/;UID=2"), text(" "), url("/c/;UID=3"), text(r#") (\Flagged) {7}"#)];
        assert_eq!(cut, [&[text(" ")][..], &end].concat());
        assert_eq!(lines.cut(b" URL x"), [text(" URL x")], "the list is closed");
        let literal = Announced { len: 9, sync: true, ..literal::at_line_end(b"{9}").unwrap() };
        assert_eq!(lines.cut(b"CATENATE (URL {9}"), [text("CATENATE ("), Piece::UrlLiteral(literal)]);
    }
}
