//! Carries the operations of a driver out on the network in memory.

use std::collections::BTreeMap;

use driver::{BufferId, Buffers, Carriage, ConnId, Driver, Limits, Op, SessionId, SpliceEnd};
use protocols::proxy::{Instant, Notice, Question, QuestionId, Session};

use crate::dice::Dice;
use crate::net::{Broken, EndId, Net, Read};

/// Bytes of a received buffer, as on the ring.
const BUFFER_BYTES: usize = 4096;

/// Buffers that one connection gets in a turn.
const BUFFERS_PER_TURN: usize = 4;

/// Bytes that a splice moves at once.
const SPLICE_BYTES: usize = 64 * 1024;

/// What a driver asked of its surroundings, in order.
#[derive(Debug)]
pub enum Wish {
    /// A question.
    Ask(SessionId, QuestionId, Question),
    /// Something told.
    Tell(SessionId, Notice),
    /// A session has ended.
    Ended(SessionId),
}

#[derive(Default)]
struct Received(Vec<Vec<u8>>);

impl Buffers for Received {
    fn bytes(&self, buffer: BufferId) -> &[u8] {
        &self.0[usize::from(buffer.0)]
    }
}

struct Carried {
    end: EndId,
    receiving: bool,
    spilling: bool,
    splice: Option<Splice>,
    /// The end or the breaking was told.
    over: bool,
}

impl Carried {
    /// Whether what arrives is wanted.
    fn reads(&self) -> bool {
        let splices = self.splice.as_ref().is_some_and(|splice| splice.pipe.is_empty());
        (self.receiving || splices) && !self.over
    }
}

struct Splice {
    to: ConnId,
    left: u64,
    /// Read from the source and not yet taken by the destination.
    pipe: Vec<u8>,
    /// The source ended.
    eof: bool,
    stopped: bool,
}

/// A driver and its connections.
pub struct Carrier {
    /// The driver.
    pub driver: Driver,
    conns: BTreeMap<(u32, u32), (ConnId, Carried)>,
    buffers: Received,
    wishes: Vec<Wish>,
}

fn key(conn: ConnId) -> (u32, u32) {
    (conn.slot, conn.generation)
}

impl Carrier {
    /// A driver without sessions.
    pub fn new(limits: Limits) -> Carrier {
        Carrier {
            driver: Driver::new(limits),
            conns: BTreeMap::new(),
            buffers: Received::default(),
            wishes: Vec::new(),
        }
    }

    /// Begins a session on an end that was accepted.
    pub fn accept(&mut self, session: Box<dyn Session>, end: EndId, net: &mut Net, now: Instant) {
        match self.driver.accept(session, None, Carriage::Spliceable) {
            Some(conn) => self.add(conn, end),
            None => net.close(end, now),
        }
    }

    /// Attaches an end on which a connection stands.
    pub fn add(&mut self, conn: ConnId, end: EndId) {
        let carried = Carried { end, receiving: false, spilling: false, splice: None, over: false };
        self.conns.insert(key(conn), (conn, carried));
    }

    /// One turn: everything that is readable is received, everything that is wanted is sent.
    pub fn turn(&mut self, net: &mut Net, now: Instant, dice: &mut Dice) {
        self.driver.begin_turn(now);
        self.carry_out(net, now);
        let mut order: Vec<ConnId> = self.conns.values().map(|(conn, _)| *conn).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, dice.below(at + 1));
        }
        for conn in order {
            self.receive(conn, net, now, dice);
            self.send_spill(conn, net, now, dice);
            self.splice(conn, net, now, dice);
            self.carry_out(net, now);
        }
        self.send(net, now, dice);
        self.driver.end_turn();
        self.carry_out(net, now);
        self.buffers.0.clear();
    }

    /// What was asked and told since the last call.
    pub fn take_wishes(&mut self) -> Vec<Wish> {
        std::mem::take(&mut self.wishes)
    }

    /// When a turn is wanted although nothing arrives.
    pub fn next_turn(&self, net: &Net, now: Instant) -> Option<Instant> {
        let busy = self.driver.is_restless()
            || self.conns.values().any(|(_, at)| at.reads() && net.is_readable(at.end, now));
        if busy { Some(Instant(now.0 + 1_000)) } else { self.driver.next_deadline() }
    }

    fn receive(&mut self, conn: ConnId, net: &mut Net, now: Instant, dice: &mut Dice) {
        for _ in 0..BUFFERS_PER_TURN {
            let Some((_, at)) = self.conns.get_mut(&key(conn)) else { return };
            if !at.receiving || at.over {
                return;
            }
            match net.read(at.end, BUFFER_BYTES, now, dice) {
                Read::Bytes(mut bytes) => {
                    let id = BufferId(self.buffers.0.len() as u16);
                    self.driver.received(conn, id, &mut bytes);
                    self.buffers.0.push(bytes);
                    self.carry_out(net, now);
                }
                Read::Nothing => return,
                Read::Eof => {
                    at.over = true;
                    self.driver.ended(conn);
                }
                Read::Reset => {
                    at.over = true;
                    self.driver.failed(conn);
                }
            }
        }
    }

    fn send_spill(&mut self, conn: ConnId, net: &mut Net, now: Instant, dice: &mut Dice) {
        let Some((_, at)) = self.conns.get_mut(&key(conn)) else { return };
        if !at.spilling {
            return;
        }
        let bytes = self.driver.spill(conn);
        if bytes.is_empty() {
            at.spilling = false;
            return;
        }
        match net.send(at.end, bytes, now, dice) {
            Ok(0) => {}
            Ok(n) => {
                at.spilling = n < bytes.len();
                self.driver.spill_sent(conn, n);
            }
            Err(Broken) => {
                at.spilling = false;
                at.over = true;
                self.driver.failed(conn);
            }
        }
    }

    fn splice(&mut self, conn: ConnId, net: &mut Net, now: Instant, dice: &mut Dice) {
        let Some((_, at)) = self.conns.get_mut(&key(conn)) else { return };
        let Some(mut splice) = at.splice.take() else { return };
        let from = at.end;
        let Some(to) = self.conns.get(&key(splice.to)).map(|(_, to)| to.end) else {
            self.driver.splice_ended(conn, SpliceEnd::ToFailed);
            return;
        };
        let mut end = None;
        if splice.pipe.is_empty() && !splice.eof && !splice.stopped {
            let max = (splice.left as usize).min(SPLICE_BYTES);
            match net.read(from, max, now, dice) {
                Read::Bytes(bytes) => {
                    splice.left -= bytes.len() as u64;
                    self.driver.spliced(conn, bytes.len() as u64);
                    splice.pipe = bytes;
                }
                Read::Nothing => {}
                Read::Eof => splice.eof = true,
                Read::Reset => end = Some(SpliceEnd::FromFailed),
            }
        }
        if !splice.pipe.is_empty() {
            match net.send(to, &splice.pipe, now, dice) {
                Ok(n) => drop(splice.pipe.drain(..n)),
                Err(Broken) => end = Some(SpliceEnd::ToFailed),
            }
        }
        if end.is_none() && splice.pipe.is_empty() {
            if splice.eof {
                end = Some(SpliceEnd::Eof);
            } else if splice.left == 0 || splice.stopped {
                end = Some(SpliceEnd::Done);
            }
        }
        match end {
            Some(end) => {
                if let Some((_, at)) = self.conns.get_mut(&key(conn)) {
                    at.over = matches!(end, SpliceEnd::Eof | SpliceEnd::FromFailed);
                }
                self.driver.splice_ended(conn, end);
            }
            None => {
                if let Some((_, at)) = self.conns.get_mut(&key(conn)) {
                    at.splice = Some(splice);
                }
            }
        }
    }

    fn send(&mut self, net: &mut Net, now: Instant, dice: &mut Dice) {
        self.driver.prepare_sends(&self.buffers);
        let sends: Vec<_> = self.driver.sends().collect();
        for outgoing in sends {
            let bytes: Vec<u8> = self.driver.pieces(&outgoing, &self.buffers).flatten().copied().collect();
            let Some((conn, at)) = self.conns.get_mut(&key(outgoing.conn)) else { continue };
            match net.send(at.end, &bytes, now, dice) {
                Ok(n) if n < bytes.len() => self.driver.sent(*conn, n, &self.buffers),
                Ok(_) => {}
                Err(Broken) => {
                    at.over = true;
                    self.driver.failed(*conn);
                }
            }
        }
    }

    fn carry_out(&mut self, net: &mut Net, now: Instant) {
        while let Some(op) = self.driver.poll_op() {
            match op {
                Op::Receive(conn, _) => self.with(conn, |at| at.receiving = true),
                Op::Stop(conn) => {
                    self.with(conn, |at| at.receiving = false);
                    self.driver.receive_stopped(conn);
                }
                Op::Send(conn) => self.with(conn, |at| at.spilling = true),
                Op::Splice { from, to, bytes, .. } => self.with(from, |at| {
                    at.splice =
                        Some(Splice { to, left: bytes, pipe: Vec::new(), eof: false, stopped: false });
                }),
                Op::StopSplice(conn) => self.with(conn, |at| {
                    if let Some(splice) = &mut at.splice {
                        splice.stopped = true;
                    }
                }),
                Op::Shutdown(conn) => {
                    if let Some((_, at)) = self.conns.get(&key(conn)) {
                        net.shutdown(at.end, now);
                    }
                }
                Op::Close(conn) => {
                    if let Some((_, at)) = self.conns.remove(&key(conn)) {
                        net.close(at.end, now);
                    }
                    self.driver.closed(conn);
                }
                Op::Layer { conn, .. } => self.driver.switch(conn, Err("no layers in this world".into())),
                Op::Ask { session, id, question } => self.wishes.push(Wish::Ask(session, id, question)),
                Op::Tell { session, notice } => self.wishes.push(Wish::Tell(session, notice)),
                Op::Ended(session) => self.wishes.push(Wish::Ended(session)),
            }
        }
    }

    fn with(&mut self, conn: ConnId, f: impl FnOnce(&mut Carried)) {
        if let Some((_, at)) = self.conns.get_mut(&key(conn)) {
            f(at);
        }
    }
}
