//! Counts of tests over all parts of the suite.

use std::fmt;

/// Passed, failed, skipped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Ran and held.
    pub passed: u64,
    /// Ran and did not hold, or could not be built.
    pub failed: u64,
    /// Did not run, with a reason that was printed.
    pub skipped: u64,
}

impl Tally {
    /// One test that held or did not.
    pub fn one(held: bool) -> Tally {
        Tally { passed: u64::from(held), failed: u64::from(!held), skipped: 0 }
    }

    /// Adds the counts of another part.
    pub fn add(&mut self, part: Tally) {
        self.passed += part.passed;
        self.failed += part.failed;
        self.skipped += part.skipped;
    }

    /// Reads the sums out of `cargo test`'s `test result:` lines.
    pub fn from_cargo_test(output: &str) -> Tally {
        let mut sum = Tally::default();
        for line in output.lines() {
            let Some((_, counts)) = line.split_once("test result: ") else { continue };
            sum.passed += count_before(counts, " passed");
            sum.failed += count_before(counts, " failed");
            sum.skipped += count_before(counts, " ignored");
        }
        sum
    }

    /// Reads a closing line `N passed, N failed, N skipped`; the last such line counts.
    pub fn from_closing_line(output: &str) -> Option<Tally> {
        let line =
            output.lines().rev().find(|line| line.contains(" passed, ") && line.contains(" failed"))?;
        Some(Tally {
            passed: count_before(line, " passed"),
            failed: count_before(line, " failed"),
            skipped: count_before(line, " skipped"),
        })
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// The number that stands right before `word`; 0 when there is none.
fn count_before(text: &str, word: &str) -> u64 {
    let Some(end) = text.find(word) else { return 0 };
    let digits = text[..end].rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
    text[digits..end].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_test_results_are_summed() {
        let output = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured\n\
                      test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured\n";
        assert_eq!(Tally::from_cargo_test(output), Tally { passed: 15, failed: 2, skipped: 1 });
    }

    #[test]
    fn the_last_closing_line_counts() {
        let output = "1 passed, 0 failed, 0 skipped\nmore\n7 passed, 1 failed, 2 skipped\n";
        assert_eq!(Tally::from_closing_line(output), Some(Tally { passed: 7, failed: 1, skipped: 2 }));
        assert_eq!(Tally::from_closing_line("nothing"), None);
    }
}
