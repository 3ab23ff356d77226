//! What commands are answered that do not go through, in Cyrus' words where it has any; which answers of servers say
//! that a mailbox is elsewhere, and what a client is told while he waits for one.

use std::time::Duration;

use super::config::Config;
use super::grammar::{Response, code, response};
use super::text::push;

/// The mailbox is not there, or not for this user.
pub(super) const ABSENT: &[u8] = b"NO Mailbox does not exist";
/// A server that is needed cannot be reached.
pub(super) const UNREACHABLE: &[u8] = b"NO [UNAVAILABLE] Server(s) unavailable to complete operation";
/// A command was sent whose fate is unknown.
pub(super) const MAY_BE_DONE: &[u8] =
    b"NO [UNAVAILABLE] connection to the server was lost; the command may have been done";
/// Its server says that it is elsewhere, and the list that it is there.
pub(super) const BEING_MOVED: &[u8] = b"NO [UNAVAILABLE] mailbox is being moved";
/// Somebody is about to make it, or it moves.
pub(super) const RESERVED: &[u8] = b"NO [UNAVAILABLE] Mailbox is currently reserved";
/// The right is missing.
pub(super) const DENIED: &[u8] = b"NO Permission denied";
/// What was typed names no mailbox.
pub(super) const INVALID_NAME: &[u8] = b"NO Invalid mailbox name";
/// The command is about messages, and no mailbox is selected.
pub(super) const SELECT_FIRST: &[u8] = b"BAD Please select a mailbox first";
/// A command names messages by numbers that its client gave up (RFC 9586 section 3.1).
pub(super) const UID_REQUIRED: &[u8] =
    b"BAD [UIDREQUIRED] Message numbers are not allowed once UIDONLY is enabled";
/// The list cannot tell, or the mailbox is on its way.
pub(super) const UNAVAILABLE: &[u8] = b"NO [UNAVAILABLE] mailbox temporarily unavailable";
/// Nothing is known of the list.
pub(super) const UNKNOWN: &[u8] = b"NO [UNAVAILABLE] mailbox list temporarily unavailable";

/// What a client is told who waits.
pub(super) const BEING_MOVED_WAIT: &[u8] = b"Mailbox is being moved to another server; wait";

/// The capability of telling so with a code of its own.
pub(super) const INPROGRESS: &str = "INPROGRESS";

/// How often he is told, and how long a server may be silent before the list is asked why. Clients wait for a
/// minute at least.
pub(super) const WAITING_TOLD_EVERY: Duration = Duration::from_secs(15);

/// Whether a NO says that the mailbox is elsewhere, or not there.
pub(super) fn is_elsewhere(text: &[u8]) -> bool {
    if let Some((name, _)) = code(text) {
        let codes: [&[u8]; 3] = [b"NONEXISTENT", b"REFERRAL", b"TRYCREATE"];
        if codes.iter().any(|code| code.eq_ignore_ascii_case(name)) {
            return true;
        }
    }
    text.starts_with(b"Mailbox does not exist") || text.starts_with(b"Mailbox has been moved")
}

/// Whether a server refers to another one.
pub(super) fn is_referral(text: &[u8]) -> bool {
    code(text).is_some_and(|(name, _)| name.eq_ignore_ascii_case(b"REFERRAL"))
}

/// The tagged line of a server that knows no such mailbox, for the client. Where the mailbox is instead is
/// our business; referrals are for clients that ask, and made here.
pub(super) fn not_there(tag: &[u8], held: &[u8], out: &mut Vec<u8>) {
    match response(held) {
        Response::Tagged { text, .. } if is_referral(text) => {
            push(out, &[tag, b" ", BEING_MOVED, b"\r\n"]);
        }
        Response::Tagged { .. }
        | Response::Untagged { .. }
        | Response::Continuation { .. }
        | Response::Invalid => out.extend_from_slice(held),
    }
}

/// A line that says that a command is under way (RFC 9585 section 4), which may come at any time before its result;
/// `tag` is empty where it is not known which. "If the tag is not available or if it contains the \"]\" character,
/// it MUST be set to NIL."
///
/// ```text
/// resp-text-code =/ "INPROGRESS" [SP "(" inprogress-tag SP inprogress-state ")"]
/// inprogress-tag = quoted / nil
/// ```
pub(super) fn in_progress(config: &Config, tag: &[u8], text: &[u8]) -> Vec<u8> {
    let mut line = b"* OK ".to_vec();
    if !config.capabilities.suppressed.iter().any(|name| **name == *INPROGRESS) {
        push(&mut line, &[b"[", INPROGRESS.as_bytes()]);
        if !tag.is_empty() && !tag.contains(&b']') {
            // A tag has no quote and no backslash (RFC 9051 section 9).
            push(&mut line, &[b" (\"", tag, b"\" NIL NIL)"]);
        }
        line.extend_from_slice(b"] ");
    }
    push(&mut line, &[text, b"\r\n"]);
    line
}
