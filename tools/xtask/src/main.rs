//! The one door to the project's chores: `cargo xtask test|tidy|deny|fuzz|sim|model|bless|man|bench`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{chores, suite, tidy};

/// Chores of the project.
#[derive(Parser)]
#[command(name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Set up and run every test; the last line is `N passed, N failed, N skipped`.
    Test(suite::Options),
    /// Check the shape of the tree: imports, sizes, docs, tables.
    Tidy,
    /// Check bans, licences and sources of dependencies (needs cargo-deny).
    Deny,
    /// Fuzz one target with the nightly toolchain (needs cargo-fuzz).
    Fuzz(chores::Fuzz),
    /// Run the simulation over seeds.
    Sim(chores::Sim),
    /// Check the rules of the MUPDATE master over more orders of events than the test suite does.
    Model,
    /// Record the expected outputs of transcripts and snapshots anew.
    Bless,
    /// Write the man pages anew.
    Man,
    /// Run a benchmark: `list`, `store`, `master` beside Debian's, `measuring`, or `compare` against the peers.
    Bench(chores::Bench),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().chore {
        Chore::Test(options) => suite::run(&options),
        Chore::Tidy => tidy::report(),
        Chore::Deny => chores::deny(),
        Chore::Fuzz(fuzz) => chores::fuzz(&fuzz),
        Chore::Sim(sim) => chores::sim(&sim),
        Chore::Model => chores::model(),
        Chore::Bless => chores::bless(),
        Chore::Man => chores::man(),
        Chore::Bench(bench) => chores::bench(&bench),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
