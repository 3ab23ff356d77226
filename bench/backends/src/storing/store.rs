//! The mailboxes, and what is told of their changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Seed;
use super::acl::Acl;
use super::mailbox::Mailbox;
use super::registry::Tell;

/// What all sessions share.
pub(crate) struct Store {
    pub(crate) mailboxes: BTreeMap<String, Mailbox>,
    /// Internal names by user.
    pub(crate) subscriptions: BTreeMap<String, BTreeSet<String>>,
    uid_validity: u32,
}

impl Store {
    /// With the mailboxes that stand at the start.
    pub(crate) fn new(seeds: &[Seed]) -> Store {
        let now = unix_now();
        let uid_validity = u32::try_from(now).unwrap_or(1);
        let mut store = Store { mailboxes: BTreeMap::new(), subscriptions: BTreeMap::new(), uid_validity };
        for seed in seeds {
            let mailbox = store.create(&seed.name, Acl::new(&seed.acl));
            for message in &seed.messages {
                mailbox.append(Arc::from(message.as_slice()), BTreeSet::new(), now);
            }
        }
        store
    }

    /// Makes a mailbox, in place of one of the same name.
    pub(crate) fn create(&mut self, name: &str, acl: Acl) -> &mut Mailbox {
        self.uid_validity += 1;
        let mailbox = Mailbox::new(acl, self.uid_validity);
        self.mailboxes.entry(name.to_owned()).insert_entry(mailbox).into_mut()
    }

    /// Takes a change back.
    pub(crate) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Nothing => {}
            Undo::Remove(name) => drop(self.mailboxes.remove(&name)),
            Undo::Rename(pairs) => {
                for (old, new) in pairs {
                    if let Some(mailbox) = self.mailboxes.remove(&new) {
                        self.mailboxes.insert(old, mailbox);
                    }
                }
            }
        }
    }
}

/// How a change is taken back that the master refused.
pub(crate) enum Undo {
    Nothing,
    Remove(String),
    Rename(Vec<(String, String)>),
}

/// What a verb wants the master to know.
pub(crate) struct Registration {
    pub(crate) tells: Vec<Tell>,
    pub(crate) undo: Undo,
    /// The text of the NO.
    pub(crate) refused: &'static str,
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.ok().and_then(|d| i64::try_from(d.as_secs()).ok()).unwrap_or(0)
}
