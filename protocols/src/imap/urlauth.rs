//! URLAUTH (RFC 4467): URLs name this frontend, their keys lie on the servers of their mailboxes.
//!
//! A URL goes to its mailbox's server with that server's name in it, and comes back with the name that
//! the client gave, so that a token made for one is good for the other.
//!
//! ```text
//!  Next url ──its mailbox──> Route ──> ExpectReply ──OK──> Next url ... ──> tagged OK
//!     └── no URL of ours: NIL, or NO ──^      └──NO, lost: NIL, or NO
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::agenda::{Agenda, aside_of, is_partial, result_of, server_of};
use super::answers::{UNAVAILABLE, UNREACHABLE};
use super::grammar::url::ImapUrl;
use super::grammar::{FetchedUrl, Status};
use super::route::{Arrival, Route};
use super::task::{Context, Line, News, Task, Want};
use crate::login::desk::host_of;
use crate::mailbox::{Identity, Spelling, utf7};
use crate::proxy::{BackendId, Instant, Knowledge, ListPage, ListQuery, Reserved, Side};
use crate::wire::Cursor;
use crate::wire::LiteralStyle;
use crate::wire::cursor::Bytes;
use crate::wire::quote::string_out;

const BAD_URL: &[u8] = b"NO [BADURL] the URL names no mailbox that this server can authorize";
const NO_KEY: &[u8] = b"NO [UNAVAILABLE] the server of the mailbox cannot be reached";

/// URLFETCH or GENURLAUTH.
pub(super) struct UrlTask {
    what: What,
    waiting: VecDeque<Item>,
    /// The URL that is on its way, and as its server knows it.
    current: Option<(Item, Vec<u8>)>,
    /// Its number, for tags of ours.
    number: u32,
    step: Step,
    /// What GENURLAUTH will tell.
    made: Vec<u8>,
    /// What stands in the place of the front of the line that is being passed on.
    reworded: Vec<u8>,
    /// A line of the current URL was passed on.
    is_told: bool,
    agenda: Agenda,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Fetch,
    Generate,
}

struct Item {
    /// As typed.
    url: Vec<u8>,
    /// URLFETCH: parameters in parentheses. GENURLAUTH: the mechanism.
    more: Option<Vec<u8>>,
}

enum Step {
    Next,
    Routing(Box<Route>),
    ExpectReply(BackendId),
    Over,
}

impl UrlTask {
    /// URLFETCH.
    pub(super) fn fetch(urls: Vec<FetchedUrl<'_>>) -> UrlTask {
        let items = urls.into_iter().map(|fetched| Item {
            url: fetched.url.into_owned(),
            more: fetched.parameters.map(<[u8]>::to_vec),
        });
        UrlTask::new(What::Fetch, items.collect())
    }

    /// GENURLAUTH.
    pub(super) fn generate(urls: Vec<(Bytes<'_>, &[u8])>) -> UrlTask {
        let items = urls.into_iter();
        let items =
            items.map(|(url, mechanism)| Item { url: url.into_owned(), more: Some(mechanism.to_vec()) });
        UrlTask::new(What::Generate, items.collect())
    }

    fn new(what: What, waiting: VecDeque<Item>) -> UrlTask {
        UrlTask {
            what,
            waiting,
            current: None,
            number: 0,
            step: Step::Next,
            made: Vec::new(),
            reworded: Vec::new(),
            is_told: false,
            agenda: Agenda::default(),
        }
    }

    fn next(&mut self, cx: &Context<'_>) {
        let Some(item) = self.waiting.pop_front() else { return self.finish(cx) };
        self.number += 1;
        self.is_told = false;
        match ImapUrl::parse(&item.url).and_then(|url| internal(&url, cx)) {
            Some(name) => {
                self.step = Step::Routing(Box::new(Route::to(name)));
                self.current = Some((item, Vec::new()));
            }
            None => {
                self.current = Some((item, Vec::new()));
                self.fail(BAD_URL, cx);
            }
        }
    }

    fn finish(&mut self, cx: &Context<'_>) {
        if self.what == What::Generate {
            self.agenda.reply([b"* GENURLAUTH", self.made.as_slice(), b"\r\n"].concat());
        }
        self.agenda.finish(cx, b"OK Completed");
        self.step = Step::Over;
    }

    /// The current URL cannot be had: NIL says so where that is an answer.
    fn fail(&mut self, refusal: &[u8], cx: &Context<'_>) {
        let Some((item, _)) = self.current.take() else { return };
        match self.what {
            What::Fetch => {
                if !self.is_told {
                    let mut line = b"* URLFETCH ".to_vec();
                    string_out(&mut line, &item.url, LiteralStyle::Synchronising);
                    line.extend_from_slice(b" NIL\r\n");
                    self.agenda.reply(line);
                }
                self.step = Step::Next;
            }
            What::Generate => {
                self.agenda.finish(cx, refusal);
                self.step = Step::Over;
            }
        }
    }

    fn arrive(&mut self, arrival: &Arrival, cx: &Context<'_>) {
        let (Arrival::At(id), Some((item, sent))) = (arrival, &mut self.current) else {
            let refusal = if matches!(arrival, Arrival::Unavailable(_)) { NO_KEY } else { BAD_URL };
            return self.fail(refusal, cx);
        };
        let server = cx.server(*id).unwrap_or_default();
        let server = server.split(|byte| *byte == b'/').next().unwrap_or_default();
        let Some(url) = ImapUrl::parse(&item.url) else { return self.fail(BAD_URL, cx) };
        *sent = url.at_server(server);
        let mut line = Vec::new();
        cx.own_tag(self.number, &mut line);
        let mut quoted = Vec::new();
        string_out(&mut quoted, sent, LiteralStyle::NonSynchronising);
        let more = item.more.as_deref();
        match (self.what, more) {
            (What::Fetch, None) => {
                [&b" URLFETCH "[..], &quoted, b"\r\n"].map(|part| line.extend_from_slice(part))
            }
            (What::Fetch, Some(more)) => {
                line.extend_from_slice(b" URLFETCH (");
                [&quoted[..], more, b")\r\n"].map(|part| line.extend_from_slice(part))
            }
            (What::Generate, more) => {
                line.extend_from_slice(b" GENURLAUTH ");
                line.extend_from_slice(&quoted);
                [&b" "[..], more.unwrap_or(b"INTERNAL"), b"\r\n"].map(|part| line.extend_from_slice(part))
            }
        };
        self.agenda.send(*id, line);
        self.step = Step::ExpectReply(*id);
    }

    fn handle_reply_line(&mut self, backend: BackendId, line: &[u8], cx: &Context<'_>) -> Line {
        let mut tag = Vec::new();
        cx.own_tag(self.number, &mut tag);
        if let Some((status, _)) = result_of(line, &tag) {
            match (status, self.current.is_none() || self.is_told) {
                (Status::Ok, true) => self.step = Step::Next,
                (Status::Ok | Status::No | Status::Bad, _) => self.fail(BAD_URL, cx),
            }
            return Line::Drop;
        }
        if self.what == What::Generate && is_partial(line) {
            return Line::Whole;
        }
        let told = match self.what {
            What::Fetch => self.handle_fetched(line),
            What::Generate => self.handle_generated(line),
        };
        told.unwrap_or_else(|| aside_of(backend, line, cx))
    }

    /// `* URLFETCH url data`: the URL is told as the client gave it.
    fn handle_fetched(&mut self, line: &[u8]) -> Option<Line> {
        let (item, _) = self.current.as_ref()?;
        let data = behind_word(line, b"URLFETCH ")?;
        let mut cursor = Cursor::new(data);
        cursor.astring().ok()?;
        self.reworded = b"* URLFETCH ".to_vec();
        string_out(&mut self.reworded, &item.url, LiteralStyle::Synchronising);
        self.is_told = true;
        Some(Line::Reworded(line.len() - data.len() + cursor.position()))
    }

    /// `* GENURLAUTH url`: the token goes behind the URL as the client gave it.
    fn handle_generated(&mut self, line: &[u8]) -> Option<Line> {
        let (item, sent) = self.current.as_ref()?;
        let data = behind_word(line, b"GENURLAUTH ")?;
        let url = Cursor::new(data).astring().ok()?;
        let token = url.strip_prefix(sent.as_slice())?;
        self.made.push(b' ');
        string_out(&mut self.made, &[&item.url, token].concat(), LiteralStyle::Synchronising);
        self.is_told = true;
        Some(Line::Drop)
    }
}

/// What stands behind `* WORD `.
fn behind_word<'a>(line: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(b"* ")?;
    rest.get(..word.len()).filter(|begin| begin.eq_ignore_ascii_case(word)).map(|_| &rest[word.len()..])
}

/// The internal name of the mailbox of a URL that names this frontend or one of its servers.
fn internal(url: &ImapUrl<'_>, cx: &Context<'_>) -> Option<Vec<u8>> {
    let server = std::str::from_utf8(url.server).ok()?;
    let is_ours = |name: &str| host_of(name).eq_ignore_ascii_case(host_of(server));
    if !is_ours(&cx.config.servername) && !cx.config.serverlist.iter().any(|name| is_ours(name)) {
        return None;
    }
    let owner = match &url.user {
        Some(user) => Identity { user: user.as_ref().into(), ..Identity::default() },
        // What follows is spelled here, whatever the client spells.
        None => Identity { spelling: Spelling::Utf7, ..(**cx.identity).clone() },
    };
    let typed = utf7::from_utf8(&url.mailbox).ok()?;
    cx.config.namespace.internal(&typed, &owner).ok()
}

impl Task for UrlTask {
    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, _now: Instant) {
        match (&mut self.step, news) {
            (Step::Routing(route), news) => {
                if let Some(arrival) = route.handle_news(&news, cx) {
                    self.arrive(&arrival, cx);
                }
            }
            (Step::ExpectReply(at), News::Lost(lost)) if *at == lost => self.fail(NO_KEY, cx),
            _ => {}
        }
    }

    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, _now: Instant) -> Line {
        match (&self.step, from) {
            (Step::ExpectReply(at), Side::Backend(id)) if *at == id => self.handle_reply_line(id, line, cx),
            (_, Side::Backend(id)) => aside_of(id, line, cx),
            (_, Side::Client) => Line::Hold,
        }
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        loop {
            if let Some(want) = self.agenda.poll(out) {
                return Some(want);
            }
            match &mut self.step {
                Step::Next => self.next(cx),
                Step::Routing(route) => return route.poll_want(),
                Step::ExpectReply(_) | Step::Over => return None,
            }
        }
    }

    fn reword(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.reworded);
    }
}

/// RESETKEY without a mailbox: every server that has one of the user's.
pub(super) struct ResetKeys {
    phase: Phase,
    servers: BTreeSet<Vec<u8>>,
    agenda: Agenda,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Start,
    ExpectPage,
    ExpectBackend,
    ExpectReply(BackendId),
    Over,
}

impl ResetKeys {
    pub(super) fn new() -> ResetKeys {
        ResetKeys { phase: Phase::Start, servers: BTreeSet::new(), agenda: Agenda::default() }
    }

    fn ask(&mut self, after: Box<[u8]>, cx: &Context<'_>) {
        let query = ListQuery {
            after,
            prefix: cx.config.namespace.inbox(&cx.identity.user).into(),
            visible_to: Some(Arc::clone(cx.identity)),
            reserved: Reserved::Hidden,
        };
        self.agenda.want(Want::Page(query));
        self.phase = Phase::ExpectPage;
    }

    fn handle_page(&mut self, page: &ListPage, cx: &Context<'_>) {
        if page.knowledge == Knowledge::NeverSynced {
            return self.finish(UNAVAILABLE, cx);
        }
        let servers = page.entries.iter().filter_map(|row| server_of(&row.entry, cx));
        self.servers.extend(servers.map(<[u8]>::to_vec));
        match &page.next {
            Some(after) => self.ask(after.clone(), cx),
            None => self.next(cx),
        }
    }

    fn next(&mut self, cx: &Context<'_>) {
        match self.servers.pop_first() {
            Some(server) => {
                self.agenda.want(Want::Backend { server });
                self.phase = Phase::ExpectBackend;
            }
            None => self.finish(b"OK All keys removed", cx),
        }
    }

    fn finish(&mut self, result: &[u8], cx: &Context<'_>) {
        self.agenda.finish(cx, result);
        self.phase = Phase::Over;
    }
}

impl Task for ResetKeys {
    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, _now: Instant) {
        match (self.phase, news) {
            (Phase::ExpectPage, News::Page(page)) => self.handle_page(page, cx),
            (Phase::ExpectBackend, News::Backend(Ok(id))) => {
                let mut line = Vec::new();
                cx.own_tag(0, &mut line);
                line.extend_from_slice(b" RESETKEY\r\n");
                self.agenda.send(id, line);
                self.phase = Phase::ExpectReply(id);
            }
            (Phase::ExpectBackend, News::Backend(Err(_))) => self.finish(UNREACHABLE, cx),
            (Phase::ExpectReply(id), News::Lost(lost)) if id == lost => self.finish(UNREACHABLE, cx),
            _ => {}
        }
    }

    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, _now: Instant) -> Line {
        let Side::Backend(id) = from else { return Line::Hold };
        let mut tag = Vec::new();
        cx.own_tag(0, &mut tag);
        match (self.phase, result_of(line, &tag)) {
            (Phase::ExpectReply(at), Some((status, text))) if at == id => {
                match status {
                    Status::Ok => self.next(cx),
                    Status::No | Status::Bad => self.finish(&[b"NO ", text].concat(), cx),
                }
                Line::Drop
            }
            _ => aside_of(id, line, cx),
        }
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        if self.phase == Phase::Start {
            self.ask(Box::default(), cx);
        }
        self.agenda.poll(out)
    }
}
