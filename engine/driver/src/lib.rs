//! The driver: runs session machines over completions and operations, without doing any.
//!
//! Completions go in (received, sent, spliced, connected, time), operations come out ([`Op`], and
//! the sends of a turn). `engine/shard` carries them out on a ring, `engine/sim` in memory under a
//! seed. This crate is pure.
//!
//! A carrier goes round in turns:
//!
//! ```text
//!   begin_turn(now) ─> received, ended, failed, spilled ... (each followed by poll_op until None)
//!     ─> prepare_sends ─> one send per connection in sends() ─> sent() where it fell short ─> end_turn
//! ```
//!
//! Received buffers are the carrier's: it lends them for the turn in which they arrived, and has
//! them back after `end_turn`. What could not be sent by then was copied to a spill buffer, which
//! [`Op::Send`] drains. A connection with nothing in hand owns no buffer.

pub mod breaker;
mod close;
mod conn;
mod deadlines;
pub mod deflate;
mod forward;
mod ids;
mod input;
pub mod layer;
mod layers;
pub mod limits;
mod ops;
mod output;
mod pool;
mod send;
mod session;
mod splice;
mod stack;
mod table;
mod timed;
mod turn;
mod wheel;

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use protocols::proxy::{Answer, Event, Instant, Level, Notice, OpenError, Opened, QuestionId, Session, Side};

use conn::Conn;
pub use ids::{ConnId, SessionId};
use input::Fresh;
use layer::{Layer, Wire};
pub use limits::{Limits, TooMuch};
pub use ops::{Op, Pace, Passage, SpliceEnd};
pub use send::Outgoing;
use session::{Brings, SessionState};
use table::Table;
pub use timed::Timed;
pub use turn::{BufferId, Buffers};
use turn::{Chain, NONE, Turn};
use wheel::Wheel;

/// What a new connection can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carriage {
    /// The carrier can splice it.
    Spliceable,
    /// It is copied.
    Copied,
}

/// What is done before the driver gives control back.
pub(crate) enum Work {
    /// Tell a session.
    Event(SessionId, Event),
    /// See whether what waits on a connection can go on.
    Pump(u32),
    /// See whether a session is over.
    Settle(u32),
}

/// Runs sessions.
pub struct Driver {
    limits: Limits,
    now: Instant,
    sessions: Table<SessionState>,
    conns: Table<Conn>,
    wheel: Wheel,
    turn: Turn,
    /// The turn whose sends are being made.
    sent_turn: Turn,
    ops: VecDeque<Op>,
    work: VecDeque<Work>,
    /// Connections with half a forward on them whose source is gone. Their sessions have the first word.
    cut_off: Vec<u32>,
    /// Connections with something to send in this turn.
    dirty: Vec<u32>,
    /// Those of them whose send the carrier makes.
    sending: Vec<(u32, Chain)>,
    /// Connections that are looked at again in the next turn.
    throttled: Vec<u32>,
    /// Connections whose handshake goes on when it is their turn.
    handshakes: VecDeque<u32>,
    /// Steps of handshakes that may still be taken in this turn.
    handshakes_left: usize,
    /// Counts the turns.
    turns: u32,
    /// Something goes on when the sends of this turn are out.
    awaited: bool,
    /// Slots with a splice that waits for its destination to be empty.
    splices: Vec<u32>,
    /// One of them may begin when the sends of this turn are out.
    splices_due: bool,
    /// What a machine authors.
    scratch: Vec<u8>,
    /// Decoded bytes that are gathered for a record, and bulk that was encoded: kept from turn to
    /// turn, because fresh memory costs more than a copy.
    plain: Vec<u8>,
    bulk: Wire,
    fired: Vec<u32>,
    /// Bytes in all spill buffers.
    spilled: usize,
    /// Decoded input that waits, of all connections.
    kept: Rc<Cell<usize>>,
    /// A turn, and how much of what waits goes with those who were cut in it.
    doomed: (u32, usize),
    /// When a drain ends every session.
    drain: Option<Instant>,
    /// Commands answered in this turn.
    timed: Vec<Timed>,
    /// Servers by number.
    servers: Vec<Box<str>>,
    /// Connections without a session.
    pool: pool::Pool,
}

impl Driver {
    /// A driver without sessions.
    pub fn new(limits: Limits) -> Driver {
        let room = limits.room();
        Driver {
            limits,
            now: Instant(0),
            sessions: Table::new(room),
            conns: Table::new(room),
            // One for each session and each connection.
            wheel: Wheel::new(2 * room),
            turn: Turn::default(),
            sent_turn: Turn::default(),
            ops: VecDeque::new(),
            work: VecDeque::new(),
            cut_off: Vec::new(),
            dirty: Vec::new(),
            sending: Vec::new(),
            throttled: Vec::new(),
            handshakes: VecDeque::new(),
            handshakes_left: 0,
            turns: 0,
            awaited: false,
            splices: Vec::new(),
            splices_due: false,
            scratch: Vec::new(),
            plain: Vec::new(),
            bulk: Wire::default(),
            fired: Vec::new(),
            spilled: 0,
            kept: Rc::default(),
            doomed: (0, 0),
            drain: None,
            timed: Vec::new(),
            servers: Vec::new(),
            pool: pool::Pool::default(),
        }
    }

    /// Begins a turn: `now` holds for all of it. Fires timers, and goes on with what the last turn
    /// left for fairness.
    pub fn begin_turn(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.turns = self.turns.wrapping_add(1);
        self.fire_timers();
        self.go_on_with_handshakes();
        for slot in std::mem::take(&mut self.throttled) {
            if let Some(conn) = self.conns.at_mut(slot) {
                conn.in_throttled = false;
                self.work.push_back(Work::Pump(slot));
            }
        }
        self.work();
    }

    /// The next operation.
    pub fn poll_op(&mut self) -> Option<Op> {
        self.ops.pop_front()
    }

    /// Whether a turn is wanted although nothing completes.
    pub fn is_restless(&self) -> bool {
        self.awaited
            || !self.throttled.is_empty()
            || !self.handshakes.is_empty()
            || !self.ops.is_empty()
            || !self.dirty.is_empty()
            || self.splices_due
    }

    /// Sessions that run.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Connections whose descriptor is not closed yet.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// Whether one more connection is within the limits.
    pub fn has_room(&self) -> bool {
        self.conns.len() < self.limits.connections_max
    }

    /// What there is too much of for one more client, with what is kept for those who are there; `None` lets
    /// him in.
    pub fn full(&self) -> Option<TooMuch> {
        let Limits { connections_max, spill_bytes_max, .. } = self.limits;
        let kept = (connections_max / limits::KEPT_FROM_CLIENTS).min(limits::CONNECTIONS_KEPT_MAX);
        let spilled_max = spill_bytes_max - spill_bytes_max / limits::KEPT_FROM_CLIENTS;
        if self.conns.len() >= connections_max - kept {
            Some(TooMuch::Connections)
        } else if self.waiting() >= spilled_max {
            Some(TooMuch::Unsent)
        } else {
            None
        }
    }

    /// Bytes that wait for somebody to take them: unsent, or received from who sends more than that.
    pub fn waiting(&self) -> usize {
        self.spilled + self.kept.get()
    }

    /// Runs a session without a client.
    pub fn spawn(&mut self, machine: Box<dyn Session>) -> SessionId {
        let (slot, generation) = self.sessions.insert(SessionState::new(machine, false));
        self.outputs(slot, &mut Fresh::none());
        self.work();
        SessionId { slot, generation }
    }

    /// Runs a session on an accepted connection, its client. `None` when there is no place for it.
    pub fn accept(
        &mut self,
        machine: Box<dyn Session>,
        layer: Option<Box<dyn Layer>>,
        carriage: Carriage,
    ) -> Option<ConnId> {
        if self.full().is_some() {
            return None;
        }
        let (session, _) = self.sessions.insert(SessionState::new(machine, true));
        let conn = self.connect(session, Side::Client, layer, carriage);
        self.outputs(session, &mut Fresh::none());
        self.review(conn.slot);
        self.work();
        Some(conn)
    }

    /// The answer to a question other than [`OpenBackend`](protocols::proxy::Question::OpenBackend),
    /// or a refusal of one. An answer that nobody waits for is dropped.
    pub fn answer(&mut self, session: SessionId, id: QuestionId, answer: Answer) {
        if self.take_question(session, id).is_some() {
            self.work.push_back(Work::Event(session, Event::Answer { id, answer }));
            self.work();
        }
    }

    /// The connection that a question asked for stands. `None` when nobody waits for it: the
    /// carrier closes it.
    pub fn opened(
        &mut self,
        session: SessionId,
        id: QuestionId,
        opened: Opened,
        layer: Option<Box<dyn Layer>>,
        carriage: Carriage,
    ) -> Option<ConnId> {
        if !self.has_room() {
            self.open_failed(session, id, OpenError::Limit);
            return None;
        }
        let (backend, server) = self.take_question(session, id)??;
        let conn = self.connect(session.slot, Side::Backend(backend), layer, carriage);
        if let Some(at) = self.conns.at_mut(conn.slot) {
            at.server = server;
        }
        let answer = Answer::Opened(Ok(opened));
        self.work.push_back(Work::Event(session, Event::Answer { id, answer }));
        self.work();
        self.review(conn.slot);
        Some(conn)
    }

    /// The connection that a question asked for cannot be had.
    pub fn open_failed(&mut self, session: SessionId, id: QuestionId, why: OpenError) {
        self.answer(session, id, Answer::Opened(Err(why)));
    }

    /// Tells one session something.
    pub fn tell(&mut self, session: SessionId, event: Event) {
        self.work.push_back(Work::Event(session, event));
        self.work();
    }

    /// Tells every session that the process stops; who is still there at `deadline` is ended.
    pub fn drain(&mut self, deadline: Instant) {
        self.drain = Some(deadline);
        self.empty_pool();
        self.tell_all(|| Event::Drain { deadline });
    }

    /// Tells every session that something else is posted.
    pub fn posted(&mut self) {
        self.tell_all(|| Event::Posted);
    }

    fn tell_all(&mut self, event: impl Fn() -> Event) {
        for slot in 0..self.sessions.slots() {
            if self.sessions.at(slot).is_some() {
                let id = self.session_id(slot);
                self.work.push_back(Work::Event(id, event()));
            }
        }
        self.work();
    }

    /// Ends every session and cuts every connection.
    pub fn stop(&mut self) {
        for slot in 0..self.sessions.slots() {
            self.end_session(slot);
        }
        for slot in 0..self.conns.slots() {
            self.kill(slot);
        }
        self.work();
    }

    /// Bytes that one connection and one session take, without what they have in hand.
    pub const fn record_bytes() -> (usize, usize) {
        (Table::<Conn>::place_bytes(), Table::<SessionState>::place_bytes())
    }

    /// Whether the connection is still known and not being closed.
    pub fn is_open(&self, conn: ConnId) -> bool {
        self.conns.is(conn.slot, conn.generation)
            && self.conns.at(conn.slot).is_some_and(|at| at.finish != conn::Finish::Closing)
    }

    fn connect(
        &mut self,
        session: u32,
        side: Side,
        layer: Option<Box<dyn Layer>>,
        carriage: Carriage,
    ) -> ConnId {
        let plain = carriage == Carriage::Spliceable && layer.is_none();
        let (slot, generation) = self.conns.insert(Conn::new(session, side, plain));
        if let Some(state) = self.sessions.at_mut(session) {
            state.sides.push((side, slot));
        }
        if let Some(layer) = layer {
            self.put_layer(slot, layer);
        }
        ConnId { slot, generation }
    }

    /// Forgets a question: `None` when it is not open.
    fn take_question(&mut self, session: SessionId, id: QuestionId) -> Option<Option<Brings>> {
        if !self.sessions.is(session.slot, session.generation) {
            return None;
        }
        let questions = &mut self.sessions.at_mut(session.slot)?.questions;
        let at = questions.iter().position(|(open, _)| *open == id)?;
        Some(questions.swap_remove(at).1)
    }

    /// Does what is left to do until nothing is.
    fn work(&mut self) {
        loop {
            while let Some(work) = self.work.pop_front() {
                match work {
                    Work::Event(session, event) => self.deliver(session, event),
                    Work::Pump(slot) => self.pump(slot),
                    Work::Settle(slot) => self.settle_session(slot),
                }
            }
            let Some(slot) = self.cut_off.pop() else { return };
            self.end_cut_off(slot);
        }
    }

    fn deliver(&mut self, session: SessionId, event: Event) {
        if !self.sessions.is(session.slot, session.generation) {
            return;
        }
        let now = self.now;
        let broken = if let Event::ForwardBroken { from, .. } = &event { Some(*from) } else { None };
        if self.call(session.slot, |machine| machine.handle_event(event, now)).is_some() {
            if let Some(from) = broken {
                self.broken_forward_told(session.slot, from);
            }
            self.release_holds(session.slot, NONE);
            self.outputs(session.slot, &mut Fresh::none());
        }
    }

    /// Queues an event for the session of a connection.
    fn notify(&mut self, session: u32, event: Event) {
        if session != NONE {
            let id = self.session_id(session);
            self.work.push_back(Work::Event(id, event));
        }
    }

    fn session_id(&self, slot: u32) -> SessionId {
        SessionId { slot, generation: self.sessions.generation(slot) }
    }

    fn conn_id(&self, slot: u32) -> ConnId {
        ConnId { slot, generation: self.conns.generation(slot) }
    }

    /// Calls a machine. `None` when there is none or it panicked, which ends it.
    fn call<R>(&mut self, slot: u32, f: impl FnOnce(&mut dyn Session) -> R) -> Option<R> {
        let mut machine = self.sessions.at_mut(slot)?.machine.take()?;
        match catch_unwind(AssertUnwindSafe(|| f(&mut *machine))) {
            Ok(result) => {
                self.sessions.at_mut(slot)?.machine = Some(machine);
                Some(result)
            }
            Err(_) => {
                // What a broken machine does when it is dropped is not looked at either.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(machine)));
                self.fault(slot, "session ended: its machine panicked");
                None
            }
        }
    }

    /// Ends a session whose machine broke the contract.
    fn fault(&mut self, slot: u32, why: &str) {
        let session = self.session_id(slot);
        let notice = Notice::Log { level: Level::Warn, text: why.into() };
        self.ops.push_back(Op::Tell { session, notice });
        self.end_session(slot);
    }
}
