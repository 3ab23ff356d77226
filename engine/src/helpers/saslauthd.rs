//! What is said to saslauthd (`sasl_pwcheck_method: saslauthd`).
//!
//! One connection a question: four times a length of two bytes, big-endian, and so many bytes
//! (user, password, service, realm); the answer is one such string that begins with `OK` or `NO`.
//! The shard asks ([`Exchange`]).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use protocols::proxy::{Answer, PasswordVerdict};
use zeroize::Zeroizing;

use crate::shard::{Exchange, QUESTION_BYTES_MAX};

/// Where Debian's saslauthd listens; `sasl_saslauthd_path` names another socket.
pub const PATH: &str = "/var/run/saslauthd/mux";

/// What saslauthd may take, with the wait for its turn; PAM modules wait a second or two after a wrong
/// password.
const DEADLINE: Duration = Duration::from_secs(10);

/// A daemon to ask.
#[derive(Clone, Debug)]
pub struct Saslauthd {
    socket: Arc<std::path::Path>,
}

impl Saslauthd {
    /// The daemon behind a socket.
    pub fn new(socket: impl Into<PathBuf>) -> Saslauthd {
        Saslauthd { socket: socket.into().into() }
    }

    /// The question whether this is the password of `user`, who may be `name@realm`; `None` when it is longer
    /// than any that saslauthd reads.
    pub fn exchange(&self, user: &[u8], password: &[u8], service: &str) -> Option<Exchange> {
        Some(Exchange {
            daemon: "saslauthd",
            socket: Arc::clone(&self.socket),
            question: question(user, password, service)?,
            read,
            failed: Answer::Password(PasswordVerdict::Unavailable),
            deadline: DEADLINE,
        })
    }
}

/// The four strings; `None` when they are too long together.
fn question(user: &[u8], password: &[u8], service: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (user, realm) = match user.iter().rposition(|byte| *byte == b'@') {
        Some(at) => (&user[..at], &user[at + 1..]),
        None => (user, &b""[..]),
    };
    let parts = [user, password, service.as_bytes(), realm];
    // Grown once, so that no copy of the password stays behind.
    let bytes = parts.iter().map(|part| part.len() + 2).sum();
    if bytes > QUESTION_BYTES_MAX {
        return None;
    }
    let mut question = Zeroizing::new(Vec::with_capacity(bytes));
    for part in parts {
        question.extend_from_slice(&u16::try_from(part.len()).ok()?.to_be_bytes());
        question.extend_from_slice(part);
    }
    Some(question)
}

/// What the daemon says, once it is there in full length; two bytes of it decide.
fn read(answer: &[u8]) -> io::Result<Option<Answer>> {
    let Some((length, said)) = answer.split_first_chunk::<2>() else { return Ok(None) };
    if said.len() < usize::from(u16::from_be_bytes(*length)) {
        return Ok(None);
    }
    match said.get(..2) {
        Some(b"OK") => Ok(Some(Answer::Password(PasswordVerdict::Accepted))),
        Some(b"NO") => Ok(Some(Answer::Password(PasswordVerdict::Denied))),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it says neither OK nor NO")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realm_is_split_off_and_every_string_has_its_length() {
        let question = question(b"fred@example.org", b"p@ss", "imap").unwrap();
        assert_eq!(**question, *b"\0\x04fred\0\x04p@ss\0\x04imap\0\x0bexample.org");
        assert_eq!(**super::question(b"fred", b"x", "imap").unwrap(), *b"\0\x04fred\0\x01x\0\x04imap\0\0");
    }

    #[test]
    fn question_past_the_limit_is_refused() {
        let room = QUESTION_BYTES_MAX - question(b"fred", b"", "imap").unwrap().len();
        assert!(question(b"fred", &vec![b'x'; room], "imap").is_some());
        assert!(question(b"fred", &vec![b'x'; room + 1], "imap").is_none());
    }

    #[test]
    fn answer_is_read_when_it_is_whole() {
        for (answer, verdict) in
            [(&b"\0\x02OK"[..], PasswordVerdict::Accepted), (b"\0\x0bNO bad pass", PasswordVerdict::Denied)]
        {
            for n in 0..answer.len() {
                assert!(matches!(read(&answer[..n]), Ok(None)), "{n}");
            }
            assert!(matches!(read(answer), Ok(Some(Answer::Password(said))) if said == verdict));
        }
        for nonsense in [&b"\0\x02ok"[..], b"\0\0", b"\0\x01O"] {
            assert!(read(nonsense).is_err());
        }
    }
}
