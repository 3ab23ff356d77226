//! Passwords from a file of ours (`sasl_pwcheck_method: passwd_file`, `sasl_passwd_file: PATH`).
//!
//! ```text
//!   line   = name ":" hash / "#" comment / ""
//!   hash   = "$argon2" ... (PHC string) / "$6$" [ "rounds=" n "$" ] salt "$" digest / scram
//!   scram  = "{SCRAM-SHA-1}" keys / "{SCRAM-SHA-256}" keys
//!   keys   = iterations "$" salt "$" StoredKey "$" ServerKey      ; the last three in base64
//! ```
//!
//! A name that is not in the file costs as much as a wrong password for the first one that is.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordVerifier};
use protocols::proxy::{PasswordVerdict, ScramHash, ScramKeys};

use super::scram;

/// Stands for the names of an empty file: argon2id with the recommended cost.
const DECOY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$PVYNRpiJkNnOlTAvfuIRlh1ncKEOAsGBUhLIqxVoXPU";

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The largest memory cost of an argon2 line, in KiB; a helper thread works in it.
const ARGON2_KIB_MAX: u32 = 256 * 1024;

/// What stands behind a name.
#[derive(Clone)]
enum Hash {
    Argon2(Box<str>),
    Sha512Crypt(Box<str>),
    Scram(ScramHash, ScramKeys),
}

/// The file and what was read from it last.
pub struct PasswdFile {
    path: PathBuf,
    read: Mutex<Option<Read>>,
}

struct Read {
    stamp: Stamp,
    users: Arc<Users>,
}

/// What tells that the file is another than the one read.
#[derive(Clone, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

struct Users {
    by_name: BTreeMap<Box<[u8]>, Hash>,
    decoy: Hash,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PasswdError {
    /// It cannot be read.
    #[error("cannot read {}: {error}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A line is not `name:hash`.
    #[error("{}:{line}: expected name:hash with an argon2, $6$ or SCRAM hash", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
    },
}

impl PasswdFile {
    /// A file that is read when it is first asked.
    pub fn new(path: impl Into<PathBuf>) -> PasswdFile {
        PasswdFile { path: path.into(), read: Mutex::new(None) }
    }

    /// Reads the file if it changed since it was read last; blocks.
    ///
    /// # Errors
    /// It cannot be read or has a bad line.
    pub fn refresh(&self) -> Result<(), PasswdError> {
        self.users().map(|_| ())
    }

    /// Checks a password; blocks for as long as the hash takes.
    ///
    /// # Errors
    /// The file cannot be used; the session hears [`PasswordVerdict::Unavailable`].
    pub fn check(&self, user: &[u8], password: &[u8]) -> Result<PasswordVerdict, PasswdError> {
        let users = self.users()?;
        let (hash, is_known) = match users.by_name.get(user) {
            Some(hash) => (hash, true),
            None => (&users.decoy, false),
        };
        let is_right = hash.verify(password);
        Ok(if is_known && is_right { PasswordVerdict::Accepted } else { PasswordVerdict::Denied })
    }

    /// The SCRAM keys of a user, if his line has them for this hash; blocks.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn scram_keys(&self, user: &[u8], hash: ScramHash) -> Result<Option<ScramKeys>, PasswdError> {
        Ok(match self.users()?.by_name.get(user) {
            Some(Hash::Scram(of, keys)) if *of == hash => Some(keys.clone()),
            Some(Hash::Scram(..) | Hash::Argon2(_) | Hash::Sha512Crypt(_)) | None => None,
        })
    }

    fn users(&self) -> Result<Arc<Users>, PasswdError> {
        let unread = |error| PasswdError::Read { file: self.path.clone(), error };
        let metadata = fs::metadata(&self.path).map_err(unread)?;
        let stamp = Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = read.as_ref().filter(|read| read.stamp == stamp) {
            return Ok(Arc::clone(&read.users));
        }
        if stamp.bytes > FILE_BYTES_MAX {
            return Err(unread(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 256 MiB")));
        }
        let users = Arc::new(parse(&fs::read(&self.path).map_err(unread)?, &self.path)?);
        *read = Some(Read { stamp, users: Arc::clone(&users) });
        Ok(users)
    }
}

impl Hash {
    fn verify(&self, password: &[u8]) -> bool {
        match self {
            Hash::Argon2(text) => PasswordHash::new(text)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
            Hash::Sha512Crypt(text) => sha_crypt::PasswordHashRef::new(text).is_ok_and(|hash| {
                sha_crypt::PasswordVerifier::verify_password(&sha_crypt::ShaCrypt::SHA512, password, hash)
                    .is_ok()
            }),
            Hash::Scram(hash, keys) => scram::is_password(*hash, keys, password),
        }
    }
}

fn parse(text: &[u8], file: &Path) -> Result<Users, PasswdError> {
    let mut by_name = BTreeMap::new();
    let mut first = None;
    for (n, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let (name, hash) = entry(line).ok_or_else(|| PasswdError::Line { file: file.into(), line: n + 1 })?;
        first.get_or_insert_with(|| hash.clone());
        by_name.insert(name.into(), hash);
    }
    Ok(Users { by_name, decoy: first.unwrap_or_else(|| Hash::Argon2(DECOY.into())) })
}

fn entry(line: &[u8]) -> Option<(&[u8], Hash)> {
    let colon = line.iter().position(|byte| *byte == b':').filter(|colon| *colon > 0)?;
    let text = std::str::from_utf8(&line[colon + 1..]).ok()?;
    let hash = if text.starts_with("$argon2") {
        let parsed = PasswordHash::new(text).ok()?;
        let is_bounded = parsed.params.get_decimal("m").is_some_and(|kib| kib <= ARGON2_KIB_MAX);
        is_bounded.then(|| Hash::Argon2(text.into()))
    } else if text.starts_with("$6$") {
        sha_crypt::PasswordHashRef::new(text).ok()?;
        Some(Hash::Sha512Crypt(text.into()))
    } else if let Some(keys) = text.strip_prefix("{SCRAM-SHA-256}") {
        Some(Hash::Scram(ScramHash::Sha256, scram::stored(keys)?))
    } else if let Some(keys) = text.strip_prefix("{SCRAM-SHA-1}") {
        Some(Hash::Scram(ScramHash::Sha1, scram::stored(keys)?))
    } else {
        None
    };
    Some((&line[..colon], hash?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `openssl passwd -6 -salt saltsalt secret`
    const SHA512: &str =
        "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1";
    /// From RFC 7677 section 3: user `user`, password `pencil`.
    const SCRAM: &str = "{SCRAM-SHA-256}4096$W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=$wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    fn file(text: &str) -> (tempfile::TempDir, PasswdFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwd");
        fs::write(&path, text).unwrap();
        (dir, PasswdFile::new(path))
    }

    fn argon2(password: &str) -> String {
        use argon2::password_hash::{PasswordHasher, Salt};
        let salt = Salt::from_b64("c29tZXNhbHRzYWx0").unwrap();
        let cheap = argon2::Params::new(64, 1, 1, None).unwrap();
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, cheap);
        argon2.hash_password(password.as_bytes(), salt).unwrap().to_string()
    }

    #[test]
    fn every_kind_of_hash_takes_its_password_and_no_other() {
        let text = format!("# users\nfred:{}\r\nbarney:{SHA512}\nuser:{SCRAM}\n", argon2("wilma"));
        let (_dir, file) = file(&text);
        for (user, password) in [("fred", "wilma"), ("barney", "secret"), ("user", "pencil")] {
            let check = |p: &str| file.check(user.as_bytes(), p.as_bytes()).unwrap();
            assert_eq!(check(password), PasswordVerdict::Accepted, "{user}");
            assert_eq!(check(""), PasswordVerdict::Denied, "{user}");
            assert_eq!(check("x"), PasswordVerdict::Denied, "{user}");
        }
        assert_eq!(file.check(b"dino", b"wilma").unwrap(), PasswordVerdict::Denied);
    }

    #[test]
    fn scram_keys_are_told_for_their_hash_only() {
        let (_dir, file) = file(&format!("user:{SCRAM}\n"));
        let keys = file.scram_keys(b"user", ScramHash::Sha256).unwrap().unwrap();
        assert_eq!(keys.iterations, 4096);
        assert!(file.scram_keys(b"user", ScramHash::Sha1).unwrap().is_none());
        assert!(file.scram_keys(b"dino", ScramHash::Sha256).unwrap().is_none());
    }

    #[test]
    fn changed_file_is_read_again() {
        let (dir, file) = file(&format!("fred:{}\n", argon2("old")));
        assert_eq!(file.check(b"fred", b"old").unwrap(), PasswordVerdict::Accepted);
        let new = dir.path().join("new");
        fs::write(&new, format!("fred:{}\n", argon2("new"))).unwrap();
        fs::rename(new, dir.path().join("passwd")).unwrap();
        assert_eq!(file.check(b"fred", b"old").unwrap(), PasswordVerdict::Denied);
        assert_eq!(file.check(b"fred", b"new").unwrap(), PasswordVerdict::Accepted);
    }

    #[test]
    fn bad_lines_are_named_and_show_no_hash() {
        for bad in ["fred", ":x", "fred:plain", "fred:$argon2id$nonsense", "fred:{SCRAM-SHA-256}1$2$3"] {
            let (_dir, file) = file(&format!("user:{SCRAM}\n{bad}\n"));
            let error = file.refresh().unwrap_err().to_string();
            assert!(error.contains("passwd:2: expected name:hash"), "{error}");
        }
        let missing = PasswdFile::new("/nowhere/passwd").refresh().unwrap_err().to_string();
        assert!(missing.starts_with("cannot read /nowhere/passwd: "), "{missing}");
    }

    #[test]
    fn unknown_name_is_checked_against_a_hash_that_parses() {
        assert!(matches!(entry(format!("x:{DECOY}").as_bytes()), Some((b"x", Hash::Argon2(_)))));
        let (_dir, file) = file("");
        assert_eq!(file.check(b"fred", b"x").unwrap(), PasswordVerdict::Denied);
    }
}
