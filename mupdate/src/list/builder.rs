//! Building a list from a stream of entries, in order or not.

use protocols::proxy::Change;

use super::finish::{Finish, STRAYS_SORTED_MAX, Stray};
use super::tree::Tree;
use super::{Acl, Editor, is_storable_change, key};

/// Makes a list of entries as a dump brings them.
///
/// Entries in hierarchy order are written to leaves as they come. The others are kept aside in
/// sorted runs and merged in at the end, deletions too; of two with one name the later counts.
pub struct Builder {
    values: Editor,
    tree: Tree,
    /// Each is sorted but the last.
    strays: Vec<Vec<Stray>>,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder::new()
    }
}

impl Builder {
    /// Without entries.
    pub fn new() -> Builder {
        Builder { values: Editor::empty(), tree: Tree::new(), strays: Vec::new() }
    }

    /// Takes an entry; false when the list cannot hold it. A deletion removes what came before.
    pub fn push(&mut self, change: &Change) -> bool {
        if !is_storable_change(change) {
            return false;
        }
        let key = key::key(change.name());
        let value = match change {
            Change::Active(entry) => {
                self.values.hold(&entry.location, false, &Acl::of(&entry.acl, &entry.name))
            }
            Change::Reserved { location, .. } => self.values.hold(location, true, &Acl::none()),
            Change::Deleted { .. } => {
                // What is behind all that came is not there, in the tree or among the strays.
                if !self.tree.is_behind(&key) {
                    self.stray(Stray { key, value: None });
                }
                return true;
            }
        };
        if self.tree.is_behind(&key) {
            self.tree.push(&key, value);
        } else {
            self.stray(Stray { key, value: Some(value) });
        }
        true
    }

    fn stray(&mut self, stray: Stray) {
        if self.strays.last().is_none_or(|run| run.len() >= STRAYS_SORTED_MAX) {
            self.sort_last();
            self.strays.push(Vec::new());
        }
        if let Some(run) = self.strays.last_mut() {
            run.push(stray);
        }
    }

    fn sort_last(&mut self) {
        if let Some(run) = self.strays.last_mut() {
            // Stable: of equal keys the later one stays behind the earlier.
            run.sort_by(|a, b| a.key.cmp(&b.key));
        }
    }

    /// Entries so far; those that came twice or were deleted are counted.
    pub fn len(&self) -> usize {
        let strays = self.strays.iter().flatten().filter(|stray| stray.value.is_some());
        self.tree.len() + strays.count()
    }

    /// Whether no entry came.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The list, as an editor that can go on changing it.
    pub fn finish(self) -> Editor {
        let mut finish = self.into_finish();
        loop {
            if let Some(editor) = finish.step(usize::MAX) {
                return *editor;
            }
        }
    }

    /// The list, to be finished in slices.
    pub fn into_finish(mut self) -> Finish {
        self.sort_last();
        let (root, len) = self.tree.finish();
        let (locations, acls) = self.values.into_interners();
        Finish::new(Editor::assemble(root, len, locations, acls), self.strays)
    }
}
