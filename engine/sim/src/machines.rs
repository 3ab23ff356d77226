//! The machines of the simulated murder and their configuration.

use std::sync::Arc;
use std::time::Duration;

use mupdate::master::{self, Connection};
use mupdate::slave::{self, Slave, Starttls};
use protocols::imap::config::{Config, Timeouts};
use protocols::login::config::Common;
use protocols::mailbox::Namespace;
use protocols::proxy::{Origin, Session};
use protocols::sasl::{Credentials, Mechanism, Offer};
use protocols::secret::Secret;
use protocols::{pop3, sieve};

use crate::lines::Kind;
use crate::site::{ADMIN, PROXY_PASSWORD};

/// Deadlines of the frontends: shorter than what stops servers here, so that they are met.
pub(crate) const LOGIN_TIMEOUT: Duration = Duration::from_secs(3);
pub(crate) const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
pub(crate) const FAN_OUT_TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const REJOIN_TIMEOUT: Duration = Duration::from_secs(40);
pub(crate) const MOVE_TIMEOUT: Duration = Duration::from_secs(50);

/// What the frontends are configured with.
pub(crate) fn imap_config() -> Config {
    let mut config = Config { servername: "frontend".into(), ..Config::default() };
    config.namespace = Arc::new(Namespace { separator: b'.', alt: false, ..Namespace::default() });
    config.login.plaintext_allowed = true;
    config.admins = Box::new([ADMIN.as_bytes().into()]);
    config.login.failed_pause = Duration::from_millis(100);
    config.proxy.password = Secret::new(PROXY_PASSWORD.as_bytes());
    config.timeouts = Timeouts {
        backend_login: LOGIN_TIMEOUT,
        backend_idle: Duration::from_secs(5),
        command: COMMAND_TIMEOUT,
        fan_out: FAN_OUT_TIMEOUT,
        rejoin: REJOIN_TIMEOUT,
        moving: MOVE_TIMEOUT,
        ..Timeouts::default()
    };
    config
}

/// The machine of a client of POP3 or ManageSieve.
pub(crate) fn line_session(kind: Kind, origin: Origin) -> Box<dyn Session> {
    let imap = imap_config();
    let common = Common {
        servername: imap.servername,
        namespace: imap.namespace,
        login: imap.login,
        proxy: imap.proxy,
        ..Common::default()
    };
    match kind {
        Kind::Pop3 => {
            let config = pop3::Config { common, ..pop3::Config::default() };
            Box::new(pop3::Session::new(Arc::new(config), origin))
        }
        Kind::Sieve => {
            let config = sieve::Config { common, ..sieve::Config::default() };
            Box::new(sieve::Session::new(Arc::new(config), origin))
        }
    }
}

/// What the frontends' LMTP is configured with.
pub(crate) fn lmtp_config() -> protocols::lmtp::Config {
    let mut config = protocols::lmtp::Config {
        trust: protocols::lmtp::config::Trust::Everybody,
        ..protocols::lmtp::Config::default()
    };
    config.common.servername = "frontend".into();
    config.common.namespace = Arc::new(Namespace { separator: b'.', alt: false, ..Namespace::default() });
    config.common.proxy.password = Secret::new(PROXY_PASSWORD.as_bytes());
    config
}

/// The machine that follows the master.
pub(crate) fn slave(origin: &Origin) -> Box<dyn Session> {
    slave_of("master", origin)
}

/// The machine that follows a server of this name.
pub(crate) fn slave_of(server: &str, origin: &Origin) -> Box<dyn Session> {
    let config = slave::Config {
        server: server.into(),
        credentials: Credentials {
            authzid: Box::default(),
            authcid: (*b"postman").into(),
            realm: None,
            password: Secret::new(*b"pw-postman"),
        },
        mechanisms: None,
        login_timeout: Duration::from_secs(10),
        dump_timeout: Duration::from_secs(10),
        retry_delay: Duration::from_secs(2),
        starttls: Starttls::Never,
    };
    Box::new(Slave::new(config, origin))
}

/// The machine of a connection at the master.
pub(crate) fn master_connection(origin: Origin, epoch: Option<Arc<str>>) -> Box<dyn Session> {
    mupdate_connection(master::Role::Master, origin, epoch)
}

/// The machine of a connection at a master, or at a slave that is followed.
pub(crate) fn mupdate_connection(
    role: master::Role,
    origin: Origin,
    epoch: Option<Arc<str>>,
) -> Box<dyn Session> {
    let config = master::Config {
        servername: "master".into(),
        version: "0".into(),
        role,
        admins: vec![(*b"postman").into()],
        offer: Offer { mechanisms: vec![Mechanism::Plain], ..Offer::default() },
        allow_plaintext: true,
        starttls: false,
        compression: None,
        failed_login_pause: Duration::from_millis(100),
        login_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(3600),
        slow_command: None,
    };
    Box::new(Connection::new(Arc::new(config), origin, epoch))
}
