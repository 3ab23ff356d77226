//! The part of the configuration that logins of all protocols look at: who may log in here, and how this
//! frontend logs in to backends. Option names in the comments are those of imapd.conf.

use std::sync::Arc;
use std::time::Duration;

use super::waiting::SILENT_MAX;
use crate::bulletin::Bulletin;
use crate::mailbox::Namespace;
use crate::mailbox::acl::Policy;
use crate::sasl::{self, Mechanism};
use crate::seats::{SeatLimits, Seats};
use crate::secret::Secret;

/// What sessions of POP3 and ManageSieve are configured with alike.
#[derive(Clone, Debug)]
pub struct Common {
    /// The service as in cyrus.conf: under this name its sessions log and are counted.
    pub service: Arc<str>,
    /// What operators put up: `msg/shutdown`.
    pub bulletin: Bulletin,
    /// Who has how many sessions.
    pub seats: Seats,
    /// `maxlogins_per_user`, `maxlogins_per_host`.
    pub seat_limits: SeatLimits,
    /// `servername`: in the greeting and in session ids.
    pub servername: Box<str>,
    /// Version of this program, for the greeting.
    pub version: Box<str>,
    /// `serverinfo`.
    pub server_info: ServerInfo,
    /// How user ids and mailbox names look outside.
    pub namespace: Arc<Namespace>,
    /// How ACLs are read.
    pub acl: Policy,
    /// `admins`, canonical.
    pub admins: Box<[Box<[u8]>]>,
    /// Who may log in, and how.
    pub login: LoginPolicy,
    /// How this frontend logs in to backends.
    pub proxy: ProxyLogin,
    /// `serverlist`: servers as in the mailbox list.
    pub serverlist: Box<[Box<str>]>,
    /// `client_timeout`: connecting to a backend and logging in there, together.
    pub backend_login: Duration,
    /// `rookery_move_timeout`: how long a login waits for a mailbox while the list says that it is being moved, as
    /// far as clients do ([`SILENT_MAX`]).
    pub moving: Duration,
    /// `rookery_slow_command`: a command that takes so long is logged; `None` logs none.
    pub slow_command: Option<Duration>,
}

impl Default for Common {
    /// Cyrus' defaults; a frontend needs `servername`, `proxy.password` and namespace besides.
    fn default() -> Common {
        Common {
            service: "".into(),
            bulletin: Bulletin::default(),
            seats: Seats::default(),
            seat_limits: SeatLimits::default(),
            servername: "localhost".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            server_info: ServerInfo::On,
            namespace: Arc::default(),
            acl: Policy::default(),
            admins: Box::default(),
            login: LoginPolicy::default(),
            proxy: ProxyLogin::default(),
            serverlist: Box::default(),
            backend_login: Duration::from_secs(10),
            moving: SILENT_MAX,
            slow_command: None,
        }
    }
}

impl Common {
    /// The first words of a greeting: host, product and version, as far as they are told.
    pub fn greeting(&self) -> String {
        match self.server_info {
            ServerInfo::On => format!("{} Rookery {} ", self.servername, self.version),
            ServerInfo::Min => format!("{} Rookery ", self.servername),
            ServerInfo::Off => String::new(),
        }
    }
}

/// `serverinfo`: how much the greeting tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServerInfo {
    /// Host, product and version.
    On,
    /// Host.
    Min,
    /// Nothing.
    Off,
}

/// Who may log in, and how.
#[derive(Clone, Debug)]
pub struct LoginPolicy {
    /// `allowplaintext`: LOGIN and AUTHENTICATE PLAIN without TLS.
    pub plaintext_allowed: bool,
    /// A certificate is configured and STARTTLS is allowed.
    pub starttls: bool,
    /// `sasl_mech_list`, in the order in which they are offered, and from what salts of unknown
    /// users are made.
    pub offer: sasl::Offer,
    /// `loginuseacl`: the right `a` on the INBOX of a user allows to log in as him.
    pub use_acl: bool,
    /// `failedloginpause`.
    pub failed_pause: Duration,
    /// `loginrealms`: realms of users from elsewhere, where user ids have no domain.
    pub realms: Box<[Box<str>]>,
    /// `auth_mech: unix` and `unix_group_enable`: the system's groups of a user are looked up.
    pub groups: bool,
}

impl LoginPolicy {
    /// Whether a password may come over a connection as it is; `secured` by TLS, or not.
    pub fn allows_plaintext(&self, secured: bool) -> bool {
        secured || self.plaintext_allowed
    }

    /// Whether a mechanism may be used over a connection as it is.
    pub fn allows(&self, mechanism: Mechanism, secured: bool) -> bool {
        self.offer.mechanisms.contains(&mechanism)
            && (!mechanism.sends_password() || self.allows_plaintext(secured))
    }

    /// The mechanisms that are offered over a connection as it is, in order.
    pub fn offered(&self, secured: bool) -> impl Iterator<Item = Mechanism> {
        self.offer.mechanisms.iter().copied().filter(move |mechanism| self.allows(*mechanism, secured))
    }

    /// Whether `user@realm` may log in where user ids have no domain; who names no realm may.
    pub fn takes_realm_of(&self, user: &[u8]) -> bool {
        let Some(at) = memchr::memchr(b'@', user) else { return true };
        self.realms.iter().any(|realm| realm.as_bytes().eq_ignore_ascii_case(&user[at + 1..]))
    }
}

impl Default for LoginPolicy {
    fn default() -> LoginPolicy {
        LoginPolicy {
            plaintext_allowed: false,
            starttls: false,
            offer: sasl::Offer {
                mechanisms: vec![Mechanism::Plain, Mechanism::Login],
                ..sasl::Offer::default()
            },
            use_acl: false,
            failed_pause: Duration::from_secs(3),
            realms: Box::default(),
            groups: false,
        }
    }
}

/// How this frontend logs in to backends.
#[derive(Clone, Debug)]
pub struct ProxyLogin {
    /// `proxy_authname`.
    pub authname: Box<[u8]>,
    /// `proxy_realm`.
    pub realm: Option<Box<[u8]>>,
    /// `proxy_password`.
    pub password: Secret,
    /// `force_sasl_client_mech`; `None` is any.
    pub mechanisms: Option<Box<[Box<str>]>>,
    /// `HOST_password` and `HOST_mechs`.
    pub hosts: Box<[HostLogin]>,
    /// When STARTTLS is used towards backends that offer it.
    pub starttls: BackendTls,
    /// Tell backends the client's address and the session id by ID.
    pub send_id: bool,
    /// `proxy_compress`: backends that offer COMPRESS are asked for it (IMAP).
    pub compress: bool,
}

impl Default for ProxyLogin {
    fn default() -> ProxyLogin {
        ProxyLogin {
            authname: (*b"proxy").into(),
            realm: None,
            password: Secret::default(),
            mechanisms: None,
            hosts: Box::default(),
            starttls: BackendTls::WhenNeeded,
            send_id: true,
            compress: false,
        }
    }
}

impl ProxyLogin {
    /// The password for a host: `HOST_password`, where HOST is the name up to the first dot, else
    /// `proxy_password`.
    pub fn password_for(&self, host: &str) -> &Secret {
        self.host(host).and_then(|login| login.password.as_ref()).unwrap_or(&self.password)
    }

    /// The mechanisms allowed for a host: `HOST_mechs`, else `force_sasl_client_mech`; `None` is
    /// any.
    pub fn mechanisms_for(&self, host: &str) -> Option<&[Box<str>]> {
        let own = self.host(host).and_then(|login| login.mechanisms.as_deref());
        own.or(self.mechanisms.as_deref())
    }

    fn host(&self, host: &str) -> Option<&HostLogin> {
        let short = host.split('.').next().unwrap_or(host);
        self.hosts.iter().find(|login| login.host.eq_ignore_ascii_case(short))
    }
}

/// What is special about the login at one backend.
#[derive(Clone, Debug)]
pub struct HostLogin {
    /// Host name up to its first dot.
    pub host: Box<str>,
    /// `HOST_password`.
    pub password: Option<Secret>,
    /// `HOST_mechs`.
    pub mechanisms: Option<Box<[Box<str>]>>,
}

/// When a backend connection is secured by STARTTLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackendTls {
    /// As Cyrus does: when no usable mechanism is offered without.
    WhenNeeded,
    /// Whenever it is offered.
    WhenOffered,
    /// Always; a backend that does not offer it is not used.
    Required,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_of_a_host_is_found_by_its_short_name() {
        let own = HostLogin { host: "be1".into(), password: Some(Secret::new(*b"own")), mechanisms: None };
        let proxy = ProxyLogin {
            password: Secret::new(*b"common"),
            mechanisms: Some([Box::from("PLAIN")].into()),
            hosts: [own].into(),
            ..ProxyLogin::default()
        };
        assert_eq!(proxy.password_for("be1.example.com").expose(), b"own");
        assert_eq!(proxy.password_for("be2.example.com").expose(), b"common");
        assert_eq!(proxy.mechanisms_for("be1").map(<[_]>::len), Some(1));
    }

    #[test]
    fn realms_are_asked_for_where_a_user_names_one() {
        let policy = LoginPolicy { realms: ["example.org".into()].into(), ..LoginPolicy::default() };
        assert!(policy.takes_realm_of(b"fred") && policy.takes_realm_of(b"fred@EXAMPLE.org"));
        assert!(!policy.takes_realm_of(b"fred@example.com"));
    }
}
