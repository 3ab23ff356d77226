//! What logins are decided by, and who somebody is by it.

use std::borrow::Cow;

use super::config::{Common, LoginPolicy};
use crate::mailbox::acl::Policy;
use crate::mailbox::names::{MagicPlus, VirtDomains};
use crate::mailbox::{Groups, Identity, Namespace};

/// What a login is decided by.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// The SASL service name: `imap`, `pop`, `sieve`, `lmtp`.
    pub service: &'static str,
    /// How user ids read.
    pub namespace: &'a Namespace,
    /// How ACLs read, for `loginuseacl`.
    pub acl: &'a Policy,
    /// `admins`.
    pub admins: &'a [Box<[u8]>],
    /// Who may log in.
    pub login: &'a LoginPolicy,
    /// `serverlist`: where passwords of admins without a home are tried.
    pub serverlist: &'a [Box<str>],
    /// The domain of users who name none (`virtdomains: on`).
    pub domain: Option<&'a str>,
    /// What stands behind a plus of a user id is a folder (`popsubfolders`).
    pub subfolders: bool,
}

impl<'a> Rules<'a> {
    /// Those of a service, for users of `domain` where they name none.
    pub fn of(
        common: &'a Common,
        service: &'static str,
        domain: Option<&'a str>,
        subfolders: bool,
    ) -> Rules<'a> {
        Rules {
            service,
            namespace: &common.namespace,
            acl: &common.acl,
            admins: &common.admins,
            login: &common.login,
            serverlist: &common.serverlist,
            domain,
            subfolders,
        }
    }
}

impl Rules<'_> {
    /// Whether a canonical user is in `admins`.
    pub fn is_admin(&self, user: &[u8]) -> bool {
        self.admins.iter().any(|admin| **admin == *user)
    }

    /// Who a user of these groups is.
    pub fn identity(&self, user: Box<[u8]>, groups: Groups) -> Identity {
        identity(self.admins, user, groups)
    }

    /// Whether a typed user id is one.
    pub fn is_name(&self, typed: &[u8]) -> bool {
        self.canonical(typed).is_some()
    }

    /// The user id of a typed one, if it is one.
    pub(super) fn canonical(&self, typed: &[u8]) -> Option<Canonical> {
        let (typed, folder) = self.without_folder(typed);
        let typed = self.in_domain(&typed);
        let canonical = self.namespace.canonical_user(&typed).ok()?;
        Some((canonical.user, canonical.magic_plus, folder))
    }

    /// The user id as typed, with the domain that he gets where he names none.
    pub(super) fn in_domain<'a>(&self, typed: &'a [u8]) -> Cow<'a, [u8]> {
        let named = self.domain.and_then(|domain| self.namespace.in_domain(typed, domain.as_bytes()));
        named.map_or(typed.into(), Cow::Owned)
    }

    /// Takes `+folder` out of a typed user id: up to the end, or up to the `@` where there are virtual
    /// domains.
    fn without_folder<'a>(&self, typed: &'a [u8]) -> (Cow<'a, [u8]>, Option<Box<[u8]>>) {
        let Some(plus) = memchr::memchr(b'+', typed).filter(|_| self.subfolders) else {
            return (typed.into(), None);
        };
        let end = match self.namespace.virtdomains {
            VirtDomains::Off => typed.len(),
            VirtDomains::UserId | VirtDomains::On => {
                memchr::memchr(b'@', &typed[plus..]).map_or(typed.len(), |at| plus + at)
            }
        };
        let folder = Box::from(&typed[plus + 1..end]);
        ([&typed[..plus], &typed[end..]].concat().into(), Some(folder))
    }
}

/// A user id as all of the murder knows it, and what was taken off it.
pub(super) type Canonical = (Box<[u8]>, Option<MagicPlus>, Option<Box<[u8]>>);

/// Who a user of these groups is; `admins` may name groups.
pub fn identity(admins: &[Box<[u8]>], user: Box<[u8]>, groups: Groups) -> Identity {
    let is_in = |admin: &[u8]| {
        admin.strip_prefix(b"group:").is_some_and(|name| groups.iter().any(|group| **group == *name))
    };
    let is_admin = admins.iter().any(|admin| **admin == *user || is_in(admin));
    Identity { user, is_admin, groups, ..Identity::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admins_may_be_named_by_their_group() {
        let admins: [Box<[u8]>; 2] = [(*b"cyrus").into(), (*b"group:wheel").into()];
        let groups = || Groups::from([Box::from(&b"wheel"[..])]);
        assert!(identity(&admins, (*b"fred").into(), groups()).is_admin);
        assert!(!identity(&admins, (*b"fred").into(), Groups::default()).is_admin);
        assert!(identity(&admins, (*b"cyrus").into(), Groups::default()).is_admin);
    }
}
