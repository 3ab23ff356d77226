//! Internal names to external ones.

use super::Name;
use super::name::{plain_byte, split_first, split_user};
use super::namespace::{Category, Namespace, VirtDomains};
use crate::mailbox::{Identity, Spelling, utf7};

impl Namespace {
    /// What `who` calls the mailbox `internal`; `None` when he never sees such a name.
    pub fn external(&self, internal: &[u8], who: &Identity) -> Option<Vec<u8>> {
        let name = self.name(internal);
        if memchr::memchr(b'/', internal).is_some() || !is_well_formed(&name) {
            return None;
        }
        let external = self.external_utf7(&name, who)?;
        match who.spelling {
            Spelling::Utf7 => Some(external),
            // What is none cannot be spelled otherwise.
            Spelling::Utf8 => Some(utf7::to_utf8(&external).map_or(external, String::into_bytes)),
        }
    }

    fn external_utf7(&self, name: &Name<'_>, who: &Identity) -> Option<Vec<u8>> {
        let view = View { namespace: self, who, own: split_user(&who.user, &self.default_domain) };
        if who.is_admin {
            view.admin_name(name)
        } else if self.alt {
            view.alt_name(name)
        } else {
            view.standard_name(name)
        }
    }
}

/// Whether an internal name has something between all its separators.
fn is_well_formed(name: &Name<'_>) -> bool {
    let boxes_are_good = !name.boxes.split(|byte| *byte == b'.').any(<[u8]>::is_empty);
    match name.localpart {
        Some(localpart) => !localpart.is_empty() && (name.boxes.is_empty() || boxes_are_good),
        None => boxes_are_good,
    }
}

/// Internal to external, for one identity.
struct View<'a> {
    namespace: &'a Namespace,
    who: &'a Identity,
    /// Localpart and domain.
    own: (&'a [u8], Option<&'a [u8]>),
}

impl View<'_> {
    fn admin_name(&self, name: &Name<'_>) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(64);
        if name.deleted.is_some() {
            out.extend_from_slice(&self.namespace.deleted_prefix);
            out.push(self.namespace.separator);
        }
        let is_own = name.is_owned_by(&self.who.user, &self.namespace.default_domain);
        match name.localpart {
            Some(_) if is_own && name.deleted.is_none() => out.extend_from_slice(b"INBOX"),
            Some(localpart) => {
                out.extend_from_slice(b"user");
                self.append(&mut out, localpart);
            }
            None if is_inbox(name) => return None,
            None => {}
        }
        self.append_boxes(&mut out, name);
        if let Some(time) = name.deleted {
            self.append(&mut out, time);
        }
        self.append_admin_domain(&mut out, name)?;
        Some(out)
    }

    /// `@domain` at the end. Deviates: a name of the default domain carries that domain where it would
    /// otherwise be read as another name (it has an `@`, or the administrator has a domain).
    fn append_admin_domain(&self, out: &mut Vec<u8>, name: &Name<'_>) -> Option<()> {
        if self.namespace.virtdomains == VirtDomains::Off {
            return if name.domain == self.own.1 { Some(()) } else { None };
        }
        let domain = match name.domain {
            Some(domain) => domain,
            None if self.own.1.is_some() || memchr::memchr(b'@', out).is_some() => {
                &self.namespace.default_domain
            }
            None => return Some(()),
        };
        out.push(b'@');
        out.extend_from_slice(domain);
        Some(())
    }

    fn standard_name(&self, name: &Name<'_>) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(64);
        match self.namespace.category_of(name, self.who) {
            Category::Deleted => return None,
            Category::Shared if is_inbox(name) || name.domain != self.own.1 => return None,
            Category::Shared => {}
            Category::OtherUser => {
                out.extend_from_slice(b"user");
                self.append(&mut out, name.localpart?);
                self.append_cross_domain(&mut out, name)?;
            }
            Category::Inbox
            | Category::InboxSub
            | Category::Own
            | Category::AltInbox
            | Category::AltPrefix => {
                out.extend_from_slice(b"INBOX");
            }
        }
        self.append_boxes(&mut out, name);
        Some(out)
    }

    fn alt_name(&self, name: &Name<'_>) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(64);
        match self.namespace.category_of(name, self.who) {
            Category::Deleted => return None,
            Category::Shared => return self.alt_shared_name(name),
            Category::OtherUser => {
                out.extend_from_slice(&self.namespace.user_prefix);
                self.append(&mut out, name.localpart?);
                self.append_cross_domain(&mut out, name)?;
            }
            Category::Inbox => out.extend_from_slice(b"INBOX"),
            Category::AltInbox | Category::AltPrefix => out.extend_from_slice(&self.namespace.alt_prefix),
            Category::InboxSub | Category::Own => {}
        }
        self.append_boxes(&mut out, name);
        Some(out)
    }

    fn alt_shared_name(&self, name: &Name<'_>) -> Option<Vec<u8>> {
        if name.boxes == b"user" {
            return Some(self.namespace.user_prefix.to_vec());
        }
        let (first, rest) = split_first(name.boxes);
        let mut out = self.namespace.shared_prefix.to_vec();
        self.append(&mut out, first);
        self.append_cross_domain(&mut out, name)?;
        self.append_boxes(&mut out, &Name { boxes: rest, ..*name });
        Some(out)
    }

    /// `@domain` behind a user or a first shared component, where domains cross; `None` when the
    /// mailbox is in a domain that this user does not see.
    fn append_cross_domain(&self, out: &mut Vec<u8>, name: &Name<'_>) -> Option<()> {
        let is_own_domain = name.domain == self.own.1;
        if !self.namespace.crossdomains {
            return if is_own_domain { Some(()) } else { None };
        }
        let is_ambiguous = memchr::memchr(b'@', out).is_some();
        if !self.namespace.crossdomains_only_other || !is_own_domain || is_ambiguous {
            out.push(b'@');
            let domain = name.domain.unwrap_or(&self.namespace.default_domain);
            out.extend(domain.iter().map(|byte| self.domain_byte(*byte)));
        }
        Some(())
    }

    /// A byte of a domain inside a component.
    fn domain_byte(&self, byte: u8) -> u8 {
        if byte == b'.' && self.namespace.separator == b'.' { b'^' } else { byte }
    }

    /// All components, each behind a separator unless it begins the name.
    fn append_boxes(&self, out: &mut Vec<u8>, name: &Name<'_>) {
        let mut rest = name.boxes;
        while !rest.is_empty() {
            let (first, behind) = split_first(rest);
            self.append(out, first);
            rest = behind;
        }
    }

    /// One component. With `/` as the separator a dot is a dot; with `.` it stays `^`.
    fn append(&self, out: &mut Vec<u8>, component: &[u8]) {
        if !out.is_empty() && !(out.ends_with(&[self.namespace.separator])) {
            out.push(self.namespace.separator);
        }
        if self.namespace.separator == b'/' {
            out.extend(component.iter().map(|byte| plain_byte(*byte)));
        } else {
            out.extend_from_slice(component);
        }
    }
}

/// A shared name that begins with INBOX cannot be named in the standard namespace.
fn is_inbox(name: &Name<'_>) -> bool {
    name.first_box().is_some_and(|first| first.eq_ignore_ascii_case(b"INBOX"))
}
