//! A page of the list for one who asks, with what he may see.

use protocols::mailbox::{Identity, Rights, acl};
use protocols::proxy::{Entry, ListQuery, ListedEntry, PAGE_BYTES_MAX, PAGE_NAMES_MAX, Reserved};

use super::leaf::Leaf;
use super::{Cursor, List, key, leaf};

/// Octets that an entry of a page counts beside its name, location and ACL.
const ENTRY_BYTES: usize = 16;

/// The price, in names looked at, of skipping a whole leaf.
const SKIP_COST: usize = 4;

/// How rights follow from an ACL.
pub trait AccessPolicy {
    /// The rights of `who` in the mailbox `name` with this ACL. But for the owner, who is asked
    /// about by name, and the admins, they must depend on nothing but the ACL and `who`.
    fn rights(&self, acl: &[u8], name: &[u8], who: &Identity) -> Rights;

    /// Whether a mailbox is listed to one who has these rights there.
    fn is_listed(&self, rights: Rights) -> bool;
}

impl AccessPolicy for acl::Policy {
    fn rights(&self, acl: &[u8], name: &[u8], who: &Identity) -> Rights {
        acl::rights(acl, name, who, self)
    }

    fn is_listed(&self, rights: Rights) -> bool {
        rights.contains(Rights::L)
    }
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// In hierarchy order.
    pub entries: Vec<ListedEntry>,
    /// The `after` of the next page; `None` at the end.
    pub next: Option<Box<[u8]>>,
}

impl List {
    /// Gives a page: at most [`PAGE_NAMES_MAX`] names looked at and [`PAGE_BYTES_MAX`] octets.
    ///
    /// Each distinct ACL is judged once. Whole leaves whose ACLs show nothing to the identity are
    /// left out without being read, except where its own mailboxes may stand.
    pub fn page(&self, query: &ListQuery, policy: &dyn AccessPolicy) -> Page {
        let mut pager = Pager {
            query,
            viewer: query.visible_to.as_deref().map(|who| Viewer::new(self, who, policy)),
            looked_at: 0,
            bytes: 0,
            entries: Vec::new(),
        };
        let after = key::key(&query.after);
        for prefix in key::prefixes(&query.prefix) {
            let end = key::end_of(&prefix);
            if !after.is_empty() && end.as_deref().is_some_and(|end| *after >= *end) {
                continue;
            }
            if let Some(next) = pager.walk(self, &prefix, &after) {
                return Page { entries: pager.entries, next: Some(next) };
            }
        }
        Page { entries: pager.entries, next: None }
    }
}

/// A page in the making.
struct Pager<'a> {
    query: &'a ListQuery,
    viewer: Option<Viewer<'a>>,
    looked_at: usize,
    bytes: usize,
    entries: Vec<ListedEntry>,
}

impl Pager<'_> {
    /// Walks what begins with `prefix` and stands behind `after`; the name to go on behind when the
    /// page is full.
    fn walk(&mut self, list: &List, prefix: &[u8], after: &[u8]) -> Option<Box<[u8]>> {
        let key_end = key::end_of(prefix);
        let behind = [after, b"\0"].concat();
        let mut cursor = Cursor::at_key(list, if *after >= *prefix { &behind } else { prefix });
        loop {
            self.skip_leaves(&mut cursor, key_end.as_deref());
            if !cursor.advance() || !cursor.key().starts_with(prefix) {
                return None;
            }
            self.looked_at += 1;
            let shown = self.show(&mut cursor);
            if let Some(listed) = shown {
                let Entry { name, location, acl } = &listed.entry;
                self.bytes += name.len() + location.0.len() + acl.len() + ENTRY_BYTES;
                self.entries.push(listed);
            }
            if self.looked_at >= PAGE_NAMES_MAX || self.bytes >= PAGE_BYTES_MAX {
                return Some(cursor.row().name.into());
            }
        }
    }

    fn show(&mut self, cursor: &mut Cursor<'_>) -> Option<ListedEntry> {
        let acl = cursor.value().acl;
        let row = cursor.row();
        if row.reserved && self.query.reserved == Reserved::Hidden {
            return None;
        }
        let rights = match &mut self.viewer {
            None => Rights(u32::MAX),
            Some(viewer) => viewer.rights(acl, row.name)?,
        };
        Some(ListedEntry { entry: row.entry(), reserved: row.reserved, rights })
    }

    /// Skips leaves in which the viewer sees nothing, as far as the page's budget goes.
    fn skip_leaves(&mut self, cursor: &mut Cursor<'_>, end: Option<&[u8]>) {
        let Some(viewer) = &mut self.viewer else { return };
        cursor.leave_finished_leaf();
        while self.looked_at + SKIP_COST < PAGE_NAMES_MAX {
            let Some((leaf, behind)) = cursor.next_leaf() else { return };
            let is_last = behind.is_none_or(|behind| end.is_some_and(|end| behind >= end));
            if is_last || viewer.may_see(leaf, behind, cursor.key()) {
                return;
            }
            self.looked_at += SKIP_COST;
            cursor.skip_leaf();
        }
    }
}

/// An identity and what was found out about the ACLs of the list for it.
struct Viewer<'a> {
    list: &'a List,
    who: &'a Identity,
    policy: &'a dyn AccessPolicy,
    /// Rights by number of the ACL, in mailboxes of others; `None` inside: not listed.
    verdicts: Vec<Option<Option<Rights>>>,
    /// Where the identity's own mailboxes stand: `[domain!][DELETED.]user.local`.
    own: [Vec<u8>; 2],
}

impl<'a> Viewer<'a> {
    fn new(list: &'a List, who: &'a Identity, policy: &'a dyn AccessPolicy) -> Viewer<'a> {
        Viewer { list, who, policy, verdicts: vec![None; list.acls.len()], own: own_keys(&who.user) }
    }

    /// The rights in a mailbox, if it is listed.
    fn rights(&mut self, acl: u32, name: &[u8]) -> Option<Rights> {
        if self.owns(name) {
            return self.judge(acl, name);
        }
        if let Some(verdict) = self.verdicts[acl as usize] {
            return verdict;
        }
        let verdict = self.judge(acl, name);
        self.verdicts[acl as usize] = Some(verdict);
        verdict
    }

    fn judge(&self, acl: u32, name: &[u8]) -> Option<Rights> {
        let rights = self.policy.rights(&self.list.acl(acl, name), name, self.who);
        self.policy.is_listed(rights).then_some(rights)
    }

    fn owns(&self, name: &[u8]) -> bool {
        key::owner(name).is_some_and(|owner| {
            let mut id = Vec::with_capacity(32);
            key::write_owner_id(&owner, &mut id);
            id == *self.who.user
        })
    }

    /// Whether a leaf may hold something that is listed. `before` is at or below its first key.
    fn may_see(&mut self, leaf: &Leaf, behind: Option<&[u8]>, before: &[u8]) -> bool {
        let is_apart = |own: &Vec<u8>| {
            key::end_of(own).is_some_and(|end| *end <= *before)
                || behind.is_some_and(|behind| *behind <= **own)
        };
        if !self.own.iter().all(is_apart) {
            return true;
        }
        let Some(acls) = leaf::acls(leaf) else { return true };
        for acl in acls {
            match self.verdicts[acl as usize] {
                Some(None) => {}
                Some(Some(_)) | None => return true,
            }
        }
        false
    }
}

/// The keys under which the mailboxes of a user stand.
fn own_keys(user: &[u8]) -> [Vec<u8>; 2] {
    let (local, domain) = match memchr::memrchr(b'@', user) {
        Some(at) => (&user[..at], &user[at + 1..]),
        None => (user, &b""[..]),
    };
    [&b"user."[..], b"DELETED.user."].map(|root| {
        let mut name = Vec::with_capacity(user.len() + 16);
        if !domain.is_empty() {
            name.extend_from_slice(domain);
            name.push(b'!');
        }
        name.extend_from_slice(root);
        name.extend(local.iter().map(|&byte| if byte == b'.' { b'^' } else { byte }));
        key::key(&name)
    })
}
