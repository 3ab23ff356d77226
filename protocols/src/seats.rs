//! How many sessions of a service a user and a host may have at a time (`maxlogins_per_user`,
//! `maxlogins_per_host`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The limits; 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SeatLimits {
    /// `maxlogins_per_user`.
    pub per_user: u32,
    /// `maxlogins_per_host`.
    pub per_host: u32,
}

/// Who has how many. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Seats(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    users: BTreeMap<Who, u32>,
    hosts: BTreeMap<Who, u32>,
}

/// A service, and a user or a host.
type Who = (Arc<str>, Box<[u8]>);

/// One session's; taken as long as this lives.
#[derive(Debug)]
pub struct Seat {
    taken: Arc<Mutex<Taken>>,
    user: Who,
    host: Who,
}

/// Too many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full {
    /// Sessions of the user, the new one among them.
    pub user: u32,
    /// Sessions of the host, the new one among them.
    pub host: u32,
}

impl Seats {
    /// Takes a place for a session; an empty host (a UNIX socket) is none.
    ///
    /// # Errors
    /// The user or the host has as many as are allowed.
    pub fn take(
        &self,
        service: &Arc<str>,
        user: &[u8],
        host: &[u8],
        limits: SeatLimits,
    ) -> Result<Option<Seat>, Full> {
        if limits == SeatLimits::default() {
            return Ok(None);
        }
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |counts: &BTreeMap<Who, u32>, who: &Who| counts.get(who).copied().unwrap_or_default() + 1;
        let named = |who: &[u8]| (Arc::clone(service), Box::from(who));
        let (user, host) = (named(user), named(host));
        let full = Full { user: of(&taken.users, &user), host: of(&taken.hosts, &host) };
        let is_over = |count: u32, limit: u32| limit > 0 && count > limit;
        if is_over(full.user, limits.per_user) || (!host.1.is_empty() && is_over(full.host, limits.per_host))
        {
            return Err(full);
        }
        taken.users.insert(user.clone(), full.user);
        taken.hosts.insert(host.clone(), full.host);
        drop(taken);
        Ok(Some(Seat { taken: Arc::clone(&self.0), user, host }))
    }
}

impl Full {
    /// What the client is told: `Too many open connections (3 of 2 for fred)`.
    pub fn text(self, limits: SeatLimits, user: &[u8], host: &str) -> String {
        let mut why = Vec::new();
        if limits.per_host > 0 {
            why.push(format!("{} of {} from {host}", self.host, limits.per_host));
        }
        if limits.per_user > 0 {
            why.push(format!("{} of {} for {}", self.user, limits.per_user, user.escape_ascii()));
        }
        format!("Too many open connections ({})", why.join(", "))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let leave = |counts: &mut BTreeMap<Who, u32>, who: &Who| match counts.get_mut(who) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(counts.remove(who)),
        };
        leave(&mut taken.users, &self.user);
        leave(&mut taken.hosts, &self.host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_hosts_are_counted_and_forgotten() {
        let seats = Seats::default();
        let limits = SeatLimits { per_user: 2, per_host: 3 };
        let (imap, pop): (Arc<str>, Arc<str>) = ("imap".into(), "pop3".into());
        let take = |user: &[u8], host: &[u8]| seats.take(&imap, user, host, limits);
        let first = take(b"ann", b"h").unwrap();
        let _second = take(b"ann", b"h").unwrap();
        assert_eq!(take(b"ann", b"x").unwrap_err(), Full { user: 3, host: 1 });
        let _third = take(b"bob", b"h").unwrap();
        assert_eq!(take(b"joe", b"h").unwrap_err(), Full { user: 1, host: 4 });
        assert!(seats.take(&pop, b"ann", b"h", limits).is_ok());
        assert_eq!(
            Full { user: 3, host: 1 }.text(limits, b"ann", "h"),
            "Too many open connections (1 of 3 from h, 3 of 2 for ann)"
        );
        drop(first);
        assert!(take(b"ann", b"h").is_ok());
        assert!(seats.take(&imap, b"ann", b"", SeatLimits { per_user: 0, per_host: 1 }).is_ok());
    }

    #[test]
    fn without_limits_nothing_is_counted() {
        let seats = Seats::default();
        assert!(seats.take(&"imap".into(), b"ann", b"h", SeatLimits::default()).unwrap().is_none());
        assert!(seats.0.lock().unwrap().users.is_empty());
    }
}
