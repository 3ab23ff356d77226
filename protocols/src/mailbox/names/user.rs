//! The user id that a client typed, made canonical.

use super::NameError;
use super::namespace::{Namespace, VirtDomains};

/// Bytes of a user id (Cyrus: 80 and a NUL).
pub const USER_BYTES_MAX: usize = 80;

/// A user id as all of the murder knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CanonicalUser {
    /// As in `Identity.user`.
    pub user: Box<[u8]>,
    /// What stood behind the `+`, when `imapmagicplus` is on.
    pub magic_plus: Option<MagicPlus>,
}

/// The suffix of `user+suffix`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MagicPlus {
    /// `user+`: LIST behaves as LSUB.
    Subscribed,
    /// `user+dav`: LIST shows what is no mail.
    Dav,
    /// Any other, without meaning for IMAP.
    Other(Box<[u8]>),
}

impl Namespace {
    /// Makes a typed user id canonical: lower case (`username_tolower`), `%` as `@` and the default
    /// domain stripped where there are virtual domains, the magic plus taken off.
    ///
    /// # Errors: [`NameError::User`]; the login fails as with a wrong password.
    pub fn canonical_user(&self, typed: &[u8]) -> Result<CanonicalUser, NameError> {
        let mut user = typed.to_vec();
        let magic_plus = if self.imapmagicplus { take_magic_plus(&mut user, self.virtdomains) } else { None };
        if user.is_empty() || user.len() > USER_BYTES_MAX {
            return Err(NameError::User);
        }
        let mut localpart_length = user.len();
        if self.virtdomains != VirtDomains::Off {
            let at = memchr::memrchr(b'@', &user).or_else(|| memchr::memrchr(b'%', &user));
            if let Some(at) = at {
                user[at] = b'@';
                localpart_length = at;
            }
        }
        if let Some(everybody) = global_identifier(&user[..localpart_length]) {
            return Ok(CanonicalUser { user: (*everybody).into(), magic_plus });
        }
        if localpart_length < user.len()
            && user[localpart_length + 1..].eq_ignore_ascii_case(&self.default_domain)
        {
            user.truncate(localpart_length);
        }
        if localpart_length == 0
            || memchr::memrchr(b'@', &user) == Some(0)
            || user.ends_with(b"@")
            || !user.iter().all(|byte| is_user_byte(*byte))
        {
            return Err(NameError::User);
        }
        if self.username_tolower {
            user.make_ascii_lowercase();
        }
        Ok(CanonicalUser { user: user.into(), magic_plus })
    }
}

impl Namespace {
    /// The user id with the domain of the address that the client came to, where `virtdomains: on` asks
    /// for it: one that names no domain and is not the same in all of them.
    pub fn in_domain(&self, typed: &[u8], domain: &[u8]) -> Option<Vec<u8>> {
        let is_bare =
            !typed.iter().any(|byte| matches!(byte, b'@' | b'%')) && global_identifier(typed).is_none();
        let is_wanted = self.virtdomains == VirtDomains::On
            && is_bare
            && !domain.is_empty()
            && !domain.eq_ignore_ascii_case(&self.default_domain);
        is_wanted.then(|| [typed, b"@", domain].concat())
    }
}

/// Cuts `+suffix` out: up to the end, or up to the `@` where there are virtual domains.
fn take_magic_plus(user: &mut Vec<u8>, virtdomains: VirtDomains) -> Option<MagicPlus> {
    let plus = memchr::memchr(b'+', user)?;
    let end = match virtdomains {
        VirtDomains::Off => user.len(),
        VirtDomains::UserId | VirtDomains::On => {
            memchr::memchr(b'@', &user[plus..]).map_or(user.len(), |at| plus + at)
        }
    };
    let magic = match &user[plus + 1..end] {
        b"" => MagicPlus::Subscribed,
        b"dav" => MagicPlus::Dav,
        other => MagicPlus::Other(other.into()),
    };
    user.drain(plus..end);
    Some(magic)
}

/// `anonymous`, `anyone` and `anybody` in any case, which have no domain.
fn global_identifier(localpart: &[u8]) -> Option<&'static [u8]> {
    if localpart.eq_ignore_ascii_case(b"anonymous") {
        Some(b"anonymous")
    } else if localpart.eq_ignore_ascii_case(b"anyone") || localpart.eq_ignore_ascii_case(b"anybody") {
        Some(b"anyone")
    } else {
        None
    }
}

/// What a user id may hold: printable ASCII but for what is special in names and patterns.
/// Deviates: Cyrus takes `!`, and then keeps the INBOX of `a!b` in the domain `user.a`; and `^`, and then
/// gives `a^b` the INBOX of `a.b`.
fn is_user_byte(byte: u8) -> bool {
    (b' '..0x7F).contains(&byte) && !b"!%&*/:?^".contains(&byte)
}
