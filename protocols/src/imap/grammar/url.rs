//! IMAP URLs (RFC 5092), as far as a frontend routes by them.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::ops::Range;

/// An absolute IMAP URL that names a mailbox.
///
/// ```text
/// imapurl = "imap://" iserver "/" ipath-query
/// iserver = [iuserinfo "@"] host [ ":" port ]
/// imailbox-ref = enc-mailbox [uidvalidity]      RFC 5092 section 11
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImapUrl<'a> {
    text: &'a [u8],
    /// The user, decoded; whose INBOX a mailbox `INBOX` is.
    pub user: Option<Cow<'a, [u8]>>,
    /// Host and port as they stand.
    pub server: &'a [u8],
    server_at: Range<usize>,
    /// The mailbox, decoded.
    pub mailbox: Cow<'a, [u8]>,
}

/// Bytes of a URL that is looked at.
const URL_BYTES_MAX: usize = 4096;

impl<'a> ImapUrl<'a> {
    /// Reads a URL; `None` when it is none of these.
    pub fn parse(text: &'a [u8]) -> Option<ImapUrl<'a>> {
        let scheme = text.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case(b"imap://"))?;
        if text.len() > URL_BYTES_MAX || text.iter().any(|byte| !(b'!'..=b'~').contains(byte)) {
            return None;
        }
        let rest = &text[scheme.len()..];
        let slash = memchr::memchr(b'/', rest)?;
        let (authority, path) = (&rest[..slash], &rest[slash + 1..]);
        let (userinfo, server) = match memchr::memrchr(b'@', authority) {
            Some(at) => (Some(&authority[..at]), &authority[at + 1..]),
            None => (None, authority),
        };
        let user = match userinfo.map(|info| info.split(|byte| *byte == b';').next().unwrap_or_default()) {
            Some([]) | None => None,
            Some(user) => Some(decoded(user)?),
        };
        let mailbox = decoded(enc_mailbox(path))?;
        if server.is_empty() || mailbox.is_empty() {
            return None;
        }
        let server_at = scheme.len() + slash - server.len()..scheme.len() + slash;
        Some(ImapUrl { text, user, server, server_at, mailbox })
    }

    /// The URL with another server in it.
    pub fn at_server(&self, server: &[u8]) -> Vec<u8> {
        let Range { start, end } = self.server_at.clone();
        [&self.text[..start], server, &self.text[end..]].concat()
    }
}

/// A URL that names a message or a part of one, with its server or relative (RFC 5092 sections 6 and 7.2).
///
/// ```text
/// ipath-query = enc-mailbox [";UIDVALIDITY=" nz-number] "/;UID=" nz-number ["/;SECTION=" enc-section]
///               ["/;PARTIAL=" number ["." nz-number]]
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MessageUrl<'a> {
    /// Host and port; `None` where it is relative.
    pub server: Option<&'a [u8]>,
    /// From the path on, as it stands: what is relative to any server that has the mailbox.
    pub relative: &'a [u8],
    /// The mailbox, decoded; `None` where the selected one is meant.
    pub mailbox: Option<Cow<'a, [u8]>>,
    /// UIDVALIDITY.
    pub validity: Option<NonZeroU32>,
    /// UID.
    pub uid: NonZeroU32,
    /// What stands in the brackets of BODY[]; empty for all of the message.
    pub section: Cow<'a, [u8]>,
    /// The first byte, and how many.
    pub partial: Option<(u64, Option<u64>)>,
    /// It carries an authorization of its own (RFC 4467).
    pub is_authorized: bool,
}

impl<'a> MessageUrl<'a> {
    /// Reads a URL; `None` when it is none of these.
    pub fn parse(text: &'a [u8]) -> Option<MessageUrl<'a>> {
        let (server, relative) = match ImapUrl::parse(text) {
            Some(url) => (Some(url.server), &text[url.server_at.end..]),
            None => (None, text),
        };
        let is_url = text.len() <= URL_BYTES_MAX && text.iter().all(|byte| (b'!'..=b'~').contains(byte));
        let path = relative.strip_prefix(b"/").unwrap_or(relative);
        let semicolon = memchr::memchr(b';', path).filter(|_| is_url)?;
        let mailbox = enc_mailbox(path);
        let is_rooted = path.len() < relative.len();
        if !matches!((is_rooted, mailbox), (true, [_, ..]) | (false, [])) {
            return None;
        }
        let mut url = MessageUrl {
            server,
            relative,
            mailbox: if mailbox.is_empty() { None } else { Some(decoded(mailbox)?) },
            validity: None,
            uid: NonZeroU32::MAX,
            section: Cow::Borrowed(b""),
            partial: None,
            is_authorized: false,
        };
        let mut has_uid = false;
        for parameter in path[semicolon + 1..].split(|byte| *byte == b';') {
            has_uid |= url.read(parameter.strip_suffix(b"/").unwrap_or(parameter))?;
        }
        has_uid.then_some(url)
    }

    /// Reads one parameter; whether it is the UID.
    fn read(&mut self, parameter: &'a [u8]) -> Option<bool> {
        let equals = memchr::memchr(b'=', parameter)?;
        let (name, value) = (&parameter[..equals], &parameter[equals + 1..]);
        let is = |word: &[u8]| name.eq_ignore_ascii_case(word);
        if is(b"UIDVALIDITY") {
            self.validity = Some(number(value)?);
        } else if is(b"UID") {
            self.uid = number(value)?;
            return Some(true);
        } else if is(b"SECTION") {
            self.section = decoded(value).filter(|section| is_section(section))?;
        } else if is(b"PARTIAL") {
            let mut parts = value.splitn(2, |byte| *byte == b'.');
            let first = number(parts.next()?)?;
            let count: Option<u64> = match parts.next() {
                Some(count) => Some(number::<u64>(count).filter(|count| *count > 0)?),
                None => None,
            };
            self.partial = Some((first, count)).filter(|_| first <= u64::from(u32::MAX));
            self.partial?;
        } else if is(b"URLAUTH") || is(b"EXPIRE") {
            self.is_authorized = true;
        } else {
            return None;
        }
        Some(false)
    }
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?
        .parse()
        .ok()
}

/// Whether a section can stand between the brackets of a FETCH.
fn is_section(section: &[u8]) -> bool {
    section.iter().all(|byte| byte.is_ascii_alphanumeric() || b".() -_".contains(byte))
}

/// The mailbox at the front of a path: up to `;UIDVALIDITY=` or `/;UID=`.
fn enc_mailbox(path: &[u8]) -> &[u8] {
    let end = memchr::memchr(b';', path).unwrap_or(path.len());
    path[..end].strip_suffix(b"/").unwrap_or(&path[..end])
}

fn decoded(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !text.contains(&b'%') {
        return Some(Cow::Borrowed(text));
    }
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some(percent) = memchr::memchr(b'%', rest) {
        out.extend_from_slice(&rest[..percent]);
        let hex = rest.get(percent + 1..percent + 3)?;
        let byte = u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?;
        if byte.is_ascii_control() {
            return None;
        }
        out.push(byte);
        rest = &rest[percent + 3..];
    }
    out.extend_from_slice(rest);
    Some(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_and_decoded() {
        let text = b"imap://fred%40x;AUTH=*@mail.example.com:143/Sent%20Mail;UIDVALIDITY=5/;UID=20/;SECTION=1.2;URLAUTH=user+fred";
        let url = ImapUrl::parse(text).unwrap();
        assert_eq!((url.user.as_deref(), url.server), (Some(&b"fred@x"[..]), &b"mail.example.com:143"[..]));
        assert_eq!(&*url.mailbox, b"Sent Mail");
        let moved = url.at_server(b"be1");
        assert!(moved.starts_with(b"imap://fred%40x;AUTH=*@be1/Sent%20Mail;UIDVALIDITY=5/;UID=20"));
        let url = ImapUrl::parse(b"IMAP://h/a/b/;uid=1").unwrap();
        assert_eq!((url.user, &*url.mailbox, url.server), (None, &b"a/b"[..], &b"h"[..]));
    }

    #[test]
    fn parts_of_messages_are_named_with_and_without_a_server() {
        let url =
            MessageUrl::parse(b"/Sent%20Mail;UIDVALIDITY=5/;UID=20/;SECTION=1.HEADER.FIELDS%20(TO)").unwrap();
        assert_eq!((url.mailbox.as_deref(), url.server), (Some(&b"Sent Mail"[..]), None));
        assert_eq!((url.validity, url.uid.get()), (NonZeroU32::new(5), 20));
        assert_eq!(&*url.section, b"1.HEADER.FIELDS (TO)");
        let url = MessageUrl::parse(b";UID=7/;PARTIAL=10.20").unwrap();
        assert_eq!((url.mailbox, url.partial), (None, Some((10, Some(20)))));
        let text = b"imap://fred@h:143/a/b/;uid=7/;section=TEXT;urlauth=user+fred:internal:00";
        let url = MessageUrl::parse(text).unwrap();
        assert_eq!((url.server, url.relative), (Some(&b"h:143"[..]), &text[17..]));
        assert!(url.is_authorized);
        for text in [
            "",
            "/",
            "/a",
            "/;UID=1",
            "a/;UID=1",
            "/a/;UID=0",
            "/a/;UID=x",
            "/a/;UID=1/;SECTION=%5D",
            "/a/;UID=1/;PARTIAL=5.0",
            "/a/;UID=1/;X=1",
            "/a;UIDVALIDITY=1",
            ";UID=1/;SECTION=1\r\n",
        ] {
            assert_eq!(MessageUrl::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_such_url_is_none() {
        for text in [
            "",
            "imap://",
            "imap://h",
            "imap://h/",
            "imap:///x",
            "http://h/x",
            "imap://h/;uid=1",
            "imap://h/%0a",
            "imap://h/%zz",
            "imap://h/a b",
        ] {
            assert_eq!(ImapUrl::parse(text.as_bytes()), None, "{text}");
        }
    }
}
