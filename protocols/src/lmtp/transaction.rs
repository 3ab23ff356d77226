//! One message on its way: its sender, its recipients, and what became of each.

use super::address::{Recipient as Address, Target};
use super::grammar::Body;
use super::text::Text;
use crate::proxy::BackendId;

/// Recipients of one message; Cyrus has no limit, RFC 5321 asks for 100.
pub(super) const RECIPIENTS_MAX: usize = 1000;

/// RCPTs without a reply at which no more are read.
pub(super) const RECIPIENTS_AHEAD_MAX: usize = 100;

/// A message from MAIL to the last reply.
pub(super) struct Transaction {
    /// The path of the sender, with its brackets.
    pub(super) sender: Box<[u8]>,
    /// `SIZE=`.
    pub(super) size: Option<u64>,
    /// `BODY=`.
    pub(super) body: Option<Body>,
    /// `AUTH=`.
    pub(super) auth: Option<Box<[u8]>>,
    pub(super) recipients: Vec<Recipient>,
    /// Recipients that the client has a reply to RCPT of.
    pub(super) told: usize,
    /// Recipients that the client has a reply to the message of, or needs none.
    pub(super) delivered: usize,
    pub(super) stage: Stage,
}

/// How far a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// RCPTs come.
    Envelope,
    /// DATA came; backends are asked.
    Wanted,
    /// The message comes.
    Streaming,
    /// It has ended.
    Ended,
}

/// A recipient.
pub(super) struct Recipient {
    pub(super) address: Address,
    pub(super) target: Target,
    pub(super) ignore_quota: bool,
    /// The sender may post here, by the ACL that the list has.
    pub(super) may_post: bool,
    /// The client was told that he is taken.
    pub(super) accepted: bool,
    /// His server changed once.
    pub(super) rerouted: bool,
    pub(super) fate: Fate,
}

/// What becomes of a recipient.
pub(super) enum Fate {
    /// He is looked up.
    Looking(Look),
    /// He is told, or will be, to a backend.
    Asked(BackendId),
    /// A backend took him.
    Taken(BackendId, Text),
    /// This is the answer.
    Over(Text),
}

/// Why a recipient is looked up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Look {
    /// To find his server.
    First,
    /// His name is reserved: is it still?
    Reserved,
    /// He is nobody, and gets a home.
    Home,
    /// He should have a home.
    Housed,
    /// He is nobody: a shared mailbox of a name like his.
    Fuzzy {
        /// The best so far, and how much of the name is like it.
        best: Option<(Box<[u8]>, usize)>,
        pages: u8,
    },
    /// He is nobody: who gets such mail.
    Catchall,
    /// A backend says that he is nobody.
    Doubt {
        /// Which.
        server: Box<str>,
    },
}

impl Recipient {
    /// Whether it is known what the client is told.
    pub(super) fn is_resolved(&self) -> bool {
        match self.fate {
            Fate::Looking(_) | Fate::Asked(_) => false,
            Fate::Taken(..) | Fate::Over(_) => true,
        }
    }

    /// The connection that he is at.
    pub(super) fn peer(&self) -> Option<BackendId> {
        match self.fate {
            Fate::Asked(id) | Fate::Taken(id, _) => Some(id),
            Fate::Looking(_) | Fate::Over(_) => None,
        }
    }
}

impl Transaction {
    /// Whether the message has come and replies are owed.
    pub(super) fn is_ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    /// Whether DATA has come.
    pub(super) fn is_wanted(&self) -> bool {
        self.stage != Stage::Envelope
    }

    /// Whether every recipient is found.
    pub(super) fn is_routed(&self) -> bool {
        !self.recipients.iter().any(|recipient| matches!(recipient.fate, Fate::Looking(_)))
    }

    /// Whether every RCPT has its answer.
    pub(super) fn is_resolved(&self) -> bool {
        self.recipients.iter().all(Recipient::is_resolved)
    }
}
