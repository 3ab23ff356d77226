//! Timers of sessions and connections. A session's has the key `2 * slot`, a connection's one more.

use std::mem;

use protocols::proxy::{Event, Instant};

use crate::Driver;
use crate::conn::Finish;
use crate::limits::LINGER;

impl Driver {
    /// When a turn is wanted at the latest; it may be earlier than the first timer.
    pub fn next_deadline(&self) -> Option<Instant> {
        match (self.wheel.next(), self.drain) {
            (Some(timer), Some(drain)) => Some(timer.min(drain)),
            (timer, drain) => timer.or(drain),
        }
    }

    pub(crate) fn fire_timers(&mut self) {
        let mut fired = mem::take(&mut self.fired);
        self.wheel.advance(self.now, &mut fired);
        for key in fired.drain(..) {
            if key % 2 == 0 { self.session_time(key / 2) } else { self.conn_time(key / 2) }
        }
        self.fired = fired;
        if self.drain.is_some_and(|deadline| deadline <= self.now) {
            self.drain = None;
            self.stop();
        }
        self.work();
    }

    /// Arms the timer of a connection that has a job or is on its way out, unless it is armed.
    pub(crate) fn watch(&mut self, slot: u32) {
        let Some(conn) = self.conns.at(slot) else { return };
        let after = if conn.finish == Finish::Lingering { LINGER } else { self.limits.stalled_after };
        if conn.finish == Finish::Lingering || !self.wheel.is_armed(slot * 2 + 1) {
            self.wheel.arm(slot * 2 + 1, conn.progress + after);
        }
    }

    fn conn_time(&mut self, slot: u32) {
        let now = self.now;
        let patience = self.limits.stalled_after;
        let Some(conn) = self.conns.at_mut(slot) else { return };
        match conn.finish {
            Finish::Lingering => return self.kill(slot),
            Finish::Closing => return,
            Finish::Close | Finish::HalfClose if now.since(conn.progress) >= patience => {
                return self.reset(slot);
            }
            Finish::No | Finish::HalfClosed if conn.jobs.is_empty() => return,
            Finish::No | Finish::HalfClosed if now.since(conn.progress) >= patience => {
                conn.progress = now;
                let (session, from) = (conn.session, conn.side);
                self.notify(session, Event::Stalled { from });
            }
            Finish::No | Finish::HalfClosed | Finish::Close | Finish::HalfClose => {}
        }
        self.watch(slot);
    }
}
