//! The selected mailbox when its connection is lost, or when it went elsewhere: what becomes of the
//! commands in flight, and how the client gets it back.
//!
//! ```text
//!  selected ──lost──> Away: doubtful commands answered NO ──Rejoin──> selected: the others sent again
//!                                                             └── BYE
//! ```
//! A client who waits in IDLE or says NOOP now and then notices nothing. One whose picture of the
//! mailbox cannot be proven to be that of the new connection gets BYE.

use std::time::Duration;

use memchr::memchr;

use super::answers::{MAY_BE_DONE, UNREACHABLE};
use super::backend::{Backend, Flight, Flow, Nature, Whose};
use super::rejoin::{Rejoin, Urgency};
use super::session::Session;
use super::state::{Away, Go, Purpose, Reading, SelectedMailbox, Withheld};
use super::task::{Bond, Rejoined};
use crate::proxy::{Close, Instant, Level, Side};

/// Bytes of commands in flight that are kept to be sent again.
const SAID_BYTES_MAX: usize = 4096;

/// Room for them that an idle session keeps.
const SAID_BYTES_KEPT: usize = 128;

/// How often a command is sent again. One whose connections end all the same is what ends them: Cyrus' imapd
/// says BYE to `SEARCH LARGER 4294967296`.
const AGAIN_MAX: u8 = 2;

/// What is said of a command that asked and was answered in part.
const ANSWERED_IN_PART: &[u8] =
    b"NO [UNAVAILABLE] connection to the server was lost before the answer was complete";

/// A connection that stood for so long was a good one: the patience for the next begins anew.
const GOOD_AFTER: Duration = Duration::from_secs(30);

impl SelectedMailbox {
    /// Keeps what a command says until it is answered, if it may be sent again.
    pub(super) fn keep_said(&mut self, line: &[u8]) {
        if self.said.len() + line.len() <= SAID_BYTES_MAX {
            self.said.extend_from_slice(line);
        }
    }

    /// All commands are answered.
    pub(super) fn forget_said(&mut self) {
        self.said.clear();
        self.said.shrink_to(SAID_BYTES_KEPT);
    }

    /// The line of a command that is in flight; those that wait for news need not be kept.
    fn said_by(&self, flight: &Flight) -> Option<Vec<u8>> {
        let tag: &[u8] = &flight.tag;
        match flight.whose {
            Whose::Client(Nature::Idles) => return Some([tag, b" IDLE\r\n"].concat()),
            Whose::Client(Nature::Waits) => return Some([tag, b" NOOP\r\n"].concat()),
            Whose::Client(Nature::Reads | Nature::Writes) | Whose::Ours => {}
        }
        let mut lines = self.said.split_inclusive(|byte| *byte == b'\n');
        let line = lines.find(|line| memchr(b' ', line).is_some_and(|end| line[..end] == *tag))?;
        Some(line.to_vec())
    }
}

impl Session {
    /// Whether the selected mailbox has no connection at the moment.
    pub(super) fn is_away(&self) -> bool {
        self.selected.as_deref().is_some_and(|selected| selected.away.is_some())
    }

    /// The selected mailbox is elsewhere: its old connection is given up.
    pub(super) fn follow_mailbox(&mut self, now: Instant) {
        let Some(at) = self.selected.as_deref().and_then(|selected| self.backend_at(selected.backend)) else {
            return;
        };
        let backend = self.backends.remove(at);
        self.outbox.close(backend.side(), Close::Abort);
        self.selected_gone(&backend, "has moved away", now);
    }

    /// A connection ended that had a mailbox selected.
    pub(super) fn selected_gone(&mut self, backend: &Backend, how: &str, now: Instant) {
        let server = backend.server().escape_ascii().to_string();
        self.log(Level::Warn, format!("imap backend {server}: {how} with a mailbox selected"));
        self.forget_questions(Purpose::Selected);
        self.dismiss_witness();
        if self.can_rejoin(backend) {
            self.be_away(backend, now);
        } else {
            self.end(b"* BYE lost connection to the server of the selected mailbox\r\n");
        }
    }

    fn can_rejoin(&self, backend: &Backend) -> bool {
        let is_loose = self.selected.as_deref().is_some_and(|selected| selected.bond == Bond::Loose);
        let is_known = backend.numbers.validity.is_some() && backend.numbers.modseq > 0;
        let is_mid_command = matches!(self.reading, Reading::Rest | Reading::Downgrade(_));
        is_loose && is_known && !is_mid_command && !self.draining && backend.flow == Flow::Start
    }

    /// Sorts the commands in flight: those that may be sent again are kept, the others are answered.
    fn be_away(&mut self, backend: &Backend, now: Instant) {
        let timeout = self.config.timeouts.rejoin;
        let Some(mut selected) = self.selected.take() else { return };
        let mut again = Vec::new();
        // The command whose literal is awaited is the last that the client sent.
        let last = backend.flights.iter().rev().find(|flight| flight.whose != Whose::Ours);
        for flight in &backend.flights {
            let is_last = last.is_some_and(|last| std::ptr::eq(last, flight));
            match verdict(flight, if is_last { self.reading } else { Reading::Command { asked: 0 } }) {
                Verdict::Again => match selected.said_by(flight) {
                    Some(line) => again.push((flight.sent_again(), line)),
                    None => self.reply(&flight.tag, ANSWERED_IN_PART),
                },
                Verdict::Answer(text) => self.reply(&flight.tag, text),
                Verdict::Nobodys => {}
            }
        }
        self.stop_waiting();
        selected.forget_said();
        selected.withheld = Withheld::Nothing;
        if selected.patience.is_none() || selected.since + GOOD_AFTER < now {
            selected.patience = Some(now + timeout);
        }
        selected.away = Some(Box::new(Away { numbers: backend.numbers, again }));
        self.selected = Some(selected);
    }

    /// A client that waits for the continuation request of a command that was answered waits no more.
    fn stop_waiting(&mut self) {
        self.reading = match self.reading {
            Reading::AwaitGo(Go::Literal) => Reading::Command { asked: 0 },
            Reading::AwaitGo(Go::Quiet(len)) => {
                self.outbox.discard(Side::Client, len);
                Reading::Skip
            }
            Reading::AwaitGo(Go::IdleAgain) => Reading::IdleLine,
            reading @ (Reading::AwaitGo(Go::Idle)
            | Reading::Command { .. }
            | Reading::Rest
            | Reading::Downgrade(_)
            | Reading::IdleLine
            | Reading::Sasl
            | Reading::Skip
            | Reading::Wait
            | Reading::Over) => reading,
        };
    }

    /// Begins to look for the selected mailbox, when nothing else is done.
    pub(super) fn rejoin(&mut self, now: Instant) {
        if self.task.is_some() || self.reading == Reading::Over {
            return;
        }
        let nonce = self.nonce();
        let Some(selected) = self.selected.as_deref() else { return };
        let (Some(away), Some(patience)) = (&selected.away, selected.patience) else { return };
        let is_waiting = self.reading == Reading::IdleLine || away.again.is_empty();
        let urgency = if is_waiting { Urgency::Idle } else { Urgency::Awaited };
        let seed = nonce.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let (numbers, access) = (away.numbers, selected.access);
        let qresync = self.user().is_some_and(|user| user.enabled.qresync);
        let rejoin = Rejoin::new(selected.name.to_vec(), access, numbers, patience)
            .with_qresync(qresync)
            .with_jitter(urgency, seed);
        self.start(b"", Box::new(rejoin), now);
    }

    /// The mailbox is selected on another connection, and the client's picture of it holds.
    pub(super) fn rejoined(&mut self, rejoined: Rejoined, now: Instant) {
        let Some(at) = self.backend_at(rejoined.backend) else { return };
        let Some(selected) = self.selected.as_deref_mut() else { return };
        let Some(away) = selected.away.take() else { return };
        (selected.backend, selected.since) = (rejoined.backend, now);
        // One that was being moved was waited for longer.
        selected.patience.take_if(|patience| *patience <= now);
        selected.access = rejoined.access;
        let side = self.backends[at].side();
        self.backends[at].numbers = rejoined.numbers;
        self.backends[at].last_use = now;
        for (flight, line) in away.again {
            self.outbox.write(side, &[&line]);
            selected.keep_said(&line);
            self.backends[at].flights.push_back(flight);
        }
        if self.reading == Reading::IdleLine {
            self.reading = Reading::AwaitGo(Go::IdleAgain);
        }
        let server = self.backends[at].server().escape_ascii().to_string();
        self.log(Level::Info, format!("imap backend {server}: selected mailbox is here again"));
    }

    /// The mailbox cannot be had again, or looks otherwise than the client knows it.
    pub(super) fn not_rejoined(&mut self, why: &str) {
        self.log(Level::Warn, format!("imap: selected mailbox cannot be had again: {why}"));
        self.finish_task();
        self.end(b"* BYE lost connection to the server of the selected mailbox\r\n");
    }
}

enum Verdict {
    Again,
    Answer(&'static [u8]),
    Nobodys,
}

/// What becomes of a command whose connection is lost. "One that writes is never sent again"; one that
/// only waits for news may have had some.
fn verdict(flight: &Flight, reading: Reading) -> Verdict {
    match flight.whose {
        Whose::Ours => Verdict::Nobodys,
        // Of its literal nothing was sent, so nothing was done.
        Whose::Client(_) if matches!(reading, Reading::AwaitGo(Go::Literal | Go::Quiet(_))) => {
            Verdict::Answer(UNREACHABLE)
        }
        Whose::Client(Nature::Idles)
            if matches!(reading, Reading::IdleLine | Reading::AwaitGo(Go::Idle | Go::IdleAgain)) =>
        {
            Verdict::Again
        }
        // DONE was said, and nothing but the answer is missing.
        Whose::Client(Nature::Idles) => Verdict::Answer(b"OK Completed"),
        Whose::Client(Nature::Waits | Nature::Reads) if flight.again >= AGAIN_MAX => {
            Verdict::Answer(ANSWERED_IN_PART)
        }
        Whose::Client(Nature::Waits) => Verdict::Again,
        Whose::Client(Nature::Reads) if flight.told => Verdict::Answer(ANSWERED_IN_PART),
        Whose::Client(Nature::Reads) => Verdict::Again,
        Whose::Client(Nature::Writes) => Verdict::Answer(MAY_BE_DONE),
    }
}
