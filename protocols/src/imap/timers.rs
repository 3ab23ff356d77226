//! Deadlines of a session. All of them are computed from what is there; nothing is set or cancelled
//! on the path of a relayed line.

use std::time::Duration;

use super::backend::{Backend, Phase as BackendPhase};
use super::notify::STIR_EVERY;
use super::session::{Session, UNTOLD};
use super::state::{Phase, Purpose, Reading, Running};
use super::task::News;
use crate::proxy::{BackendId, Close, Instant};

/// How long the selected backend may think about a relayed command; a SEARCH over a large mailbox
/// without an index takes minutes.
const RELAYED_REPLY_TIMEOUT: Duration = Duration::from_secs(20 * 60);

/// What is due, and when.
enum Due {
    Pause,
    Goodbye,
    Client,
    Task,
    TaskReply,
    Silence,
    Hush,
    Login(BackendId),
    Reply,
    Idle(BackendId),
    Left(BackendId),
    Withheld,
    Find,
    CheckNotify,
    Stir(BackendId),
}

impl Session {
    /// The next moment at which something is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        if self.last_input == UNTOLD {
            // To be told the time.
            return Some(Instant(0));
        }
        self.deadlines().map(|(at, _)| at).min()
    }

    /// Does what is due.
    pub(super) fn check_deadlines(&mut self, now: Instant) {
        let due: Vec<Due> = self.deadlines().filter(|(at, _)| *at <= now).map(|(_, due)| due).collect();
        for due in due {
            match due {
                Due::Pause => self.pause_is_over(now),
                Due::Goodbye => self.say_goodbye(),
                Due::Client => self.end(b"* BYE idle for too long\r\n"),
                Due::Task => self.wake_task(now),
                Due::TaskReply => self.give_task_backends_up(now),
                Due::Silence => self.look_into_silence(now),
                Due::Hush => self.look_into_hush(),
                // One that stands after all is closed then.
                Due::Login(id) => self.login_timed_out(id, now),
                Due::Reply => {
                    if let Some(id) = self.selected.as_deref().map(|selected| selected.backend) {
                        self.backend_gone(id, now);
                    }
                }
                Due::Idle(id) => self.close_backend(id, Close::Flush),
                Due::Withheld => self.withheld_is_due(now),
                Due::Find => self.find_again(now),
                Due::CheckNotify => self.check_notify(now),
                Due::Stir(id) => self.stir(id, now),
                Due::Left(id) => self.close_backend(id, Close::Abort),
            }
        }
    }

    /// Behind the end only connections that are left have deadlines.
    fn deadlines(&self) -> impl Iterator<Item = (Instant, Due)> {
        let is_over = self.reading == Reading::Over;
        let session = [
            self.pause_deadline(),
            self.goodbye_deadline(),
            self.client_deadline(),
            self.wake_deadline(),
            self.reply_deadline(),
            self.withheld_until().map(|until| (until, Due::Withheld)),
            self.find_deadline(),
            self.check_notify_at().map(|at| (at, Due::CheckNotify)),
        ];
        let backends = self.backends.iter().filter_map(|backend| self.backend_deadline(backend));
        session
            .into_iter()
            .flatten()
            .chain(backends)
            .filter(move |(_, due)| !is_over || matches!(due, Due::Left(_)))
    }

    fn pause_deadline(&self) -> Option<(Instant, Due)> {
        match &self.phase {
            Phase::Guest(guest) => guest.pause_until().map(|until| (until, Due::Pause)),
            Phase::User(_) => None,
        }
    }

    /// The process stops, or `msg/shutdown` stands: at once, when nothing is under way. A deadline, because what the client is
    /// still to get must be on its way before the connections are closed.
    fn goodbye_deadline(&self) -> Option<(Instant, Due)> {
        if !self.draining && !self.is_sent_away() {
            return None;
        }
        let is_idle = matches!(self.reading, Reading::Command { asked: 0 } | Reading::IdleLine)
            && self.task.as_ref().is_none_or(|running| running.task.reads_client())
            && self.speaking.is_none()
            && (self.reading == Reading::IdleLine
                || !self.selected_backend().is_some_and(Backend::is_busy_for_client));
        let is_away = self.is_away() && self.speaking.is_none();
        (is_idle || is_away || self.is_held_up_by_move()).then_some((Instant(0), Due::Goodbye))
    }

    /// Whether the client waits for a mailbox that is being moved: longer than a process takes to stop.
    fn is_held_up_by_move(&self) -> bool {
        let is_task = self.task.as_deref().is_some_and(Running::is_held_up_by_move);
        let is_login = matches!(&self.phase, Phase::Guest(guest) if guest.waits_for_move());
        let is_relayed = self.task.is_none() && self.is_relay_held_up();
        is_login || ((is_task || is_relayed) && self.speaking.is_none())
    }

    /// A client that waits for us is not idle.
    fn client_deadline(&self) -> Option<(Instant, Due)> {
        let timeouts = &self.config.timeouts;
        let allowed = match (&self.phase, self.reading) {
            (Phase::Guest(_), Reading::Wait) => return None,
            (Phase::Guest(_), _) => timeouts.login,
            (Phase::User(_), Reading::IdleLine) => timeouts.idle,
            (Phase::User(_), _) => {
                let reads = self.task.as_ref().is_none_or(|running| running.task.reads_client());
                let waits = self.speaking.is_some()
                    || !reads
                    || (self.reading == (Reading::Command { asked: 0 })
                        && self.selected_backend().is_some_and(Backend::is_busy_for_client));
                if waits {
                    return None;
                }
                timeouts.client
            }
        };
        (self.last_input != UNTOLD).then_some((self.last_input + allowed, Due::Client))
    }

    fn find_deadline(&self) -> Option<(Instant, Due)> {
        Some((self.task.as_ref()?.moving?.again?, Due::Find))
    }

    fn wake_deadline(&self) -> Option<(Instant, Due)> {
        self.task.as_ref()?.wake.map(|at| (at, Due::Task))
    }

    /// Somebody who was asked does not answer.
    fn reply_deadline(&self) -> Option<(Instant, Due)> {
        if let Some(running) = &self.task {
            let waits = self.speaking.is_none()
                && !running.task.reads_client()
                && self.backends.iter().any(|backend| self.keeps_task_waiting(backend));
            return if waits { self.silence_deadline(running) } else { None };
        }
        let backend = self.selected_backend()?;
        let waits = backend.is_busy_for_client()
            && self.speaking.is_none()
            && matches!(self.reading, Reading::Command { .. } | Reading::AwaitGo(_));
        let input = if self.last_input == UNTOLD { backend.last_use } else { self.last_input };
        let last = input.max(backend.last_use);
        let until = last + RELAYED_REPLY_TIMEOUT;
        let look = self.next_hush(last).filter(|look| *look <= until);
        waits.then(|| look.map_or((until, Due::Reply), |look| (look, Due::Hush)))
    }

    /// Before a server is given up the list is asked whether it is moving the mailbox.
    fn silence_deadline(&self, running: &Running) -> Option<(Instant, Due)> {
        if self.asked.iter().any(|(_, purpose)| *purpose == Purpose::Silence) {
            return None;
        }
        let until = running.last_news + self.config.timeouts.command;
        let look = self.next_look(running).filter(|look| *look <= until);
        Some(look.map_or((until, Due::TaskReply), |look| (look, Due::Silence)))
    }

    fn backend_deadline(&self, backend: &Backend) -> Option<(Instant, Due)> {
        match &backend.phase {
            BackendPhase::Opening(_, deadline)
            | BackendPhase::Login(_, deadline)
            | BackendPhase::Compressing(_, deadline) => Some((*deadline, Due::Login(backend.id()))),
            BackendPhase::Ready(_) if backend.is_listening => {
                Some((backend.last_use + STIR_EVERY, Due::Stir(backend.id())))
            }
            BackendPhase::Ready(_) => {
                // In the order of what they cost.
                let is_needed =
                    backend.serves_task || self.is_selected(backend.id()) || self.is_home(backend);
                let until = backend.last_use + self.config.timeouts.backend_idle;
                (!is_needed).then(|| (until, Due::Idle(backend.id())))
            }
            BackendPhase::Leaving(until) => Some((*until, Due::Left(backend.id()))),
        }
    }

    fn is_home(&self, backend: &Backend) -> bool {
        self.user().and_then(|user| user.home.as_deref()) == Some(backend.server())
    }

    fn wake_task(&mut self, now: Instant) {
        if let Some(running) = &mut self.task {
            running.wake = None;
        }
        self.tell_task(News::Time, now);
    }

    pub(super) fn keeps_task_waiting(&self, backend: &Backend) -> bool {
        backend.serves_task && self.task.as_ref().is_some_and(|running| running.task.awaits(backend.id()))
    }

    fn give_task_backends_up(&mut self, now: Instant) {
        let silent: Vec<BackendId> = self
            .backends
            .iter()
            .filter(|backend| self.keeps_task_waiting(backend))
            .map(Backend::id)
            .collect();
        for id in silent {
            self.backend_gone(id, now);
        }
    }
}
