//! STATUS and METADATA of the rows, asked of all their servers at once (RFC 5819, RFC 9590).
//!
//! Each server gets the LIST itself, so one command a server tells of all its mailboxes. Its own LIST
//! lines are dropped: the rows are on their way already.

use std::collections::BTreeSet;
use std::time::Duration;

use smallvec::SmallVec;

use super::FIRST_SERVER;
use crate::imap::agenda::{Agenda, aside_of, is_partial, result_of, string_for};
use crate::imap::backend::Offer;
use crate::imap::grammar::{Response, Status, UntaggedKind, response, responses};
use crate::imap::task::{Context, Line, News, Want};
use crate::proxy::BackendId;
use crate::wire::Cursor;

/// How long the servers of the rows may take together.
pub(super) const FAN_TIMEOUT: Duration = Duration::from_secs(20);

/// Servers asked for one LIST; a murder has some dozens.
pub(super) const FAN_SERVERS_MAX: usize = 64;

/// The question to all servers.
#[derive(Debug)]
pub(super) struct Fan {
    /// Asked for a connection, not answered.
    awaited: usize,
    /// Connected.
    arms: SmallVec<[Arm; 4]>,
    /// Servers that no connection was had to, as far as known.
    servers: BTreeSet<Box<[u8]>>,
    patterns: Vec<Box<[u8]>>,
    /// `STATUS (...) METADATA (...)`.
    items: Vec<u8>,
    /// Only these mailboxes are told of.
    only: Option<BTreeSet<Box<[u8]>>>,
    missing: Vec<Box<[u8]>>,
}

#[derive(Debug)]
struct Arm {
    backend: BackendId,
    server: Box<[u8]>,
    number: u32,
    is_done: bool,
}

impl Fan {
    /// Asks for connections to all servers.
    pub(super) fn new(
        servers: BTreeSet<Box<[u8]>>,
        patterns: Vec<Box<[u8]>>,
        items: Vec<u8>,
        only: Option<BTreeSet<Box<[u8]>>>,
        agenda: &mut Agenda,
    ) -> Fan {
        let missing = servers.iter().skip(FAN_SERVERS_MAX).cloned().collect();
        let servers: BTreeSet<_> = servers.into_iter().take(FAN_SERVERS_MAX).collect();
        for server in &servers {
            agenda.want(Want::Backend { server: server.to_vec() });
        }
        agenda.want(Want::Wake(FAN_TIMEOUT));
        Fan { awaited: servers.len(), arms: SmallVec::new(), servers, patterns, items, only, missing }
    }

    pub(super) fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, agenda: &mut Agenda) {
        match news {
            News::Backend(Ok(backend)) => self.handle_connected(backend, cx, agenda),
            News::Backend(Err(_)) => self.awaited = self.awaited.saturating_sub(1),
            News::Lost(lost) => self.give_up(|arm| arm.backend == lost),
            News::Time => self.handle_time(cx, agenda),
            News::Found(_)
            | News::Page(_)
            | News::Barrier(_)
            | News::ForwardBroken { .. }
            | News::Drained(_) => {}
        }
    }

    fn handle_connected(&mut self, backend: BackendId, cx: &Context<'_>, agenda: &mut Agenda) {
        self.awaited = self.awaited.saturating_sub(1);
        let Some(server) = cx.server(backend).and_then(|server| self.servers.take(server)) else { return };
        if !cx.offer(backend).has(Offer::LIST_EXTENDED) {
            return self.missing.push(server);
        }
        // Truncation: FAN_SERVERS_MAX arms.
        let number = FIRST_SERVER + self.arms.len() as u32;
        let mut line = Vec::new();
        cx.own_tag(number, &mut line);
        line.extend_from_slice(b" LIST \"\" (");
        for (n, pattern) in self.patterns.iter().enumerate() {
            if n > 0 {
                line.push(b' ');
            }
            string_for(backend, pattern, cx, &mut line);
        }
        line.extend_from_slice(b") RETURN (");
        line.extend_from_slice(&self.items);
        line.extend_from_slice(b")\r\n");
        agenda.send(backend, line);
        self.arms.push(Arm { backend, server, number, is_done: false });
    }

    /// The time is over: connections with an open question are closed, but for the selected one, which
    /// is waited for.
    fn handle_time(&mut self, cx: &Context<'_>, agenda: &mut Agenda) {
        let selected = cx.selected.map(|selected| selected.backend);
        for arm in self.arms.iter().filter(|arm| !arm.is_done && Some(arm.backend) != selected) {
            agenda.want(Want::Abandon(arm.backend));
        }
        self.give_up(|arm| Some(arm.backend) != selected);
        self.awaited = 0;
    }

    fn give_up(&mut self, is_lost: impl Fn(&Arm) -> bool) {
        for arm in self.arms.iter_mut().filter(|arm| !arm.is_done && is_lost(arm)) {
            arm.is_done = true;
            self.missing.push(arm.server.clone());
        }
    }

    pub(super) fn handle_line(&mut self, from: BackendId, line: &[u8], cx: &Context<'_>) -> Line {
        let Some(arm) = self.arms.iter_mut().find(|arm| arm.backend == from && !arm.is_done) else {
            return aside_of(from, line, cx);
        };
        let mut tag = Vec::new();
        cx.own_tag(arm.number, &mut tag);
        if let Some((status, _)) = result_of(line, &tag) {
            arm.is_done = true;
            if status != Status::Ok {
                let server = arm.server.clone();
                self.missing.push(server);
            }
            return Line::Drop;
        }
        match response(line) {
            Response::Untagged { kind: UntaggedKind::List, .. } => Line::Drop,
            Response::Untagged { kind: UntaggedKind::Status, rest, .. } => match &self.only {
                Some(_) if is_partial(line) => Line::Whole,
                Some(only) => {
                    keep(responses::status(rest).is_ok_and(|status| only.contains(&*status.mailbox)))
                }
                None => Line::Relay,
            },
            Response::Untagged { kind: UntaggedKind::Metadata, rest, .. } => match &self.only {
                Some(only) => keep(Cursor::new(rest).astring().is_ok_and(|name| only.contains(&*name))),
                None => Line::Relay,
            },
            Response::Tagged { .. }
            | Response::Untagged { .. }
            | Response::Continuation { .. }
            | Response::Invalid => aside_of(from, line, cx),
        }
    }

    /// When all have answered: the servers whose data are missing.
    pub(super) fn poll_end(&mut self) -> Option<Vec<Box<[u8]>>> {
        if self.awaited > 0 || self.arms.iter().any(|arm| !arm.is_done) {
            return None;
        }
        let mut missing = std::mem::take(&mut self.missing);
        missing.extend(std::mem::take(&mut self.servers));
        Some(missing)
    }
}

fn keep(is_wanted: bool) -> Line {
    if is_wanted { Line::Relay } else { Line::Drop }
}
