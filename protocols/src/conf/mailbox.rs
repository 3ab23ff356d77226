//! The options that decide how mailboxes are named and who may use them.

use super::{ConfError, Imapd};
use crate::mailbox::acl::{DeleteRight, Policy, Rights};
use crate::mailbox::names::{Namespace, VirtDomains};

impl Imapd {
    /// The namespace that the options describe.
    ///
    /// # Errors: [`ConfError`], a value that is none, or prefixes that cannot be told apart.
    pub fn namespace(&self) -> Result<Namespace, ConfError> {
        let default = Namespace::default();
        let text = |key: &str, default: Box<[u8]>| match self.text(key) {
            Some(text) => text.as_bytes().into(),
            None => default,
        };
        let virtdomains =
            [("off", VirtDomains::Off), ("userid", VirtDomains::UserId), ("on", VirtDomains::On)];
        let namespace = Namespace {
            separator: if self.switch("unixhierarchysep", true)? { b'/' } else { b'.' },
            alt: self.switch("altnamespace", default.alt)?,
            virtdomains: self.choice("virtdomains", &virtdomains, default.virtdomains)?,
            default_domain: text("defaultdomain", default.default_domain),
            user_prefix: text("userprefix", default.user_prefix),
            shared_prefix: text("sharedprefix", default.shared_prefix),
            alt_prefix: text("altprefix", default.alt_prefix),
            deleted_prefix: text("deletedprefix", default.deleted_prefix),
            crossdomains: self.switch("crossdomains", default.crossdomains)?,
            crossdomains_only_other: self
                .switch("crossdomains_onlyother", default.crossdomains_only_other)?,
            username_tolower: self.switch("username_tolower", default.username_tolower)?,
            imapmagicplus: self.switch("imapmagicplus", default.imapmagicplus)?,
            disable_user: self.switch("disable_user_namespace", default.disable_user)?,
            disable_shared: self.switch("disable_shared_namespace", default.disable_shared)?,
        };
        match namespace.check() {
            Ok(()) => Ok(namespace),
            Err(error) => Err(self.error_at(error.option, error.to_string())),
        }
    }

    /// How ACLs are read, for the given namespace.
    ///
    /// # Errors: [`ConfError`], a value that is none.
    pub fn acl_policy(&self, namespace: &Namespace) -> Result<Policy, ConfError> {
        let default = Policy::for_namespace(namespace);
        let deleteright = self.text("deleteright").map_or(DeleteRight::default(), DeleteRight::from_option);
        let implicit_owner_rights = match self.value("implicit_owner_rights") {
            None => default.implicit_owner_rights,
            Some(value) => Rights::parse_with(value.text.as_bytes(), deleteright)
                .map_err(|error| value.error(format!("bad value for implicit_owner_rights: {error}")))?,
        };
        let admin_implies_write = self.switch("acl_admin_implies_write", default.admin_implies_write)?;
        Ok(Policy { implicit_owner_rights, deleteright, admin_implies_write, ..default })
    }

    /// An error about a key, at its line if it is set.
    pub fn error_at(&self, key: &str, what: String) -> ConfError {
        match self.value(key) {
            Some(value) => value.error(what),
            None => ConfError::new("imapd.conf", 0, what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> Imapd {
        Imapd::load("imapd.conf", |_| Ok::<_, &str>(text.to_owned())).unwrap()
    }

    #[test]
    fn namespace_is_that_of_cyrus_when_nothing_is_set() {
        assert_eq!(conf("").namespace(), Ok(Namespace::default()));
        assert_eq!(conf("").acl_policy(&Namespace::default()), Ok(Policy::default()));
    }

    #[test]
    fn options_of_the_namespace_are_read() {
        let text = "altnamespace: no\nunixhierarchysep: no\nvirtdomains: userid\ndefaultdomain: murder.test\n\
            deletedprefix: GONE\nimapmagicplus: yes\ndisable_user_namespace: yes\n";
        let namespace = conf(text).namespace().unwrap();
        assert_eq!((namespace.separator, namespace.alt), (b'.', false));
        assert_eq!(namespace.virtdomains, VirtDomains::UserId);
        assert_eq!(&*namespace.default_domain, b"murder.test");
        assert!(namespace.is_deleted(b"GONE.x.5E0") && namespace.imapmagicplus && namespace.disable_user);
        assert_eq!(&*conf(text).acl_policy(&namespace).unwrap().deleted_prefix, b"GONE");
        assert_eq!(conf("virtdomains: yes").namespace().unwrap().virtdomains, VirtDomains::On);
    }

    #[test]
    fn bad_prefix_is_named_with_its_line() {
        let error = conf("\nuserprefix: a/b\n").namespace().unwrap_err().to_string();
        assert!(error.starts_with("imapd.conf:2: bad userprefix"), "{error}");
    }

    #[test]
    fn owner_rights_are_checked() {
        let policy = |text: &str| conf(text).acl_policy(&Namespace::default());
        let read = policy("implicit_owner_rights: lc\ndeleteright: d\n").unwrap();
        assert_eq!(read.implicit_owner_rights, Rights::L.union(Rights::K));
        let error = policy("implicit_owner_rights: lq\n").unwrap_err().to_string();
        assert_eq!(error, "imapd.conf:1: bad value for implicit_owner_rights: the q right is not supported");
    }
}
