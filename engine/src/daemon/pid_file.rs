//! The file with the number of this process, locked while it lives.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// A pid file, locked; emptied and, where the folder allows, removed when this is dropped.
pub(super) struct PidFile {
    file: File,
    path: PathBuf,
}

impl PidFile {
    /// Writes the file unless another living process has it locked.
    ///
    /// # Errors
    /// It cannot be written, or another daemon is running.
    pub(super) fn create(path: &Path) -> io::Result<PidFile> {
        let mut file = File::options().create(true).truncate(false).write(true).open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => io::Error::other("another process has it: already running"),
            other => other.into(),
        })?;
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(PidFile { file, path: path.into() })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // An empty file says as well that nobody runs.
        let _ = self.file.set_len(0);
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_daemon_is_refused_while_the_first_lives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let first = PidFile::create(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        let error = PidFile::create(&path).err().unwrap().to_string();
        assert!(error.contains("already running"), "{error}");
        drop(first);
        assert!(!path.exists());
        assert!(PidFile::create(&path).is_ok());
    }
}
