//! POP3 (RFC 1939) seen from a frontend: it greets, logs in, and is a pipe to the user's server.

pub mod backend;
pub mod config;
pub mod grammar;
mod session;

pub use config::Config;
pub use session::Session;
