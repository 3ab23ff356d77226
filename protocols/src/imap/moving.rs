//! A command waits for a mailbox that is being moved to another server, however long that takes.
//!
//! ```text
//!  name looked up ──RESERVED──> asked again, behind a barrier ──> ... ──> the task is told what it is
//!  server is silent ──> the name is looked up ──RESERVED──> silence is forgiven
//!                                             └── else: given up when `rookery_command_timeout` is over
//! ```
//! A relayed command waits as long as any other; why its server is silent is asked for the client's sake alone.
//!
//! A server that moves all that a user has keeps his mailboxes locked, says nothing to whoever asked for one, and
//! ends his sessions when it is done: for minutes, where it is busy. The list knows: what is being moved is reserved
//! there. Who waits is told so now and then, for clients give up, too.

use std::time::Duration;

use super::answers::{BEING_MOVED_WAIT, WAITING_TOLD_EVERY, in_progress};
use super::backend::{Flow, Whose};
use super::session::Session;
use super::state::{Hush, Moving, Purpose, Reading, Running};
use crate::mailbox::names;
use crate::proxy::{Answer, BackendId, Finding, Freshness, Instant, Question};

/// How long a command waits for a mailbox for which another one has waited in vain: the reservation was left by a
/// server that died.
const STUCK_TIMEOUT: Duration = Duration::from_secs(30);

/// How often the list is asked while a name is reserved, each time behind a barrier; the second behind
/// [`STUCK_TIMEOUT`].
const RESERVED_PAUSE: Duration = Duration::from_millis(300);
const RESERVED_PAUSE_LONG: Duration = Duration::from_secs(1);

impl Moving {
    fn since(now: Instant) -> Moving {
        Moving { since: now, again: None, told: now }
    }
}

impl Running {
    /// Whether it waits for a move at the moment: at the list, or at a server whose silence it explains.
    pub(super) fn is_held_up_by_move(&self) -> bool {
        self.moving.is_some_and(|moving| moving.again.is_some() || self.looked == Some(self.last_news))
    }
}

impl Session {
    /// Whether the task waits for a reservation to end. What looks for a selected mailbox waits by itself.
    pub(super) fn waits_for(&mut self, finding: &Finding, now: Instant) -> bool {
        let Some(running) = &self.task else { return false };
        if !matches!(finding, Finding::Reserved { .. }) {
            self.is_not_stuck();
            return false;
        }
        if running.tag.is_empty() || !running.task.waits_for_moves() {
            return false;
        }
        // The first time at once: the snapshot may be older than the end of the reservation.
        let pause = match running.moving {
            None => Duration::ZERO,
            Some(moving) if now < moving.since + STUCK_TIMEOUT => RESERVED_PAUSE,
            Some(_) => RESERVED_PAUSE_LONG,
        };
        let moving = running.moving.unwrap_or(Moving::since(now));
        if moving.since + self.patience_for(&running.finds) < now {
            let name = running.finds.as_slice().into();
            self.rare().stuck = Some(name);
            return false;
        }
        if let Some(running) = &mut self.task {
            running.moving = Some(Moving { again: Some(now + pause), ..moving });
        }
        true
    }

    /// How long a name that is reserved is waited for.
    fn patience_for(&self, name: &[u8]) -> Duration {
        let stuck = self.rare.as_ref().and_then(|rare| rare.stuck.as_deref());
        let is_stuck = stuck.is_some_and(|stuck| {
            stuck == name || (names::owner(name).is_some() && names::owner(name) == names::owner(stuck))
        });
        let longest = self.config.timeouts.moving;
        if is_stuck { longest.min(STUCK_TIMEOUT) } else { longest }
    }

    /// The name that was looked up is not reserved.
    fn is_not_stuck(&mut self) {
        let (Some(running), Some(rare)) = (&self.task, &mut self.rare) else { return };
        rare.stuck.take_if(|stuck| **stuck == *running.finds);
    }

    /// Asks once more for a name that is reserved.
    pub(super) fn find_again(&mut self, now: Instant) {
        self.tell_of_move(now);
        let Some(running) = &mut self.task else { return };
        let Some(moving) = &mut running.moving else { return };
        moving.again = None;
        running.last_news = now;
        let name = running.finds.as_slice().into();
        self.ask(Purpose::Task, Question::Find { name, freshness: Freshness::Barrier });
    }

    /// Tells the client who waits why, if he was not for a while.
    fn tell_of_move(&mut self, now: Instant) {
        let is_free = self.speaking.is_none();
        let Some(running) = &mut self.task else { return };
        let Some(moving) = running.moving.as_mut().filter(|_| is_free) else { return };
        if moving.told + WAITING_TOLD_EVERY <= now {
            moving.told = now;
            let line = in_progress(&self.config, &running.tag, BEING_MOVED_WAIT);
            self.tell_client(&[&line]);
        }
    }

    /// When the list is asked next why a server is silent; `None` where it would not know.
    pub(super) fn next_look(&self, running: &Running) -> Option<Instant> {
        self.silent_name(running)?;
        let last = running.looked.map_or(running.last_news, |looked| looked.max(running.last_news));
        Some(last + WAITING_TOLD_EVERY.min(self.config.timeouts.command))
    }

    fn silent_name<'a>(&'a self, running: &'a Running) -> Option<&'a [u8]> {
        let silent = self.backends.iter().find(|backend| self.keeps_task_waiting(backend))?;
        // What looks for a selected mailbox has no tag, and its own deadlines.
        self.name_at(silent.id(), running).filter(|_| !running.tag.is_empty())
    }

    /// A server that the task waits for is silent: the list is asked whether it is moving the mailbox.
    pub(super) fn look_into_silence(&mut self, now: Instant) {
        let name = self.task.as_deref().and_then(|running| self.silent_name(running)).map(Box::from);
        let Some(name) = name else { return };
        if let Some(running) = &mut self.task {
            running.looked = Some(now);
        }
        self.ask(Purpose::Silence, Question::Find { name, freshness: Freshness::Barrier });
    }

    /// When the list is asked next why the server of a relayed command is silent, which it is since `last`.
    pub(super) fn next_hush(&self, last: Instant) -> Option<Instant> {
        if self.asked.iter().any(|(_, purpose)| *purpose == Purpose::Hush) {
            return None;
        }
        let asked = self.rare.as_ref().and_then(|rare| rare.hush).map_or(last, |hush| hush.asked.max(last));
        Some(asked + WAITING_TOLD_EVERY)
    }

    /// The server of a relayed command is silent: the list is asked whether it is moving the mailbox. As it is, for
    /// nothing depends on it but what the client is told.
    pub(super) fn look_into_hush(&mut self) {
        let Some(name) = self.selected.as_deref().map(|selected| selected.name.clone()) else { return };
        self.ask(Purpose::Hush, Question::Find { name, freshness: Freshness::Snapshot });
    }

    /// The list says this of the selected mailbox whose server is silent. The client is told if he still waits.
    pub(super) fn handle_hush(&mut self, answer: &Answer, now: Instant) {
        let is_moving = matches!(answer, Answer::Found(Finding::Reserved { .. }));
        self.rare().hush = Some(Hush { asked: now, is_moving });
        let waits = self.task.is_none() && !self.is_away() && self.speaking.is_none();
        let first = self.selected_backend().filter(|_| is_moving && waits && self.reading != Reading::Over);
        let first = first.and_then(|backend| {
            let is_silent = backend.flow == Flow::Start && backend.last_use + WAITING_TOLD_EVERY <= now;
            backend.flights.iter().find(|flight| is_silent && flight.whose != Whose::Ours)
        });
        if let Some(line) = first.map(|flight| in_progress(&self.config, &flight.tag, BEING_MOVED_WAIT)) {
            self.tell_client(&[&line]);
        }
    }

    /// Whether a relayed command waits for a move, as far as is known.
    pub(super) fn is_relay_held_up(&self) -> bool {
        let hush = self.rare.as_ref().and_then(|rare| rare.hush);
        let backend = self.selected_backend().filter(|backend| backend.is_busy_for_client());
        hush.zip(backend).is_some_and(|(hush, backend)| hush.is_moving && backend.last_use < hush.asked)
    }

    /// The mailbox for which the task waits at a server; `None` where it is asked of many, or of none.
    fn name_at<'a>(&'a self, id: BackendId, running: &'a Running) -> Option<&'a [u8]> {
        match self.selected.as_deref() {
            Some(selected) if selected.backend == id => Some(&selected.name),
            Some(_) | None => (!running.finds.is_empty()).then_some(running.finds.as_slice()),
        }
    }

    /// The list says this of a mailbox whose server is silent.
    pub(super) fn handle_silence(&mut self, answer: Answer, now: Instant) {
        let silent = self.backends.iter().find(|backend| self.keeps_task_waiting(backend));
        let server = silent.map(|backend| backend.server());
        let Answer::Found(finding) = answer else { return };
        let (is_moving, is_elsewhere) = match &finding {
            Finding::Reserved { .. } => (true, false),
            Finding::Active(entry) => (false, entry.location.server().is_some_and(|at| Some(at) != server)),
            Finding::Absent | Finding::Unknown => (false, false),
        };
        let longest = self.config.timeouts.moving;
        let Some(running) = &mut self.task else { return };
        running.looked = Some(now);
        if is_moving || is_elsewhere {
            let moving =
                *running.moving.get_or_insert(Moving { told: running.last_news, ..Moving::since(now) });
            if is_moving && now < moving.since + longest {
                // Its time begins when the move is done.
                running.last_news = now;
            }
        }
        if is_moving {
            self.tell_of_move(now);
        }
    }
}
