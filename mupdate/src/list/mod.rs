//! The mailbox list: an immutable snapshot that any thread reads without a lock, and its writer.
//!
//! ```text
//!   List   ──> root ──> pages (up to 256 leaves) ──> leaves (up to 128 front-coded entries)
//!     │                      fences between children, keys in hierarchy order
//!     └──> tables of locations and ACLs, shared between snapshots
//! ```
//!
//! An [`Editor`] changes a list by copying the one leaf, page and root on the way; what it does
//! not touch is shared with the snapshots that were published before. An ACL that begins with the
//! entry of the mailbox's owner is kept without his name, so that the mailboxes of all users share
//! a few ACLs.

mod builder;
mod cursor;
mod diff;
mod editor;
mod finish;
pub mod generate;
mod image;
pub mod key;
mod leaf;
mod node;
mod page;
mod table;
mod tree;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use protocols::proxy::{Change, Entry, Finding, Location};

pub use builder::Builder;
pub use cursor::{Cursor, Row};
pub use diff::{Diff, Outcome};
pub use editor::{Applied, Editor};
pub use finish::Finish;
pub use image::{Image, Piece, Restore};
pub use key::{NAME_BYTES_MAX, compare, is_storable};
pub use page::{AccessPolicy, Page};

use leaf::{Leaf, Value};
use node::Node;
use table::Table;

/// Longest location that is stored, in octets.
pub const LOCATION_BYTES_MAX: usize = 1023;

/// Longest ACL that is stored, in octets.
pub const ACL_BYTES_MAX: usize = 64 * 1024;

/// An immutable list of mailboxes.
#[derive(Clone)]
pub struct List {
    root: Node<Arc<Node<Leaf>>>,
    len: usize,
    locations: Table<Location>,
    acls: Table<Acl>,
}

/// The locations that are or were in use in a list; cheap to clone.
#[derive(Clone)]
pub struct Locations(Table<Location>);

impl Locations {
    /// Whether these are known to be the same, without looking at them.
    pub fn is_same(&self, other: &Locations) -> bool {
        self.0.is_same(&other.0)
    }

    /// In no order, some perhaps twice.
    pub fn iter(&self) -> impl Iterator<Item = &Location> {
        self.0.iter()
    }
}

/// An ACL as it is kept.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Acl {
    /// The owner's id goes in front of the text.
    pub owner_first: bool,
    /// What is left.
    pub text: Arc<[u8]>,
}

/// What the list has under a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// An active mailbox.
    Active(Entry),
    /// Reserved: being created or moved.
    Reserved {
        /// Where.
        location: Location,
    },
}

impl From<Found> for Finding {
    fn from(found: Found) -> Finding {
        match found {
            Found::Active(entry) => Finding::Active(entry),
            Found::Reserved { location } => Finding::Reserved { location },
        }
    }
}

impl List {
    /// A list without entries.
    pub fn empty() -> Arc<List> {
        Editor::empty().finish()
    }

    /// Entries, active and reserved.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Looks a name up.
    pub fn find(&self, name: &[u8]) -> Option<Found> {
        let value = self.value(&key::key(name))?;
        let location = self.locations.at(value.location).clone();
        if value.reserved {
            return Some(Found::Reserved { location });
        }
        Some(Found::Active(Entry { name: name.into(), location, acl: self.acl(value.acl, name) }))
    }

    /// Where a name is, and whether it is only reserved.
    pub fn locate(&self, name: &[u8]) -> Option<(&Location, bool)> {
        let value = self.value(&key::key(name))?;
        Some((self.locations.at(value.location), value.reserved))
    }

    /// Whether there is an entry below a name in the hierarchy, active or reserved.
    pub fn has_children(&self, name: &[u8]) -> bool {
        let mut below = key::key(name);
        below.push(key::SEPARATOR);
        let mut cursor = Cursor::at_key(self, &below);
        cursor.advance() && cursor.key().starts_with(&below)
    }

    /// Walks the entries from a name on, that name included.
    pub fn iter_from(&self, name: &[u8]) -> Cursor<'_> {
        Cursor::at_key(self, &key::key(name))
    }

    /// Distinct locations that are or were in use.
    pub fn locations(&self) -> usize {
        self.locations.len()
    }

    /// Them all, for looking at later.
    pub fn all_locations(&self) -> Locations {
        Locations(self.locations.clone())
    }

    /// Distinct ACLs that are or were in use.
    pub fn acls(&self) -> usize {
        self.acls.len()
    }

    fn value(&self, key: &[u8]) -> Option<Value> {
        let page = self.root.children.get(self.root.position(key))?;
        leaf::find(page.children.get(page.position(key))?, key)
    }

    fn acl(&self, number: u32, name: &[u8]) -> Arc<[u8]> {
        let acl = self.acls.at(number);
        if !acl.owner_first {
            return acl.text.clone();
        }
        let mut text = Vec::with_capacity(acl.text.len() + 24);
        if let Some(owner) = key::owner(name) {
            key::write_owner_id(&owner, &mut text);
        }
        text.extend_from_slice(&acl.text);
        text.into()
    }
}

impl Acl {
    /// Takes the owner's id off the front, unless it means something else in an ACL.
    fn of(acl: &Arc<[u8]>, name: &[u8]) -> Acl {
        let mut id = Vec::with_capacity(32);
        if let Some(owner) = key::owner(name) {
            key::write_owner_id(&owner, &mut id);
        }
        let special = id.is_empty()
            || id.starts_with(b"-")
            || id.starts_with(b"group:")
            || id == b"anyone"
            || id == b"anonymous";
        match acl.strip_prefix(&*id) {
            Some(rest) if !special && rest.starts_with(b"\t") => Acl { owner_first: true, text: rest.into() },
            Some(_) | None => Acl { owner_first: false, text: acl.clone() },
        }
    }
}

/// Whether the list can hold what a change says; what it cannot hold is left out.
pub fn is_storable_change(change: &Change) -> bool {
    is_storable(change.name())
        && match change {
            Change::Active(entry) => {
                entry.location.0.len() <= LOCATION_BYTES_MAX && entry.acl.len() <= ACL_BYTES_MAX
            }
            Change::Reserved { location, .. } => location.0.len() <= LOCATION_BYTES_MAX,
            Change::Deleted { .. } => true,
        }
}
