//! The writer's side of a list.

use std::sync::Arc;

use protocols::proxy::{Change, Location};

use super::leaf::{self, Encoder, LEAF_BYTES_MAX, LEAF_ENTRIES_MAX, LEAF_ENTRIES_MIN, Leaf, Value, Walk};
use super::node::{Node, PAGE_LEAVES_MAX, PAGE_LEAVES_MIN};
use super::table::Interner;
use super::{Acl, Cursor, List, is_storable_change, key};

/// What a change did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Applied {
    /// Nothing: the list says so already, or cannot hold it (`is_storable_change`).
    Unchanged,
    /// A new entry.
    Inserted,
    /// Another state, location or ACL of an entry.
    Replaced,
    /// An entry less.
    Deleted,
}

/// Changes a list. What was published before is never touched.
pub struct Editor {
    root: Node<Arc<Node<Leaf>>>,
    len: usize,
    locations: Interner<Location>,
    acls: Interner<Acl>,
}

impl Editor {
    /// Begins with nothing.
    pub fn empty() -> Editor {
        Editor { root: Node::new(), len: 0, locations: Interner::new(), acls: Interner::new() }
    }

    /// Begins with a list; walks all of it once to count who holds which location and ACL.
    pub fn new(list: &List) -> Editor {
        let mut locations = Interner::over(list.locations.clone());
        let mut acls = Interner::over(list.acls.clone());
        let mut cursor = Cursor::at_key(list, b"");
        while cursor.advance() {
            locations.hold(cursor.value().location);
            acls.hold(cursor.value().acl);
        }
        locations.settle();
        acls.settle();
        Editor { root: list.root.clone(), len: list.len, locations, acls }
    }

    pub(crate) fn assemble(
        root: Node<Arc<Node<Leaf>>>,
        len: usize,
        locations: Interner<Location>,
        acls: Interner<Acl>,
    ) -> Editor {
        Editor { root, len, locations, acls }
    }

    /// Entries, active and reserved.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where a name is, and whether it is only reserved.
    pub fn locate(&self, name: &[u8]) -> Option<(Location, bool)> {
        let key = key::key(name);
        let page = self.root.children.get(self.root.position(&key))?;
        let value = leaf::find(page.children.get(page.position(&key))?, &key)?;
        Some((self.locations.table().at(value.location).clone(), value.reserved))
    }

    /// Distinct locations and ACLs that some entry holds.
    pub fn shared_values(&self) -> (usize, usize) {
        (self.locations.held(), self.acls.held())
    }

    /// The list as it stands; later changes do not reach it.
    pub fn publish(&self) -> Arc<List> {
        Arc::new(List {
            root: self.root.clone(),
            len: self.len,
            locations: self.locations.table().clone(),
            acls: self.acls.table().clone(),
        })
    }

    /// The list as it stands, as the last act.
    pub fn finish(self) -> Arc<List> {
        self.publish()
    }

    /// Applies one change.
    pub fn apply(&mut self, change: &Change) -> Applied {
        if !is_storable_change(change) {
            return Applied::Unchanged;
        }
        let key = key::key(change.name());
        let new = match change {
            Change::Active(entry) => {
                Some(self.hold(&entry.location, false, &Acl::of(&entry.acl, &entry.name)))
            }
            Change::Reserved { location, .. } => Some(self.hold(location, true, &Acl::none())),
            Change::Deleted { .. } => None,
        };
        self.put(&key, new)
    }

    /// Numbers for a value, counted as held.
    pub(crate) fn hold(&mut self, location: &Location, reserved: bool, acl: &Acl) -> Value {
        Value { location: self.locations.intern(location), reserved, acl: self.acls.intern(acl) }
    }

    pub(crate) fn locations(&self) -> &Interner<Location> {
        &self.locations
    }

    pub(crate) fn acls(&self) -> &Interner<Acl> {
        &self.acls
    }

    pub(crate) fn into_interners(self) -> (Interner<Location>, Interner<Acl>) {
        (self.locations, self.acls)
    }

    /// Sets or removes the value of a key; `new` is held already.
    pub(crate) fn put(&mut self, key: &[u8], new: Option<Value>) -> Applied {
        let at = self.root.position(key);
        let old = self.root.children.get(at).and_then(|page| {
            let leaf = page.children.get(page.position(key))?;
            leaf::find(leaf, key)
        });
        let unchanged = old == new;
        if !unchanged {
            self.rewrite(at, key, new);
        }
        if let Some(old) = old {
            self.release(old);
        }
        match (old, new) {
            (_, _) if unchanged => Applied::Unchanged,
            (None, _) => {
                self.len += 1;
                Applied::Inserted
            }
            (Some(_), Some(_)) => Applied::Replaced,
            (Some(_), None) => {
                self.len -= 1;
                Applied::Deleted
            }
        }
    }

    fn release(&mut self, value: Value) {
        self.locations.release(value.location);
        self.acls.release(value.acl);
    }

    fn rewrite(&mut self, at: usize, key: &[u8], new: Option<Value>) {
        if self.root.children.is_empty() {
            let mut page = Node::new();
            page.push(b"", leaf::encode(&[]));
            self.root.push(b"", Arc::new(page));
        }
        let page = Arc::make_mut(&mut self.root.children[at]);
        let leaf_at = page.position(key);
        let changed = changed_leaf(&page.children[leaf_at], key, new);
        place(page, leaf_at, changed);
        let leaves = page.children.len();
        if leaves > PAGE_LEAVES_MAX {
            self.split_page(at);
        } else if leaves == 0 {
            self.root.splice(at, 1, &[]);
        } else if leaves < PAGE_LEAVES_MIN && self.root.children.len() > 1 {
            self.merge_page(at);
        }
    }

    fn split_page(&mut self, at: usize) {
        let page = Arc::make_mut(&mut self.root.children[at]);
        let middle = page.children.len() / 2;
        let fence = page.fence(middle).to_vec();
        let right = Arc::new(page.split_off(middle));
        let left = (self.root.fence(at).to_vec(), self.root.children[at].clone());
        self.root.splice(at, 1, &[left, (fence, right)]);
    }

    /// Joins a small page with a neighbour if both fit into three quarters of one.
    fn merge_page(&mut self, at: usize) {
        let left = at.min(self.root.children.len() - 2);
        let (a, b) = (&self.root.children[left], &self.root.children[left + 1]);
        if a.children.len() + b.children.len() > PAGE_LEAVES_MAX * 3 / 4 {
            return;
        }
        let mut joined = (**a).clone();
        joined.append(self.root.fence(left + 1), b);
        let fence = self.root.fence(left).to_vec();
        self.root.splice(left, 2, &[(fence, Arc::new(joined))]);
    }
}

impl Acl {
    /// What a reserved entry has.
    pub(crate) fn none() -> Acl {
        Acl { owner_first: false, text: Arc::from(&b""[..]) }
    }
}

/// A leaf with one entry set or removed.
fn changed_leaf(leaf: &[u8], wanted: &[u8], new: Option<Value>) -> Leaf {
    let mut encoder = Encoder::default();
    let mut walk = Walk::new(leaf);
    let mut key = Vec::with_capacity(64);
    let mut waiting = new;
    while let Some(value) = walk.next(&mut key) {
        if *key >= *wanted {
            if let Some(value) = waiting.take() {
                encoder.push(wanted, value);
            }
            if *key == *wanted {
                continue;
            }
        }
        encoder.push(&key, value);
    }
    if let Some(value) = waiting {
        encoder.push(wanted, value);
    }
    encoder.finish()
}

/// Puts a changed leaf in its place: alone, split in two, joined with a neighbour, or not at all.
fn place(page: &mut Node<Leaf>, at: usize, changed: Leaf) {
    let entries = leaf::len(&changed);
    if entries > LEAF_ENTRIES_MAX || (entries > 1 && changed.len() > LEAF_BYTES_MAX) {
        let items = leaf::decode(&changed);
        let (left, right) = items.split_at(items.len() / 2);
        // Index: a leaf to split has two entries and more, so both halves have one.
        let fence = right[0].key[key::fence(&left[left.len() - 1].key, &right[0].key)].to_vec();
        let own = page.fence(at).to_vec();
        page.splice(at, 1, &[(own, leaf::encode(left)), (fence, leaf::encode(right))]);
    } else if entries == 0 {
        page.splice(at, 1, &[]);
    } else {
        page.children[at] = changed;
        if entries < LEAF_ENTRIES_MIN && page.children.len() > 1 {
            merge_leaf(page, at);
        }
    }
}

/// Joins a small leaf with a neighbour if both fit into three quarters of one.
fn merge_leaf(page: &mut Node<Leaf>, at: usize) {
    let left = at.min(page.children.len() - 2);
    let (a, b) = (&page.children[left], &page.children[left + 1]);
    if leaf::len(a) + leaf::len(b) > LEAF_ENTRIES_MAX * 3 / 4 || a.len() + b.len() > LEAF_BYTES_MAX / 2 {
        return;
    }
    let mut items = leaf::decode(a);
    items.extend(leaf::decode(b));
    let fence = page.fence(left).to_vec();
    page.splice(left, 2, &[(fence, leaf::encode(&items))]);
}
