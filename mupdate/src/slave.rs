//! The MUPDATE slave: keeps the directory in step with a master.
//!
//! ```text
//!   Resting ──> Opening ──> ExpectGreeting ──> ExpectAuth ──> Dumping ──OK──> Streaming
//!      ^                      ^     └─STARTTLS─> ExpectStarttls ─┐    ^          ^   │
//!      │                      └────── ExpectTls <────────────────┘    NO         │   │
//!      │                              RESUME: Recalling ──> Resuming ─┴────OK────┘   │
//!      └─────────────────── any failure: SourceLost, a pause that grows ─────────────┘
//! ```
//!
//! A dump counts only with its OK: NO, BAD, BYE or the end of the connection leave the list as it
//! is. While streaming a NOOP goes out after every `retry_delay` without one, and for every barrier
//! that is wanted.
//!
//! After a connection that was in step for long the next attempt comes soon; each that fails doubles
//! the pause, up to `retry_delay`. A master that offers RESUME is asked to go on where the list
//! stands, and for the whole list only when it cannot.

pub mod login;
mod resume;

use std::collections::VecDeque;
use std::time::Duration;

use protocols::proxy::{
    Answer, BackendId, Change, Close, DirectoryAnswer, DirectoryQuestion, Entry, Event, Instant, Level,
    Location, Notice, Opened, Origin, Output, Question, QuestionId, Service, Session, Side, Stamp, Taken,
    Then, Timing, VerbName, Waits,
};
use protocols::sasl::Credentials;

use crate::grammar::{self, Response, Status, Stop};
use crate::outbox::Outbox;

use login::Login;

/// Octets of names, locations and ACLs that are given to the directory at once.
const BATCH_BYTES: usize = 64 * 1024;

/// The pause before the first attempt, at most.
pub const RETRY_FIRST: Duration = Duration::from_millis(500);

/// Batches that the directory may have unanswered before the master's input is held.
const UNANSWERED_MAX: usize = 4;

/// Settings of a slave.
#[derive(Clone, Debug)]
pub struct Config {
    /// `mupdate_server`: `host[:port][/tls]`.
    pub server: Box<str>,
    /// `mupdate_username` (authzid), `mupdate_authname`, `mupdate_realm`, `mupdate_password`.
    pub credentials: Credentials,
    /// `HOST_mechs` or `force_sasl_client_mech`; `None` allows all that we speak.
    pub mechanisms: Option<Vec<Box<str>>>,
    /// `client_timeout`: connecting, and every answer until the login is done.
    pub login_timeout: Duration,
    /// How long a dump may stand still.
    pub dump_timeout: Duration,
    /// `mupdate_retry_delay`: between NOOPs, for the answer to one, and at most before the next
    /// attempt.
    pub retry_delay: Duration,
    /// When STARTTLS is used.
    pub starttls: Starttls,
}

/// When STARTTLS is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Starttls {
    /// Never.
    Never,
    /// As Cyrus' slave does: when no mechanism that keeps the password secret is offered without. The master of Cyrus 3.6.1
    /// dies sooner or later of a slave that is connected by TLS.
    WhenNeeded,
    /// If the master offers it.
    Offered,
    /// Always: without it there is no login.
    Required,
}

/// The machine.
pub struct Slave {
    config: Config,
    random: [u8; 32],
    attempts: u64,
    /// Attempts since the last connection that was in step for `retry_delay`.
    failures: u32,
    /// Since when this connection is in step.
    in_step_since: Option<Instant>,
    /// The master offers RESUME, and its numbers are of this epoch.
    epoch: Option<Box<str>>,
    phase: Phase,
    outbox: Outbox,
    input: Vec<u8>,
    /// Bytes that have to stand in `input` before it is worth reading.
    input_min: usize,
    next_question: u32,
    next_backend: u32,
    unanswered: VecDeque<QuestionId>,
    /// What was read and not given to the directory yet.
    batch: Vec<Change>,
    batch_bytes: usize,
    barrier_wanted: bool,
    /// When UPDATE or RESUME was sent.
    asked: Stamp,
    deadline: Instant,
    is_ending: bool,
}

enum Phase {
    /// Until the deadline.
    Resting,
    Opening {
        question: QuestionId,
        backend: BackendId,
    },
    LoggingIn {
        backend: BackendId,
        login: Box<Login>,
    },
    /// The directory says where the list stands.
    Recalling {
        backend: BackendId,
        question: QuestionId,
    },
    /// What changed since comes.
    Resuming {
        backend: BackendId,
        has_position: bool,
    },
    Dumping {
        backend: BackendId,
    },
    /// The dump is complete; the directory compares. What comes behind it is held.
    Comparing {
        backend: BackendId,
        question: QuestionId,
        since: Stamp,
    },
    Streaming {
        backend: BackendId,
        noops: VecDeque<Noop>,
        next_tag: u64,
    },
    /// Ended by the process.
    Over,
}

/// A NOOP in flight.
struct Noop {
    tag: u64,
    sent: Stamp,
    for_barrier: bool,
}

impl Slave {
    /// Begins; the first attempt is made when [`Session::handle_timeout`] is called for the first
    /// time, which [`Session::poll_timeout`] wants at once.
    pub fn new(config: Config, origin: &Origin) -> Slave {
        Slave {
            config,
            random: origin.random,
            attempts: 0,
            failures: 0,
            in_step_since: None,
            epoch: None,
            phase: Phase::Resting,
            outbox: Outbox::default(),
            input: Vec::new(),
            input_min: 0,
            next_question: 0,
            next_backend: 0,
            unanswered: VecDeque::new(),
            batch: Vec::new(),
            batch_bytes: 0,
            barrier_wanted: false,
            asked: Stamp::default(),
            deadline: Instant(0),
            is_ending: false,
        }
    }

    fn ask(&mut self, question: Question) -> QuestionId {
        let id = QuestionId(self.next_question);
        self.next_question += 1;
        self.outbox.push(Output::Ask { id, question });
        id
    }

    fn tell_directory(&mut self, question: DirectoryQuestion) -> QuestionId {
        let id = self.ask(Question::Directory(question));
        self.unanswered.push_back(id);
        id
    }

    fn open(&mut self, now: Instant) {
        let backend = BackendId(self.next_backend);
        self.next_backend += 1;
        self.attempts += 1;
        self.input = Vec::new();
        self.input_min = 0;
        let server = self.config.server.clone();
        let question = self.ask(Question::OpenBackend { side: backend, server, service: Service::Mupdate });
        self.phase = Phase::Opening { question, backend };
        self.deadline = now + self.config.login_timeout;
    }

    fn opened(&mut self, backend: BackendId, opened: &Opened, now: Instant) {
        let nonce = self.numbers();
        let login = Login::new(&self.config, opened, nonce);
        self.phase = Phase::LoggingIn { backend, login: Box::new(login) };
        self.deadline = now + self.config.login_timeout;
    }

    /// Pseudo-random octets of this attempt, from the session's randomness.
    fn numbers(&self) -> [u8; 18] {
        let mut numbers = [0; 18];
        for (n, byte) in numbers.iter_mut().enumerate() {
            *byte = self.random[n];
        }
        for (byte, count) in numbers.iter_mut().zip(self.attempts.to_le_bytes()) {
            *byte ^= count;
        }
        numbers
    }

    fn backend(&self) -> Option<BackendId> {
        match &self.phase {
            Phase::LoggingIn { backend, .. }
            | Phase::Recalling { backend, .. }
            | Phase::Resuming { backend, .. }
            | Phase::Dumping { backend }
            | Phase::Comparing { backend, .. }
            | Phase::Streaming { backend, .. } => Some(*backend),
            Phase::Resting | Phase::Opening { .. } | Phase::Over => None,
        }
    }

    /// Gives the connection up and rests.
    fn lose(&mut self, why: &str, now: Instant) {
        if matches!(self.phase, Phase::Resting | Phase::Over) {
            return;
        }
        if let Some(backend) = self.backend() {
            self.outbox.push(Output::Close { side: Side::Backend(backend), how: Close::Abort });
        }
        self.batch = Vec::new();
        self.batch_bytes = 0;
        self.barrier_wanted = false;
        self.input = Vec::new();
        self.tell_directory(DirectoryQuestion::SourceLost { why: Some(why.into()) });
        self.deadline = now + self.pause(now);
        self.phase = if self.is_ending { Phase::Over } else { Phase::Resting };
    }

    /// How long to rest: twice as long after each failure, between half of it and all.
    fn pause(&mut self, now: Instant) -> Duration {
        let since = self.in_step_since.take();
        if since.is_some_and(|since| now.since(since) >= self.config.retry_delay) {
            self.failures = 0;
        }
        let delay = RETRY_FIRST.saturating_mul(1 << self.failures.min(20)).min(self.config.retry_delay);
        self.failures = self.failures.saturating_add(1);
        // A different part of the randomness for every attempt, so that slaves do not come back in step.
        let jitter = f64::from(self.random[18 + (self.attempts % 14) as usize]) / 512.0;
        delay.mul_f64(0.5 + jitter)
    }

    fn read(&mut self, now: Instant) {
        let mut at = 0;
        let input = std::mem::take(&mut self.input);
        while self.reads() && at < input.len() && input.len() - at >= self.input_min {
            match self.step(&input[at..], now) {
                Ok(n) => {
                    at += n;
                    self.input_min = 0;
                }
                Err(Stop::Incomplete { bytes_min }) => {
                    self.input_min = bytes_min;
                    break;
                }
                Err(_) => {
                    self.lose("the master sent a line that makes no sense", now);
                    return;
                }
            }
        }
        self.flush();
        if self.backend().is_some() {
            self.input = input;
            self.input.drain(..at);
        }
    }

    /// Whether more of the input may be read: the directory keeps up.
    fn reads(&self) -> bool {
        match &self.phase {
            Phase::LoggingIn { login, .. } => login.reads(),
            Phase::Resuming { .. } | Phase::Dumping { .. } | Phase::Streaming { .. } => {
                self.unanswered.len() < UNANSWERED_MAX
            }
            Phase::Resting
            | Phase::Opening { .. }
            | Phase::Recalling { .. }
            | Phase::Comparing { .. }
            | Phase::Over => false,
        }
    }

    /// Reads one response or line.
    fn step(&mut self, input: &[u8], now: Instant) -> Result<usize, Stop> {
        if let Phase::LoggingIn { .. } = self.phase {
            return self.login_step(input, now);
        }
        let (response, n) = grammar::response(input)?;
        match response {
            Response::Mailbox { name, location, acl, .. } => self.keep(Change::Active(Entry {
                name: name.as_ref().into(),
                location: Location(location.as_ref().into()),
                acl: acl.as_ref().into(),
            })),
            Response::Reserve { name, location, .. } => self.keep(Change::Reserved {
                name: name.as_ref().into(),
                location: Location(location.as_ref().into()),
            }),
            Response::Delete { name, .. } => self.keep(Change::Deleted { name: name.as_ref().into() }),
            Response::Position { sequence, .. } => self.position(&sequence),
            Response::Status { tag, status, text } => self.status(tag, status, &text, now),
            Response::Other { .. } => {}
        }
        Ok(n)
    }

    fn keep(&mut self, change: Change) {
        const EACH: usize = 64;
        self.batch_bytes += change.name().len() + EACH;
        if let Change::Active(entry) = &change {
            self.batch_bytes += entry.acl.len();
        }
        self.batch.push(change);
        if self.batch_bytes >= BATCH_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let is_dump = matches!(self.phase, Phase::Dumping { .. });
        self.tell_directory(match is_dump {
            true => DirectoryQuestion::Dump(batch),
            false => DirectoryQuestion::Learn(batch),
        });
    }

    fn status(&mut self, tag: &[u8], status: Status, text: &[u8], now: Instant) {
        let says = |what: &str| format!("the master says {what}: {}", String::from_utf8_lossy(text));
        match (&mut self.phase, status) {
            (_, Status::Bye) => self.lose(&says("BYE"), now),
            (Phase::Dumping { backend }, Status::Ok) if tag.eq_ignore_ascii_case(b"U01") => {
                let backend = *backend;
                self.flush();
                let question = self.tell_directory(DirectoryQuestion::DumpEnds);
                self.phase = Phase::Comparing { backend, question, since: now.stamp() };
            }
            (Phase::Resuming { backend, has_position }, status) if tag.eq_ignore_ascii_case(b"R01") => {
                let (backend, resumes) = (*backend, *has_position && status == Status::Ok);
                self.took(&"SLAVE RESUME", backend, self.asked, None);
                self.resume_answered(backend, resumes, now);
            }
            (Phase::Dumping { .. }, Status::No | Status::Bad) => self.lose(&says("no to UPDATE"), now),
            (Phase::Streaming { backend, noops, .. }, Status::Ok) => {
                let is_first = noops.front().is_some_and(|noop| tag == format!("N{}", noop.tag).as_bytes());
                let backend = *backend;
                if let Some(noop) = noops.pop_front_if(|_| is_first) {
                    self.took(&"SLAVE NOOP", backend, noop.sent, None);
                    if noop.for_barrier {
                        self.flush();
                        self.tell_directory(DirectoryQuestion::BarrierReached);
                    }
                }
                self.deadline = now + self.config.retry_delay;
            }
            (Phase::Streaming { .. }, Status::No | Status::Bad) => self.lose(&says("no to NOOP"), now),
            (_, _) => {}
        }
    }

    /// The login is done: asks for the list.
    fn update(&mut self, backend: BackendId, now: Instant) {
        self.outbox.write(Side::Backend(backend), b"U01 UPDATE\r\n");
        self.tell_directory(DirectoryQuestion::DumpBegins);
        self.phase = Phase::Dumping { backend };
        self.asked = now.stamp();
        self.deadline = now + self.config.dump_timeout;
    }

    /// The list is in step with the master's.
    fn stream(&mut self, backend: BackendId, now: Instant) {
        self.in_step_since = Some(now);
        self.phase = Phase::Streaming { backend, noops: VecDeque::new(), next_tag: 0 };
        self.deadline = now + self.config.retry_delay;
        if std::mem::take(&mut self.barrier_wanted) {
            self.noop(true, now);
        }
    }

    fn noop(&mut self, for_barrier: bool, now: Instant) {
        let Phase::Streaming { backend, noops, next_tag } = &mut self.phase else { return };
        let line = format!("N{next_tag} NOOP\r\n");
        noops.push_back(Noop { tag: *next_tag, sent: now.stamp(), for_barrier });
        *next_tag += 1;
        let side = Side::Backend(*backend);
        self.outbox.write(side, line.as_bytes());
        self.deadline = now + self.config.retry_delay;
    }

    fn answered(&mut self, id: QuestionId, answer: Answer, now: Instant) {
        self.unanswered.retain(|open| *open != id);
        match (&mut self.phase, answer) {
            (Phase::Opening { question, backend }, Answer::Opened(result)) if *question == id => {
                let backend = *backend;
                match result {
                    Ok(opened) => self.opened(backend, &opened, now),
                    Err(error) => self.lose(&error.to_string(), now),
                }
            }
            (Phase::LoggingIn { login, .. }, Answer::SaltedPassword(salted)) => {
                let next = login.salted_password(&salted);
                self.login_next(next, now);
                self.read(now);
            }
            (Phase::Comparing { question, backend, since }, _) if *question == id => {
                let (backend, since) = (*backend, *since);
                let (backend_us, directory_us) = (self.asked.until(since), since.until(now.stamp()));
                let waits = Waits { backend_us, directory_us, ..Waits::default() };
                self.took(&"SLAVE UPDATE", backend, self.asked, Some(waits));
                self.stream(backend, now);
                self.read(now);
            }
            (
                Phase::Recalling { question, backend },
                Answer::Directory(DirectoryAnswer::Position(position)),
            ) if *question == id => {
                let backend = *backend;
                self.resume(backend, position, now);
                self.read(now);
            }
            (_, _) => self.read(now),
        }
    }

    /// The master, or the directory behind it, has answered a command.
    fn took(&mut self, verb: VerbName, backend: BackendId, began: Stamp, waits: Option<Waits>) {
        let (backend, waits) = (Some(backend), waits.map(Box::new));
        self.outbox.push(Output::Timed(Timing { verb, backend, began, waits }));
    }

    fn end(&mut self, now: Instant) {
        self.is_ending = true;
        if let Some(backend) = self.backend() {
            self.outbox.write(Side::Backend(backend), b"Q01 LOGOUT\r\n");
            self.outbox.push(Output::Close { side: Side::Backend(backend), how: Close::Flush });
            self.phase = Phase::Over;
            self.tell_directory(DirectoryQuestion::SourceLost { why: None });
        } else {
            self.phase = Phase::Over;
        }
        self.deadline = now;
    }

    fn log(&mut self, level: Level, text: &str) {
        self.outbox.push(Output::Tell(Notice::Log { level, text: text.into() }));
    }
}

impl Session for Slave {
    fn handle_input(&mut self, side: Side, input: &[u8], now: Instant) -> Taken {
        if self.backend().map(Side::Backend) != Some(side) {
            return Taken { n: input.len(), then: Then::More };
        }
        // What is held stands in the machine's own buffer; the rest stays with the driver.
        if !self.reads() {
            return Taken { n: 0, then: Then::Hold };
        }
        if matches!(self.phase, Phase::Dumping { .. } | Phase::Resuming { .. }) {
            self.deadline = now + self.config.dump_timeout;
        }
        self.input.extend_from_slice(input);
        self.read(now);
        Taken { n: input.len(), then: Then::More }
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Answer { id, answer } => self.answered(id, answer, now),
            Event::Eof(side) | Event::Reset(side) if self.backend().map(Side::Backend) == Some(side) => {
                self.lose("the master closed the connection", now);
            }
            Event::Switched { side, result } if self.backend().map(Side::Backend) == Some(side) => {
                self.switched(result, now);
            }
            Event::BarrierWanted => {
                if matches!(self.phase, Phase::Streaming { .. }) {
                    self.noop(true, now);
                } else {
                    self.barrier_wanted = true;
                }
            }
            Event::Drain { .. } => self.end(now),
            Event::Eof(_)
            | Event::Reset(_)
            | Event::Switched { .. }
            | Event::ForwardBroken { .. }
            | Event::Stalled { .. }
            | Event::Drained { .. }
            | Event::Idle { .. }
            | Event::Posted
            | Event::ListChanged => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if now < self.deadline {
            return;
        }
        match &self.phase {
            Phase::Resting => self.open(now),
            Phase::Opening { .. } | Phase::LoggingIn { .. } => {
                self.lose("the master did not answer in time", now);
            }
            // What the directory has not taken yet is not the master's fault.
            Phase::Dumping { .. } | Phase::Resuming { .. } if !self.reads() => {
                self.deadline = now + self.config.dump_timeout;
            }
            Phase::Dumping { .. } | Phase::Resuming { .. } => {
                self.lose("the master's list stopped half way", now)
            }
            Phase::Recalling { .. } | Phase::Comparing { .. } => {
                self.deadline = now + self.config.dump_timeout
            }
            Phase::Streaming { noops, .. } if noops.is_empty() => self.noop(false, now),
            Phase::Streaming { .. } if !self.reads() => self.deadline = now + self.config.retry_delay,
            Phase::Streaming { .. } => self.lose("connection to the master timed out", now),
            Phase::Over => {}
        }
    }

    fn poll_output(&mut self, scratch: &mut Vec<u8>) -> Option<Output> {
        self.outbox.poll(scratch)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (!matches!(self.phase, Phase::Over)).then_some(self.deadline)
    }
}
