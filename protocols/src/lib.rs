//! What bytes mean and what a frontend decides: grammars, names, and session machines.
//!
//! This crate is pure: no sockets, no clock, no threads, no randomness of its own. A machine is
//! told bytes, events and the time, and says what it wants (see [`proxy`]).

pub mod bulletin;
pub mod conf;
pub mod fuzz;
pub mod imap;
pub mod lmtp;
pub mod login;
pub mod mailbox;
mod outbox;
pub mod places;
pub mod pop3;
pub mod postmap;
pub mod proxy;
pub mod sasl;
pub mod seats;
pub mod secret;
pub mod sieve;
mod watch;
pub mod wire;
