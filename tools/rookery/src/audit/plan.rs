//! What to do about the findings, in an order in which nothing can be lost: see [`Rank`].
//!
//! Only the master's list is ever changed from here: no step deletes mail or touches a backend. What
//! needs a decision, or a command on another host, is a step by hand.

use std::collections::BTreeMap;

use mupdate::list::List;
use protocols::mailbox::Namespace;
use serde::{Deserialize, Serialize};

use super::cause::cause;
use super::compare::{Comparison, Finding, Problem};
use super::model::{Holding, Murder, Said};
use crate::output::shown;

/// Entries of one backend that may be deleted without another word, in percent of what the master
/// has there; it is the share from which a frontend holds a dump back.
const DELETIONS_PERCENT_MAX: usize = 20;

/// Unless they are fewer than this.
const DELETIONS_MIN: usize = 100;

/// Names that a step by hand tells.
const NAMES_SHOWN_MAX: usize = 5;

/// A repair plan, as it is reviewed, kept in a file, and applied.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The master that it is for.
    pub(crate) master: String,
    /// In the order in which they are done.
    pub(crate) steps: Vec<Step>,
    /// Findings that nothing is done about before all backends were read.
    pub(crate) undecided: usize,
}

/// One step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Step {
    /// ACTIVATE at the master.
    Activate {
        /// The internal name.
        name: String,
        /// `server!partition`.
        location: String,
        /// As in MUPDATE.
        acl: String,
        /// What the master must say before.
        was: Was,
        /// Why.
        why: String,
    },
    /// DELETE at the master; the mail is where it was, if there is any.
    Forget {
        /// The internal name.
        name: String,
        /// What the master must say before.
        was: Was,
        /// Why.
        why: String,
    },
    /// For somebody with hands.
    ByHand {
        /// The server.
        at: String,
        /// What to do there.
        what: String,
        /// Why.
        why: String,
        /// How many mailboxes it is about.
        mailboxes: usize,
        /// The first of them.
        names: Vec<String>,
    },
}

/// What the master said when the plan was made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum Was {
    /// Nothing.
    Absent,
    /// A reservation.
    Reserved {
        /// Where.
        location: String,
    },
    /// A mailbox.
    Active {
        /// Where.
        location: String,
        /// As in MUPDATE.
        acl: String,
    },
}

impl Was {
    /// What was said, as text; bytes that are no UTF-8 are in no plan.
    pub(crate) fn of(said: &Said) -> Option<Was> {
        Some(match said {
            Said::Nothing => Was::Absent,
            Said::Reserved { location } => Was::Reserved { location: exact(&location.0)? },
            Said::Active { location, acl } => Was::Active { location: exact(&location.0)?, acl: exact(acl)? },
        })
    }
}

impl Step {
    /// Whether this program can do it.
    pub(crate) fn is_automatic(&self) -> bool {
        self.subject().is_some()
    }

    /// The mailbox that the master's list is changed for, and what it must say of it before.
    pub(crate) fn subject(&self) -> Option<(&[u8], &Was)> {
        match self {
            Step::Activate { name, was, .. } | Step::Forget { name, was, .. } => Some((name.as_bytes(), was)),
            Step::ByHand { .. } => None,
        }
    }
}

/// What an operator allows beyond what is safe by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deletions {
    /// Few of a backend's entries may go.
    Few,
    /// As many as it takes.
    Any,
}

/// Makes a plan of findings.
pub(crate) fn plan(
    master: &str,
    murder: &Murder,
    comparison: &Comparison,
    namespace: &Namespace,
    deletions: Deletions,
) -> Plan {
    let suspects = match deletions {
        Deletions::Few => suspects(murder, comparison),
        Deletions::Any => Vec::new(),
    };
    let mut planner = Planner { murder, namespace, suspects, steps: Vec::new(), by_hand: BTreeMap::new() };
    let mut undecided = 0;
    for finding in &comparison.findings {
        if finding.is_uncertain {
            undecided += 1;
        } else {
            planner.decide(finding);
        }
    }
    let mut steps = planner.steps;
    steps.extend(planner.by_hand.into_values());
    steps.sort_by_key(|(rank, _)| *rank);
    Plan { master: master.into(), steps: steps.into_iter().map(|(_, step)| step).collect(), undecided }
}

/// Backends so many of whose entries are orphans that their own lists are in doubt.
fn suspects(murder: &Murder, comparison: &Comparison) -> Vec<Box<[u8]>> {
    let mut orphans: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for finding in comparison.findings.iter().filter(|finding| finding.problem == Problem::Orphan) {
        *orphans.entry(server_key(&finding.master)).or_default() += 1;
    }
    let is_too_much = |(server, orphans): &(Vec<u8>, usize)| {
        let entries = entries_of(&murder.master, server);
        let is_empty = *orphans == entries;
        is_empty || (*orphans >= DELETIONS_MIN && orphans * 100 > entries * DELETIONS_PERCENT_MAX)
    };
    orphans.into_iter().filter(is_too_much).map(|(server, _)| server.into()).collect()
}

fn server_key(said: &Said) -> Vec<u8> {
    said.location().and_then(|location| location.server()).unwrap_or_default().to_ascii_lowercase()
}

/// Entries of a list at one server.
fn entries_of(list: &List, server: &[u8]) -> usize {
    let mut cursor = list.iter_from(b"");
    let mut count = 0;
    while let Some(row) = cursor.next() {
        count += usize::from(row.location.server().unwrap_or_default().eq_ignore_ascii_case(server));
    }
    count
}

/// The order of steps. What makes mailboxes reachable comes before anybody runs `ctl_mboxlist -m`:
/// Cyrus' deletes the copy of every mailbox that the master has elsewhere, also the only one. For the
/// same reason owners are chosen before the sources of moves are synchronised.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Reach,
    Correct,
    Forget,
    Owner,
    Source,
    Frontend,
    Decide,
}

struct Planner<'a> {
    murder: &'a Murder,
    namespace: &'a Namespace,
    suspects: Vec<Box<[u8]>>,
    steps: Vec<(Rank, Step)>,
    /// One step for all mailboxes that need the same at the same place.
    by_hand: BTreeMap<(Rank, String, &'static str), (Rank, Step)>,
}

impl Planner<'_> {
    fn decide(&mut self, finding: &Finding) {
        match finding.problem {
            Problem::MoveNotAnnounced | Problem::WrongServer | Problem::MissingAtMaster => {
                self.activate(Rank::Reach, finding);
            }
            Problem::NotActivated => match finding.holders.first() {
                Some(Holding { moving_to: Some(_), .. }) => self.at_source(finding),
                Some(_) | None => self.activate(Rank::Reach, finding),
            },
            Problem::MoveInterrupted | Problem::StillFlagged => self.at_source(finding),
            Problem::WrongPartition | Problem::WrongAcl => self.activate(Rank::Correct, finding),
            Problem::StaleReservation => self.forget(finding),
            Problem::Orphan if self.is_suspect(finding) => {
                let at = shown(&server_key(&finding.master));
                self.hand(Rank::Decide, at, LOOK_AT_BACKEND, finding);
            }
            Problem::Orphan => self.forget(finding),
            Problem::StaleFrontend => self.at_frontends(finding),
            Problem::DoubleOwner => {
                let at = finding.holders.iter().map(|holder| shown(holder.server()));
                let at = at.collect::<Vec<_>>().join(" and ");
                self.hand(Rank::Owner, at, CHOOSE_OWNER, finding);
            }
        }
    }

    fn is_suspect(&self, finding: &Finding) -> bool {
        self.suspects.contains(&server_key(&finding.master).into())
    }

    fn why(&self, finding: &Finding) -> String {
        cause(finding, &self.murder.frontends, self.namespace)
    }

    /// The one holder is right.
    fn activate(&mut self, rank: Rank, finding: &Finding) {
        let step = || {
            let [holder] = &finding.holders[..] else { return None };
            // A backend that does not tell its partitions.
            if holder.location.partition().is_empty() {
                return None;
            }
            Some(Step::Activate {
                name: exact(&finding.name)?,
                location: exact(&holder.location.0)?,
                acl: exact(holder.acl.as_deref()?)?,
                was: Was::of(&finding.master)?,
                why: self.why(finding),
            })
        };
        match step() {
            Some(step) => self.steps.push((rank, step)),
            None => self.hand(Rank::Decide, "the master".into(), ASK_AGAIN, finding),
        }
    }

    fn forget(&mut self, finding: &Finding) {
        match (exact(&finding.name), Was::of(&finding.master)) {
            (Some(name), Some(was)) => {
                let why = self.why(finding);
                self.steps.push((Rank::Forget, Step::Forget { name, was, why }));
            }
            (None, _) | (_, None) => self.hand(Rank::Decide, "the master".into(), ASK_AGAIN, finding),
        }
    }

    fn at_source(&mut self, finding: &Finding) {
        let at = shown(finding.master.location().and_then(|location| location.server()).unwrap_or_default());
        self.hand(Rank::Source, at, SYNC_SOURCE, finding);
    }

    fn at_frontends(&mut self, finding: &Finding) {
        for (at, _) in &finding.frontends {
            let frontend = &self.murder.frontends[*at];
            let what = match &frontend.state {
                Some(state) if state.is_held_back => ACCEPT,
                Some(_) => RECONNECT,
                None => RESTART_SLAVE,
            };
            self.hand(Rank::Frontend, frontend.name.to_string(), what, finding);
        }
    }

    fn hand(&mut self, rank: Rank, at: String, what: &'static str, finding: &Finding) {
        let why = self.why(finding);
        let entry = self.by_hand.entry((rank, at.clone(), what)).or_insert_with(|| {
            (rank, Step::ByHand { at, what: what.into(), why, mailboxes: 0, names: Vec::new() })
        });
        if let (_, Step::ByHand { mailboxes, names, .. }) = entry {
            *mailboxes += 1;
            if names.len() < NAMES_SHOWN_MAX {
                names.push(shown(&finding.name));
            }
        }
    }
}

const SYNC_SOURCE: &str = "if no move is running: look at what ctl_mboxlist -mw would remove here, then run ctl_mboxlist \
                           -m, here and not on the other server before, where it could delete the only copy; then audit \
                           again";
const CHOOSE_OWNER: &str = "where XFER of a user broke off, repeat it from the server that the master names, which joins \
                            the copies; else compare them and choose an owner; RENAME the other copy away on its own \
                            backend, and run ctl_mboxlist -m on the owner if its entry went with that; never run Cyrus' \
                            ctl_mboxlist -m on the other before: it deletes its copy";
const LOOK_AT_BACKEND: &str =
    "look whether this backend has lost its mailboxes.db; if not, audit again with --accept-deletions";
const ASK_AGAIN: &str =
    "audit again with rights and partitions; names that are no UTF-8 are repaired with mupdatetest";
const ACCEPT: &str = "look at the master's list; if it is right, run rookery accept here";
const RECONNECT: &str = "see rookery status here: its list follows as soon as it reaches the master";
const RESTART_SLAVE: &str = "restart the MUPDATE slave here: it reads the whole list again";

/// Text that stands for exactly these bytes.
fn exact(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

#[cfg(test)]
mod tests;
