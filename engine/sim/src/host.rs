//! The surroundings of a driver in the simulated murder: answers what its sessions ask.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use driver::breaker::{Health, watched};
use driver::{Carriage, Limits, SessionId};
use mupdate::directory::{Directory, Effect, Ticket, Wait};
use protocols::mailbox::acl::Policy;
use protocols::proxy::{
    Answer, BackendCapabilities, DirectoryQuestion, Event, Finding, Instant, Intent, ListPage, Notice,
    OpenError, Opened, PasswordVerdict, Question, QuestionId, Service, Session, Stage,
};

use crate::carrier::{Carrier, Wish};
use crate::dice::Dice;
use crate::disk::{Disk, Written};
use crate::net::{EndId, Net};
use crate::stored::Stored;

/// A connection that a session asked for and the world has to make.
#[derive(Debug)]
pub struct Dial {
    /// Who asked.
    pub session: SessionId,
    /// With which question.
    pub id: QuestionId,
    /// For which service.
    pub service: Service,
    /// The server as in the list.
    pub server: String,
}

/// What became of sessions and backends, to see that anything was tried at all.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    /// Connections that a breaker refused.
    pub barred: usize,
    /// Selected mailboxes that a session got back on another connection.
    pub rejoined: usize,
    /// Those that it did not.
    pub given_up: usize,
}

impl Counts {
    /// Adds those of another.
    pub fn add(&mut self, other: Counts) {
        self.barred += other.barred;
        self.rejoined += other.rejoined;
        self.given_up += other.given_up;
    }
}

/// A driver, its carrier and its directory.
pub struct Host {
    /// Carries the driver.
    pub carrier: Carrier,
    /// The directory.
    pub directory: Directory,
    /// What was stored.
    pub stored: Stored,
    /// Where it is stored.
    pub disk: Disk,
    /// Answers to questions that the world itself has put to the directory, by ticket.
    pub answers: Vec<(u64, Answer)>,
    /// Times that the slave went on without the whole list.
    pub resumed: usize,
    /// Moves that operators are told to be unfinished.
    pub reports: Vec<Intent>,
    /// What became of sessions and backends.
    pub counts: Counts,
    /// Breakers of the backends.
    health: Health,
    /// The session that follows the master, if this is a frontend.
    slave: Option<SessionId>,
    sessions: BTreeSet<(u32, u32)>,
    ids: BTreeMap<(u32, u32), SessionId>,
    tickets: BTreeMap<u64, (SessionId, QuestionId)>,
    next_ticket: u64,
}

impl Host {
    /// Begins with a directory, and the machine that follows the master.
    /// Moves that its predecessor left without an end are reported.
    pub fn new(directory: Directory, mut stored: Stored, slave: Option<Box<dyn Session>>) -> Host {
        let reports = std::mem::take(&mut stored.moves).into_values().collect();
        let mut carrier = Carrier::new(Limits::default());
        let slave = slave.map(|machine| carrier.driver.spawn(machine));
        Host {
            carrier,
            directory,
            stored,
            disk: Disk::default(),
            answers: Vec::new(),
            resumed: 0,
            reports,
            counts: Counts::default(),
            health: Health::default(),
            slave,
            sessions: BTreeSet::new(),
            ids: BTreeMap::new(),
            tickets: BTreeMap::new(),
            next_ticket: 0,
        }
    }

    /// One turn. The connections that it asks for are the world's to make.
    pub fn turn(&mut self, net: &mut Net, now: Instant, dice: &mut Dice) -> Vec<Dial> {
        let mut dials = Vec::new();
        self.carrier.turn(net, now, dice);
        if self.directory.poll_timeout().is_some_and(|at| at <= now) {
            self.directory.handle_timeout(now);
        }
        loop {
            let wishes = self.carrier.take_wishes();
            let idle = wishes.is_empty();
            for wish in wishes {
                self.fulfil(wish, now, &mut dials);
            }
            while self.directory.has_work() {
                self.directory.work(64);
            }
            let moved = self.store(now, dice) | self.effects();
            if idle && !moved {
                break;
            }
            self.carrier.turn(net, now, dice);
        }
        dials
    }

    /// When a turn is wanted although nothing arrives.
    pub fn next_turn(&self, net: &Net, now: Instant) -> Option<Instant> {
        let times = [self.carrier.next_turn(net, now), self.directory.poll_timeout(), self.disk.next()];
        times.into_iter().flatten().min()
    }

    /// A connection that was asked for stands on this end, or cannot be had.
    pub fn dialled(&mut self, dial: Dial, end: Option<EndId>, net: &mut Net, now: Instant) {
        let driver = &mut self.carrier.driver;
        let watched = watched(&dial.server, dial.service);
        let Some(end) = end else {
            self.health.failed(&watched, now);
            driver.open_failed(dial.session, dial.id, OpenError::Connect(dial.server.into()));
            return;
        };
        self.health.reached(&watched, now);
        let opened = Opened { host: dial.server.into(), tls: false, noauth: false };
        match driver.opened(dial.session, dial.id, opened, None, Carriage::Spliceable) {
            Some(conn) => self.carrier.add(conn, end),
            None => net.close(end, now),
        }
    }

    fn fulfil(&mut self, wish: Wish, now: Instant, dials: &mut Vec<Dial>) {
        match wish {
            Wish::Ask(session, id, question) => {
                let key = (session.slot, session.generation);
                self.sessions.insert(key);
                self.ids.insert(key, session);
                if let Some(answer) = self.answer(session, id, question, now, dials) {
                    self.carrier.driver.answer(session, id, answer);
                }
            }
            Wish::Tell(session, notice) => self.told(session, notice, now),
            Wish::Ended(session) => {
                let (slot, generation) = (session.slot, session.generation);
                let moves = self.stored.moves.range((slot, generation, 0)..=(slot, generation, u32::MAX));
                for key in moves.map(|(key, _)| *key).collect::<Vec<_>>() {
                    self.reports.extend(self.stored.moves.remove(&key));
                }
                self.sessions.remove(&(session.slot, session.generation));
                self.ids.remove(&(session.slot, session.generation));
            }
        }
    }

    fn told(&mut self, session: SessionId, notice: Notice, now: Instant) {
        match notice {
            Notice::Silent { server } => self.health.was_silent(&server, now),
            Notice::Capabilities { server, .. } => self.health.answered(&server),
            Notice::Stage { id, stage } => {
                let key = (session.slot, session.generation, id.0);
                match stage {
                    Stage::Copied(_) => {}
                    Stage::Done => drop(self.stored.moves.remove(&key)),
                    Stage::GivenUp => self.reports.extend(self.stored.moves.remove(&key)),
                }
            }
            Notice::Session { text, .. } | Notice::Log { text, .. } => {
                self.counts.rejoined += usize::from(text.contains("selected mailbox is here again"));
                self.counts.given_up += usize::from(text.contains("selected mailbox cannot be had again"));
            }
            Notice::ServiceCapabilities { .. } | Notice::Home { .. } | Notice::Presence(_) => {}
        }
    }

    fn answer(
        &mut self,
        session: SessionId,
        id: QuestionId,
        question: Question,
        now: Instant,
        dials: &mut Vec<Dial>,
    ) -> Option<Answer> {
        match question {
            Question::OpenBackend { server, service, .. }
                if self.health.is_barred(&watched(&server, service), now) =>
            {
                self.counts.barred += 1;
                Some(Answer::Opened(Err(OpenError::Connect(server))))
            }
            Question::OpenBackend { server, service, .. } => {
                dials.push(Dial { session, id, service, server: server.into() });
                None
            }
            Question::Find { name, freshness } => {
                let found: Result<Finding, _> = self.directory.published().load().find(&name, freshness);
                match found {
                    Ok(finding) => Some(Answer::Found(finding)),
                    Err(_) => {
                        let ticket = self.ticket(session, id);
                        self.directory.wait(ticket, Wait::Find { name, freshness }, now);
                        None
                    }
                }
            }
            Question::List(query) => {
                let snapshot = self.directory.published().load_full();
                let page = snapshot.list.page(&query, &Policy::default());
                let knowledge = snapshot.knowledge;
                Some(Answer::Page(ListPage { entries: page.entries, next: page.next, knowledge }))
            }
            Question::Barrier => {
                let ticket = self.ticket(session, id);
                self.directory.wait(ticket, Wait::Barrier, now);
                None
            }
            Question::CheckPassword { user, password, .. } => {
                let right = [b"pw-", &user[..]].concat();
                let accepted = password.expose() == right;
                Some(Answer::Password(if accepted {
                    PasswordVerdict::Accepted
                } else {
                    PasswordVerdict::Denied
                }))
            }
            Question::Groups { .. } => Some(Answer::Groups(Ok(Default::default()))),
            Question::HomeCopy { .. } => Some(Answer::HomeCopy(Default::default())),
            Question::DomainOf { .. } => Some(Answer::Domain(None)),
            Question::ScramKeys { .. } => Some(Answer::ScramKeys(None)),
            Question::SaltPassword { password, .. } => Some(Answer::SaltedPassword(password)),
            Question::Capabilities { .. } | Question::ServiceCapabilities(_) => {
                Some(Answer::Capabilities(Arc::new(BackendCapabilities::default())))
            }
            Question::Intend(intent) => {
                self.stored.moves.insert((session.slot, session.generation, id.0), *intent);
                Some(Answer::Intended(Ok(())))
            }
            // Nobody is configured to get a home here.
            Question::Errand(_) => Some(Answer::Barrier(Err(protocols::proxy::Unavailable))),
            Question::Directory(question) => {
                self.resumed += usize::from(matches!(question, DirectoryQuestion::Resumed));
                let ticket = self.ticket(session, id);
                self.directory.handle(ticket, question);
                None
            }
        }
    }

    fn ticket(&mut self, session: SessionId, id: QuestionId) -> Ticket {
        self.next_ticket += 1;
        self.tickets.insert(self.next_ticket, (session, id));
        Ticket(self.next_ticket)
    }

    /// Stores what is to be stored; whether anything went on.
    fn store(&mut self, now: Instant, dice: &mut Dice) -> bool {
        let mut moved = false;
        loop {
            if let Some(Written { write, landed, said_so }) = self.disk.poll(now) {
                if landed {
                    self.stored.take(write);
                }
                self.directory.stored(if said_so { Ok(()) } else { Err("the disk failed".into()) });
            } else if let Some(write) = self.directory.poll_store() {
                self.disk.begin(write, now, dice);
            } else {
                return moved;
            }
            moved = true;
        }
    }

    /// Carries the directory's effects out; whether there were any.
    fn effects(&mut self) -> bool {
        let mut moved = false;
        while let Some(effect) = self.directory.poll_effect() {
            moved = true;
            match effect {
                Effect::Answer { ticket, answer } => match self.tickets.remove(&ticket.0) {
                    Some((session, id)) => self.carrier.driver.answer(session, id, answer),
                    None => self.answers.push((ticket.0, answer)),
                },
                Effect::BarrierWanted => {
                    if let Some(slave) = self.slave {
                        self.carrier.driver.tell(slave, Event::BarrierWanted);
                    }
                }
                Effect::ListChanged => {
                    for key in &self.sessions {
                        self.carrier.driver.tell(self.ids[key], Event::ListChanged);
                    }
                }
                Effect::Log { .. } => {}
            }
        }
        moved
    }
}
