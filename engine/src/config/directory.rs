//! The options of the MUPDATE slave.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mupdate::directory::Config;
use mupdate::slave::Starttls;
use protocols::conf::server::Server;
use protocols::conf::{ConfError, DurationUnit, Imapd};
use protocols::secret::Secret;

use super::{missing, wrong};

/// Where the list comes from and where its copy lies.
#[derive(Clone, Debug)]
pub struct Directory {
    /// `mupdate_server`, as it stands.
    pub server: Box<str>,
    /// `mupdate_authname`.
    pub authname: Box<[u8]>,
    /// `mupdate_username`: the authorisation id.
    pub username: Box<[u8]>,
    /// `mupdate_realm`.
    pub realm: Option<Box<[u8]>>,
    /// `mupdate_password`.
    pub password: Secret,
    /// `force_sasl_client_mech`; `None` is any.
    pub mechanisms: Option<Vec<Box<str>>>,
    /// `rookery_mupdate_starttls`: `never`, `needed`, `offered` or `required`; by default `needed` if
    /// an authority to check the master with is configured.
    pub starttls: Starttls,
    /// `mupdate_retry_delay`: base of the wait before connecting again, and the time between NOOPs.
    pub retry_delay: Duration,
    /// `client_timeout`: connecting and logging in.
    pub login_timeout: Duration,
    /// `rookery_hold_back_percent`: a dump that would delete more of the list than this is held.
    pub hold_back_percent: u8,
    /// `rookery_accept_empty_list`.
    pub accept_empty: bool,
    /// `rookery_list_path`: the copy that a restart serves from; in memory only when `None`.
    pub store: Option<PathBuf>,
    /// The server whose mailboxes are listed without one: `servername` with `mupdate_config: unified`.
    pub own_server: Option<Box<[u8]>>,
    /// `{configdirectory}/socket/mupdate.target`.
    pub kick_socket: Option<PathBuf>,
}

impl Directory {
    /// Whether two say the same.
    pub fn is_same(&self, other: &Directory) -> bool {
        let text =
            |d: &Directory| (d.server.clone(), d.authname.clone(), d.username.clone(), d.realm.clone());
        let rest =
            |d: &Directory| (d.mechanisms.clone(), d.retry_delay, d.login_timeout, d.hold_back_percent);
        text(self) == text(other)
            && rest(self) == rest(other)
            && self.password.expose() == other.password.expose()
            && (self.accept_empty, &self.store, self.starttls, &self.own_server)
                == (other.accept_empty, &other.store, other.starttls, &other.own_server)
    }
}

/// The least `mupdate_retry_delay`; Cyrus divides by half of it.
const RETRY_DELAY_MIN: Duration = Duration::from_secs(1);

pub(super) fn settings(imapd: &Imapd, file: &str, folder: &Path) -> Result<Directory, ConfError> {
    let server = imapd
        .value("mupdate_server")
        .ok_or_else(|| missing(file, "mupdate_server is not set: expected the MUPDATE master's host"))?;
    Server::parse(&server.text).map_err(|error| server.error(error.to_string()))?;
    if let Some(value) = imapd.value("proxyservers") {
        return Err(value.error("proxyservers is set, which makes this a backend: expected a frontend"));
    }
    let text = |key| imapd.text(key).unwrap_or_default().as_bytes().into();
    let percent = imapd.integer("rookery_hold_back_percent", i64::from(Config::slave().hold_back_percent))?;
    Ok(Directory {
        server: server.text.as_str().into(),
        authname: text("mupdate_authname"),
        username: text("mupdate_username"),
        realm: imapd.text("mupdate_realm").map(|realm| realm.as_bytes().into()),
        password: imapd.text("mupdate_password").map(|text| Secret::new(text.as_bytes())).unwrap_or_default(),
        mechanisms: imapd
            .value("force_sasl_client_mech")
            .map(|value| value.text.split_ascii_whitespace().map(Box::from).collect()),
        starttls: starttls(imapd)?,
        retry_delay: imapd
            .duration("mupdate_retry_delay", DurationUnit::Seconds, Duration::from_secs(20))?
            .max(RETRY_DELAY_MIN),
        login_timeout: imapd.duration("client_timeout", DurationUnit::Seconds, Duration::from_secs(10))?,
        hold_back_percent: u8::try_from(percent)
            .ok()
            .filter(|percent| *percent <= 100)
            .ok_or_else(|| wrong(imapd, file, "rookery_hold_back_percent", "expected 0 to 100"))?,
        accept_empty: imapd.switch("rookery_accept_empty_list", false)?,
        store: Some(
            imapd.text("rookery_list_path").map_or_else(|| folder.join("rookery-list"), PathBuf::from),
        ),
        own_server: own_server(imapd)?,
        kick_socket: Some(folder.join("socket/mupdate.target")),
    })
}

fn own_server(imapd: &Imapd) -> Result<Option<Box<[u8]>>, ConfError> {
    let choices = [("standard", false), ("unified", true), ("replicated", false)];
    let is_unified = imapd.choice("mupdate_config", &choices, false)?;
    Ok(is_unified.then(|| super::imap::servername(imapd).as_bytes().into()))
}

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
