//! The end of building a list whose entries did not come in order, in slices.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::vec::IntoIter;

use protocols::proxy::Location;

use super::leaf::Value;
use super::table::Interner;
use super::tree::Tree;
use super::{Acl, Cursor, Editor, List};

/// Strays that are sorted at once: a quarter of a millisecond.
pub(super) const STRAYS_SORTED_MAX: usize = 1024;

/// Up to so many strays are put in one by one, each for about 10 µs; more are merged.
const STRAYS_PUT_MAX: usize = 50;

/// What did not come in order.
pub(super) struct Stray {
    /// The sort key.
    pub(super) key: Vec<u8>,
    /// `None`: a deletion.
    pub(super) value: Option<Value>,
}

/// A list that wants its strays.
pub struct Finish(State);

enum State {
    Merging(Box<Merge>),
    /// Done; the ordered part as it was before the strays is left over, if it was.
    Done {
        editor: Option<Box<Editor>>,
        leftover: Option<Arc<List>>,
    },
}

/// Writes an ordered part and sorted runs of strays to a new tree.
struct Merge {
    list: Arc<List>,
    /// The key with which the ordered part goes on; `None` when it is at its end.
    next: Option<Vec<u8>>,
    runs: Vec<IntoIter<Stray>>,
    /// The first stray of each run. Of equal keys the one that came first.
    heads: BinaryHeap<Reverse<Head>>,
    tree: Tree,
    locations: Interner<Location>,
    acls: Interner<Acl>,
}

/// The first stray of a run.
struct Head {
    stray: Stray,
    run: usize,
}

impl Head {
    fn order(&self) -> (&[u8], usize) {
        (&self.stray.key, self.run)
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl Finish {
    /// Begins with the ordered part and sorted runs, the older ones first.
    pub(super) fn new(mut editor: Editor, runs: Vec<Vec<Stray>>) -> Finish {
        if runs.iter().map(Vec::len).sum::<usize>() <= STRAYS_PUT_MAX {
            for stray in runs.into_iter().flatten() {
                editor.put(&stray.key, stray.value);
            }
            return Finish(State::Done { editor: Some(Box::new(editor)), leftover: None });
        }
        let list = editor.publish();
        let (locations, acls) = editor.into_interners();
        let mut merge = Merge {
            next: Some(Vec::new()),
            runs: runs.into_iter().map(Vec::into_iter).collect(),
            heads: BinaryHeap::new(),
            tree: Tree::new(),
            list,
            locations,
            acls,
        };
        (0..merge.runs.len()).for_each(|run| merge.draw(run));
        Finish(State::Merging(Box::new(merge)))
    }

    /// Writes about `names` entries; the list when those were the last. After that there is nothing.
    pub fn step(&mut self, names: usize) -> Option<Box<Editor>> {
        if let State::Merging(merge) = &mut self.0
            && merge.step(names)
        {
            let done = State::Done { editor: None, leftover: None };
            if let State::Merging(merge) = std::mem::replace(&mut self.0, done) {
                let leftover = Some(merge.list.clone());
                self.0 = State::Done { editor: Some(Box::new(merge.finish())), leftover };
            }
        }
        match &mut self.0 {
            State::Merging(_) => None,
            State::Done { editor, .. } => editor.take(),
        }
    }

    /// What takes long to free.
    pub(crate) fn into_leftover(self) -> Option<Arc<List>> {
        match self.0 {
            State::Merging(merge) => Some(merge.list),
            State::Done { leftover, .. } => leftover,
        }
    }
}

impl Merge {
    /// Takes the next stray of a run among the heads.
    fn draw(&mut self, run: usize) {
        if let Some(stray) = self.runs[run].next() {
            self.heads.push(Reverse(Head { stray, run }));
        }
    }

    /// Writes entries; whether all are written.
    fn step(&mut self, names: usize) -> bool {
        let list = self.list.clone();
        let Some(next) = self.next.take() else { return self.step_strays(names) };
        let mut cursor = Cursor::at_key(&list, &next);
        let mut stands = cursor.advance();
        for _ in 0..names {
            if !stands {
                return self.step_strays(names);
            }
            let order =
                self.heads.peek().map_or(Ordering::Less, |Reverse(head)| cursor.key().cmp(&head.stray.key));
            if order == Ordering::Less {
                self.tree.push(cursor.key(), cursor.value());
                stands = cursor.advance();
                continue;
            }
            if order == Ordering::Equal {
                self.release(cursor.value());
                stands = cursor.advance();
            }
            self.write_stray();
        }
        self.next = stands.then(|| cursor.key().to_vec());
        false
    }

    /// Writes strays behind the end of the ordered part; whether all are written.
    fn step_strays(&mut self, names: usize) -> bool {
        for _ in 0..names {
            if self.heads.is_empty() {
                return true;
            }
            self.write_stray();
        }
        self.heads.is_empty()
    }

    /// Writes the first stray: of those with its key the last, which may be a deletion.
    fn write_stray(&mut self) {
        let Some(Reverse(mut head)) = self.heads.pop() else { return };
        self.draw(head.run);
        while self.heads.peek().is_some_and(|Reverse(next)| next.stray.key == head.stray.key) {
            if let Some(value) = head.stray.value {
                self.release(value);
            }
            let Some(Reverse(next)) = self.heads.pop() else { break };
            self.draw(next.run);
            head = next;
        }
        if let Some(value) = head.stray.value {
            self.tree.push(&head.stray.key, value);
        }
    }

    fn release(&mut self, value: Value) {
        self.locations.release(value.location);
        self.acls.release(value.acl);
    }

    fn finish(self) -> Editor {
        let (root, len) = self.tree.finish();
        Editor::assemble(root, len, self.locations, self.acls)
    }
}

#[cfg(test)]
mod tests {
    use protocols::proxy::Change;

    use super::super::generate::Generator;
    use super::super::{Builder, Editor};
    use super::*;

    fn rows(list: &List) -> Vec<Change> {
        let mut cursor = list.iter_from(b"");
        let mut rows = Vec::new();
        while let Some(row) = cursor.next() {
            rows.push(row.change());
        }
        rows
    }

    /// Entries of which some come twice, each time with another ACL.
    fn changes(count: usize) -> Vec<Change> {
        let mut changes: Vec<Change> = Generator::new(7, 3).take(count).collect();
        let again: Vec<Change> = changes.iter().step_by(5).cloned().collect();
        for mut change in again {
            if let Change::Active(entry) = &mut change {
                entry.acl = b"anyone\tlrs\t".as_slice().into();
            }
            changes.push(change);
        }
        // Deleted; deleted and there again; deleted before it came, and behind all.
        for n in (0..count).step_by(7) {
            changes.push(Change::Deleted { name: changes[n].name().into() });
        }
        for n in (0..count).step_by(21) {
            changes.push(changes[n].clone());
        }
        for name in ["user.never", "~~~"] {
            changes.push(Change::Deleted { name: name.as_bytes().into() });
        }
        changes
    }

    #[test]
    fn slices_of_any_size_give_the_same_list() {
        let changes = changes(4_000);
        let mut expected = Editor::empty();
        for change in &changes {
            expected.apply(change);
        }
        let values = expected.shared_values();
        let expected = rows(&expected.publish());
        for names in [1, 7, 1000, usize::MAX] {
            let mut builder = Builder::new();
            changes.iter().for_each(|change| assert!(builder.push(change)));
            let mut finish = builder.into_finish();
            let editor = loop {
                if let Some(editor) = finish.step(names) {
                    break editor;
                }
            };
            assert!(finish.step(names).is_none(), "there is one list");
            assert_eq!(editor.shared_values(), values, "what was replaced is held by nobody");
            assert!(rows(&editor.publish()) == expected, "in slices of {names}");
        }
    }
}
