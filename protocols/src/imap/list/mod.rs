//! LIST, RLIST and XLIST: answered from the mailbox list, page by page (RFC 9051 section 6.3.9, RFC 5258).
//!
//! ```text
//!  Start ──subscriptions, special uses──> ExpectHome ──> ExpectSubscriptions ──> ExpectSpecialUses
//!    │                                        └──────────away─────┴──> ExpectCopy <──away───┤
//!    └──────────> ExpectPage <────────────────────────────────────────────┴─────────────────┘
//!                 │  ^    └──rows, some on servers not asked──> ExpectOther ──> ExpectOtherUses
//!                 │  └──── ExpectDrained <──────rows are written─────┴─────────────────┘
//!                 └──no more──> Fanning ──> Over
//! ```
//! Rows come from the list alone, so a dead backend never shortens the answer. What only backends know
//! is asked of them: subscriptions and special uses of the user's home before the rows, special uses of
//! other servers before the first row of his own that lies there, STATUS and METADATA of every server of a
//! row behind them, from all at once. Where the home is away, what it told last stands in.

pub(super) mod fan;
mod home;
mod options;
mod plan;
mod row;
pub(super) mod singly;
#[cfg(test)]
mod tests;
pub(super) mod walk;
pub(super) mod wanted;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::agenda::{Agenda, aside_of, home_news, result_line, seek_home};
use super::grammar::{ListArgs, Status};
use super::task::{Context, Line, News, Task, Want};
use crate::imap::answers::UNAVAILABLE;
use crate::mailbox::Pattern;
use crate::proxy::{AUTHORED_BYTES_MAX, BackendId, Instant, Knowledge, ListPage, Side};

use fan::{Fan, Harvest};
use options::Options;
use row::{Judge, Told};
use walk::{Dav, Deleted, Row, Walk};
use wanted::Wanted;

pub use options::Word;

/// Bytes of the names of a user's subscriptions that one LIST holds.
pub const SUBSCRIPTION_BYTES_MAX: usize = 1024 * 1024;

/// Parents that are no mailboxes, kept for one LIST.
const PARENTS_MAX: usize = 1000;

/// LIST, RLIST or XLIST.
#[derive(Debug)]
pub struct ListTask {
    options: Options,
    reference: Box<[u8]>,
    patterns: Vec<Box<[u8]>>,
    dav: Dav,
    deleted: Deleted,
    phase: Phase,
    agenda: Agenda,
    /// Special uses are told: asked for, or `specialusealways`.
    tells_special: bool,
    told: Told,
    told_bytes: usize,
    /// The home told all subscriptions.
    is_told_subscriptions: bool,
    /// Servers that are not asked for special uses any more.
    asked: BTreeSet<Box<[u8]>>,
    /// Servers beside the home that have mailboxes of the user, to be asked before the rows go on.
    others: VecDeque<Box<[u8]>>,
    /// The home is away, and stands as it was last.
    recalled: Option<Box<[u8]>>,
    walk: Option<Walk>,
    rows: VecDeque<Row>,
    /// Written, not sent: what is waited for goes out as one, so that the driver tells when it is gone.
    draft: Vec<u8>,
    knowledge: Knowledge,
    /// Subscribed names that had a row.
    seen: BTreeSet<Box<[u8]>>,
    /// Subscribed names without a row that were just told.
    orphans: Vec<Box<[u8]>>,
    /// Rows that were shown, where a row is owed to a parent without one (RFC 5258 section 3.5).
    shown: BTreeSet<Box<[u8]>>,
    /// Rows that are no mailboxes: a Cyrus backend tells a STATUS of `user` nevertheless.
    parents: BTreeSet<Box<[u8]>>,
    /// Servers of the rows.
    servers: BTreeSet<Box<[u8]>>,
    /// Servers that did not answer.
    missing: Vec<Box<[u8]>>,
}

#[derive(Debug)]
enum Phase {
    Start,
    ExpectHome,
    ExpectSubscriptions(BackendId),
    ExpectSpecialUses(BackendId),
    ExpectCopy,
    ExpectPage,
    /// A connection to another server with mailboxes of the user.
    ExpectOther(Box<[u8]>),
    ExpectOtherUses(BackendId),
    /// Rows wait until the client has taken what was authored.
    ExpectDrained,
    Fanning(Box<Fan>),
    Over,
}

impl ListTask {
    /// Begins a command; `args` as parsed by [`super::grammar::list_args`].
    pub fn new(word: Word, args: &ListArgs<'_>) -> ListTask {
        ListTask {
            options: Options::new(word, args),
            reference: args.reference.as_ref().into(),
            patterns: args.patterns.iter().map(|pattern| pattern.as_ref().into()).collect(),
            dav: if args.selection.dav { Dav::Shown } else { Dav::Hidden },
            deleted: if args.selection.deleted { Deleted::Shown } else { Deleted::Hidden },
            phase: Phase::Start,
            agenda: Agenda::default(),
            tells_special: false,
            told: Told::default(),
            told_bytes: 0,
            is_told_subscriptions: false,
            asked: BTreeSet::new(),
            others: VecDeque::new(),
            recalled: None,
            walk: None,
            rows: VecDeque::new(),
            draft: Vec::new(),
            knowledge: Knowledge::Stale,
            seen: BTreeSet::new(),
            orphans: Vec::new(),
            shown: BTreeSet::new(),
            parents: BTreeSet::new(),
            servers: BTreeSet::new(),
            missing: Vec::new(),
        }
    }

    fn start(&mut self, cx: &Context<'_>) {
        let separator = cx.config.namespace.separator;
        if let ([pattern], false) = (self.patterns.as_slice(), self.options.extended)
            && pattern.is_empty()
        {
            let word = if self.options.word == Word::List { "LIST" } else { "XLIST" };
            let root = format!("* {word} (\\Noselect) \"{}\" \"\"\r\n", char::from(separator));
            self.agenda.reply(root.into_bytes());
            return self.finish(cx, b"OK Completed");
        }
        let policy = &cx.config.commands;
        let patterns = self.patterns.iter().filter(|pattern| !pattern.is_empty()).map(|pattern| {
            // As on Cyrus, a pattern that begins with a separator is below the reference all the same.
            let is_alone = policy.ignore_reference && pattern.first() != Some(&separator);
            let reference: &[u8] = if is_alone { b"" } else { &self.reference };
            let is_all = reference.is_empty() && **pattern == *b"*" && !self.options.extended;
            Pattern::new(
                reference,
                if is_all && policy.fool_stupid_clients { b"INBOX*" } else { pattern },
                separator,
            )
        });
        let patterns = patterns.collect();
        let walk = Walk::new(patterns, Arc::clone(&cx.config.namespace), Arc::clone(cx.identity), self.dav)
            .with_deleted(self.deleted);
        let is_always = policy.special_use_always && !cx.identity.is_admin;
        self.tells_special = self.options.wants_special() || (is_always && walk.reads_own());
        self.walk = Some(walk);
        if self.options.returns_subscribed() || self.tells_special {
            self.phase = Phase::ExpectHome;
            seek_home(cx, &mut self.agenda);
        } else {
            self.next_page(cx);
        }
    }

    /// Goes on with the list: the next page, or what stands behind the rows.
    fn next_page(&mut self, cx: &Context<'_>) {
        match self.walk.as_ref().and_then(Walk::poll_query) {
            Some(query) => {
                self.agenda.want(Want::Page(query));
                self.phase = Phase::ExpectPage;
            }
            None => self.end_rows(cx),
        }
    }

    fn handle_page(&mut self, page: &ListPage, cx: &Context<'_>) {
        self.knowledge = page.knowledge;
        if page.knowledge == Knowledge::NeverSynced {
            return self.finish(cx, UNAVAILABLE);
        }
        if let Some(walk) = &mut self.walk {
            walk.handle_page(page, &mut self.rows);
        }
        self.seek_others(cx);
    }

    /// Writes rows until the bound is reached or there are none.
    fn write_rows(&mut self, cx: &Context<'_>) {
        while self.draft.len() < CHUNK_BYTES {
            let Some(row) = self.rows.pop_front() else { return self.next_page(cx) };
            let mut draft = std::mem::take(&mut self.draft);
            self.write_row(&row, cx, &mut draft);
            self.draft = draft;
        }
        self.flush();
        self.phase = Phase::ExpectDrained;
    }

    fn write_row(&mut self, row: &Row, cx: &Context<'_>, out: &mut Vec<u8>) {
        let Some(walk) = &self.walk else { return };
        let matches = |name: &[u8]| walk.matches(name);
        let judge = Judge { options: &self.options, told: &self.told, config: cx.config, matches: &matches };
        if self.options.selection.subscribed && self.told.subscribed.contains(&row.name) {
            self.seen.insert(row.name.clone());
        }
        let Some(child_info) = judge.child_info(row) else { return };
        judge.write(row, &child_info, out);
        if self.options.owes_parents() && self.shown.len() < PARENTS_MAX {
            self.shown.insert(row.name.clone());
        }
        match &row.mailbox {
            _ if !self.options.asks_servers() => {}
            Some(mailbox) => self.servers.extend(mailbox.server.clone()),
            None if self.parents.len() < PARENTS_MAX => drop(self.parents.insert(row.name.clone())),
            None => {}
        }
    }

    /// All names of the list are through: subscriptions to what is not in it, then the servers.
    fn end_rows(&mut self, cx: &Context<'_>) {
        if let Some(walk) = &self.walk
            && self.options.selection.subscribed
            && !self.options.selection.special_use
        {
            let matches = |name: &[u8]| walk.matches(name);
            let judge =
                Judge { options: &self.options, told: &self.told, config: cx.config, matches: &matches };
            for name in self.told.subscribed.difference(&self.seen) {
                if !walk.matches(name) || !walk.lists(name) {
                    continue;
                }
                if self.draft.len() >= CHUNK_BYTES {
                    break;
                }
                judge.write_orphan(name, self.knowledge, &mut self.draft);
                self.orphans.push(name.clone());
            }
        }
        self.seen.extend(self.orphans.drain(..));
        self.write_owed_parents(cx);
        let is_full = self.draft.len() >= CHUNK_BYTES;
        self.flush();
        if is_full {
            self.phase = Phase::ExpectDrained;
        } else {
            self.ask_servers(cx);
        }
    }

    /// Tells of names above a subscription that have no row and match where it does not: "the server MUST
    /// ... return a LIST response" for them (RFC 5258 section 3.5).
    fn write_owed_parents(&mut self, cx: &Context<'_>) {
        let Some(walk) = self.walk.as_ref().filter(|_| self.options.owes_parents()) else { return };
        let matches = |name: &[u8]| walk.matches(name);
        let judge = Judge { options: &self.options, told: &self.told, config: cx.config, matches: &matches };
        for name in self.told.subscribed.iter().filter(|name| !walk.matches(name) && walk.lists(name)) {
            for at in memchr::memchr_iter(cx.config.namespace.separator, name) {
                let parent = &name[..at];
                let is_told = self.shown.contains(parent) || self.told.subscribed.contains(parent);
                if is_told || !walk.matches(parent) || self.shown.len() >= PARENTS_MAX {
                    continue;
                }
                if self.draft.len() >= CHUNK_BYTES {
                    return;
                }
                judge.write_owed(parent, self.knowledge, &mut self.draft);
                self.shown.insert(parent.into());
            }
        }
    }

    /// Asks the servers of the rows for what only they know.
    fn ask_servers(&mut self, cx: &Context<'_>) {
        let servers = std::mem::take(&mut self.servers);
        if servers.is_empty() {
            return self.complete(cx);
        }
        let patterns = self.walk.as_ref().map_or(&[][..], Walk::patterns);
        let commands = self.options.commands(patterns);
        let singly = self.options.singly(patterns);
        let wanted = if self.options.selection.subscribed {
            Wanted::Only(std::mem::take(&mut self.told.subscribed))
        } else {
            Wanted::Matching { patterns: patterns.to_vec(), but: std::mem::take(&mut self.parents) }
        };
        let questions = servers.into_iter().map(|server| (server, commands.clone())).collect();
        let fan = Fan::new(questions, self.options.needs(), wanted, cx, &mut self.agenda).or_singly(singly);
        let fan = if self.options.ids_apart { fan.with_ids_apart() } else { fan };
        self.phase = Phase::Fanning(Box::new(fan));
    }

    /// All servers have answered, or are given up. What all of them call malformed is.
    fn handle_harvest(&mut self, harvest: Harvest, cx: &Context<'_>) {
        match harvest.malformed {
            Some(text) => self.finish(cx, &result_line(Status::Bad, &text)),
            None => {
                self.missing.extend(harvest.missing);
                self.complete(cx);
            }
        }
    }

    /// ```text
    /// tag OK Completed[ with what server ... told last][ without data of server ...]
    /// ```
    fn complete(&mut self, cx: &Context<'_>) {
        let mut result = b"OK Completed".to_vec();
        if let Some(home) = &self.recalled {
            result.extend_from_slice(b" with what server ");
            result.extend_from_slice(home);
            result.extend_from_slice(b" told last");
        }
        for (n, server) in self.missing.iter().enumerate() {
            result.extend_from_slice(if n == 0 { b" without data of server " } else { b", " });
            result.extend_from_slice(server);
        }
        self.finish(cx, &result);
    }

    fn flush(&mut self) {
        if !self.draft.is_empty() {
            self.agenda.reply(std::mem::take(&mut self.draft));
        }
    }

    fn finish(&mut self, cx: &Context<'_>, result: &[u8]) {
        self.flush();
        self.agenda.finish(cx, result);
        self.phase = Phase::Over;
    }
}

/// Bytes that one row can have: two lines with the longest name, all of it escaped, and attributes.
const ROW_BYTES_MAX: usize = 5 * 1024;

/// Bytes after which the client must have taken what was written before there is more.
pub(super) const CHUNK_BYTES: usize = AUTHORED_BYTES_MAX - ROW_BYTES_MAX;

impl Task for ListTask {
    /// Rows stand in the list; special uses of a home that is on its way are the last known.
    fn waits_for_moves(&self) -> bool {
        self.options.returns_subscribed()
    }

    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, _now: Instant) {
        if matches!((&self.phase, &news), (Phase::ExpectDrained, News::Drained(Side::Client))) {
            return self.write_rows(cx);
        }
        match (&mut self.phase, news) {
            (Phase::ExpectHome, news) => {
                if let Some(home) = home_news(news, cx, &mut self.agenda) {
                    self.handle_home(home, cx);
                }
            }
            (Phase::ExpectSubscriptions(home) | Phase::ExpectSpecialUses(home), News::Lost(lost))
                if *home == lost =>
            {
                self.recall();
            }
            (Phase::ExpectSubscriptions(home) | Phase::ExpectSpecialUses(home), News::Time) => {
                let home = *home;
                self.home_is_slow(home, cx);
            }
            (Phase::ExpectOther(_), News::Backend(Ok(backend))) => {
                self.ask_other(backend, cx);
            }
            (Phase::ExpectOther(server), News::Backend(Err(_))) => {
                let server = std::mem::take(server);
                self.other_is_away(Some(server), cx);
            }
            (Phase::ExpectOtherUses(at), News::Lost(lost)) if *at == lost => {
                self.other_is_away(cx.server(lost).map(Box::from), cx);
            }
            (Phase::ExpectOtherUses(at), News::Time)
                if cx.selected.is_none_or(|selected| selected.backend != *at) =>
            {
                let at = *at;
                self.agenda.want(Want::Abandon(at));
                self.other_is_away(cx.server(at).map(Box::from), cx);
            }
            (Phase::ExpectCopy, News::Kept(copy)) => self.handle_copy(copy, cx),
            (Phase::ExpectPage, News::Page(page)) => self.handle_page(page, cx),
            (Phase::Fanning(fan), news) => {
                fan.handle_news(news, cx, &mut self.agenda);
                if let Some(harvest) = fan.poll_end() {
                    self.handle_harvest(harvest, cx);
                }
            }
            (
                Phase::Start
                | Phase::ExpectSubscriptions(_)
                | Phase::ExpectSpecialUses(_)
                | Phase::ExpectCopy
                | Phase::ExpectPage
                | Phase::ExpectOther(_)
                | Phase::ExpectOtherUses(_)
                | Phase::ExpectDrained
                | Phase::Over,
                _,
            ) => {}
        }
    }

    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, _now: Instant) -> Line {
        let Side::Backend(backend) = from else { return Line::Hold };
        match &mut self.phase {
            Phase::ExpectSubscriptions(home) if *home == backend => {
                self.handle_subscription(backend, line, cx)
            }
            Phase::ExpectSpecialUses(home) if *home == backend => self.handle_special_use(backend, line, cx),
            Phase::ExpectOtherUses(at) if *at == backend => self.handle_other_line(backend, line, cx),
            Phase::Fanning(fan) => {
                let verdict = fan.handle_line(backend, line, cx, &mut self.agenda);
                if let Some(harvest) = fan.poll_end() {
                    self.handle_harvest(harvest, cx);
                }
                verdict
            }
            Phase::Start
            | Phase::ExpectHome
            | Phase::ExpectSubscriptions(_)
            | Phase::ExpectSpecialUses(_)
            | Phase::ExpectCopy
            | Phase::ExpectPage
            | Phase::ExpectOther(_)
            | Phase::ExpectOtherUses(_)
            | Phase::ExpectDrained
            | Phase::Over => aside_of(backend, line, cx),
        }
    }

    fn reword(&mut self, out: &mut Vec<u8>) {
        if let Phase::Fanning(fan) = &mut self.phase {
            fan.reword(out);
        }
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        if matches!(self.phase, Phase::Start) {
            self.start(cx);
        }
        self.agenda.poll(out)
    }
}
