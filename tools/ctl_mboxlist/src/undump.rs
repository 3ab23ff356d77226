//! `-u`: a dump into a list of ours.

use std::fmt;
use std::io::{BufRead, BufReader, Read, stdin};

use anyhow::bail;
use cyrusdb::dump::{self, Told};
use cyrusdb::{Mailbox, Mbtype};
use mupdate::directory::{Beside, StoreWrite};
use mupdate::list::{Editor, is_storable_change};
use protocols::proxy::{Change, Entry, Location};
use store::{Opened, Store};

use crate::options::Cli;
use crate::place::{self, IsCyrus, Place};

/// Changes that are written at once.
const BATCH: usize = 10_000;

pub(crate) fn run(cli: &Cli, place: &Place) -> anyhow::Result<()> {
    let Place::Ours(path) = place else {
        bail!(IsCyrus { options: "-u" });
    };
    let Opened { store, loaded, .. } = place::open_ours(path)?;
    let mut restore = Restore::new(store, loaded.list, loaded.sequence);
    let input = stdin().lock();
    let read = if cli.legacy { read_lines(input, &mut restore) } else { read_json(input, &mut restore) };
    let taken = restore.finish()?;
    read.map_err(|why| anyhow::Error::new(BrokenDump { taken, why: format!("{why:#}") }))
}

/// A dump that cannot be read to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BrokenDump {
    /// Mailboxes before that, which are in the list.
    taken: u64,
    why: String,
}

impl fmt::Display for BrokenDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BrokenDump { taken, why } = self;
        write!(
            f,
            "the dump is broken: {why}; the {taken} mailboxes before that were taken, the list is not complete"
        )
    }
}

impl std::error::Error for BrokenDump {}

fn read_json(input: impl Read, restore: &mut Restore) -> anyhow::Result<()> {
    dump::read(input, |told| match told {
        Told::Warning(text) => eprintln!("{text}"),
        Told::Mailbox(mailbox) => restore.take(&mailbox),
    })?;
    Ok(())
}

fn read_lines(input: impl Read, restore: &mut Restore) -> anyhow::Result<()> {
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let n = (&mut input).take(dump::LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
        if n == 0 {
            break;
        }
        match dump::line(line.strip_suffix(b"\n").unwrap_or(&line)) {
            Ok(mailbox) => restore.take(&mailbox),
            Err(why) => eprintln!("line {number}: {why}"),
        }
    }
    Ok(())
}

/// Writes mailboxes into a list, many at once.
struct Restore {
    store: Store,
    list: Editor,
    sequence: u64,
    /// Mailboxes that were written.
    taken: u64,
    batch: Vec<Change>,
    failure: Option<store::StoreError>,
}

impl Restore {
    fn new(store: Store, list: Editor, sequence: u64) -> Restore {
        Restore { store, list, sequence, taken: 0, batch: Vec::new(), failure: None }
    }

    fn take(&mut self, mailbox: &Mailbox) {
        let is_none = [Mbtype::DELETED, Mbtype::INTERMEDIATE].iter().any(|flag| mailbox.mbtype.has(*flag));
        if is_none {
            return;
        }
        let name = String::from_utf8_lossy(&mailbox.name);
        let Some(change) = change(mailbox) else {
            return eprintln!("missing server for {name}");
        };
        if !is_storable_change(&change) {
            return eprintln!("bad mailbox name: {name}");
        }
        self.batch.push(change);
        if self.batch.len() == BATCH {
            self.write();
        }
    }

    fn write(&mut self) {
        if self.failure.is_some() {
            return self.batch.clear();
        }
        let sequence = self.sequence + self.batch.len() as u64;
        let changes = std::mem::take(&mut self.batch);
        for change in &changes {
            self.list.apply(change);
        }
        let list = self.list.publish();
        match self.store.write(&StoreWrite::Append { changes, sequence, beside: Beside::default(), list }) {
            Ok(()) => {
                self.taken += sequence - self.sequence;
                self.sequence = sequence;
            }
            Err(error) => self.failure = Some(error),
        }
    }

    /// Writes the rest; how many mailboxes were written in all.
    fn finish(mut self) -> anyhow::Result<u64> {
        // A list that has a sequence number was complete once: also after a dump of no mailbox.
        self.write();
        self.failure.map_or(Ok(self.taken), |error| Err(error.into()))
    }
}

/// The entry of a master's list. Without a server nobody could reach the mailbox.
fn change(mailbox: &Mailbox) -> Option<Change> {
    let partition = mailbox.partition.as_deref().unwrap_or_default();
    let location = Location([mailbox.server.as_deref()?, b"!", partition].concat().into());
    let name = mailbox.name.clone();
    Some(match mailbox.mbtype.has(Mbtype::RESERVE) {
        true => Change::Reserved { name, location },
        false => Change::Active(Entry { name, location, acl: (*mailbox.acl).into() }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_restored_from_its_own_dump() {
        let folder = tempfile::tempdir().unwrap();
        let location = |text: &[u8]| Location(text.into());
        let before = [
            Change::Active(Entry {
                name: (*b"user.a").into(),
                location: location(b"be1!default"),
                acl: (*b"a\tlrs\t").into(),
            }),
            Change::Reserved { name: (*b"user.b").into(), location: location(b"be2!p") },
        ];
        let mut out = Vec::new();
        let mut dump = dump::Dump::new(&mut out).unwrap();
        before.iter().for_each(|change| dump.entry(&place::mailbox(change).unwrap()).unwrap());
        dump.finish().unwrap();
        let opened = place::open_ours(folder.path()).unwrap();
        let mut restore = Restore::new(opened.store, opened.loaded.list, 0);
        read_json(&out[..], &mut restore).unwrap();
        restore.finish().unwrap();
        let loaded = place::open_ours(folder.path()).unwrap().loaded;
        assert_eq!((loaded.sequence, loaded.was_complete), (2, true));
        let list = loaded.list.finish();
        let mut cursor = list.iter_from(b"");
        let mut after = Vec::new();
        while let Some(row) = cursor.next() {
            after.push(row.change());
        }
        assert_eq!(after, before);
    }

    #[test]
    fn tombstones_and_mailboxes_without_a_server_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let opened = place::open_ours(folder.path()).unwrap();
        let mut restore = Restore::new(opened.store, opened.loaded.list, 0);
        read_lines(
            &b"a\t0 default x\ty\t\nb\t128 be1!default x\ty\t\nc\t16 be1!default x\ty\t\n"[..],
            &mut restore,
        )
        .unwrap();
        let names: Vec<&[u8]> = restore.batch.iter().map(Change::name).collect();
        assert_eq!(names, [b"c"]);
    }
}
