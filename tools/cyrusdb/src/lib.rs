//! Reads Cyrus' `mailboxes.db`, and nothing else: the file is never written.
//!
//! ```text
//!   mailboxes.db ──copy (shared lock)──> bytes ──twoskip──> keys and values ──record──> Mailbox
//! ```
//!
//! Keys that begin with `N` hold mailboxes by name; the others (`I` by unique id, `J`, `$RACL`)
//! say the same again.

mod copy;
mod crc;
mod dlist;
pub mod dump;
mod mbtype;
mod record;
mod twoskip;

use std::path::PathBuf;

pub use copy::{COPY_BYTES_MAX, copy};
pub use mbtype::Mbtype;
pub use record::Mailbox;
pub use twoskip::{Records, Twoskip};

/// Why a database cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The file cannot be opened, locked or read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Another kind of database.
    #[error("{what}: expected a twoskip database")]
    NotTwoskip {
        /// What it is.
        what: &'static str,
    },
    /// A version of the format that did not exist when this was written.
    #[error("twoskip version {found}: expected 1")]
    Version {
        /// The version.
        found: u32,
    },
    /// The bytes are not what they were when Cyrus wrote them.
    #[error("damaged at byte {at}: {what}")]
    Damaged {
        /// Where.
        at: u64,
        /// What is wrong there.
        what: &'static str,
    },
}

/// The mailboxes of a database in its order, also tombstones and intermediates.
pub struct Mailboxes<'a> {
    records: Records<'a>,
}

impl Twoskip {
    /// The mailboxes, in the order of the database.
    pub fn mailboxes(&self) -> Mailboxes<'_> {
        Mailboxes { records: self.records() }
    }
}

impl Iterator for Mailboxes<'_> {
    type Item = Result<Mailbox, DbError>;

    fn next(&mut self) -> Option<Result<Mailbox, DbError>> {
        loop {
            let record = match self.records.next()? {
                Ok(record) => record,
                Err(error) => return Some(Err(error)),
            };
            if let Some(key) = record.key.strip_prefix(b"N") {
                let damaged = |what| DbError::Damaged { at: record.at, what };
                return Some(Mailbox::read(key, record.value).map_err(damaged));
            }
        }
    }
}
