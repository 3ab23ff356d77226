//! The load generator: a closed loop of connections, all on the calling thread.
//!
//! Every connection has at most one operation open; when it is answered the next one begins. What
//! is counted lies between the end of the warm-up and the end of the run.

mod client;
mod reader;
mod script;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;

pub use script::Scenario;

use crate::process;
use client::{Client, Progress};

/// Connections begun at once while the load is built up: below any listen backlog.
const CONNECTING_MAX: usize = 64;
/// Nothing answered for this long ends the run.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// All connections have logged in after this, or the load is counted without the rest.
const START_MAX: Duration = Duration::from_secs(30);
const EVENTS_MAX: usize = 512;
/// Latencies above this many microseconds are counted as this.
const LATENCY_US_MAX: u64 = 60_000_000;

/// What is to be done to whom.
#[derive(Clone)]
pub struct Plan {
    /// Where the proxy listens.
    pub target: SocketAddr,
    /// TLS from the first byte, with this configuration.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// What each operation is.
    pub scenario: Scenario,
    /// How many at once.
    pub connections: usize,
    /// Users are `u0`, `u1`, … modulo this.
    pub users: usize,
    /// Not counted.
    pub warm_up: Duration,
    /// Counted.
    pub duration: Duration,
    /// The process whose CPU time is read.
    pub pid: Option<u32>,
}

/// What came of it.
pub struct Outcome {
    /// Operations answered as expected.
    pub operations: u64,
    /// Operations refused, and connections lost.
    pub errors: u64,
    /// How long was counted.
    pub elapsed: Duration,
    /// CPU time of the watched process meanwhile.
    pub cpu: Option<Duration>,
    /// Microseconds from the first byte sent to the last received.
    pub latency: Histogram<u64>,
}

impl Outcome {
    /// CPU microseconds of the watched process for one operation.
    pub fn cpu_us(&self) -> Option<f64> {
        let cpu = self.cpu?;
        (self.operations > 0).then(|| cpu.as_secs_f64() * 1e6 / self.operations as f64)
    }

    /// Operations a second.
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// One run.
///
/// # Errors
/// Nobody answers, or the watched process is gone.
pub fn run(plan: &Plan) -> Result<Outcome> {
    let mut load = Load::new(plan)?;
    load.until(Instant::now() + plan.warm_up, true)?;
    let patience = Instant::now() + START_MAX;
    // Logins are no part of what an operation costs: all connections have had one answered.
    while plan.scenario != Scenario::Login && load.started < plan.connections && Instant::now() < patience {
        load.until(Instant::now() + plan.warm_up.max(Duration::from_millis(10)), true)?;
    }
    ensure!(
        load.operations > 0 || load.errors == 0,
        "all of {} operations failed: {}",
        load.errors,
        load.why
    );
    let cpu = plan.pid.map(process::cpu_time).transpose()?;
    let begun = Instant::now();
    load.forget();
    load.until(begun + plan.duration, true)?;
    let elapsed = begun.elapsed();
    let cpu = match (cpu, plan.pid) {
        (Some(before), Some(pid)) => Some(process::cpu_time(pid)?.saturating_sub(before)),
        (_, _) => None,
    };
    Ok(Outcome { operations: load.operations, errors: load.errors, elapsed, cpu, latency: load.latency })
}

/// Memory of a process with more and more idle sessions: pairs of sessions and bytes.
///
/// # Errors
/// Nobody answers, or the watched process is gone.
pub fn idle(plan: &Plan, steps: &[usize], settle: Duration) -> Result<Vec<(usize, u64)>> {
    let pid = plan.pid.context("the idle scenario wants a --pid")?;
    let plan = Plan { connections: 0, scenario: Scenario::Idle, ..plan.clone() };
    let mut load = Load::new(&plan)?;
    let mut seen = Vec::new();
    for step in steps {
        load.wanted = *step;
        while load.parked < *step {
            let before = load.parked;
            load.until(Instant::now() + Duration::from_secs(5), false)?;
            ensure!(
                load.parked > before,
                "only {before} of {step} sessions: {} ({} errors)",
                load.why,
                load.errors
            );
        }
        load.until(Instant::now() + settle, true)?;
        seen.push((*step, process::memory(pid)?));
    }
    Ok(seen)
}

struct Load<'a> {
    plan: &'a Plan,
    epoll: OwnedFd,
    clients: Vec<Client>,
    wanted: usize,
    /// Connections that have not logged in.
    connecting: usize,
    /// Connections that have had an operation answered.
    started: usize,
    /// Sessions in IDLE.
    parked: usize,
    operations: u64,
    errors: u64,
    why: String,
    latency: Histogram<u64>,
    scratch: Vec<u8>,
    last_answer: Instant,
}

impl<'a> Load<'a> {
    fn new(plan: &'a Plan) -> Result<Load<'a>> {
        Ok(Load {
            plan,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            clients: Vec::new(),
            wanted: plan.connections,
            connecting: 0,
            started: 0,
            parked: 0,
            operations: 0,
            errors: 0,
            why: String::new(),
            latency: Histogram::new_with_max(LATENCY_US_MAX, 3)?,
            scratch: vec![0; 256 * 1024],
            last_answer: Instant::now(),
        })
    }

    fn forget(&mut self) {
        (self.operations, self.errors) = (0, 0);
        self.latency.reset();
    }

    /// Works until a time, or (with `to_the_end` off) until all wanted sessions are parked.
    fn until(&mut self, end: Instant, to_the_end: bool) -> Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        self.last_answer = Instant::now();
        loop {
            self.open_more()?;
            let now = Instant::now();
            let all_parked = !to_the_end && self.parked >= self.wanted;
            if now >= end || all_parked {
                return Ok(());
            }
            let quiet = self.parked == self.wanted || now.duration_since(self.last_answer) < SILENCE_MAX;
            ensure!(quiet, "no answer in {} s: {}", SILENCE_MAX.as_secs(), self.why);
            let left = (end - now).min(Duration::from_millis(100));
            let wait = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            for event in events.drain(..) {
                let slot = usize::try_from(event.data.u64())?;
                self.ready(slot)?;
            }
        }
    }

    fn open_more(&mut self) -> Result<()> {
        while self.clients.len() < self.wanted && self.connecting < CONNECTING_MAX {
            let slot = self.clients.len();
            let client = Client::connect(self.plan, slot)?;
            epoll::add(
                &self.epoll,
                client.socket(),
                EventData::new_u64(slot as u64),
                EventFlags::IN | EventFlags::OUT | EventFlags::ET,
            )?;
            self.clients.push(client);
            self.connecting += 1;
        }
        Ok(())
    }

    /// Lets a client work until its socket has nothing more for it.
    fn ready(&mut self, slot: usize) -> Result<()> {
        loop {
            let client = &mut self.clients[slot];
            let was_connecting = client.is_connecting();
            let progress = client.advance(&mut self.scratch);
            if was_connecting && !self.clients[slot].is_connecting() {
                self.connecting -= 1;
            }
            match progress {
                Progress::Waits => return Ok(()),
                Progress::Parked => {
                    self.parked += 1;
                    self.last_answer = Instant::now();
                    return Ok(());
                }
                Progress::Done { took } => {
                    self.operations += 1;
                    self.started += usize::from(self.clients[slot].is_first_answer());
                    self.last_answer = Instant::now();
                    let us =
                        u64::try_from(took.as_micros()).unwrap_or(LATENCY_US_MAX).clamp(1, LATENCY_US_MAX);
                    self.latency.saturating_record(us);
                    if self.clients[slot].is_over() {
                        return self.reconnect(slot);
                    }
                }
                Progress::Failed(why) => {
                    self.errors += 1;
                    self.why = why;
                    if was_connecting && self.clients[slot].is_connecting() {
                        self.connecting -= 1;
                    }
                    return self.reconnect(slot);
                }
            }
        }
    }

    /// A new connection in the place of one that has ended; closing takes it out of the epoll.
    fn reconnect(&mut self, slot: usize) -> Result<()> {
        ensure!(self.errors < 1000, "1000 errors, the last: {}", self.why);
        let client = Client::connect(self.plan, slot)?;
        self.clients[slot] = client;
        self.connecting += 1;
        let data = EventData::new_u64(slot as u64);
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(&self.epoll, self.clients[slot].socket(), data, flags)?;
        Ok(())
    }
}
