//! The configuration files of Cyrus, `imapd.conf` and `cyrus.conf`: their grammar, not their reading.
//! Whoever reads the files hands their text in.

pub mod check;
pub mod cyrus;
pub mod imapd;
mod mailbox;
pub mod options;
pub mod server;
mod values;

pub use cyrus::CyrusConf;
pub use imapd::{Imapd, Value};
pub use values::DurationUnit;

/// Bytes of one configuration file.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// What is wrong with a configuration, where, and what was expected. Never shows a secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct ConfError {
    /// The file as it was named.
    pub file: String,
    /// The line, from 1; 0 where no line is to blame.
    pub line: usize,
    /// What is wrong and what was expected.
    pub what: String,
}

impl ConfError {
    fn new(file: &str, line: usize, what: impl Into<String>) -> ConfError {
        ConfError { file: file.into(), line, what: what.into() }
    }
}
