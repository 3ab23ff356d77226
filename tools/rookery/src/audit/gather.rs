//! Reading everybody's list: the master and frontends over MUPDATE or their control sockets, backends
//! over IMAP or from a dump; all but the master at the same time.

mod backend;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use client::{ClientError, Endpoint, Mupdate, MupdateLogin, conf};
use engine::config;
use engine::control::{Ask, Connection, Mailbox, Program, State, Status};
use mupdate::list::{Builder, List};
use protocols::conf::Imapd;
use protocols::conf::server::Server;
use protocols::mailbox::Namespace;
use protocols::proxy::{Change, Entry, Location, Service};

use super::Options;
use super::dump;
use super::model::{Backend, Frontend, FrontendState, Murder, is_same_server};
use crate::common::Common;
use crate::exit::Failure;
use crate::output::shown;
use crate::socket;

/// Whom to read, and how.
pub(super) struct Servers {
    imapd: Imapd,
    /// How mailbox names look.
    pub(super) namespace: Namespace,
    master: (Endpoint, MupdateLogin),
    backends: Vec<Box<str>>,
    dumps: BTreeMap<String, PathBuf>,
    /// Names for eyes, and where to ask.
    frontends: Vec<(Box<str>, Box<str>)>,
    admin: Option<Box<[u8]>>,
    with_acls: bool,
    is_replicated: bool,
}

impl Servers {
    /// Those of the configuration and of the command line.
    ///
    /// # Errors
    /// The configuration is wrong, or names no master.
    pub(super) fn of(options: &Options, common: &Common) -> Result<Servers, Failure> {
        let mut servers = Servers::master_only(common)?;
        let listed = servers.imapd.list("serverlist").into_iter().map(str::to_owned);
        let given =
            options.backend.iter().cloned().chain(options.dump.iter().map(|(server, _)| server.clone()));
        for server in listed.chain(given).collect::<Vec<_>>() {
            servers.add_backend(&server);
        }
        servers.dumps = options.dump.iter().cloned().collect();
        let named = |at: &String| (at.as_str().into(), at.as_str().into());
        servers.frontends = options.frontend.iter().map(named).collect();
        if servers.frontends.is_empty() {
            let own = socket::paths(common, &[Program::Rookeryd])?;
            let own = own.iter().filter(|path| path.exists()).map(|path| path.to_string_lossy());
            let name = conf::servername(&servers.imapd);
            servers.frontends = own.map(|path| (name.clone(), path.as_ref().into())).collect();
        }
        servers.admin = options.admin.as_ref().map(|user| user.as_bytes().into());
        servers.with_acls = !options.no_acl;
        Ok(servers)
    }

    /// The master of the configuration.
    ///
    /// # Errors
    /// The configuration is wrong, or names none.
    pub(super) fn master_only(common: &Common) -> Result<Servers, Failure> {
        let imapd = socket::imapd_conf(common)?;
        let file = common.config.to_string_lossy();
        let master = conf::master(&imapd)?.ok_or_else(|| {
            Failure::Configuration(format!(
                "{file}: mupdate_server is not set: expected the MUPDATE master's host"
            ))
        })?;
        let modes = [("standard", false), ("unified", false), ("replicated", true)];
        Ok(Servers {
            namespace: config::namespace(&imapd, &file)?,
            is_replicated: imapd.choice("mupdate_config", &modes, false)?,
            imapd,
            master,
            backends: Vec::new(),
            dumps: BTreeMap::new(),
            frontends: Vec::new(),
            admin: None,
            with_acls: true,
        })
    }

    /// The master as the configuration names it.
    pub(super) fn master_name(&self) -> String {
        self.master.0.server.to_string()
    }

    /// A connection to the master.
    ///
    /// # Errors
    /// It cannot be reached, or refuses us.
    pub(super) fn connect_master(&self) -> Result<Mupdate, Failure> {
        Mupdate::connect(&self.master.0, &self.master.1).map_err(Failure::cannot_ask)
    }

    /// Whether every frontend was read.
    pub(super) fn all_frontends(&self, murder: &Murder) -> bool {
        murder.frontends.len() == self.frontends.len()
    }

    /// Reads everybody: the master before and after all others.
    ///
    /// # Errors
    /// The master cannot be read. Others that cannot are told on standard error and left out.
    pub(super) fn read(&self) -> Result<Murder, Failure> {
        let before = self.read_master()?;
        let names = self.all_backends(&before);
        let (backends, frontends) = thread::scope(|scope| {
            let backends: Vec<_> =
                names.iter().map(|name| scope.spawn(move || self.read_backend(name))).collect();
            let frontends = self.read_frontends();
            let backends: Vec<Option<Backend>> =
                backends.into_iter().map(|thread| thread.join().unwrap_or_default()).collect();
            (backends, frontends)
        });
        let unread = names.iter().zip(&backends).filter(|(_, backend)| backend.is_none());
        let unread = unread.map(|(name, _)| name.clone()).collect();
        Ok(Murder {
            before,
            master: self.read_master()?,
            backends: backends.into_iter().flatten().collect(),
            unread,
            frontends,
            is_replicated: self.is_replicated,
        })
    }

    /// Reads the frontends again, and the master behind them.
    ///
    /// # Errors
    /// The master cannot be read.
    pub(super) fn read_frontends_again(&self, murder: &mut Murder) -> Result<(), Failure> {
        murder.frontends = self.read_frontends();
        murder.master = self.read_master()?;
        Ok(())
    }

    fn read_master(&self) -> Result<Arc<List>, Failure> {
        mupdate_list(&self.master.0, &self.master.1).map_err(Failure::cannot_ask)
    }

    fn add_backend(&mut self, server: &str) {
        if !self.backends.iter().any(|known| is_same_server(known.as_bytes(), server.as_bytes())) {
            self.backends.push(server.into());
        }
    }

    /// The backends of the configuration, and those that the master names beside them.
    fn all_backends(&self, master: &List) -> Vec<Box<str>> {
        let mut backends = self.backends.clone();
        let mut last: Option<Location> = None;
        let mut cursor = master.iter_from(b"");
        while let Some(row) = cursor.next() {
            // Neighbours mostly lie on the same server.
            if last.as_ref() == Some(row.location) {
                continue;
            }
            last = Some(row.location.clone());
            let Some(server) = row.location.server() else { continue };
            if !backends.iter().any(|known| is_same_server(known.as_bytes(), server)) {
                backends.push(String::from_utf8_lossy(server).into());
            }
        }
        backends
    }

    /// One backend, or `None` when it cannot be read, which is said.
    fn read_backend(&self, name: &str) -> Option<Backend> {
        let read = match self.dumps.get(name) {
            Some(file) => read_dump(name, file),
            None => backend::read(name, self).map_err(|error| error.to_string()),
        };
        read.map_err(|error| eprintln!("rookery: backend {}: {error}", shown(name.as_bytes()))).ok()
    }

    fn read_frontends(&self) -> Vec<Frontend> {
        thread::scope(|scope| {
            let threads =
                self.frontends.iter().map(|(name, at)| scope.spawn(move || self.read_frontend(name, at)));
            let threads: Vec<_> = threads.collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap_or_default()).collect()
        })
    }

    fn read_frontend(&self, name: &str, at: &str) -> Option<Frontend> {
        let read = if at.starts_with('/') { control_list(Path::new(at)) } else { self.slave_list(at) };
        let read = read.map_err(|error| eprintln!("rookery: frontend {}: {error}", shown(name.as_bytes())));
        let (list, state) = read.ok()?;
        Some(Frontend { name: name.into(), list, state })
    }

    /// A frontend's list, as its MUPDATE slave serves it.
    fn slave_list(&self, name: &str) -> Result<(Arc<List>, Option<FrontendState>), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let server = Server::parse(name).map_err(|error| text(&error))?;
        let endpoint = conf::endpoint(&self.imapd, name, server.host(), Service::Mupdate);
        let login = conf::mupdate_login(&self.imapd, server.host());
        let (endpoint, login) = (endpoint.map_err(|e| text(&e))?, login.map_err(|e| text(&e))?);
        Ok((mupdate_list(&endpoint, &login).map_err(|error| text(&error))?, None))
    }
}

/// The list of a MUPDATE server.
fn mupdate_list(endpoint: &Endpoint, login: &MupdateLogin) -> Result<Arc<List>, ClientError> {
    let mut server = Mupdate::connect(endpoint, login)?;
    let mut builder = Builder::new();
    server.list(None, |row| {
        let (name, location) = (row.name.into(), Location(row.location.into()));
        builder.push(&match row.acl {
            Some(acl) => Change::Active(Entry { name, location, acl: acl.into() }),
            None => Change::Reserved { name, location },
        });
    })?;
    server.logout();
    Ok(builder.finish().publish())
}

/// The list of a daemon of ours, and how it is.
fn control_list(path: &Path) -> Result<(Arc<List>, Option<FrontendState>), String> {
    let mut daemon = Connection::open(path).map_err(|error| error.to_string())?;
    let status: Status = daemon.ask_one(&Ask::Status).map_err(|error| error.to_string())?;
    let mut builder = Builder::new();
    let rows =
        daemon.ask::<Mailbox>(&Ask::List { pattern: "*".into() }).map_err(|error| error.to_string())?;
    for row in rows {
        builder.push(&change(row.map_err(|error| error.to_string())?));
    }
    let state =
        FrontendState { knowledge: status.knowledge.into(), is_held_back: status.held_back.is_some() };
    Ok((builder.finish().publish(), Some(state)))
}

fn change(mailbox: Mailbox) -> Change {
    let name = mailbox.name.into_bytes().into();
    let partition = mailbox.partition.unwrap_or_default();
    let location = match mailbox.server {
        Some(server) => format!("{server}!{partition}"),
        None => partition,
    };
    let location = Location(location.into_bytes().into());
    match mailbox.state {
        State::Active => {
            let acl = mailbox.acl.unwrap_or_default().into_bytes().into();
            Change::Active(Entry { name, location, acl })
        }
        State::Reserved => Change::Reserved { name, location },
        State::Absent | State::Unknown => Change::Deleted { name },
    }
}

fn read_dump(server: &str, path: &Path) -> Result<Backend, String> {
    dump::read(server, path).map_err(|error| format!("{}: {error}", path.display()))
}
