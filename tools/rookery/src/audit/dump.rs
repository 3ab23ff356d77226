//! A backend's truth from a file: its mailboxes.db, or what `ctl_mboxlist -d` wrote.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use cyrusdb::dump::{self, DumpError, Told};
use cyrusdb::{DbError, Mailbox, Mbtype};
use mupdate::list::Builder;
use protocols::proxy::{Change, Entry, Location};

use super::model::{Backend, Depth};

/// Why a file says nothing of a backend.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// It cannot be opened.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is a database, and damaged or of another kind.
    #[error(transparent)]
    Database(#[from] DbError),
    /// It is a dump, and none of Cyrus'.
    #[error(transparent)]
    Dump(#[from] DumpError),
}

/// Reads a file of either kind.
///
/// # Errors
/// [`FileError`].
pub(super) fn read(server: &str, path: &Path) -> Result<Backend, FileError> {
    let mut first = [0];
    let n = File::open(path)?.read(&mut first)?;
    let mut truth = Truth::new(server);
    // A dump begins with a brace, a database with anything else.
    if n == 0 || matches!(first, [b'{'] | [b' '] | [b'\n']) {
        dump::read(File::open(path)?, |told| match told {
            Told::Mailbox(mailbox) => truth.take(&mailbox),
            // About what only an undump needs.
            Told::Warning(_) => {}
        })?;
    } else {
        for mailbox in cyrusdb::copy(path)?.mailboxes() {
            truth.take(&mailbox?);
        }
    }
    Ok(truth.finish())
}

/// A backend's list as it is read.
struct Truth<'a> {
    server: &'a str,
    builder: Builder,
    moving: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

impl<'a> Truth<'a> {
    fn new(server: &'a str) -> Truth<'a> {
        Truth { server, builder: Builder::new(), moving: BTreeMap::new() }
    }

    /// Takes what lies on this server, if only for the moment.
    fn take(&mut self, mailbox: &Mailbox) {
        if !mailbox.is_here() || mailbox.mbtype.has(Mbtype::RESERVE) {
            return;
        }
        let partition = mailbox.partition.as_deref().unwrap_or_default();
        let location = [self.server.as_bytes(), b"!", partition].concat();
        let (name, location) = (mailbox.name.clone(), Location(location.into()));
        self.builder.push(&Change::Active(Entry { name, location, acl: (*mailbox.acl).into() }));
        if mailbox.mbtype.has(Mbtype::MOVING) {
            self.moving.insert(mailbox.name.clone(), mailbox.server.clone().unwrap_or_default());
        }
    }

    fn finish(self) -> Backend {
        let (name, list) = (self.server.into(), self.builder.finish().publish());
        Backend { name, list, moving: self.moving, depth: Depth::Whole }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use mupdate::list::Found;

    use super::*;

    const DUMP: &str = r#"{
"team01": {"name": "team01", "mtime": "1795314349", "uidvalidity": "1795314349", "createdmodseq": "1", "foldermodseq": "3", "mbtype": "e", "partition": "default", "acl": {"anyone": "lrswipkxtecd", "cyrus": "lrswipkxtecda"}, "uniqueid": "1bhngrqvnwwt1dc9puephz6f", "name_history": []},
"user.gone": {"name": "user.gone", "mtime": "1", "mbtype": "ed", "partition": "default", "acl": {}, "name_history": []},
"user.moving": {"name": "user.moving", "mbtype": "emr", "partition": "big", "server": "backend2", "acl": {"moving": "lrs"}, "name_history": []},
"user.remote": {"name": "user.remote", "mbtype": "er", "partition": "default", "server": "backend2", "acl": {}}
}
"#;

    fn read_text(text: &str) -> Result<Backend, FileError> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("dump");
        fs::write(&path, text)?;
        read("backend1", &path)
    }

    #[test]
    fn a_dump_of_cyrus_is_read_but_for_what_does_not_lie_here() {
        let backend = read_text(DUMP).unwrap();
        assert_eq!(backend.list.len(), 2);
        let Some(Found::Active(team)) = backend.list.find(b"team01") else { panic!("team01") };
        assert_eq!(&*team.location.0, b"backend1!default");
        assert_eq!(&*team.acl, b"anyone\tlrswipkxtecd\tcyrus\tlrswipkxtecda\t");
        assert_eq!(backend.moving.get(&b"user.moving"[..]).map(|to| &**to), Some(&b"backend2"[..]));
    }

    #[test]
    fn what_is_neither_a_dump_nor_a_database_is_an_error() {
        for text in ["", "[]", "{", "no database", "{} more"] {
            assert!(read_text(text).is_err(), "{text}");
        }
        assert_eq!(read_text("{\n\n}\n").unwrap().list.len(), 0);
        assert!(read("backend1", Path::new("/nonexistent")).is_err());
    }
}
