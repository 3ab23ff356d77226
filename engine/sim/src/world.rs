//! A world: clients, frontends, backends and a master under one seed, and what must hold in it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mupdate::directory::{self, Directory, Loaded};
use mupdate::list::Editor;
use protocols::imap;
use protocols::proxy::{Change, Entry, Instant, Location, Origin, Service, Session};

use crate::backend::Backend;
use crate::client::Client;
use crate::dice::Dice;
use crate::host::{Dial, Host, Stored, contents};
use crate::lines::{Kind, LineClient, Server};
use crate::lmtp::{Sender, Store};
use crate::machines;
use crate::net::{Net, Owner, Weather};
use crate::registrar::{Registrar, Truth};

/// Slaves of the master.
const SLAVES: usize = 10;

/// Those of them that serve clients.
const FRONTENDS: usize = 2;
const BACKENDS: usize = 3;
const USERS: usize = 4;
const CLIENTS: usize = 8;
const SENDERS: usize = 4;

/// Numbers of MTAs, and of the LMTP sides of backends, begin here.
const LMTP: usize = 1000;

/// Clients of POP3 and ManageSieve, numbered from here on.
const LINE_CLIENTS: usize = 6;
const LINE_CLIENTS_FROM: usize = 1 << 20;

/// Faults happen until then.
const FAULTS_END: Instant = Instant(20_000_000_000);

/// What is not over by then never ends.
const WORLD_END: Instant = Instant(900_000_000_000);

/// Bytes that may stand unread in a connection: what the window of the network lets through.
const INBOX_BYTES_MAX: usize = 96 * 1024;

/// Turns of a world; past it something spins.
const TURNS_MAX: u64 = 3_000_000;

/// What came of a world.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What must not happen and did.
    pub violations: Vec<String>,
    /// Commands of clients that were answered OK.
    pub answered_ok: usize,
    /// Commands of clients that were answered NO or BAD.
    pub answered_no: usize,
    /// Changes of the list that the master acknowledged.
    pub changes: usize,
    /// Faults that were done.
    pub faults: usize,
    /// Times that a slave went on without the whole list.
    pub resumed: usize,
    /// Deliveries that were confirmed to an MTA.
    pub delivered: usize,
    /// Recipients and messages that an MTA has to send again.
    pub deferred: usize,
    /// Turns that were taken.
    pub turns: u64,
}

/// A whole murder.
pub struct World {
    dice: Dice,
    now: Instant,
    net: Net,
    frontends: Vec<Host>,
    backends: Vec<Backend>,
    master: Host,
    clients: Vec<Client>,
    clients_to_come: usize,
    line_clients: Vec<LineClient>,
    /// The POP3 and ManageSieve servers of the backends.
    servers: Vec<Server>,
    senders: Vec<Sender>,
    senders_to_come: usize,
    stores: Vec<Store>,
    registrar: Registrar,
    wakes: BTreeSet<(Instant, Owner)>,
    /// When those who are down come back.
    revivals: Vec<(Instant, Owner)>,
    master_up: bool,
    frontends_up: [bool; SLAVES],
    config: Arc<imap::Config>,
    lmtp: Arc<protocols::lmtp::Config>,
    outcome: Outcome,
    trace: bool,
}

fn user(n: usize) -> String {
    format!("user{n}")
}

/// Where mailboxes live: each user's at his home, each shared one at a backend of its own.
fn mailboxes() -> Vec<(String, usize)> {
    let mut all = Vec::new();
    for n in 0..USERS {
        all.push((format!("user.{}", user(n)), n % BACKENDS));
        all.push((format!("user.{}.Sent", user(n)), n % BACKENDS));
    }
    for n in 0..BACKENDS {
        all.push((format!("shared{n}"), n));
    }
    all
}

/// The users whose home a backend is.
fn users_of(backend: usize) -> impl Iterator<Item = String> {
    (0..USERS).filter(move |n| n % BACKENDS == backend).map(user)
}

fn server(n: usize) -> String {
    format!("be{}", n + 1)
}

fn entry(name: &str, at: usize) -> Change {
    let acl = match name.strip_prefix("user.").and_then(|rest| rest.split('.').next()) {
        Some(owner) => format!("{owner}\tlrswipkxtecdan\t"),
        None => "anyone\tlrswipkxtecd\t".to_owned(),
    };
    Change::Active(Entry {
        name: name.as_bytes().into(),
        location: Location(format!("{}!default", server(at)).into_bytes().into()),
        acl: acl.into_bytes().into(),
    })
}

impl World {
    /// Makes the world of a seed.
    pub fn new(seed: u64, trace: bool) -> World {
        let mut dice = Dice::new(seed);
        let weather = Weather {
            delay_max: Duration::from_micros(50 + dice.roll() % 20_000),
            short_sends: [0, 100, 500][dice.below(3)],
            split_reads: [0, 50, 600][dice.below(3)],
        };
        let mut stored = Stored { is_complete: true, ..Stored::default() };
        let mut editor = Editor::empty();
        for (name, at) in mailboxes() {
            let change = entry(&name, at);
            editor.apply(&change);
            stored.entries.insert(name.into_bytes(), change);
        }
        let backends = (0..BACKENDS).map(|n| {
            let own = mailboxes().into_iter().filter(move |(_, at)| *at == n);
            Backend::new(&server(n), own.map(|(name, _)| name))
        });
        let mut world = World {
            now: Instant(0),
            net: Net::new(weather),
            frontends: (0..SLAVES).map(|_| frontend(&mut dice, Stored::default())).collect(),
            backends: backends.collect(),
            master: master(stored),
            clients: Vec::new(),
            clients_to_come: CLIENTS + LINE_CLIENTS,
            line_clients: Vec::new(),
            servers: (0..BACKENDS).map(|n| Server::new(users_of(n))).collect(),
            senders: Vec::new(),
            senders_to_come: SENDERS,
            stores: (0..BACKENDS)
                .map(|at| Store::new((0..USERS).filter(|n| n % BACKENDS == at).map(user).collect()))
                .collect(),
            registrar: Registrar::default(),
            wakes: BTreeSet::new(),
            revivals: Vec::new(),
            master_up: true,
            frontends_up: [true; SLAVES],
            config: Arc::new(machines::imap_config()),
            lmtp: Arc::new(machines::lmtp_config()),
            outcome: Outcome::default(),
            trace,
            dice,
        };
        for n in 0..SLAVES {
            world.wake(Instant(0), Owner::Frontend(n));
        }
        world
    }

    /// Runs the world to its end.
    pub fn run(mut self) -> Outcome {
        let mut next_chance = Instant(1_000_000);
        while self.outcome.turns < TURNS_MAX && self.now < WORLD_END {
            if self.now >= next_chance || self.wakes.is_empty() {
                self.now = self.now.max(next_chance);
                next_chance = self.now + Duration::from_millis(20);
                self.chance();
                if self.is_over() {
                    break;
                }
            }
            let Some(&(at, owner)) = self.wakes.first() else { continue };
            if at > next_chance {
                self.now = next_chance;
                continue;
            }
            self.wakes.pop_first();
            self.now = self.now.max(at);
            self.outcome.turns += 1;
            self.turn(owner);
        }
        self.judge();
        self.outcome
    }

    fn wake(&mut self, at: Instant, owner: Owner) {
        self.wakes.insert((at, owner));
    }

    /// Whoever is awake takes a turn.
    fn turn(&mut self, owner: Owner) {
        match owner {
            Owner::Client(usize::MAX) => {
                let active = self.now < FAULTS_END;
                self.registrar.turn(&mut self.net, self.now, &mut self.dice, active);
            }
            Owner::Client(n) if n >= LINE_CLIENTS_FROM => {
                self.line_clients[n - LINE_CLIENTS_FROM].turn(&mut self.net, self.now, &mut self.dice);
            }
            Owner::Client(n) if n >= LMTP => {
                self.senders[n - LMTP].turn(&mut self.net, self.now, &mut self.dice);
            }
            Owner::Backend(n) if n >= LMTP => {
                self.stores[n - LMTP].turn(&mut self.net, self.now, &mut self.dice);
            }
            Owner::Client(n) => self.clients[n].turn(&mut self.net, self.now, &mut self.dice),
            Owner::Backend(n) => {
                self.backends[n].turn(&mut self.net, self.now, &mut self.dice);
                self.servers[n].turn(&mut self.net, self.now, &mut self.dice);
            }
            Owner::Frontend(n) if self.frontends_up[n] => {
                let dials = self.frontends[n].turn(&mut self.net, self.now, &mut self.dice);
                for dial in dials {
                    self.dial(n, dial);
                }
                if let Some(at) = self.frontends[n].next_turn(&self.net, self.now) {
                    self.wake(at.max(Instant(self.now.0 + 1)), owner);
                }
            }
            Owner::Master if self.master_up => {
                self.master.turn(&mut self.net, self.now, &mut self.dice);
                if let Some(at) = self.master.next_turn(&self.net, self.now) {
                    self.wake(at.max(Instant(self.now.0 + 1)), owner);
                }
            }
            Owner::Frontend(_) | Owner::Master => {}
        }
        for (at, owner) in self.net.take_wakes() {
            self.wake(at, owner);
        }
    }

    /// Makes a connection that a frontend asked for.
    fn dial(&mut self, from: usize, dial: Dial) {
        let me = Owner::Frontend(from);
        let end = match dial.service {
            Service::Mupdate if self.master_up => {
                let (ours, theirs) = self.net.connect(me, Owner::Master);
                let session = self.master_connection();
                self.master.carrier.accept(session, theirs, &mut self.net, self.now);
                self.wake(self.now, Owner::Master);
                Some(ours)
            }
            Service::Imap => {
                let to = self.backends.iter().position(|at| at.name == dial.server && at.is_up());
                to.map(|to| {
                    let (ours, theirs) = self.net.connect(me, Owner::Backend(to));
                    self.backends[to].accept(theirs);
                    self.wakes.insert((self.now, Owner::Backend(to)));
                    ours
                })
            }
            Service::Pop3 | Service::Sieve => {
                let kind = if dial.service == Service::Pop3 { Kind::Pop3 } else { Kind::Sieve };
                let to = self.backends.iter().position(|at| at.name == dial.server && at.is_up());
                to.map(|to| {
                    let (ours, theirs) = self.net.connect(me, Owner::Backend(to));
                    self.servers[to].accept(kind, theirs);
                    self.wakes.insert((self.now, Owner::Backend(to)));
                    ours
                })
            }
            Service::Lmtp => {
                let to = self.backends.iter().position(|at| at.name == dial.server && at.is_up());
                to.map(|to| {
                    let (ours, theirs) = self.net.connect(me, Owner::Backend(LMTP + to));
                    self.stores[to].accept(theirs);
                    self.wakes.insert((self.now, Owner::Backend(LMTP + to)));
                    ours
                })
            }
            Service::Mupdate => None,
        };
        self.frontends[from].dialled(dial, end, &mut self.net, self.now);
        self.wake(Instant(self.now.0 + 1), me);
    }

    /// What happens by chance: clients come, connections break, servers die and come back.
    fn chance(&mut self) {
        if self.clients_to_come > 0 && self.dice.per_mille(300) {
            self.client_comes();
        }
        if self.senders_to_come > 0 && self.dice.per_mille(200) {
            self.sender_comes();
        }
        if self.registrar.wants_connection() && self.master_up && self.now < FAULTS_END {
            let (ours, theirs) = self.net.connect(Owner::Client(usize::MAX), Owner::Master);
            let session = self.master_connection();
            self.master.carrier.accept(session, theirs, &mut self.net, self.now);
            self.registrar.connected(ours);
            self.wake(self.now, Owner::Master);
        }
        self.wake(self.now, Owner::Client(usize::MAX));
        for n in 0..self.clients.len() {
            self.wake(self.now, Owner::Client(n));
        }
        for n in 0..self.line_clients.len() {
            self.wake(self.now, Owner::Client(LINE_CLIENTS_FROM + n));
        }
        for n in 0..self.senders.len() {
            self.wake(self.now, Owner::Client(LMTP + n));
        }
        let now = self.now;
        let back: Vec<_> = self.revivals.iter().filter(|(at, _)| *at <= now).map(|(_, who)| *who).collect();
        self.revivals.retain(|(at, _)| *at > now);
        for who in back {
            self.revive(who);
        }
        if self.now < FAULTS_END && self.dice.per_mille(15) {
            self.fault();
        }
        for (at, owner) in self.net.take_wakes() {
            self.wake(at, owner);
        }
    }

    fn client_comes(&mut self) {
        let frontend = self.dice.below(FRONTENDS);
        if !self.frontends_up[frontend] {
            return;
        }
        self.clients_to_come -= 1;
        let has_room = self.line_clients.len() < LINE_CLIENTS;
        if self.clients.len() == CLIENTS || (has_room && self.dice.per_mille(500)) {
            return self.line_client_comes(frontend);
        }
        let name = user(self.dice.below(USERS));
        let number = self.clients.len();
        let (ours, theirs) = self.net.connect(Owner::Client(number), Owner::Frontend(frontend));
        let session = imap::Session::new(self.config.clone(), self.origin());
        self.frontends[frontend].carrier.accept(Box::new(session), theirs, &mut self.net, self.now);
        let mut boxes = vec!["INBOX".to_owned(), "INBOX.Sent".to_owned()];
        if self.dice.per_mille(600) {
            boxes.push(format!("shared{}", self.dice.below(BACKENDS)));
        }
        let steps = 5 + self.dice.below(30);
        self.clients.push(Client::new(&name, ours, boxes, steps, self.trace));
        self.wake(self.now, Owner::Frontend(frontend));
    }

    fn line_client_comes(&mut self, frontend: usize) {
        let kind = if self.dice.per_mille(500) { Kind::Pop3 } else { Kind::Sieve };
        let name = user(self.dice.below(USERS));
        let number = LINE_CLIENTS_FROM + self.line_clients.len();
        let (ours, theirs) = self.net.connect(Owner::Client(number), Owner::Frontend(frontend));
        let session = machines::line_session(kind, self.origin());
        self.frontends[frontend].carrier.accept(session, theirs, &mut self.net, self.now);
        let steps = 3 + self.dice.below(20);
        self.line_clients.push(LineClient::new(kind, &name, ours, steps));
        self.wake(self.now, Owner::Frontend(frontend));
    }

    fn sender_comes(&mut self) {
        let frontend = self.dice.below(FRONTENDS);
        if !self.frontends_up[frontend] {
            return;
        }
        self.senders_to_come -= 1;
        let number = self.senders.len();
        let (ours, theirs) = self.net.connect(Owner::Client(LMTP + number), Owner::Frontend(frontend));
        let session = protocols::lmtp::Session::new(self.lmtp.clone(), self.origin());
        self.frontends[frontend].carrier.accept(Box::new(session), theirs, &mut self.net, self.now);
        let messages = 3 + self.dice.below(10);
        let users = (0..USERS).map(user).collect();
        self.senders.push(Sender::new(format!("mail{number}"), ours, users, messages));
        self.wake(self.now, Owner::Frontend(frontend));
    }

    fn master_connection(&mut self) -> Box<dyn Session> {
        let epoch = self.master.directory.epoch().map(Into::into);
        machines::master_connection(self.origin(), epoch)
    }

    fn origin(&mut self) -> Origin {
        origin(&mut self.dice)
    }

    fn fault(&mut self) {
        self.outcome.faults += 1;
        let pause = Duration::from_millis(1) + self.dice.time(Duration::from_secs(4));
        let back = self.now + pause;
        let who = match self.dice.below(10) {
            0..5 => Owner::Backend(self.dice.below(BACKENDS)),
            5 | 6 => Owner::Frontend(self.dice.below(SLAVES)),
            7 | 8 => Owner::Master,
            _ => Owner::Client(self.dice.below(self.clients.len().max(1))),
        };
        if self.revivals.iter().any(|(_, other)| *other == who) {
            return;
        }
        if self.trace {
            println!("{:>12} {who:?} dies for {pause:?}", self.now.0);
        }
        self.net.reset_all(who, self.now);
        match who {
            Owner::Backend(n) => {
                self.backends[n].set_up(false);
                self.servers[n].die();
                self.net.reset_all(Owner::Backend(LMTP + n), self.now);
                self.stores[n].die();
            }
            Owner::Frontend(n) => self.frontends_up[n] = false,
            Owner::Master => self.master_up = false,
            Owner::Client(_) => return,
        }
        self.revivals.push((back, who));
    }

    fn revive(&mut self, who: Owner) {
        match who {
            Owner::Backend(n) => self.backends[n].set_up(true),
            Owner::Frontend(n) => {
                let stored = self.frontends[n].stored.clone();
                self.frontends[n] = frontend(&mut self.dice, stored);
                self.frontends_up[n] = true;
            }
            Owner::Master => {
                self.master = master(self.master.stored.clone());
                self.master_up = true;
            }
            Owner::Client(_) => {}
        }
        self.wake(self.now, who);
    }

    /// All clients are gone, nobody is down, and the lists had time to become equal.
    fn is_over(&self) -> bool {
        self.now >= FAULTS_END + Duration::from_secs(60)
            && self.clients_to_come == 0
            && self.senders_to_come == 0
            && self.senders.iter().all(|sender| sender.over)
            && self.clients.iter().all(|client| client.over)
            && self.line_clients.iter().all(|client| client.over)
    }

    fn judge(&mut self) {
        let outcome = &mut self.outcome;
        if outcome.turns >= TURNS_MAX {
            outcome.violations.push(format!("{TURNS_MAX} turns and no end"));
        }
        for client in &mut self.clients {
            outcome.violations.append(&mut client.violations);
            outcome.answered_ok += client.answered_ok;
            outcome.answered_no += client.answered_no;
            if !client.over {
                let waits = client.pending();
                outcome
                    .violations
                    .push(format!("client of {} waits for {waits} answers for ever", client.user));
            }
        }
        for backend in &mut self.backends {
            outcome.violations.append(&mut backend.violations);
        }
        for client in &mut self.line_clients {
            outcome.violations.append(&mut client.violations);
            outcome.answered_ok += client.answered_ok;
            if !client.over {
                outcome.violations.push(format!("{} waits for ever", client.mark));
            }
            if !client.quit && self.servers.iter().any(|server| server.quits.contains(&client.mark)) {
                outcome.violations.push(format!("{} did not say QUIT, and his server heard it", client.mark));
            }
        }
        for server in &mut self.servers {
            outcome.violations.append(&mut server.violations);
        }
        outcome.violations.append(&mut self.registrar.violations);
        outcome.changes = self.registrar.acknowledged;
        if self.net.inbox_bytes_seen_max > INBOX_BYTES_MAX {
            outcome.violations.push(format!("{} bytes stood unread", self.net.inbox_bytes_seen_max));
        }
        self.outcome.resumed = self.frontends.iter().map(|frontend| frontend.resumed).sum();
        self.judge_mail();
        self.judge_lists();
        self.judge_leaks();
    }

    /// Each message is there once for every recipient of whom that was confirmed, and never twice; one that
    /// was cut is nowhere.
    fn judge_mail(&mut self) {
        let outcome = &mut self.outcome;
        for store in &mut self.stores {
            outcome.violations.append(&mut store.violations);
            let doubled = store.kept.iter().filter(|(_, times)| **times > 1);
            outcome
                .violations
                .extend(doubled.map(|(what, times)| format!("{what:?} is there {times} times")));
        }
        for (n, sender) in self.senders.iter_mut().enumerate() {
            outcome.violations.append(&mut sender.violations);
            outcome.delivered += sender.confirmed.len();
            outcome.deferred += sender.deferred;
            if !sender.over {
                outcome.violations.push(format!("MTA {n} waits for {} replies for ever", sender.pending()));
            }
            for what in &sender.confirmed {
                if !self.stores.iter().any(|store| store.kept.contains_key(what)) {
                    outcome.violations.push(format!("{what:?} was confirmed and is nowhere"));
                }
            }
            if let Some(cut) = &sender.cut
                && self.stores.iter().any(|store| store.kept.keys().any(|(name, _)| name == cut))
            {
                outcome.violations.push(format!("{cut} was cut and is delivered"));
            }
        }
    }

    /// The master holds what it acknowledged; frontends hold what the master holds.
    fn judge_lists(&mut self) {
        let master = contents(&self.master.directory.published().load().list);
        for (n, frontend) in self.frontends.iter().enumerate() {
            let held = contents(&frontend.directory.published().load().list);
            if held != master {
                let (ours, theirs) = (held.len(), master.len());
                self.outcome
                    .violations
                    .push(format!("frontend {n} holds another list than the master: {ours} names, {theirs}"));
            }
        }
        for (name, truth) in self.registrar.truth() {
            let held = match master.get(name.as_bytes()) {
                Some(Change::Active(entry)) => Some(String::from_utf8_lossy(&entry.acl).into_owned()),
                Some(Change::Reserved { .. } | Change::Deleted { .. }) | None => None,
            };
            let right = match truth {
                Truth::Acknowledged(told) => held == *told,
                Truth::OneOf(possible) => possible.contains(&held),
            };
            if !right {
                self.outcome.violations.push(format!("master holds {held:?} of {name}, expected {truth:?}"));
            }
        }
    }

    /// When all clients are gone a frontend has its connection to the master and no other.
    fn judge_leaks(&mut self) {
        for (n, frontend) in self.frontends.iter().enumerate() {
            let (sessions, connections) =
                (frontend.carrier.driver.sessions(), frontend.carrier.driver.connections());
            // Those that wait in the pool are nobody's.
            let connections = connections - frontend.carrier.driver.pooled();
            if sessions != 1 || connections != 1 {
                self.outcome.violations.push(format!(
                    "frontend {n} is left with {sessions} sessions and {connections} connections"
                ));
            }
        }
    }
}

fn origin(dice: &mut Dice) -> Origin {
    Origin {
        random: dice.bytes(),
        started_unix: 1_800_000_000,
        client_address: "127.0.0.1:1".into(),
        tls: false,
    }
}

fn frontend(dice: &mut Dice, stored: Stored) -> Host {
    let directory = Directory::new(directory::Config::slave(), loaded(&stored));
    Host::new(directory, stored, Some(machines::slave(&origin(dice))))
}

/// A master begins an epoch whenever it starts.
fn master(mut stored: Stored) -> Host {
    let name = format!("epoch{}", stored.history.0.len());
    stored.history.begin(name.into(), stored.sequence);
    let directory = Directory::new(directory::Config::master(), loaded(&stored));
    Host::new(directory, stored, None)
}

pub(crate) fn loaded(stored: &Stored) -> Loaded {
    let mut list = Editor::empty();
    for change in stored.entries.values() {
        list.apply(change);
    }
    Loaded {
        list,
        sequence: stored.sequence,
        was_complete: stored.is_complete,
        log: stored.log.clone(),
        history: stored.history.clone(),
        source: stored.source.clone(),
        ..Loaded::nothing()
    }
}
