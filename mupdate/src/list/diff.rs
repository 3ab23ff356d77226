//! What tells two lists apart: the resync.
//!
//! Both lists are in one order, whatever order the source sent its dump in, because the newer one
//! was built from it: so names, not positions, are compared.

use std::cmp::Ordering;
use std::sync::Arc;

use protocols::proxy::Change;

use super::leaf::Value;
use super::{Cursor, Editor, List};

/// Compares a list with a newer one, in slices.
pub struct Diff {
    old: Arc<List>,
    new: Arc<List>,
    /// The key behind which the next slice begins.
    after: Option<Vec<u8>>,
    locations: Vec<Option<Option<u32>>>,
    acls: Vec<Option<Option<u32>>>,
    changes_max: usize,
    outcome: Outcome,
}

/// The result of a comparison.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// What leads from the old list to the new; incomplete when `overflow`.
    pub changes: Vec<Change>,
    /// There are more changes than were to be kept.
    pub overflow: bool,
    /// Names that are new.
    pub inserted: usize,
    /// Names that say something else.
    pub replaced: usize,
    /// Names that are gone.
    pub deleted: usize,
}

impl Diff {
    /// Begins; at most `changes_max` changes are kept, all are counted.
    pub fn new(old: Arc<List>, new: Arc<List>, changes_max: usize) -> Diff {
        Diff {
            locations: vec![None; new.locations.len()],
            acls: vec![None; new.acls.len()],
            old,
            new,
            after: None,
            changes_max,
            outcome: Outcome::default(),
        }
    }

    /// Compares about `names` entries; the outcome when that was the rest. `writer` is the editor
    /// of the old list, which knows its values by content.
    pub fn step(&mut self, writer: &Editor, names: usize) -> Option<Outcome> {
        let (old_list, new_list) = (self.old.clone(), self.new.clone());
        let start: Vec<u8> = match &self.after {
            Some(after) => [&**after, b"\0"].concat(),
            None => Vec::new(),
        };
        let mut old = Cursor::at_key(&old_list, &start);
        let mut new = Cursor::at_key(&new_list, &start);
        let (mut has_old, mut has_new) = (old.advance(), new.advance());
        for _ in 0..names {
            let order = match (has_old, has_new) {
                (false, false) => return Some(std::mem::take(&mut self.outcome)),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                (true, true) => old.key().cmp(new.key()),
            };
            match order {
                Ordering::Less => {
                    self.outcome.deleted += 1;
                    let name = old.row().name.into();
                    self.keep(|| Change::Deleted { name });
                }
                Ordering::Greater => {
                    self.outcome.inserted += 1;
                    self.keep(|| new.row().change());
                }
                Ordering::Equal => {
                    if self.translate(writer, new.value()) != Some(old.value()) {
                        self.outcome.replaced += 1;
                        self.keep(|| new.row().change());
                    }
                }
            }
            if order == Ordering::Greater {
                self.after = Some(new.key().to_vec());
            } else {
                self.after = Some(old.key().to_vec());
            }
            if order != Ordering::Greater {
                has_old = old.advance();
            }
            if order != Ordering::Less {
                has_new = new.advance();
            }
        }
        None
    }

    fn keep(&mut self, change: impl FnOnce() -> Change) {
        if self.outcome.changes.len() < self.changes_max {
            self.outcome.changes.push(change());
        } else {
            self.outcome.overflow = true;
        }
    }

    /// A value of the new list in numbers of the old; `None` when the old list has no such value.
    fn translate(&mut self, writer: &Editor, value: Value) -> Option<Value> {
        let location = *self.locations[value.location as usize]
            .get_or_insert_with(|| writer.locations().number(self.new.locations.at(value.location)));
        let acl = *self.acls[value.acl as usize]
            .get_or_insert_with(|| writer.acls().number(self.new.acls.at(value.acl)));
        Some(Value { location: location?, reserved: value.reserved, acl: acl? })
    }
}
