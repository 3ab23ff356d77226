//! Forwards, discards and pipes: input that goes somewhere without the machine.
//!
//! A source has a queue of jobs, a destination a queue of segments in which each unfinished job
//! stands at its place. A job moves while it is the first of its source and stands first at every
//! destination; as both queues are filled in one order, the first one always can.

use std::mem;

use protocols::proxy::{Event, Side, Sides};
use smallvec::SmallVec;

use crate::conn::{Conn, Finish, Job, Segment, Splicing, Wait};
use crate::input::Fresh;
use crate::turn::{Coding, NONE, Source};
use crate::{Driver, Work};

impl Driver {
    pub(crate) fn begin_forward(
        &mut self,
        session: u32,
        from: Side,
        to: &Sides,
        n: u64,
        fresh: &mut Fresh<'_>,
    ) -> bool {
        let Some(source) = self.slot_of(session, from) else { return false };
        let mut slots: SmallVec<[u32; 2]> = SmallVec::new();
        for side in to {
            let slot = self.slot_of(session, *side).filter(|slot| self.takes_bytes(*slot));
            slots.extend(slot.filter(|slot| *slot != source));
        }
        if n == 0 {
            return false;
        }
        if slots.is_empty() {
            if let Some(last) = to.last() {
                self.break_forward(session, source, from, *last, n);
            }
            return false;
        }
        if source == fresh.slot && self.forward_at_once(&slots, n, fresh) {
            return true;
        }
        self.begin_job(source, Job::Forward { to: slots, left: n }, fresh)
    }

    /// The whole of a forward stands in the input that is looked at and nothing is in its way.
    fn forward_at_once(&mut self, slots: &[u32], n: u64, fresh: &mut Fresh<'_>) -> bool {
        let idle = self.conns.at(fresh.slot).is_some_and(|conn| conn.jobs.is_empty());
        let ready = slots.iter().all(|slot| {
            self.conns.at(*slot).is_some_and(|conn| conn.queue.is_none() && conn.room() as u64 >= n)
        });
        if !idle || !ready || (fresh.rest().len() as u64) < n {
            return false;
        }
        self.move_bytes(slots, n as usize, fresh);
        true
    }

    fn move_bytes(&mut self, slots: &[u32], n: usize, fresh: &mut Fresh<'_>) {
        let stretch = self.stretch(fresh, n);
        for slot in slots {
            self.push_out(*slot, stretch.clone());
        }
        fresh.skip(n);
    }

    pub(crate) fn begin_discard(&mut self, session: u32, from: Side, n: u64, fresh: &mut Fresh<'_>) -> bool {
        let Some(source) = self.slot_of(session, from) else { return false };
        if n == 0 {
            return false;
        }
        self.begin_job(source, Job::Discard { left: n }, fresh)
    }

    pub(crate) fn begin_pipe(&mut self, session: u32, a: Side, b: Side, fresh: &mut Fresh<'_>) -> bool {
        let (Some(a), Some(b)) = (self.slot_of(session, a), self.slot_of(session, b)) else { return false };
        let first = self.begin_job(a, Job::Pipe { to: b }, fresh);
        let second = self.begin_job(b, Job::Pipe { to: a }, fresh);
        first || second
    }

    /// Queues a job at its source and destinations; whether it claims the input that is looked at.
    fn begin_job(&mut self, source: u32, job: Job, fresh: &Fresh<'_>) -> bool {
        let now = self.now;
        let targets: SmallVec<[u32; 2]> = match &job {
            Job::Forward { to, .. } => to.clone(),
            Job::Pipe { to } => SmallVec::from_slice(&[*to]),
            Job::Discard { .. } => SmallVec::new(),
        };
        let Some(conn) = self.conns.at_mut(source) else { return false };
        if conn.jobs.is_empty() {
            conn.progress = now;
        }
        conn.jobs.push(job);
        for to in targets {
            if let Some(conn) = self.conns.at_mut(to) {
                conn.enqueue(Segment::Forward(source));
            }
        }
        self.watch(source);
        if source == fresh.slot {
            return true;
        }
        self.work.push_back(Work::Pump(source));
        false
    }

    /// Runs the first job of the input that is looked at; `false` when it has to wait.
    pub(crate) fn run_job(&mut self, fresh: &mut Fresh<'_>) -> bool {
        let source = fresh.slot;
        let Some(conn) = self.conns.at_mut(source) else { return false };
        let Some(job) = conn.jobs.first_mut() else { return true };
        let available = (fresh.rest().len() as u64).min(job.left()) as usize;
        let is_pipe = matches!(job, Job::Pipe { .. });
        let targets: SmallVec<[u32; 2]> = match job {
            Job::Forward { to, .. } => to.clone(),
            Job::Pipe { to } => SmallVec::from_slice(&[*to]),
            Job::Discard { .. } => SmallVec::new(),
        };
        let n = match self.room_for(source, &targets) {
            Some(room) => available.min(room),
            None => return false,
        };
        if n == 0 {
            for slot in &targets {
                if self.conns.at(*slot).is_some_and(|conn| conn.spill.is_none() && conn.room() == 0) {
                    self.throttle(*slot);
                }
            }
            return false;
        }
        if is_pipe && let Some(conn) = self.conns.at_mut(source) {
            // Not zero: see above.
            conn.is_at_line_end = fresh.rest()[n - 1] == b'\n';
        }
        if targets.is_empty() {
            fresh.skip(n);
        } else {
            self.move_bytes(&targets, n, fresh);
        }
        self.job_moved(source, n as u64);
        true
    }

    /// What every destination of the first job of a source takes; `None` while it is not its turn.
    pub(crate) fn room_for(&self, source: u32, targets: &[u32]) -> Option<usize> {
        let mut room = usize::MAX;
        for slot in targets {
            let conn = self.conns.at(*slot)?;
            if conn.feeding() != Some(source) {
                return None;
            }
            room = room.min(conn.room());
        }
        Some(room)
    }

    /// Counts bytes of the first job, and ends it when they were the last.
    pub(crate) fn job_moved(&mut self, source: u32, n: u64) {
        let now = self.now;
        let Some(conn) = self.conns.at_mut(source) else { return };
        conn.progress = now;
        if !conn.jobs.first_mut().is_some_and(|job| job.advance(n)) {
            return;
        }
        let job = conn.jobs.remove(0);
        conn.copying = false;
        if let Job::Forward { to, .. } = job {
            for slot in to {
                if let Some(conn) = self.conns.at_mut(slot) {
                    conn.dequeue();
                }
                self.settle_queue(slot);
            }
        }
    }

    fn takes_bytes(&self, slot: u32) -> bool {
        self.conns.at(slot).is_some_and(|conn| !conn.broken && !conn.is_finishing())
    }

    /// Appends bytes to what a connection sends in this turn.
    pub(crate) fn push_out(&mut self, slot: u32, source: Source) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        if conn.finish == Finish::Closing || conn.broken {
            return;
        }
        let coding = if conn.layer.is_some() { Coding::Plain } else { Coding::Wire };
        self.turn.push(&mut conn.out, source, coding);
        if !conn.in_dirty {
            conn.in_dirty = true;
            self.dirty.push(slot);
        }
    }

    /// Looks at a connection again in the next turn.
    pub(crate) fn throttle(&mut self, slot: u32) {
        if let Some(conn) = self.conns.at_mut(slot)
            && !conn.in_throttled
        {
            conn.in_throttled = true;
            self.throttled.push(slot);
        }
    }

    /// The source of jobs goes. Forwards all of whose bytes have come are ended, also where their destinations
    /// have no room for the moment: the machine has counted on them, and they are no more than may be kept.
    pub(crate) fn finish_jobs(&mut self, source: u32) {
        let Some(conn) = self.conns.at_mut(source) else { return };
        let kept = mem::take(&mut conn.kept);
        let mut fresh = Fresh::new(source, None, kept.bytes());
        while let Some((to, n)) = self.whole_job(source, fresh.rest().len()) {
            if to.is_empty() {
                fresh.skip(n);
            } else {
                self.move_bytes(&to, n, &mut fresh);
            }
            self.job_moved(source, n as u64);
        }
    }

    /// The destinations and the length of the first job of a source, if so many bytes are all that it wants.
    fn whole_job(&self, source: u32, len: usize) -> Option<(SmallVec<[u32; 2]>, usize)> {
        let job = self.conns.at(source)?.jobs.first()?;
        let n = usize::try_from(job.left()).ok().filter(|n| *n <= len)?;
        let to = match job {
            Job::Forward { to, .. } => to.clone(),
            Job::Discard { .. } => SmallVec::new(),
            Job::Pipe { .. } => return None,
        };
        let is_next = |slot: &u32| self.conns.at(*slot).is_some_and(|conn| conn.feeding() == Some(source));
        to.iter().all(is_next).then_some((to, n))
    }

    /// The source of jobs sends no more: what they would have brought is missing, and nothing may
    /// follow it at their destinations.
    pub(crate) fn abandon_jobs(&mut self, source: u32) {
        let Some(conn) = self.conns.at_mut(source) else { return };
        for job in mem::take(&mut conn.jobs) {
            let to = match job {
                Job::Forward { to, .. } => to,
                Job::Pipe { to } => SmallVec::from_slice(&[to]),
                Job::Discard { .. } => SmallVec::new(),
            };
            for slot in to {
                self.break_destination(slot);
                self.cut_off.push(slot);
            }
        }
    }

    /// A machine that has heard of the end of a source, and left open what the half of a forward is on, would
    /// speak to nobody from now on.
    pub(crate) fn end_cut_off(&mut self, slot: u32) {
        let is_left = |conn: &Conn| conn.broken && conn.is_served() && !conn.is_finishing();
        if self.conns.at(slot).is_some_and(is_left) {
            self.reset(slot);
        }
    }

    /// Nothing more is sent to a connection: what waits for it is dropped, and what is forwarded
    /// into it breaks.
    pub(crate) fn break_destination(&mut self, slot: u32) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        conn.broken = true;
        let (session, side) = (conn.session, conn.side);
        for segment in conn.queue.take().into_iter().flat_map(|queue| *queue) {
            if let Segment::Forward(source) = segment {
                self.break_job(session, source, slot, side);
            }
        }
        self.try_finish(slot);
    }

    /// Takes the first job of `source` that has the dead destination away.
    fn break_job(&mut self, session: u32, source: u32, dead: u32, side: Side) {
        let Some(conn) = self.conns.at_mut(source) else { return };
        let Some(at) = conn.jobs.iter().position(|job| job.is_to(dead)) else { return };
        let from = conn.side;
        if let Job::Forward { to, .. } = &mut conn.jobs[at]
            && to.len() > 1
        {
            // The others go on, perhaps at once: this one may have been the slowest.
            to.retain(|slot| *slot != dead);
            self.work.push_back(Work::Pump(source));
            return;
        }
        let job = conn.jobs.remove(at);
        conn.copying = false;
        let session = if session == NONE { conn.session } else { session };
        if at == 0 && conn.splicing == Splicing::Running {
            // What the pipe holds was read from the source: it tells how much was.
            conn.splicing = Splicing::Stopping { to: side };
            conn.jobs.insert(0, Job::Discard { left: job.left() });
            let id = self.conn_id(source);
            self.ops.push_back(crate::Op::StopSplice(id));
        } else if at == 0 && conn.splicing == Splicing::Wanted {
            conn.splicing = Splicing::No;
        }
        let stopping =
            self.conns.at(source).is_some_and(|conn| matches!(conn.splicing, Splicing::Stopping { .. }));
        match job {
            Job::Forward { left, .. } if !stopping => self.break_forward(session, source, from, side, left),
            Job::Forward { .. } | Job::Discard { .. } | Job::Pipe { .. } => {}
        }
    }

    /// Tells a machine that a forward is over; the source is on hold until it has heard.
    pub(crate) fn break_forward(&mut self, session: u32, source: u32, from: Side, to: Side, left: u64) {
        if session == NONE {
            return; // It is being closed: nobody is offered its input.
        }
        if let Some(conn) = self.conns.at_mut(source) {
            conn.wait = match conn.wait {
                Wait::Untold(n) => Wait::Untold(n.saturating_add(1)),
                Wait::No | Wait::More | Wait::Hold => Wait::Untold(1),
            };
        }
        self.notify(session, Event::ForwardBroken { from, to, left });
        self.work.push_back(Work::Pump(source));
    }

    /// The machine has heard that a forward broke. What it says of the rest comes before any offer.
    pub(crate) fn broken_forward_told(&mut self, session: u32, from: Side) {
        let Some(conn) = self.slot_of(session, from).and_then(|slot| self.conns.at_mut(slot)) else { return };
        conn.wait = match conn.wait {
            Wait::Untold(n) if n > 1 => Wait::Untold(n - 1),
            Wait::Untold(_) => Wait::No,
            wait @ (Wait::No | Wait::More | Wait::Hold) => wait,
        };
    }

    /// A pipe's source has ended: the other end hears of it as a half close.
    pub(crate) fn end_pipe(&mut self, source: u32) {
        let Some(conn) = self.conns.at_mut(source) else { return };
        if !matches!(conn.jobs.first(), Some(Job::Pipe { .. })) {
            return;
        }
        let Job::Pipe { to } = conn.jobs.remove(0) else { return };
        let source_done = conn.finish != Finish::No;
        if let Some(other) = self.conns.at_mut(to) {
            other.dequeue();
            if other.finish == Finish::No {
                other.finish = Finish::HalfClose;
            }
            let both_ended = !other.input_open && source_done;
            self.watch(to);
            self.try_finish(to);
            if both_ended {
                self.close_when_sent(source);
                self.close_when_sent(to);
            }
        }
    }
}
