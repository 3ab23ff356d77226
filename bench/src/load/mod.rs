//! The load generator: many connections on the calling thread.
//!
//! In the closed loop each connection begins an operation when the one before is answered. With a rate the
//! operations have times at which they are to begin, kept whatever the server does, and a latency counts
//! from that time: an operation that found no free connection, or a stalled server, is as late as a user
//! would have found it (no coordinated omission).
//!
//! What is counted lies between the end of the warm-up and the end of the run.

mod beside;
mod client;
mod pace;
mod program;
mod reader;
mod record;
mod stream;
pub mod tls;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustls::pki_types::ServerName;

pub use record::{Point, Tally};

use crate::process;
use crate::scenario::{Protocol, Scenario};
use client::{Client, Progress, Shared};
use pace::Pace;
use program::Program;
use record::Recorder;

/// Connections begun at once while the load is built up: below any listen backlog.
const CONNECTING_MAX: usize = 64;
/// Nothing answered for this long ends the run.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// All connections have logged in after this, or the load is counted without the rest.
const START_MAX: Duration = Duration::from_secs(60);
/// Operations that were to begin before the end get so long to be answered.
const GRACE_MAX: Duration = Duration::from_secs(5);
/// A lost connection is made again after this.
const REST: Duration = Duration::from_millis(50);
/// Nothing but errors for this long ends the run.
const ERRORS_ALONE_MAX: Duration = Duration::from_secs(3);
const EVENTS_MAX: usize = 512;

/// Who is loaded.
#[derive(Clone)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its name in its certificate.
    pub name: ServerName<'static>,
    /// Whom the load trusts.
    pub tls: Arc<rustls::ClientConfig>,
}

/// What is to be done to whom.
#[derive(Clone)]
pub struct Plan {
    /// To whom.
    pub target: Target,
    /// What.
    pub scenario: Scenario,
    /// The process whose CPU time is read.
    pub pid: Option<u32>,
    /// Is told every point of the counted time.
    pub progress: Option<fn(&Point)>,
    /// Ends the run before its time, with what it has.
    pub interrupted: Arc<AtomicBool>,
}

/// What came of it.
pub struct Outcome {
    /// For each operation of the scenario; sessions if it has none.
    pub tallies: Vec<Tally>,
    /// From the beginning of a connection to the end of its login.
    pub login: Tally,
    /// Connections that were lost.
    pub lost: u64,
    /// The last of them.
    pub why: String,
    /// How it went over time.
    pub points: Vec<Point>,
    /// How long was counted.
    pub elapsed: Duration,
    /// CPU time of the watched process meanwhile.
    pub cpu: Option<Duration>,
    /// Who did something else at the same time.
    pub beside: Option<Beside>,
}

/// What ran beside what is measured.
pub struct Beside {
    /// Its operations.
    pub name: String,
    /// Its connections.
    pub connections: usize,
    /// Its operations a second.
    pub rate: f64,
    /// The measured operations without it, just before.
    pub alone: Tally,
}

impl Outcome {
    /// Operations answered as they should be.
    pub fn done(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.done).sum()
    }

    /// Operations refused, and connections lost.
    pub fn errors(&self) -> u64 {
        self.lost + self.tallies.iter().map(|tally| tally.refused).sum::<u64>()
    }

    /// Latencies of all operations.
    pub fn total(&self) -> Option<Tally> {
        let (first, rest) = self.tallies.split_first()?;
        let mut total = Tally { name: "all".to_owned(), ..first.clone() };
        rest.iter().for_each(|tally| total.add(tally));
        Some(total)
    }

    /// CPU microseconds of the watched process for one operation.
    pub fn cpu_us(&self) -> Option<f64> {
        let (cpu, done) = (self.cpu?, self.done());
        (done > 0).then(|| cpu.as_secs_f64() * 1e6 / done as f64)
    }

    /// Operations a second.
    pub fn rate(&self) -> f64 {
        self.done() as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// One run; with a load beside two, of which the second counts.
///
/// # Errors
/// Nobody answers, or the watched process is gone.
pub fn run(plan: &Plan) -> Result<Outcome> {
    match &plan.scenario.beside {
        Some(others) => beside::run(plan, others),
        None => run_one(plan),
    }
}

fn run_one(plan: &Plan) -> Result<Outcome> {
    let scenario = &plan.scenario;
    ensure!(!scenario.hold, "{}: a scenario that holds its sessions is measured by memory", scenario.name);
    let length = Duration::from_secs_f64(scenario.seconds);
    let warm_up = Duration::from_secs_f64(scenario.warm_up);
    let mut load = Load::new(plan)?;
    load.log_all_in()?;
    load.pace = scenario.rate.map(|rate| Pace::new(rate, Instant::now()));
    load.begin_idle()?;
    load.until(Instant::now() + warm_up, Until::End)?;
    let warm = (load.recorder.done(), load.recorder.errors());
    ensure!(warm.0 > 0 || warm.1 == 0, "all of {} operations failed: {}", warm.1, load.why);
    let cpu = plan.pid.map(process::cpu_time).transpose()?;
    let begun = Instant::now();
    (load.begun, load.is_counted) = (begun, true);
    load.recorder.begin(begun);
    load.until(begun + length, Until::End)?;
    load.is_counted = false;
    let end = Instant::now();
    let cpu = match (cpu, plan.pid) {
        (Some(before), Some(pid)) => Some(process::cpu_time(pid)?.saturating_sub(before)),
        (_, _) => None,
    };
    if let Some(pace) = &mut load.pace {
        pace.stop_at(end.min(begun + length));
        load.until(end + GRACE_MAX, Until::AllDone)?;
        load.record_unfinished(Instant::now());
    }
    let Recorder { tallies, login, lost, points, .. } = load.recorder;
    Ok(Outcome { tallies, login, lost, why: load.why, points, elapsed: end - begun, cpu, beside: None })
}

/// Memory of a process with more and more held sessions: pairs of sessions and bytes.
///
/// # Errors
/// Nobody answers, or the watched process is gone.
pub fn idle(plan: &Plan, steps: &[usize], settle: Duration) -> Result<Vec<(usize, u64)>> {
    let pid = plan.pid.context("held sessions are measured by the memory of a --pid")?;
    ensure!(plan.scenario.hold, "{}: expected a scenario that holds its sessions", plan.scenario.name);
    let mut load = Load::new(plan)?;
    load.wanted = 0;
    let mut seen = Vec::new();
    for step in steps {
        load.wanted = *step;
        while load.held < *step {
            let before = load.held;
            load.until(Instant::now() + Duration::from_secs(5), Until::AllHeld)?;
            let (why, errors) = (&load.why, load.recorder.errors());
            ensure!(load.held > before, "only {before} of {step} sessions: {why} ({errors} errors)");
        }
        load.until(Instant::now() + settle, Until::End)?;
        seen.push((*step, process::memory(pid)?));
    }
    Ok(seen)
}

/// What ends a stretch of the load before its time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Nothing.
    End,
    /// All wanted connections are logged in.
    AllLoggedIn,
    /// All wanted sessions are held.
    AllHeld,
    /// The schedule is at its end, and nothing is open.
    AllDone,
}

struct Load<'a> {
    plan: &'a Plan,
    shared: Arc<Shared>,
    epoll: OwnedFd,
    /// `None` is a session that has not begun, or was lost a moment ago.
    clients: Vec<Option<Client>>,
    wanted: usize,
    /// Connections that have not logged in.
    connecting: usize,
    /// Connections that have logged in once.
    logged_in: usize,
    /// Sessions that are held.
    held: usize,
    /// Connections that may begin an operation, those that waited longest first.
    idle: VecDeque<usize>,
    /// Lost connections, and when they are made again.
    resting: VecDeque<(Instant, usize)>,
    /// Operations under way.
    open: usize,
    pace: Option<Pace>,
    /// Operations may begin.
    is_begun: bool,
    is_counted: bool,
    recorder: Recorder,
    why: String,
    scratch: Vec<u8>,
    begun: Instant,
    last_answer: Instant,
}

impl<'a> Load<'a> {
    fn new(plan: &'a Plan) -> Result<Load<'a>> {
        plan.scenario.check()?;
        let mut names: Vec<&str> = plan.scenario.operation.iter().map(|o| o.name.as_str()).collect();
        if names.is_empty() {
            names.push("session");
        }
        let length = Duration::from_secs_f64(plan.scenario.seconds);
        Ok(Load {
            shared: Arc::new(Shared {
                scenario: plan.scenario.clone(),
                program: Program::new(&plan.scenario),
                target: plan.target.clone(),
            }),
            plan,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            clients: Vec::new(),
            wanted: plan.scenario.connections,
            connecting: 0,
            logged_in: 0,
            held: 0,
            idle: VecDeque::new(),
            resting: VecDeque::new(),
            open: 0,
            pace: None,
            is_begun: false,
            is_counted: false,
            recorder: Recorder::new(&names, length, Instant::now()),
            why: String::new(),
            scratch: vec![0; 256 * 1024],
            begun: Instant::now(),
            last_answer: Instant::now(),
        })
    }

    fn counts_sessions(&self) -> bool {
        self.shared.scenario.counts_sessions()
    }

    /// Makes all connections, unless they are what is counted.
    fn log_all_in(&mut self) -> Result<()> {
        if self.counts_sessions() {
            self.clients.resize_with(self.wanted, || None);
            self.idle.extend(0..self.wanted);
            return Ok(());
        }
        self.until(Instant::now() + START_MAX, Until::AllLoggedIn)?;
        let (why, errors) = (&self.why, self.recorder.errors());
        ensure!(self.logged_in > 0, "no connection could log in ({errors} errors): {why}");
        Ok(())
    }

    /// Works until a time, or what else ends it.
    fn until(&mut self, end: Instant, until: Until) -> Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        self.last_answer = Instant::now();
        loop {
            let now = Instant::now();
            self.open_more(now)?;
            self.begin_due(now)?;
            if now >= end || self.is_reached(until) || self.plan.interrupted.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.tick(now);
            self.check_life(now)?;
            let left = self.next_event(end).saturating_duration_since(now);
            let wait = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            for event in events.drain(..) {
                self.ready(usize::try_from(event.data.u64())?)?;
            }
        }
    }

    fn is_reached(&self, until: Until) -> bool {
        match until {
            Until::End => false,
            Until::AllLoggedIn => self.logged_in >= self.wanted,
            Until::AllHeld => self.held >= self.wanted,
            Until::AllDone => self.open == 0 && self.pace.as_ref().is_none_or(|pace| pace.next().is_none()),
        }
    }

    fn tick(&mut self, now: Instant) {
        if !self.is_counted {
            return;
        }
        let points = self.recorder.points.len();
        self.recorder.tick(now);
        if let (Some(progress), Some(point)) = (self.plan.progress, self.recorder.points.get(points)) {
            progress(point);
        }
    }

    /// Ends a run that nobody answers.
    fn check_life(&self, now: Instant) -> Result<()> {
        let (done, errors) = (self.recorder.done() + self.recorder.login.done, self.recorder.errors());
        let is_hopeless = done == 0 && errors > 0 && now.duration_since(self.begun) > ERRORS_ALONE_MAX;
        ensure!(!is_hopeless, "{errors} errors and nothing else: {}", self.why);
        let is_asked = self.open > 0 || self.connecting > 0;
        let is_silent = is_asked && now.duration_since(self.last_answer) > SILENCE_MAX;
        ensure!(!is_silent, "no answer in {} s: {}", SILENCE_MAX.as_secs(), self.why);
        Ok(())
    }

    fn next_event(&self, end: Instant) -> Instant {
        let due = self.pace.as_ref().filter(|_| !self.idle.is_empty()).and_then(Pace::next);
        let rest = self.resting.front().map(|(at, _)| *at);
        let point = self.is_counted.then(|| self.recorder.point_ends());
        [due, rest, point].into_iter().flatten().fold(end, Instant::min)
    }

    /// Makes connections that are wanted and not there.
    fn open_more(&mut self, now: Instant) -> Result<()> {
        while !self.counts_sessions() && self.clients.len() < self.wanted && self.connecting < CONNECTING_MAX
        {
            self.clients.push(None);
            self.connect(self.clients.len() - 1, now)?;
        }
        while self.resting.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, slot)) = self.resting.pop_front() else { break };
            if self.counts_sessions() {
                self.idle.push_back(slot);
                self.begin_idle()?;
            } else {
                self.connect(slot, now)?;
            }
        }
        Ok(())
    }

    fn connect(&mut self, slot: usize, begun: Instant) -> Result<()> {
        let client = Client::connect(&self.shared, slot, begun)?;
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(&self.epoll, client.socket(), EventData::new_u64(slot as u64), flags)?;
        self.clients[slot] = Some(client);
        self.connecting += 1;
        if self.counts_sessions() {
            self.open += 1;
        }
        Ok(())
    }

    /// Begins what the schedule wants begun.
    fn begin_due(&mut self, now: Instant) -> Result<()> {
        while let Some(slot) = self.idle.front().copied() {
            // A connection that was lost while it waited is made again, and stands in the queue then.
            let is_ready =
                self.counts_sessions() || self.clients[slot].as_ref().is_some_and(Client::is_ready);
            let due = if is_ready { self.pace.as_mut().and_then(|pace| pace.take(now)) } else { None };
            if is_ready && due.is_none() {
                break;
            }
            self.idle.pop_front();
            if let Some(due) = due {
                self.begin(slot, due)?;
            }
        }
        Ok(())
    }

    /// In the closed loop, begins operations on all that wait for one.
    fn begin_idle(&mut self) -> Result<()> {
        self.is_begun = true;
        if self.pace.is_some() {
            return self.begin_due(Instant::now());
        }
        while let Some(slot) = self.idle.pop_front() {
            self.begin(slot, Instant::now())?;
        }
        Ok(())
    }

    /// Begins an operation.
    fn begin(&mut self, slot: usize, begun: Instant) -> Result<()> {
        if self.counts_sessions() {
            return self.connect(slot, begun);
        }
        let Some(client) = self.clients[slot].as_mut().filter(|client| client.is_ready()) else {
            return Ok(());
        };
        client.begin(begun);
        client.write_ahead();
        if client.is_ready() {
            self.idle.push_back(slot);
        }
        self.open += 1;
        self.ready(slot)
    }

    /// Lets a client work until its socket has nothing more for it.
    fn ready(&mut self, slot: usize) -> Result<()> {
        loop {
            let Some(client) = self.clients.get_mut(slot).and_then(Option::as_mut) else { return Ok(()) };
            let was_connecting = client.is_connecting();
            let progress = client.advance(&mut self.scratch);
            let is_connecting = client.is_connecting();
            if was_connecting && (!is_connecting || matches!(progress, Progress::Failed(_))) {
                self.connecting -= 1;
            }
            if !matches!(progress, Progress::Waits) {
                self.last_answer = Instant::now();
            }
            match progress {
                Progress::Waits => return Ok(()),
                Progress::Held => {
                    self.held += 1;
                    return Ok(());
                }
                Progress::LoggedIn { took } => {
                    self.logged_in += 1;
                    self.recorder.logged_in(took);
                    self.begin_next(slot);
                }
                Progress::Done { operation, begun, refused } => {
                    self.open -= 1;
                    let is_paced = self.pace.is_some();
                    self.recorder.ended(operation, begun, refused, is_paced, self.last_answer);
                    if refused && self.shared.scenario.protocol == Protocol::Lmtp {
                        // What the server holds of the transaction is not known.
                        return self.renew(slot);
                    }
                    self.begin_next(slot);
                }
                Progress::Over { begun } => return self.over(slot, begun),
                Progress::Failed(why) => return self.failed(slot, why),
            }
        }
    }

    /// Begins as many operations as a connection has room for, or puts it into the queue.
    fn begin_next(&mut self, slot: usize) {
        if !self.is_begun {
            self.idle.push_back(slot);
            return;
        }
        let Some(client) = self.clients[slot].as_mut() else { return };
        while client.is_ready() {
            let now = Instant::now();
            let begun = match &mut self.pace {
                None => now,
                // Those that wait longer come first, unless there are none.
                Some(pace) if self.idle.is_empty() => match pace.take(now) {
                    Some(due) => due,
                    None => return self.idle.push_back(slot),
                },
                Some(_) => return self.idle.push_back(slot),
            };
            client.begin(begun);
            self.open += 1;
            client.write_ahead();
        }
    }

    /// A session has come to its end.
    fn over(&mut self, slot: usize, begun: Instant) -> Result<()> {
        self.clients[slot] = None;
        if !self.counts_sessions() {
            return self.connect(slot, Instant::now());
        }
        self.open -= 1;
        self.recorder.ended(0, begun, false, self.pace.is_some(), self.last_answer);
        self.idle.push_back(slot);
        if self.pace.is_none() { self.begin_idle() } else { Ok(()) }
    }

    /// Takes a fresh connection.
    fn renew(&mut self, slot: usize) -> Result<()> {
        if let Some(client) = self.clients[slot].take() {
            self.open -= client.unfinished().count();
        }
        self.connect(slot, Instant::now())
    }

    /// A connection is lost, with what was under way.
    fn failed(&mut self, slot: usize, why: String) -> Result<()> {
        if let Some(client) = self.clients[slot].take() {
            self.open -= client.unfinished().count();
            self.held -= usize::from(client.is_held());
        }
        self.recorder.lost();
        self.why = why;
        self.resting.push_back((Instant::now() + REST, slot));
        Ok(())
    }

    /// Counts what was to begin and has not ended.
    fn record_unfinished(&mut self, now: Instant) {
        for client in self.clients.iter().flatten() {
            for (operation, begun) in client.unfinished() {
                self.recorder.unfinished(operation, begun, now);
            }
        }
        while let Some(due) = self.pace.as_mut().and_then(|pace| pace.take(now)) {
            self.recorder.unfinished(0, due, now);
        }
    }
}
