//! What shards measured, as rows.

use std::sync::Arc;
use std::time::Duration;

use perf::{Series, Slow, Subject};

use super::protocol::{Latency, ShardLoad, SlowCommand};
use crate::shard::{Inbox, Measured, ToShard};

/// How long all shards together may take to tell: a turn each.
const SHARDS_MAX: Duration = Duration::from_secs(2);

/// Asks every shard what it measured; one that does not answer in time is left out.
pub fn measure(shards: &[Inbox]) -> Vec<Measured> {
    let (sender, answers) = std::sync::mpsc::channel();
    for shard in shards {
        shard.send(ToShard::Measure(sender.clone()));
    }
    drop(sender);
    let deadline = std::time::Instant::now() + SHARDS_MAX;
    let mut told: Vec<Measured> = Vec::new();
    while let Ok(measured) =
        answers.recv_timeout(deadline.saturating_duration_since(std::time::Instant::now()))
    {
        told.push(measured);
    }
    told.sort_by_key(|measured| measured.shard);
    told
}

pub(super) fn load(of: &Measured) -> ShardLoad {
    ShardLoad {
        shard: of.shard as u64,
        sessions: of.sessions as u64,
        connections: of.connections as u64,
        commands: of.snapshot.commands,
        unrecorded: of.snapshot.unrecorded,
    }
}

pub(super) fn latency(of: &Series, with_times: bool) -> Latency {
    let (kind, name) = match &of.subject {
        Subject::Verb(name) => ("verb", name),
        Subject::Backend(name) => ("backend", name),
    };
    let at = |quantile| of.histogram.value_at_quantile(quantile);
    let times =
        || of.histogram.iter_recorded().map(|at| (at.value_iterated_to(), at.count_at_value())).collect();
    Latency {
        kind: kind.into(),
        name: name.to_string(),
        stage: of.stage.name().into(),
        count: of.histogram.len(),
        mean_us: of.histogram.mean(),
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: of.histogram.max(),
        times: with_times.then(times).unwrap_or_default(),
    }
}

pub(super) fn slow(of: &Slow<Arc<str>>) -> SlowCommand {
    SlowCommand {
        verb: of.verb.to_string(),
        server: of.server.as_deref().map(String::from),
        us: of.us.into(),
    }
}
