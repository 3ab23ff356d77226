//! What a client wants to be told of, who tells it, and how far he is told.

use std::collections::BTreeMap;

use crate::imap::grammar::{EventGroup, SourceKind};
use crate::proxy::{BackendId, Instant};

/// An event group as it came.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) kind: SourceKind,
    /// `personal`, `subtree` and the like, as typed.
    pub(super) word: Vec<u8>,
    /// Internal names; what has none is no mailbox.
    pub(super) names: Vec<Vec<u8>>,
    pub(super) events: Vec<u8>,
}

/// What a client wants to be told of, but for the selected mailbox.
#[derive(Clone, Debug, Default)]
pub(in crate::imap) struct Wishes {
    pub(super) groups: Vec<Group>,
}

impl Wishes {
    /// What `groups` say.
    pub(in crate::imap) fn of(groups: &[EventGroup<'_>], name: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Wishes {
        let group = |group: &EventGroup<'_>| Group {
            kind: group.source.kind,
            word: group.source.text.split(|byte| *byte == b' ').next().unwrap_or_default().to_vec(),
            names: group.source.mailboxes.iter().filter_map(|typed| name(typed)).collect(),
            events: group.events.to_vec(),
        };
        let others = groups.iter().filter(|group| group.source.kind != SourceKind::Selected);
        Wishes { groups: others.map(group).collect() }
    }

    /// Whether one of the groups is of this kind.
    pub(super) fn has(&self, kind: SourceKind) -> bool {
        self.groups.iter().any(|group| group.kind == kind)
    }
}

/// By server: its event groups, each with a space before it.
pub(in crate::imap) type Plan = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a session is told of, from an accepted SET to the next.
#[derive(Debug)]
pub struct Notified {
    /// The event group of the selected mailbox.
    pub(in crate::imap) selected: Vec<u8>,
    /// What the client wants of others.
    pub(in crate::imap) wishes: Wishes,
    /// Who was told what.
    pub(in crate::imap) plan: Plan,
    /// The connections that tell.
    pub(in crate::imap) listeners: Vec<BackendId>,
    /// The connection that was told what holds for the selected mailbox.
    pub(in crate::imap) at_selected: Option<BackendId>,
}

/// NOTIFY is on.
pub(in crate::imap) struct On {
    pub(super) selected: Vec<u8>,
    pub(super) wishes: Wishes,
    pub(super) plan: Plan,
    pub(super) check_at: Instant,
    pub(super) loss: Loss,
    /// The listener whose first response is being looked at.
    pub(super) judged: Option<(BackendId, Judged)>,
}

/// Whether news may have been missed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    Nothing,
    /// The client is to be told.
    Untold,
    /// His server told him.
    Told,
}

/// Whether a mailbox is that of the server that tells of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged {
    Asked,
    /// By the list it is, or nobody knows better.
    Its,
    /// It is another one's.
    Anothers,
}

/// Who tells what of a mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::imap) enum Telling {
    /// That it is no more.
    End(BackendId),
    /// Anything else.
    Other(BackendId),
}
