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
}

/// Names of groups. Most users are in none that an ACL could name.
pub type Groups = Box<[Box<[u8]>]>;
