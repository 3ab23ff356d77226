//! The machine of one LMTP client, which is an MTA.
//!
//! ```text
//!              ┌── commands: answered here; auth: STARTTLS, AUTH
//!   client ────┼── envelope: MAIL, RCPT ──> the list ──> peers: a connection for each backend
//!              └── deliver: DATA, the message to all backends at once, a reply for each recipient
//! ```
//! This file holds the state and the order of things. Commands are read ahead as far as a pipelining
//! client sends them: RCPTs, and DATA behind them; replies go out in their order.

use std::sync::Arc;

use smallvec::SmallVec;

use super::backend::Peer;
use super::config::{Config, Trust};
use super::login::Login;
use super::message::Scanner;
use super::text::{self, Text};
use super::transaction::Transaction;
use crate::login::desk::{Desk, Purpose};
use crate::login::guest::Guest;
use crate::login::watch::Pace;
use crate::proxy::{
    self, Answer, BackendId, Close, Event, Instant, Origin, Output, QuestionId, Side, Taken, Then,
};

/// One client of the frontend, from greeting to QUIT.
pub struct Session {
    pub(super) config: Arc<Config>,
    pub(super) desk: Desk,
    pub(super) client: Client,
    pub(super) tls: bool,
    pub(super) reading: Reading,
    /// Commands in a row that were none.
    pub(super) bad_commands: u8,
    pub(super) transaction: Option<Box<Transaction>>,
    /// What the client called the way of his message (TRACE).
    pub(super) trace: Option<Box<[u8]>>,
    pub(super) peers: Vec<Peer>,
    pub(super) now: Instant,
    pub(super) last_input: Option<Instant>,
    draining: bool,
    /// The client sends no more, and waits for replies.
    pub(super) half_closed: bool,
    sessions: u32,
}

/// Who the client is.
pub(super) enum Client {
    /// Nobody known, who may be logging in.
    Guest(Box<Guest<Login>>),
    /// Over a UNIX socket, or a service that trusts all.
    Trusted,
    /// An administrator who logged in.
    LoggedIn,
}

/// What the next bytes of the client are.
#[derive(Debug)]
pub(super) enum Reading {
    /// A command.
    Command,
    /// The rest of a line that is too long.
    Skip,
    /// A response of AUTH.
    Sasl,
    /// A message.
    Message(Scanner),
    /// Nothing, until an event.
    Wait,
    /// Nothing: the session is over.
    Over,
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

impl Session {
    /// Begins with the greeting.
    pub fn new(config: Arc<Config>, origin: Origin) -> Session {
        // Who can reach the socket is the file system's to say, as with Cyrus.
        let is_trusted = config.trust == Trust::Everybody || origin.client_address.is_empty();
        let tls = origin.tls;
        let guest = Guest::new("lmtp", false, tls);
        let mut session = Session {
            desk: Desk::new("lmtp", &config.common, origin),
            config,
            client: if is_trusted { Client::Trusted } else { Client::Guest(Box::new(guest)) },
            tls,
            reading: Reading::Command,
            bad_commands: 0,
            transaction: None,
            trace: None,
            peers: Vec::new(),
            now: Instant::default(),
            last_input: None,
            draining: false,
            half_closed: false,
            sessions: 0,
        };
        session.greet();
        session
    }

    /// Writes a reply.
    pub(super) fn reply(&mut self, text: &Text) {
        self.desk.outbox.write(Side::Client, &[text]);
    }

    /// A new name of the conversation, as LHLO and RSET tell it.
    pub(super) fn session_id(&mut self) -> String {
        self.sessions = self.sessions.wrapping_add(1);
        let random =
            self.desk.origin.random.iter().take(8).fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
        let (host, started) = (&self.config.common.servername, self.desk.origin.started_unix);
        let session_id = format!("{host}-{started}-{}-{random}", self.sessions);
        self.desk.begin_anew(&session_id);
        session_id
    }

    /// Ends the session with a last word.
    pub(super) fn end(&mut self, farewell: &Text) {
        self.reply(farewell);
        self.leave();
        self.desk.outbox.close(Side::Client, Close::Flush);
        self.reading = Reading::Over;
    }

    /// The client is gone: what was not ended never will be.
    pub(super) fn client_gone(&mut self) {
        if !matches!(self.reading, Reading::Over) {
            self.leave();
            self.desk.outbox.close(Side::Client, Close::Abort);
            self.reading = Reading::Over;
        }
    }

    /// Closes what stands behind the client.
    fn leave(&mut self) {
        self.close_peers();
        if let Client::Guest(guest) = &mut self.client {
            guest.abandon(&mut self.desk);
        }
    }

    /// The client sends no more. Who has sent a whole message still gets its replies.
    fn client_ended(&mut self) {
        let is_served = self.transaction.as_deref().is_some_and(Transaction::is_ended);
        if is_served && !matches!(self.reading, Reading::Over) {
            self.half_closed = true;
        } else {
            self.client_gone();
        }
    }

    /// Looks at input until nothing more can be done with it.
    fn look(&mut self, side: Side, input: &[u8]) -> Taken {
        let mut n = 0;
        loop {
            let rest = &input[n..];
            if rest.is_empty() || self.desk.outbox.claims(side) {
                return Taken { n, then: Then::More };
            }
            let progress = match side {
                Side::Client => self.look_at_client(rest),
                Side::Backend(id) => {
                    self.look_at_check(id, rest).unwrap_or_else(|| self.look_at_backend(id, rest))
                }
            };
            match progress {
                Progress::Took(took) => n += took,
                Progress::Claimed | Progress::More => return Taken { n, then: Then::More },
                Progress::Hold => return Taken { n, then: Then::Hold },
            }
        }
    }

    fn look_at_client(&mut self, input: &[u8]) -> Progress {
        let progress = match &self.reading {
            Reading::Command => self.look_at_command(input),
            Reading::Skip => self.skip_line(input),
            Reading::Sasl => self.look_at_sasl(input),
            Reading::Message(_) => self.look_at_message(input),
            Reading::Wait => Progress::Hold,
            Reading::Over => Progress::Took(input.len()),
        };
        if let Progress::Took(_) = progress {
            self.advance();
        }
        progress
    }

    fn handle_answer(&mut self, id: QuestionId, answer: Answer) {
        match self.desk.answers(id) {
            Some(Purpose::Guest) => self.with_guest(|guest, around| guest.answered(answer, around)),
            Some(Purpose::Session(number)) => self.handle_recipient_answer(number, answer),
            Some(Purpose::Backend(backend)) => {
                if let Some(Event::Answer { answer, .. }) =
                    self.handle_check(backend, Event::Answer { id, answer })
                {
                    self.handle_backend_answer(backend, answer);
                }
            }
            Some(Purpose::Way) | None => {}
        }
    }

    /// Carries on with what an event or input made possible.
    fn advance(&mut self) {
        self.advance_envelope();
        self.advance_delivery();
        if self.draining && self.is_idle() {
            self.end(&text::STOPPING);
        }
    }

    /// Whether nothing of a message is under way.
    fn is_idle(&self) -> bool {
        matches!(self.reading, Reading::Command | Reading::Sasl | Reading::Skip)
            && !self.transaction.as_deref().is_some_and(Transaction::is_wanted)
    }

    fn set_clock(&mut self, now: Instant) {
        self.now = now;
        self.last_input.get_or_insert(now);
        self.desk.end_wait(now.stamp());
    }

    /// At the end of a call: for whom a command waits. A RCPT that has no reply when the next command comes
    /// counts as far as that.
    fn settle(&mut self) {
        let pace = match self.reading {
            Reading::Message(_) | Reading::Sasl => Pace::Client,
            Reading::Wait => Pace::Others,
            Reading::Command | Reading::Skip if self.untold() > 0 => Pace::Others,
            Reading::Command | Reading::Skip | Reading::Over => Pace::Answered,
        };
        self.desk.begin_wait(pace, self.config.common.slow_command, self.now.stamp());
    }

    /// The client is waited for, not a backend.
    fn awaits_client(&self) -> bool {
        match self.reading {
            Reading::Command | Reading::Skip | Reading::Sasl | Reading::Message(_) => true,
            Reading::Wait | Reading::Over => false,
        }
    }

    fn check_deadlines(&mut self) {
        let now = self.now;
        self.with_guest(Guest::handle_timeout);
        let late: SmallVec<[BackendId; 2]> = self
            .peers
            .iter()
            .filter(|peer| peer.is_awaited() && peer.deadline <= now)
            .map(|peer| peer.id)
            .collect();
        for id in late {
            self.peer_is_late(id);
        }
        let last = self.last_input.unwrap_or(now);
        if self.awaits_client() && now.since(last) >= self.config.timeouts.client {
            self.end(&text::TIMED_OUT);
        }
    }
}

impl proxy::Session for Session {
    fn handle_input(&mut self, side: Side, input: &[u8], now: Instant) -> Taken {
        self.set_clock(now);
        if side == Side::Client {
            self.last_input = Some(now);
        }
        let taken = self.look(side, input);
        self.advance();
        self.settle();
        taken
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        self.set_clock(now);
        let event = match backend_of(&event) {
            Some(id) => self.handle_check(id, event),
            None => Some(event),
        };
        if let Some(event) = event {
            self.heed(event);
        }
        self.advance();
        self.settle();
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.set_clock(now);
        self.check_deadlines();
        self.advance();
        self.settle();
    }

    fn poll_output(&mut self, scratch: &mut Vec<u8>) -> Option<Output> {
        self.desk.outbox.poll(scratch)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if matches!(self.reading, Reading::Over) {
            return None;
        }
        let peers = self.peers.iter().filter(|peer| peer.is_awaited()).map(|peer| peer.deadline);
        let client =
            self.awaits_client().then(|| self.last_input.unwrap_or(self.now) + self.config.timeouts.client);
        let login = match &self.client {
            Client::Guest(guest) => guest.deadline(),
            Client::Trusted | Client::LoggedIn => None,
        };
        peers.chain(client).chain(login).min()
    }
}

/// The connection that an event has happened to.
#[expect(clippy::wildcard_enum_match_arm, reason = "others happen to none")]
fn backend_of(event: &Event) -> Option<BackendId> {
    match event {
        Event::Eof(Side::Backend(id))
        | Event::Reset(Side::Backend(id))
        | Event::Switched { side: Side::Backend(id), .. } => Some(*id),
        _ => None,
    }
}

impl Session {
    fn heed(&mut self, event: Event) {
        match event {
            Event::Answer { id, answer } => self.handle_answer(id, answer),
            Event::Eof(Side::Client) => self.client_ended(),
            Event::Reset(Side::Client) => self.client_gone(),
            Event::Eof(Side::Backend(id)) | Event::Reset(Side::Backend(id)) => {
                self.peer_is_lost(id, &text::UNAVAILABLE);
            }
            Event::Switched { side: Side::Client, result } => self.client_secured(result),
            Event::Switched { side: Side::Backend(id), result } => self.peer_secured(id, result),
            // All that were sent the message are gone; they are told of by events of their own.
            Event::ForwardBroken { from, left, .. } => self.desk.outbox.discard(from, left),
            Event::Stalled { from: Side::Client, to } => self.message_stands_still(&to),
            Event::Stalled { .. }
            | Event::Drained { .. }
            | Event::Idle { .. }
            // Who is sent away is told so at his next command, as by Cyrus: he is an MTA.
            | Event::Posted
            | Event::ListChanged
            | Event::BarrierWanted => {}
            Event::Drain { .. } => self.draining = true,
        }
    }
}
