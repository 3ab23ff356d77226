//! Commands that go to one server as they are authored: sent where the mailbox is, answered as its server answers,
//! and remembered where the list may not show yet what they did to it.
//!
//! ```text
//!  Routing ──> Send ──> (LimitReply) ──> ExpectReply ──OK, NO, BAD──> Over
//!   ^   └─nowhere─> Answer, Refuse        │ ├──lost, and it may be done──> Doubt ──> Refuse
//!   └──the server has it no more──────────┘ ├──OK, the list changes──> AskBarrier ──> LimitBarrier ──> ExpectBarrier
//!                                           │          Over <── Remember <── (ExpectBelow <── AskBelow) <──┘
//!                                           └──OK, a move broke off──> AskWhere ──> ExpectWhere ──> NotMoved, Remember
//! ```

use std::time::Duration;

use smallvec::SmallVec;

use super::agenda::is_partial;
use super::answers::{MAY_BE_DONE, UNREACHABLE, is_elsewhere, not_there};
use super::deeds::{Below, DEEDS_MAX, Deed, Doubt, is_of};
use super::grammar::{Response, Status, UntaggedKind, response, responses};
use super::relocate::Relocation;
use super::renamed::Renamed;
use super::route::{Arrival, Route};
use super::task::{Context, Line, News, Task, Want};
use super::text::{astring, push};
use crate::proxy::{BackendId, Finding, Freshness, Instant, Side};

/// How long the OK to a change of the list waits for the list to show it.
const BARRIER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a mailbox, or all that a user has, may take to move to another server.
const RELOCATION_TIMEOUT: Duration = Duration::from_secs(6 * 60 * 60);

/// What a command does to the murder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    /// Nothing: a lost connection leaves no doubt.
    Reads,
    /// Changes something at the backend.
    Writes,
    /// Changes the mailbox list: the OK waits until this frontend sees it.
    ChangesList,
}

/// A command that goes to one server as it is authored, with the client's tag.
pub(super) struct Routed {
    route: Route,
    /// What stands behind the tag and its space, line end included.
    command: Vec<u8>,
    effect: Effect,
    step: Step,
    /// A tagged line that is held back.
    held: Vec<u8>,
    /// A NO that names no mailbox of the route is the answer.
    no_is_final: bool,
    /// What its OK says that was done.
    does: SmallVec<[Does; 2]>,
    /// The command is made when its server is known.
    relocation: Option<Box<Relocation>>,
    /// What goes along is told while it is done.
    renames: Option<Box<Renamed>>,
    /// Why a move broke off, as its server told before the result.
    broke_off: Option<Box<[u8]>>,
}

/// What a command does to the names of mailboxes.
pub(super) enum Does {
    /// Makes this one on the server that it is sent to.
    Make(Vec<u8>),
    /// Moves this one to a server.
    Move {
        /// The internal name.
        name: Vec<u8>,
        /// The server.
        server: Vec<u8>,
    },
    /// Takes this one away.
    Take {
        /// The internal name.
        name: Vec<u8>,
        /// Whether those below it go too.
        below: Below,
    },
    /// Made this one, and the list has it.
    Listed(Vec<u8>),
}

impl Does {
    /// The list has what was made, behind a barrier.
    fn is_listed(&mut self) {
        if let Does::Make(name) | Does::Move { name, .. } = self {
            *self = Does::Listed(std::mem::take(name));
        }
    }

    fn want(self, server: &[u8]) -> Want {
        Want::Remember(match self {
            Does::Listed(name) => return Want::IsThere(name),
            Does::Make(name) => Deed::Made { name, server: server.to_vec(), moved_from: None },
            Does::Move { name, server: to } => {
                Deed::Made { name, server: to, moved_from: Some(server.to_vec()) }
            }
            Does::Take { name, below } => Deed::Gone { name, below },
        })
    }

    /// It may have been done, or not.
    fn doubt(self) -> Want {
        Want::Doubt(match self {
            Does::Make(name) | Does::Move { name, .. } | Does::Listed(name) => Doubt::Made(name),
            Does::Take { name, below } => Doubt::Gone { name, below },
        })
    }
}

enum Step {
    Routing,
    Send(BackendId),
    /// Moving takes long, but not for ever.
    LimitReply(BackendId),
    ExpectReply(BackendId),
    AskBarrier(BackendId),
    LimitBarrier(BackendId),
    ExpectBarrier(BackendId),
    /// The list does not tell what went along, nor did the server while it did it.
    AskBelow(BackendId),
    ExpectBelow(BackendId),
    /// What the list may not show is remembered.
    Remember,
    /// Where the mailbox is, now that its move broke off.
    AskWhere,
    ExpectWhere,
    /// It was not moved, whatever the tagged line says.
    NotMoved,
    /// What may have been done makes doubtful what was remembered.
    Doubt,
    /// The held line is the answer.
    Answer,
    /// This text is the answer.
    Refuse(&'static [u8]),
    Over,
    End,
}

impl Routed {
    /// `command` stands behind the tag; it has its line end.
    pub(super) fn new(route: Route, command: Vec<u8>, effect: Effect) -> Routed {
        let no_is_final = route.name().is_empty();
        Routed {
            route,
            command,
            effect,
            step: Step::Routing,
            held: Vec::new(),
            no_is_final,
            does: SmallVec::new(),
            relocation: None,
            renames: None,
            broke_off: None,
        }
    }

    /// Moves the mailbox of the route.
    pub(super) fn relocating(route: Route, relocation: Relocation) -> Routed {
        let mut routed = Routed::new(route, Vec::new(), Effect::ChangesList);
        routed.relocation = Some(Box::new(relocation));
        routed
    }

    /// The server that it goes to, as far as it was begun with one.
    pub(super) fn server(&self) -> Option<&[u8]> {
        self.route.server()
    }

    /// A NO says nothing of the mailbox that was routed by.
    pub(super) fn final_no(mut self) -> Routed {
        self.no_is_final = true;
        self
    }

    /// Its OK says that this was done.
    pub(super) fn doing(mut self, does: impl IntoIterator<Item = Does>) -> Routed {
        self.does.extend(does);
        self
    }

    /// Those below go along.
    pub(super) fn renaming(mut self, old: &[u8], new: &[u8]) -> Routed {
        self.renames = Some(Box::new(Renamed::new(old, new)));
        self
    }

    /// Takes note of a mailbox that went along, told while it is done.
    fn note_renamed(&mut self, text: &[u8], cx: &Context<'_>) {
        if let Some(new) = self.renames.as_mut().and_then(|renames| renames.below(text)) {
            self.note_below(new, cx);
        }
    }

    /// Takes note of a mailbox that went along, as its server names it.
    fn note_below(&mut self, new: &[u8], cx: &Context<'_>) {
        let name = cx.config.namespace.internal(new, cx.identity).ok();
        if let Some(name) = name.filter(|_| self.does.len() < DEEDS_MAX) {
            self.does.push(Does::Make(name));
        }
    }

    /// Takes note of a move that its server says to have broken off.
    fn note_broken_off(&mut self, text: &[u8]) {
        if let Some(reason) = self.relocation.as_ref().and_then(|relocation| relocation.broke_off(text)) {
            self.broke_off = Some(reason.into());
        }
    }

    /// The list shows nothing of it yet.
    fn go_unseen(&mut self, at: BackendId) {
        let is_silent = self.renames.as_ref().is_some_and(|renames| !renames.is_told);
        self.step = if is_silent { Step::AskBelow(at) } else { Step::Remember };
    }

    fn ask_below(&self, cx: &Context<'_>, out: &mut Vec<u8>) {
        let new = self.renames.as_ref().map_or(&[][..], |renames| &renames.new);
        let pattern = astring(&[new, &[cx.config.namespace.separator, b'*']].concat());
        cx.own_tag(1, out);
        push(out, &[b" LIST \"\" ", &pattern, b"\r\n"]);
    }

    /// What is below the new name, where the server was asked for it.
    fn handle_below(&mut self, line: &[u8], cx: &Context<'_>) -> Line {
        match response(line) {
            Response::Tagged { .. } => {
                self.step = Step::Remember;
                Line::Drop
            }
            Response::Untagged { kind: UntaggedKind::List, .. } if is_partial(line) => Line::Whole,
            Response::Untagged { kind: UntaggedKind::List, rest, .. } => {
                if let Ok(row) = responses::list(rest) {
                    self.note_below(&row.mailbox, cx);
                }
                Line::Drop
            }
            Response::Untagged { .. } => Line::Relay,
            Response::Continuation { .. } | Response::Invalid => Line::Drop,
        }
    }

    fn handle_reply(&mut self, at: BackendId, status: Status, text: &[u8], line: &[u8]) -> Line {
        match status {
            Status::Ok if self.broke_off.is_some() => {
                self.step = Step::AskWhere;
                self.held = line.to_vec();
                Line::Taken
            }
            Status::Ok if self.effect == Effect::ChangesList => {
                self.step = Step::AskBarrier(at);
                self.held = line.to_vec();
                Line::Taken
            }
            Status::No if !self.no_is_final && is_elsewhere(text) => {
                self.step = Step::Routing;
                self.held = line.to_vec();
                self.route.again();
                Line::Taken
            }
            Status::Ok | Status::No | Status::Bad => {
                self.step = Step::Over;
                Line::Relay
            }
        }
    }

    /// The list says where a mailbox is whose move broke off, as its server says, with an OK behind.
    fn found(&mut self, finding: &Finding) {
        let target = self.relocation.as_ref().and_then(|relocation| relocation.server.as_deref());
        let is_there = match finding {
            Finding::Active(entry) => entry.location.server() == target,
            Finding::Absent | Finding::Reserved { .. } | Finding::Unknown => false,
        };
        if is_there {
            self.does.iter_mut().for_each(Does::is_listed);
            self.step = Step::Remember;
        } else {
            self.step = Step::NotMoved;
        }
    }

    /// Makes the command whose server is known, if that was not done before.
    ///
    /// # Errors
    /// The text of the answer: nothing is sent.
    fn prepare(&mut self, at: BackendId, cx: &Context<'_>) -> Result<(), &'static [u8]> {
        self.step = Step::ExpectReply(at);
        if let Some(relocation) = &self.relocation {
            self.command = relocation.command(at, cx)?;
            self.step = Step::LimitReply(at);
        }
        Ok(())
    }

    fn not_moved(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Want {
        self.step = Step::Over;
        let reason = self.broke_off.as_deref().unwrap_or_default();
        push(out, &[cx.tag, b" NO mailbox was not moved: ", reason, b"\r\n"]);
        Want::Reply
    }

    /// One thing after another that was done, then the OK.
    fn remember(&mut self, out: &mut Vec<u8>) -> Want {
        self.step = Step::Remember;
        if let (Some(does), Some(server)) = (self.does.pop(), self.route.asked()) {
            return does.want(server);
        }
        self.step = Step::Over;
        out.extend_from_slice(&self.held);
        Want::Reply
    }

    fn resume(&mut self, cx: &Context<'_>, now: Instant) {
        self.step = if self.route.resume(cx, now) { Step::Routing } else { Step::Refuse(UNREACHABLE) };
    }

    fn arrive(&mut self, arrival: &Arrival) {
        self.step = match arrival {
            Arrival::At(id) => Step::Send(*id),
            Arrival::Same | Arrival::Absent if !self.held.is_empty() => Step::Answer,
            Arrival::Same | Arrival::Absent | Arrival::Unavailable(_) => Step::Refuse(arrival.refusal()),
        };
    }
}

impl Task for Routed {
    fn takes(&self, name: &[u8]) -> bool {
        let takes =
            |does: &Does| matches!(does, Does::Take { name: taken, below } if is_of(name, taken, *below));
        self.does.iter().any(takes)
    }

    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, now: Instant) {
        match (&self.step, &news) {
            (Step::Routing, _) => {
                if let Some(arrival) = self.route.handle_news(&news, cx) {
                    self.route.arrived(now);
                    self.arrive(&arrival);
                }
            }
            // Nothing was done: where the mailbox moves, its server ends all sessions of its user.
            (Step::Send(at), News::Lost(id)) if at == id => self.resume(cx, now),
            (Step::ExpectReply(at), News::Lost(id)) if at == id && self.effect == Effect::Reads => {
                self.resume(cx, now)
            }
            (Step::ExpectReply(at), News::Lost(id)) if at == id => self.step = Step::Doubt,
            (Step::ExpectReply(_), News::Time) => self.step = Step::Doubt,
            // A success is never turned into NO: it goes out whatever became of the barrier. Behind one
            // the list has what the backend told the master, and a deletion may not be told.
            (Step::ExpectBarrier(_), News::Barrier(Ok(()))) => {
                self.does.iter_mut().for_each(Does::is_listed);
                self.step = Step::Remember;
            }
            (Step::ExpectBarrier(at), News::Barrier(Err(_)) | News::Time) => self.go_unseen(*at),
            (Step::ExpectBelow(at), News::Lost(id)) if at == id => self.step = Step::Remember,
            (Step::ExpectWhere, News::Found(finding)) => self.found(finding),
            (Step::ExpectWhere, News::Time) => self.step = Step::NotMoved,
            _ => {}
        }
    }

    fn handle_line(&mut self, _from: Side, line: &[u8], cx: &Context<'_>, _now: Instant) -> Line {
        if let Step::ExpectBelow(_) = self.step {
            return self.handle_below(line, cx);
        }
        match (response(line), &self.step) {
            (Response::Tagged { tag, status, text }, Step::ExpectReply(at)) if tag == cx.tag => {
                self.handle_reply(*at, status, text, line)
            }
            (Response::Untagged { kind: UntaggedKind::Ok, rest, .. }, _) => {
                self.note_renamed(rest, cx);
                Line::Relay
            }
            (Response::Untagged { kind: UntaggedKind::No, rest, .. }, _) => {
                self.note_broken_off(rest);
                Line::Relay
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
            Step::Send(id) => match self.prepare(id, cx) {
                Ok(()) => {
                    push(out, &[cx.tag, b" ", &self.command]);
                    Some(Want::Send(id))
                }
                Err(text) => {
                    self.step = Step::Refuse(text);
                    self.poll_want(cx, out)
                }
            },
            Step::LimitReply(id) => {
                self.step = Step::ExpectReply(id);
                Some(Want::Wake(RELOCATION_TIMEOUT))
            }
            Step::AskBarrier(at) => {
                self.step = Step::LimitBarrier(at);
                Some(Want::Barrier)
            }
            Step::LimitBarrier(at) => {
                self.step = Step::ExpectBarrier(at);
                Some(Want::Wake(BARRIER_TIMEOUT))
            }
            Step::AskBelow(at) => {
                self.step = Step::ExpectBelow(at);
                self.ask_below(cx, out);
                Some(Want::Send(at))
            }
            Step::Remember => Some(self.remember(out)),
            Step::AskWhere => {
                self.step = Step::ExpectWhere;
                Some(Want::Find { name: self.route.name().to_vec(), freshness: Freshness::Barrier })
            }
            Step::NotMoved => Some(self.not_moved(cx, out)),
            Step::Doubt => {
                let Some(does) = self.does.pop() else {
                    self.step = Step::Refuse(MAY_BE_DONE);
                    return self.poll_want(cx, out);
                };
                self.step = Step::Doubt;
                Some(does.doubt())
            }
            Step::Answer => {
                self.step = Step::Over;
                not_there(cx.tag, &self.held, out);
                Some(Want::Reply)
            }
            Step::Refuse(text) => {
                self.step = Step::Over;
                push(out, &[cx.tag, b" ", text, b"\r\n"]);
                Some(Want::Reply)
            }
            Step::Over => Some(Want::Done),
            waiting @ (Step::ExpectReply(_)
            | Step::ExpectBarrier(_)
            | Step::ExpectBelow(_)
            | Step::ExpectWhere
            | Step::End) => {
                self.step = waiting;
                None
            }
        }
    }

    fn relays_untagged(&self, backend: BackendId) -> bool {
        let reads = self.renames.is_some() || self.relocation.is_some();
        !reads && matches!(&self.step, Step::ExpectReply(at) if *at == backend)
    }

    /// A move says nothing until it is done; it has a deadline of its own.
    fn awaits(&self, _backend: BackendId) -> bool {
        self.relocation.is_none()
    }
}
