//! The options of a POP3 service.

use protocols::conf::{ConfError, DurationUnit, Imapd};
use protocols::pop3::Config;
use protocols::pop3::config::TIMEOUT_MIN;

use super::{ProcessSecret, imap};

/// Reads the configuration of the POP3 sessions of one service; `imapd` is that service's view.
pub(crate) fn config(
    imapd: &Imapd,
    file: &str,
    tls_offered: bool,
    secret: &ProcessSecret,
) -> Result<Config, ConfError> {
    let default = Config::default();
    Ok(Config {
        common: imap::common(imapd, file, tls_offered, secret)?,
        subfolders: imapd.switch("popsubfolders", default.subfolders)?,
        use_acl: imapd.switch("popuseacl", default.use_acl)?,
        timeout: imapd.duration("poptimeout", DurationUnit::Minutes, default.timeout)?.max(TIMEOUT_MIN),
        ..default
    })
}
