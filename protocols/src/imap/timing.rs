//! How long commands take, and for whom they wait.
//!
//! A relayed command waits for its backend: its flight has the moment in which it was sent. Any
//! other is watched from its line to the moment in which nothing of it is under way: between two
//! calls of the session it waits for one party, which is told from what the session looks like at
//! the end of the first.

use std::time::Duration;

use super::backend::Flight;
use super::grammar::Verb;
use super::session::{Phase, Reading, Session};
use crate::proxy::{BackendId, Level, Question, Stamp, Timing, Wait, Waits};

/// A command under way that is more than a relayed line.
#[derive(Debug)]
pub(super) struct Watch {
    verb: Verb,
    began: Stamp,
    /// The moment up to which the waits are told.
    mark: Stamp,
    /// For whom it waits since.
    wait: Wait,
    /// For whom the last question is.
    asked: Wait,
    waits: Waits,
    backend: Option<BackendId>,
}

impl Watch {
    pub(super) fn note_question(&mut self, question: &Question) {
        self.asked = Wait::of(question);
    }

    /// A connection serves the command.
    pub(super) fn note_backend(&mut self, backend: BackendId) {
        self.backend = Some(backend);
    }
}

impl Session {
    /// Whether the command under way is this one.
    pub(super) fn is_under_way(&self, verb: Verb) -> bool {
        self.task.is_some() && self.watched.as_deref().is_some_and(|watch| watch.verb == verb)
    }

    /// A command begins that is not relayed.
    pub(super) fn watch(&mut self, verb: Verb) {
        self.unwatch();
        let now = self.now.stamp();
        self.watched = Some(Box::new(Watch {
            verb,
            began: now,
            mark: now,
            wait: Wait::Backend,
            asked: Wait::Backend,
            waits: Waits::default(),
            backend: None,
        }));
    }

    /// Before a call: the command has waited until now.
    pub(super) fn end_wait(&mut self) {
        if let Some(watch) = &mut self.watched {
            let now = self.now.stamp();
            watch.waits.add(watch.wait, watch.mark.until(now));
            watch.mark = now;
        }
    }

    /// After a call: the command is answered, or waits for somebody.
    pub(super) fn begin_wait(&mut self) {
        let Some(watch) = &self.watched else { return };
        if !self.is_command_under_way() {
            self.unwatch();
            return;
        }
        let wait = self.awaited(watch.asked);
        if let Some(watch) = &mut self.watched {
            watch.wait = wait;
        }
    }

    fn is_command_under_way(&self) -> bool {
        self.task.is_some() || matches!(self.reading, Reading::Sasl | Reading::Wait)
    }

    fn awaited(&self, asked: Wait) -> Wait {
        let reads_client = self.task.as_ref().is_some_and(|running| running.task.reads_client());
        if self.reading == Reading::Sasl {
            Wait::Client
        } else if !self.asked.is_empty() {
            asked
        } else if reads_client {
            Wait::Client
        } else if self.backends.is_empty() && matches!(self.phase, Phase::Guest(_)) {
            // A refusal that is held back, or a handshake.
            Wait::Authentication
        } else {
            Wait::Backend
        }
    }

    /// Tells of the command that was watched.
    fn unwatch(&mut self) {
        let Some(watch) = self.watched.take() else { return };
        let Watch { verb, began, waits, backend, .. } = *watch;
        let us = began.until(self.now.stamp());
        self.note_if_slow(verb, us, Some(&waits));
        self.outbox.timed(Timing { verb: verb.name(), backend, began, waits: Some(Box::new(waits)) });
    }

    /// A relayed command was answered by its backend.
    pub(super) fn relayed_took(&mut self, backend: BackendId, flight: &Flight) {
        let us = flight.sent.until(self.now.stamp());
        self.note_if_slow(flight.verb, us, None);
        self.outbox.relayed(flight.verb.name(), backend, flight.sent);
    }

    /// The log of slow commands (`rookery_slow_command`).
    fn note_if_slow(&mut self, verb: Verb, us: u32, waits: Option<&Waits>) {
        let took = Duration::from_micros(us.into());
        if self.config.timeouts.slow_command.is_none_or(|slow| took < slow) {
            return;
        }
        let waits = waits.copied().unwrap_or(Waits { backend_us: us, ..Waits::default() });
        let id = self.session_id();
        let text = format!("{} SESSIONID=<{id}>", waits.slow_command(verb.name(), us));
        self.log(Level::Notice, text);
    }

    /// DONE was sent: from here on IDLE waits for the backend, before it did for the client.
    pub(super) fn idle_ends(&mut self) {
        let now = self.now.stamp();
        let Some(at) = self.selected.as_deref().and_then(|selected| self.backend_at(selected.backend)) else {
            return;
        };
        if let Some(flight) = self.backends[at].flights.back_mut().filter(|flight| flight.verb == Verb::Idle)
        {
            flight.sent = now;
        }
    }
}
