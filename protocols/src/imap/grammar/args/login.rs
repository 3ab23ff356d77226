//! LOGIN, AUTHENTICATE, ID, ENABLE.

use smallvec::SmallVec;

use crate::secret::Secret;
use crate::wire::cursor::Bytes;
use crate::wire::limits::{ID_PAIRS_MAX, LIST_ELEMENTS_MAX};
use crate::wire::{Cursor, SyntaxError};

/// Arguments of LOGIN.
#[derive(Debug)]
pub struct LoginArgs<'a> {
    /// The user as typed.
    pub user: Bytes<'a>,
    /// The password as typed.
    pub password: Secret,
}

/// ```text
/// login = "LOGIN" SP userid SP password
/// userid = astring    password = astring      RFC 9051 section 9
/// ```
///
/// # Errors
/// The arguments are not so; the error holds no byte of them.
pub fn login_args(args: &[u8]) -> Result<LoginArgs<'_>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    let user = cursor.astring()?;
    cursor.sp()?;
    let password = Secret::new(cursor.astring()?.into_owned());
    cursor.end()?;
    Ok(LoginArgs { user, password })
}

/// Arguments of AUTHENTICATE.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AuthenticateArgs<'a> {
    /// The mechanism as typed.
    pub mechanism: &'a [u8],
    /// The initial response in base64; `=` is an empty one (RFC 4959).
    pub initial: Option<&'a [u8]>,
}

impl std::fmt::Debug for AuthenticateArgs<'_> {
    /// Leaves the response out: it may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AuthenticateArgs {{ mechanism: {} }}", self.mechanism.escape_ascii())
    }
}

/// ```text
/// authenticate = "AUTHENTICATE" SP auth-type [SP initial-resp] *(CRLF base64)
/// initial-resp = (base64 / "=")      RFC 9051 section 9
/// ```
/// The characters of the response are judged when it is decoded.
///
/// # Errors
/// The arguments are not so.
pub fn authenticate_args(args: &[u8]) -> Result<AuthenticateArgs<'_>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    let mechanism = cursor.atom()?;
    let initial = if cursor.take_if(b' ') { Some(cursor.atom()?) } else { None };
    cursor.end()?;
    Ok(AuthenticateArgs { mechanism, initial })
}

/// A field of ID and its value.
pub type IdPair<'a> = (Bytes<'a>, Option<Bytes<'a>>);

/// ```text
/// id             = "ID" SP id-params-list
/// id-params-list = "(" [string SP nstring *(SP string SP nstring)] ")" / nil      RFC 2971 section 4
/// ```
/// NIL is no pairs.
///
/// # Errors
/// The arguments are not so, or more than [`ID_PAIRS_MAX`] pairs.
pub fn id_args(args: &[u8]) -> Result<Vec<IdPair<'_>>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    let mut pairs = Vec::new();
    if cursor.take_word(b"NIL") {
        cursor.end()?;
        return Ok(pairs);
    }
    cursor.byte(b'(', "( or NIL")?;
    while !cursor.take_if(b')') {
        if pairs.len() == ID_PAIRS_MAX {
            return Err(cursor.error("at most 30 pairs"));
        }
        if !pairs.is_empty() {
            cursor.sp()?;
        }
        let field = cursor.string()?;
        cursor.sp()?;
        pairs.push((field, cursor.nstring()?));
    }
    cursor.end()?;
    Ok(pairs)
}

/// ```text
/// enable = "ENABLE" 1*(SP capability)      RFC 5161 section 4
/// ```
///
/// # Errors
/// No capability, or something else between them.
pub fn enable_args(args: &[u8]) -> Result<SmallVec<[&[u8]; 4]>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    let mut capabilities = SmallVec::new();
    capabilities.push(cursor.atom()?);
    while cursor.take_if(b' ') {
        if capabilities.len() == LIST_ELEMENTS_MAX {
            return Err(cursor.error("fewer capabilities"));
        }
        capabilities.push(cursor.atom()?);
    }
    cursor.end()?;
    Ok(capabilities)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_takes_all_forms_of_astring() {
        for args in [&b"fred secret"[..], b"\"fred\" \"secret\"", b"{4}\r\nfred {6+}\r\nsecret"] {
            let login = login_args(args).unwrap();
            assert_eq!(&*login.user, b"fred");
            assert_eq!(login.password.expose(), b"secret");
        }
    }

    #[test]
    fn login_shows_no_password() {
        assert!(!format!("{:?}", login_args(b"fred hunter2").unwrap()).contains("hunter2"));
        assert!(!format!("{:?}", authenticate_args(b"PLAIN AGEAYg==").unwrap()).contains("AGEA"));
    }

    #[test]
    fn login_with_more_or_less_is_refused() {
        for args in
            [&b""[..], b"fred", b"fred ", b"fred a b", b"fred  a", b"fred a ", b"fred \"a", b"fred {3}\r\na"]
        {
            assert!(login_args(args).is_err(), "{}", args.escape_ascii());
        }
    }

    #[test]
    fn initial_response_is_told_from_none() {
        assert_eq!(authenticate_args(b"PLAIN").unwrap().initial, None);
        assert_eq!(authenticate_args(b"EXTERNAL =").unwrap().initial, Some(&b"="[..]));
        assert_eq!(authenticate_args(b"plain AGEAYg==").unwrap().initial, Some(&b"AGEAYg=="[..]));
        assert!(authenticate_args(b"PLAIN a b").is_err());
    }

    #[test]
    fn id_is_nil_or_pairs() {
        assert_eq!(id_args(b"NIL").unwrap(), []);
        assert_eq!(id_args(b"()").unwrap(), []);
        let pairs = id_args(b"(\"name\" \"x\" \"os\" NIL)").unwrap();
        assert_eq!(&*pairs[0].0, b"name");
        assert_eq!(pairs[1].1, None);
        assert!(id_args(b"(\"name\")").is_err());
        assert!(id_args(b"(\"name\" \"x\"").is_err());
    }

    #[test]
    fn id_over_limit_is_refused() {
        let list = |n: usize| format!("({})", vec!["\"a\" NIL"; n].join(" "));
        assert!(id_args(list(ID_PAIRS_MAX).as_bytes()).is_ok());
        assert!(id_args(list(ID_PAIRS_MAX + 1).as_bytes()).is_err());
    }

    #[test]
    fn enable_takes_one_or_more() {
        assert_eq!(&enable_args(b"CONDSTORE X-Y").unwrap()[..], [&b"CONDSTORE"[..], b"X-Y"]);
        assert!(enable_args(b"").is_err());
        assert!(enable_args(b"A ").is_err());
    }
}
