//! Which server is asked to tell of which mailboxes.
//!
//! A server knows of nobody's mailboxes but its own. So the mailboxes of each event group are looked for in
//! the list, and each server that holds some is told the groups with those that it has: `personal` stays what
//! it is, because a new mailbox below the INBOX is made beside it; names and subtrees become the names there.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::imap::agenda::server_of;
use crate::imap::grammar::{EventGroup, SourceKind};
use crate::imap::route::{name_out, push};
use crate::imap::task::Context;
use crate::mailbox::names::is_dav;
use crate::proxy::{Knowledge, ListPage, ListQuery, Reserved};

/// Servers that one client's NOTIFY may concern: each costs a connection of its own.
const SERVERS_MAX: usize = 16;

/// Mailboxes looked at for one plan.
const WALKED_MAX: usize = 20_000;

/// Bytes of the groups that one server is told.
const TEXT_BYTES_MAX: usize = 8192;

/// By server: its event groups, each with a space before it.
pub(in crate::imap) type Plan = BTreeMap<Vec<u8>, Vec<u8>>;

/// An event group as it came.
#[derive(Clone, Debug)]
struct Group {
    kind: SourceKind,
    /// `personal`, `subtree` and the like, as typed.
    word: Vec<u8>,
    /// Internal names; what has none is no mailbox.
    names: Vec<Vec<u8>>,
    events: Vec<u8>,
}

/// What a client wants to be told of, but for the selected mailbox.
#[derive(Clone, Debug, Default)]
pub(in crate::imap) struct Wishes {
    groups: Vec<Group>,
}

/// Why there is no plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoPlan {
    /// It would cost too much.
    TooMuch,
    /// The list was never seen.
    Unknown,
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

/// The making of a plan.
#[derive(Debug, Default)]
pub(super) struct Planning {
    wishes: Wishes,
    /// Parts of the list that are to be looked at: the number of a group and a name.
    parts: VecDeque<(usize, Vec<u8>)>,
    /// By server and number of the group: what it has of it.
    places: BTreeMap<Vec<u8>, BTreeMap<usize, Vec<Vec<u8>>>>,
    walked: usize,
}

impl Planning {
    pub(super) fn new(wishes: Wishes, cx: &Context<'_>) -> Planning {
        let inbox = cx.config.namespace.inbox(&cx.identity.user);
        let mut parts = VecDeque::new();
        for (number, group) in wishes.groups.iter().enumerate() {
            match group.kind {
                SourceKind::Personal => parts.push_back((number, inbox.clone())),
                SourceKind::Subtree | SourceKind::Mailboxes | SourceKind::Subscribed => {
                    parts.extend(group.names.iter().map(|name| (number, name.clone())));
                }
                SourceKind::Selected => {}
            }
        }
        Planning { wishes, parts, ..Planning::default() }
    }

    /// The page that is needed next, behind `after`; `None` when all is known.
    pub(super) fn query(&self, after: Box<[u8]>, cx: &Context<'_>) -> Option<ListQuery> {
        let (_, name) = self.parts.front()?;
        let visible_to = Some(Arc::clone(cx.identity));
        Some(ListQuery { after, prefix: name.as_slice().into(), visible_to, reserved: Reserved::Hidden })
    }

    /// Takes a page; gives where the next one of this part begins.
    ///
    /// # Errors
    /// There is no plan.
    pub(super) fn handle_page(&mut self, page: &ListPage, cx: &Context<'_>) -> Result<Box<[u8]>, NoPlan> {
        if page.knowledge == Knowledge::NeverSynced {
            return Err(NoPlan::Unknown);
        }
        let Some((number, name)) = self.parts.front().cloned() else { return Ok(Box::default()) };
        let kind = self.wishes.groups[number].kind;
        let goes_below = matches!(kind, SourceKind::Personal | SourceKind::Subtree);
        self.walked += page.entries.len();
        for row in &page.entries {
            let is_meant =
                if goes_below { is_within(&row.entry.name, &name) } else { *row.entry.name == *name };
            let server = server_of(&row.entry, cx).filter(|_| is_meant && !is_dav(&row.entry.name));
            if let Some(server) = server {
                self.place(server.to_vec(), number, kind, &row.entry.name);
            }
        }
        if self.walked > WALKED_MAX || self.places.len() > SERVERS_MAX {
            return Err(NoPlan::TooMuch);
        }
        // A prefix `user.fred` brings `user.fredrika` too, behind all that is below it.
        let next = page.next.clone().filter(|next| goes_below && is_within(next, &name));
        if next.is_none() {
            self.parts.pop_front();
        }
        Ok(next.unwrap_or_default())
    }

    fn place(&mut self, server: Vec<u8>, number: usize, kind: SourceKind, name: &[u8]) {
        let names = self.places.entry(server).or_default().entry(number).or_default();
        // They come in hierarchy order: a mailbox below the last one that counts is told with it.
        let is_told = match kind {
            SourceKind::Personal => !names.is_empty(),
            SourceKind::Subtree => names.last().is_some_and(|last| is_within(name, last)),
            SourceKind::Mailboxes | SourceKind::Subscribed | SourceKind::Selected => false,
        };
        if !is_told {
            names.push(name.to_vec());
        }
    }

    /// The plan, when all is known.
    ///
    /// # Errors
    /// It would cost too much.
    pub(super) fn finish(&self, cx: &Context<'_>) -> Result<Plan, NoPlan> {
        let mut plan = Plan::new();
        for (server, groups) in &self.places {
            let mut text = Vec::new();
            for (number, names) in groups {
                self.group_out(&mut text, &self.wishes.groups[*number], names, cx);
            }
            if text.len() > TEXT_BYTES_MAX {
                return Err(NoPlan::TooMuch);
            }
            if !text.is_empty() {
                plan.insert(server.clone(), text);
            }
        }
        Ok(plan)
    }

    fn group_out(&self, out: &mut Vec<u8>, group: &Group, names: &[Vec<u8>], cx: &Context<'_>) {
        let namespace = &cx.config.namespace;
        let seen: Vec<Vec<u8>> =
            names.iter().filter_map(|name| namespace.external(name, cx.identity)).collect();
        if seen.is_empty() {
            return;
        }
        push(out, &[b" (", if group.kind == SourceKind::Subscribed { b"mailboxes" } else { &group.word }]);
        if group.kind != SourceKind::Personal {
            out.extend_from_slice(b" (");
            for (n, name) in seen.iter().enumerate() {
                out.extend_from_slice(if n == 0 { b"" } else { b" " });
                name_out(out, name);
            }
            out.push(b')');
        }
        push(out, &[b" ", &group.events, b")"]);
    }
}

/// Whether a mailbox is this one or below it.
fn is_within(name: &[u8], above: &[u8]) -> bool {
    name.starts_with(above) && matches!(name.get(above.len()), None | Some(b'.'))
}
