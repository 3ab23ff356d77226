//! The machine of one POP3 client.
//!
//! ```text
//! Guest ──login──> Underway (the list, a connection to the server, login there) ──> Piped
//!  │^────── -ERR ─────┘                                                              ^
//!  └──────────── the password was checked by a login at the server ─────────────────┘
//! ```
//! The frontend serves the AUTHORIZATION state (RFC 1939 section 4). What comes behind belongs to the
//! server: both ends are joined, and an end is passed on as it is, so that a client who goes without QUIT
//! goes without QUIT at the server too and his messages stay.

use std::sync::Arc;
use std::time::Duration;

use super::backend::{Login, Ready};
use super::config::Config;
use super::grammar::{Command, Verb, auth_args};
use crate::login::backend::Login as _;
use crate::login::desk::{Around, Desk};
use crate::login::entrance::{Entrance, Step};
use crate::login::guest::{Accepted, Guest, Outcome};
use crate::login::link::Look;
use crate::login::watch::Pace;
use crate::login::way::Arrival;
use crate::mailbox::acl::{self, Rights};
use crate::proxy::{
    self, BackendId, Close, Entry, Event, HEAD_BYTES_MAX, Instant, Level, Notice, Origin, Output, Presence,
    Side, Taken, Then,
};
use crate::sasl::{self, SaslError};
use crate::seats::Seat;
use crate::secret::Secret;
use crate::wire::{self, line};

/// The login of the client, and what it works with.
macro_rules! parts {
    ($session:expr) => {{
        let Session { entrance, desk, config, now, .. } = $session;
        (entrance, Around { desk, common: &config.common, now: *now })
    }};
}

/// Commands in a row that are none, after which the client is told goodbye.
const BAD_COMMANDS_MAX: u8 = 10;

/// What every client is told whose password cannot be checked.
const UNAVAILABLE: &[u8] = b"-ERR [SYS/TEMP] authentication temporarily unavailable\r\n";

/// How long after `msg/shutdown` was written clients are sent away who are joined with their servers: more than a pipe
/// has to be quiet for a line of ours.
const FAREWELL_AFTER: Duration = Duration::from_secs(2);

/// One client of the frontend, from greeting to the pipe.
pub struct Session {
    config: Arc<Config>,
    desk: Desk,
    entrance: Entrance<Login>,
    /// He is counted.
    seat: Option<Seat>,
    phase: Phase,
    /// The argument of USER.
    user: Option<Box<[u8]>>,
    /// The command that logs in.
    how: How,
    bad_commands: u8,
    last_input: Option<Instant>,
    /// Since when `msg/shutdown` stands.
    down_since: Option<Instant>,
    now: Instant,
    draining: bool,
}

enum Phase {
    Guest,
    /// Logged in, and on his way to the server.
    Underway(Box<Accepted>),
    /// Joined with a server.
    Piped(BackendId),
    Over,
}

/// The command of a login.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Pass,
    Auth,
}

impl Session {
    /// Begins with the greeting.
    pub fn new(config: Arc<Config>, origin: Origin) -> Session {
        // The ACL that `popuseacl` asks for is looked up on the longer way.
        let guest = Guest::new("pop", config.subfolders, origin.tls).keeping_home(!config.use_acl);
        let mut session = Session {
            desk: Desk::new("pop3", &config.common, origin),
            config,
            entrance: Entrance::new(guest),
            seat: None,
            phase: Phase::Guest,
            user: None,
            how: How::Pass,
            bad_commands: 0,
            last_input: None,
            down_since: None,
            now: Instant::default(),
            draining: false,
        };
        let words = session.config.common.greeting();
        session.tell(&[b"+OK ", words.as_bytes(), b"server ready\r\n"]);
        session
    }

    /// Tells which address of ours the client came to, as IMAP sessions are told.
    pub fn came_to(&mut self, address: &str) {
        let (entrance, mut around) = parts!(self);
        entrance.guest.came_to(address, &mut around);
    }

    fn tell(&mut self, parts: &[&[u8]]) {
        self.desk.outbox.write(Side::Client, parts);
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

    fn look_at_client(&mut self, input: &[u8]) -> Look {
        match self.phase {
            Phase::Guest => {}
            Phase::Underway(_) | Phase::Piped(_) => return Look::Hold,
            Phase::Over => return Look::Took(input.len()),
        }
        if self.entrance.guest.is_busy() || self.draining || self.config.common.bulletin.is_down() {
            return Look::Hold;
        }
        let line = match line::first(input, HEAD_BYTES_MAX) {
            Ok(line) => line,
            Err(wire::Error::Incomplete) => return Look::More,
            Err(_) => {
                self.end(b"-ERR line too long\r\n");
                return Look::Took(input.len());
            }
        };
        if self.entrance.guest.expects_response() {
            self.respond(line.content);
        } else {
            self.obey(&Command::parse(line.content));
        }
        Look::Took(line.len)
    }

    /// Carries a command of the AUTHORIZATION state out.
    fn obey(&mut self, command: &Command<'_>) {
        self.desk.watch(command.verb.name(), self.now.stamp());
        let unexpected = b"-ERR Unexpected extra argument\r\n";
        let missing = b"-ERR Missing argument\r\n";
        match (command.verb, command.argument) {
            (Verb::Capa, None) => self.tell_capabilities(),
            (Verb::Quit, None) => self.end(b"+OK\r\n"),
            (Verb::Stls, None) => self.stls(),
            (Verb::Capa | Verb::Quit | Verb::Stls, Some(_)) => self.bad(unexpected),
            (Verb::User, Some(user)) => self.user(user),
            (Verb::Pass, Some(password)) => self.pass(password),
            (Verb::Auth, Some(argument)) => self.auth(argument),
            (Verb::Auth, None) => self.tell_mechanisms(),
            (Verb::User | Verb::Pass, None) => self.bad(missing),
            (Verb::Apop | Verb::Unknown, _) => self.bad(b"-ERR Unrecognized command\r\n"),
        }
    }

    fn bad(&mut self, text: &[u8]) {
        self.tell(&[text]);
        self.bad_commands += 1;
        if self.bad_commands >= BAD_COMMANDS_MAX {
            self.end(b"-ERR too many invalid commands\r\n");
        }
    }

    fn allows_plaintext(&self) -> bool {
        self.config.common.login.allows_plaintext(self.entrance.guest.is_tls())
    }

    /// CAPA (RFC 2449). `popminpoll` and `popexpiretime` are the servers', which say so behind the login.
    fn tell_capabilities(&mut self) {
        let tls = self.entrance.guest.is_tls();
        let mut text = String::from("+OK List of capabilities follows\r\n");
        let mechanisms: Vec<&str> =
            self.config.common.login.offered(tls).map(sasl::Mechanism::name).collect();
        if !mechanisms.is_empty() {
            text.push_str(&format!("SASL {}\r\n", mechanisms.join(" ")));
        }
        if self.offers_stls() {
            text.push_str("STLS\r\n");
        }
        text.push_str(
            "EXPIRE NEVER\r\nLOGIN-DELAY 0\r\nTOP\r\nUIDL\r\nPIPELINING\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n",
        );
        if self.allows_plaintext() {
            text.push_str("USER\r\n");
        }
        text.push_str(&format!("IMPLEMENTATION Rookery {}\r\n.\r\n", self.config.common.version));
        self.tell(&[text.as_bytes()]);
    }

    fn tell_mechanisms(&mut self) {
        let mut text = String::from("+OK List of supported mechanisms follows\r\n");
        for mechanism in self.config.common.login.offered(self.entrance.guest.is_tls()) {
            text.push_str(&format!("{}\r\n", mechanism.name()));
        }
        text.push_str(".\r\n");
        self.tell(&[text.as_bytes()]);
    }

    fn offers_stls(&self) -> bool {
        self.config.common.login.starttls && !self.entrance.guest.is_tls()
    }

    fn stls(&mut self) {
        if self.entrance.guest.is_tls() {
            self.tell(&[b"-ERR Already successfully executed STLS\r\n"]);
        } else if !self.offers_stls() {
            self.bad(b"-ERR Unrecognized command\r\n");
        } else {
            self.user = None;
            self.tell(&[b"+OK Begin TLS negotiation now\r\n"]);
            self.entrance.guest.start_tls(&mut self.desk);
        }
    }

    fn user(&mut self, user: &[u8]) {
        if !self.allows_plaintext() {
            self.bad(b"-ERR [AUTH] USER command only available under a layer\r\n");
        } else if self.user.is_some() {
            self.bad(b"-ERR [AUTH] Must give PASS command\r\n");
        } else if !self.entrance.guest.is_name(user, &self.config.common) {
            self.bad(b"-ERR [AUTH] Invalid user\r\n");
        } else {
            self.user = Some(user.into());
            self.tell(&[b"+OK Name is a valid mailbox\r\n"]);
        }
    }

    fn pass(&mut self, password: &[u8]) {
        let Some(user) = self.user.take() else {
            return self.bad(b"-ERR [AUTH] Must give USER command\r\n");
        };
        self.bad_commands = 0;
        self.how = How::Pass;
        let (entrance, mut around) = parts!(self);
        let outcome = entrance.guest.password(&user, Secret::new(password), &mut around);
        self.follow(outcome.into());
    }

    fn auth(&mut self, argument: &[u8]) {
        let (mechanism, initial) = auth_args(argument);
        self.user = None;
        self.how = How::Auth;
        let (entrance, mut around) = parts!(self);
        let begun = initial.map(sasl::decode_initial).transpose().and_then(|initial| {
            entrance.guest.sasl(mechanism, initial.as_ref().map(Secret::expose), &mut around)
        });
        self.began(begun);
    }

    fn began(&mut self, begun: Result<Outcome<Ready>, SaslError>) {
        match begun {
            Ok(outcome) => self.follow(outcome.into()),
            Err(SaslError::Mechanism) => {
                self.tell(&[b"-ERR [AUTH] authenticating: no mechanism available\r\n"]);
            }
            Err(_) => self.bad(b"-ERR [AUTH] authenticating: bad protocol / cancel\r\n"),
        }
    }

    /// Takes a response of a mechanism.
    fn respond(&mut self, text: &[u8]) {
        if text == b"*" {
            self.entrance.guest.cancel();
            return self.bad(b"-ERR [AUTH] Client canceled authentication\r\n");
        }
        let (entrance, mut around) = parts!(self);
        let begun = match sasl::decode_base64(text.trim_ascii()) {
            Ok(response) => entrance.guest.respond(response.expose(), &mut around),
            Err(error) => {
                entrance.guest.cancel();
                Err(error)
            }
        };
        self.began(begun);
    }

    /// Does what became of the login and the way to the server.
    fn follow(&mut self, step: Step<Ready>) {
        match step {
            Step::Wait => {}
            Step::Challenge(message) | Step::LastWord(message) => {
                self.desk.outbox.author(Side::Client, |out| {
                    out.extend_from_slice(b"+ ");
                    sasl::base64_out(out, &message);
                    out.extend_from_slice(b"\r\n");
                });
            }
            Step::Accepted(accepted) => self.accept(accepted),
            Step::Home(accepted, id, ready) => self.accept_at_home(&accepted, id, &ready.text),
            Step::Refused => {
                self.last_input = Some(self.now);
                match self.how {
                    How::Pass => self.tell(&[b"-ERR [AUTH] Invalid login\r\n"]),
                    How::Auth => self.tell(&[b"-ERR [AUTH] authenticating: authentication failure\r\n"]),
                }
            }
            Step::Unavailable => {
                self.last_input = Some(self.now);
                self.tell(&[UNAVAILABLE]);
            }
            Step::Found(entry) => self.found(&entry),
            Step::At(id, ready) => self.arrive(id, &ready.text),
            Step::Ended(arrival) => self.refuse(&arrival),
        }
    }

    /// The server has taken the client's own words for a login.
    fn accept_at_home(&mut self, accepted: &Accepted, backend: BackendId, text: &[u8]) {
        if self.is_admitted(accepted) {
            self.join(backend, text);
        } else {
            self.desk.outbox.close(Side::Backend(backend), Close::Abort);
        }
    }

    /// Whether he may come in, and not one session of the user or his host too many is his.
    fn is_admitted(&mut self, accepted: &Accepted) -> bool {
        match accepted.admit(self.entrance.guest.is_tls(), &mut self.desk, &self.config.common) {
            Ok(seat) => {
                self.seat = seat;
                let (maildrop, _) = self.maildrop(accepted);
                self.desk.outbox.tell(Notice::Presence(Presence::Mailbox(Some(maildrop))));
                true
            }
            Err(text) => {
                self.last_input = Some(self.now);
                self.tell(&[b"-ERR [SYS/TEMP] ", text.as_bytes(), b"\r\n"]);
                false
            }
        }
    }

    fn accept(&mut self, accepted: Box<Accepted>) {
        if self.is_admitted(&accepted) {
            let (maildrop, user) = self.maildrop(&accepted);
            self.entrance.set_out(maildrop, user, &mut self.desk);
            self.phase = Phase::Underway(accepted);
        }
    }

    /// The internal name of his maildrop, and who he is at its server.
    fn maildrop(&self, accepted: &Accepted) -> (Box<[u8]>, Box<[u8]>) {
        let (user, namespace) = (&accepted.identity.user, &self.config.common.namespace);
        match accepted.attempt.folder() {
            None | Some(b"") => (namespace.inbox(user).into(), user.clone()),
            Some(folder) => (namespace.folder(user, folder).into(), with_folder(user, folder)),
        }
    }

    fn found(&mut self, entry: &Entry) {
        let Phase::Underway(accepted) = &self.phase else { return };
        let (common, who) = (&self.config.common, &accepted.identity);
        let rights = acl::rights(&entry.acl, &entry.name, who, &common.acl);
        if self.config.use_acl && !rights.contains(Rights::R) {
            let text =
                if rights.contains(Rights::L) { "Permission denied" } else { "Mailbox does not exist" };
            return self.give_up(&[b"-ERR [SYS/PERM] Unable to open maildrop: ", text.as_bytes(), b"\r\n"]);
        }
        let (entrance, mut around) = parts!(self);
        let step = entrance.go(entry, &mut around);
        self.follow(step);
    }

    /// The server has taken the proxy's word for the client.
    fn arrive(&mut self, backend: BackendId, text: &[u8]) {
        self.entrance.leave_way(&mut self.desk);
        self.join(backend, text);
    }

    /// The server's own words are the client's reply, and what follows is between the two.
    fn join(&mut self, backend: BackendId, text: &[u8]) {
        if let Some(remote) = session_id_in(text) {
            let (own, remote) = (self.desk.session_id(), remote.escape_ascii());
            self.desk.log(Level::Info, format!("auditlog: proxy sessionid=<{own}> remote=<{remote}>"));
        }
        self.tell(&[b"+OK", text, b"\r\n"]);
        self.desk.watch_backend(backend);
        self.desk.outbox.pipe(Side::Client, Side::Backend(backend));
        self.phase = Phase::Piped(backend);
    }

    fn refuse(&mut self, arrival: &Arrival) {
        let unable: &[u8] = b"-ERR [SYS/TEMP] Unable to open maildrop: ";
        let why: &[u8] = match arrival {
            Arrival::Absent => b"Mailbox does not exist",
            Arrival::Unknown => b"mailbox list temporarily unavailable",
            Arrival::Reserved => b"Mailbox is currently reserved",
            Arrival::Unreachable => b"Server(s) unavailable to complete operation",
            // What the server says of the proxy's own name and password is not about the client's.
            Arrival::Refused(text) if !has_code(text) || Login::blames_password(text) => {
                b"Authentication to backend server failed"
            }
            Arrival::Refused(text) => return self.give_up(&[b"-ERR ", text, b"\r\n"]),
        };
        self.give_up(&[unable, why, b"\r\n"]);
    }

    /// The maildrop cannot be opened: the client is a guest again.
    fn give_up(&mut self, parts: &[&[u8]]) {
        self.entrance.leave_way(&mut self.desk);
        self.phase = Phase::Guest;
        self.seat = None;
        self.desk.tell_presence(b"");
        self.last_input = Some(self.now);
        self.tell(parts);
    }

    fn look_at_backend(&mut self, id: BackendId, input: &[u8]) -> Look {
        let (entrance, mut around) = parts!(self);
        let (look, step) = entrance.look(id, input, &mut around);
        self.follow(step);
        look
    }

    /// A connection ended.
    fn backend_gone(&mut self, id: BackendId) {
        let (entrance, mut around) = parts!(self);
        let step = entrance.backend_gone(id, &mut around);
        self.follow(step);
        if matches!(self.phase, Phase::Piped(backend) if backend == id) {
            self.cut();
        }
    }

    /// Sends away who is between two answers of his server; a line of ours in the middle of one would be taken for
    /// a part of it, so anybody else is cut off. Nothing is expunged.
    fn cut_between_lines(&mut self, farewell: &[u8]) {
        self.tell(&[farewell]);
        self.desk.outbox.close(Side::Client, Close::BetweenLines);
        self.cut();
    }

    /// One end of the pipe is gone, or has been silent for too long: both are closed as they are.
    fn cut(&mut self) {
        if let Phase::Piped(backend) = self.phase {
            self.desk.outbox.close(Side::Backend(backend), Close::Abort);
        }
        self.entrance.abandon(&mut self.desk);
        self.desk.outbox.close(Side::Client, Close::Abort);
        self.phase = Phase::Over;
    }

    /// Ends the session before the pipe.
    fn end(&mut self, farewell: &[u8]) {
        if matches!(self.phase, Phase::Over) {
            return;
        }
        self.entrance.abandon(&mut self.desk);
        self.tell(&[farewell]);
        self.desk.outbox.close(Side::Client, Close::Flush);
        self.phase = Phase::Over;
    }

    /// A client that waits for us is not idle.
    fn client_deadline(&self) -> Option<Instant> {
        let waits = !matches!(self.phase, Phase::Guest) || self.entrance.guest.is_busy();
        let allowed = self.config.login_timeout.min(self.config.timeout);
        if waits { None } else { Some(self.last_input? + allowed) }
    }

    /// The process stops: a client who has not logged in is told so at once. `msg/shutdown` is for all; who is joined
    /// with his server may get the answer that he waits for before.
    fn goodbye_deadline(&self) -> Option<Instant> {
        let is_down = self.config.common.bulletin.is_down();
        let is_due = match &self.phase {
            Phase::Guest | Phase::Underway(_) if self.entrance.waits_for_move() => self.draining || is_down,
            Phase::Guest => (self.draining || is_down) && !self.entrance.guest.is_busy(),
            Phase::Piped(_) if is_down => return Some(self.down_since.unwrap_or_default() + FAREWELL_AFTER),
            Phase::Piped(_) | Phase::Underway(_) | Phase::Over => false,
        };
        is_due.then_some(Instant(0))
    }

    fn say_goodbye(&mut self) {
        if !self.config.common.bulletin.is_down() {
            return self.end(b"-ERR [SYS/TEMP] server is shutting down\r\n");
        }
        let text = self.config.common.bulletin.farewell();
        let farewell = [b"-ERR [SYS/TEMP] ", text.as_bytes(), b"\r\n"].concat();
        match self.phase {
            Phase::Piped(_) => self.cut_between_lines(&farewell),
            Phase::Guest | Phase::Underway(_) | Phase::Over => self.end(&farewell),
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
        self.settle();
        taken
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        self.set_clock(now);
        match event {
            Event::Answer { id, answer } => {
                let (entrance, mut around) = parts!(self);
                if let Ok(step) = entrance.answered(id, answer, &mut around) {
                    self.follow(step);
                }
            }
            Event::Eof(Side::Client) | Event::Reset(Side::Client) => self.cut(),
            Event::Eof(Side::Backend(id)) | Event::Reset(Side::Backend(id)) => self.backend_gone(id),
            Event::Switched { side: Side::Client, result } => {
                if !self.entrance.guest.secured(result, &mut self.desk) {
                    self.end(b"");
                }
            }
            Event::Switched { side: Side::Backend(id), result } => {
                let (entrance, mut around) = parts!(self);
                let step = entrance.backend_secured(id, result, &mut around);
                self.follow(step);
            }
            Event::Drain { .. } => self.draining = true,
            // "The session does NOT enter the UPDATE state" (RFC 1939 section 3).
            Event::Idle { since } if now.since(since) >= self.config.timeout => self.cut(),
            // Who is sent away is so by his deadlines.
            Event::Posted => self.down_since = self.config.common.bulletin.is_down().then_some(now),
            Event::Idle { .. }
            | Event::Stalled { .. }
            | Event::ForwardBroken { .. }
            | Event::Drained { .. }
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
        if self.goodbye_deadline().is_some_and(|due| due <= now) {
            self.say_goodbye();
        } else if self.client_deadline().is_some_and(|due| due <= now) {
            self.end(b"-ERR idle for too long\r\n");
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
        let own = [self.client_deadline(), self.goodbye_deadline()];
        own.into_iter().flatten().chain(self.entrance.deadline()).min()
    }
}

impl Session {
    fn set_clock(&mut self, now: Instant) {
        self.now = now;
        self.last_input.get_or_insert(now);
        self.desk.end_wait(now.stamp());
    }

    /// At the end of a call: for whom a command waits.
    fn settle(&mut self) {
        let pace = match self.phase {
            Phase::Guest if self.entrance.guest.expects_response() => Pace::Client,
            Phase::Guest if self.entrance.guest.is_busy() => Pace::Others,
            Phase::Underway(_) => Pace::Others,
            Phase::Guest | Phase::Piped(_) | Phase::Over => Pace::Answered,
        };
        self.desk.begin_wait(pace, self.config.common.slow_command, self.now.stamp());
    }
}

/// The user with his folder put back: before the domain, where there is one.
fn with_folder(user: &[u8], folder: &[u8]) -> Box<[u8]> {
    let at = memchr::memchr(b'@', user).unwrap_or(user.len());
    [&user[..at], b"+", folder, &user[at..]].concat().into()
}

/// Whether a text begins with a response code (RFC 2449 section 8).
fn has_code(text: &[u8]) -> bool {
    text.first() == Some(&b'[') && memchr::memchr(b']', text).is_some()
}

/// What stands in `SESSIONID=<...>`.
fn session_id_in(text: &[u8]) -> Option<&[u8]> {
    let begins = memchr::memmem::find(text, b"SESSIONID=<")? + "SESSIONID=<".len();
    let len = memchr::memchr(b'>', &text[begins..])?;
    Some(&text[begins..begins + len])
}
