//! The MUPDATE server: the master, and a slave's read-only face. One connection is one machine.
//!
//! ```text
//!   ExpectLogin ──AUTHENTICATE──> login questions and challenges ──OK──> LoggedIn
//!        │  └──STARTTLS──> TLS ──> ExpectLogin                              │
//!        │                                                 UPDATE ──> Stream: dump, OK, pushes
//!        └──────────────LOGOUT, BYE, time──> Over <─────────────────────────┘
//! ```
//!
//! RESERVE, ACTIVATE, DEACTIVATE and DELETE may be pipelined, up to [`COMMITS_MAX`] in flight: they
//! are answered in order. Every other command is begun when all before it are answered.

mod fuzz;
mod login;
mod query;
mod resume;
pub mod rules;
mod stream;
mod watch;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use protocols::places::{Place, Places};
use protocols::proxy::{
    AUTHORED_BYTES_MAX, Answer, Close, DirectoryAnswer, Event, Instant, LayerKind, Level, Notice, Origin,
    Output, Question, QuestionId, Requester, Session, Side, Stamp, Taken, Then, VerbName,
};
use protocols::sasl::{self, Mechanism};

use crate::grammar::{self, Command, Request, Stop, Verb, message_out};

pub use fuzz::fuzz;

use login::Login;
use query::{Query, Write};
use stream::Stream;
use watch::Watch;

/// Changes of one connection that are not answered yet.
pub const COMMITS_MAX: usize = 1024;

/// Octets that wait to be sent before no more of the list is asked for.
const UNSENT_BYTES_MAX: usize = 2 * AUTHORED_BYTES_MAX;

/// When so much was written the machine waits to hear that it went out.
const WAIT_BYTES_MIN: usize = AUTHORED_BYTES_MAX / 2;

/// What the server is.
#[derive(Clone, Debug)]
pub enum Role {
    /// It has the list.
    Master,
    /// It has a copy of the list of another.
    Slave {
        /// `mupdate_server`.
        master: Box<str>,
    },
}

/// Settings of a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// `servername`.
    pub servername: Box<str>,
    /// Ours.
    pub version: Box<str>,
    /// Master or slave.
    pub role: Role,
    /// `admins` or `mupdate_admins`: who may log in. Users, and `group:x`, which the engine resolves
    /// to users.
    pub admins: Vec<Box<[u8]>>,
    /// Mechanisms and what they need.
    pub offer: sasl::Offer,
    /// PLAIN and LOGIN without TLS.
    pub allow_plaintext: bool,
    /// STARTTLS is offered.
    pub starttls: bool,
    /// COMPRESS is offered, for so many connections; each costs much memory.
    pub compression: Option<Places>,
    /// `failedloginpause`.
    pub failed_login_pause: Duration,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
    /// How long a client may say nothing: Cyrus waits 180 minutes.
    pub idle_timeout: Duration,
    /// `rookery_slow_command`: a command that takes so long is logged; `None` logs none.
    pub slow_command: Option<Duration>,
}

/// Who takes nothing for so long, although something waits, is cut off.
pub const STALL: Duration = Duration::from_secs(300);

/// The BAD for what we do not know.
const UNRECOGNIZED: &str = "Unrecognized command";

/// The machine of one connection.
pub struct Connection {
    config: Arc<Config>,
    origin: Origin,
    phase: Phase,
    tls: bool,
    /// Whom the client's certificate names, which EXTERNAL believes.
    subject: Option<Box<str>>,
    compression: Compression,
    /// Of the connections that are compressed.
    place: Option<Place>,
    user: Vec<u8>,
    epoch: Option<Arc<str>>,
    address: Option<IpAddr>,
    /// The server whose prefix was listed last.
    listed: Option<Box<[u8]>>,
    /// When the machine was first called.
    began: Option<Instant>,
    input: Vec<u8>,
    input_min: usize,
    /// Where the literal stands for which the go-ahead was given.
    gone_ahead: usize,
    commits: VecDeque<Commit>,
    /// A command other than a commit waits for its answer.
    query: Option<Query>,
    /// The command that is under way, unless it is a commit.
    watched: Option<Box<Watch>>,
    stream: Option<Stream>,
    /// The client has sent RESUME: it is told positions.
    tells_positions: bool,
    next_question: u32,
    asks: VecDeque<Output>,
    unsent: Vec<u8>,
    /// What follows when all is written: a layer, a close.
    finally: VecDeque<Output>,
    /// Octets written since the client was last known to have taken all.
    authored: usize,
    /// Nothing more is written before what was has gone out; it has to by then.
    taken_by: Option<Instant>,
    /// The time of the last call.
    seen: Instant,
    deadline: Instant,
}

/// Whether both ends deflate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compression {
    Off,
    /// Behind what is queued.
    Switching,
    On,
}

/// Where a connection stands.
enum Phase {
    ExpectLogin,
    LoggingIn(Box<Login>),
    LoggedIn,
    /// TLS is on its way.
    Switching,
    Over,
}

/// A change that was asked for.
struct Commit {
    tag: Vec<u8>,
    verb: VerbName,
    began: Stamp,
    question: Option<QuestionId>,
    /// Answered, but one before it is not.
    answer: Option<Result<(), &'static str>>,
}

impl Connection {
    /// Begins on an accepted connection. RESUME is offered with the epoch of the directory
    /// ([`crate::directory::Directory::epoch`]), if it has one.
    pub fn new(config: Arc<Config>, origin: Origin, epoch: Option<Arc<str>>) -> Connection {
        let tls = origin.tls;
        let address = origin.client_address.parse::<SocketAddr>();
        let mut connection = Connection {
            config,
            origin,
            phase: Phase::ExpectLogin,
            tls,
            subject: None,
            compression: Compression::Off,
            place: None,
            user: Vec::new(),
            epoch,
            address: address.ok().map(|address| address.ip().to_canonical()),
            listed: None,
            began: None,
            input: Vec::new(),
            input_min: 0,
            gone_ahead: 0,
            commits: VecDeque::new(),
            query: None,
            watched: None,
            stream: None,
            tells_positions: false,
            next_question: 0,
            asks: VecDeque::new(),
            unsent: Vec::new(),
            finally: VecDeque::new(),
            authored: 0,
            taken_by: None,
            seen: Instant(0),
            deadline: Instant(0),
        };
        connection.greet();
        connection
    }

    /// ```text
    /// * AUTH "mechanism"...  * STARTTLS  * COMPRESS "DEFLATE"  * PARTIAL-UPDATE  * RESUME "epoch"
    /// * OK MUPDATE ...
    /// ```
    /// The OK comes last: a Cyrus client reads no further.
    fn greet(&mut self) {
        let mut line = b"* AUTH".to_vec();
        for mechanism in self.offer().mechanisms {
            line.extend_from_slice(format!(" \"{}\"", mechanism.name()).as_bytes());
        }
        line.extend_from_slice(b"\r\n");
        if self.config.starttls && !self.tls {
            line.extend_from_slice(b"* STARTTLS\r\n");
        }
        if self.config.compression.is_some() {
            line.extend_from_slice(b"* COMPRESS \"DEFLATE\"\r\n");
        }
        line.extend_from_slice(b"* PARTIAL-UPDATE\r\n");
        self.unsent.extend_from_slice(&line);
        let config = self.config.clone();
        if let Some(epoch) = &self.epoch {
            message_out(&mut self.unsent, b"*", "RESUME", &[epoch.as_bytes()]);
        }
        let role = match &config.role {
            Role::Master => "(master)".to_owned(),
            Role::Slave { master } => format!("mupdate://{master}"),
        };
        let strings: [&[u8]; 4] =
            [config.servername.as_bytes(), b"Rookery", config.version.as_bytes(), role.as_bytes()];
        message_out(&mut self.unsent, b"*", "OK MUPDATE", &strings);
    }

    /// What is offered at the moment: nothing that shows a password in clear, unless allowed, and
    /// EXTERNAL only to who has shown a certificate.
    fn offer(&self) -> sasl::Offer {
        let mut offer = self.config.offer.clone();
        offer.external = self.subject.as_ref().map(|subject| subject.as_bytes().into());
        let is_clear = !self.tls && !self.config.allow_plaintext;
        let has_subject = self.subject.is_some();
        offer.mechanisms.retain(|mechanism| {
            let is_external = *mechanism == Mechanism::External;
            (has_subject || !is_external) && !(is_clear && mechanism.sends_password())
        });
        offer
    }

    fn say(&mut self, tag: &[u8], word: &str, text: &str) {
        message_out(&mut self.unsent, tag, word, &[text.as_bytes()]);
    }

    fn ask(&mut self, question: Question) -> QuestionId {
        let id = QuestionId(self.next_question);
        self.next_question += 1;
        self.asks.push_back(Output::Ask { id, question });
        id
    }

    fn log(&mut self, level: Level, text: String) {
        self.asks.push_back(Output::Tell(Notice::Log { level, text: text.into() }));
    }

    /// Who asks, for the rules of the master.
    fn requester(&mut self, now: Instant) -> Requester {
        let began = *self.began.get_or_insert(now);
        let (number, _) = self.origin.random.split_at(8);
        Requester {
            address: self.address,
            listed: self.listed.clone(),
            connection: number.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
            unix_time: self.origin.started_unix + now.since(began).as_secs(),
        }
    }

    /// Ends the connection when all is written.
    fn end(&mut self) {
        self.phase = Phase::Over;
        self.input = Vec::new();
        self.finally.push_back(Output::Close { side: Side::Client, how: Close::Flush });
    }

    /// Ends the connection at once: what waits cannot be sent.
    fn cut(&mut self) {
        self.phase = Phase::Over;
        self.finally.clear();
        self.finally.push_back(Output::Close { side: Side::Client, how: Close::Abort });
        self.unsent = Vec::new();
        self.taken_by = None;
    }

    fn bye(&mut self, text: &str) {
        self.say(b"*", "BYE", text);
        self.end();
    }

    /// Whether the next command may be read.
    fn reads(&self) -> bool {
        let is_idle = self.query.is_none()
            && self.unsent.len() < UNSENT_BYTES_MAX
            && self.compression != Compression::Switching;
        match &self.phase {
            Phase::ExpectLogin | Phase::LoggedIn => is_idle && self.commits.len() < COMMITS_MAX,
            Phase::LoggingIn(login) => login.reads(),
            Phase::Switching | Phase::Over => false,
        }
    }

    fn read(&mut self, now: Instant) {
        let input = std::mem::take(&mut self.input);
        let mut at = 0;
        while self.reads() && at < input.len() && input.len() - at >= self.input_min {
            match self.step(&input[at..], now) {
                Ok(0) => break,
                Ok(n) => {
                    at += n;
                    (self.input_min, self.gone_ahead) = (0, 0);
                }
                Err(Stop::Incomplete { bytes_min }) => {
                    self.input_min = bytes_min;
                    break;
                }
                Err(Stop::GoAhead { at: literal }) => {
                    if self.gone_ahead != literal {
                        self.gone_ahead = literal;
                        self.unsent.extend_from_slice(b"+ go ahead\r\n");
                    }
                    self.input_min = literal + 1;
                    break;
                }
                Err(Stop::TooLong | Stop::Malformed { .. }) => {
                    self.bye("command, string or word too long");
                    break;
                }
            }
        }
        if !matches!(self.phase, Phase::Over) {
            self.input = input;
            self.input.drain(..at);
        }
    }

    /// Reads one command or line; 0 when it has to wait for the commands before it.
    fn step(&mut self, input: &[u8], now: Instant) -> Result<usize, Stop> {
        if let Phase::LoggingIn(_) = self.phase {
            return self.login_line(input, now);
        }
        let (command, n) = grammar::command(input)?;
        if Write::of(command.verb).is_none() && !self.commits.is_empty() {
            return Ok(0);
        }
        self.command(&command, now);
        Ok(n)
    }

    fn command(&mut self, command: &Command<'_>, now: Instant) {
        let tag = command.tag;
        let arguments: Vec<&[u8]> = match &command.request {
            Request::NoCommand => return self.say(b"*", "BAD", "Need command"),
            Request::NullCommand => return self.say(tag, "BAD", "Null command"),
            Request::Arguments(arguments) => arguments.iter().map(|argument| &**argument).collect(),
            Request::Extra | Request::Malformed => Vec::new(),
        };
        if let Some(text) = self.is_out_of_place(command.verb) {
            return self.refuse(command, text);
        }
        if let Some(text) = complaint(command, arguments.len()) {
            return self.refuse(command, text);
        }
        if Write::of(command.verb).is_none() {
            self.watch(command.verb, now);
        }
        match command.verb {
            Verb::Authenticate => self.authenticate(tag, &arguments, now),
            Verb::Starttls => self.starttls(tag),
            Verb::Compress => self.compress(tag, arguments[0]),
            Verb::Logout => {
                self.say(tag, "OK", "bye-bye");
                self.end();
            }
            Verb::Noop => self.noop(tag),
            Verb::Find => self.find(tag, arguments[0]),
            Verb::List => self.list(tag, arguments.first().copied().unwrap_or_default()),
            Verb::Update => self.update(tag, &arguments),
            Verb::Resume => self.resume(tag, arguments[0], arguments[1]),
            Verb::Activate | Verb::Deactivate | Verb::Delete | Verb::Reserve | Verb::Unknown => {
                match Write::of(command.verb) {
                    Some(write) => self.commit(tag, write, &arguments, now),
                    None => self.refuse(command, UNRECOGNIZED),
                }
            }
        }
    }

    /// A BAD, in its turn behind commits that are not answered.
    fn refuse(&mut self, command: &Command<'_>, text: &'static str) {
        if self.commits.is_empty() {
            return self.say(command.tag, "BAD", text);
        }
        let (tag, verb, began) = (command.tag.to_vec(), watch::name(command.verb), self.seen.stamp());
        self.commits.push_back(Commit { tag, verb, began, question: None, answer: Some(Err(text)) });
    }

    /// The BAD for a command that is not legal here.
    fn is_out_of_place(&self, verb: Verb) -> Option<&'static str> {
        match verb {
            Verb::Unknown => return Some(UNRECOGNIZED),
            Verb::Compress if self.config.compression.is_none() => return Some(UNRECOGNIZED),
            Verb::Starttls if !self.config.starttls => return Some(UNRECOGNIZED),
            Verb::Resume if self.epoch.is_none() => return Some(UNRECOGNIZED),
            Verb::Authenticate | Verb::Compress | Verb::Starttls | Verb::Logout => return None,
            Verb::Activate
            | Verb::Deactivate
            | Verb::Delete
            | Verb::Find
            | Verb::List
            | Verb::Noop
            | Verb::Reserve
            | Verb::Resume
            | Verb::Update => {}
        }
        if !matches!(self.phase, Phase::LoggedIn) {
            Some("Please login first")
        } else if self.stream.is_some() && verb != Verb::Noop {
            Some("not legal when streaming")
        } else if Write::of(verb).is_some() && self.is_slave() {
            Some("read-only session")
        } else {
            None
        }
    }

    /// Goes on after an answer, a drained side, or time.
    fn go_on(&mut self, now: Instant) {
        self.pump_query();
        self.pump_stream();
        self.read(now);
    }

    fn answered(&mut self, id: QuestionId, answer: Answer, now: Instant) {
        match answer {
            Answer::Directory(DirectoryAnswer::Committed(result)) => self.committed(id, result, now),
            Answer::Password(verdict) => self.password_checked(verdict, now),
            Answer::ScramKeys(keys) => self.scram_keys(keys, now),
            Answer::Found(finding) => self.found(finding),
            Answer::Page(page) => self.page(&page, now),
            Answer::Directory(DirectoryAnswer::Sequence(sequence)) => self.sequence(sequence),
            Answer::Directory(DirectoryAnswer::Changes(changes)) => self.changes(changes),
            Answer::Barrier(result) => self.barrier(result),
            Answer::Directory(DirectoryAnswer::Resumable(resumable)) => self.resumable(resumable),
            Answer::Opened(_)
            | Answer::Reused { .. }
            | Answer::SaltedPassword(_)
            | Answer::Intended(_)
            | Answer::Capabilities(_)
            | Answer::Groups(_)
            | Answer::HomeCopy(_)
            | Answer::Domain(_)
            | Answer::Directory(DirectoryAnswer::Done | DirectoryAnswer::Position(_)) => {}
        }
        self.go_on(now);
    }
}

/// The BAD for arguments that a command does not take.
fn complaint(command: &Command<'_>, count: usize) -> Option<&'static str> {
    let (least, most) = match command.verb {
        Verb::Activate => (3, 3),
        Verb::Deactivate | Verb::Reserve | Verb::Resume => (2, 2),
        Verb::Compress | Verb::Delete | Verb::Find => (1, 1),
        Verb::Authenticate => (1, 2),
        Verb::List => (0, 1),
        Verb::Update => (0, grammar::ARGUMENTS_MAX),
        Verb::Logout | Verb::Noop | Verb::Starttls => (0, 0),
        Verb::Unknown => (0, usize::MAX),
    };
    match command.request {
        Request::Malformed => Some("Badly formed arguments"),
        Request::Extra => Some("Extra arguments"),
        Request::Arguments(_) if count < least => Some("Missing arguments"),
        Request::Arguments(_) if count > most => Some("Extra arguments"),
        Request::Arguments(_) | Request::NoCommand | Request::NullCommand => None,
    }
}

impl Connection {
    fn take(&mut self, side: Side, input: &[u8], now: Instant) -> Taken {
        if side != Side::Client || matches!(self.phase, Phase::Over) {
            return Taken { n: input.len(), then: Then::More };
        }
        if !self.reads() || (self.input.len() >= self.input_min.max(1) && !self.commits.is_empty()) {
            return Taken { n: 0, then: Then::Hold };
        }
        if matches!(self.phase, Phase::LoggedIn) {
            self.deadline = now + self.config.idle_timeout;
        }
        self.began.get_or_insert(now);
        self.input.extend_from_slice(input);
        self.read(now);
        Taken { n: input.len(), then: Then::More }
    }

    fn hear(&mut self, event: Event, now: Instant) {
        match event {
            Event::Answer { id, answer } => self.answered(id, answer, now),
            Event::Eof(_) | Event::Reset(_) => self.cut(),
            Event::Switched { result, .. } => {
                self.switched(result);
                self.go_on(now);
            }
            Event::Drained { .. } => {
                self.authored = 0;
                self.taken_by = None;
                self.go_on(now);
            }
            Event::ListChanged => {
                self.list_changed();
                self.go_on(now);
            }
            Event::Drain { .. } if !matches!(self.phase, Phase::Over) => self.bye("server is going down"),
            Event::Drain { .. }
            | Event::ForwardBroken { .. }
            | Event::Stalled { .. }
            | Event::Idle { .. }
            | Event::BarrierWanted
            | Event::Posted => {}
        }
    }

    fn time_is_up(&mut self, now: Instant) {
        if self.taken_by.is_some_and(|at| at <= now) {
            self.log(Level::Info, format!("mupdate client {} takes nothing", self.origin.client_address));
            return self.cut();
        }
        // The first call: a machine is made without knowing the time.
        if self.deadline == Instant(0) {
            self.began.get_or_insert(now);
            self.deadline = now + self.config.login_timeout;
            return;
        }
        if now < self.deadline || matches!(self.phase, Phase::Over) {
            return;
        }
        if self.pause_is_over(now) {
            self.read(now);
            return;
        }
        // A stream that is read is alive, however silent the client.
        if self.stream.is_some() {
            self.deadline = now + self.config.idle_timeout;
            return;
        }
        self.bye("idle for too long");
    }

    /// Around every call: what was waited for before it, and is from here on.
    fn called<R>(&mut self, now: Instant, call: impl FnOnce(&mut Connection) -> R) -> R {
        self.seen = now;
        self.end_wait(now);
        let result = call(self);
        self.begin_wait(now);
        result
    }
}

impl Session for Connection {
    fn handle_input(&mut self, side: Side, input: &[u8], now: Instant) -> Taken {
        self.called(now, |this| this.take(side, input, now))
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        self.called(now, |this| this.hear(event, now));
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.called(now, |this| this.time_is_up(now));
    }

    fn poll_output(&mut self, scratch: &mut Vec<u8>) -> Option<Output> {
        if let Some(ask) = self.asks.pop_front() {
            return Some(ask);
        }
        if !self.unsent.is_empty() && self.taken_by.is_none() {
            let n = self.unsent.len().min(AUTHORED_BYTES_MAX);
            scratch.extend_from_slice(&self.unsent[..n]);
            self.unsent.drain(..n);
            self.authored += n;
            if self.authored >= WAIT_BYTES_MIN {
                self.taken_by = Some(self.seen + STALL);
            }
            return Some(Output::Write { to: Side::Client });
        }
        if self.unsent.is_empty() { self.finally.pop_front() } else { None }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let deadline = (!matches!(self.phase, Phase::Over)).then_some(self.deadline);
        deadline.into_iter().chain(self.taken_by).min()
    }
}

fn switch(layer: LayerKind) -> Output {
    Output::Switch { side: Side::Client, layer }
}
