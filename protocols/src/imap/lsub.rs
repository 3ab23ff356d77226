//! LSUB and RLSUB: asked of the user's home server, which keeps his subscriptions (RFC 3501 section 6.3.9).
//!
//! The home marks what it does not host itself `\Noselect`; where the mailbox list has the mailbox, the
//! mark is taken off. A home that refuses, dies, or has nothing to tell may be the user's no more: then the
//! list is asked again, behind a barrier, and a new home once.

use super::agenda::{
    Agenda, SERVER_UNAVAILABLE, aside_of, internal, is_partial, result_line, result_of, string_for,
};
use super::grammar::{ListArgs, Response, Status, UntaggedKind, response, responses};
use super::route::{Arrival, Route};
use super::task::{Context, Line, News, Task, Want};
use crate::proxy::{BackendId, Finding, Freshness, Instant, Side};
use crate::wire::quote::astring_out;

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
}

#[derive(Debug)]
enum Phase {
    Seeking,
    Lines(BackendId),
    /// A `\Noselect` line waits for the list.
    ExpectFound(BackendId),
    /// The list has the mailbox of the line, or not.
    Known(BackendId, IsListed),
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
        let reference = args.reference.as_ref().into();
        LsubTask {
            reference,
            pattern,
            route: Route::to(inbox.to_vec()),
            phase: Phase::Seeking,
            agenda: Agenda::default(),
            has_told: false,
            held: None,
        }
    }

    fn arrive(&mut self, arrival: &Arrival, cx: &Context<'_>) {
        let backend = match (arrival, self.held.take()) {
            (Arrival::At(backend), _) => *backend,
            (_, Some(result)) => return self.finish(cx, &result),
            // Proven: who has no INBOX has no subscriptions.
            (Arrival::Absent | Arrival::Same, None) => return self.finish(cx, b"OK Completed"),
            (Arrival::Unavailable(text), None) => return self.finish(cx, text),
        };
        let mut line = Vec::new();
        cx.own_tag(0, &mut line);
        line.extend_from_slice(b" LSUB ");
        string_for(backend, &self.reference, cx, &mut line);
        line.push(b' ');
        string_for(backend, &self.pattern, cx, &mut line);
        line.extend_from_slice(b"\r\n");
        self.agenda.send(backend, line);
        self.phase = Phase::Lines(backend);
    }

    /// The home has said its last word, or will not; `result` is the answer if it is the right one.
    fn end_lines(&mut self, result: &[u8], cx: &Context<'_>) {
        if self.has_told || self.route.has_asked_again() {
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
    astring_out(&mut out, &answer.mailbox);
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
                self.end_lines(SERVER_UNAVAILABLE, cx);
            }
            (Phase::ExpectFound(home), News::Found(finding)) => {
                let listed = match finding {
                    Finding::Active(_) | Finding::Reserved { .. } => IsListed::Yes,
                    Finding::Absent | Finding::Unknown => IsListed::No,
                };
                self.phase = Phase::Known(*home, listed);
            }
            (Phase::Lines(_) | Phase::ExpectFound(_) | Phase::Known(..) | Phase::Over, _) => {}
        }
    }

    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, _now: Instant) -> Line {
        let Side::Backend(backend) = from else { return Line::Hold };
        match &self.phase {
            Phase::Lines(home) | Phase::Known(home, _) if *home == backend => {
                self.handle_home_line(backend, line, cx)
            }
            Phase::ExpectFound(home) if *home == backend => Line::Hold,
            Phase::Seeking | Phase::Lines(_) | Phase::ExpectFound(_) | Phase::Known(..) | Phase::Over => {
                aside_of(backend, line, cx)
            }
        }
    }

    fn poll_want(&mut self, _cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        match self.phase {
            Phase::Seeking => self.route.poll_want(),
            Phase::Lines(_) | Phase::ExpectFound(_) | Phase::Known(..) | Phase::Over => self.agenda.poll(out),
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
        assert_eq!(host.news(News::Backend(Ok(BackendId(1)))), ["B1> RK0 LSUB \"\" \"*\"\r\n"]);
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
        assert_eq!(host.says(1, "RK0 OK Completed (0.000 secs)\r\n"), ["C> A1 OK Completed\r\n", "done"]);
    }

    #[test]
    fn user_without_home_has_no_subscriptions_only_if_that_is_proven() {
        let mut without = host();
        without.wants();
        assert_eq!(without.news(News::Found(Finding::Absent)), ["C> A1 OK Completed\r\n", "done"]);
        let mut unknown = host();
        unknown.wants();
        let wants = unknown.news(News::Found(Finding::Unknown));
        assert_eq!(wants, ["C> A1 NO [UNAVAILABLE] mailbox list temporarily unavailable\r\n", "done"]);
    }

    #[test]
    fn home_without_an_answer_may_be_the_old_one() {
        let mut host = asked();
        assert_eq!(host.says(1, "RK0 OK Completed\r\n"), ["find user.user001"]);
        assert_eq!(host.news(found("user.user001", "backend2", "")), ["backend backend2"]);
        assert_eq!(host.news(News::Backend(Ok(BackendId(2)))), ["B2> RK0 LSUB \"\" \"*\"\r\n"]);
        assert_eq!(host.says(2, "RK0 OK Completed\r\n"), ["C> A1 OK Completed\r\n", "done"]);
        let mut stays = asked();
        stays.says(1, "RK0 NO Mailbox does not exist\r\n");
        let wants = stays.news(found("user.user001", "backend1", ""));
        assert_eq!(wants, ["C> A1 NO Mailbox does not exist\r\n", "done"]);
        let mut unsure = asked();
        unsure.says(1, "RK0 OK Completed\r\n");
        assert_eq!(unsure.news(News::Found(Finding::Unknown)), ["C> A1 OK Completed\r\n", "done"]);
    }

    #[test]
    fn home_that_dies_is_unavailable() {
        let mut host = asked();
        host.line(1, "* LSUB () \".\" INBOX\r\n");
        let wants = host.news(News::Lost(BackendId(1)));
        assert_eq!(wants, ["C> A1 NO [UNAVAILABLE] Server(s) unavailable to complete operation\r\n", "done"]);
    }
}
