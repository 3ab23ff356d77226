//! What a client knows of its selected mailbox: which UID has which number.

use protocols::proxy::Instant;

use crate::mailbox::numbers;
use crate::truth::Truth;

/// The mailbox as it was told.
#[derive(Default, Debug)]
pub struct Picture {
    /// The internal name.
    mailbox: String,
    /// By number; `None` is not known yet.
    uids: Vec<Option<u32>>,
    /// When it was asked for.
    since: Instant,
    /// Its client gives it another name himself.
    is_renamed: bool,
    /// Vanished messages are told by UID, of which some may be unknown: numbers are not kept.
    by_uid: bool,
}

impl Picture {
    /// Of a mailbox that is being selected.
    pub fn new(mailbox: &str, by_uid: bool, since: Instant) -> Picture {
        Picture { mailbox: mailbox.to_owned(), uids: Vec::new(), since, is_renamed: false, by_uid }
    }

    /// Its client gives it another name: for him its messages go.
    pub fn rename(&mut self) {
        self.is_renamed = true;
    }

    /// Whether he may be told that a message is gone. That somebody else gave the mailbox another name is no
    /// reason: its messages are there.
    fn may_seem_gone(&self, uid: u32, truth: &Truth) -> bool {
        let (name, since, now) = (&self.mailbox, self.since, truth.now);
        truth.is_gone(name, uid) || (self.is_renamed && truth.boxes.was_away(name, since, now))
    }

    /// When it was asked for.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// The internal name of the mailbox.
    pub fn mailbox(&self) -> &str {
        &self.mailbox
    }

    /// The UIDs that are known.
    pub fn known(&self) -> Vec<u32> {
        self.uids.iter().flatten().copied().collect()
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.uids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty()
    }

    /// The UID of a number, if it is known.
    pub fn uid(&self, number: usize) -> Option<u32> {
        self.uids.get(number.checked_sub(1)?).copied().flatten()
    }

    /// `* n EXISTS`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn exists(&mut self, count: usize) -> Result<(), String> {
        if count < self.uids.len() && !self.by_uid {
            return Err(format!("{count} EXISTS behind {}", self.uids.len()));
        }
        self.uids.resize(count, None);
        Ok(())
    }

    /// `* n EXPUNGE`.
    ///
    /// # Errors
    /// The message is still there.
    pub fn expunge(&mut self, number: usize, truth: &Truth) -> Result<(), String> {
        if number == 0 || number > self.uids.len() {
            return Err(format!("EXPUNGE of {number}, of {} there are", self.uids.len()));
        }
        match self.uids.remove(number - 1) {
            Some(uid) if !self.may_seem_gone(uid, truth) => {
                Err(format!("EXPUNGE of {uid} of {}, which is there", self.mailbox))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// `* VANISHED set`.
    ///
    /// # Errors
    /// A message is still there.
    pub fn vanished(&mut self, set: &str, truth: &Truth) -> Result<(), String> {
        if !self.by_uid {
            return Err("VANISHED without QRESYNC".into());
        }
        for uid in numbers(set) {
            if !self.may_seem_gone(uid, truth) {
                return Err(format!("VANISHED {uid} of {}, which is there", self.mailbox));
            }
            self.uids.retain(|known| *known != Some(uid));
        }
        self.uids.retain(Option::is_some);
        Ok(())
    }

    /// `* n FETCH (... UID uid ...)`.
    ///
    /// # Errors
    /// Another message has that number.
    pub fn fetched(&mut self, number: usize, uid: u32) -> Result<(), String> {
        if number > self.uids.len() {
            if !self.by_uid {
                return Err(format!("FETCH of {number}, of {} there are", self.uids.len()));
            }
            self.uids.resize(number, None);
        }
        if self.by_uid {
            self.uids.iter_mut().filter(|known| **known == Some(uid)).for_each(|known| *known = None);
        }
        let Some(known) = number.checked_sub(1).and_then(|at| self.uids.get_mut(at)) else {
            return Err("FETCH of 0".into());
        };
        match *known {
            Some(other) if other != uid && !self.by_uid => {
                Err(format!("number {number} of {} is {uid}, and was {other}", self.mailbox))
            }
            Some(_) | None => {
                *known = Some(uid);
                Ok(())
            }
        }
    }

    /// All were asked for, and these were told: nobody is missing who was not told to be gone.
    ///
    /// # Errors
    /// One that is.
    pub fn told_all(&mut self, told: &[u32], truth: &Truth) -> Result<(), String> {
        let missing =
            self.known().into_iter().find(|uid| !told.contains(uid) && !self.may_seem_gone(*uid, truth));
        if self.by_uid {
            self.uids = told.iter().copied().map(Some).collect();
        }
        match missing {
            Some(uid) => Err(format!("{uid} of {} is not told of", self.mailbox)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn false_news_are_found_out() {
        let mut truth = Truth::default();
        truth.expunged("box", 2);
        let mut picture = Picture::new("box", false, Instant(0));
        picture.exists(3).unwrap();
        for number in 1..=3 {
            picture.fetched(number, number as u32).unwrap();
        }
        assert!(picture.fetched(1, 2).is_err() && picture.exists(2).is_err());
        picture.expunge(2, &truth).unwrap();
        assert_eq!(picture.known(), [1, 3]);
        assert!(picture.told_all(&[1], &truth).is_err());
        assert!(picture.expunge(1, &truth).is_err(), "it is there");
        assert!(picture.vanished("3", &truth).is_err());
    }
}
