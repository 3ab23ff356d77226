//! Of which mailboxes a client is told, where a server tells of more.

use std::collections::BTreeSet;

use crate::mailbox::Pattern;

/// Which mailboxes the client is told of.
#[derive(Debug)]
pub(in crate::imap) enum Wanted {
    /// All.
    All,
    /// These.
    Only(BTreeSet<Box<[u8]>>),
    /// What a pattern matches, but for these: a Cyrus backend tells of mailboxes below a place that has
    /// none itself, under its name or under theirs.
    Matching {
        /// The patterns.
        patterns: Vec<Pattern>,
        /// Names that are left out.
        but: BTreeSet<Box<[u8]>>,
    },
}

impl Wanted {
    /// Whether the client is told of a mailbox.
    pub(super) fn includes(&self, name: &[u8]) -> bool {
        match self {
            Wanted::All => true,
            Wanted::Only(names) => names.contains(name),
            Wanted::Matching { patterns, but } => {
                !but.contains(name) && patterns.iter().any(|pattern| pattern.matches(name))
            }
        }
    }
}
