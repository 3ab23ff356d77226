//! The machine of one ManageSieve client.
//!
//! ```text
//! Guest ──AUTHENTICATE──> (the list, a connection to the server, login there) ──> User
//!   ^  ^────── NO ──────────┘                                                      │
//!   └──────────────────────────── UNAUTHENTICATE ──────────────────────────────────┘
//!                 sieve_allowreferrals: (the list) ──> Referred ──any command but NOOP──> BYE
//! ```
//! A logged-in client's commands go to the server one by one, as he wrote them; STARTTLS, LOGOUT,
//! UNAUTHENTICATE and what is not well formed are answered here, so that he can say nothing that the server
//! would take for the frontend's word.

use std::sync::Arc;

use super::backend::Login;
use super::config::Config;
use super::grammar::Status;
use super::relay::{Passed, Reply};
use crate::login::desk::{Around, Desk, Purpose};
use crate::login::entrance::Entrance;
use crate::login::guest::{Accepted, Guest};
use crate::login::link::Look;
use crate::login::watch::Pace;
use crate::proxy::{
    self, Answer, BackendCapabilities, BackendId, Close, Event, Instant, Origin, Output, Question, Service,
    Side, Taken, Then,
};
use crate::seats::Seat;

/// Commands in a row that are none, after which the client is told goodbye.
const BAD_COMMANDS_MAX: u8 = 10;

/// The last command to a server.
const LOGOUT: &[u8] = b"LOGOUT\r\n";

/// One client of the frontend.
pub struct Session {
    config: Arc<Config>,
    desk: Desk,
    entrance: Entrance<Login>,
    /// He is counted.
    seat: Option<Seat>,
    phase: Phase,
    /// What all servers offer.
    offered: Arc<BackendCapabilities>,
    /// Who has logged in, on his way to the server.
    accepted: Option<Box<Accepted>>,
    /// The last word of a mechanism, which goes out with the success.
    last_word: Option<Vec<u8>>,
    bad_commands: u8,
    last_input: Option<Instant>,
    now: Instant,
    draining: bool,
}

enum Phase {
    /// Before the greeting: it tells what the servers offer.
    Silent,
    Guest,
    User(Box<User>),
    /// He will be told where his scripts are.
    Referred(Box<[u8]>),
    Over,
}

/// A logged-in client.
struct User {
    backend: BackendId,
    server: Box<[u8]>,
    name: Box<[u8]>,
    capabilities: Box<[u8]>,
    /// A script is on its way to the server: its line end is due.
    in_script: bool,
    /// The reply that the server owes, and since when it says nothing.
    reply: Option<(Reply, Instant)>,
    /// TLS is being set up.
    securing: bool,
}

/// The login of the client, and what it works with.
macro_rules! parts {
    ($session:expr) => {{
        let Session { entrance, desk, config, now, .. } = $session;
        (entrance, Around { desk, common: &config.common, now: *now })
    }};
}

// Behind the macro, which they use.
mod client;
mod login;

impl Session {
    /// Begins with the greeting.
    pub fn new(config: Arc<Config>, origin: Origin) -> Session {
        let guest = Guest::new("sieve", false, origin.tls);
        let mut desk = Desk::new("sieve", &config.common, origin);
        desk.ask(Purpose::Session(0), Question::ServiceCapabilities(Service::Sieve));
        Session {
            config,
            desk,
            entrance: Entrance::new(guest),
            seat: None,
            phase: Phase::Silent,
            offered: Arc::default(),
            accepted: None,
            last_word: None,
            bad_commands: 0,
            last_input: None,
            now: Instant::default(),
            draining: false,
        }
    }

    /// Tells which address of ours the client came to, as [`Guest::came_to`].
    pub fn came_to(&mut self, address: &str) {
        let (entrance, mut around) = parts!(self);
        entrance.guest.came_to(address, &mut around);
    }

    fn tell(&mut self, parts: &[&[u8]]) {
        self.desk.outbox.write(Side::Client, parts);
    }

    /// Answers NO with a text.
    fn no(&mut self, text: &str) {
        self.tell(&[b"NO ", &quoted(text), b"\r\n"]);
    }

    /// Looks at input until nothing more can be done with it.
    fn look(&mut self, side: Side, input: &[u8]) -> Taken {
        let mut n = 0;
        loop {
            let rest = &input[n..];
            if rest.is_empty() || self.desk.outbox.claims(side) {
                return Taken { n, then: Then::More };
            }
            let look = match side {
                Side::Client => self.look_at_client(rest),
                Side::Backend(id) => self.look_at_backend(id, rest),
            };
            match look {
                Look::Took(took) => n += took,
                Look::More => return Taken { n, then: Then::More },
                Look::Hold => return Taken { n, then: Then::Hold },
            }
        }
    }

    // ------------------------------------------------------------ the server

    fn look_at_backend(&mut self, id: BackendId, input: &[u8]) -> Look {
        match &mut self.phase {
            Phase::User(user) if user.backend == id => self.pass(input),
            Phase::User(_) | Phase::Silent | Phase::Guest | Phase::Referred(_) | Phase::Over => {
                let (entrance, mut around) = parts!(self);
                let (look, step) = entrance.look(id, input, &mut around);
                self.follow(step);
                look
            }
        }
    }

    /// Passes a reply on.
    fn pass(&mut self, input: &[u8]) -> Look {
        let Phase::User(user) = &mut self.phase else { return Look::Hold };
        let from = Side::Backend(user.backend);
        let mut stray = Reply::default();
        let is_asked = user.reply.is_some();
        let reply = match &mut user.reply {
            Some((reply, since)) => {
                *since = self.now;
                reply
            }
            None => &mut stray,
        };
        match reply.pass(input) {
            // The server ends: what it says is for the client, and the last that he hears.
            Passed::Over(n, Status::Bye) => {
                let n = usize::try_from(n).unwrap_or(usize::MAX).min(input.len());
                self.cut(&input[..n]);
                Look::Took(n)
            }
            Passed::Over(n, Status::Ok | Status::No) if is_asked => {
                user.reply = None;
                self.last_input = Some(self.now);
                self.desk.outbox.forward(from, Side::Client, n);
                Look::More
            }
            Passed::On(n) if is_asked => {
                self.desk.outbox.forward(from, Side::Client, n);
                Look::More
            }
            Passed::More => Look::More,
            Passed::Over(..) | Passed::On(_) => self.broken("reply to nothing", input.len()),
            Passed::Broken(why) => self.broken(why, input.len()),
        }
    }

    fn broken(&mut self, why: &str, here: usize) -> Look {
        if let Phase::User(user) = &self.phase {
            let server = user.server.clone();
            self.desk.log_backend(&server, why);
        }
        self.cut(b"BYE (TRYLATER) \"server is out of step\"\r\n");
        Look::Took(here)
    }

    /// A connection ended.
    fn backend_gone(&mut self, id: BackendId) {
        if matches!(&self.phase, Phase::User(user) if user.backend == id) {
            return self.cut(b"BYE (TRYLATER) \"connection to the server was lost\"\r\n");
        }
        let (entrance, mut around) = parts!(self);
        let step = entrance.backend_gone(id, &mut around);
        self.follow(step);
    }

    /// Leaves the server with LOGOUT, unless it is in the middle of a command: that would be taken for a part
    /// of it.
    fn leave_server(&mut self) {
        let Phase::User(user) = &self.phase else { return };
        let side = Side::Backend(user.backend);
        let is_idle = user.reply.is_none() && !user.in_script;
        if is_idle {
            self.desk.outbox.write(side, &[LOGOUT]);
        }
        self.desk.outbox.close(side, if is_idle { Close::Flush } else { Close::Abort });
    }

    // ------------------------------------------------------------ ends

    /// Ends the session in order.
    fn end(&mut self, farewell: &[u8]) {
        if matches!(self.phase, Phase::Over) {
            return;
        }
        self.leave_server();
        self.entrance.abandon(&mut self.desk);
        self.tell(&[farewell]);
        self.desk.outbox.close(Side::Client, Close::Flush);
        self.phase = Phase::Over;
    }

    /// Ends the session because something broke. What is said only reaches a client who is not in the middle
    /// of a line.
    fn cut(&mut self, farewell: &[u8]) {
        let is_inside = match &self.phase {
            Phase::User(user) => {
                self.desk.outbox.close(Side::Backend(user.backend), Close::Abort);
                user.reply.is_some_and(|(reply, _)| reply.is_inside())
            }
            Phase::Silent | Phase::Guest | Phase::Referred(_) | Phase::Over => false,
        };
        self.entrance.abandon(&mut self.desk);
        if !matches!(self.phase, Phase::Over) {
            let how = if is_inside || farewell.is_empty() { Close::Abort } else { Close::Flush };
            if how == Close::Flush {
                self.tell(&[farewell]);
            }
            self.desk.outbox.close(Side::Client, how);
        }
        self.phase = Phase::Over;
    }

    fn client_deadline(&self) -> Option<Instant> {
        let allowed = match &self.phase {
            Phase::User(user) if user.reply.is_some() || user.in_script => return None,
            Phase::User(_) => self.config.timeout,
            Phase::Guest if self.entrance.is_underway() || self.entrance.guest.is_busy() => return None,
            Phase::Guest | Phase::Referred(_) => self.config.login_timeout,
            Phase::Silent | Phase::Over => return None,
        };
        Some(self.last_input? + allowed)
    }

    fn reply_deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::User(user) if !user.in_script => {
                user.reply.map(|(_, since)| since + self.config.command_timeout)
            }
            Phase::User(_) | Phase::Silent | Phase::Guest | Phase::Referred(_) | Phase::Over => None,
        }
    }

    /// The process stops, or `msg/shutdown` stands: at once, when nothing is under way.
    fn goodbye_deadline(&self) -> Option<Instant> {
        let is_idle = match &self.phase {
            Phase::User(user) => user.reply.is_none() && !user.in_script,
            Phase::Guest if self.entrance.waits_for_move() => true,
            Phase::Guest => !self.entrance.is_underway() && !self.entrance.guest.is_busy(),
            Phase::Referred(_) => true,
            Phase::Silent | Phase::Over => false,
        };
        ((self.draining || self.config.common.bulletin.is_down()) && is_idle).then_some(Instant(0))
    }

    fn say_goodbye(&mut self) {
        if !self.config.common.bulletin.is_down() {
            return self.end(b"BYE (TRYLATER) \"server is shutting down\"\r\n");
        }
        let text = quoted(&self.config.common.bulletin.farewell());
        self.end(&[b"BYE ", &text[..], b"\r\n"].concat());
    }

    fn set_clock(&mut self, now: Instant) {
        self.now = now;
        self.last_input.get_or_insert(now);
        self.desk.end_wait(now.stamp());
    }

    /// At the end of a call: for whom a command waits.
    fn settle(&mut self) {
        let pace = match &self.phase {
            Phase::User(user) if user.in_script => Pace::Client,
            Phase::User(user) if user.reply.is_some() => Pace::Others,
            Phase::Guest if self.entrance.is_underway() => Pace::Others,
            Phase::Guest if self.entrance.guest.expects_response() => Pace::Client,
            Phase::Guest if self.entrance.guest.is_busy() => Pace::Others,
            Phase::User(_) | Phase::Guest | Phase::Silent | Phase::Referred(_) | Phase::Over => {
                Pace::Answered
            }
        };
        self.desk.begin_wait(pace, self.config.common.slow_command, self.now.stamp());
    }
}

impl proxy::Session for Session {
    fn handle_input(&mut self, side: Side, input: &[u8], now: Instant) -> Taken {
        self.set_clock(now);
        if side == Side::Client {
            self.last_input = Some(now);
        }
        let taken = self.look(side, input);
        self.settle();
        taken
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        self.set_clock(now);
        match event {
            Event::Answer { id, answer } => {
                let (entrance, mut around) = parts!(self);
                match entrance.answered(id, answer, &mut around) {
                    Ok(step) => self.follow(step),
                    Err(Answer::Capabilities(offered)) => {
                        self.offered = offered;
                        self.tell_capabilities();
                        self.phase = Phase::Guest;
                    }
                    Err(_) => {}
                }
            }
            Event::Eof(Side::Client) | Event::Reset(Side::Client) => self.client_gone(),
            Event::Eof(Side::Backend(id)) | Event::Reset(Side::Backend(id)) => self.backend_gone(id),
            Event::Switched { side: Side::Client, result } => self.client_secured(result),
            Event::Switched { side: Side::Backend(id), result } => {
                let (entrance, mut around) = parts!(self);
                let step = entrance.backend_secured(id, result, &mut around);
                self.follow(step);
            }
            Event::ForwardBroken { .. } => {
                self.cut(b"BYE (TRYLATER) \"connection to the server was lost\"\r\n")
            }
            Event::Stalled { .. } => self.cut(b""),
            Event::Drain { .. } => self.draining = true,
            // Who is sent away is so by his deadlines.
            Event::Posted
            | Event::Drained { .. }
            | Event::Idle { .. }
            | Event::ListChanged
            | Event::BarrierWanted => {}
        }
        self.settle();
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.set_clock(now);
        let (entrance, mut around) = parts!(self);
        let step = entrance.handle_timeout(&mut around);
        self.follow(step);
        if self.goodbye_deadline().is_some() {
            self.say_goodbye();
        } else if self.client_deadline().is_some_and(|due| due <= now) {
            self.end(b"BYE \"idle for too long\"\r\n");
        } else if self.reply_deadline().is_some_and(|due| due <= now) {
            self.cut(b"BYE (TRYLATER) \"server does not answer\"\r\n");
        }
        self.settle();
    }

    fn poll_output(&mut self, scratch: &mut Vec<u8>) -> Option<Output> {
        self.desk.outbox.poll(scratch)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.last_input.is_none() {
            // To be told the time.
            return Some(Instant(0));
        }
        let own = [self.client_deadline(), self.reply_deadline(), self.goodbye_deadline()];
        own.into_iter().flatten().chain(self.entrance.deadline()).min()
    }
}

impl Session {
    /// The client is gone, and his session at the server with him.
    fn client_gone(&mut self) {
        if matches!(self.phase, Phase::Over) {
            return;
        }
        self.leave_server();
        self.entrance.abandon(&mut self.desk);
        self.desk.outbox.close(Side::Client, Close::Abort);
        self.phase = Phase::Over;
    }
}

/// A quoted string (RFC 5804 section 4) of a text in one line.
fn quoted(text: &str) -> Vec<u8> {
    let mut out = vec![b'"'];
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
    out
}
