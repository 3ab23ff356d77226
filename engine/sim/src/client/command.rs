//! The commands of a client, and what waits for its answer.

use protocols::proxy::Instant;

/// A command without a tagged answer.
pub(super) struct Pending {
    pub(super) tag: String,
    pub(super) verb: Verb,
    pub(super) since: Instant,
    /// Its number in the truth.
    pub(super) deed: Option<usize>,
    /// What it stores, of which messages.
    pub(super) keyword: Option<(String, Vec<u32>)>,
    /// The internal names of the mailboxes that it names.
    pub(super) named: Vec<String>,
    /// The number of a RENAME.
    pub(super) renames: Option<usize>,
}

/// What a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verb {
    Login,
    Enable,
    Select,
    Fetch,
    /// All UIDs.
    Look,
    Append,
    Status,
    List,
    ListStatus,
    Search,
    Quota,
    Rename,
    Noop,
    Copy,
    Move,
    Mark,
    Keyword,
    Expunge,
    Idle,
    Logout,
}

impl Verb {
    /// Nothing is pipelined behind it.
    pub(super) fn is_alone(self) -> bool {
        match self {
            Verb::Login
            | Verb::Enable
            | Verb::Select
            | Verb::Look
            | Verb::Copy
            | Verb::Move
            | Verb::Mark
            | Verb::Keyword
            | Verb::Expunge
            | Verb::Rename
            | Verb::Idle
            | Verb::Logout => true,
            Verb::Fetch
            | Verb::Append
            | Verb::Status
            | Verb::List
            | Verb::ListStatus
            | Verb::Search
            | Verb::Quota
            | Verb::Noop => false,
        }
    }
}
