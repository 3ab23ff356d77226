//! Faults of a world: processes die, stand still and stop, connections break; and how they end.

use std::time::Duration;

use super::life::{Life, Picture};
use super::{MANNERS, SLAVES, State, WATCHERS_FROM, WRITERS, World, started_master};
use crate::disk::Disk;
use crate::net::Owner;

/// A start takes longer than any delivery on its way.
const DOWN_MIN: Duration = Duration::from_millis(60);

impl World {
    /// Somebody dies, stands still, says BYE, or loses his connections.
    pub(super) fn fault(&mut self) {
        self.outcome.faults += 1;
        let pause = DOWN_MIN + self.dice.time(Duration::from_millis(1500));
        let (now, until) = (self.now, self.now + pause);
        let slave = self.dice.below(SLAVES);
        match self.dice.below(12) {
            0..3 if self.state == State::Up => {
                self.note(|| format!("the master dies until {}", until.0 / 1_000));
                self.net.reset_all(Owner::Master, now);
                if let Some(write) = self.master.disk.lose_power(&mut self.dice) {
                    self.master.stored.take(write);
                }
                self.state = State::Down(until);
            }
            3 if self.state == State::Up => {
                self.note(|| "the master says BYE".to_owned());
                let soon = now + Duration::from_millis(100);
                self.master.carrier.driver.drain(soon);
                self.state = State::Leaving(soon);
                self.wake(now, Owner::Master);
            }
            4 if self.state == State::Up => {
                self.note(|| "the master stands still".to_owned());
                self.state = State::Frozen(until);
            }
            5 | 6 if self.slaves[slave].state == State::Up => {
                self.note(|| format!("slave {slave} dies"));
                self.net.reset_all(Owner::Frontend(slave), now);
                let slave = &mut self.slaves[slave];
                if let Some(write) = slave.host.disk.lose_power(&mut self.dice) {
                    slave.host.stored.take(write);
                }
                slave.probes.clear();
                slave.state = State::Down(until);
            }
            7 | 8 if self.slaves[slave].state == State::Up => {
                self.note(|| format!("slave {slave} stands still"));
                self.slaves[slave].state = State::Frozen(until);
            }
            9 => self.net.reset_all(Owner::Frontend(slave), now),
            10 => self.net.reset_all(Owner::Client(self.dice.below(WRITERS)), now),
            _ => self.net.reset_all(Owner::Client(WATCHERS_FROM + self.dice.below(MANNERS.len())), now),
        }
    }

    /// Whose time has come goes on, or stops, or is started again.
    pub(super) fn come_back(&mut self) {
        let is_due = |state: State, now| state.until().is_some_and(|at| at <= now);
        if is_due(self.state, self.now) {
            match self.state {
                State::Leaving(_) => {
                    self.net.reset_all(Owner::Master, self.now);
                    // A clean stop waits for what is being written, and writes what waits.
                    self.master.disk = Disk::default();
                    self.state = State::Down(self.now + DOWN_MIN);
                }
                State::Down(_) => {
                    self.master = started_master(self.master.stored.clone(), self.disk);
                    let stored = &self.master.stored;
                    let picture = Picture::of(stored.entries.values().cloned());
                    self.lives.push(Life::begin(picture, stored.sequence));
                    self.state = State::Up;
                    self.note(|| "the master is started".to_owned());
                }
                State::Frozen(_) | State::Up => self.state = State::Up,
            }
            self.wake(self.now, Owner::Master);
        }
        for n in 0..SLAVES {
            if !is_due(self.slaves[n].state, self.now) {
                continue;
            }
            if let State::Down(_) = self.slaves[n].state {
                let stored = self.slaves[n].host.stored.clone();
                self.outcome.resumed += self.slaves[n].host.resumed;
                self.slaves[n].host = self.started_slave(n, stored);
            }
            self.slaves[n].state = State::Up;
            self.wake(self.now, Owner::Frontend(n));
        }
    }
}
