//! The seeded simulation: a whole murder in one thread.
//!
//! One seed gives a world of clients, frontends, backends, a master and slaves, with delays, splits,
//! resets and restarts. Frontends run the same driver and machines that run on the ring.

pub mod backend;
pub mod boxes;
pub mod carrier;
pub mod client;
pub mod deed;
pub mod dialog;
pub mod dice;
pub mod disk;
pub mod flags;
pub mod host;
pub mod lines;
pub mod link;
pub mod lmtp;
mod machines;
pub mod mailbox;
pub mod master;
pub mod message;
pub mod mover;
pub mod net;
pub mod overseer;
pub mod picture;
pub mod quotas;
pub mod registrar;
pub mod renamer;
mod site;
pub mod stored;
pub mod truth;
mod typed;
pub mod units;
pub mod world;
