//! The clients of the MUPDATE listener: backends, slaves, tools.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use mupdate::master::Connection;
use protocols::proxy::{Event, Instant, Knowledge, Output, Session, Side, Taken};

use super::refusal::Refusal;
use crate::config::Serving;
use crate::helpers::PasswordSource;
use crate::shard::{Accepted, Inbox, PeerAddress, SessionId, ToShard};

/// Connections that can still be told that there are too many.
const REFUSALS_MAX: usize = 64;

/// What other threads see of the clients.
pub(super) struct Shared {
    /// How they are served; swapped whole when the configuration is read again.
    pub(super) serving: ArcSwap<Serving>,
    /// How many there are.
    pub(super) connections: AtomicUsize,
}

/// All that are connected.
pub(super) struct Clients {
    shared: Arc<Shared>,
    /// What descriptors allow.
    limit: usize,
    /// The epoch of the list, for slaves that go on where they were.
    epoch: Option<Arc<str>>,
    /// Those that are told of changes.
    streams: BTreeSet<SessionId>,
}

impl Clients {
    /// `descriptors` is what the shard may have open for all its connections.
    pub(super) fn new(shared: Arc<Shared>, descriptors: usize, epoch: Option<Arc<str>>) -> Clients {
        let limit = descriptors.saturating_sub(REFUSALS_MAX).max(descriptors / 2);
        Clients { shared, limit, epoch, streams: BTreeSet::new() }
    }

    /// Serves a connection, or tells it why it is not served.
    pub(super) fn accept(&self, peer: &PeerAddress, knowledge: Knowledge) -> Option<Accepted> {
        let serving = self.shared.serving.load();
        let limit = serving.connections_max.map_or(self.limit, |most| most.min(self.limit));
        let refused = |text| Some(Accepted { session: Box::new(Refusal::new(text)), layer: None });
        if self.shared.connections.load(Ordering::Relaxed) >= limit {
            return refused("Server Unable");
        }
        // An empty answer would be taken for an empty list.
        if knowledge == Knowledge::NeverSynced {
            return refused("not ready for connections");
        }
        let origin = crate::origin::origin(peer, false)?;
        let connection = Connection::new(Arc::clone(&serving.machine), origin, self.epoch.clone());
        Some(Accepted { session: Box::new(Counted::new(connection, Arc::clone(&self.shared))), layer: None })
    }

    /// A session streams the list.
    pub(super) fn streams(&mut self, session: SessionId) {
        self.streams.insert(session);
    }

    /// Tells all who stream that there are changes.
    pub(super) fn list_changed(&self, inbox: &Inbox) {
        for session in &self.streams {
            inbox.send(ToShard::Event { session: *session, event: Event::ListChanged });
        }
    }

    /// A session has ended, of a client or not.
    pub(super) fn ended(&mut self, session: SessionId) {
        self.streams.remove(&session);
    }

    /// Where passwords are checked.
    pub(super) fn passwords(&self) -> PasswordSource {
        self.shared.serving.load().passwords.clone()
    }
}

/// A connection that counts for as long as it stands.
struct Counted {
    connection: Connection,
    shared: Arc<Shared>,
}

impl Counted {
    fn new(connection: Connection, shared: Arc<Shared>) -> Counted {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        Counted { connection, shared }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Session for Counted {
    fn handle_input(&mut self, side: Side, input: &[u8], now: Instant) -> Taken {
        self.connection.handle_input(side, input, now)
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        self.connection.handle_event(event, now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.connection.handle_timeout(now);
    }

    fn poll_output(&mut self, scratch: &mut Vec<u8>) -> Option<Output> {
        self.connection.poll_output(scratch)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.connection.poll_timeout()
    }
}
