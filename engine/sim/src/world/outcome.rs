//! What came of a world.

use crate::host::Counts;

/// What came of a world.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What must not happen and did.
    pub violations: Vec<String>,
    /// Commands of clients that were answered OK.
    pub answered_ok: usize,
    /// Commands of clients that were answered NO or BAD.
    pub answered_no: usize,
    /// Times that clients were told to wait for a mailbox that is being moved.
    pub waited: usize,
    /// Changes of the list that the master acknowledged.
    pub changes: usize,
    /// Faults that were done.
    pub faults: usize,
    /// Times that a slave went on without the whole list.
    pub resumed: usize,
    /// Deliveries that were confirmed to an MTA.
    pub delivered: usize,
    /// Recipients and messages that an MTA has to send again.
    pub deferred: usize,
    /// COPYs and MOVEs that were answered OK.
    pub copied: usize,
    /// Moves of messages that operators were told to be unfinished.
    pub reports: usize,
    /// Users who were moved to another backend.
    pub moves: usize,
    /// Mailboxes that were renamed.
    pub renamed: usize,
    /// What became of sessions and backends.
    pub counts: Counts,
    /// Turns that were taken.
    pub turns: u64,
}

impl Outcome {
    /// Adds what came of another world but for its violations.
    pub fn add(&mut self, other: &Outcome) {
        self.answered_ok += other.answered_ok;
        self.answered_no += other.answered_no;
        self.waited += other.waited;
        self.changes += other.changes;
        self.faults += other.faults;
        self.resumed += other.resumed;
        self.delivered += other.delivered;
        self.deferred += other.deferred;
        self.copied += other.copied;
        self.reports += other.reports;
        self.moves += other.moves;
        self.renamed += other.renamed;
        self.counts.add(other.counts);
        self.turns += other.turns;
    }
}
