//! What an IMAP session is configured with.
//!
//! The engine fills these structs from imapd.conf once per service and shares them; a session
//! never changes them. Option names in the comments are those of imapd.conf.

use std::sync::Arc;
use std::time::Duration;

use crate::bulletin::Bulletin;
use crate::login::rules::Rules;
use crate::mailbox::Namespace;
use crate::mailbox::acl::Policy;
use crate::places::Places;
use crate::seats::{SeatLimits, Seats};

pub use crate::login::config::{BackendTls, HostLogin, LoginPolicy, ProxyLogin, ServerInfo};

/// Connections of one process that may be compressed at a time; each keeps about 420 KiB.
pub const COMPRESSED_MAX: usize = 256;

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
    /// Users without a home get one.
    pub autocreate: Autocreate,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How large things may be.
    pub limits: Limits,
    /// What the connections of the process may have that are compressed.
    pub compression: Places,
    /// The service as in cyrus.conf.
    pub service: Arc<str>,
    /// What the operator puts up.
    pub bulletin: Bulletin,
    /// Who has how many sessions.
    pub seats: Seats,
    /// `maxlogins_per_user`, `maxlogins_per_host`.
    pub seat_limits: SeatLimits,
    /// `rookery_logfmt`: logins are logged as upstream's newer releases do, too.
    pub logfmt: bool,
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
            autocreate: Autocreate::default(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            compression: Places::new(COMPRESSED_MAX),
            service: "imap".into(),
            bulletin: Bulletin::default(),
            seats: Seats::default(),
            seat_limits: SeatLimits::default(),
            logfmt: false,
        }
    }
}

impl Config {
    /// What a login is decided by, for users of `domain` where they name none.
    pub(super) fn rules<'a>(&'a self, domain: Option<&'a str>) -> Rules<'a> {
        Rules {
            service: "imap",
            namespace: &self.namespace,
            acl: &self.acl,
            admins: &self.admins,
            login: &self.login,
            serverlist: &self.serverlist,
            domain,
            subfolders: false,
        }
    }
}

/// What CAPABILITY says.
#[derive(Clone, Debug, Default)]
pub struct CapabilityPolicy {
    /// `suppress_capabilities`, exact names.
    pub suppressed: Box<[Box<str>]>,
    /// `mupdate_server`, for `MUPDATE=mupdate://HOST/`.
    pub mupdate_server: Option<Box<str>>,
    /// MAILBOX-REFERRALS: not `proxyd_disable_mailbox_referrals`.
    pub referrals: bool,
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
    /// `allowdeleted`: LIST (VENDOR.CMU-INCLUDE-DELETED) shows users what delayed deletion kept.
    pub deleted_allowed: bool,
    /// `foolstupidclients`.
    pub fool_stupid_clients: bool,
    /// `ignorereference`.
    pub ignore_reference: bool,
    /// `rookery_xfer_shared`: a mailbox that is no user's is moved away from a server that may abort.
    pub xfer_shared: bool,
    /// `disconnect_on_vanished_mailbox`: BYE, not EXPUNGE of all messages, when the selected mailbox is no
    /// more.
    pub disconnect_on_vanished: bool,
    /// `proxyd_allow_status_referral`.
    pub status_referral: bool,
    /// `specialusealways`: special uses are told in every LIST.
    pub special_use_always: bool,
}

impl Default for CommandPolicy {
    fn default() -> CommandPolicy {
        CommandPolicy {
            setacl_allowed: true,
            subscribe_all: false,
            idle: true,
            read_only: false,
            deleted_allowed: false,
            fool_stupid_clients: false,
            ignore_reference: false,
            xfer_shared: false,
            disconnect_on_vanished: false,
            status_referral: false,
            special_use_always: true,
        }
    }
}

/// What a user without a home gets when he logs in.
#[derive(Clone, Debug)]
pub struct Autocreate {
    /// `autocreate_quota`, KiB: 0 is no limit, `None` is no home.
    pub quota_kib: Option<u64>,
    /// `autocreate_quota_messages`; 0 is no limit.
    pub quota_messages: u64,
    /// `autocreate_users`: user ids, `group:NAME`, or `anyone`.
    pub users: Box<[Box<[u8]>]>,
    /// `autocreate_inbox_folders`, as the user would name them below his INBOX.
    pub folders: Box<[Box<[u8]>]>,
    /// `autocreate_subscribe_folders`.
    pub subscribed: Box<[Box<[u8]>]>,
}

impl Default for Autocreate {
    fn default() -> Autocreate {
        Autocreate {
            quota_kib: None,
            quota_messages: 0,
            users: [(*b"anyone").into()].into(),
            folders: Box::default(),
            subscribed: Box::default(),
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
    /// `imapidlepoll`: how often a server without IDLE is asked for news meanwhile.
    pub idle_poll: Duration,
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
    /// `rookery_reconnect_timeout`: how long a client waits for a selected mailbox whose server restarts
    /// or which is being moved.
    pub rejoin: Duration,
    /// `rookery_move_timeout`: how long a client waits for a mailbox while the list says that it is being
    /// moved.
    pub moving: Duration,
    /// `rookery_slow_command`: a command that takes so long is logged; `None` logs none.
    pub slow_command: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            client: Duration::from_secs(32 * 60),
            idle: Duration::from_secs(32 * 60),
            idle_poll: Duration::from_secs(60),
            login: Duration::from_secs(3 * 60),
            backend_login: Duration::from_secs(10),
            backend_idle: Duration::from_secs(5 * 60),
            command: Duration::from_secs(120),
            fan_out: Duration::from_secs(20),
            rejoin: Duration::from_secs(120),
            moving: Duration::from_secs(15 * 60),
            slow_command: None,
        }
    }
}

/// How large things may be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Bytes of one literal of an APPEND (`maxmessagesize`); `None` leaves it to the backend.
    pub append_bytes_max: Option<u64>,
}
