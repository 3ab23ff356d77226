//! What home servers told of their users, kept for the time when one of them is away.
//!
//! All shards share one: a user's next session may be on any of them. It is looked at once for a LIST of
//! subscriptions, never on the path of a relayed line.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocols::proxy::{HomeCopy, HomeNews};

/// Bytes that all copies take together; the user who was heard of longest ago goes first.
pub const HOMES_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What a name costs beside its bytes: pointer, length and the allocator's own.
const NAME_COST: usize = 32;

/// What a user costs beside his names.
const USER_COST: usize = 256;

/// The copies of all users.
pub struct Homes {
    kept: Mutex<Kept>,
    bytes_max: usize,
}

#[derive(Default)]
struct Kept {
    users: BTreeMap<Box<[u8]>, User>,
    /// By the moment of their last news.
    ages: BTreeMap<u64, Box<[u8]>>,
    next_age: u64,
    bytes: usize,
}

struct User {
    copy: HomeCopy,
    age: u64,
    bytes: usize,
}

impl Default for Homes {
    fn default() -> Homes {
        Homes { kept: Mutex::default(), bytes_max: HOMES_BYTES_MAX }
    }
}

impl Homes {
    /// What is known of a user.
    pub fn copy(&self, user: &[u8]) -> HomeCopy {
        self.lock().users.get(user).map(|user| user.copy.clone()).unwrap_or_default()
    }

    /// Learns what a home told. One subscription more or less of somebody of whom not all are known says
    /// nothing.
    pub fn learn(&self, user: &[u8], news: HomeNews) {
        let mut kept = self.lock();
        let mut copy = kept.take(user);
        match news {
            HomeNews::Subscriptions(names) => copy.subscribed = Some(names.into()),
            HomeNews::SpecialUses(uses) => copy.special = Some(uses.into()),
            HomeNews::Subscribed(name) => change(&mut copy, &name, true),
            HomeNews::Unsubscribed(name) => change(&mut copy, &name, false),
        }
        kept.put(user, copy, self.bytes_max);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds a name to the subscriptions, or takes it away.
fn change(copy: &mut HomeCopy, name: &[u8], subscribed: bool) {
    let Some(names) = &copy.subscribed else { return };
    let mut changed = names.to_vec();
    match (names.binary_search_by(|known| (**known).cmp(name)), subscribed) {
        (Err(at), true) => changed.insert(at, name.into()),
        (Ok(at), false) => drop(changed.remove(at)),
        (Ok(_), true) | (Err(_), false) => return,
    }
    copy.subscribed = Some(Arc::from(changed));
}

impl Kept {
    fn take(&mut self, user: &[u8]) -> HomeCopy {
        let Some(known) = self.users.remove(user) else { return HomeCopy::default() };
        self.ages.remove(&known.age);
        self.bytes -= known.bytes;
        known.copy
    }

    fn put(&mut self, user: &[u8], copy: HomeCopy, bytes_max: usize) {
        let bytes = bytes_of(user, &copy);
        if bytes > bytes_max || (copy.subscribed.is_none() && copy.special.is_none()) {
            return;
        }
        while self.bytes + bytes > bytes_max {
            let Some((_, oldest)) = self.ages.pop_first() else { break };
            self.bytes -= self.users.remove(&oldest).map_or(0, |user| user.bytes);
        }
        let age = self.next_age;
        self.next_age += 1;
        self.bytes += bytes;
        self.ages.insert(age, user.into());
        self.users.insert(user.into(), User { copy, age, bytes });
    }
}

fn bytes_of(user: &[u8], copy: &HomeCopy) -> usize {
    let names = copy.subscribed.iter().flat_map(|names| names.iter()).map(|name| name.len() + NAME_COST);
    let uses = copy.special.iter().flat_map(|uses| uses.iter());
    let uses = uses.map(|(name, special)| name.len() + special.len() + 2 * NAME_COST);
    USER_COST + 2 * user.len() + names.sum::<usize>() + uses.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Box<[Box<[u8]>]> {
        names.iter().map(|name| name.as_bytes().into()).collect()
    }

    fn subscribed(homes: &Homes, user: &[u8]) -> Option<Vec<String>> {
        let names = homes.copy(user).subscribed?;
        Some(names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }

    #[test]
    fn last_copy_is_given_and_follows_what_the_user_does() {
        let homes = Homes::default();
        homes.learn(b"fred", HomeNews::Subscribed((*b"INBOX.early").into()));
        assert_eq!(subscribed(&homes, b"fred"), None, "not all are known");
        homes.learn(b"fred", HomeNews::Subscriptions(names(&["INBOX", "team"])));
        homes.learn(b"fred", HomeNews::Subscribed((*b"INBOX.x").into()));
        homes.learn(b"fred", HomeNews::Subscribed((*b"team").into()));
        homes.learn(b"fred", HomeNews::Unsubscribed((*b"INBOX").into()));
        homes.learn(b"fred", HomeNews::Unsubscribed((*b"nosuch").into()));
        homes.learn(b"fred", HomeNews::SpecialUses([((*b"Sent").into(), (*b"\\Sent").into())].into()));
        assert_eq!(subscribed(&homes, b"fred"), Some(vec!["INBOX.x".to_owned(), "team".to_owned()]));
        assert_eq!(homes.copy(b"fred").special.map(|uses| uses.len()), Some(1));
        assert_eq!(homes.copy(b"joe"), HomeCopy::default());
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes() {
        let homes = Homes { bytes_max: 10 * USER_COST, ..Homes::default() };
        for n in 0..100 {
            homes.learn(format!("user{n}").as_bytes(), HomeNews::Subscriptions(names(&["INBOX"])));
        }
        let kept = homes.lock();
        assert!(kept.bytes <= homes.bytes_max && kept.users.len() == kept.ages.len());
        assert!(kept.users.contains_key(&b"user99"[..]) && !kept.users.contains_key(&b"user0"[..]));
        let sum: usize = kept.users.iter().map(|(name, user)| bytes_of(name, &user.copy)).sum();
        assert_eq!(sum, kept.bytes);
        drop(kept);
        homes.learn(b"user99", HomeNews::Subscriptions(names(&vec!["x"; 1000])));
        assert_eq!(
            subscribed(&homes, b"user99"),
            None,
            "what is too large is not kept, and what was is wrong"
        );
    }
}
