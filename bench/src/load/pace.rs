//! When operations are to begin: at a constant rate, whatever the server does.

use std::time::{Duration, Instant};

/// A schedule. Its next operation may lie in the past: then it is late, and its latency counts from there.
pub(super) struct Pace {
    begun: Instant,
    nanos: f64,
    next: u64,
    end: Option<Instant>,
}

impl Pace {
    /// So many operations a second from a time on.
    pub(super) fn new(rate: f64, begun: Instant) -> Pace {
        Pace { begun, nanos: 1e9 / rate, next: 0, end: None }
    }

    /// No operation begins at this time or later.
    pub(super) fn stop_at(&mut self, end: Instant) {
        self.end = Some(end);
    }

    /// When the next operation is to begin.
    pub(super) fn next(&self) -> Option<Instant> {
        let due = self.begun + Duration::from_nanos((self.next as f64 * self.nanos) as u64);
        self.end.is_none_or(|end| due < end).then_some(due)
    }

    /// Takes the next operation if its time has come.
    pub(super) fn take(&mut self, now: Instant) -> Option<Instant> {
        let due = self.next().filter(|due| *due <= now)?;
        self.next += 1;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_operations_keep_their_times() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut pace = Pace::new(1000.0, begun);
        assert_eq!(pace.take(at(0)), Some(at(0)));
        assert_eq!(pace.take(at(0)), None);
        pace.stop_at(at(4));
        let late: Vec<Instant> = std::iter::from_fn(|| pace.take(at(500))).collect();
        assert_eq!(late, [at(1), at(2), at(3)]);
        assert_eq!(pace.next(), None);
    }
}
