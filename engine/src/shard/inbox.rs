//! The way into a shard from other threads.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use driver::SessionId;
use protocols::proxy::{Answer, Event, OpenError, QuestionId, Session};
use rustix::event::{EventfdFlags, eventfd};

use super::{ConnectPlan, ListenerId, Measured};

/// Makes a session on the shard that runs it.
pub type MakeSession = Box<dyn FnOnce() -> Box<dyn Session> + Send>;

/// What a shard is told from outside.
pub enum ToShard {
    /// The answer to a question for which the host said [`Reply::Later`](super::Reply::Later).
    Answer {
        /// Who asked.
        session: SessionId,
        /// The question.
        id: QuestionId,
        /// Its answer.
        answer: Answer,
    },
    /// How to reach the server of a `Question::OpenBackend`, or why it cannot be reached.
    Connect {
        /// Who asked.
        session: SessionId,
        /// The question.
        id: QuestionId,
        /// The way.
        plan: Result<ConnectPlan, OpenError>,
    },
    /// News for one session (`ListChanged`, `BarrierWanted`).
    Event {
        /// To whom.
        session: SessionId,
        /// What.
        event: Event,
    },
    /// Something else is posted for all sessions: [`Event::Posted`].
    Posted,
    /// Run a session that has no client.
    Spawn(MakeSession),
    /// Serve a socket that another shard accepted.
    Adopt {
        /// Where it came from.
        listener: ListenerId,
        /// The connection.
        socket: OwnedFd,
    },
    /// Accept what is queued, close the listeners, tell every session; whoever is still there after
    /// this time is ended. [`run`](super::run()) returns when the last session has ended.
    Drain {
        /// The time that sessions have.
        within: Duration,
    },
    /// Tell what was measured.
    Measure(mpsc::Sender<Measured>),
    /// End every session at once and return.
    Stop,
}

struct Shared {
    queue: Mutex<Vec<ToShard>>,
    /// Something was pushed since the reader last looked.
    filled: AtomicBool,
    /// The reader waits, or is about to: wake it.
    waiting: AtomicBool,
    /// An eventfd.
    wake: OwnedFd,
}

/// Sends to one shard; cheap to clone.
#[derive(Clone)]
pub struct Inbox(Arc<Shared>);

impl Inbox {
    /// A way into a shard and its reading end, which [`run`](super::run()) takes.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<(Inbox, InboxReader)> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared {
            queue: Mutex::new(Vec::new()),
            filled: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            wake,
        });
        Ok((Inbox(Arc::clone(&shared)), InboxReader(shared)))
    }

    /// Queues a message and wakes the shard if it has said that it waits. What reaches a shard that
    /// has returned is dropped with the last [`Inbox`].
    pub fn send(&self, message: ToShard) {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        self.0.filled.store(true, Ordering::SeqCst);
        if self.0.waiting.swap(false, Ordering::SeqCst) {
            // A full counter wakes as well as one more would; there is no other failure.
            let _ = rustix::io::write(&self.0.wake, &1_u64.to_ne_bytes());
        }
    }
}

/// The reading end of an [`Inbox`].
pub struct InboxReader(Arc<Shared>);

impl InboxReader {
    /// Becomes readable when something was sent while the reader waited.
    pub(super) fn woken(&self) -> BorrowedFd<'_> {
        self.0.wake.as_fd()
    }

    /// Moves what is queued to `to`. Without news this is one load.
    pub(super) fn take(&self, to: &mut Vec<ToShard>) {
        if self.0.filled.load(Ordering::Relaxed) && self.0.filled.swap(false, Ordering::SeqCst) {
            to.append(&mut self.0.queue.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Says that the reader is about to wait; `false` if something is queued and it must not.
    pub(super) fn begin_waiting(&self) -> bool {
        self.0.waiting.store(true, Ordering::SeqCst);
        if self.0.filled.load(Ordering::SeqCst) {
            self.end_waiting();
            return false;
        }
        true
    }

    /// The reader is awake: nobody need wake it.
    pub(super) fn end_waiting(&self) {
        self.0.waiting.store(false, Ordering::Relaxed);
    }
}
