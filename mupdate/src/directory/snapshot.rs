//! What every thread reads: the list and what is known about it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use protocols::proxy::{Finding, Freshness, Knowledge};

use crate::list::List;

/// The list at one moment.
#[derive(Clone)]
pub struct Snapshot {
    /// The entries.
    pub list: Arc<List>,
    /// How far they can be trusted.
    pub knowledge: Knowledge,
    /// The sequence number of the last change in it.
    pub sequence: u64,
}

/// The place where the newest snapshot is found.
pub type Published = Arc<ArcSwap<Snapshot>>;

/// A snapshot cannot answer: the directory has to be asked, which waits for a barrier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaitForBarrier;

impl Snapshot {
    /// Looks a name up.
    ///
    /// # Errors
    /// [`WaitForBarrier`] when only a barrier can tell; the source is live then.
    pub fn find(&self, name: &[u8], freshness: Freshness) -> Result<Finding, WaitForBarrier> {
        let found = self.list.find(name);
        let is_live = self.knowledge == Knowledge::Live;
        match (found, freshness) {
            (_, Freshness::Barrier | Freshness::Proven) if is_live => Err(WaitForBarrier),
            (_, Freshness::Proven) => Ok(Finding::Unknown),
            (None, Freshness::BarrierIfAbsent | Freshness::BarrierOnce) if is_live => Err(WaitForBarrier),
            (Some(found), _) => Ok(found.into()),
            (None, _) if is_live => Ok(Finding::Absent),
            (None, _) => Ok(Finding::Unknown),
        }
    }

    /// Whether there is no entry: never grounds for a permanent refusal.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

pub(super) fn publication(snapshot: Snapshot) -> Published {
    Arc::new(ArcSwap::from_pointee(snapshot))
}
