//! What the servers of a murder say, side by side. No I/O here or in what compares it.

use std::collections::BTreeMap;
use std::sync::Arc;

use mupdate::list::{List, Row};
use protocols::proxy::Location;

/// All that was read.
pub(crate) struct Murder {
    /// The master's list before anybody else was asked.
    pub(crate) before: Arc<List>,
    /// And after; what changed in between is not judged.
    pub(crate) master: Arc<List>,
    /// Backends that were read.
    pub(crate) backends: Vec<Backend>,
    /// Backends that could not be.
    pub(crate) unread: Vec<Box<str>>,
    /// Frontends that were read.
    pub(crate) frontends: Vec<Frontend>,
    /// `mupdate_config: replicated`: backends share what they hold, locations are partitions alone.
    pub(crate) is_replicated: bool,
}

/// What a backend holds.
pub(crate) struct Backend {
    /// Its name in locations.
    pub(crate) name: Box<str>,
    /// Its mailboxes, each at this backend.
    pub(crate) list: Arc<List>,
    /// Mailboxes that are flagged as being moved, with the server that they are moved to.
    pub(crate) moving: BTreeMap<Box<[u8]>, Box<[u8]>>,
    /// Whether the truth has partitions and ACLs.
    pub(crate) depth: Depth,
}

/// How much is known of each mailbox of a backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Depth {
    /// Its name alone.
    Names,
    /// Partition and ACL too.
    Whole,
}

/// What a frontend believes.
pub(crate) struct Frontend {
    /// How it was named.
    pub(crate) name: Box<str>,
    /// Its list.
    pub(crate) list: Arc<List>,
    /// What it says of itself; `None` when it cannot be asked.
    pub(crate) state: Option<FrontendState>,
}

/// What our own frontend says of its list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FrontendState {
    /// `live`, `stale` or `never synced`.
    pub(crate) knowledge: Box<str>,
    /// A dump waits to be accepted.
    pub(crate) is_held_back: bool,
}

/// What a list says of one name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    /// Nothing.
    Nothing,
    /// It is being created or moved.
    Reserved {
        /// Where.
        location: Location,
    },
    /// It is there.
    Active {
        /// Where.
        location: Location,
        /// As in MUPDATE.
        acl: Arc<[u8]>,
    },
}

impl Said {
    /// What a row says.
    pub(crate) fn of(row: &Row<'_>) -> Said {
        let location = row.location.clone();
        if row.reserved { Said::Reserved { location } } else { Said::Active { location, acl: row.acl() } }
    }

    /// The location, if there is one.
    pub(crate) fn location(&self) -> Option<&Location> {
        match self {
            Said::Nothing => None,
            Said::Reserved { location } | Said::Active { location, .. } => Some(location),
        }
    }
}

/// One backend's copy of a mailbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Holding {
    /// `backend!partition`.
    pub(crate) location: Location,
    /// As in MUPDATE; `None` when the truth is names alone.
    pub(crate) acl: Option<Arc<[u8]>>,
    /// The server that it is being moved to.
    pub(crate) moving_to: Option<Box<[u8]>>,
}

impl Holding {
    /// Whose it is.
    pub(crate) fn server(&self) -> &[u8] {
        self.location.server().unwrap_or_default()
    }
}

/// Whether two server names are one server.
pub(crate) fn is_same_server(a: &[u8], b: &[u8]) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// Whether two ACLs give everybody the same rights, in whatever order.
pub(crate) fn is_same_acl(a: &[u8], b: &[u8]) -> bool {
    a == b || rights_by_id(a) == rights_by_id(b)
}

fn rights_by_id(acl: &[u8]) -> BTreeMap<&[u8], Vec<u8>> {
    let mut fields = acl.split(|byte| *byte == b'\t');
    let mut rights = BTreeMap::new();
    while let (Some(id), Some(letters)) = (fields.next(), fields.next()) {
        let mut letters = letters.to_vec();
        letters.sort_unstable();
        letters.dedup();
        rights.insert(id, letters);
    }
    rights
}

/// Whether two locations are one: the same server in any case, the same partition. A location that
/// names no partition, which Cyrus 3.6 sends after RENAME, is every partition.
pub(crate) fn is_same_location(a: &Location, b: &Location) -> bool {
    let servers = match (a.server(), b.server()) {
        (Some(a), Some(b)) => is_same_server(a, b),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    let (here, there) = (a.partition(), b.partition());
    servers && (here == there || here.is_empty() || there.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Location {
        Location(text.as_bytes().into())
    }

    #[test]
    fn servers_are_the_same_in_any_case_and_without_a_partition() {
        assert!(is_same_location(&at("Backend1!default"), &at("backend1!default")));
        assert!(is_same_location(&at("backend1!"), &at("backend1!default")));
        assert!(is_same_location(&at("default"), &at("default")));
        assert!(!is_same_location(&at("backend1!a"), &at("backend1!b")));
        assert!(!is_same_location(&at("backend1!a"), &at("a")));
    }

    #[test]
    fn acls_are_the_same_in_any_order() {
        assert!(is_same_acl(b"fred\tlrs\tanyone\tp\t", b"anyone\tp\tfred\tsrl\t"));
        assert!(!is_same_acl(b"fred\tlrs\t", b"fred\tlr\t"));
        assert!(!is_same_acl(b"fred\tlrs\t", b""));
        assert!(!is_same_acl(b"fred\tlrs\t", b"fred\tlrs\tanyone\tp\t"));
    }
}
