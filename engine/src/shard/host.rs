//! What a shard asks of its surroundings.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use driver::layer::Layer;
use driver::{SessionId, TooMuch};
use protocols::proxy::{Answer, Instant, LayerKind, Notice, Opened, Question, QuestionId, Session};
use smallvec::SmallVec;
use zeroize::Zeroizing;

/// A listener of a shard; the surroundings give the number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ListenerId(pub u32);

/// Who connected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PeerAddress {
    /// Over TCP.
    Ip(SocketAddr),
    /// Over a UNIX socket.
    Unix,
}

/// An end to connect to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Endpoint {
    /// TCP.
    Ip(SocketAddr),
    /// A UNIX stream socket.
    Unix(PathBuf),
}

/// What serves an accepted connection.
pub struct Accepted {
    /// The machine; the connection is its `Side::Client`.
    pub session: Box<dyn Session>,
    /// What stands between it and the socket from the first byte on (TLS at once).
    pub layer: Option<Box<dyn Layer>>,
}

/// How to reach a server.
#[derive(Clone, Debug)]
pub struct ConnectPlan {
    /// The name that [`Host::connected`] is told.
    pub server: Box<str>,
    /// Tried in this order until one answers. Empty is answered with `OpenError::Connect`.
    pub addresses: SmallVec<[Endpoint; 2]>,
    /// What the session is told when the connection stands.
    pub opened: Opened,
    /// Put on the connection before its first byte (`/tls`); the session hears `Event::Switched`.
    pub layer: Option<LayerKind>,
    /// For all addresses together.
    pub deadline: Duration,
    /// The local address, port 0.
    pub bind: Option<SocketAddr>,
}

/// Bytes of a question: what any socket takes at once, so that sending waits for nobody.
pub const QUESTION_BYTES_MAX: usize = 4096;

/// What is asked of a daemon of this host.
pub struct Exchange {
    /// Its name, for the log.
    pub daemon: &'static str,
    /// Where it listens.
    pub socket: Arc<Path>,
    /// What is sent to it, at most [`QUESTION_BYTES_MAX`] bytes; wiped when it is over.
    pub question: Zeroizing<Vec<u8>>,
    /// Reads what came so far; `None` wants more, up to 1,026 bytes.
    pub read: fn(&[u8]) -> io::Result<Option<Answer>>,
    /// What the session is told when it fails.
    pub failed: Answer,
    /// For all of it.
    pub deadline: Duration,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("daemon", &self.daemon).finish_non_exhaustive()
    }
}

/// What becomes of a question.
#[derive(Debug)]
pub enum Reply {
    /// The answer.
    Now(Answer),
    /// The answer comes through the inbox.
    Later,
    /// To `Question::OpenBackend` only: the shard connects and answers.
    Connect(ConnectPlan),
    /// The shard asks a daemon of this host and answers.
    Exchange(Exchange),
}

/// The surroundings of a shard, on the shard's thread. A call must not block.
///
/// A host that has news for other sessions of its own shard sends them to the shard's own
/// [`Inbox`](super::Inbox): that costs no wake-up, and they are taken in the same turn or the next.
pub trait Host {
    /// A connection was accepted: the session that serves it; `None` refuses (it is closed). The socket
    /// is for its addresses alone.
    fn accept(
        &mut self,
        listener: ListenerId,
        peer: &PeerAddress,
        socket: BorrowedFd<'_>,
    ) -> Option<Accepted>;

    /// What a client of this listener hears for whom there is no place; `None` closes without a word.
    fn refusal(&mut self, _listener: ListenerId, _full: TooMuch, _now: Instant) -> Option<&'static [u8]> {
        None
    }

    /// Answers a question now, later (through the inbox), or says where to connect.
    fn ask(&mut self, session: SessionId, id: QuestionId, question: Question, now: Instant) -> Reply;

    /// A session tells something that is not answered.
    fn tell(&mut self, session: SessionId, notice: Notice);

    /// What became of a plan: a connection stands, or no address answered before the deadline.
    fn connected(&mut self, _server: &str, _result: io::Result<()>) {}

    /// A daemon of this host could not be asked, or did not answer.
    fn exchange_failed(&mut self, _daemon: &str, _socket: &Path, _error: &io::Error) {}

    /// Makes a layer for `Output::Switch`, or for the connection of a plan.
    ///
    /// # Errors
    /// One sentence for the log: no certificate is configured, the name is no name, ...
    fn layer(&mut self, kind: &LayerKind) -> Result<Box<dyn Layer>, Box<str>>;

    /// A session has ended; nothing more comes from it, and answers to it are dropped.
    fn ended(&mut self, session: SessionId);
}
