//! Timers: a hierarchical wheel of fixed places.
//!
//! ```text
//!   level 0: 64 slots of 1 tick (about 1 ms)     level 1: 64 slots of 64 ticks     ... level 5
//! ```
//!
//! A timer has a key, which is its place in the table, so that arming one allocates nothing. A timer
//! that lies far is put in a coarse slot and moved closer when the wheel comes by.

use protocols::proxy::Instant;

/// Nanoseconds of a tick as a power of two: 2^20 ns is 1.05 ms.
const TICK_SHIFT: u32 = 20;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 6;
const NONE: u32 = u32::MAX;

/// The list of a timer that is not armed.
const NO_LIST: u16 = u16::MAX;

/// Where a timer stands: 16 bytes, of which an idle session has four times as many.
#[derive(Clone, Copy)]
struct Timer {
    /// Its tick: 2^64 ns have not more than 2^44.
    tick_low: u32,
    tick_high: u16,
    /// Level and slot, or `NO_LIST` when it is not armed.
    list: u16,
    next: u32,
    previous: u32,
}

const UNARMED: Timer = Timer { tick_low: 0, tick_high: 0, list: NO_LIST, next: NONE, previous: NONE };

impl Timer {
    fn tick(self) -> u64 {
        u64::from(self.tick_high) << 32 | u64::from(self.tick_low)
    }

    fn tick_at(&mut self, tick: u64) {
        (self.tick_low, self.tick_high) = (tick as u32, (tick >> 32) as u16);
    }
}

/// The timers of one driver.
pub(crate) struct Wheel {
    /// The tick that was looked at last.
    tick: u64,
    heads: Box<[u32; SLOTS * LEVELS]>,
    /// A bit for each slot that has timers.
    filled: [u64; LEVELS],
    timers: Vec<Timer>,
    armed: usize,
}

impl Wheel {
    /// With room for so many timers.
    pub(crate) fn new(room: usize) -> Wheel {
        Wheel {
            tick: 0,
            heads: Box::new([NONE; SLOTS * LEVELS]),
            filled: [0; LEVELS],
            timers: Vec::with_capacity(room),
            armed: 0,
        }
    }

    /// Arms the timer of a key, in place of what it was armed for. It never fires early.
    pub(crate) fn arm(&mut self, key: u32, at: Instant) {
        self.disarm(key);
        if self.timers.len() <= key as usize {
            self.timers.resize(key as usize + 1, UNARMED);
        }
        let tick = (at.0 >> TICK_SHIFT).saturating_add(1).max(self.tick + 1);
        self.timers[key as usize].tick_at(tick);
        self.armed += 1;
        self.link(key);
    }

    pub(crate) fn disarm(&mut self, key: u32) {
        let Some(timer) = self.timers.get(key as usize) else { return };
        if timer.list != NO_LIST {
            self.unlink(key);
            self.armed -= 1;
        }
    }

    pub(crate) fn is_armed(&self, key: u32) -> bool {
        self.timers.get(key as usize).is_some_and(|timer| timer.list != NO_LIST)
    }

    /// A moment that is not later than the first timer; with coarse slots it may be earlier.
    pub(crate) fn next(&self) -> Option<Instant> {
        if self.armed == 0 {
            return None;
        }
        let first = (0..LEVELS).filter_map(|level| self.first_tick_of(level)).min()?;
        Some(Instant(first << TICK_SHIFT))
    }

    /// Moves on to `now`; keys whose time has come are appended to `fired`, unordered within a tick.
    pub(crate) fn advance(&mut self, now: Instant, fired: &mut Vec<u32>) {
        let target = now.0 >> TICK_SHIFT;
        while self.tick < target {
            // What lies between is empty: go where the next slot with timers begins.
            let next = (0..LEVELS).filter_map(|level| self.first_tick_of(level)).min();
            match next {
                Some(tick) if tick <= target => self.tick = tick.max(self.tick + 1),
                Some(_) | None => {
                    self.tick = target;
                    return;
                }
            }
            self.visit(fired);
        }
    }

    /// Fires the slot of the current tick and brings the coarse slots that begin here closer.
    fn visit(&mut self, fired: &mut Vec<u32>) {
        for level in (0..LEVELS).rev() {
            let shift = SLOT_BITS * level as u32;
            if self.tick & ((1u64 << shift) - 1) != 0 {
                continue;
            }
            let list = level * SLOTS + ((self.tick >> shift) as usize & (SLOTS - 1));
            while self.heads[list] != NONE {
                let key = self.heads[list];
                self.unlink(key);
                if self.timers[key as usize].tick() <= self.tick {
                    self.armed -= 1;
                    fired.push(key);
                } else {
                    self.link(key);
                }
            }
        }
    }

    /// The first tick behind the current one at which a slot of this level begins that has timers.
    fn first_tick_of(&self, level: usize) -> Option<u64> {
        let filled = self.filled[level];
        if filled == 0 {
            return None;
        }
        let shift = SLOT_BITS * level as u32;
        let here = self.tick >> shift;
        // The slot of the current tick itself can only mean one round later.
        let behind = (here + 1) & (SLOTS as u64 - 1);
        let distance = u64::from(filled.rotate_right(behind as u32).trailing_zeros());
        Some((here + 1 + distance) << shift)
    }

    fn link(&mut self, key: u32) {
        let tick = self.timers[key as usize].tick();
        let level = level_of(self.tick, tick);
        let shift = SLOT_BITS * level as u32;
        // Further than the wheel reaches: the last slot before the current one, looked at again then.
        let reach = (SLOTS as u64 - 1) << shift;
        let tick = tick.min(self.tick.saturating_add(reach));
        let list = level * SLOTS + ((tick >> shift) as usize & (SLOTS - 1));
        let head = self.heads[list];
        let timer = &mut self.timers[key as usize];
        (timer.list, timer.previous, timer.next) = (list as u16, NONE, head);
        if head != NONE {
            self.timers[head as usize].previous = key;
        }
        self.heads[list] = key;
        self.filled[level] |= 1 << (list % SLOTS);
    }

    fn unlink(&mut self, key: u32) {
        let Timer { next, previous, list, .. } = self.timers[key as usize];
        if previous == NONE {
            self.heads[list as usize] = next;
        } else {
            self.timers[previous as usize].next = next;
        }
        if next != NONE {
            self.timers[next as usize].previous = previous;
        }
        if self.heads[list as usize] == NONE {
            self.filled[list as usize / SLOTS] &= !(1 << (list as usize % SLOTS));
        }
        self.timers[key as usize].list = NO_LIST;
    }
}

/// The finest level on which `tick` is less than a round away, counted in whole slots.
fn level_of(now: u64, tick: u64) -> usize {
    let mut level = 0;
    while level + 1 < LEVELS {
        let shift = SLOT_BITS * level as u32;
        if (tick >> shift) - (now >> shift) < SLOTS as u64 {
            break;
        }
        level += 1;
    }
    level
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Instant {
        Instant(ms * 1_000_000)
    }

    #[test]
    fn timers_fire_once_and_never_early_whatever_their_distance() {
        let mut wheel = Wheel::new(0);
        let mut due = Vec::new();
        let mut seed = 7u64;
        for key in 0..2000u32 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (seed >> 33) % (1 << (key % 31));
            due.push(at);
            wheel.arm(key, ms(at));
        }
        let mut fired = Vec::new();
        let (mut now, mut seen) = (0u64, 0);
        while seen < due.len() {
            let next = wheel.next().expect("timers are armed");
            now = now.max(next.0 / 1_000_000) + 1;
            wheel.advance(ms(now), &mut fired);
            for key in fired.drain(..) {
                assert!(due[key as usize] <= now, "timer {key} fired early");
                due[key as usize] = u64::MAX;
                seen += 1;
            }
            // At most two ticks late: what was due long ago has fired.
            assert!(due.iter().all(|at| *at == u64::MAX || *at + 4 > now), "a timer is late at {now}");
        }
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn a_disarmed_timer_does_not_fire_and_rearming_replaces() {
        let mut wheel = Wheel::new(0);
        let mut fired = Vec::new();
        wheel.arm(1, ms(10));
        wheel.arm(2, ms(10));
        wheel.arm(2, ms(5000));
        wheel.disarm(1);
        wheel.advance(ms(4000), &mut fired);
        assert!(fired.is_empty());
        wheel.advance(ms(6000), &mut fired);
        assert_eq!(fired, [2]);
    }

    #[test]
    fn a_deadline_of_centuries_is_no_trouble() {
        let mut wheel = Wheel::new(0);
        let mut fired = Vec::new();
        wheel.arm(0, Instant(u64::MAX));
        wheel.advance(ms(40 * 365 * 24 * 3600 * 1000), &mut fired);
        assert!(fired.is_empty());
    }
}
