//! What came of a world.

/// What came of a world.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What must not happen and did.
    pub violations: Vec<String>,
    /// Changes that were acknowledged.
    pub acknowledged: usize,
    /// Requests that were refused, by the rules or by a disk that failed.
    pub refused: usize,
    /// Faults that were done.
    pub faults: usize,
    /// Times that a slave went on without the whole list.
    pub resumed: usize,
    /// Changes that subscribers were told, each held against the order of commits.
    pub told: usize,
    /// Barriers of subscribers and slaves that were found exact.
    pub barriers: usize,
    /// Subscribers that were sent away with BYE.
    pub byes: usize,
    /// Turns that were taken.
    pub turns: u64,
}

impl Outcome {
    /// Adds another world's.
    pub fn add(&mut self, other: &Outcome) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.faults += other.faults;
        self.resumed += other.resumed;
        self.told += other.told;
        self.barriers += other.barriers;
        self.byes += other.byes;
        self.turns += other.turns;
    }
}
