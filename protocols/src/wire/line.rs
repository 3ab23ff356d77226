//! Lines: everything up to LF, with or without a CR before it.

use memchr::memchr;

use super::Error;

/// A whole line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line<'a> {
    /// What stands before the line end.
    pub content: &'a [u8],
    /// Bytes of the line, its end included.
    pub len: usize,
}

/// Takes the first line of `input`. A bare LF ends a line as CRLF does, as in Cyrus.
///
/// # Errors
/// `Incomplete`: no line end within fewer than `limit` bytes. `TooLong`: none within `limit`.
pub fn first(input: &[u8], limit: usize) -> Result<Line<'_>, Error> {
    first_from(input, 0, limit)
}

/// As [`first`], when the bytes before `seen` are known to hold no LF.
///
/// # Errors
/// As [`first`].
pub fn first_from(input: &[u8], seen: usize, limit: usize) -> Result<Line<'_>, Error> {
    let window = &input[..input.len().min(limit)];
    match memchr(b'\n', window.get(seen..).unwrap_or_default()) {
        Some(lf) => {
            let len = seen + lf + 1;
            Ok(Line { content: without_end(&input[..len]), len })
        }
        None if input.len() < limit => Err(Error::Incomplete),
        None => Err(Error::TooLong { what: "line", limit: limit as u64 }),
    }
}

/// Cuts one CRLF or LF off the end, if there is one.
pub fn without_end(line: &[u8]) -> &[u8] {
    match line {
        [content @ .., b'\r', b'\n'] | [content @ .., b'\n'] => content,
        content => content,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crlf_and_bare_lf_end_a_line() {
        assert_eq!(first(b"a NOOP\r\nb", 100), Ok(Line { content: b"a NOOP", len: 8 }));
        assert_eq!(first(b"a NOOP\nb", 100), Ok(Line { content: b"a NOOP", len: 7 }));
    }

    #[test]
    fn a_cr_alone_does_not_end_a_line() {
        assert_eq!(first(b"a\rb\r\n", 100), Ok(Line { content: b"a\rb", len: 5 }));
    }

    #[test]
    fn every_prefix_without_lf_is_incomplete() {
        let line = b"a LOGIN u p\r\n";
        for cut in 0..line.len() {
            assert_eq!(first(&line[..cut], 100), Err(Error::Incomplete));
        }
        assert!(first(line, 100).is_ok());
    }

    #[test]
    fn line_over_limit_is_refused_and_line_at_limit_is_not() {
        assert!(first(b"12345\n", 6).is_ok());
        assert_eq!(first(b"123456\n", 6), Err(Error::TooLong { what: "line", limit: 6 }));
        assert_eq!(first(b"123456", 6), Err(Error::TooLong { what: "line", limit: 6 }));
    }

    #[test]
    fn search_goes_on_behind_what_was_seen() {
        assert_eq!(first_from(b"abc\r\n", 3, 100).map(|line| line.len), Ok(5));
        assert_eq!(first_from(b"abc", 9, 100), Err(Error::Incomplete));
    }
}
