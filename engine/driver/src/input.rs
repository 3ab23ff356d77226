//! How input comes to a machine.
//!
//! ```text
//!   received ─> layer ─> claimed by a job? ─> job      (forward.rs)
//!                          │ no
//!                          └─> offered ─> taken, claimed by an output, or kept
//! ```

use std::mem;

use protocols::proxy::{Event, HEAD_BYTES_MAX, Then};

use crate::conn::{Finish, Job, Receiving, Splicing, Wait};
use crate::limits::{BACKLOG_BYTES_MAX, BUFFER_BYTES, BUFFERS_PER_TURN};
use crate::turn::{BufferId, NONE, Source};
use crate::{ConnId, Driver, Op, Pace, Work};

/// Decoded bytes that wait on a connection at which its receive is stopped. What a client may
/// pipeline while a command of his is looked up costs no stop below this.
const KEPT_BYTES_STOP: usize = 16 * 1024;

/// Decoded input that is being looked at: in a received buffer, or kept from before.
pub(crate) struct Fresh<'a> {
    pub(crate) slot: u32,
    /// The buffer that it stands in, and where in it.
    place: Option<(BufferId, u32)>,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fresh<'a> {
    /// No input: outputs are polled for another reason.
    pub(crate) fn none() -> Fresh<'static> {
        Fresh { slot: NONE, place: None, bytes: &[], at: 0 }
    }

    pub(crate) fn new(slot: u32, place: Option<(BufferId, u32)>, bytes: &'a [u8]) -> Fresh<'a> {
        Fresh { slot, place, bytes, at: 0 }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    pub(crate) fn skip(&mut self, n: usize) {
        self.at += n;
    }
}

impl Driver {
    /// Input came into a buffer of the carrier, which is lent until the turn ends.
    pub fn received(&mut self, conn: ConnId, buffer: BufferId, bytes: &mut [u8]) {
        if !self.conns.is(conn.slot, conn.generation) {
            return;
        }
        let slot = conn.slot;
        let Some(at) = self.conns.at_mut(slot) else { return };
        if at.pooled {
            // Nobody asked it anything.
            self.kill(slot);
            self.work();
            return;
        }
        if !at.is_served() {
            return; // It is being closed: read away.
        }
        at.turn_bytes = at.turn_bytes.saturating_add(bytes.len() as u32);
        if at.share_turn != self.turns {
            (at.share_turn, at.share) = (self.turns, 0);
        }
        at.share = at.share.saturating_add(1);
        if at.layer.is_some() {
            self.decode_received(slot, buffer, bytes);
        } else {
            self.take(slot, Some((buffer, 0)), bytes);
        }
        self.work();
        self.review(slot);
        if bytes.len() == BUFFER_BYTES {
            self.count_single(slot);
        }
    }

    /// A full buffer that bulk does not follow: after some of them more is received at once again. Bulk that is
    /// copied for want of a pipe goes on by the buffer: in bursts it keeps everybody else waiting.
    fn count_single(&mut self, slot: u32) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        if conn.singles == 0 || conn.splicing != Splicing::No || conn.copying {
            return;
        }
        conn.singles -= 1;
        if conn.singles == 0 && conn.receiving == Receiving::On {
            let id = self.conn_id(slot);
            self.ops.push_back(Op::Receive(id, Pace::Burst));
        }
    }

    /// Whether a connection may be given one more buffer in this turn. What it may not waits at the
    /// carrier for the next, in order, with all that follows it on this connection.
    pub fn has_share(&self, conn: ConnId) -> bool {
        let at = self.conns.at(conn.slot);
        !at.is_some_and(|at| at.share_turn == self.turns && at.share >= BUFFERS_PER_TURN)
    }

    /// The other end sends no more.
    pub fn ended(&mut self, conn: ConnId) {
        if !self.conns.is(conn.slot, conn.generation) {
            return;
        }
        let Some(at) = self.conns.at_mut(conn.slot) else { return };
        at.receiving = Receiving::Off;
        self.input_ended(conn.slot);
        self.work();
    }

    /// The connection broke: nothing can be read from it or written to it.
    pub fn failed(&mut self, conn: ConnId) {
        if !self.conns.is(conn.slot, conn.generation) {
            return;
        }
        self.finish_jobs(conn.slot);
        self.reset(conn.slot);
        self.work();
    }

    /// A receive that was to be stopped has ended, and all that it brought was delivered.
    pub fn receive_stopped(&mut self, conn: ConnId) {
        if !self.conns.is(conn.slot, conn.generation) {
            return;
        }
        if let Some(at) = self.conns.at_mut(conn.slot) {
            at.receiving = Receiving::Off;
        }
        self.review(conn.slot);
        self.work();
    }

    /// Decoded bytes arrived: to jobs, to the machine, the rest is kept.
    pub(crate) fn take(&mut self, slot: u32, place: Option<(BufferId, u32)>, bytes: &[u8]) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        if conn.kept.len() > 0 {
            conn.kept.append(bytes, &self.kept);
            if conn.wait == Wait::More {
                conn.wait = Wait::No;
            }
            self.pump(slot);
        } else {
            if conn.wait == Wait::More {
                conn.wait = Wait::No;
            }
            let mut fresh = Fresh::new(slot, place, bytes);
            self.consume(&mut fresh);
            let rest = fresh.rest();
            if !rest.is_empty()
                && let Some(conn) = self.conns.at_mut(slot)
                && conn.is_served()
            {
                conn.kept.append(rest, &self.kept);
            }
        }
        if self.conns.at(slot).is_some_and(|conn| conn.kept.len() > BACKLOG_BYTES_MAX) {
            self.reset(slot);
        }
        self.relieve();
    }

    /// Goes on with what a connection has kept.
    pub(crate) fn pump(&mut self, slot: u32) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        if conn.kept.len() > 0 {
            let mut kept = mem::take(&mut conn.kept);
            let mut fresh = Fresh::new(slot, None, kept.bytes());
            self.consume(&mut fresh);
            let used = kept.len() - fresh.rest().len();
            kept.consume(used);
            match self.conns.at_mut(slot) {
                Some(conn) if conn.is_served() => conn.kept = kept,
                _ => return,
            }
        }
        self.decode_more(slot);
        self.tell_end(slot);
        self.review(slot);
    }

    /// Gives input to jobs and to the machine until one of them wants to wait.
    pub(crate) fn consume(&mut self, fresh: &mut Fresh<'_>) {
        while !fresh.rest().is_empty() {
            let Some(conn) = self.conns.at(fresh.slot) else { return };
            let goes_on = if !conn.jobs.is_empty() {
                self.run_job(fresh)
            } else if conn.wait == Wait::No && conn.is_served() && !self.is_full(fresh.slot) {
                self.offer(fresh)
            } else {
                return;
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Whether a connection takes no more for the moment, so that its own new input waits as well.
    fn is_full(&mut self, slot: u32) -> bool {
        let Some(conn) = self.conns.at(slot) else { return true };
        if conn.room() > 0 {
            return false;
        }
        if conn.spill.is_none() {
            self.throttle(slot);
        }
        true
    }

    /// Offers input to the machine; `false` when it wants to wait.
    fn offer(&mut self, fresh: &mut Fresh<'_>) -> bool {
        let Some(conn) = self.conns.at(fresh.slot) else { return false };
        let (session, side, now) = (conn.session, conn.side, self.now);
        let offered = fresh.rest();
        let Some(taken) = self.call(session, |machine| machine.handle_input(side, offered, now)) else {
            return false;
        };
        let n = taken.n.min(offered.len());
        fresh.skip(n);
        let claimed = self.outputs(session, fresh);
        // Input that moved nothing is no news: two sides on hold would wake each other for ever.
        if n > 0 || claimed {
            self.release_holds(session, fresh.slot);
        }
        let Some(conn) = self.conns.at_mut(fresh.slot) else { return false };
        if !conn.is_served() {
            return false;
        }
        if claimed || !conn.jobs.is_empty() {
            return true;
        }
        if let Wait::Untold(_) = conn.wait {
            return false;
        }
        match taken.then {
            Then::Hold => {
                conn.wait = Wait::Hold;
                false
            }
            Then::More if n > 0 => true,
            Then::More => {
                conn.wait = Wait::More;
                if fresh.rest().len() > HEAD_BYTES_MAX {
                    self.fault(session, "session ended: it left more than a head untaken");
                }
                false
            }
        }
    }

    /// Sides on hold are offered again, except the one whose input is being looked at.
    pub(crate) fn release_holds(&mut self, session: u32, except: u32) {
        let Some(state) = self.sessions.at(session) else { return };
        for (_, slot) in &state.sides {
            if *slot == except {
                continue;
            }
            if let Some(conn) = self.conns.at_mut(*slot)
                && conn.wait == Wait::Hold
            {
                conn.wait = Wait::No;
                self.work.push_back(Work::Pump(*slot));
            }
        }
    }

    /// The decoded input of a connection has ended.
    pub(crate) fn input_ended(&mut self, slot: u32) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        if !conn.input_open {
            return;
        }
        conn.input_open = false;
        if conn.finish == Finish::Lingering || conn.pooled {
            self.kill(slot);
            return;
        }
        conn.eof_untold = true;
        self.tell_end(slot);
    }

    /// Tells the end of input once all that came before has been offered.
    pub(crate) fn tell_end(&mut self, slot: u32) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        let undecoded = conn
            .layer
            .as_ref()
            .is_some_and(|layer| layer.layer.holds_input() || (layer.wire.len() > 0 && !layer.incomplete));
        let unoffered = conn.kept.len() > 0 && conn.wait != Wait::More;
        if !conn.eof_untold || undecoded || unoffered || conn.splicing != Splicing::No {
            return;
        }
        conn.eof_untold = false;
        let (session, side) = (conn.session, conn.side);
        if matches!(conn.jobs.first(), Some(Job::Pipe { .. })) {
            self.end_pipe(slot);
            return;
        }
        self.abandon_jobs(slot);
        self.notify(session, Event::Eof(side));
    }

    /// Brings the carrier's receive in line with what is wanted.
    pub(crate) fn review(&mut self, slot: u32) {
        self.review_splice(slot);
        let Some(conn) = self.conns.at_mut(slot) else { return };
        // An incomplete record helps nobody: its rest has to come, however long it is already.
        let undecoded = conn.layer.as_ref().filter(|layer| !layer.incomplete);
        let waiting = conn.kept.len() + undecoded.map_or(0, |layer| layer.wire.len());
        let wanted = conn.input_open
            && conn.finish != Finish::Closing
            && conn.splicing == Splicing::No
            && (waiting < KEPT_BYTES_STOP || conn.wait == Wait::More);
        match (conn.receiving, wanted) {
            (Receiving::Off, true) => {
                conn.receiving = Receiving::On;
                let pace = if conn.singles > 0 { Pace::Single } else { Pace::Burst };
                let id = self.conn_id(slot);
                self.ops.push_back(Op::Receive(id, pace));
            }
            (Receiving::On, false) if conn.input_open && conn.finish != Finish::Closing => {
                conn.receiving = Receiving::Stopping;
                let id = self.conn_id(slot);
                self.ops.push_back(Op::Stop(id));
            }
            (Receiving::Off | Receiving::Stopping, false)
            | (Receiving::On | Receiving::Stopping, true)
            | (Receiving::On, false) => {}
        }
    }

    /// A stretch of the input that is looked at, for a chain.
    pub(crate) fn stretch(&mut self, fresh: &Fresh<'_>, n: usize) -> Source {
        match fresh.place {
            Some((buffer, start)) => {
                let from = start + fresh.at as u32;
                Source::Buffer(buffer, from..from + n as u32)
            }
            None => self.turn.copy(&fresh.rest()[..n]),
        }
    }
}
