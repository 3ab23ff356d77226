//! Asks the server of the selected mailbox on a second connection whether the mailbox was emptied.
//!
//! What a server says of a mailbox that has another name by now reads as if somebody had expunged all. While
//! the master has not heard of it the list proves nothing, so the mailbox is opened under its name anew:
//!
//! ```text
//!  log in ──> ENABLE QRESYNC, EXAMINE ──OK──> UIDVALIDITY, EXISTS, what vanished ──> believed
//!     │                          │                                └── other numbers ─┐
//!     │                          └──NO, there is none──> the list is asked again      │
//!     └── no connection, no answer in time, NO ──> followed as one that was lost <────┘
//! ```
//! It was emptied if it holds nothing, or if as much vanished since it was selected as the client knew: then
//! what it holds came later.

use std::num::NonZeroU32;
use std::time::Duration;

use memchr::memchr;

use super::answers::is_elsewhere;
use super::backend::Flow;
use super::grammar::{Response, Status, UntaggedKind, Verb, response};
use super::numbers::{Numbers, vanished_earlier};
use super::offer::Offer;
use super::session::Session;
use super::state::{Emptying, Hearing, Progress, Withheld};
use super::text::name_out;
use crate::proxy::{BackendId, Close, HEAD_BYTES_MAX, Instant, Level, Unavailable};

/// How long all of it may take.
const HEARING_TIMEOUT: Duration = Duration::from_secs(20);

impl Session {
    /// Asks the server of the selected mailbox whether it is empty.
    pub(super) fn ask_server(&mut self, emptying: Emptying, now: Instant) {
        let server = self.selected_backend().map(|backend| backend.server().to_vec());
        let witness = server.ok_or(Unavailable).and_then(|server| self.connection_apart(&server, now));
        match witness {
            Ok(witness) => {
                let until = now + HEARING_TIMEOUT;
                self.withhold(Withheld::Hearing(Hearing { emptying, witness, until, vanished: 0 }));
            }
            Err(Unavailable) => self.be_gone(now),
        }
    }

    /// Whether this is the connection on which a server is asked.
    pub(super) fn is_heard(&self, id: BackendId) -> bool {
        self.hearing().is_some_and(|hearing| hearing.witness == id)
    }

    fn hearing(&self) -> Option<Hearing> {
        match self.withheld() {
            Withheld::Hearing(hearing) => Some(hearing),
            Withheld::Nothing
            | Withheld::Counting(..)
            | Withheld::Asking(..)
            | Withheld::AskingAgain(..)
            | Withheld::Unproven(_)
            | Withheld::Passing(_)
            | Withheld::Draining(_)
            | Withheld::Gone => None,
        }
    }

    /// The connection is logged in: opens the mailbox.
    pub(super) fn ask_witness(&mut self, at: usize, now: Instant) {
        let id = self.backends[at].id();
        let known = self.selected_backend().map(|backend| backend.numbers).unwrap_or_default();
        if !self.keeps_promises(id) {
            return self.server_is_silent(now);
        }
        let Some(mut examine) = self.examine() else { return self.server_is_silent(now) };
        self.enable_at(id, now);
        let offer = self.backends[at].offer();
        if known.modseq > 0 && offer.has(Offer::QRESYNC.and(Offer::ENABLE)) {
            self.send_own(at, b"ENABLE QRESYNC");
            let validity = known.validity.map_or(0, NonZeroU32::get);
            examine.extend_from_slice(format!(" (QRESYNC ({validity} {}))", known.modseq).as_bytes());
        }
        self.send_own_as(at, Verb::Examine, &examine);
    }

    /// The command without its parameters; `None` if the name cannot be said.
    fn examine(&self) -> Option<Vec<u8>> {
        let name = &self.selected.as_deref()?.name;
        let mailbox = self.config.namespace.external(name, &self.user()?.identity)?;
        let mut command = b"EXAMINE ".to_vec();
        name_out(&mut command, &mailbox);
        Some(command)
    }

    /// Takes the next step with what the connection says.
    pub(super) fn look_at_witness(&mut self, at: usize, input: &[u8], now: Instant) -> Progress {
        let Some(lf) = memchr(b'\n', input) else {
            if input.len() < HEAD_BYTES_MAX {
                return Progress::More;
            }
            // What vanished in so many pieces is not counted.
            return self.pass_part(at, Flow::Dropping, input);
        };
        let line = &input[..=lf];
        match response(line) {
            Response::Tagged { tag, status, text } => {
                let Some(flight) = self.backends[at].answered(tag) else {
                    return self.break_backend(at, "reply with a tag that was not sent", now, input.len());
                };
                if flight.verb == Verb::Examine {
                    self.server_says(at, status, text, now);
                }
                Progress::Took(line.len())
            }
            Response::Untagged { kind, rest, .. } => {
                self.note_vanished(kind, rest);
                self.backends[at].numbers.note(line);
                self.pass(at, Flow::Dropping, line, input)
            }
            Response::Continuation { .. } => Progress::Took(line.len()),
            Response::Invalid => self.break_backend(at, "no IMAP response", now, input.len()),
        }
    }

    fn note_vanished(&mut self, kind: UntaggedKind, rest: &[u8]) {
        if let (UntaggedKind::Vanished, Some(mut hearing)) = (kind, self.hearing()) {
            hearing.vanished = hearing.vanished.saturating_add(vanished_earlier(rest).unwrap_or(0));
            self.withhold(Withheld::Hearing(hearing));
        }
    }

    fn server_says(&mut self, at: usize, status: Status, text: &[u8], now: Instant) {
        let Some(hearing) = self.hearing() else { return };
        let known = self.selected_backend().map(|backend| backend.numbers).unwrap_or_default();
        let is_emptied = hearing.is_true(known, self.backends[at].numbers);
        match status {
            Status::Ok if is_emptied => {
                self.dismiss_witness();
                self.believe(hearing.emptying);
            }
            Status::No if is_elsewhere(text) => {
                self.dismiss_witness();
                self.is_unknown_to_server(hearing.emptying, now);
            }
            Status::Ok | Status::No | Status::Bad => self.server_is_silent(now),
        }
    }

    /// The server cannot be asked, or says something else than it said before.
    pub(super) fn server_is_silent(&mut self, now: Instant) {
        self.log(
            Level::Warn,
            "imap: all messages of a mailbox are said to be gone, which is not proven".into(),
        );
        self.dismiss_witness();
        self.be_gone(now);
    }

    /// Closes the connection on which a server is asked, if there is one.
    pub(super) fn dismiss_witness(&mut self) {
        if let Some(hearing) = self.hearing() {
            self.close_backend(hearing.witness, Close::Flush);
        }
    }
}

impl Hearing {
    /// Whether all that the client knew is gone, of a mailbox that is `there`.
    fn is_true(&self, known: Numbers, there: Numbers) -> bool {
        let told_or_withheld = known.expunged.saturating_add(known.messages);
        there.validity.is_some()
            && there.validity == known.validity
            && (there.messages == 0 || self.vanished >= told_or_withheld)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailbox_is_emptied_if_as_much_vanished_as_was_known() {
        let numbers = |validity, messages, expunged| Numbers {
            validity: NonZeroU32::new(validity),
            modseq: 8,
            messages,
            expunged,
        };
        let is_true = |vanished, there| {
            let (emptying, witness, until) = (Emptying::Expunges(5), BackendId(2), Instant(0));
            Hearing { emptying, witness, until, vanished }.is_true(numbers(1, 5, 2), there)
        };
        assert!(is_true(0, numbers(1, 0, 0)), "there is nothing");
        assert!(is_true(7, numbers(1, 3, 0)), "what is there came later");
        assert!(is_true(8, numbers(1, 3, 0)), "one that came went at once");
        assert!(!is_true(6, numbers(1, 3, 0)) && !is_true(2, numbers(1, 5, 0)), "it was away for a while");
        assert!(!is_true(0, numbers(2, 0, 0)) && !is_true(9, numbers(0, 0, 0)), "it is another mailbox");
    }
}
