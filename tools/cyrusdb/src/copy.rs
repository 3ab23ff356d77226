//! Copies a database while nobody changes it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

use crate::{DbError, Twoskip};

/// The largest database that is read, in bytes: some 40 million mailboxes.
pub const COPY_BYTES_MAX: u64 = 16 << 30;

/// How long a writer may keep the lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// How often the lock is tried.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Reads a database into memory under Cyrus' shared lock, which is given back at once.
///
/// # Errors
/// `Read`, also when the lock is not to be had within a minute; what [`Twoskip::new`] refuses.
pub fn copy(path: &Path) -> Result<Twoskip, DbError> {
    let bytes = read_locked(path).map_err(|error| DbError::Read { path: path.into(), error })?;
    Twoskip::new(bytes)
}

fn read_locked(path: &Path) -> io::Result<Vec<u8>> {
    let until = Instant::now() + LOCK_TIMEOUT;
    loop {
        let mut file = File::open(path)?;
        lock(&file, until)?;
        // Cyrus replaces the file by a compacted one under the lock of the old one.
        let (opened, named) = (file.metadata()?, path.metadata()?);
        if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
            continue;
        }
        if opened.len() > COPY_BYTES_MAX {
            return Err(io::Error::other(format!("{} bytes, limit {COPY_BYTES_MAX}", opened.len())));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(opened.len()).unwrap_or(0));
        file.read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
}

/// Takes the lock as Cyrus does (fcntl, whole file); it goes with the file's descriptor.
fn lock(file: &File, until: Instant) -> io::Result<()> {
    loop {
        match fcntl_lock(file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => return Ok(()),
            Err(Errno::AGAIN | Errno::ACCESS | Errno::INTR) if Instant::now() < until => {
                thread::sleep(LOCK_RETRY)
            }
            Err(Errno::AGAIN | Errno::ACCESS) => return Err(io::Error::other("locked by another process")),
            Err(error) => return Err(error.into()),
        }
    }
}
