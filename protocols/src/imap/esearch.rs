//! ESEARCH over several mailboxes (RFC 7377): every server that has one of them searches its own.
//!
//! ```text
//!  Pages of the list ──servers──> connections to all, at once ──all offer it──> the command to each, at once
//!                                   └─ some cannot be had: told at the end           └── all answered ──> tagged
//! ```
//! A server is sent the sources as they stand and answers for what it holds; `selected` goes only to the
//! server that has the mailbox selected. The client's tag is used everywhere, because responses carry it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::agenda::{Agenda, aside_of, internal, result_line, result_of, server_of};
use super::answers::{SELECT_FIRST, UNAVAILABLE, UNREACHABLE};
use super::grammar::{EsearchArgs, Response, SourceKind, Status, response};
use super::offer::Offer;
use super::task::{Context, Line, News, Task, Want};
use crate::proxy::{BackendId, Instant, Knowledge, ListPage, ListQuery, Reserved, Side};

const NOT_EVERYWHERE: &[u8] = b"NO [CANNOT] a server of these mailboxes cannot search several at once";
/// Some servers were searched; what they found was told.
const PARTLY: &[u8] = b"NO [UNAVAILABLE] not all servers could be searched: results are missing";
const NOT_SUBSCRIBED: &[u8] =
    b"NO [CANNOT] name the mailboxes: subscribed ones are known to one server alone";

/// ESEARCH with sources.
pub(super) struct Esearch {
    sources: Vec<(SourceKind, Vec<u8>)>,
    rest: Vec<u8>,
    /// Parts of the list that are still to be looked at: a name, and whether those below it count.
    parts: VecDeque<(Vec<u8>, SourceKind)>,
    servers: BTreeSet<Vec<u8>>,
    connected: Vec<BackendId>,
    /// Those of them that have said something since time began to run.
    heard: Vec<BackendId>,
    step: Step,
    /// The first answer that is no OK.
    refusal: Option<Vec<u8>>,
    agenda: Agenda,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Start,
    ExpectPage,
    /// So many of the connections are awaited.
    ExpectBackends(usize),
    /// Those in `connected` have not answered.
    Searching,
    Over,
}

impl Esearch {
    pub(super) fn new(args: &EsearchArgs<'_>) -> Esearch {
        let named = |kind: SourceKind| move |name: &[u8]| (name.to_vec(), kind);
        let parts = args.sources.iter().flat_map(|source| {
            source.mailboxes.iter().map(|name| named(source.kind)(name)).collect::<Vec<_>>()
        });
        Esearch {
            sources: args.sources.iter().map(|source| (source.kind, source.text.to_vec())).collect(),
            rest: args.rest.to_vec(),
            parts: parts.collect(),
            servers: BTreeSet::new(),
            connected: Vec::new(),
            heard: Vec::new(),
            step: Step::Start,
            refusal: None,
            agenda: Agenda::default(),
        }
    }

    fn start(&mut self, cx: &Context<'_>) {
        let has = |wanted: SourceKind| self.sources.iter().any(|(kind, _)| *kind == wanted);
        if has(SourceKind::Subscribed) {
            return self.finish(NOT_SUBSCRIBED, cx);
        }
        // Who names no source means the selected mailbox (RFC 7377).
        if self.sources.is_empty() && cx.selected.is_none() {
            return self.finish(SELECT_FIRST, cx);
        }
        if has(SourceKind::Selected) {
            let Some(selected) = cx.selected else {
                return self.finish(SELECT_FIRST, cx);
            };
            self.servers.insert(selected.server.to_vec());
        }
        let mut parts = VecDeque::new();
        if has(SourceKind::Personal) {
            parts.push_back((cx.config.namespace.inbox(&cx.identity.user), SourceKind::Subtree));
        }
        // What has no internal name is no mailbox, and not searched.
        parts.extend(self.parts.drain(..).filter_map(|(name, kind)| Some((internal(&name, cx).ok()?, kind))));
        self.parts = parts;
        self.next_part(Box::default(), cx);
    }

    /// Looks at the part of the list at the front, or goes on where there is none.
    fn next_part(&mut self, after: Box<[u8]>, cx: &Context<'_>) {
        match self.parts.front() {
            Some((name, _)) => {
                let (prefix, visible_to) = (name.as_slice().into(), Some(Arc::clone(cx.identity)));
                let query = ListQuery { after, prefix, visible_to, reserved: Reserved::Hidden };
                self.agenda.want(Want::Page(query));
                self.step = Step::ExpectPage;
            }
            None => self.connect(cx),
        }
    }

    fn handle_page(&mut self, page: &ListPage, cx: &Context<'_>) {
        if page.knowledge == Knowledge::NeverSynced {
            return self.finish(UNAVAILABLE, cx);
        }
        let Some((name, kind)) = self.parts.front() else { return self.connect(cx) };
        let is_whole = *kind == SourceKind::Subtree;
        let rows = page.entries.iter().filter(|row| is_whole || *row.entry.name == **name);
        let servers: Vec<Vec<u8>> =
            rows.filter_map(|row| server_of(&row.entry, cx)).map(<[u8]>::to_vec).collect();
        self.servers.extend(servers);
        match page.next.clone().filter(|_| is_whole) {
            Some(after) => self.next_part(after, cx),
            None => {
                self.parts.pop_front();
                self.next_part(Box::default(), cx);
            }
        }
    }

    fn connect(&mut self, cx: &Context<'_>) {
        if self.servers.is_empty() {
            return self.finish(b"OK Completed", cx);
        }
        for server in &self.servers {
            self.agenda.want(Want::Backend { server: server.clone() });
        }
        self.step = Step::ExpectBackends(self.servers.len());
    }

    /// A connection stands, or cannot be had; the others are not kept waiting longer than it takes.
    fn connected(&mut self, awaited: usize, cx: &Context<'_>) {
        self.step = Step::ExpectBackends(awaited - 1);
        if awaited == 1 {
            self.refusal = (self.connected.len() < self.servers.len()).then(|| PARTLY.to_vec());
            self.search(cx);
        }
    }

    fn search(&mut self, cx: &Context<'_>) {
        if self.connected.is_empty() {
            return self.finish(UNREACHABLE, cx);
        }
        if !self.connected.iter().all(|id| cx.offer(*id).has(Offer::MULTISEARCH)) {
            return self.finish(NOT_EVERYWHERE, cx);
        }
        self.step = Step::Searching;
        for id in self.connected.clone() {
            let is_selected = cx.selected.is_some_and(|selected| selected.backend == id);
            let sources =
                self.sources.iter().filter(|(kind, _)| is_selected || *kind != SourceKind::Selected);
            let sources: Vec<&[u8]> = sources.map(|(_, text)| text.as_slice()).collect();
            if sources.is_empty() {
                self.connected.retain(|connected| *connected != id);
                continue;
            }
            let command = [cx.tag, b" ESEARCH IN (", &sources.join(&b' '), &self.rest, b"\r\n"].concat();
            self.agenda.send(id, command);
        }
        self.agenda.want(Want::Wake(cx.config.timeouts.command));
    }

    /// Time is over for those who said nothing meanwhile, whatever the others do; but for the server of the
    /// selected mailbox, which is waited for.
    fn handle_time(&mut self, cx: &Context<'_>) {
        let heard = std::mem::take(&mut self.heard);
        let is_selected = |id: BackendId| cx.selected.is_some_and(|selected| selected.backend == id);
        let silent = self.connected.iter().copied().filter(|id| !heard.contains(id) && !is_selected(*id));
        for id in silent.collect::<Vec<_>>() {
            self.agenda.want(Want::Abandon(id));
            self.answered(id, Some(PARTLY.to_vec()), cx);
        }
        if self.step == Step::Searching {
            self.agenda.want(Want::Wake(cx.config.timeouts.command));
        }
    }

    /// One server has answered, or will not.
    fn answered(&mut self, id: BackendId, refusal: Option<Vec<u8>>, cx: &Context<'_>) {
        self.connected.retain(|connected| *connected != id);
        self.refusal = self.refusal.take().or(refusal);
        if self.connected.is_empty() {
            let result = self.refusal.take().unwrap_or_else(|| b"OK Completed".to_vec());
            self.finish(&result, cx);
        }
    }

    fn finish(&mut self, result: &[u8], cx: &Context<'_>) {
        self.agenda.finish(cx, result);
        self.step = Step::Over;
    }
}

impl Task for Esearch {
    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, _now: Instant) {
        match (self.step, news) {
            (Step::ExpectPage, News::Page(page)) => self.handle_page(page, cx),
            (Step::ExpectBackends(awaited), News::Backend(result)) => {
                self.connected.extend(result.ok());
                self.connected(awaited, cx);
            }
            (Step::ExpectBackends(_), News::Lost(id)) => self.connected.retain(|connected| *connected != id),
            (Step::Searching, News::Lost(id)) if self.connected.contains(&id) => {
                self.answered(id, Some(PARTLY.to_vec()), cx);
            }
            (Step::Searching, News::Time) => self.handle_time(cx),
            _ => {}
        }
    }

    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, _now: Instant) -> Line {
        let Side::Backend(id) = from else { return Line::Hold };
        if self.step != Step::Searching || !self.connected.contains(&id) {
            return aside_of(id, line, cx);
        }
        if !self.heard.contains(&id) {
            self.heard.push(id);
        }
        match (result_of(line, cx.tag), response(line)) {
            (Some((Status::Ok, _)), _) => {
                self.answered(id, None, cx);
                Line::Drop
            }
            (Some((status, text)), _) => {
                self.answered(id, Some(result_line(status, text)), cx);
                Line::Drop
            }
            (None, Response::Untagged { .. }) if is_esearch(line) => Line::Relay,
            (None, _) => aside_of(id, line, cx),
        }
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        if self.step == Step::Start {
            self.start(cx);
        }
        self.agenda.poll(out)
    }

    fn awaits(&self, backend: BackendId) -> bool {
        self.step == Step::Searching && self.connected.contains(&backend)
    }
}

fn is_esearch(line: &[u8]) -> bool {
    line.get(..b"* ESEARCH ".len()).is_some_and(|begin| begin.eq_ignore_ascii_case(b"* ESEARCH "))
}
