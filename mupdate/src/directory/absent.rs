//! Names that a barrier showed absent a moment ago: who guesses addresses asks for the same ones again and again, and
//! each look-up of a name that is not there would be a NOOP to the master.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use protocols::proxy::Instant;

/// For how long a name is believed absent. A mailbox that is made meanwhile is found as soon as the list has it.
const BELIEVED_FOR: Duration = Duration::from_secs(1);

/// Names that are kept; past it the oldest goes.
const NAMES_MAX: usize = 4096;

/// The names.
#[derive(Default)]
pub(super) struct Absent {
    /// When each was proven absent at the latest.
    since: BTreeMap<Box<[u8]>, Instant>,
    /// The same by age.
    order: VecDeque<(Instant, Box<[u8]>)>,
}

impl Absent {
    /// A barrier that was asked for at `since` or later showed that there is no such name.
    pub(super) fn learn(&mut self, name: &[u8], since: Instant) {
        if self.order.len() >= NAMES_MAX {
            self.forget_oldest();
        }
        self.since.insert(name.into(), since);
        self.order.push_back((since, name.into()));
    }

    /// Whether a name is believed absent.
    pub(super) fn knows(&mut self, name: &[u8], now: Instant) -> bool {
        while self.order.front().is_some_and(|(since, _)| now.since(*since) >= BELIEVED_FOR) {
            self.forget_oldest();
        }
        self.since.contains_key(name)
    }

    fn forget_oldest(&mut self) {
        let Some((since, name)) = self.order.pop_front() else { return };
        // It may have been learnt again.
        if self.since.get(&name) == Some(&since) {
            self.since.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant(ms * 1_000_000)
    }

    #[test]
    fn names_are_believed_absent_for_a_second() {
        let mut absent = Absent::default();
        absent.learn(b"user.a", at(0));
        assert!(absent.knows(b"user.a", at(999)) && !absent.knows(b"user.b", at(999)));
        absent.learn(b"user.a", at(999));
        assert!(absent.knows(b"user.a", at(1500)), "what was learnt again is younger");
        assert!(!absent.knows(b"user.a", at(1999)));
        assert!(absent.order.is_empty() && absent.since.is_empty());
    }

    #[test]
    fn the_oldest_goes_where_there_are_too_many() {
        let mut absent = Absent::default();
        for n in 0..=NAMES_MAX {
            absent.learn(format!("user.{n}").as_bytes(), at(0));
        }
        assert!(!absent.knows(b"user.0", at(1)) && absent.knows(b"user.1", at(1)));
        assert_eq!(absent.order.len(), NAMES_MAX);
        assert_eq!(absent.since.len(), NAMES_MAX);
    }
}
