//! Mailbox names and rights: internal and external forms, namespaces, ACLs.

pub mod acl;
pub mod home;
pub mod names;
pub mod pattern;
pub mod utf7;

pub use acl::Rights;
pub use names::Namespace;
pub use pattern::Pattern;

/// Who asks: the canonical user and what the ACL evaluation needs to know of him.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// Canonical user id: `fred`, or `fred@example.com` outside the default domain. Dots are dots.
    pub user: Box<[u8]>,
    /// Listed in `admins`.
    pub is_admin: bool,
    /// Group names without the `group:` prefix.
    pub groups: Groups,
    /// How he spells names of mailboxes.
    pub spelling: Spelling,
}

/// How a client spells names of mailboxes; internal names are always modified UTF-7.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Spelling {
    /// In modified UTF-7 (RFC 3501 section 5.1.3).
    #[default]
    Utf7,
    /// In UTF-8 (RFC 6855 section 3).
    Utf8,
}

/// Names of groups. Most users are in none that an ACL could name.
pub type Groups = Box<[Box<[u8]>]>;
