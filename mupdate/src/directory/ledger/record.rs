//! The memory of a master as bytes for the store.
//!
//! ```text
//!   "c" conflict key    -> conflict          number  8 octets, big endian
//!   "r" name            -> reservation       string  length (4 octets), octets
//!   "a" address         -> servers           option  0, or 1 and the value
//! ```

use std::net::IpAddr;

use protocols::proxy::Location;

use super::{Conflict, ConflictKey, ConflictKind, ConflictOutcome, Reservation, ReservationCause};

/// What a note says.
pub(super) enum Record {
    Conflict(Conflict),
    Reservation(Reservation),
    Address(IpAddr, Vec<Box<[u8]>>),
}

pub(super) fn conflict_key(key: &ConflictKey) -> Vec<u8> {
    let mut out = vec![b'c', u8::from(key.is_done_delete), kind_out(key.kind)];
    string_out(&mut out, &key.name);
    option_out(&mut out, key.claimed.as_deref(), string_out);
    option_out(&mut out, key.address, address_out);
    out
}

pub(super) fn conflict(conflict: &Conflict) -> Vec<u8> {
    let mut out = vec![kind_out(conflict.kind), u8::from(conflict.outcome == ConflictOutcome::Done)];
    string_out(&mut out, &conflict.name);
    string_out(&mut out, &conflict.owner.0);
    option_out(&mut out, conflict.claimed.as_ref().map(|claimed| &*claimed.0), string_out);
    option_out(&mut out, conflict.address, address_out);
    for number in [conflict.first_unix, conflict.last_unix, conflict.sequence, conflict.times] {
        number_out(&mut out, number);
    }
    out.extend_from_slice(&servers(&conflict.servers));
    out
}

pub(super) fn reservation_key(name: &[u8]) -> Vec<u8> {
    [b"r", name].concat()
}

pub(super) fn reservation(reservation: &Reservation) -> Vec<u8> {
    let mut out = vec![u8::from(reservation.cause == ReservationCause::Deactivate)];
    string_out(&mut out, &reservation.location.0);
    option_out(&mut out, reservation.since_unix, number_out);
    option_out(&mut out, reservation.listed_unix, number_out);
    out
}

pub(super) fn address_key(address: IpAddr) -> Vec<u8> {
    let mut out = vec![b'a'];
    address_out(&mut out, address);
    out
}

pub(super) fn servers(servers: &[Box<[u8]>]) -> Vec<u8> {
    let mut out = Vec::new();
    servers.iter().for_each(|server| string_out(&mut out, server));
    out
}

/// Reads a note; `None` when it makes no sense.
pub(super) fn decode(key: &[u8], value: &[u8]) -> Option<Record> {
    let (kind, key) = key.split_first()?;
    match kind {
        b'c' => read_conflict(Read(value)).map(Record::Conflict),
        b'r' => read_reservation(key, Read(value)).map(Record::Reservation),
        b'a' => {
            let mut key = Read(key);
            Some(Record::Address(key.address()?, Read(value).servers()?))
        }
        _ => None,
    }
}

fn read_conflict(mut read: Read<'_>) -> Option<Conflict> {
    Some(Conflict {
        kind: match read.octet()? {
            b'A' => ConflictKind::Activate,
            b'D' => ConflictKind::Deactivate,
            b'X' => ConflictKind::Delete,
            _ => return None,
        },
        outcome: if read.octet()? == 0 { ConflictOutcome::Refused } else { ConflictOutcome::Done },
        name: read.string()?.into(),
        owner: Location(read.string()?.into()),
        claimed: read.option(|read| Some(Location(read.string()?.into())))?,
        address: read.option(Read::address)?,
        first_unix: read.number()?,
        last_unix: read.number()?,
        sequence: read.number()?,
        times: read.number()?,
        servers: read.servers()?,
    })
}

fn read_reservation(name: &[u8], mut read: Read<'_>) -> Option<Reservation> {
    Some(Reservation {
        name: name.into(),
        cause: match read.octet()? {
            0 => ReservationCause::Reserve,
            _ => ReservationCause::Deactivate,
        },
        location: Location(read.string()?.into()),
        since_unix: read.option(Read::number)?,
        listed_unix: read.option(Read::number)?,
    })
}

fn kind_out(kind: ConflictKind) -> u8 {
    match kind {
        ConflictKind::Activate => b'A',
        ConflictKind::Deactivate => b'D',
        ConflictKind::Delete => b'X',
    }
}

fn number_out(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn string_out(out: &mut Vec<u8>, string: &[u8]) {
    // Strings are names, servers and locations, which have limits far below.
    let len = u32::try_from(string.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&string[..len as usize]);
}

fn address_out(out: &mut Vec<u8>, address: IpAddr) {
    string_out(out, address.to_string().as_bytes());
}

fn option_out<T>(out: &mut Vec<u8>, option: Option<T>, value_out: fn(&mut Vec<u8>, T)) {
    out.push(u8::from(option.is_some()));
    if let Some(value) = option {
        value_out(out, value);
    }
}

/// What is left to read.
struct Read<'a>(&'a [u8]);

impl<'a> Read<'a> {
    fn octet(&mut self) -> Option<u8> {
        let (octet, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*octet)
    }

    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*number))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.0.split_first_chunk::<4>()?;
        let (string, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        self.0 = rest;
        Some(string)
    }

    fn address(&mut self) -> Option<IpAddr> {
        std::str::from_utf8(self.string()?).ok()?.parse().ok()
    }

    fn option<T>(&mut self, value: impl FnOnce(&mut Read<'a>) -> Option<T>) -> Option<Option<T>> {
        match self.octet()? {
            0 => Some(None),
            _ => value(self).map(Some),
        }
    }

    /// Strings up to the end.
    fn servers(&mut self) -> Option<Vec<Box<[u8]>>> {
        let mut servers = Vec::new();
        while !self.0.is_empty() {
            servers.push(self.string()?.into());
        }
        Some(servers)
    }
}
