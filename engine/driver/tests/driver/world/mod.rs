//! A carrier in memory: delivers, sends, splices and stops at random by a seed.

use std::collections::BTreeMap;

use driver::deflate::Deflaters;
use driver::layer::{Decoded, Layer, LayerError, Step, Wire};
use driver::limits::{BUFFER_BYTES, Limits};
use driver::{BufferId, Buffers, Carriage, ConnId, Driver, Op, Pace, Passage, SpliceEnd};
use protocols::proxy::{
    Answer, Instant, LayerKind, Notice, Opened, Question, QuestionId, Session, Side, TlsInfo, Unavailable,
};

/// What stands at the other end of a connection.
#[derive(Default)]
pub(crate) struct Peer {
    /// What it will send.
    pub(crate) to_send: Vec<u8>,
    pub(crate) sent: usize,
    /// It half-closes when all is sent.
    pub(crate) ends: bool,
    /// It is sent no more than this.
    pub(crate) takes: usize,
    pub(crate) got: Vec<u8>,
    pub(crate) got_eof: bool,
    pub(crate) receiving: bool,
    /// How it is received, as it was told last.
    pub(crate) pace: Option<Pace>,
    /// What it sends fills buffers, instead of coming in pieces.
    pub(crate) fills: bool,
    pub(crate) stopping: bool,
    pub(crate) told_end: bool,
    pub(crate) closed: bool,
    pub(crate) spilling: bool,
    pub(crate) splice: Option<(ConnId, u64, Passage)>,
}

/// Numbers by a seed (xorshift).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

#[derive(Default)]
struct Memory(Vec<Vec<u8>>);

impl Buffers for Memory {
    fn bytes(&self, buffer: BufferId) -> &[u8] {
        &self.0[usize::from(buffer.0)]
    }
}

/// The driver and everything around it.
pub(crate) struct World {
    pub(crate) driver: Driver,
    pub(crate) dice: Dice,
    pub(crate) now: Instant,
    pub(crate) peers: BTreeMap<u32, (ConnId, Peer)>,
    /// Peers of backend connections, in the order in which they are opened.
    pub(crate) backends: Vec<Peer>,
    /// The slots that they got.
    pub(crate) opened: Vec<u32>,
    pub(crate) notices: Vec<Notice>,
    pub(crate) ended: usize,
    pub(crate) spliced: u64,
    pub(crate) sealed: u64,
    /// The carrier has pipes.
    pub(crate) has_pipes: bool,
    carriage: Carriage,
}

impl World {
    pub(crate) fn new(seed: u64, limits: Limits, carriage: Carriage) -> World {
        World {
            driver: Driver::new(limits),
            dice: Dice(seed * 2 + 1),
            now: Instant(0),
            peers: BTreeMap::new(),
            backends: Vec::new(),
            opened: Vec::new(),
            notices: Vec::new(),
            ended: 0,
            spliced: 0,
            sealed: 0,
            has_pipes: true,
            carriage,
        }
    }

    pub(crate) fn client(&mut self, session: Box<dyn Session>, peer: Peer) -> u32 {
        let conn = self.driver.accept(session, None, self.carriage).expect("room");
        self.peers.insert(conn.slot, (conn, peer));
        self.operate();
        conn.slot
    }

    pub(crate) fn peer(&mut self, slot: u32) -> &mut Peer {
        &mut self.peers.get_mut(&slot).expect("a peer").1
    }

    /// Turns until nothing moves any more; the most bytes that stood anywhere between the ends.
    pub(crate) fn settle(&mut self) -> usize {
        let mut quiet = 0;
        let mut most = 0;
        while quiet < 40 {
            let moved = self.turn();
            quiet = if moved { 0 } else { quiet + 1 };
            let sent: usize = self.peers.values().map(|(_, peer)| peer.sent).sum();
            let got: usize = self.peers.values().map(|(_, peer)| peer.got.len()).sum();
            most = most.max(sent.saturating_sub(got));
        }
        most
    }

    pub(crate) fn turn(&mut self) -> bool {
        let mut memory = Memory::default();
        self.now = Instant(self.now.0 + 100_000);
        self.driver.begin_turn(self.now);
        self.operate();
        let mut moved = self.driver.is_restless();
        let slots: Vec<u32> = self.peers.keys().copied().collect();
        for slot in slots {
            for _ in 0..self.dice.below(4) {
                moved |= self.deliver(slot, &mut memory);
                self.operate();
            }
            moved |= self.stop(slot);
            moved |= self.drain_spill(slot);
            moved |= self.splice(slot);
            self.operate();
        }
        self.driver.prepare_sends(&memory);
        self.operate();
        moved |= self.send(&memory);
        self.driver.end_turn();
        self.operate();
        moved
    }

    fn deliver(&mut self, slot: u32, memory: &mut Memory) -> bool {
        let Some((conn, peer)) = self.peers.get_mut(&slot) else { return false };
        let has_stopped = peer.stopping && peer.pace == Some(Pace::Single);
        if !peer.receiving || has_stopped || peer.closed || peer.told_end {
            return false;
        }
        if peer.sent == peer.to_send.len() {
            if peer.ends {
                peer.told_end = true;
                peer.receiving = false;
                self.driver.ended(*conn);
            }
            return peer.ends;
        }
        let most = [1, 7, 100, 4096][self.dice.below(4)];
        let n = if peer.fills { BUFFER_BYTES } else { self.dice.below(most) + 1 };
        let n = n.min(peer.to_send.len() - peer.sent);
        let mut bytes = peer.to_send[peer.sent..peer.sent + n].to_vec();
        peer.sent += n;
        let id = BufferId(memory.0.len() as u16);
        self.driver.received(*conn, id, &mut bytes);
        memory.0.push(bytes);
        true
    }

    fn stop(&mut self, slot: u32) -> bool {
        let Some((conn, peer)) = self.peers.get_mut(&slot) else { return false };
        if !peer.stopping || self.dice.below(2) == 0 {
            return peer.stopping;
        }
        peer.stopping = false;
        if peer.receiving {
            peer.receiving = false;
            self.driver.receive_stopped(*conn);
        }
        true
    }

    fn drain_spill(&mut self, slot: u32) -> bool {
        let Some((conn, peer)) = self.peers.get_mut(&slot) else { return false };
        if !peer.spilling {
            return false;
        }
        let bytes = self.driver.spill(*conn);
        let n = (self.dice.below(bytes.len()) + 1).min(bytes.len()).min(peer.takes - peer.got.len());
        if n == 0 && !peer.closed {
            return false;
        }
        peer.got.extend_from_slice(&bytes[..n]);
        peer.spilling = false;
        if peer.closed {
            let conn = *conn;
            self.peers.remove(&slot);
            self.driver.closed(conn);
        } else {
            self.driver.spill_sent(*conn, n);
        }
        true
    }

    fn splice(&mut self, slot: u32) -> bool {
        let Some((from, peer)) = self.peers.get_mut(&slot) else { return false };
        let Some((to, left, passage)) = peer.splice else { return false };
        let from = *from;
        let n =
            (self.dice.below(100_000) as u64).min(left).min((peer.to_send.len() - peer.sent) as u64) as usize;
        let room = self.peers.get(&to.slot).map_or(0, |(_, to)| to.takes - to.got.len());
        let n = if passage == Passage::Pipe { n.min(room) } else { n };
        if passage == Passage::Layer && !self.driver.is_clear(to) {
            self.peer(slot).splice = None;
            self.driver.splice_ended(from, SpliceEnd::Full);
            return true;
        }
        let Some((_, peer)) = self.peers.get_mut(&slot) else { return false };
        let bytes = peer.to_send[peer.sent..peer.sent + n].to_vec();
        peer.sent += n;
        let left = left - n as u64;
        let ended = peer.ends && peer.sent == peer.to_send.len() && left > 0;
        peer.splice = Some((to, left, passage));
        if left == 0 || ended {
            peer.splice = None;
            peer.told_end |= ended;
        }
        match passage {
            Passage::Pipe => {
                self.peer(to.slot).got.extend_from_slice(&bytes);
                self.spliced += n as u64;
                self.driver.spliced(from, n as u64);
            }
            Passage::Layer => self.seal(from, to, &bytes, room),
        }
        if left == 0 {
            self.driver.splice_ended(from, SpliceEnd::Done);
        } else if ended {
            self.driver.splice_ended(from, SpliceEnd::Eof);
        }
        n > 0 || ended || left == 0
    }

    /// Encodes and sends a piece; the socket takes all, some or nothing of it.
    fn seal(&mut self, from: ConnId, to: ConnId, bytes: &[u8], room: usize) {
        let Some(wire) = self.driver.seal(from, to, bytes).map(<[u8]>::to_vec) else { return };
        self.sealed += bytes.len() as u64;
        let most = [wire.len(), self.dice.below(wire.len() + 1)][self.dice.below(2)].min(room);
        self.peer(to.slot).got.extend_from_slice(&wire[..most]);
        if most < wire.len() {
            self.driver.sealed_rest(to, most);
        }
    }

    fn send(&mut self, memory: &Memory) -> bool {
        let sends: Vec<_> = self.driver.sends().collect();
        for outgoing in &sends {
            let bytes: Vec<u8> = self.driver.pieces(outgoing, memory).flatten().copied().collect();
            assert_eq!(bytes.len(), outgoing.len());
            let Some((conn, peer)) = self.peers.get_mut(&outgoing.conn.slot) else { continue };
            let all = self.dice.below(3) > 0;
            let n = if all { bytes.len() } else { self.dice.below(bytes.len()) };
            let n = n.min(peer.takes - peer.got.len());
            peer.got.extend_from_slice(&bytes[..n]);
            assert!(!peer.got_eof, "bytes behind the end");
            if n < bytes.len() {
                self.driver.sent(*conn, n, memory);
            }
        }
        !sends.is_empty()
    }

    fn operate(&mut self) {
        while let Some(op) = self.driver.poll_op() {
            match op {
                Op::Receive(conn, pace) => {
                    let peer = self.peer(conn.slot);
                    (peer.receiving, peer.pace) = (true, Some(pace));
                }
                Op::Stop(conn) => self.peer(conn.slot).stopping = true,
                Op::Send(conn) => self.peer(conn.slot).spilling = true,
                Op::Splice { from, to, bytes, passage } => {
                    assert!(!self.peer(from.slot).receiving && !self.peer(to.slot).spilling);
                    if passage == Passage::Pipe && !self.has_pipes {
                        self.driver.splice_ended(from, SpliceEnd::Done);
                        continue;
                    }
                    self.peer(from.slot).splice = Some((to, bytes, passage));
                }
                Op::StopSplice(from) => {
                    self.peer(from.slot).splice = None;
                    self.driver.splice_ended(from, SpliceEnd::Done);
                }
                Op::Shutdown(conn) => self.peer(conn.slot).got_eof = true,
                Op::Close(conn) => {
                    let peer = self.peer(conn.slot);
                    (peer.closed, peer.receiving, peer.splice) = (true, false, None);
                    if !peer.spilling {
                        self.driver.closed(conn);
                    }
                }
                Op::Layer { conn, kind } => {
                    let layer: Result<Box<dyn Layer>, Box<str>> = match kind {
                        LayerKind::TlsServer => Ok(Box::new(Xor::default())),
                        LayerKind::TlsClient { .. } | LayerKind::Telemetry { .. } => Err("none".into()),
                        LayerKind::Deflate => Deflaters::default().layer(),
                    };
                    self.driver.switch(conn, layer);
                }
                Op::Ask { session, id, question } => self.ask(session, id, &question),
                Op::Tell { notice, .. } => self.notices.push(notice),
                Op::Ended(_) => self.ended += 1,
            }
        }
    }

    fn ask(&mut self, session: driver::SessionId, id: QuestionId, question: &Question) {
        if !matches!(question, Question::OpenBackend { .. }) {
            self.driver.answer(session, id, Answer::Barrier(Err(Unavailable)));
            return;
        }
        let opened = Opened { host: "b".into(), tls: false, noauth: false };
        let peer = self.backends.remove(0);
        if let Some(conn) = self.driver.opened(session, id, opened, None, self.carriage) {
            self.peers.insert(conn.slot, (conn, peer));
            self.opened.push(conn.slot);
        }
    }

    /// A connection breaks.
    pub(crate) fn reset(&mut self, slot: u32) {
        let conn = self.peers[&slot].0;
        self.driver.failed(conn);
        self.operate();
    }
}

/// A peer that sends this and takes everything.
pub(crate) fn sends(bytes: impl Into<Vec<u8>>) -> Peer {
    Peer { to_send: bytes.into(), takes: usize::MAX, ..Peer::default() }
}

/// A toy layer: records of a length of two bytes and that many bytes, each turned over; the first
/// record is the handshake.
#[derive(Default)]
pub(crate) struct Xor {
    established: bool,
    held: Vec<u8>,
}

/// Short records of the toy layer.
pub(crate) fn record(plain: &[u8]) -> Vec<u8> {
    plain.chunks(200).flat_map(one_record).collect()
}

/// One record of the toy layer.
pub(crate) fn one_record(plain: &[u8]) -> Vec<u8> {
    let length = (plain.len() as u16).to_be_bytes();
    length.into_iter().chain(plain.iter().map(|byte| byte ^ 0x5a)).collect()
}

impl Layer for Xor {
    fn start(&mut self, reply: &mut Wire) -> Result<(), LayerError> {
        reply.append(&record(b"hello"));
        Ok(())
    }

    fn decode(&mut self, wire: &mut [u8], reply: &mut Wire) -> Result<Decoded, LayerError> {
        let len = wire.first_chunk().map(|len| 2 + usize::from(u16::from_be_bytes(*len)));
        let Some(len) = len.filter(|len| wire.len() >= *len) else {
            return Ok(Decoded { consumed: 0, plain: 0..0, step: Step::NeedMore });
        };
        wire[2..len].iter_mut().for_each(|byte| *byte ^= 0x5a);
        if !self.established {
            if &wire[2..len] != b"hello" {
                return Err(LayerError("no hello".into()));
            }
            self.established = true;
            reply.append(&record(&self.held));
            return Ok(Decoded { consumed: len, plain: 0..0, step: Step::Established(TlsInfo::default()) });
        }
        Ok(Decoded { consumed: len, plain: 2..len, step: Step::Progress })
    }

    fn encode(&mut self, plain: &[u8], wire: &mut Wire) -> Result<(), LayerError> {
        if self.established {
            wire.append(&record(plain));
        } else {
            self.held.extend_from_slice(plain);
        }
        Ok(())
    }

    fn close(&mut self, _: &mut Wire) {}
}

/// The name of the backend side that the tests use.
pub(crate) const BACKEND: Side = Side::Backend(protocols::proxy::BackendId(0));
