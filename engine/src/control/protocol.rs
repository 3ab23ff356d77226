//! What travels over the control socket.

use serde::{Deserialize, Serialize};

use crate::program::Program;

/// A question.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// How the daemon is.
    Status,
    /// Where a mailbox is.
    Locate {
        /// The internal name.
        name: String,
    },
    /// The mailboxes whose names match.
    List {
        /// Over internal names: `*` matches anything, `%` anything but a dot.
        pattern: String,
    },
    /// Take the dump that is held back.
    Accept,
    /// A master's conflicts.
    Conflicts,
    /// Forget a master's conflicts, but for those that came up later.
    ForgetConflicts {
        /// Seconds since 1970.
        until_unix: u64,
    },
    /// A master's reservations.
    Reservations,
    /// A master's moves that came to no end.
    UnfinishedMoves,
    /// What every shard carries.
    Shards,
    /// How long commands took, and whom they waited for.
    Latency {
        /// Whether every time is wanted, not only percentiles.
        #[serde(default)]
        times: bool,
    },
    /// The slowest commands of the last half minute and the one before.
    Slowest,
}

/// The last line of an answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub(super) enum End {
    /// All rows were given.
    Done,
    /// There is no answer, or no more of it.
    Refused {
        /// Lower case, no period.
        why: String,
    },
}

/// What a shard carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShardLoad {
    /// Its number.
    pub shard: u64,
    /// Sessions that stand.
    pub sessions: u64,
    /// Connections of clients and to backends.
    pub connections: u64,
    /// Commands that were answered since the start.
    pub commands: u64,
    /// Times that found no histogram.
    pub unrecorded: u64,
}

/// How long commands took in one stage, over all shards, since the start. Times are in microseconds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// `verb` or `backend`.
    pub kind: String,
    /// The verb, or the server as in the mailbox list.
    pub name: String,
    /// `total`, `own`, `client`, `backend`, `authentication` or `directory`.
    pub stage: String,
    /// Commands.
    pub count: u64,
    /// Their mean.
    pub mean_us: f64,
    /// Half of them took at most this.
    pub p50_us: u64,
    /// Nine of ten.
    pub p90_us: u64,
    /// All but one of a hundred.
    pub p99_us: u64,
    /// All but one of a thousand.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
    /// Times and how often each, if they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub times: Vec<(u64, u32)>,
}

/// A command that took long.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SlowCommand {
    /// Its verb.
    pub verb: String,
    /// The backend that served it.
    pub server: Option<String>,
    /// How long it took, in microseconds.
    pub us: u64,
}

/// How a daemon is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The program.
    pub program: Program,
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since it was started.
    pub uptime_seconds: u64,
    /// The MUPDATE server that the list comes from; the master itself has none.
    pub source: Option<String>,
    /// `live`, `stale` or `never synced`.
    pub knowledge: String,
    /// Entries of the list, active and reserved.
    pub mailboxes: u64,
    /// The number of the last change in the list.
    pub sequence: u64,
    /// A dump that waits to be accepted.
    pub held_back: Option<HeldBackDump>,
    /// Sessions that stand, shard by shard.
    pub sessions: Vec<u64>,
}

/// A dump that would delete too much.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeldBackDump {
    /// Names that it would delete.
    pub deletes: u64,
    /// Names in the list that is kept.
    pub of: u64,
    /// Names that it brought.
    pub brought: u64,
}

/// What the list says of a name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mailbox {
    /// The internal name.
    pub name: String,
    /// Whether it is there.
    pub state: State,
    /// Where it is; `None` when the entry names no server (`mupdate_config: replicated`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// On which partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// Who may do what, as in MUPDATE: `id TAB rights TAB`, as often as needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<String>,
}

/// Whether a mailbox is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is.
    Active,
    /// It is being created or moved.
    Reserved,
    /// It is not.
    Absent,
    /// The list has no such name, but cannot be trusted with that.
    Unknown,
}

/// A request that contradicted the server where a mailbox is active.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Conflict {
    /// The internal name.
    pub name: String,
    /// `activate`, `deactivate` or `delete`.
    pub asked: String,
    /// `refused`, or `done`: then the owner has lost the mailbox.
    pub outcome: String,
    /// Where it was active.
    pub owner: String,
    /// Where the other claimant says it is; a DELETE does not say.
    pub claimed: Option<String>,
    /// The other claimant's address.
    pub address: Option<String>,
    /// Servers that had activated mailboxes from that address.
    pub servers: Vec<String>,
    /// When it was asked first, seconds since 1970.
    pub first_unix: u64,
    /// When it was asked last, seconds since 1970.
    pub last_unix: u64,
    /// How often.
    pub times: u64,
}

/// Conflicts that a master has forgotten.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Forgotten {
    /// How many.
    pub conflicts: u64,
}

/// A name that is reserved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reservation {
    /// The internal name.
    pub name: String,
    /// Where.
    pub location: String,
    /// `reserve`: it is being created; `deactivate`: it is being moved away.
    pub cause: String,
    /// Since when, seconds since 1970; `None` when it came with a list from elsewhere.
    pub since_unix: Option<u64>,
}

/// A move that broke off: its source has asked for the list of its mailboxes since, and not taken
/// this one back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UnfinishedMove {
    /// The internal name.
    pub name: String,
    /// Where it was.
    pub source: String,
    /// When the move began, seconds since 1970.
    pub deactivated_unix: Option<u64>,
    /// When the source asked for its list last, seconds since 1970.
    pub listed_unix: u64,
}

/// The dump that was held back becomes the list, in slices, within moments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Accepted {
    /// What it was.
    pub dump: HeldBackDump,
}

/// A name or a word of the list as it is told.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
