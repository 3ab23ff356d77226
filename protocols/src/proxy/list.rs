//! What machines ask of the mailbox list, and what it says.

use std::sync::Arc;

use crate::mailbox::{Identity, Rights};

/// Names looked at for one page of a list.
pub const PAGE_NAMES_MAX: usize = 10_000;

/// Bytes of names and locations returned in one page of a list.
pub const PAGE_BYTES_MAX: usize = 16 * 1024;

/// How sure a look-up must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    /// The snapshot as it is.
    Snapshot,
    /// A name that the snapshot has is answered at once, "not there" only behind a barrier.
    BarrierIfAbsent,
    /// The same, and what a barrier showed to be "not there" is for a second: for mail, whose senders guess names.
    BarrierOnce,
    /// Behind a barrier; as far as the list goes where there can be none.
    Barrier,
    /// Behind a barrier; unknown where there can be none, whatever a stale list says. For who would take the
    /// answer for the last word on what a server denies.
    Proven,
}

/// A part of the list in hierarchy order.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// The name behind which to go on; empty at the start.
    pub after: Box<[u8]>,
    /// Only names that begin with this.
    pub prefix: Box<[u8]>,
    /// Only mailboxes that this identity may look up (`l`, ownership, or admin); `None` is all.
    pub visible_to: Option<Arc<Identity>>,
    /// Whether reserved names are listed.
    pub reserved: Reserved,
}

/// Whether reserved names are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reserved {
    /// Left out.
    Hidden,
    /// Listed.
    Shown,
}

/// What the list says of one name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// An active mailbox.
    Active(Entry),
    /// Reserved: being created or moved.
    Reserved {
        /// Where.
        location: Location,
    },
    /// Not there, proven as the question's freshness demanded.
    Absent,
    /// The list cannot tell: never synced, or stale and the name is not in it.
    Unknown,
}

/// One mailbox of the list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The internal name.
    pub name: Box<[u8]>,
    /// Where it lives.
    pub location: Location,
    /// The ACL as it travels: `id TAB rights TAB ...`.
    pub acl: Arc<[u8]>,
}

/// `server!partition` as it travels in MUPDATE; without `!` it is a partition alone.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Location(pub Arc<[u8]>);

impl Location {
    /// The server, `None` when the location names none (`mupdate_config: replicated`).
    pub fn server(&self) -> Option<&[u8]> {
        let bang = memchr::memchr(b'!', &self.0)?;
        Some(&self.0[..bang])
    }

    /// The partition; empty when the location names none.
    pub fn partition(&self) -> &[u8] {
        match memchr::memchr(b'!', &self.0) {
            Some(bang) => &self.0[bang + 1..],
            None => &self.0,
        }
    }

    /// Whether this is at a server, in any case of letters; its partition may be left out.
    pub fn is_at(&self, server: &[u8]) -> bool {
        self.server().is_some_and(|own| own.eq_ignore_ascii_case(server))
    }

    /// Whether both are at one server, or both name none.
    pub fn shares_server(&self, other: &Location) -> bool {
        match other.server() {
            Some(server) => self.is_at(server),
            None => self.server().is_none(),
        }
    }
}

/// A page of the list.
#[derive(Clone, Debug)]
pub struct ListPage {
    /// In hierarchy order.
    pub entries: Vec<ListedEntry>,
    /// The `after` of the next page; `None` at the end.
    pub next: Option<Box<[u8]>>,
    /// What this frontend knew when the page was made.
    pub knowledge: Knowledge,
}

/// One row of a page.
#[derive(Clone, Debug)]
pub struct ListedEntry {
    /// The mailbox.
    pub entry: Entry,
    /// Reserved, not active.
    pub reserved: bool,
    /// The rights of the identity that asked; all when none did.
    pub rights: Rights,
}

/// The three values of knowledge about the list (DESIGN: mailbox list).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Knowledge {
    /// No list was ever complete here: nothing can be said.
    NeverSynced,
    /// A list that was complete once: what it has is believed, what it has not is unknown.
    Stale,
    /// Connected to the source and in step.
    Live,
}
