//! Changes at the master: decided one by one, stored in groups, told when they are stored.

use std::sync::Arc;

use protocols::proxy::{Change, DirectoryAnswer, Level, MasterRequest};

use crate::list::{Applied, Editor, List};
use crate::master::rules;

use super::{Directory, Role, StoreWrite, Ticket};

/// Changes that may wait for the store; past it a commit is refused.
pub(super) const COMMITS_MAX: usize = 100_000;

/// What was decided and is not published yet.
#[derive(Default)]
pub(super) struct Commits {
    /// Decided, not given to the store.
    waiting: Batch,
    /// With the store.
    out: Option<Batch>,
}

/// Changes that are stored and published together.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    /// Who waits for the OK. A commit that changes nothing waits too: what it found may not be
    /// stored yet.
    tickets: Vec<Ticket>,
    /// The list with these changes and the number of the last.
    list: Option<(Arc<List>, u64)>,
}

impl Directory {
    pub(super) fn commit(&mut self, ticket: Ticket, request: MasterRequest) {
        let Role::Master(policy) = &self.config.role else {
            self.answer(ticket, DirectoryAnswer::Committed(Err("read-only session")));
            return;
        };
        if self.commits.waiting.changes.len() >= COMMITS_MAX {
            self.answer(ticket, DirectoryAnswer::Committed(Err("too many changes wait for the disk")));
            return;
        }
        match rules::decide(&self.editor, request, policy) {
            Err(no) => self.answer(ticket, DirectoryAnswer::Committed(Err(no))),
            Ok(change) => self.accept_commit(ticket, change),
        }
    }

    fn accept_commit(&mut self, ticket: Ticket, change: Option<Change>) {
        let nothing_is_pending = self.commits.out.is_none() && self.commits.waiting.changes.is_empty();
        if let Some(change) = change
            && self.editor.apply(&change) != Applied::Unchanged
        {
            self.sequence += 1;
            self.log.push(change.clone());
            self.commits.waiting.changes.push(change);
            if !self.config.has_store {
                self.commits.waiting.changes.clear();
                self.publish();
            }
        }
        if !self.config.has_store || (nothing_is_pending && self.commits.waiting.changes.is_empty()) {
            self.answer(ticket, DirectoryAnswer::Committed(Ok(())));
        } else {
            self.commits.waiting.tickets.push(ticket);
        }
    }

    pub(super) fn next_commits(&mut self) -> Option<StoreWrite> {
        let mut batch = std::mem::take(&mut self.commits.waiting);
        if batch.changes.is_empty() && !self.backlog.replace {
            // Those who wait found what the batch before changed, which is stored.
            for ticket in batch.tickets {
                self.answer(ticket, DirectoryAnswer::Committed(Ok(())));
            }
            return None;
        }
        let changes = std::mem::take(&mut batch.changes);
        let (list, sequence) = (self.editor.publish(), self.sequence);
        batch.list = Some((list.clone(), sequence));
        self.commits.out = Some(batch);
        if std::mem::take(&mut self.backlog.replace) {
            return Some(StoreWrite::Replace { list, sequence });
        }
        Some(StoreWrite::Append { changes, sequence: self.sequence })
    }

    pub(super) fn commits_stored(&mut self) {
        let Some(batch) = self.commits.out.take() else { return };
        if let Some((list, sequence)) = batch.list {
            self.publish_list(list, sequence);
        }
        for ticket in batch.tickets {
            self.answer(ticket, DirectoryAnswer::Committed(Ok(())));
        }
    }

    /// Goes back to what was published: nothing of what waited is done.
    pub(super) fn commits_lost(&mut self, why: &str) {
        self.say(Level::Warn, format!("cannot store changes of the mailbox list: {why}"));
        let published = self.published.load_full();
        self.editor = Editor::new(&published.list);
        // What the store has of the lost batch is unknown: the next write is the whole list.
        self.backlog.replace = true;
        self.sequence = published.sequence;
        self.log.cut(published.sequence);
        let out = self.commits.out.take().unwrap_or_default();
        let waiting = std::mem::take(&mut self.commits.waiting);
        for ticket in out.tickets.into_iter().chain(waiting.tickets) {
            self.answer(ticket, DirectoryAnswer::Committed(Err("cannot store the change")));
        }
    }
}
