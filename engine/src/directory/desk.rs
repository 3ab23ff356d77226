//! The session through which the directory shard hears of requests and of time.
//!
//! A host is only called by sessions. This one has no connection: it is woken by an event or its
//! timer and asks its host one question, upon which the host does what is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use protocols::proxy::{Event, Instant, Output, Question, QuestionId, Session, Side, Taken, Then};

use crate::shard::MakeSession;

/// Makes the session; `timer` is where the host says when it wants to be asked.
pub(super) fn spawn(timer: Arc<AtomicU64>) -> MakeSession {
    Box::new(move || {
        Box::new(Desk { timer, is_due: true, is_asking: false, is_ending: false, next: 0, seen: Instant(0) })
    })
}

/// How long the desk rests when nothing is due.
const AT_LATEST: Duration = Duration::from_secs(3600);

struct Desk {
    timer: Arc<AtomicU64>,
    is_due: bool,
    is_asking: bool,
    is_ending: bool,
    next: u32,
    /// When it was called last.
    seen: Instant,
}

impl Session for Desk {
    fn handle_input(&mut self, _side: Side, input: &[u8], _now: Instant) -> Taken {
        Taken { n: input.len(), then: Then::More }
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        self.seen = now;
        if matches!(event, Event::Drain { .. }) {
            self.is_ending = true;
        } else if matches!(event, Event::Answer { .. }) {
            self.is_asking = false;
        } else {
            self.is_due = true;
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.seen = now;
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.timer.store(u64::MAX, Ordering::Relaxed);
            self.is_due = true;
        }
    }

    /// Asks [`Question::Capabilities`], which is no other session's question on this shard.
    fn poll_output(&mut self, _scratch: &mut Vec<u8>) -> Option<Output> {
        if !self.is_due || self.is_asking || self.is_ending {
            return None;
        }
        self.is_due = false;
        self.is_asking = true;
        self.next = self.next.wrapping_add(1);
        let question = Question::Capabilities { inbox: Box::default() };
        Some(Output::Ask { id: QuestionId(self.next), question })
    }

    /// There is always a next time until the end: a driver ends a session that waits for nothing.
    fn poll_timeout(&self) -> Option<Instant> {
        (!self.is_ending).then(|| Instant(self.timer.load(Ordering::Relaxed)).min(self.seen + AT_LATEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(desk: &mut dyn Session) -> bool {
        matches!(desk.poll_output(&mut Vec::new()), Some(Output::Ask { .. }))
    }

    fn answered(desk: &mut dyn Session) {
        let answer = protocols::proxy::Answer::Capabilities(Arc::default());
        desk.handle_event(Event::Answer { id: QuestionId(1), answer }, Instant(0));
    }

    #[test]
    fn desk_asks_at_first_when_woken_and_when_its_time_comes() {
        let timer = Arc::new(AtomicU64::new(u64::MAX));
        let mut desk = spawn(Arc::clone(&timer))();
        assert!(asks(&mut *desk), "requests may stand before it does");
        desk.handle_event(Event::BarrierWanted, Instant(0));
        assert!(!asks(&mut *desk), "one question at a time");
        answered(&mut *desk);
        assert!(asks(&mut *desk), "what woke it meanwhile is not lost");
        answered(&mut *desk);
        assert!(!asks(&mut *desk));
        timer.store(50, Ordering::Relaxed);
        assert_eq!(desk.poll_timeout(), Some(Instant(50)));
        desk.handle_timeout(Instant(49));
        assert!(!asks(&mut *desk));
        desk.handle_timeout(Instant(50));
        assert!(asks(&mut *desk));
        assert_eq!(desk.poll_timeout(), Some(Instant(50) + AT_LATEST), "it waits for something always");
        desk.handle_event(Event::Drain { deadline: Instant(90) }, Instant(60));
        assert_eq!(desk.poll_timeout(), None, "but for its end");
    }
}
