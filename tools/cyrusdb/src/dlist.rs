//! Cyrus' list notation, as far as records of mailboxes use it.
//!
//! ```text
//!   value  = "%(" [pair *(SP pair)] ")" / "(" [value *(SP value)] ")" / item
//!   pair   = item SP value
//!   item   = atom / DQUOTE *(any / "\" any) DQUOTE / "{" digits ["+"] "}" CRLF octets
//! ```
//!
//! The atom `NIL` is nothing.

use std::borrow::Cow;

/// Lists in lists.
const DEPTH_MAX: usize = 8;

/// A value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Value<'a> {
    /// An item.
    Item(Cow<'a, [u8]>),
    /// `NIL`.
    Nil,
    /// `%(key value ...)`, in order.
    Pairs(Vec<(Cow<'a, [u8]>, Value<'a>)>),
    /// `(value ...)`.
    List(Vec<Value<'a>>),
}

impl<'a> Value<'a> {
    /// The item, if it is one.
    pub(crate) fn item(&self) -> Option<&[u8]> {
        match self {
            Value::Item(item) => Some(item),
            Value::Nil | Value::Pairs(_) | Value::List(_) => None,
        }
    }
}

/// Reads one value that takes all bytes.
pub(crate) fn parse(bytes: &[u8]) -> Option<Value<'_>> {
    let mut parser = Parser { rest: bytes };
    let value = parser.value(DEPTH_MAX)?;
    parser.rest.is_empty().then_some(value)
}

struct Parser<'a> {
    rest: &'a [u8],
}

impl<'a> Parser<'a> {
    fn value(&mut self, depth: usize) -> Option<Value<'a>> {
        let deeper = depth.checked_sub(1)?;
        if self.take_if(b"%(") {
            let mut pairs = Vec::new();
            self.elements(|parser| {
                let key = parser.item()?;
                pairs.push((key, parser.take_if(b" ").then(|| parser.value(deeper))??));
                Some(())
            })?;
            return Some(Value::Pairs(pairs));
        }
        if self.take_if(b"(") {
            let mut values = Vec::new();
            self.elements(|parser| {
                values.push(parser.value(deeper)?);
                Some(())
            })?;
            return Some(Value::List(values));
        }
        if self.rest.first() == Some(&b'%') {
            return None;
        }
        let is_atom = !matches!(self.rest.first(), Some(b'"' | b'{'));
        match self.item()? {
            item if is_atom && *item == *b"NIL" => Some(Value::Nil),
            item => Some(Value::Item(item)),
        }
    }

    /// Elements with single spaces between them, up to the closing parenthesis.
    fn elements(&mut self, mut element: impl FnMut(&mut Parser<'a>) -> Option<()>) -> Option<()> {
        if self.take_if(b")") {
            return Some(());
        }
        loop {
            element(self)?;
            if self.take_if(b")") {
                return Some(());
            }
            self.take_if(b" ").then_some(())?;
        }
    }

    fn item(&mut self) -> Option<Cow<'a, [u8]>> {
        match self.rest.first()? {
            b'"' => self.quoted(),
            b'{' => self.literal(),
            _ => self.atom(),
        }
    }

    /// Up to a space; closing parentheses at its end are none of it.
    fn atom(&mut self) -> Option<Cow<'a, [u8]>> {
        let end = self.rest.iter().position(|byte| *byte == b' ').unwrap_or(self.rest.len());
        let atom = &self.rest[..end];
        let closing = atom.iter().rev().take_while(|byte| **byte == b')').count();
        let (atom, rest) = self.rest.split_at(end - closing);
        self.rest = rest;
        (!atom.is_empty()).then_some(Cow::Borrowed(atom))
    }

    fn quoted(&mut self) -> Option<Cow<'a, [u8]>> {
        let mut text = Vec::new();
        let mut bytes = self.rest.iter().enumerate().skip(1);
        loop {
            match bytes.next()? {
                (at, b'"') => {
                    self.rest = &self.rest[at + 1..];
                    return Some(Cow::Owned(text));
                }
                (_, b'\\') => text.push(*bytes.next()?.1),
                (_, byte) => text.push(*byte),
            }
        }
    }

    fn literal(&mut self) -> Option<Cow<'a, [u8]>> {
        let end = self.rest.iter().position(|byte| *byte == b'}')?;
        let digits = self.rest[1..end].strip_suffix(b"+").unwrap_or(&self.rest[1..end]);
        let len: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let octets = self.rest[end + 1..].strip_prefix(b"\r\n")?;
        let (literal, rest) = octets.split_at_checked(len)?;
        self.rest = rest;
        Some(Cow::Borrowed(literal))
    }

    fn take_if(&mut self, wanted: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &[u8]) -> Value<'_> {
        Value::Item(Cow::Borrowed(text))
    }

    #[test]
    fn pairs_lists_and_all_kinds_of_items_are_read() {
        let parsed = parse(b"%(T e A %(\"a b\" lrs) H ((x NIL) ()) N {3+}\r\n) ( Q \"\\\"NIL\")").unwrap();
        let pair = |key: &'static [u8], value| (Cow::Borrowed(key), value);
        let expected = Value::Pairs(vec![
            pair(b"T", item(b"e")),
            pair(b"A", Value::Pairs(vec![pair(b"a b", item(b"lrs"))])),
            pair(b"H", Value::List(vec![Value::List(vec![item(b"x"), Value::Nil]), Value::List(vec![])])),
            pair(b"N", item(b") (")),
            pair(b"Q", item(b"\"NIL")),
        ]);
        assert_eq!(parsed, expected);
    }

    #[test]
    fn what_is_cut_off_is_refused_at_every_byte() {
        let whole = b"%(T e A %(\"a b\" lrs) N {3+}\r\n) ()";
        assert!(parse(whole).is_some());
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = [vec![b'('; 100], vec![b')'; 100]].concat();
        assert_eq!(parse(&deep), None);
    }

    #[test]
    fn lengths_that_no_literal_has_are_refused() {
        for text in [&b"{}\r\nx"[..], b"{-1}\r\nx", b"{99999999999999999999}\r\nx", b"{2}\r\nx", b"{1}x"] {
            assert_eq!(parse(text), None, "{}", text.escape_ascii());
        }
    }
}
