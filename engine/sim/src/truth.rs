//! What became of every message: what clients asked and were told, what backends did, and whether the one
//! goes with the other.
//!
//! A message has a seed, which goes along with each copy. A mailbox keeps its name and UIDs wherever it is
//! moved, so `(mailbox, UID)` names one copy for ever.

use std::collections::{BTreeMap, BTreeSet};

use protocols::proxy::{Instant, Intent};

use crate::boxes::{Boxes, identity, key};
use crate::deed::{Action, Deed, Outcome};
use crate::flags::{Flags, Ledger};
use crate::quotas::Quotas;

/// Of a whole world.
#[derive(Debug, Default)]
pub struct Truth {
    /// The seed of every copy that there ever was.
    born: BTreeMap<(String, u32), u64>,
    /// How often a message came into a mailbox.
    arrivals: BTreeMap<(String, u64), usize>,
    /// Copies that were expunged.
    gone: BTreeSet<(String, u32)>,
    /// Copies that somebody asked to be expunged by name.
    unwanted: BTreeSet<(String, u32)>,
    deeds: Vec<Deed>,
    /// What became of flags.
    pub flags: Ledger,
    /// What became of quotas.
    pub quotas: Quotas,
    /// What became of names.
    pub boxes: Boxes,
    /// The moment.
    pub now: Instant,
    /// What was seen to be wrong as it came.
    violations: Vec<String>,
    /// Moves that operators were told to be unfinished.
    reports: Vec<Intent>,
}

impl Truth {
    /// A message came into a mailbox, with these flags and this internal date.
    pub fn arrived(&mut self, mailbox: &str, uid: u32, seed: u64, flags: &Flags, date: &str) {
        self.violations.extend(self.flags.arrived(mailbox, uid, seed, flags, date).err());
        self.born.insert(key(mailbox, uid), seed);
        *self.arrivals.entry((identity(mailbox).to_owned(), seed)).or_default() += 1;
    }

    /// A copy was expunged.
    pub fn expunged(&mut self, mailbox: &str, uid: u32) {
        self.gone.insert(key(mailbox, uid));
    }

    /// Whether a copy was expunged.
    pub fn is_gone(&self, mailbox: &str, uid: u32) -> bool {
        self.gone.contains(&key(mailbox, uid))
    }

    /// The seed of a copy.
    pub fn seed(&self, mailbox: &str, uid: u32) -> Option<u64> {
        self.born.get(&key(mailbox, uid)).copied()
    }

    /// Somebody asks for these copies to be expunged.
    pub fn unwanted(&mut self, mailbox: &str, uids: &[u32]) {
        self.unwanted.extend(uids.iter().map(|uid| key(mailbox, *uid)));
    }

    /// Somebody asks for something; its number.
    pub fn asked(&mut self, mut deed: Deed) -> usize {
        deed.source.truncate(identity(&deed.source).len());
        deed.destination.truncate(identity(&deed.destination).len());
        self.deeds.push(deed);
        self.deeds.len() - 1
    }

    /// He was told this of it.
    pub fn told(&mut self, number: usize, outcome: Outcome, copies: Vec<(u32, u32)>) {
        let deed = &mut self.deeds[number];
        (deed.outcome, deed.copies) = (outcome, copies);
    }

    /// Operators were told of a move that is not finished.
    pub fn reported(&mut self, intent: Intent) {
        self.reports.push(intent);
    }

    /// How many moves operators were told of.
    pub fn reports(&self) -> usize {
        self.reports.len()
    }

    /// Copies and moves that were answered OK.
    pub fn copied(&self) -> usize {
        let done = |deed: &&Deed| deed.outcome == Outcome::Done && deed.action != Action::Append;
        self.deeds.iter().filter(done).count()
    }

    /// What must not be so at the end. `holds` says whether a copy is there.
    pub fn judge(&self, holds: impl Fn(&str, u32) -> bool) -> Vec<String> {
        let mut violations = self.violations.clone();
        violations.extend(self.quotas.judge());
        violations.extend(self.boxes.judge());
        self.judge_arrivals(&mut violations);
        for deed in &self.deeds {
            self.judge_deed(deed, &mut violations);
        }
        for ((mailbox, uid), seed) in &self.born {
            let is_gone = self.is_gone(mailbox, *uid);
            if !is_gone && !holds(mailbox, *uid) {
                violations.push(format!("message {seed} is no more in {mailbox}, and nobody took it"));
            }
            if is_gone && !self.unwanted.contains(&(mailbox.clone(), *uid)) {
                violations.extend(self.lost(mailbox, *uid, *seed));
            }
        }
        violations
    }

    /// Each message came into each mailbox as often as somebody was told so, or more where he was told that
    /// it may have.
    fn judge_arrivals(&self, violations: &mut Vec<String>) {
        let mut bounds: BTreeMap<(String, u64), (usize, usize)> = BTreeMap::new();
        for deed in &self.deeds {
            for seed in self.seeds(deed) {
                let bound = bounds.entry((deed.destination.clone(), seed)).or_default();
                bound.0 += usize::from(deed.outcome == Outcome::Done);
                bound.1 += usize::from(deed.outcome != Outcome::Refused);
            }
        }
        for (place, (least, most)) in &bounds {
            let came = self.arrivals.get(place).copied().unwrap_or(0);
            if came < *least || came > *most {
                let (mailbox, seed) = place;
                violations.push(format!(
                    "message {seed} came into {mailbox} {came} times, clients were told {least} to {most}"
                ));
            }
        }
        for (mailbox, seed) in self.arrivals.keys() {
            if !bounds.contains_key(&(mailbox.clone(), *seed)) {
                violations.push(format!("message {seed} came into {mailbox}, where nobody put it"));
            }
        }
    }

    /// What is added: of a copy that was done, what COPYUID names.
    fn seeds(&self, deed: &Deed) -> Vec<u64> {
        if deed.action == Action::Append {
            return deed.seeds.clone();
        }
        let uids: Vec<u32> = match deed.outcome {
            Outcome::Done => deed.copies.iter().map(|(from, _)| *from).collect(),
            Outcome::Pending | Outcome::Refused | Outcome::Doubtful => deed.uids.clone(),
        };
        uids.iter().filter_map(|uid| self.seed(&deed.source, *uid)).collect()
    }

    fn judge_deed(&self, deed: &Deed, violations: &mut Vec<String>) {
        let Deed { action, user, source, destination, set, uids, outcome, copies, .. } = deed;
        let what = format!("{action:?} of {set} from {source} to {destination} by {user}");
        for (from, to) in copies {
            if self.seed(source, *from).is_none() || self.seed(source, *from) != self.seed(destination, *to) {
                violations.push(format!("{what}: COPYUID says that {from} became {to}"));
            }
            let copied = self.flags.copied((source, *from), (destination, *to), deed.asked);
            violations.extend(copied.err());
        }
        for uid in uids.iter().filter(|_| *action != Action::Append) {
            let is_gone = self.is_gone(source, *uid);
            let is_copied = copies.iter().any(|(from, _)| from == uid);
            match (outcome, action) {
                (Outcome::Done, Action::Move) if !is_gone => {
                    violations.push(format!("{what}: OK, and {uid} is still there"));
                }
                (Outcome::Done, _) if !is_gone && !is_copied => {
                    violations.push(format!("{what}: OK, and {uid} was not copied"));
                }
                (Outcome::Doubtful, Action::Move) if !is_gone && self.is_doubled(deed, *uid) => {
                    if !self.is_reported(deed) {
                        violations.push(format!("{what}: {uid} is in both, and nobody is told"));
                    }
                }
                (Outcome::Pending | Outcome::Done | Outcome::Refused | Outcome::Doubtful, _) => {}
            }
        }
    }

    /// Whether a message came into the destination of a move more often than others were told.
    fn is_doubled(&self, deed: &Deed, uid: u32) -> bool {
        let Some(seed) = self.seed(&deed.source, uid) else { return false };
        let place = (deed.destination.clone(), seed);
        let came = self.arrivals.get(&place).copied().unwrap_or(0);
        let others = self.deeds.iter().filter(|other| {
            other.destination == deed.destination
                && other.outcome != Outcome::Refused
                && !std::ptr::eq(*other, deed)
        });
        let others = others.flat_map(|other| self.seeds(other)).filter(|other| *other == seed);
        came > others.count()
    }

    fn is_reported(&self, deed: &Deed) -> bool {
        self.reports.iter().any(|report| {
            *report.user == *deed.user.as_bytes()
                && identity(&String::from_utf8_lossy(&report.source)) == deed.source
                && *report.destination == *deed.typed.as_bytes()
                && *report.messages == *deed.set.as_bytes()
        })
    }

    /// A copy that was expunged though nobody asked for that must have been moved.
    fn lost(&self, mailbox: &str, uid: u32, seed: u64) -> Option<String> {
        let mut moves = self
            .deeds
            .iter()
            .filter(|deed| deed.action == Action::Move && deed.source == mailbox && deed.uids.contains(&uid));
        let is_moved = moves.any(|deed| {
            deed.outcome != Outcome::Refused && self.arrivals.contains_key(&(deed.destination.clone(), seed))
        });
        (!is_moved)
            .then(|| format!("{uid} of {mailbox} (message {seed}) was expunged, and nobody asked for that"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::date_of_seed;

    fn deed(action: Action, outcome: Outcome) -> Deed {
        Deed {
            action,
            user: "a".into(),
            source: "in".into(),
            destination: "out".into(),
            typed: "out".into(),
            set: "1".into(),
            uids: vec![1],
            seeds: vec![],
            asked: Instant(0),
            outcome,
            copies: vec![],
        }
    }

    fn arrived(truth: &mut Truth, mailbox: &str, uid: u32, seed: u64) {
        truth.arrived(mailbox, uid, seed, &Flags::of_seed(seed), &date_of_seed(seed));
    }

    fn appended() -> Truth {
        let mut truth = Truth::default();
        let append = Deed {
            destination: "in".into(),
            seeds: vec![7],
            uids: vec![],
            ..deed(Action::Append, Outcome::Done)
        };
        truth.asked(append);
        arrived(&mut truth, "in", 1, 7);
        truth
    }

    #[test]
    fn move_that_is_whole_is_well() {
        let mut truth = appended();
        truth.asked(Deed { copies: vec![(1, 4)], ..deed(Action::Move, Outcome::Done) });
        arrived(&mut truth, "out", 4, 7);
        truth.expunged("in", 1);
        assert_eq!(truth.judge(|mailbox, uid| (mailbox, uid) == ("out", 4)), Vec::<String>::new());
        assert_eq!(truth.judge(|_, _| false).len(), 1, "what is not there is lost");
    }

    #[test]
    fn move_that_broke_off_must_be_reported() {
        let mut truth = appended();
        truth.asked(deed(Action::Move, Outcome::Doubtful));
        arrived(&mut truth, "out", 4, 7);
        assert_eq!(truth.judge(|_, _| true).len(), 1);
        let intent = Intent {
            user: (*b"a").into(),
            source: (*b"in").into(),
            destination: (*b"out").into(),
            messages: (*b"1").into(),
        };
        truth.reported(intent);
        assert_eq!(truth.judge(|_, _| true), Vec::<String>::new());
    }

    #[test]
    fn refused_copy_leaves_nothing_and_takes_nothing() {
        let mut truth = appended();
        truth.asked(deed(Action::Copy, Outcome::Refused));
        assert_eq!(truth.judge(|_, _| true), Vec::<String>::new());
        arrived(&mut truth, "out", 4, 7);
        truth.expunged("in", 1);
        assert_eq!(truth.judge(|_, _| true).len(), 2, "it came nevertheless, and another went");
    }

    #[test]
    fn acknowledged_message_that_never_came_is_told_of() {
        let mut truth = Truth::default();
        truth.asked(Deed { seeds: vec![9], ..deed(Action::Append, Outcome::Done) });
        assert_eq!(truth.judge(|_, _| true).len(), 1);
    }
}
