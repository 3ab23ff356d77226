//! IMAP URLs (RFC 5092), as far as a frontend routes by them.

use std::borrow::Cow;
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
