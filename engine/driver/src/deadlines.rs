//! Timers of sessions and connections. A session's has the key `2 * slot`, a connection's one more.

use std::mem;
use std::time::Duration;

use protocols::proxy::{Event, Instant, Sides};

use crate::Driver;
use crate::conn::{Finish, Job};
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
        let after = if conn.finish == Finish::Lingering { LINGER } else { self.patience(slot) };
        if conn.finish == Finish::Lingering || !self.wheel.is_armed(slot * 2 + 1) {
            self.wheel.arm(slot * 2 + 1, conn.progress + after);
        }
    }

    /// How long the first job of a connection may stand still.
    fn patience(&self, slot: u32) -> Duration {
        match self.conns.at(slot).and_then(|conn| conn.jobs.first()) {
            Some(Job::Forward { to, .. }) if to.len() > 1 => self.limits.slowest_after,
            Some(Job::Forward { .. } | Job::Discard { .. } | Job::Pipe { .. }) | None => {
                self.limits.stalled_after
            }
        }
    }

    /// The destinations that the first job of a connection waits for.
    fn without_room(&self, slot: u32) -> Sides {
        let Some(Job::Forward { to, .. }) = self.conns.at(slot).and_then(|conn| conn.jobs.first()) else {
            return Sides::new();
        };
        let full = |slot: &u32| {
            let conn = self.conns.at(*slot)?;
            (conn.room() == 0).then_some(conn.side)
        };
        to.iter().filter_map(full).collect()
    }

    fn conn_time(&mut self, slot: u32) {
        let now = self.now;
        if self.conns.at(slot).is_some_and(|conn| conn.pooled) {
            return self.retire(slot);
        }
        let patience = self.patience(slot);
        if let Some(since) = self.pipe_progress(slot)
            && now.since(since) >= patience
        {
            return self.pipe_is_idle(slot, since);
        }
        let Some(conn) = self.conns.at_mut(slot) else { return };
        match conn.finish {
            Finish::No | Finish::HalfClosed if matches!(conn.jobs.first(), Some(Job::Pipe { .. })) => {}
            Finish::Lingering => return self.kill(slot),
            Finish::Closing => return,
            Finish::Close | Finish::HalfClose if now.since(conn.progress) >= patience => {
                return self.reset(slot);
            }
            Finish::No | Finish::HalfClosed if conn.jobs.is_empty() => return,
            Finish::No | Finish::HalfClosed if now.since(conn.progress) >= patience => {
                conn.progress = now;
                let (session, from) = (conn.session, conn.side);
                let to = self.without_room(slot);
                self.notify(session, Event::Stalled { from, to });
            }
            Finish::No | Finish::HalfClosed | Finish::Close | Finish::HalfClose => {}
        }
        self.watch(slot);
    }

    /// The last moment at which a byte went through the pipe that begins here, or through its other
    /// direction.
    fn pipe_progress(&self, slot: u32) -> Option<Instant> {
        let conn = self.conns.at(slot)?;
        let Some(Job::Pipe { to }) = conn.jobs.first() else { return None };
        let other = self.conns.at(*to).filter(|other| matches!(other.jobs.first(), Some(Job::Pipe { .. })));
        Some(other.map_or(conn.progress, |other| other.progress.max(conn.progress)))
    }

    /// Half a pipe ends here; of a whole one the machine decides.
    fn pipe_is_idle(&mut self, slot: u32, since: Instant) {
        let Some(conn) = self.conns.at(slot) else { return };
        if conn.finish != Finish::No {
            return self.reset(slot);
        }
        let session = conn.session;
        self.wheel.arm(slot * 2 + 1, self.now + self.limits.stalled_after);
        self.notify(session, Event::Idle { since });
    }
}
