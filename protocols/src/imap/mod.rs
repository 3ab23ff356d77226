//! IMAP4rev1 and what Cyrus adds to it, seen from a frontend.

pub mod backend;
pub mod config;
mod outbox;
mod session;
pub mod task;

pub use config::Config;
pub use session::Session;
