//! One backend connection of an IMAP session.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::compress::Compressing;
use super::grammar::Verb;
use super::login::{Login, Release};
use super::notify::Told;
use super::numbers::Numbers;
use crate::places::Place;
use crate::proxy::{BackendId, Instant, Side, Stamp};

pub use crate::login::backend::LoginAs;

/// What a backend offers, as far as a frontend acts on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offer(u32);

impl Offer {
    /// LITERAL+ (RFC 7888).
    pub const LITERAL_PLUS: Offer = Offer(1);
    /// LITERAL- (RFC 7888): `{n+}` up to 4096 bytes.
    pub const LITERAL_MINUS: Offer = Offer(1 << 1);
    /// STARTTLS.
    pub const STARTTLS: Offer = Offer(1 << 2);
    /// SASL-IR (RFC 4959).
    pub const SASL_IR: Offer = Offer(1 << 3);
    /// ENABLE (RFC 5161).
    pub const ENABLE: Offer = Offer(1 << 4);
    /// ID (RFC 2971).
    pub const ID: Offer = Offer(1 << 5);
    /// CONDSTORE (RFC 7162).
    pub const CONDSTORE: Offer = Offer(1 << 6);
    /// QRESYNC (RFC 7162).
    pub const QRESYNC: Offer = Offer(1 << 7);
    /// IDLE (RFC 2177).
    pub const IDLE: Offer = Offer(1 << 8);
    /// UNSELECT (RFC 3691).
    pub const UNSELECT: Offer = Offer(1 << 9);
    /// MULTIAPPEND (RFC 3502).
    pub const MULTIAPPEND: Offer = Offer(1 << 10);
    /// METADATA (RFC 5464).
    pub const METADATA: Offer = Offer(1 << 11);
    /// MOVE (RFC 6851).
    pub const MOVE: Offer = Offer(1 << 12);
    /// UIDPLUS (RFC 4315).
    pub const UIDPLUS: Offer = Offer(1 << 13);
    /// LIST-EXTENDED (RFC 5258).
    pub const LIST_EXTENDED: Offer = Offer(1 << 14);
    /// LIST-STATUS (RFC 5819).
    pub const LIST_STATUS: Offer = Offer(1 << 15);
    /// BINARY (RFC 3516).
    pub const BINARY: Offer = Offer(1 << 16);
    /// QUOTASET (RFC 9208).
    pub const QUOTASET: Offer = Offer(1 << 17);
    /// COMPRESS=DEFLATE (RFC 4978).
    pub const COMPRESS: Offer = Offer(1 << 18);
    /// REPLACE (RFC 8508).
    pub const REPLACE: Offer = Offer(1 << 19);
    /// UTF8=ACCEPT (RFC 6855).
    pub const UTF8_ACCEPT: Offer = Offer(1 << 20);
    /// UIDONLY (RFC 9586).
    pub const UIDONLY: Offer = Offer(1 << 21);
    /// NOTIFY (RFC 5465).
    pub const NOTIFY: Offer = Offer(1 << 22);
    /// MULTISEARCH (RFC 7377).
    pub const MULTISEARCH: Offer = Offer(1 << 23);
    /// URLAUTH (RFC 4467).
    pub const URLAUTH: Offer = Offer(1 << 24);

    /// Reads what stands behind `CAPABILITY` in a response or response code.
    pub fn read(capabilities: &[u8]) -> Offer {
        let words = capabilities.split(|byte| byte.is_ascii_whitespace());
        words.fold(Offer::default(), |offer, word| Offer(offer.0 | Offer::of(word).0))
    }

    /// This and `other`.
    pub const fn and(self, other: Offer) -> Offer {
        Offer(self.0 | other.0)
    }

    /// Whether all of `other` is offered.
    pub const fn has(self, other: Offer) -> bool {
        self.0 & other.0 == other.0
    }

    fn of(word: &[u8]) -> Offer {
        let known = NAMES.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word));
        known.map(|(_, offer)| *offer).unwrap_or_default()
    }
}

const NAMES: [(&str, Offer); 25] = [
    ("LITERAL+", Offer::LITERAL_PLUS),
    ("LITERAL-", Offer::LITERAL_MINUS),
    ("STARTTLS", Offer::STARTTLS),
    ("SASL-IR", Offer::SASL_IR),
    ("ENABLE", Offer::ENABLE),
    ("ID", Offer::ID),
    ("CONDSTORE", Offer::CONDSTORE),
    ("QRESYNC", Offer::QRESYNC),
    ("IDLE", Offer::IDLE),
    ("UNSELECT", Offer::UNSELECT),
    ("MULTIAPPEND", Offer::MULTIAPPEND),
    ("METADATA", Offer::METADATA),
    ("MOVE", Offer::MOVE),
    ("UIDPLUS", Offer::UIDPLUS),
    ("LIST-EXTENDED", Offer::LIST_EXTENDED),
    ("LIST-STATUS", Offer::LIST_STATUS),
    ("BINARY", Offer::BINARY),
    ("QUOTASET", Offer::QUOTASET),
    ("COMPRESS=DEFLATE", Offer::COMPRESS),
    ("REPLACE", Offer::REPLACE),
    ("UTF8=ACCEPT", Offer::UTF8_ACCEPT),
    ("UIDONLY", Offer::UIDONLY),
    ("NOTIFY", Offer::NOTIFY),
    ("MULTISEARCH", Offer::MULTISEARCH),
    ("URLAUTH", Offer::URLAUTH),
];

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
    pub(super) told_notify: Told,
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
    /// What it is.
    pub(super) verb: Verb,
    /// When it was sent.
    pub(super) sent: Stamp,
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

/// Extensions that are enabled (RFC 5161).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Extensions {
    /// CONDSTORE.
    pub(super) condstore: bool,
    /// QRESYNC.
    pub(super) qresync: bool,
    /// UTF8=ACCEPT: names are spelled in UTF-8, both ways.
    pub(super) utf8: bool,
    /// UIDONLY: there are no message numbers.
    pub(super) uidonly: bool,
}

impl Extensions {
    /// What of these a backend offers.
    pub(super) fn offered_by(self, offer: Offer) -> Extensions {
        Extensions {
            condstore: self.condstore && offer.has(Offer::CONDSTORE),
            qresync: self.qresync && offer.has(Offer::QRESYNC),
            utf8: self.utf8 && offer.has(Offer::UTF8_ACCEPT),
            uidonly: self.uidonly && offer.has(Offer::UIDONLY),
        }
    }

    /// These and others.
    pub(super) fn and(self, other: Extensions) -> Extensions {
        Extensions {
            condstore: self.condstore || other.condstore,
            qresync: self.qresync || other.qresync,
            utf8: self.utf8 || other.utf8,
            uidonly: self.uidonly || other.uidonly,
        }
    }

    /// Whether a backend that offers this speaks to the client as he was promised: what it does not offer
    /// of the others is merely missing.
    pub(super) fn are_kept_by(self, offer: Offer) -> bool {
        let served = self.offered_by(offer);
        (served.utf8, served.uidonly) == (self.utf8, self.uidonly)
    }

    /// As ENABLE and ENABLED name them, each with a space before it.
    pub(super) fn names(self) -> String {
        let all = [
            (self.condstore, " CONDSTORE"),
            (self.qresync, " QRESYNC"),
            (self.utf8, " UTF8=ACCEPT"),
            (self.uidonly, " UIDONLY"),
        ];
        all.into_iter().filter(|(is_on, _)| *is_on).map(|(_, name)| name).collect()
    }
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
            told_notify: Told::Nothing,
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
    fn capabilities_are_read_in_any_case_and_unknown_ones_ignored() {
        let offer = Offer::read(b"IMAP4rev1 literal+ X-NEW QRESYNC");
        assert!(offer.has(Offer::LITERAL_PLUS) && offer.has(Offer::QRESYNC));
        assert!(!offer.has(Offer::CONDSTORE));
    }

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
