//! What a shard is made with.

use std::os::fd::OwnedFd;
use std::time::Duration;

use driver::Limits;

use super::{Inbox, ListenerId, RingSize};

/// One shard.
pub struct ShardConfig {
    /// Its number, for thread and log names.
    pub index: usize,
    /// The core that its executor is pinned to (one of the process's affinity mask); `None` leaves
    /// it unpinned.
    pub cpu: Option<usize>,
    /// What it accepts on.
    pub listeners: Vec<Listener>,
    /// Bounds of the data path.
    pub limits: Limits,
    /// Keepalive of accepted and connected TCP sockets; `None` leaves it off.
    pub keepalive: Option<Keepalive>,
    /// Pipes for splicing, made by [`pipes`](super::pipes()) before privileges are dropped. Without
    /// any all is copied.
    pub pipes: Vec<Pipe>,
    /// Provided receive buffers of 4 KiB; a power of two, at most 32,768.
    pub receive_buffers: u16,
    /// What its ring holds.
    pub ring: RingSize,
}

impl ShardConfig {
    /// A shard without listeners, keepalive or pipes and with the default limits.
    pub fn new(index: usize) -> ShardConfig {
        ShardConfig {
            index,
            cpu: None,
            listeners: Vec::new(),
            limits: Limits::default(),
            keepalive: None,
            pipes: Vec::new(),
            receive_buffers: RECEIVE_BUFFERS,
            ring: RingSize::LARGE,
        }
    }
}

/// Receive buffers of a shard when nothing else is said: 4 MiB that only a loaded shard touches.
pub const RECEIVE_BUFFERS: u16 = 1024;

/// A listening socket and what becomes of its connections.
pub struct Listener {
    /// Comes back in [`Host::accept`](super::Host::accept).
    pub id: ListenerId,
    /// The socket, listening.
    pub socket: OwnedFd,
    /// Shards that get its connections in turn, this one among them if it is to get any. Empty:
    /// this shard serves all. For UNIX and inherited sockets, which only one shard accepts on.
    pub deal: Vec<Inbox>,
}

/// Keepalive probes (tcp(7)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keepalive {
    /// Idle time before the first (TCP_KEEPIDLE).
    pub idle: Duration,
    /// Time between two (TCP_KEEPINTVL).
    pub interval: Duration,
    /// Unanswered probes that end the connection (TCP_KEEPCNT).
    pub count: u32,
}

/// A pipe that bytes are spliced through.
#[derive(Debug)]
pub struct Pipe {
    /// The end that is read.
    pub reader: OwnedFd,
    /// The end that is written.
    pub writer: OwnedFd,
    /// What it holds.
    pub bytes: usize,
}
