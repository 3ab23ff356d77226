//! Whether all of a world are in step, and what must hold when they are.

use std::time::Duration;

use protocols::proxy::Knowledge;

use super::life::{Picture, mark_of};
use super::{FAULTS_END, MANNERS, State, TURNS_MAX, World};

/// Who is not in step so long after that never will be.
const CALM: Duration = Duration::from_secs(120);

/// Between two looks at whether all are in step.
const LOOK: Duration = Duration::from_millis(250);

/// Octets that may stand unread in a connection: what the window of the network lets through.
const INBOX_BYTES_MAX: usize = 96 * 1024;

impl World {
    /// Everybody is there and in step, or had time enough.
    pub(super) fn is_over(&mut self) -> bool {
        if self.now < self.next_look {
            return false;
        }
        // Lists are compared as a whole: not at every tick.
        self.next_look = self.now + LOOK;
        self.now >= FAULTS_END + CALM || self.laggards().is_empty()
    }

    /// Who is not in step.
    fn laggards(&self) -> Vec<String> {
        let mut laggards = Vec::new();
        if self.state != State::Up {
            laggards.push("the master is not there".to_owned());
        }
        let mark = self.lives[self.lives.len() - 1].picture.mark();
        for (n, slave) in self.slaves.iter().enumerate() {
            let knowledge = slave.host.directory.knowledge();
            let is_equal = mark_of(&slave.host.directory.published().load().list) == mark;
            if knowledge != Knowledge::Live || !is_equal {
                laggards.push(format!("slave {n} is {knowledge:?}, its list is equal: {is_equal}"));
            }
        }
        let watchers = self.watchers.iter().zip(MANNERS).filter(|(watcher, _)| !watcher.is_done(&self.lives));
        laggards.extend(watchers.map(|(_, manner)| format!("a {manner:?} subscriber is behind")));
        let writers = self.writers.iter().filter(|writer| !writer.is_idle());
        laggards.extend(writers.map(|_| "a backend waits for an answer".to_owned()));
        laggards
    }

    /// Looks at what is left of a world.
    pub(super) fn judge(&mut self) {
        self.outcome.violations.extend(self.laggards());
        if self.outcome.turns >= TURNS_MAX {
            self.violation(format!("{TURNS_MAX} turns and no end"));
        }
        if self.net.inbox_bytes_seen_max > INBOX_BYTES_MAX {
            self.violation(format!("{} octets stood unread", self.net.inbox_bytes_seen_max));
        }
        let life = &self.lives[self.lives.len() - 1];
        let mark = mark_of(&self.master.directory.published().load().list);
        let disk = Picture::of(self.master.stored.entries.values().cloned()).mark();
        if mark != life.picture.mark() || disk != mark {
            self.violation("the list, the disk and the changes of the master differ".to_owned());
        }
        let outcome = &mut self.outcome;
        for writer in &mut self.writers {
            writer.judge(&self.master.stored);
            outcome.violations.append(&mut writer.violations);
            outcome.acknowledged += writer.acknowledged;
            outcome.refused += writer.refused;
        }
        for watcher in &mut self.watchers {
            outcome.violations.append(&mut watcher.violations);
            outcome.told += watcher.told;
            outcome.barriers += watcher.barriers;
            outcome.byes += watcher.byes;
        }
        outcome.resumed += self.slaves.iter().map(|slave| slave.host.resumed).sum::<usize>();
    }
}
