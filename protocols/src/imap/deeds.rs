//! What a session did and the mailbox list does not show: "what a session did, it sees".
//!
//! The OK to a command that changes the list waits for a barrier. When the barrier fails or takes too
//! long, or when a backend deletes a mailbox without a word to the master (`delete_mode: immediate`,
//! DELETED.*), the OK goes out all the same, and the session itself remembers until the list agrees.
//!
//! ```text
//!  OK ──> Remember ──look-up──> list agrees: forgotten
//!                      └──────> kept: look-ups and pages of the list are corrected by it
//!                                  └── the list says something new of the name: forgotten
//! ```
//!
//! What was done before a command of unknown fate, and would be untrue if that was done, is forgotten.

use std::cmp::Ordering;

use crate::mailbox::{Identity, Rights, names};
use crate::proxy::{Entry, Finding, ListPage, ListQuery, ListedEntry, Location};

/// Deeds that one session remembers; the oldest is forgotten first.
pub(super) const DEEDS_MAX: usize = 32;

/// Something that a backend said it did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Deed {
    /// A mailbox was made on, or moved to, a server.
    Made {
        /// The internal name.
        name: Vec<u8>,
        /// The server as in the list.
        server: Vec<u8>,
        /// The server that it was moved away from.
        moved_from: Option<Vec<u8>>,
    },
    /// A mailbox was deleted, or renamed away.
    Gone {
        /// The internal name.
        name: Vec<u8>,
        /// Whether those below it went too.
        below: Below,
    },
}

/// Something that a backend was asked for, and may have done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Doubt {
    /// A mailbox of this internal name was made, or moved to another server.
    Made(Vec<u8>),
    /// A mailbox was deleted, or renamed away.
    Gone {
        /// The internal name.
        name: Vec<u8>,
        /// Whether those below it went too.
        below: Below,
    },
}

/// What becomes of the mailboxes below one that goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Below {
    /// They stay.
    Stays,
    /// They go with it: a RENAME, the deletion of a user.
    Goes,
}

impl Deed {
    /// The name that the list is asked for.
    pub(super) fn name(&self) -> &[u8] {
        match self {
            Deed::Made { name, .. } | Deed::Gone { name, .. } => name,
        }
    }

    /// Whether the list shows it.
    fn agrees(&self, finding: &Finding) -> bool {
        match (self, finding) {
            (Deed::Made { moved_from, .. }, Finding::Active(entry)) => {
                moved_from.is_none() || moved_from.as_deref() != entry.location.server()
            }
            (Deed::Gone { .. }, Finding::Absent) => true,
            (Deed::Made { .. }, Finding::Reserved { .. } | Finding::Absent | Finding::Unknown)
            | (Deed::Gone { .. }, Finding::Active(_) | Finding::Reserved { .. } | Finding::Unknown) => false,
        }
    }
}

/// The deeds that the list does not show.
#[derive(Debug, Default)]
pub(super) struct Deeds {
    kept: Vec<Kept>,
    next: u32,
}

#[derive(Debug)]
struct Kept {
    number: u32,
    deed: Deed,
    /// What the list said of the name instead; anything else is news.
    instead: Option<Finding>,
}

impl Deeds {
    /// Keeps a deed; gives the number by which [`Deeds::check`] is told what the list says of it.
    pub(super) fn keep(&mut self, deed: Deed) -> u32 {
        self.kept.retain(|kept| kept.deed.name() != deed.name() && !hides(&deed, kept.deed.name()));
        if self.kept.len() >= DEEDS_MAX {
            self.kept.remove(0);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.kept.push(Kept { number, deed, instead: None });
        number
    }

    /// The list says this of the name of a deed: one that it shows is forgotten.
    pub(super) fn check(&mut self, number: u32, finding: Finding) {
        self.kept.retain(|kept| kept.number != number || !kept.deed.agrees(&finding));
        if let Some(kept) = self.kept.iter_mut().find(|kept| kept.number == number) {
            kept.instead = Some(finding);
        }
    }

    /// Forgets the deeds that are untrue if this was done too. With what is renamed those below it come, whose
    /// names nobody told.
    pub(super) fn doubt(&mut self, doubt: &Doubt) {
        self.kept.retain(|kept| match (doubt, &kept.deed) {
            (Doubt::Made(name), Deed::Made { name: made, .. }) => made != name,
            (Doubt::Made(name), Deed::Gone { name: gone, .. }) => !is_of(gone, name, Below::Goes),
            (Doubt::Gone { name, below }, deed) => !is_of(deed.name(), name, *below),
        });
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The name is selected, or was made anew and the list has it: it is not gone.
    pub(super) fn is_there(&mut self, name: &[u8]) {
        self.kept.retain(|kept| kept.deed.name() != name || matches!(kept.deed, Deed::Made { .. }));
    }

    /// Corrects what the list says of a name.
    ///
    /// What it says of a name that is gone here is passed on: its server knows, for somebody may have made it
    /// anew; and where the list is not known, nobody knows whether somebody has.
    pub(super) fn correct(&mut self, name: &[u8], finding: Finding, who: &Identity) -> Finding {
        self.believe_news(name, &finding);
        let Some(kept) = self.kept.iter().find(|kept| kept.deed.name() == name) else { return finding };
        match (&kept.deed, finding) {
            (Deed::Made { name, server, .. }, _) => Finding::Active(made(name, server, who)),
            (Deed::Gone { .. }, finding) => finding,
        }
    }

    /// Forgets a deed of whose name the list says something else than it did.
    fn believe_news(&mut self, name: &[u8], finding: &Finding) {
        self.kept.retain(|kept| {
            kept.deed.name() != name
                || kept.instead.as_ref().is_none_or(|instead| instead == finding)
                || *finding == Finding::Unknown
        });
    }

    /// Corrects a page of the list: what is gone is left out, what was made stands at its place.
    pub(super) fn correct_page(&mut self, query: &Asked, page: &mut ListPage, who: &Identity) {
        for listed in &page.entries {
            self.believe_news(&listed.entry.name, &Finding::Active(listed.entry.clone()));
        }
        page.entries.retain(|listed| !self.kept.iter().any(|kept| hides(&kept.deed, &listed.entry.name)));
        for kept in &self.kept {
            let Deed::Made { name, server, .. } = &kept.deed else { continue };
            if !query.covers(name, page.next.as_deref()) {
                continue;
            }
            let before = |listed: &ListedEntry| names::compare(&listed.entry.name, name) == Ordering::Less;
            let at = page.entries.partition_point(before);
            let entry = made(name, server, who);
            match page.entries.get_mut(at).filter(|listed| *listed.entry.name == **name) {
                Some(listed) => listed.entry.location = entry.location,
                None => {
                    let listed = ListedEntry { entry, reserved: false, rights: Rights::ALL };
                    page.entries.insert(at, listed);
                }
            }
        }
    }
}

/// Whether a name is not shown for a deed.
fn hides(deed: &Deed, name: &[u8]) -> bool {
    match deed {
        Deed::Made { .. } => false,
        Deed::Gone { name: gone, below } => is_of(name, gone, *below),
    }
}

/// Whether a name is this one, or below it where those go along.
pub(super) fn is_of(name: &[u8], this: &[u8], below: Below) -> bool {
    let rest = name.strip_prefix(this);
    rest.is_some_and(|rest| rest.is_empty() || (below == Below::Goes && rest[0] == b'.'))
}

/// A mailbox that this user made. Who may do what there only its server knows yet; it is his.
fn made(name: &[u8], server: &[u8], who: &Identity) -> Entry {
    let acl = [&who.user, &b"\t"[..], Rights::ALL.to_string().as_bytes(), b"\t"].concat();
    Entry { name: name.into(), location: Location([server, b"!"].concat().into()), acl: acl.into() }
}

/// The part of a list that was asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    after: Box<[u8]>,
    prefix: Box<[u8]>,
}

impl Asked {
    pub(super) fn of(query: &ListQuery) -> Asked {
        Asked { after: query.after.clone(), prefix: query.prefix.clone() }
    }

    /// Whether a page from `after` up to `next` would have the name.
    fn covers(&self, name: &[u8], next: Option<&[u8]>) -> bool {
        name.starts_with(&self.prefix)
            && (self.after.is_empty() || names::compare(name, &self.after) == Ordering::Greater)
            && next.is_none_or(|next| names::compare(name, next) != Ordering::Greater)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::testing::entry;
    use crate::proxy::Knowledge;

    fn who() -> Identity {
        Identity { user: (*b"fred").into(), ..Identity::default() }
    }

    fn made_at(name: &str, server: &str) -> Deed {
        Deed::Made { name: name.into(), server: server.into(), moved_from: None }
    }

    fn gone(name: &str, below: Below) -> Deed {
        Deed::Gone { name: name.into(), below }
    }

    fn page(names: &[&str], next: Option<&str>) -> ListPage {
        let listed =
            |name: &&str| ListedEntry { entry: entry(name, "be1", ""), reserved: false, rights: Rights::L };
        ListPage {
            entries: names.iter().map(listed).collect(),
            next: next.map(|next| next.as_bytes().into()),
            knowledge: Knowledge::Stale,
        }
    }

    fn names(page: &ListPage) -> Vec<String> {
        page.entries.iter().map(|listed| String::from_utf8_lossy(&listed.entry.name).into_owned()).collect()
    }

    fn asked(after: &str, prefix: &str) -> Asked {
        Asked { after: after.as_bytes().into(), prefix: prefix.as_bytes().into() }
    }

    #[test]
    fn what_the_list_shows_is_forgotten() {
        let mut deeds = Deeds::default();
        let number = deeds.keep(made_at("user.fred.x", "be1"));
        deeds.check(number, Finding::Active(entry("user.fred.x", "be1", "")));
        assert!(deeds.is_empty());
        let number = deeds.keep(gone("user.fred.x", Below::Stays));
        deeds.check(number, Finding::Absent);
        assert!(deeds.is_empty());
    }

    #[test]
    fn made_mailbox_is_there_until_the_list_has_it() {
        let mut deeds = Deeds::default();
        let number = deeds.keep(made_at("user.fred.x", "be2"));
        deeds.check(number, Finding::Absent);
        let found = deeds.correct(b"user.fred.x", Finding::Absent, &who());
        assert!(matches!(found, Finding::Active(entry) if entry.location.server() == Some(b"be2")));
        let listed = Finding::Active(entry("user.fred.x", "be2", "fred\tlrs\t"));
        assert_eq!(deeds.correct(b"user.fred.x", listed.clone(), &who()), listed);
        assert!(deeds.is_empty());
    }

    #[test]
    fn moved_mailbox_is_found_at_its_new_server() {
        let mut deeds = Deeds::default();
        let old = Finding::Active(entry("team", "be1", ""));
        let moved_from = Some(b"be1".to_vec());
        let number = deeds.keep(Deed::Made { name: b"team".to_vec(), server: b"be2".to_vec(), moved_from });
        deeds.check(number, old.clone());
        let found = deeds.correct(b"team", old, &who());
        assert!(matches!(found, Finding::Active(entry) if entry.location.server() == Some(b"be2")));
    }

    #[test]
    fn gone_mailbox_is_not_listed_but_its_server_decides() {
        let mut deeds = Deeds::default();
        let listed = Finding::Active(entry("user.fred.x", "be1", ""));
        let number = deeds.keep(gone("user.fred.x", Below::Stays));
        deeds.check(number, listed.clone());
        let mut one = page(&["user.fred", "user.fred.x", "user.fred.x.y"], None);
        deeds.correct_page(&asked("", "user.fred"), &mut one, &who());
        assert_eq!(names(&one), ["user.fred", "user.fred.x.y"]);
        assert_eq!(deeds.correct(b"user.fred.x", listed.clone(), &who()), listed);
        let again = Finding::Active(entry("user.fred.x", "be2", ""));
        deeds.correct(b"user.fred.x", again, &who());
        assert!(deeds.is_empty(), "the list says something new");
    }

    #[test]
    fn renamed_tree_goes_and_its_new_name_stands_at_its_place_on_one_page() {
        let mut deeds = Deeds::default();
        deeds.keep(gone("user.fred.b", Below::Goes));
        deeds.keep(made_at("user.fred.c", "be1"));
        let mut first = page(&["user.fred", "user.fred.a", "user.fred.b"], Some("user.fred.b"));
        deeds.correct_page(&asked("", "user.fred"), &mut first, &who());
        assert_eq!(names(&first), ["user.fred", "user.fred.a"]);
        let mut second = page(&["user.fred.b.x", "user.fred.d"], None);
        deeds.correct_page(&asked("user.fred.b", "user.fred"), &mut second, &who());
        assert_eq!(names(&second), ["user.fred.c", "user.fred.d"]);
        let mut other = page(&["team"], None);
        deeds.correct_page(&asked("", "team"), &mut other, &who());
        assert_eq!(names(&other), ["team"]);
    }

    #[test]
    fn what_may_be_untrue_is_forgotten_and_nothing_else() {
        let all =
            [made_at("a", "be1"), made_at("a.x", "be1"), gone("b", Below::Stays), gone("b.x", Below::Stays)];
        let left = |doubt: Doubt| -> Vec<String> {
            let mut deeds = Deeds::default();
            for deed in &all {
                deeds.keep(deed.clone());
            }
            deeds.doubt(&doubt);
            deeds.kept.iter().map(|kept| String::from_utf8_lossy(kept.deed.name()).into_owned()).collect()
        };
        assert_eq!(left(Doubt::Made(b"b".to_vec())), ["a", "a.x"]);
        assert_eq!(left(Doubt::Made(b"a".to_vec())), ["a.x", "b", "b.x"], "it may have moved");
        assert_eq!(left(Doubt::Gone { name: b"a".to_vec(), below: Below::Stays }), ["a.x", "b", "b.x"]);
        assert_eq!(left(Doubt::Gone { name: b"a".to_vec(), below: Below::Goes }), ["b", "b.x"]);
        assert_eq!(left(Doubt::Made(b"c".to_vec())).len(), all.len());
    }

    #[test]
    fn oldest_deed_is_forgotten_at_the_limit() {
        let mut deeds = Deeds::default();
        for n in 0..=DEEDS_MAX {
            deeds.keep(made_at(&format!("user.fred.{n}"), "be1"));
        }
        assert_eq!(deeds.correct(b"user.fred.0", Finding::Absent, &who()), Finding::Absent);
        assert_ne!(deeds.correct(b"user.fred.1", Finding::Absent, &who()), Finding::Absent);
    }
}
