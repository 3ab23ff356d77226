//! The disk of a directory: writes take time, fail, and may or may not have landed when the power goes.

use std::time::Duration;

use mupdate::directory::StoreWrite;
use protocols::proxy::Instant;

use crate::dice::Dice;

/// How a disk behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habit {
    /// The longest time that a write takes.
    pub delay_max: Duration,
    /// Writes in a thousand that fail. Whether they landed is decided by the dice.
    pub failures: u32,
}

/// What became of a write.
pub struct Written {
    /// It.
    pub write: StoreWrite,
    /// It is on the disk.
    pub landed: bool,
    /// The disk said so.
    pub said_so: bool,
}

/// The disk: one write is out at a time.
#[derive(Default)]
pub struct Disk {
    habit: Habit,
    out: Option<(Instant, Written)>,
}

impl Disk {
    /// A disk with these habits; the default one writes at once and never fails.
    pub fn new(habit: Habit) -> Disk {
        Disk { habit, out: None }
    }

    /// Begins a write.
    pub fn begin(&mut self, write: StoreWrite, now: Instant, dice: &mut Dice) {
        let (mut at, mut landed, mut said_so) = (now, true, true);
        if !self.habit.delay_max.is_zero() {
            at = now + dice.time(self.habit.delay_max);
        }
        if self.habit.failures > 0 && dice.per_mille(self.habit.failures) {
            (landed, said_so) = (dice.per_mille(500), false);
        }
        self.out = Some((at, Written { write, landed, said_so }));
    }

    /// A write that has ended.
    pub fn poll(&mut self, now: Instant) -> Option<Written> {
        self.out.take_if(|(at, _)| *at <= now).map(|(_, written)| written)
    }

    /// When the write that is out ends.
    pub fn next(&self) -> Option<Instant> {
        self.out.as_ref().map(|(at, _)| *at)
    }

    /// The power goes: the write that is out has landed or not, and nobody is told.
    pub fn lose_power(&mut self, dice: &mut Dice) -> Option<StoreWrite> {
        let (_, written) = self.out.take()?;
        (written.landed && dice.per_mille(500)).then_some(written.write)
    }
}
