//! The client of saslauthd (`sasl_pwcheck_method: saslauthd`).
//!
//! One connection a question: four times a length of two bytes, big-endian, and so many bytes
//! (user, password, service, realm); the answer is one such string that begins with `OK` or `NO`.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocols::proxy::PasswordVerdict;
use zeroize::Zeroizing;

/// Where Debian's saslauthd listens; `sasl_saslauthd_path` names another socket.
pub const PATH: &str = "/var/run/saslauthd/mux";

/// What saslauthd may take; PAM modules wait a second or two after a wrong password.
const DEADLINE: Duration = Duration::from_secs(10);

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1024;

/// A daemon to ask.
#[derive(Clone, Debug)]
pub struct Saslauthd {
    socket: PathBuf,
}

impl Saslauthd {
    /// The daemon behind a socket.
    pub fn new(socket: impl Into<PathBuf>) -> Saslauthd {
        Saslauthd { socket: socket.into() }
    }

    /// The socket, for messages.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks; blocks. `user` may be `name@realm`.
    ///
    /// # Errors
    /// The daemon cannot be reached or does not answer in time; the session hears
    /// [`PasswordVerdict::Unavailable`].
    pub fn check(&self, user: &[u8], password: &[u8], service: &str) -> io::Result<PasswordVerdict> {
        let question = question(user, password, service)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "user or password too long"))?;
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.write_all(&question)?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length)).min(ANSWER_BYTES_MAX)];
        stream.read_exact(&mut answer)?;
        match answer.get(..2) {
            Some(b"OK") => Ok(PasswordVerdict::Accepted),
            Some(b"NO") => Ok(PasswordVerdict::Denied),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "saslauthd says neither OK nor NO")),
        }
    }
}

/// The four strings; `None` when one has more than 65,535 bytes.
fn question(user: &[u8], password: &[u8], service: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (user, realm) = match user.iter().rposition(|byte| *byte == b'@') {
        Some(at) => (&user[..at], &user[at + 1..]),
        None => (user, &b""[..]),
    };
    let parts = [user, password, service.as_bytes(), realm];
    // Grown once, so that no copy of the password stays behind.
    let bytes = parts.iter().map(|part| part.len() + 2).sum();
    let mut question = Zeroizing::new(Vec::with_capacity(bytes));
    for part in parts {
        question.extend_from_slice(&u16::try_from(part.len()).ok()?.to_be_bytes());
        question.extend_from_slice(part);
    }
    Some(question)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// Answers one question with `answer` and gives back what was asked.
    fn daemon(answer: &'static [u8]) -> (tempfile::TempDir, Saslauthd, thread::JoinHandle<Vec<u8>>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mux");
        let listener = UnixListener::bind(&path).unwrap();
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = Vec::new();
            for _ in 0..4 {
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                let mut part = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut part).unwrap();
                question.extend_from_slice(&part);
                question.push(b'|');
            }
            stream.write_all(answer).unwrap();
            question
        });
        (dir, Saslauthd::new(path), served)
    }

    #[test]
    fn right_password_is_accepted_and_realm_is_split_off() {
        let (_dir, saslauthd, served) = daemon(b"\0\x02OK");
        assert_eq!(saslauthd.check(b"fred@example.org", b"p@ss", "imap").unwrap(), PasswordVerdict::Accepted);
        assert_eq!(served.join().unwrap(), b"fred|p@ss|imap|example.org|");
    }

    #[test]
    fn wrong_password_is_denied() {
        let (_dir, saslauthd, served) = daemon(b"\0\x0bNO bad pass");
        assert_eq!(saslauthd.check(b"fred", b"x", "imap").unwrap(), PasswordVerdict::Denied);
        assert_eq!(served.join().unwrap(), b"fred|x|imap||");
    }

    #[test]
    fn silence_nonsense_and_absence_are_errors() {
        for answer in [&b""[..], b"\0\x02", b"\0\x02ok", b"\0\0"] {
            let (_dir, saslauthd, _) = daemon(answer);
            assert!(saslauthd.check(b"fred", b"x", "imap").is_err());
        }
        assert!(Saslauthd::new("/nowhere/mux").check(b"fred", b"x", "imap").is_err());
    }

    #[test]
    fn part_of_more_than_65535_bytes_is_refused() {
        assert!(question(b"fred", &[b'x'; 65_536], "imap").is_none());
        assert!(question(b"fred", &[b'x'; 65_535], "imap").is_some());
    }
}
