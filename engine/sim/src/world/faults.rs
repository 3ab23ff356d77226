//! Faults of a world: servers die and come back, connections break, backends are stopped.

use std::time::Duration;

use protocols::proxy::Instant;

use super::{LMTP, RENAMERS_FROM, SLAVES, World, frontend, master};
use crate::net::Owner;
use crate::site::BACKENDS;

/// The longest time for which a backend is stopped: longer than deadlines of the frontends.
const STOPPED_MAX: Duration = Duration::from_secs(15);

impl World {
    /// One server, or the connection of a client, dies; or a backend is stopped for a while.
    pub(super) fn fault(&mut self) {
        self.outcome.faults += 1;
        let pause = Duration::from_millis(1) + self.dice.time(Duration::from_secs(4));
        let back = self.now + pause;
        if self.dice.per_mille(300) {
            let n = self.dice.below(BACKENDS);
            self.stopped[n] = self.stopped[n].max(self.now + self.dice.time(STOPPED_MAX));
            if self.trace {
                println!("{:>12} backend {n} is stopped until {}", self.now.0, self.stopped[n].0);
            }
            return;
        }
        let who = match self.dice.below(10) {
            0..5 => Owner::Backend(self.dice.below(BACKENDS)),
            5 | 6 => Owner::Frontend(self.dice.below(SLAVES)),
            7 | 8 => Owner::Master,
            _ => Owner::Client(self.dice.below(self.clients.len().max(1))),
        };
        if self.revivals.iter().any(|(_, other)| *other == who) {
            return;
        }
        if self.trace {
            println!("{:>12} {who:?} dies for {pause:?}", self.now.0);
        }
        self.net.reset_all(who, self.now);
        match who {
            Owner::Backend(n) => {
                self.backends[n].set_up(false);
                self.stopped[n] = Instant(0);
                self.servers[n].die();
                self.net.reset_all(Owner::Client(RENAMERS_FROM + n), self.now);
                self.net.reset_all(Owner::Backend(LMTP + n), self.now);
                self.stores[n].die();
            }
            Owner::Frontend(n) => self.frontends_up[n] = false,
            Owner::Master => self.master_up = false,
            Owner::Client(_) => return,
        }
        self.revivals.push((back, who));
    }

    /// Those whose time has come are there again.
    pub(super) fn come_back(&mut self) {
        let now = self.now;
        let back: Vec<_> = self.revivals.iter().filter(|(at, _)| *at <= now).map(|(_, who)| *who).collect();
        self.revivals.retain(|(at, _)| *at > now);
        back.into_iter().for_each(|who| self.revive(who));
    }

    /// Who died begins again with what it has stored.
    fn revive(&mut self, who: Owner) {
        match who {
            Owner::Backend(n) => self.backends[n].set_up(true),
            Owner::Frontend(n) => {
                let stored = self.frontends[n].stored.clone();
                let before = std::mem::replace(&mut self.frontends[n], frontend(&mut self.dice, stored));
                before.reports.into_iter().for_each(|report| self.truth.reported(report));
                self.outcome.counts.add(before.counts);
                self.frontends_up[n] = true;
            }
            Owner::Master => {
                self.master = master(self.master.stored.clone());
                self.master_up = true;
            }
            Owner::Client(_) => {}
        }
        self.wake(self.now, who);
    }
}
