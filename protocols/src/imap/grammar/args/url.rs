//! GENURLAUTH, RESETKEY and URLFETCH (RFC 4467, RFC 5524).

use crate::wire::cursor::Bytes;
use crate::wire::{Cursor, SyntaxError};

/// URLs of one command.
const URLS_MAX: usize = 64;

/// One URL of URLFETCH.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchedUrl<'a> {
    /// The URL.
    pub url: Bytes<'a>,
    /// `None`: it stands alone. Else the parameters behind it in its parentheses, with their space.
    pub parameters: Option<&'a [u8]>,
}

/// ```text
/// urlfetch = "URLFETCH" 1*(SP url-full)               RFC 4467 section 9
/// url-full =/ "(" url-full *(SP url-fetch-param) ")"  RFC 5524 section 4
/// ```
///
/// # Errors
/// The arguments are not so, or too many.
pub fn urlfetch_args(args: &[u8]) -> Result<Vec<FetchedUrl<'_>>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    let mut urls = Vec::new();
    loop {
        if cursor.take_if(b'(') {
            let url = cursor.astring()?;
            let begins = cursor.position();
            while cursor.take_if(b' ') {
                cursor.atom()?;
            }
            let parameters = Some(&args[begins..cursor.position()]);
            cursor.byte(b')', ")")?;
            urls.push(FetchedUrl { url, parameters });
        } else {
            urls.push(FetchedUrl { url: cursor.astring()?, parameters: None });
        }
        if !cursor.take_if(b' ') {
            break;
        }
        if urls.len() == URLS_MAX {
            return Err(cursor.error("fewer URLs"));
        }
    }
    cursor.end()?;
    Ok(urls)
}

/// ```text
/// genurlauth = "GENURLAUTH" 1*(SP url-rump SP mechanism)      RFC 4467 section 9
/// ```
///
/// # Errors
/// The arguments are not so, or too many.
pub fn genurlauth_args(args: &[u8]) -> Result<Vec<(Bytes<'_>, &[u8])>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    let mut urls = Vec::new();
    loop {
        let url = cursor.astring()?;
        cursor.sp()?;
        urls.push((url, cursor.atom()?));
        if !cursor.take_if(b' ') {
            break;
        }
        if urls.len() == URLS_MAX {
            return Err(cursor.error("fewer URLs"));
        }
    }
    cursor.end()?;
    Ok(urls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_stand_alone_or_with_parameters() {
        let urls =
            urlfetch_args(b"\"imap://h/a\" (imap://h/b BINARY BODYPARTSTRUCTURE) (imap://h/c)").unwrap();
        let parameters: Vec<_> = urls.iter().map(|url| url.parameters).collect();
        assert_eq!(parameters, [None, Some(&b" BINARY BODYPARTSTRUCTURE"[..]), Some(&b""[..])]);
        for args in ["", " ", "(x", "x ", "(x BINARY", "x  y"] {
            assert!(urlfetch_args(args.as_bytes()).is_err(), "{args}");
        }
    }

    #[test]
    fn every_url_has_its_mechanism() {
        let urls = genurlauth_args(b"\"imap://h/a;urlauth=user+b\" INTERNAL imap://h/b X").unwrap();
        assert_eq!(
            urls.iter().map(|(_, mechanism)| *mechanism).collect::<Vec<_>>(),
            [&b"INTERNAL"[..], b"X"]
        );
        for args in ["", "x", "x ", "x INTERNAL y"] {
            assert!(genurlauth_args(args.as_bytes()).is_err(), "{args}");
        }
    }
}
