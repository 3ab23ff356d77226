//! What goes out: one send per connection and turn, and spill buffers for what it left.

use std::mem;

use protocols::proxy::Event;

use crate::conn::{Finish, Spill};
use crate::layer::{Layer, LayerError, RECORD_BYTES_MAX, Wire};
use crate::turn::{Buffers, Chain, Coding, Source, Turn};
use crate::{ConnId, Driver, Op, Work};

/// One send of a turn.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing {
    /// To whom.
    pub conn: ConnId,
    chain: Chain,
}

impl Outgoing {
    /// All bytes of it.
    pub fn len(&self) -> usize {
        self.chain.bytes as usize
    }

    /// Never: nothing is not sent.
    pub fn is_empty(&self) -> bool {
        self.chain.is_empty()
    }
}

impl Driver {
    /// Puts what was gathered in this turn in its last form: encoded, and behind what is spilled.
    pub fn prepare_sends(&mut self, buffers: &impl Buffers) {
        let mut at = 0;
        while at < self.dirty.len() {
            let slot = self.dirty[at];
            at += 1;
            let Some(conn) = self.conns.at_mut(slot) else { continue };
            conn.in_dirty = false;
            if conn.out.is_empty() || conn.finish == Finish::Closing {
                continue;
            }
            if conn.layer.is_some() {
                self.encode_out(slot, buffers);
            }
            let Some(conn) = self.conns.at_mut(slot) else { continue };
            let chain = mem::replace(&mut conn.out, Chain::EMPTY);
            if conn.finish == Finish::Closing {
                continue;
            }
            if chain.is_empty() {
                self.awaited = true;
                self.flushed(slot); // The layer keeps it until its handshake is over.
            } else if conn.spill.is_some() {
                let rest = self.turn.rest(chain, 0, buffers);
                self.spill_rest(slot, rest);
            } else {
                conn.flying = true;
                self.awaited |= conn.drained_owed || conn.finish != Finish::No || conn.queue.is_some();
                self.sending.push((slot, chain));
            }
        }
        self.dirty.clear();
        mem::swap(&mut self.turn, &mut self.sent_turn);
    }

    /// What is sent in this turn, after [`Driver::prepare_sends`].
    pub fn sends(&self) -> impl Iterator<Item = Outgoing> + '_ {
        self.sending.iter().map(|(slot, chain)| Outgoing { conn: self.conn_id(*slot), chain: *chain })
    }

    /// The bytes of a send, in order. They stand still until [`Driver::end_turn`].
    pub fn pieces<'a>(
        &'a self,
        outgoing: &Outgoing,
        buffers: &'a impl Buffers,
    ) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.sent_turn.walk(outgoing.chain).map(|(source, _)| self.sent_turn.bytes(source, buffers))
    }

    /// A send of this turn took only `n` bytes. The rest is spilled.
    pub fn sent(&mut self, conn: ConnId, n: usize, buffers: &impl Buffers) {
        if !self.is_open(conn) {
            return;
        }
        let chain = self.sending.iter().find(|(slot, _)| *slot == conn.slot).map(|(_, chain)| *chain);
        if let Some(chain) = chain
            && n < chain.bytes as usize
        {
            let rest = self.sent_turn.rest(chain, n, buffers);
            self.spill_rest(conn.slot, rest);
        }
    }

    /// The turn's sends are out: the received buffers are the carrier's again.
    pub fn end_turn(&mut self) {
        let mut sending = mem::take(&mut self.sending);
        for (slot, _) in sending.drain(..) {
            let Some(conn) = self.conns.at_mut(slot) else { continue };
            conn.flying = false;
            if conn.finish != Finish::Closing && conn.spill.is_none() {
                self.flushed(slot);
            }
        }
        self.sending = sending;
        self.awaited = false;
        self.timed.clear();
        self.sent_turn.clear();
        self.begin_splices();
        self.work();
    }

    /// The spilled bytes to send, after [`Op::Send`]: untouched until [`Driver::spill_sent`].
    pub fn spill(&self, conn: ConnId) -> &[u8] {
        let spill = self.conns.at(conn.slot).and_then(|conn| conn.spill.as_ref());
        spill.map_or(&[], |spill| &spill.flying[spill.sent..])
    }

    /// `n` of the spilled bytes went out.
    pub fn spill_sent(&mut self, conn: ConnId, n: usize) {
        if !self.conns.is(conn.slot, conn.generation) {
            return;
        }
        let now = self.now;
        let Some(at) = self.conns.at_mut(conn.slot) else { return };
        let Some(spill) = &mut at.spill else { return };
        let n = n.min(spill.flying.len() - spill.sent);
        spill.sent += n;
        if n > 0 {
            spill.moved = now;
        }
        if at.finish != Finish::Closing {
            self.spilled -= n;
        }
        if at.finish != Finish::No {
            at.progress = now;
        }
        if spill.sent == spill.flying.len() {
            spill.sent = 0;
            spill.flying = mem::take(&mut spill.waiting);
        }
        let is_empty = spill.flying.is_empty();
        let since = spill.since;
        if is_empty {
            at.spill = None;
            self.client_left_unread(conn, since.stamp().until(now.stamp()));
        }
        let Some(at) = self.conns.at_mut(conn.slot) else { return };
        if at.finish == Finish::Closing {
            return;
        }
        if is_empty {
            self.flushed(conn.slot);
            self.begin_splices();
            self.work();
        } else {
            self.ops.push_back(Op::Send(conn));
        }
    }

    /// Puts what was not sent behind what is spilled.
    pub(crate) fn spill_rest(&mut self, slot: u32, rest: Vec<u8>) {
        let now = self.now;
        let Some(conn) = self.conns.at_mut(slot).filter(|conn| conn.finish != Finish::Closing) else {
            return;
        };
        self.spilled += rest.len();
        if let Some(spill) = &mut conn.spill {
            spill.waiting.extend_from_slice(&rest);
        } else {
            conn.spill = Some(Box::new(Spill { flying: rest, since: now, moved: now, ..Spill::default() }));
            let id = self.conn_id(slot);
            self.ops.push_back(Op::Send(id));
        }
        self.relieve();
    }

    /// All that was pushed to a connection has gone out: who waited for it goes on.
    fn flushed(&mut self, slot: u32) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        if conn.drained_owed && conn.queue.is_none() {
            conn.drained_owed = false;
            conn.authored = 0;
            let (session, side) = (conn.session, conn.side);
            self.notify(session, Event::Drained { side });
        }
        let Some(conn) = self.conns.at_mut(slot) else { return };
        if let Some(source) = conn.feeding() {
            self.work.push_back(Work::Pump(source));
        }
        if conn.kept.len() > 0 {
            self.work.push_back(Work::Pump(slot));
        }
        self.try_finish(slot);
    }

    /// Encodes the plain parts of a chain.
    fn encode_out(&mut self, slot: u32, buffers: &impl Buffers) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        let chain = mem::replace(&mut conn.out, Chain::EMPTY);
        let Some(state) = &mut conn.layer else { return };
        let mut sealed = mem::take(&mut self.turn.sealed);
        let start = sealed.len() as u32;
        let result =
            encode_chain(&self.turn, chain, buffers, &mut *state.layer, &mut self.plain, &mut sealed);
        let range = start..sealed.len() as u32;
        self.turn.sealed = sealed;
        match result {
            Ok(()) => self.turn.push(&mut conn.out, Source::Sealed(range), Coding::Wire),
            Err(_) => self.reset(slot),
        }
    }
}

/// Encodes a chain: straight from where the bytes stand if they stand in one place, else gathered to
/// records as large as can be.
fn encode_chain(
    turn: &Turn,
    chain: Chain,
    buffers: &impl Buffers,
    layer: &mut dyn Layer,
    gathered: &mut Vec<u8>,
    wire: &mut Wire,
) -> Result<(), LayerError> {
    gathered.clear();
    let mut pieces = turn.walk(chain).peekable();
    while let Some((source, coding)) = pieces.next() {
        let mut rest = turn.bytes(source, buffers);
        let is_last = pieces.peek().is_none_or(|(_, next)| *next == Coding::Wire);
        match coding {
            Coding::Wire => wire.append(rest),
            Coding::Plain if is_last && gathered.is_empty() => layer.encode(rest, wire)?,
            Coding::Plain => {
                while !rest.is_empty() {
                    let n = rest.len().min(RECORD_BYTES_MAX - gathered.len());
                    gathered.extend_from_slice(&rest[..n]);
                    rest = &rest[n..];
                    if gathered.len() == RECORD_BYTES_MAX || (is_last && rest.is_empty()) {
                        layer.encode(gathered, wire)?;
                        gathered.clear();
                    }
                }
            }
        }
    }
    Ok(())
}
