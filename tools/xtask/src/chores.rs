//! Front ends to tools that are not part of the test suite.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::instructions::{self, Against};
use crate::{cargo, root, target_folder};

/// Which target is fuzzed, and for how long.
#[derive(Args)]
pub struct Fuzz {
    /// `protocols` or `mupdate`.
    package: String,
    /// The target, as listed by `cargo fuzz list`.
    target: String,
    /// Seconds to run.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// Which worlds are simulated.
#[derive(Args)]
pub struct Sim {
    /// Run this seed alone and tell everything that happens.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run so many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// `murder` (frontends and their clients), `master` (a master and its slaves), or both when left out.
    #[arg(long)]
    world: Option<String>,
}

/// Which benchmark is run. `compare --system` as root installs the peers; `--quick` takes four minutes.
#[derive(Args)]
pub struct Bench {
    /// `list`, `store`, `master`, `frontend`, `instructions`, `measuring` or `compare`.
    name: String,
    /// Arguments of the benchmark.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Runs cargo-deny over bans, licences and sources.
///
/// # Errors
/// cargo-deny is not installed.
pub fn deny() -> Result<bool> {
    run(cargo().args(["deny", "check", "bans", "licenses", "sources"]))
}

/// Fuzzes one target; what it finds lies in target/fuzz, and what is worth keeping is copied to the corpus.
///
/// # Errors
/// cargo-fuzz is not installed, or the package has no fuzz targets.
pub fn fuzz(fuzz: &Fuzz) -> Result<bool> {
    let folder = root().join(&fuzz.package);
    if !folder.join("fuzz/Cargo.toml").exists() {
        bail!("package {:?} has no fuzz targets: expected protocols or mupdate", fuzz.package);
    }
    // What is found is written to the first folder; the committed corpus is read only.
    let found = root().join("target/fuzz").join(&fuzz.package).join(&fuzz.target);
    fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    let committed = folder.join("fuzz/corpus").join(&fuzz.target);
    let mut command = Command::new("cargo");
    command.current_dir(folder).args(["+nightly", "fuzz", "run", &fuzz.target]).args([found, committed]);
    run(command.args(["--", &format!("-max_total_time={}", fuzz.seconds)]))
}

/// Runs the simulation in release.
///
/// # Errors
/// It cannot be built.
pub fn sim(sim: &Sim) -> Result<bool> {
    let worlds = match &sim.world {
        Some(world) => vec![world.as_str()],
        None => vec!["murder", "master"],
    };
    let mut holds = true;
    for world in worlds {
        let mut command = cargo();
        command.args(["run", "--release", "--package", "sim", "--", "--world", world]);
        match sim.seed {
            Some(seed) => command.args(["--seed", &seed.to_string()]),
            None => command.args(["--seeds", &sim.seeds.to_string()]),
        };
        holds &= run(&mut command)?;
    }
    Ok(holds)
}

/// Checks the rules of the master over more orders of events than the test suite does.
///
/// # Errors
/// The tests cannot be started.
pub fn model() -> Result<bool> {
    let tests = ["test", "--release", "--package", "mupdate", "--test", "model", "--", "--nocapture"];
    run(cargo().env("MODEL_LARGE", "1").args(tests))
}

/// Lets the snapshot tests write what they saw; the difference is for `git diff`.
///
/// # Errors
/// The tests cannot be started.
pub fn bless() -> Result<bool> {
    run(cargo().env("ROOKERY_BLESS", "1").args(["test", "--workspace"]))
}

/// Writes the man pages anew. Who has one, has a test that compares it.
///
/// # Errors
/// The tests cannot be started.
pub fn man() -> Result<bool> {
    run(cargo().env("ROOKERY_BLESS", "1").args([
        "test",
        "--workspace",
        "--bins",
        "--",
        "man_page_is_committed",
    ]))
}

/// Runs a benchmark in release.
///
/// # Errors
/// The benchmark is not known or cannot be built.
pub fn bench(bench: &Bench) -> Result<bool> {
    let mut command = cargo();
    match bench.name.as_str() {
        "list" => command.args(["bench", "--package", "mupdate", "--bench", "list", "--"]),
        "store" => command.args(["bench", "--package", "store", "--bench", "open", "--"]),
        "instructions" => {
            let is_bless = bench.rest.iter().any(|word| word == "--bless");
            let against = if is_bless { Against::Nothing } else { Against::TheRecord };
            return Ok(instructions::count(against, |line| println!("{line}"))?.failed == 0);
        }
        "master" => return python_figures(bench, "master_figures.py", &["mupdate-server", "ctl_mboxlist"]),
        "frontend" => {
            let packages = ["engine", "mupdate-server", "ctl_mboxlist", "bench"];
            return python_figures(bench, "frontend_figures.py", &packages);
        }
        "measuring" => return measuring(bench),
        "compare" => {
            let build = ["build", "--release", "--locked", "--package", "engine", "--package", "bench"];
            if !run(cargo().args(build))? {
                bail!("the programs that are compared cannot be built");
            }
            let binaries = target_folder().join("release");
            command = Command::new(binaries.join("rookery-bench"));
            command.arg("compare").arg("--rookeryd").arg(binaries.join("rookeryd"))
        }
        other => bail!(
            "unknown benchmark {other:?}: expected list, store, master, frontend, instructions, measuring or compare"
        ),
    };
    run(command.args(&bench.rest))
}

/// What keeping times costs: the daemon with and without it by turns, and the record of it.
fn measuring(bench: &Bench) -> Result<bool> {
    let release = target_folder().join("release");
    let folder = target_folder().join("measuring");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // The measured one last, so that it is what the build folder is left with.
    for (name, features) in [("unmeasured", &["--features", "engine/unmeasured"][..]), ("measured", &[])] {
        let build = ["build", "--release", "--locked", "--package", "engine", "--bin", "rookeryd"];
        if !run(cargo().args(build).args(features))? {
            bail!("rookeryd cannot be built");
        }
        let copy = folder.join(name);
        fs::copy(release.join("rookeryd"), &copy)
            .with_context(|| format!("cannot write {}", copy.display()))?;
    }
    if !run(cargo().args(["build", "--release", "--locked", "--package", "bench"]))? {
        bail!("rookery-bench cannot be built");
    }
    let mut command = Command::new(release.join("rookery-bench"));
    command.current_dir(root()).arg("measuring");
    for name in ["measured", "unmeasured"] {
        command.arg(format!("--{name}")).arg(folder.join(name));
    }
    run(command.args(["--record", "perf/record/measuring.md"]).args(&bench.rest))
}

/// Figures of our master and tools beside Debian's, or of a frontend with a large list, with the binaries that
/// the suite runs.
fn python_figures(bench: &Bench, script: &str, packages: &[&str]) -> Result<bool> {
    let packages = packages.iter().flat_map(|name| ["--package", name]);
    if !run(cargo().args(["build", "--profile", "suite"]).args(packages))? {
        return Ok(false);
    }
    let script = Path::new("bench/interop").join(script);
    let mut command = Command::new("python3");
    command.current_dir(root()).arg(script).arg(target_folder().join("suite"));
    run(command.args(&bench.rest))
}

fn run(command: &mut Command) -> Result<bool> {
    Ok(command.status().with_context(|| format!("cannot start {command:?}"))?.success())
}
