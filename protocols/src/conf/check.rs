//! Judges the lines of an `imapd.conf` by what is known of options: unknown names, values of another kind, guards
//! that are lost.

use super::ConfError;
use super::imapd::{Imapd, Value};
use super::options::{self, Known, Standing};

/// One line of a configuration, judged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checked<'a> {
    /// The key as it stands.
    pub key: &'a str,
    /// Its value.
    pub value: &'a Value,
    /// What it is.
    pub verdict: Verdict,
}

/// What a key is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// An option.
    Known(&'static Known),
    /// None that anybody knows.
    Unknown {
        /// The known one whose name is nearest.
        nearest: Option<&'static str>,
    },
}

/// Judges every line of a configuration.
pub fn lines(conf: &Imapd) -> Vec<Checked<'_>> {
    let judge = |(key, value)| {
        let verdict = match options::find(key) {
            Some(option) => Verdict::Known(option),
            None => Verdict::Unknown { nearest: nearest(key) },
        };
        Checked { key, value, verdict }
    };
    conf.iter().map(judge).collect()
}

impl Checked<'_> {
    /// What an operator should be told at start: an option that nobody knows.
    pub fn warning(&self) -> Option<ConfError> {
        match self.verdict {
            Verdict::Known(_) => None,
            Verdict::Unknown { nearest: Some(name) } => {
                Some(self.value.error(format!("unknown option {}: did you mean {name}?", self.key)))
            }
            Verdict::Unknown { nearest: None } => {
                Some(self.value.error(format!("unknown option {}", self.key)))
            }
        }
    }

    /// What is wrong with the value; Cyrus refuses to start.
    pub fn problem(&self) -> Option<ConfError> {
        let Verdict::Known(option) = self.verdict else { return None };
        if option.kind.accepts(&self.value.text) {
            return None;
        }
        let (key, expected, got) = (self.key, option.kind.expected(), self.value.shown());
        Some(self.value.error(format!("bad value for {key}: expected {expected}, got {got}")))
    }

    /// Whether the line is to guard something and does not.
    pub fn is_guard_lost(&self) -> bool {
        matches!(self.verdict, Verdict::Known(Known { security: true, standing: Standing::Ignored, .. }))
    }
}

/// Letters that a mistyped name may be away from a known one.
const TYPOS_MAX: usize = 3;

/// The known option whose name is nearest to a key, if one is near.
fn nearest(key: &str) -> Option<&'static str> {
    let limit = TYPOS_MAX.min(key.len() / 3);
    let near = options::names().filter(|name| name.len().abs_diff(key.len()) <= limit);
    let best = near.map(|name| (distance(key.as_bytes(), name.as_bytes()), name)).min()?;
    (best.0 <= limit).then_some(best.1)
}

/// Insertions, deletions and replacements that make one name the other.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Vec<String> {
        let conf = Imapd::load("f", |_| Ok::<_, &str>(text.to_owned())).unwrap();
        let lines = lines(&conf);
        let warnings = lines.iter().filter_map(Checked::warning);
        warnings.chain(lines.iter().filter_map(Checked::problem)).map(|error| error.to_string()).collect()
    }

    #[test]
    fn unknown_option_is_told_with_the_nearest_name() {
        assert_eq!(
            checked("allowplaintxt: no"),
            ["f:1: unknown option allowplaintxt: did you mean allowplaintext?"]
        );
        assert_eq!(
            checked("\nrookery_shard: 2"),
            ["f:2: unknown option rookery_shard: did you mean rookery_shards?"]
        );
        assert_eq!(checked("nothing_like_it: 1"), ["f:1: unknown option nothing_like_it"]);
        assert_eq!(checked("backend1_password: x\npartition-a: /b\nimap_admins: x"), [""; 0]);
    }

    #[test]
    fn value_of_the_wrong_kind_is_a_problem() {
        assert_eq!(
            checked("virtdomains: maybe"),
            ["f:1: bad value for virtdomains: expected one of off, userid, on, got maybe"]
        );
        assert_eq!(
            checked("virtdomains: yes\nmaxmessagesize: 10M\ntimeout: 1h30\nhttpmodules: caldav carddav"),
            [""; 0]
        );
        assert_eq!(checked("imap_allowplaintext: si").len(), 1);
        assert_eq!(checked("httpmodules: caldav nosuch").len(), 1);
    }

    #[test]
    fn lost_guards_are_found() {
        let conf =
            Imapd::load("f", |_| Ok::<_, &str>("httpallowcors: x\nadmins: a\naps_topic: b\n".to_owned()))
                .unwrap();
        let lost: Vec<_> =
            lines(&conf).iter().filter(|line| line.is_guard_lost()).map(|line| line.key.to_owned()).collect();
        assert_eq!(lost, ["httpallowcors"]);
    }

    #[test]
    fn distance_counts_letters() {
        assert_eq!(distance(b"abc", b"abc"), 0);
        assert_eq!(distance(b"abc", b"axc"), 1);
        assert_eq!(distance(b"abc", b"ab"), 1);
        assert_eq!(distance(b"", b"abc"), 3);
    }
}
