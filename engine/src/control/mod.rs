//! The control socket: what an operator asks a running daemon.
//!
//! A UNIX socket of mode 0600, `{configdirectory}/socket/rookery` unless `rookery_control_socket`
//! names another, for root and the daemon's own user alone. It is served by threads of its own: a
//! shard never hears of it. Requests are lines of JSON, answers are lines of JSON:
//!
//! ```text
//!   C: {"ask":"locate","name":"user.fred"}
//!   S: {"name":"user.fred","state":"active","server":"backend1","partition":"default","acl":"fred\tlrs\t"}
//!   S: {"end":"done"}
//! ```
//!
//! An answer is any number of rows and one line with the key `end`: `done`, or `refused` with a
//! `why`. What the rows are depends on what was asked:
//!
//! ```text
//!   ask                    more       rows
//!   status                            one Status
//!   locate                 name       one Mailbox, also for a name that is not there
//!   list                   pattern    a Mailbox for every name that matches (`*`, `%`)
//!   accept                            one Accepted; refused when no dump is held back
//!   conflicts                         a Conflict for each (a master's, as the next three)
//!   forget_conflicts       until_unix one Forgotten
//!   reservations                      a Reservation for each
//!   unfinished_moves                  an UnfinishedMove for each
//!   shards                            a ShardLoad for each
//!   latency                times      a Latency for every stage of every verb and backend that came up
//!   slowest                           a SlowCommand for each, slowest first
//! ```
//!
//! A connection may ask any number of questions, one behind the other, and is closed after
//! [`IDLE_MAX`] without one. Names are internal ones. Bytes that are no UTF-8, which Cyrus puts into
//! no name, are shown as U+FFFD. Keys may be added to rows; those that stand keep their meaning.

mod answer;
mod claims;
mod client;
mod latency;
mod metrics;
mod protocol;
mod server;
mod watched;

use std::time::Duration;

use crate::directory::DIRECTORY_INDEX;

pub use crate::program::Program;
pub use client::{AskError, Connection};
pub use latency::measure;
pub use metrics::Metrics;
pub use protocol::{
    Accepted, Ask, Conflict, Forgotten, HeldBackDump, Latency, Mailbox, Reservation, ShardLoad, SlowCommand,
    State, Status, UnfinishedMove,
};
pub use server::{Control, start, start_if};
pub use watched::Watched;

/// The name of a shard by its number in [`ShardLoad`].
pub fn shard_name(shard: u64) -> String {
    if shard == DIRECTORY_INDEX as u64 { "directory".into() } else { shard.to_string() }
}

/// Connections that are served at a time; more are refused.
pub const CONNECTIONS_MAX: usize = 8;

/// Bytes of a request with its line end; a longer one ends the connection.
pub const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// How long a connection may stay without a question.
pub const IDLE_MAX: Duration = Duration::from_secs(60);

/// How long a reader may leave a full socket unread before its connection ends.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long one answer may take in all: it holds on to the list as it was when it was asked.
pub const ANSWER_MAX: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests;
