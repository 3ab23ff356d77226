//! How long the last turns of a shard took.

/// Turns that are remembered; two that began in microseconds with the same place push each other out.
const PLACES: usize = 1024;

/// Remembers how long each of the last turns took, by the microsecond in which it began.
///
/// A command arrives in one turn and is answered in another. When it is answered, its first turn is
/// over, and what it took is the frontend's time, not the backend's.
#[derive(Debug)]
pub struct TurnLog {
    /// Beginning and length.
    turns: Box<[(u32, u32)]>,
}

impl Default for TurnLog {
    fn default() -> TurnLog {
        TurnLog { turns: vec![(0, 0); PLACES].into() }
    }
}

impl TurnLog {
    /// Notes a turn.
    pub fn ended(&mut self, began_us: u32, took_us: u32) {
        self.turns[place(began_us)] = (began_us, took_us);
    }

    /// How long the turn took that began then; zero when it is not remembered.
    pub fn took(&self, began_us: u32) -> u32 {
        let (began, took) = self.turns[place(began_us)];
        if began == began_us { took } else { 0 }
    }
}

/// Spreads beginnings that lie a round number of microseconds apart.
fn place(began_us: u32) -> usize {
    (began_us.wrapping_mul(0x9E37_79B9) >> 22) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_remembered_by_its_beginning() {
        let mut log = TurnLog::default();
        log.ended(7, 30);
        log.ended(8, 40);
        assert_eq!((log.took(7), log.took(8), log.took(9)), (30, 40, 0));
    }

    #[test]
    fn a_turn_in_the_same_place_pushes_the_older_one_out() {
        let mut log = TurnLog::default();
        log.ended(1, 10);
        let rival = (2..u32::MAX).find(|other| place(*other) == place(1));
        log.ended(rival.unwrap_or_default(), 20);
        assert_eq!(log.took(1), 0);
    }
}
