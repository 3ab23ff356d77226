//! Runs worlds: `sim --seeds N`, or `sim --seed S` to see what happens in one; with `--world master`
//! those of a master and its slaves.

use std::ops::Range;
use std::process::ExitCode;

use sim::{master, world};

/// The seed of the first world of a run over many.
const FIRST_SEED: u64 = 1;

/// Violations of one world that are shown.
const SHOWN_MAX: usize = 20;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let kind = arguments.iter().position(|word| word == "--world").map(|at| {
        let end = arguments.len().min(at + 2);
        arguments.drain(at..end).nth(1).unwrap_or_default()
    });
    let number = arguments.get(1).and_then(|text| text.parse::<u64>().ok());
    let seeds = match (arguments.first().map(String::as_str), number) {
        (Some("--seed"), Some(seed)) => Some((seed..seed + 1, true)),
        (Some("--seeds"), Some(seeds)) => Some((FIRST_SEED..FIRST_SEED + seeds, false)),
        _ => None,
    };
    match (kind.as_deref(), seeds) {
        (None | Some("murder"), Some((seeds, trace))) => murders(seeds, trace),
        (Some("master"), Some((seeds, trace))) => masters(seeds, trace),
        _ => {
            eprintln!("usage: sim [--world murder|master] --seeds N | --seed SEED");
            ExitCode::from(64)
        }
    }
}

/// Frontends, their clients and backends.
fn murders(seeds: Range<u64>, trace: bool) -> ExitCode {
    let mut tally = Tally::default();
    let (mut answered_ok, mut answered_no, mut changes, mut faults, mut resumed) = (0, 0, 0, 0, 0);
    let (mut delivered, mut deferred) = (0, 0);
    for seed in seeds {
        let outcome = world::World::new(seed, trace).run();
        delivered += outcome.delivered;
        deferred += outcome.deferred;
        answered_ok += outcome.answered_ok;
        answered_no += outcome.answered_no;
        changes += outcome.changes;
        faults += outcome.faults;
        resumed += outcome.resumed;
        tally.add(seed, &outcome.violations);
    }
    println!(
        "{answered_ok} commands answered OK, {answered_no} NO; {changes} changes of the list; {faults} faults; \
         {resumed} streams went on"
    );
    println!("{delivered} messages delivered by LMTP, {deferred} to come again");
    tally.close()
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
