//! What the control socket looks at.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use crate::directory::Client;
use crate::log::Log;
use crate::program::Program;
use crate::shard::Measured;

/// What a daemon lets an operator look at.
pub struct Watched {
    /// Which program it is.
    pub program: Program,
    /// The MUPDATE server that the list comes from; `None` for the master itself.
    pub source: Option<Box<str>>,
    /// The list and its writer.
    pub directory: Client,
    /// Sessions that stand, shard by shard.
    pub sessions: Box<dyn Fn() -> Vec<u64> + Send + Sync>,
    /// What every shard measured.
    pub measure: Box<dyn Fn() -> Vec<Measured> + Send + Sync>,
    /// The log.
    pub log: Log,
}

/// What the threads share.
pub(super) struct Shared {
    pub(super) watched: Arc<Watched>,
    pub(super) started: Instant,
    /// Connections that are served.
    pub(super) connections: AtomicUsize,
    /// Readable when all is to end.
    pub(super) stop: OwnedFd,
}
