//! From a mailbox to a logged-in connection to its server.
//!
//! "Here" in the list is where to ask first. When the backend says that the mailbox is not there or
//! elsewhere, that is not yet the client's answer: the list is asked again behind a barrier, and a
//! new server once.
//!
//! ```text
//! Find ──> ExpectFinding ──> Connect ──> ExpectBackend ──> There
//!   ^──────────── again(): the backend knows it not ─────────┘
//! ```

use super::answers::{ABSENT, BEING_MOVED, RESERVED, UNKNOWN, UNREACHABLE};
use super::task::{Context, News, Want};
use crate::proxy::{BackendId, Finding, Freshness, Instant};

/// The way to one mailbox or server.
#[derive(Debug)]
pub(super) struct Route {
    name: Vec<u8>,
    stage: Stage,
    /// The server that was asked already.
    tried: Option<Vec<u8>>,
    /// Which server of the list is tried for an entry that names none.
    next_server: usize,
    has_asked_again: bool,
    /// The server that it was moved back to was asked once more.
    has_come_back: bool,
    /// How often a connection was lost before it was answered.
    losses: u8,
    /// When the last one stood.
    arrived: Instant,
}

/// How often a command that may be sent again is, when its connection is lost: a server that ends the sessions of a
/// user who moves does so once.
const LOSSES_MAX: u8 = 2;

#[derive(Debug)]
enum Stage {
    Find(Freshness),
    ExpectFinding(Freshness),
    Connect(Vec<u8>),
    ExpectBackend(Vec<u8>),
    There,
}

/// Where a route ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// A connection to the server.
    At(BackendId),
    /// The list agrees with the server that was asked already.
    Same,
    /// There is no such mailbox.
    Absent,
    /// It cannot be reached; the text of the answer.
    Unavailable(&'static [u8]),
}

impl Arrival {
    /// The text of the answer where the route does not end at a connection.
    pub(super) fn refusal(&self) -> &'static [u8] {
        match self {
            Arrival::At(_) | Arrival::Same | Arrival::Absent => ABSENT,
            Arrival::Unavailable(text) => text,
        }
    }
}

impl Route {
    /// To the server of a mailbox, by its internal name.
    pub(super) fn to(name: Vec<u8>) -> Route {
        Route {
            name,
            stage: Stage::Find(Freshness::BarrierIfAbsent),
            tried: None,
            next_server: 0,
            has_asked_again: false,
            has_come_back: false,
            losses: 0,
            arrived: Instant(0),
        }
    }

    /// To a server.
    pub(super) fn to_server(server: Vec<u8>) -> Route {
        Route {
            name: Vec::new(),
            stage: Stage::Connect(server),
            tried: None,
            next_server: usize::MAX,
            has_asked_again: false,
            has_come_back: false,
            losses: 0,
            arrived: Instant(0),
        }
    }

    /// The server that it goes to, as far as it was begun with one.
    pub(super) fn server(&self) -> Option<&[u8]> {
        match &self.stage {
            Stage::Connect(server) | Stage::ExpectBackend(server) => Some(server),
            Stage::Find(_) | Stage::ExpectFinding(_) | Stage::There => None,
        }
    }

    /// The server that was asked last, whether its connection still stands or not.
    pub(super) fn asked(&self) -> Option<&[u8]> {
        self.tried.as_deref()
    }

    /// The internal name.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Looks again, behind a barrier: the server that was asked says that it is not there.
    pub(super) fn again(&mut self) {
        self.has_asked_again = true;
        self.stage = Stage::Find(Freshness::Proven);
    }

    /// The connection that it ended at is used from now on.
    pub(super) fn arrived(&mut self, now: Instant) {
        self.arrived = now;
    }

    /// Goes on where the connection was lost before the answer: where the mailbox is behind a barrier, be it the same
    /// server; whether it does. One that was given up because it said nothing is not asked again, unless it was moving
    /// the mailbox.
    pub(super) fn resume(&mut self, cx: &Context<'_>, now: Instant) -> bool {
        let is_silent = self.arrived + cx.config.timeouts.command <= now && !cx.has_waited;
        if self.name.is_empty() || is_silent || self.losses == LOSSES_MAX {
            return false;
        }
        self.losses += 1;
        self.tried = None;
        self.stage = Stage::Find(Freshness::Proven);
        true
    }

    /// Whether it has looked again.
    pub(super) fn has_asked_again(&self) -> bool {
        self.has_asked_again
    }

    /// What is wanted next.
    pub(super) fn poll_want(&mut self) -> Option<Want> {
        match std::mem::replace(&mut self.stage, Stage::There) {
            Stage::Find(freshness) => {
                self.stage = Stage::ExpectFinding(freshness);
                Some(Want::Find { name: self.name.clone(), freshness })
            }
            Stage::Connect(server) => {
                self.stage = Stage::ExpectBackend(server.clone());
                Some(Want::Backend { server })
            }
            waiting @ (Stage::ExpectFinding(_) | Stage::ExpectBackend(_) | Stage::There) => {
                self.stage = waiting;
                None
            }
        }
    }

    /// Takes news; gives where the route ends, if it does.
    pub(super) fn handle_news(&mut self, news: &News<'_>, cx: &Context<'_>) -> Option<Arrival> {
        match (&self.stage, news) {
            (Stage::ExpectFinding(freshness), News::Found(finding)) => self.found(*freshness, finding, cx),
            (Stage::ExpectBackend(server), News::Backend(Ok(id))) => {
                self.tried = Some(server.clone());
                self.stage = Stage::There;
                Some(Arrival::At(*id))
            }
            (Stage::ExpectBackend(_), News::Backend(Err(_))) => self.next_of_list(cx),
            _ => None,
        }
    }

    fn found(&mut self, freshness: Freshness, finding: &Finding, cx: &Context<'_>) -> Option<Arrival> {
        let arrival = match finding {
            Finding::Active(entry) => match entry.location.server() {
                Some(server) if self.tried.as_deref() == Some(server) && !self.comes_back(cx) => {
                    // What has moved may do so again, ahead of the list.
                    if cx.has_waited { Arrival::Unavailable(BEING_MOVED) } else { Arrival::Same }
                }
                Some(server) => {
                    self.stage = Stage::Connect(server.to_vec());
                    self.next_server = usize::MAX;
                    return None;
                }
                None => return self.next_of_list(cx),
            },
            // The reservation may be over by the time the barrier is.
            Finding::Reserved { .. } if !matches!(freshness, Freshness::Barrier | Freshness::Proven) => {
                self.stage = Stage::Find(Freshness::Barrier);
                return None;
            }
            Finding::Reserved { .. } => Arrival::Unavailable(RESERVED),
            Finding::Absent => Arrival::Absent,
            Finding::Unknown => Arrival::Unavailable(UNKNOWN),
        };
        self.stage = Stage::There;
        Some(arrival)
    }

    /// Whether a mailbox may have been moved away and back since its server was asked.
    fn comes_back(&mut self, cx: &Context<'_>) -> bool {
        cx.has_waited && !std::mem::replace(&mut self.has_come_back, true)
    }

    /// The next server for an entry that names none (`mupdate_config: replicated`).
    fn next_of_list(&mut self, cx: &Context<'_>) -> Option<Arrival> {
        let next = cx.config.serverlist.get(self.next_server);
        self.next_server = self.next_server.saturating_add(1);
        match next {
            Some(server) => {
                self.stage = Stage::Connect(server.as_bytes().to_vec());
                None
            }
            None => {
                self.stage = Stage::There;
                Some(Arrival::Unavailable(UNREACHABLE))
            }
        }
    }
}
