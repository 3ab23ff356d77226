//! Mailbox names as Cyrus keeps them (internal) and as clients see them (external).
//!
//! Internal: `[domain!][DELETED.]user.localpart[.sub]...` or `[domain!]shared.sub`, separator `.`, a
//! literal dot of a component written `^`. That form travels in MUPDATE. External names depend on the
//! namespace options and on who asks: an administrator, the owner, or somebody else.

mod inbound;
mod name;
mod namespace;
mod order;
mod outbound;
mod policy;
mod user;

#[cfg(test)]
mod tests;

pub use name::Name;
pub use namespace::{Category, Namespace, PREFIX_BYTES_MAX, PrefixError, VirtDomains};
pub use order::{child, compare, parents};
pub use policy::valid_new_name;
pub use user::{CanonicalUser, MagicPlus, USER_BYTES_MAX};

/// Default of option `deletedprefix`.
pub const DELETED_PREFIX: &[u8] = b"DELETED";
/// Default of option `defaultdomain`.
pub const DEFAULT_DOMAIN: &[u8] = b"internal";
/// Bytes of a name that are looked at at all (Cyrus: `MAX_MAILBOX_BUFFER`, 1024 with its NUL).
pub const NAME_BYTES_MAX: usize = 1023;
/// Bytes of a name that may be created (Cyrus: `MAX_MAILBOX_NAME`).
pub const NEW_NAME_BYTES_MAX: usize = 490;

/// Why a name of a client is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// No component at all, or a namespace prefix alone.
    #[error("mailbox name names no mailbox")]
    Empty,
    /// Over [`NAME_BYTES_MAX`].
    #[error("mailbox name too long: {length} bytes, limit {limit}")]
    TooLong {
        /// Bytes of the name.
        length: usize,
        /// The limit that it broke.
        limit: usize,
    },
    /// A byte that no name holds here.
    #[error("mailbox name with byte {} at {at}", byte.escape_ascii())]
    Byte {
        /// The byte.
        byte: u8,
        /// Its place.
        at: usize,
    },
    /// A `&` run that is not well-formed, shortest modified UTF-7.
    #[error("mailbox name with malformed modified UTF-7")]
    Utf7,
    /// No UTF-8, where names are spelled so, or with control characters.
    #[error("mailbox name that is no UTF-8 text")]
    Utf8,
    /// `\Sent`: a special-use attribute, which only a backend can resolve.
    #[error("mailbox name is a special-use attribute")]
    SpecialUse,
    /// A name that Cyrus keeps for itself (`user`, `user.anyone`, `$...`, `~...`).
    #[error("mailbox name is reserved")]
    Kept,
    /// A user name that is none.
    #[error("user name is invalid")]
    User,
}

/// The user whose mailbox `internal` is, as in `Identity.user`, with default option values.
/// [`Namespace::owner`] knows the configured ones.
pub fn owner(internal: &[u8]) -> Option<Vec<u8>> {
    Name::parse(internal, DELETED_PREFIX, DEFAULT_DOMAIN).owner()
}

/// Whether the name is a user's INBOX, with default option values.
pub fn is_inbox(internal: &[u8]) -> bool {
    let name = Name::parse(internal, DELETED_PREFIX, DEFAULT_DOMAIN);
    name.localpart.is_some() && name.boxes.is_empty() && name.deleted.is_none()
}

/// Whether the name is one that delayed deletion made, with the default prefix.
/// [`Namespace::is_deleted`] knows the configured one.
pub fn is_deleted(internal: &[u8]) -> bool {
    Name::parse(internal, DELETED_PREFIX, DEFAULT_DOMAIN).deleted.is_some()
}

/// Top-level components under which Cyrus keeps what is no mail, with the default option values.
const DAV_COMPONENTS: [&[u8]; 9] = [
    b"#addressbooks",
    b"#calendars",
    b"#drive",
    b"#jmap",
    b"#jmapnotification",
    b"#jmappushsubscription",
    b"#jmapsubmission",
    b"#notifications",
    b"#sieve",
];

/// Whether the mailbox holds calendars, addresses, files or the like, by its name: a frontend does
/// not know the type of a mailbox.
pub fn is_dav(internal: &[u8]) -> bool {
    let name = Name::parse(internal, DELETED_PREFIX, DEFAULT_DOMAIN);
    name.first_box().is_some_and(|first| DAV_COMPONENTS.contains(&first))
}
