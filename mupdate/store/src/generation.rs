//! A generation of the store: the image of a list, and a database with what came behind it.
//!
//! The database is only ever appended to. When enough has come, a new image is written and an empty
//! database begun, so that an opening reads little: the database reads all of its journal back,
//! which costs 3 µs a commit, and lets it grow to 64 MB before it begins another.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use mupdate::directory::{Beside, History, KeptNote, LOG_BYTES_MAX, LOG_CHANGES_MAX, Loaded, keep_newest};
use protocols::proxy::Change;

use crate::record::Batch;
use crate::{StoreError, damaged, history, image, record};

/// Bytes that the database may cache: reads happen only at the start.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// Octets of a keyspace in memory before they are written to tables: more than comes in a generation.
const MEMTABLE_BYTES: u64 = 64 * 1024 * 1024;

/// Octets of a change that is kept in the log; a longer one makes a gap, behind which it begins.
const LOGGED_BYTES_MAX: usize = 4 * 1024;

/// One generation, open.
pub(crate) struct Generation {
    /// Its number.
    pub(crate) number: u64,
    database: Database,
    meta: Keyspace,
    notes: Keyspace,
    log: Keyspace,
    /// The number of the next batch.
    next: u64,
    /// Octets and changes of the batches that are there.
    pub(crate) bytes: usize,
    /// See `bytes`.
    pub(crate) changes: usize,
}

/// The database of a generation.
pub(crate) fn database_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("log-{number}"))
}

/// The image of a generation.
pub(crate) fn image_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("list-{number}"))
}

/// Syncs the entries of a folder.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Generation {
    /// Makes the database of a new generation with what goes on; on the disk when it returns.
    pub(crate) fn begin(
        folder: &Path,
        number: u64,
        history: &History,
        notes: &[KeptNote],
        batches: &[Vec<u8>],
    ) -> Result<Generation, StoreError> {
        let path = database_path(folder, number);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(|error| StoreError::disk(folder, &error))?;
        }
        let mut generation = Generation::at(folder, number)?;
        let mut batch = generation.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&generation.meta, "epochs", history::encode(history));
        for (key, value) in notes {
            batch.insert(&generation.notes, key.as_slice(), value.as_slice());
        }
        for bytes in batches {
            batch.insert(&generation.log, generation.next.to_be_bytes(), bytes.as_slice());
            generation.next += 1;
            generation.bytes += bytes.len();
        }
        batch.commit().map_err(|error| StoreError::database(folder, &error))?;
        sync_folder(folder).map_err(|error| StoreError::disk(folder, &error))?;
        Ok(generation)
    }

    fn at(folder: &Path, number: u64) -> Result<Generation, StoreError> {
        let database = open_database(&database_path(folder, number), folder)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let keyspace =
            |name| database.keyspace(name, options).map_err(|error| StoreError::database(folder, &error));
        let (meta, notes, log) = (keyspace("meta")?, keyspace("notes")?, keyspace("log")?);
        Ok(Generation { number, database, meta, notes, log, next: 0, bytes: 0, changes: 0 })
    }

    /// Opens a generation and reads what it leads to.
    pub(crate) fn open(
        folder: &Path,
        number: u64,
        has_image: bool,
    ) -> Result<(Generation, Loaded), StoreError> {
        if !database_path(folder, number).is_dir() {
            return Err(damaged(folder, "the database of the newest changes is not there"));
        }
        let mut generation = Generation::at(folder, number)?;
        let mut loaded = Loaded::nothing();
        if has_image {
            let image = image::read(&image_path(folder, number))
                .map_err(|error| damaged(folder, &format!("the image of the list: {error}")))?;
            loaded.list = image.list;
            loaded.log = image.log;
            loaded.sequence = image.head.sequence;
            loaded.source = image.head.source;
            loaded.was_complete = true;
        }
        let fail = |error: fjall::Error| damaged(folder, &error.to_string());
        if let Some(bytes) = generation.meta.get("epochs").map_err(fail)? {
            loaded.history =
                history::decode(&bytes).ok_or_else(|| damaged(folder, "the history makes no sense"))?;
        }
        loaded.notes = generation.notes(folder)?;
        generation.replay(folder, &mut loaded)?;
        Ok((generation, loaded))
    }

    /// Applies the batches to the list of the image.
    fn replay(&mut self, folder: &Path, loaded: &mut Loaded) -> Result<(), StoreError> {
        let mut fresh = 0;
        for row in self.log.iter() {
            let (key, value) = row.into_inner().map_err(|error| damaged(folder, &error.to_string()))?;
            let key: Option<[u8; 8]> = (*key).try_into().ok();
            let batch = record::decode_batch(&value);
            let (Some(key), Some(batch)) = (key, batch) else {
                return Err(damaged(folder, "a batch of changes makes no sense"));
            };
            self.next = u64::from_be_bytes(key) + 1;
            self.bytes += value.len();
            self.changes += batch.changes.len();
            take(batch, loaded);
            shorten(&mut loaded.log, &mut fresh, value.len());
        }
        keep_newest(&mut loaded.log);
        Ok(())
    }

    /// One batch, one sync, however many changes.
    pub(crate) fn append(&mut self, changes: &[Change], sequence: u64, beside: &Beside) -> fjall::Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        let bytes = record::encode_batch(changes, sequence, beside.source.as_ref());
        let size = bytes.len();
        batch.insert(&self.log, self.next.to_be_bytes(), bytes);
        for (key, value) in &beside.notes {
            match value {
                Some(value) => batch.insert(&self.notes, key.as_slice(), value.as_slice()),
                None => batch.remove(&self.notes, key.as_slice()),
            }
        }
        batch.commit()?;
        self.next += 1;
        self.bytes += size;
        self.changes += changes.len();
        Ok(())
    }

    pub(crate) fn write_history(&self, history: &History) -> fjall::Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.meta, "epochs", history::encode(history));
        batch.commit()
    }

    /// What a master remembers.
    pub(crate) fn notes(&self, folder: &Path) -> Result<Vec<KeptNote>, StoreError> {
        let mut notes = Vec::new();
        for row in self.notes.iter() {
            let (key, value) = row.into_inner().map_err(|error| damaged(folder, &error.to_string()))?;
            notes.push((key.to_vec(), value.to_vec()));
        }
        Ok(notes)
    }

    /// The number of the batch that comes next.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The batches from a number on, as they are stored.
    pub(crate) fn batches_from(&self, number: u64) -> fjall::Result<Vec<Vec<u8>>> {
        self.log.range(number.to_be_bytes()..).map(|row| Ok(row.into_inner()?.1.to_vec())).collect()
    }

    /// A reader of the batches for another thread.
    pub(crate) fn reader(&self) -> Reader {
        Reader { log: self.log.clone() }
    }
}

/// Reads the batches of a generation while it is written.
pub(crate) struct Reader {
    log: Keyspace,
}

impl Reader {
    /// The changes up to a number, as far back as the log reaches, behind those of an image.
    pub(crate) fn log(
        &self,
        before: Vec<Change>,
        sequence_before: u64,
        upto: u64,
    ) -> io::Result<Vec<Change>> {
        let (mut log, mut sequence, mut fresh) = (before, sequence_before, 0);
        for row in self.log.iter() {
            let (_, value) = row.into_inner().map_err(io::Error::other)?;
            let batch =
                record::decode_batch(&value).ok_or_else(|| io::Error::other("a batch makes no sense"))?;
            if batch.sequence > upto {
                break;
            }
            follow(&batch, &mut log, sequence);
            sequence = batch.sequence;
            log.extend(batch.changes);
            shorten(&mut log, &mut fresh, value.len());
        }
        keep_newest(&mut log);
        let is_long = |change: &Change| record::encode_change(change).len() > LOGGED_BYTES_MAX;
        if let Some(last) = log.iter().rposition(is_long) {
            log.drain(..=last);
        }
        Ok(log)
    }
}

/// Applies a batch.
fn take(batch: Batch, loaded: &mut Loaded) {
    follow(&batch, &mut loaded.log, loaded.sequence);
    for change in &batch.changes {
        loaded.list.apply(change);
    }
    loaded.log.extend(batch.changes);
    loaded.sequence = batch.sequence;
    loaded.source = batch.source;
    loaded.was_complete = true;
}

/// What does not lead to a batch without a gap is forgotten.
fn follow(batch: &Batch, log: &mut Vec<Change>, sequence: u64) {
    if batch.sequence.checked_sub(batch.changes.len() as u64) != Some(sequence) {
        log.clear();
    }
}

/// Forgets what is older than the log may be, not at every batch: of `fresh` octets since it did so last, `more` are
/// those of the last batch.
fn shorten(log: &mut Vec<Change>, fresh: &mut usize, more: usize) {
    *fresh += more;
    if log.len() >= 2 * LOG_CHANGES_MAX || *fresh >= LOG_BYTES_MAX {
        keep_newest(log);
        *fresh = 0;
    }
}

fn open_database(path: &Path, folder: &Path) -> Result<Database, StoreError> {
    // The database asserts what it reads; a damaged file must not end the process.
    let builder = || Database::builder(path).worker_threads(1).cache_size(CACHE_BYTES).open();
    match std::panic::catch_unwind(builder) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(fjall::Error::Locked)) => Err(StoreError::InUse { path: folder.into() }),
        Ok(Err(error)) => Err(StoreError::database(folder, &error)),
        Err(_) => Err(damaged(folder, "the database cannot read it")),
    }
}
