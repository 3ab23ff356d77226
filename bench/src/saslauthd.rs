//! A saslauthd that accepts everybody: the same work as nginx' `auth_http` does, at the other end of a UNIX
//! socket.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

/// Strings of a question: user, password, service, realm.
const STRINGS: usize = 4;

/// Who sends a question more slowly gets no answer: everybody else waits for him.
const QUESTION_MAX: Duration = Duration::from_secs(1);

/// The answer, with its length in front.
const ACCEPTED: &[u8] = b"\0\x02OK";

/// Listens and answers one question after the other, for ever.
///
/// # Errors
/// The socket cannot be made.
pub fn serve(path: &Path) -> io::Result<()> {
    // Left by an earlier run.
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    for stream in listener.incoming() {
        // Who breaks off wants no answer.
        let _ = stream.and_then(|stream| answer(&stream));
    }
    Ok(())
}

fn answer(mut stream: &UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(QUESTION_MAX))?;
    let mut question = Vec::new();
    let mut piece = [0; 1024];
    while !is_whole(&question) {
        match stream.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => question.extend_from_slice(&piece[..n]),
        }
    }
    stream.write_all(ACCEPTED)
}

/// Whether all strings are there. Their lengths bound the question.
fn is_whole(question: &[u8]) -> bool {
    let mut rest = question;
    for _ in 0..STRINGS {
        let Some((length, behind)) = rest.split_first_chunk::<2>() else { return false };
        let Some(behind) = behind.get(usize::from(u16::from_be_bytes(*length))..) else { return false };
        rest = behind;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_is_whole_with_its_fourth_string() {
        let question = b"\0\x02u1\0\x01p\0\x03pop\0\0";
        for n in 0..question.len() {
            assert!(!is_whole(&question[..n]), "{n}");
        }
        assert!(is_whole(question));
    }
}
