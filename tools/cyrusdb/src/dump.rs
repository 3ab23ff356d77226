//! The dump of a mailbox list as `ctl_mboxlist -d` of Cyrus 3.4 and later writes it, and the older
//! text that `-u -L` reads.
//!
//! ```text
//!   {
//!   "user.fred": {"name": "user.fred", "mtime": "17..", ..., "acl": {"fred": "lrs"}, "name_history": []},
//!   ...
//!   }
//! ```

mod json;
mod legacy;

use std::io::{self, Write};

use crate::Mailbox;

pub use json::read;
pub use legacy::{LINE_BYTES_MAX, line};

/// Octets of a name that is taken from a dump, as in Cyrus.
pub const NAME_BYTES_MAX: usize = 490;

/// Octets of a partition's name that is taken from a dump, as in Cyrus.
pub const PARTITION_BYTES_MAX: usize = 63;

/// Why a dump cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// It cannot be read.
    #[error("cannot read the dump: {0}")]
    Read(#[from] io::Error),
    /// It is no JSON, or not of a dump's shape.
    #[error("parse error at line {line}: {why}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// One sentence.
        why: String,
    },
}

/// What a dump has to say of one mailbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// An entry.
    Mailbox(Box<Mailbox>),
    /// Something is missing or too long; the entry, if one follows, has a default in its place.
    Warning(String),
}

/// Writes a dump, entry by entry.
pub struct Dump<W> {
    out: W,
    is_first: bool,
    /// One entry as text.
    line: Vec<u8>,
}

impl<W: Write> Dump<W> {
    /// Begins.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(mut out: W) -> io::Result<Dump<W>> {
        out.write_all(b"{\n")?;
        Ok(Dump { out, is_first: true, line: Vec::new() })
    }

    /// Writes an entry. As in Cyrus, texts that are not UTF-8 are left out, and with such a name the
    /// whole entry is.
    ///
    /// # Errors
    /// What the system says.
    pub fn entry(&mut self, mailbox: &Mailbox) -> io::Result<()> {
        self.line.clear();
        json::entry_out(&mut self.line, mailbox);
        if !self.is_first {
            self.out.write_all(b",\n")?;
        }
        self.is_first = false;
        self.out.write_all(&self.line)
    }

    /// Ends.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.write_all(b"\n}\n")?;
        self.out.flush()
    }
}
