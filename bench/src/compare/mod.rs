//! rookeryd and its peers before the same backend, in turns, each on the same core.
//!
//! All proxies of a row stand at the same time; each is loaded in turn, and after the last one the first
//! again, so that a noisy minute hits all. A ratio is taken within a turn, and the median over the turns
//! counts.

mod budget;
mod cases;
mod install;
mod kind;
mod markdown;
mod measuring;
mod paired;
mod peers;
mod row;
mod turn;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::load::{self, tls};
use crate::machine;
use cases::Case;
pub use kind::Kind;
pub use measuring::Measuring;
use peers::{Peer, Place};
use row::{Row, Sample};

/// Users in the list; more connections share them.
const USERS: usize = 1000;
/// Counted time of one turn, at least and at most.
const TURN_SECONDS: (f64, f64) = (0.2, 2.0);
/// Before a row is measured, a turn is thought to cost so much beside its counted time.
const OVERHEAD: Duration = Duration::from_millis(400);

/// What is compared.
pub struct Comparison {
    /// Configurations, logs, certificates, `compare.json` and `compare.md`.
    pub folder: PathBuf,
    /// The daemon.
    pub rookeryd: PathBuf,
    /// Who takes part.
    pub kinds: Vec<Kind>,
    /// Alternations of each row.
    pub rounds: usize,
    /// All of it ends in about this time.
    pub budget: Duration,
    /// Only the rows of the quick form.
    pub is_quick: bool,
    /// Debian's packages are installed.
    pub may_install: bool,
    /// The proxies' core.
    pub core: usize,
    /// The core of the load and of the backend.
    pub load_core: usize,
    /// Sessions at the last step of the rows of memory; 0 leaves them out.
    pub idle_sessions: usize,
    /// The loopback network, as 127, x, y.
    pub net: [u8; 3],
    /// Only rows whose name holds this.
    pub only: String,
    /// How this was called, for the report.
    pub command: String,
}

/// Everything that was found.
struct Found {
    versions: Vec<(Kind, String)>,
    /// Who does not take part, and why.
    absent: Vec<(Kind, String)>,
    rows: Vec<Row>,
    idle: Vec<Row>,
    loads: (String, String),
    took: Duration,
}

/// Runs everything and returns the report, which is also written to the folder.
///
/// # Errors
/// A helper does not start. A peer that cannot be installed or does not start, and a turn that fails, are told
/// in the report.
pub fn run(comparison: &Comparison) -> Result<String> {
    let begun = Instant::now();
    fs::create_dir_all(&comparison.folder)?;
    let folder = fs::canonicalize(&comparison.folder)?;
    if comparison.may_install {
        // Who cannot be installed does not take part, which the report says.
        install::install(&folder).unwrap_or_else(|e| eprintln!("not all peers are installed: {e:#}"));
    }
    // Children that are not told otherwise stay on this core as well.
    backends::net::pin(comparison.load_core)
        .with_context(|| format!("cannot run on core {}", comparison.load_core))?;
    let tls = certificate(&folder)?;
    let place = place(comparison, folder)?;
    let (versions, absent) = takers(comparison, &place);
    ensure!(!versions.is_empty(), "nobody can take part: {absent:?}");
    let _helpers = peers::helpers(&place)?;
    let loads = machine::load_average();
    let mut run = Run { comparison, place: &place, tls, end: begun + comparison.budget, turn: OVERHEAD };
    let kinds: Vec<Kind> = versions.iter().map(|(kind, _)| *kind).collect();
    let idle = run.idle(&kinds)?;
    let rows = run.rows(&kinds)?;
    let loads = (loads, machine::load_average());
    let found = Found { versions, absent, rows, idle, loads, took: begun.elapsed() };
    fs::write(place.folder.join("compare.json"), markdown::json(&found) + "\n")?;
    let report = markdown::report(comparison, &found);
    fs::write(place.folder.join("compare.md"), &report)?;
    Ok(report)
}

fn place(comparison: &Comparison, folder: PathBuf) -> Result<Place> {
    let is_root = rustix::process::geteuid().is_root();
    let mut rookeryd = comparison.rookeryd.clone();
    if is_root && comparison.kinds.contains(&Kind::Rookery) {
        rookeryd = copied(&rookeryd, &folder.join("rookeryd"))?;
    }
    Ok(Place { folder, net: comparison.net, rookeryd, core: comparison.core, is_root, seat: 0 })
}

/// Root's build folder may be closed to the user that the daemon runs as. A copy that runs cannot be written,
/// but replaced.
fn copied(program: &Path, copy: &Path) -> Result<PathBuf> {
    let _ = fs::remove_file(copy);
    fs::copy(program, copy).with_context(|| format!("{} cannot be copied", program.display()))?;
    Ok(copy.to_path_buf())
}

/// Peers with what they say they are, and with why they do not take part.
type Told = Vec<(Kind, String)>;

/// Who takes part, with versions, and who does not, with reasons.
fn takers(comparison: &Comparison, place: &Place) -> (Told, Told) {
    let (mut versions, mut absent) = (Vec::new(), Vec::new());
    for kind in &comparison.kinds {
        match install::version_of(*kind, &place.rookeryd, &place.folder, place.is_root) {
            Ok(version) => versions.push((*kind, version)),
            Err(e) => absent.push((*kind, format!("{e:#}"))),
        }
    }
    (versions, absent)
}

struct Run<'a> {
    comparison: &'a Comparison,
    place: &'a Place,
    tls: Arc<rustls::ClientConfig>,
    end: Instant,
    /// What a turn costs beside its counted time, as the rows so far showed.
    turn: Duration,
}

impl Run<'_> {
    fn is_wanted(&self, case: &Case) -> bool {
        case.name.contains(&self.comparison.only) && (case.is_quick || !self.comparison.is_quick)
    }

    fn start(&self, case: &Case, kinds: &[Kind], row: &mut Row) -> Vec<Peer> {
        let mut peers = Vec::new();
        for kind in kinds.iter().filter(|kind| case.wants(**kind)) {
            match turn::start(self.place, case, *kind, &self.tls) {
                Ok(peer) => peers.push(peer),
                Err(e) => row.fails(*kind, format!("{e:#}")),
            }
        }
        peers
    }

    fn rows(&mut self, kinds: &[Kind]) -> Result<Vec<Row>> {
        let cases: Vec<Case> = cases::cases()?.into_iter().filter(|case| self.is_wanted(case)).collect();
        let turns =
            |case: &Case| self.comparison.rounds * kinds.iter().filter(|kind| case.wants(**kind)).count();
        let mut turns_left: usize = cases.iter().map(turns).sum();
        let mut rows = Vec::new();
        for case in &cases {
            let turns = turns(case);
            let left = self.end.saturating_duration_since(Instant::now()).as_secs_f64();
            // A quarter of the counted time goes before it as warm-up.
            let seconds = (left / turns_left.max(1) as f64 - self.turn.as_secs_f64()) / 1.25;
            let seconds = seconds.clamp(TURN_SECONDS.0, TURN_SECONDS.1);
            let begun = Instant::now();
            if left <= 0.0 {
                let mut row = Row::new(&case.name, 0.0);
                let missed = kinds.iter().filter(|kind| case.wants(**kind));
                missed.for_each(|kind| row.fails(*kind, "no time was left".to_owned()));
                rows.push(row);
                continue;
            }
            // A row may take half as long again as its share, then it ends with fewer rounds.
            let share = left * turns as f64 / turns_left.max(1) as f64;
            rows.push(self.row(case, kinds, seconds, begun + Duration::from_secs_f64(share * 1.5)));
            let each = begun.elapsed().as_secs_f64() / turns.max(1) as f64;
            // What earlier rows took counts as well: the next one may be as slow as any.
            let overhead = (each - seconds * 1.25).max(0.0);
            self.turn = Duration::from_secs_f64(overhead / 2.0 + self.turn.as_secs_f64() / 2.0);
            turns_left -= turns;
        }
        Ok(rows)
    }

    /// One row: each round loads every peer once, beginning with another one each time.
    fn row(&self, case: &Case, kinds: &[Kind], seconds: f64, end: Instant) -> Row {
        let mut row = Row::new(&case.name, seconds);
        let peers = self.start(case, kinds, &mut row);
        for round in 0..self.comparison.rounds {
            if round > 0 && Instant::now() > end {
                break;
            }
            for n in 0..peers.len() {
                let peer = &peers[(round + n) % peers.len()];
                if row.has_failed(peer.kind) {
                    continue;
                }
                match load::run(&turn::plan(case, peer, seconds, &self.tls)) {
                    Ok(outcome) if outcome.done() > 0 => {
                        row.add(peer.kind, round, Sample::of(&outcome));
                    }
                    Ok(_) => {} // a turn too short for one operation
                    Err(e) => row.fails(peer.kind, format!("{e:#}")),
                }
            }
        }
        eprintln!("{}", row.line());
        row
    }

    /// Memory for each idle session: fresh processes, sessions made in steps.
    fn idle(&self, kinds: &[Kind]) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        let last = self.comparison.idle_sessions;
        for case in cases::idle_cases()?.iter().filter(|case| last > 0 && self.is_wanted(case)) {
            let mut row = Row::new(&case.name, 0.0);
            for kind in kinds.iter().filter(|kind| case.wants(**kind)) {
                // A process for each session: few show the slope, and thousands would not fit.
                let last = if *kind == Kind::Cyrus { last.min(120) } else { last };
                match self.slope(case, *kind, last) {
                    Ok(kib) => row.add(*kind, 0, Sample::of_memory(kib)),
                    Err(e) => row.fails(*kind, format!("{e:#}")),
                }
            }
            eprintln!("{}", row.line());
            rows.push(row);
        }
        Ok(rows)
    }

    /// KiB for one session more.
    fn slope(&self, case: &Case, kind: Kind, last: usize) -> Result<f64> {
        // This is also the load that makes what is made at first use, as buffers.
        let peer = turn::start(self.place, case, kind, &self.tls)?;
        let steps: Vec<usize> = (1..=3).map(|n| last * (2 * n - 1) / 5).chain([last]).collect();
        let points =
            load::idle(&turn::plan(case, &peer, 1.0, &self.tls), &steps, Duration::from_millis(500))?;
        let slope = crate::report::slope(&points).context("one step is no slope")?;
        Ok(slope / 1024.0)
    }
}

/// Writes a certificate for the network's addresses and its key; returns what trusts it.
fn certificate(folder: &Path) -> Result<Arc<rustls::ClientConfig>> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    fs::write(folder.join("cert.pem"), &cert)?;
    fs::write(folder.join("key.pem"), &key)?;
    fs::write(folder.join("both.pem"), cert + &key)?;
    // The proxies stand at addresses that no certificate names: who they are is not what is measured.
    Ok(tls::trusting_everybody())
}
