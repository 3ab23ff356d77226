//! A small engine for tests: machines, a directory and bytes in memory, one step at a time.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use mupdate::directory::{self, Directory, Effect, Loaded, StoreWrite, Ticket, Wait};
use mupdate::master::{self, Connection};
use mupdate::slave::{self, Slave, Starttls};
use protocols::mailbox::acl;
use protocols::proxy::{
    Answer, Change, Entry, Event, Instant, ListPage, Location, OpenError, Opened, Origin, Output,
    PasswordVerdict, Question, QuestionId, Session, Side, Then, Timing,
};
use protocols::sasl::{Credentials, Mechanism, Offer};
use protocols::secret::Secret;

pub(crate) fn origin() -> Origin {
    Origin { random: [42; 32], started_unix: 0, client_address: "127.0.0.1:1".into(), tls: false }
}

pub(crate) fn master_config() -> master::Config {
    master::Config {
        servername: "mupdate".into(),
        version: "0.1".into(),
        role: master::Role::Master,
        admins: vec![b"postman".as_slice().into()],
        offer: Offer { mechanisms: vec![Mechanism::Plain, Mechanism::Login], ..Offer::default() },
        allow_plaintext: true,
        starttls: false,
        compression: None,
        failed_login_pause: Duration::from_secs(3),
        login_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(3 * 3600),
        slow_command: None,
    }
}

pub(crate) fn slave_config() -> slave::Config {
    slave::Config {
        server: "mupdate.example.net".into(),
        credentials: Credentials {
            authcid: b"postman".as_slice().into(),
            password: Secret::new(*b"pw-postman"),
            ..Credentials::default()
        },
        mechanisms: None,
        login_timeout: Duration::from_secs(10),
        dump_timeout: Duration::from_secs(60),
        retry_delay: Duration::from_secs(20),
        starttls: Starttls::Offered,
    }
}

/// A machine and what its driver keeps for it.
pub(crate) struct Machine {
    pub(crate) session: Box<dyn Session>,
    /// Bytes for the machine that it has not taken.
    pending: Vec<u8>,
    /// What it wrote.
    pub(crate) out: Vec<u8>,
    /// What it asked and nobody answered yet.
    pub(crate) asked: Vec<(QuestionId, Question)>,
    pub(crate) closed: bool,
    /// Commands of which it told how long they took.
    pub(crate) timed: Vec<Timing>,
    side: Side,
    /// Octets written since it was told that all went out.
    authored: usize,
    /// Nothing goes out.
    pub(crate) is_deaf: bool,
}

impl Machine {
    pub(crate) fn server(config: master::Config) -> Machine {
        Machine::server_of(config, origin(), None)
    }

    pub(crate) fn server_of(config: master::Config, origin: Origin, epoch: Option<Arc<str>>) -> Machine {
        Machine::new(Box::new(Connection::new(Arc::new(config), origin, epoch)), Side::Client)
    }

    pub(crate) fn slave(config: slave::Config) -> Machine {
        let slave = Slave::new(config, &origin());
        Machine::new(Box::new(slave), Side::Backend(protocols::proxy::BackendId(0)))
    }

    fn new(session: Box<dyn Session>, side: Side) -> Machine {
        let mut machine = Machine {
            session,
            pending: Vec::new(),
            out: Vec::new(),
            asked: Vec::new(),
            closed: false,
            timed: Vec::new(),
            side,
            authored: 0,
            is_deaf: false,
        };
        machine.poll();
        machine
    }

    pub(crate) fn input(&mut self, bytes: &[u8], now: Instant) {
        self.pending.extend_from_slice(bytes);
        self.offer(now);
    }

    pub(crate) fn event(&mut self, event: Event, now: Instant) {
        self.session.handle_event(event, now);
        self.poll();
        self.offer(now);
    }

    pub(crate) fn time(&mut self, now: Instant) {
        if self.session.poll_timeout().is_some_and(|at| at <= now) {
            self.session.handle_timeout(now);
            self.poll();
            self.offer(now);
        }
    }

    /// Says that what was written went out; whether something had been owed.
    pub(crate) fn drain(&mut self, now: Instant) -> bool {
        let owed = self.authored >= 4096 && !self.is_deaf;
        if owed {
            self.authored = 0;
            self.event(Event::Drained { side: self.side }, now);
        }
        owed
    }

    fn offer(&mut self, now: Instant) {
        while !self.pending.is_empty() && !self.closed {
            let taken = self.session.handle_input(self.side, &self.pending, now);
            self.pending.drain(..taken.n);
            self.poll();
            if taken.n == 0 || taken.then == Then::Hold {
                return;
            }
        }
    }

    fn poll(&mut self) {
        let mut scratch = Vec::new();
        while let Some(output) = self.session.poll_output(&mut scratch) {
            match output {
                Output::Write { .. } => {
                    self.authored += scratch.len();
                    self.out.append(&mut scratch);
                }
                Output::Ask { id, question } => {
                    if let Question::OpenBackend { side, .. } = &question {
                        self.side = Side::Backend(*side);
                        self.closed = false;
                        self.pending.clear();
                    }
                    self.asked.push((id, question));
                }
                Output::Close { .. } => self.closed = true,
                // The test says what became of a switch.
                Output::Timed(timing) => self.timed.push(timing),
                Output::Tell(_) | Output::Switch { .. } => {}
                other => panic!("not wanted in this test: {other:?}"),
            }
        }
    }

    pub(crate) fn take_out(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.out)).unwrap()
    }
}

/// A directory and the machines around it; the store is a list of writes.
pub(crate) struct World {
    pub(crate) directory: Directory,
    pub(crate) machines: Vec<Machine>,
    pub(crate) now: Instant,
    /// Writes are done at once; else by [`World::stored`].
    pub(crate) store_is_quick: bool,
    pub(crate) writes: Vec<StoreWrite>,
    pub(crate) answers: Vec<(u64, Answer)>,
}

/// Tickets of questions that the test itself asks.
pub(crate) const OWN: u64 = 1 << 40;

impl World {
    pub(crate) fn new(config: directory::Config) -> World {
        World::with(config, Loaded::nothing())
    }

    pub(crate) fn with(config: directory::Config, loaded: Loaded) -> World {
        World {
            directory: Directory::new(config, loaded),
            machines: Vec::new(),
            now: Instant(1),
            store_is_quick: true,
            writes: Vec::new(),
            answers: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, machine: Machine) -> usize {
        self.machines.push(machine);
        self.run();
        self.machines.len() - 1
    }

    pub(crate) fn send(&mut self, machine: usize, text: &str) -> String {
        self.machines[machine].input(text.as_bytes(), self.now);
        self.run();
        self.machines[machine].take_out()
    }

    pub(crate) fn pass(&mut self, seconds: u64) {
        self.pass_ms(seconds * 1000);
    }

    pub(crate) fn pass_ms(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
        for machine in &mut self.machines {
            machine.time(self.now);
        }
        if self.directory.poll_timeout().is_some_and(|at| at <= self.now) {
            self.directory.handle_timeout(self.now);
        }
        self.run();
    }

    pub(crate) fn wait(&mut self, ticket: u64, wait: Wait) {
        self.directory.wait(Ticket(OWN + ticket), wait, self.now);
        self.run();
    }

    /// Answers all that can be answered without bytes from outside.
    pub(crate) fn run(&mut self) {
        for _ in 0..100_000 {
            if !self.turn() {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    fn turn(&mut self) -> bool {
        let mut moved = false;
        for n in 0..self.machines.len() {
            for (id, question) in std::mem::take(&mut self.machines[n].asked) {
                moved |= self.answer(n, id, question);
            }
            moved |= self.machines[n].drain(self.now);
        }
        if self.directory.has_work() {
            self.directory.work(7);
            moved = true;
        }
        while let Some(effect) = self.directory.poll_effect() {
            self.carry_out(effect);
            moved = true;
        }
        if let Some(write) = self.directory.poll_store() {
            self.writes.push(write);
            if self.store_is_quick {
                self.directory.stored(Ok(()));
            }
            moved = true;
        }
        moved
    }

    /// Answers a question; false when it stays open.
    fn answer(&mut self, n: usize, id: QuestionId, question: Question) -> bool {
        let snapshot = self.directory.published().load_full();
        let ticket = Ticket((n as u64) << 32 | u64::from(id.0));
        let answer = match question {
            Question::Directory(question) => {
                self.directory.handle(ticket, question);
                return true;
            }
            Question::Find { name, freshness } => match snapshot.find(&name, freshness) {
                Ok(finding) => Answer::Found(finding),
                Err(_) => {
                    self.directory.wait(ticket, Wait::Find { name, freshness }, self.now);
                    return true;
                }
            },
            Question::Barrier => {
                self.directory.wait(ticket, Wait::Barrier, self.now);
                return true;
            }
            Question::List(query) => {
                let page = snapshot.list.page(&query, &acl::Policy::default());
                let knowledge = snapshot.knowledge;
                Answer::Page(ListPage { entries: page.entries, next: page.next, knowledge })
            }
            Question::CheckPassword { user, password, .. } => {
                let right = [b"pw-".as_slice(), &user].concat() == password.expose();
                Answer::Password(if right { PasswordVerdict::Accepted } else { PasswordVerdict::Denied })
            }
            open @ Question::OpenBackend { .. } => {
                self.machines[n].asked.push((id, open));
                return false;
            }
            other => panic!("not wanted in this test: {other:?}"),
        };
        self.machines[n].event(Event::Answer { id, answer }, self.now);
        true
    }

    fn carry_out(&mut self, effect: Effect) {
        let now = self.now;
        match effect {
            Effect::Answer { ticket: Ticket(ticket), answer } if ticket >= OWN => {
                self.answers.push((ticket - OWN, answer));
            }
            Effect::Answer { ticket: Ticket(ticket), answer } => {
                let id = QuestionId(ticket as u32);
                self.machines[(ticket >> 32) as usize].event(Event::Answer { id, answer }, now);
            }
            Effect::BarrierWanted => {
                self.machines.iter_mut().for_each(|machine| machine.event(Event::BarrierWanted, now));
            }
            Effect::ListChanged => {
                self.machines.iter_mut().for_each(|machine| machine.event(Event::ListChanged, now));
            }
            Effect::Log { .. } => {}
        }
    }

    /// Answers the slave's wish for a connection.
    pub(crate) fn opened(&mut self, machine: usize) {
        let at =
            self.machines[machine].asked.iter().position(|(_, q)| matches!(q, Question::OpenBackend { .. }));
        let (id, _) = self.machines[machine].asked.remove(at.expect("a connection is wanted"));
        let opened = Opened { host: "mupdate.example.net".into(), tls: false, noauth: false };
        let answer = Answer::Opened(Ok(opened));
        self.machines[machine].event(Event::Answer { id, answer }, self.now);
        self.run();
    }

    /// Answers the slave's wish for a connection with a no.
    pub(crate) fn refused(&mut self, machine: usize) {
        let at =
            self.machines[machine].asked.iter().position(|(_, q)| matches!(q, Question::OpenBackend { .. }));
        let (id, _) = self.machines[machine].asked.remove(at.expect("a connection is wanted"));
        let answer = Answer::Opened(Err(OpenError::Connect("mupdate.example.net".into())));
        self.machines[machine].event(Event::Answer { id, answer }, self.now);
        self.run();
    }

    /// Whether the slave wants a connection.
    pub(crate) fn wants_connection(&self, machine: usize) -> bool {
        self.machines[machine].asked.iter().any(|(_, q)| matches!(q, Question::OpenBackend { .. }))
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let snapshot = self.directory.published().load_full();
        let mut cursor = snapshot.list.iter_from(b"");
        let mut names = Vec::new();
        while let Some(row) = cursor.next() {
            names.push(String::from_utf8(row.name.to_vec()).unwrap());
        }
        names
    }
}

pub(crate) fn active(name: &str, location: &str) -> Change {
    Change::Active(Entry {
        name: name.as_bytes().into(),
        location: Location(location.as_bytes().into()),
        acl: b"anyone\tlrs\t".as_slice().into(),
    })
}
