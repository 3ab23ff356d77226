//! The options of an IMAP service.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use protocols::conf::{ConfError, DurationUnit, Imapd, options};
use protocols::imap::config::{
    Autocreate, BackendTls, COMPRESSED_MAX, CapabilityPolicy, CommandPolicy, Config, HostLogin, Limits,
    LoginPolicy, ProxyLogin, ServerInfo, ServerSelection, Timeouts,
};
use protocols::login::config::Common;
use protocols::login::waiting::SILENT_MAX;
use protocols::places::Places;
use protocols::sasl::{Mechanism, Offer};
use protocols::seats::{SeatLimits, Seats};
use protocols::secret::Secret;

use crate::bulletin::BULLETIN;

use super::{ProcessSecret, namespace, wrong};

/// The least `timeout` (RFC 9051 section 5.4: "MUST be of at least 30 minutes' duration").
const TIMEOUT_MIN: Duration = Duration::from_secs(30 * 60);

/// Iterations that are claimed for users who do not exist: what SCRAM passwords usually have.
pub(super) const FAKE_ITERATIONS: u32 = 4096;

/// One process has one memory, however often its configuration is read.
static COMPRESSION: LazyLock<Places> = LazyLock::new(|| Places::new(COMPRESSED_MAX));

/// As little does a session end when the configuration is read.
static SEATS: LazyLock<Seats> = LazyLock::new(Seats::default);

/// Reads the configuration of the IMAP sessions of one service; `imapd` is that service's view.
pub(crate) fn config(
    imapd: &Imapd,
    file: &str,
    tls_offered: bool,
    secret: &ProcessSecret,
) -> Result<Config, ConfError> {
    let default = Config::default();
    let namespace = Arc::new(namespace(imapd, file)?);
    let limit = imapd.size("maxmessagesize", 1, 0)?;
    let append_limit = u64::try_from(limit).ok().filter(|bytes| *bytes > 0);
    Ok(Config {
        servername: servername(imapd),
        version: default.version.clone(),
        server_info: server_info(imapd)?,
        id_response: imapd.switch("imapidresponse", true)?,
        acl: namespace::policy(imapd, &namespace)?,
        admins: admins(imapd),
        login: login(imapd, file, tls_offered, secret)?,
        proxy: proxy(imapd)?,
        capabilities: CapabilityPolicy {
            suppressed: words(imapd, "suppress_capabilities"),
            mupdate_server: imapd.text("mupdate_server").map(Box::from),
            referrals: !imapd.switch("proxyd_disable_mailbox_referrals", false)?,
            append_limit,
        },
        commands: commands(imapd)?,
        serverlist: words(imapd, "serverlist"),
        serverlist_select: selection(imapd)?,
        serverlist_soft_usage_limit: soft_limit(imapd, file)?,
        autocreate: autocreate(imapd)?,
        timeouts: timeouts(imapd)?,
        limits: Limits { append_bytes_max: append_limit },
        compression: COMPRESSION.clone(),
        service: "imap".into(),
        bulletin: BULLETIN.clone(),
        seats: SEATS.clone(),
        seat_limits: seat_limits(imapd, file)?,
        logfmt: imapd.switch("rookery_logfmt", default.logfmt)?,
        namespace,
    })
}

fn seat_limits(imapd: &Imapd, file: &str) -> Result<SeatLimits, ConfError> {
    Ok(SeatLimits {
        per_user: count(imapd, file, "maxlogins_per_user")?,
        per_host: count(imapd, file, "maxlogins_per_host")?,
    })
}

/// A number of things; 0 is no limit.
fn count(imapd: &Imapd, file: &str, key: &str) -> Result<u32, ConfError> {
    u32::try_from(imapd.integer(key, 0)?).map_err(|_| wrong(imapd, file, key, "expected a number from 0 on"))
}

/// `servername`, else the name of this host.
pub(super) fn servername(imapd: &Imapd) -> Box<str> {
    let host = || rustix::system::uname().nodename().to_string_lossy().into();
    imapd.text("servername").map_or_else(host, Box::from)
}

/// What all protocols beside IMAP are configured with alike.
pub(crate) fn common(
    imapd: &Imapd,
    file: &str,
    tls_offered: bool,
    secret: &ProcessSecret,
) -> Result<Common, ConfError> {
    let default = Common::default();
    let namespace = Arc::new(namespace(imapd, file)?);
    Ok(Common {
        service: default.service.clone(),
        bulletin: BULLETIN.clone(),
        seats: SEATS.clone(),
        seat_limits: seat_limits(imapd, file)?,
        servername: servername(imapd),
        version: default.version.clone(),
        server_info: server_info(imapd)?,
        acl: namespace::policy(imapd, &namespace)?,
        admins: admins(imapd),
        login: login(imapd, file, tls_offered, secret)?,
        proxy: proxy(imapd)?,
        serverlist: words(imapd, "serverlist"),
        backend_login: imapd.duration("client_timeout", DurationUnit::Seconds, default.backend_login)?,
        moving: imapd
            .duration("rookery_move_timeout", DurationUnit::Seconds, default.moving)?
            .min(SILENT_MAX),
        slow_command: slow_command(imapd)?,
        namespace,
    })
}

fn server_info(imapd: &Imapd) -> Result<ServerInfo, ConfError> {
    let choices = [("on", ServerInfo::On), ("min", ServerInfo::Min), ("off", ServerInfo::Off)];
    imapd.choice("serverinfo", &choices, ServerInfo::On)
}

fn admins(imapd: &Imapd) -> Box<[Box<[u8]>]> {
    imapd.list("admins").into_iter().map(|admin| admin.as_bytes().into()).collect()
}

fn words(imapd: &Imapd, key: &str) -> Box<[Box<str>]> {
    imapd.list(key).into_iter().map(Box::from).collect()
}

pub(super) fn login(
    imapd: &Imapd,
    file: &str,
    tls_offered: bool,
    secret: &ProcessSecret,
) -> Result<LoginPolicy, ConfError> {
    Ok(LoginPolicy {
        plaintext_allowed: imapd.switch("allowplaintext", false)?,
        // A release of Cyrus that has the option is silent without it; one that has not offers
        // STARTTLS whenever there is a certificate, which is what somebody with one expects.
        starttls: tls_offered && imapd.switch("allowstarttls", true)?,
        offer: Offer {
            mechanisms: mechanisms(imapd, file)?,
            external: None,
            fake_salt_secret: secret.0.clone(),
            fake_iterations: FAKE_ITERATIONS,
        },
        use_acl: imapd.switch("loginuseacl", false)?,
        realms: words(imapd, "loginrealms"),
        groups: imapd.text("auth_mech").is_none_or(|mech| mech == "unix")
            && imapd.switch("unix_group_enable", true)?,
        failed_pause: imapd.duration("failedloginpause", DurationUnit::Seconds, Duration::from_secs(3))?,
    })
}

/// Those of `sasl_mech_list` that there are; without it PLAIN and LOGIN. SCRAM only where passwords
/// come from a file, the one source that can have its keys.
fn mechanisms(imapd: &Imapd, file: &str) -> Result<Vec<Mechanism>, ConfError> {
    let method = imapd.list("sasl_pwcheck_method");
    let first = method.iter().find(|method| ["saslauthd", "backend", "passwd_file"].contains(method));
    let has_scram = first == Some(&"passwd_file");
    let listed = imapd.list("sasl_mech_list");
    let mut mechanisms: Vec<Mechanism> = match listed.as_slice() {
        [] => vec![Mechanism::Plain, Mechanism::Login],
        listed => listed.iter().filter_map(|name| Mechanism::parse(name.as_bytes())).collect(),
    };
    mechanisms.retain(|mechanism| match mechanism {
        Mechanism::Plain | Mechanism::Login => true,
        Mechanism::ScramSha256 | Mechanism::ScramSha1 => has_scram,
        // No layer tells who a client is yet; its certificate is checked, not believed for a login.
        Mechanism::External => false,
    });
    if mechanisms.is_empty() {
        return Err(wrong(
            imapd,
            file,
            "sasl_mech_list",
            "expected PLAIN or LOGIN (SCRAM needs passwd_file)",
        ));
    }
    Ok(mechanisms)
}

pub(super) fn proxy(imapd: &Imapd) -> Result<ProxyLogin, ConfError> {
    let starttls = [
        ("needed", BackendTls::WhenNeeded),
        ("offered", BackendTls::WhenOffered),
        ("required", BackendTls::Required),
    ];
    let secret = |text: &str| Secret::new(text.as_bytes());
    let forced = imapd.value("force_sasl_client_mech").map(|_| words(imapd, "force_sasl_client_mech"));
    Ok(ProxyLogin {
        authname: imapd.text("proxy_authname").unwrap_or("proxy").as_bytes().into(),
        realm: imapd.text("proxy_realm").map(|realm| realm.as_bytes().into()),
        password: imapd.text("proxy_password").map(secret).unwrap_or_default(),
        mechanisms: forced,
        hosts: hosts(imapd),
        starttls: imapd.choice("rookery_backend_starttls", &starttls, BackendTls::WhenNeeded)?,
        send_id: imapd.switch("rookery_send_id", true)?,
        compress: imapd.switch("proxy_compress", false)?,
    })
}

/// `HOST_password` and `HOST_mechs`: keys of that form which are no option of their own.
fn hosts(imapd: &Imapd) -> Box<[HostLogin]> {
    let mut hosts: BTreeMap<&str, HostLogin> = BTreeMap::new();
    for (key, value) in imapd.iter() {
        let is_option = options::known(key).is_some() || options::service_option(key).is_some();
        let Some((host, what)) = key.rsplit_once('_').filter(|_| !is_option) else { continue };
        if !matches!(what, "password" | "mechs") {
            continue;
        }
        let login = hosts.entry(host).or_insert_with(|| HostLogin {
            host: host.into(),
            password: None,
            mechanisms: None,
        });
        match what {
            "password" => login.password = Some(Secret::new(value.text.as_bytes())),
            _ => login.mechanisms = Some(value.text.split_ascii_whitespace().map(Box::from).collect()),
        }
    }
    hosts.into_values().collect()
}

fn commands(imapd: &Imapd) -> Result<CommandPolicy, ConfError> {
    let default = CommandPolicy::default();
    Ok(CommandPolicy {
        setacl_allowed: imapd.switch("allowsetacl", default.setacl_allowed)?,
        subscribe_all: imapd.switch("allowallsubscribe", default.subscribe_all)?,
        idle: !imapd.duration("imapidlepoll", DurationUnit::Seconds, Duration::from_secs(60))?.is_zero(),
        read_only: imapd.switch("readonly", default.read_only)?,
        deleted_allowed: imapd.switch("allowdeleted", default.deleted_allowed)?,
        fool_stupid_clients: imapd.switch("foolstupidclients", default.fool_stupid_clients)?,
        ignore_reference: imapd.switch("ignorereference", default.ignore_reference)?,
        xfer_shared: imapd.switch("rookery_xfer_shared", default.xfer_shared)?,
        disconnect_on_vanished: imapd
            .switch("disconnect_on_vanished_mailbox", default.disconnect_on_vanished)?,
        status_referral: imapd.switch("proxyd_allow_status_referral", default.status_referral)?,
        special_use_always: imapd.switch("specialusealways", default.special_use_always)?,
    })
}

fn selection(imapd: &Imapd) -> Result<ServerSelection, ConfError> {
    let modes = [
        ("random", ServerSelection::Random),
        ("freespace-most", ServerSelection::FreespaceMost),
        ("freespace-percent-most", ServerSelection::FreespacePercentMost),
        ("freespace-percent-weighted", ServerSelection::FreespacePercentWeighted),
        ("freespace-percent-weighted-delta", ServerSelection::FreespacePercentWeightedDelta),
    ];
    imapd.choice("serverlist_select_mode", &modes, ServerSelection::FreespaceMost)
}

/// A quota of -1, the default, is none at all, and then nobody gets a home.
fn autocreate(imapd: &Imapd) -> Result<Autocreate, ConfError> {
    let default = Autocreate::default();
    let folders = |key| -> Box<[Box<[u8]>]> {
        let names = imapd.text(key).unwrap_or_default().split('|').map(str::trim);
        names.filter(|name| !name.is_empty()).map(|name| name.as_bytes().into()).collect()
    };
    let users: Box<[Box<[u8]>]> =
        imapd.list("autocreate_users").into_iter().map(|user| user.as_bytes().into()).collect();
    Ok(Autocreate {
        quota_kib: u64::try_from(imapd.size("autocreate_quota", 1024, -1)?).ok().map(|bytes| bytes / 1024),
        quota_messages: u64::try_from(imapd.integer("autocreate_quota_messages", -1)?).unwrap_or(0),
        users: if users.is_empty() { default.users } else { users },
        folders: folders("autocreate_inbox_folders"),
        subscribed: folders("autocreate_subscribe_folders"),
    })
}

fn soft_limit(imapd: &Imapd, file: &str) -> Result<u8, ConfError> {
    let key = "serverlist_select_soft_usage_limit";
    let percent = u8::try_from(imapd.integer(key, 0)?).ok().filter(|percent| *percent <= 100);
    percent.ok_or_else(|| wrong(imapd, file, key, "expected 0 to 100"))
}

fn timeouts(imapd: &Imapd) -> Result<Timeouts, ConfError> {
    let default = Timeouts::default();
    let client = imapd.duration("timeout", DurationUnit::Minutes, default.client)?.max(TIMEOUT_MIN);
    Ok(Timeouts {
        client,
        idle: match imapd.duration("imapidletimeout", DurationUnit::Minutes, Duration::ZERO)? {
            Duration::ZERO => client,
            idle => idle,
        },
        login: default.login,
        backend_login: imapd.duration("client_timeout", DurationUnit::Seconds, default.backend_login)?,
        idle_poll: imapd.duration("imapidlepoll", DurationUnit::Seconds, Duration::from_secs(60))?,
        backend_idle: default.backend_idle,
        command: imapd.duration("rookery_command_timeout", DurationUnit::Seconds, default.command)?,
        fan_out: imapd.duration("rookery_fan_out_timeout", DurationUnit::Seconds, default.fan_out)?,
        rejoin: imapd.duration("rookery_reconnect_timeout", DurationUnit::Seconds, default.rejoin)?,
        moving: imapd.duration("rookery_move_timeout", DurationUnit::Seconds, default.moving)?,
        slow_command: slow_command(imapd)?,
    })
}

pub(super) fn slow_command(imapd: &Imapd) -> Result<Option<Duration>, ConfError> {
    let slow = imapd.duration("rookery_slow_command", DurationUnit::Seconds, Duration::ZERO)?;
    Ok((slow > Duration::ZERO).then_some(slow))
}
