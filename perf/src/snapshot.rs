//! What a shard kept, copied for who looks.

use std::sync::Arc;

use hdrhistogram::Histogram;

use crate::stage::Stage;

/// What a histogram is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Subject {
    /// Commands of one verb.
    Verb(Arc<str>),
    /// Commands that one backend served.
    Backend(Arc<str>),
}

impl Subject {
    /// The verb or the server.
    pub fn name(&self) -> &str {
        let (Subject::Verb(name) | Subject::Backend(name)) = self;
        name
    }
}

/// One histogram, in microseconds.
#[derive(Clone, Debug)]
pub struct Series {
    /// Which part of the time.
    pub stage: Stage,
    /// Of what.
    pub subject: Subject,
    /// The times.
    pub histogram: Histogram<u32>,
}

/// A command that took long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slow<S> {
    /// Its verb.
    pub verb: Box<str>,
    /// The backend that served it.
    pub server: Option<S>,
    /// How long it took, in microseconds.
    pub us: u32,
}

/// Everything that one or several shards kept.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Sorted by subject and stage.
    pub series: Vec<Series>,
    /// Commands that were counted since the start.
    pub commands: u64,
    /// Times that found no room.
    pub unrecorded: u64,
    /// The slowest commands of the last half minute and the one before, slowest first.
    pub slowest: Vec<Slow<Arc<str>>>,
}

impl Snapshot {
    /// Adds what another shard kept.
    pub fn merge(&mut self, other: Snapshot) {
        self.commands += other.commands;
        self.unrecorded += other.unrecorded;
        self.slowest.extend(other.slowest);
        for series in other.series {
            let same = |own: &&mut Series| own.stage == series.stage && own.subject == series.subject;
            match self.series.iter_mut().find(same) {
                // All histograms have one shape: adding cannot fail.
                Some(own) => drop(own.histogram.add(&series.histogram)),
                None => self.series.push(series),
            }
        }
        self.sort();
    }

    pub(crate) fn sort(&mut self) {
        self.series.sort_by(|a, b| (&a.subject, a.stage.index()).cmp(&(&b.subject, b.stage.index())));
        self.slowest.sort_by_key(|slow| std::cmp::Reverse(slow.us));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Recorder, ServerId, Split};

    #[test]
    fn shards_are_added_by_stage_and_subject() {
        let mut shards = [Recorder::default(), Recorder::default()];
        let split = Split { total_us: 40, own_us: 10, backend_us: 30, ..Split::default() };
        shards[0].record("NOOP", Some(ServerId(0)), &split);
        shards[1].record("NOOP", Some(ServerId(3)), &split);
        let mut sum = Snapshot::default();
        for shard in &mut shards {
            sum.merge(shard.snapshot(|_| "be".into()));
        }
        assert_eq!(sum.commands, 2);
        assert!(sum.series.iter().all(|series| series.histogram.len() == 2), "{:?}", sum.series.len());
        assert_eq!(sum.series.len(), 4);
    }
}
