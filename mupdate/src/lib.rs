//! The mailbox list of a murder and the MUPDATE protocol (RFC 3656) that carries it.
//!
//! This crate is pure, as `protocols` is: bytes, events and time come in, outputs go out.

pub mod directory;
pub mod grammar;
pub mod list;
pub mod master;
mod outbox;
pub mod slave;
