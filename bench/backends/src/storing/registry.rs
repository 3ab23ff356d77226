//! The MUPDATE client: tells the master what this server has, as a Cyrus backend does.
//!
//! ```text
//!   Down ──connect──> ExpectGreeting ──OK──> ExpectAuthReply ──OK──> Ready
//!    ^───────────────── lost, NO, BYE: half a second ───────────────┘
//! ```
//!
//! One command is in flight at a time. Whatever waits when the connection is lost has failed. A new
//! connection begins with an ACTIVATE of everything.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use memchr::memchr;

use crate::net::{ConnectionId, Outbox};

use super::Master;

/// After a lost or refused connection.
const RETRY: Duration = Duration::from_millis(500);
/// Jobs that may wait.
const JOBS_MAX: usize = 10_000;
/// A line of the master.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// One command to the master.
#[derive(Clone, Debug)]
pub(crate) enum Tell {
    Reserve { name: String },
    Activate { name: String, acl: String },
    Delete { name: String },
}

/// Commands that belong together: the first NO ends them.
pub(crate) struct Job<T> {
    pub(crate) tells: VecDeque<Tell>,
    /// What the owner needs to go on.
    pub(crate) then: Option<T>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Down { retry_at: Instant },
    Connecting,
    ExpectGreeting,
    ExpectAuthReply,
    Ready,
}

/// The connection to the master, and what waits for it.
pub(crate) struct Registry<T> {
    master: Master,
    location: String,
    state: State,
    connection: Option<ConnectionId>,
    jobs: VecDeque<Job<T>>,
    in_flight: bool,
    tag: u64,
}

/// What became of jobs, in order.
pub(crate) type Finished<T> = Vec<(T, bool)>;

impl<T> Registry<T> {
    pub(crate) fn new(master: Master, now: Instant) -> Registry<T> {
        let state = State::Down { retry_at: now };
        let (location, connection) = (String::new(), None);
        Registry { master, location, state, connection, jobs: VecDeque::new(), in_flight: false, tag: 0 }
    }

    /// Sets `server!partition`.
    pub(crate) fn located_at(&mut self, server: &str) {
        self.location = format!("{server}!default");
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.state == State::Ready && self.jobs.len() < JOBS_MAX
    }

    pub(crate) fn owns(&self, id: ConnectionId) -> bool {
        self.connection == Some(id)
    }

    pub(crate) fn wake_at(&self) -> Option<Instant> {
        match self.state {
            State::Down { retry_at } => Some(retry_at),
            State::Connecting | State::ExpectGreeting | State::ExpectAuthReply | State::Ready => None,
        }
    }

    pub(crate) fn woken(&mut self, out: &mut Outbox) {
        self.state = State::Connecting;
        out.connect(self.master.address);
    }

    pub(crate) fn connected(&mut self, id: ConnectionId, made: bool, now: Instant) {
        if made {
            (self.state, self.connection) = (State::ExpectGreeting, Some(id));
        } else {
            self.state = State::Down { retry_at: now + RETRY };
        }
    }

    /// The connection is gone: everything that waited has failed.
    pub(crate) fn lost(&mut self, now: Instant) -> Finished<T> {
        self.state = State::Down { retry_at: now + RETRY };
        (self.connection, self.in_flight) = (None, false);
        self.jobs.drain(..).filter_map(|job| Some((job.then?, false))).collect()
    }

    pub(crate) fn push(&mut self, job: Job<T>, out: &mut Outbox) {
        self.jobs.push_back(job);
        self.send_next(out);
    }

    /// Takes lines; `everything` is asked for what to activate on a new connection.
    pub(crate) fn received(
        &mut self,
        input: &mut Vec<u8>,
        everything: impl Fn() -> VecDeque<Tell>,
        out: &mut Outbox,
    ) -> Finished<T> {
        let mut finished = Vec::new();
        while let Some(end) = memchr(b'\n', input) {
            let line = String::from_utf8_lossy(&input[..end]).into_owned();
            input.drain(..=end);
            self.line(line.trim_end(), &everything, out, &mut finished);
        }
        if input.len() > LINE_BYTES_MAX {
            self.hang_up(out);
        }
        finished
    }

    fn line(
        &mut self,
        line: &str,
        everything: &impl Fn() -> VecDeque<Tell>,
        out: &mut Outbox,
        finished: &mut Finished<T>,
    ) {
        let mut words = line.splitn(3, ' ');
        let (tag, word) = (words.next().unwrap_or(""), words.next().unwrap_or("").to_ascii_uppercase());
        match (self.state, tag, word.as_str()) {
            (_, "*", "BYE") => self.hang_up(out),
            (State::ExpectGreeting, "*", "OK") => self.authenticate(out),
            (_, "*", _) => {}
            (State::ExpectAuthReply, _, "OK") => {
                self.state = State::Ready;
                self.jobs.push_front(Job { tells: everything(), then: None });
                self.send_next(out);
            }
            (State::ExpectAuthReply, ..) => self.hang_up(out),
            (State::Ready, _, answer @ ("OK" | "NO" | "BAD")) => {
                self.in_flight = false;
                self.answered(answer == "OK", finished);
                self.send_next(out);
            }
            (State::Ready | State::Down { .. } | State::Connecting | State::ExpectGreeting, ..) => {}
        }
    }

    fn answered(&mut self, accepted: bool, finished: &mut Finished<T>) {
        let Some(job) = self.jobs.front_mut() else { return };
        job.tells.pop_front();
        // What is told after a new connection is told one by one: a refused name does not hide the rest.
        if (!accepted && job.then.is_some()) || job.tells.is_empty() {
            let job = self.jobs.pop_front();
            finished.extend(job.and_then(|job| job.then).map(|then| (then, accepted)));
        }
    }

    fn send_next(&mut self, out: &mut Outbox) {
        while self.jobs.front().is_some_and(|job| job.tells.is_empty()) {
            self.jobs.pop_front();
        }
        let (false, State::Ready, Some(connection)) = (self.in_flight, self.state, self.connection) else {
            return;
        };
        let Some(tell) = self.jobs.front().and_then(|job| job.tells.front()) else { return };
        self.tag += 1;
        let literal = |text: &str| format!("{{{}+}}\r\n{text}", text.len());
        let location = literal(&self.location);
        let command = match tell {
            Tell::Reserve { name } => format!("RESERVE {} {location}", literal(name)),
            Tell::Activate { name, acl } => format!("ACTIVATE {} {location} {}", literal(name), literal(acl)),
            Tell::Delete { name } => format!("DELETE {}", literal(name)),
        };
        out.send(connection, format!("X{} {command}\r\n", self.tag).as_bytes());
        self.in_flight = true;
    }

    fn authenticate(&mut self, out: &mut Outbox) {
        let Some(connection) = self.connection else { return };
        let account = &self.master.account;
        let response = BASE64.encode(format!("\0{}\0{}", account.name, account.password));
        let line = format!("A01 AUTHENTICATE \"PLAIN\" {{{}+}}\r\n{response}\r\n", response.len());
        out.send(connection, line.as_bytes());
        self.state = State::ExpectAuthReply;
    }

    fn hang_up(&mut self, out: &mut Outbox) {
        if let Some(connection) = self.connection {
            out.close(connection);
        }
    }
}

/// The address is told in errors, the password never.
impl<T> std::fmt::Debug for Registry<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let address: SocketAddr = self.master.address;
        f.debug_struct("Registry").field("master", &address).finish_non_exhaustive()
    }
}
