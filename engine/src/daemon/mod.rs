//! The daemon `rookeryd`: from the command line to a frontend that serves, and to its end.
//!
//! ```text
//!   configuration ─> preflight ─> pid file, pipes ─> drop privileges ─> log ─> frontend ─> signals
//!        78             69             73                  77                  69, 78
//! ```
//!
//! Nothing before the frontend starts a thread: credentials and signal masks belong to threads, and
//! later ones inherit those of the first.

mod auto;
mod beside;
pub mod mupdate;
mod notify;
mod options;
mod pid_file;
mod privileges;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use aws_lc_rs::rand;
use protocols::proxy::Level;
use protocols::secret::Secret;
use rustix::fs::Mode;

pub use options::Options;

use beside::Beside;
use notify::{Manager, Marker, State};
use pid_file::PidFile;

use crate::config::{self, Configuration, Fate, Process, ProcessSecret};
use crate::directory::DirectoryError;
use crate::frontend::{self, Frontend, Prepared, StartError};
use crate::log::{self, Log, Target};
use crate::shard;
use crate::sys::{self, EX_OK, EX_SOFTWARE, Signal, Signals};

/// Exit status: the system does not allow what is needed.
const EX_UNAVAILABLE: u8 = 69;
/// Exit status: a file cannot be made.
const EX_CANTCREAT: u8 = 73;
/// Exit status: a user cannot be become.
const EX_NOPERM: u8 = 77;
/// Exit status: the configuration is wrong.
const EX_CONFIG: u8 = 78;

/// How often the main thread looks whether the list became live.
const LOOK_MS: u32 = 100;

/// Pipes of one shard.
const PIPES_PER_SHARD: usize = 32;

/// Why the daemon ends; the number is its exit status.
#[derive(Debug)]
struct Failure(u8, String);

impl Failure {
    fn new(status: u8, error: impl ToString) -> Failure {
        Failure(status, error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Failure {
        let status = match &error {
            StartError::Tls(_) => EX_CONFIG,
            StartError::Directory(DirectoryError::Store { .. }) => EX_CANTCREAT,
            StartError::Directory(_)
            | StartError::Unfit(_)
            | StartError::Listen { .. }
            | StartError::System(_) => EX_UNAVAILABLE,
        };
        Failure::new(status, error)
    }
}

/// Runs the daemon until it is told to stop; gives back the exit status. Must be the first thing in
/// `main`, before any thread.
pub fn run(options: &Options) -> u8 {
    if options.version {
        println!("rookeryd {}", env!("CARGO_PKG_VERSION"));
        return EX_OK;
    }
    match serve(options) {
        Ok(()) => EX_OK,
        Err(Failure(status, text)) => {
            eprintln!("rookeryd: {text}");
            status
        }
    }
}

fn serve(options: &Options) -> Result<(), Failure> {
    let secret = process_secret()?;
    if options.check {
        return check(options, &secret);
    }
    let unavailable = |error: io::Error| Failure::new(EX_UNAVAILABLE, error);
    let configuration = read(options, &secret).map_err(|error| Failure::new(EX_CONFIG, error))?;
    let signals = Signals::block().map_err(unavailable)?;
    let shards = frontend::cores(configuration.process.shards).map_err(unavailable)?.len();
    shard::preflight(shards).map_err(|error| Failure::new(EX_UNAVAILABLE, error))?;
    // By their protocol they are this process's, and no child's.
    let inherited = inherited_sockets();
    let starter = match options.background && !options.foreground {
        true => Some(sys::background().map_err(unavailable)?),
        false => None,
    };
    let launched = launch(options, &configuration, inherited);
    if let Some(starter) = starter {
        starter.tell(launched.as_ref().map_or_else(|failure| failure.0, |_| EX_OK));
    }
    let (pid_file, log, frontend) = launched?;
    let daemon =
        Daemon { options, secret, configuration, log, signals, manager: Manager::from_environment() };
    let result = daemon.supervise(frontend);
    drop(pid_file);
    result
}

/// Says of every line that is not simply honoured what becomes of it.
fn check(options: &Options, secret: &ProcessSecret) -> Result<(), Failure> {
    let (imapd, cyrus) = (options.config.to_string_lossy(), options.services.to_string_lossy());
    let review = config::review(&imapd, &cyrus, &|path: &str| fs::read_to_string(path), secret);
    for line in review.lines.iter().filter(|line| line.fate != Fate::Honoured) {
        println!("{line}");
    }
    match &review.problem {
        Some(problem) => Err(Failure::new(EX_CONFIG, problem)),
        None if review.is_safe() => Ok(()),
        None => Err(Failure::new(EX_CONFIG, "an option that guards security is ignored")),
    }
}

/// Does what needs root, becomes the user, starts the rest.
fn launch(
    options: &Options,
    configuration: &Configuration,
    inherited: Vec<OwnedFd>,
) -> Result<(Option<PidFile>, Log, Frontend), Failure> {
    let pid_file = pid_file(options.pid_file.as_deref().or(configuration.process.pid_file.as_deref()))?;
    rustix::process::umask(Mode::from_raw_mode(configuration.process.umask));
    let prepared = prepare(configuration, inherited)?;
    privileges::drop_to(&configuration.process.user).map_err(|error| Failure::new(EX_NOPERM, error))?;
    let log = start_log("rookeryd", options.foreground, &configuration.process)?;
    log.write(Level::Info, &format!("rookeryd {} starting", env!("CARGO_PKG_VERSION")));
    let frontend = frontend::start(configuration.clone(), log.clone(), prepared)?;
    Ok((pid_file, log, frontend))
}

/// The main thread of a running daemon.
struct Daemon<'a> {
    options: &'a Options,
    secret: ProcessSecret,
    configuration: Configuration,
    log: Log,
    signals: Signals,
    manager: Manager,
}

impl Daemon<'_> {
    fn supervise(mut self, frontend: Frontend) -> Result<(), Failure> {
        let mut ready = None;
        let mut master = self.configuration.master.as_ref().map(|_| Beside::new(self.options));
        let result = loop {
            if let Some(master) = &mut master {
                master.look(&self.log, Instant::now());
            }
            if ready.is_none() && frontend.is_live() {
                ready = Some(self.announce(&frontend));
            }
            if frontend.has_failed() {
                break Err(Failure::new(EX_SOFTWARE, "a shard has ended: see the log"));
            }
            match self.signals.wait(LOOK_MS) {
                Some(Signal::Stop) => break Ok(()),
                Some(Signal::Reload) => {
                    self.reload(&frontend, ready.is_some());
                    if let Some(master) = &master {
                        master.reload();
                    }
                }
                None => {}
            }
        };
        drop(ready);
        self.tell(State::Stopping);
        self.log.write(Level::Info, &format!("stopping: {} sessions", frontend.sessions()));
        frontend.stop(self.configuration.process.drain);
        if let Some(master) = master {
            master.stop(&self.log);
        }
        self.log.write(Level::Info, "stopped");
        self.log.flush();
        result
    }

    /// The list is live: tells whoever waits for it.
    fn announce(&self, frontend: &Frontend) -> Option<Marker> {
        let mailboxes = frontend.directory().mailboxes();
        self.log.write(Level::Info, &format!("ready: {mailboxes} mailboxes in the list"));
        self.tell(State::Ready);
        let path = self.configuration.process.ready_file.as_deref()?;
        let marker = Marker::write(path, &format!("{}\n", std::process::id()));
        marker.map_err(|error| self.log.write(Level::Warn, &format!("{}: {error}", path.display()))).ok()
    }

    fn reload(&mut self, frontend: &Frontend, is_ready: bool) {
        self.tell(State::Reloading { monotonic_us: monotonic_us() });
        let result = read(self.options, &self.secret).map_err(|error| error.to_string()).and_then(|new| {
            frontend.reload(&new).map(|notes| (new, notes)).map_err(|error| error.to_string())
        });
        match result {
            Ok((new, notes)) => {
                for text in new.notes.iter().map(|(_, text)| text).chain(&notes) {
                    self.log.write(Level::Warn, text);
                }
                self.log.write(Level::Info, "configuration read again");
                self.configuration = new;
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

fn process_secret() -> Result<ProcessSecret, Failure> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| Failure::new(EX_UNAVAILABLE, "the system has no random bytes"))?;
    Ok(ProcessSecret(Secret::new(bytes)))
}

fn read(options: &Options, secret: &ProcessSecret) -> Result<Configuration, protocols::conf::ConfError> {
    let (imapd, cyrus) = (options.config.to_string_lossy(), options.services.to_string_lossy());
    Configuration::load(&imapd, &cyrus, &|path: &str| fs::read_to_string(path), secret)
}

fn pid_file(path: Option<&Path>) -> Result<Option<PidFile>, Failure> {
    let fail = |path: &Path, error: io::Error| {
        Failure::new(EX_CANTCREAT, format!("cannot write pid file {}: {error}", path.display()))
    };
    path.map(|path| PidFile::create(path).map_err(|error| fail(path, error))).transpose()
}

/// Sockets that a service manager listens on for us (sd_listen_fds(3)).
fn inherited_sockets() -> Vec<OwnedFd> {
    std::env::var("LISTEN_FDS")
        .ok()
        .filter(|_| std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string()))
        .and_then(|n| n.parse().ok())
        .map(sys::inherited)
        .unwrap_or_default()
}

/// What only root may have in plenty.
fn prepare(configuration: &Configuration, inherited: Vec<OwnedFd>) -> Result<Prepared, Failure> {
    let cores =
        frontend::cores(configuration.process.shards).map_err(|error| Failure::new(EX_UNAVAILABLE, error))?;
    let pipes = shard::pipes(cores.len() * PIPES_PER_SHARD)
        .map_err(|error| Failure::new(EX_UNAVAILABLE, format!("cannot make pipes: {error}")))?;
    Ok(Prepared { pipes, inherited })
}

fn start_log(name: &str, foreground: bool, process: &Process) -> Result<Log, Failure> {
    let ident = match &process.syslog_prefix {
        Some(prefix) => format!("{prefix}/{name}"),
        None => name.into(),
    };
    let settings = log::Settings {
        ident: ident.into(),
        facility: process.syslog_facility,
        least: process.least_level(),
        target: if foreground { Target::Stderr } else { Target::Syslog },
    };
    Log::start(settings).map_err(|error| Failure::new(EX_UNAVAILABLE, error))
}

fn monotonic_us() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1000
}
