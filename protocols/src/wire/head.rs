//! How far a command or response reaches: its lines together with the literals between them.

use super::line;
use super::literal::{self, Announced};
use super::{Error, limits};

/// What stands at the front of the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// A whole head.
    Complete {
        /// Its bytes, the last line end included.
        len: usize,
    },
    /// A line that announces a literal whose bytes are not all here.
    Literal {
        /// The literal.
        announced: Announced,
        /// Where its first byte stands, or will stand.
        begins: usize,
    },
    /// A line without its end.
    Partial {
        /// Where the line begins.
        begins: usize,
    },
}

/// Measures the head at the front of `input`, which may hold literals of at most `literal_max` bytes
/// each and `head_max` bytes in all. A literal over its limit ends the search as [`Extent::Literal`]:
/// whether it is refused or streamed is the caller's choice.
///
/// # Errors
/// `TooLong` when the head is longer than `head_max`.
pub fn extent(input: &[u8], literal_max: u64, head_max: usize) -> Result<Extent, Error> {
    extent_with(usize::MAX, input, literal_max, head_max)
}

/// [`extent`] of a head with at most so many literals: the one behind them is told as over its limit is,
/// also when its bytes are here.
///
/// # Errors
/// As [`extent`].
pub fn extent_with(
    literals: usize,
    input: &[u8],
    literal_max: u64,
    head_max: usize,
) -> Result<Extent, Error> {
    let mut literals_left = literals;
    let too_long = Error::TooLong { what: "command", limit: head_max as u64 };
    let mut begins = 0;
    loop {
        let line = match line::first(&input[begins..], head_max - begins) {
            Ok(line) => line,
            Err(Error::Incomplete) => return Ok(Extent::Partial { begins }),
            Err(Error::TooLong { .. }) => return Err(too_long),
            Err(error @ Error::Syntax(_)) => return Err(error),
        };
        let end = begins + line.len;
        let Some(announced) = literal::at_line_end(line.content) else {
            return Ok(Extent::Complete { len: end });
        };
        let stop = Extent::Literal { announced, begins: end };
        if announced.len > literal_max || literals_left == 0 {
            return Ok(stop);
        }
        literals_left -= 1;
        let behind = usize::try_from(announced.len).ok().and_then(|len| end.checked_add(len));
        match behind.filter(|behind| *behind < head_max) {
            None => return Err(too_long),
            Some(behind) if behind > input.len() => return Ok(stop),
            // An empty literal is asked for like any other: it is over when something stands behind.
            Some(_) if announced.len == 0 && end == input.len() => return Ok(stop),
            Some(behind) => begins = behind,
        }
    }
}

/// [`extent`] with the limits for what is routed by its arguments.
///
/// # Errors
/// As [`extent`].
pub fn command(input: &[u8]) -> Result<Extent, Error> {
    extent(input, limits::HEAD_LITERAL_BYTES_MAX, limits::LINE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"a LOGIN {3+}\r\nfoo {5}\r\nb{1}r\r\nb NOOP\r\n";
    const HEAD_LEN: usize = 30;

    #[test]
    fn literals_belong_to_the_head() {
        assert_eq!(command(HEAD), Ok(Extent::Complete { len: HEAD_LEN }));
    }

    #[test]
    fn every_prefix_says_what_is_missing() {
        for cut in 0..HEAD_LEN {
            let literal = |len, sync, begins| Extent::Literal {
                announced: Announced { len, sync, binary: false },
                begins,
            };
            let expected = match cut {
                0..14 => Extent::Partial { begins: 0 },
                14..17 => literal(3, false, 14),
                17..23 => Extent::Partial { begins: 17 },
                23..28 => literal(5, true, 23),
                _ => Extent::Partial { begins: 28 },
            };
            assert_eq!(command(&HEAD[..cut]), Ok(expected), "cut at {cut}");
        }
    }

    #[test]
    fn empty_literal_is_told_until_something_stands_behind_it() {
        let announced = Announced { len: 0, sync: true, binary: false };
        assert_eq!(command(b"a X {0}\r\n"), Ok(Extent::Literal { announced, begins: 9 }));
        assert_eq!(command(b"a X {0}\r\n\r"), Ok(Extent::Partial { begins: 9 }));
        assert_eq!(command(b"a X {0}\r\n\r\n"), Ok(Extent::Complete { len: 11 }));
    }

    #[test]
    fn literal_behind_those_of_the_head_is_told_though_its_bytes_are_here() {
        let announced = Announced { len: 5, sync: true, binary: false };
        assert_eq!(extent_with(1, HEAD, 100, 100), Ok(Extent::Literal { announced, begins: 23 }));
        assert_eq!(extent_with(2, HEAD, 100, 100), Ok(Extent::Complete { len: HEAD_LEN }));
    }

    #[test]
    fn literal_over_limit_is_told_before_its_bytes_come() {
        let announced = Announced { len: 9, sync: true, binary: false };
        assert_eq!(extent(b"a X {9}\r\n", 8, 100), Ok(Extent::Literal { announced, begins: 9 }));
        assert_eq!(extent(b"a X {9}\r\n123456789\r\n", 8, 100), Ok(Extent::Literal { announced, begins: 9 }));
    }

    #[test]
    fn head_over_limit_is_refused_when_announced() {
        let refused = Err(Error::TooLong { what: "command", limit: 100 });
        assert_eq!(extent(b"a X {91}\r\n", 1000, 100), refused);
        assert_eq!(extent(&[b'x'; 100], 10, 100), refused);
    }

    #[test]
    fn bare_lf_ends_an_announcing_line() {
        assert_eq!(command(b"a X {1+}\nz\n"), Ok(Extent::Complete { len: 11 }));
    }
}
