//! After the login: lines from the terminal, a file or a socket go to the server, and what it says
//! comes back.

use std::fs;
use std::io::{self, Read, Write, stdin};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::options::Cli;
use crate::wire::Wire;
use crate::{say, show};

/// Bytes that are read at once.
const READ_BYTES: usize = 2048;

/// How long a client of the socket has to come.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(600);

pub(crate) fn run(cli: &Cli, mut wire: Wire) -> anyhow::Result<()> {
    match (&cli.file, &cli.socket) {
        (Some(file), _) => {
            let text = fs::read(file).with_context(|| format!("Unable to open file: {}", file.display()))?;
            show(&text)?;
            wire.send(&text)?;
            wire.logout()?;
        }
        (None, Some(socket)) => {
            let served = serve(socket, &mut wire);
            // It may never have been made.
            let _ = fs::remove_file(socket);
            served?;
            wire.logout()?;
            return Ok(say("Connection closed.\n")?);
        }
        (None, None) => by_hand(&mut wire)?,
    }
    while wire.relay(show)? {}
    Ok(say("Connection closed.\n")?)
}

/// Lines from the standard input, until it or the server ends. A line end becomes CRLF.
fn by_hand(wire: &mut Wire) -> anyhow::Result<()> {
    let (mut input, mut buffer, mut last) = (stdin(), [0; READ_BYTES], 0);
    loop {
        match ready(&input, wire, None)? {
            Ready::Server => {
                if !wire.relay(show)? {
                    return Ok(());
                }
            }
            Ready::Other => match input.read(&mut buffer)? {
                0 => return wire.logout(),
                n => wire.send(&with_line_ends(&buffer[..n], &mut last))?,
            },
            Ready::Nobody => {}
        }
    }
}

fn with_line_ends(bytes: &[u8], last: &mut u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 16);
    for &byte in bytes {
        if byte == b'\n' && *last != b'\r' {
            out.push(b'\r');
        }
        out.push(byte);
        *last = byte;
    }
    out
}

/// One client of a UNIX socket, until it or the server ends.
fn serve(path: &Path, wire: &mut Wire) -> anyhow::Result<()> {
    // A socket that was left over would be in the way.
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path).context("could not bind output socket")?;
    match ready(&listener, wire, Some(ACCEPT_TIMEOUT))? {
        Ready::Other => {}
        Ready::Server => bail!("the server closed before anybody came"),
        Ready::Nobody => return Ok(()),
    }
    let (mut socket, _) = listener.accept()?;
    let mut buffer = [0; READ_BYTES];
    loop {
        match ready(&socket, wire, None)? {
            Ready::Server => {
                if !relay_to(&mut socket, wire)? {
                    return Ok(());
                }
            }
            Ready::Other => match socket.read(&mut buffer)? {
                0 => return Ok(()),
                n => wire.send(&buffer[..n])?,
            },
            Ready::Nobody => {}
        }
    }
}

fn relay_to(socket: &mut UnixStream, wire: &mut Wire) -> anyhow::Result<bool> {
    wire.relay(|bytes| socket.write_all(bytes))
}

/// Who has something to say.
enum Ready {
    Server,
    Other,
    Nobody,
}

fn ready(other: &impl AsFd, wire: &Wire, timeout: Option<Duration>) -> io::Result<Ready> {
    if wire.stream.is_readable_at_once() {
        return Ok(Ready::Server);
    }
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    let mut polled = [PollFd::new(other, PollFlags::IN), PollFd::new(&wire.stream, PollFlags::IN)];
    match poll(&mut polled, timeout.as_ref()) {
        Ok(0) => Ok(Ready::Nobody),
        Ok(_) if !polled[0].revents().is_empty() => Ok(Ready::Other),
        Ok(_) => Ok(Ready::Server),
        Err(rustix::io::Errno::INTR) => Ok(Ready::Nobody),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_become_crlf_at_every_split() {
        let text = b"a\nb\r\nc\r\rd\n\n";
        for cut in 0..=text.len() {
            let mut last = 0;
            let mut out = with_line_ends(&text[..cut], &mut last);
            out.extend(with_line_ends(&text[cut..], &mut last));
            assert_eq!(out, b"a\r\nb\r\nc\r\rd\r\n\r\n", "{cut}");
        }
    }
}
