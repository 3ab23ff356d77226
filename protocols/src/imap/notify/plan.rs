//! Which server is asked to tell of which mailboxes.
//!
//! A server knows of nobody's mailboxes but its own. So the mailboxes of each event group are looked for in
//! the list, and each server that holds some is told the groups with those that it has: `personal` stays what
//! it is, because a new mailbox below the INBOX is made beside it; names and subtrees become the names there.
//! So does `subscribed`, but for the user's home, which knows what he subscribes to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::wishes::{Group, Plan, Wishes};
use crate::imap::agenda::server_of;
use crate::imap::grammar::SourceKind;
use crate::imap::task::Context;
use crate::imap::text::{name_out, push};
use crate::mailbox::names::is_dav;
use crate::proxy::{Knowledge, ListPage, ListQuery, Reserved};

/// Servers that one client's NOTIFY may concern: each costs a connection of its own.
const SERVERS_MAX: usize = 16;

/// Mailboxes looked at for one plan.
const WALKED_MAX: usize = 20_000;

/// Subscriptions of a user who wants to be told of them, and those of them that are not his own mailboxes: each is
/// looked up by itself.
const SUBSCRIBED_MAX: usize = 1024;
const SUBSCRIBED_ELSEWHERE_MAX: usize = 128;

/// Bytes of the groups that one server is told.
const TEXT_BYTES_MAX: usize = 8192;

/// Why there is no plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoPlan {
    /// It would cost too much.
    TooMuch,
    /// The list was never seen.
    Unknown,
}

/// A part of the list.
#[derive(Clone, Debug)]
struct Part {
    /// The number of the group that it is looked at for.
    group: usize,
    /// The mailbox that it begins with.
    name: Vec<u8>,
    reach: Reach,
}

/// What of a part counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reach {
    /// The mailbox alone.
    Alone,
    /// Those below it, too.
    Below,
    /// What of it and of those below is subscribed to.
    Subscribed,
}

/// The making of a plan.
#[derive(Debug, Default)]
pub(super) struct Planning {
    wishes: Wishes,
    /// Parts of the list that are to be looked at.
    parts: VecDeque<Part>,
    /// What the user has subscribed to, as far as it is his own, and the server that knows.
    subscribed: BTreeSet<Vec<u8>>,
    home: Option<Vec<u8>>,
    /// By server and number of the group: what it has of it.
    places: BTreeMap<Vec<u8>, BTreeMap<usize, Vec<Vec<u8>>>>,
    walked: usize,
}

impl Planning {
    pub(super) fn new(wishes: Wishes, cx: &Context<'_>) -> Planning {
        let inbox = cx.config.namespace.inbox(&cx.identity.user);
        let mut parts = VecDeque::new();
        for (number, group) in wishes.groups.iter().enumerate() {
            let part = |name: &Vec<u8>, reach| Part { group: number, name: name.clone(), reach };
            match group.kind {
                SourceKind::Personal => parts.push_back(part(&inbox, Reach::Below)),
                SourceKind::Subtree => {
                    parts.extend(group.names.iter().map(|name| part(name, Reach::Below)));
                }
                SourceKind::Mailboxes => {
                    parts.extend(group.names.iter().map(|name| part(name, Reach::Alone)));
                }
                SourceKind::Subscribed | SourceKind::Selected => {}
            }
        }
        Planning { wishes, parts, ..Planning::default() }
    }

    /// Takes what the user's home says that he has subscribed to.
    ///
    /// # Errors
    /// It is too much.
    pub(super) fn subscribe(
        &mut self,
        home: Option<&[u8]>,
        names: BTreeSet<Vec<u8>>,
        cx: &Context<'_>,
    ) -> Result<(), NoPlan> {
        let Some(group) = self.wishes.groups.iter().position(|group| group.kind == SourceKind::Subscribed)
        else {
            return Ok(());
        };
        let inbox = cx.config.namespace.inbox(&cx.identity.user);
        let (own, others): (BTreeSet<_>, BTreeSet<_>) =
            names.into_iter().partition(|name| is_within(name, &inbox));
        if own.len() > SUBSCRIBED_MAX || others.len() > SUBSCRIBED_ELSEWHERE_MAX {
            return Err(NoPlan::TooMuch);
        }
        self.home = home.map(<[u8]>::to_vec);
        if let Some(home) = self.home.clone() {
            self.places.entry(home).or_default().entry(group).or_default();
        }
        if !own.is_empty() {
            self.parts.push_back(Part { group, name: inbox, reach: Reach::Subscribed });
        }
        self.parts.extend(others.into_iter().map(|name| Part { group, name, reach: Reach::Alone }));
        self.subscribed = own;
        Ok(())
    }

    /// The page that is needed next, behind `after`; `None` when all is known.
    pub(super) fn query(&self, after: Box<[u8]>, cx: &Context<'_>) -> Option<ListQuery> {
        let part = self.parts.front()?;
        let visible_to = Some(Arc::clone(cx.identity));
        Some(ListQuery { after, prefix: part.name.as_slice().into(), visible_to, reserved: Reserved::Hidden })
    }

    /// Takes a page; gives where the next one of this part begins.
    ///
    /// # Errors
    /// There is no plan.
    pub(super) fn handle_page(&mut self, page: &ListPage, cx: &Context<'_>) -> Result<Box<[u8]>, NoPlan> {
        if page.knowledge == Knowledge::NeverSynced {
            return Err(NoPlan::Unknown);
        }
        let Some(Part { group, name, reach }) = self.parts.front().cloned() else {
            return Ok(Box::default());
        };
        self.walked += page.entries.len();
        for row in &page.entries {
            let is_meant = match reach {
                Reach::Alone => *row.entry.name == *name,
                Reach::Below => is_within(&row.entry.name, &name),
                Reach::Subscribed => self.subscribed.contains(&*row.entry.name),
            };
            let server = server_of(&row.entry, cx).filter(|_| is_meant && !is_dav(&row.entry.name));
            if let Some(server) = server {
                self.place(server.to_vec(), group, &row.entry.name);
            }
        }
        if self.walked > WALKED_MAX || self.places.len() > SERVERS_MAX {
            return Err(NoPlan::TooMuch);
        }
        // A prefix `user.fred` brings `user.fredrika` too, behind all that is below it.
        let next = page.next.clone().filter(|next| reach != Reach::Alone && is_within(next, &name));
        if next.is_none() {
            self.parts.pop_front();
        }
        Ok(next.unwrap_or_default())
    }

    fn place(&mut self, server: Vec<u8>, number: usize, name: &[u8]) {
        let kind = self.wishes.groups[number].kind;
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
                let group = &self.wishes.groups[*number];
                if group.kind == SourceKind::Subscribed && self.home.as_ref() == Some(server) {
                    push(&mut text, &[b" (subscribed ", &group.events, b")"]);
                } else {
                    group_out(&mut text, group, names, cx);
                }
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
}

/// Appends a group with the mailboxes that a server has of it.
fn group_out(out: &mut Vec<u8>, group: &Group, names: &[Vec<u8>], cx: &Context<'_>) {
    let namespace = &cx.config.namespace;
    let seen: Vec<Vec<u8>> = names.iter().filter_map(|name| namespace.external(name, cx.identity)).collect();
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

/// Whether a mailbox is this one or below it.
fn is_within(name: &[u8], above: &[u8]) -> bool {
    name.starts_with(above) && matches!(name.get(above.len()), None | Some(b'.'))
}
