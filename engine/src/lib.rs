//! The engine: sockets, TLS, backends, the directory, and which listener runs which session.

pub mod shard;
