//! Mailboxes that change their names: each user has one, which is his box whatever it is called.

use std::collections::BTreeMap;

use protocols::proxy::Instant;

use crate::deed::Outcome;

/// Names that a box can have.
pub const NAMES: usize = 4;

/// What each of them begins with, below the user's INBOX.
pub const STEM: &str = "Box";

/// What a mailbox is, whatever it is called: of a box the names have one digit more.
pub fn identity(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((_, last)) if last.len() == STEM.len() + 1 && last.starts_with(STEM) => &name[..name.len() - 1],
        Some(_) | None => name,
    }
}

/// A copy, whatever its mailbox is called.
pub(crate) fn key(mailbox: &str, uid: u32) -> (String, u32) {
    (identity(mailbox).to_owned(), uid)
}

/// All names of the box of a user, as they stand in the list.
pub fn names_of(user: &str) -> Vec<String> {
    (0..NAMES).map(|n| format!("user.{user}.{STEM}{n}")).collect()
}

/// What boxes are called, and what those who renamed them were told.
#[derive(Default, Debug)]
pub struct Boxes {
    /// By what they are: the names that they had, and from when on.
    had: BTreeMap<String, Vec<(Instant, String)>>,
    /// Old and new name of each RENAME, and what came of it.
    asked: Vec<(String, String, Outcome)>,
}

impl Boxes {
    /// A box is there from the beginning.
    pub fn begin(&mut self, name: &str) {
        self.had.insert(identity(name).to_owned(), vec![(Instant(0), name.to_owned())]);
    }

    /// Its server renames a box.
    pub fn renamed(&mut self, name: &str, now: Instant) {
        self.had.entry(identity(name).to_owned()).or_default().push((now, name.to_owned()));
    }

    /// What it is called, and since when.
    pub fn current(&self, name: &str) -> Option<&(Instant, String)> {
        self.had.get(identity(name))?.last()
    }

    /// Whether there was a mailbox of this name at one moment at least.
    pub fn was_there(&self, name: &str, since: Instant, now: Instant) -> bool {
        self.names(name, since, now).is_none_or(|mut names| names.any(|had| had == name))
    }

    /// Whether there was none at one moment at least.
    pub fn was_away(&self, name: &str, since: Instant, now: Instant) -> bool {
        self.names(name, since, now).is_some_and(|mut names| names.any(|had| had != name))
    }

    /// The names that a box had from one moment to another; none of what is no box.
    fn names(&self, name: &str, since: Instant, now: Instant) -> Option<impl Iterator<Item = &str>> {
        let had = self.had.get(identity(name))?;
        let ends = had.iter().skip(1).map(|(at, _)| *at).chain([now]);
        let meanwhile = had.iter().zip(ends).filter(move |((begin, _), end)| *begin <= now && *end >= since);
        Some(meanwhile.map(|((_, name), _)| &**name))
    }

    /// Somebody asks for a RENAME; its number.
    pub fn asked(&mut self, old: &str, new: &str) -> usize {
        self.asked.push((old.to_owned(), new.to_owned(), Outcome::Pending));
        self.asked.len() - 1
    }

    /// He is told this of it.
    pub fn told(&mut self, number: usize, outcome: Outcome) {
        self.asked[number].2 = outcome;
    }

    /// What must not be so at the end: boxes were renamed as often as somebody was told.
    pub fn judge(&self) -> Vec<String> {
        let mut bounds: BTreeMap<(&str, &str), (usize, usize, usize)> = BTreeMap::new();
        for (old, new, outcome) in &self.asked {
            let (least, most, _) = bounds.entry((old, new)).or_default();
            *least += usize::from(*outcome == Outcome::Done);
            *most += usize::from(*outcome != Outcome::Refused);
        }
        for pair in self.had.values().flat_map(|had| had.windows(2)) {
            bounds.entry((&pair[0].1, &pair[1].1)).or_default().2 += 1;
        }
        let wrong = bounds.iter().filter(|(_, (least, most, done))| done < least || done > most);
        let told = wrong.map(|((old, new), (least, most, done))| {
            format!("{old} was renamed {new} {done} times, clients were told {least} to {most}")
        });
        told.collect()
    }

    /// What all boxes are called.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.had.values().filter_map(|had| had.last()).map(|(_, name)| &**name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn box_is_the_same_under_all_its_names() {
        assert_eq!(identity("user.a.Box3"), "user.a.Box");
        assert_eq!(identity("user.a.Sent"), "user.a.Sent");
        assert_eq!(identity("shared0"), "shared0");
        assert!(names_of("a").iter().all(|name| identity(name) == "user.a.Box"));
    }

    #[test]
    fn name_is_there_and_away_in_its_time() {
        let mut boxes = Boxes::default();
        boxes.begin("user.a.Box0");
        boxes.renamed("user.a.Box1", Instant(10));
        let there = |name, since, now| boxes.was_there(name, Instant(since), Instant(now));
        let away = |name, since, now| boxes.was_away(name, Instant(since), Instant(now));
        assert!(there("user.a.Box0", 5, 9) && !away("user.a.Box0", 5, 9));
        assert!(!there("user.a.Box1", 5, 9) && away("user.a.Box1", 5, 9));
        assert!(there("user.a.Box0", 5, 15) && away("user.a.Box0", 5, 15));
        assert!(!there("user.a.Box0", 11, 15) && !away("user.a.Box1", 11, 15));
        assert!(there("shared0", 0, 9) && !away("shared0", 0, 9), "it is no box");
    }

    #[test]
    fn box_is_renamed_as_often_as_is_told() {
        let mut boxes = Boxes::default();
        boxes.begin("user.a.Box0");
        let number = boxes.asked("user.a.Box0", "user.a.Box1");
        assert!(boxes.judge().is_empty());
        boxes.told(number, Outcome::Done);
        assert_eq!(boxes.judge().len(), 1);
        boxes.renamed("user.a.Box1", Instant(10));
        assert!(boxes.judge().is_empty());
        boxes.told(number, Outcome::Refused);
        assert_eq!(boxes.judge().len(), 1);
    }
}
