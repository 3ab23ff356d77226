//! IMAP4rev1 and what Cyrus adds to it, seen from a frontend.

//M pub mod acl;
mod agenda;
pub mod backend;
pub mod config;
pub mod copy;
pub mod grammar;
pub mod list;
//M pub mod lsub;
//M pub mod metadata;
mod outbox;
//M pub mod quota;
mod session;
pub mod task;
#[cfg(test)]
mod testing;

pub use config::Config;
pub use session::Session;
