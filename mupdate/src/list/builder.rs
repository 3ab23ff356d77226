//! Building a list from a stream of entries, in order or not.

use std::sync::Arc;

use protocols::proxy::Change;

use super::leaf::{Encoder, Item, LEAF_BYTES_MAX, LEAF_ENTRIES_MAX, Leaf, Value};
use super::node::{Node, PAGE_LEAVES_MAX};
use super::{Acl, Applied, Cursor, Editor, is_storable_change, key};

/// How full leaves and pages are made: a little room is left for what is created later.
const FILL_LEAF: usize = LEAF_ENTRIES_MAX * 15 / 16;
const FILL_PAGE: usize = PAGE_LEAVES_MAX * 15 / 16;

/// Makes a list of entries as a dump brings them.
///
/// Entries in hierarchy order are written to leaves as they come. The others are kept aside,
/// sorted at the end and merged in; of two entries with one name the later counts.
pub struct Builder {
    values: Editor,
    tree: Tree,
    strays: Vec<Item>,
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
                self.remove(&key);
                return true;
            }
        };
        if self.tree.is_behind(&key) {
            self.tree.push(&key, value);
        } else {
            self.strays.push(Item { key, value });
        }
        true
    }

    /// Entries so far; those that came twice are counted twice.
    pub fn len(&self) -> usize {
        self.tree.len + self.strays.len()
    }

    /// Whether no entry came.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The list, as an editor that can go on changing it.
    pub fn finish(mut self) -> Editor {
        let (root, len) = self.tree.finish();
        let strays = std::mem::take(&mut self.strays);
        let (locations, acls) = self.values.into_interners();
        let mut editor = Editor::assemble(root, len, locations, acls);
        if strays.len() > len / 16 {
            editor = merge(editor, strays);
        } else {
            for stray in strays {
                editor.put(&stray.key, Some(stray.value));
            }
        }
        editor
    }

    /// A deletion in a dump is rare: what stands is finished and reopened.
    fn remove(&mut self, key: &[u8]) {
        let mut editor = std::mem::take(self).finish();
        if editor.put(key, None) == Applied::Deleted || !editor.is_empty() {
            let list = editor.publish();
            let mut cursor = Cursor::at_key(&list, b"");
            while cursor.advance() {
                self.tree.push(cursor.key(), cursor.value());
            }
        }
        let (locations, acls) = editor.into_interners();
        self.values = Editor::assemble(Node::new(), 0, locations, acls);
    }
}

/// Merges many strays into a list by writing all of it anew.
fn merge(editor: Editor, mut strays: Vec<Item>) -> Editor {
    // Stable: of equal keys the later one stays behind the earlier.
    strays.sort_by(|a, b| a.key.cmp(&b.key));
    let list = editor.publish();
    let mut lost = Vec::new();
    let mut tree = Tree::new();
    let mut cursor = Cursor::at_key(&list, b"");
    let mut standing = cursor.advance();
    let mut strays = strays.into_iter().peekable();
    while let Some(stray) = strays.next() {
        if strays.peek().is_some_and(|next| next.key == stray.key) {
            lost.push(stray.value);
            continue;
        }
        while standing && cursor.key() < &*stray.key {
            tree.push(cursor.key(), cursor.value());
            standing = cursor.advance();
        }
        if standing && cursor.key() == &*stray.key {
            lost.push(cursor.value());
            standing = cursor.advance();
        }
        tree.push(&stray.key, stray.value);
    }
    while standing {
        tree.push(cursor.key(), cursor.value());
        standing = cursor.advance();
    }
    let (root, len) = tree.finish();
    let (mut locations, mut acls) = editor.into_interners();
    for value in lost {
        locations.release(value.location);
        acls.release(value.acl);
    }
    Editor::assemble(root, len, locations, acls)
}

/// A tree that grows at its right end.
struct Tree {
    root: Node<Arc<Node<Leaf>>>,
    page: Node<Leaf>,
    page_fence: Vec<u8>,
    leaf: Encoder,
    leaf_fence: Vec<u8>,
    len: usize,
}

impl Tree {
    fn new() -> Tree {
        Tree {
            root: Node::new(),
            page: Node::new(),
            page_fence: Vec::new(),
            leaf: Encoder::default(),
            leaf_fence: Vec::new(),
            len: 0,
        }
    }

    fn is_behind(&self, key: &[u8]) -> bool {
        self.len == 0 || self.leaf.last() < key
    }

    fn push(&mut self, key: &[u8], value: Value) {
        if self.leaf.len() >= FILL_LEAF || self.leaf.bytes() > LEAF_BYTES_MAX / 2 {
            let fence = key[key::fence(self.leaf.last(), key)].to_vec();
            self.end_leaf();
            self.leaf_fence = fence;
        }
        self.leaf.push(key, value);
        self.len += 1;
    }

    fn end_leaf(&mut self) {
        let leaf = self.leaf.finish();
        if self.page.children.len() >= FILL_PAGE {
            self.end_page();
        }
        if self.page.children.is_empty() {
            self.page_fence.clone_from(&self.leaf_fence);
        }
        self.page.push(&self.leaf_fence, leaf);
    }

    fn end_page(&mut self) {
        let page = std::mem::replace(&mut self.page, Node::new());
        self.root.push(&self.page_fence, Arc::new(page));
    }

    fn finish(mut self) -> (Node<Arc<Node<Leaf>>>, usize) {
        if self.leaf.len() > 0 {
            self.end_leaf();
        }
        if !self.page.children.is_empty() {
            self.end_page();
        }
        (self.root, self.len)
    }
}
