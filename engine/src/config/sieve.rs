//! The options of a ManageSieve service.

use protocols::conf::{ConfError, DurationUnit, Imapd};
use protocols::sieve::Config;
use protocols::sieve::config::TIMEOUT_MIN;

use super::{ProcessSecret, imap};

/// Reads the configuration of the ManageSieve sessions of one service; `imapd` is that service's view.
pub(crate) fn config(
    imapd: &Imapd,
    file: &str,
    tls_offered: bool,
    secret: &ProcessSecret,
) -> Result<Config, ConfError> {
    let default = Config::default();
    Ok(Config {
        common: imap::common(imapd, file, tls_offered, secret)?,
        referrals: imapd.switch("sieve_allowreferrals", default.referrals)?,
        timeout: imapd.duration("timeout", DurationUnit::Minutes, default.timeout)?.max(TIMEOUT_MIN),
        command_timeout: imapd.duration(
            "rookery_command_timeout",
            DurationUnit::Seconds,
            default.command_timeout,
        )?,
        ..default
    })
}
