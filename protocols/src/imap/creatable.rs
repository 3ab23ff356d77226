//! Whether a mailbox that is not there could be created, which is what `[TRYCREATE]` says.
//!
//! "Unless it is certain that the destination mailbox cannot be created, the server MUST send the
//! response code \[TRYCREATE\]" (RFC 9051 section 6.3.12). It is certain where the nearest parent does
//! not give the right `k`, and where there is no parent: only administrators create at the top.

use super::answers::ABSENT;
use super::task::{Context, Want};
use crate::mailbox::acl::{self, Rights};
use crate::mailbox::names;
use crate::proxy::{Finding, Freshness};

/// The answer where it is not certain.
pub(super) const TRY_CREATE: &[u8] = b"NO [TRYCREATE] Mailbox does not exist";
/// The look-ups of the parents of a name, nearest first.
#[derive(Debug)]
pub(super) struct Creatable {
    parents: std::vec::IntoIter<Vec<u8>>,
}

/// What follows.
#[derive(Debug)]
pub(super) enum Verdict {
    /// This look-up tells more.
    Ask(Want),
    /// What stands behind the tag of the answer.
    Answer(&'static [u8]),
}

impl Creatable {
    /// Begins with an internal name that is proven absent.
    pub(super) fn new(name: &[u8], cx: &Context<'_>) -> (Creatable, Verdict) {
        let parents: Vec<Vec<u8>> = names::parents(name).map(<[u8]>::to_vec).collect();
        let mut creatable = Creatable { parents: parents.into_iter() };
        let verdict =
            if cx.identity.is_admin { Verdict::Answer(TRY_CREATE) } else { creatable.next_parent() };
        (creatable, verdict)
    }

    /// Takes what was found of the parent that was asked for.
    pub(super) fn handle_finding(&mut self, finding: &Finding, cx: &Context<'_>) -> Verdict {
        match finding {
            Finding::Active(parent) => {
                let rights = acl::rights(&parent.acl, &parent.name, cx.identity, &cx.config.acl);
                Verdict::Answer(if rights.contains(Rights::K) { TRY_CREATE } else { ABSENT })
            }
            Finding::Reserved { .. } | Finding::Unknown => Verdict::Answer(TRY_CREATE),
            Finding::Absent => self.next_parent(),
        }
    }

    fn next_parent(&mut self) -> Verdict {
        match self.parents.next() {
            Some(name) => Verdict::Ask(Want::Find { name, freshness: Freshness::Snapshot }),
            None => Verdict::Answer(ABSENT),
        }
    }
}
