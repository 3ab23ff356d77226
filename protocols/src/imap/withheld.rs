//! The EXPUNGE or VANISHED that would empty the selected mailbox.
//!
//! A mailbox that was deleted, renamed or moved away is reported by its server as if all messages had
//! been expunged (Cyrus, `disconnect_on_vanished_mailbox: off`): `* 1 EXPUNGE` as often as there are
//! messages, or one `* VANISHED` of all. A client that believes it drops his copies. So such lines are
//! withheld (they are all alike: counted, not stored) until something else follows, or until they are
//! as many as there are messages: then the list is asked what became of the mailbox.
//!
//! A session that was not ended when its mailbox moved (Cyrus 3.6 ends those of the moved user, a moment
//! late) gets `NO Mailbox does not exist`, which is withheld too.
//!
//! ```text
//!  Nothing ──* 1 EXPUNGE──> Counting ──another line, time──> Passing ──> Nothing
//!     │                        └── all ──> Asking ──> Hearing ──it was emptied──^
//!     └──* VANISHED of all, NO ──────────────^ └── it is elsewhere: followed, the lines are dropped
//! ```
//! A list that has the mailbox where it was, or is not known, proves nothing: a server tells the master behind
//! the deed. Then the result of a command that may have emptied the mailbox says, or its server on a second
//! connection (`witness.rs`).

use std::time::Duration;

use memchr::memchr;

use super::answers::is_elsewhere;
use super::backend::{Nature, Whose};
use super::grammar::{Response, Status, UntaggedKind, Verb, response};
use super::numbers::vanished;
use super::session::Session;
use super::state::{Emptying, Progress, Purpose, Withheld};
use crate::proxy::{
    Answer, Finding, Freshness, Instant, Level, ListPage, ListQuery, Question, Reserved, Side,
};

/// How long a run of EXPUNGEs may pause before what was counted goes on: a server writes them in one go.
pub(super) const PAUSE_MAX: Duration = Duration::from_millis(250);

/// The line that is counted.
const FIRST_GONE: &[u8] = b"* 1 EXPUNGE\r\n";

/// How often the list is asked again that has a mailbox where its server has none, and after what time each:
/// 9 s, longer than a server takes to tell the master what it did.
const ASKED_AGAIN_MAX: u8 = 30;
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(300);

/// Lines authored at once; what is more waits until they went out. 11,700 bytes.
const LINES_AT_ONCE: u32 = 900;

/// Bytes that may stand before the end of the line behind a VANISHED; less than what may be left untaken.
const BEHIND_BYTES_MAX: usize = 6 * 1024;

impl Session {
    pub(super) fn withheld(&self) -> Withheld {
        self.selected.as_deref().map(|selected| selected.withheld).unwrap_or_default()
    }

    pub(super) fn withhold(&mut self, withheld: Withheld) {
        if let Some(selected) = self.selected.as_deref_mut() {
            selected.withheld = withheld;
        }
    }

    /// Whether something is withheld from the client.
    pub(super) fn withholds(&self) -> bool {
        self.withheld() != Withheld::Nothing
    }

    /// Whether a line is the first of those that are withheld, or may be.
    pub(super) fn is_withheld(&self, at: usize, line: &[u8]) -> bool {
        match line.get(..3) {
            Some(b"* 1") => line == FIRST_GONE && self.backends[at].numbers.messages > 0,
            Some(b"* V" | b"* v") => self.empties(at, line),
            Some([b'*' | b'+', ..]) | None => false,
            Some(_) => self.refuses(at, line),
        }
    }

    /// Whether a VANISHED names as many messages as the client counts.
    fn empties(&self, at: usize, line: &[u8]) -> bool {
        let messages = self.backends[at].numbers.messages;
        match response(line) {
            Response::Untagged { kind: UntaggedKind::Vanished, rest, .. } => {
                messages > 0 && vanished(rest).is_some_and(|count| count >= messages)
            }
            Response::Untagged { .. }
            | Response::Tagged { .. }
            | Response::Continuation { .. }
            | Response::Invalid => false,
        }
    }

    /// Looks at the front of what the selected backend says; `None` when nothing is withheld and it goes
    /// its way.
    pub(super) fn look_at_withheld(&mut self, at: usize, input: &[u8], now: Instant) -> Option<Progress> {
        match self.withheld() {
            Withheld::Asking(..)
            | Withheld::AskingAgain(..)
            | Withheld::Hearing(_)
            | Withheld::Draining(_)
            | Withheld::Passing(Emptying::Expunges(_)) => Some(Progress::Hold),
            Withheld::Passing(Emptying::Vanished | Emptying::Refused) => {
                self.withhold(Withheld::Nothing);
                None
            }
            Withheld::Nothing if self.is_withheld(at, first_line(input)) => {
                Some(self.count_gone(at, 0, input, now))
            }
            Withheld::Nothing => None,
            Withheld::Unproven(emptying) => Some(self.look_behind(emptying, input, now)),
            Withheld::Gone if input.starts_with(b"* ") => Some(throw_away(input)),
            Withheld::Gone => None,
            Withheld::Counting(count, _) => Some(self.count_gone(at, count, input, now)),
        }
    }

    /// Counts the EXPUNGEs of the first message at the front of the input.
    fn count_gone(&mut self, at: usize, before: u32, input: &[u8], now: Instant) -> Progress {
        let messages = self.backends[at].numbers.messages;
        let missing = messages.saturating_sub(before) as usize;
        let lines = input.chunks_exact(FIRST_GONE.len()).take(missing).take_while(|line| *line == FIRST_GONE);
        let more = lines.count();
        // Fits: there are at most as many as messages.
        let count = before + more as u32;
        if more == 0 {
            return self.behind_gone(at, before, input);
        }
        if count >= messages {
            self.ask_what_became(Emptying::Expunges(count), 0);
        } else {
            self.withhold(Withheld::Counting(count, now));
        }
        Progress::Took(more * FIRST_GONE.len())
    }

    /// What stands behind the EXPUNGEs is none of them.
    fn behind_gone(&mut self, at: usize, count: u32, input: &[u8]) -> Progress {
        if count > 0 && FIRST_GONE.starts_with(input) {
            return Progress::More;
        }
        if count == 0 {
            let vanishes = self.empties(at, first_line(input));
            self.ask_what_became(if vanishes { Emptying::Vanished } else { Emptying::Refused }, 0);
            return Progress::Hold;
        }
        self.withhold(Withheld::Passing(Emptying::Expunges(count)));
        self.pass_withheld();
        Progress::Took(0)
    }

    /// Looks at what stands behind lines that may be true: a server that has no such mailbox says so in the
    /// result of the command, which then has emptied nothing.
    fn look_behind(&mut self, emptying: Emptying, input: &[u8], now: Instant) -> Progress {
        let before = if emptying == Emptying::Vanished { first_line(input).len() } else { 0 };
        let behind = first_line(&input[before..]);
        if behind.is_empty() && input.len() < BEHIND_BYTES_MAX {
            return Progress::More;
        }
        let is_refusal = match response(behind) {
            Response::Tagged { status, text, .. } => status == Status::No && is_elsewhere(text),
            Response::Untagged { .. } | Response::Continuation { .. } | Response::Invalid => false,
        };
        if !is_refusal {
            self.believe(emptying);
            return Progress::Took(0);
        }
        self.be_gone(now);
        // Where no task is served the connection is closed, and what it says is nobody's.
        if self.withheld() == Withheld::Gone { Progress::Took(0) } else { Progress::Took(input.len()) }
    }

    fn ask_what_became(&mut self, emptying: Emptying, asked: u8) {
        self.withhold(Withheld::Asking(emptying, asked));
        let Some(name) = self.selected.as_deref().map(|selected| selected.name.clone()) else { return };
        self.ask(Purpose::Selected, Question::Find { name, freshness: Freshness::Proven });
    }

    /// The list says what became of a mailbox that its server says to be empty.
    pub(super) fn handle_became(&mut self, answer: Answer, now: Instant) {
        match (self.withheld(), answer) {
            (Withheld::Asking(emptying, asked), Answer::Found(finding)) => {
                self.became(emptying, asked, finding, now);
            }
            (Withheld::Asking(emptying, _), Answer::Page(page)) if self.is_deletion(&page) => {
                self.believe(emptying);
            }
            (Withheld::Asking(..), Answer::Page(_)) => self.end_vanished(),
            _ => {}
        }
    }

    fn became(&mut self, emptying: Emptying, asked: u8, finding: Finding, now: Instant) {
        let here = self.selected_backend().map(|backend| backend.server().to_vec());
        match finding {
            // Its server does not have it, whatever the list says.
            Finding::Active(_) | Finding::Unknown if emptying == Emptying::Refused => self.be_gone(now),
            Finding::Active(entry)
                if entry.location.server().is_none() || entry.location.server() == here.as_deref() =>
            {
                self.seems_here(emptying, asked, now);
            }
            Finding::Active(_) | Finding::Reserved { .. } => self.be_gone(now),
            Finding::Absent if self.config.commands.disconnect_on_vanished => self.end_vanished(),
            Finding::Absent if emptying == Emptying::Refused => self.believe(emptying),
            Finding::Absent if self.is_taken_by_himself() => self.believe(emptying),
            Finding::Absent => self.ask_whether_deleted(),
            Finding::Unknown if asked == 0 => self.ask_who_knows(emptying, now),
            Finding::Unknown => self.be_gone(now),
        }
    }

    /// The list has the mailbox where it was, which may be so no more.
    fn seems_here(&mut self, emptying: Emptying, asked: u8, now: Instant) {
        match asked {
            0 => self.ask_who_knows(emptying, now),
            1..=ASKED_AGAIN_MAX => {
                self.withhold(Withheld::AskingAgain(emptying, asked, now + ASK_AGAIN_AFTER))
            }
            _ => self.be_gone(now),
        }
    }

    fn ask_who_knows(&mut self, emptying: Emptying, now: Instant) {
        if self.has_emptied() {
            self.withhold(Withheld::Unproven(emptying));
        } else {
            self.ask_server(emptying, now);
        }
    }

    /// Its server has no mailbox of that name, and the list does not say so yet.
    pub(super) fn is_unknown_to_server(&mut self, emptying: Emptying, now: Instant) {
        if self.is_taken_by_himself() {
            return self.believe(emptying);
        }
        self.withhold(Withheld::AskingAgain(emptying, 0, now + ASK_AGAIN_AFTER));
    }

    /// Whether the client gives the selected mailbox another name himself, or deletes it: he knows.
    fn is_taken_by_himself(&self) -> bool {
        let (Some(running), Some(selected)) = (&self.task, self.selected.as_deref()) else { return false };
        running.task.takes(&selected.name)
    }

    /// A mailbox that is no more was deleted, and its messages are gone, or it has another name, and they are
    /// not. Only delayed deletion leaves a trace in the list.
    fn ask_whether_deleted(&mut self) {
        let Some(selected) = self.selected.as_deref() else { return };
        let prefix = self.config.namespace.deleted_names_of(&selected.name).into();
        let query = ListQuery { after: Box::default(), prefix, visible_to: None, reserved: Reserved::Hidden };
        self.ask(Purpose::Selected, Question::List(query));
    }

    /// Whether the selected mailbox was deleted since this session began.
    fn is_deletion(&self, page: &ListPage) -> bool {
        let Some(selected) = self.selected.as_deref() else { return false };
        let prefix = self.config.namespace.deleted_names_of(&selected.name);
        page.entries.iter().any(|row| {
            let time = row.entry.name.strip_prefix(&*prefix).and_then(|time| std::str::from_utf8(time).ok());
            time.and_then(|time| u64::from_str_radix(time, 16).ok())
                .is_some_and(|time| time >= self.origin.started_unix)
        })
    }

    fn end_vanished(&mut self) {
        self.log(Level::Info, "imap: selected mailbox has vanished".to_owned());
        self.end(b"* BYE mailbox has been moved or removed\r\n");
    }

    /// The mailbox is elsewhere, or nobody knows: followed, when its old connection serves nobody else.
    pub(super) fn be_gone(&mut self, now: Instant) {
        if self.selected_backend().is_some_and(|backend| backend.serves_task) {
            self.withhold(Withheld::Gone);
        } else {
            self.follow_mailbox(now);
        }
    }

    /// Whether the mailbox is to be followed, now that no task is running.
    pub(super) fn is_to_be_followed(&self) -> bool {
        self.withheld() == Withheld::Gone && self.task.is_none()
    }

    /// Whether a line answers a command in flight with: there is no such mailbox.
    fn refuses(&self, at: usize, line: &[u8]) -> bool {
        match response(line) {
            Response::Tagged { tag, status: Status::No, text } if is_elsewhere(text) => {
                self.backends[at].flights.iter().any(|flight| flight.tag.as_slice() == tag)
            }
            Response::Tagged { .. }
            | Response::Untagged { .. }
            | Response::Continuation { .. }
            | Response::Invalid => false,
        }
    }

    pub(super) fn believe(&mut self, emptying: Emptying) {
        self.withhold(Withheld::Passing(emptying));
        self.pass_withheld();
    }

    /// Whether the command that is being answered is one of the client that may have emptied the mailbox.
    fn has_emptied(&self) -> bool {
        let writes = Whose::Client(Nature::Writes);
        let is_task = self.task.as_ref().is_some_and(|running| running.task.expunges());
        self.selected_backend().is_some_and(|backend| {
            let first = backend.flights.front();
            (backend.serves_task && is_task)
                || first.is_some_and(|flight| flight.whose == writes && flight.verb == Verb::Expunge)
        })
    }

    /// Tells the client of the EXPUNGEs that were withheld, as many as may be authored at once.
    pub(super) fn pass_withheld(&mut self) {
        let Withheld::Passing(Emptying::Expunges(count)) = self.withheld() else { return };
        if self.speaking.is_some_and(|speaking| !self.is_selected(speaking)) {
            return;
        }
        let Some(at) = self.selected.as_deref().and_then(|selected| self.backend_at(selected.backend)) else {
            return;
        };
        let told = count.min(LINES_AT_ONCE);
        self.outbox.author(Side::Client, |out| (0..told).for_each(|_| out.extend_from_slice(FIRST_GONE)));
        self.backends[at].numbers.gone(told);
        if let Some(first) = self.backends[at].flights.front_mut() {
            first.told = true;
        }
        self.withhold(if count > told { Withheld::Draining(count - told) } else { Withheld::Nothing });
    }

    /// What was authored for the client went out.
    pub(super) fn drain_withheld(&mut self) {
        if let Withheld::Draining(count) = self.withheld() {
            self.believe(Emptying::Expunges(count));
        }
    }

    /// When a run of EXPUNGEs is taken for ended, or somebody is asked again, or no more.
    pub(super) fn withheld_until(&self) -> Option<Instant> {
        match self.withheld() {
            Withheld::Counting(_, since) => Some(since + PAUSE_MAX),
            Withheld::AskingAgain(_, _, at) => Some(at),
            Withheld::Hearing(hearing) => Some(hearing.until),
            Withheld::Nothing
            | Withheld::Asking(..)
            | Withheld::Unproven(_)
            | Withheld::Passing(_)
            | Withheld::Draining(_)
            | Withheld::Gone => None,
        }
    }

    /// It is time.
    pub(super) fn withheld_is_due(&mut self, now: Instant) {
        match self.withheld() {
            // Nothing followed for a while: what was counted is true.
            Withheld::Counting(count, _) => self.believe(Emptying::Expunges(count)),
            Withheld::AskingAgain(emptying, asked, _) => self.ask_what_became(emptying, asked + 1),
            Withheld::Hearing(_) => self.server_is_silent(now),
            Withheld::Nothing
            | Withheld::Asking(..)
            | Withheld::Unproven(_)
            | Withheld::Passing(_)
            | Withheld::Draining(_)
            | Withheld::Gone => {}
        }
    }
}

/// Takes a line, or what is here of it. Nothing but counts and flags comes unasked, and has no literals.
fn throw_away(input: &[u8]) -> Progress {
    Progress::Took(memchr(b'\n', input).map_or(input.len(), |lf| lf + 1))
}

/// The first line of the input, its end included; nothing when it has no end yet.
fn first_line(input: &[u8]) -> &[u8] {
    memchr(b'\n', input).map_or(b"", |lf| &input[..=lf])
}
