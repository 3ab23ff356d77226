//! When bytes go from socket to socket without being seen, or seen by a layer alone.

use protocols::proxy::Event;

use crate::conn::{Conn, Finish, Job, Splicing};
use crate::limits::{
    PIPE_BYTES_MIN, SEAL_BYTES, SINGLES_AFTER_BULK, SPLICE_BYTES_MIN, SPLICE_BYTES_MIN_STOPPED,
};
use crate::{ConnId, Driver, Op, Passage, SpliceEnd, Work};

/// Memory for sealed bytes that is kept: what is read at once and what its records add.
const BULK_BYTES_KEPT: usize = SEAL_BYTES + SEAL_BYTES / 16;

impl Driver {
    /// Sees whether the first job of a connection is worth a splice, and asks for the receive to be
    /// stopped first.
    pub(crate) fn review_splice(&mut self, slot: u32) {
        let Some(conn) = self.conns.at(slot) else { return };
        if conn.splicing == Splicing::Wanted && conn.receiving == crate::conn::Receiving::Off {
            self.await_empty(slot);
            return;
        }
        if conn.splicing != Splicing::No || !self.is_bulk(slot) {
            return;
        }
        if let Some(conn) = self.conns.at_mut(slot) {
            conn.splicing = Splicing::Wanted;
        }
    }

    /// A splice begins when its destination is empty.
    fn await_empty(&mut self, slot: u32) {
        self.splices_due = true;
        if !self.splices.contains(&slot) {
            self.splices.push(slot);
        }
    }

    /// Which way bulk can go from one connection to another.
    fn passage(&self, from: u32, to: u32) -> Option<Passage> {
        let (from, to) = (self.conns.at(from)?, self.conns.at(to)?);
        match (&from.layer, &to.layer) {
            (None, None) if from.plain && to.plain => Some(Passage::Pipe),
            (None, Some(layer)) if layer.established => Some(Passage::Layer),
            (Some(_) | None, _) => None,
        }
    }

    /// Whether enough stands ahead of the first job, on a way for bulk, with nothing in it.
    fn is_bulk(&self, slot: u32) -> bool {
        let Some(conn) = self.conns.at(slot) else { return false };
        if !conn.input_open || conn.copying || conn.kept.len() > 0 || conn.is_finishing() {
            return false;
        }
        let bytes_min = if conn.singles > 0 { SPLICE_BYTES_MIN_STOPPED } else { SPLICE_BYTES_MIN };
        let to = match conn.jobs.first() {
            Some(Job::Forward { to, left }) if to.len() == 1 && *left >= bytes_min => to[0],
            Some(Job::Pipe { to }) if u64::from(conn.turn_bytes) >= PIPE_BYTES_MIN => *to,
            Some(Job::Forward { .. } | Job::Pipe { .. } | Job::Discard { .. }) | None => return false,
        };
        let ready = |to: &Conn| to.feeding() == Some(slot) && !to.is_finishing();
        self.conns.at(to).is_some_and(ready) && self.passage(slot, to).is_some()
    }

    /// Begins the splices whose source is stopped and whose destination is empty.
    pub(crate) fn begin_splices(&mut self) {
        let mut at = 0;
        self.splices_due = false;
        while at < self.splices.len() {
            let slot = self.splices[at];
            let Some((to, bytes, passage)) = self.splice_target(slot) else {
                self.splices.swap_remove(at);
                if let Some(conn) = self.conns.at_mut(slot) {
                    if conn.splicing == Splicing::Wanted {
                        conn.splicing = Splicing::No;
                    }
                    self.work.push_back(Work::Pump(slot));
                }
                continue;
            };
            if !self.is_empty(to) {
                // What is spilled tells by itself that it has gone out.
                self.splices_due |= self.conns.at(to).is_some_and(|to| to.spill.is_none());
                at += 1;
                continue;
            }
            self.splices.swap_remove(at);
            if let Some(conn) = self.conns.at_mut(slot) {
                conn.splicing = Splicing::Running;
                if bytes >= SPLICE_BYTES_MIN {
                    conn.singles = SINGLES_AFTER_BULK;
                } else {
                    conn.singles = conn.singles.saturating_sub(1);
                }
                let (from, to) = (self.conn_id(slot), self.conn_id(to));
                self.ops.push_back(Op::Splice { from, to, bytes, passage });
            }
        }
    }

    /// Whether nothing is on its way to a socket.
    fn is_empty(&self, slot: u32) -> bool {
        self.conns.at(slot).is_some_and(|conn| conn.out.is_empty() && !conn.flying && conn.spill.is_none())
    }

    /// Where a wanted splice goes, how much of it and which way; `None` when it is not wanted any
    /// longer.
    fn splice_target(&self, slot: u32) -> Option<(u32, u64, Passage)> {
        let conn = self.conns.at(slot)?;
        let fits = conn.splicing == Splicing::Wanted
            && conn.kept.len() == 0
            && conn.input_open
            && matches!(conn.finish, Finish::No | Finish::HalfClosed);
        let (to, left) = match conn.jobs.first() {
            Some(Job::Forward { to, left }) if to.len() == 1 => (to[0], *left),
            Some(Job::Pipe { to }) => (*to, u64::MAX),
            Some(Job::Forward { .. } | Job::Discard { .. }) | None => return None,
        };
        let ready = self.conns.at(to).is_some_and(|to| to.feeding() == Some(slot));
        let passage = self.passage(slot, to)?;
        (fits && ready && left >= SPLICE_BYTES_MIN_STOPPED).then_some((to, left, passage))
    }

    /// `n` bytes were read from the source of a splice.
    pub fn spliced(&mut self, from: ConnId, n: u64) {
        if self.conns.is(from.slot, from.generation) {
            // The job itself ends with the splice, when its last byte is out of the pipe.
            let now = self.now;
            if let Some(conn) = self.conns.at_mut(from.slot) {
                conn.progress = now;
                conn.is_at_line_end = false;
                match conn.jobs.first_mut() {
                    Some(Job::Forward { left, .. } | Job::Discard { left }) => *left = left.saturating_sub(n),
                    Some(Job::Pipe { .. }) | None => {}
                }
            }
        }
    }

    /// Whether a piece of bulk may be sealed for a destination: nothing else is on its way there,
    /// not even of the layer itself.
    pub fn is_clear(&self, to: ConnId) -> bool {
        self.is_open(to) && self.is_empty(to.slot)
    }

    /// Encodes what was read from the source of a splice. The records are sent at once; what the
    /// socket does not take goes to [`Driver::sealed_rest`]. `None` when the destination is gone,
    /// which ends the splice.
    pub fn seal(&mut self, from: ConnId, to: ConnId, plain: &[u8]) -> Option<&[u8]> {
        self.spliced(from, plain.len() as u64);
        if !self.is_open(to) {
            return None;
        }
        self.bulk.clear(BULK_BYTES_KEPT);
        let state = self.conns.at_mut(to.slot)?.layer.as_mut()?;
        if state.layer.encode(plain, &mut self.bulk).is_err() {
            self.reset(to.slot);
            self.work();
            return None;
        }
        Some(self.bulk.bytes())
    }

    /// The socket took only `n` of the sealed bytes.
    pub fn sealed_rest(&mut self, to: ConnId, n: usize) {
        if self.is_open(to) {
            let rest = self.bulk.bytes().get(n..).unwrap_or_default().to_vec();
            self.spill_rest(to.slot, rest);
            self.work();
        }
    }

    /// A splice is over; nothing of it is in a pipe.
    pub fn splice_ended(&mut self, from: ConnId, end: SpliceEnd) {
        if !self.is_open(from) {
            return;
        }
        let slot = from.slot;
        let Some(conn) = self.conns.at_mut(slot) else { return };
        if end == SpliceEnd::Full && conn.splicing == Splicing::Running {
            conn.splicing = Splicing::Wanted;
            self.await_empty(slot);
            return;
        }
        let was = std::mem::replace(&mut conn.splicing, Splicing::No);
        conn.turn_bytes = 0;
        conn.copying = true;
        // Without a job the connection has left its session meanwhile: nobody waits to hear of it.
        if let Splicing::Stopping { to } = was
            && !conn.jobs.is_empty()
        {
            let (session, side) = (conn.session, conn.side);
            let left = conn.jobs.first().map_or(0, Job::left);
            conn.jobs.remove(0);
            conn.copying = false;
            self.break_forward(session, slot, side, to, left);
        } else {
            self.job_moved(slot, 0);
        }
        match end {
            SpliceEnd::Done | SpliceEnd::Full => {}
            SpliceEnd::Eof => self.input_ended(slot),
            SpliceEnd::FromFailed => self.reset(slot),
            SpliceEnd::ToFailed => self.destination_failed(slot),
        }
        self.work.push_back(Work::Pump(slot));
        self.work();
        self.review(slot);
        self.work();
    }

    /// The destination of a splice broke; if it is known already, its forward is gone.
    fn destination_failed(&mut self, slot: u32) {
        let to = match self.conns.at(slot).and_then(|conn| conn.jobs.first()) {
            Some(Job::Forward { to, .. }) => to.first().copied(),
            Some(Job::Pipe { to }) => Some(*to),
            Some(Job::Discard { .. }) | None => None,
        };
        if let Some(to) = to {
            let told = self.conns.at(to).map(|conn| (conn.session, conn.side));
            self.kill(to);
            if let Some((session, side)) = told {
                self.notify(session, Event::Reset(side));
                self.work.push_back(Work::Settle(session));
            }
        }
    }
}
