//! How long commands take, and for whom they wait.
//!
//! Changes are pipelined: each waits for the directory from its line to its answer. Of the other commands one
//! is under way at a time; between two calls of the machine it waits for one party, which is told from what
//! the machine looks like at the end of the first.

use std::time::Duration;

use protocols::proxy::{Instant, Level, Output, Stamp, Timing, VerbName, Wait, Waits};

use crate::grammar::Verb;

use super::{Connection, Phase};

/// A command under way that changes nothing.
pub(super) struct Watch {
    verb: VerbName,
    began: Stamp,
    /// The moment up to which the waits are told.
    mark: Stamp,
    /// For whom it waits since.
    wait: Wait,
    waits: Waits,
}

/// A verb as it is told.
pub(super) fn name(verb: Verb) -> VerbName {
    match verb {
        Verb::Activate => &"MUPDATE ACTIVATE",
        Verb::Authenticate => &"MUPDATE AUTHENTICATE",
        Verb::Compress => &"MUPDATE COMPRESS",
        Verb::Deactivate => &"MUPDATE DEACTIVATE",
        Verb::Delete => &"MUPDATE DELETE",
        Verb::Find => &"MUPDATE FIND",
        Verb::List => &"MUPDATE LIST",
        Verb::Logout => &"MUPDATE LOGOUT",
        Verb::Noop => &"MUPDATE NOOP",
        Verb::Reserve => &"MUPDATE RESERVE",
        Verb::Resume => &"MUPDATE RESUME",
        Verb::Starttls => &"MUPDATE STARTTLS",
        Verb::Update => &"MUPDATE UPDATE",
        Verb::Unknown => &"MUPDATE",
    }
}

impl Connection {
    /// A command begins that changes nothing.
    pub(super) fn watch(&mut self, verb: Verb, now: Instant) {
        self.end_watch(now);
        let (began, mark) = (now.stamp(), now.stamp());
        self.watched = Some(Box::new(Watch {
            verb: name(verb),
            began,
            mark,
            wait: Wait::Directory,
            waits: Waits::default(),
        }));
    }

    /// Before a call: the command has waited until now.
    pub(super) fn end_wait(&mut self, now: Instant) {
        if let Some(watch) = &mut self.watched {
            watch.waits.add(watch.wait, watch.mark.until(now.stamp()));
            watch.mark = now.stamp();
        }
    }

    /// After a call: the command is answered, or waits for somebody.
    pub(super) fn begin_wait(&mut self, now: Instant) {
        let wait = match &self.phase {
            Phase::LoggingIn(login) if login.reads() => Wait::Client,
            Phase::LoggingIn(_) => Wait::Authentication,
            Phase::LoggedIn if self.query.is_some() && self.taken_by.is_some() => Wait::Client,
            Phase::LoggedIn if self.query.is_some() => Wait::Directory,
            Phase::ExpectLogin | Phase::LoggedIn | Phase::Switching | Phase::Over => {
                return self.end_watch(now);
            }
        };
        if let Some(watch) = &mut self.watched {
            watch.wait = wait;
        }
    }

    fn end_watch(&mut self, now: Instant) {
        if let Some(watch) = self.watched.take() {
            self.took(watch.verb, watch.began, watch.waits, now);
        }
    }

    /// A change is answered.
    pub(super) fn commit_took(&mut self, verb: VerbName, began: Stamp, now: Instant) {
        let waits = Waits { directory_us: began.until(now.stamp()), ..Waits::default() };
        self.took(verb, began, waits, now);
    }

    fn took(&mut self, verb: VerbName, began: Stamp, waits: Waits, now: Instant) {
        let us = began.until(now.stamp());
        if self.config.slow_command.is_some_and(|slow| Duration::from_micros(us.into()) >= slow) {
            let text = format!("{} for {}", waits.slow_command(verb, us), self.origin.client_address);
            self.log(Level::Notice, text);
        }
        let waits = Some(Box::new(waits));
        self.asks.push_back(Output::Timed(Timing { verb, backend: None, began, waits }));
    }
}
