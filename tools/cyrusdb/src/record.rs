//! One entry of the database.
//!
//! ```text
//!   %(T type I unique-id P partition S server V uidvalidity C created F folder M mtime A %(id rights ...))
//!   ["(uniqueid" SP id [SP ...] ")" SP] mbtype SP [server "!"] partition SP acl          before 3.0
//! ```

use mupdate::list::key;

use crate::Mbtype;
use crate::dlist::{self, Value};

/// A mailbox as the database has it. What an entry does not say is 0, empty or `None`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Mailbox {
    /// The internal name.
    pub name: Box<[u8]>,
    /// Type and flags.
    pub mbtype: Mbtype,
    /// Where on its server.
    pub partition: Option<Box<[u8]>>,
    /// Which server; `None` is this one.
    pub server: Option<Box<[u8]>>,
    /// `id TAB rights TAB ...`.
    pub acl: Box<[u8]>,
    /// The unique id.
    pub uniqueid: Option<Box<[u8]>>,
    /// UIDVALIDITY.
    pub uidvalidity: u32,
    /// The modseq at which it was created.
    pub createdmodseq: u64,
    /// The modseq of its last change as a folder.
    pub foldermodseq: u64,
    /// When the entry was written, in seconds since 1970.
    pub mtime: i64,
    /// The special use of an entry that was never upgraded.
    pub legacy_specialuse: Option<Box<[u8]>>,
}

impl Mailbox {
    /// Reads an entry; `key` is the database's form of the name.
    ///
    /// # Errors
    /// One sentence.
    pub fn read(key: &[u8], value: &[u8]) -> Result<Mailbox, &'static str> {
        let name = key::name(key).into();
        match value.first() {
            None => Err("empty entry"),
            Some(b'%') => {
                let Some(Value::Pairs(pairs)) = dlist::parse(value) else {
                    return Err("entry is no list of keys and values");
                };
                from_pairs(Mailbox { name, ..Mailbox::default() }, &pairs)
            }
            Some(_) => from_old(Mailbox { name, ..Mailbox::default() }, value),
        }
    }

    /// Whether it is a mailbox that lives on this server: no tombstone, no placeholder, not another
    /// server's.
    pub fn is_here(&self) -> bool {
        let flags = [Mbtype::DELETED, Mbtype::INTERMEDIATE];
        let is_elsewhere = self.server.is_some() && !self.mbtype.has(Mbtype::MOVING);
        !flags.iter().any(|flag| self.mbtype.has(*flag)) && !is_elsewhere
    }
}

fn from_pairs<K: AsRef<[u8]>>(
    mut mailbox: Mailbox,
    pairs: &[(K, Value<'_>)],
) -> Result<Mailbox, &'static str> {
    for (key, value) in pairs {
        let text = || value.item().map(Box::from);
        match key.as_ref() {
            b"A" => mailbox.acl = acl(value).into(),
            b"C" => mailbox.createdmodseq = number(value),
            b"F" => mailbox.foldermodseq = number(value),
            b"I" => mailbox.uniqueid = text(),
            b"M" => mailbox.mtime = i64::try_from(number(value)).unwrap_or(i64::MAX),
            b"P" => mailbox.partition = text(),
            b"S" => mailbox.server = text(),
            b"T" => {
                let letters = value.item().unwrap_or_default();
                mailbox.mbtype = Mbtype::parse(letters).ok_or("unknown letter in the type of a mailbox")?;
            }
            b"V" => mailbox.uidvalidity = u32::try_from(number(value)).unwrap_or(u32::MAX),
            // History, and what later versions add.
            _ => {}
        }
    }
    Ok(mailbox)
}

fn acl(value: &Value<'_>) -> Vec<u8> {
    let Value::Pairs(pairs) = value else { return Vec::new() };
    let field = |bytes: &[u8]| [bytes, b"\t"].concat();
    let entries = pairs.iter().filter_map(|(id, rights)| Some([field(id), field(rights.item()?)].concat()));
    entries.flatten().collect()
}

/// Digits up to the first other byte; 0 when there are none.
fn number(value: &Value<'_>) -> u64 {
    let digits = value.item().unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0_u64, |n, digit| n.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

fn from_old(mut mailbox: Mailbox, value: &[u8]) -> Result<Mailbox, &'static str> {
    let rest = match value.strip_prefix(b"(") {
        None => value,
        Some(extended) => {
            let end =
                extended.iter().position(|byte| *byte == b')').ok_or("extended entry without its end")?;
            let mut words = extended[..end].split(|byte| *byte == b' ');
            while let (Some(key), Some(word)) = (words.next(), words.next()) {
                match key {
                    b"uniqueid" => mailbox.uniqueid = Some(word.into()),
                    b"specialuse" => mailbox.legacy_specialuse = Some(word.into()),
                    _ => {}
                }
            }
            extended[end + 1..].strip_prefix(b" ").unwrap_or(&extended[end + 1..])
        }
    };
    let mut words = rest.splitn(3, |byte| *byte == b' ');
    let bits = words.next().and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    mailbox.mbtype = Mbtype(bits.ok_or("type of a mailbox is no number")?);
    let place = words.next().ok_or("entry without a partition")?;
    match place.iter().position(|byte| *byte == b'!') {
        Some(bang) => {
            mailbox.server = Some(place[..bang].into());
            mailbox.partition = Some(place[bang + 1..].into());
        }
        None => mailbox.partition = Some(place.into()),
    }
    mailbox.acl = words.next().unwrap_or_default().into();
    Ok(mailbox)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_3_6_is_read() {
        let value = b"%(T e I 6o1b P default V 1795294942 C 4 F 7 M 1795294943 A %(fred lrswipkxtecdan \"a b\" \"\"))";
        let mailbox = Mailbox::read(b"user\x1ffred.x\x1fSent", value).unwrap();
        let expected = Mailbox {
            name: (*b"user.fred^x.Sent").into(),
            mbtype: Mbtype(0),
            partition: Some((*b"default").into()),
            server: None,
            acl: (*b"fred\tlrswipkxtecdan\ta b\t\t").into(),
            uniqueid: Some((*b"6o1b").into()),
            uidvalidity: 1_795_294_942,
            createdmodseq: 4,
            foldermodseq: 7,
            mtime: 1_795_294_943,
            legacy_specialuse: None,
        };
        assert_eq!(mailbox, expected);
        assert!(mailbox.is_here());
    }

    #[test]
    fn entries_before_3_0_are_read() {
        let mailbox = Mailbox::read(b"a", b"16 be1!default fred\tlrs\t").unwrap();
        assert_eq!((mailbox.mbtype, mailbox.server.as_deref()), (Mbtype::REMOTE, Some(&b"be1"[..])));
        assert_eq!(&*mailbox.acl, b"fred\tlrs\t");
        let mailbox = Mailbox::read(b"a", b"(uniqueid 77 specialuse \\Sent) 0 default x\ty\t").unwrap();
        assert_eq!(mailbox.uniqueid.as_deref(), Some(&b"77"[..]));
        assert_eq!(mailbox.legacy_specialuse.as_deref(), Some(&b"\\Sent"[..]));
        assert_eq!(mailbox.partition.as_deref(), Some(&b"default"[..]));
    }

    #[test]
    fn nonsense_is_refused() {
        for value in [&b""[..], b"%", b"%(T", b"%(T ex)", b"(uniqueid", b"x default", b"0"] {
            assert!(Mailbox::read(b"a", value).is_err(), "{}", value.escape_ascii());
        }
    }

    #[test]
    fn a_moving_mailbox_is_still_here() {
        let is_here = |value: &[u8]| Mailbox::read(b"a", value).unwrap().is_here();
        assert!(is_here(b"%(T em P p S be2)"));
        assert!(!is_here(b"%(T er P p S be2)"));
        assert!(!is_here(b"%(T ed P p)"));
        assert!(!is_here(b"%(T ei P p)"));
    }
}
