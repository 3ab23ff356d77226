//! POP3 and ManageSieve in the simulated murder.

pub mod client;
pub mod server;

/// Bytes of the largest message or script.
const BODY_BYTES_MAX: usize = 150_000;

/// Which protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// POP3.
    Pop3,
    /// ManageSieve.
    Sieve,
}
