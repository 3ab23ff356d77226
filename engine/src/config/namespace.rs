//! The options that decide how mailbox names and rights read.

use protocols::conf::{ConfError, Imapd};
use protocols::mailbox::acl::{DeleteRight, Policy};
use protocols::mailbox::names::VirtDomains;
use protocols::mailbox::{Namespace, Rights};

use super::missing;

/// The options that say how mailbox names look.
///
/// # Errors
/// A bad value, or prefixes that cannot be told apart.
pub fn namespace(imapd: &Imapd, file: &str) -> Result<Namespace, ConfError> {
    let default = Namespace::default();
    let text = |key, default: Box<[u8]>| imapd.text(key).map_or(default, |text| text.as_bytes().into());
    let choices = [("off", VirtDomains::Off), ("userid", VirtDomains::UserId), ("on", VirtDomains::On)];
    let namespace = Namespace {
        separator: if imapd.switch("unixhierarchysep", true)? { b'/' } else { b'.' },
        alt: imapd.switch("altnamespace", default.alt)?,
        virtdomains: imapd.choice("virtdomains", &choices, default.virtdomains)?,
        default_domain: text("defaultdomain", default.default_domain),
        user_prefix: text("userprefix", default.user_prefix),
        shared_prefix: text("sharedprefix", default.shared_prefix),
        alt_prefix: text("altprefix", default.alt_prefix),
        deleted_prefix: text("deletedprefix", default.deleted_prefix),
        crossdomains: imapd.switch("crossdomains", default.crossdomains)?,
        crossdomains_only_other: imapd.switch("crossdomains_onlyother", default.crossdomains_only_other)?,
        username_tolower: imapd.switch("username_tolower", default.username_tolower)?,
        imapmagicplus: imapd.switch("imapmagicplus", default.imapmagicplus)?,
        disable_user: imapd.switch("disable_user_namespace", default.disable_user)?,
        disable_shared: imapd.switch("disable_shared_namespace", default.disable_shared)?,
    };
    namespace.check().map_err(|error| match imapd.value(error.option) {
        Some(value) => value.error(error.to_string()),
        None => missing(file, error.to_string()),
    })?;
    Ok(namespace)
}

pub(super) fn policy(imapd: &Imapd, namespace: &Namespace) -> Result<Policy, ConfError> {
    let mut policy = Policy::for_namespace(namespace);
    if let Some(value) = imapd.value("deleteright") {
        policy.deleteright = DeleteRight::from_option(&value.text);
    }
    if let Some(value) = imapd.value("implicit_owner_rights") {
        policy.implicit_owner_rights = Rights::parse(value.text.as_bytes()).map_err(|error| {
            value.error(format!("bad value for implicit_owner_rights: {error}, got {}", value.text))
        })?;
    }
    policy.admin_implies_write = imapd.switch("acl_admin_implies_write", policy.admin_implies_write)?;
    Ok(policy)
}
