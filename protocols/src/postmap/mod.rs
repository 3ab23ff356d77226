//! The mailbox list as a Postfix table: socketmap and tcp_table (their man pages are the specification).

pub mod config;
pub mod grammar;
mod session;

pub use config::Config;
pub use session::Session;
