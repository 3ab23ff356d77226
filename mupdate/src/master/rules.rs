//! What a master does with RESERVE, ACTIVATE, DEACTIVATE and DELETE.
//!
//! ```text
//!              unknown      reserved            active, same server    active, another server
//!   RESERVE    reserve      same place: done    same place: done       NO exists
//!                           elsewhere: NO       elsewhere: NO
//!   ACTIVATE   activate     activate (3)        activate               NO, recorded (1)
//!   DEACTIVATE NO unknown   NO not active       reserve                NO, recorded (1)
//!   DELETE     NO unknown   delete              delete                 NO, recorded (2)
//!
//!   (1) done and recorded when the server pushes its list (ctl_mboxlist -m -a: it has sent LIST
//!       with its own prefix; ACTIVATE only), with `mupdate_config: replicated` or `unified`, and
//!       with the option for takeovers
//!   (2) a DELETE says no server: refused only when its address activates for one other server
//!       alone; done and recorded when the address is unknown or shared, or as under (1). From who
//!       has sent LIST with another server's prefix it is about a name that has left that server
//!       since: OK, nothing is done, recorded
//!   (3) OK, nothing is done: for the server that is moving the mailbox away, on another connection
//!       than the one that deactivated it. Cyrus 3.8 to 3.12 activates mailboxes with annotations, so
//!       those with a special use, once more at the source when XFER deletes them there: the
//!       destination's ACTIVATE would find them active elsewhere. XFER itself takes a move back on
//!       the connection that it began it on
//! ```
//!
//! Servers are compared in any case of letters. `server!` without a partition, which Cyrus 3.6 sends
//! after RENAME, is every place at that server.
//!
//! Deviates from Cyrus where that harms: RESERVE of an active mailbox at its own location leaves it
//! active (there it vanishes from all frontends), DELETE and DEACTIVATE of unknown names are
//! answered (there the master dies), and a server that has a leftover copy does not take the
//! mailbox of another over.
//!
//! [`decide`] is the one place where this stands: the server, the model check (tests/model.rs) and the
//! simulation run it.

use protocols::proxy::{Change, Location, MasterRequest};

use crate::list::is_storable_change;

/// `mupdate_config` as the master reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// A name is at one server.
    #[default]
    Standard,
    /// `unified` or `replicated`: RESERVE is never refused, DELETE of an unknown name is done.
    Shared,
}

/// Whether a server may change a name that is active at another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Takeover {
    /// As Cyrus: the last one has it. What happens is recorded.
    Allowed,
    /// NO: the name must be deactivated or deleted first, as XFER does.
    #[default]
    Refused,
}

/// The rules of a master.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rules {
    /// `mupdate_config`.
    pub mode: Mode,
    /// Whether a name can be taken from another server.
    pub takeover: Takeover,
}

impl Rules {
    /// Whether requests against another server's mailbox are done.
    fn is_lenient(&self) -> bool {
        self.mode == Mode::Shared || self.takeover == Takeover::Allowed
    }
}

/// What the list says of the name that a request is about.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Standing {
    /// Where it is.
    pub location: Location,
    /// Reserved, not active.
    pub reserved: bool,
}

/// What is known of who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Claim<'a> {
    /// The server that it said to be by a LIST of its own prefix.
    pub listed: Option<&'a [u8]>,
    /// Servers that have activated mailboxes from its address.
    pub servers: &'a [Box<[u8]>],
    /// Another connection has deactivated the name a while ago: a move may be under way.
    pub amid_move: bool,
}

/// What becomes of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// The change that it makes, none when the list says so already; or the text of the NO.
    pub change: Result<Option<Change>, &'static str>,
    /// It contradicts the server where the name is active, which is to be recorded.
    pub conflict: bool,
}

impl Decision {
    fn refused(why: &'static str) -> Decision {
        Decision { change: Err(why), conflict: false }
    }

    fn done(change: Change) -> Decision {
        Decision { change: Ok(Some(change)), conflict: false }
    }

    fn nothing_to_do() -> Decision {
        Decision { change: Ok(None), conflict: false }
    }
}

const EXISTS: &str = "mailbox already exists";
const UNKNOWN: &str = "mailbox doesn't exist";
const NOT_ACTIVE: &str = "mailbox not currently active";
const ELSEWHERE: &str = "mailbox is active on another server";

/// Decides a request about a name of which the list says `standing`.
pub fn decide(
    standing: Option<&Standing>,
    request: &MasterRequest,
    claim: Claim<'_>,
    rules: &Rules,
) -> Decision {
    let mut decision = match request {
        MasterRequest::Reserve { name, location } => match standing {
            Some(there) if is_same_place(&there.location, location) => Decision::nothing_to_do(),
            Some(_) if rules.mode == Mode::Standard => Decision::refused(EXISTS),
            Some(_) | None => Decision::done(reserved(name, location)),
        },
        MasterRequest::Activate(entry) => {
            let pushes = claim.listed.is_some_and(|server| entry.location.is_at(server));
            if claim.amid_move && !pushes && is_leaving(standing, &entry.location, rules) {
                return Decision::nothing_to_do();
            }
            let contradicts = is_active_elsewhere(standing, &entry.location);
            contest(Change::Active(entry.clone()), contradicts, pushes || rules.is_lenient())
        }
        MasterRequest::Deactivate { name, location } => match standing {
            None => Decision::refused(UNKNOWN),
            Some(there) if there.reserved => Decision::refused(NOT_ACTIVE),
            Some(_) => {
                let contradicts = is_active_elsewhere(standing, location);
                contest(reserved(name, location), contradicts, rules.is_lenient())
            }
        },
        MasterRequest::Delete { name } => match standing {
            None if rules.mode == Mode::Shared => Decision::nothing_to_do(),
            None => Decision::refused(UNKNOWN),
            Some(there) => {
                let (stranger, deleted) = (stranger(there, claim), Change::Deleted { name: name.clone() });
                match stranger {
                    Stranger::Pusher if !rules.is_lenient() => Decision { change: Ok(None), conflict: true },
                    Stranger::OfOneOther => contest(deleted, true, rules.is_lenient()),
                    Stranger::Pusher | Stranger::Unclear => contest(deleted, true, true),
                    Stranger::No => Decision::done(deleted),
                }
            }
        },
    };
    if let Ok(Some(change)) = &decision.change
        && !is_storable_change(change)
    {
        decision = Decision::refused("mailbox name, location or acl outside the limits");
    }
    decision
}

fn reserved(name: &[u8], location: &Location) -> Change {
    Change::Reserved { name: name.into(), location: location.clone() }
}

/// A change that contradicts another server is recorded, and done only if it may be.
fn contest(change: Change, contradicts: bool, may: bool) -> Decision {
    let change = if contradicts && !may { Err(ELSEWHERE) } else { Ok(Some(change)) };
    Decision { change, conflict: contradicts }
}

/// Whether both are one place: the server in any case of letters, the partition unless one is left
/// out.
fn is_same_place(a: &Location, b: &Location) -> bool {
    let (one, other) = (a.partition(), b.partition());
    let is_left_out = a.server().is_some() && (one.is_empty() || other.is_empty());
    a.shares_server(b) && (one == other || is_left_out)
}

/// Whether the mailbox is reserved at the server that activates it.
fn is_leaving(standing: Option<&Standing>, location: &Location, rules: &Rules) -> bool {
    rules.mode == Mode::Standard
        && standing.is_some_and(|there| there.reserved && there.location.shares_server(location))
}

fn is_active_elsewhere(standing: Option<&Standing>, location: &Location) -> bool {
    standing.is_some_and(|there| !there.reserved && !there.location.shares_server(location))
}

/// Whether a DELETE comes from another server than the mailbox's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stranger {
    /// No, or there is nothing to protect.
    No,
    /// It pushes the list of another server, whose the mailbox was a moment ago.
    Pusher,
    /// The address activates for one other server, and for no more.
    OfOneOther,
    /// The address is unknown, or several servers share it.
    Unclear,
}

fn stranger(there: &Standing, claim: Claim<'_>) -> Stranger {
    let Some(owner) = there.location.server() else { return Stranger::No };
    let is_owner = |server: &[u8]| server.eq_ignore_ascii_case(owner);
    match (claim.listed, claim.servers) {
        _ if there.reserved => Stranger::No,
        (Some(server), _) if is_owner(server) => Stranger::No,
        (Some(_), _) => Stranger::Pusher,
        (None, servers) if servers.iter().any(|server| is_owner(server)) => Stranger::No,
        (None, [_]) => Stranger::OfOneOther,
        (None, _) => Stranger::Unclear,
    }
}

#[cfg(test)]
mod tests;
