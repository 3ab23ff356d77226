//! `cyrus.conf`: sections of entries, an entry a line.
//!
//! ```text
//! SERVICES {
//!   imap  cmd="imapd" listen="imap" prefork=0
//! }
//! ```
//! `#` begins a comment anywhere on a line, also between quotes, as Cyrus reads it.

use super::{ConfError, FILE_BYTES_MAX, values};

/// Arguments of one entry (Cyrus: `MAXARGS`).
pub const ARGUMENTS_MAX: usize = 64;
/// Entries of one file.
pub const ENTRIES_MAX: usize = 10_000;

/// All that Cyrus' master would start.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CyrusConf {
    /// `START`: run once, before the services.
    pub start: Vec<Entry>,
    /// `SERVICES`: listeners.
    pub services: Vec<Entry>,
    /// `EVENTS`: run from time to time.
    pub events: Vec<Entry>,
    /// `DAEMON`: kept running.
    pub daemon: Vec<Entry>,
}

/// One line of a section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The name at its beginning.
    pub name: String,
    /// The line, from 1.
    pub line: usize,
    /// The file as it was named.
    pub file: String,
    /// `key=value` in their order.
    pub arguments: Vec<(String, String)>,
}

impl Entry {
    /// The first value of a key.
    pub fn argument(&self, key: &str) -> Option<&str> {
        self.arguments.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// A number, if the key is set.
    ///
    /// # Errors: [`ConfError`], no number.
    pub fn integer(&self, key: &str) -> Result<Option<i64>, ConfError> {
        let Some(text) = self.argument(key) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| self.error(format!("bad {key}: expected a number, got {text}")))
    }

    /// A switch, if the key is set.
    ///
    /// # Errors: [`ConfError`], no switch.
    pub fn switch(&self, key: &str) -> Result<Option<bool>, ConfError> {
        let Some(text) = self.argument(key) else { return Ok(None) };
        let value = values::switch(text);
        value.map(Some).ok_or_else(|| self.error(format!("bad {key}: expected y or n, got {text}")))
    }

    /// The basename of the program of `cmd` and its arguments; `None` without `cmd`.
    pub fn program(&self) -> Option<(&str, Vec<&str>)> {
        let mut words = self.argument("cmd")?.split_ascii_whitespace();
        let path = words.next()?;
        let basename = path.rsplit('/').next().unwrap_or(path);
        Some((basename, words.collect()))
    }

    /// An error at this entry.
    pub fn error(&self, what: impl Into<String>) -> ConfError {
        ConfError::new(&self.file, self.line, format!("{}: {}", self.name, what.into()))
    }
}

/// Reads a `cyrus.conf`. Sections may stand in any order and more than once; their names are read in
/// any case.
///
/// # Errors: [`ConfError`] where Cyrus' master refuses to start, and for what it would pass over: an
/// unknown section, an unclosed one, text outside.
pub fn parse(text: &str, file: &str) -> Result<CyrusConf, ConfError> {
    if text.len() > FILE_BYTES_MAX {
        let what = format!("file too large: {} bytes, limit {FILE_BYTES_MAX}", text.len());
        return Err(ConfError::new(file, 0, what));
    }
    let mut conf = CyrusConf::default();
    let mut open: Option<(Section, usize)> = None;
    let mut count = 0;
    for (at, raw) in text.lines().enumerate() {
        let number = at + 1;
        let line = raw.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let Some((section, _)) = open else {
            open = Some((Section::open(line, file, number)?, number));
            continue;
        };
        if line.starts_with('}') {
            open = None;
            continue;
        }
        count += 1;
        if count > ENTRIES_MAX {
            return Err(ConfError::new(file, number, format!("too many entries: limit {ENTRIES_MAX}")));
        }
        let (entry, is_last) = entry(line, file, number)?;
        section.entries(&mut conf).push(entry);
        if is_last {
            open = None;
        }
    }
    match open {
        None => Ok(conf),
        Some((section, line)) => {
            Err(ConfError::new(file, line, format!("section {} is not closed: expected }}", section.name())))
        }
    }
}

#[derive(Clone, Copy)]
enum Section {
    Start,
    Services,
    Events,
    Daemon,
}

impl Section {
    const ALL: [Section; 4] = [Section::Start, Section::Services, Section::Events, Section::Daemon];

    fn name(self) -> &'static str {
        match self {
            Section::Start => "START",
            Section::Services => "SERVICES",
            Section::Events => "EVENTS",
            Section::Daemon => "DAEMON",
        }
    }

    /// `NAME {`.
    fn open(line: &str, file: &str, number: usize) -> Result<Section, ConfError> {
        let expected = "expected START, SERVICES, EVENTS or DAEMON and {";
        let word: &str = line.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        let rest = line[word.len()..].trim();
        let known = Section::ALL.into_iter().find(|section| section.name().eq_ignore_ascii_case(word));
        match known {
            Some(section) if rest == "{" => Ok(section),
            Some(_) => Err(ConfError::new(file, number, format!("bad section {word}: {expected}"))),
            None => Err(ConfError::new(file, number, format!("no such section: {expected}"))),
        }
    }

    fn entries(self, conf: &mut CyrusConf) -> &mut Vec<Entry> {
        match self {
            Section::Start => &mut conf.start,
            Section::Services => &mut conf.services,
            Section::Events => &mut conf.events,
            Section::Daemon => &mut conf.daemon,
        }
    }
}

/// `name *(WSP key=value) [}]`. Also says whether the section ends behind it.
fn entry(line: &str, file: &str, number: usize) -> Result<(Entry, bool), ConfError> {
    let name_length = line.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let (name, mut rest) = line.split_at(name_length);
    if name.is_empty() || rest.starts_with(|first: char| !first.is_ascii_whitespace()) {
        return Err(ConfError::new(file, number, "bad entry name: expected letters and digits"));
    }
    let mut entry = Entry { name: name.into(), line: number, file: file.into(), arguments: Vec::new() };
    loop {
        rest = rest.trim_start();
        if rest.is_empty() || rest == "}" {
            return Ok((entry, rest == "}"));
        }
        let (argument, behind) = argument(rest).map_err(|what| entry.error(what))?;
        if entry.arguments.len() == ARGUMENTS_MAX {
            return Err(entry.error(format!("too many arguments: limit {ARGUMENTS_MAX}")));
        }
        entry.arguments.push(argument);
        rest = behind;
    }
}

type Argument = (String, String);

/// `key="value"` or `key=word`, and what is behind.
fn argument(text: &str) -> Result<(Argument, &str), &'static str> {
    let key_length = text.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let (key, rest) = text.split_at(key_length);
    let value = rest.strip_prefix('=').ok_or("bad character in argument: expected key=value")?;
    if key.is_empty() {
        return Err("argument without a key: expected key=value");
    }
    if let Some(quoted) = value.strip_prefix('"') {
        let (inside, behind) = quoted.split_once('"').ok_or("missing closing quote")?;
        return Ok(((key.into(), inside.into()), behind));
    }
    let end = value.find(|c: char| c.is_ascii_whitespace()).unwrap_or(value.len());
    Ok(((key.into(), value[..end].into()), &value[end..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> String {
        parse(text, "cyrus.conf").unwrap_err().to_string()
    }

    #[test]
    fn entries_stand_in_their_sections() {
        let text = "# a frontend\nSTART {\n  recover cmd=\"ctl_cyrusdb -r\"\n}\n\nServices {\n\
            imaps cmd=\"/usr/lib/cyrus/bin/imapd -s -U 30\" listen=\"imaps\" prefork=0 # TLS\n\
            mupdate\tcmd=mupdate listen=3905 prefork=1 }\nEVENTS {\n}\n\
            DAEMON\n";
        let conf = parse(text.trim_end_matches("DAEMON\n"), "cyrus.conf").unwrap();
        assert_eq!(conf.start.len(), 1);
        assert_eq!(conf.events.len() + conf.daemon.len(), 0);
        let [imaps, mupdate] = &conf.services[..] else { panic!("two services") };
        assert_eq!((imaps.name.as_str(), imaps.line), ("imaps", 7));
        assert_eq!(imaps.program(), Some(("imapd", vec!["-s", "-U", "30"])));
        assert_eq!(imaps.argument("listen"), Some("imaps"));
        assert_eq!(imaps.integer("prefork"), Ok(Some(0)));
        assert_eq!(imaps.integer("maxchild"), Ok(None));
        assert_eq!(mupdate.program(), Some(("mupdate", vec![])));
        assert_eq!(mupdate.integer("listen"), Ok(Some(3905)));
    }

    #[test]
    fn mistakes_are_named_with_file_and_line() {
        assert_eq!(error("SERVICES {\n imap cmd=\"imapd\n}"), "cyrus.conf:2: imap: missing closing quote");
        assert_eq!(error("\nSERVICES {\n"), "cyrus.conf:2: section SERVICES is not closed: expected }");
        assert!(error("SERVERS {\n}").starts_with("cyrus.conf:1: no such section"));
        assert!(error("SERVICES\n{\n}").starts_with("cyrus.conf:1: bad section SERVICES"));
        assert!(error("SERVICES {\n imap-2 cmd=x\n}").contains("bad entry name"));
        assert!(error("SERVICES {\n imap cmd\n}").contains("expected key=value"));
        assert!(error("SERVICES {\n imap =x\n}").contains("argument without a key"));
        assert!(error("SERVICES {\n imap prefork=1}\n").contains("not closed"));
        let many = format!("START {{\n a {}\n}}", "k=v ".repeat(ARGUMENTS_MAX + 1));
        assert!(error(&many).contains("too many arguments"));
        assert!(error(&"#".repeat(FILE_BYTES_MAX + 1)).contains("file too large"));
    }

    #[test]
    fn values_of_entries_are_checked() {
        let conf = parse("SERVICES {\n imap prefork=few babysit=si\n}", "c").unwrap();
        let entry = &conf.services[0];
        assert_eq!(
            entry.integer("prefork").unwrap_err().to_string(),
            "c:2: imap: bad prefork: expected a number, got few"
        );
        assert!(entry.switch("babysit").is_err());
        assert_eq!(entry.switch("none"), Ok(None));
        assert_eq!(entry.program(), None);
    }

    /// Cyrus cuts a line at `#` wherever it stands.
    #[test]
    fn comment_begins_inside_quotes_too() {
        assert!(error("START {\n a cmd=\"x # y\"\n}").contains("missing closing quote"));
    }

    proptest! {
        #[test]
        fn hostile_text_does_no_harm(text in "(START|SERVICES|[{}#=\"a \n\t\\PC]){0,20}") {
            if let Ok(conf) = parse(&text, "c") {
                for entry in conf.start.iter().chain(&conf.services) {
                    let _ = entry.program();
                }
            }
        }
    }
}
