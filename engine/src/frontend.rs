//! A frontend in one process: listeners, shards, the directory, and how they are stopped.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use driver::Limits;
use driver::deflate::Deflaters;
use protocols::proxy::{Knowledge, Level};

use crate::backends::{Backends, Offered};
use crate::bulletin;
use crate::config::{Configuration, Source, UNSENT_BYTES_MIN};
use crate::control::{self, Control, Metrics};
use crate::directory::{self, Client, DirectoryError, Plan, Surroundings};
use crate::helpers::Helpers;
use crate::homes::Homes;
use crate::host::{FrontendHost, SessionCount, Settings, Shared};
use crate::intents::Intents;
use crate::listen::Listen;
use crate::log::Log;
use crate::presence::Sessions;
use crate::services::Service;
use crate::shard::{self, Fit, Inbox, InboxReader, Listener, ListenerId, Pipe, ShardConfig, ToShard, Unfit};
use crate::telemetry::Telemetry;
use crate::tls::{Tls, TlsError};

/// Descriptors that are no connection: rings, listeners, pipes, the store, the log.
const OTHER_DESCRIPTORS: u64 = 512;

/// The directory's connections may have this part of a frontend's descriptors.
const DIRECTORY_SHARE: usize = 16;

/// Descriptors that are left for connections.
pub(crate) fn descriptors(fit: &Fit) -> usize {
    usize::try_from(fit.nofile.saturating_sub(OTHER_DESCRIPTORS).max(64)).unwrap_or(usize::MAX)
}

/// Why a frontend cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system does not allow what a shard needs.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// A certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The copy of the list or the directory shard.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// An address or path cannot be listened on.
    #[error("cannot listen on {place} for {service}: {error}")]
    Listen {
        /// Address or path.
        place: Box<str>,
        /// The line of cyrus.conf.
        service: Box<str>,
        /// What the system said.
        error: io::Error,
    },
    /// Threads, descriptors or cores.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// What is made before privileges are dropped.
#[derive(Default)]
pub struct Prepared {
    /// Pipes for splicing, for all shards together.
    pub pipes: Vec<Pipe>,
    /// Listening sockets that the process inherited (LISTEN_FDS).
    pub inherited: Vec<OwnedFd>,
}

/// How many shards a configuration gets, and on which cores.
///
/// # Errors
/// The system does not tell which cores there are.
pub fn cores(shards: Option<usize>) -> io::Result<Vec<usize>> {
    let allowed = shard::allowed_cpus()?;
    let count = shards.unwrap_or(allowed.len()).max(1);
    Ok(allowed.iter().copied().cycle().take(if allowed.is_empty() { 0 } else { count }).collect())
}

/// A running frontend. Dropping it without [`Frontend::stop`] leaves its threads running.
pub struct Frontend {
    shared: Arc<Shared>,
    shards: Vec<Running>,
    directory: directory::Running,
    control: Option<Control>,
    metrics: Option<Metrics>,
    settings: crate::config::Directory,
    addresses: Vec<(Box<str>, SocketAddr)>,
    /// UNIX sockets that were made here and go with the process.
    paths: Vec<PathBuf>,
}

/// A running shard.
struct Running {
    inbox: Inbox,
    thread: JoinHandle<()>,
}

/// Starts a frontend: binds, loads its copy of the list, serves. The calling thread must not be
/// pinned.
///
/// # Errors
/// [`StartError`]; what was started ends with the process.
pub fn start(configuration: Configuration, log: Log, prepared: Prepared) -> Result<Frontend, StartError> {
    let cores = cores(configuration.process.shards)?;
    let fit = shard::preflight(cores.len())?;
    for (level, text) in &configuration.notes {
        log.write(*level, text);
    }
    let tls = Arc::new(Tls::new(&configuration.tls)?);
    let helpers = Arc::new(Helpers::start(log.clone())?);
    let inboxes: Vec<(Inbox, InboxReader)> = cores.iter().map(|_| Inbox::new()).collect::<io::Result<_>>()?;
    let all: Vec<Inbox> = inboxes.iter().map(|(inbox, _)| inbox.clone()).collect();
    let mut sockets = Sockets { inherited: prepared.inherited, addresses: Vec::new(), paths: Vec::new() };
    let mut listeners = sockets.listen(&configuration.services, &all)?;
    sockets.name_strangers(&log);
    let around = Surroundings {
        log: log.clone(),
        tls: Arc::clone(&tls),
        helpers: Arc::clone(&helpers),
        backends: Arc::clone(&configuration.backends),
    };
    let plan = Plan {
        source: Source::Slave(Box::new(configuration.directory.clone())),
        serving: configuration.mupdate.clone(),
        descriptors: descriptors(&fit) / DIRECTORY_SHARE,
        ring: fit.ring,
    };
    let directory = directory::start(plan, around)?;
    bulletin::start(&configuration.process.directory, all)?;
    let telemetry = Telemetry::start(&configuration.process.directory, log.clone())?;
    let shared = Arc::new(Shared {
        telemetry,
        presence: sessions_kept(&configuration, cores.len(), &log),
        backends: known_backends(&configuration, &log),
        intents: intents(&configuration, &log),
        log,
        tls,
        helpers,
        deflaters: Deflaters::default(),
        directory: directory.client.clone(),
        homes: Homes::default(),
        settings: ArcSwap::from_pointee(Settings::of(&configuration)),
        sessions: cores.iter().map(|_| SessionCount::default()).collect(),
    });
    let limits = limits(&configuration, &fit, cores.len());
    let mut pipes = prepared.pipes;
    let share = pipes.len() / cores.len().max(1);
    let mut shards = Vec::new();
    for (index, ((inbox, reader), cpu)) in inboxes.into_iter().zip(&cores).enumerate() {
        let mut config = ShardConfig::new(index);
        config.cpu = Some(*cpu);
        config.listeners = std::mem::take(&mut listeners[index]);
        config.ring = fit.ring;
        config.limits = limits.clone();
        config.keepalive = configuration.process.keepalive;
        config.pipes = pipes.split_off(pipes.len() - share);
        shards.push(run_shard(config, Arc::clone(&shared), inbox, reader)?);
    }
    let inboxes = shards.iter().map(|shard| shard.inbox.clone()).chain([directory.inbox()]).collect();
    let watched = Arc::new(watched(&configuration, &shared, inboxes));
    let metrics = Metrics::start_if(configuration.process.metrics, Arc::clone(&watched));
    let control = control::start_if(configuration.process.control_socket.as_deref(), watched);
    Ok(Frontend {
        shared,
        shards,
        directory,
        control,
        metrics,
        settings: configuration.directory,
        addresses: sockets.addresses,
        paths: sockets.paths,
    })
}

/// The bounds of each of so many shards.
fn limits(configuration: &Configuration, fit: &Fit, shards: usize) -> Limits {
    let mut limits = Limits {
        connections_max: connections_of_a_shard(fit, shards),
        slowest_after: configuration.process.data_timeout,
        ..Limits::default()
    };
    if let Some(bytes) = configuration.process.unsent_bytes_max {
        limits.spill_bytes_max = (bytes / shards.max(1)).max(UNSENT_BYTES_MIN);
    }
    limits
}

/// What the directory leaves of the descriptors, without those of questions to daemons of the host.
fn connections_of_a_shard(fit: &Fit, shards: usize) -> usize {
    let share = descriptors(fit) * (DIRECTORY_SHARE - 1) / DIRECTORY_SHARE / shards.max(1);
    share.saturating_sub(shard::EXCHANGES_MAX).max(share / 2)
}

/// Whether anything is written to files. Who keeps no list has no folder: the demo.
fn keeps_files(configuration: &Configuration) -> bool {
    configuration.directory.store.is_some()
}

fn sessions_kept(configuration: &Configuration, shards: usize, log: &Log) -> Sessions {
    match keeps_files(configuration) {
        true => Sessions::kept(shards, &configuration.process.presence, log),
        false => Sessions::new(shards),
    }
}

fn intents(configuration: &Configuration, log: &Log) -> Intents {
    match keeps_files(configuration) {
        true => Intents::new(&configuration.process.directory, log),
        false => Intents::nowhere(),
    }
}

/// What earlier processes knew of the backends.
fn known_backends(configuration: &Configuration, log: &Log) -> Backends {
    if !keeps_files(configuration) {
        return Backends::new(Offered::default());
    }
    let path = configuration.process.directory.join("rookery-capabilities");
    let (offered, error) = Offered::kept_in(path.clone());
    if let Some(error) = error {
        log.write(Level::Warn, &format!("{}: {error}: not used", path.display()));
    }
    Backends::new(offered)
}

/// What operators may look at.
fn watched(configuration: &Configuration, shared: &Arc<Shared>, inboxes: Vec<Inbox>) -> control::Watched {
    let counts = Arc::clone(shared);
    control::Watched {
        program: control::Program::Rookeryd,
        source: Some(configuration.directory.server.clone()),
        directory: shared.directory.clone(),
        sessions: Box::new(move || sessions(&counts).collect()),
        measure: Box::new(move || control::measure(&inboxes)),
        log: shared.log.clone(),
    }
}

/// Sessions that stand, shard by shard.
fn sessions(shared: &Shared) -> impl Iterator<Item = u64> {
    shared.sessions.iter().map(|count| count.0.load(Ordering::Relaxed))
}

fn run_shard(
    config: ShardConfig,
    shared: Arc<Shared>,
    inbox: Inbox,
    reader: InboxReader,
) -> io::Result<Running> {
    let host = FrontendHost::new(Arc::clone(&shared), inbox.clone(), config.index);
    let thread = thread::Builder::new().name(format!("shard-{}", config.index)).spawn(move || {
        if let Err(error) = shard::run(config, host, reader) {
            shared.log.write(Level::Warn, &error.to_string());
        }
    })?;
    Ok(Running { inbox, thread })
}

impl Frontend {
    /// The TCP addresses that are listened on, with the names of their services.
    pub fn addresses(&self) -> &[(Box<str>, SocketAddr)] {
        &self.addresses
    }

    /// The mailbox list.
    pub fn directory(&self) -> &Client {
        &self.shared.directory
    }

    /// Whether the list is in step with the master.
    pub fn is_live(&self) -> bool {
        self.shared.directory.knowledge() == Knowledge::Live
    }

    /// Sessions that stand.
    pub fn sessions(&self) -> u64 {
        sessions(&self.shared).sum()
    }

    /// Whether a shard has ended although nobody stopped it.
    pub fn has_failed(&self) -> bool {
        self.shards.iter().any(|shard| shard.thread.is_finished())
    }

    /// Takes another configuration for new sessions; those that stand keep theirs. Gives back what
    /// only a restart would change.
    ///
    /// # Errors
    /// A certificate cannot be used; everything stays as it is.
    pub fn reload(&self, configuration: &Configuration) -> Result<Vec<Box<str>>, TlsError> {
        self.shared.tls.reload(&configuration.tls)?;
        let mut settings = Settings::of(configuration);
        let mut notes = Vec::new();
        let before = self.shared.settings.load();
        settings.services = merge(&before.services, settings.services, &mut notes);
        if !self.directory.reload(configuration.mupdate.as_ref()) {
            notes.push("mupdate: its listener has changed: restart to use it".into());
        }
        if !self.settings.is_same(&configuration.directory) {
            notes.push("mupdate options have changed: restart to use them".into());
        }
        self.shared.log.set_least(configuration.process.least_level());
        self.shared.settings.store(Arc::new(settings));
        Ok(notes)
    }

    /// Says goodbye to all sessions, waits for them, then stops the directory.
    pub fn stop(self, drain: Duration) {
        for shard in &self.shards {
            shard.inbox.send(ToShard::Drain { within: drain });
        }
        for shard in self.shards {
            // A thread that panicked has stopped too.
            let _ = shard.thread.join();
        }
        drop(self.control);
        drop(self.metrics);
        self.directory.stop();
        for path in &self.paths {
            // Somebody may have removed it.
            let _ = fs::remove_file(path);
        }
    }
}

/// New services in the order of the listeners that stand; what has no listener waits for a restart.
fn merge(before: &[Service], now: Vec<Service>, notes: &mut Vec<Box<str>>) -> Vec<Service> {
    let matches = |a: &Service, b: &Service| a.name == b.name && a.listen == b.listen;
    for service in now.iter().filter(|service| !before.iter().any(|old| matches(old, service))) {
        notes.push(format!("{}: a new listener: restart to open it", service.name).into());
    }
    let renewed = |old: &Service| now.iter().find(|service| matches(old, service)).cloned();
    before
        .iter()
        .map(|old| {
            renewed(old).unwrap_or_else(|| {
                notes.push(format!("{}: not in cyrus.conf: restart to close its listener", old.name).into());
                old.clone()
            })
        })
        .collect()
}

/// Makes listeners.
struct Sockets {
    inherited: Vec<OwnedFd>,
    addresses: Vec<(Box<str>, SocketAddr)>,
    paths: Vec<PathBuf>,
}

impl Sockets {
    /// The listeners of every shard: of a TCP address one each, of a UNIX or inherited socket one
    /// on the first, which deals connections out.
    fn listen(&mut self, services: &[Service], all: &[Inbox]) -> Result<Vec<Vec<Listener>>, StartError> {
        let mut listeners: Vec<Vec<Listener>> = all.iter().map(|_| Vec::new()).collect();
        for (n, service) in services.iter().enumerate() {
            let id = ListenerId(u32::try_from(n).unwrap_or(u32::MAX));
            match &service.listen {
                Listen::Unix(path) => {
                    let socket =
                        self.listen_unix(path).map_err(|error| failed(path.display(), service, error))?;
                    listeners[0].push(Listener { id, socket, deal: all.to_vec() });
                }
                Listen::Tcp(addresses) => {
                    for address in addresses {
                        self.listen_tcp(id, *address, service, all, &mut listeners)
                            .map_err(|error| failed(address, service, error))?;
                    }
                }
            }
        }
        Ok(listeners)
    }

    fn listen_tcp(
        &mut self,
        id: ListenerId,
        address: SocketAddr,
        service: &Service,
        all: &[Inbox],
        listeners: &mut [Vec<Listener>],
    ) -> io::Result<()> {
        if let Some(socket) = self.take_inherited(|socket| local_address(socket) == Some(address)) {
            self.addresses.push((service.name.clone(), address));
            listeners[0].push(Listener { id, socket, deal: all.to_vec() });
            return Ok(());
        }
        let mut bound = address;
        for shard in listeners.iter_mut() {
            let socket = shard::listen_tcp(bound)?;
            // Port 0 is chosen once, by the first shard.
            bound = local_address(&socket).unwrap_or(bound);
            shard.push(Listener { id, socket, deal: Vec::new() });
        }
        self.addresses.push((service.name.clone(), bound));
        Ok(())
    }

    fn listen_unix(&mut self, path: &Path) -> io::Result<OwnedFd> {
        if let Some(socket) = self.take_inherited(|socket| local_path(socket).as_deref() == Some(path)) {
            return Ok(socket);
        }
        let socket = listen_unix(path)?;
        self.paths.push(path.into());
        Ok(socket)
    }

    /// Says which inherited sockets nobody wanted.
    fn name_strangers(&self, log: &Log) {
        for socket in &self.inherited {
            let text = format!("an inherited socket is no listener of cyrus.conf: {}", name(socket));
            log.write(Level::Warn, &text);
        }
    }

    fn take_inherited(&mut self, is_it: impl Fn(&OwnedFd) -> bool) -> Option<OwnedFd> {
        let at = self.inherited.iter().position(is_it)?;
        Some(self.inherited.swap_remove(at))
    }
}

fn local_address(socket: &OwnedFd) -> Option<SocketAddr> {
    socket2::SockRef::from(&socket.as_fd()).local_addr().ok()?.as_socket()
}

fn local_path(socket: &OwnedFd) -> Option<PathBuf> {
    Some(socket2::SockRef::from(&socket.as_fd()).local_addr().ok()?.as_pathname()?.into())
}

/// What a socket is bound to, for the log.
fn name(socket: &OwnedFd) -> String {
    let address = local_address(socket).map(|address| address.to_string());
    let path = || local_path(socket).map(|path| path.display().to_string());
    address.or_else(path).unwrap_or_else(|| "no socket".into())
}

/// How long a listener may outlive a process that was killed: the kernel takes its rings, which hold its sockets, down
/// behind its end.
const OUTLIVED_TIMEOUT: Duration = Duration::from_secs(5);

/// A UNIX listener in the place of one that a dead process left.
fn listen_unix(path: &Path) -> io::Result<OwnedFd> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
        let end = Instant::now() + OUTLIVED_TIMEOUT;
        while std::os::unix::net::UnixStream::connect(path).is_ok() {
            if Instant::now() >= end {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            thread::sleep(Duration::from_millis(50));
        }
        fs::remove_file(path)?;
    }
    let socket = shard::listen_unix(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
    Ok(socket)
}

fn failed(place: impl ToString, service: &Service, error: io::Error) -> StartError {
    StartError::Listen { place: place.to_string().into(), service: service.name.clone(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_that_outlives_its_process_for_a_moment_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lmtp");
        let left = shard::listen_unix(&path).expect("a listener");
        let going = thread::spawn(move || {
            thread::sleep(Duration::from_millis(200));
            drop(left);
        });
        listen_unix(&path).expect("its place");
        going.join().expect("an end");
    }

    #[test]
    fn listener_that_stays_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lmtp");
        let _stays = shard::listen_unix(&path).expect("a listener");
        assert_eq!(listen_unix(&path).expect_err("in use").kind(), io::ErrorKind::AddrInUse);
    }
}
