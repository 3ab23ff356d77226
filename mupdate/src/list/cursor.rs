//! Walking a list in order.

use std::sync::Arc;

use protocols::proxy::{Change, Entry, Location};

use super::leaf::{Leaf, Value, Walk};
use super::{List, key};

/// Stands on an entry of a list, or in front of the first.
///
/// Lends one entry at a time, so that a walk over millions of entries allocates nothing.
pub struct Cursor<'a> {
    list: &'a List,
    page: usize,
    leaf: usize,
    walk: Option<Walk<'a>>,
    key: Vec<u8>,
    name: Vec<u8>,
    value: Value,
    /// The cursor stands on the next entry already.
    pending: bool,
}

/// One entry as a cursor lends it.
#[derive(Clone, Copy)]
pub struct Row<'c> {
    list: &'c List,
    /// The internal name.
    pub name: &'c [u8],
    /// Where it is.
    pub location: &'c Location,
    /// Reserved, not active.
    pub reserved: bool,
    acl: u32,
}

impl Row<'_> {
    /// The ACL; empty when the name is only reserved.
    pub fn acl(&self) -> Arc<[u8]> {
        self.list.acl(self.acl, self.name)
    }

    /// The entry with a name and location of its own.
    pub fn entry(&self) -> Entry {
        Entry { name: self.name.into(), location: self.location.clone(), acl: self.acl() }
    }

    /// The change that makes such an entry.
    pub fn change(&self) -> Change {
        if self.reserved {
            Change::Reserved { name: self.name.into(), location: self.location.clone() }
        } else {
            Change::Active(self.entry())
        }
    }
}

impl<'a> Cursor<'a> {
    /// Stands in front of the first entry whose key is not below `key`.
    pub(crate) fn at_key(list: &'a List, key: &[u8]) -> Cursor<'a> {
        let mut cursor = Cursor {
            list,
            page: 0,
            leaf: 0,
            walk: None,
            key: Vec::with_capacity(64),
            name: Vec::with_capacity(64),
            value: Value::default(),
            pending: false,
        };
        cursor.seek(key);
        cursor
    }

    /// Goes in front of the first entry whose key is not below `key`.
    pub(crate) fn seek(&mut self, key: &[u8]) {
        self.page = self.list.root.position(key);
        self.leaf = self.list.root.children.get(self.page).map_or(0, |page| page.position(key));
        self.walk = None;
        self.pending = false;
        while self.advance() {
            if *self.key >= *key {
                self.pending = true;
                return;
            }
        }
    }

    /// Goes to the next entry; false at the end of the list.
    pub fn advance(&mut self) -> bool {
        if self.pending {
            self.pending = false;
            return true;
        }
        loop {
            if let Some(walk) = &mut self.walk {
                if let Some(value) = walk.next(&mut self.key) {
                    self.value = value;
                    return true;
                }
                self.leaf += 1;
                self.walk = None;
            }
            let Some(leaf) = self.here() else { return false };
            self.key.clear();
            self.walk = Some(Walk::new(leaf));
        }
    }

    /// Goes to the next entry and lends it.
    #[allow(clippy::should_implement_trait, reason = "lends what it stands on, which Iterator cannot")]
    pub fn next(&mut self) -> Option<Row<'_>> {
        self.advance().then(|| self.row())
    }

    /// Lends the entry that the cursor stands on.
    pub(crate) fn row(&mut self) -> Row<'_> {
        key::decode(&self.key, &mut self.name);
        Row {
            list: self.list,
            name: &self.name,
            location: self.list.locations.at(self.value.location),
            reserved: self.value.reserved,
            acl: self.value.acl,
        }
    }

    /// The key that the cursor stands on.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The value that the cursor stands on.
    pub(crate) fn value(&self) -> Value {
        self.value
    }

    /// The leaf whose first entry comes next, when the cursor stands between leaves; with the fence
    /// behind it.
    pub(crate) fn next_leaf(&mut self) -> Option<(&'a Leaf, Option<&'a [u8]>)> {
        if self.pending || self.walk.is_some() {
            return None;
        }
        let leaf = self.here()?;
        let page = &self.list.root.children[self.page];
        let behind = if self.leaf + 1 < page.children.len() {
            Some(page.fence(self.leaf + 1))
        } else if self.page + 1 < self.list.root.children.len() {
            Some(self.list.root.fence(self.page + 1))
        } else {
            None
        };
        Some((leaf, behind))
    }

    /// Ends the walk of a leaf that has no more entries, so that [`Cursor::next_leaf`] may be asked.
    pub(crate) fn leave_finished_leaf(&mut self) {
        if !self.pending && self.walk.as_ref().is_some_and(Walk::is_finished) {
            self.walk = None;
            self.leaf += 1;
        }
    }

    /// Leaves the leaf that [`Cursor::next_leaf`] gave out.
    pub(crate) fn skip_leaf(&mut self) {
        self.leaf += 1;
    }

    /// The leaf at the current place, going over the ends of pages.
    fn here(&mut self) -> Option<&'a Leaf> {
        loop {
            let page = self.list.root.children.get(self.page)?;
            if let Some(leaf) = page.children.get(self.leaf) {
                return Some(leaf);
            }
            self.page += 1;
            self.leaf = 0;
        }
    }
}
