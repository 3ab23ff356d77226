//! From pages of the mailbox list to rows of a LIST answer: order, wildcards, parents, children.
//!
//! The list comes in hierarchy order, so the first mailbox below another one follows it directly: a row
//! waits for the next visible name to know whether it has children, and a parent that is no mailbox is
//! shown when the first name below it comes.

use std::collections::VecDeque;
use std::sync::Arc;

use super::plan::{Part, Section, deleted_of_users, is_listed, part_of, plan};
use crate::mailbox::{Identity, Namespace, Pattern, Rights, names};
use crate::proxy::{ListPage, ListQuery, ListedEntry, Reserved};

/// Sorts behind every name below a mailbox: no name has the byte.
const BEHIND: &[u8] = b".\xff";

/// One line of the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::imap) struct Row {
    /// The name as the user sees it.
    pub(in crate::imap) name: Box<[u8]>,
    pub(in crate::imap) has_children: bool,
    /// `None`: a parent that is no mailbox, or none that the user may see.
    pub(in crate::imap) mailbox: Option<Listed>,
}

/// What the list knows of a mailbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::imap) struct Listed {
    pub(in crate::imap) rights: Rights,
    /// `\Noinferiors`.
    pub(in crate::imap) inferiors: Inferiors,
    /// As in the list; `None` when the location names none.
    pub(in crate::imap) server: Option<Box<[u8]>>,
    /// The user's own.
    pub(in crate::imap) is_own: bool,
}

/// Whether there can be mailboxes below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::imap) enum Inferiors {
    Possible,
    /// What looks like one is another mailbox's: a personal INBOX in the alternate namespace.
    Never,
}

/// Whether calendars and the like are listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::imap) enum Dav {
    Hidden,
    Shown,
}

/// Whether users are shown what delayed deletion kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::imap) enum Deleted {
    Hidden,
    Shown,
}

/// The last visible name.
#[derive(Debug)]
struct Seen {
    external: Box<[u8]>,
    internal: Box<[u8]>,
}

/// The way through the list.
#[derive(Debug)]
pub(in crate::imap) struct Walk {
    patterns: Vec<Pattern>,
    namespace: Arc<Namespace>,
    who: Arc<Identity>,
    dav: Dav,
    deleted: Deleted,
    sections: VecDeque<Section>,
    /// Where the section goes on.
    after: Box<[u8]>,
    last: Option<Seen>,
    /// Waits to know whether it has children.
    pending: Option<Row>,
    /// Top-level parents that were shown; sections may share one.
    roots: Vec<Box<[u8]>>,
}

impl Walk {
    /// Plans the way for patterns that had their reference applied.
    pub(in crate::imap) fn new(
        patterns: Vec<Pattern>,
        namespace: Arc<Namespace>,
        who: Arc<Identity>,
        dav: Dav,
    ) -> Walk {
        let sections = plan(&patterns, &namespace, &who).into();
        let (after, deleted) = (Box::default(), Deleted::Hidden);
        let (last, pending, roots) = (None, None, Vec::new());
        Walk { patterns, namespace, who, dav, deleted, sections, after, last, pending, roots }
    }

    /// Users are shown deleted mailboxes, too; in the alternate namespace these have no names.
    pub(super) fn with_deleted(mut self, deleted: Deleted) -> Walk {
        if deleted == Deleted::Shown && !self.who.is_admin && !self.namespace.alt {
            self.deleted = deleted;
            self.sections.extend(deleted_of_users(&self.patterns, &self.namespace, &self.who));
        }
        self
    }

    /// The name that the user sees.
    fn external(&self, internal: &[u8]) -> Option<Vec<u8>> {
        if self.deleted == Deleted::Shown && self.namespace.is_deleted(internal) {
            // As an administrator names it.
            let who = Identity { is_admin: true, ..(*self.who).clone() };
            return self.namespace.external(internal, &who);
        }
        self.namespace.external(internal, &self.who)
    }

    /// The next page that is needed; `None` at the end.
    pub(in crate::imap) fn poll_query(&self) -> Option<ListQuery> {
        let section = self.sections.front()?;
        Some(ListQuery {
            after: self.after.clone(),
            prefix: section.prefix.as_slice().into(),
            visible_to: Some(Arc::clone(&self.who)),
            // As on Cyrus: what is being made or moved is an administrator's business.
            reserved: if self.who.is_admin { Reserved::Shown } else { Reserved::Hidden },
        })
    }

    /// Whether one of the patterns matches a name.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether a name that has no row would have one if its mailbox were there.
    pub(super) fn lists(&self, name: &[u8]) -> bool {
        let internal = self.namespace.internal(name, &self.who);
        internal.map_or(true, |internal| is_listed(&internal, &self.namespace, &self.who))
    }

    /// The patterns.
    pub(in crate::imap) fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Whether mailboxes of the user himself are read.
    pub(super) fn reads_own(&self) -> bool {
        self.sections.iter().any(|section| section.part.is_own())
    }

    /// Takes the page that was asked for.
    pub(in crate::imap) fn handle_page(&mut self, page: &ListPage, rows: &mut VecDeque<Row>) {
        let Some(part) = self.sections.front().map(|section| section.part) else { return };
        for listed in &page.entries {
            let own = part_of(&listed.entry.name, &self.namespace, &self.who);
            if self.is_behind_own_tree(part, &listed.entry.name) {
                return self.end_section(rows);
            }
            if own == part {
                self.handle_entry(listed, rows);
            }
        }
        match &page.next {
            Some(next) => self.after = self.go_on(part, next),
            None => self.end_section(rows),
        }
    }

    /// A prefix `user.fred` brings `user.fredrika` too.
    fn is_behind_own_tree(&self, part: Part, internal: &[u8]) -> bool {
        match part {
            Part::Inbox | Part::InboxSub | Part::Own | Part::AltPrefix => {
                let inbox = self.namespace.inbox(&self.who.user);
                !(internal.starts_with(&inbox) && matches!(internal.get(inbox.len()), None | Some(b'.')))
            }
            Part::Users | Part::Shared | Part::DeletedUsers => false,
        }
    }

    fn end_section(&mut self, rows: &mut VecDeque<Row>) {
        self.sections.pop_front();
        self.after = Box::default();
        if self.sections.is_empty() {
            rows.extend(self.pending.take());
        }
    }

    fn handle_entry(&mut self, listed: &ListedEntry, rows: &mut VecDeque<Row>) {
        let internal = &listed.entry.name;
        let is_hidden = !self.who.is_admin && self.dav == Dav::Hidden && names::is_dav(internal);
        let external = if is_hidden { None } else { self.external(internal) };
        let Some(external) = external else { return };
        if let Some(mut row) = self.pending.take() {
            row.has_children = self.is_below(&row.name, &external);
            rows.push_back(row);
        }
        self.show_parents(&external, rows);
        if self.matches(&external) {
            let server = listed.entry.location.server().map(Box::from);
            let inferiors = match self.namespace.category(internal, &self.who) {
                names::Category::AltInbox => Inferiors::Never,
                names::Category::Inbox
                | names::Category::InboxSub
                | names::Category::Own
                | names::Category::AltPrefix
                | names::Category::OtherUser
                | names::Category::Shared
                | names::Category::Deleted => Inferiors::Possible,
            };
            let is_own = part_of(internal, &self.namespace, &self.who).is_own();
            let mailbox = Some(Listed { rights: listed.rights, inferiors, server, is_own });
            self.pending = Some(Row { name: external.as_slice().into(), has_children: false, mailbox });
        }
        self.last = Some(Seen { external: external.into(), internal: internal.clone() });
    }

    /// Shows the names above one that are no mailboxes: to patterns that end with `%` (RFC 3501 section
    /// 6.3.8), and to those that name them.
    fn show_parents(&mut self, external: &[u8], rows: &mut VecDeque<Row>) {
        let end = path_len(external, &self.namespace);
        for at in memchr::memchr_iter(self.namespace.separator, &external[..end]) {
            let parent = &external[..at];
            let is_known = self
                .last
                .as_ref()
                .is_some_and(|last| *last.external == *parent || self.is_below(parent, &last.external));
            if is_known || self.roots.iter().any(|root| **root == *parent) || !self.names_parent(parent) {
                continue;
            }
            if !parent.contains(&self.namespace.separator) {
                self.roots.push(parent.into());
            }
            rows.push_back(Row { name: parent.into(), has_children: true, mailbox: None });
        }
    }

    fn names_parent(&self, parent: &[u8]) -> bool {
        self.patterns.iter().any(|pattern| pattern.returns_levels() && pattern.matches(parent))
    }

    /// Whether one external name is below another one.
    fn is_below(&self, parent: &[u8], name: &[u8]) -> bool {
        is_below(parent, name, &self.namespace)
    }

    /// Where to go on behind `next`: what no pattern can match is jumped over.
    fn go_on(&self, part: Part, next: &[u8]) -> Box<[u8]> {
        let domain = memchr::memchr(b'!', next).map_or(0, |bang| bang + 1);
        if part == Part::Shared && next[domain..].starts_with(b"user.") {
            return [&next[..domain], b"user", BEHIND].concat().into();
        }
        self.behind_depth(next).unwrap_or_else(|| next.into())
    }

    /// Behind the subtree of the mailbox above `next` below which no pattern matches, if its children
    /// are known.
    fn behind_depth(&self, next: &[u8]) -> Option<Box<[u8]>> {
        let separator = self.namespace.separator;
        let depth_of = |text: &[u8]| memchr::memchr_iter(separator, text).count();
        let has_star = self.patterns.iter().any(|pattern| pattern.text().contains(&b'*'));
        let depth_max = self.patterns.iter().map(|pattern| depth_of(pattern.text())).max()?;
        let Seen { external, internal } = self.last.as_ref()?;
        let excess = depth_of(external).checked_sub(depth_max).filter(|excess| *excess > 0)?;
        if has_star || external.contains(&b'@') {
            return None;
        }
        let mut above: &[u8] = internal;
        for _ in 0..excess {
            above = &above[..memchr::memrchr(b'.', above)?];
        }
        let behind = [above, BEHIND].concat();
        next.starts_with(&behind[..=above.len()]).then(|| behind.into())
    }
}

/// Whether one external name is below another one of the same domain.
pub(super) fn is_below(parent: &[u8], name: &[u8], namespace: &Namespace) -> bool {
    let (parent_path, parent_domain) = parent.split_at(path_len(parent, namespace));
    let (path, domain) = name.split_at(path_len(name, namespace));
    let is_placeholder = parent_domain.is_empty();
    path.len() > parent_path.len()
        && path[parent_path.len()] == namespace.separator
        && path.starts_with(parent_path)
        && (domain == parent_domain || is_placeholder)
}

/// Bytes of a name before its `@domain`, which has dots that are no separators.
fn path_len(external: &[u8], namespace: &Namespace) -> usize {
    match namespace.virtdomains {
        names::VirtDomains::Off => external.len(),
        names::VirtDomains::UserId | names::VirtDomains::On => {
            memchr::memrchr(b'@', external).unwrap_or(external.len())
        }
    }
}
