//! One backend connection of an LMTP session.

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;

use super::login::Login;
use super::offer::Offer;
use crate::proxy::{BackendId, Instant, Side};

/// What a backend is asked that it has not answered, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Awaited {
    /// TRACE.
    Trace,
    /// MAIL.
    Mail,
    /// RCPT of the recipient of this number.
    Rcpt(usize),
    /// DATA.
    Data,
    /// The message, for the recipient of this number.
    Delivery(usize),
    /// RSET.
    Reset,
}

/// How far a connection is.
///
/// ```text
/// Opening ──> Login ──> Envelope ──DATA──> AwaitGo ──354──> Go ──> Streaming ──dot──> AwaitDelivery ──> (pool)
///    └──────── pool ───────^ └──RSET──> Leaving ──> (pool)
/// ```
pub(super) enum State {
    /// The engine connects.
    Opening,
    /// Greeting, TLS, SASL.
    Login(Box<Login>),
    /// MAIL and RCPT are said.
    Envelope,
    /// DATA was said.
    AwaitGo,
    /// It waits for a message.
    Go,
    /// It is sent one.
    Streaming,
    /// The message has ended.
    AwaitDelivery,
    /// RSET was said.
    Leaving,
}

/// One backend connection.
pub(super) struct Peer {
    pub(super) id: BackendId,
    pub(super) server: Box<str>,
    pub(super) state: State,
    pub(super) offer: Offer,
    /// [`Peer::offer`] in its words, for the pool.
    pub(super) words: Arc<[u8]>,
    pub(super) awaited: VecDeque<Awaited>,
    /// The recipients of the transaction that are at this server, by number.
    pub(super) recipients: SmallVec<[usize; 4]>,
    /// How many of them it was told.
    pub(super) told: usize,
    /// It was told the sender.
    pub(super) has_sender: bool,
    /// TRACE was said for it.
    pub(super) has_trace: bool,
    /// What it answered to the sender if it does not take him.
    pub(super) refusal: Option<super::text::Text>,
    /// It came from the pool and has not answered yet: it may have been dead before.
    pub(super) is_doubtful: bool,
    /// How often it was opened anew because it had been dead.
    pub(super) tries: u8,
    /// When it must have answered.
    pub(super) deadline: Instant,
}

impl Peer {
    pub(super) fn new(id: BackendId, server: &str, deadline: Instant) -> Peer {
        Peer {
            id,
            server: server.into(),
            state: State::Opening,
            offer: Offer::default(),
            words: Arc::default(),
            awaited: VecDeque::new(),
            recipients: SmallVec::new(),
            told: 0,
            has_sender: false,
            has_trace: false,
            refusal: None,
            is_doubtful: false,
            tries: 0,
            deadline,
        }
    }

    pub(super) fn side(&self) -> Side {
        Side::Backend(self.id)
    }

    /// Whether more recipients can be told to it.
    pub(super) fn takes_recipients(&self) -> bool {
        matches!(self.state, State::Opening | State::Login(_) | State::Envelope)
    }

    /// Whether there is a connection to close.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, State::Opening)
    }

    /// Whether it is to answer something, so that its deadline counts.
    pub(super) fn is_awaited(&self) -> bool {
        !self.awaited.is_empty() || matches!(self.state, State::Opening | State::Login(_))
    }
}
