//! The store on a real disk.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test that cannot go on fails")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use mupdate::directory::{Beside, LOG_BYTES_MAX, LOG_CHANGES_MAX, StoreWrite};
use mupdate::list::generate::Generator;
use mupdate::list::{Applied, Editor, List};
use protocols::proxy::{Change, Entry, Location, Position};
use store::{OnDamage, Opened, Store, StoreError};

fn changes(seed: u64, count: usize) -> Vec<Change> {
    Generator::new(seed, 3).take(count).collect()
}

fn applied(changes: &[Change]) -> Editor {
    let mut editor = Editor::empty();
    for change in changes {
        editor.apply(change);
    }
    editor
}

fn rows(list: &List) -> Vec<Change> {
    let mut cursor = list.iter_from(b"");
    let mut rows = Vec::new();
    while let Some(row) = cursor.next() {
        rows.push(row.change());
    }
    rows
}

#[test]
fn lists_are_replaced_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = open(folder.path());
    let lists: Vec<_> = (0..5).map(|seed| applied(&changes(seed, 300)).publish()).collect();
    for (n, list) in lists.iter().enumerate() {
        opened.store.replace(list, n as u64 + 1).unwrap();
        drop(opened);
        opened = open(folder.path());
        assert!(rows(&opened.loaded.list.publish()) == rows(list), "list {n} is there");
    }
}

/// Changes to a list that is not looked at.
fn append(changes: Vec<Change>, sequence: u64, beside: Beside) -> StoreWrite {
    StoreWrite::Append { changes, sequence, beside, list: List::empty() }
}

fn open(path: &Path) -> Opened {
    Store::open(path, OnDamage::Refuse).unwrap()
}

#[test]
fn a_new_store_was_never_complete() {
    let folder = tempfile::tempdir().unwrap();
    let opened = open(&folder.path().join("list"));
    assert!(!opened.loaded.was_complete && opened.loaded.list.is_empty());
    assert_eq!(opened.store.sequence(), 0);
}

#[test]
fn what_was_appended_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let all = changes(1, 3000);
    let mut opened = open(folder.path());
    for (n, batch) in all.chunks(100).enumerate() {
        opened.store.append(batch, (n as u64 + 1) * 100).unwrap();
    }
    let gone = Change::Deleted { name: all[7].name().into() };
    opened.store.append(std::slice::from_ref(&gone), 3001).unwrap();
    drop(opened);
    let mut expected = applied(&all);
    expected.apply(&gone);
    let again = open(folder.path());
    assert!(again.loaded.was_complete);
    assert_eq!(again.loaded.sequence, 3001);
    assert!(rows(&again.loaded.list.publish()) == rows(&expected.publish()), "the lists are equal");
}

#[test]
fn what_a_master_remembers_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = open(folder.path());
    let note =
        |key: &str, value: Option<&str>| (key.as_bytes().to_vec(), value.map(|v| v.as_bytes().to_vec()));
    let notes = vec![note("a", Some("1")), note("b", Some("2"))];
    let beside = Beside { notes, ..Beside::default() };
    opened.store.write(&append(changes(1, 10), 10, beside)).unwrap();
    let list = applied(&changes(2, 10)).publish();
    let notes = vec![note("a", None), note("c", Some("3"))];
    let beside = Beside { notes, ..Beside::default() };
    opened.store.write(&StoreWrite::Replace { list, sequence: 20, beside }).unwrap();
    let beside = Beside::default();
    opened.store.write(&append(vec![], 20, beside)).unwrap();
    drop(opened);
    let again = open(folder.path());
    assert_eq!(again.loaded.notes, [(b"b".to_vec(), b"2".to_vec()), (b"c".to_vec(), b"3".to_vec())]);
    assert_eq!(again.loaded.sequence, 20);
}

#[test]
fn the_log_reaches_back_as_far_as_it_may_and_not_over_a_replacement() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = open(folder.path());
    let all: Vec<Change> = Generator::new(5, 2).take(LOG_CHANGES_MAX + 50).collect();
    for (n, batch) in all.chunks(5_000).enumerate() {
        opened.store.append(batch, (n * 5_000 + batch.len()) as u64).unwrap();
    }
    drop(opened);
    let mut opened = open(folder.path());
    assert!(opened.loaded.log == all[50..], "the newest {LOG_CHANGES_MAX} changes are kept");
    let newest = all.len() as u64;
    opened.store.replace(&applied(&all).publish(), newest + 7).unwrap();
    opened.store.append(&all[..3], newest + 10).unwrap();
    drop(opened);
    assert!(open(folder.path()).loaded.log == all[..3], "what led to the replacement is not known");
}

/// Changes with large ACLs: few, and many octets.
#[test]
fn the_log_keeps_no_more_octets_than_it_may_in_memory_and_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = open(folder.path());
    let each = 3 * 1024;
    let change = |n: usize| {
        let name = format!("user.u{}", n % 10).into_bytes().into();
        let acl = format!("{}{n}\tl\t", "x".repeat(each)).into_bytes().into();
        Change::Active(Entry { name, location: Location(b"be1!p"[..].into()), acl })
    };
    let count = 3 * LOG_BYTES_MAX / each / 64 * 64;
    let list = applied(&(0..10).map(change).collect::<Vec<_>>()).publish();
    for n in (0..count).step_by(64) {
        let batch: Vec<Change> = (n..n + 64).map(change).collect();
        let (sequence, beside) = ((n + 64) as u64, Beside::default());
        let append = StoreWrite::Append { changes: batch, sequence, beside, list: list.clone() };
        opened.store.write(&append).unwrap();
    }
    drop(opened);
    let opened = open(folder.path());
    let kept = &opened.loaded.log;
    assert!(
        kept.len() * each <= LOG_BYTES_MAX && kept.len() * each > LOG_BYTES_MAX / 2,
        "{} are kept",
        kept.len()
    );
    assert_eq!(kept.last(), Some(&change(count - 1)));
    let images =
        std::fs::read_dir(folder.path()).unwrap().flatten().filter_map(|entry| entry.metadata().ok());
    let largest = images.filter(|at| at.is_file()).map(|at| at.len()).max().unwrap_or(0);
    assert!(largest < 2 * LOG_BYTES_MAX as u64, "an image of {largest} octets");
}

#[test]
fn every_opening_begins_an_epoch_and_the_source_is_kept_with_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = open(folder.path());
    let source = Some(Position { epoch: "there".into(), sequence: 77 });
    let beside = Beside { source: source.clone(), ..Beside::default() };
    opened.store.write(&append(changes(1, 10), 10, beside)).unwrap();
    let first = opened.loaded.history.clone();
    drop(opened);
    let mut opened = open(folder.path());
    assert_eq!(opened.loaded.source, source);
    let second = opened.loaded.history.clone();
    assert_eq!((first.0.len(), second.0.len(), second.0[1].first), (1, 2, 10));
    assert_eq!(first.0[0], second.0[0]);
    opened.store.append(&changes(2, 10), 20).unwrap();
    drop(opened);
    let mut opened = open(folder.path());
    assert_eq!(opened.loaded.source, None, "changes without a position lead nowhere known");
    opened.store.replace(&applied(&changes(3, 10)).publish(), 20).unwrap();
    drop(opened);
    let again = open(folder.path());
    let before = Position { epoch: second.0[1].name.clone(), sequence: 20 };
    assert!(!again.loaded.history.has(&before, 20), "a list from elsewhere has another history");
}

#[test]
fn a_replaced_list_leaves_nothing_of_the_old() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = open(folder.path());
    opened.store.append(&changes(1, 500), 500).unwrap();
    let first = applied(&changes(2, 2000)).publish();
    let second = applied(&changes(3, 1000)).publish();
    opened.store.replace(&first, 600).unwrap();
    opened.store.replace(&second, 700).unwrap();
    opened.store.append(&changes(4, 10), 710).unwrap();
    drop(opened);
    let mut expected = Editor::new(&second);
    changes(4, 10).iter().for_each(|change| {
        expected.apply(change);
    });
    let again = open(folder.path());
    assert_eq!(again.loaded.sequence, 710);
    assert!(rows(&again.loaded.list.publish()) == rows(&expected.publish()), "the lists are equal");
}

#[test]
fn a_store_is_open_once() {
    let folder = tempfile::tempdir().unwrap();
    let _held = open(folder.path());
    let second = Store::open(folder.path(), OnDamage::SetAside);
    assert!(matches!(second, Err(StoreError::InUse { .. })));
}

#[test]
fn a_damaged_store_is_set_aside_or_refused_but_never_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list");
    let mut opened = open(&path);
    opened.store.replace(&applied(&changes(1, 5000)).publish(), 5000).unwrap();
    drop(opened);
    damage(&path);
    assert!(matches!(Store::open(&path, OnDamage::Refuse), Err(StoreError::Damaged { .. })));
    let opened = Store::open(&path, OnDamage::SetAside).unwrap();
    let aside = opened.set_aside.unwrap();
    assert_eq!(aside.path, folder.path().join("list.damaged-1"));
    assert!(aside.path.is_dir());
    assert!(!opened.loaded.was_complete && opened.loaded.list.is_empty());
}

/// Overwrites the middle of the image.
fn damage(path: &Path) {
    let mut damaged = 0;
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with("list-") {
            let mut bytes = std::fs::read(entry.path()).unwrap();
            let (from, to) = (bytes.len() / 4, bytes.len() * 3 / 4);
            bytes[from..to].fill(0x5a);
            std::fs::write(entry.path(), bytes).unwrap();
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1, "there is one image");
}

#[test]
fn what_another_version_wrote_or_what_has_lost_its_name_is_not_taken_for_empty() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("keyspaces")).unwrap();
    assert!(matches!(Store::open(folder.path(), OnDamage::Refuse), Err(StoreError::Damaged { .. })));
    let path = folder.path().join("list");
    drop(open(&path));
    std::fs::remove_file(path.join("current")).unwrap();
    assert!(matches!(Store::open(&path, OnDamage::Refuse), Err(StoreError::Damaged { .. })));
}

#[test]
fn a_generation_that_has_grown_is_followed_by_the_next_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = open(folder.path());
    opened.store.set_generation_changes_min(200);
    let (mut editor, mut sequence, all) = (Editor::empty(), 0, changes(6, 12_000));
    for (n, batch) in all.chunks(40).enumerate() {
        batch.iter().for_each(|change| assert_ne!(editor.apply(change), Applied::Deleted));
        sequence += batch.len() as u64;
        let source = Some(Position { epoch: "there".into(), sequence });
        let notes = vec![(vec![n as u8 % 7], Some(n.to_string().into_bytes()))];
        let beside = Beside { notes, source, ..Beside::default() };
        let list = editor.publish();
        let append = StoreWrite::Append { changes: batch.to_vec(), sequence, beside, list };
        opened.store.write(&append).unwrap();
        assert_eq!(opened.store.take_complaint(), None);
        if n % 90 == 89 {
            drop(opened);
            opened = open(folder.path());
            opened.store.set_generation_changes_min(200);
            assert!(rows(&opened.loaded.list.publish()) == rows(&editor.publish()), "after batch {n}");
            assert_eq!(opened.loaded.sequence, sequence);
            assert_eq!(opened.loaded.source.as_ref().map(|at| at.sequence), Some(sequence));
            assert!(opened.loaded.log == all[..sequence as usize], "the log has no gap after batch {n}");
            let last: Vec<usize> = (n - 6..=n).map(|n| n % 7).collect();
            assert_eq!(opened.loaded.notes.len(), last.len());
        }
    }
    drop(opened);
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    let generation =
        names.iter().filter_map(|name| name.to_str()?.strip_prefix("list-")?.parse::<u32>().ok()).max();
    assert!(generation > Some(10), "{names:?}");
}

/// Not a test of its own: what `every_acknowledged_batch_survives_a_kill` runs as a process.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(path) = std::env::var_os("STORE_TEST_CHILD") else { return };
    let mut store = open(Path::new(&path)).store;
    store.set_generation_changes_min(100);
    let mut out = std::io::stdout().lock();
    let mut editor = Editor::empty();
    for (n, batch) in changes(9, 10_000).chunks(20).enumerate() {
        batch.iter().for_each(|change| assert_ne!(editor.apply(change), Applied::Deleted));
        let (changes, sequence, beside) = (batch.to_vec(), n as u64 * 20 + 20, Beside::default());
        store.write(&StoreWrite::Append { changes, sequence, beside, list: editor.publish() }).unwrap();
        writeln!(out, "acknowledged {}", n + 1).unwrap();
    }
}

/// In every fifth round or so a new generation is under way.
#[test]
fn every_acknowledged_batch_survives_a_kill() {
    for kill_behind in [40, 90, 141, 200, 300] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_writes_until_it_is_killed", "--nocapture"])
            .env("STORE_TEST_CHILD", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged = 0u64;
        let lines = std::io::BufReader::new(child.stdout.take().unwrap());
        for line in std::io::BufRead::lines(lines) {
            if let Some((_, n)) = line.unwrap().rsplit_once("acknowledged ") {
                acknowledged = n.parse().unwrap();
            }
            if acknowledged == kill_behind {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(acknowledged >= kill_behind);
        let opened = open(folder.path());
        let written = opened.loaded.sequence / 20;
        // The batch after the last acknowledged one may have been written too, as a whole.
        assert!(written == acknowledged || written == acknowledged + 1, "{written} of {acknowledged}");
        let expected = applied(&changes(9, 10_000)[..written as usize * 20]);
        assert!(rows(&opened.loaded.list.publish()) == rows(&expected.publish()), "the lists are equal");
    }
}
