//! What it costs in instructions to keep how long NOOPs took, for `cargo xtask bench instructions`: both turns
//! of each, without the two looks at the clock.
//!
//! The argument `noop` runs it; only functions whose name begins with `measured_` count.

#[path = "../src/shard/measure.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "the shard uses the rest, and this runs no tests"
)]
mod measure;

use driver::{Carriage, Driver, Limits, Op, SessionId};
use measure::Measures;
use protocols::proxy::{
    BackendId, Event, Instant, Opened, Output, Question, QuestionId, Service, Session, Side, Stamp, Taken,
    Then, Timing,
};

/// As many as `turn_instructions noop` of the driver counts.
const NOOPS: u64 = 200;

/// Between two turns, in nanoseconds.
const TURN: u64 = 50_000;

fn main() {
    if std::env::args().nth(1).as_deref() != Some("noop") {
        // Called by `cargo bench` without a case: there is nothing to time here.
        return;
    }
    let mut driver = Driver::new(Limits::default());
    driver.begin_turn(Instant(1));
    let session =
        driver.spawn(Box::new(Answered { wants: true, began: Stamp::default(), is_answered: false }));
    while let Some(op) = driver.poll_op() {
        if let Op::Ask { id, .. } = op {
            let opened = Opened { host: "be1".into(), tls: false, noauth: false };
            driver.opened(session, id, opened, None, Carriage::Copied);
        }
    }
    let mut measures = Measures::default();
    for n in 0..NOOPS {
        noop(&mut measures, &mut driver, session, Instant((2 * n + 1) * TURN));
    }
    assert_eq!(measures.snapshot(&driver, Instant(0)).commands, NOOPS);
}

/// A line goes out in one turn, and is answered in the next.
fn noop(measures: &mut Measures, driver: &mut Driver, session: SessionId, began: Instant) {
    let took = |turn: Instant| Instant(turn.0 + 20_000);
    measured_turn(measures, began, took(began), driver);
    let ended = Instant(began.0 + TURN);
    driver.begin_turn(ended);
    driver.tell(session, Event::Posted);
    measured_turn(measures, ended, took(ended), driver);
}

#[inline(never)]
fn measured_turn(measures: &mut Measures, began: Instant, ended: Instant, driver: &mut Driver) {
    measures.turn_ended(began, ended, driver);
}

/// A session that has an answer of its backend whenever something is posted.
struct Answered {
    wants: bool,
    began: Stamp,
    is_answered: bool,
}

impl Session for Answered {
    fn handle_input(&mut self, _: Side, input: &[u8], _: Instant) -> Taken {
        Taken { n: input.len(), then: Then::More }
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        if matches!(event, Event::Posted) {
            (self.is_answered, self.began) = (true, Instant(now.0 - TURN).stamp());
        }
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_output(&mut self, _: &mut Vec<u8>) -> Option<Output> {
        let backend = BackendId(0);
        if std::mem::take(&mut self.wants) {
            let question =
                Question::OpenBackend { side: backend, server: "be1".into(), service: Service::Imap };
            return Some(Output::Ask { id: QuestionId(0), question });
        }
        let timing = Timing { verb: &"NOOP", backend: Some(backend), began: self.began, waits: None };
        std::mem::take(&mut self.is_answered).then_some(Output::Timed(timing))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}
