//! `imapd.conf`: lines `key: value`.
//!
//! Keys are ASCII-case-insensitive letters, digits, `-` and `_`. `#` begins a comment line, `\` at the
//! end of a line goes on in the next, `@include: file` reads another file in its place. A key with the
//! name of a service and `_` before it (`lmtp_admins`) holds for that service only and wins there.
//! A key that stands twice is an error, as Cyrus 3.6 refuses to start.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::options;
use super::{ConfError, DurationUnit, FILE_BYTES_MAX, values};

/// Files that include one another, at most.
pub const INCLUDE_DEPTH_MAX: usize = 16;
/// Files of one configuration, at most.
pub const FILES_MAX: usize = 256;

/// The lines of one file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lines {
    /// In the order of the file.
    pub lines: Vec<Line>,
}

/// One line that says something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// `key: value`.
    Option {
        /// In lower case.
        key: String,
        /// What it says, where.
        value: Value,
    },
    /// `@include: path`.
    Include {
        /// The path as written.
        path: String,
        /// The line, from 1.
        line: usize,
    },
}

/// The value of a key and where it stands. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    /// The text without white space around it.
    pub text: String,
    /// The file as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The key holds a secret.
    is_secret: bool,
}

impl Value {
    /// The text to show in a message: a secret is not shown.
    pub fn shown(&self) -> &str {
        if self.is_secret { "[secret]" } else { &self.text }
    }

    /// An error at this place.
    pub fn error(&self, what: impl Into<String>) -> ConfError {
        ConfError::new(&self.file, self.line, what)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({}:{})", self.shown(), self.file, self.line)
    }
}

/// Reads the lines of one file.
///
/// # Errors: [`ConfError`] where Cyrus refuses to start: a bad key, no `:`, no value, an unknown
/// directive.
pub fn parse(text: &str, file: &str) -> Result<Lines, ConfError> {
    if text.len() > FILE_BYTES_MAX {
        let what = format!("file too large: {} bytes, limit {FILE_BYTES_MAX}", text.len());
        return Err(ConfError::new(file, 0, what));
    }
    let mut lines = Vec::new();
    let mut physical = text.lines().enumerate();
    while let Some((at, first)) = physical.next() {
        let mut whole = first.to_owned();
        while whole.ends_with('\\') {
            whole.pop();
            match physical.next() {
                Some((_, next)) => whole.push_str(next),
                None => break,
            }
        }
        let trimmed = whole.trim_matches(is_space);
        if !trimmed.is_empty() && !trimmed.starts_with('#') {
            lines.push(line(trimmed, file, at + 1)?);
        }
    }
    Ok(Lines { lines })
}

/// `key ":" *WSP value`, `key = ["@"] *(ALPHA / DIGIT / "-" / "_")`.
fn line(text: &str, file: &str, number: usize) -> Result<Line, ConfError> {
    let bad_key = || {
        ConfError::new(file, number, "invalid option name: expected letters, digits, - and _, then a colon")
    };
    let (key, value) = text.split_once(':').ok_or_else(bad_key)?;
    let bare = key.strip_prefix('@').unwrap_or(key);
    let is_key = !bare.is_empty()
        && bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if !is_key {
        return Err(bad_key());
    }
    let (key, value) = (key.to_ascii_lowercase(), value.trim_matches(is_space));
    if value.is_empty() {
        return Err(ConfError::new(file, number, format!("option {key} without a value")));
    }
    if key == "@include" {
        return Ok(Line::Include { path: value.to_owned(), line: number });
    }
    if key.starts_with('@') {
        return Err(ConfError::new(file, number, format!("unknown directive {key}: expected @include")));
    }
    let is_secret = options::is_secret(&key);
    let value = Value { text: value.to_owned(), file: file.to_owned(), line: number, is_secret };
    Ok(Line::Option { key, value })
}

/// What C calls white space.
fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n' | '\x0B' | '\x0C')
}

/// A whole configuration: all files, included ones in the place of their `@include`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Imapd {
    values: BTreeMap<String, Value>,
    order: Vec<String>,
    service: Option<String>,
}

impl Imapd {
    /// Reads a configuration. `read` gives the text of a file by the path that names it.
    ///
    /// # Errors: [`ConfError`] of any file; a file that cannot be read or is included twice; a
    /// key that stands twice.
    pub fn load<E: fmt::Display>(
        path: &str,
        mut read: impl FnMut(&str) -> Result<String, E>,
    ) -> Result<Imapd, ConfError> {
        let mut conf = Imapd::default();
        let mut seen = Vec::new();
        conf.include(path, None, &mut seen, 0, &mut read)?;
        Ok(conf)
    }

    fn include<E: fmt::Display>(
        &mut self,
        path: &str,
        from: Option<(&str, usize)>,
        seen: &mut Vec<String>,
        depth: usize,
        read: &mut impl FnMut(&str) -> Result<String, E>,
    ) -> Result<(), ConfError> {
        let (file, line) = from.unwrap_or((path, 0));
        if seen.iter().any(|earlier| earlier == path) {
            return Err(ConfError::new(file, line, format!("configuration file {path} included twice")));
        }
        if depth > INCLUDE_DEPTH_MAX || seen.len() >= FILES_MAX {
            let what = format!(
                "too many @include at {path}: limits are {INCLUDE_DEPTH_MAX} deep and {FILES_MAX} files"
            );
            return Err(ConfError::new(file, line, what));
        }
        seen.push(path.to_owned());
        let text =
            read(path).map_err(|error| ConfError::new(file, line, format!("cannot read {path}: {error}")))?;
        for line in parse(&text, path)?.lines {
            match line {
                Line::Option { key, value } => self.add(key, value)?,
                Line::Include { path: inner, line } => {
                    self.include(&inner, Some((path, line)), seen, depth + 1, read)?;
                }
            }
        }
        Ok(())
    }

    /// Adds one value. Cyrus ends at every key that stands twice, known or not.
    fn add(&mut self, key: String, value: Value) -> Result<(), ConfError> {
        if let Some(earlier) = self.values.get(&key) {
            let what = format!("option {key} specified twice: first at {}:{}", earlier.file, earlier.line);
            return Err(value.error(what));
        }
        self.order.push(key.clone());
        self.values.insert(key, value);
        Ok(())
    }

    /// The same configuration as a service sees it: `SERVICE_key` before `key`. `service` is the name
    /// of the entry in `cyrus.conf`.
    #[must_use]
    pub fn for_service(&self, service: &str) -> Imapd {
        Imapd { service: Some(service.to_ascii_lowercase()), ..self.clone() }
    }

    /// The value of a key: the service's own first, then the plain one, then one under an older name
    /// of the same option.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.exact(key).or_else(|| options::older_names(key).find_map(|older| self.exact(older)))
    }

    fn exact(&self, key: &str) -> Option<&Value> {
        let own = self.service.as_ref().and_then(|service| self.values.get(&format!("{service}_{key}")));
        own.or_else(|| self.values.get(key))
    }

    /// The text of a key.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.value(key).map(|value| value.text.as_str())
    }

    /// All keys and values in the order in which they stand.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.order.iter().filter_map(|key| Some((key.as_str(), self.values.get(key)?)))
    }

    /// A switch: `yes on t 1 true` or `no off f 0 false`.
    ///
    /// # Errors: [`ConfError`], another value.
    pub fn switch(&self, key: &str, default: bool) -> Result<bool, ConfError> {
        self.read(key, default, "yes or no", values::switch)
    }

    /// A duration; `unit` is that of a bare number.
    ///
    /// # Errors: [`ConfError`], no duration, or a negative one.
    pub fn duration(&self, key: &str, unit: DurationUnit, default: Duration) -> Result<Duration, ConfError> {
        self.read(key, default, "a duration like 10s, 5m, 1h30m or 2d", |text| values::duration(text, unit))
    }

    /// A number of bytes; `unit` is that of a bare number. Negative numbers mean what the option says.
    ///
    /// # Errors: [`ConfError`], no size.
    pub fn size(&self, key: &str, unit: u64, default: i64) -> Result<i64, ConfError> {
        self.read(key, default, "a size like 4096, 128K, 10M or 1G", |text| values::size(text, unit))
    }

    /// An integer.
    ///
    /// # Errors: [`ConfError`], none.
    pub fn integer(&self, key: &str, default: i64) -> Result<i64, ConfError> {
        self.read(key, default, "an integer", values::integer)
    }

    /// The words of a value; empty when the key is not set.
    pub fn list(&self, key: &str) -> Vec<&str> {
        self.text(key).map(|text| text.split_ascii_whitespace().collect()).unwrap_or_default()
    }

    /// One of several words; `yes`, `true`, `t`, `1` are `on`, and their opposites `off`.
    ///
    /// # Errors: [`ConfError`], another word.
    pub fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)], default: T) -> Result<T, ConfError> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        self.read(key, default, &words.join(", "), |text| {
            let text = match text {
                "1" | "yes" | "t" | "true" => "on",
                "0" | "no" | "f" | "false" => "off",
                other => other,
            };
            choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
        })
    }

    fn read<T>(
        &self,
        key: &str,
        default: T,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ConfError> {
        let Some(value) = self.value(key) else { return Ok(default) };
        parse(&value.text).ok_or_else(|| {
            value.error(format!("bad value for {key}: expected {expected}, got {}", value.shown()))
        })
    }
}
