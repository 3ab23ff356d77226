//! The mailbox list on disk: the master's own, or a slave's copy for a quick start.
//!
//! Everything here blocks; it runs on a thread of its own. What `write`, `append` or `replace`
//! returned from is on the disk.
//!
//! ```text
//!   current   names the generation N that is used
//!   list-N    the image of a whole list (image.rs), unless the list began with nothing
//!   log-N     a database (generation.rs) with what came behind the image:
//!               log    number of a batch -> sequence number, position at the source, changes
//!               notes  what a master remembers beside the list
//!               meta   "epochs" of the sequence numbers, a new one whenever the store is opened
//!   lock      held by the process that has the store open
//! ```
//!
//! A generation that has grown is followed by the next: another thread writes the image of the list
//! as it was published, then what came meanwhile is copied to a new database and `current` replaced.
//! A list from elsewhere begins a generation too. A crash at any place leaves the one or the other.

mod current;
mod generation;
mod history;
mod image;
mod record;

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use mupdate::directory::{Beside, History, Loaded, StoreWrite};
use mupdate::list::List;
use protocols::proxy::Change;

use current::Current;
use generation::{Generation, database_path, image_path};
use image::Head;

/// The format that is written, and the only one that is read.
const FORMAT: u64 = 2;

/// Changes behind an image after which the next one is written: they cost a tenth of a second at
/// the next start.
const GENERATION_CHANGES_MIN: usize = 20_000;

/// A large list is not written again before so much of it has come anew.
const GENERATION_SHARE: usize = 50;

/// Octets that a change is reckoned with: past them an image is written although changes are few.
const GENERATION_CHANGE_BYTES: usize = 400;

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
    /// Held for as long as this lives.
    _lock: File,
    history: History,
    sequence: u64,
    /// `None` after a write has failed: the database takes no more until it is opened anew.
    generation: Option<Generation>,
    next_image: Option<NextImage>,
    /// The removal of the generation before.
    removal: Option<JoinHandle<()>>,
    complaint: Option<String>,
    generation_changes_min: usize,
}

/// An image that another thread writes.
struct NextImage {
    thread: JoinHandle<Result<(), String>>,
    /// The first batch that is not in it.
    behind: u64,
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
    /// `Disk`: whether changes were written is unknown; a list that was stored before is still there.
    pub fn write(&mut self, write: &StoreWrite) -> Result<(), StoreError> {
        match write {
            StoreWrite::Append { changes, sequence, beside, list } => {
                self.append_beside(changes, *sequence, beside)?;
                self.go_on(list, beside);
                Ok(())
            }
            StoreWrite::Replace { list, sequence, beside } => self.replace_beside(list, *sequence, beside),
        }
    }

    /// Writes changes in order, all or none; `sequence` is the number of the last. On the disk when
    /// it returns.
    ///
    /// # Errors
    /// `Disk`: whether the changes were written is unknown.
    pub fn append(&mut self, changes: &[Change], sequence: u64) -> Result<(), StoreError> {
        self.append_beside(changes, sequence, &Beside::default())
    }

    /// Writes a list from elsewhere in the place of all that is stored. On the disk when it returns.
    /// Its history is another: who followed the list that was here gets the whole of it.
    ///
    /// # Errors
    /// `Disk`: the list that was stored before is still there.
    pub fn replace(&mut self, list: &List, sequence: u64) -> Result<(), StoreError> {
        self.history = History::default();
        self.history.begin(new_epoch(&self.path)?, sequence);
        self.replace_beside(list, sequence, &Beside::default())
    }

    /// The sequence number of the last change that was written.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What went wrong beside the writes, once: nothing is lost by it, but the next start takes longer.
    pub fn take_complaint(&mut self) -> Option<String> {
        self.complaint.take()
    }

    /// Writes the next image of a small list behind so many changes, for tests.
    pub fn set_generation_changes_min(&mut self, changes: usize) {
        self.generation_changes_min = changes;
    }

    fn append_beside(
        &mut self,
        changes: &[Change],
        sequence: u64,
        beside: &Beside,
    ) -> Result<(), StoreError> {
        let mut generation = self.take_generation()?;
        generation
            .append(changes, sequence, beside)
            .map_err(|error| StoreError::database(&self.path, &error))?;
        self.generation = Some(generation);
        self.sequence = sequence;
        Ok(())
    }

    /// The generation, to be put back when what is done with it worked.
    fn take_generation(&mut self) -> Result<Generation, StoreError> {
        if let Some(generation) = self.generation.take() {
            return Ok(generation);
        }
        // What the thread writes is of a list that may not be stored.
        if let Some(next) = self.next_image.take() {
            let _ = next.thread.join();
        }
        let current = Current::read(&self.path)?;
        Ok(Generation::open(&self.path, current.generation, current.has_image)?.0)
    }

    fn replace_beside(&mut self, list: &List, sequence: u64, beside: &Beside) -> Result<(), StoreError> {
        let old = self.take_generation()?;
        if let Some(next) = self.next_image.take() {
            // A thread that panicked has written nothing that counts.
            let _ = next.thread.join();
        }
        let number = old.number + 1;
        let head = Head { sequence, source: beside.source.clone() };
        image::write(&image_path(&self.path, number), &head, list, &[])
            .map_err(|error| StoreError::disk(&self.path, &error))?;
        self.switch(old, &[], beside)?;
        self.sequence = sequence;
        Ok(())
    }

    /// Makes the generation behind `old` the one that is used; its image is written.
    fn switch(&mut self, old: Generation, batches: &[Vec<u8>], beside: &Beside) -> Result<(), StoreError> {
        let mut notes = old.notes(&self.path)?;
        notes.retain(|(key, _)| !beside.notes.iter().any(|(changed, _)| changed == key));
        let kept = beside.notes.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
        notes.extend(kept);
        let new = Generation::begin(&self.path, old.number + 1, &self.history, &notes, batches)?;
        Current { generation: new.number, has_image: true }.write(&self.path)?;
        self.remove(old);
        self.generation = Some(new);
        Ok(())
    }

    /// Closes and removes a generation, which takes a moment, on a thread of its own.
    fn remove(&mut self, old: Generation) {
        self.await_removal();
        let path = self.path.clone();
        let remove = move || {
            let number = old.number;
            drop(old);
            remove_generation(&path, number);
        };
        // Without a thread it stays until the next start.
        self.removal = thread::Builder::new().name("store-remove".into()).spawn(remove).ok();
    }

    fn await_removal(&mut self) {
        if let Some(removal) = self.removal.take() {
            // A thread that panicked has left files, which the next start removes.
            let _ = removal.join();
        }
    }

    /// Begins the next image when the generation has grown, ends it when the image is written.
    fn go_on(&mut self, list: &Arc<List>, beside: &Beside) {
        match self.next_image.take() {
            Some(next) if next.thread.is_finished() => {
                if let Err(why) = self.end_image(next) {
                    self.complaint = Some(format!("cannot write the image of the list: {why}"));
                }
            }
            Some(next) => self.next_image = Some(next),
            None => self.begin_image(list, beside),
        }
    }

    fn begin_image(&mut self, list: &Arc<List>, beside: &Beside) {
        let Some(generation) = &mut self.generation else { return };
        let changes = self.generation_changes_min.max(list.len() / GENERATION_SHARE);
        if generation.changes < changes && generation.bytes / GENERATION_CHANGE_BYTES < changes {
            return;
        }
        // If it fails, not before as much has come again.
        (generation.bytes, generation.changes) = (0, 0);
        let (folder, number, reader) = (self.path.clone(), generation.number, generation.reader());
        let (behind, list) = (generation.next(), Arc::clone(list));
        let head = Head { sequence: self.sequence, source: beside.source.clone() };
        let write = move || {
            let before = image_path(&folder, number);
            let before = before.exists().then(|| image::read_log(&before)).transpose();
            let written = before.and_then(|before| {
                let (head_before, log_before) = before.unwrap_or_default();
                let log = reader.log(log_before, head_before.sequence, head.sequence)?;
                image::write(&image_path(&folder, number + 1), &head, &list, &log)
            });
            written.map_err(|error| error.to_string())
        };
        match thread::Builder::new().name("store-image".into()).spawn(write) {
            Ok(thread) => self.next_image = Some(NextImage { thread, behind }),
            Err(error) => self.complaint = Some(format!("cannot write the image of the list: {error}")),
        }
    }

    fn end_image(&mut self, next: NextImage) -> Result<(), String> {
        next.thread.join().map_err(|_| "a bug".to_owned())??;
        let Some(old) = self.generation.take() else { return Ok(()) };
        let batches = match old.batches_from(next.behind) {
            Ok(batches) => batches,
            Err(error) => {
                self.generation = Some(old);
                return Err(error.to_string());
            }
        };
        // What fails here leaves the generation that was used: it is opened again with the next write.
        self.switch(old, &batches, &Beside::default()).map_err(|error| error.to_string())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(next) = self.next_image.take() {
            // It may be written in vain: the next start removes it.
            let _ = next.thread.join();
        }
        self.await_removal();
    }
}

fn open_and_load(path: &Path) -> Result<(Store, Loaded), StoreError> {
    fs::create_dir_all(path).map_err(|error| StoreError::disk(path, &error))?;
    let lock = current::lock(path)?;
    let current = Current::read_or_begin(path)?;
    let (generation, mut loaded) = match current.generation {
        0 => {
            current::remove_others(path, 0);
            let first = Generation::begin(path, 1, &History::default(), &[], &[])?;
            Current { generation: 1, has_image: false }.write(path)?;
            (first, Loaded::nothing())
        }
        number => Generation::open(path, number, current.has_image)?,
    };
    current::remove_others(path, generation.number);
    loaded.history.begin(new_epoch(path)?, loaded.sequence);
    generation.write_history(&loaded.history).map_err(|error| StoreError::database(path, &error))?;
    let store = Store {
        path: path.into(),
        _lock: lock,
        history: loaded.history.clone(),
        sequence: loaded.sequence,
        generation: Some(generation),
        next_image: None,
        removal: None,
        complaint: None,
        generation_changes_min: GENERATION_CHANGES_MIN,
    };
    Ok((store, loaded))
}

fn new_epoch(path: &Path) -> Result<Box<str>, StoreError> {
    history::new_name().map_err(|error| StoreError::disk(path, &error))
}

/// Removes what there is of a generation; what cannot be removed stays until the next start.
fn remove_generation(folder: &Path, number: u64) {
    let _ = fs::remove_dir_all(database_path(folder, number));
    let _ = fs::remove_file(image_path(folder, number));
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
        return match fs::rename(path, &aside) {
            Ok(()) => Ok(aside),
            Err(error) => Err(StoreError::Disk { path: path.into(), why: error.to_string() }),
        };
    }
    Err(damaged(path, "and too many damaged stores lie beside it"))
}

impl StoreError {
    fn disk(path: &Path, error: &io::Error) -> StoreError {
        StoreError::Disk { path: path.into(), why: error.to_string() }
    }

    /// What the database says: of the disk and the rights, or of what is stored.
    fn database(path: &Path, error: &fjall::Error) -> StoreError {
        if let fjall::Error::Io(error) = &error
            && is_of_the_disk(error)
        {
            return StoreError::disk(path, error);
        }
        damaged(path, &error.to_string())
    }
}

/// Whether an error says something about the disk or the rights, not about what is stored.
fn is_of_the_disk(error: &io::Error) -> bool {
    use io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied
            | ErrorKind::StorageFull
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::QuotaExceeded
            | ErrorKind::OutOfMemory
    )
}

fn damaged(path: &Path, why: &str) -> StoreError {
    StoreError::Damaged { path: path.into(), why: why.into() }
}
