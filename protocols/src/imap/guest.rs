//! A client who has not logged in, and how far his login is.

use std::sync::Arc;

use super::backend::Tag;
use crate::login::attempt::Attempt;
use crate::login::waiting::Waiting;
use crate::mailbox::Identity;
use crate::mailbox::names::MagicPlus;
use crate::proxy::{BackendId, Instant};

/// A client that has not logged in.
pub(super) struct Guest {
    pub(super) tls: bool,
    pub(super) stage: Stage,
    pub(super) domain: Domain,
}

/// The domain of users who name none (`virtdomains: on`).
pub(super) enum Domain {
    /// There is none, or it is not wanted.
    Nothing,
    /// The reverse name of the address that the client came to is looked up; he waits.
    Awaited,
    /// It is this one.
    Of(Box<str>),
}

/// How far his login is.
pub(super) enum Stage {
    Idle,
    /// STARTTLS was answered.
    Securing,
    /// It is being decided who the client is.
    Deciding(Box<Deciding>),
    /// The capabilities for the OK are asked for.
    Finishing {
        decided: Box<Deciding>,
        identity: Arc<Identity>,
    },
    /// The refusal is held back.
    Pausing {
        tag: Tag,
        text: &'static [u8],
        until: Instant,
    },
}

/// A command that logs in.
pub(super) struct Deciding {
    pub(super) tag: Tag,
    pub(super) how: How,
    pub(super) attempt: Attempt,
    /// The connection that tries the password.
    pub(super) tries: Option<BackendId>,
    /// The connection at the home on which the user logged in himself.
    pub(super) home: Option<BackendId>,
    /// A mailbox that it depends on is being moved.
    pub(super) waiting: Waiting,
}

/// The command of a login.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Login,
    Authenticate,
}

impl Guest {
    pub(super) fn new(tls: bool) -> Guest {
        Guest { tls, stage: Stage::Idle, domain: Domain::Nothing }
    }

    /// A client that was logged in.
    pub(super) fn again(tls: bool, domain: Option<Box<Domain>>) -> Guest {
        Guest { tls, stage: Stage::Idle, domain: domain.map_or(Domain::Nothing, |domain| *domain) }
    }

    /// Whether TLS is on.
    pub(super) fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whether he waits for a mailbox that is being moved.
    pub(super) fn waits_for_move(&self) -> bool {
        matches!(&self.stage, Stage::Deciding(deciding) if deciding.waiting.is_on())
    }

    /// The end of a pause.
    pub(super) fn pause_until(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Pausing { until, .. } => Some(*until),
            Stage::Deciding(deciding) => deciding.waiting.due(),
            Stage::Idle | Stage::Securing | Stage::Finishing { .. } => None,
        }
    }

    /// The domain of users who name none, once it is known.
    pub(super) fn domain(&self) -> Option<&str> {
        match &self.domain {
            Domain::Of(domain) => Some(domain),
            Domain::Nothing | Domain::Awaited => None,
        }
    }
}

/// What `imapmagicplus` makes of the name that a client logged in with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Plus {
    /// Nothing.
    #[default]
    Nothing,
    /// `user+`: LIST shows subscribed mailboxes.
    Subscribed,
    /// `user+dav`: LIST shows what is no mail.
    Dav,
}

impl Plus {
    /// What stood behind the plus says this.
    pub(super) fn of(magic: Option<&MagicPlus>) -> Plus {
        match magic {
            Some(MagicPlus::Subscribed) => Plus::Subscribed,
            Some(MagicPlus::Dav) => Plus::Dav,
            Some(MagicPlus::Other(_)) | None => Plus::Nothing,
        }
    }
}
