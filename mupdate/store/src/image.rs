//! The file with a whole list: written once, read at the start, never changed.
//!
//! ```text
//!   file    frame*                      frame   kind (1 octet)  length (4)  xxh3 of kind and content (8)  content
//!   kinds   "H" head  "P" page  "L" locations  "A" ACLs  "C" a change that led here  "E" end
//! ```
//!
//! Numbers stand low first. A file without its end was not finished and is never named as the one
//! that is used.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::Path;

use mupdate::list::{Editor, Image, List, Piece, Restore};
use protocols::proxy::{Change, Position};
use xxhash_rust::xxh3::Xxh3;

use crate::{history, record};

/// What a file of this kind begins with, in its head.
const MAGIC: &[u8; 16] = b"rookery list 1\r\n";

/// Longest content of a frame: a page has 256 leaves, tables hold each ACL once.
const FRAME_BYTES_MAX: u32 = 1 << 30;

/// Octets that are read or written at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// What an image holds beside the list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Head {
    /// The number of the last change in the list.
    pub(crate) sequence: u64,
    /// Where a slave's list stands in the history of its source.
    pub(crate) source: Option<Position>,
}

/// What an image was read to.
pub(crate) struct Content {
    /// Beside the list.
    pub(crate) head: Head,
    /// The list.
    pub(crate) list: Editor,
    /// The changes that led to it, in order, without a gap.
    pub(crate) log: Vec<Change>,
}

/// Writes a new file; on the disk when it returns. The folder is the caller's to sync.
pub(crate) fn write(path: &Path, head: &Head, list: &List, log: &[Change]) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?);
    frame(&mut out, b'H', &encode_head(head))?;
    for piece in Image::new(list) {
        match piece {
            Piece::Page(content) => frame(&mut out, b'P', &content)?,
            Piece::Locations(content) => frame(&mut out, b'L', &content)?,
            Piece::Acls(content) => frame(&mut out, b'A', &content)?,
        }
    }
    for change in log {
        frame(&mut out, b'C', &record::encode_change(change))?;
    }
    frame(&mut out, b'E', b"")?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Reads a file.
///
/// # Errors
/// `InvalidData` or `UnexpectedEof`: it is damaged.
pub(crate) fn read(path: &Path) -> io::Result<Content> {
    let mut file = Frames::open(path)?;
    let head = file.head()?;
    let (mut restore, mut list, mut log) = (Restore::new(), None, Vec::new());
    loop {
        let kind = file.next()?;
        let content = &file.content;
        match kind {
            b'P' => restore.page(content).ok_or_else(senseless)?,
            b'L' => restore.locations(content).ok_or_else(senseless)?,
            b'A' => list = std::mem::take(&mut restore).acls(content),
            b'C' => log.push(record::decode_change(content).ok_or_else(senseless)?),
            b'E' => return list.map(|list| Content { head, list, log }).ok_or_else(senseless),
            _ => return Err(senseless()),
        }
    }
}

/// Reads only what stands beside the list and the changes that led to it.
pub(crate) fn read_log(path: &Path) -> io::Result<(Head, Vec<Change>)> {
    let mut file = Frames::open(path)?;
    let head = file.head()?;
    let mut log = Vec::new();
    loop {
        let (kind, len, sum) = file.lead()?;
        match kind {
            b'C' => {
                file.content(kind, len, sum)?;
                log.push(record::decode_change(&file.content).ok_or_else(senseless)?);
            }
            b'E' => return Ok((head, log)),
            _ => file.input.seek_relative(i64::from(len))?,
        }
    }
}

fn encode_head(head: &Head) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&head.sequence.to_le_bytes());
    if let Some(source) = &head.source {
        out.extend_from_slice(&history::encode_position(source));
    }
    out
}

fn decode_head(content: &[u8]) -> Option<Head> {
    let (sequence, source) = content.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
    let sequence = u64::from_le_bytes(*sequence);
    let source = match source {
        [] => None,
        source => Some(history::decode_position(source)?),
    };
    Some(Head { sequence, source })
}

fn frame(out: &mut impl Write, kind: u8, content: &[u8]) -> io::Result<()> {
    let len = u32::try_from(content.len()).ok().filter(|len| *len <= FRAME_BYTES_MAX);
    let len = len.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "a piece of the list is too long"))?;
    out.write_all(&[kind])?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(&checksum(kind, content).to_le_bytes())?;
    out.write_all(content)
}

fn checksum(kind: u8, content: &[u8]) -> u64 {
    let mut sum = Xxh3::new();
    sum.update(&[kind]);
    sum.update(content);
    sum.digest()
}

fn senseless() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "a piece of the list makes no sense")
}

/// A file that is read.
struct Frames {
    input: BufReader<File>,
    content: Vec<u8>,
}

impl Frames {
    fn open(path: &Path) -> io::Result<Frames> {
        let input = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?);
        Ok(Frames { input, content: Vec::new() })
    }

    fn head(&mut self) -> io::Result<Head> {
        match self.next()? {
            b'H' => decode_head(&self.content).ok_or_else(senseless),
            _ => Err(senseless()),
        }
    }

    /// The kind of the next frame, whose content is then in `content`.
    fn next(&mut self) -> io::Result<u8> {
        let (kind, len, sum) = self.lead()?;
        self.content(kind, len, sum)?;
        Ok(kind)
    }

    fn lead(&mut self) -> io::Result<(u8, u32, u64)> {
        let (mut kind, mut len, mut sum) = ([0], [0; 4], [0; 8]);
        self.input.read_exact(&mut kind)?;
        self.input.read_exact(&mut len)?;
        self.input.read_exact(&mut sum)?;
        let len = u32::from_le_bytes(len);
        if len > FRAME_BYTES_MAX {
            return Err(senseless());
        }
        Ok((kind[0], len, u64::from_le_bytes(sum)))
    }

    fn content(&mut self, kind: u8, len: u32, sum: u64) -> io::Result<()> {
        self.content.clear();
        // Grows with what is there: a damaged length costs no memory.
        self.input.by_ref().take(u64::from(len)).read_to_end(&mut self.content)?;
        if self.content.len() < len as usize {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if checksum(kind, &self.content) != sum {
            return Err(io::Error::new(ErrorKind::InvalidData, "a checksum is wrong"));
        }
        Ok(())
    }
}
