//! Reading words, strings and ends of lines out of bytes that may not all be there yet.

use std::borrow::Cow;

use super::{MESSAGE_BYTES_MAX, STRING_BYTES_MAX, WORD_BYTES_MAX};

/// Why bytes could not be read to the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Stop {
    /// More bytes are needed.
    #[error("incomplete: at least {bytes_min} bytes")]
    Incomplete {
        /// There is nothing to be gained before this many stand there.
        bytes_min: usize,
    },
    /// A synchronising literal is announced: the server says `+ go ahead`.
    #[error("literal waits for the go-ahead")]
    GoAhead {
        /// Where the octets of the literal will stand.
        at: usize,
    },
    /// A limit was passed; there is no way to go on with these bytes.
    #[error("message, word or string over its limit")]
    TooLong,
    /// Not what is expected at this place.
    #[error("malformed at byte {at}")]
    Malformed {
        /// Where.
        at: usize,
    },
}

/// Finds the first line: what stands in front of its end, and how long it is with it.
///
/// # Errors
/// `Incomplete`; `TooLong` past `limit` bytes without an end.
pub fn line(bytes: &[u8], limit: usize) -> Result<(&[u8], usize), Stop> {
    match memchr::memchr(b'\n', bytes) {
        Some(end) if end > limit => Err(Stop::TooLong),
        Some(end) => Ok((bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]), end + 1)),
        None if bytes.len() > limit => Err(Stop::TooLong),
        None => Err(Stop::Incomplete { bytes_min: bytes.len() + 1 }),
    }
}

/// Who sent the bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Client,
    Server,
}

/// A place in bytes.
pub(super) struct Scan<'a> {
    bytes: &'a [u8],
    pub at: usize,
    from: From,
}

impl<'a> Scan<'a> {
    pub(super) fn new(bytes: &'a [u8], from: From) -> Scan<'a> {
        Scan { bytes, at: 0, from }
    }

    /// The next byte, not taken.
    pub(super) fn peek(&self) -> Result<u8, Stop> {
        if self.at >= MESSAGE_BYTES_MAX {
            return Err(Stop::TooLong);
        }
        self.bytes.get(self.at).copied().ok_or_else(|| self.more())
    }

    fn more(&self) -> Stop {
        Stop::Incomplete { bytes_min: self.bytes.len() + 1 }
    }

    pub(super) fn malformed<T>(&self) -> Result<T, Stop> {
        Err(Stop::Malformed { at: self.at })
    }

    /// Takes one given byte.
    pub(super) fn byte(&mut self, wanted: u8) -> Result<(), Stop> {
        if self.peek()? != wanted {
            return self.malformed();
        }
        self.at += 1;
        Ok(())
    }

    /// ```text
    /// word = *(any but SP, HTAB, CR, LF)
    /// ```
    pub(super) fn word(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
        match len {
            Some(len) if len <= WORD_BYTES_MAX => {
                self.at += len;
                Ok(&rest[..len])
            }
            None if rest.len() <= WORD_BYTES_MAX => Err(self.more()),
            Some(_) | None => Err(Stop::TooLong),
        }
    }

    /// Skips the sign in `={0+}`, which is how a Cyrus client writes an empty initial response.
    pub(super) fn stray_sign(&mut self) -> Result<(), Stop> {
        if self.peek()? == b'=' {
            match self.bytes.get(self.at + 1) {
                Some(b'{') => self.at += 1,
                Some(_) => {}
                None => return Err(self.more()),
            }
        }
        Ok(())
    }

    /// CRLF or LF.
    pub(super) fn end(&mut self) -> Result<(), Stop> {
        let start = self.at;
        if self.peek()? == b'\r' {
            self.at += 1;
        }
        if self.peek()? != b'\n' {
            self.at = start;
            return self.malformed();
        }
        self.at += 1;
        Ok(())
    }

    /// Whether the line ends here.
    pub(super) fn is_end(&self) -> Result<bool, Stop> {
        match self.peek()? {
            b'\n' => Ok(true),
            b'\r' => match self.bytes.get(self.at + 1) {
                Some(next) => Ok(*next == b'\n'),
                None => Err(self.more()),
            },
            _ => Ok(false),
        }
    }

    /// What stands up to the end of the line; the end is taken too.
    pub(super) fn rest_of_line(&mut self) -> Result<&'a [u8], Stop> {
        let (text, n) = line(&self.bytes[self.at..], MESSAGE_BYTES_MAX).map_err(|stop| match stop {
            Stop::Incomplete { .. } => self.more(),
            Stop::GoAhead { .. } | Stop::TooLong | Stop::Malformed { .. } => stop,
        })?;
        self.at += n;
        Ok(text)
    }

    /// ```text
    /// string = quoted / literal
    /// ```
    pub(super) fn string(&mut self) -> Result<Cow<'a, [u8]>, Stop> {
        match self.peek()? {
            b'"' => self.quoted(),
            b'{' => self.literal(),
            _ => self.malformed(),
        }
    }

    fn quoted(&mut self) -> Result<Cow<'a, [u8]>, Stop> {
        let start = self.at + 1;
        let mut owned: Option<Vec<u8>> = None;
        let mut at = start;
        loop {
            if at - start > STRING_BYTES_MAX {
                return Err(Stop::TooLong);
            }
            let byte = *self.bytes.get(at).ok_or_else(|| self.more())?;
            match byte {
                b'"' => {
                    self.at = at + 1;
                    return Ok(match owned {
                        Some(owned) => Cow::Owned(owned),
                        None => Cow::Borrowed(&self.bytes[start..at]),
                    });
                }
                b'\r' | b'\n' | 0 => {
                    self.at = at;
                    return self.malformed();
                }
                b'\\' => {
                    let escaped = *self.bytes.get(at + 1).ok_or_else(|| self.more())?;
                    if matches!(escaped, b'\r' | b'\n' | 0) {
                        self.at = at;
                        return self.malformed();
                    }
                    owned.get_or_insert_with(|| self.bytes[start..at].to_vec()).push(escaped);
                    at += 2;
                }
                other => {
                    if let Some(owned) = &mut owned {
                        owned.push(other);
                    }
                    at += 1;
                }
            }
        }
    }

    fn literal(&mut self) -> Result<Cow<'a, [u8]>, Stop> {
        let mut at = self.at + 1;
        let mut len = 0usize;
        let digits = at;
        let next = |at: usize| self.bytes.get(at).copied().ok_or_else(|| self.more());
        while let digit @ b'0'..=b'9' = next(at)? {
            len = len * 10 + usize::from(digit - b'0');
            if len > STRING_BYTES_MAX {
                return Err(Stop::TooLong);
            }
            at += 1;
            if at - digits > 10 {
                return Err(Stop::TooLong);
            }
        }
        let waits = next(at)? != b'+';
        if !waits {
            at += 1;
        }
        if at == digits || next(at)? != b'}' {
            return self.malformed();
        }
        at += 1;
        if next(at)? == b'\r' {
            at += 1;
        }
        if next(at)? != b'\n' {
            return self.malformed();
        }
        at += 1;
        if self.bytes.len() == at && waits && self.from == From::Client {
            return Err(Stop::GoAhead { at });
        }
        let octets = self.bytes.get(at..at + len).ok_or(Stop::Incomplete { bytes_min: at + len + 1 })?;
        if memchr::memchr(0, octets).is_some() {
            self.at = at + len;
            return self.malformed();
        }
        self.at = at + len;
        Ok(Cow::Borrowed(octets))
    }
}
