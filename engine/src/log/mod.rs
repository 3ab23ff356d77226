//! The log of a process: a bounded queue and one thread that writes to syslog or stderr.
//!
//! Who logs never waits: when the queue is full the line is dropped and counted, and the count is
//! logged when there is room again.

mod format;

use std::io::{self, Write};
use std::iter;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime};

pub use format::Facility;
pub use protocols::proxy::Level;

/// Lines that may wait for the thread.
pub const LINES_MAX: usize = 8192;

/// After writing what there was the thread rests: lines that come meanwhile wake nobody. With a line for each
/// session waking it for every one cost a frontend 4 % of its time.
const REST: Duration = Duration::from_millis(5);

/// Bytes of one line; syslogd takes 8 KiB, the head included.
pub const LINE_BYTES_MAX: usize = 8000;

/// Lines for stderr go out together, up to about so many bytes.
const PENDING_BYTES_MAX: usize = 64 * 1024;

/// Where syslogd listens.
const SYSLOG_SOCKET: &str = "/dev/log";

/// How and where a process logs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `syslog_prefix` and the program: what stands before `[pid]`.
    pub ident: Box<str>,
    /// `syslog_facility`.
    pub facility: Facility,
    /// The least level that is written; `debug: yes` makes it [`Level::Debug`].
    pub least: Level,
    /// Where it goes.
    pub target: Target,
}

/// Where lines go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// `/dev/log`.
    Syslog,
    /// Standard error (`-D`).
    Stderr,
}

/// Writes to the log; cheap to clone.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

struct Shared {
    lines: SyncSender<Message>,
    least: AtomicU8,
    dropped: AtomicU64,
}

enum Message {
    Line(Level, Box<str>),
    /// Of a session, under the name of its service.
    Session(Level, Arc<str>, Box<str>),
    /// Tell this sender when all that was queued before is written.
    Flush(SyncSender<()>),
}

impl Log {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no threads left.
    pub fn start(settings: Settings) -> io::Result<Log> {
        let (lines, queue) = sync_channel(LINES_MAX);
        let shared = Arc::new(Shared {
            lines,
            least: AtomicU8::new(settings.least as u8),
            dropped: AtomicU64::new(0),
        });
        let dropped = Arc::downgrade(&shared);
        let writer = Writer { socket: None, settings, pid: std::process::id(), pending: Vec::new() };
        let dropped = move || dropped.upgrade().map_or(0, |shared| shared.dropped.swap(0, Ordering::Relaxed));
        thread::Builder::new().name("log".into()).spawn(move || work(writer, &queue, &dropped))?;
        Ok(Log(shared))
    }

    /// Whether lines of this level are written; ask before formatting a costly one.
    pub fn is_on(&self, level: Level) -> bool {
        level as u8 >= self.0.least.load(Ordering::Relaxed)
    }

    /// Queues a line. The text is lower case, without a period and without secrets.
    pub fn write(&self, level: Level, text: &str) {
        if !self.is_on(level) {
            return;
        }
        if let Err(TrySendError::Full(_)) = self.0.lines.try_send(Message::Line(level, text.into())) {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Queues a line of a session: `prefix/service[pid]: text sessionid=<id>`, as if a process of Cyrus had
    /// written it.
    pub fn write_for(&self, service: &Arc<str>, session_id: &str, level: Level, text: &str) {
        if !self.is_on(level) {
            return;
        }
        let has_id = text.contains("SESSIONID=<") || text.contains("sessionid=");
        let text = if has_id { text.into() } else { format!("{text} sessionid=<{session_id}>") };
        let message = Message::Session(level, Arc::clone(service), text.into());
        if let Err(TrySendError::Full(_)) = self.0.lines.try_send(message) {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Changes the least level (configuration read again).
    pub fn set_least(&self, least: Level) {
        self.0.least.store(least as u8, Ordering::Relaxed);
    }

    /// Waits until all that was queued is written; for the end of the process.
    pub fn flush(&self) {
        let (done, is_done) = sync_channel(1);
        if self.0.lines.send(Message::Flush(done)).is_ok() {
            // The thread drops the sender at worst.
            let _ = is_done.recv();
        }
    }
}

fn work(mut writer: Writer, queue: &Receiver<Message>, dropped: &dyn Fn() -> u64) {
    while let Ok(first) = queue.recv() {
        for message in iter::once(first).chain(queue.try_iter().take(LINES_MAX)) {
            match message {
                Message::Line(level, text) => writer.write(level, None, &text),
                Message::Session(level, service, text) => writer.write(level, Some(&service), &text),
                Message::Flush(done) => {
                    writer.end_batch();
                    // Who waits may have gone.
                    let _ = done.send(());
                }
            }
        }
        match dropped() {
            0 => {}
            lines => writer.write(
                Level::Warn,
                None,
                &format!("{lines} log lines dropped: more than can be written"),
            ),
        }
        writer.end_batch();
        thread::sleep(REST);
    }
}

struct Writer {
    socket: Option<UnixDatagram>,
    settings: Settings,
    /// Of this process, which forks no more: a system call for each line would tell nothing else.
    pid: u32,
    /// Lines for stderr that are not written yet.
    pending: Vec<u8>,
}

impl Writer {
    fn write(&mut self, level: Level, service: Option<&str>, text: &str) {
        let now = SystemTime::now();
        let line = format::line(&self.settings, level, service, text, now, self.pid);
        match self.settings.target {
            Target::Stderr => {
                self.pending.extend_from_slice(line.as_bytes());
                if self.pending.len() >= PENDING_BYTES_MAX {
                    self.end_batch();
                }
            }
            Target::Syslog => self.send(line.as_bytes()),
        }
    }

    /// Writes what is pending.
    fn end_batch(&mut self) {
        // Nobody could be told that stderr is closed.
        let _ = io::stderr().write_all(&self.pending);
        self.pending.clear();
    }

    /// Sends a datagram; syslogd may have been restarted since the last one.
    fn send(&mut self, line: &[u8]) {
        for _ in 0..2 {
            if self.socket.is_none() {
                self.socket = connect().ok();
            }
            match self.socket.as_ref().map(|socket| socket.send(line)) {
                Some(Ok(_)) | None => return,
                Some(Err(_)) => self.socket = None,
            }
        }
    }
}

fn connect() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(SYSLOG_SOCKET)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_below_the_level_are_not_queued() {
        let (lines, queue) = sync_channel(8);
        let log = Log(Arc::new(Shared {
            lines,
            least: AtomicU8::new(Level::Info as u8),
            dropped: AtomicU64::new(0),
        }));
        log.write(Level::Debug, "one");
        log.write(Level::Info, "two");
        log.set_least(Level::Debug);
        log.write(Level::Debug, "three");
        drop(log);
        let texts: Vec<Box<str>> = queue
            .iter()
            .filter_map(|message| match message {
                Message::Line(_, text) => Some(text),
                Message::Session(..) | Message::Flush(_) => None,
            })
            .collect();
        assert_eq!(texts, ["two".into(), "three".into()]);
    }

    #[test]
    fn full_queue_drops_and_counts() {
        let (lines, _queue) = sync_channel(2);
        let log = Log(Arc::new(Shared { lines, least: AtomicU8::new(0), dropped: AtomicU64::new(0) }));
        for _ in 0..5 {
            log.write(Level::Warn, "x");
        }
        assert_eq!(log.0.dropped.load(Ordering::Relaxed), 3);
    }
}
