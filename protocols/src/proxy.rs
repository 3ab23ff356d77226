//! The contract between a session machine and the driver that runs it.
//!
//! A session never waits and never touches a socket. It is told what happened
//! ([`Session::handle_input`], [`Session::handle_event`], [`Session::handle_timeout`]) and says
//! what it wants ([`Session::poll_output`], [`Session::poll_timeout`]). After every call of a
//! `handle_*` method the driver polls outputs until there are none.
//!
//! ```text
//!   bytes, events, time ──> Session ──> Write, Forward, Discard, Pipe, Ask, Switch, Close, Tell
//! ```
//!
//! Input is offered from the first byte that the machine has not taken and that no earlier
//! [`Output::Forward`] or [`Output::Discard`] has claimed. A machine that wants the bytes it looks
//! at to reach another side takes none of them and asks for a `Forward`; the driver moves them and
//! offers what stands behind.

mod directory;
mod errand;
mod home;
mod list;
mod notice;
mod presence;
mod timing;

use std::fmt;
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::mailbox::Groups;
use crate::secret::Secret;

pub use directory::{
    Change, ChangePage, DirectoryAnswer, DirectoryQuestion, MasterRequest, Position, Requester,
};
pub use errand::Errand;
pub use home::{HomeCopy, HomeNews, SpecialUse};
pub use list::{
    Entry, Finding, Freshness, Knowledge, ListPage, ListQuery, ListedEntry, Location, PAGE_BYTES_MAX,
    PAGE_NAMES_MAX, Reserved,
};
pub use notice::{Level, Notice};
pub use presence::Presence;
pub use timing::{Stamp, Timing, VerbName, Wait, Waits};

/// Bytes of one not yet decided line head that a machine may leave untaken with [`Then::More`].
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Bytes a machine may author for one side in one round of [`Session::poll_output`] calls; who has
/// more waits for [`Event::Drained`].
pub const AUTHORED_BYTES_MAX: usize = 16 * 1024;

/// A moment on the clock of one shard: nanoseconds since the shard started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// The time from `earlier` to this moment; zero when `earlier` is later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Saturates: a deadline of centuries is "never".
    fn add(self, after: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// One backend connection of a session. The machine chooses the number; it is never used twice in
/// a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BackendId(pub u32);

/// An end that a session talks to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Side {
    /// Faces the user or, in the MUPDATE master, the connected server.
    Client,
    /// Faces a server.
    Backend(BackendId),
}

/// The destinations of a forward.
pub type Sides = SmallVec<[Side; 2]>;

/// What a machine did with offered input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// Bytes consumed from the front.
    pub n: usize,
    /// What to do with the rest when no output claims it.
    pub then: Then,
}

/// What becomes of input that was neither taken nor claimed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// The rest is the head of something: keep it and offer it again with what follows.
    More,
    /// Stop reading this side; offer the rest again after the next event or input of another side.
    Hold,
}

/// Numbers the questions of one session, each used once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QuestionId(pub u32);

/// What a machine wants done. Outputs are carried out in the order in which they are polled.
#[derive(Debug)]
pub enum Output {
    /// Send what this call of [`Session::poll_output`] appended to the scratch.
    Write {
        /// The receiver.
        to: Side,
    },
    /// Move the next `n` bytes of the decoded input of `from` to every side in `to`.
    ///
    /// Counts from the first byte that was not taken. Owns its source until done, so that nothing
    /// of `from` is offered before; order towards one destination is kept; other sides go on. A
    /// destination that dies leaves the set; with the last one the forward breaks.
    Forward {
        /// The source.
        from: Side,
        /// The destinations.
        to: Sides,
        /// Decoded bytes.
        n: u64,
    },
    /// Throw the next `n` bytes of the decoded input of `from` away.
    Discard {
        /// The source.
        from: Side,
        /// Decoded bytes.
        n: u64,
    },
    /// Join two sides for good, both ways, passing the end of input on as a half close. Half a pipe that
    /// stands still is cut: [`Event::Reset`].
    Pipe {
        /// One end.
        a: Side,
        /// The other end.
        b: Side,
    },
    /// A question, which gets exactly one [`Event::Answer`] unless the session ends before.
    Ask {
        /// Comes back with the answer.
        id: QuestionId,
        /// What is asked.
        question: Question,
    },
    /// Change what encodes a side, after all that was queued for it before; answered by
    /// [`Event::Switched`].
    Switch {
        /// The side.
        side: Side,
        /// The layer that is put on it.
        layer: LayerKind,
    },
    /// Give a clean backend connection to whoever next opens one to the same server and service, in
    /// any session of the shard: it must be logged in as nobody. One that has unread or unsent bytes is
    /// closed, as is one that says anything, ends, or waits too long.
    Release {
        /// The backend side.
        side: Side,
        /// The server as it was asked for.
        server: Box<str>,
        /// The service as it was asked for.
        service: Service,
        /// What the next user must know of it, in the words of its protocol's machine.
        offer: Arc<[u8]>,
    },
    /// End a side. After the last side is closed the session is dropped.
    Close {
        /// The side.
        side: Side,
        /// Whether what is queued is still sent.
        how: Close,
    },
    /// Something for the log or the rest of the process, never answered.
    Tell(Notice),
    /// How long a command took, never answered.
    Timed(Timing),
}

/// How a side is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// Send what is queued, half-close, read input away for a moment, close.
    Flush,
    /// A side that is piped: as `Flush` if the pipe has been quiet for a second, and what it brought last, from the
    /// other end and copied, ended a line; what was written to the side since is sent then. Else as `Abort`.
    BetweenLines,
    /// Close at once.
    Abort,
}

/// A layer that can be put on a side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LayerKind {
    /// TLS with this end as the server.
    TlsServer,
    /// TLS with this end as the client of the named host, whose certificate is verified.
    TlsClient {
        /// The name that the certificate must carry.
        server_name: Box<str>,
    },
    /// What passes is written along for the operator. Nothing changes for either end.
    Telemetry {
        /// The canonical user.
        user: Box<[u8]>,
        /// The service as in cyrus.conf.
        service: Box<str>,
    },
    /// COMPRESS DEFLATE (RFC 4978), under which TLS may be. On a backend side what has come already is deflated.
    Deflate,
}

/// What a finished TLS handshake told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// Subject common name of a verified client certificate.
    pub client_subject: Option<Box<str>>,
}

/// What is told to a machine beside bytes and time.
#[derive(Debug)]
pub enum Event {
    /// The answer to a question.
    Answer {
        /// The question's.
        id: QuestionId,
        /// Its answer.
        answer: Answer,
    },
    /// A side sends no more. What it sent before has all been offered.
    Eof(Side),
    /// A side is gone without an orderly end. It must not be written to.
    Reset(Side),
    /// A layer is on, or could not be put on (then the side is closed).
    Switched {
        /// The side.
        side: Side,
        /// What was agreed, or one sentence for the log.
        result: Result<TlsInfo, Box<str>>,
    },
    /// The only destination of a forward that was left died; the machine answers with a `Discard` of what is left or
    /// a `Close` of the source.
    ForwardBroken {
        /// The source.
        from: Side,
        /// The dead destination.
        to: Side,
        /// Bytes of the forward that were not read from the source yet.
        left: u64,
    },
    /// A forward made no progress for its deadline.
    Stalled {
        /// The source whose bytes wait.
        from: Side,
        /// The destinations that take nothing.
        to: Sides,
    },
    /// Nothing went through the session's pipe for a while, in neither direction; told again and again
    /// until something does.
    Idle {
        /// The last moment at which something did.
        since: Instant,
    },
    /// What was queued for a side has gone out. Told whenever 4 KiB were authored, at once or little by
    /// little, or something had to wait.
    Drained {
        /// The side.
        side: Side,
    },
    /// The mailbox list changed or its knowledge did (told only to sessions without a backend of
    /// their own kind: MUPDATE streams).
    ListChanged,
    /// Somebody waits for a barrier: a MUPDATE slave sends a NOOP unless one is in flight.
    BarrierWanted,
    /// Something else is posted on the [`crate::bulletin::Bulletin`]: who is to be sent away goes at the next idle
    /// point without being asked.
    Posted,
    /// The process stops: say goodbye at the next idle point and be gone by the deadline.
    Drain {
        /// When the session is ended without asking.
        deadline: Instant,
    },
}

/// A question to the engine.
#[derive(Debug)]
pub enum Question {
    /// Connect to a server; answered by [`Answer::Opened`].
    OpenBackend {
        /// The number that the machine gives the connection.
        side: BackendId,
        /// The server as in the mailbox list: `host[:port][/tls][/noauth]` or `/path`.
        server: Box<str>,
        /// Which port it is when the server string has none.
        service: Service,
    },
    /// Look one internal name up; answered by [`Answer::Found`].
    Find {
        /// The internal name.
        name: Box<[u8]>,
        /// Whether "absent" must be proven by a barrier.
        freshness: Freshness,
    },
    /// A page of the list; answered by [`Answer::Page`].
    List(ListQuery),
    /// Wait until this frontend has seen all that the master had committed when this was asked;
    /// answered by [`Answer::Barrier`].
    Barrier,
    /// Check a password; answered by [`Answer::Password`].
    CheckPassword {
        /// The user as typed.
        user: Box<[u8]>,
        /// The password as typed.
        password: Secret,
        /// The SASL service name: `imap`, `pop`, `sieve`, `mupdate`, ...
        service: &'static str,
    },
    /// The groups of a user, for identifiers `group:NAME` of ACLs; answered by [`Answer::Groups`].
    Groups {
        /// The canonical user.
        user: Box<[u8]>,
    },
    /// The domain of an address of ours by its reverse name (`virtdomains: on`); answered by
    /// [`Answer::Domain`].
    DomainOf {
        /// Address and port as text.
        address: Box<str>,
    },
    /// The stored key of a user for SCRAM; answered by [`Answer::ScramKeys`].
    ScramKeys {
        /// The user, normalised.
        user: Box<[u8]>,
        /// Which hash.
        hash: ScramHash,
    },
    /// PBKDF2 for the client side of SCRAM; answered by [`Answer::SaltedPassword`]. The engine
    /// keeps results.
    SaltPassword {
        /// Which hash.
        hash: ScramHash,
        /// The password, normalised.
        password: Secret,
        /// The server's salt.
        salt: Box<[u8]>,
        /// The server's iteration count, already checked against the limits.
        iterations: u32,
    },
    /// What the backends offer to a user; answered by [`Answer::Capabilities`].
    Capabilities {
        /// The internal name of his INBOX, whose server is his home.
        inbox: Box<[u8]>,
    },
    /// What a user's home server told last of him; answered by [`Answer::HomeCopy`].
    HomeCopy {
        /// The canonical user.
        user: Box<[u8]>,
    },
    /// What the servers of a protocol other than IMAP offer; answered by [`Answer::Capabilities`].
    ServiceCapabilities(Service),
    /// Keep, so that it outlives this process, what is about to be done in two steps; answered by
    /// [`Answer::Intended`] when it is kept. [`Notice::Stage`] tells how far it is.
    Intend(Box<Intent>),
    /// Run another session beside this one, without a client; answered by [`Answer::Barrier`] when it has ended,
    /// however it did.
    Errand(Errand),
    /// What only the MUPDATE machines ask.
    Directory(DirectoryQuestion),
}

/// A move of messages from one server to another: a copy, then an expunge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Intent {
    /// Who moves.
    pub user: Box<[u8]>,
    /// The internal name of the mailbox that the messages are in.
    pub source: Box<[u8]>,
    /// The mailbox that they go to, as the user typed it.
    pub destination: Box<[u8]>,
    /// Which, as he typed it.
    pub messages: Box<[u8]>,
}

/// How far a move is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stage {
    /// All is at the destination, nothing is removed: UIDs for operators.
    Copied(Box<[u8]>),
    /// It is done.
    Done,
    /// It ended before its end.
    GivenUp,
}

/// The service that a backend connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Service {
    /// Port 143.
    Imap,
    /// Port 110.
    Pop3,
    /// Port 24.
    Lmtp,
    /// Port 4190.
    Sieve,
    /// Port 3905.
    Mupdate,
}

/// The hash of a SCRAM mechanism.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ScramHash {
    /// SCRAM-SHA-1 (RFC 5802).
    Sha1,
    /// SCRAM-SHA-256 (RFC 7677).
    Sha256,
}

/// An answer from the engine.
#[derive(Debug)]
pub enum Answer {
    /// To [`Question::OpenBackend`].
    Opened(Result<Opened, OpenError>),
    /// To [`Question::OpenBackend`], when a connection stood in the pool.
    Reused {
        /// As it was released.
        offer: Arc<[u8]>,
    },
    /// To [`Question::Find`].
    Found(Finding),
    /// To [`Question::List`].
    Page(ListPage),
    /// To [`Question::Barrier`] and [`DirectoryQuestion::Learn`].
    Barrier(Result<(), Unavailable>),
    /// To [`Question::CheckPassword`].
    Password(PasswordVerdict),
    /// To [`Question::Groups`]: their names.
    Groups(Result<Groups, Unavailable>),
    /// To [`Question::DomainOf`]: what stands behind the first dot of the name; `None` without a name.
    Domain(Option<Box<str>>),
    /// To [`Question::ScramKeys`]; `None` when there are none for the user.
    ScramKeys(Option<ScramKeys>),
    /// To [`Question::SaltPassword`].
    SaltedPassword(Secret),
    /// To [`Question::Capabilities`]: per capability name, what all servers offer and what some
    /// do. Empty before any server was seen.
    Capabilities(Arc<BackendCapabilities>),
    /// To [`Question::HomeCopy`].
    HomeCopy(HomeCopy),
    /// To [`Question::Intend`].
    Intended(Result<(), Unavailable>),
    /// To [`Question::Directory`].
    Directory(DirectoryAnswer),
}

/// A backend connection that stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// Host part of the server string, for certificate names, SCRAM and `HOST_password`.
    pub host: Box<str>,
    /// TLS is being set up from the first byte (`/tls`).
    pub tls: bool,
    /// The server string says `/noauth`.
    pub noauth: bool,
}

/// Why a backend connection does not stand.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// The server string makes no sense.
    #[error("server name {0:?} is not host[:port][/option]")]
    BadServer(Box<str>),
    /// The name has no address.
    #[error("cannot resolve {0}")]
    Resolve(Box<str>),
    /// No address answered before the deadline.
    #[error("cannot connect to {0}")]
    Connect(Box<str>),
    /// Too many connections in this process.
    #[error("too many connections")]
    Limit,
}

/// The service that was asked is not there at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("temporarily unavailable")]
pub struct Unavailable;

/// What became of a password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PasswordVerdict {
    /// Right.
    Accepted,
    /// Wrong, or no such user.
    Denied,
    /// Could not be checked.
    Unavailable,
    /// `sasl_pwcheck_method: backend`: the session checks it at the user's home.
    AskBackend,
}

/// What a server keeps of a password for SCRAM (RFC 5802 section 3).
#[derive(Clone, Debug)]
pub struct ScramKeys {
    /// Salt.
    pub salt: Box<[u8]>,
    /// Iteration count.
    pub iterations: u32,
    /// StoredKey.
    pub stored_key: Secret,
    /// ServerKey.
    pub server_key: Secret,
}

/// What the backends of the list offered last, after login.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BackendCapabilities {
    /// Offered by every server that was seen, in the order of the first, unsorted otherwise.
    pub common: Vec<Box<str>>,
    /// What the user's home alone decides, as it offered it.
    pub home: Vec<Box<str>>,
    /// Servers that `common` was made of; zero means none was seen yet.
    pub servers: usize,
}

/// What a session is made with.
#[derive(Clone)]
pub struct Origin {
    /// From the system's random source; all the randomness that the session has.
    pub random: [u8; 32],
    /// Wall clock at the start, seconds since 1970 (session ids, logs).
    pub started_unix: u64,
    /// The client's address and port as text; empty for a UNIX socket.
    pub client_address: Box<str>,
    /// TLS from the first byte.
    pub tls: bool,
}

impl fmt::Debug for Origin {
    /// Leaves the randomness out: nonces come from it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("started_unix", &self.started_unix)
            .field("client_address", &self.client_address)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// A session machine.
pub trait Session {
    /// Takes input of a side: everything that stands there from the first byte not taken.
    fn handle_input(&mut self, side: Side, input: &[u8], now: Instant) -> Taken;

    /// Takes an event.
    fn handle_event(&mut self, event: Event, now: Instant);

    /// Is called at or after the time that [`Session::poll_timeout`] named.
    fn handle_timeout(&mut self, now: Instant);

    /// Gives the next output. Bytes for a [`Output::Write`] are appended to `scratch`, which the
    /// driver has emptied.
    fn poll_output(&mut self, scratch: &mut Vec<u8>) -> Option<Output>;

    /// The next moment at which [`Session::handle_timeout`] is wanted.
    fn poll_timeout(&self) -> Option<Instant>;
}
