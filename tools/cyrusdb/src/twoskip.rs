//! The twoskip format: a skip list in a file that is only appended to.
//!
//! ```text
//!   header    magic (20) version (4) generation (8) records (8) repack size (8) current size (8)
//!             flags (4) CRC-32 of all before (4)
//!   record    type (1) level (1) key length (2) value length (4)
//!             [key length (8), when the short one is all ones] [value length (8), likewise]
//!             (level + 1) pointers (8) CRC-32 of all before (4) CRC-32 of all behind (4)
//!             key value padding to a multiple of 8
//! ```
//!
//! Numbers are big endian. The first record, `=`, holds nothing and points to the first real one.
//! The lowest level has two pointers, written in turn: the higher one counts. `+` is a record, `-` a
//! deletion that points on. What stands at or behind "current size" belongs to a commit that was
//! not finished, and so does every pointer to there: the lower one of the two then is what it was
//! before. Following only the lowest level and only below "current size" is the repair that Cyrus
//! makes when it opens such a file.

use crate::DbError;
use crate::crc::crc32;

const MAGIC: &[u8; 20] = b"\xa1\x02\x8b\x0dtwoskip file\0\0\0\0";
const TWOM_MAGIC: &[u8] = b"\xa1\x02\x8b\x0dtwomfile";
const SKIPLIST_MAGIC: &[u8] = b"\xa1\x02\x8b\x0dskiplist file";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
const CRC_OFFSET: usize = 60;

/// The highest level that Cyrus makes.
const LEVEL_MAX: u8 = 31;

/// The shortest record: head, one pointer, two checksums.
const RECORD_BYTES_MIN: u64 = 24;

/// The flag of a commit that was begun.
const DIRTY: u32 = 1;

/// A database in memory.
pub struct Twoskip {
    bytes: Vec<u8>,
    header: Header,
}

struct Header {
    records: u64,
    current_size: u64,
    flags: u32,
}

/// One record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Where in the file it begins.
    pub at: u64,
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

impl Twoskip {
    /// Looks at the header of a database.
    ///
    /// # Errors
    /// `NotTwoskip`, `Version`, `Damaged`.
    pub fn new(bytes: Vec<u8>) -> Result<Twoskip, DbError> {
        if !bytes.starts_with(MAGIC) {
            return Err(DbError::NotTwoskip { what: kind(&bytes) });
        }
        let damaged = |what| DbError::Damaged { at: 0, what };
        let header = bytes.get(..HEADER_BYTES).ok_or(damaged("header is cut off"))?;
        let version = u32_at(header, 20).unwrap_or(0);
        if version > VERSION {
            return Err(DbError::Version { found: version });
        }
        if u32_at(header, CRC_OFFSET) != Some(crc32(&header[..CRC_OFFSET])) {
            return Err(damaged("checksum of the header"));
        }
        let number = |at| u64_at(header, at).unwrap_or(0);
        let header =
            Header { records: number(32), current_size: number(48), flags: u32_at(header, 56).unwrap_or(0) };
        if header.current_size > bytes.len() as u64 {
            return Err(DbError::Damaged { at: bytes.len() as u64, what: "file is cut off" });
        }
        Ok(Twoskip { bytes, header })
    }

    /// Whether the last commit was finished.
    pub fn is_clean(&self) -> bool {
        self.header.flags & DIRTY == 0 && self.header.current_size == self.bytes.len() as u64
    }

    /// The records of the last finished commit, in order.
    pub fn records(&self) -> Records<'_> {
        Records { database: self, next: Next::First, visited: 0, told: 0 }
    }

    /// Reads and checks the record at a place.
    fn read(&self, at: u64) -> Result<Stored<'_>, DbError> {
        let damaged = |what| DbError::Damaged { at, what };
        let cut = || damaged("record is cut off");
        let end = usize::try_from(self.header.current_size).map_err(|_| cut())?;
        let bytes = usize::try_from(at).ok().and_then(|at| self.bytes[..end].get(at..)).ok_or_else(cut)?;
        let [kind, level, k0, k1, v0, v1, v2, v3] = *bytes.first_chunk().ok_or_else(cut)?;
        if level > LEVEL_MAX {
            return Err(damaged("level of a record"));
        }
        let mut behind = 8;
        let mut length = |short: u64, all_ones: u64| {
            let long = if short == all_ones { u64_at(bytes, behind)? } else { short };
            behind += if short == all_ones { 8 } else { 0 };
            usize::try_from(long).ok()
        };
        let key_bytes = length(u16::from_be_bytes([k0, k1]).into(), u16::MAX.into()).ok_or_else(cut)?;
        let value_bytes =
            length(u32::from_be_bytes([v0, v1, v2, v3]).into(), u32::MAX.into()).ok_or_else(cut)?;
        let checksums = behind + 8 * (usize::from(level) + 1);
        let data_bytes = key_bytes
            .checked_add(value_bytes)
            .and_then(|bytes| bytes.checked_next_multiple_of(8))
            .ok_or_else(cut)?;
        let data = bytes.get(checksums + 8..).and_then(|data| data.get(..data_bytes)).ok_or_else(cut)?;
        if u32_at(bytes, checksums) != Some(crc32(&bytes[..checksums])) {
            return Err(damaged("checksum of a record's head"));
        }
        if u32_at(bytes, checksums + 4) != Some(crc32(data)) {
            return Err(damaged("checksum of a record's key and value"));
        }
        let record = Record { at, key: &data[..key_bytes], value: &data[key_bytes..key_bytes + value_bytes] };
        Ok(Stored { kind, pointers: &bytes[behind..checksums], record })
    }
}

/// A record as it is stored.
struct Stored<'a> {
    kind: u8,
    pointers: &'a [u8],
    record: Record<'a>,
}

impl Stored<'_> {
    /// Where the lowest level goes on; 0 at the end.
    fn next(&self, current_size: u64) -> u64 {
        let pointer = |n: usize| u64_at(self.pointers, 8 * n).filter(|at| *at < current_size).unwrap_or(0);
        match self.kind {
            b'-' => pointer(0),
            _ => pointer(0).max(pointer(1)),
        }
    }
}

/// The records of a database, in order.
pub struct Records<'a> {
    database: &'a Twoskip,
    next: Next,
    visited: u64,
    told: u64,
}

enum Next {
    First,
    At(u64),
    End,
}

impl<'a> Records<'a> {
    fn step(&mut self) -> Result<Option<Record<'a>>, DbError> {
        let header = &self.database.header;
        loop {
            let at = match self.next {
                Next::First => HEADER_BYTES as u64,
                Next::At(0) => return self.finish(),
                Next::At(at) => at,
                Next::End => return Ok(None),
            };
            self.visited += 1;
            if self.visited > header.current_size / RECORD_BYTES_MIN {
                return Err(DbError::Damaged { at, what: "records point in a circle" });
            }
            let stored = self.database.read(at)?;
            self.next = Next::At(stored.next(header.current_size));
            match (stored.kind, self.visited) {
                (b'=', 1) | (b'-', 2..) => {}
                (b'+', 2..) => {
                    self.told += 1;
                    return Ok(Some(stored.record));
                }
                _ => return Err(DbError::Damaged { at, what: "kind of a record" }),
            }
        }
    }

    /// The number of records is written with the end of a commit.
    fn finish(&mut self) -> Result<Option<Record<'a>>, DbError> {
        self.next = Next::End;
        if self.database.is_clean() && self.told != self.database.header.records {
            return Err(DbError::Damaged { at: 32, what: "number of records" });
        }
        Ok(None)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, DbError>;

    fn next(&mut self) -> Option<Result<Record<'a>, DbError>> {
        let step = self.step();
        if step.is_err() {
            self.next = Next::End;
        }
        step.transpose()
    }
}

/// What a file is that is no twoskip database.
fn kind(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "an empty file",
        bytes if bytes.starts_with(SKIPLIST_MAGIC) => "a skiplist database",
        bytes if bytes.starts_with(TWOM_MAGIC) => "a twom database",
        bytes if bytes.starts_with(b"SQLite format 3\0") => "an SQL database",
        bytes if bytes.is_ascii() => "a flat database, or no database",
        _ => "no database that is known here",
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}
