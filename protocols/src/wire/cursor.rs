//! Reads tokens of a complete command or response, literals included.

use std::borrow::Cow;

use memchr::{memchr2, memchr3};

use super::SyntaxError;
use super::limits::NESTING_MAX;
use super::literal::{self, Announced};

/// A position in a complete head. Every method either takes a token or leaves the position where the
/// error says.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    input: &'a [u8],
    at: usize,
}

/// The bytes of a token; owned only if a quoted string had escapes.
pub type Bytes<'a> = Cow<'a, [u8]>;

impl<'a> Cursor<'a> {
    /// Starts at the front. The line end at the back of a head must have been cut off.
    pub fn new(input: &'a [u8]) -> Cursor<'a> {
        Cursor { input, at: 0 }
    }

    /// Bytes taken so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// What is not taken yet.
    pub fn rest(&self) -> &'a [u8] {
        &self.input[self.at..]
    }

    /// Whether everything is taken.
    pub fn is_at_end(&self) -> bool {
        self.at == self.input.len()
    }

    /// The next byte, not taken.
    pub fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    /// Takes nothing: the input must be at its end.
    ///
    /// # Errors
    /// Something stands there.
    pub fn end(&self) -> Result<(), SyntaxError> {
        if self.is_at_end() { Ok(()) } else { Err(self.error("end of line")) }
    }

    /// Takes one space.
    ///
    /// # Errors
    /// Another byte, or the end.
    pub fn sp(&mut self) -> Result<(), SyntaxError> {
        self.byte(b' ', "space")
    }

    /// Takes this byte.
    ///
    /// # Errors
    /// Another byte, or the end.
    pub fn byte(&mut self, byte: u8, expected: &'static str) -> Result<(), SyntaxError> {
        if self.take_if(byte) { Ok(()) } else { Err(self.error(expected)) }
    }

    /// Takes this byte if it is the next one.
    pub fn take_if(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Takes `word` in any case if it is the next token and ends there.
    pub fn take_word(&mut self, word: &[u8]) -> bool {
        let rest = self.rest();
        let is_next = rest.len() >= word.len()
            && rest[..word.len()].eq_ignore_ascii_case(word)
            && !rest.get(word.len()).is_some_and(|byte| is_atom_char(*byte));
        self.at += if is_next { word.len() } else { 0 };
        is_next
    }

    /// ```text
    /// atom = 1*ATOM-CHAR      RFC 9051 section 9
    /// ```
    ///
    /// # Errors
    /// No ATOM-CHAR here.
    pub fn atom(&mut self) -> Result<&'a [u8], SyntaxError> {
        self.take_while1(is_atom_char, "atom")
    }

    /// ```text
    /// astring = 1*ASTRING-CHAR / string      RFC 9051 section 9
    /// ```
    /// Deviates: bytes over 127 are taken, as Cyrus does; what they name decides.
    ///
    /// # Errors
    /// Neither, or a string that is cut or holds NUL.
    pub fn astring(&mut self) -> Result<Bytes<'a>, SyntaxError> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => self.take_while1(is_astring_char, "astring").map(Cow::Borrowed),
        }
    }

    /// ```text
    /// list-mailbox = 1*list-char / string
    /// list-char    = ATOM-CHAR / list-wildcards / resp-specials      RFC 9051 section 9
    /// ```
    ///
    /// # Errors
    /// As [`Cursor::astring`].
    pub fn list_mailbox(&mut self) -> Result<Bytes<'a>, SyntaxError> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => self.take_while1(is_list_char, "mailbox pattern").map(Cow::Borrowed),
        }
    }

    /// ```text
    /// string = quoted / literal      RFC 9051 section 9
    /// ```
    ///
    /// # Errors
    /// Neither, or it is cut or holds NUL.
    pub fn string(&mut self) -> Result<Bytes<'a>, SyntaxError> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{' | b'~') => self.literal().map(Cow::Borrowed),
            _ => Err(self.error("string")),
        }
    }

    /// ```text
    /// nstring = string / nil      RFC 9051 section 9
    /// ```
    ///
    /// # Errors
    /// As [`Cursor::string`].
    pub fn nstring(&mut self) -> Result<Option<Bytes<'a>>, SyntaxError> {
        if self.take_word(b"NIL") {
            return Ok(None);
        }
        self.string().map(Some)
    }

    /// ```text
    /// quoted = DQUOTE *QUOTED-CHAR DQUOTE      RFC 9051 section 9
    /// ```
    /// Deviates: a backslash may stand before any byte but CR, LF and NUL, as in Cyrus.
    ///
    /// # Errors
    /// No quote here, none at the end, or CR, LF or NUL inside.
    pub fn quoted(&mut self) -> Result<Bytes<'a>, SyntaxError> {
        let raw = self.quoted_span()?;
        let raw = &raw[1..raw.len() - 1];
        if memchr::memchr(b'\\', raw).is_none() {
            return Ok(Cow::Borrowed(raw));
        }
        let mut bytes = Vec::with_capacity(raw.len());
        let mut escaped = false;
        for byte in raw {
            escaped = *byte == b'\\' && !escaped;
            if !escaped {
                bytes.push(*byte);
            }
        }
        Ok(Cow::Owned(bytes))
    }

    /// A literal whose bytes stand in the input.
    ///
    /// # Errors
    /// No announcement here, bytes missing, or NUL in one that is not `~{n}`.
    pub fn literal(&mut self) -> Result<&'a [u8], SyntaxError> {
        let (announced, begins) = self.announcement()?;
        let bytes = usize::try_from(announced.len)
            .ok()
            .and_then(|len| self.input.get(begins..begins.checked_add(len)?))
            .ok_or(SyntaxError { at: begins, expected: "bytes of literal" })?;
        if !announced.binary
            && let Some(nul) = memchr::memchr(0, bytes)
        {
            return Err(SyntaxError { at: begins + nul, expected: "literal without NUL" });
        }
        self.at = begins + bytes.len();
        Ok(bytes)
    }

    /// Takes an announcement that is the last thing in the input: its bytes are not here.
    pub fn take_announced_at_end(&mut self) -> Option<Announced> {
        let opening = self.peek();
        if !matches!(opening, Some(b'{' | b'~')) {
            return None;
        }
        let rest = self.rest();
        let inner = rest.strip_prefix(b"~").unwrap_or(rest).strip_prefix(b"{")?;
        let digits = inner.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 || !matches!(&inner[digits..], b"}" | b"+}") {
            return None;
        }
        let announced = literal::at_line_end(rest)?;
        self.at = self.input.len();
        Some(announced)
    }

    /// ```text
    /// number = 1*DIGIT      (0 <= n < 4,294,967,296)      RFC 9051 section 9
    /// ```
    ///
    /// # Errors
    /// No digit here, or more than 32 bits.
    pub fn number(&mut self) -> Result<u32, SyntaxError> {
        let at = self.at;
        let number = self.number64()?;
        u32::try_from(number).map_err(|_| SyntaxError { at, expected: "number of 32 bits" })
    }

    /// ```text
    /// number64 = 1*DIGIT      (0 <= n <= 9,223,372,036,854,775,807)      RFC 9051 section 9
    /// ```
    /// Deviates: takes all 64 bits.
    ///
    /// # Errors
    /// No digit here, or more than 64 bits.
    pub fn number64(&mut self) -> Result<u64, SyntaxError> {
        let at = self.at;
        let digits = self.take_while1(|byte| byte.is_ascii_digit(), "number")?;
        digits
            .iter()
            .try_fold(0_u64, |n, digit| n.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
            .ok_or(SyntaxError { at, expected: "number of 64 bits" })
    }

    /// The span of a sequence set, `$` included; its parts are not judged
    /// (see [`SequenceSet`](crate::imap::grammar::SequenceSet)).
    ///
    /// # Errors
    /// No such character here.
    pub fn sequence_set(&mut self) -> Result<&'a [u8], SyntaxError> {
        self.take_while1(
            |byte| byte.is_ascii_digit() || matches!(byte, b':' | b',' | b'*' | b'$'),
            "sequence set",
        )
    }

    /// The span of a parenthesised list, its parentheses included. Quoted strings and literals inside
    /// are skipped as such.
    ///
    /// # Errors
    /// No `(` here, no matching `)`, a broken string, or more than [`NESTING_MAX`] levels.
    pub fn parenthesised(&mut self) -> Result<&'a [u8], SyntaxError> {
        let begins = self.at;
        self.byte(b'(', "(")?;
        let mut depth = 1;
        while depth > 0 {
            match self.peek() {
                None => return Err(self.error(")")),
                Some(b')') => {
                    self.at += 1;
                    depth -= 1;
                }
                Some(b'(') if depth == NESTING_MAX => return Err(self.error("fewer parentheses")),
                Some(b'(') => {
                    self.at += 1;
                    depth += 1;
                }
                Some(b'"') => drop(self.quoted_span()?),
                Some(b'{') => drop(self.literal()?),
                Some(b'~') if self.input.get(self.at + 1) == Some(&b'{') => drop(self.literal()?),
                Some(b'\r' | b'\n' | 0) => return Err(self.error("text")),
                Some(_) => self.at += 1,
            }
        }
        Ok(&self.input[begins..self.at])
    }

    /// The span of any one value: parenthesised list, string, or atom of list characters.
    ///
    /// # Errors
    /// None of them.
    pub fn value(&mut self) -> Result<&'a [u8], SyntaxError> {
        let begins = self.at;
        match self.peek() {
            Some(b'(') => drop(self.parenthesised()?),
            Some(b'"') => drop(self.quoted_span()?),
            Some(b'{') => drop(self.literal()?),
            Some(b'~') if self.input.get(self.at + 1) == Some(&b'{') => drop(self.literal()?),
            _ => drop(self.take_while1(|byte| is_list_char(byte) || byte == b'\\', "value")?),
        }
        Ok(&self.input[begins..self.at])
    }

    /// Takes bytes as long as `is_wanted`, at least one.
    ///
    /// # Errors
    /// The next byte is not wanted, or there is none.
    pub fn take_while1(
        &mut self,
        is_wanted: impl Fn(u8) -> bool,
        expected: &'static str,
    ) -> Result<&'a [u8], SyntaxError> {
        let rest = self.rest();
        let len = rest.iter().position(|byte| !is_wanted(*byte)).unwrap_or(rest.len());
        if len == 0 {
            return Err(self.error(expected));
        }
        self.at += len;
        Ok(&rest[..len])
    }

    /// An error at the next byte.
    pub fn error(&self, expected: &'static str) -> SyntaxError {
        SyntaxError { at: self.at, expected }
    }

    /// The span of a quoted string, quotes included.
    fn quoted_span(&mut self) -> Result<&'a [u8], SyntaxError> {
        let begins = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.error("quoted string"));
        }
        let mut at = begins + 1;
        loop {
            let step = memchr2(b'"', b'\\', self.input.get(at..).unwrap_or_default());
            let found = at + step.ok_or(SyntaxError { at: self.input.len(), expected: "closing quote" })?;
            if self.input[found] == b'"' {
                at = found + 1;
                break;
            }
            at = found + 2;
        }
        let span = &self.input[begins..at];
        if let Some(bad) = memchr3(b'\r', b'\n', 0, span) {
            return Err(SyntaxError { at: begins + bad, expected: "text without CR, LF and NUL" });
        }
        self.at = at;
        Ok(span)
    }

    /// Reads `{n}`, its `+` and `~`, and the line end behind it; says where the bytes begin.
    fn announcement(&self) -> Result<(Announced, usize), SyntaxError> {
        let expected = self.error("literal");
        let rest = self.rest();
        let close = memchr::memchr(b'}', rest).ok_or(expected)?;
        let opening = rest.strip_prefix(b"~").unwrap_or(rest);
        if opening.first() != Some(&b'{') {
            return Err(expected);
        }
        let announced = literal::at_line_end(&rest[..=close]).ok_or(expected)?;
        let inside = &rest[rest.len() - opening.len() + 1..close];
        let digits = inside.strip_suffix(b"+").unwrap_or(inside);
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(expected);
        }
        let line_end = match &rest[close + 1..] {
            [b'\r', b'\n', ..] => 2,
            [b'\n', ..] => 1,
            _ => return Err(SyntaxError { at: self.at + close + 1, expected: "line end behind literal" }),
        };
        Ok((announced, self.at + close + 1 + line_end))
    }
}

/// ```text
/// ATOM-CHAR      = <any CHAR except atom-specials>
/// atom-specials  = "(" / ")" / "{" / SP / CTL / list-wildcards / quoted-specials / resp-specials
/// ```
/// Deviates: bytes over 127 count (see [`Cursor::astring`]).
#[inline]
pub fn is_atom_char(byte: u8) -> bool {
    is_astring_char(byte) && byte != b']'
}

/// ```text
/// ASTRING-CHAR   = ATOM-CHAR / resp-specials      RFC 9051 section 9
/// ```
#[inline]
pub fn is_astring_char(byte: u8) -> bool {
    !matches!(byte, 0..=b' ' | 0x7f | b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\')
}

/// ```text
/// list-char      = ATOM-CHAR / list-wildcards / resp-specials      RFC 9051 section 9
/// ```
#[inline]
pub fn is_list_char(byte: u8) -> bool {
    is_astring_char(byte) || matches!(byte, b'%' | b'*')
}
