//! The connection of an IMAP client: what came in units, what goes out, tags, and a trace of both.

use std::time::Duration;

use protocols::proxy::Instant;

use crate::dice::Dice;
use crate::mailbox::numbers;
use crate::net::{Broken, EndId, Net};
use crate::units::{Unit, Units};

/// How long an answer may take: longer than every deadline on its way together.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(120);

/// Bytes of a response that a trace shows.
const SHOWN_BYTES: usize = 90;

/// One connection, as its client has it.
pub struct Dialog {
    /// Who he is, for people.
    pub name: String,
    end: EndId,
    units: Units,
    out: Vec<u8>,
    /// Tags begin with it.
    letter: char,
    /// How many commands were said.
    pub said: u32,
    trace: bool,
}

impl Dialog {
    /// A connection that stands; `letter` begins its tags.
    pub fn new(user: &str, letter: char, end: EndId, trace: bool) -> Dialog {
        let name = format!("{user}@{}", end.0);
        Dialog { name, end, units: Units::default(), out: Vec::new(), letter, said: 0, trace }
    }

    /// Takes what came.
    ///
    /// # Errors
    /// The connection has ended; what came before can be read.
    pub fn receive(&mut self, net: &mut Net, now: Instant, dice: &mut Dice) -> Result<(), Broken> {
        net.receive(self.end, now, dice, &mut |bytes| self.units.push(bytes))
    }

    /// The next whole response.
    pub fn poll(&mut self) -> Option<Vec<u8>> {
        let Unit::Whole(unit) = self.units.poll() else { return None };
        if self.trace {
            let text = String::from_utf8_lossy(&unit);
            println!("             {} <- {}", self.name, text.get(..SHOWN_BYTES).unwrap_or(&text));
        }
        Some(unit)
    }

    /// Sends what goes.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn send(&mut self, net: &mut Net, now: Instant, dice: &mut Dice) -> Result<(), Broken> {
        let n = net.send(self.end, &self.out, now, dice)?;
        self.out.drain(..n);
        Ok(())
    }

    /// Ends it.
    pub fn close(&mut self, net: &mut Net, now: Instant) {
        net.close(self.end, now);
    }

    /// Says what stands behind a tag, line end included; the tag.
    pub fn say(&mut self, command: &str, now: Instant) -> String {
        self.said += 1;
        let tag = format!("{}{}", self.letter, self.said);
        if self.trace {
            println!("{:>12} {} -> {tag} {}", now.0, self.name, command.trim_end());
        }
        self.add(format!("{tag} {command}").as_bytes());
        tag
    }

    /// Says what belongs to the command.
    pub fn add(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
}

/// Tag, status and the rest of a tagged response.
pub fn tagged(text: &str) -> (&str, &str, &str) {
    let mut words = text.splitn(3, ' ');
    let mut next = || words.next().unwrap_or_default();
    (next(), next(), next())
}

/// The root and the limit of `QUOTA root (STORAGE used limit)`.
pub fn quota(untagged: &str) -> Option<(String, u64)> {
    let (root, resources) = untagged.strip_prefix("QUOTA ")?.split_once(' ')?;
    let limit = resources.trim_matches(['(', ')']).rsplit(' ').next()?;
    Some((root.to_owned(), limit.parse().ok()?))
}

/// What became what, of `[COPYUID validity from to]`.
pub fn copyuid(text: &str) -> Option<Vec<(u32, u32)>> {
    let (_, code) = text.split_once("[COPYUID ")?;
    let mut words = code.split([' ', ']']).skip(1);
    let (from, to) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    Some(numbers(from).into_iter().zip(numbers(to)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_is_read() {
        assert_eq!(quota("QUOTA user.a (STORAGE 1 1000)"), Some(("user.a".to_owned(), 1000)));
        assert_eq!(quota("QUOTAROOT user.a user.a"), None);
    }

    #[test]
    fn copyuid_says_what_became_what() {
        assert_eq!(copyuid("OK [COPYUID 1 3:4 7,9] Completed"), Some(vec![(3, 7), (4, 9)]));
        assert_eq!(copyuid("OK Completed"), None);
    }
}
