//! How long commands take, and for whom they wait.
//!
//! A relayed command waits for its backend: its flight has the moment in which it was sent. Any
//! other is watched: for whom it waits is told from what the session looks like.

use super::backend::Flight;
use super::grammar::Verb;
use super::session::Session;
use super::state::{Phase, Reading};
use crate::proxy::{BackendId, Level, Wait, Waits};
use crate::watch::{self, Watch};

impl Session {
    /// A command begins that is not relayed.
    pub(super) fn watch(&mut self, verb: Verb) {
        self.unwatch();
        self.watched = Some(Box::new(Watch::new(verb.name(), self.now.stamp())));
    }

    /// Before a call: the command has waited until now.
    pub(super) fn end_wait(&mut self) {
        if let Some(watch) = &mut self.watched {
            watch.end_wait(self.now.stamp());
        }
    }

    /// After a call: the command is answered, or waits for somebody.
    pub(super) fn begin_wait(&mut self) {
        let Some(watch) = &self.watched else { return };
        if !self.is_command_under_way() {
            self.unwatch();
            return;
        }
        let wait = self.awaited(watch.asked());
        if let Some(watch) = &mut self.watched {
            watch.begin_wait(wait);
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
        let slow = watch.slow_command(self.config.timeouts.slow_command, self.now.stamp());
        self.log_slow(slow);
        self.outbox.timed(watch.into_timing());
    }

    /// A relayed command was answered by its backend.
    pub(super) fn relayed_took(&mut self, backend: BackendId, flight: &Flight) {
        let us = flight.sent.until(self.now.stamp());
        let waits = Waits { backend_us: us, ..Waits::default() };
        let slow = self.config.timeouts.slow_command;
        self.log_slow(watch::slow_command(flight.verb.name(), us, &waits, slow));
        self.outbox.relayed(flight.verb.name(), backend, flight.sent);
    }

    /// The log of slow commands (`rookery_slow_command`).
    fn log_slow(&mut self, text: Option<String>) {
        if let Some(text) = text {
            let id = self.session_id();
            self.log(Level::Notice, format!("{text} SESSIONID=<{id}>"));
        }
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
