//! The rules of the master under every order of events: backends that create, change, delete, move
//! and push one mailbox, a slave that follows, and crashes of all of them and their connections.
//!
//! What is decided is decided by [`rules::decide`] and [`History::has`], as in the server. The rest
//! of the master is modelled as the directory does it: requests are decided against what was
//! decided before, stored later, and answered when they are stored.
//!
//! The small form runs with the other tests; `cargo xtask model` runs the large one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use mupdate::directory::{Epoch, History};
use mupdate::master::rules::{self, Claim, Mode, Rules, Standing, Takeover};
use protocols::proxy::{Change, Entry, Location, MasterRequest, Position};
use stateright::{Checker, HasDiscoveries, Model, Property};

const STRICT: Rules = Rules { mode: Mode::Standard, takeover: Takeover::Refused };
const CYRUS: Rules = Rules { mode: Mode::Standard, takeover: Takeover::Allowed };

/// Nothing acknowledged is lost.
const KEPT: &str = "what a server was told is its own is active there";
const ONE_OWNER: &str = "at most one server was told that it has the mailbox";
const CONVERGED: &str = "a slave at the end of the stream has the master's list";
const REFUSED: &str = "a contradiction is refused";
const MOVED: &str = "a mailbox is moved";
const RESUMED: &str = "a slave goes on in another epoch";

/// What may happen in a murder.
#[derive(Clone, Copy)]
struct Murder {
    rules: Rules,
    backends: usize,
    /// All backends connect from one address.
    shared_address: bool,
    /// Backends push with `-a`.
    authoritative: bool,
    /// The source of a move activates the mailbox once more while it deletes it, as Cyrus 3.8 to 3.12.
    strays: bool,
    /// The master may be restored from an old copy.
    restores: bool,
    /// What is recorded as a contradiction excuses what it leads to.
    excuses: bool,
    /// Commands in all.
    commands: u8,
    /// Crashes, broken connections and restores in all.
    faults: u8,
}

/// All that can be told from outside.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    master: Master,
    backends: Vec<Backend>,
    slave: Slave,
    commands: u8,
    faults: u8,
    /// A contradiction was done, and recorded.
    recorded: bool,
    /// A contradiction was refused.
    refused: bool,
    /// A DELETE came from the owner's address, and was another server's there: nobody can tell.
    ambiguous: bool,
    /// The master has an older history than it told.
    restored: bool,
    /// The slave went on in another epoch without a dump.
    resumed: bool,
    moved: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Master {
    /// What was decided.
    mind: Kept,
    /// What is stored.
    disk: Kept,
    /// An old copy of the disk.
    copy: Option<(Kept, History)>,
    history: History,
}

/// The list, which is one name, with what made it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Kept {
    /// By sequence number: what each change left.
    changes: Vec<Option<Standing>>,
    /// By address: servers that have activated from it.
    known: Vec<Vec<Box<[u8]>>>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Backend {
    /// The mailbox on its disk.
    copy: Option<u8>,
    /// What was sent, and how far it is.
    asked: Option<(Ask, Stage)>,
    /// What is sent then.
    then: Option<Ask>,
    /// A START that pushes is due.
    starting: bool,
    /// The connection has sent LIST.
    listed: bool,
    /// What stood in the request that the master took last: a move may replace the copy before the answer.
    taken: u8,
    /// It was told that the mailbox is active here, and has asked for nothing since.
    owns: Option<u8>,
}

/// The copy of the list at a slave.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Slave {
    standing: Option<Standing>,
    epoch: Option<Box<str>>,
    sequence: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Ask {
    Reserve,
    Activate,
    Deactivate {
        to: usize,
    },
    /// ACTIVATE at the source in the middle of its move, on another connection.
    Stray {
        to: usize,
    },
    Delete,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Stage {
    Sent,
    /// Accepted, not stored.
    Accepted,
    Answered {
        ok: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Command {
    Create,
    ChangeAcl,
    Delete,
    Move { to: usize },
    Push,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Action {
    Begin(usize, Command),
    /// The master takes a backend's request.
    Take(usize),
    /// The master stores what it has accepted.
    Store,
    /// A backend hears its answer.
    Hear(usize),
    /// The slave connects if need be, and takes one step.
    Follow,
    Break(usize),
    BackendDies(usize),
    MasterDies,
    CopyDisk,
    Restore,
}

fn server(n: usize) -> Box<[u8]> {
    format!("be{n}").into_bytes().into()
}

/// Where a backend has the mailbox; the partition stands for what a change of the ACL changes.
fn place(n: usize, version: u8) -> Location {
    Location(format!("be{n}!p{version}").into_bytes().into())
}

fn active(n: usize, version: u8) -> Option<Standing> {
    Some(Standing { location: place(n, version), reserved: false })
}

fn request(ask: Ask, from: usize, version: u8) -> MasterRequest {
    let name: Box<[u8]> = b"user.a".as_slice().into();
    let location = place(from, version);
    match ask {
        Ask::Reserve => MasterRequest::Reserve { name, location },
        Ask::Activate | Ask::Stray { .. } => {
            MasterRequest::Activate(Entry { name, location, acl: b"".as_slice().into() })
        }
        Ask::Deactivate { .. } => MasterRequest::Deactivate { name, location },
        Ask::Delete => MasterRequest::Delete { name },
    }
}

impl Kept {
    fn standing(&self) -> Option<&Standing> {
        self.changes.last().and_then(Option::as_ref)
    }

    fn sequence(&self) -> u64 {
        self.changes.len() as u64 - 1
    }
}

impl State {
    /// Whether what was promised cannot be held, and somebody knows.
    fn is_excused(&self, murder: &Murder) -> bool {
        ((self.recorded || self.ambiguous) && murder.excuses) || self.restored
    }

    /// The master decides what a backend asks.
    fn take(&mut self, murder: &Murder, n: usize) {
        let backend = &mut self.backends[n];
        let Some((ask, Stage::Sent)) = backend.asked else { return };
        let mind = &mut self.master.mind;
        let address = if murder.shared_address { 0 } else { n };
        let own = server(n);
        let claim = Claim {
            listed: backend.listed.then_some(&*own),
            servers: &mind.known[address],
            amid_move: matches!(ask, Ask::Stray { .. }),
        };
        backend.taken = backend.copy.unwrap_or(0);
        let request = request(ask, n, backend.taken);
        let decision = rules::decide(mind.standing(), &request, claim, &murder.rules);
        let is_done = matches!(decision.change, Ok(Some(_)));
        let owner = mind.standing().filter(|there| !there.reserved).map(|there| there.location.clone());
        let looks_like_owner = owner
            .filter(|owner| !owner.is_at(&own))
            .is_some_and(|owner| mind.known[address].iter().any(|server| owner.is_at(server)));
        self.ambiguous |= ask == Ask::Delete && is_done && looks_like_owner;
        self.recorded |= decision.conflict && is_done;
        self.refused |= decision.conflict && !is_done;
        let stage = match decision.change {
            Err(_) => Stage::Answered { ok: false },
            Ok(None) if self.master.disk == *mind => Stage::Answered { ok: true },
            Ok(None) => Stage::Accepted,
            Ok(Some(change)) => {
                if let Change::Active(_) = change
                    && !mind.known[address].contains(&own)
                {
                    mind.known[address].push(own);
                }
                mind.changes.push(match change {
                    Change::Active(entry) => Some(Standing { location: entry.location, reserved: false }),
                    Change::Reserved { location, .. } => Some(Standing { location, reserved: true }),
                    Change::Deleted { .. } => None,
                });
                Stage::Accepted
            }
        };
        backend.asked = Some((ask, stage));
    }

    fn store(&mut self) {
        self.master.disk = self.master.mind.clone();
        for backend in &mut self.backends {
            if let Some((_, stage @ Stage::Accepted)) = &mut backend.asked {
                *stage = Stage::Answered { ok: true };
            }
        }
    }

    /// A backend begins a command, as Cyrus does.
    fn begin(&mut self, murder: &Murder, n: usize, command: Command) {
        let there = self.master.disk.standing().cloned();
        let backend = &mut self.backends[n];
        backend.listed = command == Command::Push;
        match command {
            Command::Create => {
                backend.copy = Some(0);
                backend.then = Some(Ask::Activate);
                backend.send(Ask::Reserve);
            }
            Command::ChangeAcl => {
                backend.copy = backend.copy.map(|version| (version + 1) % 2);
                backend.send(Ask::Activate);
            }
            Command::Delete => backend.send(Ask::Delete),
            Command::Move { to } => backend.send(Ask::Deactivate { to }),
            Command::Push => backend.push(n, there.as_ref(), murder.authoritative),
        }
    }

    fn hear(&mut self, murder: &Murder, n: usize) {
        let Some((ask, Stage::Answered { ok })) = self.backends[n].asked.take() else { return };
        if !ok {
            return self.backends[n].failed(ask);
        }
        match ask {
            Ask::Reserve => {
                let then = self.backends[n].then.take();
                if let Some(then) = then {
                    self.backends[n].send(then);
                }
            }
            Ask::Activate => self.backends[n].owns = Some(self.backends[n].taken),
            Ask::Delete => self.backends[n].copy = None,
            Ask::Deactivate { to } if murder.strays => self.backends[n].send(Ask::Stray { to }),
            Ask::Deactivate { to } | Ask::Stray { to } => {
                let copy = self.backends[n].copy.take();
                let destination = &mut self.backends[to];
                destination.copy = copy;
                // A destination that is busy or down does not hear the push: the move stays unfinished.
                if destination.asked.is_none() && !destination.starting {
                    destination.listed = false;
                    destination.send(Ask::Activate);
                    self.moved = true;
                }
            }
        }
    }

    fn master_begins(&mut self) {
        let mind = self.master.disk.clone();
        let name = format!("e{}", self.faults).into();
        self.master.history.begin(name, mind.sequence());
        self.master.mind = mind;
        for backend in &mut self.backends {
            backend.lost();
        }
    }

    /// The slave asks to go on where it is, or for the whole list.
    fn follow(&mut self) {
        let disk = &self.master.disk;
        let epoch: Option<Box<str>> = self.master.history.current().map(Into::into);
        let slave = &mut self.slave;
        let position = slave.epoch.clone().map(|epoch| Position { epoch, sequence: slave.sequence });
        let may = position.is_some_and(|position| self.master.history.has(&position, disk.sequence()));
        if !may {
            slave.standing = disk.standing().cloned();
            slave.sequence = disk.sequence();
        } else {
            self.resumed |= slave.epoch != epoch;
            if slave.sequence < disk.sequence() {
                slave.sequence += 1;
                slave.standing = disk.changes[slave.sequence as usize].clone();
            }
        }
        slave.epoch = epoch;
    }
}

impl Backend {
    fn send(&mut self, ask: Ask) {
        self.owns = None;
        self.asked = Some((ask, Stage::Sent));
    }

    /// The answer was NO, or none came: Cyrus takes back what it did, where it does.
    fn failed(&mut self, ask: Ask) {
        let creates = self.then.is_some() || ask == Ask::Reserve;
        self.then = None;
        if creates {
            self.copy = None;
        }
    }

    fn lost(&mut self) {
        if let Some((ask, _)) = self.asked.take() {
            self.failed(ask);
        }
    }

    /// `ctl_mboxlist -m`.
    fn push(&mut self, n: usize, there: Option<&Standing>, authoritative: bool) {
        self.starting = false;
        let is_mine = there.is_some_and(|there| there.location.is_at(&server(n)));
        match self.copy {
            None if is_mine => self.send(Ask::Delete),
            None => {}
            Some(version) if there == active(n, version).as_ref() => {}
            Some(_) if is_mine || there.is_none() || authoritative => self.send(Ask::Activate),
            // Another has it: the copy goes.
            Some(_) => self.copy = None,
        }
    }
}

impl Model for Murder {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let kept = Kept { changes: vec![None], known: vec![Vec::new(); self.backends] };
        let backend = Backend {
            copy: None,
            asked: None,
            then: None,
            starting: false,
            listed: false,
            taken: 0,
            owns: None,
        };
        let history = History(vec![Epoch { name: "first".into(), first: 0 }]);
        vec![State {
            master: Master { mind: kept.clone(), disk: kept, copy: None, history },
            backends: vec![backend; self.backends],
            slave: Slave { standing: None, epoch: None, sequence: 0 },
            commands: self.commands,
            faults: self.faults,
            recorded: false,
            refused: false,
            ambiguous: false,
            restored: false,
            resumed: false,
            moved: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (n, backend) in state.backends.iter().enumerate() {
            self.commands(state, n, actions);
            match backend.asked {
                Some((_, Stage::Sent)) => actions.push(Action::Take(n)),
                Some((_, Stage::Answered { .. })) => actions.push(Action::Hear(n)),
                Some((_, Stage::Accepted)) | None => {}
            }
            if state.faults > 0 && backend.asked.is_some() {
                actions.extend([Action::Break(n), Action::BackendDies(n)]);
            }
        }
        if state.master.mind != state.master.disk {
            actions.push(Action::Store);
        }
        actions.push(Action::Follow);
        if state.faults > 0 {
            actions.push(Action::MasterDies);
            if self.restores && state.master.copy.is_none() {
                actions.push(Action::CopyDisk);
            }
            if state.master.copy.is_some() {
                actions.push(Action::Restore);
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Begin(n, command) => {
                state.commands -= 1;
                state.begin(self, n, command);
            }
            Action::Take(n) => state.take(self, n),
            Action::Store => state.store(),
            Action::Hear(n) => state.hear(self, n),
            Action::Follow => state.follow(),
            Action::CopyDisk => {
                state.master.copy = Some((state.master.disk.clone(), state.master.history.clone()));
            }
            Action::Break(n) => {
                state.faults -= 1;
                state.backends[n].lost();
            }
            Action::BackendDies(n) => {
                state.faults -= 1;
                // What it had begun stays on its disk.
                let backend = &mut state.backends[n];
                (backend.asked, backend.then, backend.owns) = (None, None, None);
                backend.starting = true;
            }
            Action::MasterDies => {
                state.faults -= 1;
                state.master_begins();
            }
            Action::Restore => {
                state.faults -= 1;
                state.restored = true;
                (state.master.disk, state.master.history) = state.master.copy.take()?;
                state.master_begins();
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Murder>> {
        vec![
            Property::always(KEPT, |murder: &Murder, state: &State| {
                let has = |n, version| state.master.disk.standing() == active(n, version).as_ref();
                let mut owners = state.backends.iter().enumerate();
                state.is_excused(murder)
                    || owners.all(|(n, backend)| backend.owns.is_none_or(|version| has(n, version)))
            }),
            Property::always(ONE_OWNER, |murder: &Murder, state: &State| {
                let owners = state.backends.iter().filter(|backend| backend.owns.is_some());
                state.is_excused(murder) || owners.count() <= 1
            }),
            Property::always(CONVERGED, |_, state: &State| {
                let (slave, master) = (&state.slave, &state.master);
                let is_there = slave.epoch.as_deref() == master.history.current()
                    && slave.sequence == master.disk.sequence();
                !is_there || slave.standing.as_ref() == master.disk.standing()
            }),
            Property::sometimes(REFUSED, |_, state: &State| state.refused),
            Property::sometimes(MOVED, |_, state: &State| state.moved && state.backends[1].owns.is_some()),
            Property::sometimes(RESUMED, |_, state: &State| state.resumed),
        ]
    }
}

impl Murder {
    /// What a backend that is idle may begin.
    fn commands(&self, state: &State, n: usize, actions: &mut Vec<Action>) {
        let backend = &state.backends[n];
        if state.commands == 0 || backend.asked.is_some() {
            return;
        }
        actions.push(Action::Begin(n, Command::Push));
        if backend.starting {
            return;
        }
        if backend.copy.is_none() {
            actions.push(Action::Begin(n, Command::Create));
            return;
        }
        actions.extend([Action::Begin(n, Command::ChangeAcl), Action::Begin(n, Command::Delete)]);
        for to in (0..self.backends).filter(|to| *to != n) {
            actions.push(Action::Begin(n, Command::Move { to }));
        }
    }
}

/// The large form of a murder when `MODEL_LARGE` is set (`cargo xtask model`).
fn sized(small: Murder) -> Murder {
    match std::env::var_os("MODEL_LARGE") {
        Some(_) => Murder { commands: small.commands + 1, faults: small.faults + 1, ..small },
        None => small,
    }
}

const SMALL: Murder = Murder {
    rules: STRICT,
    backends: 2,
    shared_address: false,
    authoritative: false,
    strays: false,
    restores: false,
    excuses: true,
    commands: 3,
    faults: 1,
};

/// Checks every state: what must hold does, and what is to be checked is reached.
fn check(murder: Murder, reached: &[&'static str]) {
    let checker = sized(murder).checker().threads(2).spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    [KEPT, ONE_OWNER, CONVERGED].iter().for_each(|name| checker.assert_no_discovery(name));
    reached.iter().for_each(|name| drop(checker.assert_any_discovery(name)));
}

#[test]
fn no_order_of_events_gives_a_mailbox_two_servers() {
    check(Murder { commands: 4, ..SMALL }, &[REFUSED, MOVED, RESUMED]);
}

#[test]
fn nor_with_three_servers_at_one_address() {
    check(Murder { backends: 3, shared_address: true, ..SMALL }, &[MOVED, RESUMED]);
}

#[test]
fn a_push_with_authority_is_recorded_when_it_takes_a_mailbox() {
    check(Murder { authoritative: true, ..SMALL }, &[MOVED]);
}

#[test]
fn a_mailbox_moves_though_its_source_activates_it_once_more() {
    check(Murder { strays: true, ..SMALL }, &[MOVED]);
}

#[test]
fn a_restored_master_misleads_no_slave() {
    check(Murder { restores: true, commands: 2, faults: 2, ..SMALL }, &[RESUMED]);
}

/// What is checked can fail: with Cyrus' rules, and nothing excused, a mailbox is taken.
#[test]
fn the_check_finds_what_cyrus_does_wrong() {
    let murder = Murder { rules: CYRUS, excuses: false, commands: 4, ..SMALL };
    let found = HasDiscoveries::AllOf([ONE_OWNER, KEPT].into());
    let checker = murder.checker().finish_when(found).spawn_bfs().join();
    let path = checker.assert_any_discovery(ONE_OWNER);
    println!("{path}");
    checker.assert_any_discovery(KEPT);
}
