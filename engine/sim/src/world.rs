//! A world: clients, frontends, backends and a master under one seed, and what must hold in it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mupdate::directory::{self, Directory};
use mupdate::list::Editor;
use protocols::imap;
use protocols::proxy::{Instant, Origin, Service, Session};

use crate::backend::Backend;
use crate::boxes::names_of;
use crate::client::Client;
use crate::dice::Dice;
use crate::host::{Counts, Dial, Host};
use crate::lines::{Kind, LineClient, Server};
use crate::lmtp::{Sender, Store};
use crate::machines;
use crate::mailbox::Door;
use crate::mover::{Mover, Resident, Wish};
use crate::net::{Net, Owner, Weather};
use crate::overseer::Overseer;
use crate::registrar::Registrar;
use crate::renamer::Renamer;
use crate::site::{
    BACKENDS, RESIDENTS, USERS, acl, entry, mailboxes, resident, rooms, server, user, users_of,
};
use crate::stored::Stored;
use crate::truth::Truth;

/// Slaves of the master.
const SLAVES: usize = 10;

/// Those of them that serve clients.
pub(crate) const FRONTENDS: usize = 2;
pub(crate) const CLIENTS: usize = 8;

/// Those that come when all is well again.
const LATE_CLIENTS: usize = 2;

/// The number of who moves users, and of who changes the list.
const MOVER: usize = usize::MAX - 1;
const REGISTRAR: usize = usize::MAX;
const SENDERS: usize = 4;

/// Numbers of MTAs, and of the LMTP sides of backends, begin here.
pub(crate) const LMTP: usize = 1000;

/// Clients of POP3 and ManageSieve, numbered from here on.
pub(crate) const LINE_CLIENTS: usize = 6;
pub(crate) const LINE_CLIENTS_FROM: usize = 1 << 20;

/// Administrators, numbered from here on; the last comes when all is well again.
const OVERSEERS: usize = 3;
pub(crate) const OVERSEERS_FROM: usize = 1 << 21;

/// The numbers of what renames mailboxes at the backends.
const RENAMERS_FROM: usize = 1 << 22;

/// Faults happen until then.
const FAULTS_END: Instant = Instant(20_000_000_000);

/// So long after it nothing is refused any more.
const RECOVERY: Duration = Duration::from_secs(45);

/// The longest time for which a backend is stopped: longer than deadlines of the frontends.
const STOPPED_MAX: Duration = Duration::from_secs(15);

/// What is not over by then never ends.
const WORLD_END: Instant = Instant(900_000_000_000);

/// Bytes that may stand unread in a connection: what the window of the network lets through.
pub(crate) const INBOX_BYTES_MAX: usize = 96 * 1024;

/// Turns of a world; past it something spins.
pub(crate) const TURNS_MAX: u64 = 3_000_000;

/// What came of a world.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What must not happen and did.
    pub violations: Vec<String>,
    /// Commands of clients that were answered OK.
    pub answered_ok: usize,
    /// Commands of clients that were answered NO or BAD.
    pub answered_no: usize,
    /// Times that clients were told to wait for a mailbox that is being moved.
    pub waited: usize,
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
    /// COPYs and MOVEs that were answered OK.
    pub copied: usize,
    /// Moves of messages that operators were told to be unfinished.
    pub reports: usize,
    /// Users who were moved to another backend.
    pub moves: usize,
    /// Mailboxes that were renamed.
    pub renamed: usize,
    /// What became of sessions and backends.
    pub counts: Counts,
    /// Turns that were taken.
    pub turns: u64,
}

impl Outcome {
    /// Adds what came of another world but for its violations.
    pub fn add(&mut self, other: &Outcome) {
        self.answered_ok += other.answered_ok;
        self.answered_no += other.answered_no;
        self.waited += other.waited;
        self.changes += other.changes;
        self.faults += other.faults;
        self.resumed += other.resumed;
        self.delivered += other.delivered;
        self.deferred += other.deferred;
        self.copied += other.copied;
        self.reports += other.reports;
        self.moves += other.moves;
        self.renamed += other.renamed;
        self.counts.add(other.counts);
        self.turns += other.turns;
    }
}

/// A whole murder.
pub struct World {
    pub(crate) dice: Dice,
    pub(crate) now: Instant,
    pub(crate) net: Net,
    pub(crate) frontends: Vec<Host>,
    pub(crate) backends: Vec<Backend>,
    pub(crate) master: Host,
    pub(crate) clients: Vec<Client>,
    pub(crate) clients_to_come: usize,
    pub(crate) late_to_come: usize,
    pub(crate) overseers: Vec<Overseer>,
    pub(crate) line_clients: Vec<LineClient>,
    /// The POP3 and ManageSieve servers of the backends.
    pub(crate) servers: Vec<Server>,
    pub(crate) senders: Vec<Sender>,
    pub(crate) senders_to_come: usize,
    pub(crate) stores: Vec<Store>,
    pub(crate) registrar: Registrar,
    pub(crate) mover: Mover,
    /// What renames mailboxes at the backends.
    pub(crate) renamers: Vec<Renamer>,
    pub(crate) truth: Truth,
    wakes: BTreeSet<(Instant, Owner)>,
    /// When those who are down come back.
    revivals: Vec<(Instant, Owner)>,
    master_up: bool,
    pub(crate) frontends_up: [bool; SLAVES],
    /// Until when a backend does nothing: it is stopped.
    stopped: [Instant; BACKENDS],
    pub(crate) config: Arc<imap::Config>,
    pub(crate) lmtp: Arc<protocols::lmtp::Config>,
    pub(crate) outcome: Outcome,
    pub(crate) trace: bool,
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
            // One of them takes one message at a time.
            let lacks = if n == BACKENDS - 1 { "MULTIAPPEND" } else { "" };
            let mut backend = Backend::new(&server(n), own.map(|(name, _)| name), lacks);
            backend.expect((0..RESIDENTS).flat_map(rooms));
            backend.expect(users_of(n).flat_map(|user| names_of(&user)));
            backend
        });
        let residents = (0..RESIDENTS).map(|n| Resident {
            user: resident(n),
            mailboxes: rooms(n).map(|name| (name.clone(), acl(&name))).to_vec(),
            at: n % BACKENDS,
        });
        let mut world = World {
            now: Instant(0),
            net: Net::new(weather),
            frontends: (0..SLAVES).map(|_| frontend(&mut dice, Stored::default())).collect(),
            backends: backends.collect(),
            master: master(stored),
            clients: Vec::new(),
            clients_to_come: CLIENTS + LINE_CLIENTS,
            overseers: Vec::new(),
            line_clients: Vec::new(),
            servers: (0..BACKENDS).map(|n| Server::new(users_of(n))).collect(),
            senders: Vec::new(),
            senders_to_come: SENDERS,
            stores: (0..BACKENDS)
                .map(|at| Store::new((0..USERS).filter(|n| n % BACKENDS == at).map(user).collect()))
                .collect(),
            registrar: Registrar::default(),
            mover: Mover::new(residents.collect()),
            renamers: (0..BACKENDS).map(|_| Renamer::default()).collect(),
            truth: truth(),
            late_to_come: LATE_CLIENTS,
            stopped: [Instant(0); BACKENDS],
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
                next_chance = self.now + self.pace();
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

    /// How often chance is asked: seldom once nothing but healing is under way.
    fn pace(&self) -> Duration {
        let is_quiet = self.now >= FAULTS_END
            && self.clients.iter().all(|client| client.over)
            && self.overseers.iter().all(|overseer| overseer.over)
            && self.line_clients.iter().all(|client| client.over)
            && self.senders.iter().all(|sender| sender.over);
        Duration::from_millis(if is_quiet { 500 } else { 20 })
    }

    pub(crate) fn wake(&mut self, at: Instant, owner: Owner) {
        self.wakes.insert((at, owner));
    }

    /// Whoever is awake takes a turn.
    fn turn(&mut self, owner: Owner) {
        if let Owner::Backend(n) = owner
            && self.stopped[n % LMTP] > self.now
        {
            return self.wake(self.stopped[n % LMTP], owner);
        }
        self.truth.now = self.now;
        match owner {
            Owner::Client(MOVER) => self.mover_turn(),
            Owner::Client(REGISTRAR) => {
                let active = self.now < FAULTS_END;
                self.registrar.turn(&mut self.net, self.now, &mut self.dice, active);
            }
            Owner::Client(n) if n >= RENAMERS_FROM => self.renamer_turn(n - RENAMERS_FROM),
            Owner::Client(n) if n >= OVERSEERS_FROM => {
                self.overseers[n - OVERSEERS_FROM].turn(
                    &mut self.net,
                    self.now,
                    &mut self.dice,
                    &mut self.truth,
                );
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
            Owner::Client(n) => {
                self.clients[n].turn(&mut self.net, self.now, &mut self.dice, &mut self.truth);
            }
            Owner::Backend(n) => {
                self.backends[n].turn(&mut self.net, self.now, &mut self.dice, &mut self.truth);
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
                let session = self.master_connection("127.0.0.1:1");
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
        if self.late_to_come > 0 && self.now > FAULTS_END + RECOVERY {
            self.late_client_comes();
        }
        let is_late = self.now > FAULTS_END + RECOVERY;
        let is_due = if is_late { OVERSEERS } else { OVERSEERS - 1 } > self.overseers.len();
        if is_due && (is_late || self.dice.per_mille(20)) {
            self.overseer_comes(is_late);
        }
        if self.now < FAULTS_END && self.dice.per_mille(10) {
            self.mover.begin(BACKENDS, &mut self.dice);
        }
        if self.mover.wants_connection() && !self.mover.is_idle() && self.master_up {
            let (ours, theirs) = self.net.connect(Owner::Client(MOVER), Owner::Master);
            let session = self.master_connection("127.0.0.3:1");
            self.master.carrier.accept(session, theirs, &mut self.net, self.now);
            self.mover.connected(ours);
            self.wake(self.now, Owner::Master);
        }
        if self.registrar.wants_connection() && self.master_up && self.now < FAULTS_END {
            let (ours, theirs) = self.net.connect(Owner::Client(REGISTRAR), Owner::Master);
            let session = self.master_connection("127.0.0.2:1");
            self.master.carrier.accept(session, theirs, &mut self.net, self.now);
            self.registrar.connected(ours);
            self.wake(self.now, Owner::Master);
        }
        self.link_renamers();
        self.wake(self.now, Owner::Client(REGISTRAR));
        self.wake(self.now, Owner::Client(MOVER));
        let clients = self.clients.iter().enumerate().filter(|(_, client)| !client.over);
        let lines = self.line_clients.iter().enumerate().filter(|(_, client)| !client.over);
        let senders = self.senders.iter().enumerate().filter(|(_, sender)| !sender.over);
        let overseers = self.overseers.iter().enumerate().filter(|(_, overseer)| !overseer.over);
        let active: Vec<usize> = clients
            .map(|(n, _)| n)
            .chain(lines.map(|(n, _)| LINE_CLIENTS_FROM + n))
            .chain(senders.map(|(n, _)| LMTP + n))
            .chain(overseers.map(|(n, _)| OVERSEERS_FROM + n))
            .collect();
        for n in active {
            self.wake(self.now, Owner::Client(n));
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

    /// Who moves users takes a turn; what he wants of the backends is done.
    fn mover_turn(&mut self) {
        let servers: Vec<String> = self.backends.iter().map(|backend| backend.name.clone()).collect();
        match self.mover.turn(&mut self.net, self.now, &mut self.dice, &servers) {
            Some(Wish::Close { at, mailboxes, door }) => self.backends[at].set_door(&mailboxes, door),
            Some(Wish::Carry { user, mailboxes, from, to }) if self.is_well(from) && self.is_well(to) => {
                // The sessions of its owner end a moment late.
                let end = self.now + self.dice.time(Duration::from_millis(300));
                let given = self.backends[from].give(&user, &mailboxes, end);
                self.backends[to].take(given);
                self.backends[to].set_door(&mailboxes, Door::Open);
                self.mover.carried();
                self.wake(self.now, Owner::Backend(from));
                self.wake(end, Owner::Backend(from));
                if self.trace {
                    println!("{:>12} {user} is moved to {}", self.now.0, servers[to]);
                }
            }
            Some(Wish::Carry { .. }) | None => {}
        }
    }

    /// Gives what renames mailboxes its connections to the master.
    fn link_renamers(&mut self) {
        for n in 0..BACKENDS {
            let is_due = self.is_well(n) && self.renamers[n].wants_connection(&self.backends[n]);
            let who = Owner::Client(RENAMERS_FROM + n);
            if is_due && self.master_up {
                let (ours, theirs) = self.net.connect(who, Owner::Master);
                let session = self.master_connection(&format!("127.0.1.{n}:1"));
                self.master.carrier.accept(session, theirs, &mut self.net, self.now);
                self.renamers[n].connected(ours);
                self.wake(self.now, Owner::Master);
            }
            if is_due || !self.renamers[n].is_idle() || self.backends[n].wants_rename() {
                self.wake(self.now, who);
            }
        }
    }

    /// A part of the backend: it does nothing while that is stopped or dead.
    fn renamer_turn(&mut self, n: usize) {
        if self.is_well(n) {
            let World { renamers, backends, net, dice, truth, .. } = self;
            renamers[n].turn(net, self.now, dice, &mut backends[n], truth);
            self.wake(self.now, Owner::Backend(n));
        }
    }

    fn is_well(&self, backend: usize) -> bool {
        self.backends[backend].is_up() && self.stopped[backend] <= self.now
    }

    /// Who changes the list is known by his address.
    fn master_connection(&mut self, address: &str) -> Box<dyn Session> {
        let epoch = self.master.directory.epoch().map(Into::into);
        let origin = Origin { client_address: address.into(), ..self.origin() };
        machines::master_connection(origin, epoch)
    }

    pub(crate) fn origin(&mut self) -> Origin {
        origin(&mut self.dice)
    }

    fn fault(&mut self) {
        self.outcome.faults += 1;
        let pause = Duration::from_millis(1) + self.dice.time(Duration::from_secs(4));
        let back = self.now + pause;
        if self.dice.per_mille(300) {
            let n = self.dice.below(BACKENDS);
            self.stopped[n] = self.stopped[n].max(self.now + self.dice.time(STOPPED_MAX));
            if self.trace {
                println!("{:>12} backend {n} is stopped until {}", self.now.0, self.stopped[n].0);
            }
            return;
        }
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
                self.stopped[n] = Instant(0);
                self.servers[n].die();
                self.net.reset_all(Owner::Client(RENAMERS_FROM + n), self.now);
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
                let before = std::mem::replace(&mut self.frontends[n], frontend(&mut self.dice, stored));
                before.reports.into_iter().for_each(|report| self.truth.reported(report));
                self.outcome.counts.add(before.counts);
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
            && self.late_to_come == 0
            && self.mover.is_idle()
            && self.renamers.iter().all(Renamer::is_idle)
            && self.senders_to_come == 0
            && self.senders.iter().all(|sender| sender.over)
            && self.clients.iter().all(|client| client.over)
            && self.overseers.len() == OVERSEERS
            && self.overseers.iter().all(|overseer| overseer.over)
            && self.line_clients.iter().all(|client| client.over)
    }
}

/// What is so before anything happens.
fn truth() -> Truth {
    let mut truth = Truth::default();
    (0..USERS).for_each(|n| truth.boxes.begin(&names_of(&user(n))[0]));
    truth
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
    let directory = Directory::new(directory::Config::slave(), stored.loaded());
    Host::new(directory, stored, Some(machines::slave(&origin(dice))))
}

/// A master begins an epoch whenever it starts.
fn master(mut stored: Stored) -> Host {
    let name = format!("epoch{}", stored.history.0.len());
    stored.history.begin(name.into(), stored.sequence);
    let directory = Directory::new(directory::Config::master(), stored.loaded());
    Host::new(directory, stored, None)
}
