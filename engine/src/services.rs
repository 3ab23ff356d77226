//! Which SERVICES line of cyrus.conf runs which session.

use std::sync::Arc;

use protocols::conf::{ConfError, CyrusConf, Imapd, cyrus::Entry};
use protocols::imap;
use protocols::lmtp::{self, config::Trust};
use protocols::mailbox::names::VirtDomains;
use protocols::proxy::{Level, Origin, Session};

use crate::config::{Listen, ProcessSecret};

/// A SERVICES line that this version serves.
#[derive(Clone)]
pub struct Service {
    /// Its name, which prefixes options of its own.
    pub name: Box<str>,
    /// What it listens on.
    pub listen: Listen,
    /// TLS from the first byte (`-s`).
    pub tls: bool,
    /// What serves its connections.
    pub program: Program,
}

/// What serves a connection, with its configuration.
#[derive(Clone)]
pub enum Program {
    /// `imapd`, `proxyd`, `imap`.
    Imap(Arc<imap::Config>),
    /// `lmtpd`, `lmtpproxyd`.
    Lmtp(Arc<lmtp::Config>),
}

impl Service {
    /// The session of a new connection; `local` tells the address that the client came to, where that
    /// matters.
    pub fn session(&self, origin: Origin, local: impl FnOnce() -> Option<Box<str>>) -> Box<dyn Session> {
        match &self.program {
            Program::Imap(config) => {
                let mut session = imap::Session::new(Arc::clone(config), origin);
                if config.namespace.virtdomains == VirtDomains::On
                    && let Some(address) = local()
                {
                    session.came_to(&address);
                }
                Box::new(session)
            }
            Program::Lmtp(config) => Box::new(lmtp::Session::new(Arc::clone(config), origin)),
        }
    }
}

/// What a basename in `cmd` stands for.
enum Known {
    Imap,
    Lmtp,
    /// Served by the directory, or by a process beside this one.
    Mupdate,
    /// A protocol that is served by nothing yet.
    NotServed,
}

fn known(basename: &str) -> Known {
    match basename {
        "imapd" | "proxyd" | "imap" => Known::Imap,
        "lmtpd" | "lmtpproxyd" | "lmtp" => Known::Lmtp,
        "mupdate" => Known::Mupdate,
        _ => Known::NotServed,
    }
}

/// Chooses the lines that are served and says what becomes of the others.
///
/// # Errors
/// A served line is wrong, or an option of its service.
pub(crate) fn select(
    imapd: &Imapd,
    cyrus: &CyrusConf,
    tls: &crate::tls::Settings,
    secret: &ProcessSecret,
    notes: &mut Vec<(Level, Box<str>)>,
) -> Result<Vec<Service>, ConfError> {
    let mut services = Vec::new();
    for entry in &cyrus.services {
        let (basename, arguments) = entry
            .program()
            .ok_or_else(|| entry.error("no cmd: expected cmd=\"imapd\" or another program"))?;
        match known(basename) {
            Known::Imap => services.push(imap_service(imapd, entry, &arguments, tls, secret)?),
            Known::Lmtp => services.push(lmtp_service(imapd, entry, &arguments, tls, secret)?),
            Known::Mupdate => {}
            Known::NotServed => {
                let text = format!("{basename} is not served by this version: nothing listens for it");
                notes.push((Level::Warn, note(entry, &text)));
            }
        }
    }
    Ok(services)
}

fn note(entry: &Entry, text: &str) -> Box<str> {
    entry.error(text).to_string().into()
}

fn imap_service(
    imapd: &Imapd,
    entry: &Entry,
    arguments: &[&str],
    tls: &crate::tls::Settings,
    secret: &ProcessSecret,
) -> Result<Service, ConfError> {
    let with_tls = arguments.contains(&"-s");
    if with_tls && tls.server.is_none() {
        return Err(entry.error("-s without a certificate: expected tls_server_cert in imapd.conf"));
    }
    if arguments.contains(&"-N") {
        return Err(entry.error("-N (no password check) is not served"));
    }
    let own = imapd.for_service(&entry.name);
    let config = crate::config::imap(&own, &entry.file, tls.server.is_some(), secret)?;
    Ok(Service {
        name: entry.name.as_str().into(),
        listen: Listen::of(entry)?,
        tls: with_tls,
        program: Program::Imap(Arc::new(config)),
    })
}

fn lmtp_service(
    imapd: &Imapd,
    entry: &Entry,
    arguments: &[&str],
    tls: &crate::tls::Settings,
    secret: &ProcessSecret,
) -> Result<Service, ConfError> {
    let trust = if arguments.contains(&"-a") { Trust::Everybody } else { Trust::LoggedIn };
    let own = imapd.for_service(&entry.name);
    let config = crate::config::lmtp(&own, &entry.file, trust, tls.server.is_some(), secret)?;
    Ok(Service {
        name: entry.name.as_str().into(),
        listen: Listen::of(entry)?,
        tls: false,
        program: Program::Lmtp(Arc::new(config)),
    })
}
