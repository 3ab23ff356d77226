//! The daemon `mupdate`: the MUPDATE master, or a slave for a host without a frontend.

use std::fs;
use std::path::PathBuf;

use clap::Parser;
use protocols::conf::ConfError;
use protocols::proxy::Level;
use rustix::fs::Mode;

use super::auto;
use super::notify::{Manager, State};
use super::pid_file::PidFile;
use super::{EX_CONFIG, EX_NOPERM, EX_UNAVAILABLE, Failure, LOOK_MS};
use super::{monotonic_us, pid_file, privileges, process_secret, start_log};
use crate::config::{self, Command, ProcessSecret};
use crate::log::Log;
use crate::shard;
use crate::standalone::{self, Standalone};
use crate::sys::{self, EX_OK, Signal, Signals};

/// The MUPDATE server of a Cyrus Murder: with -m the master, which holds the list of mailboxes;
/// without it a slave, which follows the master and serves what it knows.
#[derive(Parser, Clone, Debug)]
#[command(name = "mupdate", disable_version_flag = true)]
pub struct Options {
    /// Be the master
    #[arg(short = 'm')]
    pub master: bool,
    /// Be the master if mupdate_server names this host, else a slave
    #[arg(short = 'a')]
    pub auto: bool,
    /// Configuration file
    #[arg(short = 'C', value_name = "FILE", default_value = "/etc/imapd.conf")]
    pub config: PathBuf,
    /// Services file: listen where its mupdate line says
    #[arg(short = 'M', value_name = "FILE")]
    pub services: Option<PathBuf>,
    /// Listen here; without -l and -M on port 3905 of every address
    #[arg(short = 'l', value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Write the process id here, locked while the daemon lives
    #[arg(short = 'p', value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Run in the background: the start is over when it listens and serves
    #[arg(short = 'd')]
    pub background: bool,
    /// Stay in the foreground and log to standard error
    #[arg(short = 'D')]
    pub foreground: bool,
    /// Show the version
    #[arg(short = 'V')]
    pub version: bool,
    /// Run beside a frontend: end with the process that started this one, leave the kick socket to it
    #[arg(long = "beside-frontend")]
    pub beside_frontend: bool,
}

/// Runs the daemon until it is told to stop; gives back the exit status. Must be the first thing in
/// `main`, before any thread.
pub fn run(options: &Options) -> u8 {
    if options.version {
        println!("mupdate {}", env!("CARGO_PKG_VERSION"));
        return EX_OK;
    }
    match serve(options) {
        Ok(()) => EX_OK,
        Err(Failure(status, text)) => {
            eprintln!("mupdate: {text}");
            status
        }
    }
}

fn serve(options: &Options) -> Result<(), Failure> {
    if options.beside_frontend {
        let sent = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
        sent.map_err(|error| Failure::new(EX_UNAVAILABLE, error))?;
    }
    let is_master = options.master || (options.auto && auto::is_master(&options.config)?);
    let options = &Options { master: is_master, ..options.clone() };
    let secret = process_secret()?;
    let configuration = read(options, &secret).map_err(|error| Failure::new(EX_CONFIG, error))?;
    let signals = Signals::block().map_err(|error| Failure::new(EX_UNAVAILABLE, error))?;
    shard::preflight(0).map_err(|error| Failure::new(EX_UNAVAILABLE, error))?;
    let started = match options.background && !options.foreground {
        true => Some(sys::background().map_err(|error| Failure::new(EX_UNAVAILABLE, error))?),
        false => None,
    };
    let launched = launch(options, configuration);
    if let Some(started) = started {
        started.tell(launched.as_ref().map_or_else(|failure| failure.0, |_| EX_OK));
    }
    let (pid_file, log, server) = launched?;
    let daemon = Daemon { options, secret, log, signals, manager: Manager::from_environment() };
    daemon.supervise(server);
    drop(pid_file);
    Ok(())
}

/// Does what needs root, becomes the user, starts the rest.
fn launch(
    options: &Options,
    configuration: config::Standalone,
) -> Result<(Option<PidFile>, Log, Standalone), Failure> {
    let pid_file = pid_file(options.pid_file.as_deref())?;
    rustix::process::umask(Mode::from_raw_mode(configuration.process.umask));
    privileges::drop_to(&configuration.process.user).map_err(|error| Failure::new(EX_NOPERM, error))?;
    let log = start_log("mupdate", options.foreground, &configuration.process)?;
    log.write(Level::Info, &format!("mupdate {} starting", env!("CARGO_PKG_VERSION")));
    let server = standalone::start(configuration, log.clone())?;
    Ok((pid_file, log, server))
}

/// The main thread of a running daemon.
struct Daemon<'a> {
    options: &'a Options,
    secret: ProcessSecret,
    log: Log,
    signals: Signals,
    manager: Manager,
}

impl Daemon<'_> {
    fn supervise(self, server: Standalone) {
        let mut is_ready = false;
        loop {
            if !is_ready && server.is_live() {
                is_ready = true;
                let mailboxes = server.directory().mailboxes();
                self.log.write(Level::Info, &format!("ready: {mailboxes} mailboxes in the list"));
                self.tell(State::Ready);
            }
            match self.signals.wait(LOOK_MS) {
                Some(Signal::Stop) => break,
                Some(Signal::Reload) => self.reload(&server, is_ready),
                None => {}
            }
        }
        self.tell(State::Stopping);
        self.log.write(Level::Info, &format!("stopping: {} connections", server.connections()));
        server.stop();
        self.log.write(Level::Info, "stopped");
        self.log.flush();
    }

    fn reload(&self, server: &Standalone, is_ready: bool) {
        self.tell(State::Reloading { monotonic_us: monotonic_us() });
        let result = read(self.options, &self.secret)
            .map_err(|error| error.to_string())
            .and_then(|new| server.reload(&new).map(|notes| (new, notes)).map_err(|error| error.to_string()));
        match result {
            Ok((new, notes)) => {
                for text in new.notes.iter().map(|(_, text)| text).chain(&notes) {
                    self.log.write(Level::Warn, text);
                }
                self.log.set_least(new.process.least_level());
                self.log.write(Level::Info, "configuration read again");
            }
            Err(error) => {
                self.log
                    .write(Level::Warn, &format!("configuration not read again, the old one stays: {error}"));
            }
        }
        if is_ready {
            self.tell(State::Ready);
        }
    }

    fn tell(&self, state: State) {
        if let Err(error) = self.manager.tell(state) {
            self.log.write(Level::Warn, &format!("service manager not told: {error}"));
        }
    }
}

fn read(options: &Options, secret: &ProcessSecret) -> Result<config::Standalone, ConfError> {
    let services = options.services.as_ref().map(|path| path.to_string_lossy());
    let command = Command {
        is_master: options.master,
        imapd_conf: &options.config.to_string_lossy(),
        cyrus_conf: services.as_deref(),
        listen: options.listen.as_deref(),
    };
    let mut configuration =
        config::Standalone::load(command, &|path: &str| fs::read_to_string(path), secret)?;
    if options.beside_frontend {
        configuration.source.forget_kick_socket();
    }
    Ok(configuration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read() {
        let words = ["mupdate", "-m", "-C", "/a", "-M", "/b", "-l", "127.0.0.1:3905", "-p", "/c", "-D"];
        let options = Options::try_parse_from(words).unwrap();
        assert!(options.master && options.foreground && !options.background && !options.beside_frontend);
        assert_eq!(options.services, Some("/b".into()));
        assert_eq!(options.listen.as_deref(), Some("127.0.0.1:3905"));
        let slave = Options::try_parse_from(["mupdate"]).unwrap();
        assert!(!slave.master && !slave.auto);
        assert!(Options::try_parse_from(["mupdate", "-a"]).unwrap().auto);
        assert_eq!(slave.config.to_str(), Some("/etc/imapd.conf"));
    }
}
