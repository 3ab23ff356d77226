//! Where the time of commands goes, and the probes at the borders.
//!
//! The session says when a command came and for whom it waited, in whole turns of the shard; what
//! the turns themselves took is added here. Two looks at the clock a turn are all that it costs
//! beside the histograms.
//!
//! Probes (USDT, provider `rookery`; without a tracer each is a nop):
//!
//! ```text
//!   turn_begin   shard's microseconds
//!   turn_end     microseconds that it took, commands answered in it
//!   command      verb (address, bytes), server (address, bytes), total, own, client, backend,
//!                authentication, directory: microseconds
//! ```

use std::sync::Arc;

use driver::{Driver, Timed};
use perf::{Recorder, ServerId, Snapshot, Split, TurnLog};
use protocols::proxy::{Instant, Waits};

/// What a shard tells who asks how it is.
#[derive(Debug)]
pub struct Measured {
    /// Its number.
    pub shard: usize,
    /// Sessions that run.
    pub sessions: usize,
    /// Connections that are open.
    pub connections: usize,
    /// Clients for whom there was no place, so far.
    pub refused: u64,
    /// Bytes that wait for somebody to take them.
    pub waiting: usize,
    /// Times of commands.
    pub snapshot: Snapshot,
}

/// The slowest commands are told for one to two windows of so many nanoseconds.
const SLOWEST_WINDOW: u64 = 30_000_000_000;

/// What one shard keeps of times.
#[derive(Default)]
pub(super) struct Measures {
    recorder: Recorder,
    turns: TurnLog,
    /// Empty between two turns.
    timed: Vec<Timed>,
}

impl Measures {
    /// A turn begins.
    pub(super) fn turn_begins(began: Instant) {
        #[allow(unsafe_code, reason = "the probe is a nop with its arguments described beside it")]
        {
            probe::probe!(rookery, turn_begin, began.0 / 1000);
        }
    }

    /// A turn has handed what it had to the kernel: the commands answered in it are counted.
    pub(super) fn turn_ended(&mut self, began: Instant, ended: Instant, driver: &mut Driver) {
        let took_us = began.stamp().until(ended.stamp());
        let mut timed = std::mem::take(&mut self.timed);
        driver.swap_timed(&mut timed);
        if !timed.is_empty() {
            self.recorder.age(began.0 / SLOWEST_WINDOW);
        }
        for timed in &timed {
            let split = self.split(timed, began, took_us);
            let server = timed.server.map(ServerId);
            self.recorder.record(timed.timing.verb, server, &split);
            tell_tracer(timed, driver, &split);
        }
        let answered = timed.len();
        timed.clear();
        self.timed = timed;
        // Behind the commands: one that came and was answered in this turn has only this turn.
        self.turns.ended(began.stamp().0, took_us);
        #[allow(unsafe_code, reason = "the probe is a nop with its arguments described beside it")]
        {
            probe::probe!(rookery, turn_end, took_us, answered);
        }
    }

    /// A copy of what was kept.
    pub(super) fn snapshot(&mut self, driver: &Driver, now: Instant) -> Snapshot {
        self.recorder.age(now.0 / SLOWEST_WINDOW);
        self.recorder.snapshot(|server| Arc::from(driver.server(server.0)))
    }

    /// The parts of a command's time, which ends in this turn.
    fn split(&self, timed: &Timed, began: Instant, took_us: u32) -> Split {
        let timing = &timed.timing;
        let elapsed = timing.began.until(began.stamp());
        let first_us = self.turns.took(timing.began.0).min(elapsed);
        let waits = match &timing.waits {
            Some(waits) => **waits,
            None => Waits { backend_us: elapsed, ..Waits::default() },
        };
        let unread_us = timed.unread_us.min(waits.backend_us);
        // The first turn stands in the wait that followed it.
        let mut rest_us = first_us;
        let mut less = |us: u32| {
            let part = rest_us.min(us);
            rest_us -= part;
            us - part
        };
        let backend_us = less(waits.backend_us - unread_us);
        let (authentication_us, directory_us) = (less(waits.authentication_us), less(waits.directory_us));
        let client_us = less(waits.client_us).saturating_add(unread_us);
        let total_us = elapsed.saturating_add(took_us);
        let waited = [client_us, backend_us, authentication_us, directory_us];
        let own_us = waited.iter().fold(total_us, |left, wait| left.saturating_sub(*wait));
        Split { total_us, own_us, client_us, backend_us, authentication_us, directory_us }
    }
}

fn tell_tracer(timed: &Timed, driver: &Driver, split: &Split) {
    let verb: &str = timed.timing.verb;
    let server = timed.server.map_or("", |server| driver.server(server));
    #[allow(unsafe_code, reason = "the probe is a nop with its arguments described beside it")]
    {
        probe::probe!(
            rookery,
            command,
            verb.as_ptr(),
            verb.len(),
            server.as_ptr(),
            server.len(),
            split.total_us,
            split.own_us,
            split.client_us,
            split.backend_us,
            split.authentication_us,
            split.directory_us
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use driver::{Limits, SessionId};
    use protocols::proxy::{Stamp, Timing};

    fn timed(began_us: u32, waits: Option<Waits>, unread_us: u32) -> Timed {
        let timing =
            Timing { verb: &"NOOP", backend: None, began: Stamp(began_us), waits: waits.map(Box::new) };
        Timed { session: SessionId { slot: 0, generation: 0 }, timing, server: None, unread_us }
    }

    fn at(us: u64) -> Instant {
        Instant(us * 1000)
    }

    #[test]
    fn both_turns_of_a_relayed_command_are_the_frontends() {
        let mut measures = Measures::default();
        let mut driver = Driver::new(Limits::default());
        measures.turn_ended(at(1000), at(1030), &mut driver);
        let split = measures.split(&timed(1000, None, 0), at(1500), 20);
        assert_eq!((split.total_us, split.own_us, split.backend_us), (520, 50, 470));
    }

    #[test]
    fn what_the_client_left_unread_is_no_wait_for_the_backend() {
        let split = Measures::default().split(&timed(0, None, 400), at(1000), 10);
        assert_eq!((split.client_us, split.backend_us, split.own_us), (400, 600, 10));
    }

    #[test]
    fn told_waits_stand_and_the_rest_is_own() {
        let waits = Waits { authentication_us: 3000, directory_us: 200, ..Waits::default() };
        let split = Measures::default().split(&timed(0, Some(waits), 0), at(3250), 50);
        assert_eq!((split.total_us, split.authentication_us, split.directory_us), (3300, 3000, 200));
        assert_eq!(split.own_us, 100);
    }
}
