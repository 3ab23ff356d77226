//! The namespace of a server: the options that say how names look, and what a mailbox is to whom.

use super::name::{internal_component, is_same, split_user};
use super::{DEFAULT_DOMAIN, DELETED_PREFIX, Name};
use crate::mailbox::Identity;

/// Option `virtdomains`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum VirtDomains {
    /// User ids have no domain.
    #[default]
    Off,
    /// The domain is in the user id.
    UserId,
    /// As `userid`, and a user id without domain gets that of the address he connected to.
    On,
}

/// All options that decide how names look outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Namespace {
    /// `/` with `unixhierarchysep`, else `.`.
    pub separator: u8,
    /// `altnamespace`: a user's own mailboxes stand at the top. Never for administrators.
    pub alt: bool,
    /// `virtdomains`.
    pub virtdomains: VirtDomains,
    /// `defaultdomain`, which no internal name and no user id carries.
    pub default_domain: Box<[u8]>,
    /// `userprefix`, in the alternate namespace.
    pub user_prefix: Box<[u8]>,
    /// `sharedprefix`, in the alternate namespace.
    pub shared_prefix: Box<[u8]>,
    /// `altprefix`: where own mailboxes are shown whose name would mean something else.
    pub alt_prefix: Box<[u8]>,
    /// `deletedprefix`.
    pub deleted_prefix: Box<[u8]>,
    /// `crossdomains`: names of other users carry their domain.
    pub crossdomains: bool,
    /// `crossdomains_onlyother`: but not those of the own domain.
    pub crossdomains_only_other: bool,
    /// `username_tolower`.
    pub username_tolower: bool,
    /// `imapmagicplus`.
    pub imapmagicplus: bool,
    /// `disable_user_namespace`: other users' mailboxes are not listed.
    pub disable_user: bool,
    /// `disable_shared_namespace`: shared mailboxes are not listed.
    pub disable_shared: bool,
}

impl Default for Namespace {
    /// Cyrus' own defaults since 3.0.
    fn default() -> Namespace {
        Namespace {
            separator: b'/',
            alt: true,
            virtdomains: VirtDomains::Off,
            default_domain: DEFAULT_DOMAIN.into(),
            user_prefix: (*b"Other Users").into(),
            shared_prefix: (*b"Shared Folders").into(),
            alt_prefix: (*b"Alt Folders").into(),
            deleted_prefix: DELETED_PREFIX.into(),
            crossdomains: false,
            crossdomains_only_other: false,
            username_tolower: true,
            imapmagicplus: false,
            disable_user: false,
            disable_shared: false,
        }
    }
}

/// Prefixes of the alternate namespace that cannot be told apart.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "bad {option}: expected 1 to {PREFIX_BYTES_MAX} bytes, no separator, and sharedprefix no beginning of userprefix"
)]
pub struct PrefixError {
    /// `userprefix`, `sharedprefix` or `altprefix`.
    pub option: &'static str,
}

/// Bytes of `userprefix`, `sharedprefix` and `altprefix` (Cyrus: `MAX_NAMESPACE_PREFIX`, 40 with its NUL).
pub const PREFIX_BYTES_MAX: usize = 39;

/// What a mailbox is for somebody, in the order in which Cyrus lists the kinds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Category {
    /// His INBOX.
    Inbox,
    /// His `INBOX.sub` in the alternate namespace: a personal mailbox named INBOX with children.
    InboxSub,
    /// Another one of his own.
    Own,
    /// His own one named INBOX, shown below `altprefix`; it cannot have children (`\Noinferiors`), for
    /// those are [`Category::InboxSub`].
    AltInbox,
    /// Another of his own that is shown below `altprefix`.
    AltPrefix,
    /// Somebody else's.
    OtherUser,
    /// Nobody's.
    Shared,
    /// Kept by delayed deletion.
    Deleted,
}

impl Namespace {
    /// Checks the prefixes of the alternate namespace.
    ///
    /// # Errors: [`PrefixError`]; Cyrus refuses to start too.
    pub fn check(&self) -> Result<(), PrefixError> {
        if !self.alt {
            return Ok(());
        }
        let prefixes = [
            ("userprefix", &self.user_prefix),
            ("sharedprefix", &self.shared_prefix),
            ("altprefix", &self.alt_prefix),
        ];
        for (option, prefix) in prefixes {
            let is_good = (1..=PREFIX_BYTES_MAX).contains(&prefix.len()) && !prefix.contains(&self.separator);
            if !is_good {
                return Err(PrefixError { option });
            }
        }
        if self.user_prefix.starts_with(&self.shared_prefix) {
            return Err(PrefixError { option: "sharedprefix" });
        }
        Ok(())
    }

    /// Takes an internal name apart as this configuration does.
    pub fn name<'n>(&self, internal: &'n [u8]) -> Name<'n> {
        Name::parse(internal, &self.deleted_prefix, &self.default_domain)
    }

    /// The owner of a mailbox as in `Identity.user`.
    pub fn owner(&self, internal: &[u8]) -> Option<Vec<u8>> {
        self.name(internal).owner()
    }

    /// Whether `user` owns the mailbox. Allocates nothing.
    pub fn is_owner(&self, internal: &[u8], user: &[u8]) -> bool {
        self.name(internal).is_owned_by(user, &self.default_domain)
    }

    /// Whether delayed deletion made the name.
    pub fn is_deleted(&self, internal: &[u8]) -> bool {
        self.name(internal).deleted.is_some()
    }

    /// What the names begin with that delayed deletion gives a mailbox: a hexadecimal time follows.
    ///
    /// ```text
    /// [domain "!"] deletedprefix "." name "." 8HEXDIG
    /// ```
    pub fn deleted_names_of(&self, internal: &[u8]) -> Vec<u8> {
        let begins = memchr::memchr(b'!', internal).map_or(0, |bang| bang + 1);
        let (domain, name) = internal.split_at(begins);
        [domain, &self.deleted_prefix, b".", name, b"."].concat()
    }

    /// The internal name of a user's INBOX.
    pub fn inbox(&self, user: &[u8]) -> Vec<u8> {
        let (localpart, domain) = split_user(user, &self.default_domain);
        let mut internal = Vec::with_capacity(user.len() + 6);
        append_domain(&mut internal, domain);
        internal.extend_from_slice(b"user.");
        internal.extend_from_slice(&internal_component(localpart));
        internal
    }

    /// The internal name of a folder of a user, named as below his INBOX.
    pub fn folder(&self, user: &[u8], folder: &[u8]) -> Vec<u8> {
        let mut internal = self.inbox(user);
        internal.push(b'.');
        internal.extend(folder.iter().map(|byte| match (self.separator, *byte) {
            (b'/', b'/') => b'.',
            (b'/', b'.') => b'^',
            (_, byte) => byte,
        }));
        internal
    }

    /// Whether names look as in the alternate namespace to this identity.
    pub fn is_alt_for(&self, who: &Identity) -> bool {
        self.alt && !who.is_admin
    }

    /// What the mailbox is for `who`.
    pub fn category(&self, internal: &[u8], who: &Identity) -> Category {
        self.category_of(&self.name(internal), who)
    }

    pub(super) fn category_of(&self, name: &Name<'_>, who: &Identity) -> Category {
        if name.deleted.is_some() {
            return Category::Deleted;
        }
        if name.localpart.is_none() {
            return Category::Shared;
        }
        if !name.is_owned_by(&who.user, &self.default_domain) {
            return Category::OtherUser;
        }
        let Some(first) = name.first_box() else { return Category::Inbox };
        if !self.is_alt_for(who) {
            return Category::Own;
        }
        if first == b"INBOX" {
            return if name.boxes.len() == first.len() { Category::AltInbox } else { Category::InboxSub };
        }
        let clashes = first.eq_ignore_ascii_case(b"INBOX")
            || is_same(first, &self.user_prefix)
            || is_same(first, &self.shared_prefix)
            || is_same(first, &self.alt_prefix);
        if clashes { Category::AltPrefix } else { Category::Own }
    }

    /// The part of a NAMESPACE response behind `* NAMESPACE ` (RFC 2342): personal, other users',
    /// shared. `has_inbox`: the user's INBOX is in the list.
    pub fn namespace_response(&self, who: &Identity, has_inbox: bool) -> Vec<u8> {
        let alt = self.is_alt_for(who);
        let personal: &[u8] = if alt { b"" } else { b"INBOX" };
        let others: &[u8] = if alt { &self.user_prefix } else { b"user" };
        let shared: &[u8] = if alt { &self.shared_prefix } else { b"" };
        let parts = [
            (personal, has_inbox),
            (others, who.is_admin || !self.disable_user),
            (shared, who.is_admin || !self.disable_shared),
        ];
        let mut out = Vec::with_capacity(64);
        for (at, (prefix, is_shown)) in parts.into_iter().enumerate() {
            if at > 0 {
                out.push(b' ');
            }
            if is_shown {
                self.append_namespace(&mut out, prefix);
            } else {
                out.extend_from_slice(b"NIL");
            }
        }
        out
    }

    /// `(("prefix/" "/"))`.
    fn append_namespace(&self, out: &mut Vec<u8>, prefix: &[u8]) {
        out.extend_from_slice(b"((\"");
        for byte in prefix {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(*byte);
        }
        if !prefix.is_empty() {
            out.push(self.separator);
        }
        out.extend_from_slice(b"\" \"");
        out.push(self.separator);
        out.extend_from_slice(b"\"))");
    }
}

/// Writes `domain!`.
pub(super) fn append_domain(internal: &mut Vec<u8>, domain: Option<&[u8]>) {
    if let Some(domain) = domain {
        internal.extend_from_slice(domain);
        internal.push(b'!');
    }
}
