//! The truth about a master: what it published, change by change, between a start and its end.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use mupdate::list::List;
use protocols::proxy::{Change, Location};

/// A list with a mark: equal lists have equal marks.
#[derive(Clone, Default)]
pub(super) struct Picture {
    entries: BTreeMap<Box<[u8]>, Change>,
    mark: u64,
}

impl Picture {
    pub(super) fn of(changes: impl Iterator<Item = Change>) -> Picture {
        let mut picture = Picture::default();
        changes.for_each(|change| picture.apply(&change));
        picture
    }

    pub(super) fn apply(&mut self, change: &Change) {
        let old = match change {
            Change::Deleted { name } => self.entries.remove(name),
            Change::Active(_) | Change::Reserved { .. } => {
                self.mark ^= mark(change);
                self.entries.insert(change.name().into(), change.clone())
            }
        };
        self.mark ^= old.as_ref().map_or(0, mark);
    }

    pub(super) fn at(&self, name: &[u8]) -> Option<&Change> {
        self.entries.get(name)
    }

    pub(super) fn mark(&self) -> u64 {
        self.mark
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What is at one server.
    pub(super) fn part(&self, server: &[u8]) -> Picture {
        Picture::of(self.entries.values().filter(|entry| is_at(entry, server)).cloned())
    }
}

/// The mark of a published list.
pub(super) fn mark_of(list: &List) -> u64 {
    let (mut sum, mut rows) = (0, list.iter_from(b""));
    while let Some(row) = rows.next() {
        sum ^= mark(&row.change());
    }
    sum
}

fn mark(entry: &Change) -> u64 {
    let mut hasher = DefaultHasher::new();
    let acl = if let Change::Active(entry) = entry { Some(&entry.acl) } else { None };
    (entry.name(), place(entry).map(|place| &place.0), acl).hash(&mut hasher);
    hasher.finish()
}

/// Whether an entry is at a server.
pub(super) fn is_at(entry: &Change, server: &[u8]) -> bool {
    place(entry).is_some_and(|place| place.is_at(server))
}

fn place(entry: &Change) -> Option<&Location> {
    match entry {
        Change::Active(entry) => Some(&entry.location),
        Change::Reserved { location, .. } => Some(location),
        Change::Deleted { .. } => None,
    }
}

/// One life of a master. Places in it are numbers of changes since its beginning.
pub(super) struct Life {
    /// The list after all changes.
    pub(super) picture: Picture,
    /// The sequence number at which it began.
    first: u64,
    changes: Vec<Change>,
    /// Of the list after so many changes.
    marks: Vec<u64>,
}

impl Life {
    pub(super) fn begin(picture: Picture, first: u64) -> Life {
        let marks = vec![picture.mark()];
        Life { picture, first, changes: Vec::new(), marks }
    }

    /// Changes so far.
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// The sequence number of the last change.
    pub(super) fn sequence(&self) -> u64 {
        self.first + self.changes.len() as u64
    }

    /// Takes the next change.
    ///
    /// # Errors
    /// It gives a name that is active at one server to another, which no request of this world may do.
    pub(super) fn push(&mut self, change: Change) -> Result<(), String> {
        let before = self.picture.at(change.name());
        let taken = match (before, place(&change)) {
            (Some(Change::Active(owner)), Some(place)) => !owner.location.shares_server(place),
            _ => false,
        };
        let told = taken.then(|| format!("{change:?} takes what is active: {before:?}"));
        self.picture.apply(&change);
        self.changes.push(change);
        self.marks.push(self.picture.mark());
        told.map_or(Ok(()), Err)
    }

    /// The change that leads away from a place.
    pub(super) fn next(&self, at: usize) -> Option<&Change> {
        self.changes.get(at)
    }

    /// The mark of the list at a place.
    pub(super) fn mark(&self, at: usize) -> u64 {
        self.marks[at]
    }

    /// Whether the list had this mark at a place from `since` on.
    pub(super) fn had(&self, mark: u64, since: usize) -> bool {
        self.marks[since..].contains(&mark)
    }

    /// Whether a change was made behind a place.
    pub(super) fn made(&self, change: &Change, since: usize) -> bool {
        self.changes[since.min(self.changes.len())..].contains(change)
    }
}

#[cfg(test)]
mod tests {
    use protocols::proxy::Entry;

    use super::*;

    fn active(name: &str, place: &str) -> Change {
        let (name, location) = (name.as_bytes().into(), Location(place.as_bytes().into()));
        Change::Active(Entry { name, location, acl: b"".as_slice().into() })
    }

    #[test]
    fn lists_are_equal_when_their_marks_are() {
        let (a, b) = (active("a", "be1!p"), active("b", "be2!p"));
        let one = Picture::of([a.clone(), b.clone()].into_iter());
        let other = Picture::of([b.clone(), active("a", "be2!p"), a.clone()].into_iter());
        assert_eq!(one.mark(), other.mark());
        assert_ne!(one.mark(), Picture::of([a.clone()].into_iter()).mark());
        assert_eq!(one.part(b"BE1").mark(), Picture::of([a].into_iter()).mark());
    }

    #[test]
    fn a_mailbox_that_changes_its_server_without_a_word_is_seen() {
        let mut life = Life::begin(Picture::of([active("a", "be1!p")].into_iter()), 7);
        assert_eq!(life.push(active("a", "BE1!q")), Ok(()));
        assert!(life.push(active("a", "be2!q")).is_err());
        assert_eq!((life.len(), life.sequence()), (2, 9));
        assert!(life.had(life.mark(1), 1) && !life.had(life.mark(0), 1));
        assert!(life.made(&active("a", "be2!q"), 1) && !life.made(&active("a", "BE1!q"), 1));
    }
}
