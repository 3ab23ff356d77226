//! The MUPDATE server as a process of its own: the master, or a slave for a host without a frontend.

use std::net::SocketAddr;
use std::sync::Arc;

use protocols::proxy::Knowledge;

use crate::config::{self, Source};
use crate::control::{self, Control, Metrics, Program, Watched};
use crate::directory::{self, Client, Plan, Surroundings};
use crate::frontend::{StartError, descriptors};
use crate::helpers::Helpers;
use crate::log::Log;
use crate::shard;
use crate::tls::{Tls, TlsError};

/// A running server. Dropping it without [`Standalone::stop`] leaves its threads running.
pub struct Standalone {
    tls: Arc<Tls>,
    directory: directory::Running,
    control: Option<Control>,
    metrics: Option<Metrics>,
}

/// Starts a server: loads its list, binds, serves. The calling thread must not be pinned.
///
/// # Errors
/// [`StartError`]; what was started ends with the process.
pub fn start(configuration: config::Standalone, log: Log) -> Result<Standalone, StartError> {
    let fit = shard::preflight(0)?;
    for (level, text) in &configuration.notes {
        log.write(*level, text);
    }
    let tls = Arc::new(Tls::new(&configuration.tls)?);
    let around = Surroundings {
        log: log.clone(),
        tls: Arc::clone(&tls),
        helpers: Arc::new(Helpers::start(log.clone())?),
        backends: configuration.backends,
    };
    let source = match &configuration.source {
        Source::Master(_) => None,
        Source::Slave(settings) => Some(settings.server.clone()),
    };
    let plan = Plan {
        source: configuration.source,
        serving: Some(configuration.serving),
        descriptors: descriptors(&fit),
        ring: fit.ring,
    };
    let directory = directory::start(plan, around)?;
    let (connections, inbox) = (directory.counter(), directory.inbox());
    let watched = Watched {
        program: Program::Mupdate,
        source,
        directory: directory.client.clone(),
        sessions: Box::new(move || vec![connections() as u64]),
        measure: Box::new(move || control::measure(std::slice::from_ref(&inbox))),
        log,
    };
    let watched = Arc::new(watched);
    let metrics = Metrics::start_if(configuration.process.metrics, Arc::clone(&watched));
    let control = control::start_if(configuration.process.control_socket.as_deref(), watched);
    Ok(Standalone { tls, directory, control, metrics })
}

impl Standalone {
    /// The TCP addresses that are listened on.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.directory.addresses()
    }

    /// The mailbox list.
    pub fn directory(&self) -> &Client {
        &self.directory.client
    }

    /// Whether it serves a list that is in step with its source; a master's always is.
    pub fn is_live(&self) -> bool {
        let client = &self.directory.client;
        client.is_served() && client.knowledge() == Knowledge::Live
    }

    /// Clients that are connected.
    pub fn connections(&self) -> usize {
        self.directory.connections()
    }

    /// Takes another configuration for new connections; those that stand keep theirs. Gives back
    /// what only a restart would change.
    ///
    /// # Errors
    /// A certificate cannot be used; everything stays as it is.
    pub fn reload(&self, configuration: &config::Standalone) -> Result<Vec<Box<str>>, TlsError> {
        self.tls.reload(&configuration.tls)?;
        let mut notes: Vec<Box<str>> = Vec::new();
        if !self.directory.reload(Some(&configuration.serving)) {
            notes.push("where it listens has changed: restart to use it".into());
        }
        Ok(notes)
    }

    /// Says goodbye to all clients, writes what is not yet on the disk, and waits for it.
    pub fn stop(self) {
        drop(self.control);
        drop(self.metrics);
        self.directory.stop();
    }
}
