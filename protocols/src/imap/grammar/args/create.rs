//! CREATE, with what Cyrus takes behind the mailbox.

use std::borrow::Cow;

use crate::wire::cursor::Bytes;
use crate::wire::{Cursor, SyntaxError};

/// Arguments of CREATE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateArgs<'a> {
    /// The mailbox as typed.
    pub mailbox: Bytes<'a>,
    /// `partition` or `server!partition`.
    pub destination: Option<Destination<'a>>,
    /// `(USE ... PARTITION ...)`.
    pub parameters: Option<CreateParameters<'a>>,
}

/// Where a mailbox shall be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Destination<'a> {
    /// The server, if one was named.
    pub server: Option<Bytes<'a>>,
    /// The partition; empty if only a server was named.
    pub partition: Bytes<'a>,
}

impl<'a> Destination<'a> {
    /// Splits `partition`, `server!partition` or `server!`.
    pub fn parse(text: Bytes<'a>) -> Destination<'a> {
        let Some(bang) = memchr::memchr(b'!', &text) else {
            return Destination { server: None, partition: text };
        };
        match text {
            Cow::Borrowed(text) => Destination {
                server: Some(Cow::Borrowed(&text[..bang])),
                partition: Cow::Borrowed(&text[bang + 1..]),
            },
            Cow::Owned(mut text) => {
                let partition = text.split_off(bang + 1);
                text.pop();
                Destination { server: Some(Cow::Owned(text)), partition: Cow::Owned(partition) }
            }
        }
    }
}

/// The parenthesised parameters of CREATE.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CreateParameters<'a> {
    /// The attributes of USE, with their parentheses (RFC 6154 section 3).
    pub special_use: Option<&'a [u8]>,
    /// PARTITION.
    pub partition: Option<Bytes<'a>>,
    /// SERVER.
    pub server: Option<Bytes<'a>>,
    /// MAILBOXID, the unique id.
    pub mailbox_id: Option<Bytes<'a>>,
    /// TYPE.
    pub mailbox_type: Option<Bytes<'a>>,
    /// VERSION.
    pub version: Option<u32>,
    /// COMPACTIDS, its value.
    pub compact_ids: Option<Bytes<'a>>,
}

/// ```text
/// create        = "CREATE" SP mailbox [create-params]                      RFC 4466 section 6
/// create-params = SP "(" create-param *(SP create-param) ")"
///                 / SP astring                                             Cyrus
/// create-param  = "USE" SP "(" [use-attr *(SP use-attr)] ")"               RFC 6154 section 6
///                 / ("PARTITION" / "SERVER" / "MAILBOXID" / "TYPE" / "VERSION" / "COMPACTIDS") SP astring
/// ```
///
/// # Errors
/// The arguments are not so.
pub fn create_args(args: &[u8]) -> Result<CreateArgs<'_>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    let mailbox = cursor.astring()?;
    let mut create = CreateArgs { mailbox, destination: None, parameters: None };
    if cursor.take_if(b' ') {
        if cursor.peek() == Some(b'(') {
            create.parameters = Some(parameters(&mut cursor)?);
        } else {
            create.destination = Some(Destination::parse(cursor.astring()?));
        }
    }
    cursor.end()?;
    Ok(create)
}

fn parameters<'a>(cursor: &mut Cursor<'a>) -> Result<CreateParameters<'a>, SyntaxError> {
    let mut parameters = CreateParameters::default();
    cursor.byte(b'(', "(")?;
    loop {
        let unknown = cursor.error("parameter of CREATE");
        let name = cursor.atom()?;
        let is = |word: &[u8]| name.eq_ignore_ascii_case(word);
        cursor.sp()?;
        if is(b"USE") {
            parameters.special_use = Some(cursor.parenthesised()?);
        } else if is(b"PARTITION") {
            parameters.partition = Some(cursor.astring()?);
        } else if is(b"SERVER") {
            parameters.server = Some(cursor.astring()?);
        } else if is(b"MAILBOXID") {
            parameters.mailbox_id = Some(mailbox_id(cursor)?);
        } else if is(b"TYPE") {
            parameters.mailbox_type = Some(cursor.astring()?);
        } else if is(b"VERSION") {
            parameters.version = Some(cursor.number()?);
        } else if is(b"COMPACTIDS") {
            parameters.compact_ids = Some(cursor.astring()?);
        } else {
            return Err(unknown);
        }
        if cursor.take_if(b')') {
            return Ok(parameters);
        }
        cursor.sp()?;
    }
}

/// The id itself, or in parentheses as RFC 8474 writes it.
fn mailbox_id<'a>(cursor: &mut Cursor<'a>) -> Result<Bytes<'a>, SyntaxError> {
    let in_parentheses = cursor.take_if(b'(');
    let id = cursor.astring()?;
    if in_parentheses {
        cursor.byte(b')', ")")?;
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailbox_alone_is_enough() {
        let create = create_args(b"\"a b\"").unwrap();
        assert_eq!((create.destination, create.parameters), (None, None));
    }

    #[test]
    fn destination_is_split_at_the_bang() {
        for (args, server, partition) in [
            (&b"x default"[..], None, &b"default"[..]),
            (b"x be2!default", Some(&b"be2"[..]), b"default"),
            (b"x be2!", Some(b"be2"), b""),
            (b"x \"be\\2!p\"", Some(b"be2"), b"p"),
        ] {
            let destination = create_args(args).unwrap().destination.unwrap();
            assert_eq!((destination.server.as_deref(), &*destination.partition), (server, partition));
        }
    }

    #[test]
    fn all_parameters_are_read() {
        let create = create_args(
            b"x (USE (\\Sent \\Drafts) PARTITION p1 SERVER be1 MAILBOXID abc TYPE EMAIL VERSION 17 COMPACTIDS ON)",
        );
        let parameters = create.unwrap().parameters.unwrap();
        assert_eq!(parameters.special_use, Some(&b"(\\Sent \\Drafts)"[..]));
        assert_eq!(parameters.partition.as_deref(), Some(&b"p1"[..]));
        assert_eq!(parameters.server.as_deref(), Some(&b"be1"[..]));
        assert_eq!(parameters.mailbox_id.as_deref(), Some(&b"abc"[..]));
        assert_eq!(parameters.mailbox_type.as_deref(), Some(&b"EMAIL"[..]));
        assert_eq!(parameters.version, Some(17));
        assert_eq!(parameters.compact_ids.as_deref(), Some(&b"ON"[..]));
    }

    #[test]
    fn malformed_parameters_are_refused() {
        for args in [
            &b""[..],
            b"x ",
            b"x ()",
            b"x (USE)",
            b"x (USE \\Sent)",
            b"x (NEW y)",
            b"x (PARTITION p",
            b"x p q",
        ] {
            assert!(create_args(args).is_err(), "{}", args.escape_ascii());
        }
    }
}
