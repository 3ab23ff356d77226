//! What is said: lines for the user, lines for syslog, and how far the work is.

use std::io::{IsTerminal, Write, stderr};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

/// Lines of one kind that are logged or shown one by one; of the rest only the number is told.
pub(crate) const LINES_MAX: usize = 1000;

/// Where syslogd listens.
const SYSLOG_SOCKET: &str = "/dev/log";

/// LOCAL6, as Cyrus has it, and the severities of RFC 3164.
const FACILITY: u8 = 22 * 8;
const WARNING: u8 = 4;
const NOTICE: u8 = 5;

/// syslog; without a syslogd nothing is logged.
pub(crate) struct Syslog {
    socket: Option<UnixDatagram>,
}

impl Syslog {
    pub(crate) fn open() -> Syslog {
        let socket = UnixDatagram::unbound().ok().filter(|socket| socket.connect(SYSLOG_SOCKET).is_ok());
        Syslog { socket }
    }

    pub(crate) fn notice(&self, text: &str) {
        self.log(NOTICE, text);
    }

    pub(crate) fn warning(&self, text: &str) {
        self.log(WARNING, text);
    }

    fn log(&self, severity: u8, text: &str) {
        let Some(socket) = &self.socket else { return };
        let text: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        let line = format!("<{}>ctl_mboxlist[{}]: {text}", FACILITY + severity, std::process::id());
        // A syslogd that went away is no reason to stop.
        let _ = socket.send(line.as_bytes());
    }
}

/// Lines of one kind, the first of which are logged one by one.
pub(crate) struct Kind<'a> {
    syslog: &'a Syslog,
    what: &'static str,
    count: usize,
}

impl<'a> Kind<'a> {
    pub(crate) fn new(syslog: &'a Syslog, what: &'static str) -> Kind<'a> {
        Kind { syslog, what, count: 0 }
    }

    /// Logs `what: name`.
    pub(crate) fn log(&mut self, name: &[u8]) {
        self.count += 1;
        if self.count <= LINES_MAX {
            self.syslog.warning(&format!("{}: {}", self.what, String::from_utf8_lossy(name)));
        }
    }

    pub(crate) fn finish(self) {
        if self.count > LINES_MAX {
            self.syslog.warning(&format!("{}: {} more", self.what, self.count - LINES_MAX));
        }
    }
}

/// How far the work is, shown on a terminal only.
pub(crate) struct Progress {
    is_shown: bool,
    what: &'static str,
    total: usize,
    done: usize,
    shown_at: Instant,
}

impl Progress {
    const EVERY: Duration = Duration::from_millis(200);

    pub(crate) fn new(what: &'static str, total: usize) -> Progress {
        Progress { is_shown: stderr().is_terminal(), what, total, done: 0, shown_at: Instant::now() }
    }

    pub(crate) fn step(&mut self) {
        self.done += 1;
        if self.is_shown && self.done.is_multiple_of(256) && self.shown_at.elapsed() >= Progress::EVERY {
            self.shown_at = Instant::now();
            eprint!("\r{}: {} of {}", self.what, self.done, self.total);
            let _ = stderr().flush();
        }
    }
}

impl Drop for Progress {
    /// Wipes the line.
    fn drop(&mut self) {
        if self.is_shown {
            eprint!("\r\x1b[K");
        }
    }
}
