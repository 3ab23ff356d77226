//! The engine: sockets, TLS, backends, the directory, and which listener runs which session.

pub mod backends;
mod bulletin;
pub mod config;
pub mod control;
pub mod daemon;
pub mod directory;
mod errand;
pub mod frontend;
pub mod helpers;
pub mod homes;
pub mod host;
pub mod intents;
pub mod listen;
pub mod log;
mod origin;
mod paging;
mod presence;
pub mod program;
pub mod services;
pub mod shard;
pub mod standalone;
mod sys;
mod telemetry;
pub mod tls;
