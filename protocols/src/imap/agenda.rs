//! What tasks have in common: wants in a queue, refusals, and what a look-up means for a command.

use std::collections::VecDeque;

use super::answers::{ABSENT, BEING_MOVED, UNAVAILABLE, is_referral};
use super::grammar::{Response, Status, UntaggedKind, code, response};
use super::offer::Offer;
use super::task::{Context, Line, News, Want};
use crate::proxy::{BackendId, Entry, Finding, Freshness};
use crate::wire::line as wire_line;
use crate::wire::literal;
use crate::wire::quote::{LiteralStyle, astring_out_as};

/// The wants of a task in their order.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    wants: VecDeque<(Want, Vec<u8>)>,
}

impl Agenda {
    /// Adds a want that carries no bytes.
    pub(super) fn want(&mut self, want: Want) {
        self.wants.push_back((want, Vec::new()));
    }

    /// Adds bytes for the client.
    pub(super) fn reply(&mut self, bytes: Vec<u8>) {
        self.wants.push_back((Want::Reply, bytes));
    }

    /// Adds bytes for a backend.
    pub(super) fn send(&mut self, to: BackendId, bytes: Vec<u8>) {
        self.wants.push_back((Want::Send(to), bytes));
    }

    /// Adds a look-up of an internal name, whose absence must be proven.
    pub(super) fn find(&mut self, name: Vec<u8>) {
        self.want(Want::Find { name, freshness: Freshness::BarrierIfAbsent });
    }

    /// Answers the command: `result` is what stands behind the tag.
    pub(super) fn finish(&mut self, cx: &Context<'_>, result: &[u8]) {
        let mut line = Vec::with_capacity(cx.tag.len() + result.len() + 3);
        line.extend_from_slice(cx.tag);
        line.push(b' ');
        line.extend_from_slice(result);
        line.extend_from_slice(b"\r\n");
        self.reply(line);
        self.want(Want::Done);
    }

    /// Gives the next want; its bytes are appended to `out`.
    pub(super) fn poll(&mut self, out: &mut Vec<u8>) -> Option<Want> {
        let (want, bytes) = self.wants.pop_front()?;
        out.extend_from_slice(&bytes);
        Some(want)
    }
}

/// Where the user's INBOX is, as a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Home {
    /// Connected.
    At(BackendId),
    /// The user has none.
    Nowhere,
    /// It cannot be had at the moment.
    Unavailable,
}

/// Begins to look for the connection to the user's home: where the list has it now, for a user may have
/// been moved since he was last looked up.
pub(super) fn seek_home(cx: &Context<'_>, agenda: &mut Agenda) {
    agenda.find(cx.config.namespace.inbox(&cx.identity.user));
}

/// Goes on looking for the home; `Some` is the end of it.
pub(super) fn home_news(news: News<'_>, cx: &Context<'_>, agenda: &mut Agenda) -> Option<Home> {
    match news {
        News::Found(finding) => match located(finding) {
            Ok(entry) => match server_of(&entry, cx) {
                Some(server) => {
                    agenda.want(Want::Backend { server: server.to_vec() });
                    None
                }
                None => Some(Home::Unavailable),
            },
            Err(ABSENT) => Some(Home::Nowhere),
            // The list cannot tell at the moment: where it was last.
            Err(_) => match cx.home {
                Some(server) => {
                    agenda.want(Want::Backend { server: server.to_vec() });
                    None
                }
                None => Some(Home::Unavailable),
            },
        },
        News::Backend(Ok(backend)) => Some(Home::At(backend)),
        News::Backend(Err(_)) => Some(Home::Unavailable),
        News::Page(_)
        | News::Barrier(_)
        | News::Intended
        | News::Lost(_)
        | News::ForwardBroken { .. }
        | News::Drained(_)
        | News::Kept(_)
        | News::Offered(_)
        | News::Time => None,
    }
}

/// Whether a line of a response announces a literal, so that only [`Line::Whole`] shows all of it.
pub(super) fn is_partial(line: &[u8]) -> bool {
    literal::at_line_end(wire_line::without_end(line)).is_some()
}

/// The mailbox that a look-up found, or what the client is told.
pub(super) fn located(finding: Finding) -> Result<Entry, &'static [u8]> {
    match finding {
        Finding::Active(entry) => Ok(entry),
        Finding::Absent => Err(ABSENT),
        Finding::Reserved { .. } | Finding::Unknown => Err(UNAVAILABLE),
    }
}

/// The server of a mailbox; an entry without one (`mupdate_config: replicated`) is everywhere.
pub(super) fn server_of<'a>(entry: &'a Entry, cx: &'a Context<'_>) -> Option<&'a [u8]> {
    let any = || cx.config.serverlist.first().map(|server| server.as_bytes());
    entry.location.server().or_else(any)
}

/// The internal name of a mailbox as typed; what has none does not exist.
pub(super) fn internal(typed: &[u8], cx: &Context<'_>) -> Result<Vec<u8>, &'static [u8]> {
    cx.config.namespace.internal(typed, cx.identity).map_err(|_| ABSENT)
}

/// What to route by for a mailbox as typed that its server looks up itself: `\Sent` is the user's mailbox
/// of that use, which his home knows.
pub(super) fn place(typed: &[u8], cx: &Context<'_>) -> Result<Vec<u8>, &'static [u8]> {
    match typed.first() {
        Some(b'\\') => Ok(cx.config.namespace.inbox(&cx.identity.user)),
        _ => internal(typed, cx),
    }
}

/// Appends a mailbox or the like for a backend: what no quoted string can hold goes as `{n+}` to a
/// server that knows it.
pub(super) fn string_for(backend: BackendId, bytes: &[u8], cx: &Context<'_>, out: &mut Vec<u8>) {
    let offer = cx.offer(backend);
    let plus = offer.has(Offer::LITERAL_PLUS) || offer.has(Offer::LITERAL_MINUS);
    let style = if plus { LiteralStyle::NonSynchronising } else { LiteralStyle::Synchronising };
    astring_out_as(out, bytes, style);
}

/// The tagged result in a line, when it answers `tag`: the status and the text behind it.
pub(super) fn result_of<'a>(line: &'a [u8], answers: &[u8]) -> Option<(Status, &'a [u8])> {
    match response(line) {
        Response::Tagged { tag, status, text } if tag == answers => Some((status, text)),
        Response::Tagged { .. }
        | Response::Untagged { .. }
        | Response::Continuation { .. }
        | Response::Invalid => None,
    }
}

/// `NO text`, `BAD text` or `OK text`.
pub(super) fn result_line(status: Status, text: &[u8]) -> Vec<u8> {
    if is_referral(text) {
        return BEING_MOVED.to_vec();
    }
    let word: &[u8] = match status {
        Status::Ok => b"OK ",
        Status::No => b"NO ",
        Status::Bad => b"BAD ",
    };
    [word, text].concat()
}

/// What becomes of a line that a task did not ask for, on a connection that is not the selected one:
/// only an alert concerns the client.
pub(super) fn aside(line: &[u8]) -> Line {
    match response(line) {
        Response::Untagged { kind: UntaggedKind::Ok, rest, .. }
            if code(rest).is_some_and(|(name, _)| name.eq_ignore_ascii_case(b"ALERT")) =>
        {
            Line::Relay
        }
        Response::Tagged { .. }
        | Response::Untagged { .. }
        | Response::Continuation { .. }
        | Response::Invalid => Line::Drop,
    }
}

/// As [`aside`], for any connection: what the selected mailbox tells of itself concerns the client.
pub(super) fn aside_of(backend: BackendId, line: &[u8], cx: &Context<'_>) -> Line {
    match response(line) {
        Response::Untagged { .. } if cx.selected.is_some_and(|selected| selected.backend == backend) => {
            Line::Relay
        }
        Response::Tagged { .. }
        | Response::Untagged { .. }
        | Response::Continuation { .. }
        | Response::Invalid => aside(line),
    }
}
