//! The text that `ctl_mboxlist -d` of Cyrus up to 3.2 wrote.

use super::{NAME_BYTES_MAX, PARTITION_BYTES_MAX};
use crate::{Mailbox, Mbtype};

/// Octets of a line; Cyrus cuts at 16 KiB.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Reads one line without its end.
///
/// ```text
///   line = name TAB mbtype SP [server "!"] partition SP acl [tail]
///   tail = ">" uniqueid SP mtime SP uidvalidity SP foldermodseq SP createdmodseq SP specialuse
/// ```
///
/// # Errors
/// One sentence, as Cyrus says it.
pub fn line(line: &[u8]) -> Result<Mailbox, &'static str> {
    const NO_PARTITION: &str = "no partition found";
    let tab = line.iter().position(|byte| *byte == b'\t').ok_or(NO_PARTITION)?;
    let (name, rest) = (&line[..tab], &line[tab + 1..]);
    let mut words = rest.splitn(3, |byte| *byte == b' ');
    let mbtype = words.next().and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    let place = words.next().filter(|place| !place.is_empty()).ok_or(NO_PARTITION)?;
    let rest = words.next().unwrap_or_default();
    let (acl, tail) = match rest.iter().position(|byte| *byte == b'>') {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &[][..]),
    };
    let (server, partition) = match place.iter().position(|byte| *byte == b'!') {
        Some(bang) => (Some(place[..bang].into()), &place[bang + 1..]),
        None => (None, place),
    };
    if name.len() > NAME_BYTES_MAX {
        return Err("mailbox name too long");
    }
    if partition.len() > PARTITION_BYTES_MAX {
        return Err("partition name too long");
    }
    let mut tail = tail.split(|byte| *byte == b' ');
    let mut next = || tail.next().filter(|word| !word.is_empty());
    let number = |word: Option<&[u8]>| word.and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
    Ok(Mailbox {
        name: name.into(),
        mbtype: Mbtype(mbtype.ok_or(NO_PARTITION)?),
        partition: Some(partition.into()),
        server,
        acl: acl.into(),
        uniqueid: next().map(Box::from),
        mtime: number(next()).and_then(|n| i64::try_from(n).ok()).unwrap_or(0),
        uidvalidity: number(next()).and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
        foldermodseq: number(next()).unwrap_or(0_u64),
        createdmodseq: number(next()).unwrap_or(0),
        legacy_specialuse: next().map(Box::from),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_ages_are_read() {
        let old = line(b"user.fred\t0 default fred\tlrs\tanyone\tp\t").unwrap();
        assert_eq!((&*old.name, old.partition.as_deref()), (&b"user.fred"[..], Some(&b"default"[..])));
        assert_eq!(&*old.acl, b"fred\tlrs\tanyone\tp\t");
        let remote = line(b"user.fred\t16 be1!default fred\tlrs\t").unwrap();
        assert_eq!(remote.server.as_deref(), Some(&b"be1"[..]));
        let new = line(b"user.fred\t0 default fred\tlrs\t>77 1 2 3 4 \\Sent").unwrap();
        assert_eq!(new.uniqueid.as_deref(), Some(&b"77"[..]));
        assert_eq!((new.mtime, new.uidvalidity, new.foldermodseq, new.createdmodseq), (1, 2, 3, 4));
        assert_eq!(new.legacy_specialuse.as_deref(), Some(&b"\\Sent"[..]));
        assert_eq!(&*line(b"user.fred\t0 default >77 1 2 3 4").unwrap().acl, b"");
    }

    #[test]
    fn lines_without_a_partition_are_refused() {
        for text in
            [&b""[..], b"user.fred", b"user.fred\t", b"user.fred\t0", b"user.fred\t0 ", b"a\tx default"]
        {
            assert_eq!(line(text), Err("no partition found"), "{}", text.escape_ascii());
        }
        let long = format!("a\t0 {} x", "p".repeat(64));
        assert_eq!(line(long.as_bytes()), Err("partition name too long"));
    }
}
