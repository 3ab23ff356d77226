//! rookeryd, nginx and HAProxy before the same backend, in turns, each on the same core.

mod peers;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::pki_types::ServerName;

use crate::load::{self, Outcome, Plan, Target, tls};
use crate::report;
use crate::scenario::{self, Scenario, Security};
pub use peers::{Kind, Peer, Ports};

/// Users in the list; more connections share them.
pub const USERS: usize = 1000;

/// What is compared.
pub struct Comparison {
    /// Files are written here.
    pub folder: PathBuf,
    /// The daemon; rookeryd is left out when `None`.
    pub rookeryd: Option<PathBuf>,
    /// Which peers, beside rookeryd.
    pub peers: Vec<Kind>,
    /// Runs of each, of which the median counts.
    pub rounds: usize,
    /// Counted time of one run.
    pub duration: Duration,
    /// The proxies' core.
    pub core: usize,
    /// Sessions at the last step of the idle scenario; 0 leaves it out.
    pub idle_sessions: usize,
    /// The first of ten ports.
    pub first_port: u16,
    /// Only scenarios whose name holds this.
    pub only: String,
}

/// One line of the comparison: a scenario, with TLS or not, so many connections.
struct Case {
    name: String,
    scenario: Scenario,
    connections: usize,
    tls: bool,
}

fn case(name: &str, connections: usize, tls: bool) -> Result<Case> {
    let scenario = scenario::find(&format!("imap-{name}"))?;
    let name = format!("{name} x{connections}{}", if tls { " tls" } else { "" });
    Ok(Case { name, scenario, connections, tls })
}

fn cases() -> Result<Vec<Case>> {
    let cases = [
        ("noop", 1, false),
        ("noop", 100, false),
        ("noop", 1000, false),
        ("login", 20, false),
        ("login", 20, true),
        ("fetch", 10, false),
        ("fetch", 10, true),
        ("append", 10, false),
        ("append", 10, true),
    ];
    cases.into_iter().map(|(name, connections, tls)| case(name, connections, tls)).collect()
}

/// Runs everything and returns the report; JSON lines go to `compare.json` in the folder.
///
/// # Errors
/// A server does not start or a run fails.
pub fn run(comparison: &Comparison) -> Result<String> {
    fs::create_dir_all(&comparison.folder)?;
    let folder = fs::canonicalize(&comparison.folder)?;
    let tls = certificate(&folder)?;
    let ports = Ports::from(comparison.first_port);
    let _helpers = peers::helpers(&ports)?;
    let mut kinds = comparison.peers.clone();
    kinds.extend(comparison.rookeryd.iter().map(|path| Kind::Rookery(path.clone())));
    let mut text = String::new();
    let mut records = Vec::new();
    text += &throughput(comparison, &folder, &ports, &kinds, &tls, &mut records)?;
    if comparison.idle_sessions > 0 {
        text += &idle(comparison, &folder, &ports, &kinds, &tls, &mut records)?;
    }
    fs::write(folder.join("compare.json"), records.join("\n") + "\n")?;
    Ok(text)
}

fn plan(case: &Case, peer: &Peer, duration: Duration, tls: &Arc<rustls::ClientConfig>) -> Plan {
    let mut scenario = case.scenario.clone();
    scenario.connections = case.connections.max(1);
    scenario.users.count = USERS;
    (scenario.warm_up, scenario.seconds) = (duration.as_secs_f64() / 3.0, duration.as_secs_f64());
    scenario.security = if case.tls { Security::Tls } else { Security::None };
    Plan {
        target: Target {
            address: if case.tls { peer.tls } else { peer.plain },
            name: ServerName::from(std::net::Ipv4Addr::LOCALHOST),
            tls: Arc::clone(tls),
        },
        scenario,
        pid: Some(peer.pid()),
        progress: None,
    }
}

fn json(name: &str, outcome: &Outcome) -> String {
    let latency = outcome.total().map(|total| total.latency);
    let at = |q: f64| latency.as_ref().map(|latency| latency.value_at_quantile(q));
    serde_json::json!({
        "run": name, "operations": outcome.done(), "errors": outcome.errors(),
        "seconds": outcome.elapsed.as_secs_f64(), "cpu_us": outcome.cpu_us(),
        "p50_us": at(0.5), "p99_us": at(0.99), "p999_us": at(0.999),
    })
    .to_string()
}

fn throughput(
    comparison: &Comparison,
    folder: &Path,
    ports: &Ports,
    kinds: &[Kind],
    tls: &Arc<rustls::ClientConfig>,
    records: &mut Vec<String>,
) -> Result<String> {
    let mut rows = vec![header(kinds)];
    for case in cases()?.iter().filter(|case| case.name.contains(&comparison.only)) {
        let mut seen = vec![Vec::new(); kinds.len()];
        // Fresh processes for each case; rounds alternate, so that a noisy minute hits all.
        let peers = kinds.iter().enumerate().map(|(n, kind)| {
            Peer::start(kind, folder, ports, n, comparison.core)
                .with_context(|| format!("{} does not start", kind.name()))
        });
        let peers = peers.collect::<Result<Vec<_>>>()?;
        for _ in 0..comparison.rounds {
            for (peer, values) in peers.iter().zip(&mut seen) {
                let outcome = load::run(&plan(case, peer, comparison.duration, tls))
                    .with_context(|| format!("{} through {}", case.name, peer.name))?;
                records.push(json(&format!("{} {}", peer.name, case.name), &outcome));
                values.extend(outcome.cpu_us());
            }
        }
        let medians: Vec<Option<f64>> = seen.iter().map(|values| report::median(values)).collect();
        rows.push(compared(&case.name, kinds, &medians, |us| format!("{us:.2}")));
    }
    Ok(format!(
        "CPU microseconds for one operation, medians of {} runs\n{}",
        comparison.rounds,
        report::table(&rows)
    ))
}

fn idle(
    comparison: &Comparison,
    folder: &Path,
    ports: &Ports,
    kinds: &[Kind],
    tls: &Arc<rustls::ClientConfig>,
    records: &mut Vec<String>,
) -> Result<String> {
    let last = comparison.idle_sessions;
    let steps: Vec<usize> = (1..=3).map(|n| last * (2 * n - 1) / 5).chain([last]).collect();
    let mut rows = vec![header(kinds)];
    for with_tls in [false, true] {
        let name = if with_tls { "idle tls" } else { "idle" };
        if !name.contains(&comparison.only) {
            continue;
        }
        let case = Case {
            name: name.to_owned(),
            scenario: scenario::find("imap-idle")?,
            connections: 0,
            tls: with_tls,
        };
        let mut slopes = Vec::new();
        for (n, kind) in kinds.iter().enumerate() {
            let peer = Peer::start(kind, folder, ports, n, comparison.core)?;
            let plan = plan(&case, &peer, comparison.duration, tls);
            let points = load::idle(&plan, &steps, Duration::from_secs(1))
                .with_context(|| format!("{name} through {}", peer.name))?;
            records.push(
                format!("{{\"run\":\"{} {name}\",\"points\":{points:?}}}", peer.name)
                    .replace('(', "[")
                    .replace(')', "]"),
            );
            slopes.push(report::slope(&points).map(|bytes| bytes / 1024.0));
        }
        rows.push(compared(name, kinds, &slopes, |kib| format!("{kib:.2}")));
    }
    Ok(format!("\nKiB (PSS) for one idle session, slope over {steps:?}\n{}", report::table(&rows)))
}

fn header(kinds: &[Kind]) -> Vec<String> {
    let mut head = vec![String::new()];
    head.extend(kinds.iter().map(Kind::name));
    if kinds.iter().any(|kind| matches!(kind, Kind::Rookery(_))) {
        head.extend(
            kinds.iter().filter(|k| !matches!(k, Kind::Rookery(_))).map(|k| format!("ours / {}", k.name())),
        );
    }
    head
}

/// Values, and the ratios of the last one to the others if it is ours.
fn compared(name: &str, kinds: &[Kind], values: &[Option<f64>], text: impl Fn(f64) -> String) -> Vec<String> {
    let mut row = vec![name.to_owned()];
    row.extend(values.iter().map(|value| value.map_or_else(|| "-".to_owned(), &text)));
    let ours_is_last = matches!(kinds.last(), Some(Kind::Rookery(_)));
    if let (true, Some((Some(ours), others))) = (ours_is_last, values.split_last()) {
        let ratio = |other: &Option<f64>| {
            other.map_or_else(|| "-".to_owned(), |other| format!("{:.2}", ours / other))
        };
        row.extend(others.iter().map(ratio));
    }
    row
}

/// Writes a certificate for localhost and its key; returns what trusts it.
fn certificate(folder: &Path) -> Result<Arc<rustls::ClientConfig>> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    fs::write(folder.join("cert.pem"), &cert)?;
    fs::write(folder.join("key.pem"), &key)?;
    fs::write(folder.join("both.pem"), cert + &key)?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    Ok(tls::trusting_roots(roots))
}
