//! A line with gaps: `{user}`, `{password}`, `{sasl}`, `{n}`, `{n:3}`, `{1..64}`, and `{data 16k}` at its end.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// A payload is at most this large.
const PAYLOAD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What fills the gaps.
pub struct Context<'a> {
    /// The user's number.
    pub number: usize,
    /// The user's name.
    pub user: &'a str,
    /// The user's password.
    pub password: &'a str,
    /// The response of SASL PLAIN for this user.
    pub sasl: &'a str,
}

/// A line, its gaps still open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    source: String,
    pieces: Vec<Piece>,
    payload_bytes: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    User,
    Password,
    Sasl,
    /// At least so many digits.
    Number(usize),
    /// Any number between these, both included.
    Range(u64, u64),
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(source: String) -> Result<Template, String> {
        let (mut pieces, mut payload_bytes, mut text) = (Vec::new(), None, String::new());
        let mut rest = source.as_str();
        while let Some(at) = rest.find(['{', '}']) {
            text += &rest[..at];
            if rest[at..].starts_with("{{") || rest[at..].starts_with("}}") {
                text += &rest[at..=at];
                rest = &rest[at + 2..];
                continue;
            }
            let end = rest[at..].find('}').filter(|_| rest[at..].starts_with('{'));
            let end = at + end.ok_or_else(|| format!("brace without its other half in {source:?}"))?;
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            let inside = &rest[at + 1..end];
            rest = &rest[end + 1..];
            match inside.strip_prefix("data ") {
                Some(size) if rest.is_empty() => payload_bytes = Some(bytes(size)?),
                Some(_) => return Err(format!("{{{inside}}} stands at the end of a line alone: {source:?}")),
                None => pieces.push(gap(inside)?),
            }
        }
        text += rest;
        if text.contains(['\r', '\n']) {
            return Err(format!("a line has no line ends: {source:?}"));
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Template { source, pieces, payload_bytes })
    }
}

impl From<Template> for String {
    fn from(template: Template) -> String {
        template.source
    }
}

fn gap(inside: &str) -> Result<Piece, String> {
    let expected = || format!("{{{inside}}}: expected user, password, sasl, n, n:3, 1..64 or data 16k");
    match inside {
        "user" => return Ok(Piece::User),
        "password" => return Ok(Piece::Password),
        "sasl" => return Ok(Piece::Sasl),
        "n" => return Ok(Piece::Number(1)),
        _ => {}
    }
    if let Some(digits) = inside.strip_prefix("n:") {
        return digits.parse().ok().filter(|n| *n <= 20).map(Piece::Number).ok_or_else(expected);
    }
    let (low, high) = inside.split_once("..").ok_or_else(expected)?;
    let (low, high) = (low.parse().map_err(|_| expected())?, high.parse().map_err(|_| expected())?);
    if low <= high { Ok(Piece::Range(low, high)) } else { Err(expected()) }
}

/// `512`, `16k`, `1m`.
fn bytes(size: &str) -> Result<usize, String> {
    let (digits, unit) = match size.strip_suffix('k') {
        Some(digits) => (digits, 1024),
        None => size.strip_suffix('m').map_or((size, 1), |digits| (digits, 1024 * 1024)),
    };
    let bytes = digits.parse::<usize>().ok().and_then(|n| n.checked_mul(unit));
    bytes
        .filter(|n| (1..=PAYLOAD_BYTES_MAX).contains(n))
        .ok_or_else(|| format!("{{data {size}}}: expected a size like 512, 16k or 1m, at most 256m"))
}

impl Template {
    /// A template that stands in the code.
    ///
    /// # Panics
    /// It is none.
    pub fn of(source: &str) -> Template {
        match Template::try_from(source.to_owned()) {
            Ok(template) => template,
            Err(why) => panic!("{why}"),
        }
    }

    /// How many bytes follow the line.
    pub fn payload_bytes(&self) -> Option<usize> {
        self.payload_bytes
    }

    /// Writes the line without an end, gaps filled.
    pub fn render(&self, person: &Context, random: &mut Random, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::User => out.extend_from_slice(person.user.as_bytes()),
                Piece::Password => out.extend_from_slice(person.password.as_bytes()),
                Piece::Sasl => out.extend_from_slice(person.sasl.as_bytes()),
                Piece::Number(width) => padded(person.number as u64, *width, out),
                Piece::Range(low, high) => padded(low + random.below(high - low + 1), 1, out),
            }
        }
    }

    /// The line as a text.
    pub fn text(&self, person: &Context, random: &mut Random) -> String {
        let mut out = Vec::new();
        self.render(person, random, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }
}

fn padded(number: u64, width: usize, out: &mut Vec<u8>) {
    let mut text = String::with_capacity(20);
    // Writing to a String cannot fail.
    let _ = write!(text, "{number:0width$}");
    out.extend_from_slice(text.as_bytes());
}

/// Numbers that look random and are the same in each run (xorshift64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        if n == 0 { self.0 } else { self.0 % n }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(source: &str) -> String {
        let person = Context { number: 7, user: "u7", password: "pw", sasl: "" };
        Template::of(source).text(&person, &mut Random::new(1))
    }

    #[test]
    fn gaps_are_filled() {
        assert_eq!(filled("LOGIN {user} {password}"), "LOGIN u7 pw");
        assert_eq!(filled("user{n:3}@x"), "user007@x");
        assert_eq!(filled("{{5}} {5..5}"), "{5} 5");
    }

    #[test]
    fn ranges_hold_both_ends() {
        let (template, mut random) = (Template::of("{1..3}"), Random::new(9));
        let person = Context { number: 0, user: "", password: "", sasl: "" };
        let mut seen: Vec<String> = (0..200).map(|_| template.text(&person, &mut random)).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen, ["1", "2", "3"]);
    }

    #[test]
    fn payload_stands_at_the_end() {
        assert_eq!(Template::of("APPEND INBOX {data 16k}").payload_bytes(), Some(16384));
        for wrong in ["{data 1k} x", "{data 0}", "{data 1g}", "{x}", "{", "}", "{3..1}", "{n:99}", "a\nb"] {
            assert!(Template::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
