//! Chores of the project: the test suite, the tidy checks, and front ends to other tools.

pub mod chores;
pub mod instructions;
pub mod suite;
pub mod tally;
pub mod tidy;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the project, two folders above this package.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// The cargo that runs this chore.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    if std::env::var("CI").is_ok_and(|value| value == "true") {
        // What is built once has no use for it.
        command.env("CARGO_INCREMENTAL", "0");
    }
    command
}

/// The folder that cargo builds into.
pub fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
