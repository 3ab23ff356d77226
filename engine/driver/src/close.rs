//! The ends of connections and sessions.
//!
//! ```text
//!   No ──Flush──> Close ──all sent──> Lingering ──input ended, LINGER──> Closing ──closed──> free
//!   No ──pipe's other end ended──> HalfClose ──all sent──> HalfClosed
//!   any ──Abort, broken──> Closing
//! ```

use protocols::proxy::{self, Event, Side};

use crate::conn::{Conn, Finish, Job, Kept, Splicing};
use crate::layer::Wire;
use crate::limits::QUIET_AFTER;
use crate::turn::{Chain, Coding, NONE};
use crate::{ConnId, Driver, Op, Work};

impl Driver {
    /// The carrier has closed the descriptor; nothing of it is in flight.
    pub fn closed(&mut self, conn: ConnId) {
        if !self.conns.is(conn.slot, conn.generation) {
            return;
        }
        let gone = self.conns.remove(conn.slot);
        // What was killed counts no more.
        if let Some(gone) = gone.filter(|gone| gone.finish != Finish::Closing) {
            self.spilled -= gone.spill.map_or(0, |spill| spill.len());
        }
    }

    pub(crate) fn close(&mut self, session: u32, side: Side, how: proxy::Close) {
        let Some(slot) = self.slot_of(session, side) else { return };
        self.finish_jobs(slot);
        match how {
            proxy::Close::Abort => self.kill(slot),
            proxy::Close::BetweenLines => match self.piped_between_lines(slot) {
                Some(source) => {
                    self.unpipe(source, slot);
                    self.leave_session(slot);
                    self.close_when_sent(slot);
                }
                None => self.kill(slot),
            },
            proxy::Close::Flush => {
                self.leave_session(slot);
                self.abandon_jobs(slot);
                self.close_when_sent(slot);
            }
        }
    }

    /// The other end of a pipe that is quiet and stands between two lines of what it sends here, as far as is known:
    /// it spoke last, what it said went out, and of bytes that were spliced nobody knows how they end.
    fn piped_between_lines(&self, slot: u32) -> Option<u32> {
        let conn = self.conns.at(slot)?;
        let Some(Job::Pipe { to }) = conn.jobs.first() else { return None };
        let other = self.conns.at(*to)?;
        let is_whole = matches!(other.jobs.first(), Some(Job::Pipe { to }) if *to == slot);
        let spoke_last = other.progress >= conn.progress;
        let is_quiet = self.now.since(other.progress) >= QUIET_AFTER;
        let stands = is_whole && spoke_last && is_quiet && other.is_at_line_end;
        (stands && conn.is_clear() && other.is_clear()).then_some(*to)
    }

    /// Takes a pipe apart with which nothing is on its way.
    fn unpipe(&mut self, one: u32, other: u32) {
        for slot in [one, other] {
            if let Some(conn) = self.conns.at_mut(slot) {
                conn.jobs.clear();
                conn.dequeue();
            }
            self.settle_queue(slot);
        }
    }

    /// Takes a connection out of its session.
    pub(crate) fn leave_session(&mut self, slot: u32) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        let session = std::mem::replace(&mut conn.session, NONE);
        conn.kept = Kept::default();
        conn.eof_untold = false;
        if let Some(state) = self.sessions.at_mut(session) {
            state.sides.retain(|(_, at)| *at != slot);
        }
    }

    /// Closes in order once all was sent.
    pub(crate) fn close_when_sent(&mut self, slot: u32) {
        let now = self.now;
        let Some(conn) = self.conns.at_mut(slot) else { return };
        match conn.finish {
            Finish::No | Finish::HalfClose => conn.finish = Finish::Close,
            Finish::HalfClosed => {
                self.begin_lingering(slot);
                return;
            }
            Finish::Close | Finish::Lingering | Finish::Closing => return,
        }
        conn.progress = now;
        self.watch(slot);
        self.try_finish(slot);
        self.review(slot);
    }

    /// Half-closes a connection that has sent everything and is to be.
    pub(crate) fn try_finish(&mut self, slot: u32) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        let goal = conn.finish;
        if !matches!(goal, Finish::HalfClose | Finish::Close) || !conn.is_flushed() {
            return;
        }
        if goal == Finish::Close
            && let Some(mut state) = conn.layer.take()
        {
            // The goodbye of the layer is sent first; this is called again when it is out.
            let mut wire = Wire::default();
            state.layer.close(&mut wire);
            if !wire.is_empty() && !conn.broken {
                self.push_wire(slot, wire.bytes());
                return;
            }
        }
        let id = self.conn_id(slot);
        self.ops.push_back(Op::Shutdown(id));
        if goal == Finish::Close {
            self.begin_lingering(slot);
        } else if let Some(conn) = self.conns.at_mut(slot) {
            conn.finish = Finish::HalfClosed;
        }
    }

    fn begin_lingering(&mut self, slot: u32) {
        let now = self.now;
        let Some(conn) = self.conns.at_mut(slot) else { return };
        if conn.is_served() {
            self.work.push_back(Work::Settle(conn.session));
            self.leave_session(slot);
        }
        let Some(conn) = self.conns.at_mut(slot) else { return };
        if !conn.input_open {
            self.kill(slot);
            return;
        }
        conn.finish = Finish::Lingering;
        conn.progress = now;
        conn.splicing = Splicing::No;
        self.watch(slot);
        self.review(slot);
    }

    /// A connection broke: its session is told, and it is closed.
    pub(crate) fn reset(&mut self, slot: u32) {
        let Some(conn) = self.conns.at(slot) else { return };
        let (session, side) = (conn.session, conn.side);
        self.kill(slot);
        self.notify(session, Event::Reset(side));
        self.work.push_back(Work::Settle(session));
    }

    /// Cuts who has taken nothing for longest, until no more waits than may: not who happens to be sent
    /// something then.
    pub(crate) fn relieve(&mut self) {
        if self.doomed.0 != self.turns {
            self.doomed = (self.turns, 0);
        }
        while self.waiting() > self.limits.spill_bytes_max + self.doomed.1 {
            let Some(slot) = self.stillest() else { return };
            // What is unsent counts no more when it is killed; what waits behind it goes with its session.
            self.doomed.1 += self.kept_beside(slot);
            self.reset(slot);
        }
    }

    /// Who has taken nothing for longest of what stands unsent for him.
    fn stillest(&self) -> Option<u32> {
        let moved = |slot: u32| {
            let conn = self.conns.at(slot).filter(|conn| conn.finish != Finish::Closing)?;
            conn.spill.as_ref().map(|spill| (spill.moved, slot))
        };
        (0..self.conns.slots()).filter_map(moved).min().map(|(_, slot)| slot)
    }

    /// Input that waits on all sides of a connection's session.
    fn kept_beside(&self, slot: u32) -> usize {
        let session = self.conns.at(slot).and_then(|conn| self.sessions.at(conn.session));
        let of = |slot: u32| self.conns.at(slot).map_or(0, Conn::waiting);
        session.map_or(0, |session| session.sides.iter().map(|(_, slot)| of(*slot)).sum())
    }

    /// Closes at once.
    pub(crate) fn kill(&mut self, slot: u32) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        if conn.finish == Finish::Closing {
            return;
        }
        conn.finish = Finish::Closing;
        // What flies stays where it is until the carrier lets go of it, and counts no more.
        if let Some(spill) = &mut conn.spill {
            self.spilled -= spill.len();
            spill.waiting = Vec::new();
        }
        self.unpool(slot);
        self.break_destination(slot);
        self.abandon_jobs(slot);
        self.leave_session(slot);
        let id = self.conn_id(slot);
        if let Some(conn) = self.conns.at_mut(slot) {
            conn.out = Chain::EMPTY;
            conn.layer = None;
            conn.splicing = Splicing::No;
        }
        self.wheel.disarm(slot * 2 + 1);
        self.ops.push_back(Op::Close(id));
    }

    /// Ends a session and cuts its connections.
    pub(crate) fn end_session(&mut self, slot: u32) {
        let id = self.session_id(slot);
        let Some(state) = self.sessions.at_mut(slot) else { return };
        let sides = std::mem::take(&mut state.sides);
        self.wheel.disarm(slot * 2);
        if let Some(gone) = self.sessions.remove(slot) {
            // A machine that panics while it is dropped ends nobody else.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(gone)));
        }
        for (_, slot) in &sides {
            if let Some(conn) = self.conns.at_mut(*slot) {
                conn.session = NONE;
            }
        }
        for (_, slot) in sides {
            self.kill(slot);
        }
        self.ops.push_back(Op::Ended(id));
    }

    /// Appends bytes that are encoded already.
    pub(crate) fn push_wire(&mut self, slot: u32, wire: &[u8]) {
        if wire.is_empty() {
            return;
        }
        let source = self.turn.copy(wire);
        let Some(conn) = self.conns.at_mut(slot) else { return };
        if conn.finish == Finish::Closing {
            return;
        }
        self.turn.push(&mut conn.out, source, Coding::Wire);
        if !conn.in_dirty {
            conn.in_dirty = true;
            self.dirty.push(slot);
        }
    }
}
