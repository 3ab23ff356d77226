//! Databases that Cyrus 3.6.1 made, beside what its own `ctl_mboxlist -d -y` says of them.
//!
//! `plain` was written once; `churned` has replaced and deleted records; in `unfinished` a process
//! was killed inside a transaction that adds `user.new` and spoils `user.anne`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Write;

use cyrusdb::dump::{Dump, Told};
use cyrusdb::{DbError, Mailbox, Twoskip};

const PLAIN: &[u8] = include_bytes!("data/plain.db");
const CHURNED: &[u8] = include_bytes!("data/churned.db");
const UNFINISHED: &[u8] = include_bytes!("data/unfinished.db");

fn dump(database: &Twoskip) -> Result<String, DbError> {
    let mut out = Vec::new();
    let mut dump = Dump::new(&mut out).unwrap();
    for mailbox in database.mailboxes() {
        dump.entry(&mailbox?).unwrap();
    }
    dump.finish().unwrap();
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn dumps_are_those_of_cyrus() {
    for (bytes, expected, is_clean) in [
        (PLAIN, include_str!("data/plain.json"), true),
        (CHURNED, include_str!("data/churned.json"), true),
        (UNFINISHED, include_str!("data/unfinished.json"), false),
    ] {
        let database = Twoskip::new(bytes.to_vec()).unwrap();
        assert_eq!(database.is_clean(), is_clean);
        assert_eq!(dump(&database).unwrap(), expected);
    }
}

#[test]
fn a_dump_is_read_back_as_what_was_dumped() {
    let database = Twoskip::new(CHURNED.to_vec()).unwrap();
    let mailboxes: Vec<Mailbox> = database.mailboxes().map(Result::unwrap).collect();
    let mut read = Vec::new();
    cyrusdb::dump::read(dump(&database).unwrap().as_bytes(), |told| match told {
        Told::Mailbox(mailbox) => read.push(*mailbox),
        Told::Warning(text) => panic!("{text}"),
    })
    .unwrap();
    assert_eq!(read, mailboxes);
}

#[test]
fn a_flipped_byte_is_found_or_does_not_matter() {
    let whole = dump(&Twoskip::new(CHURNED.to_vec()).unwrap()).unwrap();
    let mut found = 0;
    for at in 0..CHURNED.len() {
        let mut bytes = CHURNED.to_vec();
        bytes[at] ^= 0x10;
        match Twoskip::new(bytes).and_then(|database| dump(&database)) {
            Ok(same) => assert_eq!(same, whole, "byte {at}"),
            Err(_) => found += 1,
        }
    }
    assert!(found > CHURNED.len() / 2, "{found} of {}", CHURNED.len());
}

#[test]
fn a_file_that_is_cut_off_is_refused_at_every_byte() {
    for cut in 0..PLAIN.len() {
        assert!(Twoskip::new(PLAIN[..cut].to_vec()).is_err(), "{cut}");
    }
}

#[test]
fn other_databases_are_refused_by_name() {
    for (bytes, name) in [
        (&b""[..], "an empty file"),
        (b"\xa1\x02\x8b\x0dskiplist file\0\0\0", "a skiplist database"),
        (b"\xa1\x02\x8b\x0dtwomfile\0\0\0\0", "a twom database"),
        (b"SQLite format 3\0\x10", "an SQL database"),
        (b"user.fred\t0 default", "a flat database"),
    ] {
        let error = Twoskip::new(bytes.to_vec()).err().unwrap().to_string();
        assert!(error.starts_with(name), "{error}");
    }
}

#[test]
fn entries_that_lack_something_are_told_of() {
    let text = r#"{"a": {"partition": 7, "acl": {}}, "b": {"mbtype": "q", "partition": "p"},
                   "c": {"mbtype": "er", "partition": "p", "server": "be1", "acl": {"z": "l", "a": "r"},
                         "uidvalidity": "0", "createdmodseq": "0", "foldermodseq": "0", "x": [1, {"y": null}]}}"#;
    let mut told = Vec::new();
    cyrusdb::dump::read(text.as_bytes(), |item| {
        told.push(match item {
            Told::Warning(text) => text,
            Told::Mailbox(mailbox) => String::from_utf8(mailbox.acl.to_vec()).unwrap(),
        });
    })
    .unwrap();
    let missing = |what: &str| format!("missing {what} for a");
    assert_eq!(told[..4], ["uidvalidity", "createdmodseq", "foldermodseq", "mbtype"].map(missing));
    assert_eq!(told[4], missing("partition"));
    assert_eq!(told[told.len() - 2..], ["unknown mbtype q for b", "z\tl\ta\tr\t"]);
}

#[test]
fn a_dump_that_is_cut_off_is_an_error_with_its_line() {
    let error = cyrusdb::dump::read(&b"{\n\"a\": {\"partition\": \"p\"},\n"[..], |_| {}).unwrap_err();
    assert!(error.to_string().starts_with("parse error at line 3: "), "{error}");
}

#[test]
fn a_copy_is_the_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(PLAIN).unwrap();
    assert_eq!(dump(&cyrusdb::copy(file.path()).unwrap()).unwrap(), include_str!("data/plain.json"));
    let missing = file.path().with_extension("gone");
    assert!(matches!(cyrusdb::copy(&missing), Err(DbError::Read { .. })));
}
