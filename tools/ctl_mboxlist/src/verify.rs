//! `-v`: compares the list of a backend with the folders of its partitions. A list of ours has none, as a
//! Cyrus frontend's: of it is verified that it can be read whole.
//!
//! A mailbox is a folder that holds `cyrus.header`. Since 3.6 it is found by the unique id, before by
//! the name:
//!
//! ```text
//!   partition/uuid/6/o/6o1b...           partition/user/fred/Sent      name user.fred.Sent
//!   partition/f/user/fred (hashimapspool)     partition/domain/e/example.com/f/user/fred
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufWriter, Write, stdout};
use std::path::{Path, PathBuf};

use cyrusdb::{Mailbox, Mbtype};
use protocols::conf::Imapd;

use crate::place::{self, Place};

/// What makes a folder a mailbox.
const HEADER: &str = "cyrus.header";

/// Folders below one another.
const DEPTH_MAX: usize = 64;

/// Where the headers of mailboxes are.
struct Spool {
    roots: Vec<PathBuf>,
    is_hashed: bool,
}

/// The folders of mailboxes: what they are called by, and where they are.
#[derive(Default)]
struct Folders {
    by_id: BTreeMap<String, PathBuf>,
    by_name: BTreeMap<String, PathBuf>,
}

pub(crate) fn run(imapd: &Imapd, place: &Place) -> anyhow::Result<()> {
    let path = match place {
        Place::Cyrus(path) => path,
        Place::Ours(path) => return place::open_ours(path).map(drop),
    };
    let spool = spool(imapd)?;
    let mut folders = Folders::default();
    for root in &spool.roots {
        walk_root(root, spool.is_hashed, &mut folders);
    }
    let database = place::read_cyrus(path)?;
    let mut out = BufWriter::new(stdout().lock());
    let mut seen = BTreeSet::new();
    for mailbox in database.mailboxes() {
        let mailbox = mailbox?;
        let name = String::from_utf8_lossy(&mailbox.name);
        match folder(&folders, &mailbox, &name) {
            Some(path) => drop(seen.insert(path)),
            None if mailbox.is_here() => {
                let partition = String::from_utf8_lossy(mailbox.partition.as_deref().unwrap_or_default());
                writeln!(out, "'{name}' has a DB entry but no directory on partition '{partition}'")?;
            }
            None => {}
        }
    }
    for (name, path) in folders.by_name.iter().chain(&folders.by_id) {
        if !seen.contains(path) {
            writeln!(out, "'{name}' has a directory '{}' but no DB entry", path.display())?;
        }
    }
    Ok(out.flush()?)
}

/// The folder of an entry. A tombstone keeps its folder until it is expired.
fn folder<'f>(folders: &'f Folders, mailbox: &Mailbox, name: &str) -> Option<&'f PathBuf> {
    let id = mailbox.uniqueid.as_deref().map(String::from_utf8_lossy);
    let by_id = id.filter(|_| !mailbox.mbtype.has(Mbtype::LEGACY_DIRS));
    by_id.and_then(|id| folders.by_id.get(&*id)).or_else(|| folders.by_name.get(name))
}

/// Partitions, or the metapartitions of those whose headers are there.
fn spool(imapd: &Imapd) -> anyhow::Result<Spool> {
    let mut roots = BTreeMap::new();
    let is_meta = imapd.list("metapartition_files").contains(&"header");
    for (key, value) in imapd.iter() {
        if let Some(name) = key.strip_prefix("partition-") {
            let root = imapd.text(&format!("metapartition-{name}")).filter(|_| is_meta);
            roots.insert(name, PathBuf::from(root.unwrap_or(&value.text)));
        }
    }
    let is_hashed = imapd.switch("hashimapspool", false)?;
    Ok(Spool { roots: roots.into_values().collect(), is_hashed })
}

fn walk_root(root: &Path, is_hashed: bool, folders: &mut Folders) {
    for (name, path) in children(root) {
        match name.as_str() {
            "uuid" => walk_ids(&path, folders),
            "domain" => {
                for (domain, path) in unhashed(&path, is_hashed) {
                    walk_names(&path, is_hashed, &format!("{domain}!"), folders);
                }
            }
            _ => {}
        }
    }
    walk_names(root, is_hashed, "", folders);
}

/// `uuid/6/o/6o1b...`.
fn walk_ids(uuid: &Path, folders: &mut Folders) {
    let two_down = children(uuid).into_iter().flat_map(|(_, path)| children(&path));
    for (id, path) in two_down.flat_map(|(_, path)| children(&path)) {
        if path.join(HEADER).is_file() {
            folders.by_id.insert(id, path);
        }
    }
}

fn walk_names(root: &Path, is_hashed: bool, prefix: &str, folders: &mut Folders) {
    for (name, path) in unhashed(root, is_hashed) {
        if !matches!(name.as_str(), "uuid" | "domain") && !name.contains('.') {
            walk(&path, format!("{prefix}{name}"), DEPTH_MAX, folders);
        }
    }
}

fn walk(path: &Path, name: String, depth: usize, folders: &mut Folders) {
    let Some(deeper) = depth.checked_sub(1) else { return };
    for (child, path) in children(path) {
        // Staging folders have a dot at their ends; in names of mailboxes it is a `^`.
        if !child.contains('.') {
            walk(&path, format!("{name}.{child}"), deeper, folders);
        }
    }
    if path.join(HEADER).is_file() {
        folders.by_name.insert(name, path.to_path_buf());
    }
}

/// The folders in a folder, those in its one-letter folders if it is hashed.
fn unhashed(path: &Path, is_hashed: bool) -> Vec<(String, PathBuf)> {
    if !is_hashed {
        return children(path);
    }
    let letters = children(path).into_iter().filter(|(name, _)| name.len() == 1);
    letters.flat_map(|(_, path)| children(&path)).collect()
}

/// The folders in a folder; none in what cannot be read.
fn children(path: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    folders.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(is_hashed: bool, paths: &[&str]) -> Folders {
        let root = tempfile::tempdir().unwrap();
        for path in paths {
            let folder = root.path().join(path);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(HEADER), "").unwrap();
        }
        let mut folders = Folders::default();
        walk_root(root.path(), is_hashed, &mut folders);
        folders
    }

    fn names(map: &BTreeMap<String, PathBuf>) -> Vec<&str> {
        map.keys().map(String::as_str).collect()
    }

    #[test]
    fn folders_are_found_by_id_and_by_name() {
        let found = folders(
            false,
            &[
                "uuid/6/o/6o1b",
                "user/fred",
                "user/fred/Sent",
                "shared",
                "domain/example.com/user/eve",
                "stage./x",
            ],
        );
        assert_eq!(names(&found.by_id), ["6o1b"]);
        assert_eq!(names(&found.by_name), ["example.com!user.eve", "shared", "user.fred", "user.fred.Sent"]);
    }

    #[test]
    fn letters_of_a_hashed_spool_are_no_part_of_the_name() {
        let found = folders(true, &["f/user/fred/Sent", "domain/e/example.com/e/user/eve", "uuid/6/o/6o1b"]);
        assert_eq!(names(&found.by_name), ["example.com!user.eve", "user.fred.Sent"]);
        assert_eq!(names(&found.by_id), ["6o1b"]);
    }
}
