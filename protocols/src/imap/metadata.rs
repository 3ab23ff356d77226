//! GETMETADATA, SETMETADATA (RFC 5464), GETANNOTATION and SETANNOTATION: annotations are kept by the
//! servers of the mailboxes, and so these commands are theirs.
//!
//! ```text
//!  one mailbox ──────> its server, answer relayed (Routed)
//!  pattern, several ─> Gather: every server with a mailbox that matches gets the command once; what it
//!                      tells is relayed, what it refuses is told in the tagged answer
//!  "" (the server) ──> Global: the user's home; for who has none the first server of `serverlist`
//! ```
//! Deviates: a Cyrus frontend keeps server annotations of its own. This one keeps nothing: a user reads
//! and writes those of his home, where a session of his at the backend itself finds them too.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::agenda::{
    Agenda, DENIED, Home, SERVER_UNAVAILABLE, UNAVAILABLE, aside_of, home_news, result_of, seek_home,
};
use super::backend::Offer;
use super::folder::on_mailbox;
use super::grammar::args::{AnnotationArgs, Depth, GetMetadataArgs, SetMetadataArgs};
use super::list::fan::Fan;
use super::list::walk::{Dav, Walk};
use super::route::Effect;
use super::task::{Context, Line, News, Task, Want};
use crate::mailbox::{Identity, Namespace, Pattern};
use crate::proxy::{BackendId, Instant, Knowledge, ListPage, Side};
use crate::wire::quote::astring_out_as;
use crate::wire::{LiteralStyle, line, literal};

/// Who asks, and how names look to him.
pub(super) struct Scope<'a> {
    pub(super) namespace: &'a Arc<Namespace>,
    pub(super) identity: &'a Arc<Identity>,
}

/// A task, or what the client is told at once.
type Begun = Result<Box<dyn Task>, &'static [u8]>;

/// GETMETADATA.
pub(super) fn get(args: &GetMetadataArgs<'_>, scope: &Scope<'_>) -> Begun {
    let mut options = Vec::new();
    if let Some(max) = args.max_size {
        options.push(format!("MAXSIZE {max}"));
    }
    match args.depth {
        Depth::Entry => {}
        Depth::Children => options.push("DEPTH 1".to_owned()),
        Depth::Infinity => options.push("DEPTH infinity".to_owned()),
    }
    let verb = match options.is_empty() {
        true => "GETMETADATA".to_owned(),
        false => format!("GETMETADATA ({})", options.join(" ")),
    };
    let rest = strings(&args.entries);
    if let [mailbox] = args.mailboxes.as_slice() {
        return one(verb.as_bytes(), mailbox, &rest, Effect::Reads, scope);
    }
    Ok(Box::new(Gather::new(verb.as_bytes(), &args.mailboxes, &rest, scope)))
}

/// SETMETADATA. The mailbox is a name, never a pattern.
pub(super) fn set(args: &SetMetadataArgs<'_>, scope: &Scope<'_>) -> Begun {
    let rest = without_waiting(args.raw);
    if args.mailbox.is_empty() {
        return Ok(Box::new(Global::new(b"SETMETADATA", &rest, Effect::Writes)));
    }
    let name = internal(&args.mailbox, scope)?;
    Ok(on_mailbox(b"SETMETADATA", name, &args.mailbox, &[&rest], Effect::Writes))
}

/// GETANNOTATION or SETANNOTATION; `verb` says which.
pub(super) fn annotation(verb: &[u8], args: &AnnotationArgs<'_>, scope: &Scope<'_>) -> Begun {
    let effect = if verb.eq_ignore_ascii_case(b"GETANNOTATION") { Effect::Reads } else { Effect::Writes };
    one(verb, &args.mailbox, &without_waiting(args.rest), effect, scope)
}

/// A command about the server, a mailbox or a pattern.
fn one(verb: &[u8], mailbox: &[u8], rest: &[u8], effect: Effect, scope: &Scope<'_>) -> Begun {
    if mailbox.is_empty() {
        return Ok(Box::new(Global::new(verb, rest, effect)));
    }
    if mailbox.iter().any(|byte| matches!(byte, b'*' | b'%')) {
        return Ok(Box::new(Gather::new(verb, &[mailbox], rest, scope)));
    }
    let name = internal(mailbox, scope)?;
    Ok(on_mailbox(verb, name, mailbox, &[rest], effect))
}

fn internal(typed: &[u8], scope: &Scope<'_>) -> Result<Vec<u8>, &'static [u8]> {
    scope.namespace.internal(typed, scope.identity).map_err(|_| super::agenda::NO_MAILBOX)
}

/// `string`, or `(string string ...)`.
fn strings<T: AsRef<[u8]>>(strings: &[T]) -> Vec<u8> {
    let mut out = Vec::new();
    for (n, string) in strings.iter().enumerate() {
        out.extend_from_slice(if n == 0 { b"" } else { b" " });
        astring_out_as(&mut out, string.as_ref(), LiteralStyle::NonSynchronising);
    }
    if strings.len() == 1 { out } else { [b"(", out.as_slice(), b")"].concat() }
}

/// The arguments with every literal announced as `{n+}`: they are here as a whole, so nobody waits.
fn without_waiting(args: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(args.len() + 8);
    let mut rest = args;
    while let Ok(first) = line::first(rest, usize::MAX) {
        let (head, behind) = rest.split_at(first.len);
        let text = line::without_end(head);
        let Some(announced) = literal::at_line_end(text) else {
            out.extend_from_slice(head);
            rest = behind;
            continue;
        };
        out.extend_from_slice(text.strip_suffix(b"}").unwrap_or(text));
        out.extend_from_slice(if announced.sync { b"+}\r\n" } else { b"}\r\n" });
        let len = usize::try_from(announced.len).unwrap_or(usize::MAX).min(behind.len());
        out.extend_from_slice(&behind[..len]);
        rest = &behind[len..];
    }
    out.extend_from_slice(rest);
    out
}

/// A command about a pattern, to all servers that have a match.
#[derive(Debug)]
struct Gather {
    command: Vec<u8>,
    walk: Walk,
    servers: BTreeSet<Box<[u8]>>,
    phase: GatherPhase,
    agenda: Agenda,
}

#[derive(Debug)]
enum GatherPhase {
    Start,
    ExpectPage,
    Fanning(Fan),
    Over,
}

impl Gather {
    fn new<T: AsRef<[u8]>>(verb: &[u8], patterns: &[T], rest: &[u8], scope: &Scope<'_>) -> Gather {
        let mut command = verb.to_vec();
        command.push(b' ');
        command.extend_from_slice(&strings(patterns));
        command.push(b' ');
        command.extend_from_slice(rest);
        command.extend_from_slice(b"\r\n");
        let separator = scope.namespace.separator;
        let patterns =
            patterns.iter().map(|pattern| Pattern::new(b"", pattern.as_ref(), separator)).collect();
        let walk = Walk::new(patterns, Arc::clone(scope.namespace), Arc::clone(scope.identity), Dav::Shown);
        Gather {
            command,
            walk,
            servers: BTreeSet::new(),
            phase: GatherPhase::Start,
            agenda: Agenda::default(),
        }
    }

    fn next_page(&mut self, cx: &Context<'_>) {
        if let Some(query) = self.walk.poll_query() {
            self.agenda.want(Want::Page(query));
            self.phase = GatherPhase::ExpectPage;
        } else if self.servers.is_empty() {
            self.finish(cx, b"OK Completed");
        } else {
            let (servers, command) = (std::mem::take(&mut self.servers), std::mem::take(&mut self.command));
            let fan = Fan::new(servers, command, Offer::default(), None, &mut self.agenda);
            self.phase = GatherPhase::Fanning(fan);
        }
    }

    fn handle_page(&mut self, page: &ListPage, cx: &Context<'_>) {
        if page.knowledge == Knowledge::NeverSynced {
            return self.finish(cx, UNAVAILABLE);
        }
        let mut rows = VecDeque::new();
        self.walk.handle_page(page, &mut rows);
        self.servers.extend(rows.into_iter().filter_map(|row| row.mailbox?.server));
        self.next_page(cx);
    }

    /// All servers have answered: what one refused or could not tell is a NO.
    fn poll_end(&mut self, cx: &Context<'_>) {
        let GatherPhase::Fanning(fan) = &mut self.phase else { return };
        let Some(harvest) = fan.poll_end() else { return };
        match (harvest.refusal, harvest.missing.first()) {
            (Some(text), _) => self.finish(cx, &[b"NO ", &*text].concat()),
            (None, Some(server)) => {
                self.finish(cx, &[b"NO [UNAVAILABLE] no answer of server ", &**server].concat())
            }
            (None, None) => self.finish(cx, b"OK Completed"),
        }
    }

    fn finish(&mut self, cx: &Context<'_>, result: &[u8]) {
        self.agenda.finish(cx, result);
        self.phase = GatherPhase::Over;
    }
}

impl Task for Gather {
    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, _now: Instant) {
        match (&mut self.phase, news) {
            (GatherPhase::ExpectPage, News::Page(page)) => self.handle_page(page, cx),
            (GatherPhase::Fanning(fan), news) => {
                fan.handle_news(news, cx, &mut self.agenda);
                self.poll_end(cx);
            }
            (GatherPhase::Start | GatherPhase::ExpectPage | GatherPhase::Over, _) => {}
        }
    }

    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, _now: Instant) -> Line {
        let Side::Backend(backend) = from else { return Line::Hold };
        let GatherPhase::Fanning(fan) = &mut self.phase else { return aside_of(backend, line, cx) };
        let verdict = fan.handle_line(backend, line, cx);
        self.poll_end(cx);
        verdict
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        if matches!(self.phase, GatherPhase::Start) {
            self.next_page(cx);
        }
        self.agenda.poll(out)
    }
}

/// A command about the server, to the user's home.
#[derive(Debug)]
struct Global {
    /// What stands behind the tag, line end included.
    command: Vec<u8>,
    effect: Effect,
    phase: GlobalPhase,
    agenda: Agenda,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum GlobalPhase {
    Start,
    ExpectHome,
    /// A server of `serverlist`.
    ExpectAny,
    Relaying(BackendId),
    Over,
}

impl Global {
    fn new(verb: &[u8], rest: &[u8], effect: Effect) -> Global {
        let command = [verb, b" \"\" ", rest, b"\r\n"].concat();
        Global { command, effect, phase: GlobalPhase::Start, agenda: Agenda::default() }
    }

    fn handle_home(&mut self, home: Home, cx: &Context<'_>) {
        match (home, cx.config.serverlist.first()) {
            (Home::At(backend), _) => {
                self.agenda.send(backend, [cx.tag, b" ", &self.command].concat());
                self.phase = GlobalPhase::Relaying(backend);
            }
            (Home::Unavailable, _) => self.finish(cx, SERVER_UNAVAILABLE),
            (Home::Nowhere, Some(server)) if self.phase == GlobalPhase::ExpectHome => {
                self.agenda.want(Want::Backend { server: server.as_bytes().to_vec() });
                self.phase = GlobalPhase::ExpectAny;
            }
            // There is nothing to read where nothing can be written.
            (Home::Nowhere, _) if self.effect == Effect::Reads => self.finish(cx, b"OK Completed"),
            (Home::Nowhere, _) => self.finish(cx, DENIED),
        }
    }

    fn finish(&mut self, cx: &Context<'_>, result: &[u8]) {
        self.agenda.finish(cx, result);
        self.phase = GlobalPhase::Over;
    }
}

impl Task for Global {
    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, _now: Instant) {
        match (self.phase, news) {
            (GlobalPhase::ExpectHome | GlobalPhase::ExpectAny, news) => {
                if let Some(home) = home_news(news, cx, &mut self.agenda) {
                    self.handle_home(home, cx);
                }
            }
            (GlobalPhase::Relaying(backend), News::Lost(lost)) if lost == backend => {
                self.finish(cx, SERVER_UNAVAILABLE);
            }
            (GlobalPhase::Start | GlobalPhase::Relaying(_) | GlobalPhase::Over, _) => {}
        }
    }

    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, _now: Instant) -> Line {
        let Side::Backend(backend) = from else { return Line::Hold };
        if self.phase != GlobalPhase::Relaying(backend) {
            return aside_of(backend, line, cx);
        }
        if result_of(line, cx.tag).is_some() {
            self.agenda.want(Want::Done);
            self.phase = GlobalPhase::Over;
        }
        Line::Relay
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        if self.phase == GlobalPhase::Start {
            self.phase = GlobalPhase::ExpectHome;
            seek_home(cx, &mut self.agenda);
        }
        self.agenda.poll(out)
    }
}
