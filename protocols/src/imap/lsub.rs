//! LSUB and RLSUB: asked of the user's home server, which keeps his subscriptions (RFC 3501 section 6.3.9).
//!
//! The home marks what it does not host itself `\Noselect`; where the mailbox list has the mailbox, the
//! mark is taken off.

use super::agenda::{
    Agenda, Home, SERVER_UNAVAILABLE, aside_of, home_news, internal, is_partial, result_line, result_of,
    seek_home, string_for,
};
use super::grammar::{ListArgs, Response, Status, UntaggedKind, response, responses};
use super::task::{Context, Line, News, Task, Want};
use crate::proxy::{BackendId, Finding, Freshness, Instant, Side};
use crate::wire::quote::astring_out;

/// LSUB.
#[derive(Debug)]
pub struct LsubTask {
    reference: Box<[u8]>,
    pattern: Box<[u8]>,
    phase: Phase,
    agenda: Agenda,
}

#[derive(Debug)]
enum Phase {
    Start,
    ExpectHome,
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
    /// Begins a command; `args` as parsed by [`super::grammar::lsub_args`].
    pub fn new(args: &ListArgs<'_>) -> LsubTask {
        let pattern = args.patterns.first().map(|pattern| pattern.as_ref().into()).unwrap_or_default();
        let reference = args.reference.as_ref().into();
        LsubTask { reference, pattern, phase: Phase::Start, agenda: Agenda::default() }
    }

    fn handle_home(&mut self, home: Home, cx: &Context<'_>) {
        let backend = match home {
            Home::At(backend) => backend,
            // Proven: who has no INBOX has no subscriptions.
            Home::Nowhere => return self.finish(cx, b"OK Completed"),
            Home::Unavailable => return self.finish(cx, SERVER_UNAVAILABLE),
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

    fn finish(&mut self, cx: &Context<'_>, result: &[u8]) {
        self.agenda.finish(cx, result);
        self.phase = Phase::Over;
    }

    fn handle_home_line(&mut self, backend: BackendId, line: &[u8], cx: &Context<'_>) -> Line {
        let mut tag = Vec::new();
        cx.own_tag(0, &mut tag);
        if let Some((status, text)) = result_of(line, &tag) {
            match status {
                Status::Ok => self.finish(cx, b"OK Completed"),
                Status::No | Status::Bad => self.finish(cx, &result_line(status, text)),
            }
            return Line::Drop;
        }
        let Response::Untagged { kind: UntaggedKind::Lsub, rest, .. } = response(line) else {
            return aside_of(backend, line, cx);
        };
        if is_partial(line) {
            return Line::Whole;
        }
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
            (Phase::ExpectHome, news) => {
                if let Some(home) = home_news(news, cx, &mut self.agenda) {
                    self.handle_home(home, cx);
                }
            }
            (Phase::Lines(home) | Phase::ExpectFound(home) | Phase::Known(home, _), News::Lost(lost))
                if *home == lost =>
            {
                self.finish(cx, SERVER_UNAVAILABLE);
            }
            (Phase::ExpectFound(home), News::Found(finding)) => {
                let listed = match finding {
                    Finding::Active(_) | Finding::Reserved { .. } => IsListed::Yes,
                    Finding::Absent | Finding::Unknown => IsListed::No,
                };
                self.phase = Phase::Known(*home, listed);
            }
            (Phase::Start | Phase::Lines(_) | Phase::ExpectFound(_) | Phase::Known(..) | Phase::Over, _) => {}
        }
    }

    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, _now: Instant) -> Line {
        let Side::Backend(backend) = from else { return Line::Hold };
        match &self.phase {
            Phase::Lines(home) | Phase::Known(home, _) if *home == backend => {
                self.handle_home_line(backend, line, cx)
            }
            Phase::ExpectFound(home) if *home == backend => Line::Hold,
            Phase::Start
            | Phase::ExpectHome
            | Phase::Lines(_)
            | Phase::ExpectFound(_)
            | Phase::Known(..)
            | Phase::Over => aside_of(backend, line, cx),
        }
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        if matches!(self.phase, Phase::Start) {
            self.phase = Phase::ExpectHome;
            seek_home(cx, &mut self.agenda);
        }
        self.agenda.poll(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::grammar::lsub_args;
    use crate::imap::testing::{Host, found};

    fn host() -> Host<LsubTask> {
        Host::new(LsubTask::new(&lsub_args(br#""" "*""#).unwrap()))
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
        assert_eq!(wants, ["C> A1 NO [UNAVAILABLE] Server(s) unavailable to complete operation\r\n", "done"]);
    }

    #[test]
    fn home_that_dies_is_unavailable() {
        let mut host = asked();
        host.line(1, "* LSUB () \".\" INBOX\r\n");
        let wants = host.news(News::Lost(BackendId(1)));
        assert_eq!(wants, ["C> A1 NO [UNAVAILABLE] Server(s) unavailable to complete operation\r\n", "done"]);
    }
}
