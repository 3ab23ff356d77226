//! Two loads at once: what is measured alone first, then while others do as much as they can.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Beside, Load, Outcome, Plan, Until, run_one};
use crate::scenario::{self, Scenario};

/// How often the load beside looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// What the load beside did: operations, and in how long.
type Did = (u64, Duration);

pub(super) fn run(plan: &Plan, beside: &scenario::Beside) -> Result<Outcome> {
    let mut plan = plan.clone();
    plan.scenario.beside = None;
    let alone = run_one(&plan)?;
    let bulk = Plan { scenario: bulk(&plan.scenario, beside), pid: None, progress: None, ..plan.clone() };
    let is_over = AtomicBool::new(false);
    let (ready, is_ready) = mpsc::channel();
    let (outcome, did) = thread::scope(|scope| {
        let (bulk, is_over) = (&bulk, &is_over);
        let others = scope.spawn(move || until_told(bulk, &ready, is_over));
        // Without others the channel ends: what they say is the error.
        let outcome = is_ready.recv().ok().map(|()| run_one(&plan));
        is_over.store(true, Ordering::Relaxed);
        let did = others.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (outcome, did)
    });
    let (done, elapsed) = did.context("the load beside")?;
    let mut outcome = outcome.context("the load beside did not begin")??;
    let names: Vec<&str> = beside.operation.iter().map(|operation| operation.name.as_str()).collect();
    outcome.beside = alone.total().map(|alone| Beside {
        name: names.join(", "),
        connections: beside.connections,
        rate: done as f64 / elapsed.as_secs_f64().max(1e-9),
        alone,
    });
    Ok(outcome)
}

/// The scenario of the others: like the measured one in all that is not said.
fn bulk(scenario: &Scenario, beside: &scenario::Beside) -> Scenario {
    Scenario {
        connections: beside.connections,
        before: beside.before.clone(),
        operation: beside.operation.clone(),
        pipeline: 1,
        rate: None,
        operations_per_session: 0,
        ..scenario.clone()
    }
}

/// Loads in the closed loop until told to end; says when all of it is under way.
fn until_told(plan: &Plan, ready: &mpsc::Sender<()>, is_over: &AtomicBool) -> Result<Did> {
    let mut load = Load::new(plan)?;
    load.log_all_in()?;
    load.begin_idle()?;
    load.until(Instant::now() + Duration::from_secs_f64(plan.scenario.warm_up), Until::End)?;
    let (begun, before) = (Instant::now(), load.recorder.done());
    // Who listens waits for nothing else.
    let _ = ready.send(());
    while !is_over.load(Ordering::Relaxed) {
        load.until(Instant::now() + LOOK, Until::End)?;
    }
    Ok((load.recorder.done() - before, begun.elapsed()))
}
