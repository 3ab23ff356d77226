//! The mailbox list on disk: the master's own, or a slave's copy for a quick start.
//!
//! Everything here blocks; it runs on a thread of its own. What `append` or `replace` returned from
//! is on the disk.
//!
//! ```text
//!   meta     "format"    1                    list-N   sort key -> "A" len location acl
//!            "list"      N, the keyspace used                       "R" len location
//!            "sequence"  of the last change        notes    what a master remembers beside the list
//! ```
//!
//! A list that is replaced is written to a new keyspace, which then becomes the one that is used:
//! a crash in between leaves the old list.

mod record;

use std::fmt;
use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use mupdate::directory::{KeptNote, Loaded, Note, StoreWrite};
use mupdate::list::{Builder, Editor, List, key};
use protocols::proxy::Change;

/// The format that is written, and the only one that is read.
const FORMAT: u64 = 1;

/// Bytes that the database may cache: reads happen only at the start.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// Copies that were set aside under one name before a new one is refused.
const SET_ASIDE_MAX: u32 = 100;

/// The keyspace of numbers.
const META: &str = "meta";

/// The keyspace of what a master remembers beside the list.
const NOTES: &str = "notes";

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("mailbox store {} is in use by another process", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The disk or the database fails.
    #[error("mailbox store {}: {why}", path.display())]
    Disk {
        /// The folder.
        path: PathBuf,
        /// One sentence.
        why: String,
    },
    /// What is there cannot be read.
    #[error("mailbox store {} is damaged: {why}", path.display())]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// One sentence.
        why: String,
    },
    /// What is there was written by a newer version.
    #[error("mailbox store {} has format {found}, this version reads {FORMAT}", path.display())]
    Format {
        /// The folder.
        path: PathBuf,
        /// The format that was found.
        found: u64,
    },
}

/// What happens to a store that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnDamage {
    /// It gets a new name and an empty one is made: right for a slave, whose master has the list.
    SetAside,
    /// An error: right for a master, whose list it is.
    Refuse,
}

/// A store that was opened.
pub struct Opened {
    /// For writing.
    pub store: Store,
    /// What it held.
    pub loaded: Loaded,
    /// A damaged store was set aside.
    pub set_aside: Option<SetAside>,
}

/// A damaged store that got another name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetAside {
    /// Its new name.
    pub path: PathBuf,
    /// What was wrong with it.
    pub why: String,
}

/// The list on disk.
pub struct Store {
    path: PathBuf,
    database: Database,
    meta: Keyspace,
    notes: Keyspace,
    list: Keyspace,
    generation: u64,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in a folder, makes it if there is none, and loads what it holds.
    ///
    /// # Errors
    /// `InUse`, `Disk`, `Format`; `Damaged` when it may not be set aside.
    pub fn open(path: &Path, on_damage: OnDamage) -> Result<Opened, StoreError> {
        match open_and_load(path) {
            Err(StoreError::Damaged { why, .. }) if on_damage == OnDamage::SetAside => {
                let aside = set_aside(path)?;
                let (store, loaded) = open_and_load(path)?;
                Ok(Opened { store, loaded, set_aside: Some(SetAside { path: aside, why }) })
            }
            Err(error) => Err(error),
            Ok((store, loaded)) => Ok(Opened { store, loaded, set_aside: None }),
        }
    }

    /// Does what a directory wants written, all of it or nothing. On the disk when it returns.
    ///
    /// # Errors
    /// `Disk`, as `append` and `replace`.
    pub fn write(&mut self, write: &StoreWrite) -> Result<(), StoreError> {
        let result = match write {
            StoreWrite::Append { changes, sequence, notes } => self.try_append(changes, *sequence, notes),
            StoreWrite::Replace { list, sequence, notes } => self.try_replace(list, *sequence, notes),
        };
        result.map_err(|error| disk(&self.path, &error))
    }

    /// Writes changes in order, all or none; `sequence` is the number of the last. On the disk when
    /// it returns.
    ///
    /// # Errors
    /// `Disk`: whether the changes were written is unknown.
    pub fn append(&mut self, changes: &[Change], sequence: u64) -> Result<(), StoreError> {
        self.try_append(changes, sequence, &[]).map_err(|error| disk(&self.path, &error))
    }

    fn try_append(&mut self, changes: &[Change], sequence: u64, notes: &[Note]) -> fjall::Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for change in changes {
            let key = key::key(change.name());
            match record::encode(change) {
                Some(value) => batch.insert(&self.list, key, value),
                None => batch.remove(&self.list, key),
            }
        }
        batch.insert(&self.meta, "sequence", sequence.to_be_bytes());
        write_notes(&mut batch, &self.notes, notes);
        batch.commit()
    }

    /// Writes a list in the place of all that is stored. On the disk when it returns.
    ///
    /// # Errors
    /// `Disk`: the list that was stored before is still there.
    pub fn replace(&mut self, list: &List, sequence: u64) -> Result<(), StoreError> {
        self.try_replace(list, sequence, &[]).map_err(|error| disk(&self.path, &error))
    }

    fn try_replace(&mut self, list: &List, sequence: u64, notes: &[Note]) -> fjall::Result<()> {
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
        batch.insert(&self.meta, "sequence", sequence.to_be_bytes());
        write_notes(&mut batch, &self.notes, notes);
        batch.commit()?;
        let old = std::mem::replace(&mut self.list, new);
        self.generation = generation;
        self.database.delete_keyspace(old)
    }

    /// The sequence number of the last change that was written.
    ///
    /// # Errors
    /// `Disk`, `Damaged`.
    pub fn sequence(&self) -> Result<u64, StoreError> {
        Ok(number(&self.path, &self.meta, "sequence")?.unwrap_or(0))
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

fn open_and_load(path: &Path) -> Result<(Store, Loaded), StoreError> {
    let database = open_database(path)?;
    let fail = |error: fjall::Error| damaged(path, &error.to_string());
    let meta = database.keyspace(META, KeyspaceCreateOptions::default).map_err(fail)?;
    match number(path, &meta, "format")? {
        None => meta.insert("format", FORMAT.to_be_bytes()).map_err(fail)?,
        Some(FORMAT) => {}
        Some(found) => return Err(StoreError::Format { path: path.into(), found }),
    }
    let sequence = number(path, &meta, "sequence")?;
    let notes = database.keyspace(NOTES, KeyspaceCreateOptions::default).map_err(fail)?;
    let generation = number(path, &meta, "list")?.unwrap_or(0);
    let list = keyspace(&database, generation).map_err(fail)?;
    let loaded = Loaded {
        list: load(path, &list)?,
        sequence: sequence.unwrap_or(0),
        was_complete: sequence.is_some(),
        notes: load_notes(path, &notes)?,
    };
    Ok((Store { path: path.into(), database, meta, notes, list, generation }, loaded))
}

fn open_database(path: &Path) -> Result<Database, StoreError> {
    std::fs::create_dir_all(path)
        .map_err(|error| StoreError::Disk { path: path.into(), why: error.to_string() })?;
    // The database asserts what it reads; a damaged file must not end the process.
    let opened =
        std::panic::catch_unwind(|| Database::builder(path).worker_threads(1).cache_size(CACHE_BYTES).open());
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
    database.keyspace(&format!("list-{generation}"), KeyspaceCreateOptions::default)
}

/// Deletes what a replacement that was not finished has left. Not by `clear`: that is replayed from
/// the journal when the database is opened again, and would take what was ingested behind it along.
fn remove_others(database: &Database, used: u64) -> fjall::Result<()> {
    let used = format!("list-{used}");
    for name in database.list_keyspace_names() {
        if name.starts_with("list-") && *name != *used {
            let left_over = database.keyspace(&name, KeyspaceCreateOptions::default)?;
            database.delete_keyspace(left_over)?;
        }
    }
    Ok(())
}

fn load(path: &Path, list: &Keyspace) -> Result<Editor, StoreError> {
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

/// Gives the folder a name that is free.
fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    for n in 1..=SET_ASIDE_MAX {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{n}"));
        let aside = PathBuf::from(name);
        if aside.exists() {
            continue;
        }
        return match std::fs::rename(path, &aside) {
            Ok(()) => Ok(aside),
            Err(error) => Err(StoreError::Disk { path: path.into(), why: error.to_string() }),
        };
    }
    Err(damaged(path, "and too many damaged stores lie beside it"))
}

fn damaged(path: &Path, why: &str) -> StoreError {
    StoreError::Damaged { path: path.into(), why: why.into() }
}

fn disk(path: &Path, error: &fjall::Error) -> StoreError {
    StoreError::Disk { path: path.into(), why: error.to_string() }
}
