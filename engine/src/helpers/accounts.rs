//! What the system knows of users and addresses: groups for ACLs, reverse names for virtual domains.
//!
//! Both may ask a directory server (nsswitch.conf), so they are asked for on a helper, and the answers
//! are kept for a while: a webmail logs the same user in every few seconds.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocols::mailbox::Groups;

use crate::sys;

/// How long an answer is believed: who is put into a group waits no longer for its rights.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// Users, and addresses, that are remembered.
const ENTRIES_MAX: usize = 65_536;

/// The memory of what the system said.
#[derive(Default)]
pub(super) struct Accounts {
    groups: Mutex<Memory<Box<[u8]>, Groups>>,
    domains: Mutex<Memory<IpAddr, Option<Box<str>>>>,
}

impl Accounts {
    /// The groups of a user, if they were looked up a moment ago.
    pub(super) fn known(&self, user: &[u8], now: Instant) -> Option<Groups> {
        lock(&self.groups).get(user, now)
    }

    /// Looks the groups of a user up; blocks. `None` when the system cannot tell.
    pub(super) fn look_up(&self, user: &[u8]) -> Option<Groups> {
        let names = sys::groups_of(user).ok()?;
        let groups: Groups = names.into_iter().map(Vec::into_boxed_slice).collect();
        lock(&self.groups).put(user.into(), groups.clone(), Instant::now());
        Some(groups)
    }

    /// The domain of an address, if it was looked up a moment ago.
    pub(super) fn known_domain(&self, address: IpAddr, now: Instant) -> Option<Option<Box<str>>> {
        lock(&self.domains).get(&address, now)
    }

    /// Looks the reverse name of an address up; blocks.
    pub(super) fn look_domain_up(&self, address: IpAddr) -> Option<Box<str>> {
        let domain = sys::name_of(address).and_then(|name| domain_of(&name).map(Box::from));
        lock(&self.domains).put(address, domain.clone(), Instant::now());
        domain
    }
}

/// What stands behind the first dot of a host's name.
fn domain_of(name: &str) -> Option<&str> {
    name.trim_end_matches('.').split_once('.').map(|(_, domain)| domain).filter(|domain| !domain.is_empty())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers with the time until which they hold.
struct Memory<K, V>(BTreeMap<K, (V, Instant)>);

impl<K, V> Default for Memory<K, V> {
    fn default() -> Memory<K, V> {
        Memory(BTreeMap::new())
    }
}

impl<K: Ord, V: Clone> Memory<K, V> {
    fn get<Q: Ord + ?Sized>(&self, key: &Q, now: Instant) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.0.get(key).filter(|(_, until)| now < *until).map(|(value, _)| value.clone())
    }

    fn put(&mut self, key: K, value: V, now: Instant) {
        if self.0.len() >= ENTRIES_MAX {
            self.0.retain(|_, (_, until)| now < *until);
        }
        if self.0.len() < ENTRIES_MAX {
            self.0.insert(key, (value, now + KEPT_FOR));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_root_are_the_system_s_and_nobody_has_none() {
        let accounts = Accounts::default();
        assert!(accounts.look_up(b"root").unwrap().iter().any(|group| **group == *b"root"));
        assert_eq!(accounts.look_up(b"no.such.user@example.com").unwrap().len(), 0);
        assert_eq!(accounts.look_up(b"with\0nul").unwrap().len(), 0);
    }

    #[test]
    fn answer_is_kept_for_a_while() {
        let mut memory: Memory<Box<[u8]>, u8> = Memory::default();
        let now = Instant::now();
        memory.put((*b"fred").into(), 1, now);
        assert_eq!(memory.get(&b"fred"[..], now), Some(1));
        assert_eq!(memory.get(&b"fred"[..], now + KEPT_FOR), None);
    }

    #[test]
    fn domain_is_behind_the_first_dot_of_the_name() {
        assert_eq!(domain_of("mail.example.com"), Some("example.com"));
        assert_eq!(domain_of("mail.example.com."), Some("example.com"));
        assert_eq!(domain_of("localhost"), None);
    }
}
