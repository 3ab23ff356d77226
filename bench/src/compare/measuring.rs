//! What it costs to keep the times of commands: two builds of the daemon by turns, with and without.
//!
//! Three daemons stand side by side on one core: one that measures, one that does not, and another process of
//! the first, which shows how far two that are the same come apart. Each is loaded for about a second in turn.
//! Ratios are taken within a round; all three are started anew now and then, so that no luck of one process
//! (where its memory lies) decides.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustls::ClientConfig;

use super::cases::{self, Case};
use super::kind::Kind;
use super::paired::Paired;
use super::peers::{self, Peer, Place};
use super::{certificate, copied, turn};
use crate::load;
use crate::machine;
use crate::report::{median, utc};

/// The row that is loaded.
const ROW: &str = "NOOP, 100 connections";
/// Counted time of one turn; a quarter more goes before it.
const TURN_SECONDS: f64 = 0.8;
/// Rounds until the daemons are started anew.
const ROUNDS_OF_A_START: usize = 6;
/// Fewer rounds are not made, whatever the time.
const ROUNDS_MIN: usize = 15;
/// What measuring may cost of a NOOP.
const BUDGET: f64 = 0.02;

/// Two builds of the daemon, and where they are loaded.
pub struct Measuring {
    /// Configurations and logs.
    pub folder: PathBuf,
    /// The daemon as it is.
    pub measured: PathBuf,
    /// The daemon built with the feature `unmeasured`.
    pub unmeasured: PathBuf,
    /// The rounds end in about this time.
    pub budget: Duration,
    /// The daemons' core.
    pub core: usize,
    /// The core of the load and of the backend.
    pub load_core: usize,
    /// The loopback network, as 127, x, y.
    pub net: [u8; 3],
    /// How this was called, for the record.
    pub command: String,
}

/// Who is loaded, in this order of seats.
const SEATS: [&str; 3] = ["with", "without", "with, again"];

/// CPU microseconds for a NOOP, of each seat, in one round.
type Round = [f64; SEATS.len()];

impl Measuring {
    /// Runs the rounds and returns the record, and whether the budget is not seen to be missed.
    ///
    /// # Errors
    /// A daemon or a helper does not start, or a turn fails.
    pub fn run(&self) -> Result<(String, bool)> {
        let begun = Instant::now();
        fs::create_dir_all(&self.folder)?;
        backends::net::pin(self.load_core)
            .with_context(|| format!("cannot run on core {}", self.load_core))?;
        let tls = certificate(&self.folder)?;
        let places = self.places()?;
        let _helpers = peers::helpers(&places[0])?;
        let case = cases::cases()?.into_iter().find(|case| case.name == ROW);
        let case = case.with_context(|| format!("no row {ROW:?}"))?;
        let load_before = machine::load_average();
        let mut rounds: Vec<Round> = Vec::new();
        while rounds.len() < ROUNDS_MIN || begun.elapsed() < self.budget {
            self.one_start(&places, &case, &tls, begun, &mut rounds)?;
        }
        let loads = format!("before {load_before}, after {}", machine::load_average());
        Ok(record(&rounds, &self.setting(&loads, begun.elapsed())))
    }

    fn places(&self) -> Result<Vec<Place>> {
        let folder = fs::canonicalize(&self.folder)?;
        let is_root = rustix::process::geteuid().is_root();
        let place = |n: usize| {
            let folder = folder.join(format!("seat-{n}"));
            fs::create_dir_all(&folder)?;
            certificate(&folder)?;
            let program = if n == 1 { &self.unmeasured } else { &self.measured };
            let rookeryd = copied(program, &folder.join("rookeryd"))?;
            let seat = u8::try_from(n)? * 10;
            Ok(Place { folder, net: self.net, rookeryd, core: self.core, is_root, seat })
        };
        (0..SEATS.len()).map(place).collect()
    }

    /// Starts all three and loads them for some rounds.
    fn one_start(
        &self,
        places: &[Place],
        case: &Case,
        tls: &Arc<ClientConfig>,
        begun: Instant,
        rounds: &mut Vec<Round>,
    ) -> Result<()> {
        let start = |place| turn::start(place, case, Kind::Rookery, tls);
        let daemons = places.iter().map(start).collect::<Result<Vec<Peer>>>()?;
        for _ in 0..ROUNDS_OF_A_START {
            if rounds.len() >= ROUNDS_MIN && begun.elapsed() >= self.budget {
                break;
            }
            let mut costs: Round = [0.0; SEATS.len()];
            for seat in order(rounds.len()) {
                let outcome = load::run(&turn::plan(case, &daemons[seat], TURN_SECONDS, tls))?;
                ensure!(outcome.errors() == 0, "{} operations failed: {}", outcome.errors(), outcome.why);
                costs[seat] = outcome.cpu_us().context("a turn without a NOOP")?;
            }
            let [with, without, again] = costs;
            eprintln!(
                "{:3}: {with:.3} us with, {without:.3} without, {again:.3} with, again: {:+.2} %",
                rounds.len() + 1,
                (with / without - 1.0) * 100.0
            );
            rounds.push(costs);
        }
        Ok(())
    }

    fn setting(&self, loads: &str, took: Duration) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        format!(
            "* When: {}, took {} s.\n* Machine: {}. Load average {loads}.\n* Command: `{}`\n",
            utc(now.map_or(0, |now| now.as_secs())),
            took.as_secs(),
            machine::describe(),
            self.command
        )
    }
}

/// Each seat is first, second and last equally often, and each pair follows in both orders.
fn order(round: usize) -> [usize; SEATS.len()] {
    let turned = [round % 3, (round + 1) % 3, (round + 2) % 3];
    if (round / 3).is_multiple_of(2) { turned } else { [turned[2], turned[1], turned[0]] }
}

/// What is told of the rounds, and whether the budget is not seen to be missed.
fn record(rounds: &[Round], setting: &str) -> (String, bool) {
    let costs = |seat: usize| rounds.iter().map(move |round| round[seat]);
    // Both processes that measure are held against the one that does not.
    let both = rounds.iter().map(|[with, without, again]| ((with + again) / 2.0, *without));
    let cost = Paired::of(both);
    let same = Paired::of(rounds.iter().map(|[with, _, again]| (*again, *with)));
    let mut out = format!(
        "# What measuring costs: two builds by turns\n\n\
         NOOP at 100 connections through one shard, which keeps the times of every command, or is built with \
         `--features engine/unmeasured` and keeps none. CPU of all threads of the daemon (schedstat), {} rounds; in each \
         round every daemon is loaded once, in changing order, and the ratio is taken within the round. All are started \
         anew every {ROUNDS_OF_A_START} rounds.\n\n{setting}\n",
        rounds.len()
    );
    out += "| daemon | us of CPU for a NOOP: median | least | most |\n|---|---|---|---|\n";
    for (seat, name) in SEATS.iter().enumerate() {
        let all: Vec<f64> = costs(seat).collect();
        let least = all.iter().copied().fold(f64::INFINITY, f64::min);
        let most = all.iter().copied().fold(0.0, f64::max);
        let _ = writeln!(out, "| {name} | {:.3} | {least:.3} | {most:.3} |", median(&all).unwrap_or(0.0));
    }
    out += "\n| ratio within a round | median | 95 % interval of the median | middle half | least to most | above 1, below 1 \
            (sign test) |\n|---|---|---|---|---|---|\n";
    out += &line("with / without", &cost);
    out += &line("with, again / with: the same build twice", &same);
    let (verdict, holds) = verdict(&cost);
    (out + "\n" + &verdict + "\n", holds)
}

fn line(name: &str, paired: &Paired) -> String {
    let at = |q: f64| paired.quantile(q).unwrap_or(0.0);
    let interval = paired.interval().map_or("-".to_owned(), |(from, to)| format!("{from:.4} to {to:.4}"));
    let (above, under, likely) = paired.signs();
    format!(
        "| {name} | {:.4} | {interval} | {:.4} to {:.4} | {:.3} to {:.3} | {above}, {under} (p = {likely:.3}) |\n",
        paired.median().unwrap_or(0.0),
        at(0.25),
        at(0.75),
        at(0.0),
        at(1.0)
    )
}

/// What the interval says of the budget.
fn verdict(cost: &Paired) -> (String, bool) {
    let (Some(median), Some((from, to))) = (cost.median(), cost.interval()) else {
        return ("Too few rounds to say anything.".to_owned(), true);
    };
    let percent = |ratio: f64| format!("{:+.2} %", (ratio - 1.0) * 100.0);
    let seen =
        format!("Measuring costs {} of a NOOP (95 %: {} to {})", percent(median), percent(from), percent(to));
    let budget = BUDGET * 100.0;
    if to <= 1.0 + BUDGET {
        (format!("{seen}: within {budget} %."), true)
    } else if from > 1.0 + BUDGET {
        (format!("{seen}: MISSED, {budget} % are allowed."), false)
    } else {
        (format!("{seen}: too much noise to say whether it is within {budget} %."), true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_seat_is_everywhere_equally_often_and_each_pair_in_both_orders() {
        let mut places = [[0; 3]; 3];
        let mut follows = [[0; 3]; 3];
        for round in 0..6 {
            let order = order(round);
            order.iter().enumerate().for_each(|(place, seat)| places[*seat][place] += 1);
            order.windows(2).for_each(|pair| follows[pair[0]][pair[1]] += 1);
        }
        assert_eq!(places, [[2; 3]; 3]);
        assert_eq!(follows, [[0, 2, 2], [2, 0, 2], [2, 2, 0]]);
    }

    /// Rounds in which the second build is cheaper by so many percent, beside noise that both see.
    fn rounds(percent: f64, noise: f64) -> Vec<Round> {
        let noisy = |n: usize| 5.0 + noise * (n * 7 % 11) as f64;
        (0..30).map(|n| [noisy(n), noisy(n) / (1.0 + percent / 100.0), noisy(n)]).collect()
    }

    #[test]
    fn verdict_is_that_of_the_interval() {
        let said = |rounds: &[Round]| record(rounds, "").0.lines().last().unwrap_or("").to_owned();
        let ok = "Measuring costs +1.00 % of a NOOP (95 %: +1.00 % to +1.00 %): within 2 %.";
        assert_eq!(said(&rounds(1.0, 0.5)), ok);
        assert!(said(&rounds(3.0, 0.5)).ends_with("MISSED, 2 % are allowed."));
        assert!(!record(&rounds(3.0, 0.5), "").1 && record(&rounds(1.0, 0.5), "").1);
        // Noise of each alone.
        let mixed: Vec<Round> = (0..30).map(|n| [4.5 + (n % 2) as f64, 5.0, 4.5 + (n % 2) as f64]).collect();
        assert!(said(&mixed).contains("too much noise"), "{}", said(&mixed));
    }
}
