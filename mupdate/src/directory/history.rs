//! Which histories a list has gone through, so that who follows it may go on where he was.
//!
//! A sequence number alone says little: a master that was restored from a copy gives the same
//! numbers to other changes. So a new *epoch*, with a name that no other has, begins whenever a
//! store is opened, and the store keeps the names together with the numbers at which they began:
//!
//! ```text
//!   sequence   0 ........... 500 .............. 900 ........... 1000
//!   epochs     |─── aaaa ────|────── bbbb ──────|──── cccc ───>
//!   a copy of 900, restored later:              |──────── dddd ───────>
//! ```
//!
//! Who stands at `bbbb 850` has seen nothing that either of the two has not. Who stands at
//! `cccc 950` has seen what the restored one never had: it does not know `cccc`. Who stands at
//! `bbbb 950` cannot be, as `bbbb` ended at 900; if it is told so, it is not believed.

use protocols::proxy::Position;

/// Epochs that are remembered; who followed an older one gets the whole list.
pub const EPOCHS_MAX: usize = 64;

/// One stretch of a history.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Epoch {
    /// A name that no other has: letters and digits.
    pub name: Box<str>,
    /// The sequence number at which it began.
    pub first: u64,
}

/// The epochs of a list, the oldest first. Without any there is nothing to go on with.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct History(pub Vec<Epoch>);

impl History {
    /// Begins an epoch; the oldest is forgotten when there are too many.
    pub fn begin(&mut self, name: Box<str>, first: u64) {
        self.0.push(Epoch { name, first });
        if self.0.len() > EPOCHS_MAX {
            self.0.remove(0);
        }
    }

    /// The name of the epoch that goes on.
    pub fn current(&self) -> Option<&str> {
        self.0.last().map(|epoch| &*epoch.name)
    }

    /// Whether who stands at a position has seen nothing but what this history has, up to its
    /// sequence number `newest`.
    pub fn has(&self, position: &Position, newest: u64) -> bool {
        let Some(at) = self.0.iter().position(|epoch| epoch.name == position.epoch) else { return false };
        let end = self.0.get(at + 1).map_or(newest, |next| next.first);
        (self.0[at].first..=end).contains(&position.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(epochs: &[(&str, u64)]) -> History {
        let mut history = History::default();
        epochs.iter().for_each(|(name, first)| history.begin((*name).into(), *first));
        history
    }

    fn at(epoch: &str, sequence: u64) -> Position {
        Position { epoch: epoch.into(), sequence }
    }

    #[test]
    fn only_who_has_seen_the_same_history_goes_on() {
        let went_on = history(&[("aaaa", 0), ("bbbb", 500), ("cccc", 900)]);
        let restored = history(&[("aaaa", 0), ("bbbb", 500), ("dddd", 850)]);
        assert!(went_on.has(&at("bbbb", 850), 1000) && restored.has(&at("bbbb", 850), 1000));
        assert!(went_on.has(&at("bbbb", 900), 1000) && !restored.has(&at("bbbb", 900), 1000));
        assert!(went_on.has(&at("cccc", 1000), 1000) && !restored.has(&at("cccc", 1000), 1000));
    }

    #[test]
    fn a_number_outside_its_epoch_is_not_believed() {
        let history = history(&[("aaaa", 10), ("bbbb", 500)]);
        assert!(!history.has(&at("aaaa", 9), 600));
        assert!(!history.has(&at("aaaa", 501), 600));
        assert!(!history.has(&at("bbbb", 499), 600));
        assert!(!history.has(&at("bbbb", 601), 600));
        assert!(!history.has(&at("", 0), 600));
        assert!(history.has(&at("bbbb", 600), 600));
    }

    #[test]
    fn the_oldest_epoch_is_forgotten() {
        let mut history = History::default();
        (0..EPOCHS_MAX as u64 + 3).for_each(|n| history.begin(format!("e{n}").into(), n));
        assert_eq!(history.0.len(), EPOCHS_MAX);
        assert!(!history.has(&at("e2", 2), 100) && history.has(&at("e3", 3), 100));
        assert_eq!(history.current(), Some("e66"));
    }
}
