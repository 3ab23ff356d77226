//! What a shard has under way beside its connections: listeners, attempts to connect, exchanges, splices.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use driver::{ConnId, Passage, SessionId, SpliceEnd};
use io_uring::types::Timespec;
use protocols::proxy::{Instant, QuestionId};
use slab::Slab;
use socket2::SockAddr;

use super::{ConnectPlan, Exchange, Listener, Pipe};

/// Whether a listener accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Accepting {
    /// A multishot accept is in flight.
    Armed,
    /// Goes on at that time.
    Paused(Instant),
}

/// One listener at work.
pub(super) struct Acceptor {
    pub(super) listener: Listener,
    pub(super) state: Accepting,
    /// Whose turn it is of those that get its connections.
    pub(super) turn: usize,
    pub(super) closing: bool,
    pub(super) closed: bool,
}

impl Acceptor {
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn resumes_at(&self) -> Option<Instant> {
        match self.state {
            Accepting::Paused(at) if !self.closing => Some(at),
            Accepting::Paused(_) | Accepting::Armed => None,
        }
    }
}

/// A plan to connect at work. Boxed: the kernel reads the address and the time.
pub(super) struct Attempt {
    pub(super) session: SessionId,
    pub(super) id: QuestionId,
    pub(super) plan: ConnectPlan,
    /// The next address to try.
    pub(super) next: usize,
    pub(super) deadline: Instant,
    pub(super) socket: Option<OwnedFd>,
    pub(super) address: Option<SockAddr>,
    pub(super) within: Timespec,
    /// Why the last address that was tried does not answer.
    pub(super) error: Option<io::Error>,
}

/// Bytes of the answer of a daemon.
pub(super) const ANSWER_BYTES_MAX: usize = 1026;

/// An exchange that waits or is under way. Boxed: the kernel reads and writes it.
pub(super) struct Running {
    pub(super) session: SessionId,
    pub(super) id: QuestionId,
    pub(super) exchange: Exchange,
    pub(super) deadline: Instant,
    pub(super) socket: Option<OwnedFd>,
    pub(super) address: Option<SockAddr>,
    pub(super) within: Timespec,
    pub(super) answer: [u8; ANSWER_BYTES_MAX],
    pub(super) filled: usize,
}

/// The exchanges of a shard.
#[derive(Default)]
pub(super) struct Exchanges {
    pub(super) running: Slab<Box<Running>>,
    pub(super) waiting: VecDeque<Box<Running>>,
    /// The shard is over but for these.
    pub(super) are_cut: bool,
}

impl Exchanges {
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }
}

/// One splice at work.
pub(super) struct Splice {
    pub(super) from: ConnId,
    pub(super) to: ConnId,
    /// Bytes to read from the source.
    pub(super) left: u64,
    pub(super) passage: Passage,
    /// Borrowed while bytes are in flight.
    pub(super) pipe: Option<Pipe>,
    /// What is in it.
    pub(super) in_pipe: usize,
    /// The source sends no more.
    pub(super) ended: bool,
    /// Since when it waits for the destination.
    pub(super) waits: Option<Instant>,
}

/// Why a splice rests.
pub(super) enum Rest {
    /// Until the source can be read.
    Readable,
    /// Until the destination can be written.
    Writable,
    /// Until the next turn: it has had its share.
    NextTurn,
    /// Until the driver has said what becomes of it.
    Stopped,
    /// For good.
    Over(SpliceEnd),
}
