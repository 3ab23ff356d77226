//! Servers that answer from a script, so that what stands before them is the bottleneck.
//!
//! * [`Imap`]: any user, any password, one mailbox; the message with number n has n KiB.
//! * [`Pop3`]: the same maildrop for everybody, messages of 1 to 64 KiB.
//! * [`Lmtp`]: takes every message; names of recipients choose what is refused.
//! * [`Sieve`]: one script for everybody.
//! * [`MupdateMaster`]: a list of `user.u0` … whose mailboxes are all at one server.
//!
//! A protocol is a [`Dialogue`]; [`Scripted`] serves any number of its connections with the delays
//! and faults of a [`Conduct`].

mod conduct;
mod dialogue;
mod imap;
mod lines;
mod lmtp;
mod master;
mod pop3;
mod sieve;

use std::io;
use std::net::SocketAddr;

pub use conduct::Conduct;
pub use dialogue::{Dialogue, Kind, Reply, Scripted};
pub use imap::Imap;
pub use lmtp::Lmtp;
pub use master::MupdateMaster;
pub use pop3::Pop3;
pub use sieve::Sieve;

use crate::net::{Loop, Stopper};

/// A message is at most this many KiB.
pub const MESSAGE_KIB_MAX: usize = 64 * 1024;

/// What a scripted backend speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Speaks {
    /// IMAP4rev1.
    Imap,
    /// POP3.
    Pop3,
    /// LMTP.
    Lmtp,
    /// ManageSieve.
    Sieve,
}

/// A backend that listens; a loop of its own type behind one face.
pub struct Server {
    /// Where clients connect.
    pub address: SocketAddr,
    /// What ends [`Server::run`].
    pub stopper: Stopper,
    run: Box<dyn FnOnce() -> io::Result<()> + Send>,
}

impl Server {
    /// Binds; port 0 takes any free one.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn bind(listen: SocketAddr, speaks: Speaks, conduct: Conduct) -> io::Result<Server> {
        match speaks {
            Speaks::Imap => Server::serving(listen, Imap, conduct),
            Speaks::Pop3 => Server::serving(listen, Pop3, conduct),
            Speaks::Lmtp => Server::serving(listen, Lmtp, conduct),
            Speaks::Sieve => Server::serving(listen, Sieve, conduct),
        }
    }

    fn serving<D>(listen: SocketAddr, dialogue: D, conduct: Conduct) -> io::Result<Server>
    where
        D: Dialogue + Send + 'static,
        D::State: Send,
    {
        let mut server = Loop::bind(listen, Scripted::new(dialogue, conduct))?;
        let (address, stopper) = (server.address()?, server.stopper());
        Ok(Server { address, stopper, run: Box::new(move || server.run()) })
    }

    /// Serves until stopped.
    ///
    /// # Errors
    /// The epoll descriptor fails.
    pub fn run(self) -> io::Result<()> {
        (self.run)()
    }
}
