//! What becomes of every line of the two configuration files.

use std::fmt;

use protocols::conf::check::{self, Checked, Verdict};
use protocols::conf::options::{self, Standing};
use protocols::conf::{ConfError, CyrusConf, Imapd, cyrus};

use super::{Configuration, ProcessSecret, Reader};

/// What becomes of a line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fate {
    /// It does what it does with Cyrus.
    Honoured,
    /// It does something else, which the text says.
    Differs,
    /// It does nothing.
    Ignored,
    /// Nobody knows it.
    Unknown,
    /// Its value is wrong: the daemon does not start.
    Wrong,
}

impl Fate {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Fate::Honoured => "honoured",
            Fate::Differs => "differs",
            Fate::Ignored => "ignored",
            Fate::Unknown => "unknown",
            Fate::Wrong => "wrong",
        }
    }
}

/// One line, judged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reviewed {
    /// The file as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The option, or the section and name of an entry.
    pub what: String,
    /// What becomes of it.
    pub fate: Fate,
    /// Why, or what differs; empty when there is nothing to say.
    pub why: String,
    /// It guards security, and does not here.
    pub is_guard_lost: bool,
}

impl fmt::Display for Reviewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.what, self.fate.word())?;
        if self.is_guard_lost {
            f.write_str(", though it guards security")?;
        }
        if self.why.is_empty() { Ok(()) } else { write!(f, ": {}", self.why) }
    }
}

/// What becomes of two files.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Review {
    /// Every line that says something, in the order of the files.
    pub lines: Vec<Reviewed>,
    /// Why the daemon would not start.
    pub problem: Option<ConfError>,
}

impl Review {
    /// Whether a daemon may be started with these files: it would start, and passes over nothing that
    /// guards security.
    pub fn is_safe(&self) -> bool {
        self.problem.is_none() && !self.lines.iter().any(|line| line.is_guard_lost)
    }
}

/// Judges every line. What a broken file still says is judged too.
pub fn review(imapd_conf: &str, cyrus_conf: &str, read: &Reader<'_>, secret: &ProcessSecret) -> Review {
    let loaded = Configuration::load(imapd_conf, cyrus_conf, read, secret);
    let (notes, problem) = match loaded {
        Ok(configuration) => (configuration.notes, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let mut lines = Vec::new();
    if let Ok(imapd) = Imapd::load(imapd_conf, read) {
        lines.extend(check::lines(&imapd).iter().map(option));
    }
    if let Some(conf) = read(cyrus_conf).ok().and_then(|text| cyrus::parse(&text, cyrus_conf).ok()) {
        let notes: Vec<&str> = notes.iter().map(|(_, note)| &**note).collect();
        lines.extend(entries(&conf, &notes));
    }
    Review { lines, problem }
}

fn option(checked: &Checked<'_>) -> Reviewed {
    let (fate, why) = match checked.verdict {
        Verdict::Known(known) => standing(known.standing),
        Verdict::Unknown { nearest: Some(name) } => (Fate::Unknown, format!("did you mean {name}?")),
        Verdict::Unknown { nearest: None } => (Fate::Unknown, String::new()),
    };
    let (fate, why) = match checked.problem() {
        Some(problem) => (Fate::Wrong, problem.what),
        None => (fate, why),
    };
    Reviewed {
        file: checked.value.file.clone(),
        line: checked.value.line,
        what: checked.key.to_owned(),
        fate,
        why,
        is_guard_lost: checked.is_guard_lost(),
    }
}

fn standing(standing: Standing) -> (Fate, String) {
    match standing {
        Standing::Honoured => (Fate::Honoured, String::new()),
        Standing::Ignored => (Fate::Ignored, String::new()),
        Standing::Differs(how) => (Fate::Differs, how.to_owned()),
        Standing::Replaced(newer) => {
            let (fate, why) = match options::known(newer).map(|option| option.standing) {
                Some(Standing::Replaced(_)) | None => (Fate::Ignored, String::new()),
                Some(other @ (Standing::Honoured | Standing::Ignored | Standing::Differs(_))) => {
                    self::standing(other)
                }
            };
            let older = format!("an older name of {newer}");
            (fate, if why.is_empty() { older } else { format!("{older}: {why}") })
        }
    }
}

/// Arguments of a service that say how many processes Cyrus keeps for it.
const PROCESS_ARGUMENTS: [&str; 5] = ["prefork", "maxchild", "maxforkrate", "maxfds", "babysit"];

fn entries(conf: &CyrusConf, notes: &[&str]) -> Vec<Reviewed> {
    let sections = [("START", &conf.start), ("EVENTS", &conf.events), ("DAEMON", &conf.daemon)];
    let not_run = sections.into_iter().flat_map(|(section, entries)| {
        let judge = move |entry| judged(section, entry, notes, Fate::Ignored, NOT_RUN.to_owned());
        entries.iter().map(judge)
    });
    let served = conf.services.iter().map(|entry| {
        let passed = PROCESS_ARGUMENTS.into_iter().filter(|key| entry.argument(key).is_some());
        let passed: Vec<&str> = passed.collect();
        let why = match passed.is_empty() {
            true => String::new(),
            false => format!("{} without effect: there is one process", passed.join(", ")),
        };
        judged("SERVICES", entry, notes, Fate::Honoured, why)
    });
    let mut all: Vec<Reviewed> = not_run.chain(served).collect();
    all.sort_by_key(|line| line.line);
    all
}

const NOT_RUN: &str = "rookeryd runs no programs of Cyrus";

/// An entry with what the daemon would say of it at start.
fn judged(section: &str, entry: &cyrus::Entry, notes: &[&str], fate: Fate, why: String) -> Reviewed {
    let place = format!("{}:{}: {}: ", entry.file, entry.line, entry.name);
    let told = notes.iter().find_map(|note| note.strip_prefix(&place));
    let (fate, why) = match told {
        Some(note) => (Fate::Differs, note.to_owned()),
        None => (fate, why),
    };
    let what = format!("{section} {}", entry.name);
    Reviewed { file: entry.file.clone(), line: entry.line, what, fate, why, is_guard_lost: false }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const IMAPD: &str = "configdirectory: /var/lib/cyrus\nservername: frontend\nmupdate_server: mupdate\n\
        sasl_pwcheck_method: backend\nallowplaintext: yes\n";
    const CYRUS: &str = "START {\n recover cmd=\"ctl_cyrusdb -r\"\n}\nSERVICES {\n \
        imap cmd=\"imapd\" listen=\"127.0.0.1:143\" prefork=5\n smtp cmd=\"smtpd\" listen=\"127.0.0.1:25\"\n}\n";

    fn reviewed(imapd: &str, cyrus: &str) -> Review {
        let read = |path: &str| match path {
            "imapd.conf" => Ok(imapd.to_owned()),
            "cyrus.conf" => Ok(cyrus.to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        review("imapd.conf", "cyrus.conf", &read, &ProcessSecret::default())
    }

    fn line(review: &Review, what: &str) -> Reviewed {
        review.lines.iter().find(|line| line.what == what).cloned().unwrap()
    }

    #[test]
    fn every_line_of_both_files_is_judged() {
        let review =
            reviewed(&format!("{IMAPD}archive_days: 7\narchive_enabled: yes\nallowapop: no\n"), CYRUS);
        assert_eq!(review.problem, None);
        assert!(review.is_safe());
        assert_eq!(review.lines.len(), 8 + 3);
        assert_eq!(line(&review, "servername").fate, Fate::Honoured);
        assert_eq!(line(&review, "archive_enabled").fate, Fate::Ignored);
        assert_eq!(line(&review, "allowapop").fate, Fate::Differs);
        assert!(line(&review, "archive_days").why.contains("archive_after"));
        assert_eq!(line(&review, "START recover").fate, Fate::Ignored);
        let imap = line(&review, "SERVICES imap");
        assert_eq!((imap.fate, imap.line), (Fate::Honoured, 5));
        assert!(imap.why.contains("prefork"));
        assert_eq!(line(&review, "SERVICES smtp").fate, Fate::Differs);
    }

    #[test]
    fn a_guard_that_is_passed_over_is_not_safe() {
        let review = reviewed(&format!("{IMAPD}httpallowcors: x\n"), CYRUS);
        assert!(!review.is_safe());
        let text = line(&review, "httpallowcors").to_string();
        assert_eq!(text, "imapd.conf:6: httpallowcors: ignored, though it guards security");
    }

    #[test]
    fn what_would_not_start_is_told_with_the_lines_that_are_right() {
        let review = reviewed(&format!("{IMAPD}virtdomains: maybe\nnothing_like_it: 1\n"), CYRUS);
        assert!(review.problem.is_some() && !review.is_safe());
        assert_eq!(line(&review, "virtdomains").fate, Fate::Wrong);
        assert_eq!(line(&review, "nothing_like_it").fate, Fate::Unknown);
        assert_eq!(line(&review, "servername").fate, Fate::Honoured);
        assert!(reviewed(IMAPD, "SERVICES {").problem.is_some());
    }

    #[test]
    fn secrets_are_not_shown() {
        let review = reviewed(&format!("{IMAPD}mupdate_password: hunter2\n"), CYRUS);
        assert!(!review.lines.iter().any(|line| line.to_string().contains("hunter2")));
    }
}
