//! Addresses of recipients, and which mailbox each means.

use std::borrow::Cow;

use crate::mailbox::names::VirtDomains;
use crate::mailbox::{Namespace, utf7};

/// Bytes of a path, its brackets included. RFC 5321 asks for 256.
pub const PATH_BYTES_MAX: usize = 1024;

/// Bytes of the path that `input` begins with, its brackets included; `None` when it begins with none.
///
/// ```text
/// Path = "<" [ A-d-l ":" ] Mailbox ">"      RFC 5321 section 4.1.2, the domain may be missing
/// ```
pub fn path_bytes(input: &[u8]) -> Option<usize> {
    let mut at = usize::from(input.first() == Some(&b'<'));
    if at == 0 {
        return None;
    }
    if input.get(at) == Some(&b'@') {
        at += memchr::memchr(b':', &input[at..])? + 1;
    }
    at += local_part(&input[at..])?.0;
    if input.get(at) == Some(&b'@') {
        at += 1 + domain_bytes(&input[at + 1..]);
    }
    (input.get(at) == Some(&b'>') && at < PATH_BYTES_MAX).then_some(at + 1)
}

/// The local part that `input` begins with: its bytes, and what it means without quotes.
fn local_part(input: &[u8]) -> Option<(usize, Cow<'_, [u8]>)> {
    if let [b'"', quoted @ ..] = input {
        let (mut at, mut plain) = (0, Vec::new());
        loop {
            match quoted.get(at..)? {
                [b'"', ..] => return Some((at + 2, plain.into())),
                [b'\\', byte @ b' '..=b'~', ..] => {
                    plain.push(*byte);
                    at += 2;
                }
                [byte @ b' '..=b'~', ..] if *byte != b'\\' => {
                    plain.push(*byte);
                    at += 1;
                }
                _ => return None,
            }
        }
    }
    let length = input.iter().position(|byte| matches!(byte, b'@' | b'>'))?;
    let local = &input[..length];
    // What Cyrus takes: a backslash makes the next byte plain, which nobody who matters sends.
    let is_good = |byte: &u8| (b'!'..=b'~').contains(byte) && !b"<>()[]\\,;:\"".contains(byte);
    local.iter().all(is_good).then_some((length, local.into()))
}

fn domain_bytes(input: &[u8]) -> usize {
    if let [b'[', literal @ ..] = input {
        return memchr::memchr(b']', literal).map_or(0, |at| at + 2);
    }
    input.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(byte)).count()
}

/// A recipient as Cyrus takes it apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipient {
    /// What stands before the plus; empty or `postuser` for a shared mailbox.
    local: Vec<u8>,
    /// What stands behind it.
    detail: Option<Vec<u8>>,
    domain: Option<Vec<u8>>,
}

/// The mailbox that decides where a message goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A user's INBOX: what stands behind the plus is the backend's to find.
    User(Box<[u8]>),
    /// A shared mailbox.
    Shared(Box<[u8]>),
}

impl Target {
    /// The internal name.
    pub fn name(&self) -> &[u8] {
        match self {
            Target::User(name) | Target::Shared(name) => name,
        }
    }
}

/// What decides how addresses read.
#[derive(Clone, Debug)]
pub struct AddressPolicy {
    /// `lmtp_downcase_rcpt`.
    pub downcase: bool,
    /// `postuser`.
    pub postuser: Box<[u8]>,
    /// `lmtp_catchall_mailbox`: the user who gets what is for nobody.
    pub catchall: Option<Box<[u8]>>,
    /// `lmtp_fuzzy_mailbox_match`: shared mailboxes are found by names like theirs.
    pub fuzzy: bool,
}

impl Default for AddressPolicy {
    fn default() -> AddressPolicy {
        AddressPolicy { downcase: true, postuser: Box::default(), catchall: None, fuzzy: false }
    }
}

impl Recipient {
    /// Takes the path of a RCPT apart; `None` when it names nobody.
    pub fn parse(path: &[u8], policy: &AddressPolicy) -> Option<Recipient> {
        let mut inner = path.strip_prefix(b"<")?.strip_suffix(b">")?;
        if inner.first() == Some(&b'@') {
            inner = &inner[memchr::memchr(b':', inner)? + 1..];
        }
        // The bracket ends a local part that stands alone.
        let (length, local) = local_part(&path[path.len() - 1 - inner.len()..])?;
        if inner.is_empty() {
            return None;
        }
        let domain = inner[length..].strip_prefix(b"@").filter(|domain| !domain.is_empty());
        let mut local = local.into_owned();
        let detail = memchr::memchr(b'+', &local).map(|plus| {
            let detail = local.split_off(plus + 1);
            local.pop();
            detail
        });
        let mut recipient = Recipient { local, detail, domain: domain.map(<[u8]>::to_vec) };
        if recipient.local.is_empty() && recipient.detail.is_none() {
            return None;
        }
        if policy.downcase {
            recipient.local.make_ascii_lowercase();
            recipient.domain.iter_mut().for_each(|domain| domain.make_ascii_lowercase());
        }
        Some(recipient)
    }

    /// A user who is named by his id (`lmtp_catchall_mailbox`).
    pub fn user(id: &[u8]) -> Recipient {
        let (local, domain) = match memchr::memrchr(b'@', id) {
            Some(at) => (&id[..at], Some(id[at + 1..].to_vec())),
            None => (id, None),
        };
        Recipient { local: local.to_vec(), detail: None, domain }
    }

    /// A shared mailbox of this internal name.
    pub fn shared(name: &[u8], policy: &AddressPolicy, namespace: &Namespace) -> Recipient {
        let (domain, boxes) = match memchr::memchr(b'!', name) {
            Some(bang) => (Some(name[..bang].to_vec()), &name[bang + 1..]),
            None => (None, name),
        };
        let external = |byte: &u8| match byte {
            b'.' => namespace.separator,
            b'^' if namespace.separator != b'.' => b'.',
            byte => *byte,
        };
        let detail = boxes.iter().map(external).collect();
        Recipient { local: policy.postuser.to_vec(), detail: Some(detail), domain }
    }

    /// The path that a backend is told: quotes only where something needs them, which Cyrus does not read.
    pub fn path(&self) -> Vec<u8> {
        let plain = |byte: &u8| (b'!'..=b'~').contains(byte) && !b"<>()[]\\,;:\"@".contains(byte);
        let parts = [&self.local[..], self.detail.as_deref().unwrap_or_default()];
        let quoted = !parts.iter().all(|part| part.iter().all(plain));
        let mut path = b"<".to_vec();
        if quoted {
            path.push(b'"');
        }
        push_local(&mut path, &self.local);
        if let Some(detail) = &self.detail {
            path.push(b'+');
            push_local(&mut path, detail);
        }
        if quoted {
            path.push(b'"');
        }
        if let Some(domain) = &self.domain {
            path.push(b'@');
            path.extend_from_slice(domain);
        }
        path.push(b'>');
        path
    }

    /// The mailbox that it means; `None` when no mailbox can have such a name.
    pub fn target(&self, policy: &AddressPolicy, namespace: &Namespace) -> Option<Target> {
        if *self.local == *policy.postuser {
            return self.shared_name(namespace).map(|name| Target::Shared(name.into()));
        }
        Some(Target::User(namespace.inbox(&self.canonical_user(policy, namespace)?).into()))
    }

    /// The user that it means, where it means one.
    pub fn canonical_user(&self, policy: &AddressPolicy, namespace: &Namespace) -> Option<Box<[u8]>> {
        let mut id = self.local.clone();
        if let Some(domain) = self.named_domain(namespace) {
            id.push(b'@');
            id.extend_from_slice(domain);
        }
        let rules =
            Namespace { username_tolower: policy.downcase, imapmagicplus: false, ..namespace.clone() };
        Some(rules.canonical_user(&id).ok()?.user)
    }

    /// The domain, where names have one.
    fn named_domain(&self, namespace: &Namespace) -> Option<&[u8]> {
        let domain = self.domain.as_deref().filter(|_| namespace.virtdomains != VirtDomains::Off)?;
        (!domain.eq_ignore_ascii_case(&namespace.default_domain)).then_some(domain)
    }

    fn shared_name(&self, namespace: &Namespace) -> Option<Vec<u8>> {
        let detail = self.detail.as_deref().filter(|detail| !detail.is_empty())?;
        let detail: Cow<'_, [u8]> = match has_utf7(detail) {
            true => detail.into(),
            false => utf7::from_utf8(detail).ok()?.into(),
        };
        let mut name = Vec::with_capacity(detail.len() + 16);
        if let Some(domain) = self.named_domain(namespace) {
            name.extend_from_slice(domain);
            name.push(b'!');
        }
        let internal = |byte: &u8| match *byte {
            byte if byte == namespace.separator => b'.',
            b'.' => b'^',
            byte => byte,
        };
        name.extend(detail.iter().map(internal));
        let is_good = !name.starts_with(b"user.") && name.len() <= crate::mailbox::names::NAME_BYTES_MAX;
        is_good.then_some(name)
    }
}

fn push_local(path: &mut Vec<u8>, part: &[u8]) {
    for byte in part {
        if matches!(byte, b'"' | b'\\') {
            path.push(b'\\');
        }
        path.push(*byte);
    }
}

/// Whether a detail has a run of modified UTF-7, as Cyrus finds out.
fn has_utf7(detail: &[u8]) -> bool {
    let Some(shift) = memchr::memchr(b'&', detail) else { return false };
    let run =
        detail[shift + 1..].iter().position(|byte| !byte.is_ascii_alphanumeric() && !b"+,".contains(byte));
    run.is_some_and(|at| detail[shift + 1 + at] == b'-')
}

/// How many components of `wanted` a mailbox name begins with, when case does not count and `-`, space and
/// `_` are one (`lmtp_fuzzy_mailbox_match`).
pub fn likeness(wanted: &[u8], name: &[u8]) -> usize {
    let same = |a: &u8, b: &u8| a.eq_ignore_ascii_case(b) || (b"- _".contains(a) && b"- _".contains(b));
    let is_like = |a: &[u8], b: &[u8]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b));
    let (of_wanted, of_name) = (wanted.split(|byte| *byte == b'.'), name.split(|byte| *byte == b'.'));
    of_wanted.zip(of_name).take_while(|(a, b)| is_like(a, b)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> AddressPolicy {
        AddressPolicy { postuser: (*b"bb").into(), ..AddressPolicy::default() }
    }

    fn target(path: &[u8], policy: &AddressPolicy, namespace: &Namespace) -> Option<String> {
        let target = Recipient::parse(path, policy)?.target(policy, namespace)?;
        Some(match target {
            Target::User(name) => format!("user {}", name.escape_ascii()),
            Target::Shared(name) => format!("shared {}", name.escape_ascii()),
        })
    }

    #[test]
    fn paths_are_measured() {
        for path in [
            &b"<>"[..],
            b"<a>",
            b"<a@b.c>",
            b"<@x,@y:a@b>",
            b"<\"a b\"@c>",
            b"<\"a\\\"\"@c>",
            b"<+a.b>",
            b"<a@[1.2.3.4]>",
        ] {
            let line = [path, b" SIZE=1"].concat();
            assert_eq!(path_bytes(&line), Some(path.len()), "{}", path.escape_ascii());
            for cut in 0..path.len() {
                assert_eq!(path_bytes(&path[..cut]), None, "{}", path[..cut].escape_ascii());
            }
        }
        for path in [&b"a@b"[..], b"<a b>", b"<a\0>", b"<a\xff@b>", b"<a@b c>", b"<(a)@b>"] {
            assert_eq!(path_bytes(path), None, "{}", path.escape_ascii());
        }
    }

    #[test]
    fn mailbox_of_an_address() {
        let (policy, plain) = (policy(), Namespace { separator: b'.', ..Namespace::default() });
        let unix = Namespace::default();
        let domains = Namespace {
            virtdomains: VirtDomains::UserId,
            default_domain: (*b"d.test").into(),
            ..Namespace::default()
        };
        for (path, namespace, expected) in [
            (&b"<Fred@x.test>"[..], &plain, Some("user user.fred")),
            (b"<fred+Work.Projects@x>", &plain, Some("user user.fred")),
            (b"<\"fred\"@x>", &plain, Some("user user.fred")),
            (b"<@relay:fred@x>", &plain, Some("user user.fred")),
            (b"<j.doe@x>", &unix, Some("user user.j^doe")),
            (b"<bb+team.a@x>", &plain, Some("shared team.a")),
            (b"<bb+team/a.b@x>", &unix, Some("shared team.a^b")),
            (b"<bb+T&APY->", &unix, Some("shared T&APY-")),
            (b"<bb>", &plain, None),
            (b"<bb+user.fred>", &plain, None),
            (b"<fred@D.test>", &domains, Some("user user.fred")),
            (b"<fred@e.test>", &domains, Some("user e.test!user.fred")),
            (b"<bb+a@e.test>", &domains, Some("shared e.test!a")),
            (b"<a!b@x>", &plain, None),
            (b"<>", &plain, None),
        ] {
            assert_eq!(target(path, &policy, namespace).as_deref(), expected, "{}", path.escape_ascii());
        }
        let mixed = AddressPolicy { downcase: false, ..AddressPolicy::default() };
        assert_eq!(target(b"<Fred>", &mixed, &plain).as_deref(), Some("user user.Fred"));
        assert_eq!(target(b"<+team02>", &AddressPolicy::default(), &plain).as_deref(), Some("shared team02"));
    }

    #[test]
    fn backends_are_told_what_they_can_read() {
        for (path, told) in [
            (&b"<Fred+Sent@X.test>"[..], &b"<fred+Sent@x.test>"[..]),
            (b"<\"fred\"@x>", b"<fred@x>"),
            (b"<\"a b\"@x>", b"<\"a b\"@x>"),
            (b"<+team>", b"<+team>"),
        ] {
            assert_eq!(Recipient::parse(path, &policy()).unwrap().path(), told);
        }
        let unix = Namespace::default();
        let shared = Recipient::shared(b"e.test!a.b^c", &policy(), &unix);
        assert_eq!(shared.path(), b"<bb+a/b.c@e.test>");
        assert_eq!(
            shared.target(&policy(), &Namespace { virtdomains: VirtDomains::On, ..unix }),
            Some(Target::Shared((*b"e.test!a.b^c").into()))
        );
    }

    #[test]
    fn likeness_counts_components() {
        assert_eq!(likeness(b"help-desk.in", b"Help_Desk.IN"), 2);
        assert_eq!(likeness(b"help.out", b"Help.in"), 1);
        assert_eq!(likeness(b"help", b"helper"), 0);
    }
}
