//! Sessions that other sessions have run for them (`Question::Errand`).

use protocols::proxy::{Answer, Errand, Event, Instant, Output, Session, Side, Taken};

use crate::helpers::Asker;

/// A session whose end is an answer, also when the shard ends it.
struct Sent {
    session: Box<dyn Session>,
    asker: Option<Asker>,
}

/// Makes the session.
pub(crate) fn sent(errand: Errand, asker: Asker) -> Box<dyn Session> {
    Box::new(Sent { session: errand.0(), asker: Some(asker) })
}

impl Drop for Sent {
    fn drop(&mut self) {
        if let Some(asker) = self.asker.take() {
            asker.answer(Answer::Barrier(Ok(())));
        }
    }
}

impl Session for Sent {
    fn handle_input(&mut self, side: Side, input: &[u8], now: Instant) -> Taken {
        self.session.handle_input(side, input, now)
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        self.session.handle_event(event, now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.session.handle_timeout(now);
    }

    fn poll_output(&mut self, scratch: &mut Vec<u8>) -> Option<Output> {
        self.session.poll_output(scratch)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.session.poll_timeout()
    }
}
