//! What a load is: read from a TOML file.
//!
//! ```toml
//! name = "imap mixed"
//! analysis = "What this shows, for the report."
//! protocol = "imap"              # imap, pop3, lmtp, sieve, mupdate
//! connections = 100
//!
//! [users]
//! name = "u{n}"
//! password = "password"
//! count = 1000
//!
//! [[operation]]
//! name = "fetch"
//! weight = 3
//! lines = ["FETCH {1..64} (BODY.PEEK[])"]
//! ```
//!
//! `[beside]` with `connections`, `before` and `[[beside.operation]]` makes others do as much as they can at the
//! same time.
//!
//! A scenario without operations makes sessions: each is one operation, from the connection to its end.

mod built_in;
mod template;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

pub use built_in::{BUILT_IN, find};
pub use template::{Context as Person, Random, Template};

/// Connections of one run.
const CONNECTIONS_MAX: usize = 1_000_000;
/// Commands of one connection that may be unanswered.
const PIPELINE_MAX: usize = 64;

/// What both ends speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// IMAP4rev1.
    Imap,
    /// POP3.
    Pop3,
    /// LMTP.
    Lmtp,
    /// ManageSieve.
    Sieve,
    /// MUPDATE.
    Mupdate,
}

/// How a connection is secured.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// Not at all.
    #[default]
    None,
    /// TLS from the first byte.
    Tls,
    /// TLS after the protocol's own command.
    Starttls,
}

/// How a session logs in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Login {
    /// LOGIN, or USER and PASS; SASL PLAIN where the protocol has no such command.
    Command,
    /// SASL PLAIN with its response in the command.
    Plain,
    /// Not at all, as LMTP among servers that trust each other.
    None,
}

/// Who logs in: connection k is user `first + k mod count`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Users {
    /// A pattern of `{n}`, or `{n:3}` for at least three digits.
    pub name: Template,
    /// A pattern of `{n}` and `{user}`.
    pub password: Template,
    /// The number of the first.
    pub first: usize,
    /// How many.
    pub count: usize,
}

impl Default for Users {
    fn default() -> Users {
        let (name, password) = (Template::of("u{n}"), Template::of("password"));
        Users { name, password, first: 0, count: 1000 }
    }
}

/// One thing that a session does again and again.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// As reports call it.
    pub name: String,
    /// How often beside the others.
    #[serde(default = "one")]
    pub weight: u32,
    /// Its commands, each answered before the next unless `pipeline` says more.
    pub lines: Vec<Template>,
}

/// Others who do as much as they can at the same time, on connections of their own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beside {
    /// How many connections.
    pub connections: usize,
    /// Commands after the login.
    #[serde(default)]
    pub before: Vec<Template>,
    /// What is done.
    pub operation: Vec<Operation>,
}

/// A load.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// As reports call it.
    pub name: String,
    /// What it measures and how its figures are read.
    pub analysis: String,
    /// What is spoken.
    pub protocol: Protocol,
    /// How connections are secured.
    #[serde(default)]
    pub security: Security,
    /// How many at once.
    #[serde(default = "one_hundred")]
    pub connections: usize,
    /// Commands of one connection that may be unanswered.
    #[serde(default = "one_usize")]
    pub pipeline: usize,
    /// Operations a second, begun on time whatever the server does; without it, each begins when the one
    /// before is answered.
    pub rate: Option<f64>,
    /// Seconds that are counted.
    #[serde(default = "ten")]
    pub seconds: f64,
    /// Seconds before.
    #[serde(default = "two")]
    pub warm_up: f64,
    /// Who logs in.
    #[serde(default)]
    pub users: Users,
    /// How; by a command if the file does not say, in LMTP not at all.
    pub login: Option<Login>,
    /// Commands after the login.
    #[serde(default)]
    pub before: Vec<Template>,
    /// Commands at the end of a session.
    #[serde(default)]
    pub after: Vec<Template>,
    /// After `before` a session stays as it is: what is measured is memory.
    #[serde(default)]
    pub hold: bool,
    /// Operations after which a session ends and another begins; 0 is never.
    #[serde(default)]
    pub operations_per_session: u64,
    /// What is done; see the top.
    #[serde(default)]
    pub operation: Vec<Operation>,
    /// Who does something else at the same time; then all is measured twice, first without them.
    pub beside: Option<Beside>,
}

fn one() -> u32 {
    1
}

fn one_usize() -> usize {
    1
}

fn one_hundred() -> usize {
    100
}

fn ten() -> f64 {
    10.0
}

fn two() -> f64 {
    2.0
}

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or does not say what a load needs; the text names the line.
    pub fn read(path: &Path) -> Result<Scenario> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Scenario::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    /// Reads a text.
    ///
    /// # Errors
    /// As [`Scenario::read`].
    pub fn parse(text: &str) -> Result<Scenario> {
        let scenario: Scenario = toml::from_str(text)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Whether the sessions themselves are what is counted.
    pub fn counts_sessions(&self) -> bool {
        self.operation.is_empty() && !self.hold
    }

    /// How a session logs in.
    pub fn login(&self) -> Login {
        self.login.unwrap_or(match self.protocol {
            Protocol::Lmtp => Login::None,
            Protocol::Imap | Protocol::Pop3 | Protocol::Sieve | Protocol::Mupdate => Login::Command,
        })
    }

    /// What the grammar of the file does not say.
    ///
    /// # Errors
    /// A number is out of its range, or two settings contradict each other.
    pub fn check(&self) -> Result<()> {
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            bail!("connections: {}, expected 1 to {CONNECTIONS_MAX}", self.connections);
        }
        if !(1..=PIPELINE_MAX).contains(&self.pipeline) {
            bail!("pipeline: {}, expected 1 to {PIPELINE_MAX}", self.pipeline);
        }
        if self.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
            bail!("rate: expected operations a second, above 0");
        }
        if !(self.seconds > 0.0
            && self.seconds.is_finite()
            && self.warm_up >= 0.0
            && self.warm_up.is_finite())
        {
            bail!("seconds: expected a time above 0, and warm_up one of at least 0");
        }
        if self.users.count == 0 {
            bail!("users.count: expected at least 1");
        }
        if self.hold && !self.operation.is_empty() {
            bail!("hold: a session that is held does no operations");
        }
        if let Some(beside) = &self.beside {
            if !(1..=CONNECTIONS_MAX).contains(&beside.connections) {
                bail!("beside.connections: {}, expected 1 to {CONNECTIONS_MAX}", beside.connections);
            }
            if self.operation.is_empty() || beside.operation.is_empty() {
                bail!("beside: expected operations here and there");
            }
        }
        let operations =
            || self.operation.iter().chain(self.beside.iter().flat_map(|beside| &beside.operation));
        if operations().any(|operation| operation.lines.is_empty() || operation.weight == 0) {
            bail!("operation: expected lines, and a weight above 0");
        }
        let names = [&self.users.name, &self.users.password];
        if names.iter().any(|template| template.payload_bytes().is_some()) {
            bail!("users: names and passwords have no {{data}}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "name = \"x\"\nanalysis = \"y\"\nprotocol = \"imap\"\n";

    #[test]
    fn defaults_make_sessions() {
        let scenario = Scenario::parse(SMALL).unwrap();
        assert!(scenario.counts_sessions());
        assert_eq!((scenario.connections, scenario.pipeline), (100, 1));
        assert_eq!(scenario.login(), Login::Command);
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let wrong = [
            ("conections = 3\n", "line 4"),
            ("[[operation]]\nname = \"a\"\nlines = [\"FETCH {1..} x\"]\n", "line 6"),
            ("pipeline = 65\n", "pipeline: 65, expected 1 to 64"),
            ("rate = 0\n", "rate"),
            ("hold = true\n[[operation]]\nname = \"a\"\nlines = [\"NOOP\"]\n", "hold"),
            ("[[operation]]\nname = \"a\"\nlines = []\n", "operation"),
            ("[beside]\nconnections = 1\noperation = []\n", "beside: expected operations"),
            ("[beside]\nconnections = 0\noperation = []\n", "beside.connections: 0"),
        ];
        for (text, expected) in wrong {
            let error = Scenario::parse(&(SMALL.to_owned() + text)).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{text}: {error:#}");
        }
    }
}
