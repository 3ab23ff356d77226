//! Which parts of the mailbox list a LIST must read, and in what order.

use crate::mailbox::names::Category;
use crate::mailbox::names::VirtDomains;
use crate::mailbox::{Identity, Namespace, Pattern, Spelling};

/// A part of the names that a user sees, in the order in which Cyrus shows them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// His INBOX and, in the standard namespace, what is below.
    Inbox,
    /// Alternate namespace: below a personal mailbox named INBOX.
    InboxSub,
    /// Alternate namespace: his other mailboxes.
    Own,
    /// Alternate namespace: those of his whose names mean something else.
    AltPrefix,
    /// Other users'; for administrators everybody's.
    Users,
    /// Nobody's.
    Shared,
    /// Users' mailboxes kept by delayed deletion.
    DeletedUsers,
}

impl Part {
    /// The user's own mailboxes.
    pub(super) fn is_own(self) -> bool {
        match self {
            Part::Inbox | Part::InboxSub | Part::Own | Part::AltPrefix => true,
            Part::Users | Part::Shared | Part::DeletedUsers => false,
        }
    }
}

/// A part and what all its names that can match begin with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Section {
    pub(super) part: Part,
    /// Internal.
    pub(super) prefix: Vec<u8>,
}

/// The part to which a mailbox belongs.
pub(super) fn part_of(internal: &[u8], namespace: &Namespace, who: &Identity) -> Part {
    let name = namespace.name(internal);
    match (name.deleted.is_some(), name.localpart.is_some()) {
        (true, true) => return Part::DeletedUsers,
        (_, false) => return Part::Shared,
        (false, true) if who.is_admin => return Part::Users,
        (false, true) => {}
    }
    match namespace.category(internal, who) {
        Category::Inbox => Part::Inbox,
        Category::Own if !namespace.is_alt_for(who) => Part::Inbox,
        Category::Own => Part::Own,
        Category::InboxSub => Part::InboxSub,
        Category::AltInbox | Category::AltPrefix => Part::AltPrefix,
        Category::OtherUser => Part::Users,
        Category::Shared | Category::Deleted => Part::Shared,
    }
}

/// The parts in which one of the patterns can match.
pub(super) fn plan(patterns: &[Pattern], namespace: &Namespace, who: &Identity) -> Vec<Section> {
    let order: &[Part] = if who.is_admin {
        &[Part::Users, Part::Shared, Part::DeletedUsers]
    } else if namespace.alt {
        &[Part::Inbox, Part::InboxSub, Part::Own, Part::AltPrefix, Part::Users, Part::Shared]
    } else {
        &[Part::Inbox, Part::Users, Part::Shared]
    };
    let scope = Scope { namespace, who };
    let parts = order.iter().filter(|part| scope.is_open(**part));
    parts.filter_map(|part| scope.section(*part, patterns)).collect()
}

/// The part of users' mailboxes kept by delayed deletion, for a user who is shown them.
pub(super) fn deleted_of_users(
    patterns: &[Pattern],
    namespace: &Namespace,
    who: &Identity,
) -> Option<Section> {
    Scope { namespace, who }.section(Part::DeletedUsers, patterns)
}

/// Whether names of this kind are listed at all: not where their namespace is disabled.
pub(super) fn is_listed(internal: &[u8], namespace: &Namespace, who: &Identity) -> bool {
    Scope { namespace, who }.is_open(part_of(internal, namespace, who))
}

struct Scope<'a> {
    namespace: &'a Namespace,
    who: &'a Identity,
}

impl Scope<'_> {
    /// `disable_user_namespace`, `disable_shared_namespace`.
    fn is_open(&self, part: Part) -> bool {
        match part {
            Part::Users => self.who.is_admin || !self.namespace.disable_user,
            Part::Shared => self.who.is_admin || !self.namespace.disable_shared,
            Part::Inbox | Part::InboxSub | Part::Own | Part::AltPrefix | Part::DeletedUsers => true,
        }
    }

    fn section(&self, part: Part, patterns: &[Pattern]) -> Option<Section> {
        let begins = |pattern| self.prefix(part, plain_begin(Pattern::prefix(pattern), self.who.spelling));
        let mut prefixes = patterns.iter().filter_map(begins);
        let first = prefixes.next()?;
        let prefix = prefixes.fold(first, |mut common, other| {
            let same = common.iter().zip(&other).take_while(|(a, b)| a == b).count();
            common.truncate(same);
            common
        });
        Some(Section { part, prefix })
    }

    /// What the internal names of a part begin with whose external names begin with `text`; `None`
    /// when there are none.
    fn prefix(&self, part: Part, text: &[u8]) -> Option<Vec<u8>> {
        let separator = self.namespace.separator;
        let alt = self.namespace.is_alt_for(self.who);
        let root = |prefix: &[u8]| [prefix, &[separator]].concat();
        match part {
            Part::Inbox | Part::InboxSub => could_be(text, b"INBOX").then(|| self.inbox()),
            Part::Own => Some(self.inbox()),
            Part::AltPrefix => could_begin(text, &root(&self.namespace.alt_prefix)).then(|| self.inbox()),
            Part::Users => {
                let outside = if alt { root(&self.namespace.user_prefix) } else { root(b"user") };
                self.behind(text, &outside, b"user.")
            }
            Part::Shared if alt => self.behind(text, &root(&self.namespace.shared_prefix), b""),
            Part::Shared => {
                let is_other = text.starts_with(&root(b"user"))
                    || (!self.who.is_admin
                        && text.len() > 5
                        && could_be(text, b"INBOX")
                        && text[5] == separator);
                (!is_other).then(|| self.behind(text, b"", b"")).flatten()
            }
            Part::DeletedUsers => {
                let deleted = [&self.namespace.deleted_prefix, &b".user."[..]].concat();
                let outside: Vec<u8> = deleted.iter().map(|byte| self.outside(*byte)).collect();
                self.behind(text, &outside, &deleted)
            }
        }
    }

    fn inbox(&self) -> Vec<u8> {
        self.namespace.inbox(&self.who.user)
    }

    fn outside(&self, byte: u8) -> u8 {
        if byte == b'.' { self.namespace.separator } else { byte }
    }

    /// `inside` and what of `text` stands behind `outside`, in the user's domain.
    fn behind(&self, text: &[u8], outside: &[u8], inside: &[u8]) -> Option<Vec<u8>> {
        if !could_begin(text, outside) {
            return None;
        }
        let anywhere = self.namespace.virtdomains != VirtDomains::Off
            && (self.who.is_admin || self.namespace.crossdomains);
        if anywhere {
            return Some(Vec::new());
        }
        let mut prefix = self.domain();
        prefix.extend_from_slice(inside);
        prefix.extend(text.get(outside.len()..).unwrap_or_default().iter().map(|byte| match *byte {
            b'.' if self.namespace.separator == b'/' => b'^',
            byte if byte == self.namespace.separator => b'.',
            byte => byte,
        }));
        Some(prefix)
    }

    /// `example.com!`, or nothing in the default domain.
    fn domain(&self) -> Vec<u8> {
        let inbox = self.inbox();
        let end = memchr::memchr(b'!', &inbox).map_or(0, |bang| bang + 1);
        inbox[..end].to_vec()
    }
}

/// The part of a prefix that the list spells alike: what modified UTF-7 makes of the rest depends on what
/// stands behind it.
fn plain_begin(prefix: &[u8], spelling: Spelling) -> &[u8] {
    let is_spelled = |byte: &u8| spelling == Spelling::Utf8 && (!byte.is_ascii() || *byte == b'&');
    &prefix[..prefix.iter().position(is_spelled).unwrap_or(prefix.len())]
}

/// Whether names that begin with `text` can begin with `root`.
fn could_begin(text: &[u8], root: &[u8]) -> bool {
    text.starts_with(root) || root.starts_with(text)
}

/// As [`could_begin`], in any case.
fn could_be(text: &[u8], root: &[u8]) -> bool {
    let same = text.len().min(root.len());
    text[..same].eq_ignore_ascii_case(&root[..same])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(namespace: &Namespace, who: &Identity, pattern: &str) -> Vec<(Part, String)> {
        let pattern = Pattern::new(b"", pattern.as_bytes(), namespace.separator);
        let text = |prefix: Vec<u8>| String::from_utf8(prefix).unwrap();
        plan(&[pattern], namespace, who)
            .into_iter()
            .map(|section| (section.part, text(section.prefix)))
            .collect()
    }

    fn standard() -> Namespace {
        Namespace { separator: b'.', alt: false, ..Namespace::default() }
    }

    fn fred() -> Identity {
        Identity { user: (*b"fred").into(), ..Identity::default() }
    }

    #[test]
    fn own_tree_is_all_that_an_inbox_pattern_reads() {
        assert_eq!(prefixes(&standard(), &fred(), "inbox.%"), [(Part::Inbox, "user.fred".to_owned())]);
        assert_eq!(prefixes(&standard(), &fred(), "INBOX.Work*"), [(Part::Inbox, "user.fred".to_owned())]);
    }

    #[test]
    fn shared_and_user_patterns_are_narrowed() {
        assert_eq!(prefixes(&standard(), &fred(), "team01.%"), [(Part::Shared, "team01.".to_owned())]);
        assert_eq!(prefixes(&standard(), &fred(), "user.joe*"), [(Part::Users, "user.joe".to_owned())]);
        let all = ["user.fred", "user.", ""].map(str::to_owned);
        assert_eq!(
            prefixes(&standard(), &fred(), "*").into_iter().map(|(_, prefix)| prefix).collect::<Vec<_>>(),
            all
        );
    }

    #[test]
    fn alternate_namespace_translates_prefixes() {
        let alt = Namespace::default();
        let shared = prefixes(&alt, &fred(), "Shared Folders/a.b/*");
        assert_eq!(shared.last(), Some(&(Part::Shared, "a^b.".to_owned())));
        let others = prefixes(&alt, &fred(), "Other Users/joe/%");
        assert_eq!(others.last(), Some(&(Part::Users, "user.joe.".to_owned())));
    }

    #[test]
    fn domain_of_the_user_narrows_too() {
        let namespace = Namespace { virtdomains: VirtDomains::UserId, ..standard() };
        let who = Identity { user: (*b"fred@example.org").into(), ..Identity::default() };
        let read: Vec<_> = prefixes(&namespace, &who, "*").into_iter().map(|(_, prefix)| prefix).collect();
        assert_eq!(read, ["example.org!user.fred", "example.org!user.", "example.org!"]);
    }
}
