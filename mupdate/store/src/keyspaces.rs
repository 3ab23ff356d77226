//! The database and what stands in it.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use mupdate::directory::{Beside, History, KeptNote, LOG_CHANGES_MAX, Loaded, Note};
use mupdate::list::{Builder, Editor, List, key};
use protocols::proxy::Change;

use crate::{FORMAT, StoreError, damaged, history, record};

/// Bytes that the database may cache: reads happen only at the start.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// Octets of journal that a crash may leave to be read back, the least that the database takes. Its
/// own 512 MiB cost a master of a million mailboxes ten seconds at the next start.
const JOURNAL_BYTES: u64 = 64 * 1024 * 1024;

/// Octets of a keyspace in memory before they are written to tables, so that journals can go.
const MEMTABLE_BYTES: u64 = 8 * 1024 * 1024;

/// The keyspace of numbers.
const META: &str = "meta";

/// The keyspace of what a master remembers beside the list.
const NOTES: &str = "notes";

/// The keyspace of the last changes.
const LOG: &str = "log";

/// Octets of a change that is kept in the log; a longer one makes a gap, behind which it begins.
const LOGGED_BYTES_MAX: usize = 4 * 1024;

/// An open database.
pub(crate) struct Keyspaces {
    database: Database,
    meta: Keyspace,
    notes: Keyspace,
    log: Keyspace,
    list: Keyspace,
    generation: u64,
}

impl Keyspaces {
    pub(crate) fn open(path: &Path) -> Result<Keyspaces, StoreError> {
        let database = open_database(path)?;
        let fail = |error: fjall::Error| damaged(path, &error.to_string());
        let keyspace_of = |name: &str| database.keyspace(name, options).map_err(fail);
        let meta = keyspace_of(META)?;
        match number(path, &meta, "format")? {
            None => meta.insert("format", FORMAT.to_be_bytes()).map_err(fail)?,
            Some(FORMAT) => {}
            Some(found) => return Err(StoreError::Format { path: path.into(), found }),
        }
        let (notes, log) = (keyspace_of(NOTES)?, keyspace_of(LOG)?);
        let generation = number(path, &meta, "list")?.unwrap_or(0);
        let list = keyspace(&database, generation).map_err(fail)?;
        Ok(Keyspaces { database, meta, notes, log, list, generation })
    }

    pub(crate) fn load(&self, path: &Path) -> Result<Loaded, StoreError> {
        let sequence = number(path, &self.meta, "sequence")?;
        let text = |name: &str| self.meta.get(name).map_err(|error| damaged(path, &error.to_string()));
        let senseless = || damaged(path, "the history makes no sense");
        let history = text("epochs")?.map(|bytes| history::decode(&bytes).ok_or_else(senseless));
        let source = text("source")?.map(|bytes| history::decode_position(&bytes).ok_or_else(senseless));
        Ok(Loaded {
            list: load_list(path, &self.list)?,
            sequence: sequence.unwrap_or(0),
            was_complete: sequence.is_some(),
            notes: load_notes(path, &self.notes)?,
            log: self.load_log(path, sequence.unwrap_or(0))?,
            history: history.transpose()?.unwrap_or_default(),
            source: source.transpose()?,
        })
    }

    /// The changes up to a number, as far back as there is none missing.
    fn load_log(&self, path: &Path, newest: u64) -> Result<Vec<Change>, StoreError> {
        let begins = number(path, &self.meta, "log")?.unwrap_or(0);
        let mut logged = Vec::new();
        for row in self.log.iter() {
            let (_, value) = row.into_inner().map_err(|error| damaged(path, &error.to_string()))?;
            let logs =
                record::decode_logged(&value).ok_or_else(|| damaged(path, "a change makes no sense"))?;
            if logs.0 > begins && logs.0 <= newest {
                logged.push(logs);
            }
        }
        logged.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        let without_gap = logged.into_iter().zip((begins + 1..=newest).rev());
        let without_gap = without_gap.take_while(|((number, _), expected)| number == expected);
        let mut changes: Vec<Change> = without_gap.map(|((_, change), _)| change).collect();
        changes.reverse();
        Ok(changes)
    }

    /// One batch, one sync, however many changes.
    pub(crate) fn append(&mut self, changes: &[Change], sequence: u64, beside: &Beside) -> fjall::Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        let before = sequence.saturating_sub(changes.len() as u64);
        for (change, number) in changes.iter().zip(before + 1..) {
            write_log(&mut batch, &self.log, change, number);
            let key = key::key(change.name());
            match record::encode(change) {
                Some(value) => batch.insert(&self.list, key, value),
                None => batch.remove(&self.list, key),
            }
        }
        self.write_beside(&mut batch, sequence, beside);
        batch.commit()
    }

    /// A crash at any place leaves the old list or the new: the new one is complete in a keyspace of
    /// its own before one synced batch makes it the one that is used.
    pub(crate) fn replace(&mut self, list: &List, sequence: u64, beside: &Beside) -> fjall::Result<()> {
        let generation = self.generation + 1;
        remove_others(&self.database, self.generation)?;
        let new = keyspace(&self.database, generation)?;
        let mut ingestion = new.start_ingestion()?;
        let mut cursor = list.iter_from(b"");
        while let Some(row) = cursor.next() {
            let change = row.change();
            if let Some(value) = record::encode(&change) {
                ingestion.write(key::key(row.name), value)?;
            }
        }
        ingestion.finish()?;
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.meta, "list", generation.to_be_bytes());
        // What led here is not told one by one.
        batch.insert(&self.meta, "log", sequence.to_be_bytes());
        self.write_beside(&mut batch, sequence, beside);
        batch.commit()?;
        let old = std::mem::replace(&mut self.list, new);
        self.generation = generation;
        self.database.delete_keyspace(old)
    }

    pub(crate) fn write_history(&mut self, history: &History) -> fjall::Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.meta, "epochs", history::encode(history));
        batch.commit()
    }

    pub(crate) fn sequence(&self, path: &Path) -> Result<u64, StoreError> {
        Ok(number(path, &self.meta, "sequence")?.unwrap_or(0))
    }

    fn write_beside(&self, batch: &mut OwnedWriteBatch, sequence: u64, beside: &Beside) {
        batch.insert(&self.meta, "sequence", sequence.to_be_bytes());
        match &beside.source {
            Some(position) => batch.insert(&self.meta, "source", history::encode_position(position)),
            None => batch.remove(&self.meta, "source"),
        }
        write_notes(batch, &self.notes, &beside.notes);
    }
}

fn write_notes(batch: &mut OwnedWriteBatch, keyspace: &Keyspace, notes: &[Note]) {
    for (key, value) in notes {
        match value {
            Some(value) => batch.insert(keyspace, key.as_slice(), value.as_slice()),
            None => batch.remove(keyspace, key.as_slice()),
        }
    }
}

/// Writes a change over the one that has left the log.
fn write_log(batch: &mut OwnedWriteBatch, log: &Keyspace, change: &Change, number: u64) {
    let place = (number % LOG_CHANGES_MAX as u64).to_be_bytes();
    let value = record::encode_logged(number, change);
    if value.len() <= LOGGED_BYTES_MAX {
        batch.insert(log, place, value);
    } else {
        batch.remove(log, place);
    }
}

fn open_database(path: &Path) -> Result<Database, StoreError> {
    std::fs::create_dir_all(path)
        .map_err(|error| StoreError::Disk { path: path.into(), why: error.to_string() })?;
    // The database asserts what it reads; a damaged file must not end the process.
    let builder = || {
        let builder = Database::builder(path).worker_threads(1).cache_size(CACHE_BYTES);
        builder.max_journaling_size(JOURNAL_BYTES).open()
    };
    let opened = std::panic::catch_unwind(builder);
    match opened {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(fjall::Error::Locked)) => Err(StoreError::InUse { path: path.into() }),
        Ok(Err(fjall::Error::Io(error))) if is_of_the_disk(&error) => {
            Err(StoreError::Disk { path: path.into(), why: error.to_string() })
        }
        Ok(Err(error)) => Err(damaged(path, &error.to_string())),
        Err(_) => Err(damaged(path, "the database cannot read it")),
    }
}

/// Whether an error says something about the disk or the rights, not about what is stored.
fn is_of_the_disk(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied
            | ErrorKind::StorageFull
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::QuotaExceeded
            | ErrorKind::OutOfMemory
    )
}

fn keyspace(database: &Database, generation: u64) -> fjall::Result<Keyspace> {
    database.keyspace(&format!("list-{generation}"), options)
}

fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES)
}

/// Deletes what a replacement that was not finished has left. Not by `clear`: that is replayed from
/// the journal when the database is opened again, and would take what was ingested behind it along.
fn remove_others(database: &Database, used: u64) -> fjall::Result<()> {
    let used = format!("list-{used}");
    for name in database.list_keyspace_names() {
        if name.starts_with("list-") && *name != *used {
            let left_over = database.keyspace(&name, options)?;
            database.delete_keyspace(left_over)?;
        }
    }
    Ok(())
}

fn load_list(path: &Path, list: &Keyspace) -> Result<Editor, StoreError> {
    let mut builder = Builder::new();
    for row in list.iter() {
        let (key, value) = row.into_inner().map_err(|error| damaged(path, &error.to_string()))?;
        let change = record::decode(&key, &value).ok_or_else(|| damaged(path, "a record makes no sense"))?;
        builder.push(&change);
    }
    Ok(builder.finish())
}

fn load_notes(path: &Path, notes: &Keyspace) -> Result<Vec<KeptNote>, StoreError> {
    let mut loaded = Vec::new();
    for row in notes.iter() {
        let (key, value) = row.into_inner().map_err(|error| damaged(path, &error.to_string()))?;
        loaded.push((key.to_vec(), value.to_vec()));
    }
    Ok(loaded)
}

fn number(path: &Path, meta: &Keyspace, name: &str) -> Result<Option<u64>, StoreError> {
    let value = meta.get(name).map_err(|error| damaged(path, &error.to_string()))?;
    value
        .map(|value| {
            let bytes: [u8; 8] =
                (*value).try_into().map_err(|_| damaged(path, "a number has the wrong length"))?;
            Ok(u64::from_be_bytes(bytes))
        })
        .transpose()
}
