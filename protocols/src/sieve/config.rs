//! What a ManageSieve session is configured with. Option names in the comments are those of imapd.conf.

use std::time::Duration;

use crate::login::config::Common;

/// The configuration of all ManageSieve sessions of one service of a frontend.
#[derive(Clone, Debug)]
pub struct Config {
    /// What all protocols have.
    pub common: Common,
    /// `sieve_allowreferrals`: the client is told where his scripts are.
    pub referrals: bool,
    /// `timeout`: a logged-in client that says nothing for so long is sent away.
    pub timeout: Duration,
    /// A client that has not logged in after so long is sent away.
    pub login_timeout: Duration,
    /// `rookery_command_timeout`: how long a server may think about a command.
    pub command_timeout: Duration,
}

/// The least `timeout` (Cyrus' of ManageSieve).
pub const TIMEOUT_MIN: Duration = Duration::from_secs(10 * 60);

impl Default for Config {
    fn default() -> Config {
        Config {
            common: Common::default(),
            referrals: false,
            timeout: Duration::from_secs(32 * 60),
            login_timeout: Duration::from_secs(3 * 60),
            command_timeout: Duration::from_secs(120),
        }
    }
}
