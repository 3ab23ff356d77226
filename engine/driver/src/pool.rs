//! Backend connections that a session left clean, for the next session that wants one.
//!
//! ```text
//!   (a session's) ──Release──> pooled ──OpenBackend──> (another session's)
//!                                 └── a byte, the end, too long ──> Closing
//! ```
//! Only what `Release` named goes here, so that a connection which is logged in as somebody stays his.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocols::proxy::{Answer, BackendId, Event, QuestionId, Service, Side};

use crate::conn::{Conn, Finish, Splicing, Wait};
use crate::input::Fresh;
use crate::limits::POOLED_PER_SERVER_MAX;
use crate::turn::NONE;
use crate::{Driver, Work};

/// The connections that wait, by server.
#[derive(Default)]
pub(crate) struct Pool {
    idle: BTreeMap<Box<str>, Vec<Idle>>,
    len: usize,
}

/// One that waits.
struct Idle {
    slot: u32,
    service: Service,
    offer: Arc<[u8]>,
}

impl Pool {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn has_room(&self, server: &str) -> bool {
        self.idle.get(server).is_none_or(|idle| idle.len() < POOLED_PER_SERVER_MAX)
    }

    fn put(&mut self, server: Box<str>, idle: Idle) {
        self.idle.entry(server).or_default().push(idle);
        self.len += 1;
    }

    /// The one that was used last: the others grow old together.
    fn take(&mut self, server: &str, service: Service) -> Option<Idle> {
        let idle = self.idle.get_mut(server)?;
        let at = idle.iter().rposition(|idle| idle.service == service)?;
        self.len -= 1;
        Some(idle.remove(at))
    }

    fn forget(&mut self, slot: u32) {
        let before = self.len;
        for idle in self.idle.values_mut() {
            let all = idle.len();
            idle.retain(|idle| idle.slot != slot);
            self.len -= all - idle.len();
        }
        if self.len != before {
            self.idle.retain(|_, idle| !idle.is_empty());
        }
    }

    /// Takes all away.
    fn drain(&mut self) -> Vec<u32> {
        self.len = 0;
        let all = std::mem::take(&mut self.idle);
        all.into_values().flatten().map(|idle| idle.slot).collect()
    }
}

impl Driver {
    /// Connections that wait for a session.
    pub fn pooled(&self) -> usize {
        self.pool.len()
    }

    /// Takes a connection of a session into the pool; one with anything in hand is closed.
    pub(crate) fn release(&mut self, session: u32, side: Side, released: Released, fresh: &Fresh<'_>) {
        let Some(slot) = self.slot_of(session, side) else { return };
        let has_unread = fresh.slot == slot && !fresh.rest().is_empty();
        let is_clean = self.conns.at(slot).is_some_and(Conn::is_clean) && !has_unread;
        let has_room = self.drain.is_none()
            && self.pool.len() < self.limits.connections_max / 4
            && self.pool.has_room(&released.server);
        if !is_clean || !has_room {
            self.kill(slot);
            return;
        }
        self.leave_session(slot);
        let now = self.now;
        if let Some(conn) = self.conns.at_mut(slot) {
            (conn.pooled, conn.progress) = (true, now);
        }
        self.pool.put(released.server, Idle { slot, service: released.service, offer: released.offer });
        self.wheel.arm(slot * 2 + 1, now + self.limits.pooled_for);
        self.review(slot);
    }

    /// Gives a session a pooled connection; `false` when there is none.
    pub(crate) fn reuse(
        &mut self,
        session: u32,
        id: QuestionId,
        side: BackendId,
        (server, service): (&str, Service),
    ) -> bool {
        let Some(Idle { slot, offer, .. }) = self.pool.take(server, service) else { return false };
        let side = Side::Backend(side);
        if let Some(conn) = self.conns.at_mut(slot) {
            (conn.pooled, conn.session, conn.side, conn.wait) = (false, session, side, Wait::No);
        }
        self.wheel.disarm(slot * 2 + 1);
        if let Some(state) = self.sessions.at_mut(session) {
            state.sides.push((side, slot));
        }
        let answer = Answer::Reused { offer };
        self.work.push_back(Work::Event(self.session_id(session), Event::Answer { id, answer }));
        true
    }

    /// A pooled connection brought something, ended or broke.
    pub(crate) fn unpool(&mut self, slot: u32) {
        if let Some(conn) = self.conns.at_mut(slot)
            && std::mem::take(&mut conn.pooled)
        {
            self.pool.forget(slot);
        }
    }

    /// A pooled connection has waited for too long.
    pub(crate) fn retire(&mut self, slot: u32) {
        self.unpool(slot);
        self.close_when_sent(slot);
    }

    /// Closes all that wait.
    pub(crate) fn empty_pool(&mut self) {
        for slot in self.pool.drain() {
            if let Some(conn) = self.conns.at_mut(slot) {
                conn.pooled = false;
            }
            self.close_when_sent(slot);
        }
    }
}

/// What a session says of a connection that it releases.
pub(crate) struct Released {
    pub(crate) server: Box<str>,
    pub(crate) service: Service,
    pub(crate) offer: Arc<[u8]>,
}

impl Conn {
    /// Whether nothing of a session is on it, in either direction.
    fn is_clean(&self) -> bool {
        let decoded = self
            .layer
            .as_ref()
            .is_none_or(|layer| layer.established && layer.wire.len() == 0 && !layer.layer.holds_input());
        self.session != NONE
            && decoded
            && self.finish == Finish::No
            && self.splicing == Splicing::No
            && self.input_open
            && !self.broken
            && self.jobs.is_empty()
            && self.kept.len() == 0
            && self.queue.is_none()
            && self.spill.is_none()
            && self.out.is_empty()
    }
}
