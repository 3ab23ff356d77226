//! Where the time of a command goes.
//!
//! A command that passes a frontend waits for somebody most of the time: its client, a backend, a
//! password check, the mailbox list. What is left is the frontend's own. Each shard has a
//! [`Recorder`], which keeps a histogram for every pair of stage and verb and of stage and backend
//! that came up (never for their product), and is asked for a [`Snapshot`] when somebody looks.
//! Snapshots of shards are merged, and shown as rows, as Prometheus text ([`prometheus`]) or as a
//! picture ([`svg`]).
//!
//! This crate reads no clock: times come from who measures. All are whole microseconds.

pub mod prometheus;
mod recorder;
mod snapshot;
mod stage;
pub mod svg;
mod turns;

pub use recorder::{BYTES_MAX, HISTOGRAM_BYTES, Recorder, ServerId, histogram_of};
pub use snapshot::{Series, Slow, Snapshot, Subject};
pub use stage::{Split, Stage};
pub use turns::TurnLog;
