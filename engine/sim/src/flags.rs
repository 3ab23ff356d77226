//! Flags of messages, and what must become of them: a keyword that was stored is seen by all who look
//! later, and a copy has what its message had.
//!
//! Keywords that clients store are each used once and never taken away, so what was acknowledged stays.
//! What a message was appended with never changes, but for `\Deleted`: each copy must have just that.

use std::collections::{BTreeMap, BTreeSet};

use protocols::proxy::Instant;

use crate::boxes::key;

/// Begins a keyword that a client stores.
const STORED: &str = "$k";

/// What a client may append a message with.
const APPENDED: [&str; 4] = ["\\Seen", "\\Flagged", "\\Answered", "$Appended"];

/// The flags of a message, `\Recent` not among them.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Flags(BTreeSet<Box<str>>);

impl Flags {
    /// Of a list without its parentheses.
    pub fn read(list: &str) -> Flags {
        Flags(list.split(' ').filter(|word| !word.is_empty()).map(Box::from).collect())
    }

    /// What a message of this seed is appended with: some of those there are.
    pub fn of_seed(seed: u64) -> Flags {
        let chosen = APPENDED.iter().enumerate().filter(|(n, _)| seed >> n & 1 == 1);
        Flags(chosen.map(|(_, flag)| Box::from(*flag)).collect())
    }

    /// As they are written, without parentheses.
    pub fn list(&self) -> String {
        self.0.iter().map(|flag| &**flag).collect::<Vec<_>>().join(" ")
    }

    /// Whether it is one of them.
    pub fn has(&self, flag: &str) -> bool {
        self.0.contains(flag)
    }

    /// What is left when a session's own `\Recent` is not looked at.
    pub fn without_recent(mut self) -> Flags {
        self.0.remove("\\Recent");
        self
    }

    /// Sets or takes some; whether anything changed.
    pub fn change(&mut self, flags: &Flags, is_set: bool) -> bool {
        let before = self.0.len();
        match is_set {
            true => self.0.extend(flags.0.iter().cloned()),
            false => self.0.retain(|flag| !flags.0.contains(flag)),
        }
        self.0.len() != before
    }

    /// Those that clients stored.
    fn stored(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|flag| &**flag).filter(|flag| flag.starts_with(STORED))
    }

    /// What is left of those that it was appended with.
    fn appended(&self) -> Flags {
        let is_appended = |flag: &str| !flag.starts_with(STORED) && flag != "\\Deleted";
        Flags(self.0.iter().filter(|flag| is_appended(flag)).cloned().collect())
    }
}

/// The internal date of a message of this seed.
pub fn date_of_seed(seed: u64) -> String {
    format!("{:02}-Jan-2026 00:00:{:02} +0000", 1 + seed % 28, seed / 28 % 60)
}

/// What was stored where, and who was told so.
#[derive(Default, Debug)]
pub struct Ledger {
    /// The keyword of the next STORE.
    next: u64,
    /// The messages that a keyword was ever stored of.
    stored: BTreeMap<String, BTreeSet<u64>>,
    /// By copy: what its client was told to be stored, and when.
    told: BTreeMap<(String, u32), Vec<(Instant, String)>>,
    /// What copies came with.
    born: BTreeMap<(String, u32), Flags>,
}

impl Ledger {
    /// A keyword that nobody has used, for messages of these seeds.
    pub fn keyword(&mut self, seeds: impl IntoIterator<Item = u64>) -> String {
        self.next += 1;
        let keyword = format!("{STORED}{}", self.next);
        self.stored.insert(keyword.clone(), seeds.into_iter().collect());
        keyword
    }

    /// A client is told that it is stored of a copy.
    pub fn is_stored(&mut self, mailbox: &str, uid: u32, keyword: &str, now: Instant) {
        self.told.entry(key(mailbox, uid)).or_default().push((now, keyword.to_owned()));
    }

    /// Keywords that a copy had at a moment, as somebody had been told.
    fn told_until(&self, mailbox: &str, uid: u32, moment: Instant) -> impl Iterator<Item = &str> {
        let told = self.told.get(&key(mailbox, uid)).into_iter().flatten();
        told.filter(move |(at, _)| *at <= moment).map(|(_, keyword)| &**keyword)
    }

    /// A copy came into a mailbox.
    ///
    /// # Errors
    /// It is not what was appended.
    pub fn arrived(
        &mut self,
        mailbox: &str,
        uid: u32,
        seed: u64,
        flags: &Flags,
        date: &str,
    ) -> Result<(), String> {
        self.born.insert(key(mailbox, uid), flags.clone());
        let what = || format!("message {seed} came into {mailbox}");
        if flags.appended() != Flags::of_seed(seed) {
            let appended = Flags::of_seed(seed).list();
            return Err(format!("{} with ({}), it was appended with ({appended})", what(), flags.list()));
        }
        if date != date_of_seed(seed) {
            return Err(format!("{} of {date}, it is of {}", what(), date_of_seed(seed)));
        }
        self.check_owners(seed, flags).map_err(|keyword| format!("{} with {keyword}", what()))
    }

    /// Somebody is told that a message has flags.
    ///
    /// # Errors
    /// One of them was never stored of it, or it lacks what it was appended with.
    pub fn fetched(&self, seed: u64, flags: &Flags) -> Result<(), String> {
        if flags.appended() != Flags::of_seed(seed) {
            return Err(format!("message {seed} is told to be ({})", flags.list()));
        }
        self.check_owners(seed, flags).map_err(|keyword| format!("message {seed} is told to be {keyword}"))
    }

    fn check_owners(&self, seed: u64, flags: &Flags) -> Result<(), String> {
        let is_foreign =
            |keyword: &&str| !self.stored.get(*keyword).is_some_and(|seeds| seeds.contains(&seed));
        flags.stored().find(is_foreign).map_or(Ok(()), |keyword| Err(keyword.to_owned()))
    }

    /// Somebody who asked at a moment is answered that a copy has these flags.
    ///
    /// # Errors
    /// One that was acknowledged before is missing.
    pub fn looked(&self, mailbox: &str, uid: u32, flags: &Flags, asked: Instant) -> Result<(), String> {
        let missing = self.told_until(mailbox, uid, asked).find(|keyword| !flags.has(keyword));
        missing.map_or(Ok(()), |keyword| {
            Err(format!("{uid} of {mailbox} is ({}), and {keyword} was stored", flags.list()))
        })
    }

    /// A message was copied at the word of somebody who asked at a moment.
    ///
    /// # Errors
    /// The copy came without one that the message had.
    pub fn copied(&self, from: (&str, u32), to: (&str, u32), asked: Instant) -> Result<(), String> {
        let Some(born) = self.born.get(&key(to.0, to.1)) else { return Ok(()) };
        let missing = self.told_until(from.0, from.1, asked).find(|keyword| !born.has(keyword));
        missing.map_or(Ok(()), |keyword| {
            Err(format!("{} of {} became {} of {} without {keyword}", from.1, from.0, to.1, to.0))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 5;

    fn with(keyword: &str) -> Flags {
        let mut flags = Flags::of_seed(SEED);
        flags.change(&Flags::read(keyword), true);
        flags
    }

    #[test]
    fn copy_must_be_what_was_appended() {
        let mut ledger = Ledger::default();
        let (date, right) = (date_of_seed(SEED), Flags::of_seed(SEED));
        assert_eq!(right, Flags::read("\\Answered \\Seen"));
        assert_eq!(ledger.arrived("a", 1, SEED, &with("\\Deleted"), &date), Ok(()));
        assert!(ledger.arrived("a", 1, SEED, &Flags::default(), &date).is_err());
        assert!(ledger.arrived("a", 1, SEED, &with("\\Flagged"), &date).is_err());
        assert!(ledger.arrived("a", 1, SEED, &right, &date_of_seed(SEED + 1)).is_err());
    }

    #[test]
    fn stored_keyword_must_be_seen_later_and_copied_along() {
        let mut ledger = Ledger::default();
        let keyword = ledger.keyword([SEED]);
        ledger.is_stored("a", 1, &keyword, Instant(10));
        assert_eq!(ledger.looked("a", 1, &with(&keyword), Instant(20)), Ok(()));
        assert!(ledger.looked("a", 1, &with(""), Instant(20)).is_err());
        assert_eq!(ledger.looked("a", 1, &with(""), Instant(5)), Ok(()), "he asked before");
        ledger.arrived("b", 1, SEED, &with(""), &date_of_seed(SEED)).unwrap();
        assert!(ledger.copied(("a", 1), ("b", 1), Instant(20)).is_err());
        ledger.arrived("b", 2, SEED, &with(&keyword), &date_of_seed(SEED)).unwrap();
        assert_eq!(ledger.copied(("a", 1), ("b", 2), Instant(20)), Ok(()));
    }

    #[test]
    fn keyword_of_another_message_is_found_out() {
        let mut ledger = Ledger::default();
        let keyword = ledger.keyword([SEED + 1]);
        assert!(ledger.fetched(SEED, &with(&keyword)).is_err());
        assert!(ledger.arrived("a", 1, SEED, &with(&keyword), &date_of_seed(SEED)).is_err());
        assert_eq!(ledger.fetched(SEED, &with("\\Deleted")), Ok(()));
    }
}
