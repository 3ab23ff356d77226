//! Every bound of the data path, by name.

use std::time::Duration;

/// Bytes of one received buffer of the carrier.
pub const BUFFER_BYTES: usize = 4 * 1024;

/// Bytes that may stand unsent for a connection before what is forwarded into it stops at its
/// source and its session's new input waits.
pub const SPILL_BYTES_MAX: usize = 64 * 1024;

/// Buffers of one connection that are looked at in one turn; the rest waits for the next. What one
/// pass of the kernel's multishot receive brings; the first one brings three times as many.
pub const BUFFERS_PER_TURN: u16 = 33;

/// Steps of handshakes of layers in one turn of the shard; the rest waits for the next. A TLS
/// handshake costs 80 µs, for which everybody else waits.
pub const HANDSHAKES_PER_TURN: usize = 4;

/// Bytes of a forward that are left when it is worth to stop a receive that goes on, and to splice: at 32 KiB
/// either way costs the same, at 64 KiB splicing takes 12 to 25 % less. Bytes that are encoded gain little
/// by it before 128 KiB, and lose nothing.
pub const SPLICE_BYTES_MIN: u64 = 32 * 1024;

/// The same where the receive has stopped by itself: what is not spliced then comes a buffer a turn, at 6 µs each.
pub const SPLICE_BYTES_MIN_STOPPED: u64 = 8 * 1024;

/// Bytes that a pipe of a session has brought when it is spliced from then on.
pub const PIPE_BYTES_MIN: u64 = 64 * 1024;

/// Full buffers without bulk behind them after which a connection that has brought bulk is received as others
/// are: taking bulk for a burst once costs what some ten buffers cost.
pub const SINGLES_AFTER_BULK: u8 = 8;

/// Bytes spliced for one connection in one turn.
pub const SPLICE_BYTES_PER_TURN: usize = 256 * 1024;

/// Bytes spliced for all connections of a shard in one turn, about a millisecond's: others wait for no more
/// than that, however many move bulk. Bytes that are encoded count [`SEALED_WEIGHT`] times.
pub const SPLICE_BYTES_PER_SHARD_TURN: usize = 4 * 1024 * 1024;

/// How much dearer a byte is that is read, encoded and sent than one that is spliced.
pub const SEALED_WEIGHT: usize = 4;

/// Bytes that are encoded at once when bulk goes into a layer: what is read, its records and the
/// kernel's copies stay in the second-level cache.
pub const SEAL_BYTES: usize = 8 * crate::layer::RECORD_BYTES_MAX;

/// Bytes encoded for one connection in one turn.
pub const SEAL_BYTES_PER_TURN: usize = 2 * SEAL_BYTES;

/// Received bytes of a stopped side that wait decoded or not. A receive that is being stopped
/// still brings what the kernel had in hand (measured: 405 KB), one turn's buffers come on top.
/// Past it the connection is cut: it cannot happen while the carrier keeps to its word.
pub const BACKLOG_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Rounds of input and output that one session gets for one piece of news. A machine that goes on
/// for longer without consuming anything is broken and ended.
pub const ROUNDS_MAX: usize = 4096;

/// Time that a flushed side is still read after the half close, so that the last reply is not lost
/// to a reset.
pub const LINGER: Duration = Duration::from_secs(2);

/// How long nothing moved on a pipe that is taken for quiet: a server in the middle of an answer pauses for less.
pub const QUIET_AFTER: Duration = Duration::from_secs(1);

/// Pooled connections to one server.
pub const POOLED_PER_SERVER_MAX: usize = 64;

/// The part of a shard's connections, and of its bytes that wait, that no new client gets: who is there must
/// reach his server. One of so many.
pub const KEPT_FROM_CLIENTS: usize = 16;

/// The most connections that are kept so: as many as log in at a time.
pub const CONNECTIONS_KEPT_MAX: usize = 128;

/// Connections that tables have room for from the start: they lie in memory that takes none before it is used,
/// while a table that grows leaves a copy behind.
const ROOM_MAX: usize = 1 << 16;

/// What a shard has too much of for one more client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TooMuch {
    /// Connections: [`Limits::connections_max`].
    Connections,
    /// Bytes that wait for somebody to take them: [`Limits::spill_bytes_max`].
    Unsent,
}

/// What the surroundings choose.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections of the shard, client and backend together.
    pub connections_max: usize,
    /// Bytes of the shard that wait for somebody to take them: spilled, or received from a side that is
    /// being stopped, decoded or not. Past it who takes nothing for longest is cut.
    pub spill_bytes_max: usize,
    /// Time without progress after which a forward or pipe is stalled, and after which a flushed
    /// side that does not take its last bytes is cut.
    pub stalled_after: Duration,
    /// The same for a forward to several sides, where the slowest keeps the others waiting.
    pub slowest_after: Duration,
    /// Time for which a connection waits in the pool.
    pub pooled_for: Duration,
}

impl Limits {
    /// Connections that tables have room for from the start.
    pub fn room(&self) -> usize {
        self.connections_max.min(ROOM_MAX)
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 20_000,
            spill_bytes_max: 256 * 1024 * 1024,
            stalled_after: Duration::from_secs(300),
            slowest_after: Duration::from_secs(45),
            pooled_for: Duration::from_secs(60),
        }
    }
}
