//! The part of the contract that only the MUPDATE machines use: what they ask of the directory.

use std::net::IpAddr;

use super::{Entry, Location, Unavailable};

/// A change of the list as MUPDATE tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// MAILBOX or ACTIVATE.
    Active(Entry),
    /// RESERVE, or DEACTIVATE at the master.
    Reserved {
        /// The internal name.
        name: Box<[u8]>,
        /// Where.
        location: Location,
    },
    /// DELETE.
    Deleted {
        /// The internal name.
        name: Box<[u8]>,
    },
}

impl Change {
    /// The internal name that changes.
    pub fn name(&self) -> &[u8] {
        match self {
            Change::Active(entry) => &entry.name,
            Change::Reserved { name, .. } | Change::Deleted { name } => name,
        }
    }
}

/// What the MUPDATE machines ask of the directory.
#[derive(Debug)]
pub enum DirectoryQuestion {
    /// Slave: a dump begins. What it brings is set aside until it is complete.
    DumpBegins,
    /// Slave: entries of the dump.
    Dump(Vec<Change>),
    /// Slave: the dump is complete; compare, publish, be live. What was pushed since is behind it.
    DumpEnds,
    /// Slave: changes from the stream, in order.
    Learn(Vec<Change>),
    /// Slave: a NOOP that was sent for [`Event::BarrierWanted`](crate::proxy::Event::BarrierWanted) came back.
    BarrierReached,
    /// Slave: the source is gone. An unfinished dump is dropped, the list stays, stale.
    SourceLost {
        /// One sentence for the log; `None` when the slave has left it.
        why: Option<Box<str>>,
    },
    /// Slave: where in the history of its source the list stands; answered by `Position`.
    Position,
    /// Slave: all that was learnt leads to this place in the history of the source.
    Reached(Position),
    /// Slave: what was learnt is all that the source has done since the position: be live.
    Resumed,
    /// Master: do this change durably if the rules allow it.
    Commit {
        /// RESERVE, ACTIVATE, DEACTIVATE or DELETE.
        request: MasterRequest,
        /// Who asks.
        requester: Requester,
    },
    /// Master: a server was told its part of the list, because it sent LIST with its own prefix.
    Listed {
        /// Who asked; `listed` is the server.
        requester: Requester,
    },
    /// Master: a page of changes behind a sequence number, for an UPDATE stream.
    Changes {
        /// The last sequence number that the stream has told.
        since: u64,
    },
    /// Master: the sequence number of the newest change.
    Sequence,
    /// Master: whether a stream may go on behind this position; answered by `Resumable`.
    Resume(Position),
}

/// A place in the history of a list.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Position {
    /// The name of the stretch of history.
    pub epoch: Box<str>,
    /// The sequence number of the last change.
    pub sequence: u64,
}

/// A change as a backend asks for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MasterRequest {
    /// RESERVE.
    Reserve {
        /// The internal name.
        name: Box<[u8]>,
        /// Where.
        location: Location,
    },
    /// ACTIVATE.
    Activate(Entry),
    /// DEACTIVATE.
    Deactivate {
        /// The internal name.
        name: Box<[u8]>,
        /// Where.
        location: Location,
    },
    /// DELETE.
    Delete {
        /// The internal name.
        name: Box<[u8]>,
    },
}

impl MasterRequest {
    /// The internal name that is asked about.
    pub fn name(&self) -> &[u8] {
        match self {
            MasterRequest::Activate(entry) => &entry.name,
            MasterRequest::Reserve { name, .. }
            | MasterRequest::Deactivate { name, .. }
            | MasterRequest::Delete { name } => name,
        }
    }
}

/// Who asks for a change, as far as the rules look at it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Requester {
    /// Where the connection comes from; `None` for a UNIX socket.
    pub address: Option<IpAddr>,
    /// The server that it has said to be: it sent LIST with the prefix `server!`, which of Cyrus'
    /// programs only ctl_mboxlist does.
    pub listed: Option<Box<[u8]>>,
    /// Which connection it is: a number that no other has.
    pub connection: u64,
    /// Wall clock, seconds since 1970: kept with what is recorded.
    pub unix_time: u64,
}

/// Answers to [`DirectoryQuestion`].
#[derive(Debug)]
pub enum DirectoryAnswer {
    /// To what is told, not asked: it was taken.
    Done,
    /// To `Commit`: done, or the text of the NO.
    Committed(Result<(), &'static str>),
    /// To `Changes`: in order; `Err` when the log does not reach back that far.
    Changes(Result<ChangePage, Unavailable>),
    /// To `Sequence`.
    Sequence(u64),
    /// To `Position`: `None` when the list is not known to stand anywhere.
    Position(Option<Position>),
    /// To `Resume`.
    Resumable(bool),
}

/// A page of changes.
#[derive(Clone, Debug)]
pub struct ChangePage {
    /// In order of commit.
    pub changes: Vec<Change>,
    /// The sequence number of the last one; the `since` of the next page.
    pub upto: u64,
    /// Nothing stands behind this page.
    pub complete: bool,
}
