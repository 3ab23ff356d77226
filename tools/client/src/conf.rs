//! imapd.conf, as far as it says which servers to reach and how.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ::mupdate::slave::Starttls;
use protocols::conf::server::{Server, default_port};
use protocols::conf::{ConfError, DurationUnit, Imapd};
use protocols::imap::config::{BackendTls, HostLogin, ProxyLogin};
use protocols::proxy::Service;
use protocols::sasl::Credentials;
use protocols::secret::Secret;

use crate::{Endpoint, ImapLogin, MupdateLogin, TlsSettings};

/// Where imapd.conf is when nothing else is said.
pub const IMAPD_CONF: &str = "/etc/imapd.conf";

/// `client_timeout` when it is not set.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server may be silent: a master that dumps a large list, a backend that lists one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Reads imapd.conf and what it includes.
///
/// # Errors
/// A file cannot be read, or Cyrus would refuse it.
pub fn read(path: &str) -> Result<Imapd, ConfError> {
    Imapd::load(path, |file| fs::read_to_string(file))
}

/// `servername`, else the name of this host.
pub fn servername(imapd: &Imapd) -> Box<str> {
    let host = || rustix::system::uname().nodename().to_string_lossy().into();
    imapd.text("servername").map_or_else(host, Box::from)
}

/// The MUPDATE master of `mupdate_server` and how to log in there; `None` without one.
///
/// # Errors
/// A value that makes no sense.
pub fn master(imapd: &Imapd) -> Result<Option<(Endpoint, MupdateLogin)>, ConfError> {
    let Some(server) = imapd.value("mupdate_server") else { return Ok(None) };
    let parsed = Server::parse(&server.text).map_err(|error| server.error(error.to_string()))?;
    let endpoint = endpoint(imapd, &server.text, parsed.host(), Service::Mupdate)?;
    Ok(Some((endpoint, mupdate_login(imapd, parsed.host())?)))
}

/// How to log in at a MUPDATE server of this host name.
///
/// # Errors
/// A value that makes no sense.
pub fn mupdate_login(imapd: &Imapd, host: &str) -> Result<MupdateLogin, ConfError> {
    let text = |key| imapd.text(key).unwrap_or_default().as_bytes().into();
    let credentials = Credentials {
        authzid: text("mupdate_username"),
        authcid: text("mupdate_authname"),
        realm: imapd.text("mupdate_realm").map(|realm| realm.as_bytes().into()),
        password: secret(imapd, "mupdate_password").unwrap_or_default(),
    };
    let own = format!("{}_mechs", short(host));
    let mechanisms = words(imapd, &own).or_else(|| words(imapd, "force_sasl_client_mech"));
    Ok(MupdateLogin { credentials, mechanisms, starttls: starttls(imapd)? })
}

/// A server of the mailbox list, reached by IMAP, and how to log in there as `proxy_authname`.
///
/// # Errors
/// A value that makes no sense.
pub fn backend(imapd: &Imapd, server: &str) -> Result<(Endpoint, ImapLogin), ConfError> {
    let host = Server::parse(server).map(|server| server.host().to_owned()).unwrap_or_default();
    let endpoint = endpoint(imapd, server, &host, Service::Imap)?;
    let starttls = [
        ("needed", BackendTls::WhenNeeded),
        ("offered", BackendTls::WhenOffered),
        ("required", BackendTls::Required),
    ];
    let own = HostLogin {
        host: short(&host).into(),
        password: secret(imapd, &format!("{}_password", short(&host))),
        mechanisms: words(imapd, &format!("{}_mechs", short(&host))).map(Vec::into_boxed_slice),
    };
    let proxy = ProxyLogin {
        authname: imapd.text("proxy_authname").unwrap_or("proxy").as_bytes().into(),
        realm: imapd.text("proxy_realm").map(|realm| realm.as_bytes().into()),
        password: secret(imapd, "proxy_password").unwrap_or_default(),
        mechanisms: words(imapd, "force_sasl_client_mech").map(Vec::into_boxed_slice),
        hosts: Box::new([own]),
        starttls: imapd.choice("rookery_backend_starttls", &starttls, BackendTls::WhenNeeded)?,
        send_id: false,
        compress: false,
    };
    Ok((endpoint, ImapLogin { proxy, authzid: Box::default() }))
}

/// A server of this service with the deadlines and the TLS options of the configuration.
///
/// # Errors
/// A value that makes no sense.
pub fn endpoint(imapd: &Imapd, server: &str, host: &str, service: Service) -> Result<Endpoint, ConfError> {
    Ok(Endpoint {
        server: server.into(),
        default_port: default_port(service),
        tls: tls(imapd, host),
        login_timeout: imapd.duration("client_timeout", DurationUnit::Seconds, LOGIN_TIMEOUT)?,
        answer_timeout: ANSWER_TIMEOUT,
    })
}

fn tls(imapd: &Imapd, host: &str) -> TlsSettings {
    let path = |key: &str| imapd.text(key).filter(|path| *path != "disabled").map(PathBuf::from);
    let pair = |certificate: &str, key: &str| {
        path(certificate).map(|certificate| (certificate.clone(), path(key).unwrap_or(certificate)))
    };
    let own = pair(&format!("{}_client_cert", short(host)), &format!("{}_client_key", short(host)));
    // Who names authorities for clients only has them for servers too.
    let has_own = ["tls_server_ca_file", "tls_server_ca_dir"].iter().any(|key| imapd.value(key).is_some());
    let authorities = if has_own { "tls_server_ca" } else { "tls_client_ca" };
    TlsSettings {
        ca_file: path(&format!("{authorities}_file")),
        ca_dir: path(&format!("{authorities}_dir")),
        certificate: own.or_else(|| pair("tls_client_cert", "tls_client_key")),
        versions: imapd.list("tls_versions").into_iter().map(Box::from).collect(),
        tolerated: None,
    }
}

/// `rookery_mupdate_starttls`; by default `needed` if an authority to check the server with is
/// configured.
fn starttls(imapd: &Imapd) -> Result<Starttls, ConfError> {
    let choices = [
        ("never", Starttls::Never),
        ("needed", Starttls::WhenNeeded),
        ("offered", Starttls::Offered),
        ("required", Starttls::Required),
    ];
    let authorities = ["tls_server_ca_file", "tls_server_ca_dir", "tls_client_ca_file", "tls_client_ca_dir"];
    let can_check = authorities.iter().any(|key| imapd.value(key).is_some());
    let default = if can_check { Starttls::WhenNeeded } else { Starttls::Never };
    imapd.choice("rookery_mupdate_starttls", &choices, default)
}

fn secret(imapd: &Imapd, key: &str) -> Option<Secret> {
    imapd.text(key).map(|text| Secret::new(text.as_bytes()))
}

fn words(imapd: &Imapd, key: &str) -> Option<Vec<Box<str>>> {
    imapd.text(key).map(|text| text.split_ascii_whitespace().map(Box::from).collect())
}

/// The host name up to its first dot, as it stands in `HOST_` options.
fn short(host: &str) -> &str {
    host.split('.').next().unwrap_or(host)
}
