//! External names to internal ones.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;

use super::name::{internal_component, is_same, plain_byte, split_user};
use super::namespace::{Namespace, VirtDomains, append_domain};
use super::{NAME_BYTES_MAX, NameError};
use crate::mailbox::{Identity, Spelling, utf7};

impl Namespace {
    /// The internal name of what a client calls `external`.
    ///
    /// # Errors: [`NameError`]; the client sees that the mailbox does not exist, or at CREATE that its
    /// name is invalid.
    pub fn internal(&self, external: &[u8], who: &Identity) -> Result<Vec<u8>, NameError> {
        let external = &*in_utf7(external, who)?;
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
}

/// A name in modified UTF-7, however it is spelled. "Mailbox names MUST comply with the Net-Unicode
/// Definition" (RFC 6855 section 3), which is normal form C, as Cyrus looks for them.
fn in_utf7<'a>(external: &'a [u8], who: &Identity) -> Result<Cow<'a, [u8]>, NameError> {
    // Nothing in such a name is spelled in two ways.
    let is_plain = external.is_ascii() && memchr::memchr(b'&', external).is_none();
    if who.spelling == Spelling::Utf7 || is_plain {
        return Ok(Cow::Borrowed(external));
    }
    if external.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { length: external.len(), limit: NAME_BYTES_MAX });
    }
    let text = std::str::from_utf8(external).map_err(|_| NameError::Utf8)?;
    let text: String = text.nfc().collect();
    utf7::from_utf8(text.as_bytes()).map(Cow::Owned).map_err(|_| NameError::Utf8)
}

/// External to internal: which domain a name is in, and how its components are read.
struct Scope<'a> {
    namespace: &'a Namespace,
    alt: bool,
    is_admin: bool,
    crossdomains: bool,
    localpart: &'a [u8],
    own_domain: Option<&'a [u8]>,
    domain: Option<Cow<'a, [u8]>>,
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
                self.domain = self.not_default(Cow::Borrowed(&external[at + 1..]));
                return &external[..at];
            }
            self.domain = self.own_domain.map(Cow::Borrowed);
        } else if !self.crossdomains {
            self.domain = self.own_domain.map(Cow::Borrowed);
        }
        external
    }

    /// A named domain; the default one is never written.
    fn not_default(&self, domain: Cow<'a, [u8]>) -> Option<Cow<'a, [u8]>> {
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
            self.domain = self.own_domain.map(Cow::Borrowed);
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
        self.domain = self.own_domain.map(Cow::Borrowed);
        self.join(Some(self.localpart), first, rest)
    }

    fn other_user(&mut self, mut path: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, NameError> {
        let localpart = self.take_cross_domain(path.next().ok_or(NameError::Empty)?);
        match path.next() {
            Some(first) => self.join(Some(localpart), first, path),
            None => self.join(None, b"user", std::iter::once(localpart)),
        }
    }

    /// Takes `@domain` off a user or a first shared component, where domains cross. A dot of the domain
    /// is `^` where the dot separates.
    fn take_cross_domain(&mut self, component: &'a [u8]) -> &'a [u8] {
        if !self.crossdomains {
            return component;
        }
        match memchr::memrchr(b'@', component) {
            Some(at) => {
                let domain = component[at + 1..].iter().map(|byte| plain_byte(*byte)).collect();
                self.domain = self.not_default(Cow::Owned(domain));
                &component[..at]
            }
            None => {
                self.domain =
                    self.own_domain.filter(|_| self.namespace.crossdomains_only_other).map(Cow::Borrowed);
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
        append_domain(&mut internal, self.domain.as_deref());
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
