//! Layers between sockets and machines.

use std::mem;

use protocols::proxy::{Event, Instant, Side, TlsInfo};

use crate::conn::{Kept, LayerState, Segment};
use crate::layer::{Decoded, Joins, Layer, LayerError, RECORD_BYTES_MAX, Step, Wire};
use crate::limits::HANDSHAKES_PER_TURN;
use crate::stack::Stack;
use crate::turn::{BufferId, Coding};
use crate::{ConnId, Driver};

/// Decoded bytes that wait on a connection at which no more is decoded: a window.
const DECODED_AHEAD_BYTES_MAX: usize = 16 * 1024;

impl Driver {
    /// The layer that [`Op::Layer`](crate::Op::Layer) asked for, or why there is none.
    pub fn switch(&mut self, conn: ConnId, layer: Result<Box<dyn Layer>, Box<str>>) {
        if !self.is_open(conn) {
            return;
        }
        let Some(at) = self.conns.at_mut(conn.slot) else { return };
        if !matches!(at.queue.as_ref().and_then(|queue| queue.front()), Some(Segment::Switching)) {
            return;
        }
        at.dequeue();
        let leftover = at.kept.len() > 0 || at.layer.is_some();
        match layer {
            Err(why) => self.layer_failed(conn.slot, why),
            Ok(layer) if layer.joins() != Joins::Alone => self.stack(conn.slot, layer),
            // What was sent in the clear would count as sent under the layer (CVE-2011-0411).
            Ok(_) if leftover => self.layer_failed(conn.slot, "plain bytes behind the switch".into()),
            Ok(layer) => {
                self.put_layer(conn.slot, layer);
                self.settle_queue(conn.slot);
            }
        }
        self.work();
    }

    /// Puts a layer over what there is. A server may speak in it at once, so that what stands decoded is the
    /// layer's; a client has to wait until it is there.
    fn stack(&mut self, slot: u32, layer: Box<dyn Layer>) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        let is_over = layer.joins() == Joins::Over;
        if is_over && conn.side == Side::Client && conn.kept.len() > 0 {
            return self.layer_failed(slot, "plain bytes behind the switch".into());
        }
        let (session, side) = (conn.session, conn.side);
        let early = if is_over { mem::take(&mut conn.kept).bytes().to_vec() } else { Vec::new() };
        match conn.layer.take() {
            None => {
                self.put_layer(slot, layer);
                self.keep_wire(slot, &early);
            }
            Some(mut state) => {
                let unsent = self.turn.walk(conn.out).filter(|(_, coding)| *coding == Coding::Plain);
                let before = unsent.map(|(source, _)| source.len()).sum();
                state.layer = Box::new(Stack::new(state.layer, layer, early, before));
                conn.layer = Some(state);
                self.notify(session, Event::Switched { side, result: Ok(TlsInfo::default()) });
            }
        }
        self.settle_queue(slot);
        self.pump(slot);
    }

    /// Puts a layer on a connection and sends its first words.
    pub(crate) fn put_layer(&mut self, slot: u32, mut layer: Box<dyn Layer>) {
        let mut reply = Wire::default();
        let started = layer.start(&mut reply);
        self.push_wire(slot, reply.bytes());
        match started {
            Ok(()) => {
                let established = layer.is_established();
                let Some(conn) = self.conns.at_mut(slot) else { return };
                conn.plain = false;
                let (session, side) = (conn.session, conn.side);
                let (wire, incomplete, queued) = (Kept::default(), false, false);
                conn.layer = Some(Box::new(LayerState { layer, wire, incomplete, established, queued }));
                if established {
                    self.notify(session, Event::Switched { side, result: Ok(TlsInfo::default()) });
                }
            }
            Err(LayerError(why)) => self.layer_failed(slot, why),
        }
    }

    /// A layer cannot go on. Its last words are sent; the session hears that the side is gone.
    fn layer_failed(&mut self, slot: u32, why: Box<str>) {
        let Some(conn) = self.conns.at_mut(slot) else { return };
        let (session, side) = (conn.session, conn.side);
        let established = conn.layer.take().is_some_and(|state| state.established);
        self.break_destination(slot);
        self.abandon_jobs(slot);
        if let Some(conn) = self.conns.at_mut(slot) {
            conn.session = crate::turn::NONE;
        }
        if let Some(state) = self.sessions.at_mut(session) {
            state.sides.retain(|(_, at)| *at != slot);
        }
        self.close_when_sent(slot);
        let event = if established { Event::Reset(side) } else { Event::Switched { side, result: Err(why) } };
        self.notify(session, event);
    }

    /// Decodes a received buffer in place; behind an incomplete record it is appended to that.
    pub(crate) fn decode_received(&mut self, slot: u32, buffer: BufferId, bytes: &mut [u8]) {
        let Some(state) = self.conns.at_mut(slot).and_then(|conn| conn.layer.as_mut()) else { return };
        if state.wire.len() == 0 && self.may_decode(slot) {
            let used = self.decode(slot, Some(buffer), bytes);
            self.keep_wire(slot, &bytes[used..]);
        } else {
            self.keep_wire(slot, bytes);
            if let Some(state) = self.conns.at_mut(slot).and_then(|conn| conn.layer.as_mut()) {
                state.incomplete = false;
            }
            self.decode_more(slot);
        }
        if self.conns.at(slot).is_some_and(|conn| {
            conn.layer.as_ref().is_some_and(|layer| layer.wire.len() > crate::limits::BACKLOG_BYTES_MAX)
        }) {
            self.reset(slot);
        }
    }

    /// Decodes what was kept undecoded.
    pub(crate) fn decode_more(&mut self, slot: u32) {
        let Some(state) = self.conns.at_mut(slot).and_then(|conn| conn.layer.as_mut()) else { return };
        let is_done = state.wire.len() == 0 || state.incomplete;
        if (is_done && !state.layer.holds_input()) || !self.may_decode(slot) {
            return;
        }
        let Some(state) = self.conns.at_mut(slot).and_then(|conn| conn.layer.as_mut()) else { return };
        let mut wire = mem::take(&mut state.wire);
        let used = self.decode(slot, None, wire.bytes_mut());
        wire.consume(used);
        if let Some(state) = self.conns.at_mut(slot).and_then(|conn| conn.layer.as_mut()) {
            let behind = mem::replace(&mut state.wire, wire);
            if behind.len() > 0 {
                state.wire.append(behind.bytes(), &self.kept);
            }
        }
    }

    /// Whether input may be decoded in this turn. A handshake that has to wait stands in a queue.
    fn may_decode(&mut self, slot: u32) -> bool {
        let Some(state) = self.conns.at_mut(slot).and_then(|conn| conn.layer.as_mut()) else { return true };
        if state.established {
            return true;
        }
        if self.handshakes_left > 0 {
            self.handshakes_left -= 1;
            return true;
        }
        if !state.queued {
            state.queued = true;
            self.handshakes.push_back(slot);
        }
        false
    }

    /// Who waited for this turn with its handshake comes before what arrives in it.
    pub(crate) fn go_on_with_handshakes(&mut self) {
        self.handshakes_left = HANDSHAKES_PER_TURN;
        while self.handshakes_left > 0
            && let Some(slot) = self.handshakes.pop_front()
        {
            let state = self.conns.at_mut(slot).and_then(|conn| conn.layer.as_mut());
            if let Some(state) = state.filter(|state| state.queued) {
                state.queued = false;
                self.pump(slot);
                self.work();
            }
        }
    }

    fn keep_wire(&mut self, slot: u32, rest: &[u8]) {
        if rest.is_empty() {
            return;
        }
        if let Some(state) = self.conns.at_mut(slot).and_then(|conn| conn.layer.as_mut()) {
            state.wire.append(rest, &self.kept);
        }
    }

    /// Decodes records until one is incomplete, the input is used up, or enough is decoded ahead.
    /// Gives the bytes that are done with.
    fn decode(&mut self, slot: u32, buffer: Option<BufferId>, wire: &mut [u8]) -> usize {
        let mut at = 0;
        let (mut reply, mut own) = (Wire::default(), Vec::new());
        loop {
            let Some(conn) = self.conns.at_mut(slot) else { return wire.len() };
            if conn.kept.len() >= DECODED_AHEAD_BYTES_MAX {
                return at;
            }
            let Some(state) = &mut conn.layer else { return wire.len() };
            if at == wire.len() && !state.layer.holds_input() {
                return at;
            }
            let decoded = state.layer.decode(&mut wire[at..], &mut reply);
            state.layer.take_decoded(&mut own);
            if !reply.is_empty() {
                self.push_wire(slot, reply.bytes());
                reply.clear(RECORD_BYTES_MAX);
            }
            let Decoded { consumed, plain, step } = match decoded {
                Ok(decoded) => decoded,
                Err(LayerError(why)) => {
                    self.layer_failed(slot, why);
                    return wire.len();
                }
            };
            if !plain.is_empty() {
                let place = buffer.map(|buffer| (buffer, (at + plain.start) as u32));
                let range = at + plain.start..at + plain.end;
                self.take(slot, place, &wire[range]);
            }
            if !own.is_empty() {
                self.take(slot, None, &own);
                own.clear();
            }
            at += consumed;
            if !self.step(slot, step) {
                return at;
            }
        }
    }

    /// What a decoding step amounted to; `false` when decoding ends for the moment.
    fn step(&mut self, slot: u32, step: Step) -> bool {
        match step {
            Step::Progress => true,
            Step::NeedMore => {
                if let Some(state) = self.conns.at_mut(slot).and_then(|conn| conn.layer.as_mut()) {
                    state.incomplete = true;
                }
                false
            }
            Step::Established(info) => {
                let Some(conn) = self.conns.at_mut(slot) else { return false };
                let (session, side) = (conn.session, conn.side);
                if let Some(state) = &mut conn.layer {
                    state.established = true;
                }
                conn.progress = Instant(conn.progress.0.max(self.now.0));
                self.notify(session, Event::Switched { side, result: Ok(info) });
                self.work();
                true
            }
            Step::Closed => {
                self.input_ended(slot);
                false
            }
        }
    }
}
