//! Requests and replies of both protocols, which differ in their first byte.

/// Bytes of one request.
pub const REQUEST_BYTES_MAX: usize = 4096;

/// How a client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// Netstrings: `17:transport a@b.c,`.
    Socketmap,
    /// Lines: `get a@b.c`.
    TcpTable,
}

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// How it was asked, and is answered.
    pub dialect: Dialect,
    /// The table, where the dialect names one.
    pub table: Option<Box<[u8]>>,
    /// What is looked up.
    pub key: Box<[u8]>,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is there, with this value.
    Found(Box<[u8]>),
    /// It is not there, and that is sure.
    NotFound,
    /// Nothing can be said at the moment.
    Temporary(&'static str),
    /// No such table.
    Permanent(&'static str),
}

/// Why bytes are no request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// More bytes are needed.
    #[error("incomplete")]
    Incomplete,
    /// They are none.
    #[error("no request of socketmap or tcp_table")]
    Invalid,
}

/// Takes the first request of `input`; how many bytes it has.
///
/// # Errors
/// `Incomplete`; `Invalid`, after which the connection is of no use.
pub fn request(input: &[u8]) -> Result<(Request, usize), RequestError> {
    match input.first() {
        Some(b'0'..=b'9') => netstring(input),
        Some(_) => line(input),
        None => Err(RequestError::Incomplete),
    }
}

/// ```text
/// request = length ":" name SP key ","      socketmap_table(5)
/// ```
fn netstring(input: &[u8]) -> Result<(Request, usize), RequestError> {
    let digits = input.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits > 4 {
        return Err(RequestError::Invalid);
    }
    let length = std::str::from_utf8(&input[..digits]).ok().and_then(|text| text.parse::<usize>().ok());
    let length = length.filter(|length| *length <= REQUEST_BYTES_MAX).ok_or(RequestError::Invalid)?;
    match input.get(digits) {
        Some(b':') => {}
        Some(_) => return Err(RequestError::Invalid),
        None => return Err(RequestError::Incomplete),
    }
    let (start, end) = (digits + 1, digits + 1 + length);
    match input.get(end) {
        Some(b',') => {}
        Some(_) => return Err(RequestError::Invalid),
        None => return Err(RequestError::Incomplete),
    }
    let content = &input[start..end];
    let space = memchr::memchr(b' ', content).ok_or(RequestError::Invalid)?;
    let table = Some(content[..space].into());
    Ok((Request { dialect: Dialect::Socketmap, table, key: content[space + 1..].into() }, end + 1))
}

/// ```text
/// request = "get" SP key LF      tcp_table(5); %XX is a byte
/// ```
fn line(input: &[u8]) -> Result<(Request, usize), RequestError> {
    let Some(lf) = memchr::memchr(b'\n', input) else {
        let is_long = input.len() > REQUEST_BYTES_MAX;
        return Err(if is_long { RequestError::Invalid } else { RequestError::Incomplete });
    };
    let line = input[..lf].strip_suffix(b"\r").unwrap_or(&input[..lf]);
    let key = line.strip_prefix(b"get ").filter(|_| lf <= REQUEST_BYTES_MAX).ok_or(RequestError::Invalid)?;
    Ok((Request { dialect: Dialect::TcpTable, table: None, key: unquote(key).into() }, lf + 1))
}

fn unquote(quoted: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(quoted.len());
    let mut rest = quoted;
    while let Some((&byte, behind)) = rest.split_first() {
        let hex = behind.get(..2).filter(|_| byte == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(code) => {
                plain.push(code);
                rest = &behind[2..];
            }
            None => {
                plain.push(byte);
                rest = behind;
            }
        }
    }
    plain
}

/// Writes an answer.
pub fn reply(dialect: Dialect, verdict: &Verdict, out: &mut Vec<u8>) {
    match dialect {
        Dialect::Socketmap => {
            let content = match verdict {
                Verdict::Found(value) => [b"OK ", &value[..]].concat(),
                Verdict::NotFound => b"NOTFOUND ".to_vec(),
                Verdict::Temporary(why) => [b"TEMP ", why.as_bytes()].concat(),
                Verdict::Permanent(why) => [b"PERM ", why.as_bytes()].concat(),
            };
            out.extend_from_slice(content.len().to_string().as_bytes());
            out.push(b':');
            out.extend_from_slice(&content);
            out.push(b',');
        }
        Dialect::TcpTable => {
            let (code, text): (&[u8], &[u8]) = match verdict {
                Verdict::Found(value) => (b"200 ", value),
                Verdict::NotFound => (b"500 ", b"not found"),
                Verdict::Temporary(why) | Verdict::Permanent(why) => (b"400 ", why.as_bytes()),
            };
            out.extend_from_slice(code);
            for byte in text {
                match byte {
                    b'%' | 0..=b' ' | 0x7F..=0xFF => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
                    byte => out.push(*byte),
                }
            }
            out.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_both_dialects_are_read_at_every_split() {
        for (input, table, key) in [
            (&b"15:transport a@b.c,"[..], Some(&b"transport"[..]), &b"a@b.c"[..]),
            (b"get a%40b.c\n", None, b"a@b.c"),
        ] {
            for cut in 0..input.len() {
                assert_eq!(request(&input[..cut]), Err(RequestError::Incomplete), "{cut}");
            }
            let input = [input, b"rest"].concat();
            let (request, length) = request(&input).unwrap();
            assert_eq!((request.table.as_deref(), &*request.key), (table, key));
            assert_eq!(length, input.len() - 4);
        }
    }

    #[test]
    fn what_is_no_request_is_told() {
        for input in [&b"99999:x"[..], b"5:a b.c;", b"1a", b"3:abc,", b"put a b\n", b"9999:a"] {
            assert_eq!(request(input), Err(RequestError::Invalid), "{}", input.escape_ascii());
        }
        assert_eq!(request(&[b'g'; 5000]), Err(RequestError::Invalid));
    }

    #[test]
    fn answers_of_both_dialects() {
        let answer = |dialect, verdict: &Verdict| {
            let mut out = Vec::new();
            reply(dialect, verdict, &mut out);
            String::from_utf8(out).unwrap()
        };
        let found = Verdict::Found((*b"lmtp:inet:[be1]:24").into());
        assert_eq!(answer(Dialect::Socketmap, &found), "21:OK lmtp:inet:[be1]:24,");
        assert_eq!(answer(Dialect::Socketmap, &Verdict::NotFound), "9:NOTFOUND ,");
        assert_eq!(answer(Dialect::TcpTable, &found), "200 lmtp:inet:[be1]:24\n");
        assert_eq!(answer(Dialect::TcpTable, &Verdict::NotFound), "500 not%20found\n");
        assert_eq!(answer(Dialect::TcpTable, &Verdict::Temporary("later")), "400 later\n");
    }
}
