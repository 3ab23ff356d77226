//! LMTP (RFC 2033) as Cyrus speaks it, seen from a frontend.

pub mod config;
pub mod grammar;
mod session;

mod auth;
mod commands;
mod text;

pub mod address;
mod envelope;
mod transaction;

pub mod backend;
pub mod login;
pub mod offer;
mod peers;

mod deliver;
pub mod message;

pub use config::Config;
pub use session::Session;
