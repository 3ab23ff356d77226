//! What clients ask to be done and are told of it: above all the commands that add messages to a mailbox.

use protocols::proxy::Instant;

/// What a client asked to be done with messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// APPEND.
    Append,
    /// COPY.
    Copy,
    /// MOVE.
    Move,
}

/// What he was told of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Nothing yet.
    Pending,
    /// OK.
    Done,
    /// NO, and nothing was done.
    Refused,
    /// NO, and something may have been done; or the session ended before the answer.
    Doubtful,
}

/// One command that adds messages to a mailbox.
#[derive(Clone, Debug)]
pub struct Deed {
    /// Which.
    pub action: Action,
    /// Whose.
    pub user: String,
    /// The mailbox that the messages are in, whatever it is called; an APPEND has none.
    pub source: String,
    /// The mailbox that they go to, whatever it is called.
    pub destination: String,
    /// The same as the user typed it.
    pub typed: String,
    /// The messages as he typed them.
    pub set: String,
    /// Their UIDs.
    pub uids: Vec<u32>,
    /// The seeds of what is added.
    pub seeds: Vec<u64>,
    /// When he asked.
    pub asked: Instant,
    /// What he was told.
    pub outcome: Outcome,
    /// COPYUID: what became what.
    pub copies: Vec<(u32, u32)>,
}
