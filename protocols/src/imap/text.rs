//! How commands and answers are written.

use crate::wire::LiteralStyle;
use crate::wire::quote::{astring_out_as, string_out};

/// Appends parts.
pub(super) fn push(out: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// Appends a mailbox name as typed.
pub(super) fn name_out(out: &mut Vec<u8>, name: &[u8]) {
    string_out(out, name, LiteralStyle::NonSynchronising);
}

/// A mailbox name or identifier as it stands in a command.
pub(super) fn astring(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 2);
    astring_out_as(&mut out, bytes, LiteralStyle::NonSynchronising);
    out
}
