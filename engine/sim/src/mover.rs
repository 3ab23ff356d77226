//! Moves users from backend to backend, as Cyrus' XFER does it.
//!
//! ```text
//!  Deactivating ──all──> Closed ──time──> the mailboxes change servers ──> Activating ──all──> (at home)
//!  RESERVED at the master; nobody opens them while closed                  ACTIVE at the other server
//! ```
//! A step that the master did not answer is asked for again: it stays moved half until that is done.

use std::time::Duration;

use protocols::proxy::Instant;

use crate::dice::Dice;
use crate::link::{Link, News, literal};
use crate::machines::COMMAND_TIMEOUT;
use crate::mailbox::Door;
use crate::net::{EndId, Net};

/// The longest time that the last copying takes, and where the servers are busy: longer than they may be silent.
const CLOSED_MAX: Duration = Duration::from_millis(1500);
const CLOSED_LONG_MAX: Duration = COMMAND_TIMEOUT.saturating_mul(3);

/// A user who can be moved.
pub struct Resident {
    /// His name.
    pub user: String,
    /// His mailboxes, each with its ACL.
    pub mailboxes: Vec<(String, String)>,
    /// The backend where he is.
    pub at: usize,
}

impl Resident {
    fn names(&self) -> Vec<String> {
        self.mailboxes.iter().map(|(name, _)| name.clone()).collect()
    }
}

/// Moves them, one at a time.
pub struct Mover {
    link: Link,
    /// Who can be moved.
    pub residents: Vec<Resident>,
    job: Option<Job>,
    /// Moves that are done.
    pub moves: usize,
    /// What must not happen and did.
    pub violations: Vec<String>,
}

struct Job {
    resident: usize,
    to: usize,
    step: Step,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// So many are reserved.
    Deactivating(usize),
    /// Closed until then.
    Closed(Instant),
    /// At the other server, and so many are active there.
    Activating(usize),
}

/// What the world does for it.
pub enum Wish {
    /// Close these mailboxes of a backend.
    Close {
        /// Which backend.
        at: usize,
        /// Which.
        mailboxes: Vec<String>,
        /// How.
        door: Door,
    },
    /// Give them to another backend. It is done when [`Mover::carried`] is told.
    Carry {
        /// Whose.
        user: String,
        /// Which.
        mailboxes: Vec<String>,
        /// The backend that has them.
        from: usize,
        /// The one that gets them.
        to: usize,
    },
}

impl Mover {
    /// Of these users.
    pub fn new(residents: Vec<Resident>) -> Mover {
        Mover { link: Link::default(), residents, job: None, moves: 0, violations: Vec::new() }
    }

    /// Whether it has no connection to the master and wants one.
    pub fn wants_connection(&self) -> bool {
        self.link.wants_connection()
    }

    /// A connection to the master stands.
    pub fn connected(&mut self, end: EndId) {
        self.link.connected(end);
    }

    /// Whether nobody is on his way.
    pub fn is_idle(&self) -> bool {
        self.job.is_none()
    }

    /// Moves somebody, if nobody is on his way.
    pub fn begin(&mut self, backends: usize, dice: &mut Dice) {
        if self.job.is_none() {
            let resident = dice.below(self.residents.len());
            let to = (self.residents[resident].at + 1 + dice.below(backends - 1)) % backends;
            self.job = Some(Job { resident, to, step: Step::Deactivating(0) });
        }
    }

    /// The mailboxes are at the other server.
    pub fn carried(&mut self) {
        if let Some(job) = &mut self.job {
            self.residents[job.resident].at = job.to;
            job.step = Step::Activating(0);
        }
    }

    /// Reads, goes on. `servers` are the names of the backends.
    pub fn turn(&mut self, net: &mut Net, now: Instant, dice: &mut Dice, servers: &[String]) -> Option<Wish> {
        let mut wish = None;
        for news in self.link.read(net, now, dice) {
            match news {
                News::Answered(line) => wish = self.answered(&line, now, dice),
                News::Lost => {}
                News::Refused(line) => self.violations.push(format!("mover: {line}")),
            }
        }
        if self.link.is_ready() && wish.is_none() {
            wish = self.go_on(now, servers);
        }
        let _ = self.link.send(net, now, dice);
        wish
    }

    fn answered(&mut self, line: &str, now: Instant, dice: &mut Dice) -> Option<Wish> {
        let job = self.job.as_mut()?;
        let resident = &self.residents[job.resident];
        let count = resident.mailboxes.len();
        // What is asked for again may have been done.
        let is_done = line.contains(" OK ") || line.contains("not currently active");
        if !is_done {
            self.violations.push(format!("mover at {:?}: {line}", job.step));
        }
        match job.step {
            Step::Deactivating(n) if n + 1 == count => {
                let longest = if dice.per_mille(250) { CLOSED_LONG_MAX } else { CLOSED_MAX };
                job.step = Step::Closed(now + dice.time(longest));
                let door = if dice.per_mille(500) { Door::Locked } else { Door::Refers };
                return Some(Wish::Close { at: resident.at, mailboxes: resident.names(), door });
            }
            Step::Activating(n) if n + 1 == count => {
                self.job = None;
                self.moves += 1;
            }
            Step::Deactivating(n) => job.step = Step::Deactivating(n + 1),
            Step::Activating(n) => job.step = Step::Activating(n + 1),
            Step::Closed(_) => {}
        }
        None
    }

    fn go_on(&mut self, now: Instant, servers: &[String]) -> Option<Wish> {
        let job = self.job.as_ref()?;
        let resident = &self.residents[job.resident];
        match job.step {
            Step::Deactivating(n) => {
                let (name, at) = (&resident.mailboxes[n].0, &servers[resident.at]);
                self.link.ask(&format!("DEACTIVATE {} {}", literal(name), literal(&format!("{at}!default"))));
                None
            }
            Step::Activating(n) => {
                let ((name, acl), at) = (&resident.mailboxes[n], &servers[resident.at]);
                let place = literal(&format!("{at}!default"));
                self.link.ask(&format!("ACTIVATE {} {place} {}", literal(name), literal(acl)));
                None
            }
            Step::Closed(until) => (until <= now).then(|| Wish::Carry {
                user: resident.user.clone(),
                mailboxes: resident.names(),
                from: resident.at,
                to: job.to,
            }),
        }
    }
}
