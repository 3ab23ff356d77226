//! Changes at the master: decided one by one, stored in groups, told when they are stored.

use std::sync::Arc;

use protocols::proxy::{Change, DirectoryAnswer, Level, MasterRequest, Requester};

use crate::list::{Applied, Editor, List};
use crate::master::rules::{self, Claim, Standing};

use super::{ConflictOutcome, Directory, ReservationCause, Role, StoreWrite, Ticket};

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
    /// The list with these changes and the number of the last; none when there are none.
    list: Option<(Arc<List>, u64)>,
}

impl Directory {
    pub(super) fn commit(&mut self, ticket: Ticket, request: &MasterRequest, requester: &Requester) {
        let Role::Master(policy) = &self.config.role else {
            self.answer(ticket, DirectoryAnswer::Committed(Err("read-only session")));
            return;
        };
        if self.commits.waiting.changes.len() >= COMMITS_MAX {
            self.answer(ticket, DirectoryAnswer::Committed(Err("too many changes wait for the disk")));
            return;
        }
        let standing = self.editor.locate(request.name());
        let standing = standing.map(|(location, reserved)| Standing { location, reserved });
        let servers = self.ledger.servers(requester.address);
        let amid_move = self.ledger.is_moved_by_another(request.name(), requester);
        let claim = Claim { listed: requester.listed.as_deref(), servers, amid_move };
        let decision = rules::decide(standing.as_ref(), request, claim, policy);
        if let (true, Some(standing)) = (decision.conflict, &standing) {
            self.contradicted(request, standing, matches!(decision.change, Ok(Some(_))), requester);
        }
        match decision.change {
            Err(no) => self.answer(ticket, DirectoryAnswer::Committed(Err(no))),
            Ok(change) => {
                if let Some(change) = &change {
                    self.ledger.changed(change, cause(request), requester);
                }
                self.accept_commit(ticket, change);
            }
        }
        if !self.config.has_store {
            self.ledger.discard_notes();
        }
    }

    fn contradicted(
        &mut self,
        request: &MasterRequest,
        standing: &Standing,
        is_done: bool,
        requester: &Requester,
    ) {
        let (outcome, what) = match is_done {
            true => (ConflictOutcome::Done, "done"),
            false => (ConflictOutcome::Refused, "refused"),
        };
        self.ledger.contradicted(request, &standing.location, outcome, requester, self.sequence);
        let verb = match request {
            MasterRequest::Activate(_) => "ACTIVATE",
            MasterRequest::Deactivate { .. } => "DEACTIVATE",
            MasterRequest::Delete { .. } => "DELETE",
            MasterRequest::Reserve { .. } => "RESERVE",
        };
        let from =
            requester.address.map_or_else(|| "a local client".to_owned(), |address| address.to_string());
        let name = String::from_utf8_lossy(request.name());
        let owner = String::from_utf8_lossy(&standing.location.0);
        self.say(Level::Notice, format!("{verb} of {name} by {from}, but it is active at {owner}: {what}"));
    }

    pub(super) fn listed(&mut self, requester: &Requester) {
        if let Some(server) = &requester.listed {
            self.ledger.listed(server, requester.unix_time);
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
        if batch.changes.is_empty() && !self.backlog.replace && !self.ledger.has_notes() {
            // Those who wait found what the batch before changed, which is stored.
            for ticket in batch.tickets {
                self.answer(ticket, DirectoryAnswer::Committed(Ok(())));
            }
            return None;
        }
        let changes = std::mem::take(&mut batch.changes);
        let (sequence, beside) = (self.sequence, self.beside());
        let list = self.editor.publish();
        if changes.is_empty() && !self.backlog.replace {
            self.commits.out = Some(batch);
            return Some(StoreWrite::Append { changes, sequence, beside, list });
        }
        batch.list = Some((list.clone(), sequence));
        self.commits.out = Some(batch);
        if std::mem::take(&mut self.backlog.replace) {
            return Some(StoreWrite::Replace { list, sequence, beside });
        }
        Some(StoreWrite::Append { changes, sequence, beside, list })
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
        self.ledger.forget_written();
        self.ledger.match_list(&published.list);
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

/// Why a name is reserved when this request reserves it.
fn cause(request: &MasterRequest) -> ReservationCause {
    match request {
        MasterRequest::Deactivate { .. } => ReservationCause::Deactivate,
        MasterRequest::Activate(_) | MasterRequest::Delete { .. } | MasterRequest::Reserve { .. } => {
            ReservationCause::Reserve
        }
    }
}
