//! What one row of a comparison found.

use super::kind::Kind;
use crate::load::Outcome;
use crate::report::median;

/// One turn of one peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// CPU microseconds for one operation; KiB for one session in rows of memory.
    pub(super) cost: f64,
    pub(super) rate: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) errors: u64,
}

impl Sample {
    pub(super) fn of(outcome: &Outcome) -> Sample {
        let latency = outcome.total().map(|total| total.latency);
        let at = |q: f64| latency.as_ref().map_or(0.0, |latency| latency.value_at_quantile(q) as f64);
        Sample {
            cost: outcome.cpu_us().unwrap_or(0.0),
            rate: outcome.rate(),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            errors: outcome.errors(),
        }
    }

    pub(super) fn of_memory(kib: f64) -> Sample {
        Sample { cost: kib, rate: 0.0, p50: 0.0, p99: 0.0, p999: 0.0, errors: 0 }
    }
}

/// The turns of all peers.
pub(super) struct Row {
    pub(super) name: String,
    /// Counted time of a turn.
    pub(super) seconds: f64,
    /// Peer, round, what was seen.
    pub(super) samples: Vec<(Kind, usize, Sample)>,
    pub(super) failures: Vec<(Kind, String)>,
}

impl Row {
    pub(super) fn new(name: &str, seconds: f64) -> Row {
        Row { name: name.to_owned(), seconds, samples: Vec::new(), failures: Vec::new() }
    }

    pub(super) fn add(&mut self, kind: Kind, round: usize, sample: Sample) {
        self.samples.push((kind, round, sample));
    }

    pub(super) fn fails(&mut self, kind: Kind, why: String) {
        self.failures.push((kind, why));
    }

    pub(super) fn has_failed(&self, kind: Kind) -> bool {
        self.failures.iter().any(|(failed, _)| *failed == kind)
    }

    /// The median of something over the turns of a peer.
    pub(super) fn median(&self, kind: Kind, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        let values: Vec<f64> =
            self.samples.iter().filter(|(k, ..)| *k == kind).map(|(.., sample)| of(sample)).collect();
        median(&values)
    }

    /// Alternations that were made.
    pub(super) fn rounds(&self) -> usize {
        self.samples.iter().map(|(_, round, _)| round + 1).max().unwrap_or(0)
    }

    /// Refused operations and lost connections of a peer, in all its turns.
    pub(super) fn errors(&self, kind: Kind) -> u64 {
        self.samples.iter().filter(|(k, ..)| *k == kind).map(|(.., sample)| sample.errors).sum()
    }

    /// Our cost by a peer's, turn by turn: the median, the least and the most.
    pub(super) fn ratio(&self, peer: Kind) -> Option<(f64, f64, f64)> {
        let at = |kind: Kind, round: usize| {
            let found = self.samples.iter().find(|(k, r, _)| (*k, *r) == (kind, round));
            found.map(|(.., sample)| sample.cost).filter(|cost| *cost > 0.0)
        };
        let mut ratios: Vec<f64> = (0..self.rounds())
            .filter_map(|round| Some(at(Kind::Rookery, round)? / at(peer, round)?))
            .collect();
        ratios.sort_by(f64::total_cmp);
        Some((median(&ratios)?, *ratios.first()?, *ratios.last()?))
    }

    /// The medians in one line, for whoever watches.
    pub(super) fn line(&self) -> String {
        let mut kinds: Vec<Kind> = Vec::new();
        for (kind, ..) in &self.samples {
            if !kinds.contains(kind) {
                kinds.push(*kind);
            }
        }
        let cells = kinds.iter().filter_map(|kind| {
            Some(format!("{} {:.2}", kind.name(), self.median(*kind, |sample| sample.cost)?))
        });
        let failed = self.failures.iter().map(|(kind, why)| format!("{} failed: {why}", kind.name()));
        format!("{}: {}", self.name, cells.chain(failed).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratio_is_taken_within_a_turn() {
        let mut row = Row::new("x", 1.0);
        // The second turn is twice as slow for both: the ratio does not see it.
        for (round, (ours, theirs)) in [(1.0, 2.0), (2.0, 4.0), (1.1, 2.0)].into_iter().enumerate() {
            row.add(Kind::Rookery, round, Sample::of_memory(ours));
            row.add(Kind::Nginx, round, Sample::of_memory(theirs));
        }
        row.add(Kind::Haproxy, 0, Sample::of_memory(4.0));
        assert_eq!(row.ratio(Kind::Nginx), Some((0.5, 0.5, 0.55)));
        assert_eq!(row.ratio(Kind::Haproxy), Some((0.25, 0.25, 0.25)));
        assert_eq!(row.ratio(Kind::Cyrus), None);
    }
}
