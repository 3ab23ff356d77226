//! `-d`: a list as JSON.

use std::io::{BufWriter, Write, stdout};
use std::path::Path;

use anyhow::bail;
use cyrusdb::dump::Dump;
use cyrusdb::{Mailbox, Mbtype};
use protocols::proxy::Change;
use store::Opened;

use crate::options::Cli;
use crate::place::{self, IsCyrus, Place};

/// Changes that are written to a list at once.
const BATCH: usize = 10_000;

pub(crate) fn run(cli: &Cli, place: &Place) -> anyhow::Result<()> {
    let out = BufWriter::new(stdout().lock());
    match place {
        Place::Cyrus(_) if cli.remove_dumped => bail!(IsCyrus { options: "-d -x" }),
        Place::Cyrus(path) => cyrus(cli, path, out),
        Place::Ours(path) => ours(cli, path, out),
    }
}

fn cyrus(cli: &Cli, path: &Path, out: impl Write) -> anyhow::Result<()> {
    let database = place::read_cyrus(path)?;
    let mut dump = Dump::new(out)?;
    for mailbox in database.mailboxes() {
        let mailbox = mailbox?;
        let is_left_out = mailbox.mbtype.has(Mbtype::INTERMEDIATE) && !cli.include_intermediaries;
        if !is_left_out && is_wanted(cli, &mailbox) {
            dump.entry(&mailbox)?;
        }
    }
    Ok(dump.finish()?)
}

fn ours(cli: &Cli, path: &Path, out: impl Write) -> anyhow::Result<()> {
    let Opened { mut store, loaded, .. } = place::open_ours(path)?;
    let list = loaded.list.finish();
    let mut dump = Dump::new(out)?;
    let mut dumped = Vec::new();
    let mut cursor = list.iter_from(b"");
    while let Some(row) = cursor.next() {
        let Some(mailbox) = place::mailbox(&row.change()) else { continue };
        if is_wanted(cli, &mailbox) {
            dump.entry(&mailbox)?;
            if cli.remove_dumped {
                dumped.push(Change::Deleted { name: mailbox.name });
            }
        }
    }
    dump.finish()?;
    let mut sequence = loaded.sequence;
    for batch in dumped.chunks(BATCH) {
        sequence += batch.len() as u64;
        store.append(batch, sequence)?;
    }
    Ok(())
}

fn is_wanted(cli: &Cli, mailbox: &Mailbox) -> bool {
    let Some(wanted) = &cli.partition else { return true };
    mailbox.partition.as_deref() == Some(wanted.as_bytes())
}
