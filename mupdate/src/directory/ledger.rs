//! What a master remembers beside the list: who claims what.
//!
//! Three things can be asked, all plain values that may be sent to another thread:
//!
//! * [`Directory::conflicts`]: requests that contradicted the server where a mailbox is active, with
//!   both claimants, done or refused. The newest [`CONFLICTS_MAX`] of those that name a location or
//!   were refused, and as many DELETEs that were done; one request repeated is one conflict.
//! * [`Directory::reservations`]: names that are reserved, and since when. One that grows old is
//!   left of a CREATE or a move that broke off.
//! * [`Directory::unfinished_moves`]: names that were deactivated, by which a move begins, and whose
//!   source has asked for the list of its mailboxes since (so it has started again, or is being
//!   synchronised) without activating or deleting them. The safe order to repair one: first
//!   `ctl_mboxlist -m` at the source, then at the destination. At the destination first it would
//!   delete the only copy there is.
//!
//! All of it is kept in the store as [`Note`]s, beside the changes that it belongs to. Times are
//! wall clock, as the requests brought them.

mod record;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use protocols::proxy::{Change, Location, MasterRequest, Requester};

use super::Directory;
use crate::list::List;

/// Conflicts that are kept of either kind; the oldest is forgotten for a new one.
pub const CONFLICTS_MAX: usize = 1_000;

/// Reserved names whose age is known; of more it is not.
pub const RESERVATIONS_MAX: usize = 100_000;

/// Addresses that are remembered; of more it is not known for whom they activate.
pub const ADDRESSES_MAX: usize = 4_096;

/// Servers that are remembered of one address: two are as good as many.
pub const SERVERS_OF_ADDRESS_MAX: usize = 16;

/// How long a move may take from the DEACTIVATE to the destination's ACTIVATE: the last copying of what is new, the
/// user's other data, the deletion at the source. A name that is reserved longer is left of a move that broke off.
const MOVE_SECONDS_MAX: u64 = 3_600;

/// A request that contradicted the server where a mailbox is active.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conflict {
    /// The internal name.
    pub name: Box<[u8]>,
    /// What was asked for.
    pub kind: ConflictKind,
    /// What became of it.
    pub outcome: ConflictOutcome,
    /// Where the mailbox was active.
    pub owner: Location,
    /// The other claimant: where it says that the mailbox is. `None` for a DELETE, which says nothing.
    pub claimed: Option<Location>,
    /// Where the request came from; `None` for a UNIX socket.
    pub address: Option<IpAddr>,
    /// Servers that had activated mailboxes from that address.
    pub servers: Vec<Box<[u8]>>,
    /// When it was asked first, seconds since 1970.
    pub first_unix: u64,
    /// When it was asked last, seconds since 1970.
    pub last_unix: u64,
    /// The newest change of the list when it was asked last.
    pub sequence: u64,
    /// How often.
    pub times: u64,
}

/// What was asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ConflictKind {
    /// ACTIVATE.
    Activate,
    /// DEACTIVATE.
    Deactivate,
    /// DELETE.
    Delete,
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ConflictOutcome {
    /// It was answered NO, or OK and not done: the owner has the mailbox.
    Refused,
    /// It was done: the owner has lost the mailbox.
    Done,
}

/// A name that is reserved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reservation {
    /// The internal name.
    pub name: Box<[u8]>,
    /// Where.
    pub location: Location,
    /// By which command.
    pub cause: ReservationCause,
    /// Since when, seconds since 1970; `None` when it came with a list from elsewhere.
    pub since_unix: Option<u64>,
    /// When the server asked for the list of its mailboxes last, without changing this one since.
    pub listed_unix: Option<u64>,
}

/// Why a name is reserved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReservationCause {
    /// RESERVE: it is being created.
    Reserve,
    /// DEACTIVATE: it is being moved away.
    Deactivate,
}

/// A move that broke off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnfinishedMove {
    /// The internal name.
    pub name: Box<[u8]>,
    /// The server that began to move it away, where the list says that it is reserved.
    pub source: Location,
    /// When it was deactivated, seconds since 1970.
    pub deactivated_unix: Option<u64>,
    /// When the source asked for the list of its mailboxes last, seconds since 1970.
    pub listed_unix: u64,
}

/// One thing to keep in the store, under a key; without a value it is to be removed.
pub type Note = (Vec<u8>, Option<Vec<u8>>);

/// One thing that the store has kept: its key and its value.
pub type KeptNote = (Vec<u8>, Vec<u8>);

/// What tells conflicts apart. DELETEs that were done have a share of their own, so that they do
/// not push the others out.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct ConflictKey {
    is_done_delete: bool,
    name: Box<[u8]>,
    kind: ConflictKind,
    claimed: Option<Box<[u8]>>,
    address: Option<IpAddr>,
}

/// The memory.
#[derive(Default)]
pub(super) struct Ledger {
    conflicts: BTreeMap<ConflictKey, Conflict>,
    reservations: BTreeMap<Box<[u8]>, Reservation>,
    /// Of those by DEACTIVATE, which connection it was. No connection outlives the master, so it is not kept.
    movers: BTreeMap<Box<[u8]>, u64>,
    addresses: BTreeMap<IpAddr, Vec<Box<[u8]>>>,
    /// What the store has not heard of.
    unwritten: BTreeSet<What>,
}

/// A place in the memory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Conflict(ConflictKey),
    Reservation(Box<[u8]>),
    Address(IpAddr),
}

impl Ledger {
    /// Begins with what was stored; what makes no sense is left out.
    pub(super) fn load(notes: &[KeptNote], list: &List) -> Ledger {
        let mut ledger = Ledger::default();
        for (key, value) in notes {
            match record::decode(key, value) {
                Some(record::Record::Conflict(conflict)) => {
                    ledger.conflicts.insert(conflict_key(&conflict), conflict);
                }
                Some(record::Record::Reservation(reservation)) => {
                    ledger.reservations.insert(reservation.name.clone(), reservation);
                }
                Some(record::Record::Address(address, servers)) => {
                    ledger.addresses.insert(address, servers);
                }
                None => {}
            }
        }
        ledger.match_list(list);
        ledger
    }

    /// Makes the reservations those of a list.
    pub(super) fn match_list(&mut self, list: &List) {
        let mut known = std::mem::take(&mut self.reservations);
        let mut rows = list.iter_from(b"");
        while let Some(row) = rows.next() {
            if !row.reserved || self.reservations.len() >= RESERVATIONS_MAX {
                continue;
            }
            let name: Box<[u8]> = row.name.into();
            let reservation = known.remove(&name).unwrap_or_else(|| Reservation {
                name: name.clone(),
                location: row.location.clone(),
                cause: ReservationCause::Reserve,
                since_unix: None,
                listed_unix: None,
            });
            self.reservations.insert(name, reservation);
        }
        let reservations = &self.reservations;
        self.movers.retain(|name, _| reservations.contains_key(name));
        for name in known.into_keys() {
            self.unwritten.insert(What::Reservation(name));
        }
    }

    /// Servers that have activated mailboxes from an address.
    pub(super) fn servers(&self, address: Option<IpAddr>) -> &[Box<[u8]>] {
        address.and_then(|address| self.addresses.get(&address)).map_or(&[], Vec::as_slice)
    }

    /// Remembers a change that was accepted.
    pub(super) fn changed(&mut self, change: &Change, cause: ReservationCause, requester: &Requester) {
        match change {
            Change::Active(entry) => {
                self.release(&entry.name);
                if let (Some(address), Some(server)) = (requester.address, entry.location.server()) {
                    self.learn(address, server);
                }
            }
            Change::Deleted { name } => self.release(name),
            Change::Reserved { name, location } => {
                if self.reservations.len() >= RESERVATIONS_MAX && !self.reservations.contains_key(name) {
                    return;
                }
                let reservation = Reservation {
                    name: name.clone(),
                    location: location.clone(),
                    cause,
                    since_unix: Some(requester.unix_time),
                    listed_unix: None,
                };
                self.reservations.insert(name.clone(), reservation);
                match cause {
                    ReservationCause::Deactivate => self.movers.insert(name.clone(), requester.connection),
                    ReservationCause::Reserve => self.movers.remove(name),
                };
                self.unwritten.insert(What::Reservation(name.clone()));
            }
        }
    }

    /// Whether another connection has deactivated a name, and its move may not be over.
    pub(super) fn is_moved_by_another(&self, name: &[u8], requester: &Requester) -> bool {
        let is_another = self.movers.get(name).is_some_and(|mover| *mover != requester.connection);
        let since = self.reservations.get(name).and_then(|reservation| reservation.since_unix);
        is_another && since.is_some_and(|since| requester.unix_time.saturating_sub(since) <= MOVE_SECONDS_MAX)
    }

    fn release(&mut self, name: &[u8]) {
        self.movers.remove(name);
        if self.reservations.remove(name).is_some() {
            self.unwritten.insert(What::Reservation(name.into()));
        }
    }

    fn learn(&mut self, address: IpAddr, server: &[u8]) {
        if self.addresses.len() >= ADDRESSES_MAX && !self.addresses.contains_key(&address) {
            return;
        }
        let servers = self.addresses.entry(address).or_default();
        if servers.len() < SERVERS_OF_ADDRESS_MAX
            && !servers.iter().any(|known| known.eq_ignore_ascii_case(server))
        {
            servers.push(server.into());
            self.unwritten.insert(What::Address(address));
        }
    }

    /// Remembers a request that contradicted the owner of a mailbox.
    pub(super) fn contradicted(
        &mut self,
        request: &MasterRequest,
        owner: &Location,
        outcome: ConflictOutcome,
        requester: &Requester,
        sequence: u64,
    ) {
        let (kind, name, claimed) = match request {
            MasterRequest::Activate(entry) => {
                (ConflictKind::Activate, &entry.name, Some(entry.location.clone()))
            }
            MasterRequest::Deactivate { name, location } => {
                (ConflictKind::Deactivate, name, Some(location.clone()))
            }
            MasterRequest::Delete { name } => (ConflictKind::Delete, name, None),
            // A RESERVE contradicts nobody: it is refused.
            MasterRequest::Reserve { .. } => return,
        };
        let mut conflict = Conflict {
            name: name.clone(),
            kind,
            outcome,
            owner: owner.clone(),
            claimed,
            address: requester.address,
            servers: self.servers(requester.address).to_vec(),
            first_unix: requester.unix_time,
            last_unix: requester.unix_time,
            sequence,
            times: 1,
        };
        let key = conflict_key(&conflict);
        if let Some(before) = self.conflicts.get(&key) {
            conflict.first_unix = before.first_unix;
            conflict.times = before.times.saturating_add(1);
        }
        self.conflicts.insert(key.clone(), conflict);
        self.forget_oldest(key.is_done_delete);
        self.unwritten.insert(What::Conflict(key));
    }

    /// Keeps the number of conflicts of one share within its limit.
    fn forget_oldest(&mut self, done_deletes: bool) {
        let share = || self.conflicts.iter().filter(|(key, _)| key.is_done_delete == done_deletes);
        if share().count() <= CONFLICTS_MAX {
            return;
        }
        let oldest = share().min_by_key(|(_, conflict)| (conflict.last_unix, conflict.sequence));
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.conflicts.remove(&key);
            self.unwritten.insert(What::Conflict(key));
        }
    }

    fn forget(&mut self, until_unix: u64) -> usize {
        let old = self.conflicts.extract_if(.., |_, conflict| conflict.last_unix <= until_unix);
        let old: Vec<ConflictKey> = old.map(|(key, _)| key).collect();
        let count = old.len();
        self.unwritten.extend(old.into_iter().map(What::Conflict));
        count
    }

    /// A server asked for the list of its mailboxes.
    pub(super) fn listed(&mut self, server: &[u8], unix_time: u64) {
        for (name, reservation) in &mut self.reservations {
            if reservation.location.is_at(server) {
                reservation.listed_unix = Some(unix_time);
                self.unwritten.insert(What::Reservation(name.clone()));
            }
        }
    }

    /// Whether the store has not heard of something.
    pub(super) fn has_notes(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// What the store has not heard of.
    pub(super) fn take_notes(&mut self) -> Vec<Note> {
        let unwritten = std::mem::take(&mut self.unwritten);
        unwritten.into_iter().map(|what| self.note(&what)).collect()
    }

    fn note(&self, what: &What) -> Note {
        match what {
            What::Conflict(key) => (record::conflict_key(key), self.conflicts.get(key).map(record::conflict)),
            What::Reservation(name) => {
                (record::reservation_key(name), self.reservations.get(name).map(record::reservation))
            }
            What::Address(address) => {
                let servers = self.addresses.get(address).map(|servers| record::servers(servers));
                (record::address_key(*address), servers)
            }
        }
    }

    /// There is no store that could hear of anything.
    pub(super) fn discard_notes(&mut self) {
        self.unwritten.clear();
    }

    /// A write was lost: the store may have heard of nothing.
    pub(super) fn forget_written(&mut self) {
        self.unwritten.extend(self.conflicts.keys().cloned().map(What::Conflict));
        self.unwritten.extend(self.reservations.keys().cloned().map(What::Reservation));
        self.unwritten.extend(self.addresses.keys().copied().map(What::Address));
    }
}

fn conflict_key(conflict: &Conflict) -> ConflictKey {
    ConflictKey {
        is_done_delete: conflict.kind == ConflictKind::Delete && conflict.outcome == ConflictOutcome::Done,
        name: conflict.name.clone(),
        kind: conflict.kind,
        claimed: conflict.claimed.as_ref().map(|location| (*location.0).into()),
        address: conflict.address,
    }
}

impl Directory {
    /// Requests that contradicted the owner of a mailbox, the newest last.
    pub fn conflicts(&self) -> Vec<Conflict> {
        let mut conflicts: Vec<Conflict> = self.ledger.conflicts.values().cloned().collect();
        conflicts.sort_by_key(|conflict| (conflict.last_unix, conflict.sequence));
        conflicts
    }

    /// Forgets conflicts, but for those that came up after a time, seconds since 1970; how many.
    pub fn forget_conflicts(&mut self, until_unix: u64) -> usize {
        let count = self.ledger.forget(until_unix);
        if !self.config.has_store {
            self.ledger.discard_notes();
        }
        count
    }

    /// Names that are reserved, in order of their names.
    pub fn reservations(&self) -> Vec<Reservation> {
        self.ledger.reservations.values().cloned().collect()
    }

    /// Moves that broke off, in order of their names.
    pub fn unfinished_moves(&self) -> Vec<UnfinishedMove> {
        let deactivated = self.ledger.reservations.values();
        let deactivated = deactivated.filter(|at| at.cause == ReservationCause::Deactivate);
        let unfinished = deactivated.filter_map(|at| {
            Some(UnfinishedMove {
                name: at.name.clone(),
                source: at.location.clone(),
                deactivated_unix: at.since_unix,
                listed_unix: at.listed_unix?,
            })
        });
        unfinished.collect()
    }
}
