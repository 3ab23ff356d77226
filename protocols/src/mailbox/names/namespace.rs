//! The namespace of a server: external names to internal ones and back.

use super::name::{internal_component, is_same, split_first, split_user};
use super::{DEFAULT_DOMAIN, DELETED_PREFIX, NAME_BYTES_MAX, Name, NameError};
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

/// What a mailbox is for somebody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Category {
    /// His INBOX.
    Inbox,
    /// His `INBOX.sub` in the alternate namespace: a personal mailbox named INBOX with children.
    InboxSub,
    /// Another one of his own.
    Own,
    /// His own, shown below `altprefix`.
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

    /// The internal name of a user's INBOX.
    pub fn inbox(&self, user: &[u8]) -> Vec<u8> {
        let (localpart, domain) = split_user(user, &self.default_domain);
        let mut internal = Vec::with_capacity(user.len() + 6);
        append_domain(&mut internal, domain);
        internal.extend_from_slice(b"user.");
        internal.extend_from_slice(&internal_component(localpart));
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

    fn category_of(&self, name: &Name<'_>, who: &Identity) -> Category {
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
            return if name.boxes.len() == first.len() { Category::AltPrefix } else { Category::InboxSub };
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

    /// The internal name of what a client calls `external`.
    ///
    /// # Errors: [`NameError`]; the client sees that the mailbox does not exist, or at CREATE that its
    /// name is invalid.
    pub fn internal(&self, external: &[u8], who: &Identity) -> Result<Vec<u8>, NameError> {
        self.check_bytes(external)?;
        let mut scope = Scope::new(self, who);
        let path = scope.take_domain(external);
        let internal = if scope.alt { scope.alt_name(path)? } else { scope.standard_name(path)? };
        if internal.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong { length: internal.len(), limit: NAME_BYTES_MAX });
        }
        if !who.is_admin && self.is_deleted(&internal) {
            return Err(NameError::Kept);
        }
        Ok(internal)
    }

    /// What no external name holds. `!` would be read as the end of a domain later.
    fn check_bytes(&self, external: &[u8]) -> Result<(), NameError> {
        if external.is_empty() {
            return Err(NameError::Empty);
        }
        if external.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong { length: external.len(), limit: NAME_BYTES_MAX });
        }
        if external[0] == b'\\' {
            return Err(NameError::SpecialUse);
        }
        let foreign = if self.separator == b'/' { b'^' } else { b'/' };
        for (at, &byte) in external.iter().enumerate() {
            if matches!(byte, 0 | b'\r' | b'\n' | b'!') || byte == foreign {
                return Err(NameError::Byte { byte, at });
            }
        }
        Ok(())
    }

    /// What `who` calls the mailbox `internal`; `None` when he never sees such a name.
    pub fn external(&self, internal: &[u8], who: &Identity) -> Option<Vec<u8>> {
        let name = self.name(internal);
        if memchr::memchr(b'/', internal).is_some() || !is_well_formed(&name) {
            return None;
        }
        let view = View { namespace: self, who, own: split_user(&who.user, &self.default_domain) };
        if who.is_admin {
            view.admin_name(&name)
        } else if self.alt {
            view.alt_name(&name)
        } else {
            view.standard_name(&name)
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

fn append_domain(internal: &mut Vec<u8>, domain: Option<&[u8]>) {
    if let Some(domain) = domain {
        internal.extend_from_slice(domain);
        internal.push(b'!');
    }
}

/// External to internal: which domain a name is in, and how its components are read.
struct Scope<'a> {
    namespace: &'a Namespace,
    alt: bool,
    is_admin: bool,
    crossdomains: bool,
    localpart: &'a [u8],
    own_domain: Option<&'a [u8]>,
    domain: Option<&'a [u8]>,
}

impl<'a> Scope<'a> {
    fn new(namespace: &'a Namespace, who: &'a Identity) -> Scope<'a> {
        let (localpart, own_domain) = split_user(&who.user, &namespace.default_domain);
        Scope {
            namespace,
            alt: namespace.is_alt_for(who),
            is_admin: who.is_admin,
            crossdomains: namespace.crossdomains && !who.is_admin,
            localpart,
            own_domain,
            domain: None,
        }
    }

    /// Finds the domain as far as the whole name tells it, and gives the name without it.
    fn take_domain(&mut self, external: &'a [u8]) -> &'a [u8] {
        if self.is_admin && self.namespace.virtdomains != VirtDomains::Off {
            if let Some(at) = memchr::memrchr(b'@', external) {
                self.domain = self.not_default(&external[at + 1..]);
                return &external[..at];
            }
            self.domain = self.own_domain;
        } else if !self.crossdomains {
            self.domain = self.own_domain;
        }
        external
    }

    /// A named domain; the default one is never written.
    fn not_default(&self, domain: &'a [u8]) -> Option<&'a [u8]> {
        Some(domain).filter(|domain| !domain.is_empty() && **domain != *self.namespace.default_domain)
    }

    fn components(&self, path: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let separator = self.namespace.separator;
        path.split(move |byte| *byte == separator).filter(|component| !component.is_empty())
    }

    fn alt_name(&mut self, path: &'a [u8]) -> Result<Vec<u8>, NameError> {
        let mut components = self.components(path);
        let first = components.next().ok_or(NameError::Empty)?;
        let rest = components.clone();
        if is_same(first, &self.namespace.alt_prefix) {
            // Deviates: Cyrus takes the prefix alone for the INBOX.
            let first = components.next().ok_or(NameError::Empty)?;
            return self.own(first, components);
        }
        if is_same(first, &self.namespace.user_prefix) {
            return self.other_user(rest);
        }
        if is_same(first, &self.namespace.shared_prefix) {
            let first = components.next().ok_or(NameError::Empty)?;
            let first = self.take_cross_domain(first);
            return self.join(None, first, components);
        }
        if !first.eq_ignore_ascii_case(b"INBOX") {
            return self.own(first, rest);
        }
        match components.next() {
            None => Ok(self.own_inbox()),
            Some(_) => self.own(b"INBOX", rest),
        }
    }

    fn standard_name(&mut self, path: &'a [u8]) -> Result<Vec<u8>, NameError> {
        let mut components = self.components(path);
        let first = components.next().ok_or(NameError::Empty)?;
        let rest = components.clone();
        if first.eq_ignore_ascii_case(b"INBOX") {
            return match components.next() {
                None => Ok(self.own_inbox()),
                Some(first) => self.own(first, components),
            };
        }
        if first == b"user" {
            return self.other_user(rest);
        }
        if self.crossdomains || (self.namespace.virtdomains != VirtDomains::Off && !self.is_admin) {
            self.domain = self.own_domain;
        }
        self.join(None, first, rest)
    }

    fn own_inbox(&mut self) -> Vec<u8> {
        let mut internal = Vec::new();
        append_domain(&mut internal, self.own_domain);
        internal.extend_from_slice(b"user.");
        internal.extend_from_slice(&internal_component(self.localpart));
        internal
    }

    fn own(&mut self, first: &'a [u8], rest: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, NameError> {
        self.domain = self.own_domain;
        self.join(Some(self.localpart), first, rest)
    }

    fn other_user(&mut self, mut path: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, NameError> {
        let localpart = self.take_cross_domain(path.next().ok_or(NameError::Empty)?);
        match path.next() {
            Some(first) => self.join(Some(localpart), first, path),
            None => self.join(None, b"user", std::iter::once(localpart)),
        }
    }

    /// Takes `@domain` off a user or a first shared component, where domains cross.
    fn take_cross_domain(&mut self, component: &'a [u8]) -> &'a [u8] {
        if !self.crossdomains {
            return component;
        }
        match memchr::memrchr(b'@', component) {
            Some(at) => {
                self.domain = self.not_default(&component[at + 1..]);
                &component[..at]
            }
            None => {
                self.domain = self.own_domain.filter(|_| self.namespace.crossdomains_only_other);
                component
            }
        }
    }

    /// Writes the internal name.
    fn join(
        &self,
        localpart: Option<&[u8]>,
        first: &[u8],
        rest: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Vec<u8>, NameError> {
        let mut internal = Vec::with_capacity(64);
        append_domain(&mut internal, self.domain);
        if let Some(localpart) = localpart {
            internal.extend_from_slice(b"user.");
            append_component(&mut internal, localpart)?;
            internal.push(b'.');
        }
        append_component(&mut internal, first)?;
        for component in rest {
            internal.push(b'.');
            append_component(&mut internal, component)?;
        }
        Ok(internal)
    }
}

fn append_component(internal: &mut Vec<u8>, component: &[u8]) -> Result<(), NameError> {
    if component.is_empty() {
        return Err(NameError::Empty);
    }
    internal.extend_from_slice(&internal_component(component));
    Ok(())
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
            Category::Inbox | Category::InboxSub | Category::Own | Category::AltPrefix => {
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
            Category::AltPrefix => out.extend_from_slice(&self.namespace.alt_prefix),
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
            out.extend_from_slice(name.domain.unwrap_or(&self.namespace.default_domain));
        }
        Some(())
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
            out.extend(component.iter().map(|byte| super::name::plain_byte(*byte)));
        } else {
            out.extend_from_slice(component);
        }
    }
}

/// A shared name that begins with INBOX cannot be named in the standard namespace.
fn is_inbox(name: &Name<'_>) -> bool {
    name.first_box().is_some_and(|first| first.eq_ignore_ascii_case(b"INBOX"))
}
