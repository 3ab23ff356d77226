//! The engine: rings, sockets, TLS, look-ups and the daemon around the pure machines.

pub mod tls;
