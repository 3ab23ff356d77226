//! Properties of lines, heads and strings.

use std::fmt::Debug;

use crate::wire::head::{self, Extent};
use crate::wire::limits::LITERAL_TAIL_BYTES_MAX;
use crate::wire::quote::{LiteralStyle, astring_out, literal_out, nstring_out, string_out};
use crate::wire::{Cursor, Error, SyntaxError, line, literal};

use super::bounded;

/// Checks `protocols::wire` on any bytes: what a prefix tells the whole confirms, and what was read is
/// written so that it is read again.
///
/// # Panics
/// A property does not hold.
pub fn wire(input: &[u8]) {
    let input = bounded(input);
    lines_do_not_depend_on_splits(input);
    heads_do_not_depend_on_splits(input);
    tail_announces_as_the_line_does(input);
    strings_are_read_as_written(input);
    tokens_of_any_bytes(input);
}

fn lines_do_not_depend_on_splits(input: &[u8]) {
    let limit = 1024;
    let whole = line::first(input, limit);
    for cut in 0..input.len() {
        match (line::first(&input[..cut], limit), whole) {
            (Err(Error::Incomplete), Ok(line)) => assert!(cut < line.len),
            (Err(Error::Incomplete), Err(_)) => {}
            (part, whole) => assert_eq!(part, whole),
        }
        if whole.is_ok_and(|line| cut < line.len) {
            assert_eq!(line::first_from(input, cut.min(whole.map_or(0, |line| line.len - 1)), limit), whole);
        }
    }
}

fn heads_do_not_depend_on_splits(input: &[u8]) {
    let extent = |input| head::extent(input, 256, 1024);
    let whole = extent(input);
    for cut in 0..input.len() {
        match extent(&input[..cut]) {
            Ok(Extent::Complete { len }) => {
                assert!(len <= cut);
                assert_eq!(whole, Ok(Extent::Complete { len }));
            }
            Ok(Extent::Literal { begins, .. } | Extent::Partial { begins }) => {
                assert!(begins <= cut);
                if let Ok(Extent::Complete { len }) = whole {
                    assert!(cut < len);
                }
            }
            Err(error) => assert_eq!(whole, Err(error)),
        }
    }
}

fn tail_announces_as_the_line_does(input: &[u8]) {
    for line in input.split(|byte| *byte == b'\n') {
        let tail = &line[line.len().saturating_sub(LITERAL_TAIL_BYTES_MAX)..];
        let announced = literal::at_line_end(tail);
        assert_eq!(announced, literal::at_line_end(line));
        assert!(announced.is_none() || line.ends_with(b"}"));
    }
}

fn strings_are_read_as_written(input: &[u8]) {
    let text: Vec<u8> = input.iter().copied().filter(|byte| *byte != 0).collect();
    let mut out = Vec::new();
    astring_out(&mut out, &text);
    reads(&out, &text, Cursor::astring);
    out.clear();
    string_out(&mut out, &text, LiteralStyle::NonSynchronising);
    reads(&out, &text, Cursor::string);
    out.clear();
    literal_out(&mut out, &text, LiteralStyle::NonSynchronising);
    reads(&out, &text, Cursor::list_mailbox);
    out.clear();
    nstring_out(&mut out, Some(&text), LiteralStyle::Synchronising);
    reads(&out, &text, |cursor| cursor.nstring().map(|string| string.expect("it was not NIL")));
}

/// Reads `text` and nothing else from `written`, with anything behind it or nothing.
fn reads<'a, T: AsRef<[u8]> + Debug>(
    written: &'a [u8],
    text: &[u8],
    read: impl Fn(&mut Cursor<'a>) -> Result<T, SyntaxError>,
) {
    let mut cursor = Cursor::new(written);
    let found = read(&mut cursor).expect("what was written can be read");
    assert_eq!(found.as_ref(), text);
    assert!(cursor.is_at_end());
}

/// Every reader on every position: no panic, nothing taken but what is there, and spans that are read
/// alone are the same spans.
fn tokens_of_any_bytes(input: &[u8]) {
    for at in 0..input.len().min(64) {
        let input = &input[at..];
        token(input, |cursor| cursor.atom().map(<[u8]>::to_vec));
        token(input, |cursor| cursor.astring().map(|string| string.into_owned()));
        token(input, |cursor| cursor.list_mailbox().map(|string| string.into_owned()));
        token(input, |cursor| cursor.nstring().map(|string| string.map(|string| string.into_owned())));
        token(input, |cursor| cursor.number());
        token(input, |cursor| cursor.number64());
        token(input, |cursor| cursor.parenthesised().map(<[u8]>::to_vec));
        token(input, |cursor| cursor.value().map(<[u8]>::to_vec));
        token(input, |cursor| cursor.sequence_set().map(<[u8]>::to_vec));
        let mut cursor = Cursor::new(input);
        if let Ok(span) = cursor.parenthesised() {
            assert!(span.starts_with(b"(") && span.ends_with(b")"));
            assert_eq!(span, &input[..cursor.position()]);
        }
    }
}

/// A token that is read from its own bytes alone is the same.
fn token<T: PartialEq + Debug>(input: &[u8], read: impl Fn(&mut Cursor<'_>) -> Result<T, SyntaxError>) {
    let mut cursor = Cursor::new(input);
    match read(&mut cursor) {
        Ok(token) => {
            let mut alone = Cursor::new(&input[..cursor.position()]);
            assert_eq!(read(&mut alone).as_ref(), Ok(&token));
            assert!(alone.is_at_end());
        }
        Err(error) => assert!(error.at <= input.len()),
    }
}
