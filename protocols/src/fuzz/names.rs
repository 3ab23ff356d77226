//! Properties of mailbox names, patterns, rights and user ids.

use std::cmp::Ordering;

use crate::mailbox::acl::{self, Policy};
use crate::mailbox::names::{self, VirtDomains};
use crate::mailbox::{Identity, Namespace, Pattern, utf7};

use super::bounded;

/// Checks names on any bytes. The first byte chooses the namespace options, the rest is split at NUL
/// into user, name and another name (or pattern).
///
/// # Panics
/// A property does not hold.
pub fn names(input: &[u8]) {
    let Some((&options, rest)) = bounded(input).split_first() else { return };
    let mut parts = rest.splitn(3, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (user, name, other) = (part(), part(), part());
    let namespace = namespace(options);
    let mut who = Identity { user: user.into(), is_admin: options & 1 != 0, ..Identity::default() };
    let _ = (namespace.internal(name, &who), namespace.external(name, &who));
    user_id(&namespace, user);
    if let Ok(canonical) = namespace.canonical_user(user) {
        who.user = canonical.user;
        both_ways(&namespace, &who, name);
    }
    order(name, other);
    rights(&who, name, other);
    encoding(name);
    pattern(&namespace, name, other);
}

fn namespace(options: u8) -> Namespace {
    let virtdomains = match options >> 5 & 3 {
        0 => VirtDomains::Off,
        1 => VirtDomains::UserId,
        _ => VirtDomains::On,
    };
    Namespace {
        separator: if options & 2 != 0 { b'/' } else { b'.' },
        alt: options & 4 != 0,
        crossdomains: options & 8 != 0,
        crossdomains_only_other: options & 16 != 0,
        imapmagicplus: options & 128 != 0,
        virtdomains,
        ..Namespace::default()
    }
}

/// A canonical user id stays as it is, and owns his INBOX.
fn user_id(namespace: &Namespace, typed: &[u8]) {
    let Ok(user) = namespace.canonical_user(typed) else { return };
    let plain = Namespace { imapmagicplus: false, ..namespace.clone() };
    assert_eq!(plain.canonical_user(&user.user).map(|again| again.user).as_ref(), Ok(&user.user));
    assert!(namespace.is_owner(&namespace.inbox(&user.user), &user.user));
}

/// A name that a client may use is shown as one that means the same.
fn both_ways(namespace: &Namespace, who: &Identity, name: &[u8]) {
    let _ = namespace.external(name, who);
    let _ = names::valid_new_name(name, namespace);
    let _ = names::is_dav(name);
    let Ok(internal) = namespace.internal(name, who) else { return };
    assert!(internal.len() <= names::NAME_BYTES_MAX);
    let parts = namespace.name(&internal);
    if parts.localpart.is_none() && parts.boxes == b"user" {
        return; // The level of users is no mailbox.
    }
    if let Some(shown) = namespace.external(&internal, who)
        && shown.len() <= names::NAME_BYTES_MAX
    {
        assert_eq!(namespace.internal(&shown, who).as_ref(), Ok(&internal), "{}", shown.escape_ascii());
    }
}

fn order(name: &[u8], other: &[u8]) {
    let order = names::compare(name, other);
    assert_eq!(order, names::compare(other, name).reverse());
    assert_eq!(order == Ordering::Equal, name == other);
    for parent in names::parents(name) {
        assert!(name.starts_with(parent) && parent.len() < name.len());
        assert_eq!(names::compare(parent, name), Ordering::Less);
    }
}

fn rights(who: &Identity, name: &[u8], acl: &[u8]) {
    let policy = Policy::default();
    let rights = acl::rights(acl, name, who, &policy);
    assert_eq!(acl::Rights::parse(rights.to_string().as_bytes()), Ok(rights));
    let _ = acl::list_rights(name, Some(&who.user), &policy);
    assert!(acl::entries(acl).count() <= acl.len() / 2);
}

fn encoding(name: &[u8]) {
    if let Ok(text) = utf7::to_utf8(name)
        && !text.bytes().any(|byte| byte.is_ascii_control())
    {
        assert_eq!(utf7::from_utf8(text.as_bytes()).as_deref(), Ok(name));
    }
    if let Ok(encoded) = utf7::from_utf8(name) {
        assert_eq!(utf7::to_utf8(&encoded).as_deref().map(str::as_bytes), Ok(name));
    }
}

fn pattern(namespace: &Namespace, name: &[u8], pattern: &[u8]) {
    let separator = namespace.separator;
    let found = Pattern::new(b"", pattern, separator);
    if found.matches(name) {
        assert!(name.starts_with(found.prefix()));
        assert!(name.len() <= names::NAME_BYTES_MAX);
    }
    let anything = Pattern::new(found.prefix(), b"*", separator);
    assert!(!found.matches(name) || anything.matches(name));
}
