//! A full list from the source: built aside, compared in slices, published at once or held back.

use protocols::proxy::{Change, DirectoryAnswer, Knowledge, Level};

use crate::list::{Builder, Diff, Editor, Outcome, is_storable_change};

use super::{Directory, HeldBack, STORE_BACKLOG_MAX, Ticket};

/// Differences up to this many are applied to the list that is there; past it the new list takes
/// its place.
const APPLY_MAX: usize = 1_000;

/// A dump on its way.
///
/// ```text
///   None ──DumpBegins──> Building ──DumpEnds──> Comparing ──> None   (published)
///                                                         ──> Held ──accept──> None
///   every state ──SourceLost──> None
/// ```
pub(super) enum Dump {
    /// None.
    None,
    /// Entries come.
    Building(Box<Builder>),
    /// All have come; [`Directory::work`] compares.
    Comparing { ticket: Ticket, new: Box<Editor>, diff: Box<Diff> },
    /// It would delete too much.
    Held {
        /// The dump with all that was pushed behind it.
        new: Box<Editor>,
        held: HeldBack,
    },
}

impl Dump {
    pub(super) fn held_back(&self) -> Option<HeldBack> {
        match self {
            Dump::Held { held, .. } => Some(*held),
            Dump::None | Dump::Building(_) | Dump::Comparing { .. } => None,
        }
    }

    pub(super) fn is_held(&self) -> bool {
        self.held_back().is_some()
    }

    /// What is pushed behind a dump that is held back goes into it too.
    pub(super) fn learn(&mut self, changes: &[Change]) {
        if let Dump::Held { new, .. } = self {
            for change in changes {
                new.apply(change);
            }
        }
    }
}

impl Directory {
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
        let new = Box::new(builder.finish());
        let diff = Box::new(Diff::new(self.editor.publish(), new.publish(), STORE_BACKLOG_MAX));
        self.dump = Dump::Comparing { ticket, new, diff };
    }

    /// Whether [`Directory::work`] has something to do.
    pub fn has_work(&self) -> bool {
        matches!(self.dump, Dump::Comparing { .. })
    }

    /// Does a slice of what takes long: compares about `names` entries (about 100 ns each).
    pub fn work(&mut self, names: usize) {
        let Dump::Comparing { diff, .. } = &mut self.dump else { return };
        let Some(outcome) = diff.step(&self.editor, names) else { return };
        let Dump::Comparing { ticket, new, .. } = std::mem::replace(&mut self.dump, Dump::None) else {
            return;
        };
        self.end_comparison(*new, outcome);
        self.answer(ticket, DirectoryAnswer::Done);
    }

    fn end_comparison(&mut self, new: Editor, outcome: Outcome) {
        let held = HeldBack { deletes: outcome.deleted, of: self.editor.len(), brought: new.len() };
        if self.deletes_too_much(held) {
            self.say(
                Level::Warn,
                format!(
                    "the master's list would delete {} of {} mailboxes (it has {}): held back until accepted",
                    held.deletes, held.of, held.brought
                ),
            );
            self.dump = Dump::Held { new: Box::new(new), held };
            return;
        }
        self.say(
            Level::Info,
            format!(
                "in step with the mupdate master: {} mailboxes, {} new, {} changed, {} deleted",
                new.len(),
                outcome.inserted,
                outcome.replaced,
                outcome.deleted
            ),
        );
        self.adopt(new, outcome);
    }

    fn deletes_too_much(&self, dump: HeldBack) -> bool {
        if self.config.hold_back_percent >= 100 || dump.of == 0 {
            return false;
        }
        let is_large_share = dump.deletes * 100 > dump.of * usize::from(self.config.hold_back_percent);
        dump.brought == 0 || (is_large_share && dump.deletes >= self.config.hold_back_names_min)
    }

    /// Makes the new list the list.
    fn adopt(&mut self, new: Editor, outcome: Outcome) {
        let is_first = self.knowledge == Knowledge::NeverSynced;
        self.knowledge = Knowledge::Live;
        self.sequence += (outcome.inserted + outcome.replaced + outcome.deleted) as u64;
        if outcome.overflow || is_first {
            self.log.cut(self.sequence);
            self.backlog.changes = Vec::new();
            self.backlog.replace = true;
            self.editor = new;
        } else {
            if outcome.changes.len() <= APPLY_MAX {
                for change in &outcome.changes {
                    self.editor.apply(change);
                }
            } else {
                self.editor = new;
            }
            for change in outcome.changes {
                self.log.push(change.clone());
                self.remember(change);
            }
        }
        self.publish();
    }

    /// Takes the dump that was held back; false when there is none.
    pub fn accept(&mut self) -> bool {
        if !self.dump.is_held() {
            return false;
        }
        let Dump::Held { new, .. } = std::mem::replace(&mut self.dump, Dump::None) else { return false };
        let mut diff = Diff::new(self.editor.publish(), new.publish(), STORE_BACKLOG_MAX);
        let outcome = diff.step(&self.editor, usize::MAX).unwrap_or_default();
        self.say(Level::Info, format!("the dump that was held back is accepted: {} mailboxes", new.len()));
        self.adopt(*new, outcome);
        true
    }

    /// The list as other code builds it (tools, tests), in the place of the one that is there.
    pub fn replace(&mut self, new: Editor) {
        let outcome = Outcome { overflow: true, inserted: 1, ..Outcome::default() };
        self.adopt(new, outcome);
    }
}
