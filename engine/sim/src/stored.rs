//! What survives a restart of a directory: the list as it lies on its disk, and what is kept beside it.

use std::collections::BTreeMap;

use mupdate::directory::{History, Loaded, StoreWrite};
use mupdate::list::{Editor, List};
use protocols::proxy::{Change, Intent, Position};

/// What survives a restart: the list as it was stored.
#[derive(Clone, Default)]
pub struct Stored {
    /// By name.
    pub entries: BTreeMap<Vec<u8>, Change>,
    /// Of the last change.
    pub sequence: u64,
    /// Something was ever stored.
    pub is_complete: bool,
    /// The changes that led to it, since the list was last written whole.
    pub log: Vec<Change>,
    /// The epochs of its sequence numbers.
    pub history: History,
    /// Where it stands in the history of its source.
    pub source: Option<Position>,
    /// Moves between two servers that have begun and not ended, by session and question.
    pub moves: BTreeMap<(u32, u32, u32), Intent>,
}

impl Stored {
    /// What a directory begins with.
    pub fn loaded(&self) -> Loaded {
        let mut list = Editor::empty();
        for change in self.entries.values() {
            list.apply(change);
        }
        Loaded {
            list,
            sequence: self.sequence,
            was_complete: self.is_complete,
            log: self.log.clone(),
            history: self.history.clone(),
            source: self.source.clone(),
            ..Loaded::nothing()
        }
    }

    /// Takes what has landed on the disk.
    pub fn take(&mut self, write: StoreWrite) {
        match write {
            StoreWrite::Append { changes, sequence, beside, list: _ } => {
                for change in changes {
                    self.log.push(change.clone());
                    self.apply(change);
                }
                self.sequence = sequence;
                self.source = beside.source;
            }
            StoreWrite::Replace { list, sequence, beside } => {
                self.entries = contents(&list);
                self.log = Vec::new();
                self.sequence = sequence;
                self.source = beside.source;
            }
        }
        self.is_complete = true;
    }

    fn apply(&mut self, change: Change) {
        let name = change.name().to_vec();
        match change {
            Change::Deleted { .. } => drop(self.entries.remove(&name)),
            Change::Active(_) | Change::Reserved { .. } => drop(self.entries.insert(name, change)),
        }
    }
}

/// All entries of a list by name.
pub fn contents(list: &List) -> BTreeMap<Vec<u8>, Change> {
    let mut entries = BTreeMap::new();
    let mut rows = list.iter_from(b"");
    while let Some(row) = rows.next() {
        let change = row.change();
        entries.insert(change.name().to_vec(), change);
    }
    entries
}
