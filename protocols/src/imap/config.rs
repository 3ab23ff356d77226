//! What an IMAP session is configured with.

/// The configuration of all IMAP sessions of a frontend.
#[derive(Debug)]
pub struct Config {}
