//! NOTIFY (RFC 5465): each server that holds some of the mailboxes tells of them on a connection of its own.
//!
//! ```text
//!  SET: Pages of the list ──Plan──> connections apart ──all offer it──> NOTIFY to each ──all OK──> to the selected
//!         └ too much, unknown            └ one cannot be had              └ one refuses               mailbox's ──> OK
//!                └────────────────────────────┴── NO, and nothing is as before but that ──┘
//! ```
//! On a connection of their own nothing else is said, so what comes is news; the session passes it on
//! (`listening.rs`). The selected mailbox's events come with its own connection: whichever has it is told
//! that part before its SELECT, as it is told ENABLE.
//!
//! A plan is true for a while. Where a connection is lost, or the list says that another server would have to
//! be asked, the client is told `NOTIFICATIONOVERFLOW` and nothing is watched any more (RFC 5465 section 5.8):
//! he looks for himself and asks again.

mod listening;
mod plan;
#[cfg(test)]
mod tests;
pub(super) mod wishes;

use std::collections::BTreeSet;

use plan::{NoPlan, Planning};
use wishes::{Notified, Plan, Wishes};

use super::agenda::{Agenda, Home, aside_of, home_news, is_partial, result_line, result_of, seek_home};
use super::grammar::{EventGroup, Response, SourceKind, Status, UntaggedKind, response, responses};
use super::offer::Offer;
use super::task::{Context, Line, News, Task, Want};
use super::text::push;
use crate::imap::answers::UNAVAILABLE;
use crate::proxy::{BackendId, Instant, ListPage, Side};

pub(super) use listening::STIR_EVERY;

/// The events cost more than is done for one client (RFC 5465 section 3.1).
const TOO_MUCH: &[u8] = b"NO [NOTIFICATIONOVERFLOW] too many servers or mailboxes to watch";

/// Subscriptions that are read; more than a plan may have.
const SUBSCRIPTIONS_MAX: usize = 2048;

/// What connections with a selected mailbox are told of it where the client said nothing of it.
const NOT_SELECTED: &[u8] = b"(selected NONE)";

/// NOTIFY SET; or, once it is on, whether it would be planned as it was.
pub(super) struct Notify {
    what: What,
    wishes: Wishes,
    planning: Planning,
    /// What the home said so far that is subscribed to.
    subscribed: BTreeSet<Vec<u8>>,
    plan: Plan,
    ears: Vec<Ear>,
    step: Step,
    agenda: Agenda,
}

enum What {
    Set {
        status: bool,
        /// As typed, and whether it was.
        selected: Vec<u8>,
        is_selected_named: bool,
    },
    None,
    Check(Plan),
}

/// A connection that is to tell.
#[derive(Debug)]
struct Ear {
    backend: BackendId,
    tag: Vec<u8>,
    is_answered: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Start,
    /// What is subscribed to is asked of the home.
    SeekingSubscriptions,
    Subscriptions(BackendId),
    ExpectPage,
    /// So many of the connections are awaited.
    ExpectBackends(usize),
    /// Those in `ears` are asked.
    Asking,
    /// Nothing is selected, and nobody is asked: the home judges the events.
    SeekingHome,
    /// The connection of the selected mailbox, or the home, is asked.
    AskingOne(BackendId),
    Over,
}

impl Notify {
    /// NOTIFY SET with these groups; `name` makes internal names.
    pub(super) fn set(
        status: bool,
        groups: &[EventGroup<'_>],
        name: impl Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Notify {
        let typed = groups.iter().find(|group| group.source.kind == SourceKind::Selected);
        let selected = typed.map(|group| [b"(", group.source.text, b" ", group.events, b")"].concat());
        let is_selected_named = selected.is_some();
        let selected = selected.unwrap_or_else(|| NOT_SELECTED.to_vec());
        Notify::new(What::Set { status, selected, is_selected_named }, Wishes::of(groups, name))
    }

    /// NOTIFY NONE.
    pub(super) fn none() -> Notify {
        Notify::new(What::None, Wishes::default())
    }

    /// Looks whether `plan` would be made again.
    pub(super) fn check(plan: Plan, wishes: Wishes) -> Notify {
        Notify::new(What::Check(plan), wishes)
    }

    fn new(what: What, wishes: Wishes) -> Notify {
        let (planning, subscribed, plan, ears) =
            (Planning::default(), BTreeSet::new(), Plan::new(), Vec::new());
        Notify {
            what,
            wishes,
            planning,
            subscribed,
            plan,
            ears,
            step: Step::Start,
            agenda: Agenda::default(),
        }
    }

    fn start(&mut self, cx: &Context<'_>) {
        if let What::None = self.what {
            self.agenda.want(Want::NotifyNone);
            return self.finish(b"OK Completed", cx);
        }
        self.planning = Planning::new(self.wishes.clone(), cx);
        if self.wishes.has(SourceKind::Subscribed) {
            seek_home(cx, &mut self.agenda);
            self.step = Step::SeekingSubscriptions;
        } else {
            self.next_part(Box::default(), cx);
        }
    }

    fn ask_subscriptions(&mut self, home: Home, cx: &Context<'_>) {
        match home {
            Home::At(backend) => {
                let mut command = Vec::new();
                cx.own_tag(LSUB, &mut command);
                command.extend_from_slice(b" LSUB \"\" \"*\"\r\n");
                self.agenda.send(backend, command);
                self.step = Step::Subscriptions(backend);
            }
            Home::Nowhere => self.next_part(Box::default(), cx),
            Home::Unavailable => self.no_plan(NoPlan::Unknown, cx),
        }
    }

    /// The home tells what is subscribed to.
    fn hear_subscription(&mut self, home: BackendId, line: &[u8], cx: &Context<'_>) -> Line {
        let mut tag = Vec::new();
        cx.own_tag(LSUB, &mut tag);
        match (result_of(line, &tag), response(line)) {
            (Some((Status::Ok, _)), _) => {
                let names = std::mem::take(&mut self.subscribed);
                match self.planning.subscribe(cx.server(home), names, cx) {
                    Ok(()) => self.next_part(Box::default(), cx),
                    Err(why) => self.no_plan(why, cx),
                }
                Line::Drop
            }
            (Some(_), _) => {
                self.no_plan(NoPlan::Unknown, cx);
                Line::Drop
            }
            (None, Response::Untagged { kind: UntaggedKind::Lsub, .. }) if is_partial(line) => Line::Whole,
            (None, Response::Untagged { kind: UntaggedKind::Lsub, rest, .. }) => {
                let name = responses::list(rest).ok().map(|list| list.mailbox);
                let name = name.and_then(|name| cx.config.namespace.internal(&name, cx.identity).ok());
                self.subscribed.extend(name.filter(|_| self.subscribed.len() < SUBSCRIPTIONS_MAX));
                Line::Drop
            }
            (None, _) => aside_of(home, line, cx),
        }
    }

    fn next_part(&mut self, after: Box<[u8]>, cx: &Context<'_>) {
        if let Some(query) = self.planning.query(after, cx) {
            self.agenda.want(Want::Page(query));
            self.step = Step::ExpectPage;
            return;
        }
        match self.planning.finish(cx) {
            Ok(plan) => self.planned(plan, cx),
            Err(why) => self.no_plan(why, cx),
        }
    }

    fn handle_page(&mut self, page: &ListPage, cx: &Context<'_>) {
        match self.planning.handle_page(page, cx) {
            Ok(after) => self.next_part(after, cx),
            Err(why) => self.no_plan(why, cx),
        }
    }

    fn no_plan(&mut self, why: NoPlan, cx: &Context<'_>) {
        match (&self.what, why) {
            (What::Set { .. }, NoPlan::TooMuch) => self.finish(TOO_MUCH, cx),
            (What::Set { .. }, NoPlan::Unknown) => self.finish(UNAVAILABLE, cx),
            (What::Check(_), NoPlan::TooMuch) => self.agenda.want(Want::NotifyOverflow),
            (What::Check(_), NoPlan::Unknown) | (What::None, _) => {}
        }
        self.end_check();
    }

    fn planned(&mut self, plan: Plan, cx: &Context<'_>) {
        if let What::Check(known) = &self.what {
            if *known != plan {
                self.agenda.want(Want::NotifyOverflow);
            }
            return self.end_check();
        }
        for server in plan.keys() {
            self.agenda.want(Want::Apart { server: server.clone() });
        }
        self.step = Step::ExpectBackends(plan.len());
        self.plan = plan;
        if self.plan.is_empty() {
            self.ask_one(cx);
        }
    }

    fn end_check(&mut self) {
        if let What::Check(_) = self.what {
            self.agenda.want(Want::Done);
            self.step = Step::Over;
        }
    }

    /// A connection stands, or cannot be had.
    fn connected(&mut self, awaited: usize, backend: Option<BackendId>, cx: &Context<'_>) {
        if let Some(backend) = backend {
            let mut tag = Vec::new();
            // Fits: there are at most as many as servers.
            cx.own_tag(self.ears.len() as u32, &mut tag);
            self.ears.push(Ear { backend, tag, is_answered: false });
        }
        self.step = Step::ExpectBackends(awaited - 1);
        if awaited == 1 {
            self.ask(cx);
        }
    }

    /// Asks all servers, if all are there and can.
    fn ask(&mut self, cx: &Context<'_>) {
        let is_there = |server: &Vec<u8>| self.ears.iter().any(|ear| cx.server(ear.backend) == Some(server));
        if let Some(missing) = self.plan.keys().find(|server| !is_there(server)) {
            let text = [b"NO [UNAVAILABLE] ", &**missing, b" cannot be reached"].concat();
            return self.finish(&text, cx);
        }
        let deaf = self.ears.iter().find(|ear| !cx.offer(ear.backend).has(Offer::NOTIFY));
        if let Some(server) = deaf.and_then(|ear| cx.server(ear.backend)) {
            let text = [b"NO [CANNOT] ", server, b" has no NOTIFY"].concat();
            return self.finish(&text, cx);
        }
        let What::Set { status, selected, is_selected_named } = &self.what else { return };
        for ear in &self.ears {
            let groups = cx.server(ear.backend).and_then(|server| self.plan.get(server));
            let mut command = [&*ear.tag, b" NOTIFY SET", if *status { b" STATUS" } else { b"" }].concat();
            // Nothing is selected there, but what is wrong with it is said.
            if *is_selected_named {
                push(&mut command, &[b" ", selected]);
            }
            push(&mut command, &[groups.map_or(b"".as_slice(), |groups| groups), b"\r\n"]);
            self.agenda.send(ear.backend, command);
        }
        self.step = Step::Asking;
    }

    /// A listener has answered.
    fn answered(&mut self, at: usize, status: Status, text: &[u8], cx: &Context<'_>) {
        if status != Status::Ok {
            return self.finish(&result_line(status, text), cx);
        }
        self.ears[at].is_answered = true;
        if self.ears.iter().all(|ear| ear.is_answered) {
            self.ask_one(cx);
        }
    }

    /// Asks the connection of the selected mailbox; the home where nobody else has judged the events.
    fn ask_one(&mut self, cx: &Context<'_>) {
        match cx.selected {
            Some(selected) => self.ask_at(selected.backend, cx),
            None if self.ears.is_empty() => {
                seek_home(cx, &mut self.agenda);
                self.step = Step::SeekingHome;
            }
            None => self.accept(None, cx),
        }
    }

    fn ask_at(&mut self, backend: BackendId, cx: &Context<'_>) {
        if !cx.offer(backend).has(Offer::NOTIFY) {
            let server = cx.server(backend).unwrap_or_default();
            let text = [b"NO [CANNOT] ", server, b" has no NOTIFY"].concat();
            return self.finish(&text, cx);
        }
        let What::Set { selected, .. } = &self.what else { return };
        let mut command = Vec::new();
        cx.own_tag(ONE, &mut command);
        push(&mut command, &[b" NOTIFY SET ", selected, b"\r\n"]);
        self.agenda.send(backend, command);
        self.step = Step::AskingOne(backend);
    }

    fn accept(&mut self, at_selected: Option<BackendId>, cx: &Context<'_>) {
        let What::Set { selected, .. } = &mut self.what else { return };
        let notified = Notified {
            selected: std::mem::take(selected),
            wishes: std::mem::take(&mut self.wishes),
            plan: std::mem::take(&mut self.plan),
            listeners: self.ears.drain(..).map(|ear| ear.backend).collect(),
            at_selected,
        };
        self.agenda.want(Want::Notify(Box::new(notified)));
        self.finish(b"OK Completed", cx);
    }

    /// Answers the command; what was begun for it is given up.
    fn finish(&mut self, result: &[u8], cx: &Context<'_>) {
        for ear in self.ears.drain(..) {
            self.agenda.want(Want::Leave(ear.backend));
        }
        self.agenda.finish(cx, result);
        self.step = Step::Over;
    }

    /// A response of a listener before all is decided: how a mailbox stands goes to the client, but for the
    /// selected one, of which its own connection tells.
    #[expect(clippy::wildcard_enum_match_arm, reason = "two kinds are news of a mailbox")]
    fn heard(&self, line: &[u8], cx: &Context<'_>) -> Option<Line> {
        let Response::Untagged { kind, rest, .. } = response(line) else { return None };
        let named = match kind {
            UntaggedKind::Status | UntaggedKind::List if is_partial(line) => return Some(Line::Whole),
            UntaggedKind::Status => responses::status(rest).map(|status| status.mailbox),
            UntaggedKind::List => responses::list(rest).map(|list| list.mailbox),
            _ => return None,
        };
        let name = named.ok().and_then(|name| cx.config.namespace.internal(&name, cx.identity).ok())?;
        let is_selected = cx.selected.is_some_and(|selected| *selected.name == *name);
        Some(if is_selected { Line::Drop } else { Line::Relay })
    }
}

/// The numbers of the tags for the connections that are no listeners.
const ONE: u32 = 99;
const LSUB: u32 = 98;

impl Task for Notify {
    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, _now: Instant) {
        match (self.step, news) {
            (Step::ExpectPage, News::Page(page)) => self.handle_page(page, cx),
            (Step::ExpectBackends(awaited), News::Backend(result)) => {
                self.connected(awaited, result.ok(), cx)
            }
            (Step::ExpectBackends(_), News::Lost(id)) => self.ears.retain(|ear| ear.backend != id),
            (Step::Asking | Step::AskingOne(_), News::Lost(id)) => {
                let is_asked =
                    self.step == Step::AskingOne(id) || self.ears.iter().any(|ear| ear.backend == id);
                self.ears.retain(|ear| ear.backend != id);
                if is_asked {
                    self.finish(b"NO [UNAVAILABLE] connection to a server of these mailboxes was lost", cx);
                }
            }
            (Step::Subscriptions(home), News::Lost(id)) if home == id => self.no_plan(NoPlan::Unknown, cx),
            (Step::SeekingSubscriptions, news) => {
                if let Some(home) = home_news(news, cx, &mut self.agenda) {
                    self.ask_subscriptions(home, cx);
                }
            }
            (Step::SeekingHome, news) => match home_news(news, cx, &mut self.agenda) {
                Some(Home::At(backend)) => self.ask_at(backend, cx),
                Some(Home::Nowhere) => self.accept(None, cx),
                Some(Home::Unavailable) => self.finish(UNAVAILABLE, cx),
                None => {}
            },
            _ => {}
        }
    }

    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, _now: Instant) -> Line {
        let Side::Backend(id) = from else { return Line::Hold };
        if self.step == Step::Subscriptions(id) {
            return self.hear_subscription(id, line, cx);
        }
        let mut one = Vec::new();
        cx.own_tag(ONE, &mut one);
        if self.step == Step::AskingOne(id)
            && let Some((status, text)) = result_of(line, &one)
        {
            match status {
                Status::Ok => self.accept(Some(id), cx),
                Status::No | Status::Bad => self.finish(&result_line(status, text), cx),
            }
            return Line::Drop;
        }
        let Some(at) = self.ears.iter().position(|ear| ear.backend == id) else {
            return aside_of(id, line, cx);
        };
        match result_of(line, &self.ears[at].tag) {
            Some((status, text)) if self.step == Step::Asking => {
                self.answered(at, status, text, cx);
                Line::Drop
            }
            Some(_) => Line::Drop,
            None => self.heard(line, cx).unwrap_or_else(|| aside_of(id, line, cx)),
        }
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        if self.step == Step::Start {
            self.start(cx);
        }
        self.agenda.poll(out)
    }

    fn awaits(&self, backend: BackendId) -> bool {
        let is_unheard = |ear: &Ear| ear.backend == backend && !ear.is_answered;
        [Step::AskingOne(backend), Step::Subscriptions(backend)].contains(&self.step)
            || (self.step == Step::Asking && self.ears.iter().any(is_unheard))
    }
}
