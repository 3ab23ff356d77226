//! Who may import whom, and who may know the ring.

use std::path::Path;

use anyhow::{Context, Result};

use super::Finding;

/// Every package of the workspace: folder, and the packages of ours that it may depend on.
const MAY_IMPORT: [(&str, &[&str]); 17] = [
    ("protocols", &[]),
    ("mupdate", &["protocols"]),
    ("mupdate/store", &["mupdate", "protocols"]),
    ("engine/driver", &["protocols"]),
    ("engine/sim", &["driver", "mupdate", "protocols"]),
    ("engine", &["driver", "mupdate", "perf", "protocols", "store"]),
    ("bench", &["backends", "protocols"]),
    ("bench/backends", &["protocols"]),
    ("perf", &[]),
    ("tools/client", &["mupdate", "protocols"]),
    ("tools/ctl_mboxlist", &["client", "cyrusdb", "mupdate", "protocols", "store"]),
    ("tools/cyrusdb", &["mupdate"]),
    ("tools/man", &[]),
    ("tools/mupdate", &["engine", "mupdate", "protocols"]),
    ("tools/mupdatetest", &["client", "protocols"]),
    ("tools/rookery", &["backends", "client", "cyrusdb", "engine", "mupdate", "perf", "protocols", "store"]),
    ("tools/xtask", &[]),
];

/// Names of our packages as they appear in a manifest.
const OURS: [&str; 11] = [
    "backends",
    "bench",
    "client",
    "cyrusdb",
    "driver",
    "engine",
    "mupdate",
    "perf",
    "protocols",
    "sim",
    "store",
];

/// Crates that only the engine may name.
const ENGINE_ONLY: [&str; 2] = ["glommio", "io-uring"];

/// Crates whose code is pure, each with the guard file.
const PURE: [&str; 5] = ["protocols", "mupdate", "engine/driver", "engine/sim", "perf"];

pub(super) fn check(root: &Path, findings: &mut Vec<Finding>) -> Result<()> {
    for (folder, allowed) in MAY_IMPORT {
        let manifest = root.join(folder).join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest).with_context(|| format!("{folder}/Cargo.toml"))?;
        check_manifest(folder, &text, allowed, findings);
    }
    check_members(root, findings)?;
    check_guards(root, findings)
}

fn check_manifest(folder: &str, text: &str, allowed: &[&str], findings: &mut Vec<Finding>) {
    for dependency in dependencies(text) {
        if OURS.contains(&dependency) && !allowed.contains(&dependency) {
            findings
                .push(format!("{folder}/Cargo.toml: may not depend on {dependency}, only on {allowed:?}"));
        }
        if ENGINE_ONLY.contains(&dependency) && folder != "engine" {
            findings.push(format!("{folder}/Cargo.toml: {dependency} belongs to engine alone"));
        }
    }
    if !text.contains("[lints]\nworkspace = true") {
        findings.push(format!("{folder}/Cargo.toml: expected the workspace's lints"));
    }
}

/// Names under `[dependencies]`; tests may import more.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let section = manifest.split("\n[").find(|section| section.starts_with("dependencies]"));
    section.into_iter().flat_map(str::lines).skip(1).filter_map(|line| {
        let name = line.split(['.', ' ', '=']).next()?;
        (!name.is_empty() && !name.starts_with('#')).then_some(name)
    })
}

fn check_members(root: &Path, findings: &mut Vec<Finding>) -> Result<()> {
    let workspace = std::fs::read_to_string(root.join("Cargo.toml"))?;
    let members = workspace.split("members = [").nth(1).and_then(|rest| rest.split(']').next()).unwrap_or("");
    for member in members.split('"').skip(1).step_by(2) {
        if !MAY_IMPORT.iter().any(|(folder, _)| *folder == member) {
            findings.push(format!("Cargo.toml: member {member} has no row in tidy's table of imports"));
        }
    }
    Ok(())
}

fn check_guards(root: &Path, findings: &mut Vec<Finding>) -> Result<()> {
    let model = std::fs::read_to_string(root.join("protocols/clippy.toml"))?;
    for folder in PURE {
        let guard = std::fs::read_to_string(root.join(folder).join("clippy.toml")).unwrap_or_default();
        if guard != model {
            findings.push(format!("{folder}/clippy.toml: expected the same guards as protocols/clippy.toml"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_dependencies_section_is_read() {
        let manifest = "[package]\nname = \"x\"\n\n[dependencies]\nprotocols.workspace = true\n# no\nlibc = \"1\"\n\n\
                        [dev-dependencies]\nengine.workspace = true\n";
        assert_eq!(dependencies(manifest).collect::<Vec<_>>(), ["protocols", "libc"]);
    }

    #[test]
    fn a_forbidden_import_is_found() {
        let mut findings = Vec::new();
        check_manifest(
            "protocols",
            "[lints]\nworkspace = true\n\n[dependencies]\nengine.workspace = true\nglommio = \"0\"\n",
            &[],
            &mut findings,
        );
        assert_eq!(findings.len(), 2, "{findings:?}");
    }
}
