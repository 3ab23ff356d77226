//! `cargo xtask test`: every test there is, in one run, ending in one line of counts.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;

use crate::tally::Tally;
use crate::{cargo, root, target_folder};

/// Seeds of the short form of the simulation.
const SIMULATION_SEEDS: &str = "1000";

/// Murders that stand side by side: their tests mostly wait, three of them keep two cores busy.
const MURDERS: &str = "3";

/// Packages whose optimised binaries the tests run.
const BINARIES: [&str; 6] = ["engine", "mupdate-server", "rookery", "ctl_mboxlist", "mupdatetest", "sim"];

/// How the suite is run.
#[derive(Args)]
pub struct Options {
    /// Allow installing Debian's Cyrus packages and writing the test hosts' names to /etc (as root).
    #[arg(long)]
    system: bool,
    /// Run the long forms: more seeds, more rounds.
    #[arg(long)]
    long: bool,
}

/// Runs all parts. `Ok(false)` when anything failed.
///
/// # Errors
/// A part could not even be started.
pub fn run(options: &Options) -> Result<bool> {
    let mut sum = Tally::default();
    let strict = std::env::var("CI").is_ok_and(|value| value == "true");
    for (name, part) in parts() {
        println!("\n== {name}");
        let started = Instant::now();
        let tally = part(options, strict).with_context(|| format!("part {name}"))?;
        println!("== {name}: {tally} ({} s)", started.elapsed().as_secs());
        sum.add(tally);
    }
    println!("\n{sum}");
    Ok(sum.failed == 0)
}

type Part = fn(&Options, bool) -> Result<Tally>;

/// The parts, cheap ones first.
fn parts() -> [(&'static str, Part); 7] {
    [
        ("format", |_, _| status(cargo().args(["fmt", "--all", "--check"]))),
        ("clippy", |_, _| {
            let lints = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
            status(cargo().args(lints))
        }),
        ("unit, transcript, tidy and corpus tests", |_, _| unit()),
        ("optimised build", |_, _| {
            let packages = BINARIES.map(|name| ["--package", name]);
            status(cargo().args(["build", "--profile", "suite", "--locked"]).args(packages.as_flattened()))
        }),
        ("simulation", |options, _| simulation(options)),
        ("demo", |_, _| demo()),
        ("real Cyrus", interop),
    ]
}

fn status(command: &mut Command) -> Result<Tally> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    Ok(Tally::one(status.success()))
}

fn unit() -> Result<Tally> {
    let (output, held) = told(cargo().args(["test", "--workspace", "--no-fail-fast", "--locked"]))?;
    let mut tally = Tally::from_cargo_test(&output);
    if !held && tally.failed == 0 {
        tally.failed = 1; // did not compile
    }
    Ok(tally)
}

fn simulation(options: &Options) -> Result<Tally> {
    let seeds = if options.long { "20000" } else { SIMULATION_SEEDS };
    closing(Command::new(target_folder().join("suite/sim")).args(["--seeds", seeds]))
}

fn demo() -> Result<Tally> {
    status(Command::new(target_folder().join("suite/rookery")).args(["demo", "--check"]))
}

/// Runs the tests against real Cyrus servers with the optimised binaries. Cyrus is installed, and the
/// test hosts named in /etc, only when that is allowed; else the tests that need them are skipped.
fn interop(options: &Options, strict: bool) -> Result<Tally> {
    if options.system || strict {
        let installed =
            status(Command::new("python3").current_dir(root()).args(["bench/interop/murder", "install"]))?;
        if installed.failed > 0 {
            return Ok(installed);
        }
    }
    let mut run = Command::new("python3");
    run.current_dir(root()).arg("bench/interop/run").arg(target_folder().join("suite"));
    run.args(["--jobs", MURDERS]);
    if !options.system && !strict {
        run.arg("--no-system");
    }
    if options.long {
        run.args(["--rounds", "1000", "--kills", "200"]);
    }
    let mut tally = closing(&mut run)?;
    if strict && tally.skipped > 0 {
        println!("{} real-Cyrus tests were skipped; with CI=true that is a failure", tally.skipped);
        tally.failed += tally.skipped;
        tally.skipped = 0;
    }
    Ok(tally)
}

/// Runs a part that ends in a line of counts; without one it is one failure.
fn closing(command: &mut Command) -> Result<Tally> {
    let (output, held) = told(command)?;
    let mut tally = Tally::from_closing_line(&output).unwrap_or(Tally::one(false));
    if !held && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
}

/// Runs a command whose output is both shown and kept; the flag is its success.
fn told(command: &mut Command) -> Result<(String, bool)> {
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {command:?}"))?;
    let mut output = String::new();
    if let Some(stdout) = child.stdout.take() {
        let mut shown = std::io::stdout().lock();
        for line in BufReader::new(stdout).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            writeln!(shown, "{line}")?;
            output.push_str(&line);
            output.push('\n');
        }
    }
    Ok((output, child.wait()?.success()))
}
