//! What an LMTP session is configured with. Option names in the comments are those of imapd.conf.

use std::sync::Arc;
use std::time::Duration;

use super::address::AddressPolicy;
use crate::imap;
use crate::login::config::Common;

/// The configuration of all LMTP sessions of one service of a frontend.
#[derive(Clone, Debug)]
pub struct Config {
    /// What all protocols have; `admins` are who may deliver where clients log in.
    pub common: Common,
    /// `autocreate_post`: how recipients without a mailbox get one.
    pub homes: Option<Arc<imap::Config>>,
    /// How addresses read.
    pub address: AddressPolicy,
    /// `lmtpd -a`: clients need not log in. Those of UNIX sockets never need.
    pub trust: Trust,
    /// `soft_noauth`: who has not logged in is told to come back.
    pub soft_noauth: bool,
    /// `rookery_lmtp_verify`: who says at RCPT whether a recipient is taken.
    pub verify: Verify,
    /// `maxmessagesize`; `None` leaves it to the backends.
    pub message_bytes_max: Option<u64>,
    /// How long things may take.
    pub timeouts: Timeouts,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            common: Common::default(),
            homes: None,
            address: AddressPolicy::default(),
            trust: Trust::LoggedIn,
            soft_noauth: true,
            verify: Verify::Backend,
            message_bytes_max: None,
            timeouts: Timeouts::default(),
        }
    }
}

/// Which clients over TCP may deliver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trust {
    /// All.
    Everybody,
    /// Administrators who logged in.
    LoggedIn,
}

/// Who says at RCPT whether a recipient is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verify {
    /// The list, and then the backend, which knows quota and rights.
    Backend,
    /// The list alone, as Cyrus does: what the backend says of a recipient is told behind the message.
    List,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// A client that says nothing for so long is left (Cyrus: 6 minutes).
    pub client: Duration,
    /// `rookery_lmtp_envelope_timeout`: how long a backend may think about MAIL, RCPT and DATA while all
    /// recipients wait.
    pub envelope: Duration,
    /// `lmtptxn_timeout`: how long it may think about a message.
    pub delivery: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            client: Duration::from_secs(360),
            envelope: Duration::from_secs(30),
            delivery: Duration::from_secs(300),
        }
    }
}
