//! How the tool ends: its exit statuses, which `cron` and scripts rely on.

use std::fmt::Display;
use std::io;

use engine::control::AskError;
use protocols::conf::ConfError;

/// What a command found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// All is as it should be: 0.
    Fine,
    /// Something differs, or is not there: 1.
    Differences,
    /// Somebody could not be asked, so that nothing can be said: 75.
    Incomplete,
    /// The configuration passes over something that guards security: 78.
    Unguarded,
}

impl Outcome {
    /// The exit status.
    pub(crate) fn status(self) -> u8 {
        match self {
            Outcome::Fine => 0,
            Outcome::Differences => 1,
            Outcome::Incomplete => EX_TEMPFAIL,
            Outcome::Unguarded => EX_CONFIG,
        }
    }
}

/// Exit status: the command line is wrong.
pub(crate) const EX_USAGE: u8 = 64;
/// Exit status: a part of the program broke.
const EX_SOFTWARE: u8 = 70;
/// Exit status: a server could not be asked.
const EX_TEMPFAIL: u8 = 75;
/// Exit status: the configuration is wrong.
const EX_CONFIG: u8 = 78;

/// Why a command came to no end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A server or daemon could not be asked.
    CannotAsk(String),
    /// The daemon that was asked says no.
    Refused(String),
    /// A configuration file, or a value in it.
    Configuration(String),
    /// The command line asks for something that there is not.
    Usage(String),
    /// Nobody reads what is printed.
    NobodyReads,
    /// Anything else.
    Other(anyhow::Error),
}

impl Failure {
    /// The exit status.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Failure::CannotAsk(_) => EX_TEMPFAIL,
            Failure::Refused(_) => 1,
            Failure::Configuration(_) => EX_CONFIG,
            Failure::Usage(_) => EX_USAGE,
            Failure::NobodyReads => 0,
            Failure::Other(_) => EX_SOFTWARE,
        }
    }

    /// What is said on standard error.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Failure::CannotAsk(text)
            | Failure::Refused(text)
            | Failure::Configuration(text)
            | Failure::Usage(text) => Some(text.clone()),
            Failure::NobodyReads => None,
            Failure::Other(error) => Some(format!("{error:#}")),
        }
    }

    /// A server that could not be asked.
    pub(crate) fn cannot_ask(error: impl Display) -> Failure {
        Failure::CannotAsk(error.to_string())
    }
}

impl From<ConfError> for Failure {
    fn from(error: ConfError) -> Failure {
        Failure::Configuration(error.to_string())
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Failure {
        match error {
            AskError::Refused(why) => Failure::Refused(why),
            AskError::Io(_) | AskError::Answer(_) => Failure::CannotAsk(error.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Failure::NobodyReads
        } else {
            Failure::Other(error.into())
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::Other(error)
    }
}
