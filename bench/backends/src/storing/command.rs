//! Whole commands out of a byte stream, and their arguments.

use memchr::memchr;

/// A command, literals included, is refused past this.
pub(crate) const COMMAND_BYTES_MAX: usize = 128 * 1024 * 1024;
/// A line of a command, without its literals.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Parentheses within parentheses.
const DEPTH_MAX: usize = 16;

/// What stands at the head of the input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Framed {
    /// A whole command of this many bytes, CRLF included.
    Whole(usize),
    /// More must come.
    Partial,
    /// A synchronising literal was announced: the bytes before this offset are there, a `+` is due.
    WantsGoAhead(usize),
    /// Past a limit: the connection ends.
    TooLong,
}

/// Finds the end of the first command. `gone_ahead` is the offset that the last `+` answered.
pub(crate) fn frame(input: &[u8], gone_ahead: usize) -> Framed {
    let mut at = 0;
    loop {
        let Some(end) = memchr(b'\n', &input[at..]) else {
            let partial = input.len() - at <= LINE_BYTES_MAX;
            return if partial { Framed::Partial } else { Framed::TooLong };
        };
        let line_end = at + end + 1;
        let Some((size, synchronising)) = literal_at_end(&input[at..line_end]) else {
            return Framed::Whole(line_end);
        };
        if size > COMMAND_BYTES_MAX - line_end.min(COMMAND_BYTES_MAX) {
            return Framed::TooLong;
        }
        if synchronising && input.len() == line_end && gone_ahead < line_end {
            return Framed::WantsGoAhead(line_end);
        }
        at = line_end + size;
        if at > input.len() {
            return Framed::Partial;
        }
    }
}

/// `{n}` or `{n+}` before the line end: its size, and whether a go-ahead is wanted.
pub(crate) fn literal_at_end(line: &[u8]) -> Option<(usize, bool)> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line).strip_suffix(b"}")?;
    let open = line.iter().rposition(|c| *c == b'{')?;
    let (digits, synchronising) = match line[open + 1..].strip_suffix(b"+") {
        Some(digits) => (digits, false),
        None => (&line[open + 1..], true),
    };
    let size = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((size, synchronising))
}

/// One argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// As it stood; brackets keep what is within them together (`BODY[HEADER.FIELDS (TO)]<0.10>`).
    Atom(String),
    /// Quoted or literal.
    Text(Vec<u8>),
    /// In parentheses.
    List(Vec<Value>),
}

impl Value {
    /// An astring as text.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Value::Atom(atom) => Some(atom.clone()),
            Value::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
            Value::List(_) => None,
        }
    }

    /// The members of a list; a single value is a list of itself.
    pub(crate) fn members(&self) -> &[Value] {
        match self {
            Value::List(list) => list,
            Value::Atom(_) | Value::Text(_) => std::slice::from_ref(self),
        }
    }

    /// Whether this is the atom, in any case.
    pub(crate) fn is(&self, atom: &str) -> bool {
        matches!(self, Value::Atom(a) if a.eq_ignore_ascii_case(atom))
    }
}

/// A command taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) tag: String,
    /// Upper case.
    pub(crate) verb: String,
    /// `UID` stood before the verb.
    pub(crate) uid: bool,
    pub(crate) arguments: Vec<Value>,
}

/// Takes a whole command apart; the error carries the tag to answer with.
pub(crate) fn parse(bytes: &[u8]) -> Result<Command, String> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    let space = memchr(b' ', bytes).unwrap_or(bytes.len());
    let tag = String::from_utf8_lossy(&bytes[..space]).into_owned();
    let mut reader = Reader { bytes, at: space + 1 };
    let mut arguments = reader.values(0).ok_or_else(|| tag.clone())?;
    let next = |arguments: &mut Vec<Value>| match arguments.first() {
        Some(Value::Atom(_)) => arguments.remove(0).text().map(|verb| verb.to_ascii_uppercase()),
        Some(Value::Text(_) | Value::List(_)) | None => None,
    };
    let mut verb = next(&mut arguments).ok_or_else(|| tag.clone())?;
    let uid = verb == "UID";
    if uid {
        verb = next(&mut arguments).ok_or_else(|| tag.clone())?;
    }
    Ok(Command { tag, verb, uid, arguments })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Values up to the end, or to the parenthesis that closes `depth`.
    fn values(&mut self, depth: usize) -> Option<Vec<Value>> {
        let mut values = Vec::new();
        loop {
            match self.peek() {
                None if depth == 0 => return Some(values),
                None => return None,
                Some(b' ') => self.at += 1,
                Some(b')') if depth > 0 => {
                    self.at += 1;
                    return Some(values);
                }
                Some(b'(') if depth < DEPTH_MAX => {
                    self.at += 1;
                    values.push(Value::List(self.values(depth + 1)?));
                }
                Some(b'(' | b')') => return None,
                Some(b'"') => values.push(Value::Text(self.quoted()?)),
                Some(b'{') => values.push(Value::Text(self.literal()?)),
                Some(_) => values.push(Value::Atom(self.atom()?)),
            }
        }
    }

    fn quoted(&mut self) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        self.at += 1;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(text),
                b'\\' => {
                    text.push(self.peek()?);
                    self.at += 1;
                }
                _ => text.push(byte),
            }
        }
    }

    fn literal(&mut self) -> Option<Vec<u8>> {
        let end = self.at + memchr(b'\n', &self.bytes[self.at..])? + 1;
        let (size, _) = literal_at_end(&self.bytes[self.at..end])?;
        let text = self.bytes.get(end..end + size)?.to_vec();
        self.at = end + size;
        Some(text)
    }

    fn atom(&mut self) -> Option<String> {
        let start = self.at;
        let mut brackets = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'[' => brackets += 1,
                b']' => brackets = brackets.saturating_sub(1),
                b' ' | b'(' | b')' | b'"' if brackets == 0 => break,
                b'\r' | b'\n' => return None,
                _ => {}
            }
            self.at += 1;
        }
        Some(String::from_utf8_lossy(&self.bytes[start..self.at]).into_owned())
    }
}

/// A string as a client may be sent it: quoted, or a literal when it must be.
pub(crate) fn string(text: &[u8]) -> Vec<u8> {
    if text.iter().any(|c| matches!(c, b'\r' | b'\n' | 0 | 0x80..)) || text.len() > 1000 {
        let mut out = format!("{{{}}}\r\n", text.len()).into_bytes();
        out.extend_from_slice(text);
        return out;
    }
    let mut out = vec![b'"'];
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
    out
}

/// A mailbox name: an atom when it can be one.
pub(crate) fn astring(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-&+,#=/@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    String::from_utf8_lossy(&string(text.as_bytes())).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const APPEND: &[u8] = b"a1 APPEND INBOX (\\Seen) {3+}\r\nx\r\n {1}\r\ny\r\na2 NOOP\r\n";

    #[test]
    fn command_ends_behind_its_last_literal() {
        let Framed::Whole(end) = frame(APPEND, usize::MAX) else { panic!() };
        assert_eq!(&APPEND[end..], b"a2 NOOP\r\n");
    }

    #[test]
    fn every_shorter_input_is_partial_or_wants_a_go_ahead() {
        for end in 0..APPEND.len() - b"a2 NOOP\r\n".len() {
            let framed = frame(&APPEND[..end], 0);
            assert!(matches!(framed, Framed::Partial | Framed::WantsGoAhead(_)), "{end}: {framed:?}");
        }
    }

    #[test]
    fn go_ahead_is_wanted_once() {
        let head = b"a1 LOGIN {4}\r\n";
        assert_eq!(frame(head, 0), Framed::WantsGoAhead(head.len()));
        assert_eq!(frame(head, head.len()), Framed::Partial);
    }

    #[test]
    fn literal_past_the_limit_is_refused_before_reading() {
        assert_eq!(frame(b"a1 APPEND x {999999999999}\r\n", 0), Framed::TooLong);
    }

    #[test]
    fn section_stays_one_atom() {
        let command = parse(b"a UID FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (TO CC)]<0.5>)\r\n").unwrap();
        assert!(command.uid);
        assert_eq!(command.verb, "FETCH");
        let section = Value::Atom("BODY.PEEK[HEADER.FIELDS (TO CC)]<0.5>".into());
        assert_eq!(command.arguments[1], Value::List(vec![Value::Atom("UID".into()), section]));
    }

    #[test]
    fn unbalanced_parenthesis_is_an_error() {
        assert_eq!(parse(b"a7 STORE 1 FLAGS (\\Seen\r\n"), Err("a7".into()));
        assert_eq!(parse(b"a7 STORE 1 FLAGS \\Seen)\r\n"), Err("a7".into()));
    }

    #[test]
    fn quotes_are_escaped_and_line_ends_make_a_literal() {
        assert_eq!(string(b"a\"b"), b"\"a\\\"b\"");
        assert_eq!(string(b"a\r\nb"), b"{4}\r\na\r\nb");
    }
}
