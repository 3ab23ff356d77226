//! From the two configuration files to what the parts of the engine are made with.
//!
//! Everything is checked here, once, before anything is started: an error names the file, the line
//! and what was expected.

mod backends;
mod directory;
mod imap;
mod lmtp;
mod namespace;
mod passwords;
mod pop3;
mod postmap;
mod review;
mod services;
mod serving;
mod sieve;
mod standalone;
mod tls;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocols::conf::{ConfError, CyrusConf, Imapd, check, cyrus};
use protocols::mailbox::acl::Policy;
use protocols::proxy::Level;
use protocols::secret::Secret;

pub use directory::Directory;
use imap::config as imap;
use lmtp::config as lmtp;
pub use namespace::namespace;
use pop3::config as pop3;
use postmap::config as postmap;
pub use review::{Fate, Review, Reviewed, review};
pub use serving::{MasterLine, Serving};
use sieve::config as sieve;
pub use standalone::{Command, Master, Source, Standalone};

use crate::helpers::PasswordSource;
use crate::listen::Listen;
use crate::log::Facility;
use crate::program::Program;
use crate::services::Service;

/// Where configuration text comes from: files, or a map in memory.
pub type Reader<'a> = dyn Fn(&str) -> std::io::Result<String> + 'a;

/// Random bytes of the process that the configuration is completed with.
#[derive(Clone, Debug, Default)]
pub struct ProcessSecret(pub Secret);

/// What the files say.
#[derive(Clone)]
pub struct Configuration {
    /// What concerns the process.
    pub process: Process,
    /// Certificates.
    pub tls: crate::tls::Settings,
    /// How backends are reached.
    pub backends: Arc<crate::backends::Settings>,
    /// Where passwords are checked.
    pub passwords: PasswordSource,
    /// The mailbox list.
    pub directory: Directory,
    /// How ACLs are read outside of any service.
    pub acl: Policy,
    /// What is listened on, and what serves it.
    pub services: Vec<Service>,
    /// Who is served this frontend's list over MUPDATE.
    pub mupdate: Option<Serving>,
    /// A master that runs beside this frontend.
    pub master: Option<MasterLine>,
    /// What the operator should know, for the log.
    pub notes: Vec<(Level, Box<str>)>,
}

/// The user that Cyrus runs as; `rookery_user` names another.
const USER: &str = "cyrus";

/// What concerns the process as a whole.
#[derive(Clone, Debug)]
pub struct Process {
    /// `configdirectory`.
    pub directory: PathBuf,
    /// `rookery_user`.
    pub user: Box<str>,
    /// `umask`: rights that files made by the process do not get.
    pub umask: u32,
    /// `rookery_shards`; `None` is a shard a core.
    pub shards: Option<usize>,
    /// `rookery_unsent_max`: bytes of all shards that nobody takes; `None` is what a shard has by itself.
    pub unsent_bytes_max: Option<usize>,
    /// `syslog_prefix`.
    pub syslog_prefix: Option<Box<str>>,
    /// `syslog_facility`.
    pub syslog_facility: Facility,
    /// `debug`.
    pub debug: bool,
    /// `proc_path`: where sessions have files.
    pub presence: PathBuf,
    /// `master_pid_file`.
    pub pid_file: Option<PathBuf>,
    /// `master_ready_file`.
    pub ready_file: Option<PathBuf>,
    /// `rookery_control_socket`: where operators ask; nowhere when `None`.
    pub control_socket: Option<PathBuf>,
    /// `rookery_metrics_listen`: where numbers are told to Prometheus.
    pub metrics: Option<SocketAddr>,
    /// `rookery_drain`: how long sessions have at the end.
    pub drain: std::time::Duration,
    /// `rookery_lmtp_data_timeout`: how long one of several backends may take nothing of a message.
    pub data_timeout: std::time::Duration,
    /// `tcp_keepalive` and its numbers.
    pub keepalive: Option<crate::shard::Keepalive>,
}

impl Process {
    /// The least level of log lines.
    pub fn least_level(&self) -> Level {
        if self.debug { Level::Debug } else { Level::Info }
    }
}

impl Configuration {
    /// Reads and checks both files.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(
        imapd_conf: &str,
        cyrus_conf: &str,
        read: &Reader<'_>,
        secret: &ProcessSecret,
    ) -> Result<Configuration, ConfError> {
        let imapd = Imapd::load(imapd_conf, read)?;
        let text = read(cyrus_conf).map_err(|error| ConfError {
            file: cyrus_conf.into(),
            line: 0,
            what: format!("cannot read: {error}"),
        })?;
        Configuration::from_parts(&imapd, &cyrus::parse(&text, cyrus_conf)?, imapd_conf, secret)
    }

    fn from_parts(
        imapd: &Imapd,
        cyrus: &CyrusConf,
        file: &str,
        secret: &ProcessSecret,
    ) -> Result<Configuration, ConfError> {
        let mut notes = Vec::new();
        check_options(imapd, &mut notes)?;
        let process = process(imapd, file)?;
        let tls = tls::settings(imapd, file)?;
        let directory = directory::settings(imapd, file, &process.directory)?;
        let services = services::select(imapd, cyrus, &tls, secret, &mut notes)?;
        let mupdate = serving::of_frontend(imapd, cyrus, file, &tls, secret, &mut notes)?;
        if services.is_empty() {
            return Err(missing(
                file,
                "no service that this version serves in cyrus.conf: expected cmd=\"imapd\"",
            ));
        }
        Ok(Configuration {
            backends: Arc::new(backends::settings(imapd)?),
            passwords: passwords::source(imapd, file)?,
            acl: namespace::policy(imapd, &namespace(imapd, file)?)?,
            process,
            tls,
            directory,
            services,
            mupdate: mupdate.slave,
            master: mupdate.master,
            notes,
        })
    }
}

/// A bad value of any known option is refused, as Cyrus does; what nobody knows and what guards
/// nothing here is told.
fn check_options(imapd: &Imapd, notes: &mut Vec<(Level, Box<str>)>) -> Result<(), ConfError> {
    for checked in check::lines(imapd) {
        if let Some(problem) = checked.problem() {
            return Err(problem);
        }
        if let Some(warning) = checked.warning() {
            notes.push((Level::Warn, warning.to_string().into()));
        }
        if checked.is_guard_lost() {
            let text = checked.value.error(format!("{} is not honoured by this version", checked.key));
            notes.push((Level::Warn, text.to_string().into()));
        }
    }
    Ok(())
}

fn process(imapd: &Imapd, file: &str) -> Result<Process, ConfError> {
    use protocols::conf::DurationUnit::Seconds;
    let directory = imapd
        .text("configdirectory")
        .ok_or_else(|| missing(file, "configdirectory is not set: expected a folder"))?;
    let facility = match imapd.value("syslog_facility") {
        None => Facility::default(),
        Some(value) => Facility::parse(&value.text).ok_or_else(|| {
            value.error(format!("bad value for syslog_facility: expected MAIL or LOCAL6, got {}", value.text))
        })?,
    };
    let shards =
        match imapd.integer("rookery_shards", 0)? {
            0 => None,
            n => Some(usize::try_from(n).ok().filter(|n| *n <= SHARDS_MAX).ok_or_else(|| {
                wrong(imapd, file, "rookery_shards", &format!("expected 1 to {SHARDS_MAX}"))
            })?),
        };
    Ok(Process {
        control_socket: Some(control_socket(imapd, Path::new(directory), Program::Rookeryd)),
        metrics: metrics(imapd)?,
        presence: presence(imapd, file, Path::new(directory))?,
        directory: directory.into(),
        user: imapd.text("rookery_user").unwrap_or(USER).into(),
        umask: umask(imapd)?,
        shards,
        unsent_bytes_max: unsent_bytes_max(imapd, file)?,
        syslog_prefix: imapd.text("syslog_prefix").map(Box::from),
        syslog_facility: facility,
        debug: imapd.switch("debug", false)?,
        pid_file: imapd.text("master_pid_file").map(PathBuf::from),
        ready_file: imapd.text("master_ready_file").map(PathBuf::from),
        drain: imapd.duration("rookery_drain", Seconds, DRAIN)?,
        data_timeout: data_timeout(imapd)?,
        keepalive: keepalive(imapd)?,
    })
}

/// `rookery_unsent_max`.
fn unsent_bytes_max(imapd: &Imapd, file: &str) -> Result<Option<usize>, ConfError> {
    let key = "rookery_unsent_max";
    if imapd.value(key).is_none() {
        return Ok(None);
    }
    let bytes = usize::try_from(imapd.size(key, 1, 0)?).ok().filter(|bytes| *bytes >= UNSENT_BYTES_MIN);
    bytes.map(Some).ok_or_else(|| wrong(imapd, file, key, "expected 1M or more"))
}

/// `rookery_control_socket`, else the socket of this program in `configdirectory`. The master's has a
/// name of its own: it may stand beside a frontend and share its files.
pub fn control_socket(imapd: &Imapd, configdirectory: &Path, program: Program) -> PathBuf {
    match (imapd.text("rookery_control_socket"), program) {
        (None, _) => program.control_socket(configdirectory),
        (Some(path), Program::Rookeryd) => path.into(),
        (Some(path), Program::Mupdate) => format!("{path}-mupdate").into(),
    }
}

/// `proc_path`, else `proc` in `configdirectory`.
fn presence(imapd: &Imapd, file: &str, configdirectory: &Path) -> Result<PathBuf, ConfError> {
    match imapd.text("proc_path") {
        None => Ok(configdirectory.join("proc")),
        Some(path) if path.len() > 1 && path.starts_with('/') => Ok(path.into()),
        Some(_) => Err(wrong(imapd, file, "proc_path", "expected a path from the root, and not the root")),
    }
}

/// `rookery_metrics_listen`: `host:port`, an address of this host.
fn metrics(imapd: &Imapd) -> Result<Option<SocketAddr>, ConfError> {
    let Some(value) = imapd.value("rookery_metrics_listen") else { return Ok(None) };
    let wrong = |what: String| value.error(format!("bad value for rookery_metrics_listen: {what}"));
    match Listen::parse(&value.text, None).map_err(wrong)? {
        Listen::Tcp(addresses) => Ok(addresses.first().copied()),
        Listen::Unix(_) => Err(wrong("expected host:port, got a path".into())),
    }
}

/// An octal number, by default 077 as with Cyrus.
fn umask(imapd: &Imapd) -> Result<u32, ConfError> {
    let Some(value) = imapd.value("umask") else { return Ok(0o077) };
    u32::from_str_radix(value.text.trim(), 8).ok().filter(|mask| *mask <= 0o777).ok_or_else(|| {
        value.error(format!("bad value for umask: expected an octal number up to 777, got {}", value.text))
    })
}

/// Shards that `rookery_shards` may ask for.
const SHARDS_MAX: usize = 1024;

/// What a shard may keep unsent at least: what sixteen connections may each.
pub(crate) const UNSENT_BYTES_MIN: usize = 16 * driver::limits::SPILL_BYTES_MAX;

/// How long sessions have to say goodbye when nothing else is said.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(10);

/// `rookery_lmtp_data_timeout`; 0 is the default.
fn data_timeout(imapd: &Imapd) -> Result<std::time::Duration, ConfError> {
    let default = driver::limits::Limits::default().slowest_after;
    let timeout =
        imapd.duration("rookery_lmtp_data_timeout", protocols::conf::DurationUnit::Seconds, default)?;
    Ok(if timeout.is_zero() { default } else { timeout })
}

fn keepalive(imapd: &Imapd) -> Result<Option<crate::shard::Keepalive>, ConfError> {
    use protocols::conf::DurationUnit::Seconds;
    use std::time::Duration;
    if !imapd.switch("tcp_keepalive", false)? {
        return Ok(None);
    }
    // 0 leaves Linux' defaults (tcp(7)), which are these.
    let or = |duration: Duration, default| {
        if duration.is_zero() { Duration::from_secs(default) } else { duration }
    };
    let count = imapd.integer("tcp_keepalive_cnt", 0)?;
    Ok(Some(crate::shard::Keepalive {
        idle: or(imapd.duration("tcp_keepalive_idle", Seconds, Duration::ZERO)?, 7200),
        interval: or(imapd.duration("tcp_keepalive_intvl", Seconds, Duration::ZERO)?, 75),
        count: u32::try_from(count).ok().filter(|n| *n > 0).unwrap_or(9),
    }))
}

/// An error that no line is to blame for.
pub(crate) fn missing(file: &str, what: impl Into<String>) -> ConfError {
    ConfError { file: file.into(), line: 0, what: what.into() }
}

/// An error about the value of an option.
fn wrong(imapd: &Imapd, file: &str, key: &str, expected: &str) -> ConfError {
    match imapd.value(key) {
        Some(value) => value.error(format!("bad value for {key}: {expected}, got {}", value.shown())),
        None => missing(file, format!("{key} is not set: {expected}")),
    }
}

/// A path option.
fn path(imapd: &Imapd, key: &str) -> Option<PathBuf> {
    imapd.text(key).map(|text| Path::new(text).into())
}

#[cfg(test)]
mod tests;
