//! What an operator puts up for the sessions of a process while it runs: messages, and whose sessions are
//! written along. The engine reads files and posts; sessions look.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Where notices are posted. Clones are the same board.
#[derive(Clone, Debug, Default)]
pub struct Bulletin(Arc<Board>);

#[derive(Debug, Default)]
struct Board {
    /// Looked at for every command, so that nobody takes the lock for nothing.
    is_down: AtomicBool,
    notices: Mutex<Arc<Notices>>,
}

/// What is posted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Notices {
    /// `msg/shutdown`: users are sent away with this text, administrators are not.
    pub shutdown: Option<Box<str>>,
    /// `msg/motd`: told to everybody who connects.
    pub motd: Option<Box<str>>,
    /// Users whose sessions are written to `log/USER/`.
    pub traced: BTreeSet<Box<[u8]>>,
}

impl Bulletin {
    /// Posts notices in the place of the old ones.
    pub fn post(&self, notices: Notices) {
        self.0.is_down.store(notices.shutdown.is_some(), Ordering::Relaxed);
        *self.0.notices.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(notices);
    }

    /// Whether users are sent away.
    pub fn is_down(&self) -> bool {
        self.0.is_down.load(Ordering::Relaxed)
    }

    /// The text for who is sent away.
    pub fn farewell(&self) -> Box<str> {
        self.notices().shutdown.clone().unwrap_or_else(|| "server is shutting down".into())
    }

    /// What is posted.
    pub fn notices(&self) -> Arc<Notices> {
        Arc::clone(&self.0.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
