//! Which SERVICES line of cyrus.conf runs which program, and with what configuration.

use std::sync::Arc;

use protocols::conf::{ConfError, CyrusConf, Imapd, cyrus::Entry};
use protocols::lmtp::config::Trust;
use protocols::proxy::Level;

use super::ProcessSecret;
use crate::listen::Listen;
use crate::services::{Program, Service};

/// What a basename in `cmd` stands for.
enum Known {
    Imap,
    Lmtp,
    Pop3,
    Sieve,
    Map,
    /// Served by the directory, or by a process beside this one.
    Mupdate,
    /// A protocol that is served by nothing yet.
    NotServed,
}

fn known(basename: &str) -> Known {
    match basename {
        "imapd" | "proxyd" | "imap" => Known::Imap,
        "lmtpd" | "lmtpproxyd" | "lmtp" => Known::Lmtp,
        "pop3d" => Known::Pop3,
        "timsieved" => Known::Sieve,
        "rookery-map" => Known::Map,
        "mupdate" => Known::Mupdate,
        _ => Known::NotServed,
    }
}

/// Chooses the lines that are served and says what becomes of the others.
///
/// # Errors
/// A served line is wrong, or an option of its service.
pub(super) fn select(
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
        let line = Line { imapd, entry, arguments: &arguments, tls, secret };
        match known(basename) {
            Known::Imap => services.push(line.imap()?),
            Known::Pop3 => services.push(line.pop3()?),
            Known::Sieve => services.push(line.sieve()?),
            Known::Lmtp => services.push(line.lmtp()?),
            Known::Map => services.push(line.map()?),
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

/// A line of a program that is served, and what its configuration is made of.
struct Line<'a> {
    imapd: &'a Imapd,
    entry: &'a Entry,
    arguments: &'a [&'a str],
    tls: &'a crate::tls::Settings,
    secret: &'a ProcessSecret,
}

impl Line<'_> {
    fn imap(&self) -> Result<Service, ConfError> {
        if self.arguments.contains(&"-N") {
            return Err(self.entry.error("-N (no password check) is not served"));
        }
        let mut config = super::imap(&self.own(), &self.entry.file, self.tls.server.is_some(), self.secret)?;
        config.service = self.entry.name.as_str().into();
        self.service(Program::Imap(Arc::new(config)))
    }

    fn pop3(&self) -> Result<Service, ConfError> {
        if self.arguments.contains(&"-k") {
            return Err(self.entry.error("-k (KPOP) is not supported: use GSSAPI"));
        }
        let mut config = super::pop3(&self.own(), &self.entry.file, self.tls.server.is_some(), self.secret)?;
        config.common.service = self.entry.name.as_str().into();
        self.service(Program::Pop3(Arc::new(config)))
    }

    fn sieve(&self) -> Result<Service, ConfError> {
        let mut config = super::sieve(&self.own(), &self.entry.file, self.tls.server.is_some(), self.secret)?;
        config.common.service = self.entry.name.as_str().into();
        self.service(Program::Sieve(Arc::new(config)))
    }

    fn lmtp(&self) -> Result<Service, ConfError> {
        let trust = if self.arguments.contains(&"-a") { Trust::Everybody } else { Trust::LoggedIn };
        let tls = self.tls.server.is_some();
        let mut config = super::lmtp(&self.own(), &self.entry.file, trust, tls, self.secret)?;
        config.common.service = self.entry.name.as_str().into();
        self.service(Program::Lmtp(Arc::new(config)))
    }

    fn map(&self) -> Result<Service, ConfError> {
        let config = super::postmap(&self.own(), self.entry, self.arguments)?;
        self.service(Program::Map(Arc::new(config)))
    }

    /// The options as this service sees them.
    fn own(&self) -> Imapd {
        self.imapd.for_service(&self.entry.name)
    }

    fn service(&self, program: Program) -> Result<Service, ConfError> {
        let tls = self.arguments.contains(&"-s");
        if tls && self.tls.server.is_none() {
            return Err(self.entry.error("-s without a certificate: expected tls_server_cert in imapd.conf"));
        }
        Ok(Service { name: self.entry.name.as_str().into(), listen: Listen::of(self.entry)?, tls, program })
    }
}
