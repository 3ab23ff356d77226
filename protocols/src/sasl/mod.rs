//! SASL mechanisms as machines: the server that faces users, the client that logs in to backends.
//!
//! Messages are given and taken decoded; [`base64_out`] and [`decode_base64`] are for the protocols
//! that carry them in base64. Nothing here knows passwords of users or derives keys: the machine says
//! what it needs ([`ServerStep::CheckPassword`], [`ServerStep::NeedScramKeys`],
//! [`ClientStep::NeedSaltedPassword`]) and goes on when it is told.
//!
//! ```text
//!   AUTHENTICATE ──> Server ──Challenge──> client ──response──> Server ──> Done | Failed | a question
//! ```

mod base64;
mod client;
mod mechanism;
mod prep;
pub mod scram;
mod server;

pub use base64::{base64_out, decode_base64, decode_initial};
pub use client::{Client, ClientStep, Credentials};
pub use mechanism::{Mechanism, choose};
pub use prep::{prepare_password, prepare_user};
pub use server::{Offer, Server, ServerStep};

/// Bytes of one decoded message. RFC 4616 has three strings of 255 octets; tokens used as passwords
/// are longer.
pub const MESSAGE_BYTES_MAX: usize = 4096;

/// Why an exchange ends without a verdict. Each is answered by `BAD` to a client; towards a backend it
/// is a failed login. No variant holds bytes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SaslError {
    /// The mechanism is unknown, or not offered.
    #[error("mechanism is not offered")]
    Mechanism,
    /// The peer's message is not base64.
    #[error("message is not base64")]
    Base64,
    /// The peer's message is not what the mechanism has at this point.
    #[error("malformed message: {what}")]
    Malformed {
        /// The part that is wrong.
        what: &'static str,
    },
    /// A message over [`MESSAGE_BYTES_MAX`].
    #[error("message too long: limit {MESSAGE_BYTES_MAX}")]
    TooLong,
    /// The peer demands channel binding, or says that it was offered.
    #[error("channel binding is not offered")]
    ChannelBinding,
    /// The server's iteration count is outside [`scram::ITERATIONS`].
    #[error("iteration count {got} out of bounds")]
    Iterations {
        /// What it said.
        got: u32,
    },
    /// The server does not know the password either.
    #[error("wrong signature of the server")]
    ServerSignature,
    /// The server refused inside the exchange (`e=`).
    #[error("refused by the server")]
    Refused,
    /// Our own user name or password cannot be prepared (RFC 4013), or is empty.
    #[error("user name or password cannot be used with this mechanism")]
    Credentials,
    /// The mechanism has no place for an authorization identity.
    #[error("mechanism cannot act for another user")]
    Authzid,
    /// A message when none was due.
    #[error("unexpected message")]
    Unexpected,
}
