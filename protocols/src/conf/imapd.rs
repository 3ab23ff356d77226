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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn load(files: &[(&str, &str)]) -> Result<Imapd, ConfError> {
        Imapd::load("imapd.conf", |path| {
            let found = files.iter().find(|(name, _)| *name == path);
            found.map(|(_, text)| (*text).to_owned()).ok_or("no such file")
        })
    }

    fn one(text: &str) -> Result<Imapd, ConfError> {
        load(&[("imapd.conf", text)])
    }

    fn error(text: &str) -> String {
        one(text).unwrap_err().to_string()
    }

    #[test]
    fn lines_are_keys_and_values_with_their_place() {
        let conf = one("# comment\n\n  Admins: cyrus  root \nallowplaintext:yes\r\n").unwrap();
        assert_eq!(conf.text("admins"), Some("cyrus  root"));
        assert_eq!(conf.list("admins"), ["cyrus", "root"]);
        assert_eq!(conf.value("admins").map(|value| value.line), Some(3));
        assert_eq!(conf.switch("allowplaintext", false), Ok(true));
        assert_eq!(conf.switch("altnamespace", true), Ok(true));
        assert_eq!(conf.list("serverlist"), [""; 0]);
    }

    /// What Cyrus 3.6.1 makes of it: `admins: a b`.
    #[test]
    fn backslash_goes_on_in_the_next_line() {
        let conf = one("admins: a\\\n b\nservername: x\nproxy_authname: y\\").unwrap();
        assert_eq!(conf.text("admins"), Some("a b"));
        assert_eq!(conf.value("admins").map(|value| value.line), Some(1));
        assert_eq!(conf.value("servername").map(|value| value.line), Some(3));
        assert_eq!(conf.text("proxy_authname"), Some("y"));
        assert_eq!(one("# a \\\nadmins: b\n").unwrap().text("admins"), None);
        assert_eq!(one("admins: a # b\n").unwrap().text("admins"), Some("a # b"));
    }

    #[test]
    fn lines_that_end_cyrus_are_errors_with_file_and_line() {
        assert_eq!(
            error("a: b\nadmins x\n"),
            "imapd.conf:2: invalid option name: expected letters, digits, - and _, then a colon"
        );
        assert!(error("admins : x").starts_with("imapd.conf:1: invalid option name"));
        assert_eq!(error("admins:\n"), "imapd.conf:1: option admins without a value");
        assert_eq!(error("@exclude: x"), "imapd.conf:1: unknown directive @exclude: expected @include");
        assert!(error(": x").contains("invalid option name"));
    }

    #[test]
    fn key_that_stands_twice_is_an_error_known_or_not() {
        assert_eq!(
            error("admins: a\nAdmins: b\n"),
            "imapd.conf:2: option admins specified twice: first at imapd.conf:1"
        );
        assert!(error("foo: a\nfoo: b\n").contains("specified twice"));
        assert!(error("imap_admins: a\nimap_admins: b\n").contains("specified twice"));
        assert!(one("admins: a\nimap_admins: b\n").is_ok());
    }

    #[test]
    fn included_file_stands_in_the_place_of_its_line() {
        let files = [
            ("imapd.conf", "servername: a\n@include: /etc/more\nadmins: b\n"),
            ("/etc/more", "proxy_authname: p\nbad: value\n"),
        ];
        let conf = load(&files).unwrap();
        let keys: Vec<_> = conf.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["servername", "proxy_authname", "bad", "admins"]);
        let place = conf.value("bad").map(|value| (value.file.as_str(), value.line));
        assert_eq!(place, Some(("/etc/more", 2)));
    }

    #[test]
    fn include_loops_and_depths_end() {
        let twice = load(&[("imapd.conf", "@include: b"), ("b", "@include: imapd.conf")]).unwrap_err();
        assert_eq!(twice.to_string(), "b:1: configuration file imapd.conf included twice");
        let missing = one("\n@include: nowhere").unwrap_err();
        assert_eq!(missing.to_string(), "imapd.conf:2: cannot read nowhere: no such file");
        let mut depth = 0;
        let deep = Imapd::load("f", |_| {
            depth += 1;
            Ok::<_, &str>(format!("@include: f{depth}"))
        });
        assert!(deep.unwrap_err().to_string().contains("too many @include"));
        assert_eq!(depth, INCLUDE_DEPTH_MAX + 1);
        let huge = one(&"a".repeat(FILE_BYTES_MAX + 1)).unwrap_err();
        assert!(huge.to_string().contains("file too large"));
    }

    #[test]
    fn service_sees_its_own_value_first() {
        let conf = one("admins: a\nlmtp_admins: b\n").unwrap();
        assert_eq!(conf.text("admins"), Some("a"));
        assert_eq!(conf.for_service("lmtp").text("admins"), Some("b"));
        assert_eq!(conf.for_service("LMTP").text("admins"), Some("b"));
        assert_eq!(conf.for_service("imap").text("admins"), Some("a"));
    }

    /// `tls_key_file: /x` gives Cyrus 3.6.1 `tls_server_key: /x`.
    #[test]
    fn older_name_gives_the_value_unless_the_newer_is_set() {
        let conf = one("tls_key_file: /old\n").unwrap();
        assert_eq!(conf.text("tls_server_key"), Some("/old"));
        let both = one("tls_key_file: /old\ntls_server_key: /new\n").unwrap();
        assert_eq!(both.text("tls_server_key"), Some("/new"));
    }

    #[test]
    fn typed_values_say_what_was_expected() {
        let conf =
            one("timeout: soon\nmaxmessagesize: big\nvirtdomains: maybe\nfoo: 1\nallowplaintext: si\n")
                .unwrap();
        let text = |error: ConfError| error.to_string();
        let duration = conf.duration("timeout", DurationUnit::Minutes, Duration::ZERO).map_err(text);
        assert_eq!(
            duration,
            Err("imapd.conf:1: bad value for timeout: expected a duration like 10s, 5m, 1h30m or 2d, got soon".into())
        );
        assert!(conf.size("maxmessagesize", 1, 0).is_err());
        assert!(conf.switch("allowplaintext", false).is_err());
        let choice = conf.choice("virtdomains", &[("off", 0), ("on", 1)], 0).map_err(text);
        assert_eq!(
            choice,
            Err("imapd.conf:3: bad value for virtdomains: expected off, on, got maybe".into())
        );
        assert_eq!(conf.integer("foo", 0), Ok(1));
        assert_eq!(
            one("virtdomains: true").unwrap().choice("virtdomains", &[("off", 0), ("on", 1)], 0),
            Ok(1)
        );
    }

    #[test]
    fn secrets_are_shown_nowhere() {
        let conf = one("proxy_password: hunter2\nbackend1_password: hunter2\nsql_passwd: hunter2\nsrs_secrets: hunter2\n").unwrap();
        assert!(!format!("{conf:?}").contains("hunter2"));
        assert_eq!(conf.text("proxy_password"), Some("hunter2"));
        assert!(!conf.integer("proxy_password", 0).unwrap_err().to_string().contains("hunter2"));
        let lines = parse("proxy_password: hunter2", "f").unwrap();
        assert!(!format!("{lines:?}").contains("hunter2"));
        assert!(!error("proxy_password: hunter2\nproxy_password: hunter2").contains("hunter2"));
        assert!(!error("proxy password: hunter2").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn hostile_text_does_no_harm(text in "[a:@#\\\\ \n\r\t_=\\PC]{0,40}") {
            if let Ok(conf) = one(&text) {
                for (key, _) in conf.iter() {
                    prop_assert!(conf.value(key).is_some());
                }
            }
        }
    }
}
