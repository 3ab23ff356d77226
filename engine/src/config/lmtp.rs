//! The options of an LMTP service.

use std::sync::Arc;
use std::time::Duration;

use protocols::conf::{ConfError, DurationUnit, Imapd};
use protocols::lmtp::address::AddressPolicy;
use protocols::lmtp::config::{Config, Timeouts, Trust, Verify};

use super::{ProcessSecret, imap};

/// Reads the configuration of the LMTP sessions of one service; `imapd` is that service's view.
pub(crate) fn config(
    imapd: &Imapd,
    file: &str,
    trust: Trust,
    tls_offered: bool,
    secret: &ProcessSecret,
) -> Result<Config, ConfError> {
    let verify = [("backend", Verify::Backend), ("list", Verify::List)];
    let limit = imapd.size("maxmessagesize", 1, 0)?;
    Ok(Config {
        // `lmtp_admins` is `admins` of the service that is named lmtp.
        common: imap::common(imapd, file, tls_offered, secret)?,
        homes: match imapd.switch("autocreate_post", false)? {
            true => Some(Arc::new(imap::config(imapd, file, tls_offered, secret)?)),
            false => None,
        },
        address: AddressPolicy {
            downcase: imapd.switch("lmtp_downcase_rcpt", true)?,
            postuser: imapd.text("postuser").unwrap_or_default().as_bytes().into(),
            catchall: imapd.text("lmtp_catchall_mailbox").map(|user| user.as_bytes().into()),
            fuzzy: imapd.switch("lmtp_fuzzy_mailbox_match", false)?,
        },
        trust,
        soft_noauth: imapd.switch("soft_noauth", true)?,
        verify: imapd.choice("rookery_lmtp_verify", &verify, Verify::Backend)?,
        message_bytes_max: u64::try_from(limit).ok().filter(|bytes| *bytes > 0),
        timeouts: timeouts(imapd)?,
    })
}

fn timeouts(imapd: &Imapd) -> Result<Timeouts, ConfError> {
    use DurationUnit::Seconds;
    let default = Timeouts::default();
    let or = |duration: Duration, default| if duration.is_zero() { default } else { duration };
    Ok(Timeouts {
        client: default.client,
        envelope: or(
            imapd.duration("rookery_lmtp_envelope_timeout", Seconds, default.envelope)?,
            default.envelope,
        ),
        delivery: or(imapd.duration("lmtptxn_timeout", Seconds, default.delivery)?, default.delivery),
    })
}
