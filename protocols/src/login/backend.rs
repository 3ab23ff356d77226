//! Logging in to a backend, as far as it is the same in all protocols: as whom, by which mechanism, with TLS
//! or without.

use super::config::{BackendTls, ProxyLogin};
use crate::proxy::{Opened, ScramHash, Service};
use crate::sasl::{self, Mechanism, SaslError};
use crate::secret::Secret;
use crate::wire;

/// What keeps a login from its end. Cyrus from 3.8 on has `allowstarttls: no` where nothing is said.
const NEITHER: &str = "server offers neither a mechanism that we may use nor STARTTLS \
    (allowstarttls: yes, which Cyrus from 3.8 on must be told)";
const NO_STARTTLS: &str = "server offers no STARTTLS, which rookery_backend_starttls requires \
    (allowstarttls: yes, which Cyrus from 3.8 on must be told)";

/// As whom a connection logs in.
#[derive(Debug)]
pub enum LoginAs {
    /// As `proxy_authname`, for the user.
    Proxy {
        /// The authorization identity.
        user: Box<[u8]>,
    },
    /// With the user's own password (`sasl_pwcheck_method: backend`).
    User {
        /// The authentication identity.
        user: Box<[u8]>,
        /// His password.
        password: Secret,
    },
}

/// What a login wants after what it was told. `R` is what is known of a connection that logged in.
#[derive(Debug)]
pub enum Step<R> {
    /// More lines.
    Wait,
    /// TLS; then [`Login::secured`].
    Secure,
    /// PBKDF2; then [`Login::salted`].
    Salt {
        /// Which hash.
        hash: ScramHash,
        /// The password, prepared.
        password: Secret,
        /// The server's salt.
        salt: Box<[u8]>,
        /// The server's count.
        iterations: u32,
    },
    /// Logged in.
    Ready(R),
    /// The server refused the login.
    Refused {
        /// What it said behind its status word; without line ends.
        text: Box<[u8]>,
    },
    /// It cannot be.
    Failed(&'static str),
}

/// A login in progress on a connection that stands: one machine for each protocol.
pub trait Login {
    /// What is known of a connection that logged in.
    type Ready;

    /// Which port is connected to.
    const SERVICE: Service;

    /// Begins on a connection that stands. `nonce` is used once.
    fn new(who: LoginAs, opened: Opened, nonce: [u8; 18]) -> Self;

    /// Host part of the server's name: what its certificate must carry.
    fn host(&self) -> &str;

    /// Whether TLS is being set up by STARTTLS.
    fn is_securing(&self) -> bool;

    /// Bytes of the first thing that the server says in `input`: a line, or more where the protocol has
    /// literals.
    ///
    /// # Errors
    /// `Incomplete`, or over `limit`.
    fn extent(input: &[u8], limit: usize) -> Result<usize, wire::Error> {
        wire::line::first(input, limit).map(|line| line.len)
    }

    /// Takes what [`Login::extent`] measured. What is sent is appended to `out`.
    fn handle_line(&mut self, line: &[u8], proxy: &ProxyLogin, out: &mut Vec<u8>) -> Step<Self::Ready>;

    /// Whether a refusal of the user's own words says that they are wrong: only then is he told so.
    fn blames_password(_text: &[u8]) -> bool {
        false
    }

    /// TLS is on.
    fn secured(&mut self, out: &mut Vec<u8>) -> Step<Self::Ready>;

    /// PBKDF2 is done.
    fn salted(&mut self, salted: Secret, out: &mut Vec<u8>) -> Step<Self::Ready>;
}

/// What decides how one connection logs in.
pub struct Terms {
    who: LoginAs,
    opened: Opened,
    nonce: [u8; 18],
    secured: bool,
}

/// What comes behind the capabilities of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Nothing: the server's name says `/noauth`.
    Ready,
    /// STARTTLS.
    Starttls,
    /// This mechanism.
    Authenticate(Mechanism),
    /// It cannot be.
    Fail(&'static str),
}

impl Terms {
    /// For a connection that stands. `nonce` is used once.
    pub fn new(who: LoginAs, opened: Opened, nonce: [u8; 18]) -> Terms {
        let secured = opened.tls;
        Terms { who, opened, nonce, secured }
    }

    /// Host part of the server's name.
    pub fn host(&self) -> &str {
        &self.opened.host
    }

    /// The server's name says `/noauth`.
    pub fn is_noauth(&self) -> bool {
        self.opened.noauth
    }

    /// TLS is on.
    pub fn be_secured(&mut self) {
        self.secured = true;
    }

    /// Whether the login is the user's own.
    pub fn is_users_own(&self) -> bool {
        matches!(self.who, LoginAs::User { .. })
    }

    /// Decides what comes behind greeting or STARTTLS, by the mechanisms that the server offers.
    pub fn next<'a>(
        &self,
        offered: impl Iterator<Item = &'a [u8]>,
        offers_tls: bool,
        proxy: &ProxyLogin,
    ) -> Next {
        if self.opened.noauth {
            return Next::Ready;
        }
        let mechanism = self.mechanism(offered, proxy);
        if !self.secured && self.wants_tls(proxy, mechanism.is_none()) {
            if !offers_tls && mechanism.is_none() {
                return Next::Fail(NEITHER);
            }
            if !offers_tls && proxy.starttls == BackendTls::Required {
                return Next::Fail(NO_STARTTLS);
            }
            if offers_tls {
                return Next::Starttls;
            }
        }
        match mechanism {
            Some(mechanism) => Next::Authenticate(mechanism),
            None => Next::Fail("server offers no mechanism that we may use"),
        }
    }

    /// The client side of a mechanism.
    ///
    /// # Errors
    /// User name or password cannot be used with it.
    pub fn client(&self, mechanism: Mechanism, proxy: &ProxyLogin) -> Result<sasl::Client, SaslError> {
        sasl::Client::new(mechanism, self.credentials(proxy), self.nonce)
    }

    fn wants_tls(&self, proxy: &ProxyLogin, nothing_usable: bool) -> bool {
        let policy = match (proxy.starttls, self.is_users_own()) {
            // A user's own password is never sent in the clear where that can be helped.
            (BackendTls::WhenNeeded, true) => BackendTls::WhenOffered,
            (policy, _) => policy,
        };
        nothing_usable || policy != BackendTls::WhenNeeded
    }

    fn mechanism<'a>(
        &self,
        offered: impl Iterator<Item = &'a [u8]>,
        proxy: &ProxyLogin,
    ) -> Option<Mechanism> {
        if self.is_users_own() {
            return sasl::choose(offered, Some(&[b"PLAIN", b"LOGIN"]), self.secured);
        }
        // A mechanism without an authorization identity would log in as the proxy itself.
        let offered = offered.filter(|name| Mechanism::parse(name).is_some_and(Mechanism::carries_authzid));
        match proxy.mechanisms_for(&self.opened.host) {
            None => sasl::choose(offered, None, self.secured),
            Some(allowed) => {
                let allowed: Vec<&[u8]> = allowed.iter().map(|name| name.as_bytes()).collect();
                sasl::choose(offered, Some(&allowed), self.secured)
            }
        }
    }

    fn credentials(&self, proxy: &ProxyLogin) -> sasl::Credentials {
        match &self.who {
            LoginAs::Proxy { user } => sasl::Credentials {
                authzid: user.clone(),
                authcid: proxy.authname.clone(),
                realm: proxy.realm.clone(),
                password: proxy.password_for(&self.opened.host).clone(),
            },
            LoginAs::User { user, password } => sasl::Credentials {
                authzid: Box::default(),
                authcid: user.clone(),
                realm: None,
                password: password.clone(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(starttls: BackendTls, mechanisms: &[&[u8]], offers_tls: bool) -> Next {
        let opened = Opened { host: "be1".into(), tls: false, noauth: false };
        let terms = Terms::new(LoginAs::Proxy { user: (*b"fred").into() }, opened, [0; 18]);
        let proxy = ProxyLogin { starttls, ..ProxyLogin::default() };
        terms.next(mechanisms.iter().copied(), offers_tls, &proxy)
    }

    /// An upgrade to 3.8 takes STARTTLS away where nobody sets the option.
    #[test]
    fn server_without_starttls_is_told_apart_and_its_option_named() {
        let scram: [&[u8]; 1] = [b"SCRAM-SHA-256"];
        assert!(matches!(next(BackendTls::Required, &scram, false), Next::Fail(NO_STARTTLS)));
        assert!(matches!(next(BackendTls::Required, &[], false), Next::Fail(NEITHER)));
        assert!(matches!(next(BackendTls::WhenNeeded, &[], false), Next::Fail(NEITHER)));
        assert!(matches!(next(BackendTls::WhenOffered, &scram, false), Next::Authenticate(_)));
        assert!(matches!(next(BackendTls::Required, &scram, true), Next::Starttls));
        assert!([NO_STARTTLS, NEITHER].iter().all(|text| text.contains("allowstarttls: yes")));
    }
}
