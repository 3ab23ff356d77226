//! Runs worlds: `sim --seeds N`, or `sim --seed S` to see what happens in one.

use std::process::ExitCode;

use sim::world::World;

/// The seed of the first world of a run over many.
const FIRST_SEED: u64 = 1;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = arguments.get(1).and_then(|text| text.parse::<u64>().ok());
    match (arguments.first().map(String::as_str), number) {
        (Some("--seed"), Some(seed)) => run(seed..seed + 1, true),
        (Some("--seeds"), Some(seeds)) => run(FIRST_SEED..FIRST_SEED + seeds, false),
        _ => {
            eprintln!("usage: sim --seeds N | sim --seed SEED");
            ExitCode::from(64)
        }
    }
}

fn run(seeds: std::ops::Range<u64>, trace: bool) -> ExitCode {
    let (mut passed, mut failed) = (0, 0);
    let (mut answered_ok, mut answered_no, mut changes, mut faults, mut resumed) = (0, 0, 0, 0, 0);
    let (mut delivered, mut deferred) = (0, 0);
    for seed in seeds {
        let outcome = World::new(seed, trace).run();
        delivered += outcome.delivered;
        deferred += outcome.deferred;
        answered_ok += outcome.answered_ok;
        answered_no += outcome.answered_no;
        changes += outcome.changes;
        faults += outcome.faults;
        resumed += outcome.resumed;
        if outcome.violations.is_empty() {
            passed += 1;
            continue;
        }
        failed += 1;
        for violation in outcome.violations.iter().take(20) {
            println!("seed {seed}: {violation}");
        }
    }
    println!(
        "{answered_ok} commands answered OK, {answered_no} NO; {changes} changes of the list; {faults} faults; \
         {resumed} streams went on"
    );
    println!("{delivered} messages delivered by LMTP, {deferred} to come again");
    println!("{passed} passed, {failed} failed, 0 skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
