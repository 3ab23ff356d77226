//! Counts of instructions, held against those that are committed: what a busy machine does not change.
//!
//! Each benchmark is a program that takes the name of a case. valgrind's callgrind counts inside the
//! functions whose names begin with `measured_`. The record has a line a case: program, case, count.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::tally::Tally;
use crate::{cargo, root};

/// Where the counts stand.
const RECORD: &str = "perf/record/instructions.txt";

/// How far a count may be above the record, in percent; as far below, the record is out of date, which
/// is only said.
const TOLERANCE_PERCENT: i64 = 3;

/// Programs with their packages and cases.
const CASES: [(&str, &str, &[&str]); 4] = [
    ("protocols", "grammar_instructions", &["commands", "responses"]),
    ("mupdate", "list_instructions", &["lookup", "scan", "publish"]),
    ("driver", "turn_instructions", &["noop"]),
    ("engine", "measure_instructions", &["noop"]),
];

/// Whether the counts are written down instead of compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// Each case is a test.
    TheRecord,
    /// They become the record.
    Nothing,
}

/// Builds the programs and counts every case. Without valgrind the cases are skipped.
///
/// # Errors
/// A program cannot be built or does not run.
pub fn count(against: Against, mut say: impl FnMut(&str)) -> Result<Tally> {
    let cases = CASES.iter().flat_map(|(_, program, cases)| cases.iter().map(move |case| (*program, *case)));
    if Command::new("valgrind").arg("--version").output().is_err() {
        say("instruction counts: valgrind is not there (Debian: apt-get install valgrind)");
        return Ok(Tally { skipped: cases.count() as u64, ..Tally::default() });
    }
    let programs = build()?;
    let recorded = fs::read_to_string(root().join(RECORD)).unwrap_or_default();
    let (mut sum, mut record) = (Tally::default(), String::new());
    for (program, case) in cases {
        let count = counted(&programs, program, case)?;
        // Writing to a string does not fail.
        let _ = writeln!(record, "{program} {case} {count}");
        let before = find(&recorded, program, case);
        let percent = before.map(|before| percent(before, count));
        say(&match (before, percent) {
            (Some(before), Some(percent)) => {
                format!("{program} {case}: {count} instructions, {percent:+} % of {before}")
            }
            (None, _) | (_, None) => format!("{program} {case}: {count} instructions, not in {RECORD}"),
        });
        let held = percent.is_some_and(|percent| percent <= TOLERANCE_PERCENT);
        if held && percent.is_some_and(|percent| percent < -TOLERANCE_PERCENT) {
            say("  better than the record: cargo xtask bench instructions --bless");
        }
        sum.add(Tally::one(held || against == Against::Nothing));
    }
    if against == Against::Nothing {
        fs::write(root().join(RECORD), record).with_context(|| format!("cannot write {RECORD}"))?;
    }
    Ok(sum)
}

/// The programs of all cases, built as the tests' binaries are.
fn build() -> Result<Vec<PathBuf>> {
    let mut command = cargo();
    command.args(["build", "--profile", "suite", "--locked", "--message-format", "json-render-diagnostics"]);
    for (package, program, _) in CASES {
        command.args(["--package", package, "--bench", program]);
    }
    let output = command.stderr(std::process::Stdio::inherit()).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the programs whose instructions are counted cannot be built");
    }
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let executable = |line: &str| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        Some(PathBuf::from(rest.split_once('"')?.0))
    };
    Ok(messages.lines().filter_map(executable).collect())
}

fn counted(programs: &[PathBuf], program: &str, case: &str) -> Result<u64> {
    let is_it = |path: &&PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{program}-")))
    };
    let path = programs.iter().find(is_it).with_context(|| format!("{program} was not built"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=*measured_*"])
        .arg(path)
        .arg(case)
        .output()
        .context("cannot start valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    match count {
        Some(count) if output.status.success() && count > 0 => Ok(count),
        Some(_) | None => bail!("{program} {case} was not counted: {said}"),
    }
}

fn find(record: &str, program: &str, case: &str) -> Option<u64> {
    let of =
        |line: &str| line.strip_prefix(program)?.strip_prefix(' ')?.strip_prefix(case)?.trim().parse().ok();
    record.lines().find_map(of)
}

/// How far a count is from the one before.
fn percent(before: u64, count: u64) -> i64 {
    let (before, count) = (before.max(1) as f64, count as f64);
    ((count / before - 1.0) * 100.0).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_found_by_program_and_case() {
        let record = "list_instructions lookup 1000\nlist_instructions look 5\n";
        assert_eq!(find(record, "list_instructions", "lookup"), Some(1000));
        assert_eq!(find(record, "list_instructions", "look"), Some(5));
        assert_eq!(find(record, "list", "lookup"), None);
        assert_eq!((percent(1000, 1031), percent(1000, 970), percent(1000, 1004)), (3, -3, 0));
    }
}
