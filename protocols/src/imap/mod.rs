//! IMAP4rev1 and what Cyrus adds to it, seen from a frontend.

pub mod config;
pub mod grammar;
pub mod task;
