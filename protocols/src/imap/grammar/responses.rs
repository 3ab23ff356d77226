//! Untagged responses that a frontend reads: LIST, STATUS, FETCH for a copy between servers.

use std::num::NonZeroU32;

use crate::wire::cursor::Bytes;
use crate::wire::literal::Announced;
use crate::wire::{Cursor, SyntaxError};

/// `* LIST` or `* LSUB`, behind that word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListResponse<'a> {
    /// What stands in the parentheses of the attributes; see [`ListResponse::attributes`].
    pub flags: &'a [u8],
    /// The hierarchy separator; `None` for NIL.
    pub separator: Option<u8>,
    /// The mailbox, as the server names it.
    pub mailbox: Bytes<'a>,
    /// `(CHILDINFO ...)` and such, its parentheses included.
    pub extended: Option<&'a [u8]>,
}

impl<'a> ListResponse<'a> {
    /// The attributes, each with its backslash.
    pub fn attributes(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        words(self.flags)
    }

    /// Whether an attribute stands there, in any case.
    pub fn has(&self, attribute: &[u8]) -> bool {
        self.attributes().any(|word| word.eq_ignore_ascii_case(attribute))
    }
}

/// Reads what stands behind `* LIST ` or `* LSUB `.
///
/// ```text
/// mailbox-list = "(" [mbx-list-flags] ")" SP (DQUOTE QUOTED-CHAR DQUOTE / nil) SP mailbox [SP mbox-list-extended]
/// ```
/// RFC 9051 section 9.
///
/// # Errors
/// The response is not so.
pub fn list(rest: &[u8]) -> Result<ListResponse<'_>, SyntaxError> {
    let mut cursor = Cursor::new(rest);
    let flags = inside(cursor.parenthesised()?);
    cursor.sp()?;
    let expected = cursor.error("hierarchy separator");
    let separator = match cursor.nstring()?.as_deref() {
        None | Some([]) => None,
        Some([separator]) => Some(*separator),
        Some(_) => return Err(expected),
    };
    cursor.sp()?;
    let mailbox = cursor.astring()?;
    let extended = if cursor.take_if(b' ') { Some(cursor.parenthesised()?) } else { None };
    cursor.end()?;
    Ok(ListResponse { flags, separator, mailbox, extended })
}

/// `* STATUS`, behind that word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatusResponse<'a> {
    /// The mailbox, as the server names it.
    pub mailbox: Bytes<'a>,
    /// What stands in the parentheses.
    pub items: &'a [u8],
}

impl StatusResponse<'_> {
    /// The number that follows an item, if it is there and a number.
    pub fn number(&self, item: &[u8]) -> Option<u64> {
        let mut words = words(self.items);
        words.find(|word| word.eq_ignore_ascii_case(item))?;
        let mut cursor = Cursor::new(words.next()?);
        cursor.number64().ok().filter(|_| cursor.is_at_end())
    }
}

/// Reads what stands behind `* STATUS `.
///
/// ```text
/// mailbox-data =/ "STATUS" SP mailbox SP "(" [status-att-list] ")"      RFC 9051 section 9
/// ```
///
/// # Errors
/// The response is not so.
pub fn status(rest: &[u8]) -> Result<StatusResponse<'_>, SyntaxError> {
    let mut cursor = Cursor::new(rest);
    let mailbox = cursor.astring()?;
    cursor.sp()?;
    let items = inside(cursor.parenthesised()?);
    let _ = cursor.take_if(b' '); // Cyrus 2.x wrote one here.
    cursor.end()?;
    Ok(StatusResponse { mailbox, items })
}

/// The body of a message in a FETCH response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body<'a> {
    /// A literal that follows the line: what was read ends with its announcement.
    Announced(Announced),
    /// It stands in the line, or in a literal that was inlined.
    Inline(Bytes<'a>),
    /// NIL: there is none.
    Nil,
}

/// What a copy between servers needs of a FETCH response. Read line by line: the part before the
/// body's literal with [`FetchItems::read_head`], the part behind it with [`FetchItems::read_tail`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FetchItems<'a> {
    /// UID.
    pub uid: Option<NonZeroU32>,
    /// What stands in the parentheses of FLAGS.
    pub flags: Option<&'a [u8]>,
    /// INTERNALDATE, without its quotes.
    pub internal_date: Option<Bytes<'a>>,
    /// MODSEQ.
    pub modseq: Option<u64>,
    /// RFC822.SIZE.
    pub size: Option<u64>,
    /// BODY[...], BINARY[...], RFC822 or the like.
    pub body: Option<Body<'a>>,
}

impl<'a> FetchItems<'a> {
    /// Reads what stands behind `* n FETCH `, up to the closing parenthesis or to an announced body.
    ///
    /// ```text
    /// msg-att = "(" (msg-att-dynamic / msg-att-static) *(SP (msg-att-dynamic / msg-att-static)) ")"
    /// ```
    /// RFC 9051 section 9. Items that a copy does not need are skipped.
    ///
    /// # Errors
    /// The response is not so, or an announced literal is no body.
    pub fn read_head(rest: &'a [u8]) -> Result<FetchItems<'a>, SyntaxError> {
        let mut items = FetchItems::default();
        let mut cursor = Cursor::new(rest);
        cursor.byte(b'(', "(")?;
        if !cursor.take_if(b')') {
            items.read_items(&mut cursor)?;
        }
        cursor.end()?;
        Ok(items)
    }

    /// As [`FetchItems::read_head`], of what stands behind `* uid UIDFETCH ` (RFC 9586 section 3.3).
    ///
    /// # Errors
    /// As there.
    pub fn read_uid(uid: Option<u32>, rest: &'a [u8]) -> Result<FetchItems<'a>, SyntaxError> {
        let mut items = FetchItems::read_head(rest)?;
        items.uid = uid.and_then(NonZeroU32::new);
        Ok(items)
    }

    /// Reads the line behind the body's literal: ` item value ...)` or `)`.
    ///
    /// # Errors
    /// The line is not so.
    pub fn read_tail(&mut self, line: &'a [u8]) -> Result<(), SyntaxError> {
        let mut cursor = Cursor::new(line);
        if !cursor.take_if(b')') {
            cursor.sp()?;
            self.read_items(&mut cursor)?;
        }
        cursor.end()
    }

    /// Reads items up to and with the closing parenthesis, or up to an announced body.
    fn read_items(&mut self, cursor: &mut Cursor<'a>) -> Result<(), SyntaxError> {
        loop {
            if self.read_item(cursor)? == Item::Announced || cursor.take_if(b')') {
                return Ok(());
            }
            cursor.sp()?;
        }
    }

    fn read_item(&mut self, cursor: &mut Cursor<'a>) -> Result<Item, SyntaxError> {
        let name = item_name(cursor)?;
        cursor.sp()?;
        if name.eq_ignore_ascii_case(b"UID") {
            let expected = cursor.error("number from 1 on");
            self.uid = Some(NonZeroU32::new(cursor.number()?).ok_or(expected)?);
        } else if name.eq_ignore_ascii_case(b"FLAGS") {
            self.flags = Some(inside(cursor.parenthesised()?));
        } else if name.eq_ignore_ascii_case(b"INTERNALDATE") {
            self.internal_date = Some(cursor.quoted()?);
        } else if name.eq_ignore_ascii_case(b"MODSEQ") {
            cursor.byte(b'(', "(")?;
            self.modseq = Some(cursor.number64()?);
            cursor.byte(b')', ")")?;
        } else if name.eq_ignore_ascii_case(b"RFC822.SIZE") {
            self.size = Some(cursor.number64()?);
        } else if is_body(name) {
            let body = self.body.insert(body(cursor)?);
            if matches!(body, Body::Announced(_)) {
                return Ok(Item::Announced);
            }
        } else {
            cursor.value()?;
        }
        Ok(Item::Whole)
    }
}

/// How far an item of FETCH was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Item {
    /// With its value.
    Whole,
    /// Up to the announcement of its value, which ends the line.
    Announced,
}

/// The name of a FETCH item with its section and origin: `BODY[HEADER.FIELDS (A "b ]")]<0>`.
fn item_name<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], SyntaxError> {
    let begins = cursor.clone();
    cursor.take_while1(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'), "item")?;
    if cursor.take_if(b'[') {
        while !cursor.take_if(b']') {
            match cursor.peek() {
                Some(b'(') => drop(cursor.parenthesised()?),
                Some(b'"') => drop(cursor.quoted()?),
                Some(b'\r' | b'\n' | 0) | None => return Err(cursor.error("]")),
                Some(byte) => cursor.byte(byte, "section")?,
            }
        }
        if cursor.take_if(b'<') {
            cursor.number64()?;
            cursor.byte(b'>', ">")?;
        }
    }
    Ok(&begins.rest()[..cursor.position() - begins.position()])
}

/// Whether an item holds text of the message.
fn is_body(name: &[u8]) -> bool {
    let starts = |with: &[u8]| name.len() >= with.len() && name[..with.len()].eq_ignore_ascii_case(with);
    starts(b"BODY[")
        || starts(b"BINARY[")
        || ["RFC822", "RFC822.HEADER", "RFC822.TEXT"]
            .iter()
            .any(|item| name.eq_ignore_ascii_case(item.as_bytes()))
}

/// ```text
/// nstring / literal8      RFC 9051 section 9
/// ```
fn body<'a>(cursor: &mut Cursor<'a>) -> Result<Body<'a>, SyntaxError> {
    if let Some(announced) = cursor.take_announced_at_end() {
        return Ok(Body::Announced(announced));
    }
    Ok(match cursor.nstring()? {
        Some(bytes) => Body::Inline(bytes),
        None => Body::Nil,
    })
}

/// The words of a list without strings in it.
fn words(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b' ').filter(|word| !word.is_empty())
}

/// What stands between the parentheses of [`Cursor::parenthesised`].
fn inside(span: &[u8]) -> &[u8] {
    &span[1..span.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_behind_a_body_must_close_the_response() {
        let head = FetchItems::read_head(b"(UID 5 BODY[] {11}").unwrap();
        for (tail, is_taken) in
            [(&b")"[..], true), (b" MODSEQ (12))", true), (b" MODSEQ (12)", false), (b"", false)]
        {
            assert_eq!(head.clone().read_tail(tail).is_ok(), is_taken, "{}", tail.escape_ascii());
        }
    }

    #[test]
    fn list_response_is_read_whole() {
        let found =
            list(b"(\\HasNoChildren \\Subscribed) \".\" {5}\r\na b c (CHILDINFO (\"SUBSCRIBED\"))").unwrap();
        assert_eq!((found.separator, &*found.mailbox), (Some(b'.'), &b"a b c"[..]));
        assert!(found.has(b"\\subscribed") && !found.has(b"\\Noselect"));
        assert_eq!(found.extended, Some(&b"(CHILDINFO (\"SUBSCRIBED\"))"[..]));
        assert_eq!(list(b"() NIL x").unwrap().separator, None);
        assert!(list(b"() \"..\" x").is_err());
    }

    #[test]
    fn status_numbers_are_found_by_item() {
        let found = status(b"INBOX (MESSAGES 231 UIDNEXT 44292)").unwrap();
        assert_eq!(found.number(b"uidnext"), Some(44292));
        assert_eq!(found.number(b"231"), None);
        assert_eq!(found.number(b"UNSEEN"), None);
    }
}
