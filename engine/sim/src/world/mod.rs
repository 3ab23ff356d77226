//! A world: clients, frontends, backends and a master under one seed, and what must hold in it.

mod comings;
mod connections;
mod faults;
mod judge;
mod outcome;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mupdate::directory::{self, Directory};
use protocols::imap;
use protocols::proxy::{Instant, Origin};

use crate::backend::Backend;
use crate::boxes::names_of;
use crate::client::Client;
use crate::dice::Dice;
use crate::host::Host;
use crate::lines::client::LineClient;
use crate::lines::server::Server;
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

pub use outcome::Outcome;

/// Slaves of the master.
const SLAVES: usize = 10;

/// Those of them that serve clients.
const FRONTENDS: usize = 2;
const CLIENTS: usize = 8;

/// Those that come when all is well again.
const LATE_CLIENTS: usize = 2;

/// The number of who moves users, and of who changes the list.
const MOVER: usize = usize::MAX - 1;
const REGISTRAR: usize = usize::MAX;
const SENDERS: usize = 4;

/// Numbers of MTAs, and of the LMTP sides of backends, begin here.
const LMTP: usize = 1000;

/// Clients of POP3 and ManageSieve, numbered from here on.
const LINE_CLIENTS: usize = 6;
const LINE_CLIENTS_FROM: usize = 1 << 20;

/// Administrators, numbered from here on; the last comes when all is well again.
const OVERSEERS: usize = 3;
const OVERSEERS_FROM: usize = 1 << 21;

/// The numbers of what renames mailboxes at the backends.
const RENAMERS_FROM: usize = 1 << 22;

/// Faults happen until then.
const FAULTS_END: Instant = Instant(20_000_000_000);

/// So long after it nothing is refused any more.
const RECOVERY: Duration = Duration::from_secs(45);

/// What is not over by then never ends.
const WORLD_END: Instant = Instant(900_000_000_000);

/// Bytes that may stand unread in a connection: what the window of the network lets through.
const INBOX_BYTES_MAX: usize = 96 * 1024;

/// Turns of a world; past it something spins.
const TURNS_MAX: u64 = 3_000_000;

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
    late_to_come: usize,
    overseers: Vec<Overseer>,
    line_clients: Vec<LineClient>,
    /// The POP3 and ManageSieve servers of the backends.
    servers: Vec<Server>,
    senders: Vec<Sender>,
    senders_to_come: usize,
    stores: Vec<Store>,
    registrar: Registrar,
    mover: Mover,
    /// What renames mailboxes at the backends.
    renamers: Vec<Renamer>,
    truth: Truth,
    wakes: BTreeSet<(Instant, Owner)>,
    /// When those who are down come back.
    revivals: Vec<(Instant, Owner)>,
    master_up: bool,
    frontends_up: [bool; SLAVES],
    /// Until when a backend does nothing: it is stopped.
    stopped: [Instant; BACKENDS],
    config: Arc<imap::Config>,
    lmtp: Arc<protocols::lmtp::Config>,
    outcome: Outcome,
    trace: bool,
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
        for (name, at) in mailboxes() {
            let change = entry(&name, at);
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

    fn wake(&mut self, at: Instant, owner: Owner) {
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
        self.link_to_master();
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
        self.come_back();
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

    fn origin(&mut self) -> Origin {
        origin(&mut self.dice)
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
