//! The driver: runs session machines over completions and operations, without doing any.
//!
//! Completions go in (received, sent, spliced, connected, time), operations come out (receive,
//! stop, send, splice, connect, close, timer). `engine/shard` carries them out on a ring,
//! `engine/sim` in memory under a seed. This crate is pure.

mod ids;
pub mod layer;
pub mod limits;

pub use ids::{ConnId, SessionId};
pub use limits::Limits;
