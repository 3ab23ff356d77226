//! Configurations, as the options of a scene say.

use std::sync::Arc;

use protocols::bulletin::Bulletin;
use protocols::imap::Config;
use protocols::imap::config::ServerSelection;
use protocols::login::config::Common;
use protocols::mailbox::Namespace;
use protocols::mailbox::names::VirtDomains;
use protocols::places::Places;
use protocols::seats::{SeatLimits, Seats};

pub(crate) fn config() -> Config {
    let namespace = Namespace { separator: b'.', alt: false, ..Namespace::default() };
    let mut config = Config {
        servername: "frontend".into(),
        version: "0".into(),
        namespace: Arc::new(namespace),
        admins: [Box::from(&b"cyrus"[..])].into(),
        ..Config::default()
    };
    config.login.plaintext_allowed = true;
    config.proxy.send_id = false;
    config.proxy.password = protocols::secret::Secret::new(*b"secret");
    config.proxy.authname = (*b"mailproxy").into();
    config
}

/// What is configured of the other protocols.
pub(crate) fn common(bulletin: &Bulletin) -> Common {
    let imap = config();
    Common {
        bulletin: bulletin.clone(),
        servername: imap.servername,
        version: imap.version,
        namespace: imap.namespace,
        admins: imap.admins,
        login: imap.login,
        proxy: imap.proxy,
        ..Common::default()
    }
}

pub(crate) fn configure_common(common: &mut Common, option: &str) {
    let (name, value) = option.split_once(' ').unwrap_or((option, ""));
    match name {
        "plaintext-forbidden" => common.login.plaintext_allowed = false,
        "starttls" => common.login.starttls = true,
        "loginuseacl" => common.login.use_acl = true,
        "maxlogins" => common.seat_limits = limits(value, &common.seats, &common.service),
        "serverlist" => common.serverlist = value.split(' ').map(Box::from).collect(),
        "groups" => common.login.groups = true,
        "scram" => common.login.offer.mechanisms.push(protocols::sasl::Mechanism::ScramSha256),
        "virtdomains" => {
            let mut namespace = (*common.namespace).clone();
            namespace.virtdomains = if value == "on" { VirtDomains::On } else { VirtDomains::UserId };
            common.namespace = Arc::new(namespace);
        }
        _ => panic!("unknown option {name}"),
    }
}

pub(crate) fn configure(config: &mut Config, option: &str) {
    let (name, value) = option.split_once(' ').unwrap_or((option, ""));
    match name {
        "plaintext-forbidden" => config.login.plaintext_allowed = false,
        "starttls" => config.login.starttls = true,
        "send-id" => config.proxy.send_id = true,
        "loginuseacl" => config.login.use_acl = true,
        "serverlist" => {
            config.serverlist_select = ServerSelection::Random;
            config.serverlist = value.split(' ').map(Box::from).collect();
        }
        "maxmessagesize" => config.limits.append_bytes_max = value.parse().ok(),
        "readonly" => config.commands.read_only = true,
        "scram" => {
            config.login.offer.mechanisms.push(protocols::sasl::Mechanism::ScramSha256);
        }
        "virtdomains" => {
            let mut namespace = (*config.namespace).clone();
            namespace.virtdomains = if value == "on" { VirtDomains::On } else { VirtDomains::UserId };
            config.namespace = Arc::new(namespace);
        }
        "imapmagicplus" => {
            let mut namespace = (*config.namespace).clone();
            namespace.imapmagicplus = true;
            config.namespace = Arc::new(namespace);
        }
        "select" => {
            config.serverlist_select = match value {
                "freespace-most" => ServerSelection::FreespaceMost,
                "freespace-percent-most" => ServerSelection::FreespacePercentMost,
                _ => ServerSelection::Random,
            }
        }
        "motd" | "shutdown" | "traced" => {
            let mut notices = (*config.bulletin.notices()).clone();
            match name {
                "motd" => notices.motd = Some(value.into()),
                "shutdown" => notices.shutdown = Some(value.into()),
                _ => notices.traced = [value.as_bytes().into()].into(),
            }
            config.bulletin.post(notices);
        }
        "maxlogins" => {
            config.seat_limits = limits(value, &config.seats, &config.service);
        }
        "logfmt" => config.logfmt = true,
        "suppress" => config.capabilities.suppressed = value.split(' ').map(Box::from).collect(),
        "mailbox-referrals" => config.capabilities.referrals = true,
        "status-referral" => config.commands.status_referral = true,
        "proxy-compress" => config.proxy.compress = true,
        "compressed-max" => config.compression = Places::new(value.parse().unwrap()),
        "xfer-shared" => config.commands.xfer_shared = true,
        "groups" => config.login.groups = true,
        "disconnect-on-vanished" => config.commands.disconnect_on_vanished = true,
        "loginrealms" => config.login.realms = value.split(' ').map(Box::from).collect(),
        _ => panic!("unknown option {name}"),
    }
}

/// How many may log in; somebody else has.
fn limits(value: &str, seats: &Seats, service: &Arc<str>) -> SeatLimits {
    let (user, host) = value.split_once(' ').unwrap();
    let many = SeatLimits { per_user: 9, per_host: 9 };
    std::mem::forget(seats.take(service, b"user001", b"192.0.2.1", many));
    SeatLimits { per_user: user.parse().unwrap(), per_host: host.parse().unwrap() }
}
