//! Runs worlds: `sim --seeds N [FIRST]`, or `sim --seed S` to see what happens in one; with `--world master`
//! those of a master and its slaves.

use std::ops::Range;
use std::process::ExitCode;
use std::thread;

use sim::host::Counts;
use sim::{master, world};

/// The seed of the first world of a run over many.
const FIRST_SEED: u64 = 1;

/// Violations of one world that are shown.
const SHOWN_MAX: usize = 20;

/// Worlds that run side by side.
const SIDES: usize = 2;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let kind = arguments.iter().position(|word| word == "--world").map(|at| {
        let end = arguments.len().min(at + 2);
        arguments.drain(at..end).nth(1).unwrap_or_default()
    });
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<u64>().ok());
    let first = number(2).unwrap_or(FIRST_SEED);
    let seeds = match (arguments.first().map(String::as_str), number(1)) {
        (Some("--seed"), Some(seed)) => Some((seed..seed + 1, true)),
        (Some("--seeds"), Some(seeds)) => Some((first..first + seeds, false)),
        _ => None,
    };
    match (kind.as_deref(), seeds) {
        (None | Some("murder"), Some((seeds, trace))) => murders(seeds, trace),
        (Some("master"), Some((seeds, trace))) => masters(seeds, trace),
        _ => {
            eprintln!("usage: sim [--world murder|master] --seeds N [FIRST] | --seed SEED");
            ExitCode::from(64)
        }
    }
}

/// Frontends, their clients and backends.
fn murders(seeds: Range<u64>, trace: bool) -> ExitCode {
    let (mut tally, mut sum) = (Tally::default(), world::Outcome::default());
    for (part, outcome) in side_by_side(seeds, |seeds| some_murders(seeds, trace)) {
        tally.passed += part.passed;
        tally.failed += part.failed;
        sum.add(&outcome);
    }
    let world::Outcome { answered_ok, answered_no, changes, faults, resumed, .. } = sum;
    let world::Outcome { delivered, deferred, copied, reports, moves, renamed, waited, .. } = sum;
    let Counts { barred, rejoined, given_up } = sum.counts;
    println!("{answered_ok} commands answered OK, {answered_no} NO; {copied} COPYs and MOVEs");
    println!(
        "{reports} moves of messages reported as unfinished; {moves} users moved ({waited} times one was told to wait), \
         {renamed} mailboxes renamed"
    );
    println!(
        "{rejoined} selected mailboxes had again, {given_up} not; {barred} connections barred by a breaker"
    );
    println!("{delivered} messages delivered by LMTP, {deferred} to come again");
    println!("{changes} changes of the list; {faults} faults; {resumed} streams went on");
    tally.close()
}

fn some_murders(seeds: impl Iterator<Item = u64>, trace: bool) -> (Tally, world::Outcome) {
    let (mut tally, mut sum) = (Tally::default(), world::Outcome::default());
    for seed in seeds {
        let outcome = world::World::new(seed, trace).run();
        sum.add(&outcome);
        tally.add(seed, &outcome.violations);
    }
    (tally, sum)
}

/// Every other world on a thread of its own: they know nothing of each other.
fn side_by_side<T: Send>(
    seeds: Range<u64>,
    run: impl Fn(std::iter::StepBy<Range<u64>>) -> T + Sync,
) -> Vec<T> {
    let run = &run;
    thread::scope(|scope| {
        let sides = (seeds.start..).take(SIDES).map(|start| {
            let side = (start..seeds.end).step_by(SIDES);
            scope.spawn(move || run(side))
        });
        let sides: Vec<_> = sides.collect();
        sides
            .into_iter()
            .map(|side| side.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// A master and its slaves.
fn masters(seeds: Range<u64>, trace: bool) -> ExitCode {
    let (mut tally, mut sum) = (Tally::default(), master::Outcome::default());
    for seed in seeds {
        let outcome = master::World::new(seed, trace).run();
        sum.add(&outcome);
        tally.add(seed, &outcome.violations);
    }
    let master::Outcome { acknowledged, refused, faults, resumed, told, barriers, byes, .. } = sum;
    println!(
        "{acknowledged} changes acknowledged, {refused} refused; {faults} faults; {told} told in order, {barriers} \
         barriers exact, {resumed} streams went on, {byes} BYE"
    );
    tally.close()
}

/// Worlds in which all held, and others.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    fn add(&mut self, seed: u64, violations: &[String]) {
        if violations.is_empty() {
            self.passed += 1;
            return;
        }
        self.failed += 1;
        for violation in violations.iter().take(SHOWN_MAX) {
            println!("seed {seed}: {violation}");
        }
    }

    fn close(&self) -> ExitCode {
        println!("{} passed, {} failed, 0 skipped", self.passed, self.failed);
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
