//! What stands between a socket and a machine: TLS, later deflate.

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
    /// Where in the input decoded bytes for the machine stand, within `consumed`; may be empty.
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

/// A layer of one connection: pure bytes in, bytes out.
pub trait Layer {
    /// Begins: what must be sent first (a client's hello) is appended to `reply`.
    ///
    /// # Errors
    /// The layer cannot begin.
    fn start(&mut self, reply: &mut Vec<u8>) -> Result<(), LayerError>;

    /// Decodes at most one record in place. What must be sent in return is appended to `reply`.
    ///
    /// # Errors
    /// The other end broke the protocol or could not be verified.
    fn decode(&mut self, wire: &mut [u8], reply: &mut Vec<u8>) -> Result<Decoded, LayerError>;

    /// Encodes all of `plain`, appending to `wire`. Before the handshake is finished the layer
    /// keeps a copy and sends it then.
    ///
    /// # Errors
    /// The layer is closed, or more waits for the handshake than a limit allows.
    fn encode(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), LayerError>;

    /// Says that nothing follows (close_notify).
    fn close(&mut self, wire: &mut Vec<u8>);
}
