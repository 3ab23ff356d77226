//! The threads behind the socket: one that accepts, one for each connection.

use std::fs;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use protocols::proxy::Level;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::answer::{Answering, answer};
use super::protocol::{Ask, End};
use super::watched::{Shared, Watched};
use super::{CONNECTIONS_MAX, IDLE_MAX, REQUEST_BYTES_MAX, WRITE_TIMEOUT};

/// How long accepting pauses when the process has no descriptor left.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// A running control socket; dropping it closes it.
pub struct Control {
    path: PathBuf,
    /// The socket file that is ours: a successor may have put its own in its place.
    inode: u64,
    /// Closing it ends the threads.
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// Listens on a path in the place of what a dead process left there.
///
/// # Errors
/// The socket or a thread cannot be made.
pub fn start(path: &Path, watched: Arc<Watched>) -> io::Result<Control> {
    let listener = listen(path)?;
    let inode = fs::symlink_metadata(path)?.ino();
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let shared =
        Arc::new(Shared { watched, started: Instant::now(), connections: AtomicUsize::new(0), stop: reader });
    let thread =
        thread::Builder::new().name("control".into()).spawn(move || accept_all(&listener, &shared))?;
    Ok(Control { path: path.into(), inode, stop: Some(writer), thread: Some(thread) })
}

/// Listens on a path if there is one. Without its socket a daemon still serves its users.
pub fn start_if(path: Option<&Path>, watched: Arc<Watched>) -> Option<Control> {
    let (path, log) = (path?, watched.log.clone());
    let started = start(path, watched);
    let complain = |error: &io::Error| {
        log.write(Level::Warn, &format!("no control socket {}: {error}", path.display()));
    };
    started.inspect_err(complain).ok()
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has stopped too.
            let _ = thread.join();
        }
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            // Somebody may have removed it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    // Until here somebody else could have connected: who it is, is asked of every connection.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Accepts until the socket is closed.
fn accept_all(listener: &UnixListener, shared: &Arc<Shared>) {
    while wait(listener.as_fd(), shared.stop.as_fd(), None) == Wake::Readable {
        match listener.accept() {
            Ok((stream, _)) => admit(stream, shared),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Gives a connection a thread, unless it is a stranger's or one too many.
fn admit(stream: UnixStream, shared: &Arc<Shared>) {
    let ready = stream.set_nonblocking(false).and_then(|()| stream.set_write_timeout(Some(WRITE_TIMEOUT)));
    if ready.is_err() {
        return;
    }
    let own = rustix::process::geteuid();
    let Ok(peer) = rustix::net::sockopt::socket_peercred(&stream) else { return };
    if peer.uid != own && !peer.uid.is_root() {
        return refuse(&stream, "not root and not the user of this daemon");
    }
    if shared.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
        shared.connections.fetch_sub(1, Ordering::Relaxed);
        return refuse(&stream, "too many connections");
    }
    let seat = Seat(Arc::clone(shared));
    let spawned = thread::Builder::new().name("control-answer".into()).spawn(move || {
        let seat = seat;
        serve(&stream, &seat.0);
    });
    if let Err(error) = spawned {
        shared.watched.log.write(Level::Warn, &format!("control socket: no thread: {error}"));
    }
}

/// A place among [`CONNECTIONS_MAX`].
struct Seat(Arc<Shared>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whoever is refused may be gone already.
fn refuse(stream: &UnixStream, why: &str) {
    let _ = end(&mut &*stream, &End::Refused { why: why.into() });
}

/// Answers one connection's questions until it ends.
fn serve(stream: &UnixStream, shared: &Shared) {
    let mut reader = BufReader::new(stream);
    let mut writer = BufWriter::with_capacity(64 * 1024, stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.buffer().is_empty()
            && wait(stream.as_fd(), shared.stop.as_fd(), Some(IDLE_MAX)) != Wake::Readable
        {
            return;
        }
        let limit = REQUEST_BYTES_MAX as u64;
        match (&mut reader).take(limit).read_until(b'\n', &mut line) {
            Ok(n) if n > 0 && line.ends_with(b"\n") => {}
            Ok(REQUEST_BYTES_MAX) => return refuse(stream, "request too long"),
            Ok(_) | Err(_) => return,
        }
        if respond(&line, shared, &mut writer).is_err() {
            return;
        }
    }
}

/// Answers one question.
fn respond(line: &[u8], shared: &Shared, writer: &mut impl Write) -> io::Result<()> {
    let last = match serde_json::from_slice::<Ask>(line) {
        Ok(ask) => {
            let mut answering = Answering::new(writer);
            match answer(&ask, shared, &mut answering) {
                Ok(()) => End::Done,
                Err(refused) => End::Refused { why: refused.into_why()? },
            }
        }
        Err(error) => End::Refused { why: format!("no such question: {error}") },
    };
    end(writer, &last)
}

fn end(writer: &mut impl Write, end: &End) -> io::Result<()> {
    let mut line = serde_json::to_vec(end)?;
    line.push(b'\n');
    writer.write_all(&line)?;
    writer.flush()
}

/// Why a wait ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    Readable,
    Stopped,
    TimedOut,
}

/// Waits for input, the end of the daemon, or a timeout.
pub(super) fn wait(fd: BorrowedFd<'_>, stop: BorrowedFd<'_>, timeout: Option<Duration>) -> Wake {
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    loop {
        let mut fds =
            [PollFd::from_borrowed_fd(fd, PollFlags::IN), PollFd::from_borrowed_fd(stop, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Wake::Stopped,
            Ok(0) => return Wake::TimedOut,
            Ok(_) if !fds[1].revents().is_empty() => return Wake::Stopped,
            Ok(_) => return Wake::Readable,
        }
    }
}
