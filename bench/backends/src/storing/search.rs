//! SEARCH keys (RFC 9051 section 6.4.4).

use super::command::Value;
use super::mailbox::{Stored, sequence_set};
use super::message::{Part, parse_day};

/// Keys within keys.
const DEPTH_MAX: usize = 16;

/// One condition.
#[derive(Debug)]
pub(crate) enum Key {
    All,
    Flag(String, bool),
    Header(String, String),
    Body(String),
    Text(String),
    Larger(usize),
    Smaller(usize),
    /// Compares the day of arrival, or of the `Date` field, with a day.
    Day {
        sent: bool,
        order: fn(&i64, &i64) -> bool,
        day: i64,
    },
    Uids(Vec<(u32, u32)>),
    Numbers(Vec<(u32, u32)>),
    Not(Box<Key>),
    Or(Box<Key>, Box<Key>),
    And(Vec<Key>),
}

/// What numbers in sets are measured against.
#[derive(Clone, Copy)]
pub(crate) struct Last {
    pub(crate) number: u32,
    pub(crate) uid: u32,
}

/// Reads all keys; they must all hold.
pub(crate) fn parse(arguments: &[Value], last: Last) -> Option<Key> {
    let arguments = match arguments {
        [charset, _, rest @ ..] if charset.is("CHARSET") => rest,
        all => all,
    };
    if arguments.is_empty() {
        return None;
    }
    Keys { rest: arguments, last, depth: 0 }.all()
}

struct Keys<'a> {
    rest: &'a [Value],
    last: Last,
    depth: usize,
}

impl<'a> Keys<'a> {
    fn all(&mut self) -> Option<Key> {
        let mut keys = Vec::new();
        while !self.rest.is_empty() {
            keys.push(self.key()?);
        }
        Some(Key::And(keys))
    }

    fn value(&mut self) -> Option<&'a Value> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn text(&mut self) -> Option<String> {
        self.value()?.text().map(|t| t.to_lowercase())
    }

    fn key(&mut self) -> Option<Key> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let key = match self.value()? {
            Value::List(list) => Keys { rest: list, last: self.last, depth: self.depth }.all(),
            Value::Atom(word) => self.named(word),
            Value::Text(_) => None,
        };
        self.depth -= 1;
        key
    }

    fn named(&mut self, word: &str) -> Option<Key> {
        let upper = word.to_ascii_uppercase();
        Some(match upper.as_str() {
            "ALL" | "OLD" => Key::All,
            "RECENT" | "NEW" => Key::Not(Box::new(Key::All)),
            "ANSWERED" | "DELETED" | "DRAFT" | "FLAGGED" | "SEEN" => Key::Flag(system_flag(&upper), true),
            "UNANSWERED" | "UNDELETED" | "UNDRAFT" | "UNFLAGGED" | "UNSEEN" => {
                Key::Flag(system_flag(&upper[2..]), false)
            }
            "KEYWORD" => Key::Flag(self.value()?.text()?, true),
            "UNKEYWORD" => Key::Flag(self.value()?.text()?, false),
            "FROM" | "TO" | "CC" | "BCC" | "SUBJECT" => Key::Header(upper, self.text()?),
            "HEADER" => Key::Header(self.text()?, self.text()?),
            "BODY" => Key::Body(self.text()?),
            "TEXT" => Key::Text(self.text()?),
            "LARGER" => Key::Larger(self.text()?.parse().ok()?),
            "SMALLER" => Key::Smaller(self.text()?.parse().ok()?),
            "UID" => Key::Uids(sequence_set(&self.text()?, self.last.uid)?),
            "NOT" => Key::Not(Box::new(self.key()?)),
            "OR" => Key::Or(Box::new(self.key()?), Box::new(self.key()?)),
            _ if word.starts_with(|c: char| c.is_ascii_digit() || c == '*') => {
                Key::Numbers(sequence_set(word, self.last.number)?)
            }
            _ => self.dated(&upper)?,
        })
    }

    fn dated(&mut self, word: &str) -> Option<Key> {
        let (sent, word) = word.strip_prefix("SENT").map_or((false, word), |rest| (true, rest));
        let order: fn(&i64, &i64) -> bool = match word {
            "BEFORE" => i64::lt,
            "ON" => i64::eq,
            "SINCE" => i64::ge,
            _ => return None,
        };
        Some(Key::Day { sent, order, day: parse_day(&self.text()?)? })
    }
}

fn system_flag(upper: &str) -> String {
    format!("\\{}{}", &upper[..1], upper[1..].to_ascii_lowercase())
}

impl Key {
    /// Whether the message meets the condition.
    pub(crate) fn holds(&self, number: u32, message: &Stored) -> bool {
        match self {
            Key::All => true,
            Key::Flag(flag, there) => message.flags.iter().any(|f| f.eq_ignore_ascii_case(flag)) == *there,
            Key::Header(name, text) => {
                let field = Part::parse(&message.body).field(name);
                field.is_some_and(|value| value.to_lowercase().contains(text))
            }
            Key::Body(text) => lower(Part::parse(&message.body).body).contains(text),
            Key::Text(text) => lower(&message.body).contains(text),
            Key::Larger(size) => message.body.len() > *size,
            Key::Smaller(size) => message.body.len() < *size,
            Key::Day { sent: false, order, day } => order(&message.date.div_euclid(86_400), day),
            Key::Day { sent: true, order, day } => sent_day(message).is_some_and(|sent| order(&sent, day)),
            Key::Uids(set) => within(set, message.uid),
            Key::Numbers(set) => within(set, number),
            Key::Not(key) => !key.holds(number, message),
            Key::Or(a, b) => a.holds(number, message) || b.holds(number, message),
            Key::And(keys) => keys.iter().all(|key| key.holds(number, message)),
        }
    }
}

fn within(set: &[(u32, u32)], n: u32) -> bool {
    set.iter().any(|(a, b)| (*a..=*b).contains(&n))
}

fn lower(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).to_lowercase()
}

/// The day of `Date: Mon, 5 Jan 2026 10:00:00 +0000`.
fn sent_day(message: &Stored) -> Option<i64> {
    let date = Part::parse(&message.body).field("Date")?;
    let words: Vec<&str> = date.split(',').next_back()?.split_ascii_whitespace().take(3).collect();
    parse_day(&words.join("-"))
}

#[cfg(test)]
mod tests {
    use super::super::command;
    use super::*;

    fn finds(keys: &str) -> Option<bool> {
        let body = "From: Ann <ann@example.org>\r\nSubject: Hello World\r\nDate: Mon, 5 Jan 2026 10:00:00 +0000\r\n\r\nbody here";
        let date = super::super::message::parse_date_time("06-Jan-2026 10:00:00 +0000").unwrap();
        let flags = ["\\Seen".to_owned(), "marked".to_owned()].into();
        let message = Stored { uid: 12, flags, date, body: body.as_bytes().into(), modseq: 1 };
        let command = command::parse(format!("a SEARCH {keys}\r\n").as_bytes()).unwrap();
        let key = parse(&command.arguments, Last { number: 3, uid: 12 })?;
        Some(key.holds(3, &message))
    }

    #[test]
    fn keys_hold_or_not() {
        for keys in [
            "ALL",
            "SEEN",
            "NOT DELETED",
            "SUBJECT \"hello\"",
            "OR FROM bob FROM ann",
            "BODY here",
            "UID 12",
            "3",
            "*",
            "KEYWORD marked",
            "ON 6-Jan-2026",
            "SENTON 5-Jan-2026",
            "(SEEN UNDELETED)",
            "CHARSET UTF-8 TEXT world",
            "HEADER subject \"\"",
            "SMALLER 1000 LARGER 10",
        ] {
            assert_eq!(finds(keys), Some(true), "{keys}");
        }
        for keys in
            ["UNSEEN", "NOT ALL", "SUBJECT bye", "UID 1:11", "SINCE 7-Jan-2026", "SENTBEFORE 5-Jan-2026"]
        {
            assert_eq!(finds(keys), Some(false), "{keys}");
        }
    }

    #[test]
    fn unknown_or_unfinished_key_is_an_error() {
        for keys in ["BOGUS", "SUBJECT", "OR ALL", "SINCE yesterday", "UID x"] {
            assert_eq!(finds(keys), None, "{keys}");
        }
    }
}
