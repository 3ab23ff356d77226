//! What the driver wants done by its carrier.

use protocols::proxy::{LayerKind, Notice, Question, QuestionId};

use crate::{ConnId, SessionId};

/// An operation. Sends are not among them: they are gathered per turn.
#[derive(Debug)]
pub enum Op {
    /// Deliver input until told otherwise; said again of a connection that is delivered, at another pace.
    Receive(ConnId, Pace),
    /// Deliver no more; answered by `receive_stopped` when the last has been delivered.
    Stop(ConnId),
    /// Send the spilled bytes of this connection; answered by `spill_sent`.
    Send(ConnId),
    /// Move up to `bytes` from one socket to the other; answered by any number of `spliced` or `seal`
    /// and one `splice_ended`.
    Splice {
        /// The source, which is not being received.
        from: ConnId,
        /// The destination, to which nothing is being sent.
        to: ConnId,
        /// How many.
        bytes: u64,
        /// By which way.
        passage: Passage,
    },
    /// Take nothing more from the source of a splice, send what is in the pipe if it can be;
    /// answered by `splice_ended`.
    StopSplice(ConnId),
    /// Half-close: everything was sent.
    Shutdown(ConnId),
    /// End everything on it and close it; answered by `closed` after its last completion.
    Close(ConnId),
    /// Fetch a layer; answered by `switch`.
    Layer {
        /// The connection that it is put on.
        conn: ConnId,
        /// Which.
        kind: LayerKind,
    },
    /// A question of a session; answered by `answer`, `opened` or `open_failed`.
    Ask {
        /// Who asks.
        session: SessionId,
        /// Which question.
        id: QuestionId,
        /// What.
        question: Question,
    },
    /// Something for the log or the process.
    Tell {
        /// Who tells.
        session: SessionId,
        /// What.
        notice: Notice,
    },
    /// A session has ended.
    Ended(SessionId),
}

/// How input is delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// As much as there is.
    Burst,
    /// A buffer at a time, so that little of a literal has been read when its splice begins. For
    /// connections that have brought bulk lately: what one burst reads (135-405 KB) is copied.
    Single,
}

/// Which way bulk goes from socket to socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passage {
    /// Through a pipe, unseen.
    Pipe,
    /// Through the layer of the destination: read, encoded by `seal`, and sent at once. The carrier
    /// begins no piece before `is_clear`, and gives what the socket does not take to `sealed_rest`.
    Layer,
}

/// Why a splice is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpliceEnd {
    /// All bytes were moved, or the carrier wants the rest copied: the source goes on receiving.
    Done,
    /// The destination takes no more for the moment: the splice begins again when it is empty.
    Full,
    /// The source sends no more; what it sent has gone out.
    Eof,
    /// The source broke.
    FromFailed,
    /// The destination broke.
    ToFailed,
}
