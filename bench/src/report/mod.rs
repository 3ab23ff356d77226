//! What a run found: as a table for eyes, as JSON for records, as a page with charts.

mod chart;
mod html;
mod text;

use serde::{Deserialize, Serialize};

use crate::load::{Outcome, Point, Tally};
use crate::scenario::{Protocol, Scenario, Security};

pub use html::page;
pub(crate) use html::utc;
pub use text::{median, slope, summary, table};

/// The quantiles that are told, in hundredths of a percent.
const QUANTILES: [u32; 7] = [5000, 7500, 9000, 9900, 9990, 9999, 10000];
/// Steps of the curve of a distribution for each halving of what lies above.
const STEPS: u32 = 4;

/// A run, as the JSON has it. Times are microseconds if their names do not say otherwise.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Of the scenario.
    pub name: String,
    /// Of the scenario.
    pub analysis: String,
    /// Whom.
    pub target: String,
    /// When, as seconds since 1970.
    pub at: u64,
    /// What the load ran on.
    pub machine: String,
    /// Of the scenario.
    pub protocol: Protocol,
    /// Of the scenario.
    pub security: Security,
    /// Of the scenario.
    pub connections: usize,
    /// Of the scenario.
    pub pipeline: usize,
    /// Operations a second that were asked for; none in the closed loop.
    pub rate: Option<f64>,
    /// How long was counted.
    pub seconds: f64,
    /// Operations answered as they should be, for each second.
    pub rate_reached: f64,
    /// Connections lost.
    pub lost: u64,
    /// Why the last one was.
    pub why: String,
    /// CPU time of the watched process for one operation.
    pub cpu_us: Option<f64>,
    /// All operations together, if there are several kinds.
    pub total: Option<Distribution>,
    /// Each kind of operation.
    pub operations: Vec<Distribution>,
    /// From the beginning of a connection to the end of its login.
    pub login: Option<Distribution>,
    /// Who did something else at the same time.
    #[serde(default)]
    pub beside: Option<Beside>,
    /// How it went over time.
    pub points: Vec<Moment>,
}

/// A load beside the one that is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Beside {
    /// Its operations.
    pub name: String,
    /// Its connections.
    pub connections: usize,
    /// Its operations a second.
    pub rate: f64,
    /// All told operations without it, just before.
    pub alone: Distribution,
}

/// Latencies of one kind of operation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Distribution {
    /// Of the operation.
    pub name: String,
    /// Answered as they should be.
    pub done: u64,
    /// Refused.
    pub refused: u64,
    /// Not answered before the end; their age then is part of the distribution.
    pub unfinished: u64,
    /// The mean.
    pub mean: f64,
    /// The least.
    pub min: u64,
    /// Pairs of percent and latency.
    pub percentiles: Vec<(f64, u64)>,
    /// The whole curve: pairs of percent and latency, closer and closer to 100.
    pub curve: Vec<(f64, u64)>,
}

/// A point in time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Moment {
    /// Seconds from the beginning.
    pub at_s: f64,
    /// Operations a second around it.
    pub rate: f64,
    /// Refusals and lost connections around it.
    pub errors: u64,
    /// The median.
    pub p50: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The worst.
    pub max: u64,
}

impl Report {
    /// Of a run.
    pub fn of(scenario: &Scenario, target: &str, outcome: &Outcome) -> Report {
        let operations: Vec<Distribution> = outcome.tallies.iter().map(Distribution::of).collect();
        let total = outcome.total().filter(|_| operations.len() > 1);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Report {
            name: scenario.name.clone(),
            analysis: scenario.analysis.trim().to_owned(),
            target: target.to_owned(),
            at: now.map_or(0, |now| now.as_secs()),
            machine: crate::machine::describe(),
            protocol: scenario.protocol,
            security: scenario.security,
            connections: scenario.connections,
            pipeline: scenario.pipeline,
            rate: scenario.rate,
            seconds: outcome.elapsed.as_secs_f64(),
            rate_reached: outcome.rate(),
            lost: outcome.lost,
            why: outcome.why.clone(),
            cpu_us: outcome.cpu_us(),
            total: total.as_ref().map(Distribution::of),
            operations,
            login: (outcome.login.done > 0).then(|| Distribution::of(&outcome.login)),
            beside: outcome.beside.as_ref().map(Beside::of),
            points: outcome.points.iter().map(Moment::of).collect(),
        }
    }

    /// All distributions, in the order in which they are shown.
    pub fn distributions(&self) -> impl Iterator<Item = &Distribution> {
        let alone = self.beside.as_ref().map(|beside| &beside.alone);
        self.operations.iter().chain(&self.total).chain(alone).chain(&self.login)
    }
}

impl Distribution {
    fn of(tally: &Tally) -> Distribution {
        let at = |percent: f64| (percent, tally.latency.value_at_percentile(percent));
        let mut curve = vec![at(0.0)];
        let count = tally.latency.len();
        for step in 1..64 * STEPS {
            let above = 0.5_f64.powf(f64::from(step) / f64::from(STEPS));
            if above * (count as f64) < 1.0 {
                break;
            }
            curve.push(at(100.0 * (1.0 - above)));
        }
        curve.push((100.0, tally.latency.max()));
        Distribution {
            name: tally.name.clone(),
            done: tally.done,
            refused: tally.refused,
            unfinished: tally.unfinished,
            mean: tally.latency.mean(),
            min: tally.latency.min(),
            percentiles: QUANTILES.map(|q| at(f64::from(q) / 100.0)).to_vec(),
            curve,
        }
    }

    /// One of the percentiles that are told.
    pub fn percentile(&self, percent: f64) -> u64 {
        let found = self.percentiles.iter().find(|(p, _)| (p - percent).abs() < 1e-6);
        found.map_or(0, |(_, us)| *us)
    }
}

impl Beside {
    fn of(beside: &crate::load::Beside) -> Beside {
        let crate::load::Beside { name, connections, rate, alone } = beside;
        let alone = Distribution { name: "alone, just before".to_owned(), ..Distribution::of(alone) };
        Beside { name: name.clone(), connections: *connections, rate: *rate, alone }
    }

    /// In a sentence.
    pub fn told(&self) -> String {
        format!("beside {} connections that did {:.1} a second: {}", self.connections, self.rate, self.name)
    }
}

impl Moment {
    fn of(point: &Point) -> Moment {
        let Point { at_s, seconds, done, errors, p50_us, p99_us, max_us } = *point;
        Moment { at_s, rate: done as f64 / seconds.max(1e-9), errors, p50: p50_us, p99: p99_us, max: max_us }
    }
}
