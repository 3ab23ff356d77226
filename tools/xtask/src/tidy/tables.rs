//! The table of RFCs in ARCHITECTURE.md names every RFC that the code cites.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use super::{Finding, files, shown};

pub(super) fn check(root: &Path, findings: &mut Vec<Finding>) -> Result<()> {
    let architecture = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap_or_default();
    let mut cited = BTreeMap::new();
    for path in files(root, "rs")? {
        for number in rfc_numbers(&std::fs::read_to_string(&path)?) {
            cited.entry(number).or_insert_with(|| shown(root, &path));
        }
    }
    for (number, file) in cited {
        if !architecture.contains(&format!("| {number} |")) {
            findings.push(format!("ARCHITECTURE.md: no row for RFC {number}, cited in {file}"));
        }
    }
    Ok(())
}

/// The numbers behind `RFC `.
fn rfc_numbers(text: &str) -> impl Iterator<Item = u32> {
    text.split("RFC ").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_wherever_they_stand() {
        let text = "// RFC 9051 section 6.3.9, RFC 3656. RFC";
        assert_eq!(rfc_numbers(text).collect::<Vec<_>>(), [9051, 3656]);
    }
}
