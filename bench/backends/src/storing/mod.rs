//! A small IMAP server that keeps mail in memory and tells a MUPDATE master what it has.
//!
//! Correct for ordinary clients, not complete: one hierarchy separator (`.`), no quotas that bind,
//! `\Recent` is never set. Everything is gone when it ends.

mod accounts;
mod acl;
mod command;
mod fetch;
mod mailbox;
mod message;
mod notify;
mod registry;
mod search;
mod server;
mod session;
mod store;
mod verbs;

use std::io;
use std::net::SocketAddr;

use crate::net::{Loop, Stopper};

pub use server::Server;

/// Someone who can log in.
#[derive(Clone)]
pub struct Account {
    /// The user id.
    pub name: String,
    /// The password.
    pub password: String,
}

/// A mailbox that stands at the start.
#[derive(Clone, Debug)]
pub struct Seed {
    /// The internal name, `user.fred` or `team`.
    pub name: String,
    /// Identifiers with their rights.
    pub acl: Vec<(String, String)>,
    /// Whole messages.
    pub messages: Vec<Vec<u8>>,
}

/// The master to register with.
#[derive(Clone)]
pub struct Master {
    /// Where it listens.
    pub address: SocketAddr,
    /// An administrator of it.
    pub account: Account,
}

/// What a storing backend is made of.
#[derive(Clone)]
pub struct Config {
    /// Where it listens; port 0 takes any.
    pub listen: SocketAddr,
    /// Its name in the mailbox list; the address it listens on when `None`.
    pub name: Option<String>,
    /// Who may log in.
    pub accounts: Vec<Account>,
    /// Accounts that may log in as somebody else: frontends.
    pub proxies: Vec<String>,
    /// Accounts with all rights to make and remove mailboxes.
    pub admins: Vec<String>,
    /// What it holds at the start.
    pub seeds: Vec<Seed>,
    /// Whom it tells.
    pub master: Option<Master>,
}

/// A bound backend.
pub struct Storing {
    inner: Loop<Server>,
    address: SocketAddr,
}

impl Storing {
    /// Binds and fills it.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn bind(config: Config) -> io::Result<Storing> {
        let listen = config.listen;
        let mut inner = Loop::bind(listen, Server::new(config))?;
        let address = inner.address()?;
        inner.handler_mut().listens_on(address);
        Ok(Storing { inner, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What ends it.
    pub fn stopper(&self) -> Stopper {
        self.inner.stopper()
    }

    /// Serves until stopped.
    ///
    /// # Errors
    /// The event loop fails.
    pub fn run(mut self) -> io::Result<()> {
        self.inner.run()
    }
}
