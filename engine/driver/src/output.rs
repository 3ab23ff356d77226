//! Carries out what a machine wants.

use std::mem;

use protocols::proxy::{AUTHORED_BYTES_MAX, Output, Question, QuestionId, Side};

use crate::conn::{Job, Segment};
use crate::input::Fresh;
use crate::limits::ROUNDS_MAX;
use crate::pool::Released;
use crate::session::{Brings, NEVER};
use crate::{Driver, Op, Work};

/// Authored bytes, in one turn or in many, from which on a machine hears that they have gone out. Who
/// stops for [`AUTHORED_BYTES_MAX`], or half of it, has written more.
const DRAINED_BYTES_MIN: u16 = 4 * 1024;

/// Bytes that may stand unsent for a connection whatever was authored; a machine that goes on
/// writing without waiting is broken.
const UNSENT_BYTES_MAX: usize = 64 * AUTHORED_BYTES_MAX;

/// Capacity of the scratch that is kept from call to call.
const SCRATCH_BYTES_KEPT: usize = 64 * 1024;

impl Driver {
    /// Polls outputs until there are none; whether one claimed the input that is looked at.
    pub(crate) fn outputs(&mut self, session: u32, fresh: &mut Fresh<'_>) -> bool {
        let mut scratch = mem::take(&mut self.scratch);
        let mut claimed = false;
        let mut rounds = 0;
        loop {
            scratch.clear();
            let Some(Some(output)) = self.call(session, |machine| machine.poll_output(&mut scratch)) else {
                break;
            };
            claimed |= self.carry_out(session, output, &scratch, fresh);
            rounds += 1;
            if rounds > ROUNDS_MAX {
                self.fault(session, "session ended: it wants without end");
                break;
            }
        }
        if scratch.capacity() <= SCRATCH_BYTES_KEPT {
            self.scratch = scratch;
        }
        self.settle_session(session);
        claimed
    }

    fn carry_out(&mut self, session: u32, output: Output, authored: &[u8], fresh: &mut Fresh<'_>) -> bool {
        match output {
            Output::Write { to } => self.write(session, to, authored),
            Output::Forward { from, to, n } => return self.begin_forward(session, from, &to, n, fresh),
            Output::Discard { from, n } => return self.begin_discard(session, from, n, fresh),
            Output::Pipe { a, b } => return self.begin_pipe(session, a, b, fresh),
            Output::Ask { id, question } => self.ask(session, id, question),
            Output::Switch { side, layer } => {
                if let Some(slot) = self.slot_of(session, side) {
                    self.enqueue(slot, Segment::Switch(layer));
                }
            }
            Output::Release { side, server, service, offer } => {
                self.release(session, side, Released { server, service, offer }, fresh);
            }
            Output::Close { side, how } => self.close(session, side, how),
            Output::Timed(timing) => self.time(session, timing),
            Output::Tell(notice) => {
                let session = self.session_id(session);
                self.ops.push_back(Op::Tell { session, notice });
            }
        }
        false
    }

    pub(crate) fn slot_of(&self, session: u32, side: Side) -> Option<u32> {
        self.sessions.at(session)?.slot_of(side)
    }

    fn write(&mut self, session: u32, to: Side, authored: &[u8]) {
        let Some(slot) = self.slot_of(session, to) else { return };
        let Some(conn) = self.conns.at_mut(slot) else { return };
        if authored.is_empty() || conn.broken || conn.is_finishing() {
            return;
        }
        if let Some(queue) = &mut conn.queue {
            conn.drained_owed = true;
            let queued: usize = queue.iter().map(Segment::len).sum();
            queue.push_back(Segment::Bytes(authored.to_vec()));
            if queued > UNSENT_BYTES_MAX {
                self.fault(session, "session ended: it writes without waiting");
            }
            return;
        }
        let unsent = conn.out.bytes as usize + conn.spill.as_ref().map_or(0, |spill| spill.len());
        let sum = usize::from(conn.authored) + authored.len();
        conn.authored = sum.min(DRAINED_BYTES_MIN.into()) as u16;
        let is_much = conn.authored >= DRAINED_BYTES_MIN || conn.out.bytes >= DRAINED_BYTES_MIN.into();
        conn.drained_owed |= conn.spill.is_some() || is_much;
        let source = self.turn.copy(authored);
        self.push_out(slot, source);
        if unsent > UNSENT_BYTES_MAX {
            self.fault(session, "session ended: it writes without waiting");
        }
    }

    fn ask(&mut self, session: u32, id: QuestionId, question: Question) {
        let brings: Option<Brings> = match &question {
            Question::OpenBackend { side, server, service } => {
                if self.reuse(session, id, *side, (server, *service)) {
                    return;
                }
                Some((*side, self.number_of(server)))
            }
            Question::Find { .. }
            | Question::List(_)
            | Question::Barrier
            | Question::CheckPassword { .. }
            | Question::Groups { .. }
            | Question::HomeCopy { .. }
            | Question::DomainOf { .. }
            | Question::ScramKeys { .. }
            | Question::SaltPassword { .. }
            | Question::Intend(_)
            | Question::Errand(_)
            | Question::Capabilities { .. }
            | Question::ServiceCapabilities(_)
            | Question::Directory(_) => None,
        };
        if let Some(state) = self.sessions.at_mut(session) {
            state.questions.push((id, brings));
            let session = self.session_id(session);
            self.ops.push_back(Op::Ask { session, id, question });
        }
    }

    /// After the outputs: the timer, and whether the session is over.
    pub(crate) fn settle_session(&mut self, slot: u32) {
        let Some(wanted) = self.call(slot, |machine| machine.poll_timeout()) else { return };
        let Some(state) = self.sessions.at_mut(slot) else { return };
        let is_idle = state.sides.is_empty() && state.questions.is_empty();
        if is_idle && (state.has_client || wanted.is_none()) {
            self.end_session(slot);
            return;
        }
        // A later wish waits until the timer fires for the earlier one: a machine that moves its
        // idle deadline with every line costs the wheel nothing.
        if let Some(at) = wanted
            && at < state.armed
        {
            state.armed = at;
            self.wheel.arm(slot * 2, at);
        }
    }

    /// The timer of a session fired.
    pub(crate) fn session_time(&mut self, slot: u32) {
        let Some(state) = self.sessions.at_mut(slot) else { return };
        state.armed = NEVER;
        let Some(due) = self.call(slot, |machine| machine.poll_timeout()) else { return };
        let now = self.now;
        match due {
            Some(at) if at <= now => {
                if self.call(slot, |machine| machine.handle_timeout(now)).is_some() {
                    self.release_holds(slot, crate::turn::NONE);
                    self.outputs(slot, &mut Fresh::none());
                }
            }
            Some(_) | None => self.settle_session(slot),
        }
    }

    /// Puts something behind what a connection sends, and does it at once if nothing is before it.
    pub(crate) fn enqueue(&mut self, slot: u32, segment: Segment) {
        if let Some(conn) = self.conns.at_mut(slot) {
            if conn.broken || conn.is_finishing() {
                return;
            }
            let is_first = conn.queue.is_none();
            conn.enqueue(segment);
            if is_first {
                self.settle_queue(slot);
            }
        }
    }

    /// Carries out the head of a queue, as far as it can be.
    pub(crate) fn settle_queue(&mut self, slot: u32) {
        loop {
            let Some(conn) = self.conns.at_mut(slot) else { return };
            match conn.queue.as_mut().and_then(|queue| queue.front_mut()) {
                Some(Segment::Forward(from)) => {
                    self.work.push_back(Work::Pump(*from));
                    return;
                }
                Some(Segment::Switching) => return,
                Some(head @ Segment::Switch(_)) => {
                    if let Segment::Switch(kind) = mem::replace(head, Segment::Switching) {
                        let conn = self.conn_id(slot);
                        self.ops.push_back(Op::Layer { conn, kind });
                    }
                    return;
                }
                Some(Segment::Bytes(_)) => {
                    if let Some(Segment::Bytes(bytes)) = conn.dequeue() {
                        let source = self.turn.copy(&bytes);
                        self.push_out(slot, source);
                    }
                }
                None => {
                    self.try_finish(slot);
                    return;
                }
            }
        }
    }
}

impl Segment {
    /// Bytes that it holds.
    fn len(&self) -> usize {
        match self {
            Segment::Bytes(bytes) => bytes.len(),
            Segment::Forward(_) | Segment::Switch(_) | Segment::Switching => 0,
        }
    }
}

impl Job {
    /// Counts `n` bytes; whether it is done.
    pub(crate) fn advance(&mut self, n: u64) -> bool {
        match self {
            Job::Forward { left, .. } | Job::Discard { left } => {
                *left = left.saturating_sub(n);
                *left == 0
            }
            Job::Pipe { .. } => false,
        }
    }
}
