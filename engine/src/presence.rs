//! Which sessions there are, for operators and their scripts: a file for each, as Cyrus' processes have them
//! (`proc_path`, else `{configdirectory}/proc`), read by `cyr_info proc`.
//!
//! ```text
//!  proc/NUMBER      service TAB host TAB user TAB internal name of the open mailbox TAB LF
//!  proc/.rookery-N  locked by the process that has the N-th block of numbers
//! ```
//! Cyrus' files are named after processes; these have numbers that no process has. A thread writes once a second
//! what changed: who comes and goes between two looks costs no file. Who finds the lock of a block free has
//! outlived its process, and removes its files.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use protocols::proxy::{Level, Presence};
use rustix::fs::FlockOperation;

use crate::log::Log;
use crate::shard::SessionId;

/// How often files are written.
const LOOK: Duration = Duration::from_secs(1);

/// Greater than every process id that Linux gives (PID_MAX_LIMIT, 2^22).
const FIRST: u32 = (1 << 22) + 1;

/// Numbers of one process: its sessions that have files.
const BLOCK: u32 = 1 << 20;

/// Processes that can have sessions at a time: a daemon and those that it takes over from.
const BLOCKS_MAX: u32 = 64;

/// Sessions of all shards, kept as they are told.
#[derive(Clone)]
pub(crate) struct Sessions(Arc<[Mutex<Shard>]>);

/// Those of one shard, on cache lines that no other shard writes.
#[derive(Default)]
#[repr(align(128))]
struct Shard {
    clients: BTreeMap<SessionId, Client>,
    /// Whose files are out of date.
    changed: Vec<SessionId>,
    /// Who had a file and has ended.
    gone: Vec<SessionId>,
}

struct Client {
    service: Arc<str>,
    host: Box<str>,
    user: Box<[u8]>,
    mailbox: Box<[u8]>,
    /// He is among those changed.
    is_changed: bool,
    has_file: bool,
}

impl Sessions {
    /// Of so many shards.
    pub(crate) fn new(shards: usize) -> Sessions {
        Sessions((0..shards).map(|_| Mutex::default()).collect())
    }

    /// The same, with files in a folder.
    pub(crate) fn kept(shards: usize, folder: &Path, log: &Log) -> Sessions {
        let sessions = Sessions::new(shards);
        sessions.keep_files(folder, log);
        sessions
    }

    /// Notes what a session told of itself.
    pub(crate) fn note(&self, shard: usize, session: SessionId, presence: Presence) {
        let Some(mut shard) = self.shard(shard) else { return };
        let Shard { clients, changed, .. } = &mut *shard;
        match presence {
            Presence::Client { service, host, user } => {
                let (is_changed, has_file) = clients
                    .get(&session)
                    .map_or((false, false), |client| (client.is_changed, client.has_file));
                let mailbox = Box::default();
                clients.insert(session, Client { service, host, user, mailbox, is_changed, has_file });
            }
            Presence::Mailbox(mailbox) => {
                if let Some(client) = clients.get_mut(&session) {
                    client.mailbox = mailbox.unwrap_or_default();
                }
            }
        }
        if let Some(client) = clients.get_mut(&session)
            && !std::mem::replace(&mut client.is_changed, true)
        {
            changed.push(session);
        }
    }

    /// A session has ended.
    pub(crate) fn ended(&self, shard: usize, session: SessionId) {
        let Some(mut shard) = self.shard(shard) else { return };
        if shard.clients.remove(&session).is_some_and(|client| client.has_file) {
            shard.gone.push(session);
        }
    }

    fn shard(&self, shard: usize) -> Option<std::sync::MutexGuard<'_, Shard>> {
        Some(self.0.get(shard)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Starts the thread that writes files; where there can be none, the log says why.
    fn keep_files(&self, folder: &Path, log: &Log) {
        let sessions = self.clone();
        let kept = Files::open(folder).and_then(|mut files| {
            let work = move || {
                while files.write(&sessions) {
                    thread::sleep(LOOK);
                }
            };
            thread::Builder::new().name("presence".into()).spawn(work)
        });
        if let Err(error) = kept {
            log.write(Level::Warn, &format!("no sessions in {}: {error}", folder.display()));
        }
    }

    /// What there is to write of a shard: lines of those changed, and who has ended.
    fn take(&self, shard: usize) -> (Vec<(SessionId, Vec<u8>)>, Vec<SessionId>) {
        let Some(mut shard) = self.shard(shard) else { return Default::default() };
        let Shard { clients, changed, gone } = &mut *shard;
        let mut lines = Vec::new();
        for session in changed.drain(..) {
            if let Some(client) = clients.get_mut(&session) {
                (client.is_changed, client.has_file) = (false, true);
                lines.push((session, client.line()));
            }
        }
        (lines, std::mem::take(gone))
    }
}

impl Client {
    /// As `proc_register` of Cyrus writes it; the command under way is left out.
    fn line(&self) -> Vec<u8> {
        let host = match &*self.host {
            "" => "[unix socket]".to_owned(),
            host => format!("[{host}]"),
        };
        let mut line = Vec::new();
        for field in [self.service.as_bytes(), host.as_bytes(), &self.user, &self.mailbox, b""] {
            if !line.is_empty() {
                line.push(b'\t');
            }
            line.extend(field.iter().map(|byte| if byte.is_ascii_control() { b'?' } else { *byte }));
        }
        line.push(b'\n');
        line
    }
}

/// The files of one process.
struct Files {
    folder: PathBuf,
    first: u32,
    /// Holds the lock.
    _lock: File,
    numbers: BTreeMap<(usize, SessionId), u32>,
    /// Numbers below the next that nobody has.
    free: Vec<u32>,
    next: u32,
}

impl Files {
    /// Takes a block of numbers, and removes the files of processes that are no more.
    fn open(folder: &Path) -> io::Result<Files> {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        let mut own = None;
        for block in 0..BLOCKS_MAX {
            let path = folder.join(format!(".rookery-{block}"));
            if own.is_some() && !path.exists() {
                continue;
            }
            let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(&path)?;
            if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            let first = FIRST + block * BLOCK;
            remove(folder, first)?;
            own = own.or(Some((first, lock)));
        }
        let (first, lock) = own.ok_or_else(|| io::Error::other("too many processes"))?;
        Ok(Files {
            folder: folder.into(),
            first,
            _lock: lock,
            numbers: BTreeMap::new(),
            free: Vec::new(),
            next: 0,
        })
    }

    /// Writes what changed; whether somebody is there who could be told of more. A file that cannot be written is
    /// missing until its session changes.
    fn write(&mut self, sessions: &Sessions) -> bool {
        for shard in 0..sessions.0.len() {
            let (lines, gone) = sessions.take(shard);
            for session in gone {
                if let Some(number) = self.numbers.remove(&(shard, session)) {
                    let _ = fs::remove_file(self.path(number));
                    self.free.push(number);
                }
            }
            for (session, line) in lines {
                if let Some(number) = self.number((shard, session)) {
                    let _ = self.put(number, &line);
                }
            }
        }
        Arc::strong_count(&sessions.0) > 1
    }

    fn number(&mut self, session: (usize, SessionId)) -> Option<u32> {
        if let Some(number) = self.numbers.get(&session) {
            return Some(*number);
        }
        let number = self.free.pop().or_else(|| {
            let number = self.next;
            self.next += u32::from(number < BLOCK);
            (number < BLOCK).then_some(number)
        })?;
        self.numbers.insert(session, number);
        Some(number)
    }

    fn path(&self, number: u32) -> PathBuf {
        self.folder.join((self.first + number).to_string())
    }

    /// Readers see the old line or the new one.
    fn put(&self, number: u32, line: &[u8]) -> io::Result<()> {
        let path = self.path(number);
        let new = path.with_extension("new");
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&new)?.write_all(line)?;
        fs::rename(new, path)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // What stays is removed by the next process.
        let _ = remove(&self.folder, self.first);
    }
}

/// Removes the files of a block.
fn remove(folder: &Path, first: u32) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.trim_end_matches(".new").parse::<u32>().ok());
        if number.is_some_and(|number| (first..first + BLOCK).contains(&number)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(user: &str) -> Presence {
        Presence::Client { service: "imap".into(), host: "192.0.2.1".into(), user: user.as_bytes().into() }
    }

    fn id(slot: u32) -> SessionId {
        SessionId { slot, generation: 1 }
    }

    fn texts(folder: &Path) -> Vec<(String, String)> {
        let mut texts: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'))
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect();
        texts.sort();
        texts
    }

    #[test]
    fn sessions_have_files_as_long_as_they_last() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = Sessions::new(2);
        let mut files = Files::open(folder.path()).unwrap();
        sessions.note(0, id(1), client(""));
        sessions.note(0, id(1), client("fred"));
        sessions.note(0, id(1), Presence::Mailbox(Some((*b"user.fred.a\tb").into())));
        sessions.note(1, id(1), client("joe"));
        sessions.note(1, id(2), client("short"));
        sessions.ended(1, id(2));
        assert!(texts(folder.path()).is_empty());
        files.write(&sessions);
        let lines = [
            ("4194305".to_owned(), "imap\t[192.0.2.1]\tfred\tuser.fred.a?b\t\n".to_owned()),
            ("4194306".to_owned(), "imap\t[192.0.2.1]\tjoe\t\t\n".to_owned()),
        ];
        assert_eq!(texts(folder.path()), lines);
        sessions.ended(0, id(1));
        files.write(&sessions);
        assert_eq!(texts(folder.path()), lines[1..]);
        sessions.note(0, id(3), client("ann"));
        files.write(&sessions);
        assert_eq!(texts(folder.path())[0].1, "imap\t[192.0.2.1]\tann\t\t\n");
    }

    #[test]
    fn files_of_a_process_that_is_no_more_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = Sessions::new(1);
        sessions.note(0, id(1), client("fred"));
        let mut first = Files::open(folder.path()).unwrap();
        first.write(&sessions);
        // Killed: its lock is free, its files stand.
        rustix::fs::flock(&first._lock, FlockOperation::Unlock).unwrap();
        fs::write(folder.path().join("77"), "imap\t[192.0.2.2]\tcyrus\t\t\n").unwrap();
        let second = Files::open(folder.path()).unwrap();
        assert_eq!(texts(folder.path()).len(), 1, "Cyrus' own file stays, ours is gone");
        let third = Files::open(folder.path()).unwrap();
        assert_ne!(second.first, third.first);
    }

    #[test]
    fn many_changes_are_one_line() {
        let sessions = Sessions::new(1);
        for user in ["a", "b", "c"] {
            sessions.note(0, id(1), client(user));
        }
        let (lines, gone) = sessions.take(0);
        assert_eq!((lines.len(), gone.len()), (1, 0));
        assert!(sessions.take(0).0.is_empty());
    }
}
