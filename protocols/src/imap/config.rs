//! What an IMAP session is configured with.
//!
//! The engine fills these structs from imapd.conf once per service and shares them; a session
//! never changes them. Option names in the comments are those of imapd.conf.

use std::sync::Arc;
use std::time::Duration;

use crate::mailbox::acl::Policy;
use crate::mailbox::{Groups, Identity, Namespace};
use crate::sasl::{self, Mechanism};
use crate::secret::Secret;

/// The configuration of all IMAP sessions of one service of a frontend.
#[derive(Clone, Debug)]
pub struct Config {
    /// `servername`: in the greeting, in session ids, and in what clients are told of this server.
    pub servername: Box<str>,
    /// Version of this program, for the greeting and ID.
    pub version: Box<str>,
    /// `serverinfo`.
    pub server_info: ServerInfo,
    /// `imapidresponse`: tell the version in ID.
    pub id_response: bool,
    /// How mailbox names look outside.
    pub namespace: Arc<Namespace>,
    /// How ACLs are read.
    pub acl: Policy,
    /// `admins`, canonical.
    pub admins: Box<[Box<[u8]>]>,
    /// Who may log in, and how.
    pub login: LoginPolicy,
    /// How this frontend logs in to backends.
    pub proxy: ProxyLogin,
    /// What CAPABILITY says.
    pub capabilities: CapabilityPolicy,
    /// How commands behave.
    pub commands: CommandPolicy,
    /// `serverlist`: servers as in the mailbox list, for new top-level mailboxes and for admins
    /// without a home.
    pub serverlist: Box<[Box<str>]>,
    /// `serverlist_select_mode`.
    pub serverlist_select: ServerSelection,
    /// `serverlist_select_soft_usage_limit`, percent; 0 is no limit.
    pub serverlist_soft_usage_limit: u8,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How large things may be.
    pub limits: Limits,
}

impl Default for Config {
    /// Cyrus' defaults; a frontend needs `servername`, `proxy.password` and namespace besides.
    fn default() -> Config {
        Config {
            servername: "localhost".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            server_info: ServerInfo::On,
            id_response: true,
            namespace: Arc::default(),
            acl: Policy::default(),
            admins: Box::default(),
            login: LoginPolicy::default(),
            proxy: ProxyLogin::default(),
            capabilities: CapabilityPolicy::default(),
            commands: CommandPolicy::default(),
            serverlist: Box::default(),
            serverlist_select: ServerSelection::FreespaceMost,
            serverlist_soft_usage_limit: 0,
            timeouts: Timeouts::default(),
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Whether a canonical user is in `admins`.
    pub fn is_admin(&self, user: &[u8]) -> bool {
        self.admins.iter().any(|admin| **admin == *user)
    }

    /// Who a user of these groups is; `admins` may name groups.
    pub fn identity(&self, user: Box<[u8]>, groups: Groups) -> Identity {
        let is_in = |admin: &[u8]| {
            admin.strip_prefix(b"group:").is_some_and(|name| groups.iter().any(|group| **group == *name))
        };
        let is_admin = self.is_admin(&user) || self.admins.iter().any(|admin| is_in(admin));
        Identity { user, is_admin, groups }
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

/// What CAPABILITY says.
#[derive(Clone, Debug, Default)]
pub struct CapabilityPolicy {
    /// `suppress_capabilities`, exact names.
    pub suppressed: Box<[Box<str>]>,
    /// `mupdate_server`, for `MUPDATE=mupdate://HOST/`.
    pub mupdate_server: Option<Box<str>>,
    /// `maxmessagesize` for `APPENDLIMIT=`; `None` is no limit of ours.
    pub append_limit: Option<u64>,
}

/// How commands behave.
#[derive(Clone, Debug)]
pub struct CommandPolicy {
    /// `allowsetacl`.
    pub setacl_allowed: bool,
    /// `allowallsubscribe`: SUBSCRIBE does not ask the list.
    pub subscribe_all: bool,
    /// IDLE is offered: `imapidlepoll` is not 0.
    pub idle: bool,
    /// `readonly`.
    pub read_only: bool,
    /// `foolstupidclients`.
    pub fool_stupid_clients: bool,
    /// `ignorereference`.
    pub ignore_reference: bool,
}

impl Default for CommandPolicy {
    fn default() -> CommandPolicy {
        CommandPolicy {
            setacl_allowed: true,
            subscribe_all: false,
            idle: true,
            read_only: false,
            fool_stupid_clients: false,
            ignore_reference: false,
        }
    }
}

/// `serverlist_select_mode`: on which server a new top-level mailbox is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServerSelection {
    /// Any.
    Random,
    /// The one with the most space.
    FreespaceMost,
    /// The one with the highest share of free space.
    FreespacePercentMost,
    /// Random, weighted by the share of free space.
    FreespacePercentWeighted,
    /// Random, weighted by what the share of free space is above the lowest.
    FreespacePercentWeightedDelta,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// `timeout`: a logged-in client that says nothing for so long gets a BYE.
    pub client: Duration,
    /// `imapidletimeout`: the same while he is in IDLE.
    pub idle: Duration,
    /// A client that has not logged in after so long gets a BYE.
    pub login: Duration,
    /// `client_timeout`: connecting to a backend and logging in there, together.
    pub backend_login: Duration,
    /// A backend connection that is neither selected nor the home is logged out after so long.
    pub backend_idle: Duration,
    /// `rookery_command_timeout`: how long a backend may think about a command that is more than a
    /// relayed line.
    pub command: Duration,
    /// `rookery_fan_out_timeout`: how long all backends together may take for what they are asked at once.
    pub fan_out: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            client: Duration::from_secs(32 * 60),
            idle: Duration::from_secs(32 * 60),
            login: Duration::from_secs(3 * 60),
            backend_login: Duration::from_secs(10),
            backend_idle: Duration::from_secs(5 * 60),
            command: Duration::from_secs(120),
            fan_out: Duration::from_secs(20),
        }
    }
}

/// How large things may be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Bytes of one literal of an APPEND (`maxmessagesize`); `None` leaves it to the backend.
    pub append_bytes_max: Option<u64>,
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

    #[test]
    fn admins_may_be_named_by_their_group() {
        let admins = [Box::from(&b"cyrus"[..]), Box::from(&b"group:wheel"[..])].into();
        let config = Config { admins, ..Config::default() };
        let groups = || Groups::from([Box::from(&b"wheel"[..])]);
        assert!(config.identity((*b"fred").into(), groups()).is_admin);
        assert!(!config.identity((*b"fred").into(), Groups::default()).is_admin);
        assert!(config.identity((*b"cyrus").into(), Groups::default()).is_admin);
    }
}
