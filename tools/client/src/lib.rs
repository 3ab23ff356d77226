//! Blocking connections to MUPDATE and IMAP servers, for the tools.
//!
//! Tools run on backends too, whose kernels may be old: plain sockets with deadlines, one connection
//! at a time. What bytes mean is decided in `protocols` and `mupdate`; here they are only moved.
//!
//! ```text
//!   imapd.conf ──conf──> Endpoint + login ──> Mupdate   FIND, LIST, changes one by one or pipelined
//!                                        └──> Imap      commands and their untagged responses
//!                                   Stream underneath   socket, TLS, deadlines, unread input
//! ```

pub mod conf;
mod deflate;
mod error;
mod imap;
mod mupdate;
mod stream;
mod tls;

pub use error::ClientError;
pub use imap::{Completion, Imap, ImapLogin};
pub use mupdate::{Answer, Change, Greeting, Located, Mupdate, MupdateLogin, Pipeline, Row};
pub use stream::{Endpoint, INPUT_BYTES_MAX, Stream};
pub use tls::{TlsSettings, Tolerated};

/// Octets that nobody can foretell.
///
/// # Errors
/// `System`: the system has none.
pub fn random<const N: usize>() -> Result<[u8; N], ClientError> {
    let mut octets = [0; N];
    aws_lc_rs::rand::fill(&mut octets).map_err(|_| ClientError::System { what: "no random bytes" })?;
    Ok(octets)
}

/// Derives what [`protocols::sasl::ClientStep::NeedSaltedPassword`] asks for; takes some ten milliseconds.
/// `None` when the iterations are none.
pub fn salted_password(
    hash: protocols::proxy::ScramHash,
    password: &protocols::secret::Secret,
    salt: &[u8],
    iterations: u32,
) -> Option<protocols::secret::Secret> {
    let iterations = std::num::NonZeroU32::new(iterations)?;
    Some(protocols::sasl::scram::salted_password(hash, password, salt, iterations))
}
