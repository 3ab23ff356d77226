//! Every source file: its doc, its size, its words.

use std::path::Path;

use anyhow::Result;

use super::{Finding, files, shown};

/// Lines of a file, its tests not counted, past which it is split by concept.
const FILE_LINES_MAX: usize = 800;

/// Files that may be longer, each with its reason.
const LONG_FILES: [(&str, &str); 0] = [];

/// Where `unsafe` may be allowed.
const UNSAFE_PLACES: [&str; 2] = ["engine/src/shard/", "engine/src/sys.rs"];

/// Folders and files that may stand at the root.
const ROOT: [&str; 16] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "bench",
    "clippy.toml",
    "deny.toml",
    "engine",
    "mupdate",
    "perf",
    "protocols",
    "rustfmt.toml",
    "target",
    "tools",
];

pub(super) fn check(root: &Path, findings: &mut Vec<Finding>) -> Result<()> {
    for path in files(root, "rs")? {
        let text = std::fs::read_to_string(&path)?;
        check_file(&shown(root, &path), &text, findings);
    }
    for entry in std::fs::read_dir(root)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !ROOT.contains(&name.as_str()) {
            findings.push(format!("{name}: does not belong at the root"));
        }
    }
    Ok(())
}

fn check_file(name: &str, text: &str, findings: &mut Vec<Finding>) {
    let is_test = name.ends_with("/tests.rs") || name.contains("/tests/");
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let lines = if is_test { 0 } else { code.lines().count() };
    let excused = LONG_FILES.iter().any(|(file, _)| *file == name);
    if lines > FILE_LINES_MAX && !excused {
        findings.push(format!("{name}: {lines} lines without tests, at most {FILE_LINES_MAX}"));
    }
    if !text.starts_with("//!") && !name.ends_with("/tests.rs") {
        findings.push(format!("{name}: expected a module doc (`//!`) on the first line"));
    }
    for (number, line) in text.lines().enumerate() {
        if let Some(complaint) = complaint(name, line) {
            findings.push(format!("{name}:{}: {complaint}", number + 1));
        }
    }
}

/// What is wrong with one line.
fn complaint(name: &str, line: &str) -> Option<&'static str> {
    if name.starts_with("tools/xtask/") {
        return None; // this check would find its own words
    }
    if line.contains("// TODO") && !line.contains("TODO(issue): ") {
        return Some("bare TODO, expected `TODO(issue): what, and when it hurts`");
    }
    if line.contains("unimplemented!(") || line.contains("todo!(") {
        return Some("unfinished code");
    }
    let allows = line.contains("allow(unsafe_code") || line.trim() == "unsafe_code,";
    if allows && !UNSAFE_PLACES.iter().any(|place| name.starts_with(place)) {
        return Some("unsafe code belongs to engine/src/shard and engine/src/sys.rs");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_without_doc_is_found_twice() {
        let mut findings = Vec::new();
        check_file("x.rs", &"fn a() {}\n".repeat(FILE_LINES_MAX + 1), &mut findings);
        assert_eq!(findings.len(), 2, "{findings:?}");
    }

    #[test]
    fn tests_do_not_count_towards_the_length() {
        let mut findings = Vec::new();
        let tests = "fn t() {}\n".repeat(FILE_LINES_MAX);
        check_file("x.rs", &format!("//! Doc.\n\n#[cfg(test)]\nmod tests {{\n{tests}}}\n"), &mut findings);
        assert!(findings.is_empty(), "{findings:?}");
    }

    #[test]
    fn words_that_betray_unfinished_work_are_found() {
        assert!(complaint("engine/src/lib.rs", "// TODO later").is_some());
        assert!(complaint("engine/src/lib.rs", "// TODO(issue): resume, when lists are large").is_none());
        assert!(complaint("protocols/src/lib.rs", "#[allow(unsafe_code, reason = \"x\")]").is_some());
        assert!(complaint("protocols/src/lib.rs", "    unsafe_code,").is_some());
        assert!(complaint("engine/src/shard/ring.rs", "#[allow(unsafe_code, reason = \"x\")]").is_none());
    }
}
