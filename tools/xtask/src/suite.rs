//! `cargo xtask test`: every test there is, in one run, ending in one line of counts.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use clap::Args;

use crate::instructions::{self, Against};
use crate::tally::Tally;
use crate::{cargo, root, target_folder};

/// Seeds of the short form of the simulation of a murder: 100 s of CPU, two worlds side by side.
const MURDER_SEEDS: &str = "2000";

/// The same of a master and its slaves.
const MASTER_SEEDS: &str = "1000";

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
    /// Run the tests before newer Cyrus releases, too: folders under which they are installed, oldest first.
    #[arg(long, value_name = "DIR,...")]
    newer_cyrus: Option<String>,
}

/// One part of the suite: its name, and how it is run with its output shown or, beside others, kept.
type Part = fn(&Options, &mut Show) -> Result<Tally>;

/// Runs all parts, those that mostly wait beside those that compile. `Ok(false)` when anything failed.
///
/// ```text
///   format ──> optimised build ──┬──> clippy ──> unit tests                    (given way by `nice`)
///   packages ────────────────────┴──> simulation ──> demo ──> real Cyrus
/// ```
///
/// # Errors
/// A part could not even be started.
pub fn run(options: &Options) -> Result<bool> {
    let (built, is_built) = mpsc::channel();
    let mut sum = Tally::default();
    thread::scope(|scope| -> Result<()> {
        let beside = scope.spawn(move || -> Result<Tally> {
            let mut sum = run_parts(options, &[("packages", packages)], Show::Whole)?;
            if is_built.recv() == Ok(true) {
                sum.add(run_parts(options, &TESTS_OF_BINARIES, Show::Whole)?);
            }
            Ok(sum)
        });
        sum.add(run_parts(options, &BUILDS, Show::Live)?);
        // Whoever waits for it is still there: it cannot end before it has heard.
        let _ = built.send(sum.failed == 0);
        sum.add(run_parts(options, &TESTS_OF_SOURCES, Show::Live)?);
        let beside = beside.join().map_err(|_| anyhow!("the tests of binaries panicked"))??;
        sum.add(beside);
        Ok(())
    })?;
    println!("\n{sum}");
    Ok(sum.failed == 0)
}

/// What the tests of binaries need.
const BUILDS: [(&str, Part); 2] = [
    ("format", |_, _| status(cargo().args(["fmt", "--all", "--check"]))),
    ("optimised build", |_, _| {
        let packages = BINARIES.map(|name| ["--package", name]);
        status(cargo().args(["build", "--profile", "suite", "--locked"]).args(packages.as_flattened()))
    }),
];

/// What compiles, and gives way.
const TESTS_OF_SOURCES: [(&str, Part); 3] = [
    ("clippy", |_, _| {
        let lints = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
        status(nice(&mut cargo()).args(lints))
    }),
    ("unit, transcript, tidy and corpus tests", |_, show| unit(show)),
    ("instruction counts", |_, show| instruction_counts(show)),
];

/// What runs the optimised binaries.
const TESTS_OF_BINARIES: [(&str, Part); 4] = [
    ("simulation", |options, show| simulation("murder", MURDER_SEEDS, options, show)),
    ("simulation of a master", |options, show| simulation("master", MASTER_SEEDS, options, show)),
    ("demo", |_, show| demo(show)),
    ("real Cyrus", interop),
];

fn run_parts(options: &Options, parts: &[(&str, Part)], how: Show) -> Result<Tally> {
    let mut sum = Tally::default();
    for (name, part) in parts {
        let mut show = how.clone();
        show.line(&format!("\n== {name}"));
        let started = Instant::now();
        let tally = part(options, &mut show).with_context(|| format!("part {name}"))?;
        show.line(&format!("== {name}: {tally} ({} s)", started.elapsed().as_secs()));
        show.finish();
        sum.add(tally);
    }
    Ok(sum)
}

/// What becomes of the lines of a part.
#[derive(Clone)]
enum Show {
    /// They are printed as they come.
    Live,
    /// They are printed together at the end: other parts run beside.
    Whole,
    /// Those that were kept.
    Kept(String),
}

impl Show {
    fn line(&mut self, line: &str) {
        match self {
            Show::Live => println!("{line}"),
            Show::Whole => *self = Show::Kept(format!("{line}\n")),
            Show::Kept(kept) => {
                kept.push_str(line);
                kept.push('\n');
            }
        }
    }

    fn finish(&mut self) {
        if let Show::Kept(kept) = self {
            print!("{}", std::mem::take(kept));
        }
    }
}

/// Whether tests may not be skipped, and packages be installed.
fn is_strict() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// The same command, giving way to the tests that run beside it.
fn nice(command: &mut Command) -> Command {
    let mut niced = Command::new("nice");
    niced.args(["-n", "10"]).arg(command.get_program()).args(command.get_args());
    niced.current_dir(root());
    niced.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    niced
}

fn status(command: &mut Command) -> Result<Tally> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    Ok(Tally::one(status.success()))
}

fn unit(show: &mut Show) -> Result<Tally> {
    let mut test = nice(&mut cargo());
    let (output, held) = told(test.args(["test", "--workspace", "--no-fail-fast", "--locked"]), show)?;
    let mut tally = Tally::from_cargo_test(&output);
    if !held && tally.failed == 0 {
        tally.failed = 1; // did not compile
    }
    Ok(tally)
}

fn instruction_counts(show: &mut Show) -> Result<Tally> {
    let tally = instructions::count(Against::TheRecord, |line| show.line(line))?;
    Ok(if is_strict() { Tally { failed: tally.failed + tally.skipped, skipped: 0, ..tally } } else { tally })
}

/// Debian's packages, where they may be installed. They come while the build runs.
fn packages(options: &Options, show: &mut Show) -> Result<Tally> {
    if !options.system && !is_strict() {
        return Ok(Tally::default());
    }
    let (_, held) = told(python("bench/interop/murder").arg("install"), show)?;
    Ok(Tally { failed: u64::from(!held), ..Tally::default() })
}

fn python(script: &str) -> Command {
    let mut command = Command::new("python3");
    command.current_dir(root()).arg(script);
    command
}

fn simulation(world: &str, short: &str, options: &Options, show: &mut Show) -> Result<Tally> {
    let seeds = if options.long { "20000" } else { short };
    let mut sim = Command::new(target_folder().join("suite/sim"));
    closing(sim.args(["--world", world, "--seeds", seeds]), show)
}

fn demo(show: &mut Show) -> Result<Tally> {
    let (_, held) =
        told(Command::new(target_folder().join("suite/rookery")).args(["demo", "--check"]), show)?;
    Ok(Tally::one(held))
}

/// Runs the tests against real Cyrus servers with the optimised binaries. Cyrus is installed, and the
/// test hosts named in /etc, only when that is allowed; else the tests that need them are skipped.
fn interop(options: &Options, show: &mut Show) -> Result<Tally> {
    let strict = is_strict();
    let mut run = python("bench/interop/run");
    run.arg(target_folder().join("suite")).args(["--jobs", MURDERS]);
    if !options.system && !strict {
        run.arg("--no-system");
    }
    if options.long {
        run.args(["--rounds", "1000", "--kills", "200", "--messages", "1000"]);
        run.args(["--moves", "20", "--move-mailboxes", "50", "--move-messages", "5000"]);
        run.args(["--chaos", "600", "--copy-mebibytes", "1024"]);
    }
    if let Some(folders) = &options.newer_cyrus {
        run.args(["--newer-cyrus", folders]);
    }
    let mut tally = closing(&mut run, show)?;
    if strict && tally.skipped > 0 {
        show.line(&format!(
            "{} real-Cyrus tests were skipped; with CI=true that is a failure",
            tally.skipped
        ));
        tally.failed += tally.skipped;
        tally.skipped = 0;
    }
    Ok(tally)
}

/// Runs a part that ends in a line of counts; without one it is one failure.
fn closing(command: &mut Command, show: &mut Show) -> Result<Tally> {
    let (output, held) = told(command, show)?;
    let mut tally = Tally::from_closing_line(&output).unwrap_or(Tally::one(false));
    if !held && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
}

/// Runs a command whose output is both shown and kept; the flag is its success.
fn told(command: &mut Command, show: &mut Show) -> Result<(String, bool)> {
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {command:?}"))?;
    let mut output = String::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            show.line(&line);
            output.push_str(&line);
            output.push('\n');
        }
    }
    Ok((output, child.wait()?.success()))
}
