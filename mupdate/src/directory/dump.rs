//! A full list from the source: built aside, compared in slices, published at once or held back.

use std::sync::Arc;

use protocols::proxy::{Change, DirectoryAnswer, Knowledge, Level, Position};

use crate::list::{Builder, Diff, Editor, Finish, Outcome, is_storable_change};

use super::{Directory, HeldBack, STORE_BACKLOG_MAX, Ticket};

/// Differences up to this many are applied to the list that is there, a publish at the end (about
/// 10 µs each); past it the new list takes its place.
const APPLY_MAX: usize = 50;

/// A dump on its way.
///
/// ```text
///   None ──DumpBegins──> Building ──DumpEnds──> Sorting ──> Comparing ──> Adopting ──> None
///                                                              │  ^
///                                                              v  └──accept──┐
///                                                             Held ──────────┘
///   every state ──SourceLost──> None
/// ```
///
/// Sorting, Comparing and Adopting are done by [`Directory::work`], a slice at a time.
pub(super) enum Dump {
    /// None.
    None,
    /// Entries come.
    Building(Box<Builder>),
    /// All have come, not in order.
    Sorting { ticket: Ticket, finish: Box<Finish> },
    /// What differs is looked for.
    Comparing { asked: Asked, new: Box<Editor>, diff: Box<Diff> },
    /// What differs goes to the log.
    Adopting { asked: Asked, new: Box<Editor>, outcome: Box<Outcome>, logged: usize },
    /// It would delete too much.
    Held {
        /// The dump with all that was pushed behind it.
        new: Box<Editor>,
        held: HeldBack,
        /// Where the dump stands in the history of the source.
        position: Option<Position>,
    },
}

/// Who wants a dump to be taken.
pub(super) enum Asked {
    /// The slave, which waits for the answer.
    Source(Ticket),
    /// Somebody who has looked at it.
    Operator {
        /// Where it stands in the history of the source.
        position: Option<Position>,
        /// What was pushed since.
        meanwhile: Vec<Change>,
    },
}

impl Dump {
    pub(super) fn held_back(&self) -> Option<HeldBack> {
        match self {
            Dump::Held { held, .. } => Some(*held),
            Dump::None
            | Dump::Building(_)
            | Dump::Sorting { .. }
            | Dump::Comparing { .. }
            | Dump::Adopting { .. } => None,
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.held_back().is_some()
    }

    /// What is pushed behind a dump that is held back goes into it too. Whether it waits there
    /// alone, because the dump has been accepted and is being compared.
    pub(super) fn learn(&mut self, changes: &[Change]) -> bool {
        match self {
            Dump::Held { new, .. } => {
                for change in changes {
                    new.apply(change);
                }
                false
            }
            Dump::Comparing { asked: Asked::Operator { meanwhile, .. }, .. }
            | Dump::Adopting { asked: Asked::Operator { meanwhile, .. }, .. } => {
                meanwhile.extend_from_slice(changes);
                true
            }
            Dump::None
            | Dump::Building(_)
            | Dump::Sorting { .. }
            | Dump::Comparing { .. }
            | Dump::Adopting { .. } => false,
        }
    }
}

impl Directory {
    pub(super) fn begin_dump(&mut self) {
        self.abandon_dump();
        self.lose_position();
        self.dump = Dump::Building(Box::default());
    }

    pub(super) fn take_dump(&mut self, entries: &[Change]) {
        let mut refused = 0;
        for entry in entries {
            let entry = self.localised(entry);
            if let Dump::Building(builder) = &mut self.dump
                && !builder.push(&entry)
            {
                debug_assert!(!is_storable_change(&entry));
                refused += 1;
            }
        }
        if refused > 0 {
            self.say(
                Level::Warn,
                format!("{refused} entries of the dump have names or data outside the limits: left out"),
            );
        }
    }

    pub(super) fn end_dump(&mut self, ticket: Ticket) {
        let Dump::Building(builder) = std::mem::replace(&mut self.dump, Dump::None) else {
            self.answer(ticket, DirectoryAnswer::Done);
            return;
        };
        self.dump = Dump::Sorting { ticket, finish: Box::new(builder.into_finish()) };
    }

    /// Whether [`Directory::work`] has something to do.
    pub fn has_work(&self) -> bool {
        match self.dump {
            Dump::Sorting { .. } | Dump::Comparing { .. } | Dump::Adopting { .. } => true,
            Dump::None | Dump::Building(_) | Dump::Held { .. } => false,
        }
    }

    /// Does a slice of what takes long: looks at about `names` entries (about 100 ns each).
    pub fn work(&mut self, names: usize) {
        match std::mem::replace(&mut self.dump, Dump::None) {
            Dump::Sorting { ticket, mut finish } => match finish.step(names) {
                Some(new) => {
                    if let Some(leftover) = finish.into_leftover() {
                        self.discard(leftover);
                    }
                    self.compare(Asked::Source(ticket), new);
                }
                None => self.dump = Dump::Sorting { ticket, finish },
            },
            Dump::Comparing { asked, new, mut diff } => match diff.step(&self.editor, names) {
                Some(outcome) => self.end_comparison(asked, new, outcome),
                None => self.dump = Dump::Comparing { asked, new, diff },
            },
            Dump::Adopting { asked, new, outcome, logged } => {
                self.log_differences(asked, new, outcome, logged, names);
            }
            resting @ (Dump::None | Dump::Building(_) | Dump::Held { .. }) => self.dump = resting,
        }
    }

    fn compare(&mut self, asked: Asked, new: Box<Editor>) {
        let diff = Box::new(Diff::new(self.editor.publish(), new.publish(), STORE_BACKLOG_MAX));
        self.dump = Dump::Comparing { asked, new, diff };
    }

    fn end_comparison(&mut self, asked: Asked, new: Box<Editor>, outcome: Outcome) {
        let held = HeldBack { deletes: outcome.deleted, of: self.editor.len(), brought: new.len() };
        if let Asked::Source(ticket) = &asked
            && self.deletes_too_much(held)
        {
            self.say(
                Level::Warn,
                format!(
                    "the master's list would delete {} of {} mailboxes (it has {}): held back until accepted",
                    held.deletes, held.of, held.brought
                ),
            );
            let ticket = *ticket;
            self.dump = Dump::Held { new, held, position: None };
            self.answer(ticket, DirectoryAnswer::Done);
            return;
        }
        self.dump = Dump::Adopting { asked, new, outcome: Box::new(outcome), logged: 0 };
    }

    fn deletes_too_much(&self, dump: HeldBack) -> bool {
        if self.config.hold_back_percent >= 100 || dump.of == 0 {
            return false;
        }
        let is_large_share = dump.deletes * 100 > dump.of * usize::from(self.config.hold_back_percent);
        dump.brought == 0 || (is_large_share && dump.deletes >= self.config.hold_back_names_min)
    }

    /// Puts differences into the log, which nobody reads before they are published.
    fn log_differences(
        &mut self,
        asked: Asked,
        new: Box<Editor>,
        outcome: Box<Outcome>,
        logged: usize,
        names: usize,
    ) {
        let goes_to_log = !outcome.overflow && self.knowledge != Knowledge::NeverSynced;
        if goes_to_log && logged < outcome.changes.len() {
            let upto = outcome.changes.len().min(logged.saturating_add(names));
            outcome.changes[logged..upto].iter().for_each(|change| self.log.push(change.clone()));
            self.dump = Dump::Adopting { asked, new, outcome, logged: upto };
            return;
        }
        let what = match asked {
            Asked::Source(_) => "in step with the mupdate master",
            Asked::Operator { .. } => "the dump that was held back is accepted",
        };
        self.say(
            Level::Info,
            format!(
                "{what}: {} mailboxes, {} new, {} changed, {} deleted",
                new.len(),
                outcome.inserted,
                outcome.replaced,
                outcome.deleted
            ),
        );
        self.adopt(*new, *outcome);
        match asked {
            Asked::Source(ticket) => self.answer(ticket, DirectoryAnswer::Done),
            Asked::Operator { position, meanwhile } => {
                if let Some(position) = position {
                    self.reached(position);
                }
                self.learn(&meanwhile);
            }
        }
    }

    /// Makes the new list the list. The log has the differences, unless there are too many.
    fn adopt(&mut self, new: Editor, outcome: Outcome) {
        let is_first = self.knowledge == Knowledge::NeverSynced;
        self.knowledge = Knowledge::Live;
        self.sequence += (outcome.inserted + outcome.replaced + outcome.deleted) as u64;
        if outcome.overflow || is_first {
            self.log.cut(self.sequence);
            self.backlog.changes = Vec::new();
            self.backlog.replace = true;
            self.take_over(new);
        } else {
            if outcome.changes.len() <= APPLY_MAX {
                for change in &outcome.changes {
                    self.editor.apply(change);
                }
                self.discard(Arc::new(new));
            } else {
                self.take_over(new);
            }
            self.remember_all(outcome.changes);
        }
        self.publish();
    }

    fn take_over(&mut self, new: Editor) {
        let old = std::mem::replace(&mut self.editor, new);
        let published = self.published.load().list.clone();
        self.discard(Arc::new((old, published)));
    }

    /// Keeps changes for the store, many at once.
    fn remember_all(&mut self, mut changes: Vec<Change>) {
        if !self.config.has_store || self.backlog.replace {
            return;
        }
        if self.backlog.changes.is_empty() {
            self.backlog.changes = changes;
        } else if self.backlog.changes.len() + changes.len() <= STORE_BACKLOG_MAX {
            self.backlog.changes.append(&mut changes);
        } else {
            self.backlog.changes = Vec::new();
            self.backlog.replace = true;
        }
    }

    /// Leaves the freeing of much memory to the thread that writes, if there is one.
    fn discard(&mut self, garbage: Arc<dyn Send + Sync>) {
        if self.config.has_store {
            self.backlog.garbage.push(garbage);
            self.backlog.moved = true;
        }
    }

    /// Drops a dump that is not complete, or is not wanted.
    pub(super) fn abandon_dump(&mut self) {
        let dump = std::mem::replace(&mut self.dump, Dump::None);
        match dump {
            Dump::Adopting { new, .. } => {
                self.log.take_back(self.sequence);
                self.discard(Arc::new(*new));
            }
            Dump::Comparing { new, .. } | Dump::Held { new, .. } => self.discard(Arc::new(*new)),
            Dump::None | Dump::Building(_) | Dump::Sorting { .. } => {}
        }
    }

    /// Takes the dump that was held back, in slices by [`Directory::work`]; false when there is none.
    pub fn accept(&mut self) -> bool {
        if !self.dump.is_held() {
            return false;
        }
        let Dump::Held { new, position, .. } = std::mem::replace(&mut self.dump, Dump::None) else {
            return false;
        };
        self.compare(Asked::Operator { position, meanwhile: Vec::new() }, new);
        true
    }

    /// The list as other code builds it (tools, tests), in the place of the one that is there.
    pub fn replace(&mut self, new: Editor) {
        let outcome = Outcome { overflow: true, inserted: 1, ..Outcome::default() };
        self.adopt(new, outcome);
    }
}
