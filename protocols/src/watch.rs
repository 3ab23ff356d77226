//! How long a command takes, and for whom it waits.
//!
//! A command is watched from its line to the moment in which nothing of it is under way. Between two calls of
//! its session it waits for one party, as the session says at the end of the first.

use std::time::Duration;

use crate::proxy::{BackendId, Question, Stamp, Timing, VerbName, Wait, Waits};

/// A command under way.
#[derive(Debug)]
pub(crate) struct Watch {
    verb: VerbName,
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
    /// A command begins.
    pub(crate) fn new(verb: VerbName, now: Stamp) -> Watch {
        let (wait, asked) = (Wait::Backend, Wait::Backend);
        Watch { verb, began: now, mark: now, wait, asked, waits: Waits::default(), backend: None }
    }

    /// For whom the last question is.
    pub(crate) fn asked(&self) -> Wait {
        self.asked
    }

    /// A question was asked for it.
    pub(crate) fn note_question(&mut self, question: &Question) {
        self.asked = Wait::of(question);
    }

    /// A connection serves it.
    pub(crate) fn note_backend(&mut self, backend: BackendId) {
        self.backend = Some(backend);
    }

    /// Before a call: it has waited until now.
    pub(crate) fn end_wait(&mut self, now: Stamp) {
        self.waits.add(self.wait, self.mark.until(now));
        self.mark = now;
    }

    /// After a call: it waits for somebody.
    pub(crate) fn begin_wait(&mut self, wait: Wait) {
        self.wait = wait;
    }

    /// The line of the log about it, without whose it was, where it took so long.
    pub(crate) fn slow_command(&self, slow: Option<Duration>, now: Stamp) -> Option<String> {
        slow_command(self.verb, self.began.until(now), &self.waits, slow)
    }

    /// It is over.
    pub(crate) fn into_timing(self) -> Timing {
        let Watch { verb, began, waits, backend, .. } = self;
        Timing { verb, backend, began, waits: Some(Box::new(waits)) }
    }
}

/// The line of the log about a command that took `slow` or longer (`rookery_slow_command`).
pub(crate) fn slow_command(verb: &str, us: u32, waits: &Waits, slow: Option<Duration>) -> Option<String> {
    let took = Duration::from_micros(us.into());
    slow.filter(|slow| took >= *slow).map(|_| waits.slow_command(verb, us))
}
