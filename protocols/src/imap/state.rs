//! What a session consists of, as its parts find it: who the client is, what the next bytes of each side are, the
//! command under way, the selected mailbox.
//!
//! The transitions stand with the parts: of a guest in `auth.rs`, of a command in `running.rs` and `moving.rs`, of the
//! selected mailbox in `lost.rs`, `withheld.rs` and `witness.rs`.

use std::sync::Arc;

use smallvec::SmallVec;

use super::backend::{Flight, Tag};
use super::config::Config;
use super::deeds::Asked;
use super::guest::{Domain, Guest, Plus};
use super::notify::wishes::{On, Telling};
use super::numbers::Numbers;
use super::offer::Extensions;
use super::task::{Access, Bond, Task};
use crate::mailbox::Identity;
use crate::places::Place;
use crate::proxy::{BackendCapabilities, BackendId, Instant, QuestionId};
use crate::seats::Seat;

/// Who the client is.
pub(super) enum Phase {
    /// Not logged in.
    Guest(Box<Guest>),
    /// Logged in.
    User(User),
}

/// A logged-in client.
pub(super) struct User {
    /// Who he is.
    pub(super) identity: Arc<Identity>,
    /// The internal name of his INBOX.
    pub(super) inbox: Box<[u8]>,
    /// The server of his INBOX, once a look-up told it.
    pub(super) home: Option<Box<[u8]>>,
    /// What stood behind the plus of his name.
    pub(super) plus: Plus,
    /// His bytes are under TLS.
    pub(super) tls: bool,
    /// The domain of users who name none.
    pub(super) domain: Option<Box<Domain>>,
    /// What he enabled.
    pub(super) enabled: Extensions,
    /// He asked for remote mailboxes, and is referred to them.
    pub(super) referrals: bool,
    /// What the backends offered when he logged in.
    pub(super) offered: Arc<BackendCapabilities>,
}

impl User {
    /// Somebody of whom no more is known.
    pub(super) fn new(identity: Arc<Identity>, config: &Config) -> User {
        User {
            inbox: config.namespace.inbox(&identity.user).into(),
            identity,
            home: None,
            plus: Plus::default(),
            tls: false,
            domain: None,
            enabled: Extensions::default(),
            referrals: false,
            offered: Arc::default(),
        }
    }
}

/// What the next bytes of the client are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reading {
    /// A command; literals of its head up to this byte were asked for.
    Command {
        /// Where the last literal that was asked for begins.
        asked: usize,
    },
    /// The rest of a command that is being relayed.
    Rest,
    /// The `+}` of a literal of so many bytes, which the backend is to be told as `}`.
    Downgrade(u64),
    /// Nothing, until the selected backend goes along or answers.
    AwaitGo(Go),
    /// The line that ends a relayed IDLE.
    IdleLine,
    /// A response of AUTHENTICATE.
    Sasl,
    /// The rest of a refused command: thrown away.
    Skip,
    /// Nothing, until an event.
    Wait,
    /// Nothing: the session is over.
    Over,
}

/// Why the client waits for a continuation request of the selected backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Go {
    /// He announced a literal.
    Literal,
    /// He sent IDLE.
    Idle,
    /// He is in IDLE, and another connection is told so. What he says waits: Cyrus does not see a DONE that
    /// comes with the IDLE.
    IdleAgain,
    /// He sent `{n+}`, which the backend was told as `{n}`: its request is not his.
    Quiet(u64),
}

/// How far a look at input got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// These bytes are done with; look at what stands behind.
    Took(usize),
    /// A `Forward` or `Discard` claims what stands here.
    Claimed,
    /// More bytes are needed.
    More,
    /// Nothing more until something else happened.
    Hold,
}

/// Who asked a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// The login of the client.
    Guest,
    /// The running task.
    Task,
    /// Why a server that the running task waits for is silent.
    Silence,
    /// The same of the selected mailbox's server and a relayed command.
    Hush,
    /// What became of the selected mailbox.
    Selected,
    /// What is remembered under this number.
    Deed(u32),
    /// Whether a listener may tell this.
    Listener(Telling),
    /// The connection that is being opened or logged in.
    Backend(BackendId),
}

/// A command in progress that is more than a relayed line.
pub(super) struct Running {
    /// The client's tag.
    pub(super) tag: Tag,
    pub(super) task: Box<dyn Task>,
    /// When the task wants to be woken.
    pub(super) wake: Option<Instant>,
    /// The last moment at which something happened to it.
    pub(super) last_news: Instant,
    /// Connections that it waits for.
    pub(super) awaits: SmallVec<[BackendId; 2]>,
    /// The name that it asked for last.
    pub(super) finds: Vec<u8>,
    /// The command waits, or has waited, for a mailbox that is being moved.
    pub(super) moving: Option<Moving>,
    /// When the list was asked last why a server is silent.
    pub(super) looked: Option<Instant>,
    /// The question by which it announced a move that has no end yet.
    pub(super) intent: Option<QuestionId>,
    /// The part of the list that it asked for last.
    pub(super) lists: Asked,
    /// Memory for what it authors, before it is known for whom.
    pub(super) drafts: Vec<u8>,
}

/// The command waits, or has waited, for a mailbox that is being moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Moving {
    /// Since this is known.
    pub(super) since: Instant,
    /// When the list is asked again, before the task is told; `None` while it is, and where a server is waited for.
    pub(super) again: Option<Instant>,
    /// When the client was told last that he waits, or began to.
    pub(super) told: Instant,
}

/// The selected mailbox.
pub(super) struct SelectedMailbox {
    /// The connection that has it selected.
    pub(super) backend: BackendId,
    /// Its internal name.
    pub(super) name: Box<[u8]>,
    /// How it was selected.
    pub(super) access: Access,
    /// Whether another connection would do.
    pub(super) bond: Bond,
    /// The commands in flight that may be sent again, as they were said.
    pub(super) said: Vec<u8>,
    /// What its server says and the client is not told yet.
    pub(super) withheld: Withheld,
    /// What is kept while it has no connection.
    pub(super) away: Option<Box<Away>>,
    /// The moment at which its connection had it selected.
    pub(super) since: Instant,
    /// How long the client waits for another connection; set by the first loss.
    pub(super) patience: Option<Instant>,
}

/// What of the selected mailbox is withheld from the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Withheld {
    /// Nothing.
    #[default]
    Nothing,
    /// So many EXPUNGEs of the first message, the last at this moment.
    Counting(u32, Instant),
    /// Lines that would empty the mailbox: so many EXPUNGEs, or a VANISHED that stands in the input. So often the
    /// list was asked since its server said that it has no mailbox of that name.
    Asking(Emptying, u8),
    /// The list is asked again then.
    AskingAgain(Emptying, u8, Instant),
    /// Its server is asked on another connection.
    Hearing(Hearing),
    /// A command of the client may have emptied the mailbox: its result says.
    Unproven(Emptying),
    /// The mailbox is still there: they are true.
    Passing(Emptying),
    /// As before: so many EXPUNGEs wait until others went out.
    Draining(u32),
    /// The mailbox is elsewhere: what its old connection says of it is thrown away, until the task is
    /// over that it serves.
    Gone,
}

/// How a server says that all messages are gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Emptying {
    /// So many EXPUNGEs.
    Expunges(u32),
    /// A VANISHED.
    Vanished,
    /// A NO to a command: there is no such mailbox.
    Refused,
}

/// A server that is asked whether it emptied the selected mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Hearing {
    /// What it said.
    pub(super) emptying: Emptying,
    /// The connection on which it is asked.
    pub(super) witness: BackendId,
    /// When it is waited for no more.
    pub(super) until: Instant,
    /// How many messages vanished since the mailbox was selected.
    pub(super) vanished: u32,
}

/// What is kept while the selected mailbox has no connection.
pub(super) struct Away {
    /// What the client was told of it.
    pub(super) numbers: Numbers,
    /// Commands that are sent again, as they were said.
    pub(super) again: Vec<(Flight, Vec<u8>)>,
}

/// What a session tells backends of itself and its client.
#[derive(Debug, Default)]
pub(super) struct Papers {
    /// The client's own ID, as it goes to backends.
    pub(super) fields: Box<[u8]>,
    pub(super) session_id: Box<str>,
    /// Servers are asked for NAMESPACE.
    pub(super) asks_layout: bool,
}

/// What few sessions have.
#[derive(Default)]
pub(super) struct Rare {
    /// The client's connection is compressed.
    pub(super) compressed: Option<Place>,
    /// He is counted.
    pub(super) seat: Option<Seat>,
    /// He is told of mailboxes that are not selected.
    pub(super) notify: Option<Box<On>>,
    /// His connection is written along.
    pub(super) is_traced: bool,
    /// A mailbox whose move did not end while a command waited for it.
    pub(super) stuck: Option<Box<[u8]>>,
    /// The server of the selected mailbox was silent when a relayed command waited for it.
    pub(super) hush: Option<Hush>,
    /// There is no client.
    pub(super) errand: Option<Errand>,
}

/// The list was asked why the server of the selected mailbox does not answer a relayed command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Hush {
    /// When it answered.
    pub(super) asked: Instant,
    /// It is moving the mailbox.
    pub(super) is_moving: bool,
}

/// How far the errand of a session without a client is.
pub(super) enum Errand {
    Due,
    Begun,
}
