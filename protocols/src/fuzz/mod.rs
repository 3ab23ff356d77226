//! Bodies of the fuzz targets: each takes any bytes and panics when a property does not hold.
//!
//! `fuzz/` runs them under libFuzzer; `tests/corpora.rs` replays its corpora with a stable compiler.

mod conf;
mod front;
mod imap;
mod lmtp;
mod names;
mod postmap;
mod sasl;
mod wire;

pub use conf::conf;
pub use front::{pop3_session, sieve_session};
pub use imap::{backend_response, imap_grammar};
pub use lmtp::{lmtp_grammar, lmtp_message};
pub use names::names;
pub use postmap::postmap;
pub use sasl::sasl;
pub use wire::wire;

/// Bytes of an input that are looked at; each property costs a pass per split.
const INPUT_BYTES_MAX: usize = 2048;

/// The part of an input that is looked at.
fn bounded(input: &[u8]) -> &[u8] {
    &input[..input.len().min(INPUT_BYTES_MAX)]
}
