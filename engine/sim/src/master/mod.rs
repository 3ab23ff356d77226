//! A world of a master and those who follow it: backends change the list, slaves and subscribers are
//! told, over a network and with disks that fail.
//!
//! What must hold: what was acknowledged is on the disk and stays; a mailbox never changes its server
//! without a word; streams tell all changes in the order of their commits; a barrier is exact, also
//! through a slave that is followed; all lists are equal in the end.

mod faults;
mod judge;
mod life;
mod line;
mod outcome;
mod watcher;
mod writer;

use std::collections::BTreeSet;
use std::time::Duration;

use mupdate::directory::{self, Directory, Effect, Ticket, Wait};
use mupdate::master::Role;
use protocols::proxy::{
    Answer, Change, ChangePage, DirectoryAnswer, DirectoryQuestion, Entry, Instant, Location, Origin, Session,
};

use crate::dice::Dice;
use crate::disk::{Disk, Habit};
use crate::host::{Dial, Host};
use crate::machines;
use crate::net::{Net, Owner, Weather};
use crate::stored::Stored;

use life::{Life, Picture, mark_of};
use watcher::{Manner, Watcher};
use writer::Writer;

pub use outcome::Outcome;

/// Slaves of ours. The first is followed by the last [`CASCADED`].
const SLAVES: usize = 10;
const CASCADED: usize = 2;
const WRITERS: usize = 3;

/// Those who know no more than RFC 3656.
const MANNERS: [Manner; 4] = [Manner::Prompt, Manner::Prompt, Manner::Slow, Manner::Partial("be1")];

/// Numbers of subscribers begin here.
const WATCHERS_FROM: usize = 100;

/// Faults and changes happen until then.
const FAULTS_END: Instant = Instant(4_000_000_000);

/// Between two throws of the dice.
const TICK: Duration = Duration::from_millis(20);

/// Turns of a world; past it something spins.
const TURNS_MAX: u64 = 1_000_000;

/// The ticket of a question that the world asks for itself.
const NEWS: u64 = u64::MAX;

/// Tickets of the barriers that it asks for.
const PROBES_FROM: u64 = 1 << 60;

/// Whether a process runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Up,
    /// It has said BYE and stops then.
    Leaving(Instant),
    /// It stands still until then.
    Frozen(Instant),
    /// It is started again then.
    Down(Instant),
}

impl State {
    fn until(self) -> Option<Instant> {
        match self {
            State::Up => None,
            State::Leaving(at) | State::Frozen(at) | State::Down(at) => Some(at),
        }
    }

    fn runs(self) -> bool {
        matches!(self, State::Up | State::Leaving(_))
    }

    /// Whether the system accepts connections for it.
    fn listens(self) -> bool {
        matches!(self, State::Up | State::Frozen(_))
    }
}

/// A barrier that is waited for.
struct Probe {
    ticket: u64,
    /// The life of the master, and the place in it, when it was asked for.
    since: (usize, usize),
}

struct Slave {
    host: Host,
    state: State,
    probes: Vec<Probe>,
}

/// A master and those around it.
pub struct World {
    dice: Dice,
    now: Instant,
    net: Net,
    disk: Habit,
    master: Host,
    state: State,
    lives: Vec<Life>,
    slaves: Vec<Slave>,
    writers: Vec<Writer>,
    watchers: Vec<Watcher>,
    wakes: BTreeSet<(Instant, Owner)>,
    next_probe: u64,
    next_look: Instant,
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
            split_reads: [0, 50, 400][dice.below(3)],
        };
        let disk = Habit {
            delay_max: Duration::from_micros([100, 5_000, 60_000][dice.below(3)]),
            failures: [0, 0, 60][dice.below(3)],
        };
        let stored = at_first([5, 60, 270][dice.below(3)]);
        let picture = Picture::of(stored.entries.values().cloned());
        let mut world = World {
            now: Instant(0),
            net: Net::new(weather),
            master: started_master(stored, disk),
            disk,
            state: State::Up,
            lives: vec![Life::begin(picture, 0)],
            slaves: Vec::new(),
            writers: (0..WRITERS).map(Writer::new).collect(),
            watchers: MANNERS.map(Watcher::new).into(),
            wakes: BTreeSet::new(),
            next_probe: PROBES_FROM,
            next_look: FAULTS_END + Duration::from_secs(1),
            outcome: Outcome::default(),
            trace,
            dice,
        };
        for n in 0..SLAVES {
            let host = world.started_slave(n, Stored::default());
            world.slaves.push(Slave { host, state: State::Up, probes: Vec::new() });
            world.wake(Instant(0), Owner::Frontend(n));
        }
        world
    }

    /// Runs the world to its end.
    pub fn run(mut self) -> Outcome {
        let mut next_tick = Instant(0) + TICK;
        while self.outcome.turns < TURNS_MAX {
            match self.wakes.first().copied().filter(|(at, _)| *at <= next_tick) {
                Some((at, owner)) => {
                    self.wakes.pop_first();
                    self.now = self.now.max(at);
                    self.outcome.turns += 1;
                    self.turn(owner);
                }
                None => {
                    self.now = self.now.max(next_tick);
                    next_tick = self.now + TICK;
                    self.tick();
                    if self.is_over() {
                        break;
                    }
                }
            }
            self.note_wakes();
        }
        self.judge();
        self.outcome
    }

    fn is_calm(&self) -> bool {
        self.now >= FAULTS_END
    }

    fn wake(&mut self, at: Instant, owner: Owner) {
        self.wakes.insert((at, owner));
    }

    fn note_wakes(&mut self) {
        for (at, owner) in self.net.take_wakes() {
            self.wake(at, owner);
        }
    }

    fn violation(&mut self, text: String) {
        self.outcome.violations.push(format!("at {} ms: {text}", self.now.0 / 1_000_000));
    }

    fn note(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>8} us {}", self.now.0 / 1_000, text());
        }
    }

    /// Whoever is awake takes a turn.
    fn turn(&mut self, owner: Owner) {
        let is_calm = self.is_calm();
        match owner {
            Owner::Client(n) if n >= WATCHERS_FROM => {
                let watcher = &mut self.watchers[n - WATCHERS_FROM];
                watcher.turn(&mut self.net, self.now, &mut self.dice, &self.lives, is_calm);
            }
            Owner::Client(n) => {
                let life = &self.lives[self.lives.len() - 1];
                let stored = &self.master.stored;
                self.writers[n].turn(&mut self.net, self.now, &mut self.dice, life, stored);
            }
            Owner::Frontend(n) if self.slaves[n].state.runs() => {
                let dials = self.slaves[n].host.turn(&mut self.net, self.now, &mut self.dice);
                self.probed(n);
                for dial in dials {
                    self.dial(n, dial);
                }
                if let Some(at) = self.slaves[n].host.next_turn(&self.net, self.now) {
                    self.wake(at.max(Instant(self.now.0 + 1)), owner);
                }
            }
            Owner::Master if self.state.runs() => {
                self.master.turn(&mut self.net, self.now, &mut self.dice);
                self.read_news();
                if let Some(at) = self.master.next_turn(&self.net, self.now) {
                    self.wake(at.max(Instant(self.now.0 + 1)), owner);
                }
            }
            Owner::Frontend(_) | Owner::Master | Owner::Backend(_) => {}
        }
    }

    /// Takes what the master has published since the last time.
    fn read_news(&mut self) {
        let life = self.lives.len() - 1;
        let published = self.master.directory.published().load().sequence;
        while self.lives[life].sequence() < published {
            let since = self.lives[life].sequence();
            self.master.directory.handle(Ticket(NEWS), DirectoryQuestion::Changes { since });
            // Behind a turn no other effect waits.
            let Some(Effect::Answer {
                answer: Answer::Directory(DirectoryAnswer::Changes(Ok(ChangePage { changes, .. }))),
                ..
            }) = self.master.directory.poll_effect()
            else {
                return self.violation(format!("the master does not know what it did since {since}"));
            };
            for change in changes {
                if let Err(text) = self.lives[life].push(change) {
                    self.violation(text);
                }
            }
        }
    }

    /// Barriers of a slave that were answered: its list is what the master had then or later.
    fn probed(&mut self, n: usize) {
        for (ticket, answer) in std::mem::take(&mut self.slaves[n].host.answers) {
            let probes = &mut self.slaves[n].probes;
            let Some(at) = probes.iter().position(|probe| probe.ticket == ticket) else { continue };
            let (life, place) = probes.remove(at).since;
            if !matches!(answer, Answer::Barrier(Ok(()))) {
                continue;
            }
            self.outcome.barriers += 1;
            let mark = mark_of(&self.slaves[n].host.directory.published().load().list);
            // A slave that stood still may hear of the life in which it asked when the next has begun; what was
            // acknowledged in the one stands in the beginning of the other.
            let mut lives = self.lives[life..].iter().enumerate();
            if !lives.any(|(later, life)| life.had(mark, if later == 0 { place } else { 0 })) {
                self.violation(format!("slave {n} passed a barrier with a list that the master has not"));
            }
        }
    }

    /// Makes a connection that a slave asked for.
    fn dial(&mut self, from: usize, dial: Dial) {
        let me = Owner::Frontend(from);
        let to = if dial.server == "master" { Owner::Master } else { Owner::Frontend(0) };
        let end = self.connect(me, to);
        self.slaves[from].host.dialled(dial, end, &mut self.net, self.now);
        self.wake(Instant(self.now.0 + 1), me);
    }

    /// Connects to the master or to the slave that is followed, if there is somebody.
    fn connect(&mut self, from: Owner, to: Owner) -> Option<crate::net::EndId> {
        let state = if to == Owner::Master { self.state } else { self.slaves[0].state };
        if !state.listens() {
            return None;
        }
        let address = match from {
            Owner::Client(n) => format!("10.0.0.{n}:1"),
            Owner::Frontend(_) | Owner::Backend(_) | Owner::Master => "10.0.1.1:1".to_owned(),
        };
        let origin = Origin { client_address: address.into(), ..self.origin() };
        let (ours, theirs) = self.net.connect(from, to);
        let (host, role) = match to {
            Owner::Master => (&mut self.master, Role::Master),
            Owner::Frontend(_) | Owner::Backend(_) | Owner::Client(_) => {
                (&mut self.slaves[0].host, Role::Slave { master: "master".into() })
            }
        };
        let epoch = host.directory.epoch().map(Into::into);
        let session: Box<dyn Session> = machines::mupdate_connection(role, origin, epoch);
        host.carrier.accept(session, theirs, &mut self.net, self.now);
        self.wake(self.now, to);
        Some(ours)
    }

    fn origin(&mut self) -> Origin {
        Origin {
            random: self.dice.bytes(),
            started_unix: 1_800_000_000,
            client_address: "127.0.0.1:1".into(),
            tls: false,
        }
    }

    fn started_slave(&mut self, n: usize, mut stored: Stored) -> Host {
        let server = if n >= SLAVES - CASCADED { "slave" } else { "master" };
        if n == 0 {
            begin_epoch("slave", &mut stored);
        }
        let directory = Directory::new(directory::Config::slave(), stored.loaded());
        let machine = machines::slave_of(server, &self.origin());
        let mut host = Host::new(directory, stored, Some(machine));
        host.disk = Disk::new(self.disk);
        host
    }

    /// What happens by chance.
    fn tick(&mut self) {
        self.come_back();
        let is_calm = self.is_calm();
        for n in 0..WRITERS {
            let connects = self.writers[n].wants_connection() && (is_calm || self.dice.per_mille(300));
            if connects && let Some(end) = self.connect(Owner::Client(n), Owner::Master) {
                self.writers[n].connected(end);
            }
            if !is_calm && self.dice.per_mille(150) {
                let life = &self.lives[self.lives.len() - 1];
                self.writers[n].plan(&mut self.dice, life);
            }
            self.wake(self.now, Owner::Client(n));
        }
        for n in 0..self.watchers.len() {
            let connects = self.watchers[n].wants_connection() && (is_calm || self.dice.per_mille(200));
            if connects && let Some(end) = self.connect(Owner::Client(WATCHERS_FROM + n), Owner::Master) {
                self.watchers[n].connected(end, self.lives.len() - 1);
            }
            if self.dice.per_mille(if is_calm { 200 } else { 60 }) {
                self.watchers[n].noop(&self.lives);
            }
            self.wake(self.now, Owner::Client(WATCHERS_FROM + n));
        }
        if is_calm {
            return;
        }
        for n in 0..SLAVES {
            if self.slaves[n].state.runs() && self.dice.per_mille(15) {
                self.probe(n);
            }
        }
        if self.dice.per_mille(30) {
            self.fault();
        }
    }

    /// Asks a slave for a barrier.
    fn probe(&mut self, n: usize) {
        let life = self.lives.len() - 1;
        let slave = &mut self.slaves[n];
        slave.probes.push(Probe { ticket: self.next_probe, since: (life, self.lives[life].len()) });
        slave.host.directory.wait(Ticket(self.next_probe), Wait::Barrier, self.now);
        self.next_probe += 1;
        self.wake(self.now, Owner::Frontend(n));
    }
}

/// What the master has before anything happens.
fn at_first(names: usize) -> Stored {
    let mut stored = Stored { is_complete: true, ..Stored::default() };
    for n in 0..names {
        let name = format!("user.old{n}");
        let change = Change::Active(Entry {
            name: name.as_bytes().into(),
            location: Location(format!("be{}!default", n % WRITERS).into_bytes().into()),
            acl: format!("old{n}\tlrswipkxtecdan\t").into_bytes().into(),
        });
        stored.entries.insert(name.into_bytes(), change);
    }
    stored
}

fn begin_epoch(whose: &str, stored: &mut Stored) {
    let name = format!("{whose}{}", stored.history.0.len());
    stored.history.begin(name.into(), stored.sequence);
}

fn started_master(mut stored: Stored, disk: Habit) -> Host {
    begin_epoch("master", &mut stored);
    let directory = Directory::new(directory::Config::master(), stored.loaded());
    let mut host = Host::new(directory, stored, None);
    host.disk = Disk::new(disk);
    host
}
