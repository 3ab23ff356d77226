//! APPEND with all its forms (MULTIAPPEND, CATENATE, BINARY): head routed, the rest raw.
//!
//! ```text
//! Routing ──> Send head ──┬─ {n+} ──> literal ──> ExpectLine ──(another literal)──┐
//!    │                    └─ {n} ──> ExpectGo ──> literal ──> ExpectLine          │
//!    │                                  ^─────────────────────────────────────────┘
//!    └─ refused ──> Skip literals and lines ──> NO       ExpectLine ──> ExpectReply
//! ```
//! Message bytes are never held: a literal is one `Forward`. A line of a CATENATE is sent piece by piece
//! where it has URLs, which may lie on other servers (`catenate.rs`).

use std::collections::VecDeque;

use super::answers::{MAY_BE_DONE, UNREACHABLE, is_elsewhere, not_there};
use super::catenate::{Catenation, Part, PartEnd, Piece};
use super::creatable::{Creatable, Verdict};
use super::grammar::{Response, Status, response};
use super::offer::Offer;
use super::route::{Arrival, Route};
use super::task::{Context, Line, News, Task, Want};
use super::text::{name_out, push};
use crate::proxy::{BackendId, Instant, Side};
use crate::wire::{Announced, line, literal};

const MOVED: &[u8] = b"NO [UNAVAILABLE] mailbox was being moved; try again";
const TOO_BIG: &[u8] = b"NO [TOOBIG] Message size exceeds fixed limit";

/// One APPEND.
pub(super) struct Append {
    route: Route,
    mailbox: Vec<u8>,
    /// What stands behind the mailbox and its space, without the line end.
    rest: Vec<u8>,
    step: Step,
    /// The tagged reply came before the client was done.
    answered: bool,
    /// A NO that may not be the last word.
    held: Vec<u8>,
    /// What the message takes the place of, where one server can do both.
    replaces: Option<Passage>,
    /// It was sent as REPLACE.
    is_passed_on: bool,
    /// The message was sent, so that no other server can be given it.
    is_spent: bool,
    /// The server has asked for a literal: it had the mailbox, and the client may append.
    has_begun: bool,
    catenation: Catenation,
    /// What is left of a line with URLs.
    pieces: VecDeque<Piece>,
}

/// A message of the selected mailbox that a new one replaces (RFC 8508).
#[derive(Debug)]
pub(super) struct Passage {
    /// Where the mailbox is selected.
    pub(super) backend: BackendId,
    /// Its number, or `UID ` and its UID.
    pub(super) message: Vec<u8>,
}

enum Step {
    Routing,
    /// There is no such mailbox: may the client create it?
    Ask(Want, Creatable),
    ExpectParent(Creatable),
    Send(BackendId),
    /// The head was sent; this literal follows.
    ExpectGo {
        at: BackendId,
        len: u64,
        told: Told,
    },
    /// The backend or nobody waits: the literal goes.
    Literal {
        at: BackendId,
        len: u64,
    },
    /// The literal was sent.
    ExpectLine(BackendId),
    /// The next piece of a line with URLs.
    Pieces(BackendId),
    /// A URL on its way.
    Part(BackendId, Box<Part>),
    /// The client is asked for a URL of so many bytes.
    UrlGo(BackendId, usize),
    /// It comes.
    ExpectUrl(BackendId, usize),
    /// A line of the client goes to the backend.
    SendLine {
        at: BackendId,
        line: Vec<u8>,
    },
    ExpectReply(BackendId),
    /// Throw so many bytes of the client away, then his next line.
    Discard(u64, &'static [u8]),
    SkipLine(&'static [u8]),
    Refuse(&'static [u8]),
    Answer,
    Over,
    End,
}

/// Whose the backend's continuation request is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// The client's.
    Client,
    /// Ours: the client sends anyway.
    Nobody,
}

impl Append {
    /// `name` is internal; `mailbox` and `rest` as typed.
    pub(super) fn new(name: Vec<u8>, mailbox: &[u8], rest: &[u8]) -> Append {
        let (mailbox, rest) = (mailbox.to_vec(), rest.to_vec());
        Append {
            route: Route::to(name),
            mailbox,
            rest,
            step: Step::Routing,
            answered: false,
            held: Vec::new(),
            replaces: None,
            is_passed_on: false,
            is_spent: false,
            has_begun: false,
            catenation: Catenation::default(),
            pieces: VecDeque::new(),
        }
    }

    /// The message takes the place of another one, if it goes to the server of that one.
    pub(super) fn replaces(&mut self, passage: Passage) {
        self.replaces = Some(passage);
    }

    /// Whether the server does all of a REPLACE.
    pub(super) fn is_passed_on(&self) -> bool {
        self.is_passed_on
    }

    /// An APPEND that is refused with this text before it is routed.
    pub(super) fn refused(rest: &[u8], text: &'static [u8]) -> Append {
        let mut append = Append::new(Vec::new(), b"", rest);
        append.refuse(text);
        append
    }

    /// What is left of an APPEND that was answered: it is read away.
    pub(super) fn answered(rest: &[u8]) -> Append {
        let mut append = Append::new(Vec::new(), b"", rest);
        append.answered = true;
        append.step = skipping(rest);
        append
    }

    /// Answers NO; a literal that the client sends unasked is read away first.
    pub(super) fn refuse(&mut self, text: &'static [u8]) {
        self.step = match literal::at_line_end(&self.rest) {
            Some(announced) if !announced.sync => Step::Discard(announced.len, text),
            Some(_) | None => Step::Refuse(text),
        };
    }

    fn arrive(&mut self, arrival: &Arrival, cx: &Context<'_>) {
        let announced = literal::at_line_end(&self.rest);
        let limit = cx.config.limits.append_bytes_max;
        let is_too_big = announced.is_some_and(|literal| limit.is_some_and(|limit| literal.len > limit));
        match arrival {
            Arrival::At(_) | Arrival::Unavailable(_) if self.is_spent => self.step = Step::Refuse(MOVED),
            // It was there, and is by now: it has been away. One that never was is hidden from him.
            Arrival::Same if self.is_spent && self.has_begun => self.step = Step::Refuse(MOVED),
            Arrival::At(_) if is_too_big => self.refuse(TOO_BIG),
            Arrival::At(id) => self.step = Step::Send(*id),
            Arrival::Same | Arrival::Absent if !self.held.is_empty() => self.step = Step::Answer,
            Arrival::Same | Arrival::Absent => {
                let (creatable, verdict) = Creatable::new(self.route.name(), cx);
                self.follow(creatable, verdict);
            }
            Arrival::Unavailable(text) => self.refuse(text),
        }
    }

    fn follow(&mut self, creatable: Creatable, verdict: Verdict) {
        match verdict {
            Verdict::Ask(find) => self.step = Step::Ask(find, creatable),
            Verdict::Answer(text) => self.refuse(text),
        }
    }

    /// What follows a line that was sent to the backend.
    fn behind_line(&self, at: BackendId, announced: Option<Announced>, offer: Offer) -> Step {
        match announced {
            Some(literal) if literal.sync => Step::ExpectGo { at, len: literal.len, told: Told::Client },
            Some(literal) if must_ask(literal, offer) => {
                Step::ExpectGo { at, len: literal.len, told: Told::Nobody }
            }
            Some(literal) => Step::Literal { at, len: literal.len },
            None => Step::ExpectReply(at),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "other steps have no connection")]
    fn lost(&mut self, id: BackendId) {
        self.step = match std::mem::replace(&mut self.step, Step::End) {
            Step::Send(at) if at == id => {
                self.refuse(UNREACHABLE);
                return;
            }
            Step::ExpectGo { at, len, told: Told::Nobody } if at == id => Step::Discard(len, UNREACHABLE),
            Step::ExpectGo { at, told: Told::Client, .. } if at == id => Step::Refuse(UNREACHABLE),
            Step::Literal { at, len } if at == id => Step::Discard(len, UNREACHABLE),
            Step::Pieces(at) if at == id => {
                self.break_off();
                return;
            }
            Step::UrlGo(at, _) | Step::ExpectUrl(at, _) if at == id => Step::SkipLine(UNREACHABLE),
            // Between literals, or in one: then the broken forward follows.
            Step::ExpectLine(at) | Step::SendLine { at, .. } if at == id => Step::SkipLine(UNREACHABLE),
            Step::ExpectReply(at) if at == id => Step::Refuse(MAY_BE_DONE),
            step => step,
        };
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "in all other steps the client is sending")]
    fn handle_reply(&mut self, status: Status, text: &[u8], line: &[u8]) -> Line {
        match &self.step {
            // Nothing of the message was sent: another server may have the mailbox.
            Step::ExpectGo { told: Told::Client, .. } if status == Status::No && is_elsewhere(text) => {
                self.held = line.to_vec();
                self.route.again();
                self.step = Step::Routing;
                Line::Taken
            }
            Step::ExpectGo { told: Told::Nobody, len, .. } => {
                self.answered = true;
                self.step = Step::Discard(*len, b"");
                Line::Relay
            }
            // The message was sent unasked: whether the NO is for good the list knows.
            Step::ExpectReply(_) if status == Status::No && is_elsewhere(text) => {
                self.held = line.to_vec();
                self.is_spent = true;
                self.route.again();
                self.step = Step::Routing;
                Line::Taken
            }
            Step::ExpectGo { .. } | Step::ExpectReply(_) => {
                self.step = Step::Over;
                Line::Relay
            }
            Step::Part(..) => {
                if let Step::Part(_, part) = &mut self.step {
                    part.handle_refusal();
                }
                self.answered = true;
                Line::Relay
            }
            // Refused while the client sends: he must come to the end.
            _ => {
                self.answered = true;
                Line::Relay
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "other steps read nothing of the client")]
    fn handle_client_line(&mut self, line: &[u8]) -> Line {
        match &self.step {
            Step::ExpectLine(at) => {
                self.step = Step::SendLine { at: *at, line: line.to_vec() };
                Line::Taken
            }
            Step::ExpectUrl(at, len) => {
                let (at, content) = (*at, line::without_end(line));
                match content.split_at_checked(*len) {
                    Some((url, rest)) => {
                        self.pieces.push_back(Piece::Url(url.to_vec()));
                        self.pieces.extend(self.catenation.cut(rest));
                        self.step = Step::Pieces(at);
                    }
                    // No URL has a line end: the server is told of none, and says so.
                    None => {
                        self.pieces.push_back(Piece::Text(content.to_vec()));
                        self.step = Step::Pieces(at);
                    }
                }
                Line::Taken
            }
            Step::SkipLine(text) => {
                self.step = match literal::at_line_end(line::without_end(line)) {
                    Some(announced) if !announced.sync => Step::Discard(announced.len, text),
                    Some(_) | None if self.answered => Step::Over,
                    Some(_) | None => Step::Refuse(text),
                };
                Line::Taken
            }
            _ => Line::Hold,
        }
    }

    /// A line whose server is gone: what it announces is read away.
    fn break_off(&mut self) {
        self.rest = match self.pieces.drain(..).next_back() {
            Some(Piece::Text(text)) => text,
            Some(Piece::Url(_) | Piece::UrlLiteral(_)) | None => Vec::new(),
        };
        if self.answered {
            self.step = skipping(&self.rest);
        } else {
            self.refuse(UNREACHABLE);
        }
    }

    /// Sends the next piece of a line; the last one announces what the client sends next.
    fn send_piece(&mut self, at: BackendId, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        match self.pieces.pop_front() {
            Some(Piece::Text(text)) if self.pieces.is_empty() => Some(self.send_end(at, &text, cx, out)),
            Some(Piece::Text(text)) => {
                self.step = Step::Pieces(at);
                out.extend_from_slice(&text);
                Some(Want::Send(at))
            }
            Some(Piece::Url(url)) => {
                self.step = Step::Part(at, Box::new(Part::new(at, url)));
                self.poll_want(cx, out)
            }
            Some(Piece::UrlLiteral(announced)) => {
                let len = usize::try_from(announced.len).unwrap_or(usize::MAX);
                self.step = if announced.sync { Step::UrlGo(at, len) } else { Step::ExpectUrl(at, len) };
                self.poll_want(cx, out)
            }
            None => Some(self.send_end(at, b"", cx, out)),
        }
    }

    fn follow_part(
        &mut self,
        at: BackendId,
        mut part: Box<Part>,
        cx: &Context<'_>,
        out: &mut Vec<u8>,
    ) -> Option<Want> {
        if let Some(want) = part.poll_want(cx, out) {
            self.step = Step::Part(at, part);
            return Some(want);
        }
        match part.end() {
            Some(PartEnd::Whole) => self.send_piece(at, cx, out),
            Some(PartEnd::Torn) => {
                self.break_off();
                self.poll_want(cx, out)
            }
            None => {
                self.step = Step::Part(at, part);
                None
            }
        }
    }

    /// Sends a line of the client, piece by piece if it has URLs.
    fn send_line(&mut self, at: BackendId, line: &[u8], cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        self.pieces = self.catenation.cut(line::without_end(line)).into();
        self.send_piece(at, cx, out)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "only the last line is special")]
    fn send_end(&mut self, at: BackendId, content: &[u8], cx: &Context<'_>, out: &mut Vec<u8>) -> Want {
        let announced = literal::at_line_end(content);
        self.step = match self.behind_line(at, announced, cx.offer(at)) {
            Step::ExpectReply(_) if self.answered => Step::Over,
            step => step,
        };
        announce(content, announced, cx.offer(at), out);
        Want::Send(at)
    }

    fn send_head(&mut self, id: BackendId, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        push(out, &[cx.tag, b" "]);
        match self.replaces.as_ref().filter(|old| old.backend == id && cx.offer(id).has(Offer::REPLACE)) {
            None => out.extend_from_slice(b"APPEND "),
            Some(Passage { message, .. }) => {
                self.is_passed_on = true;
                let (uid, message) = match message.strip_prefix(b"UID ") {
                    Some(message) => (&b"UID "[..], message),
                    None => (&b""[..], &message[..]),
                };
                push(out, &[uid, b"REPLACE ", message, b" "]);
            }
        }
        name_out(out, &self.mailbox);
        out.push(b' ');
        let rest = std::mem::take(&mut self.rest);
        let want = self.send_line(id, &rest, cx, out);
        self.rest = rest;
        want
    }
}

/// What follows a line of a command that was answered: a literal that comes unasked is read away.
fn skipping(line: &[u8]) -> Step {
    match literal::at_line_end(line) {
        Some(announced) if !announced.sync => Step::Discard(announced.len, b""),
        Some(_) | None => Step::Over,
    }
}

/// Whether the backend must be asked for a literal that the client sends unasked.
fn must_ask(literal: Announced, offer: Offer) -> bool {
    !literal.sync && !offer.has(Offer::LITERAL_PLUS) && !literal.fits_literal_minus()
}

/// Writes a line, its announcement such that the backend takes it.
fn announce(content: &[u8], announced: Option<Announced>, offer: Offer, out: &mut Vec<u8>) {
    match announced {
        Some(literal) if must_ask(literal, offer) => {
            push(out, &[&content[..content.len() - b"+}".len()], b"}\r\n"]);
        }
        Some(_) | None => push(out, &[content, b"\r\n"]),
    }
}

impl Task for Append {
    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, _now: Instant) {
        match (&mut self.step, &news) {
            (Step::Routing, _) => {
                if let Some(arrival) = self.route.handle_news(&news, cx) {
                    self.arrive(&arrival, cx);
                }
            }
            (Step::ExpectParent(creatable), News::Found(finding)) => {
                let verdict = creatable.handle_finding(finding, cx);
                if let Step::ExpectParent(creatable) = std::mem::replace(&mut self.step, Step::End) {
                    self.follow(creatable, verdict);
                }
            }
            (Step::Part(at, part), News::Lost(id)) if at == id => part.abort(),
            (Step::Part(_, part), news) => part.handle_news(news, cx),
            (_, News::Lost(id)) => self.lost(*id),
            (_, News::ForwardBroken { from: Side::Client, left, .. }) => {
                self.step = Step::Discard(*left, UNREACHABLE);
            }
            _ => {}
        }
    }

    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, _now: Instant) -> Line {
        if from == Side::Client {
            return self.handle_client_line(line);
        }
        if let (Step::Part(_, part), Side::Backend(id)) = (&mut self.step, from) {
            if part.reads(id) {
                return part.handle_line(line, cx);
            }
            if matches!(response(line), Response::Continuation { .. }) && part.handle_go() {
                return Line::Drop;
            }
        }
        match (response(line), &self.step) {
            (Response::Tagged { tag, status, text }, _) if tag == cx.tag => {
                self.handle_reply(status, text, line)
            }
            (Response::Continuation { .. }, Step::ExpectGo { at, len, told }) => {
                let verdict = if *told == Told::Client { Line::Relay } else { Line::Drop };
                self.has_begun = true;
                self.step = Step::Literal { at: *at, len: *len };
                verdict
            }
            (Response::Untagged { .. }, _) => Line::Relay,
            (Response::Tagged { .. } | Response::Continuation { .. } | Response::Invalid, _) => Line::Drop,
        }
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        match std::mem::replace(&mut self.step, Step::End) {
            Step::Routing => {
                self.step = Step::Routing;
                self.route.poll_want()
            }
            Step::Ask(find, creatable) => {
                self.step = Step::ExpectParent(creatable);
                Some(find)
            }
            Step::Send(id) => self.send_head(id, cx, out),
            Step::Pieces(at) => self.send_piece(at, cx, out),
            Step::Part(at, part) => self.follow_part(at, part, cx, out),
            Step::UrlGo(at, len) => {
                self.step = Step::ExpectUrl(at, len);
                out.extend_from_slice(b"+ go ahead\r\n");
                Some(Want::Reply)
            }
            Step::Literal { at, len } => {
                self.step = Step::ExpectLine(at);
                (len > 0).then_some(Want::Forward { from: Side::Client, to: Side::Backend(at), n: len })
            }
            Step::SendLine { at, line } => self.send_line(at, &line, cx, out),
            Step::Discard(n, text) => {
                self.step = Step::SkipLine(text);
                (n > 0).then_some(Want::Discard { from: Side::Client, n })
            }
            Step::Refuse(text) => {
                self.step = Step::Over;
                push(out, &[cx.tag, b" ", text, b"\r\n"]);
                Some(Want::Reply)
            }
            Step::Answer => {
                self.step = Step::Over;
                not_there(cx.tag, &self.held, out);
                Some(Want::Reply)
            }
            Step::Over => Some(Want::Done),
            waiting @ (Step::ExpectParent(_)
            | Step::ExpectGo { .. }
            | Step::ExpectLine(_)
            | Step::ExpectUrl(..)
            | Step::ExpectReply(_)
            | Step::SkipLine(_)
            | Step::End) => {
                self.step = waiting;
                None
            }
        }
    }

    fn reads_client(&self) -> bool {
        matches!(self.step, Step::ExpectLine(_) | Step::ExpectUrl(..) | Step::SkipLine(_))
    }

    fn forwards_to(&self, from: BackendId) -> Option<BackendId> {
        if let Step::Part(_, part) = &self.step { part.forwards_to(from) } else { None }
    }
}
