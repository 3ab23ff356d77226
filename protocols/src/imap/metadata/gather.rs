//! A metadata command about patterns: from the list to the servers that have matches.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::{SERVER_ENTRY, Scope};
use crate::imap::agenda::{Agenda, aside_of, located};
use crate::imap::answers::{UNAVAILABLE, is_elsewhere};
use crate::imap::list::CHUNK_BYTES;
use crate::imap::list::fan::Fan;
use crate::imap::list::walk::{Dav, Row, Walk};
use crate::imap::list::wanted::Wanted;
use crate::imap::offer::Offer;
use crate::imap::task::{Context, Line, News, Task, Want};
use crate::mailbox::{Identity, Namespace, Pattern};
use crate::proxy::{Instant, Knowledge, ListPage, Side};
use crate::wire::LiteralStyle;
use crate::wire::quote::{astring_out_as, mailbox_out, string_out};

/// A command about patterns, to all servers that have a match. What the list itself knows, which server
/// a mailbox is on, is told here.
#[derive(Debug)]
pub(super) struct Gather {
    request: GatherRequest,
    walk: Box<Walk>,
    /// Which patterns a server is asked for.
    servers: BTreeMap<Box<[u8]>, BTreeSet<usize>>,
    rows: VecDeque<Row>,
    draft: Vec<u8>,
    phase: GatherPhase,
    agenda: Agenda,
    /// Servers that were asked. One that knows no such mailbox may know it no more: then the list is
    /// walked again, behind a barrier, and servers that come new are asked.
    asked: BTreeSet<Box<[u8]>>,
    /// The answer when none comes new.
    held: Option<Vec<u8>>,
    has_looked_again: bool,
}

/// What the client asked for.
#[derive(Debug)]
pub(super) struct GatherRequest {
    pub(super) verb: Vec<u8>,
    /// As typed.
    pub(super) patterns: Vec<Box<[u8]>>,
    /// What stands behind the mailbox; nothing when no server is asked.
    pub(super) rest: Vec<u8>,
    /// [`SERVER_ENTRY`] is asked for.
    pub(super) tells_server: bool,
    /// The internal name of a single mailbox, which must exist.
    pub(super) single: Option<Vec<u8>>,
}

#[derive(Debug)]
enum GatherPhase {
    Start,
    ExpectFound,
    ExpectBarrier,
    ExpectPage,
    ExpectDrained,
    Fanning(Box<Fan>),
    Over,
}

impl Gather {
    pub(super) fn new(request: GatherRequest, scope: &Scope<'_>) -> Gather {
        let walk = walk(&request.patterns, scope.namespace, scope.identity);
        Gather {
            request,
            walk: Box::new(walk),
            servers: BTreeMap::new(),
            rows: VecDeque::new(),
            draft: Vec::new(),
            phase: GatherPhase::Start,
            agenda: Agenda::default(),
            asked: BTreeSet::new(),
            held: None,
            has_looked_again: false,
        }
    }

    fn start(&mut self, cx: &Context<'_>) {
        match self.request.single.take() {
            Some(name) => {
                self.agenda.find(name);
                self.phase = GatherPhase::ExpectFound;
            }
            None => self.next_page(cx),
        }
    }

    fn next_page(&mut self, cx: &Context<'_>) {
        match self.walk.poll_query() {
            Some(query) => {
                self.agenda.want(Want::Page(query));
                self.phase = GatherPhase::ExpectPage;
            }
            None => self.ask_servers(cx),
        }
    }

    fn handle_page(&mut self, page: &ListPage, cx: &Context<'_>) {
        if page.knowledge == Knowledge::NeverSynced {
            return self.finish(cx, UNAVAILABLE);
        }
        self.walk.handle_page(page, &mut self.rows);
        self.write_rows(cx);
    }

    /// Takes rows until the bound is reached or there are none.
    fn write_rows(&mut self, cx: &Context<'_>) {
        while self.draft.len() < CHUNK_BYTES {
            let Some(row) = self.rows.pop_front() else { return self.next_page(cx) };
            if let Some(server) = row.mailbox.and_then(|mailbox| mailbox.server) {
                self.take_row(&row.name, server);
            }
        }
        self.flush();
        self.phase = GatherPhase::ExpectDrained;
    }

    fn take_row(&mut self, name: &[u8], server: Box<[u8]>) {
        if self.request.tells_server {
            self.draft.extend_from_slice(b"* METADATA ");
            mailbox_out(&mut self.draft, name);
            self.draft.extend_from_slice(b" (\"");
            self.draft.extend_from_slice(SERVER_ENTRY);
            self.draft.extend_from_slice(b"\" ");
            string_out(&mut self.draft, &server, LiteralStyle::Synchronising);
            self.draft.extend_from_slice(b")\r\n");
        }
        if !self.request.rest.is_empty() {
            let patterns = self.walk.patterns().iter().enumerate();
            let matching = patterns.filter(|(_, pattern)| pattern.matches(name)).map(|(at, _)| at);
            self.servers.entry(server).or_default().extend(matching);
        }
    }

    fn ask_servers(&mut self, cx: &Context<'_>) {
        self.flush();
        self.servers.retain(|server, _| !self.asked.contains(server));
        self.asked.extend(self.servers.keys().cloned());
        if self.servers.is_empty() {
            return self.finish_held(cx);
        }
        self.held = None;
        let request = &self.request;
        let command = |pattern: usize| {
            let mut command = [&request.verb, &b" "[..]].concat();
            astring_out_as(&mut command, &request.patterns[pattern], LiteralStyle::NonSynchronising);
            [&command, &b" "[..], &request.rest, b"\r\n"].concat()
        };
        let servers = std::mem::take(&mut self.servers).into_iter();
        let questions = servers.map(|(server, of)| (server, of.into_iter().map(command).collect())).collect();
        let fan = Fan::new(questions, Offer::default(), Wanted::All, cx, &mut self.agenda);
        self.phase = GatherPhase::Fanning(Box::new(fan));
    }

    /// All servers have answered: what one refused or could not tell is a NO.
    fn poll_end(&mut self, cx: &Context<'_>) {
        let GatherPhase::Fanning(fan) = &mut self.phase else { return };
        let Some(harvest) = fan.poll_end() else { return };
        match (harvest.refusal, harvest.missing.first()) {
            (Some(text), _) if is_elsewhere(&text) && !self.has_looked_again => self.look_again(&text, cx),
            (Some(text), _) => self.finish(cx, &[b"NO ", &*text].concat()),
            (None, Some(server)) => {
                self.finish(cx, &[b"NO [UNAVAILABLE] no answer of server ", &**server].concat());
            }
            (None, None) => match harvest.long_entries {
                Some(bytes) => {
                    let text = format!("OK [METADATA LONGENTRIES {bytes}] Completed");
                    self.finish(cx, text.as_bytes());
                }
                None => self.finish(cx, b"OK Completed"),
            },
        }
    }

    fn look_again(&mut self, text: &[u8], cx: &Context<'_>) {
        self.has_looked_again = true;
        self.held = Some([b"NO ", text].concat());
        self.request.tells_server = false;
        *self.walk = walk(&self.request.patterns, &cx.config.namespace, cx.identity);
        self.agenda.want(Want::Barrier);
        self.phase = GatherPhase::ExpectBarrier;
    }

    fn finish_held(&mut self, cx: &Context<'_>) {
        let result = self.held.take().unwrap_or_else(|| b"OK Completed".to_vec());
        self.finish(cx, &result);
    }

    fn flush(&mut self) {
        if !self.draft.is_empty() {
            self.agenda.reply(std::mem::take(&mut self.draft));
        }
    }

    fn finish(&mut self, cx: &Context<'_>, result: &[u8]) {
        self.agenda.finish(cx, result);
        self.phase = GatherPhase::Over;
    }
}

fn walk(patterns: &[Box<[u8]>], namespace: &Arc<Namespace>, who: &Arc<Identity>) -> Walk {
    let patterns = patterns.iter().map(|pattern| Pattern::new(b"", pattern, namespace.separator)).collect();
    Walk::new(patterns, Arc::clone(namespace), Arc::clone(who), Dav::Shown)
}

impl Task for Gather {
    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, _now: Instant) {
        match (&mut self.phase, news) {
            (GatherPhase::ExpectFound, News::Found(finding)) => match located(finding) {
                Ok(_) => self.next_page(cx),
                Err(refusal) => self.finish(cx, refusal),
            },
            (GatherPhase::ExpectBarrier, News::Barrier(result)) => match result {
                Ok(()) => self.next_page(cx),
                Err(_) => self.finish_held(cx),
            },
            (GatherPhase::ExpectPage, News::Page(page)) => self.handle_page(page, cx),
            (GatherPhase::ExpectDrained, News::Drained(Side::Client)) => self.write_rows(cx),
            (GatherPhase::Fanning(fan), news) => {
                fan.handle_news(news, cx, &mut self.agenda);
                self.poll_end(cx);
            }
            (
                GatherPhase::Start
                | GatherPhase::ExpectFound
                | GatherPhase::ExpectBarrier
                | GatherPhase::ExpectPage
                | GatherPhase::ExpectDrained
                | GatherPhase::Over,
                _,
            ) => {}
        }
    }

    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, _now: Instant) -> Line {
        let Side::Backend(backend) = from else { return Line::Hold };
        let GatherPhase::Fanning(fan) = &mut self.phase else { return aside_of(backend, line, cx) };
        let verdict = fan.handle_line(backend, line, cx, &mut self.agenda);
        self.poll_end(cx);
        verdict
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        if matches!(self.phase, GatherPhase::Start) {
            self.start(cx);
        }
        self.agenda.poll(out)
    }
}
