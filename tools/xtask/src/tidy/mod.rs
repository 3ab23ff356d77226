//! The shape of the tree, checked: imports, sizes, docs, tables, guards.

mod imports;
mod options;
mod sources;
mod tables;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::root;

/// One thing that is not as it should be: where, and what is expected.
pub type Finding = String;

/// Prints all findings; `Ok(true)` when there are none.
///
/// # Errors
/// A file of the tree cannot be read.
pub fn report() -> Result<bool> {
    let findings = check(&root())?;
    for finding in &findings {
        println!("tidy: {finding}");
    }
    Ok(findings.is_empty())
}

/// Checks the whole tree.
///
/// # Errors
/// A file of the tree cannot be read.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    imports::check(root, &mut findings)?;
    sources::check(root, &mut findings)?;
    tables::check(root, &mut findings)?;
    options::check(root, &mut findings)?;
    Ok(findings)
}

/// All files below `folder` with an extension, sorted, without build output.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The path as the finding shows it.
fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}
