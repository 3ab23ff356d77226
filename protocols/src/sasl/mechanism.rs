//! The mechanisms and which one to use.

use crate::proxy::ScramHash;

/// A mechanism that both sides of a frontend speak.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mechanism {
    /// SCRAM-SHA-256 (RFC 7677).
    ScramSha256,
    /// SCRAM-SHA-1 (RFC 5802).
    ScramSha1,
    /// PLAIN (RFC 4616).
    Plain,
    /// LOGIN (draft-murchison-sasl-login).
    Login,
    /// EXTERNAL (RFC 4422 appendix A).
    External,
}

impl Mechanism {
    /// All of them, the best first.
    pub const ALL: [Mechanism; 5] = [
        Mechanism::ScramSha256,
        Mechanism::ScramSha1,
        Mechanism::Plain,
        Mechanism::Login,
        Mechanism::External,
    ];

    /// The mechanism of this name, in any case.
    pub fn parse(name: &[u8]) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().find(|mechanism| mechanism.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha1 => "SCRAM-SHA-1",
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::External => "EXTERNAL",
        }
    }

    /// The hash, if it is one of the SCRAM family.
    pub fn scram_hash(self) -> Option<ScramHash> {
        match self {
            Mechanism::ScramSha256 => Some(ScramHash::Sha256),
            Mechanism::ScramSha1 => Some(ScramHash::Sha1),
            Mechanism::Plain | Mechanism::Login | Mechanism::External => None,
        }
    }

    /// Whether the password itself crosses the wire: offered to clients under TLS or with
    /// `allowplaintext` only.
    pub fn sends_password(self) -> bool {
        matches!(self, Mechanism::Plain | Mechanism::Login)
    }

    /// Whether the client may name whom it acts for. A proxy login needs that: leave the others out of
    /// what is given to [`choose`].
    pub fn carries_authzid(self) -> bool {
        self != Mechanism::Login
    }
}

/// Chooses the best mechanism that the server offers and the configuration allows (`None`: all).
/// EXTERNAL is used only when it is named in `allowed`, and under TLS, and then before all others.
pub fn choose<'a>(
    offered: impl IntoIterator<Item = &'a [u8]>,
    allowed: Option<&[&[u8]]>,
    tls: bool,
) -> Option<Mechanism> {
    let named = |mechanism: Mechanism| {
        allowed.is_some_and(|allowed| allowed.iter().any(|name| Mechanism::parse(name) == Some(mechanism)))
    };
    let usable = |mechanism: Mechanism| match mechanism {
        Mechanism::External => tls && named(mechanism),
        Mechanism::ScramSha256 | Mechanism::ScramSha1 | Mechanism::Plain | Mechanism::Login => {
            allowed.is_none() || named(mechanism)
        }
    };
    let preference = |mechanism: &Mechanism| match mechanism {
        Mechanism::External => 0,
        Mechanism::ScramSha256 => 1,
        Mechanism::ScramSha1 => 2,
        Mechanism::Plain => 3,
        Mechanism::Login => 4,
    };
    offered
        .into_iter()
        .filter_map(Mechanism::parse)
        .filter(|mechanism| usable(*mechanism))
        .min_by_key(preference)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(offered: &[&[u8]], allowed: Option<&[&[u8]]>, tls: bool) -> Option<&'static str> {
        choose(offered.iter().copied(), allowed, tls).map(Mechanism::name)
    }

    #[test]
    fn names_are_read_in_any_case() {
        for mechanism in Mechanism::ALL {
            assert_eq!(Mechanism::parse(mechanism.name().to_ascii_lowercase().as_bytes()), Some(mechanism));
        }
        assert_eq!(Mechanism::parse(b"SCRAM-SHA-256-PLUS"), None);
        assert_eq!(Mechanism::parse(b""), None);
    }

    #[test]
    fn best_mechanism_is_chosen_whatever_the_order() {
        let all: [&[u8]; 6] =
            [b"LOGIN", b"PLAIN", b"EXTERNAL", b"SCRAM-SHA-1", b"DIGEST-MD5", b"SCRAM-SHA-256"];
        assert_eq!(chosen(&all, None, false), Some("SCRAM-SHA-256"));
        assert_eq!(chosen(&all[..4], None, true), Some("SCRAM-SHA-1"));
        assert_eq!(chosen(&all[..3], None, true), Some("PLAIN"));
        assert_eq!(chosen(&all[..1], None, true), Some("LOGIN"));
        assert_eq!(chosen(&all[4..5], None, true), None);
    }

    #[test]
    fn configuration_narrows_the_choice() {
        let all: [&[u8]; 3] = [b"SCRAM-SHA-256", b"PLAIN", b"EXTERNAL"];
        assert_eq!(chosen(&all, Some(&[b"plain", b"LOGIN"]), false), Some("PLAIN"));
        assert_eq!(chosen(&all, Some(&[b"GSSAPI"]), false), None);
        assert_eq!(chosen(&all, Some(&[]), false), None);
    }

    #[test]
    fn external_is_used_only_when_asked_for_and_under_tls() {
        let all: [&[u8]; 2] = [b"PLAIN", b"EXTERNAL"];
        assert_eq!(chosen(&all, None, true), Some("PLAIN"));
        assert_eq!(chosen(&all, Some(&[b"EXTERNAL", b"PLAIN"]), true), Some("EXTERNAL"));
        assert_eq!(chosen(&all, Some(&[b"EXTERNAL", b"PLAIN"]), false), Some("PLAIN"));
    }
}
