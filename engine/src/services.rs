//! What a SERVICES line of cyrus.conf runs: its programs and their sessions.

use std::sync::Arc;

use protocols::imap;
use protocols::lmtp;
use protocols::mailbox::names::VirtDomains;
use protocols::pop3;
use protocols::postmap;
use protocols::proxy::{Origin, Session};
use protocols::sieve;

use crate::listen::Listen;

/// A SERVICES line that this version serves.
#[derive(Clone)]
pub struct Service {
    /// Its name, which prefixes options of its own.
    pub name: Box<str>,
    /// What it listens on.
    pub listen: Listen,
    /// TLS from the first byte (`-s`).
    pub tls: bool,
    /// What serves its connections.
    pub program: Program,
}

/// What serves a connection, with its configuration.
#[derive(Clone)]
pub enum Program {
    /// `imapd`, `proxyd`, `imap`.
    Imap(Arc<imap::Config>),
    /// `lmtpd`, `lmtpproxyd`.
    Lmtp(Arc<lmtp::Config>),
    /// `pop3d`.
    Pop3(Arc<pop3::Config>),
    /// `timsieved`.
    Sieve(Arc<sieve::Config>),
    /// `rookery-map`: the list as a Postfix table.
    Map(Arc<postmap::Config>),
}

/// A record of TLS 1.0 to 1.3 with a fatal alert, `internal_error` (RFC 8446 section 6): nothing else can be said
/// to who has not been heard.
const TLS_REFUSAL: &[u8] = &[21, 3, 3, 0, 2, 2, 80];

impl Service {
    /// What a client hears for whom there is no place: as much as can be said before TLS, and nothing where
    /// clients speak first.
    pub fn refusal(&self) -> Option<&'static [u8]> {
        if self.tls {
            return Some(TLS_REFUSAL);
        }
        match &self.program {
            Program::Imap(_) => Some(b"* BYE [UNAVAILABLE] too many connections, try again later\r\n"),
            Program::Pop3(_) => Some(b"-ERR [SYS/TEMP] too many connections, try again later\r\n"),
            Program::Lmtp(_) => Some(b"421 4.3.2 too many connections, try again later\r\n"),
            Program::Sieve(_) => Some(b"BYE (TRYLATER) \"too many connections, try again later\"\r\n"),
            Program::Map(_) => None,
        }
    }

    /// The session of a new connection; `local` tells the address that the client came to, where that
    /// matters.
    pub fn session(&self, origin: Origin, local: impl FnOnce() -> Option<Box<str>>) -> Box<dyn Session> {
        match &self.program {
            Program::Imap(config) => {
                let mut session = imap::Session::new(Arc::clone(config), origin);
                if config.namespace.virtdomains == VirtDomains::On
                    && let Some(address) = local()
                {
                    session.came_to(&address);
                }
                Box::new(session)
            }
            Program::Map(config) => Box::new(postmap::Session::new(Arc::clone(config))),
            Program::Lmtp(config) => Box::new(lmtp::Session::new(Arc::clone(config), origin)),
            Program::Sieve(config) => {
                let mut session = sieve::Session::new(Arc::clone(config), origin);
                if config.common.namespace.virtdomains == VirtDomains::On
                    && let Some(address) = local()
                {
                    session.came_to(&address);
                }
                Box::new(session)
            }
            Program::Pop3(config) => {
                let mut session = pop3::Session::new(Arc::clone(config), origin);
                if config.common.namespace.virtdomains == VirtDomains::On
                    && let Some(address) = local()
                {
                    session.came_to(&address);
                }
                Box::new(session)
            }
        }
    }
}
