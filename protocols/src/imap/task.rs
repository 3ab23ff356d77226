//! What a command that is more than a forwarded line consists of.
//!
//! A session runs at most one task at a time. A task is a small machine in a file of its own: it is
//! given news and lines, and says what it wants next. It knows no connection phases, no layers and
//! no other command; the session carries its wants out.
//!
//! ```text
//!   command head ──> Task ──Want──> session ──Output──> driver
//!                     ^───News, lines────┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use crate::mailbox::Identity;
use crate::proxy::{
    BackendId, Finding, Freshness, HomeCopy, HomeNews, Instant, Intent, ListPage, ListQuery, Side, Stage,
    Unavailable,
};

use super::backend::Backend;
use super::config::Config;
use super::deeds::{Deed, Doubt};
use super::login::Release;
use super::notify::wishes::Notified;
use super::numbers::Numbers;
use super::offer::{Extensions, Offer};

/// What a task may know of its session.
pub struct Context<'a> {
    /// The frontend's configuration.
    pub config: &'a Config,
    /// Who is logged in.
    pub identity: &'a Arc<Identity>,
    /// The connection and server of the selected mailbox.
    pub selected: Option<Selected<'a>>,
    /// The server of the user's INBOX, once a look-up told it.
    pub home: Option<&'a [u8]>,
    /// The tag of the command that the task serves.
    pub tag: &'a [u8],
    /// The command has waited for a mailbox that was being moved: what a server said of it before may be true
    /// no more.
    pub has_waited: bool,
    /// The connections of the session.
    pub backends: &'a [Backend],
    /// What the client enabled.
    pub(super) enabled: Extensions,
}

impl Context<'_> {
    /// What a connection offered after login; nothing when it is gone.
    pub fn offer(&self, backend: BackendId) -> Offer {
        let found = self.backends.iter().find(|connection| connection.id() == backend);
        found.map(Backend::offer).unwrap_or_default()
    }

    /// The server of a connection, as in the list.
    pub fn server(&self, backend: BackendId) -> Option<&[u8]> {
        self.backends.iter().find(|connection| connection.id() == backend).map(Backend::server)
    }

    /// The release of Cyrus that a connection's server named in its greeting.
    pub(super) fn release(&self, backend: BackendId) -> Option<Release> {
        self.backends.iter().find(|connection| connection.id() == backend).and_then(Backend::release)
    }

    /// Appends a tag of ours, which is never the client's.
    pub fn own_tag(&self, number: u32, out: &mut Vec<u8>) {
        own_tag(self.tag, number, out);
    }
}

/// Appends a tag of this frontend, numbered, that differs from `taken`.
pub fn own_tag(taken: &[u8], number: u32, out: &mut Vec<u8>) {
    let letter = if taken.starts_with(b"RK") { b'Y' } else { b'K' };
    out.extend_from_slice(&[b'R', letter]);
    out.extend_from_slice(number.to_string().as_bytes());
}

/// Where the selected mailbox is.
#[derive(Clone, Copy)]
pub struct Selected<'a> {
    /// Its connection.
    pub backend: BackendId,
    /// Its server as in the list.
    pub server: &'a [u8],
    /// Its internal name.
    pub name: &'a [u8],
    /// How it was selected.
    pub access: Access,
}

/// How a mailbox is selected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// SELECT.
    ReadWrite,
    /// EXAMINE, or SELECT by somebody who may only read.
    ReadOnly,
}

/// Whether the selected mailbox can be had again on another connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Bond {
    /// It can.
    #[default]
    Loose,
    /// The connection has what another has not: a saved search result, parameters of its SELECT.
    Fast,
}

/// A selected mailbox on its new connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rejoined {
    /// The connection.
    pub(super) backend: BackendId,
    /// What the client knows of it.
    pub(super) numbers: Numbers,
    /// How it is selected.
    pub(super) access: Access,
}

/// What a task wants next.
#[derive(Debug)]
pub enum Want {
    /// Look a name up; [`News::Found`].
    Find {
        /// The internal name.
        name: Vec<u8>,
        /// How sure.
        freshness: Freshness,
    },
    /// A page of the list; [`News::Page`].
    Page(ListQuery),
    /// Keep that messages are about to be moved between servers; [`News::Intended`].
    Intend(Box<Intent>),
    /// How far that is.
    Stage(Stage),
    /// See all that the master committed; [`News::Barrier`].
    Barrier,
    /// A logged-in connection to a server, reused or new; [`News::Backend`].
    Backend {
        /// The server as in the list.
        server: Vec<u8>,
    },
    /// As [`Want::Backend`], a new connection that nobody else is given.
    Apart {
        /// The server as in the list.
        server: Vec<u8>,
    },
    /// A connection is not needed any more: log out.
    Dismiss(BackendId),
    /// The same, and what it has for the client still goes to him.
    Leave(BackendId),
    /// A logged-in connection to a server as an administrator, closed when the task is done;
    /// [`News::Backend`].
    AdminBackend {
        /// The server as in the list.
        server: Vec<u8>,
    },
    /// The client is told of mailboxes that are not selected; closes who told before.
    Notify(Box<Notified>),
    /// He is told of no mailbox.
    NotifyNone,
    /// News of mailboxes may be missed: he is told so.
    NotifyOverflow,
    /// What was appended to `out` goes to the client.
    Reply,
    /// What was appended to `out` goes to a backend.
    Send(BackendId),
    /// The next `n` bytes that `from` offers go to `to`.
    Forward {
        /// The source.
        from: Side,
        /// The destination.
        to: Side,
        /// Bytes.
        n: u64,
    },
    /// The next `n` bytes that `from` offers are thrown away.
    Discard {
        /// The source.
        from: Side,
        /// Bytes.
        n: u64,
    },
    /// The named connection has this mailbox selected from here on.
    Selected {
        /// The connection.
        backend: BackendId,
        /// The internal name.
        name: Vec<u8>,
        /// How.
        access: Access,
        /// Whether another connection would do.
        bond: Bond,
    },
    /// The mailbox that was selected is so again, on another connection.
    Rejoined(Box<Rejoined>),
    /// The mailbox that was selected cannot be had again; for the log, why.
    GiveUp(&'static str),
    /// Nothing is selected from here on; the connection itself knows (CLOSE, UNSELECT, a failed
    /// SELECT there).
    Unselected,
    /// Nothing is selected from here on; the session sends an UNSELECT to the connection that had
    /// the mailbox, and swallows its answer.
    Unselect,
    /// The session remembers what a backend did, until the mailbox list shows it.
    Remember(Deed),
    /// This was asked of a backend, and may have been done: the session forgets what it would make untrue.
    Doubt(Doubt),
    /// The list has this mailbox, which the session may have deleted before.
    IsThere(Vec<u8>),
    /// Keep what the user's home told of him.
    Keep(HomeNews),
    /// What the user's home told last of him; [`News::Kept`].
    Recall,
    /// Ask what the backends offer: they may have changed since the client logged in.
    Offered,
    /// Wake the task after a while; [`News::Time`]. Replaces an earlier wish.
    Wake(Duration),
    /// A backend connection is in an unknown state (half a literal on it): close it.
    Abandon(BackendId),
    /// The session ends: the task has authored the BYE.
    Bye,
    /// The command is answered; the task is dropped.
    Done,
}

/// What a task is told.
#[derive(Debug)]
pub enum News<'a> {
    /// To [`Want::Find`].
    Found(Finding),
    /// To [`Want::Page`].
    Page(&'a ListPage),
    /// To [`Want::Barrier`].
    Barrier(Result<(), Unavailable>),
    /// To [`Want::Intend`]: it is kept, or cannot be.
    Intended,
    /// To [`Want::Backend`]: the connection is logged in, or cannot be had.
    Backend(Result<BackendId, Unavailable>),
    /// A connection that the task uses died. Nothing more comes from it.
    Lost(BackendId),
    /// A forward was not finished because `to` died; `left` bytes still come from `from`.
    ForwardBroken {
        /// The source.
        from: Side,
        /// The dead destination.
        to: Side,
        /// Bytes not read yet.
        left: u64,
    },
    /// What was queued for a side went out.
    Drained(Side),
    /// To [`Want::Recall`].
    Kept(&'a HomeCopy),
    /// To [`Want::Offered`]: what CAPABILITY says.
    Offered(&'a str),
    /// The time asked for by [`Want::Wake`] is over.
    Time,
}

/// What a task does with a line that a side offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// Seen; the line alone is taken. If it announced a literal, the task wants a `Forward` or
    /// `Discard` for it next.
    Taken,
    /// Goes to the client as it is, with the literals and lines that belong to it.
    Relay,
    /// Is thrown away with the literals and lines that belong to it.
    Drop,
    /// The task decides when it sees the whole response: call again with its literals (at most
    /// `HEAD_BYTES_MAX`; past it the response is relayed).
    Whole,
    /// Goes to the client as [`Line::Relay`] does, its first so many bytes replaced by what
    /// [`Task::reword`] gives; more than them is there.
    Reworded(usize),
    /// Not yet: offer it again after the next news.
    Hold,
}

/// One command in progress.
pub trait Task {
    /// Takes news.
    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, now: Instant);

    /// Is offered a line (CRLF included) of a backend, or of the client if the task reads from him.
    /// After [`Line::Whole`] the line is a whole response with its literals.
    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, now: Instant) -> Line;

    /// Says the next want, until `None`. Bytes for `Reply` and `Send` are appended to `out`, which
    /// the session has emptied.
    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want>;

    /// Whether lines of the client are for the task (APPEND, IDLE); else he is on hold.
    fn reads_client(&self) -> bool {
        false
    }

    /// Whether the client waits for news meanwhile.
    fn lets_news_pass(&self) -> bool {
        false
    }

    /// Whether it takes messages out of the selected mailbox.
    fn expunges(&self) -> bool {
        false
    }

    /// Whether it takes the mailbox of this internal name away: deletes it, or gives it another name.
    fn takes(&self, _name: &[u8]) -> bool {
        false
    }

    /// Whether a mailbox that it looks up and that is being moved is waited for.
    fn waits_for_moves(&self) -> bool {
        true
    }

    /// Whether untagged responses of this connection go to the client unseen, in whole bursts; the
    /// tagged reply is still shown.
    fn relays_untagged(&self, _backend: BackendId) -> bool {
        false
    }

    /// Appends what stands in the place of the front of a line behind [`Line::Reworded`].
    fn reword(&mut self, _out: &mut Vec<u8>) {}

    /// Whether the task cannot go on before this connection says something: one that is silent for too
    /// long is given up.
    fn awaits(&self, _backend: BackendId) -> bool {
        true
    }

    /// The connection into which the bytes of another one go at the moment. It is given up when they do
    /// not move.
    fn forwards_to(&self, _from: BackendId) -> Option<BackendId> {
        None
    }
}
