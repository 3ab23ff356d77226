//! Asking a daemon over its control socket; blocking, for tools.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::marker::PhantomData;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::protocol::{Ask, End};

/// How long a daemon may take for the next row.
const ROW_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a row; an ACL has at most 64 KiB, which JSON may make six times as long.
const ROW_BYTES_MAX: u64 = 1024 * 1024;

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The socket.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is not understood.
    #[error("answer is not understood: {0}")]
    Answer(#[from] serde_json::Error),
    /// The daemon says no.
    #[error("{0}")]
    Refused(String),
}

/// A connection to a daemon.
pub struct Connection {
    reader: BufReader<UnixStream>,
}

impl Connection {
    /// Connects to a socket.
    ///
    /// # Errors
    /// Nobody listens, or this user may not.
    pub fn open(path: &Path) -> io::Result<Connection> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(ROW_TIMEOUT))?;
        stream.set_write_timeout(Some(ROW_TIMEOUT))?;
        Ok(Connection { reader: BufReader::new(stream) })
    }

    /// Asks; the rows come as they are read. All must be taken before the next question.
    ///
    /// # Errors
    /// The question cannot be sent.
    pub fn ask<T: DeserializeOwned>(&mut self, ask: &Ask) -> Result<Rows<'_, T>, AskError> {
        let mut line = serde_json::to_vec(ask)?;
        line.push(b'\n');
        self.reader.get_mut().write_all(&line)?;
        Ok(Rows { reader: &mut self.reader, line: Vec::new(), is_over: false, row: PhantomData })
    }

    /// Asks what has one row.
    ///
    /// # Errors
    /// There is none.
    pub fn ask_one<T: DeserializeOwned>(&mut self, ask: &Ask) -> Result<T, AskError> {
        let mut rows = self.ask(ask)?;
        let row = rows.next().unwrap_or_else(|| Err(AskError::Refused("an answer without a row".into())))?;
        rows.try_for_each(|rest| rest.map(drop))?;
        Ok(row)
    }
}

/// The rows of an answer.
pub struct Rows<'c, T> {
    reader: &'c mut BufReader<UnixStream>,
    line: Vec<u8>,
    is_over: bool,
    row: PhantomData<T>,
}

impl<T: DeserializeOwned> Iterator for Rows<'_, T> {
    type Item = Result<T, AskError>;

    fn next(&mut self) -> Option<Result<T, AskError>> {
        if self.is_over {
            return None;
        }
        let row = self.row().transpose();
        self.is_over = !matches!(row, Some(Ok(_)));
        row
    }
}

impl<T: DeserializeOwned> Rows<'_, T> {
    fn row(&mut self) -> Result<Option<T>, AskError> {
        self.line.clear();
        (&mut self.reader).take(ROW_BYTES_MAX).read_until(b'\n', &mut self.line)?;
        if !self.line.ends_with(b"\n") {
            return Err(AskError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        if !self.line.starts_with(b"{\"end\":") {
            return Ok(Some(serde_json::from_slice(&self.line)?));
        }
        match serde_json::from_slice(&self.line)? {
            End::Done => Ok(None),
            End::Refused { why } => Err(AskError::Refused(why)),
        }
    }
}
