//! What came of a load: latencies of each operation, and how it went over time.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Latencies above this many microseconds are counted as this.
const LATENCY_US_MAX: u64 = 600_000_000;
/// A run is told in at most about so many points.
const POINTS: f64 = 120.0;
/// No point is shorter.
const POINT_MIN: Duration = Duration::from_millis(100);

/// What became of one kind of operation.
#[derive(Clone)]
pub struct Tally {
    /// As the scenario calls it.
    pub name: String,
    /// Microseconds from the time at which it was to begin to its last byte, refusals left out.
    pub latency: Histogram<u64>,
    /// Answered as it should be.
    pub done: u64,
    /// Refused.
    pub refused: u64,
    /// Not answered before the run ended; their age at that time is in the histogram.
    pub unfinished: u64,
}

/// A short time of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its end, in seconds from the beginning of what is counted.
    pub at_s: f64,
    /// Its length in seconds.
    pub seconds: f64,
    /// Operations that ended in it.
    pub done: u64,
    /// Operations refused and connections lost in it.
    pub errors: u64,
    /// Latencies of what ended in it, in microseconds.
    pub p50_us: u64,
    /// As above.
    pub p99_us: u64,
    /// As above.
    pub max_us: u64,
}

/// Counts.
pub(super) struct Recorder {
    pub(super) tallies: Vec<Tally>,
    pub(super) login: Tally,
    pub(super) lost: u64,
    pub(super) points: Vec<Point>,
    /// Operations that were to begin before are not counted.
    from: Instant,
    point_length: Duration,
    point_begun: Instant,
    point: Histogram<u64>,
    point_done: u64,
    point_errors: u64,
}

fn histogram(digits: u8) -> Histogram<u64> {
    // Unwrap: one to 600 seconds with two or three digits is a histogram.
    #[allow(clippy::unwrap_used, reason = "the bounds are constants")]
    Histogram::new_with_max(LATENCY_US_MAX, digits).unwrap()
}

impl Tally {
    fn new(name: &str) -> Tally {
        Tally { name: name.to_owned(), latency: histogram(3), done: 0, refused: 0, unfinished: 0 }
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Tally) {
        self.latency += &other.latency;
        self.done += other.done;
        self.refused += other.refused;
        self.unfinished += other.unfinished;
    }
}

impl Recorder {
    pub(super) fn new(names: &[&str], length: Duration, now: Instant) -> Recorder {
        Recorder {
            tallies: names.iter().map(|name| Tally::new(name)).collect(),
            login: Tally::new("login"),
            lost: 0,
            points: Vec::new(),
            from: now,
            point_length: length.div_f64(POINTS).max(POINT_MIN),
            point_begun: now,
            point: histogram(2),
            point_done: 0,
            point_errors: 0,
        }
    }

    /// Forgets everything: what is counted begins at this time.
    pub(super) fn begin(&mut self, now: Instant) {
        let names: Vec<String> = self.tallies.iter().map(|tally| tally.name.clone()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let length = self.point_length;
        *self = Recorder::new(&names, Duration::ZERO, now);
        self.point_length = length;
    }

    /// All that was answered as it should be.
    pub(super) fn done(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.done).sum()
    }

    pub(super) fn errors(&self) -> u64 {
        self.lost + self.tallies.iter().map(|tally| tally.refused).sum::<u64>()
    }

    /// An operation ended. `is_paced`: what was to begin before the counted time is left out.
    pub(super) fn ended(
        &mut self,
        operation: usize,
        begun: Instant,
        refused: bool,
        is_paced: bool,
        now: Instant,
    ) {
        if is_paced && begun < self.from {
            return;
        }
        let us = micros(now.saturating_duration_since(begun));
        let tally = &mut self.tallies[operation];
        if refused {
            tally.refused += 1;
            self.point_errors += 1;
            return;
        }
        tally.done += 1;
        self.point_done += 1;
        tally.latency.saturating_record(us);
        self.point.saturating_record(us);
    }

    /// An operation was not answered before the end.
    pub(super) fn unfinished(&mut self, operation: usize, begun: Instant, now: Instant) {
        if begun >= self.from {
            let tally = &mut self.tallies[operation];
            tally.unfinished += 1;
            tally.latency.saturating_record(micros(now.saturating_duration_since(begun)));
        }
    }

    pub(super) fn logged_in(&mut self, took: Duration) {
        self.login.done += 1;
        self.login.latency.saturating_record(micros(took));
    }

    pub(super) fn lost(&mut self) {
        self.lost += 1;
        self.point_errors += 1;
    }

    /// When the point of this moment ends.
    pub(super) fn point_ends(&self) -> Instant {
        self.point_begun + self.point_length
    }

    /// Ends a point if its time has come.
    pub(super) fn tick(&mut self, now: Instant) {
        if now < self.point_ends() {
            return;
        }
        self.points.push(Point {
            at_s: now.duration_since(self.from).as_secs_f64(),
            seconds: now.duration_since(self.point_begun).as_secs_f64(),
            done: self.point_done,
            errors: self.point_errors,
            p50_us: self.point.value_at_quantile(0.5),
            p99_us: self.point.value_at_quantile(0.99),
            max_us: self.point.max(),
        });
        self.point.reset();
        (self.point_begun, self.point_done, self.point_errors) = (now, 0, 0);
    }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(LATENCY_US_MAX).clamp(1, LATENCY_US_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_to_begin_before_is_not_counted_when_paced() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut recorder = Recorder::new(&["a"], Duration::from_secs(1), begun);
        recorder.begin(at(10));
        recorder.ended(0, at(5), false, true, at(11));
        assert_eq!(recorder.done(), 0);
        recorder.ended(0, at(5), false, false, at(11));
        recorder.ended(0, at(10), false, true, at(15));
        assert_eq!(recorder.done(), 2);
        let latency = &recorder.tallies[0].latency;
        assert!(latency.equivalent(latency.max(), 6000));
    }

    #[test]
    fn points_hold_what_ended_in_them() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut recorder = Recorder::new(&["a"], Duration::from_secs(1), begun);
        recorder.ended(0, at(0), false, false, at(50));
        recorder.tick(at(50));
        assert!(recorder.points.is_empty());
        recorder.tick(at(100));
        recorder.ended(0, at(0), true, false, at(150));
        recorder.tick(at(200));
        let seen: Vec<(u64, u64)> = recorder.points.iter().map(|p| (p.done, p.errors)).collect();
        assert_eq!(seen, [(1, 0), (0, 1)]);
    }
}
