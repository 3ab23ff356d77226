//! What one shard keeps.

use std::sync::Arc;

use hdrhistogram::Histogram;

use crate::snapshot::{Series, Slow, Snapshot, Subject};
use crate::stage::{Split, Stage};

/// The longest time that is told apart: ten minutes. What takes longer counts as that.
const TIME_US_MAX: u64 = 600_000_000;

/// Significant digits.
const DIGITS: u8 = 2;

/// Bytes of one histogram: 128 counters for every doubling up to ten minutes of microseconds.
pub const HISTOGRAM_BYTES: usize = 24 * 128 * size_of::<u32>();

/// Bytes of all histograms of a shard. What comes up when they are used up is not kept, but counted.
pub const BYTES_MAX: usize = 8 * 1024 * 1024;

/// Histograms of a shard.
const SERIES_MAX: usize = BYTES_MAX / HISTOGRAM_BYTES;

/// Verbs and servers that are told apart.
const SUBJECTS_MAX: usize = 512;

/// Places of the table of verbs; a power of two, twice as many as verbs.
const PLACES: usize = 1024;

/// The slowest commands of a window that are kept.
const SLOWEST: usize = 16;

/// Numbers a backend server of a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerId(pub u16);

/// No histogram yet.
const NONE: u16 = u16::MAX;

/// The histograms of a verb or server, by stage.
type Places = [u16; Stage::COUNT];

/// Keeps the histograms of one shard. Each is made when its stage and verb, or stage and backend,
/// come up first.
#[derive(Debug)]
pub struct Recorder {
    histograms: Vec<Histogram<u32>>,
    /// By the address of the verb's name: names are static, and few.
    verbs: Box<[Option<(&'static str, Places)>]>,
    verbs_known: usize,
    servers: Vec<Places>,
    commands: u64,
    unrecorded: u64,
    /// Of this window of time, and of the one before.
    slowest: [Vec<Slow<ServerId>>; 2],
    window: u64,
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder {
            histograms: Vec::new(),
            verbs: vec![None; PLACES].into(),
            verbs_known: 0,
            servers: Vec::new(),
            commands: 0,
            unrecorded: 0,
            slowest: [Vec::with_capacity(SLOWEST), Vec::new()],
            window: 0,
        }
    }
}

impl Recorder {
    /// Counts one command: every stage by its verb, and the waits for a backend by that backend.
    pub fn record(&mut self, verb: &'static str, server: Option<ServerId>, split: &Split) {
        self.commands += 1;
        match self.verb_place(verb) {
            Some(place) => {
                for stage in Stage::ALL {
                    let us = split.of(stage);
                    if us > 0 || matches!(stage, Stage::Total | Stage::Own) {
                        self.count(Owner::Verb(place), stage, us);
                    }
                }
            }
            None => self.unrecorded += 1,
        }
        if let Some(server) = server.filter(|server| usize::from(server.0) < SUBJECTS_MAX) {
            if self.servers.len() <= usize::from(server.0) {
                self.servers.resize(usize::from(server.0) + 1, [NONE; Stage::COUNT]);
            }
            self.count(Owner::Server(server), Stage::Backend, split.backend_us);
        }
        let slowest = &self.slowest[0];
        if slowest.len() < SLOWEST || slowest.last().is_some_and(|last| last.us < split.total_us) {
            self.keep_slow(Slow { verb: verb.into(), server, us: split.total_us });
        }
    }

    /// Says which window of time it is: the slowest commands of this one and the one before are told.
    pub fn age(&mut self, window: u64) {
        if window == self.window {
            return;
        }
        let before = std::mem::take(&mut self.slowest[0]);
        self.slowest[1] = if window == self.window + 1 { before } else { Vec::new() };
        self.window = window;
    }

    /// Commands that were counted.
    pub fn commands(&self) -> u64 {
        self.commands
    }

    /// Bytes of all histograms.
    pub fn bytes(&self) -> usize {
        self.histograms.len() * HISTOGRAM_BYTES
    }

    /// A copy of all that is kept.
    pub fn snapshot(&self, server_name: impl Fn(ServerId) -> Arc<str>) -> Snapshot {
        let mut snapshot =
            Snapshot { commands: self.commands, unrecorded: self.unrecorded, ..Snapshot::default() };
        for (verb, places) in self.verbs.iter().flatten() {
            self.copy(&Subject::Verb((*verb).into()), places, &mut snapshot);
        }
        for (n, places) in self.servers.iter().enumerate() {
            let id = ServerId(u16::try_from(n).unwrap_or(NONE));
            self.copy(&Subject::Backend(server_name(id)), places, &mut snapshot);
        }
        let name = |slow: &Slow<ServerId>| Slow {
            verb: slow.verb.clone(),
            server: slow.server.map(&server_name),
            us: slow.us,
        };
        snapshot.slowest = self.slowest.iter().flatten().map(name).collect();
        snapshot.sort();
        snapshot
    }

    fn copy(&self, subject: &Subject, places: &Places, snapshot: &mut Snapshot) {
        for stage in Stage::ALL {
            if let Some(histogram) = self.histograms.get(usize::from(places[stage.index()])) {
                let (subject, histogram) = (subject.clone(), histogram.clone());
                snapshot.series.push(Series { stage, subject, histogram });
            }
        }
    }

    /// Where a verb stands in the table; `None` when there are too many.
    fn verb_place(&mut self, verb: &'static str) -> Option<usize> {
        let first = verb.as_ptr() as usize;
        let mut place = (first ^ first >> 10) % PLACES;
        loop {
            match &self.verbs[place] {
                Some((known, _)) if std::ptr::eq(*known, verb) => return Some(place),
                Some(_) => place = (place + 1) % PLACES,
                None if self.verbs_known < SUBJECTS_MAX => {
                    self.verbs_known += 1;
                    self.verbs[place] = Some((verb, [NONE; Stage::COUNT]));
                    return Some(place);
                }
                None => return None,
            }
        }
    }

    fn count(&mut self, owner: Owner, stage: Stage, us: u32) {
        let made = self.histograms.len();
        let Some(place) = self.place_mut(owner, stage) else { return };
        let is_new = *place == NONE && made < SERIES_MAX;
        if is_new {
            *place = made as u16;
        }
        let place = usize::from(*place);
        if is_new {
            self.histograms.push(histogram());
        }
        match self.histograms.get_mut(place) {
            Some(histogram) => histogram.saturating_record(u64::from(us.max(1))),
            None => self.unrecorded += 1,
        }
    }

    fn place_mut(&mut self, owner: Owner, stage: Stage) -> Option<&mut u16> {
        let places = match owner {
            Owner::Verb(place) => &mut self.verbs[place].as_mut()?.1,
            Owner::Server(server) => self.servers.get_mut(usize::from(server.0))?,
        };
        Some(&mut places[stage.index()])
    }

    #[cold]
    fn keep_slow(&mut self, slow: Slow<ServerId>) {
        let slowest = &mut self.slowest[0];
        let at = slowest.partition_point(|kept| kept.us >= slow.us);
        slowest.truncate(SLOWEST - 1);
        slowest.insert(at.min(slowest.len()), slow);
    }
}

#[derive(Clone, Copy)]
enum Owner {
    /// In the table of verbs.
    Verb(usize),
    Server(ServerId),
}

/// A histogram of times in microseconds, each with how often it was seen.
pub fn histogram_of(times: impl IntoIterator<Item = (u64, u32)>) -> Histogram<u32> {
    let mut all = histogram();
    for (us, count) in times {
        all.saturating_record_n(us, count);
    }
    all
}

/// An empty histogram of the one shape that all have, so that any two can be added.
pub(crate) fn histogram() -> Histogram<u32> {
    let made = Histogram::new_with_bounds(1, TIME_US_MAX, DIGITS);
    // Unwrap: bounds of 1 and ten minutes with two digits are valid, as the tests show.
    #[expect(clippy::unwrap_used, reason = "constants")]
    made.unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(total_us: u32, backend_us: u32) -> Split {
        Split { total_us, own_us: total_us - backend_us, backend_us, ..Split::default() }
    }

    fn name(id: ServerId) -> Arc<str> {
        format!("be{}", id.0).into()
    }

    #[test]
    fn every_stage_is_kept_by_verb_and_the_backends_by_server() {
        let mut recorder = Recorder::default();
        recorder.record("NOOP", Some(ServerId(1)), &split(500, 450));
        recorder.record("NOOP", None, &split(10, 0));
        let snapshot = recorder.snapshot(name);
        let series: Vec<_> =
            snapshot.series.iter().map(|s| (s.subject.name(), s.stage, s.histogram.len())).collect();
        assert_eq!(
            series,
            [
                ("NOOP", Stage::Total, 2),
                ("NOOP", Stage::Own, 2),
                ("NOOP", Stage::Backend, 1),
                ("be1", Stage::Backend, 1)
            ]
        );
        let total = &snapshot.series[0].histogram;
        assert!((495..=505).contains(&total.max()), "{}", total.max());
    }

    #[test]
    fn a_histogram_has_the_size_that_the_limit_counts_with() {
        assert_eq!(histogram().distinct_values() * size_of::<u32>(), HISTOGRAM_BYTES);
    }

    #[test]
    fn histograms_stay_below_their_limit() {
        static NAMES: [&str; 600] = {
            // Each name is a different slice of one text, so that addresses differ.
            const TEXT: &str = match std::str::from_utf8(&[b'x'; 600]) {
                Ok(text) => text,
                Err(_) => "",
            };
            let mut names = [""; 600];
            let mut n = 0;
            while n < 600 {
                names[n] = TEXT.split_at(n).1;
                n += 1;
            }
            names
        };
        let mut recorder = Recorder::default();
        for name in NAMES {
            recorder.record(name, None, &split(30, 20));
        }
        assert!(recorder.bytes() <= BYTES_MAX, "{}", recorder.bytes());
        assert!(recorder.snapshot(name).unrecorded > 0);
    }

    #[test]
    fn the_slowest_are_told_in_order_for_two_windows_whoever_looks() {
        let mut recorder = Recorder::default();
        for us in (1..100).chain((50..60).rev()) {
            recorder.record("FETCH", None, &split(us, 0));
        }
        let told = |recorder: &Recorder| -> Vec<u32> {
            recorder.snapshot(name).slowest.iter().map(|slow| slow.us).collect()
        };
        let slowest: Vec<u32> = (84..100).rev().collect();
        for window in [0, 0, 1] {
            recorder.age(window);
            assert_eq!(told(&recorder), slowest, "{window}");
        }
        recorder.record("FETCH", None, &split(95, 0));
        assert_eq!(told(&recorder)[4..7], [95, 95, 94]);
        recorder.age(2);
        assert_eq!(told(&recorder), [95]);
        recorder.age(5);
        assert!(told(&recorder).is_empty());
    }
}
