//! The engine: sockets, TLS, backends, the directory, and which listener runs which session.

pub mod backends;
pub mod helpers;
pub mod log;
pub mod shard;
pub mod tls;
