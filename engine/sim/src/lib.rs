//! The seeded simulation: a whole murder in one thread.
//!
//! One seed gives a world of clients, frontends, backends, a master and slaves, with delays, splits,
//! resets and restarts. Frontends run the same driver and machines that run on the ring.

pub mod backend;
pub mod carrier;
pub mod client;
pub mod dice;
pub mod disk;
pub mod host;
mod judge;
pub mod lines;
pub mod link;
pub mod lmtp;
mod machines;
pub mod mailbox;
pub mod master;
pub mod message;
pub mod mover;
pub mod net;
pub mod picture;
pub mod registrar;
pub mod truth;
pub mod units;
pub mod world;
