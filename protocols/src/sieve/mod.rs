//! ManageSieve (RFC 5804) seen from a frontend: it logs in and forwards commands to the user's server, one by
//! one, or refers the client there.

pub mod backend;
mod capabilities;
pub mod config;
pub mod grammar;
mod relay;
mod session;

pub use capabilities::cyrus_3_6;
pub use config::Config;
pub use session::Session;
