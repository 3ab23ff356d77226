//! How long commands take, and for whom they wait, in protocols that serve them one after the other.

use std::time::Duration;

use super::desk::Desk;
use crate::proxy::{BackendId, Level, Stamp, VerbName, Wait};
use crate::watch::Watch;

/// What a session is at, at the end of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pace {
    /// The client has his answer.
    Answered,
    /// The client is to say more.
    Client,
    /// Somebody else is.
    Others,
}

impl Desk {
    /// A command begins. One that was under way, because the client did not wait, is told as it is.
    pub(crate) fn watch(&mut self, verb: VerbName, now: Stamp) {
        self.unwatch();
        self.watched = Some(Box::new(Watch::new(verb, now)));
    }

    /// A connection serves the command.
    pub(crate) fn watch_backend(&mut self, backend: BackendId) {
        if let Some(watch) = &mut self.watched {
            watch.note_backend(backend);
        }
    }

    /// Before a call: the command has waited until now.
    pub(crate) fn end_wait(&mut self, now: Stamp) {
        if let Some(watch) = &mut self.watched {
            watch.end_wait(now);
        }
    }

    /// After a call: the command is answered, or waits for somebody.
    pub(crate) fn begin_wait(&mut self, pace: Pace, slow: Option<Duration>, now: Stamp) {
        let is_asked = self.is_asking();
        let Some(watch) = &mut self.watched else { return };
        let wait = match pace {
            Pace::Answered => return self.end_watch(slow, now),
            Pace::Client => Wait::Client,
            Pace::Others if is_asked => watch.asked(),
            Pace::Others => Wait::Backend,
        };
        watch.begin_wait(wait);
    }

    fn end_watch(&mut self, slow: Option<Duration>, now: Stamp) {
        if let Some(text) = self.watched.as_deref().and_then(|watch| watch.slow_command(slow, now)) {
            self.log_client(Level::Notice, &text);
        }
        self.unwatch();
    }

    fn unwatch(&mut self) {
        if let Some(watch) = self.watched.take() {
            self.outbox.timed(watch.into_timing());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::config::Common;
    use crate::login::desk::Purpose;
    use crate::proxy::{Freshness, Notice, Origin, Output, Question, QuestionId, Timing, Waits};

    fn desk() -> Desk {
        let client_address = "192.0.2.1:1".into();
        let origin = Origin { random: [0; 32], started_unix: 0, client_address, tls: false };
        Desk::new("test", &Common::default(), origin)
    }

    fn told(desk: &mut Desk) -> Vec<Output> {
        std::iter::from_fn(|| desk.outbox.poll(&mut Vec::new())).collect()
    }

    #[test]
    fn waits_are_told_by_whom_they_were_for() {
        let mut desk = desk();
        desk.watch(&"TEST", Stamp(100));
        desk.ask(Purpose::Way, Question::Find { name: Box::default(), freshness: Freshness::Barrier });
        desk.begin_wait(Pace::Others, None, Stamp(100));
        desk.end_wait(Stamp(130));
        assert!(desk.answers(QuestionId(0)).is_some());
        desk.watch_backend(BackendId(1));
        desk.begin_wait(Pace::Others, None, Stamp(130));
        desk.end_wait(Stamp(1130));
        desk.begin_wait(Pace::Client, None, Stamp(1130));
        desk.end_wait(Stamp(1137));
        desk.begin_wait(Pace::Answered, None, Stamp(1137));
        let waits = Waits { client_us: 7, backend_us: 1000, directory_us: 30, authentication_us: 0 };
        let timing = Timing {
            verb: &"TEST",
            backend: Some(BackendId(1)),
            began: Stamp(100),
            waits: Some(Box::new(waits)),
        };
        let is_told = |out: &Output| matches!(out, Output::Timed(told) if *told == timing);
        assert!(told(&mut desk).iter().any(is_told));
    }

    #[test]
    fn slow_command_is_logged_and_a_quick_one_is_not() {
        for (slow_ms, lines) in [(5, 1), (6, 0)] {
            let mut desk = desk();
            desk.watch(&"TEST", Stamp(0));
            desk.begin_wait(Pace::Others, None, Stamp(0));
            desk.end_wait(Stamp(5000));
            desk.begin_wait(Pace::Answered, Some(Duration::from_millis(slow_ms)), Stamp(5000));
            let logged = told(&mut desk)
                .iter()
                .filter(|out| matches!(out, Output::Tell(Notice::Session { .. })))
                .count();
            assert_eq!(logged, lines, "{slow_ms}");
        }
    }
}
