//! The harness measures truly: known delays, stalls and faults of a scripted backend show as what they are.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::pki_types::ServerName;

use backends::net::{Loop, Stopper};
use backends::scripted::{Conduct, MupdateMaster, Server, Speaks};
use bench::load::{self, Outcome, Plan, Target, tls};
use bench::report::{self, Report};
use bench::scenario::{self, Protocol, Scenario};

/// A backend on a thread of its own, ended when dropped.
struct Backend {
    address: SocketAddr,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    fn start(protocol: Protocol, conduct: Conduct) -> Backend {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let speaks = match protocol {
            Protocol::Imap => Speaks::Imap,
            Protocol::Pop3 => Speaks::Pop3,
            Protocol::Lmtp => Speaks::Lmtp,
            Protocol::Sieve => Speaks::Sieve,
            Protocol::Mupdate => {
                let mut server = Loop::bind(any, MupdateMaster::new(1000, "backend1")).unwrap();
                let (address, stopper) = (server.address().unwrap(), server.stopper());
                let thread = std::thread::spawn(move || server.run().unwrap());
                return Backend { address, stopper, thread: Some(thread) };
            }
        };
        let server = Server::bind(any, speaks, conduct).unwrap();
        let (address, stopper) = (server.address, server.stopper.clone());
        let thread = std::thread::spawn(move || server.run().unwrap());
        Backend { address, stopper, thread: Some(thread) }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn load(scenario: Scenario, backend: &Backend) -> anyhow::Result<Outcome> {
    let name = ServerName::try_from("localhost").unwrap();
    let target = Target { address: backend.address, name, tls: tls::trusting_everybody() };
    load::run(&Plan { target, scenario, pid: None, progress: None, interrupted: Arc::default() })
}

/// NOOP for a second.
fn noop(connections: usize, rate: Option<f64>) -> Scenario {
    let mut scenario = scenario::find("imap-noop").unwrap();
    (scenario.connections, scenario.rate) = (connections, rate);
    (scenario.seconds, scenario.warm_up) = (1.0, 0.1);
    scenario
}

#[test]
fn delay_of_the_server_is_in_every_latency() {
    for protocol in [Protocol::Imap, Protocol::Pop3, Protocol::Lmtp, Protocol::Sieve] {
        let backend = Backend::start(protocol, Conduct { command_delay_ms: 5, ..Conduct::default() });
        let scenario = Scenario { protocol, ..noop(4, None) };
        let outcome = load(scenario, &backend).unwrap();
        let latency = &outcome.tallies[0].latency;
        assert!(outcome.done() > 0 && outcome.errors() == 0, "{protocol:?}: {}", outcome.why);
        // The histogram's buckets at 5 ms are 4 us wide.
        assert!(latency.min() >= 4990, "{protocol:?}: {} us", latency.min());
        // Four connections with 5 ms an operation are 800 a second at most.
        assert!(outcome.rate() <= 801.0, "{protocol:?}: {}", outcome.rate());
        assert!(outcome.login.latency.min() < 5000 * 1000);
    }
}

#[test]
fn delay_of_a_login_is_no_part_of_an_operation() {
    let backend = Backend::start(Protocol::Imap, Conduct { login_delay_ms: 700, ..Conduct::default() });
    let outcome = load(noop(2, None), &backend).unwrap();
    assert!(outcome.done() > 0);
    assert!(outcome.tallies[0].latency.min() < 700_000);
    let session = Scenario { operation: Vec::new(), ..noop(2, None) };
    let outcome = load(Scenario { warm_up: 1.0, ..session }, &backend).unwrap();
    assert!(outcome.tallies[0].latency.min() >= 699_000);
}

/// How many latencies are at least 100 ms.
fn late(outcome: &Outcome) -> u64 {
    outcome.tallies[0].latency.count_between(100_000, u64::MAX)
}

#[test]
fn stall_shows_in_the_tail_of_the_open_loop() {
    // Once in the counted second nothing is answered for 400 ms: of 500 operations a second 150 are at
    // least 100 ms late.
    let conduct = Conduct { stall_every: 300, stall_ms: 400, ..Conduct::default() };
    let backend = Backend::start(Protocol::Imap, conduct);
    let outcome = load(noop(20, Some(500.0)), &backend).unwrap();
    assert!(late(&outcome) >= 140, "{} late of {}", late(&outcome), outcome.done());
    let tallies = &outcome.tallies[0];
    assert!(tallies.done + tallies.unfinished >= 498, "each operation of the schedule is counted");
    // The closed loop sees one late operation on each connection and stall: why the open loop is there.
    drop(backend);
    let backend = Backend::start(Protocol::Imap, Conduct { stall_every: 300, ..conduct });
    let closed = load(noop(1, None), &backend).unwrap();
    assert!(late(&closed) <= 1 + closed.done() / 300);
}

#[test]
fn server_that_is_too_slow_makes_the_open_loop_later_and_later() {
    // 10 ms an operation on two connections: 200 a second of the 1000 that are wanted.
    let backend = Backend::start(Protocol::Imap, Conduct { command_delay_ms: 10, ..Conduct::default() });
    let outcome = load(noop(2, Some(1000.0)), &backend).unwrap();
    let tally = &outcome.tallies[0];
    assert!(tally.done + tally.unfinished >= 990, "{} done, {} unfinished", tally.done, tally.unfinished);
    assert!(tally.latency.value_at_quantile(0.5) > 500_000, "{}", tally.latency.value_at_quantile(0.5));
}

#[test]
fn refusals_and_lost_connections_are_counted_and_survived() {
    let backend = Backend::start(Protocol::Imap, Conduct { refuse_every: 10, ..Conduct::default() });
    let outcome = load(noop(5, None), &backend).unwrap();
    let tally = &outcome.tallies[0];
    assert_eq!(outcome.lost, 0);
    assert!(tally.refused > 0 && tally.done / tally.refused >= 8 && tally.done / tally.refused <= 10);
    let backend = Backend::start(Protocol::Lmtp, Conduct { drop_every: 50, ..Conduct::default() });
    let mut scenario = scenario::find("lmtp-deliver").unwrap();
    (scenario.seconds, scenario.warm_up, scenario.connections) = (1.0, 0.1, 5);
    let outcome = load(scenario, &backend).unwrap();
    assert!(outcome.lost > 0 && outcome.done() > outcome.lost, "{} lost, {}", outcome.lost, outcome.why);
}

/// Interrupts the run of the test below.
static INTERRUPT: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

#[test]
fn interrupted_run_tells_what_it_has() {
    let backend = Backend::start(Protocol::Imap, Conduct { command_delay_ms: 5, ..Conduct::default() });
    for rate in [None, Some(100.0)] {
        INTERRUPT.store(false, Ordering::Relaxed);
        let scenario = Scenario { seconds: 3600.0, ..noop(2, rate) };
        let name = ServerName::try_from("localhost").unwrap();
        let target = Target { address: backend.address, name, tls: tls::trusting_everybody() };
        // At the first point of the counted time.
        let progress = Some((|_| INTERRUPT.store(true, Ordering::Relaxed)) as fn(&load::Point));
        let outcome =
            load::run(&Plan { target, scenario, pid: None, progress, interrupted: INTERRUPT.clone() })
                .unwrap();
        assert!(outcome.elapsed < Duration::from_secs(3000) && outcome.lost == 0, "{:?}", outcome.elapsed);
        let tally = &outcome.tallies[0];
        assert!(tally.done + tally.unfinished > 0);
        assert!(tally.done as f64 <= 400.0 * outcome.elapsed.as_secs_f64() + 2.0, "{}", tally.done);
        assert!(tally.unfinished < 3600 * 50, "what was never due is counted");
    }
}

#[test]
fn server_of_another_protocol_is_an_error_soon() {
    let backend = Backend::start(Protocol::Pop3, Conduct::default());
    let why = load(noop(1, None), &backend).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(why.contains("errors"), "{why}");
}

#[test]
fn server_that_is_not_there_is_an_error() {
    let backend = Backend::start(Protocol::Imap, Conduct::default());
    let gone = Backend { address: backend.address, stopper: backend.stopper.clone(), thread: None };
    drop(backend);
    assert!(load(noop(1, None), &gone).is_err());
}

#[test]
fn every_scenario_runs_for_a_second_without_error() {
    std::thread::scope(|scope| {
        for (name, _) in scenario::BUILT_IN {
            scope.spawn(move || {
                let mut scenario = scenario::find(name).unwrap();
                scenario.connections = scenario.connections.min(20);
                scenario.rate = scenario.rate.map(|rate| rate.min(200.0));
                scenario.beside.iter_mut().for_each(|beside| beside.connections = 5);
                (scenario.seconds, scenario.warm_up) = (1.0, 0.2);
                let backend = Backend::start(scenario.protocol, Conduct::default());
                if scenario.hold {
                    return held(scenario, &backend);
                }
                let outcome = load(scenario.clone(), &backend).unwrap_or_else(|e| panic!("{name}: {e:#}"));
                assert_eq!(outcome.errors(), 0, "{name}: {}", outcome.why);
                for tally in &outcome.tallies {
                    assert!(tally.done > 0, "{name}: no {}", tally.name);
                }
                let beside = outcome.beside.as_ref().map(|beside| (beside.alone.done > 0, beside.rate > 0.0));
                assert!(scenario.beside.is_none() || beside == Some((true, true)), "{name}: {beside:?}");
                let report = Report::of(&scenario, "test", &outcome);
                let json = serde_json::to_string(&report).unwrap();
                let read: Report = serde_json::from_str(&json).unwrap();
                let page = report::page(&[read]);
                assert!(!page.contains("NaN") && page.matches("<svg").count() == 3, "{name}");
                assert!(!page.contains("http://") && !page.contains("https://"), "{name}: wants a network");
            });
        }
    });
}

/// Sessions that are held are measured by memory; this process stands for the server.
fn held(scenario: Scenario, backend: &Backend) {
    let name = ServerName::try_from("localhost").unwrap();
    let target = Target { address: backend.address, name, tls: tls::trusting_everybody() };
    let plan =
        Plan { target, scenario, pid: Some(std::process::id()), progress: None, interrupted: Arc::default() };
    let points = load::idle(&plan, &[5, 10], Duration::from_millis(10)).unwrap();
    assert_eq!(points.iter().map(|(sessions, _)| *sessions).collect::<Vec<_>>(), [5, 10]);
}
