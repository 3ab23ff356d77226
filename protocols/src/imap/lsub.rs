//! LSUB and RLSUB: asked of the user's home server, which keeps his subscriptions (RFC 3501 section 6.3.9).
//!
//! The home marks what it does not host itself `\Noselect`; where the mailbox list has the mailbox, the
//! mark is taken off. A home that refuses, dies, or has nothing to tell may be the user's no more: then the
//! list is asked again, behind a barrier, and a new home once. For a home that is away stands what it told
//! last; where nothing is known of that, the answer is NO, because clients forget what an empty list lacks.
//!
//! ```text
//! Seeking ──> Lines <──> ExpectFound, Known ──> Over
//!    └────away──┴──> ExpectCopy ──> Copied ──────^
//! ```

use std::collections::{BTreeSet, VecDeque};

use super::agenda::{Agenda, aside_of, internal, is_partial, result_line, result_of, string_for};
use super::answers::UNREACHABLE;
use super::grammar::{ListArgs, Response, Status, UntaggedKind, response, responses};
use super::list::{CHUNK_BYTES, SUBSCRIPTION_BYTES_MAX};
use super::route::{Arrival, Route};
use super::task::{Context, Line, News, Task, Want};
use crate::mailbox::Pattern;
use crate::proxy::{BackendId, Finding, Freshness, HomeCopy, HomeNews, Instant, Side};
use crate::wire::quote::mailbox_out;

/// LSUB.
#[derive(Debug)]
pub struct LsubTask {
    reference: Box<[u8]>,
    pattern: Box<[u8]>,
    /// To the home.
    route: Route,
    phase: Phase,
    agenda: Agenda,
    /// The home told of a subscription.
    has_told: bool,
    /// The answer if the list says that this home is the right one.
    held: Option<Vec<u8>>,
    /// All that the home told, where it was asked for all.
    told: Option<BTreeSet<Box<[u8]>>>,
    told_bytes: usize,
    /// What it told last, not written yet.
    rows: VecDeque<CopiedRow>,
}

/// A line from a copy.
#[derive(Debug)]
enum CopiedRow {
    Subscribed(Box<[u8]>),
    /// A name above a subscription that `%` does not reach (RFC 3501 section 6.3.9).
    Parent(Box<[u8]>),
}

#[derive(Debug)]
enum Phase {
    Seeking,
    Lines(BackendId),
    /// A `\Noselect` line waits for the list.
    ExpectFound(BackendId),
    /// The list has the mailbox of the line, or not.
    Known(BackendId, IsListed),
    ExpectCopy,
    /// Rows of the copy wait until the client has taken those before.
    Copied,
    Over,
}

/// Whether the mailbox list has a mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum IsListed {
    Yes,
    No,
}

impl LsubTask {
    /// Begins a command; `args` as parsed by [`super::grammar::lsub_args`]. `inbox` is the internal name
    /// of the user's INBOX.
    pub fn new(args: &ListArgs<'_>, inbox: &[u8]) -> LsubTask {
        let pattern = args.patterns.first().map(|pattern| pattern.as_ref().into()).unwrap_or_default();
        let reference: Box<[u8]> = args.reference.as_ref().into();
        let is_all = reference.is_empty() && args.patterns.iter().all(|pattern| **pattern == *b"*");
        LsubTask {
            reference,
            pattern,
            route: Route::to(inbox.to_vec()),
            phase: Phase::Seeking,
            agenda: Agenda::default(),
            has_told: false,
            held: None,
            told: is_all.then(BTreeSet::new),
            told_bytes: 0,
            rows: VecDeque::new(),
        }
    }

    fn arrive(&mut self, arrival: &Arrival, cx: &Context<'_>) {
        let backend = match (arrival, self.held.take()) {
            (Arrival::At(backend), _) => *backend,
            (_, Some(result)) => {
                if result.starts_with(b"OK") {
                    self.keep();
                }
                return self.finish(cx, &result);
            }
            // Proven: who has no INBOX has no subscriptions.
            (Arrival::Absent | Arrival::Same, None) => return self.finish(cx, b"OK Completed"),
            (Arrival::Unavailable(_), None) => return self.recall(),
        };
        let mut line = Vec::new();
        cx.own_tag(0, &mut line);
        line.extend_from_slice(b" LSUB ");
        string_for(backend, &self.reference, cx, &mut line);
        line.push(b' ');
        string_for(backend, &self.pattern, cx, &mut line);
        line.extend_from_slice(b"\r\n");
        self.agenda.send(backend, line);
        self.agenda.want(Want::Wake(cx.config.timeouts.fan_out));
        self.phase = Phase::Lines(backend);
    }

    fn recall(&mut self) {
        self.agenda.want(Want::Recall);
        self.phase = Phase::ExpectCopy;
    }

    /// Answers with what the home told last.
    fn handle_copy(&mut self, copy: &HomeCopy, cx: &Context<'_>) {
        let Some(names) = &copy.subscribed else { return self.finish(cx, UNREACHABLE) };
        let policy = &cx.config.commands;
        let begins_below = self.pattern.first() == Some(&cx.config.namespace.separator);
        let is_alone = policy.ignore_reference && !begins_below;
        let reference: &[u8] = if is_alone { b"" } else { &self.reference };
        let separator = cx.config.namespace.separator;
        let pattern = Pattern::new(reference, &self.pattern, separator);
        let mut parents = BTreeSet::new();
        for name in names.iter() {
            if pattern.matches(name) {
                self.rows.push_back(CopiedRow::Subscribed(name.clone()));
            } else if self.pattern.last() == Some(&b'%') {
                let above = memchr::memchr_iter(separator, name).map(|at| &name[..at]);
                parents.extend(above.filter(|parent| pattern.matches(parent)).map(Box::<[u8]>::from));
            }
        }
        let is_subscribed = |parent: &[u8]| names.binary_search_by(|name| (**name).cmp(parent)).is_ok();
        let parents = parents.into_iter().filter(|parent| !is_subscribed(parent));
        self.rows.extend(parents.map(CopiedRow::Parent));
        self.write_rows(cx);
    }

    fn write_rows(&mut self, cx: &Context<'_>) {
        let mut draft = Vec::new();
        let separator = cx.config.namespace.separator;
        while draft.len() < CHUNK_BYTES {
            let Some(row) = self.rows.pop_front() else { break };
            let (attributes, name): (&[u8], _) = match &row {
                CopiedRow::Subscribed(name) => (b"", name),
                CopiedRow::Parent(name) => (b"\\Noselect", name),
            };
            for part in [b"* LSUB (", attributes, b") \"", &[separator], b"\" "] {
                draft.extend_from_slice(part);
            }
            mailbox_out(&mut draft, name);
            draft.extend_from_slice(b"\r\n");
        }
        if draft.len() >= CHUNK_BYTES {
            self.agenda.reply(draft);
            self.phase = Phase::Copied;
            return;
        }
        if !draft.is_empty() {
            self.agenda.reply(draft);
        }
        let home = cx.home.unwrap_or(b"of the INBOX");
        self.finish(cx, &[b"OK Completed with what server ", home, b" told last"].concat());
    }

    /// The home takes too long: as good as away, but for one that has the selected mailbox.
    fn home_is_slow(&mut self, home: BackendId, cx: &Context<'_>) {
        if !self.has_told && cx.selected.is_none_or(|selected| selected.backend != home) {
            self.agenda.want(Want::Abandon(home));
            self.recall();
        }
    }

    /// Keeps what the home told, if that was all.
    fn keep(&mut self) {
        if let Some(names) = self.told.take().filter(|_| self.told_bytes < SUBSCRIPTION_BYTES_MAX) {
            self.agenda.want(Want::Keep(HomeNews::Subscriptions(names.into_iter().collect())));
        }
    }

    /// The home has said its last word, or will not; `result` is the answer if it is the right one.
    fn end_lines(&mut self, result: &[u8], cx: &Context<'_>) {
        if self.has_told || self.route.has_asked_again() {
            if result.starts_with(b"OK") {
                self.keep();
            }
            return self.finish(cx, result);
        }
        self.held = Some(result.to_vec());
        self.route.again();
        self.phase = Phase::Seeking;
    }

    fn finish(&mut self, cx: &Context<'_>, result: &[u8]) {
        self.agenda.finish(cx, result);
        self.phase = Phase::Over;
    }

    fn handle_home_line(&mut self, backend: BackendId, line: &[u8], cx: &Context<'_>) -> Line {
        let mut tag = Vec::new();
        cx.own_tag(0, &mut tag);
        if let Some((status, text)) = result_of(line, &tag) {
            match status {
                Status::Ok => self.end_lines(b"OK Completed", cx),
                Status::No | Status::Bad => self.end_lines(&result_line(status, text), cx),
            }
            return Line::Drop;
        }
        let Response::Untagged { kind: UntaggedKind::Lsub, rest, .. } = response(line) else {
            return aside_of(backend, line, cx);
        };
        if is_partial(line) {
            return Line::Whole;
        }
        self.has_told = true;
        let Ok(answer) = responses::list(rest) else { return Line::Relay };
        if let Some(told) = self.told.as_mut().filter(|_| self.told_bytes < SUBSCRIPTION_BYTES_MAX) {
            self.told_bytes += answer.mailbox.len();
            told.insert(answer.mailbox.as_ref().into());
        }
        if !answer.has(b"\\Noselect") {
            return Line::Relay;
        }
        match (&self.phase, internal(&answer.mailbox, cx)) {
            (Phase::Known(_, listed), _) => {
                let listed = *listed;
                self.phase = Phase::Lines(backend);
                if listed == IsListed::No {
                    return Line::Relay;
                }
                self.agenda.reply(selectable(&answer));
                Line::Taken
            }
            (_, Ok(name)) => {
                self.agenda.want(Want::Find { name, freshness: Freshness::Snapshot });
                self.phase = Phase::ExpectFound(backend);
                Line::Hold
            }
            (_, Err(_)) => Line::Relay,
        }
    }
}

/// The response without `\Noselect`.
fn selectable(answer: &responses::ListResponse<'_>) -> Vec<u8> {
    let mut out = b"* LSUB (".to_vec();
    let kept = answer.attributes().filter(|attribute| !attribute.eq_ignore_ascii_case(b"\\Noselect"));
    for (n, attribute) in kept.enumerate() {
        out.extend_from_slice(if n == 0 { b"" } else { b" " });
        out.extend_from_slice(attribute);
    }
    match answer.separator {
        Some(separator) => out.extend_from_slice(&[b')', b' ', b'"', separator, b'"', b' ']),
        None => out.extend_from_slice(b") NIL "),
    }
    mailbox_out(&mut out, &answer.mailbox);
    out.extend_from_slice(b"\r\n");
    out
}

impl Task for LsubTask {
    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, _now: Instant) {
        match (&self.phase, news) {
            (Phase::Seeking, news) => {
                if let Some(arrival) = self.route.handle_news(&news, cx) {
                    self.arrive(&arrival, cx);
                }
            }
            (Phase::Lines(home) | Phase::ExpectFound(home) | Phase::Known(home, _), News::Lost(lost))
                if *home == lost =>
            {
                match self.has_told {
                    true => self.finish(cx, UNREACHABLE),
                    false => self.recall(),
                }
            }
            (Phase::Lines(home), News::Time) => {
                let home = *home;
                self.home_is_slow(home, cx);
            }
            (Phase::ExpectCopy, News::Kept(copy)) => self.handle_copy(copy, cx),
            (Phase::Copied, News::Drained(Side::Client)) => self.write_rows(cx),
            (Phase::ExpectFound(home), News::Found(finding)) => {
                let listed = match finding {
                    Finding::Active(_) | Finding::Reserved { .. } => IsListed::Yes,
                    Finding::Absent | Finding::Unknown => IsListed::No,
                };
                self.phase = Phase::Known(*home, listed);
            }
            (
                Phase::Lines(_)
                | Phase::ExpectFound(_)
                | Phase::Known(..)
                | Phase::ExpectCopy
                | Phase::Copied
                | Phase::Over,
                _,
            ) => {}
        }
    }

    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, _now: Instant) -> Line {
        let Side::Backend(backend) = from else { return Line::Hold };
        match &self.phase {
            Phase::Lines(home) | Phase::Known(home, _) if *home == backend => {
                self.handle_home_line(backend, line, cx)
            }
            Phase::ExpectFound(home) if *home == backend => Line::Hold,
            Phase::Seeking
            | Phase::Lines(_)
            | Phase::ExpectFound(_)
            | Phase::Known(..)
            | Phase::ExpectCopy
            | Phase::Copied
            | Phase::Over => aside_of(backend, line, cx),
        }
    }

    fn poll_want(&mut self, _cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        match self.phase {
            Phase::Seeking => self.route.poll_want(),
            Phase::Lines(_)
            | Phase::ExpectFound(_)
            | Phase::Known(..)
            | Phase::ExpectCopy
            | Phase::Copied
            | Phase::Over => self.agenda.poll(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::grammar::lsub_args;
    use crate::imap::testing::{Host, found};

    fn host() -> Host<LsubTask> {
        Host::new(LsubTask::new(&lsub_args(br#""" "*""#).unwrap(), b"user.user001"))
    }

    fn asked() -> Host<LsubTask> {
        let mut host = host();
        assert_eq!(host.wants(), ["find user.user001"]);
        assert_eq!(host.news(found("user.user001", "backend1", "")), ["backend backend1"]);
        let wants = host.news(News::Backend(Ok(BackendId(1))));
        assert_eq!(wants, ["B1> RK0 LSUB \"\" \"*\"\r\n", "Wake(20s)"]);
        host
    }

    #[test]
    fn noselect_is_taken_off_what_the_list_has() {
        let mut host = asked();
        assert_eq!(host.line(1, "* LSUB () \".\" INBOX.Sent\r\n").0, Line::Relay);
        let line = "* LSUB (\\Noselect \\HasChildren) \".\" team02\r\n";
        assert_eq!(host.line(1, line), (Line::Hold, vec!["find team02".to_owned()]));
        assert!(host.news(found("team02", "backend2", "")).is_empty());
        let rewritten = "C> * LSUB (\\HasChildren) \".\" team02\r\n".to_owned();
        assert_eq!(host.line(1, line), (Line::Taken, vec![rewritten]));
        assert_eq!(host.line(1, line).0, Line::Hold, "the next line is looked up anew");
        host.news(News::Found(Finding::Absent));
        assert_eq!(host.line(1, line).0, Line::Relay);
        let wants = host.says(1, "RK0 OK Completed (0.000 secs)\r\n");
        assert!(
            wants[0].starts_with("Keep(Subscriptions([") && wants[1..] == ["C> A1 OK Completed\r\n", "done"]
        );
    }

    #[test]
    fn user_without_home_has_no_subscriptions_only_if_that_is_proven() {
        let mut without = host();
        without.wants();
        assert_eq!(without.news(News::Found(Finding::Absent)), ["C> A1 OK Completed\r\n", "done"]);
        let mut unknown = host();
        unknown.wants();
        assert_eq!(unknown.news(News::Found(Finding::Unknown)), ["Recall"]);
        let wants = unknown.news(News::Kept(&HomeCopy::default()));
        assert_eq!(wants, ["C> A1 NO [UNAVAILABLE] Server(s) unavailable to complete operation\r\n", "done"]);
    }

    #[test]
    fn home_without_an_answer_may_be_the_old_one() {
        let mut host = asked();
        assert_eq!(host.says(1, "RK0 OK Completed\r\n"), ["find user.user001"]);
        assert_eq!(host.news(found("user.user001", "backend2", "")), ["backend backend2"]);
        assert_eq!(host.news(News::Backend(Ok(BackendId(2))))[0], "B2> RK0 LSUB \"\" \"*\"\r\n");
        let wants = host.says(2, "RK0 OK Completed\r\n");
        assert_eq!(wants, ["Keep(Subscriptions([]))", "C> A1 OK Completed\r\n", "done"]);
        let mut stays = asked();
        stays.says(1, "RK0 NO Mailbox does not exist\r\n");
        let wants = stays.news(found("user.user001", "backend1", ""));
        assert_eq!(wants, ["C> A1 NO Mailbox does not exist\r\n", "done"]);
        let mut unsure = asked();
        unsure.says(1, "RK0 OK Completed\r\n");
        let wants = unsure.news(News::Found(Finding::Unknown));
        assert_eq!(wants, ["Keep(Subscriptions([]))", "C> A1 OK Completed\r\n", "done"]);
    }

    fn copy(names: &[&str]) -> HomeCopy {
        let mut names: Vec<Box<[u8]>> = names.iter().map(|name| name.as_bytes().into()).collect();
        names.sort();
        HomeCopy { subscribed: Some(names.into()), special: None }
    }

    fn away(args: &[u8], names: &[&str]) -> Vec<String> {
        let mut host = Host::new(LsubTask::new(&lsub_args(args).unwrap(), b"user.user001"));
        host.home = Some(b"backend1".to_vec());
        host.wants();
        host.news(found("user.user001", "backend1", ""));
        assert_eq!(host.news(News::Backend(Err(crate::proxy::Unavailable))), ["Recall"]);
        host.news(News::Kept(&copy(names)))
    }

    #[test]
    fn home_that_is_away_is_answered_for_by_what_it_told_last() {
        let names = ["INBOX", "INBOX.Work.Projects", "INBOX.Sent", "team02"];
        let ok = "C> A1 OK Completed with what server backend1 told last\r\n";
        let all = "C> * LSUB () \".\" INBOX\r\n* LSUB () \".\" INBOX.Sent\r\n\
            * LSUB () \".\" INBOX.Work.Projects\r\n* LSUB () \".\" team02\r\n";
        assert_eq!(away(br#""" *"#, &names), [all, ok, "done"]);
        let below = "C> * LSUB () \".\" INBOX.Sent\r\n* LSUB (\\Noselect) \".\" INBOX.Work\r\n";
        assert_eq!(away(br#""INBOX." %"#, &names), [below, ok, "done"]);
        assert_eq!(away(br#""" nosuch"#, &names), [ok, "done"]);
    }

    #[test]
    fn long_copy_is_written_as_the_client_takes_it() {
        let names: Vec<String> = (0..2000).map(|n| format!("INBOX.a folder with a name {n:05}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut host = Host::new(LsubTask::new(&lsub_args(br#""" *"#).unwrap(), b"user.user001"));
        host.wants();
        host.news(found("user.user001", "backend1", ""));
        host.news(News::Backend(Err(crate::proxy::Unavailable)));
        let mut wants = host.news(News::Kept(&copy(&names)));
        let mut lines = 0;
        while wants.last().is_some_and(|want| want != "done") {
            assert!(wants.len() == 1 && wants[0].len() <= crate::proxy::AUTHORED_BYTES_MAX);
            lines += wants[0].matches("* LSUB").count();
            wants = host.news(News::Drained(Side::Client));
        }
        assert_eq!(lines + wants[0].matches("* LSUB").count(), names.len());
    }

    #[test]
    fn slow_home_is_given_up() {
        let mut host = asked();
        assert_eq!(host.news(News::Time), ["abandon B1", "Recall"]);
    }

    #[test]
    fn home_that_dies_is_unavailable() {
        let mut host = asked();
        host.line(1, "* LSUB () \".\" INBOX\r\n");
        let wants = host.news(News::Lost(BackendId(1)));
        assert_eq!(wants, ["C> A1 NO [UNAVAILABLE] Server(s) unavailable to complete operation\r\n", "done"]);
    }
}
