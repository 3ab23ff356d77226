//! The thread that keeps the list on disk: a master's own, a slave's copy.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use mupdate::directory::{Loaded, StoreWrite};
use protocols::proxy::Level;
use store::{OnDamage, Opened, Store};

use super::DirectoryError;
use super::client::{Request, Requests};
use crate::log::Log;

/// Writes that may wait: the directory has one out at a time.
const WRITES_MAX: usize = 1;

/// What a restart begins with.
pub(super) struct Copy {
    /// The list as it was.
    pub(super) loaded: Loaded,
    /// For writing; `None` when there is no copy on disk.
    pub(super) writer: Option<Store>,
}

/// The running thread.
pub(super) struct StoreThread {
    /// Takes writes; dropping it ends the thread behind the last one.
    pub(super) sender: SyncSender<StoreWrite>,
    /// To wait for.
    pub(super) thread: JoinHandle<()>,
}

/// Opens the store in a folder. A damaged copy of a master's list may be set aside.
pub(super) fn open(path: Option<&Path>, on_damage: OnDamage, log: &Log) -> Result<Copy, DirectoryError> {
    let Some(path) = path else { return Ok(Copy { loaded: Loaded::nothing(), writer: None }) };
    let Opened { store, loaded, set_aside } = Store::open(path, on_damage)
        .map_err(|error| DirectoryError::Store { path: path.into(), why: error.to_string().into() })?;
    if let Some(aside) = set_aside {
        let text = format!(
            "the copy of the mailbox list was damaged ({}): it lies in {}",
            aside.why,
            aside.path.display()
        );
        log.write(Level::Warn, &text);
    }
    let what = match on_damage {
        OnDamage::SetAside => "the copy of the list",
        OnDamage::Refuse => "the list",
    };
    log.write(Level::Info, &format!("{} mailboxes in {what}", loaded.list.len()));
    Ok(Copy { loaded, writer: Some(store) })
}

/// Starts the thread; what becomes of each write goes to the directory's queue.
pub(super) fn start(mut store: Store, requests: Arc<Requests>, log: Log) -> io::Result<StoreThread> {
    let (sender, writes) = sync_channel(WRITES_MAX);
    let thread = thread::Builder::new().name("store".into()).spawn(move || {
        for write in writes {
            requests.push(Request::Stored(store.write(&write).map_err(|error| error.to_string().into())));
            if let Some(complaint) = store.take_complaint() {
                log.write(Level::Warn, &complaint);
            }
        }
    })?;
    Ok(StoreThread { sender, thread })
}
