//! The newest changes, numbered, for those who stream.

use std::collections::VecDeque;

use protocols::proxy::{Change, ChangePage, PAGE_BYTES_MAX};

/// Changes that are kept.
pub const LOG_CHANGES_MAX: usize = 65_536;

/// Octets of names, locations and ACLs that are kept.
pub const LOG_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A ring of changes. The last one has the number `newest`.
pub(super) struct Log {
    changes: VecDeque<Change>,
    bytes: usize,
    newest: u64,
}

impl Log {
    /// Begins with what was kept of the changes up to `newest`, in order.
    pub(super) fn new(newest: u64, kept: Vec<Change>) -> Log {
        let mut log = Log { changes: VecDeque::new(), bytes: 0, newest: newest - kept.len() as u64 };
        kept.into_iter().for_each(|change| log.push(change));
        log
    }

    /// Whether all changes behind a number are there.
    pub(super) fn reaches(&self, since: u64) -> bool {
        since >= self.newest - self.changes.len() as u64
    }

    /// Forgets the changes behind a number that is not above the newest.
    pub(super) fn take_back(&mut self, newest: u64) {
        while self.newest > newest {
            self.newest -= 1;
            if let Some(change) = self.changes.pop_back() {
                self.bytes -= size(&change);
            }
        }
    }

    /// Appends the change with the next number.
    pub(super) fn push(&mut self, change: Change) {
        self.bytes += size(&change);
        self.changes.push_back(change);
        self.newest += 1;
        while self.changes.len() > LOG_CHANGES_MAX || self.bytes > LOG_BYTES_MAX {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.bytes -= size(&oldest);
        }
    }

    /// Forgets all changes and goes on behind `newest`: what happened is not told one by one.
    pub(super) fn cut(&mut self, newest: u64) {
        self.changes.clear();
        self.bytes = 0;
        self.newest = newest;
    }

    /// A page of what is behind `since` up to `published`; `None` when the log does not reach back
    /// that far, or forward to a number that was never given.
    pub(super) fn page(&self, since: u64, published: u64) -> Option<ChangePage> {
        let oldest = self.newest - self.changes.len() as u64;
        if !self.reaches(since) || since > published {
            return None;
        }
        let mut changes = Vec::new();
        let (mut upto, mut bytes) = (since, 0);
        while upto < published && bytes < PAGE_BYTES_MAX {
            let change = &self.changes[(upto - oldest) as usize];
            bytes += size(change);
            changes.push(change.clone());
            upto += 1;
        }
        Some(ChangePage { changes, upto, complete: upto == published })
    }
}

/// Forgets the oldest changes, so that no more are left than are kept.
pub fn keep_newest(changes: &mut Vec<Change>) {
    let mut left = LOG_BYTES_MAX;
    let fits = |change: &Change| {
        let is_small = size(change) <= left;
        left = left.saturating_sub(size(change));
        is_small
    };
    let kept = changes.iter().rev().take(LOG_CHANGES_MAX).map(fits).take_while(|fits| *fits).count();
    changes.drain(..changes.len() - kept);
}

fn size(change: &Change) -> usize {
    const EACH: usize = 32;
    EACH + match change {
        Change::Active(entry) => entry.name.len() + entry.location.0.len() + entry.acl.len(),
        Change::Reserved { name, location } => name.len() + location.0.len(),
        Change::Deleted { name } => name.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(n: usize) -> Change {
        Change::Deleted { name: format!("user.u{n}").into_bytes().into() }
    }

    #[test]
    fn pages_lead_from_any_kept_number_to_the_published_one() {
        let mut log = Log::new(10, Vec::new());
        (0..2000).for_each(|n| log.push(change(n)));
        let (mut since, mut seen) = (10, Vec::new());
        loop {
            let page = log.page(since, 2009).unwrap();
            seen.extend(page.changes);
            since = page.upto;
            if page.complete {
                break;
            }
        }
        assert_eq!(seen, (0..1999).map(change).collect::<Vec<_>>());
        assert!(log.page(2010, 2010).unwrap().changes.is_empty());
    }

    #[test]
    fn a_number_outside_the_log_is_refused() {
        let mut log = Log::new(0, Vec::new());
        (0..LOG_CHANGES_MAX + 5).for_each(|n| log.push(change(n)));
        let newest = (LOG_CHANGES_MAX + 5) as u64;
        assert!(log.page(4, newest).is_none());
        assert!(log.page(5, newest).is_some());
        assert!(log.page(newest + 1, newest).is_none());
        log.take_back(newest - 3);
        assert!(log.page(newest - 3, newest - 3).unwrap().complete);
        assert!(log.page(5, newest - 3).is_some());
        log.cut(newest + 100);
        assert!(log.page(newest, newest + 100).is_none());
        assert!(log.page(newest + 100, newest + 100).unwrap().complete);
    }
    #[test]
    fn a_log_goes_on_with_what_was_kept() {
        let kept: Vec<Change> = (6..=10).map(change).collect();
        let mut log = Log::new(10, kept.clone());
        log.push(change(11));
        assert!(!log.reaches(4) && log.reaches(5));
        assert_eq!(log.page(5, 10).unwrap().changes, kept);
        assert_eq!(log.page(10, 11).unwrap().changes, [change(11)]);
    }
}
