//! What the driver keeps of one connection.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use protocols::proxy::{Instant, LayerKind, Side};
use smallvec::SmallVec;

use crate::layer::Layer;
use crate::turn::{Chain, NONE};

/// Whether the carrier may deliver input.
///
/// ```text
///   Off ──Op::Receive──> On ──Op::Stop──> Stopping ──receive_stopped──> Off
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Receiving {
    Off,
    On,
    Stopping,
}

/// Why input that stands is not offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wait {
    /// It is offered.
    No,
    /// For more of it: the machine said `More`.
    More,
    /// For an event or input of another side: the machine said `Hold`.
    Hold,
    /// For so many `ForwardBroken`s on their way to the machine. Until it has heard and said what becomes of
    /// the rest, nothing else may offer it.
    Untold(u16),
}

/// How far a connection has come on its way out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Finish {
    /// It stays.
    No,
    /// Half-close it when all is sent.
    HalfClose,
    /// Half-close it when all is sent, read away, close.
    Close,
    /// It was half-closed and goes on reading.
    HalfClosed,
    /// It was half-closed; what comes is thrown away until the end or a deadline.
    Lingering,
    /// The carrier closes it; nothing more is done with it.
    Closing,
}

/// Where a splice from this connection stands.
///
/// ```text
///   No ──bulk ahead, Op::Stop──> Wanted ──stopped, destination empty, Op::Splice──> Running ──> No
///                                                Running ──Op::StopSplice──> Stopping ──> No
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Splicing {
    No,
    Wanted,
    Running,
    /// Its destination died: what was read from the source is counted first.
    Stopping {
        to: Side,
    },
}

/// What claims the input of a connection, in order.
#[derive(Debug)]
pub(crate) enum Job {
    /// To the slots of the destinations.
    Forward { to: SmallVec<[u32; 2]>, left: u64 },
    /// To nobody.
    Discard { left: u64 },
    /// All there is, for good.
    Pipe { to: u32 },
}

impl Job {
    pub(crate) fn is_to(&self, slot: u32) -> bool {
        match self {
            Job::Forward { to, .. } => to.contains(&slot),
            Job::Pipe { to } => *to == slot,
            Job::Discard { .. } => false,
        }
    }

    pub(crate) fn left(&self) -> u64 {
        match self {
            Job::Forward { left, .. } | Job::Discard { left } => *left,
            Job::Pipe { .. } => u64::MAX,
        }
    }
}

/// What waits for its turn to go out of a connection.
#[derive(Debug)]
pub(crate) enum Segment {
    /// The next unfinished job of that slot which has this destination.
    Forward(u32),
    /// Authored bytes.
    Bytes(Vec<u8>),
    /// A change of layers.
    Switch(LayerKind),
    /// A change of layers for which the carrier fetches the layer.
    Switching,
}

/// Decoded input that waits: nothing on nearly all connections.
#[derive(Default, Debug)]
pub(crate) struct Kept(Option<Box<Waiting>>);

#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    start: usize,
    /// What waits so on all connections.
    all: Rc<Cell<usize>>,
}

impl Waiting {
    fn len(&self) -> usize {
        self.bytes.len() - self.start
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.all.set(self.all.get() - self.len());
    }
}

impl Kept {
    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.len())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |waiting| &waiting.bytes[waiting.start..])
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.as_mut().map_or(&mut [], |waiting| &mut waiting.bytes[waiting.start..])
    }

    /// Appends bytes, which count in `all`.
    pub(crate) fn append(&mut self, more: &[u8], all: &Rc<Cell<usize>>) {
        let fresh = || Box::new(Waiting { bytes: Vec::new(), start: 0, all: Rc::clone(all) });
        let waiting = self.0.get_or_insert_with(fresh);
        all.set(all.get() + more.len());
        if waiting.start > 0 && waiting.bytes.len() + more.len() > waiting.bytes.capacity() {
            waiting.bytes.drain(..waiting.start);
            waiting.start = 0;
        }
        waiting.bytes.extend_from_slice(more);
    }

    /// Forgets `n` bytes; the memory goes with the last of them.
    pub(crate) fn consume(&mut self, n: usize) {
        let Some(waiting) = &mut self.0 else { return };
        waiting.start += n;
        waiting.all.set(waiting.all.get() - n);
        if waiting.len() == 0 {
            self.0 = None;
        }
    }
}

/// What the socket did not take. `flying` is being sent and not touched; `waiting` follows it.
#[derive(Default, Debug)]
pub(crate) struct Spill {
    pub(crate) flying: Vec<u8>,
    pub(crate) sent: usize,
    pub(crate) waiting: Vec<u8>,
    /// Since when the socket takes less than there is.
    pub(crate) since: Instant,
    /// When it took something last.
    pub(crate) moved: Instant,
}

impl Spill {
    pub(crate) fn len(&self) -> usize {
        self.flying.len() - self.sent + self.waiting.len()
    }
}

/// A layer and what it has in hand.
pub(crate) struct LayerState {
    pub(crate) layer: Box<dyn Layer>,
    /// Undecoded input: an incomplete record, or more than may be decoded ahead.
    pub(crate) wire: Kept,
    /// `wire` holds no whole record: only more of it helps.
    pub(crate) incomplete: bool,
    /// The handshake is over.
    pub(crate) established: bool,
    /// Stands in a list of the driver: `handshakes`.
    pub(crate) queued: bool,
}

/// One connection.
pub(crate) struct Conn {
    /// The session's slot; `NONE` when it no longer has one.
    pub(crate) session: u32,
    pub(crate) side: Side,
    pub(crate) receiving: Receiving,
    pub(crate) wait: Wait,
    pub(crate) finish: Finish,
    pub(crate) splicing: Splicing,
    /// The carrier can splice it and no layer is on it.
    pub(crate) plain: bool,
    /// Its input has not ended.
    pub(crate) input_open: bool,
    /// Its input has ended, and the session has not heard yet.
    pub(crate) eof_untold: bool,
    /// Half a forward is on it: nothing more may follow.
    pub(crate) broken: bool,
    /// `Drained` is owed.
    pub(crate) drained_owed: bool,
    /// Bytes authored since it was told last, up to where it is owed.
    pub(crate) authored: u16,
    /// A send of this turn is not told to be out.
    pub(crate) flying: bool,
    /// Stands in a list of the driver: `dirty`.
    pub(crate) in_dirty: bool,
    /// Stands in a list of the driver: `throttled`.
    pub(crate) in_throttled: bool,
    /// Received a buffer at a time, since it has brought bulk: for so many more full ones that begin none.
    pub(crate) singles: u8,
    /// It waits in the pool for a session.
    pub(crate) pooled: bool,
    /// The carrier does not splice the job at the head.
    pub(crate) copying: bool,
    /// What a pipe brought from here last ended a line, or it has brought nothing.
    pub(crate) is_at_line_end: bool,
    /// Bytes received since the receive was armed or the turn began, to see bulk on a pipe.
    pub(crate) turn_bytes: u32,
    /// The turn in which it was given `share` buffers.
    pub(crate) share_turn: u32,
    pub(crate) share: u16,
    /// The number of the server that it leads to.
    pub(crate) server: u16,
    /// To send in this turn.
    pub(crate) out: Chain,
    pub(crate) jobs: SmallVec<[Job; 1]>,
    pub(crate) kept: Kept,
    #[allow(clippy::box_collection, reason = "empty on nearly all connections: 8 bytes, not 32")]
    pub(crate) queue: Option<Box<VecDeque<Segment>>>,
    pub(crate) spill: Option<Box<Spill>>,
    pub(crate) layer: Option<Box<LayerState>>,
    /// When a job or the way out last moved.
    pub(crate) progress: Instant,
}

impl Conn {
    pub(crate) fn new(session: u32, side: Side, plain: bool) -> Conn {
        Conn {
            session,
            side,
            receiving: Receiving::Off,
            wait: Wait::No,
            finish: Finish::No,
            splicing: Splicing::No,
            plain,
            input_open: true,
            eof_untold: false,
            broken: false,
            drained_owed: false,
            authored: 0,
            flying: false,
            in_dirty: false,
            in_throttled: false,
            singles: 0,
            pooled: false,
            copying: false,
            is_at_line_end: true,
            turn_bytes: 0,
            share_turn: 0,
            share: 0,
            server: u16::MAX,
            out: Chain::EMPTY,
            jobs: SmallVec::new(),
            kept: Kept::default(),
            queue: None,
            spill: None,
            layer: None,
            progress: Instant(0),
        }
    }

    /// Whether it has a session that hears of it.
    pub(crate) fn is_served(&self) -> bool {
        self.session != NONE
    }

    pub(crate) fn is_finishing(&self) -> bool {
        self.finish != Finish::No
    }

    /// Bytes that can be pushed before it is full.
    pub(crate) fn room(&self) -> usize {
        let unsent = self.out.bytes as usize + self.spill.as_ref().map_or(0, |spill| spill.len());
        if self.spill.is_some() { 0 } else { crate::limits::SPILL_BYTES_MAX.saturating_sub(unsent) }
    }

    /// Input that waits, decoded or not.
    pub(crate) fn waiting(&self) -> usize {
        self.kept.len() + self.layer.as_ref().map_or(0, |layer| layer.wire.len())
    }

    /// Whether nothing is left to send.
    pub(crate) fn is_flushed(&self) -> bool {
        self.out.is_empty() && !self.flying && self.spill.is_none() && self.queue.is_none()
    }

    /// Whether it is open, and nothing of it is on its way in or out but what waits behind a forward.
    pub(crate) fn is_clear(&self) -> bool {
        let is_open = self.input_open && !self.broken && self.finish == Finish::No;
        let is_still = self.splicing == Splicing::No && self.kept.len() == 0;
        let is_sent = self.out.is_empty() && !self.flying && self.spill.is_none();
        is_open && is_still && is_sent && self.layer.as_ref().is_none_or(|state| state.wire.len() == 0)
    }

    /// The slot whose bytes go out next, if a forward is at the head of the queue.
    pub(crate) fn feeding(&self) -> Option<u32> {
        match self.queue.as_ref()?.front()? {
            Segment::Forward(slot) => Some(*slot),
            Segment::Bytes(_) | Segment::Switch(_) | Segment::Switching => None,
        }
    }

    pub(crate) fn enqueue(&mut self, segment: Segment) {
        self.queue.get_or_insert_default().push_back(segment);
    }

    /// Takes the head of the queue away.
    pub(crate) fn dequeue(&mut self) -> Option<Segment> {
        let queue = self.queue.as_mut()?;
        let segment = queue.pop_front();
        if queue.is_empty() {
            self.queue = None;
        }
        segment
    }
}
