//! What a POP3 session is configured with. Option names in the comments are those of imapd.conf.

use std::time::Duration;

use crate::login::config::Common;

/// The configuration of all POP3 sessions of one service of a frontend.
#[derive(Clone, Debug)]
pub struct Config {
    /// What all protocols have.
    pub common: Common,
    /// `popsubfolders`: `user+folder` opens a folder.
    pub subfolders: bool,
    /// `popuseacl`: the right `r` is asked for.
    pub use_acl: bool,
    /// `poptimeout`: a client that says nothing for so long is sent away.
    pub timeout: Duration,
    /// A client that has not logged in after so long is sent away.
    pub login_timeout: Duration,
}

/// The least `poptimeout`: "such a timer MUST be of at least 10 minutes' duration" (RFC 1939 section 3).
pub const TIMEOUT_MIN: Duration = Duration::from_secs(10 * 60);

impl Default for Config {
    fn default() -> Config {
        Config {
            common: Common::default(),
            subfolders: false,
            use_acl: false,
            timeout: TIMEOUT_MIN,
            login_timeout: Duration::from_secs(3 * 60),
        }
    }
}
