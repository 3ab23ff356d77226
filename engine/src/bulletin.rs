//! Reads what operators put up in the configuration directory: `msg/motd`, `msg/shutdown`, `log/USER`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use protocols::bulletin::{Bulletin, Notices};

use crate::shard::{Inbox, ToShard};

/// The board of this process.
pub(crate) static BULLETIN: LazyLock<Bulletin> = LazyLock::new(Bulletin::default);

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Bytes of a message that are told.
const TEXT_BYTES_MAX: u64 = 1000;

/// Users that are written along at a time.
const TRACED_MAX: usize = 1024;

/// Starts a thread that posts what stands in a configuration directory, and posts it once. Sessions that are to be
/// sent away are told through the inboxes of their shards.
///
/// # Errors
/// The system has no threads left.
pub(crate) fn start(directory: &Path, shards: Vec<Inbox>) -> io::Result<()> {
    let directory: PathBuf = directory.into();
    let mut posted = notices(&directory);
    BULLETIN.post(posted.clone());
    thread::Builder::new().name("bulletin".into()).spawn(move || {
        loop {
            thread::sleep(LOOK);
            let found = notices(&directory);
            if found != posted {
                BULLETIN.post(found.clone());
                if found.shutdown.is_some() && found.shutdown != posted.shutdown {
                    shards.iter().for_each(|shard| shard.send(ToShard::Posted));
                }
                posted = found;
            }
        }
    })?;
    Ok(())
}

fn notices(directory: &Path) -> Notices {
    Notices {
        shutdown: message(&directory.join("msg/shutdown")),
        motd: message(&directory.join("msg/motd")),
        traced: traced(&directory.join("log")),
    }
}

/// The first line of a message, as Cyrus tells it. What would begin a response code is left out.
fn message(path: &Path) -> Option<Box<str>> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(TEXT_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let text: String = String::from_utf8_lossy(line).chars().filter(|c| !c.is_control()).collect();
    Some(text.trim_start_matches(['[', ' ']).trim_end().into())
}

fn traced(folder: &Path) -> BTreeSet<Box<[u8]>> {
    let Ok(entries) = fs::read_dir(folder) else { return BTreeSet::new() };
    let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.take(TRACED_MAX).map(|entry| entry.file_name().as_bytes().into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_without_controls_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("motd");
        assert_eq!(message(&path), None);
        fs::write(&path, "[ALERT] back at\tnoon\r\nsecond\n").unwrap();
        assert_eq!(message(&path).as_deref(), Some("ALERT] back atnoon"));
        fs::write(&path, "").unwrap();
        assert_eq!(message(&path).as_deref(), Some(""));
    }
}
