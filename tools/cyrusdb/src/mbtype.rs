//! What kind of mailbox an entry is, and its flags.

use std::fmt;

/// The type and the flags of an entry, as the bits that Cyrus has for them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Mbtype(pub u32);

/// Letters of the types, in the order of their numbers; the lowest four bits.
const TYPES: [(u8, u32); 9] = [
    (b'e', 0x0),
    (b'n', 0x1),
    (b's', 0x2),
    (b'p', 0x3),
    (b'j', 0x4),
    (b'f', 0x5),
    (b'b', 0x8),
    (b'c', 0x9),
    (b'a', 0xa),
];

/// Letters of the flags, in the order in which they are written.
const FLAGS: [(u8, Mbtype); 6] = [
    (b'd', Mbtype::DELETED),
    (b'm', Mbtype::MOVING),
    (b'r', Mbtype::REMOTE),
    (b'z', Mbtype::RESERVE),
    (b'i', Mbtype::INTERMEDIATE),
    (b'l', Mbtype::LEGACY_DIRS),
];

impl Mbtype {
    /// Lives on another server.
    pub const REMOTE: Mbtype = Mbtype(1 << 4);
    /// Reserved.
    pub const RESERVE: Mbtype = Mbtype(1 << 5);
    /// On its way to another server.
    pub const MOVING: Mbtype = Mbtype(1 << 6);
    /// A tombstone.
    pub const DELETED: Mbtype = Mbtype(1 << 7);
    /// Stands for an ancestor that does not exist.
    pub const INTERMEDIATE: Mbtype = Mbtype(1 << 8);
    /// Its folder on disk is named after it.
    pub const LEGACY_DIRS: Mbtype = Mbtype(1 << 9);

    /// Whether a flag is set.
    pub fn has(self, flag: Mbtype) -> bool {
        self.0 & flag.0 == flag.0
    }

    /// With these flags too.
    #[must_use]
    pub fn with(self, flags: Mbtype) -> Mbtype {
        Mbtype(self.0 | flags.0)
    }

    /// Reads letters: one for the type, unless it is mail of an old version, then flags.
    pub fn parse(letters: &[u8]) -> Option<Mbtype> {
        let is_type = |letter: u8| TYPES.iter().find(|(known, _)| *known == letter);
        let (bits, flags) = match letters.split_first() {
            Some((first, flags)) => match is_type(*first) {
                Some((_, bits)) => (*bits, flags),
                None => (0, letters),
            },
            None => (0, letters),
        };
        flags.iter().try_fold(Mbtype(bits), |mbtype, letter| {
            let (_, flag) = FLAGS.iter().find(|(known, _)| known == letter)?;
            Some(mbtype.with(*flag))
        })
    }
}

impl fmt::Display for Mbtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = TYPES.iter().find(|(_, bits)| *bits == self.0 & 0xf).map(|(letter, _)| *letter);
        let flags = FLAGS.iter().filter(|(_, flag)| self.has(*flag)).map(|(letter, _)| *letter);
        own.into_iter().chain(flags).try_for_each(|letter| write!(f, "{}", char::from(letter)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_read_and_written() {
        for letters in
            ["e", "er", "ez", "em", "ed", "ei", "edl", "c", "a", "b", "s", "p", "j", "f", "n", "erz"]
        {
            let read = Mbtype::parse(letters.as_bytes()).unwrap();
            assert_eq!(read.to_string(), letters);
        }
    }

    #[test]
    fn old_entries_have_no_letter_for_mail() {
        assert_eq!(Mbtype::parse(b"r"), Some(Mbtype::REMOTE));
        assert_eq!(Mbtype::parse(b""), Some(Mbtype(0)));
    }

    #[test]
    fn unknown_letters_are_refused() {
        assert_eq!(Mbtype::parse(b"ex"), None);
        assert_eq!(Mbtype::parse(b"x"), None);
    }
}
