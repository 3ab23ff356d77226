//! The mailbox list on disk: the master's own, or a slave's copy for a quick start.
//!
//! Everything here blocks; it runs on a thread of its own. What `append` or `replace` returned from
//! is on the disk.
//!
//! ```text
//!   meta     "format"    1                    list-N   sort key -> "A" len location acl
//!            "list"      N, the keyspace used                       "R" len location
//!            "sequence"  of the last change   log      number modulo LOG_CHANGES_MAX -> number change
//!            "log"       where the log begins notes    what a master remembers beside the list
//!            "epochs"    of the sequence numbers, a new one whenever the store is opened
//!            "source"    where the list stands in the history of a slave's source
//! ```
//!
//! A list that is replaced is written to a new keyspace, which then becomes the one that is used:
//! a crash in between leaves the old list.

mod history;
mod keyspaces;
mod record;

use std::fmt;
use std::path::{Path, PathBuf};

use mupdate::directory::{Beside, History, Loaded, StoreWrite};
use mupdate::list::List;
use protocols::proxy::Change;

use keyspaces::Keyspaces;

/// The format that is written, and the only one that is read.
const FORMAT: u64 = 1;

/// Copies that were set aside under one name before a new one is refused.
const SET_ASIDE_MAX: u32 = 100;

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
    /// `None` after a write has failed: the database takes no more until it is opened anew.
    keyspaces: Option<Keyspaces>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in a folder, makes it if there is none, and loads what it holds. A new epoch
    /// begins.
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
        match write {
            StoreWrite::Append { changes, sequence, beside } => {
                self.try_write(|keyspaces| keyspaces.append(changes, *sequence, beside))
            }
            StoreWrite::Replace { list, sequence, beside } => {
                self.try_write(|keyspaces| keyspaces.replace(list, *sequence, beside))
            }
        }
    }

    /// Writes changes in order, all or none; `sequence` is the number of the last. On the disk when
    /// it returns.
    ///
    /// # Errors
    /// `Disk`: whether the changes were written is unknown.
    pub fn append(&mut self, changes: &[Change], sequence: u64) -> Result<(), StoreError> {
        self.try_write(|keyspaces| keyspaces.append(changes, sequence, &Beside::default()))
    }

    /// Writes a list from elsewhere in the place of all that is stored. On the disk when it returns.
    /// Its history is another: who followed the list that was here gets the whole of it.
    ///
    /// # Errors
    /// `Disk`: the list that was stored before is still there.
    pub fn replace(&mut self, list: &List, sequence: u64) -> Result<(), StoreError> {
        let mut history = History::default();
        history.begin(self.new_epoch()?, sequence);
        self.try_write(|keyspaces| keyspaces.write_history(&history))?;
        self.try_write(|keyspaces| keyspaces.replace(list, sequence, &Beside::default()))
    }

    fn new_epoch(&self) -> Result<Box<str>, StoreError> {
        history::new_name()
            .map_err(|error| StoreError::Disk { path: self.path.clone(), why: error.to_string() })
    }

    fn try_write(
        &mut self,
        write: impl FnOnce(&mut Keyspaces) -> fjall::Result<()>,
    ) -> Result<(), StoreError> {
        let mut keyspaces = match self.keyspaces.take() {
            Some(keyspaces) => keyspaces,
            None => Keyspaces::open(&self.path)?,
        };
        write(&mut keyspaces)
            .map_err(|error| StoreError::Disk { path: self.path.clone(), why: error.to_string() })?;
        self.keyspaces = Some(keyspaces);
        Ok(())
    }

    /// The sequence number of the last change that was written.
    ///
    /// # Errors
    /// `Disk`, `Damaged`.
    pub fn sequence(&self) -> Result<u64, StoreError> {
        match &self.keyspaces {
            Some(keyspaces) => keyspaces.sequence(&self.path),
            None => Keyspaces::open(&self.path)?.sequence(&self.path),
        }
    }
}

fn open_and_load(path: &Path) -> Result<(Store, Loaded), StoreError> {
    let keyspaces = Keyspaces::open(path)?;
    let mut loaded = keyspaces.load(path)?;
    let mut store = Store { path: path.into(), keyspaces: Some(keyspaces) };
    loaded.history.begin(store.new_epoch()?, loaded.sequence);
    store.try_write(|keyspaces| keyspaces.write_history(&loaded.history))?;
    Ok((store, loaded))
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
