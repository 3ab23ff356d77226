//! The mailbox list as the shards of a frontend see it, and as MUPDATE clients are served it.
//!
//! One thread, the directory shard, learns the list from the MUPDATE master, or is the master, and
//! publishes it. The others read what is published without asking anybody; only what needs a
//! barrier is asked.
//!
//! ```text
//!   frontend shard ──Client──> snapshot                                 (nearly always)
//!        │ ^                                   directory shard
//!        │ └──────── inbox ──────────┐   ┌──────────────────────────┐
//!        └──Requests, wake──> Desk ──> DirectoryHost <── Slave <──> master
//!                                          │   ^ ^──── Kick <── kick socket
//!                                          │   └────── Connection <── MUPDATE clients
//!                                          └──> store thread
//! ```

mod client;
mod clients;
mod desk;
mod host;
mod kick;
mod refusal;
mod sockets;
mod store;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fs, process};

use ::store::OnDamage;
use arc_swap::ArcSwap;
use protocols::proxy::Level;

pub use client::Client;

use client::Requests;
use clients::Clients;
use host::DirectoryHost;
use store::{Copy, StoreThread};

use crate::backends;
use crate::config::{Serving, Source};
use crate::helpers::Helpers;
use crate::log::Log;
use crate::shard::{self, Inbox, ListenerId, RingSize, ShardConfig, ToShard};
use crate::tls::Tls;

/// The listener of the kick socket.
const KICK: ListenerId = ListenerId(0);

/// The listener of MUPDATE clients.
const MUPDATE: ListenerId = ListenerId(1);

/// Why the directory cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The copy of the list cannot be opened or set aside.
    #[error("cannot open the copy of the mailbox list in {}: {why}", path.display())]
    Store {
        /// Its folder.
        path: PathBuf,
        /// What is wrong.
        why: Box<str>,
    },
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
    /// No thread or descriptor is left.
    #[error("cannot start the directory: {0}")]
    System(#[from] io::Error),
}

/// What the directory shard uses of the process.
pub struct Surroundings {
    /// The log.
    pub log: Log,
    /// For `/tls` in `mupdate_server` and STARTTLS.
    pub tls: Arc<Tls>,
    /// For its name and its password.
    pub helpers: Arc<Helpers>,
    /// How connections are made.
    pub backends: Arc<backends::Settings>,
}

/// What the directory is made with.
pub struct Plan {
    /// Where the list comes from.
    pub source: Source,
    /// Who is served it over MUPDATE.
    pub serving: Option<Serving>,
    /// Descriptors that its connections may have.
    pub descriptors: usize,
    /// What the ring of its shard may hold.
    pub ring: RingSize,
}

/// The running directory.
pub struct Running {
    /// What the shards ask.
    pub client: Client,
    inbox: Inbox,
    thread: JoinHandle<()>,
    store: Option<JoinHandle<()>>,
    clients: Option<Arc<clients::Shared>>,
    /// The TCP addresses that MUPDATE clients are served at.
    addresses: Vec<SocketAddr>,
    /// Sockets in the file system, to be removed at the end.
    paths: Vec<PathBuf>,
}

/// How long the LOGOUT from the master and the goodbyes to clients may take.
const GOODBYE: Duration = Duration::from_secs(1);

impl Running {
    /// The way into its shard.
    pub(crate) fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// The TCP addresses that MUPDATE clients are served at.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// MUPDATE clients that are connected.
    pub fn connections(&self) -> usize {
        self.counter()()
    }

    /// Tells how many clients are connected, for whom it outlives this.
    pub fn counter(&self) -> impl Fn() -> usize + Send + Sync + use<> {
        let clients = self.clients.clone();
        move || clients.as_ref().map_or(0, |clients| clients.connections.load(Ordering::Relaxed))
    }

    /// Serves new MUPDATE clients in another way. Where it listens only a restart changes: `false`
    /// when that would be needed.
    pub fn reload(&self, serving: Option<&Serving>) -> bool {
        match (&self.clients, serving) {
            (None, None) => true,
            (Some(clients), Some(serving)) => {
                let is_same = clients.serving.load().listen == serving.listen;
                clients.serving.store(Arc::new(serving.clone()));
                is_same
            }
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Says goodbye to the master and to all clients, writes what is not yet in the store, and waits
    /// for all of it.
    pub fn stop(self) {
        self.inbox.send(ToShard::Drain { within: GOODBYE });
        // A thread that panicked has stopped too.
        let _ = self.thread.join();
        if let Some(store) = self.store {
            let _ = store.join();
        }
        for path in self.paths {
            let _ = fs::remove_file(path);
        }
    }
}

/// Loads the list, listens, starts the store thread and the directory shard. Must be called before
/// the calling thread is pinned.
///
/// # Errors
/// The list can neither be opened nor set aside, a listener cannot be made, or the system has
/// nothing left.
pub fn start(plan: Plan, around: Surroundings) -> Result<Running, DirectoryError> {
    let Plan { source, serving, descriptors, ring } = plan;
    let (path, kick, on_damage, accept_empty) = match &source {
        Source::Slave(s) => (&s.store, &s.kick_socket, OnDamage::SetAside, s.accept_empty),
        // What a master has not does not exist.
        Source::Master(m) => (&m.store, &m.kick_socket, OnDamage::Refuse, true),
    };
    // Before anything is listened on: a second master of the same list ends here.
    let Copy { loaded, writer } = store::open(path.as_deref(), on_damage, &around.log)?;
    let directory = mupdate::directory::Directory::new(host::config(&source, writer.is_some()), loaded);
    let (inbox, reader) = Inbox::new()?;
    let requests = Arc::new(Requests::new(inbox.clone()));
    let client = Client::new(directory.published(), Arc::clone(&requests), accept_empty);
    let (writer, store) = match writer {
        Some(writer) => {
            let StoreThread { sender, thread } =
                store::start(writer, Arc::clone(&requests), around.log.clone())?;
            (Some(sender), Some(thread))
        }
        None => (None, None),
    };
    let mut shard = ShardConfig::new(DIRECTORY_INDEX);
    shard.ring = ring;
    shard.limits.connections_max = descriptors;
    let (mut addresses, mut paths) = (Vec::new(), Vec::new());
    // A frontend's barrier says more than a master's word, which is always true.
    let is_left = |path: &Path| matches!(source, Source::Master(_)) && sockets::is_alive(path);
    if let Some(path) = kick.as_deref().filter(|path| !is_left(path)) {
        paths.extend(sockets::kick(path, &mut shard, &around.log));
    }
    let clients = match serving {
        Some(serving) => {
            sockets::mupdate(&serving, &mut shard, &mut addresses, &mut paths)?;
            let (serving, connections) = (ArcSwap::from_pointee(serving), AtomicUsize::new(0));
            Some(Arc::new(clients::Shared { serving, connections }))
        }
        None => None,
    };
    let epoch: Option<Arc<str>> = directory.epoch().map(Into::into);
    let served = clients.clone().map(|shared| Clients::new(shared, descriptors, epoch));
    let log = around.log.clone();
    let host = DirectoryHost::new(directory, requests, writer, around, inbox.clone(), served, accept_empty);
    inbox.send(ToShard::Spawn(desk::spawn(Arc::clone(&client.requests().timer))));
    if let Source::Slave(settings) = &source {
        inbox.send(ToShard::Spawn(host::slave(settings)?));
    }
    let thread = thread::Builder::new().name("directory".into()).spawn(move || {
        if let Err(error) = shard::run(shard, host, reader) {
            log.write(Level::Warn, &format!("the directory has stopped: {error}"));
            log.flush();
            // A frontend without a directory would go on with an ever older list.
            process::exit(70);
        }
    })?;
    Ok(Running { client, inbox, thread, store, clients, addresses, paths })
}

/// The number of the directory shard in thread and log names: above all frontend shards.
pub(crate) const DIRECTORY_INDEX: usize = 9999;
