//! What stands between a socket and a machine: TLS or deflate.

use std::ops::Range;

use protocols::proxy::TlsInfo;

/// Why a layer gave up. The connection is closed after what it left in `reply` was sent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct LayerError(pub Box<str>);

/// One step of decoding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// Bytes of the input that are done with. What stands behind is offered again, alone if this
    /// step made progress, else with what follows.
    pub consumed: usize,
    /// Where in the input decoded bytes for the machine stand, within `consumed`; empty when there are
    /// none, or when they do not stand there but are taken by [`Layer::take_decoded`].
    pub plain: Range<usize>,
    /// What the step amounted to.
    pub step: Step,
}

/// What a step of decoding amounted to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Something was consumed; call again with the rest.
    Progress,
    /// The input holds no whole record.
    NeedMore,
    /// The handshake is finished; call again with the rest.
    Established(TlsInfo),
    /// The other end said it sends no more.
    Closed,
}

/// The largest piece that a layer encodes as one. TLS allows 2^14 bytes (RFC 8446 section 5.1), but
/// a record is made in memory of its own, and the allocator goes round in 64 KiB of blocks below
/// 8 KiB, in 512 KiB of larger ones, which push everything else out of the second-level cache
/// (measured: 17 % less CPU for a MiB from socket to socket).
pub const RECORD_BYTES_MAX: usize = 8000;

/// Encoded bytes, to be appended to. Memory that was used once is not cleared before it is used
/// again: that would cost as much as a copy.
#[derive(Default)]
pub struct Wire {
    memory: Vec<u8>,
    len: usize,
}

impl Wire {
    /// What was appended.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[..self.len]
    }

    /// How much was appended.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends what `fill` puts at the front of `room` bytes and says the length of.
    ///
    /// # Errors
    /// What `fill` gives; nothing is appended.
    pub fn append_with<E>(
        &mut self,
        room: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        let end = self.len + room;
        if self.memory.len() < end {
            self.memory.resize(end, 0);
        }
        self.len += fill(&mut self.memory[self.len..end])?.min(room);
        Ok(())
    }

    /// Appends a copy.
    pub fn append(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if self.memory.len() < end {
            self.memory.resize(end, 0);
        }
        self.memory[self.len..end].copy_from_slice(bytes);
        self.len = end;
    }

    /// Forgets the bytes and all memory but `kept` bytes of it.
    pub fn clear(&mut self, kept: usize) {
        self.len = 0;
        if self.memory.len() > kept {
            self.memory.truncate(kept);
            self.memory.shrink_to(kept);
        }
    }
}

/// How a layer joins what stands on a connection already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Joins {
    /// Only an empty connection.
    Alone,
    /// Over another layer; what was decoded before it came is its own.
    Over,
    /// Over another layer; what was decoded before it came stays as it is, for it changes nothing.
    Beside,
}

/// A layer of one connection: pure bytes in, bytes out.
pub trait Layer {
    /// Begins: what must be sent first (a client's hello) is appended to `reply`.
    ///
    /// # Errors
    /// The layer cannot begin.
    fn start(&mut self, reply: &mut Wire) -> Result<(), LayerError>;

    /// Whether there is no handshake: bytes go both ways from the start.
    fn is_established(&self) -> bool {
        false
    }

    /// Decodes at most one record in place. What must be sent in return is appended to `reply`.
    ///
    /// # Errors
    /// The other end broke the protocol or could not be verified.
    fn decode(&mut self, wire: &mut [u8], reply: &mut Wire) -> Result<Decoded, LayerError>;

    /// How it joins what stands on a connection already.
    fn joins(&self) -> Joins {
        Joins::Alone
    }

    /// Whether it has consumed input that it has not decoded: it is to be called again even if nothing follows.
    fn holds_input(&self) -> bool {
        false
    }

    /// Puts what the last step decoded in memory of its own at the end of `into`; nothing by default.
    fn take_decoded(&mut self, _into: &mut Vec<u8>) {}

    /// Encodes all of `plain`, appending to `wire`. Before the handshake is finished the layer
    /// keeps a copy and sends it then.
    ///
    /// # Errors
    /// The layer is closed, or more waits for the handshake than a limit allows.
    fn encode(&mut self, plain: &[u8], wire: &mut Wire) -> Result<(), LayerError>;

    /// Says that nothing follows (close_notify).
    fn close(&mut self, wire: &mut Wire);
}
