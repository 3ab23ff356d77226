//! One backend connection of an IMAP session.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::grammar::Verb;
use super::login::{Login, Ready, Release};
use super::numbers::Numbers;
use super::offer::{Extensions, Offer};
use crate::places::Place;
use crate::proxy::{BackendId, Instant, Side, Stamp};

pub use crate::login::backend::LoginAs;

/// A tag as it is kept while its command is in flight.
pub(super) type Tag = SmallVec<[u8; 24]>;

/// One backend connection of a session.
///
/// ```text
/// Opening ──Opened──> Login ──(Compressing)──> Ready ──LOGOUT──> Leaving ──BYE, EOF──> (gone)
///    └── error ──> (gone) <── refused, deadline ──┘
/// ```
pub struct Backend {
    id: BackendId,
    server: Box<[u8]>,
    offer: Offer,
    release: Option<Release>,
    pub(super) phase: Phase,
    /// Where in its responses the connection is.
    pub(super) flow: Flow,
    /// Commands that it has not answered, in order.
    pub(super) flights: VecDeque<Flight>,
    /// What it was told by ENABLE.
    pub(super) enabled: Extensions,
    /// What the client was told of the mailbox that is selected here.
    pub(super) numbers: Numbers,
    /// It tells of mailboxes that are not selected (NOTIFY), and is asked nothing else.
    pub(super) is_listening: bool,
    /// What it was told by NOTIFY of the mailbox that is selected here.
    pub(super) told_notify: ToldNotify,
    /// A task wanted it for itself: nobody else is given it.
    pub(super) is_apart: bool,
    /// It is logged in as an administrator, for the running task alone.
    pub(super) is_admin: bool,
    /// The running task sent to it: its lines are the task's.
    pub(super) serves_task: bool,
    /// The last moment at which it was written to or heard.
    pub(super) last_use: Instant,
}

/// How far a connection is.
pub(super) enum Phase {
    /// The engine connects.
    Opening(Box<LoginAs>, Instant),
    /// Greeting, TLS, SASL; until the deadline.
    Login(Box<Login>, Instant),
    /// Logged in; COMPRESS is being agreed on, until the deadline.
    Compressing(Box<Compressing>, Instant),
    /// Logged in, compressed if it has a place.
    Ready(#[expect(dead_code, reason = "free when the connection goes")] Option<Place>),
    /// LOGOUT was sent; until the deadline.
    Leaving(Instant),
}

/// A backend connection that is logged in and about to be compressed.
pub(super) struct Compressing {
    pub(super) ready: Ready,
    pub(super) place: Place,
    pub(super) stage: Compression,
}

/// How far COMPRESS is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    /// The backend was asked.
    Asked,
    /// It agreed: what comes is compressed.
    Switching,
}

/// What a connection was told by NOTIFY of the mailbox that is selected there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum ToldNotify {
    /// Nothing, or NONE.
    #[default]
    Nothing,
    /// What holds.
    Set,
    /// What held before.
    Stale,
}

/// Where in its responses a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    /// The next byte begins a response.
    Start,
    /// The next byte belongs to a response that goes to the client.
    Relaying,
    /// The next byte belongs to a response that is thrown away.
    Dropping,
}

/// A command in flight.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    /// Its tag.
    pub(super) tag: Tag,
    /// Whose it is.
    pub(super) whose: Whose,
    /// Something came while it was the first in flight: it may have been answered in part.
    pub(super) told: bool,
    /// How often it was sent again because its connection was lost.
    pub(super) again: u8,
    /// What it is.
    pub(super) verb: Verb,
    /// When it was sent.
    pub(super) sent: Stamp,
}

impl Flight {
    /// It, sent on another connection.
    pub(super) fn sent_again(&self) -> Flight {
        Flight { told: false, again: self.again.saturating_add(1), ..self.clone() }
    }
}

/// Whose command is in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Whose {
    /// Relayed for the client: all that answers it is his.
    Client(Nature),
    /// Ours: what answers it is thrown away.
    Ours,
}

/// What a command does, as far as it matters when its answer is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Nature {
    /// Waits for news and changes nothing: NOOP, CHECK.
    Waits,
    /// IDLE.
    Idles,
    /// Asks.
    Reads,
    /// Changes something, or may.
    Writes,
}

impl Backend {
    pub(super) fn new(
        id: BackendId,
        server: &[u8],
        login: LoginAs,
        deadline: Instant,
        now: Instant,
    ) -> Backend {
        Backend {
            id,
            server: server.into(),
            offer: Offer::default(),
            release: None,
            phase: Phase::Opening(Box::new(login), deadline),
            is_admin: false,
            flow: Flow::Start,
            flights: VecDeque::new(),
            enabled: Extensions::default(),
            numbers: Numbers::default(),
            is_listening: false,
            told_notify: ToldNotify::Nothing,
            is_apart: false,
            serves_task: false,
            last_use: now,
        }
    }

    /// The connection's number.
    pub fn id(&self) -> BackendId {
        self.id
    }

    /// Its server as in the list.
    pub fn server(&self) -> &[u8] {
        &self.server
    }

    /// What it offered after login.
    pub fn offer(&self) -> Offer {
        self.offer
    }

    /// The connection's side.
    pub(super) fn side(&self) -> Side {
        Side::Backend(self.id)
    }

    /// Logged in and not leaving.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready(_))
    }

    /// The release that its greeting named.
    pub(super) fn release(&self) -> Option<Release> {
        self.release
    }

    /// Login is over.
    pub(super) fn be_ready(&mut self, offer: Offer, release: Option<Release>) {
        (self.offer, self.release) = (offer, release);
        if !self.is_ready() {
            self.phase = Phase::Ready(None);
        }
    }

    /// Whether a command of the client is in flight here.
    pub(super) fn is_busy_for_client(&self) -> bool {
        self.flights.iter().any(|flight| flight.whose != Whose::Ours)
    }

    /// Whether a command of ours with this tag is in flight here.
    pub(super) fn has_our_tag(&self, tag: &[u8]) -> bool {
        self.flights.iter().any(|flight| flight.whose == Whose::Ours && flight.tag.as_slice() == tag)
    }

    /// Notes a command that was sent.
    pub(super) fn sent(&mut self, tag: &[u8], whose: Whose, verb: Verb, now: Instant) {
        self.flights.push_back(Flight {
            tag: Tag::from_slice(tag),
            whose,
            told: false,
            again: 0,
            verb,
            sent: now.stamp(),
        });
    }

    /// Takes the command that a tagged line answers out of those in flight.
    pub(super) fn answered(&mut self, tag: &[u8]) -> Option<Flight> {
        let at = self.flights.iter().position(|flight| flight.tag.as_slice() == tag)?;
        self.flights.remove(at)
    }

    /// Whether what it says now answers a command of ours.
    pub(super) fn answers_us(&self) -> bool {
        self.flights.front().is_some_and(|flight| flight.whose == Whose::Ours)
    }
}

#[cfg(test)]
impl Backend {
    /// A connection that is logged in.
    pub(super) fn ready_for_test(id: BackendId, server: &[u8], offer: Offer) -> Backend {
        let login = LoginAs::Proxy { user: Box::default() };
        let mut backend = Backend::new(id, server, login, Instant(0), Instant(0));
        backend.be_ready(offer, None);
        backend
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_matched_to_what_is_in_flight() {
        let login = LoginAs::Proxy { user: (*b"fred").into() };
        let mut backend = Backend::new(BackendId(1), b"be1", login, Instant(0), Instant(0));
        backend.sent(b"RK0", Whose::Ours, Verb::Enable, Instant(0));
        backend.sent(b"a1", Whose::Client(Nature::Reads), Verb::Noop, Instant(0));
        assert!(backend.answers_us() && backend.is_busy_for_client() && backend.has_our_tag(b"RK0"));
        assert_eq!(backend.answered(b"RK0").map(|flight| flight.whose), Some(Whose::Ours));
        assert!(!backend.answers_us());
        assert!(backend.answered(b"a2").is_none());
        assert!(backend.answered(b"a1").is_some());
        assert!(!backend.is_busy_for_client());
    }
}
