//! What the MUPDATE server `mupdate` is made with.

use std::path::PathBuf;
use std::sync::Arc;

use mupdate::master::Role;
use mupdate::master::rules::{Mode, Rules, Takeover};
use protocols::conf::{ConfError, Imapd, cyrus};
use protocols::proxy::Level;

use super::serving::{self, Serving};
use super::{
    Directory, Process, ProcessSecret, Reader, backends, check_options, control_socket, directory, missing,
    process, tls,
};
use crate::listen::Listen;
use crate::program::Program;

/// The service whose options it reads when no line of cyrus.conf names another.
const SERVICE: &str = "mupdate";

/// Where it listens when nothing says otherwise.
const LISTEN: &str = "3905";

/// Where a server has the list from.
#[derive(Clone, Debug)]
pub enum Source {
    /// From a master.
    Slave(Box<Directory>),
    /// It is the master.
    Master(Master),
}

impl Source {
    /// Leaves the kick socket to another process of this host.
    pub fn forget_kick_socket(&mut self) {
        match self {
            Source::Slave(settings) => settings.kick_socket = None,
            Source::Master(master) => master.kick_socket = None,
        }
    }

    /// Keeps the list in memory only.
    pub fn forget_store(&mut self) {
        match self {
            Source::Slave(settings) => settings.store = None,
            Source::Master(master) => master.store = None,
        }
    }
}

/// The master's list.
#[derive(Clone, Debug)]
pub struct Master {
    /// `mupdate_config` and `rookery_takeover`.
    pub rules: Rules,
    /// `rookery_master_path`, by default `{configdirectory}/rookery-master`: the list; in memory only
    /// when `None`.
    pub store: Option<PathBuf>,
    /// `{configdirectory}/socket/mupdate.target`.
    pub kick_socket: Option<PathBuf>,
}

/// What the command line says.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// `-m`.
    pub is_master: bool,
    /// `-C`.
    pub imapd_conf: &'a str,
    /// `-M`.
    pub cyrus_conf: Option<&'a str>,
    /// `-l`.
    pub listen: Option<&'a str>,
}

/// What the files and the command line say.
#[derive(Clone)]
pub struct Standalone {
    /// What concerns the process.
    pub process: Process,
    /// Certificates.
    pub tls: crate::tls::Settings,
    /// How a slave reaches its master.
    pub backends: Arc<crate::backends::Settings>,
    /// Where the list comes from.
    pub source: Source,
    /// Who is served it.
    pub serving: Serving,
    /// What the operator should know, for the log.
    pub notes: Vec<(Level, Box<str>)>,
}

impl Standalone {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(
        command: Command<'_>,
        read: &Reader<'_>,
        secret: &ProcessSecret,
    ) -> Result<Standalone, ConfError> {
        let file = command.imapd_conf;
        let all = Imapd::load(file, read)?;
        let mut notes = Vec::new();
        check_options(&all, &mut notes)?;
        let (name, listen) = place(command, read)?;
        let imapd = all.for_service(&name);
        let process = process(&imapd, file)?;
        let socket = control_socket(&imapd, &process.directory, Program::Mupdate);
        let process = Process { pid_file: None, ready_file: None, control_socket: Some(socket), ..process };
        let tls = tls::settings(&imapd, file)?;
        let (source, role) = match command.is_master {
            true => (Source::Master(master(&imapd, &process)?), Role::Master),
            false => {
                let settings = directory::settings(&imapd, file, &process.directory)?;
                let role = Role::Slave { master: settings.server.clone() };
                (Source::Slave(Box::new(settings)), role)
            }
        };
        Ok(Standalone {
            serving: serving::serving(&imapd, file, &name, listen, role, &tls, secret)?,
            backends: Arc::new(backends::settings(&imapd)?),
            process,
            tls,
            source,
            notes,
        })
    }
}

/// The name of the service and where it listens: `-l`, else the line of cyrus.conf, else port 3905.
fn place(command: Command<'_>, read: &Reader<'_>) -> Result<(Box<str>, Listen), ConfError> {
    let mode = if command.is_master { serving::Mode::Master } else { serving::Mode::Slave };
    let mut found = None;
    if let Some(path) = command.cyrus_conf {
        let text = read(path).map_err(|error| missing(path, format!("cannot read: {error}")))?;
        let conf = cyrus::parse(&text, path)?;
        if let Some((entry, _)) = serving::lines(&conf).find(|(_, its)| *its == mode) {
            found = Some((entry.name.as_str().into(), Listen::of(entry)?));
        } else if command.listen.is_none() {
            let flag = if command.is_master { "mupdate -m" } else { "mupdate" };
            return Err(missing(path, format!("no line with cmd=\"{flag}\": expected one, or -l HOST:PORT")));
        }
    }
    let (name, of_line) = found.unzip();
    let listen = match (command.listen, of_line) {
        (None, Some(listen)) => listen,
        (given, _) => Listen::parse(given.unwrap_or(LISTEN), None).map_err(|what| missing("-l", what))?,
    };
    Ok((name.unwrap_or_else(|| SERVICE.into()), listen))
}

pub(super) fn master(imapd: &Imapd, process: &Process) -> Result<Master, ConfError> {
    let modes = [("standard", Mode::Standard), ("unified", Mode::Shared), ("replicated", Mode::Shared)];
    let takeovers = [("refused", Takeover::Refused), ("allowed", Takeover::Allowed)];
    let rules = Rules {
        mode: imapd.choice("mupdate_config", &modes, Mode::Standard)?,
        takeover: imapd.choice("rookery_takeover", &takeovers, Takeover::default())?,
    };
    let folder = &process.directory;
    let store =
        imapd.text("rookery_master_path").map_or_else(|| folder.join("rookery-master"), PathBuf::from);
    Ok(Master { rules, store: Some(store), kick_socket: Some(folder.join("socket/mupdate.target")) })
}
