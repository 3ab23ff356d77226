//! SELECT, EXAMINE, and leaving a mailbox.

use super::answers::{MAY_BE_DONE, UNREACHABLE, is_elsewhere, not_there};
use super::grammar::{Response, Status, Verb, code, response};
use super::route::{Arrival, Route};
use super::task::{Access, Bond, Context, Line, News, Task, Want};
use super::text::{name_out, push};
use crate::proxy::{BackendId, Instant, Side};

/// SELECT or EXAMINE.
///
/// The old mailbox is closed as soon as the new one's server is known, whatever becomes of the
/// command: "if a mailbox is selected and a SELECT command that fails is attempted, no mailbox is
/// selected" (RFC 9051 section 6.3.2).
pub(super) struct Select {
    route: Route,
    verb: &'static str,
    /// As typed.
    mailbox: Vec<u8>,
    /// With their space and parentheses.
    parameters: Vec<u8>,
    bond: Bond,
    step: Step,
    held: Vec<u8>,
    /// The client was told something of the mailbox.
    has_told: bool,
}

enum Step {
    Routing,
    /// Close the old mailbox if another connection has it, then go on.
    Leave(Then),
    Closed(Then),
    Send(BackendId),
    ExpectReply(BackendId),
    Opened(BackendId, Access),
    NotOpened,
    /// The server knows it not, and has closed the old mailbox; the list is asked again.
    NotThere,
    Over,
    End,
}

/// What follows when the old mailbox is closed.
#[derive(Clone, Copy)]
enum Then {
    Send(BackendId),
    Refuse(&'static [u8]),
    Answer,
}

impl Select {
    /// `name` is internal, `mailbox` as typed; `parameters` have their parentheses.
    pub(super) fn new(verb: Verb, name: Vec<u8>, mailbox: &[u8], parameters: Option<&[u8]>) -> Select {
        let mut behind = Vec::new();
        if let Some(parameters) = parameters {
            push(&mut behind, &[b" ", parameters]);
        }
        Select {
            route: Route::to(name),
            verb: if verb == Verb::Examine { "EXAMINE" } else { "SELECT" },
            mailbox: mailbox.to_vec(),
            parameters: behind,
            bond: parameters.map_or(Bond::Loose, bond),
            step: Step::Routing,
            held: Vec::new(),
            has_told: false,
        }
    }

    /// Goes on where the mailbox is when its connection was lost: a server ends all sessions of a user who moves, be it
    /// in the middle of what it tells of the mailbox. All of that is told again, and what came last is true.
    fn resume(&mut self, cx: &Context<'_>, now: Instant) {
        let resumes = self.route.resume(cx, now);
        self.step = if resumes { Step::Routing } else { Step::Leave(Then::Refuse(UNREACHABLE)) };
    }

    fn arrive(&mut self, arrival: &Arrival) {
        self.step = Step::Leave(match arrival {
            Arrival::At(id) => Then::Send(*id),
            Arrival::Same | Arrival::Absent if !self.held.is_empty() => Then::Answer,
            Arrival::Same | Arrival::Absent | Arrival::Unavailable(_) => Then::Refuse(arrival.refusal()),
        });
    }

    /// Closes the old mailbox where the new one's server does not do it itself.
    fn leave(&mut self, then: Then, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        let stays = match (cx.selected, then) {
            (None, _) => true,
            (Some(selected), Then::Send(id)) => selected.backend == id,
            (Some(_), Then::Refuse(_) | Then::Answer) => false,
        };
        if stays {
            return self.go_on(then, cx, out);
        }
        self.step = Step::Closed(then);
        Some(Want::Unselect)
    }

    fn go_on(&mut self, then: Then, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        match then {
            Then::Send(id) => {
                self.step = Step::ExpectReply(id);
                push(out, &[cx.tag, b" ", self.verb.as_bytes(), b" "]);
                name_out(out, &self.mailbox);
                push(out, &[&self.parameters, b"\r\n"]);
                Some(Want::Send(id))
            }
            Then::Refuse(text) => {
                self.step = Step::NotOpened;
                push(out, &[cx.tag, b" ", text, b"\r\n"]);
                Some(Want::Reply)
            }
            Then::Answer => {
                self.step = Step::NotOpened;
                not_there(cx.tag, &self.held, out);
                Some(Want::Reply)
            }
        }
    }

    /// What the OK says of the mailbox (RFC 9051 section 6.3.2).
    fn access(&self, text: &[u8]) -> Access {
        let is_read_only = code(text).is_some_and(|(name, _)| name.eq_ignore_ascii_case(b"READ-ONLY"));
        if is_read_only || self.verb == "EXAMINE" { Access::ReadOnly } else { Access::ReadWrite }
    }

    fn handle_reply(&mut self, id: BackendId, status: Status, text: &[u8], line: &[u8]) -> Line {
        match status {
            Status::Ok => {
                self.step = Step::Opened(id, self.access(text));
                Line::Relay
            }
            Status::No if is_elsewhere(text) => {
                self.held = line.to_vec();
                self.step = Step::NotThere;
                Line::Taken
            }
            Status::No | Status::Bad => {
                self.step = Step::NotOpened;
                Line::Relay
            }
        }
    }
}

impl Task for Select {
    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, now: Instant) {
        match (&self.step, &news) {
            (Step::Routing, _) => {
                if let Some(arrival) = self.route.handle_news(&news, cx) {
                    self.route.arrived(now);
                    self.arrive(&arrival);
                }
            }
            (
                Step::Send(at)
                | Step::ExpectReply(at)
                | Step::Leave(Then::Send(at))
                | Step::Closed(Then::Send(at)),
                News::Lost(id),
            ) if at == id => self.resume(cx, now),
            _ => {}
        }
    }

    fn handle_line(&mut self, _from: Side, line: &[u8], cx: &Context<'_>, _now: Instant) -> Line {
        match (response(line), &self.step) {
            (Response::Tagged { tag, status, text }, Step::ExpectReply(id)) if tag == cx.tag => {
                self.handle_reply(*id, status, text, line)
            }
            (Response::Untagged { .. }, _) => {
                self.has_told = true;
                Line::Relay
            }
            (Response::Tagged { .. } | Response::Continuation { .. } | Response::Invalid, _) => Line::Drop,
        }
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        match std::mem::replace(&mut self.step, Step::End) {
            Step::Routing => {
                self.step = Step::Routing;
                self.route.poll_want()
            }
            Step::Leave(then) => self.leave(then, cx, out),
            Step::Closed(then) => {
                self.step = match then {
                    Then::Send(id) => Step::Send(id),
                    Then::Refuse(_) | Then::Answer => Step::Leave(then),
                };
                // RFC 7162 section 3.2.11: what comes behind is about the new mailbox.
                out.extend_from_slice(b"* OK [CLOSED] Ok\r\n");
                Some(Want::Reply)
            }
            Step::Send(id) => self.go_on(Then::Send(id), cx, out),
            Step::Opened(id, access) => {
                self.step = Step::Over;
                Some(Want::Selected {
                    backend: id,
                    name: self.route.name().to_vec(),
                    access,
                    bond: self.bond,
                })
            }
            Step::NotOpened => {
                self.step = Step::Over;
                Some(Want::Unselected)
            }
            Step::NotThere => {
                self.route.again();
                self.step = Step::Routing;
                Some(Want::Unselected)
            }
            Step::Over => Some(Want::Done),
            waiting @ (Step::ExpectReply(_) | Step::End) => {
                self.step = waiting;
                None
            }
        }
    }

    /// Behind the first, which is to be known of.
    fn relays_untagged(&self, backend: BackendId) -> bool {
        self.has_told && matches!(&self.step, Step::ExpectReply(at) if *at == backend)
    }
}

/// Parameters other than those that the session keeps for every connection (ENABLE, SELECT (QRESYNC)) are
/// those of one connection.
fn bond(parameters: &[u8]) -> Bond {
    let mut words = parameters
        .split(|byte| matches!(byte, b' ' | b'(' | b')'))
        .filter(|word| word.first().is_some_and(u8::is_ascii_alphabetic));
    let is_kept =
        |word: &[u8]| word.eq_ignore_ascii_case(b"CONDSTORE") || word.eq_ignore_ascii_case(b"QRESYNC");
    if words.all(is_kept) { Bond::Loose } else { Bond::Fast }
}

/// CLOSE or UNSELECT: goes to the selected backend; its OK leaves nothing selected.
pub(super) struct Leave {
    command: &'static [u8],
    step: LeaveStep,
}

enum LeaveStep {
    Send,
    ExpectReply(BackendId),
    Lost,
    Left,
    Over,
    End,
}

const CLOSE: &[u8] = b" CLOSE\r\n";

impl Leave {
    pub(super) fn new(verb: Verb) -> Leave {
        let command: &[u8] = if verb == Verb::Close { CLOSE } else { b" UNSELECT\r\n" };
        Leave { command, step: LeaveStep::Send }
    }
}

impl Task for Leave {
    /// With the connection the mailbox is left, too; whether CLOSE expunged is not known.
    fn handle_news(&mut self, news: News<'_>, _cx: &Context<'_>, _now: Instant) {
        if matches!((news, &self.step), (News::Lost(lost), LeaveStep::ExpectReply(at)) if lost == *at) {
            self.step = LeaveStep::Lost;
        }
    }

    fn handle_line(&mut self, _from: Side, line: &[u8], cx: &Context<'_>, _now: Instant) -> Line {
        if let Response::Tagged { tag, status, .. } = response(line)
            && tag == cx.tag
        {
            self.step = if status == Status::Ok { LeaveStep::Left } else { LeaveStep::Over };
        }
        Line::Relay
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        match self.step {
            LeaveStep::Send => {
                let Some(selected) = cx.selected else {
                    self.step = LeaveStep::End;
                    return Some(Want::Done);
                };
                self.step = LeaveStep::ExpectReply(selected.backend);
                push(out, &[cx.tag, self.command]);
                Some(Want::Send(selected.backend))
            }
            LeaveStep::Lost => {
                self.step = LeaveStep::Left;
                let text: &[u8] = if self.command == CLOSE { MAY_BE_DONE } else { b"OK Completed" };
                push(out, &[cx.tag, b" ", text, b"\r\n"]);
                Some(Want::Reply)
            }
            LeaveStep::Left => {
                self.step = LeaveStep::Over;
                Some(Want::Unselected)
            }
            LeaveStep::Over => {
                self.step = LeaveStep::End;
                Some(Want::Done)
            }
            LeaveStep::ExpectReply(_) | LeaveStep::End => None,
        }
    }
}
