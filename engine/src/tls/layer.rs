//! One TLS connection as a layer: rustls' unbuffered state machines over the driver's buffers.
//!
//! ```text
//!   Handshaking ──last handshake record──> Established ──anything wrong──> Failed
//!        └───────────────anything wrong─────────────────────────────────────^
//! ```
//!
//! Records are decrypted where they were received. Between two calls the layer owns no bytes of the
//! connection, except what a machine authored before the handshake was finished, and a handshake
//! message behind the handshake that came in several records.

use std::mem;
use std::sync::Arc;

use driver::layer::{Decoded, Layer, LayerError, RECORD_BYTES_MAX, Step, Wire};
use protocols::proxy::TlsInfo;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{ClientConfig, CommonState, ProtocolVersion, ServerConfig, pki_types::ServerName};

use super::subject::common_name;

/// Plain bytes that may wait for the end of the handshake: a greeting and a first command, never a
/// literal.
pub const EARLY_BYTES_MAX: usize = 64 * 1024;

/// The head of a TLS record (RFC 8446 section 5.1).
const RECORD_HEAD_BYTES: usize = 5;

/// Head, explicit nonce, content type and tag of one record, rounded up.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// What differs between the two ends of a connection for rustls.
trait End {
    /// rustls' own data of this end.
    type Data;

    /// Processes records from the front of `wire`.
    fn process<'c, 'i>(&'c mut self, wire: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// What both ends have in common.
    fn common(&self) -> &CommonState;
}

impl End for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, wire: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(wire)
    }

    fn common(&self) -> &CommonState {
        self
    }
}

impl End for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, wire: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(wire)
    }

    fn common(&self) -> &CommonState {
        self
    }
}

/// TLS on one side of a session.
struct TlsLayer<E> {
    connection: E,
    phase: Phase,
    /// The records of an incomplete message behind the handshake. rustls remembers where in the
    /// bytes offered last they stand and panics when it is offered less, as it is for sending.
    held: Vec<u8>,
}

/// What the layer awaits.
enum Phase {
    /// The handshake; `early` is what the machine has authored meanwhile, `seen` how many bytes at
    /// the front of what comes next rustls has looked at before and not finished.
    Handshaking { early: Vec<u8>, seen: usize },
    /// Records of application data.
    Established,
    /// Nothing: rustls gave up and is not called any more.
    Failed,
}

/// Makes a layer for a connection whose other end is the client.
///
/// # Errors
/// rustls refuses the configuration.
pub(super) fn server(config: Arc<ServerConfig>) -> Result<Box<dyn Layer>, rustls::Error> {
    Ok(Box::new(TlsLayer::new(UnbufferedServerConnection::new(config)?)))
}

/// Makes a layer for a connection to the named server.
///
/// # Errors
/// rustls refuses the configuration.
pub(super) fn client(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Result<Box<dyn Layer>, rustls::Error> {
    Ok(Box::new(TlsLayer::new(UnbufferedClientConnection::new(config, name)?)))
}

/// One turn of rustls, without its borrows.
enum Turn {
    /// Handshake bytes were produced or sent; go on.
    Again,
    /// A record of `len` bytes stands at the front of what was offered.
    Plain { len: usize },
    /// The other end closed.
    Closed,
    /// Nothing is left to do with these bytes.
    Idle,
}

impl<E: End> TlsLayer<E> {
    fn new(connection: E) -> TlsLayer<E> {
        TlsLayer { connection, phase: Phase::Handshaking { early: Vec::new(), seen: 0 }, held: Vec::new() }
    }

    /// Runs rustls once over `wire`; the number is how many bytes of `wire` are done with.
    fn turn(&mut self, wire: &mut [u8], reply: &mut Wire) -> Result<(usize, Turn), LayerError> {
        // rustls hands out a record as a vector of its own although it decrypted it in `wire`;
        // it is put back to where the machine reads, and the vector goes.
        let mut record = None;
        let UnbufferedStatus { discard, state } = self.connection.process(wire);
        let turn = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                if let Some(next) = traffic.next_record() {
                    record = Some(next.map_err(failed)?.payload.to_vec());
                }
                Turn::Again
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode_handshake(&mut data, reply)?;
                Turn::Again
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                Turn::Again
            }
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Turn::Closed,
            Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => Turn::Idle,
            // Early data are never accepted (max_early_data_size is 0).
            Ok(ConnectionState::ReadEarlyData(_) | _) => Turn::Idle,
            Err(error) => {
                self.phase = Phase::Failed;
                self.send_alert(&mut wire[discard..], reply);
                return Err(failed(error));
            }
        };
        match record {
            Some(plain) if plain.len() <= discard => {
                wire[..plain.len()].copy_from_slice(&plain);
                Ok((discard, Turn::Plain { len: plain.len() }))
            }
            Some(_) => Err(LayerError("TLS record longer than its bytes".into())),
            None => Ok((discard, turn)),
        }
    }

    /// Lets rustls say why it gives up. It is asked no more often than it has records to send, for
    /// it would judge the same bytes again.
    fn send_alert(&mut self, mut wire: &mut [u8], reply: &mut Wire) {
        while self.connection.common().wants_write() {
            let UnbufferedStatus { discard, state } = self.connection.process(wire);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { return };
            if encode_handshake(&mut data, reply).is_err() {
                return;
            }
            wire = &mut wire[discard..];
        }
    }

    /// Handshake records, one more at a time, so that application data behind the last of them are
    /// not touched before [`Step::Established`] was told.
    fn decode_handshake(
        &mut self,
        seen: usize,
        wire: &mut [u8],
        reply: &mut Wire,
    ) -> Result<Decoded, LayerError> {
        let mut done = 0;
        let mut end = seen.min(wire.len());
        loop {
            let (used, turn) = self.turn(&mut wire[done..end], reply)?;
            done += used;
            if matches!(turn, Turn::Again) {
                continue;
            }
            if !self.connection.common().is_handshaking() {
                self.establish(reply)?;
                let info = self.info();
                return Ok(Decoded { consumed: done, plain: done..done, step: Step::Established(info) });
            }
            if matches!(turn, Turn::Closed) {
                return Ok(Decoded { consumed: done, plain: done..done, step: Step::Closed });
            }
            if end == wire.len() {
                self.note_seen(end - done);
                return Ok(rest(done));
            }
            // An incomplete record is shown too: its head may be wrong already.
            end = record_bytes(&wire[end..]).map_or(wire.len(), |bytes| end + bytes);
        }
    }

    fn note_seen(&mut self, bytes: usize) {
        if let Phase::Handshaking { seen, .. } = &mut self.phase {
            *seen = bytes;
        }
    }

    /// Sends what waited for the handshake.
    fn establish(&mut self, reply: &mut Wire) -> Result<(), LayerError> {
        match mem::replace(&mut self.phase, Phase::Established) {
            Phase::Handshaking { early, .. } if !early.is_empty() => self.encode(&early, reply),
            Phase::Handshaking { .. } | Phase::Established | Phase::Failed => Ok(()),
        }
    }

    fn decode_records(&mut self, wire: &mut [u8], reply: &mut Wire) -> Result<Decoded, LayerError> {
        let mut done = 0;
        loop {
            let (used, turn) = self.turn(&mut wire[done..], reply)?;
            let from = done;
            done += used;
            match turn {
                Turn::Again => {}
                Turn::Plain { len } => {
                    return Ok(Decoded { consumed: done, plain: from..from + len, step: Step::Progress });
                }
                Turn::Closed => {
                    return Ok(Decoded { consumed: done, plain: done..done, step: Step::Closed });
                }
                Turn::Idle => {
                    self.hold(&wire[done..]);
                    return Ok(rest(done));
                }
            }
        }
    }

    /// Copies whole records that rustls has looked at and not finished; in a healthy connection
    /// there are none.
    fn hold(&mut self, rest: &[u8]) {
        self.held = if record_bytes(rest).is_some() { rest.to_vec() } else { Vec::new() };
    }

    fn info(&self) -> TlsInfo {
        let common = self.connection.common();
        TlsInfo {
            version: match common.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            client_subject: common
                .peer_certificates()
                .and_then(|chain| chain.first())
                .and_then(|certificate| common_name(certificate)),
        }
    }

    /// Runs `write` when application data may be sent; what rustls wants to say first goes first.
    fn with_traffic(
        &mut self,
        wire: &mut Wire,
        write: impl FnOnce(&mut WriteTraffic<'_, E::Data>, &mut Wire) -> Result<(), EncryptError>,
    ) -> Result<(), LayerError> {
        let mut held = mem::take(&mut self.held);
        let result = loop {
            match self.connection.process(&mut held).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode_handshake(&mut data, wire)?,
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => {}
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    break write(&mut traffic, wire).map_err(|_| LayerError("TLS keys are used up".into()));
                }
                Ok(_) => break Err(LayerError("TLS connection is closed".into())),
                Err(error) => break Err(failed(error)),
            }
        };
        self.held = held;
        if result.is_err() {
            self.phase = Phase::Failed;
        }
        result
    }
}

impl<E: End> Layer for TlsLayer<E> {
    fn start(&mut self, reply: &mut Wire) -> Result<(), LayerError> {
        self.decode_handshake(0, &mut [], reply).map(|_| ())
    }

    fn decode(&mut self, wire: &mut [u8], reply: &mut Wire) -> Result<Decoded, LayerError> {
        match self.phase {
            Phase::Handshaking { seen, .. } => self.decode_handshake(seen, wire, reply),
            Phase::Established => self.decode_records(wire, reply),
            Phase::Failed => Err(LayerError("TLS connection has failed".into())),
        }
    }

    fn encode(&mut self, plain: &[u8], wire: &mut Wire) -> Result<(), LayerError> {
        match &mut self.phase {
            Phase::Handshaking { early, .. } if early.len() + plain.len() > EARLY_BYTES_MAX => {
                return Err(LayerError("too much to send before the TLS handshake is finished".into()));
            }
            Phase::Handshaking { early, .. } => {
                early.extend_from_slice(plain);
                return Ok(());
            }
            Phase::Failed => return Err(LayerError("TLS connection has failed".into())),
            Phase::Established if plain.is_empty() => return Ok(()),
            Phase::Established => {}
        }
        self.with_traffic(wire, |traffic, wire| {
            let room = plain.len() + (plain.len() / RECORD_BYTES_MAX + 1) * RECORD_OVERHEAD_BYTES;
            append(wire, room, |buffer| traffic.encrypt(plain, buffer))
        })
    }

    fn close(&mut self, wire: &mut Wire) {
        if !matches!(self.phase, Phase::Established) {
            return;
        }
        // An error here says that nothing more can be sent, which is what was wanted.
        let _ = self.with_traffic(wire, |traffic, wire| {
            append(wire, RECORD_OVERHEAD_BYTES, |buffer| traffic.queue_close_notify(buffer))
        });
    }
}

/// Nothing more can be made of these bytes until others follow.
fn rest(done: usize) -> Decoded {
    let step = if done > 0 { Step::Progress } else { Step::NeedMore };
    Decoded { consumed: done, plain: done..done, step }
}

/// The bytes of the whole record at the front, `None` while it is incomplete.
fn record_bytes(wire: &[u8]) -> Option<usize> {
    let length = wire.get(3..RECORD_HEAD_BYTES)?;
    let bytes = RECORD_HEAD_BYTES + usize::from(u16::from_be_bytes([length[0], length[1]]));
    (wire.len() >= bytes).then_some(bytes)
}

/// Appends what `write` makes of a buffer of `room` bytes, or of the size that it asks for.
fn append(
    wire: &mut Wire,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), EncryptError> {
    match wire.append_with(room, &mut write) {
        Err(EncryptError::InsufficientSize(size)) => wire.append_with(size.required_size, write),
        other => other,
    }
}

/// Appends one handshake or alert record.
fn encode_handshake<D>(data: &mut EncodeTlsData<'_, D>, reply: &mut Wire) -> Result<(), LayerError> {
    let written = match reply.append_with(0, |buffer| data.encode(buffer)) {
        Err(EncodeError::InsufficientSize(size)) => {
            reply.append_with(size.required_size, |buffer| data.encode(buffer))
        }
        other => other,
    };
    written.map_err(|error| LayerError(format!("TLS: {error}").into()))
}

fn failed(error: rustls::Error) -> LayerError {
    LayerError(format!("TLS: {error}").into())
}
