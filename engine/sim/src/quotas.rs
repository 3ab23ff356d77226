//! Limits of quota roots: what they were at every moment, and what those who asked and set were told.

use std::collections::BTreeMap;

use protocols::proxy::Instant;

use crate::deed::Outcome;

/// The limit of every root at first.
pub const LIMIT: u64 = 1000;

/// What became of all limits. Each limit that is set is set by one command alone.
#[derive(Default, Debug)]
pub struct Quotas {
    /// By root: the limits that it had, and from when on.
    had: BTreeMap<String, Vec<(Instant, u64)>>,
    /// Those that were asked for: the root, the limit and what came of it.
    asked: Vec<(String, u64, Outcome)>,
}

impl Quotas {
    /// Somebody sets a limit: its number.
    pub fn asked(&mut self, root: &str, limit: u64) -> usize {
        self.asked.push((root.to_owned(), limit, Outcome::Pending));
        self.asked.len() - 1
    }

    /// He is told this of it.
    pub fn told(&mut self, number: usize, outcome: Outcome) {
        self.asked[number].2 = outcome;
    }

    /// A server sets it.
    pub fn set(&mut self, root: &str, limit: u64, now: Instant) {
        self.had.entry(root.to_owned()).or_default().push((now, limit));
    }

    /// Somebody who asked at a moment is told of a limit.
    ///
    /// # Errors
    /// The root did not have it meanwhile.
    pub fn check(&self, root: &str, told: u64, asked: Instant, now: Instant) -> Result<(), String> {
        let set = self.had.get(root).map_or(&[][..], Vec::as_slice);
        let limits = std::iter::once((Instant(0), LIMIT)).chain(set.iter().copied());
        let ends = set.iter().map(|(at, _)| *at).chain([now]);
        let mut meanwhile = limits.zip(ends).filter(|((begin, _), end)| *begin <= now && *end >= asked);
        match meanwhile.any(|((_, limit), _)| limit == told) {
            true => Ok(()),
            false => Err(format!("the quota of {root} is told to be {told}, and is another")),
        }
    }

    /// What must not be so at the end: each limit was set as often as somebody was told.
    pub fn judge(&self) -> Vec<String> {
        let mut violations = Vec::new();
        for (root, limit, outcome) in &self.asked {
            let set = self.had.get(root).into_iter().flatten().filter(|(_, set)| set == limit).count();
            let is_right = match outcome {
                Outcome::Done => set == 1,
                Outcome::Refused => set == 0,
                Outcome::Pending | Outcome::Doubtful => set <= 1,
            };
            if !is_right {
                violations.push(format!("quota {limit} of {root}: {outcome:?}, and set {set} times"));
            }
        }
        for (root, limits) in &self.had {
            let is_asked = |limit: u64| self.asked.iter().any(|(of, asked, _)| of == root && *asked == limit);
            let strange = limits.iter().filter(|(_, limit)| !is_asked(*limit));
            violations.extend(strange.map(|(_, limit)| format!("nobody set {limit} for {root}")));
        }
        violations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_told_as_it_was_meanwhile() {
        let mut quotas = Quotas::default();
        quotas.set("a", 5, Instant(10));
        quotas.set("a", 6, Instant(20));
        let check = |told, asked, now| quotas.check("a", told, Instant(asked), Instant(now)).is_ok();
        assert!(check(LIMIT, 5, 9) && check(LIMIT, 5, 15) && !check(LIMIT, 11, 15));
        assert!(check(5, 11, 15) && check(5, 15, 25) && !check(5, 21, 25) && !check(5, 1, 9));
        assert!(check(6, 25, 30) && quotas.check("b", LIMIT, Instant(1), Instant(2)).is_ok());
    }

    #[test]
    fn limit_is_set_as_often_as_is_told() {
        let mut quotas = Quotas::default();
        let number = quotas.asked("a", 5);
        assert!(quotas.judge().is_empty());
        quotas.told(number, Outcome::Done);
        assert_eq!(quotas.judge().len(), 1);
        quotas.set("a", 5, Instant(1));
        assert!(quotas.judge().is_empty());
        quotas.set("a", 5, Instant(2));
        assert_eq!(quotas.judge().len(), 1, "twice");
        quotas.set("b", 5, Instant(3));
        assert_eq!(quotas.judge().len(), 2, "another root");
    }
}
