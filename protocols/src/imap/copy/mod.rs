//! COPY and MOVE: passed on when the destination is on the server of the selected mailbox, else done
//! here, message by message (RFC 3501 section 6.4.7, RFC 6851, RFC 4315 section 3).
//!
//! ```text
//!  Find destination ──same server──> relay `tag COPY set name` ──"no such mailbox"──┐
//!     ^  └──other server──> (MOVE: Find source, rights) ──> Backend ──> Across ───────┤
//!     │  └──same server, MOVE it does not know──> Find source, rights ──────> Across ──────┤
//!     └──────────────── once, behind a barrier: another server than before? ──────────┘
//! ```

mod across;
mod ledger;
#[cfg(test)]
mod tests;

use super::agenda::{
    Agenda, aside_of, internal, located, place, result_line, result_of, server_of, string_for,
};
use super::answers::{
    ABSENT, BEING_MOVED, DENIED, SELECT_FIRST, UID_REQUIRED, UNAVAILABLE, UNREACHABLE, is_elsewhere,
    is_referral,
};
use super::creatable::{Creatable, Verdict};
use super::grammar::{CopyArgs, Status};
use super::offer::Offer;
use super::task::{Access, Context, Line, News, Task, Want};
use crate::mailbox::acl::{self, Rights};
use crate::proxy::{BackendId, Finding, Freshness, Instant, Intent, Side};

use across::{Across, SOURCE_MOVED};

/// A mailbox that was EXAMINEd stays as it is.
const READ_ONLY: &[u8] = b"NO [CANNOT] the mailbox is selected read-only";

/// Whether the messages stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// COPY.
    Copy,
    /// MOVE.
    Move,
}

/// What the message set counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// Message sequence numbers.
    Sequence,
    /// UIDs.
    Uid,
}

impl By {
    /// The verb by which the messages are looked at.
    fn fetch(self) -> &'static [u8] {
        match self {
            By::Uid => b" UID FETCH ",
            By::Sequence => b" FETCH ",
        }
    }
}

/// COPY, UID COPY, MOVE or UID MOVE.
#[derive(Debug)]
pub struct CopyTask {
    request: Request,
    phase: Phase,
    agenda: Agenda,
    /// The server that was asked last.
    tried: Option<Vec<u8>>,
    /// Its word that there is no such mailbox, as the answer if the list agrees.
    held: Option<Vec<u8>>,
}

/// What the client asked for.
#[derive(Clone, Debug)]
struct Request {
    action: Action,
    by: By,
    /// As typed.
    set: Box<[u8]>,
    /// The destination as typed.
    mailbox: Box<[u8]>,
}

#[derive(Debug)]
enum Phase {
    Start,
    /// Where is the destination?
    ExpectDestination,
    /// May the source be emptied?
    ExpectSource {
        server: Vec<u8>,
    },
    /// The server says that there is no such mailbox, and has the destination: is the source elsewhere?
    ExpectMissed,
    /// There is no destination: may the client create it?
    ExpectParent(Creatable),
    /// A connection to the other server.
    ExpectBackend,
    /// That a move to this connection is about to begin is kept.
    ExpectIntended(BackendId),
    /// Passed on; the tagged line ends it.
    Relaying(BackendId),
    /// Between two servers.
    Across(Box<Across>),
    Over,
}

impl CopyTask {
    /// Begins a command of the selected state.
    pub fn new(action: Action, by: By, args: &CopyArgs<'_>) -> CopyTask {
        let request = Request { action, by, set: args.set.into(), mailbox: args.mailbox.as_ref().into() };
        CopyTask { request, phase: Phase::Start, agenda: Agenda::default(), tried: None, held: None }
    }

    fn start(&mut self, cx: &Context<'_>) {
        if cx.selected.is_none() {
            return self.finish(cx, SELECT_FIRST);
        }
        if cx.enabled.uidonly && self.request.by == By::Sequence {
            return self.finish(cx, UID_REQUIRED);
        }
        match place(&self.request.mailbox, cx) {
            Ok(name) => {
                self.agenda.find(name);
                self.phase = Phase::ExpectDestination;
            }
            Err(refusal) => self.finish(cx, refusal),
        }
    }

    fn handle_destination(&mut self, finding: Finding, cx: &Context<'_>) {
        let entry = match located(finding) {
            Ok(entry) => entry,
            Err(ABSENT) if self.held.is_some() => return self.finish_held(cx),
            Err(ABSENT) => return self.finish_absent(cx),
            Err(refusal) => return self.finish(cx, refusal),
        };
        let (Some(server), Some(selected)) = (server_of(&entry, cx), cx.selected) else {
            return self.finish(cx, UNAVAILABLE);
        };
        let is_same = self.held.is_some() && self.tried.as_deref() == Some(server);
        if is_same && cx.has_waited {
            return self.finish(cx, BEING_MOVED);
        }
        if is_same && self.held.as_deref().is_some_and(names_destination) {
            return self.finish_held(cx);
        }
        if is_same {
            // The destination is there: does the server miss the source?
            let name = selected.name.to_vec();
            self.agenda.want(Want::Find { name, freshness: Freshness::Proven });
            self.phase = Phase::ExpectMissed;
            return;
        }
        self.tried = Some(server.to_vec());
        let is_same = server == selected.server || entry.location.server().is_none();
        let is_known = self.request.action == Action::Copy || cx.offer(selected.backend).has(Offer::MOVE);
        if is_same && is_known {
            return self.relay(selected.backend, cx);
        }
        let server = if is_same { selected.server.to_vec() } else { server.to_vec() };
        match self.request.action {
            Action::Copy => self.open(server),
            Action::Move if selected.access == Access::ReadOnly => self.finish(cx, READ_ONLY),
            Action::Move => {
                let (name, freshness) = (selected.name.to_vec(), Freshness::Snapshot);
                self.agenda.want(Want::Find { name, freshness });
                self.phase = Phase::ExpectSource { server };
            }
        }
    }

    /// The server that was asked last has no such mailbox: the list is asked once more, behind a barrier.
    fn look_again(&mut self, result: Vec<u8>, cx: &Context<'_>) {
        if self.held.is_some() {
            // It was at another server a moment ago.
            return self.finish(cx, BEING_MOVED);
        }
        self.held = Some(result);
        match place(&self.request.mailbox, cx) {
            Ok(name) => {
                self.agenda.want(Want::Find { name, freshness: Freshness::Proven });
                self.phase = Phase::ExpectDestination;
            }
            Err(refusal) => self.finish(cx, refusal),
        }
    }

    fn handle_missed(&mut self, finding: &Finding, cx: &Context<'_>) {
        let here = cx.selected.map(|selected| selected.server);
        match finding {
            Finding::Active(entry) if entry.location.server().is_none_or(|server| Some(server) == here) => {
                self.finish_held(cx);
            }
            Finding::Absent => self.finish_held(cx),
            Finding::Active(_) | Finding::Reserved { .. } | Finding::Unknown => self.finish(cx, SOURCE_MOVED),
        }
    }

    fn finish_held(&mut self, cx: &Context<'_>) {
        let result = self.held.take().unwrap_or_else(|| ABSENT.to_vec());
        self.finish(cx, &result);
    }

    fn finish_absent(&mut self, cx: &Context<'_>) {
        match internal(&self.request.mailbox, cx) {
            Ok(name) => {
                let (creatable, verdict) = Creatable::new(&name, cx);
                self.follow(creatable, verdict, cx);
            }
            Err(refusal) => self.finish(cx, refusal),
        }
    }

    fn follow(&mut self, creatable: Creatable, verdict: Verdict, cx: &Context<'_>) {
        match verdict {
            Verdict::Ask(find) => {
                self.agenda.want(find);
                self.phase = Phase::ExpectParent(creatable);
            }
            Verdict::Answer(result) => self.finish(cx, result),
        }
    }

    /// `tag [UID ]COPY set mailbox` to the server that has both.
    fn relay(&mut self, backend: BackendId, cx: &Context<'_>) {
        let mut line = cx.tag.to_vec();
        line.extend_from_slice(match self.request.by {
            By::Uid => b" UID",
            By::Sequence => b"",
        });
        line.extend_from_slice(match self.request.action {
            Action::Copy => b" COPY ",
            Action::Move => b" MOVE ",
        });
        line.extend_from_slice(&self.request.set);
        line.push(b' ');
        string_for(backend, &self.request.mailbox, cx, &mut line);
        line.extend_from_slice(b"\r\n");
        self.agenda.send(backend, line);
        self.phase = Phase::Relaying(backend);
    }

    /// A move takes the messages away, so the rights to do that are asked for before anything is
    /// copied.
    fn handle_source(&mut self, finding: Finding, server: Vec<u8>, cx: &Context<'_>) {
        let Some(selected) = cx.selected else { return self.finish(cx, UNAVAILABLE) };
        if !cx.offer(selected.backend).has(Offer::UIDPLUS) {
            return self.finish(cx, b"NO [CANNOT] the server of the selected mailbox does not offer UIDPLUS");
        }
        match located(finding) {
            Ok(entry) => {
                let rights = acl::rights(&entry.acl, &entry.name, cx.identity, &cx.config.acl);
                if !rights.contains(Rights::T.union(Rights::E)) {
                    self.finish(cx, DENIED)
                } else if server == selected.server {
                    self.begin(selected.backend, cx)
                } else {
                    self.open(server)
                }
            }
            Err(_) => self.finish(cx, UNAVAILABLE),
        }
    }

    fn open(&mut self, server: Vec<u8>) {
        self.agenda.want(Want::Backend { server });
        self.phase = Phase::ExpectBackend;
    }

    /// A copy begins at once, a move when it is known that it does.
    fn begin(&mut self, destination: BackendId, cx: &Context<'_>) {
        match (self.request.action, cx.selected) {
            (Action::Copy, _) => self.cross(destination, cx),
            (Action::Move, Some(selected)) => {
                self.agenda.want(Want::Intend(Box::new(Intent {
                    user: cx.identity.user.clone(),
                    source: selected.name.into(),
                    destination: self.request.mailbox.clone(),
                    messages: self.request.set.clone(),
                })));
                self.phase = Phase::ExpectIntended(destination);
            }
            (Action::Move, None) => self.finish(cx, UNAVAILABLE),
        }
    }

    fn cross(&mut self, destination: BackendId, cx: &Context<'_>) {
        let Some(selected) = cx.selected else { return self.finish(cx, UNAVAILABLE) };
        let (request, source) = (self.request.clone(), selected.backend);
        let across = if source == destination {
            Across::within(request, source, cx, &mut self.agenda)
        } else {
            Across::new(request, source, destination, cx, &mut self.agenda)
        };
        self.phase = Phase::Across(Box::new(across));
    }

    fn follow_across(&mut self, cx: &Context<'_>) {
        if let Phase::Across(across) = &mut self.phase
            && let Some(result) = across.poll_elsewhere()
        {
            self.look_again(result, cx);
        }
    }

    fn finish(&mut self, cx: &Context<'_>, result: &[u8]) {
        self.agenda.finish(cx, result);
        self.phase = Phase::Over;
    }

    fn relayed_line(&mut self, backend: BackendId, line: &[u8], cx: &Context<'_>) -> Line {
        let Some((status, text)) = result_of(line, cx.tag) else { return aside_of(backend, line, cx) };
        if status == Status::No && is_elsewhere(text) && self.held.is_none() {
            self.look_again(result_line(status, text), cx);
            return Line::Drop;
        }
        if is_referral(text) {
            self.finish(cx, BEING_MOVED);
            return Line::Drop;
        }
        self.agenda.want(Want::Done);
        self.phase = Phase::Over;
        Line::Relay
    }
}

/// Whether a result says that it is the destination that is not there.
fn names_destination(result: &[u8]) -> bool {
    memchr::memmem::find(result, b"[TRYCREATE]").is_some()
}

impl Task for CopyTask {
    fn expunges(&self) -> bool {
        self.request.action == Action::Move
    }

    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, _now: Instant) {
        match (news, std::mem::replace(&mut self.phase, Phase::Over)) {
            (News::Found(finding), Phase::ExpectDestination) => self.handle_destination(finding, cx),
            (News::Found(finding), Phase::ExpectParent(mut creatable)) => {
                let verdict = creatable.handle_finding(&finding, cx);
                self.follow(creatable, verdict, cx);
            }
            (News::Found(finding), Phase::ExpectMissed) => self.handle_missed(&finding, cx),
            (News::Found(finding), Phase::ExpectSource { server }) => self.handle_source(finding, server, cx),
            (News::Backend(Err(_)), Phase::ExpectBackend) => self.finish(cx, UNREACHABLE),
            (News::Backend(Ok(destination)), Phase::ExpectBackend) => self.begin(destination, cx),
            (News::Intended, Phase::ExpectIntended(destination)) => self.cross(destination, cx),
            (News::Lost(lost), Phase::ExpectIntended(destination)) if lost == destination => {
                self.finish(cx, UNREACHABLE);
            }
            (News::Lost(lost), Phase::Relaying(backend)) if lost == backend => {
                self.finish(
                    cx,
                    b"NO [UNAVAILABLE] connection to the server lost, messages may have been copied",
                );
            }
            (news, Phase::Across(mut across)) => {
                across.handle_news(&news, cx, &mut self.agenda);
                self.phase = Phase::Across(across);
                self.follow_across(cx);
            }
            (_, phase) => self.phase = phase,
        }
    }

    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, _now: Instant) -> Line {
        let Side::Backend(backend) = from else { return Line::Hold };
        match &mut self.phase {
            Phase::Relaying(relaying) if *relaying == backend => self.relayed_line(backend, line, cx),
            Phase::Across(across) => {
                let verdict = across.handle_line(backend, line, cx, &mut self.agenda);
                self.follow_across(cx);
                verdict
            }
            Phase::Relaying(_)
            | Phase::Start
            | Phase::ExpectDestination
            | Phase::ExpectMissed
            | Phase::ExpectParent(_)
            | Phase::ExpectSource { .. }
            | Phase::ExpectBackend
            | Phase::ExpectIntended(_)
            | Phase::Over => aside_of(backend, line, cx),
        }
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        if matches!(self.phase, Phase::Start) {
            self.start(cx);
        }
        self.agenda.poll(out)
    }

    fn awaits(&self, backend: BackendId) -> bool {
        match &self.phase {
            Phase::Across(across) => across.awaits(backend),
            Phase::Relaying(_)
            | Phase::Start
            | Phase::ExpectDestination
            | Phase::ExpectMissed
            | Phase::ExpectParent(_)
            | Phase::ExpectSource { .. }
            | Phase::ExpectBackend
            | Phase::ExpectIntended(_)
            | Phase::Over => true,
        }
    }

    fn forwards_to(&self, from: BackendId) -> Option<BackendId> {
        match &self.phase {
            Phase::Across(across) => across.forwards_to(from),
            Phase::Relaying(_)
            | Phase::Start
            | Phase::ExpectDestination
            | Phase::ExpectMissed
            | Phase::ExpectParent(_)
            | Phase::ExpectSource { .. }
            | Phase::ExpectBackend
            | Phase::ExpectIntended(_)
            | Phase::Over => None,
        }
    }
}
