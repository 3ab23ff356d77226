//! Which generation is used, and who uses it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::generation::sync_folder;
use crate::{FORMAT, StoreError, damaged, remove_generation};

/// The file that says which generation is used.
const CURRENT: &str = "current";

/// What `current` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Current {
    /// The generation; 0: none was complete yet.
    pub(crate) generation: u64,
    /// It began with the image of a list.
    pub(crate) has_image: bool,
}

impl Current {
    fn encode(self) -> String {
        let image = if self.has_image { "image" } else { "empty" };
        format!("rookery store {FORMAT}\n{} {image}\n", self.generation)
    }

    fn decode(text: &str, path: &Path) -> Result<Current, StoreError> {
        let senseless = || damaged(path, "the file that names the generation makes no sense");
        let mut words = text.strip_prefix("rookery store ").ok_or_else(senseless)?.split_ascii_whitespace();
        let found = words.next().and_then(|word| word.parse().ok()).ok_or_else(senseless)?;
        if found != FORMAT {
            return Err(StoreError::Format { path: path.into(), found });
        }
        let generation = words.next().and_then(|word| word.parse().ok()).ok_or_else(senseless)?;
        match words.next() {
            Some("image") => Ok(Current { generation, has_image: true }),
            Some("empty") => Ok(Current { generation, has_image: false }),
            Some(_) | None => Err(senseless()),
        }
    }

    /// Reads which generation is used.
    pub(crate) fn read(folder: &Path) -> Result<Current, StoreError> {
        match fs::read_to_string(folder.join(CURRENT)) {
            Ok(text) => Current::decode(&text, folder),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(damaged(folder, "the file that names the generation is gone"))
            }
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                Err(damaged(folder, "the file that names the generation makes no sense"))
            }
            Err(error) => Err(StoreError::disk(folder, &error)),
        }
    }

    /// Reads which generation is used; says that none is in a folder that is new.
    pub(crate) fn read_or_begin(folder: &Path) -> Result<Current, StoreError> {
        if folder.join(CURRENT).exists() {
            return Current::read(folder);
        }
        let entries = fs::read_dir(folder).map_err(|error| StoreError::disk(folder, &error))?;
        for entry in entries {
            let name = entry.map_err(|error| StoreError::disk(folder, &error))?.file_name();
            if name != LOCK && name != NEW {
                let what = "the file that names the generation is gone, or another version wrote this";
                return Err(damaged(folder, &format!("{} is there, but {what}", name.display())));
            }
        }
        let none = Current { generation: 0, has_image: false };
        none.write(folder)?;
        Ok(none)
    }

    /// Says which generation is used; on the disk when it returns.
    pub(crate) fn write(self, folder: &Path) -> Result<(), StoreError> {
        let new = folder.join(NEW);
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(self.encode().as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, folder.join(CURRENT))?;
            sync_folder(folder)
        };
        write().map_err(|error| StoreError::disk(folder, &error))
    }
}

/// `CURRENT` before it gets its name.
const NEW: &str = "current.new";

/// The file that is locked.
const LOCK: &str = "lock";

/// Locks a store for this process; the kernel gives it up with the file.
pub(crate) fn lock(folder: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(LOCK));
    let file = file.map_err(|error| StoreError::disk(folder, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: folder.into() }),
        Err(TryLockError::Error(error)) => Err(StoreError::disk(folder, &error)),
    }
}

/// Removes what a switch that was not finished, or the generation before, has left.
pub(crate) fn remove_others(folder: &Path, used: u64) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("log-").or(name.strip_prefix("list-")));
        if let Some(number) = number.and_then(|number| number.parse().ok())
            && number != used
        {
            remove_generation(folder, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Current::read(folder.path()), Err(StoreError::Damaged { .. })));
        for current in
            [Current { generation: 7, has_image: true }, Current { generation: 1, has_image: false }]
        {
            current.write(folder.path()).unwrap();
            assert_eq!(Current::read(folder.path()).unwrap(), current);
        }
        for (text, is_newer) in [("rookery store 3\n1 image\n", true), ("rookery store 2\n1 im", false)] {
            fs::write(folder.path().join(CURRENT), text).unwrap();
            let error = Current::read(folder.path()).unwrap_err();
            assert_eq!(matches!(error, StoreError::Format { found: 3, .. }), is_newer);
        }
    }
}
