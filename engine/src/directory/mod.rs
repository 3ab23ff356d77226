//! The mailbox list as the shards of a frontend see it.
//!
//! One thread, the directory shard, learns the list from the MUPDATE master and publishes it. The
//! others read what is published without asking anybody; only what needs a barrier is asked.
//!
//! ```text
//!   frontend shard ──Client──> snapshot                                 (nearly always)
//!        │ ^                                   directory shard
//!        │ └──────── inbox ──────────┐   ┌──────────────────────────┐
//!        └──Requests, wake──> Desk ──> DirectoryHost <── Slave <──> master
//!                                          │     ^──── Kick <── kick socket
//!                                          └──> store thread
//! ```

mod client;
mod desk;
mod host;
mod kick;
mod store;

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fs, process};

use protocols::proxy::Level;

pub use client::Client;

use client::Requests;
use host::DirectoryHost;
use store::{Copy, StoreThread};

use crate::backends;
use crate::config;
use crate::helpers::Helpers;
use crate::log::Log;
use crate::shard::{self, Inbox, Listener, ListenerId, ShardConfig, ToShard};
use crate::tls::Tls;

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

/// The running directory.
pub struct Running {
    /// What the shards ask.
    pub client: Client,
    inbox: Inbox,
    thread: JoinHandle<()>,
    store: Option<JoinHandle<()>>,
    kick_socket: Option<PathBuf>,
}

/// How long the LOGOUT from the master may take.
const GOODBYE: Duration = Duration::from_secs(1);

impl Running {
    /// Stops the slave, writes what is not yet in the copy, and waits for both.
    pub fn stop(self) {
        self.inbox.send(ToShard::Drain { within: GOODBYE });
        // A thread that panicked has stopped too.
        let _ = self.thread.join();
        if let Some(store) = self.store {
            let _ = store.join();
        }
        if let Some(path) = self.kick_socket {
            let _ = fs::remove_file(path);
        }
    }
}

/// Loads the copy, starts the store thread and the directory shard. Must be called before the
/// calling thread is pinned.
///
/// # Errors
/// The copy can neither be opened nor set aside, or the system has nothing left.
pub fn start(settings: &config::Directory, around: Surroundings) -> Result<Running, DirectoryError> {
    let Copy { loaded, writer } = store::open(settings.store.as_deref(), &around.log)?;
    let directory = mupdate::directory::Directory::new(host::config(settings, writer.is_some()), loaded);
    let (inbox, reader) = Inbox::new()?;
    let requests = Arc::new(Requests::new(inbox.clone()));
    let client = Client::new(directory.published(), Arc::clone(&requests), settings.accept_empty);
    let (writer, store) = match writer {
        Some(writer) => {
            let StoreThread { sender, thread } = store::start(writer, Arc::clone(&requests))?;
            (Some(sender), Some(thread))
        }
        None => (None, None),
    };
    let mut shard = ShardConfig::new(DIRECTORY_INDEX);
    let kick_socket =
        settings.kick_socket.as_deref().and_then(|path| kick_socket(path, &mut shard, &around.log));
    let log = around.log.clone();
    let host = DirectoryHost::new(directory, requests, writer, around, inbox.clone(), settings.accept_empty);
    inbox.send(ToShard::Spawn(desk::spawn(Arc::clone(&client.requests().timer))));
    inbox.send(ToShard::Spawn(host::slave(settings)?));
    let thread = thread::Builder::new().name("directory".into()).spawn(move || {
        if let Err(error) = shard::run(shard, host, reader) {
            log.write(Level::Warn, &format!("the directory has stopped: {error}"));
            log.flush();
            // A frontend without a directory would go on with an ever older list.
            process::exit(70);
        }
    })?;
    Ok(Running { client, inbox, thread, store, kick_socket })
}

/// The number of the directory shard in thread and log names: above all frontend shards.
const DIRECTORY_INDEX: usize = 9999;

/// Listens where other programs of this host wait for a barrier. Without its folder nobody does.
fn kick_socket(path: &Path, shard: &mut ShardConfig, log: &Log) -> Option<PathBuf> {
    match listen_kick(path) {
        Ok(socket) => {
            shard.listeners.push(Listener { id: ListenerId(0), socket, deal: Vec::new() });
            Some(path.into())
        }
        Err(error) => {
            log.write(Level::Warn, &format!("no kick socket {}: {error}", path.display()));
            None
        }
    }
}

fn listen_kick(path: &Path) -> io::Result<std::os::fd::OwnedFd> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let socket = shard::listen_unix(path)?;
    // Every local program may ask for a barrier, as with Cyrus.
    fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
    Ok(socket)
}
