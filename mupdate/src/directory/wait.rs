//! Look-ups that wait for a barrier.
//!
//! ```text
//!   wait ──> next ──BarrierWanted──> asked ──BarrierReached──> answered
//! ```
//!
//! One NOOP is in flight at a time. Who comes while it is waits for the one after it, because it
//! may have been sent before.

use std::collections::VecDeque;
use std::time::Duration;

use protocols::proxy::{Answer, Finding, Freshness, Instant, Knowledge, Unavailable};

use super::absent::Absent;
use super::{Directory, Effect, Role, Ticket};

/// What is waited for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wait {
    /// The barrier itself; answered by [`Answer::Barrier`].
    Barrier,
    /// What the list says of a name behind the barrier; answered by [`Answer::Found`].
    Find {
        /// The internal name.
        name: Box<[u8]>,
        /// How sure.
        freshness: Freshness,
    },
}

impl Wait {
    /// The name of a look-up for which an absence of a moment ago will do.
    fn asked_once(&self) -> Option<&[u8]> {
        match self {
            Wait::Find { name, freshness: Freshness::BarrierOnce } => Some(name),
            Wait::Find { .. } | Wait::Barrier => None,
        }
    }
}

/// One who waits.
struct Waiter {
    ticket: Ticket,
    wait: Wait,
    began: Instant,
    deadline: Instant,
}

/// All who wait.
pub(super) struct Waiting {
    patience: Duration,
    /// A NOOP was asked for on behalf of the first `asked` waiters.
    asked: usize,
    /// A NOOP is in flight.
    in_flight: bool,
    waiters: VecDeque<Waiter>,
    absent: Absent,
}

impl Waiting {
    pub(super) fn new(patience: Duration) -> Waiting {
        Waiting { patience, asked: 0, in_flight: false, waiters: VecDeque::new(), absent: Absent::default() }
    }

    /// The earliest deadline; all have the same patience, so it is the first one's.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiters.front().map(|waiter| waiter.deadline)
    }

    /// Whether a NOOP is to be asked for.
    fn ask(&mut self) -> bool {
        if self.in_flight || self.waiters.is_empty() {
            return false;
        }
        self.in_flight = true;
        self.asked = self.waiters.len();
        true
    }

    /// Those whose barrier was reached.
    fn reached(&mut self) -> Vec<Waiter> {
        self.in_flight = false;
        self.waiters.drain(..std::mem::take(&mut self.asked)).collect()
    }

    /// Those whose time is over.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(Ticket, Wait)> {
        let expired = self.waiters.iter().take_while(|waiter| waiter.deadline <= now).count();
        self.asked = self.asked.saturating_sub(expired);
        self.waiters.drain(..expired).map(|waiter| (waiter.ticket, waiter.wait)).collect()
    }

    /// All, because the source is gone.
    pub(super) fn abandon(&mut self) -> Vec<(Ticket, Wait)> {
        self.in_flight = false;
        self.asked = 0;
        self.waiters.drain(..).map(|waiter| (waiter.ticket, waiter.wait)).collect()
    }
}

impl Directory {
    /// Takes a look-up that a snapshot could not answer. The answer comes as an effect: at once
    /// when there is nothing to wait for, else behind a barrier, at the latest at the deadline.
    pub fn wait(&mut self, ticket: Ticket, wait: Wait, now: Instant) {
        if matches!(self.config.role, Role::Master(_)) {
            self.answer_proven(ticket, wait);
        } else if self.knowledge == Knowledge::Live {
            if let Some(name) = wait.asked_once()
                && self.waiting.absent.knows(name, now)
            {
                return self.answer_proven(ticket, wait);
            }
            let deadline = now + self.waiting.patience;
            self.waiting.waiters.push_back(Waiter { ticket, wait, began: now, deadline });
            self.ask_for_barrier();
        } else {
            self.answer_unproven(ticket, wait);
        }
    }

    pub(super) fn barrier_reached(&mut self) {
        for Waiter { ticket, wait, began, .. } in self.waiting.reached() {
            if let Some(name) = wait.asked_once().filter(|name| self.look_up(name).is_none()) {
                self.waiting.absent.learn(name, began);
            }
            self.answer_proven(ticket, wait);
        }
        self.ask_for_barrier();
    }

    fn ask_for_barrier(&mut self) {
        if self.waiting.ask() {
            self.effects.push_back(Effect::BarrierWanted);
        }
    }

    fn answer_proven(&mut self, ticket: Ticket, wait: Wait) {
        let answer = match wait {
            Wait::Barrier => Answer::Barrier(Ok(())),
            Wait::Find { name, .. } => Answer::Found(self.look_up(&name).unwrap_or(Finding::Absent)),
        };
        self.effects.push_back(Effect::Answer { ticket, answer });
    }

    /// What can be said without a barrier: what the list has is believed, unless the barrier was
    /// demanded for that very reason and can come again; what it has not is unknown.
    pub(super) fn answer_unproven(&mut self, ticket: Ticket, wait: Wait) {
        let answer = match wait {
            Wait::Barrier => Answer::Barrier(Err(Unavailable)),
            Wait::Find { freshness: Freshness::Proven, .. } => Answer::Found(Finding::Unknown),
            Wait::Find { name, .. } => Answer::Found(self.look_up(&name).unwrap_or(Finding::Unknown)),
        };
        self.effects.push_back(Effect::Answer { ticket, answer });
    }

    fn look_up(&self, name: &[u8]) -> Option<Finding> {
        self.published.load().list.find(name).map(Finding::from)
    }
}
