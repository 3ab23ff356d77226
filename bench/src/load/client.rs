//! One connection of the load.
//!
//! ```text
//!   greeting ─> prologue ─> operations ─> epilogue ─> end
//!                    └────> held
//! ```

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Target;
use super::program::{After, Command, Program, Ready, sasl_plain};
use super::reader::{Expect, Reader, Seen};
use super::stream::Stream;
use crate::scenario::{Person, Protocol, Random, Scenario, Security};

/// Tags of commands in flight are letters from this many.
const TAGS: u8 = 26;

/// What became of a connection's turn.
pub(super) enum Progress {
    /// Nothing more can be done until the socket is ready.
    Waits,
    /// The session is logged in.
    LoggedIn { took: Duration },
    /// An operation was answered.
    Done { operation: usize, begun: Instant, refused: bool },
    /// The session is held.
    Held,
    /// The connection has come to its end, as its script wants.
    Over { begun: Instant },
    /// The connection is of no more use.
    Failed(String),
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) scenario: Scenario,
    pub(super) program: Program,
    pub(super) target: Target,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    ExpectGreeting,
    /// The next command of the prologue.
    Prologue(usize),
    Operating,
    /// The next command of the epilogue.
    Epilogue(usize),
    Held,
    ExpectEnd,
}

/// A command that is not answered.
struct Open {
    expect: Expect,
    after: After,
    payload: Option<Arc<[u8]>>,
    role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The greeting, or the one after STARTTLS.
    Greeting,
    Prologue,
    Operation {
        is_last: bool,
    },
    Epilogue,
}

/// An operation under way.
struct Task {
    operation: usize,
    begun: Instant,
    refused: bool,
}

struct User {
    number: usize,
    name: String,
    password: String,
    sasl: String,
}

/// A connection: socket, and how far its script is.
pub(super) struct Client {
    stream: Stream,
    shared: Arc<Shared>,
    user: User,
    random: Random,
    reader: Reader,
    phase: Phase,
    /// Commands that are not answered, in order.
    open: VecDeque<Open>,
    /// Operations that are not finished, in order.
    tasks: VecDeque<Task>,
    /// The operation whose commands are going out, and the next of them.
    sending: Option<(usize, usize)>,
    next_tag: u8,
    /// Nothing goes out before the last command is answered.
    is_blocked: bool,
    /// Recipients that were accepted since the last message.
    recipients: usize,
    operations_begun: u64,
    out: Vec<u8>,
    out_at: usize,
    /// Goes out behind `out`.
    bulk: Option<(Arc<[u8]>, usize)>,
    /// Decoded input from `input_at` on was not looked at.
    input: Vec<u8>,
    input_at: usize,
    /// When it was meant to connect.
    begun: Instant,
}

impl Client {
    /// Begins to connect. `begun` is when it was meant to.
    pub(super) fn connect(shared: &Arc<Shared>, slot: usize, begun: Instant) -> Result<Client> {
        let mut stream = Stream::connect(shared.target.address)?;
        if shared.scenario.security == Security::Tls {
            stream.secure(&shared.target.tls, &shared.target.name)?;
        }
        let greeting =
            Open { expect: Expect::Greeting, after: After::Nothing, payload: None, role: Role::Greeting };
        Ok(Client {
            stream,
            user: User::new(&shared.scenario, slot),
            random: Random::new(slot as u64 + 1),
            reader: Reader::new(shared.scenario.protocol),
            shared: Arc::clone(shared),
            phase: Phase::ExpectGreeting,
            open: VecDeque::from([greeting]),
            tasks: VecDeque::new(),
            sending: None,
            next_tag: 0,
            is_blocked: true,
            recipients: 0,
            operations_begun: 0,
            out: Vec::new(),
            out_at: 0,
            bulk: None,
            input: Vec::new(),
            input_at: 0,
            begun,
        })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        self.stream.socket()
    }

    /// Not logged in yet.
    pub(super) fn is_connecting(&self) -> bool {
        matches!(self.phase, Phase::ExpectGreeting | Phase::Prologue(_))
    }

    /// Logged in, and nothing more.
    pub(super) fn is_held(&self) -> bool {
        self.phase == Phase::Held
    }

    /// Whether an operation may be begun.
    pub(super) fn is_ready(&self) -> bool {
        self.phase == Phase::Operating && self.sending.is_none() && self.has_room() && !self.is_ending()
    }

    /// When the operations that are not finished were begun; those of a whole session as well.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = (usize, Instant)> + '_ {
        let session = self.shared.scenario.counts_sessions().then_some((0, self.begun));
        self.tasks.iter().map(|task| (task.operation, task.begun)).chain(session)
    }

    /// Begins an operation that was meant to begin at this time.
    pub(super) fn begin(&mut self, begun: Instant) {
        let operation = self.shared.program.draw(&mut self.random);
        self.operations_begun += 1;
        self.tasks.push_back(Task { operation, begun, refused: false });
        self.sending = Some((operation, 0));
    }

    /// Puts the commands that may go out into the buffer; [`Client::advance`] sends them.
    pub(super) fn write_ahead(&mut self) {
        self.write_commands();
    }

    fn has_room(&self) -> bool {
        !self.is_blocked && self.bulk.is_none() && self.open.len() < self.shared.scenario.pipeline
    }

    /// Works until something is finished, an operation may be begun, or the socket blocks.
    pub(super) fn advance(&mut self, scratch: &mut [u8]) -> Progress {
        loop {
            self.write_commands();
            if let Err(e) = self.send() {
                return Progress::Failed(format!("send: {e}"));
            }
            if self.input_at < self.input.len() {
                // With nothing open, lines that nobody asked for are read by the same rules.
                let expect = self.open.front().map_or(Expect::Completion(0), |open| open.expect);
                let (n, seen) = self.reader.feed(&self.input[self.input_at..], expect);
                self.input_at += n;
                if let Some(progress) = seen.and_then(|seen| self.seen(seen)) {
                    return progress;
                }
                continue;
            }
            self.input.clear();
            self.input_at = 0;
            match self.stream.read(scratch) {
                Ok(0) if self.phase == Phase::ExpectEnd => return Progress::Over { begun: self.begun },
                Ok(0) => return Progress::Failed("connection lost".to_owned()),
                Ok(n) => self.input.extend_from_slice(&scratch[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return self.flush_after_block(),
                Err(e) if self.phase == Phase::ExpectEnd && e.kind() == io::ErrorKind::ConnectionReset => {
                    return Progress::Over { begun: self.begun };
                }
                Err(e) => return Progress::Failed(format!("receive: {e}")),
            }
        }
    }

    fn flush_after_block(&mut self) -> Progress {
        match self.send() {
            Ok(()) => Progress::Waits,
            Err(e) => Progress::Failed(format!("send: {e}")),
        }
    }

    /// Reacts to an answer.
    fn seen(&mut self, seen: Seen) -> Option<Progress> {
        let Some(open) = self.open.pop_front().filter(|_| seen != Seen::Nonsense) else {
            let said = self.reader.refusal();
            return Some(Progress::Failed(format!("answer to nothing that was asked: {said}")));
        };
        let refused = seen == Seen::Refused;
        if self.open.is_empty() {
            self.is_blocked = false;
        }
        if !refused && let Some(progress) = self.follow(&open) {
            return progress;
        }
        match open.role {
            Role::Greeting | Role::Prologue | Role::Epilogue if refused => {
                let (user, phase, said) = (&self.user.name, self.phase_name(), self.reader.refusal());
                Some(Progress::Failed(format!("{phase} was refused to {user}: {said}")))
            }
            Role::Greeting if self.phase == Phase::ExpectGreeting => {
                self.phase = Phase::Prologue(0);
                self.end_prologue()
            }
            Role::Greeting | Role::Prologue => self.end_prologue(),
            Role::Operation { is_last } => self.operation_answered(refused, is_last),
            Role::Epilogue => {
                self.end_epilogue();
                None
            }
        }
    }

    /// Does what an answer wants done; `Some` when the answer is no end of anything.
    fn follow(&mut self, open: &Open) -> Option<Option<Progress>> {
        match open.after {
            After::Nothing => None,
            After::CountRecipient => {
                self.recipients += 1;
                None
            }
            After::SendPayload => {
                let expect = Expect::Replies(std::mem::take(&mut self.recipients).max(1));
                self.bulk = open.payload.as_ref().map(|payload| (Arc::clone(payload), 0));
                self.is_blocked = true;
                self.open.push_front(Open { expect, after: After::Nothing, payload: None, role: open.role });
                Some(None)
            }
            After::Secure { greets } => {
                if let Err(e) = self.stream.secure(&self.shared.target.tls, &self.shared.target.name) {
                    return Some(Some(Progress::Failed(format!("TLS: {e}"))));
                }
                if greets {
                    let (expect, after) = (Expect::Greeting, After::Nothing);
                    self.open.push_back(Open { expect, after, payload: None, role: Role::Greeting });
                    self.is_blocked = true;
                }
                None
            }
        }
    }

    fn phase_name(&self) -> String {
        match self.phase {
            Phase::ExpectGreeting => "the connection".to_owned(),
            Phase::Prologue(n) => format!("command {n} of a session"),
            Phase::Operating => "an operation".to_owned(),
            Phase::Epilogue(n) => format!("command {n} of the end"),
            Phase::Held | Phase::ExpectEnd => "a held session".to_owned(),
        }
    }

    /// Goes on behind the prologue when all of it is answered.
    fn end_prologue(&mut self) -> Option<Progress> {
        let Phase::Prologue(next) = self.phase else { return None };
        if next < self.shared.program.prologue.len() || !self.open.is_empty() {
            return None;
        }
        if self.shared.scenario.hold {
            self.phase = Phase::Held;
            return Some(Progress::Held);
        }
        if self.shared.scenario.counts_sessions() {
            self.phase = Phase::Epilogue(0);
            self.end_epilogue();
        } else {
            self.phase = Phase::Operating;
        }
        Some(Progress::LoggedIn { took: self.begun.elapsed() })
    }

    /// After the last word of the epilogue the other end closes; without one, this end does.
    fn end_epilogue(&mut self) {
        if let Phase::Epilogue(next) = self.phase
            && next >= self.shared.program.epilogue.len()
            && self.open.is_empty()
        {
            self.phase = Phase::ExpectEnd;
            if self.shared.program.epilogue.is_empty() {
                // Fails only when the other end is gone, which the next read tells.
                let _ = self.socket().shutdown(std::net::Shutdown::Both);
            }
        }
    }

    fn operation_answered(&mut self, refused: bool, is_last: bool) -> Option<Progress> {
        let task = self.tasks.front_mut()?;
        task.refused |= refused;
        if !is_last {
            return None;
        }
        let Task { operation, begun, refused } = self.tasks.pop_front()?;
        let limit = self.shared.scenario.operations_per_session;
        if limit > 0 && self.operations_begun >= limit && self.tasks.is_empty() && self.sending.is_none() {
            self.phase = Phase::Epilogue(0);
            self.end_epilogue();
        }
        Some(Progress::Done { operation, begun, refused })
    }

    /// Whether no further operation belongs to this session.
    fn is_ending(&self) -> bool {
        let limit = self.shared.scenario.operations_per_session;
        matches!(self.phase, Phase::Epilogue(_) | Phase::ExpectEnd)
            || (limit > 0 && self.operations_begun >= limit)
    }

    /// Appends the commands whose turn it is.
    fn write_commands(&mut self) {
        while self.has_room() {
            let shared = Arc::clone(&self.shared);
            match self.phase {
                Phase::Prologue(next) => {
                    // A login is never pipelined: servers count it as an attack.
                    let Some(command) = shared.program.prologue.get(next).filter(|_| self.open.is_empty())
                    else {
                        return;
                    };
                    self.phase = Phase::Prologue(next + 1);
                    self.write_command(command, Role::Prologue);
                }
                Phase::Epilogue(next) => {
                    let Some(command) = shared.program.epilogue.get(next).filter(|_| self.open.is_empty())
                    else {
                        return;
                    };
                    self.phase = Phase::Epilogue(next + 1);
                    self.write_command(command, Role::Epilogue);
                }
                Phase::Operating => {
                    let Some((operation, next)) = self.sending else { return };
                    let commands = &shared.program.operations[operation];
                    let is_last = next + 1 == commands.len();
                    self.sending = (!is_last).then_some((operation, next + 1));
                    self.write_command(&commands[next], Role::Operation { is_last });
                }
                Phase::ExpectGreeting | Phase::Held | Phase::ExpectEnd => return,
            }
        }
    }

    fn write_command(&mut self, command: &Command, role: Role) {
        let protocol = self.shared.scenario.protocol;
        if !command.keeps_tag() {
            self.next_tag = (self.next_tag + 1) % TAGS;
        }
        let tag = b'a' + self.next_tag;
        let person = self.user.person();
        let Ready { expect, after, blocks, payload } =
            command.send(protocol, tag, &person, &mut self.random, &mut self.out);
        self.is_blocked |= blocks;
        let sends_now = protocol != Protocol::Lmtp;
        self.bulk = payload.as_ref().filter(|_| sends_now).map(|payload| (Arc::clone(payload), 0));
        self.open.push_back(Open { expect, after, payload, role });
    }

    fn send(&mut self) -> io::Result<()> {
        while self.out_at < self.out.len() {
            match self.stream.write(&self.out[self.out_at..]) {
                Ok(n) => self.out_at += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return self.stream.flush(),
                Err(e) => return Err(e),
            }
        }
        self.out.clear();
        self.out_at = 0;
        while let Some((bytes, at)) = &mut self.bulk {
            if *at == bytes.len() {
                self.bulk = None;
                break;
            }
            match self.stream.write(&bytes[*at..]) {
                Ok(n) => *at += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        self.stream.flush()
    }
}

impl User {
    fn new(scenario: &Scenario, slot: usize) -> User {
        let users = &scenario.users;
        let number = users.first + slot % users.count;
        let mut random = Random::new(1);
        let person = Person { number, user: "", password: "", sasl: "" };
        let name = users.name.text(&person, &mut random);
        let person = Person { number, user: &name, password: "", sasl: "" };
        let password = users.password.text(&person, &mut random);
        let sasl = sasl_plain(&name, &password);
        User { number, name, password, sasl }
    }

    fn person(&self) -> Person<'_> {
        Person { number: self.number, user: &self.name, password: &self.password, sasl: &self.sasl }
    }
}
