//! GETMETADATA, SETMETADATA (RFC 5464), GETANNOTATION and SETANNOTATION: annotations are kept by the
//! servers of the mailboxes, and so these commands are theirs.
//!
//! ```text
//!  one mailbox ──────> its server, answer relayed (Routed)
//!  pattern, several ─> Gather: every server with a mailbox that matches gets the command once; what it
//!                      tells is relayed, what it refuses is told in the tagged answer
//!  "" (the server) ──> Global: the user's home; for who has none the first server of `serverlist`
//! ```
//! Deviates: a Cyrus frontend keeps server annotations of its own. This one keeps nothing: a user reads
//! and writes those of his home, where a session of his at the backend itself finds them too.

mod gather;
mod global;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::folder::on_mailbox;
use super::grammar::args::{AnnotationArgs, Depth, GetMetadataArgs, SetMetadataArgs};
use super::routed::Effect;
use super::task::Task;
use crate::imap::answers::ABSENT;
use crate::mailbox::{Identity, Namespace};
use crate::wire::quote::astring_out_as;
use crate::wire::{LiteralStyle, line, literal};

use gather::{Gather, GatherRequest};
use global::Global;

/// The server of a mailbox, which only a frontend knows.
const SERVER_ENTRY: &[u8] = b"/shared/vendor/cmu/cyrus-imapd/server";

/// Who asks, and how names look to him.
pub(super) struct Scope<'a> {
    pub(super) namespace: &'a Arc<Namespace>,
    pub(super) identity: &'a Arc<Identity>,
}

/// A task, or what the client is told at once.
type Begun = Result<Box<dyn Task>, &'static [u8]>;

/// GETMETADATA.
pub(super) fn get(args: &GetMetadataArgs<'_>, scope: &Scope<'_>) -> Begun {
    let mut options = Vec::new();
    if let Some(max) = args.max_size {
        options.push(format!("MAXSIZE {max}"));
    }
    match args.depth {
        Depth::Entry => {}
        Depth::Children => options.push("DEPTH 1".to_owned()),
        Depth::Infinity => options.push("DEPTH infinity".to_owned()),
    }
    let verb = match options.is_empty() {
        true => "GETMETADATA".to_owned(),
        false => format!("GETMETADATA ({})", options.join(" ")),
    };
    let (told, asked): (Vec<_>, Vec<_>) =
        args.entries.iter().partition(|entry| entry.eq_ignore_ascii_case(SERVER_ENTRY));
    let rest = if asked.is_empty() { Vec::new() } else { strings(&asked) };
    match (args.mailboxes.as_slice(), told.is_empty()) {
        ([mailbox], true) => one(verb.as_bytes(), mailbox, &rest, Effect::Reads, scope),
        ([mailbox], false) if mailbox.is_empty() => {
            one(verb.as_bytes(), b"", &strings(&args.entries), Effect::Reads, scope)
        }
        (mailboxes, is_told_nothing) => {
            let single = match mailboxes {
                [mailbox] if !is_pattern(mailbox) => Some(internal(mailbox, scope)?),
                _ => None,
            };
            let patterns = mailboxes.iter().map(|mailbox| mailbox.as_ref().into()).collect();
            let verb = verb.into_bytes();
            let request = GatherRequest { verb, patterns, rest, tells_server: !is_told_nothing, single };
            Ok(Box::new(Gather::new(request, scope)))
        }
    }
}

/// SETMETADATA. The mailbox is a name, never a pattern.
pub(super) fn set(args: &SetMetadataArgs<'_>, scope: &Scope<'_>) -> Begun {
    let rest = without_waiting(args.raw);
    if args.mailbox.is_empty() {
        return Ok(Box::new(Global::new(b"SETMETADATA", &rest, Effect::Writes)));
    }
    let name = internal(&args.mailbox, scope)?;
    Ok(on_mailbox(b"SETMETADATA", name, &args.mailbox, &[&rest], Effect::Writes))
}

/// GETANNOTATION or SETANNOTATION; `verb` says which.
pub(super) fn annotation(verb: &[u8], args: &AnnotationArgs<'_>, scope: &Scope<'_>) -> Begun {
    let effect = if verb.eq_ignore_ascii_case(b"GETANNOTATION") { Effect::Reads } else { Effect::Writes };
    one(verb, &args.mailbox, &without_waiting(args.rest), effect, scope)
}

/// A command about the server, a mailbox or a pattern.
fn one(verb: &[u8], mailbox: &[u8], rest: &[u8], effect: Effect, scope: &Scope<'_>) -> Begun {
    if mailbox.is_empty() {
        return Ok(Box::new(Global::new(verb, rest, effect)));
    }
    if is_pattern(mailbox) {
        let (verb, patterns, rest) = (verb.to_vec(), vec![mailbox.into()], rest.to_vec());
        let request = GatherRequest { verb, patterns, rest, tells_server: false, single: None };
        return Ok(Box::new(Gather::new(request, scope)));
    }
    let name = internal(mailbox, scope)?;
    Ok(on_mailbox(verb, name, mailbox, &[rest], effect))
}

fn is_pattern(mailbox: &[u8]) -> bool {
    mailbox.iter().any(|byte| matches!(byte, b'*' | b'%'))
}

fn internal(typed: &[u8], scope: &Scope<'_>) -> Result<Vec<u8>, &'static [u8]> {
    scope.namespace.internal(typed, scope.identity).map_err(|_| ABSENT)
}

/// `string`, or `(string string ...)`.
fn strings<T: AsRef<[u8]>>(strings: &[T]) -> Vec<u8> {
    let mut out = Vec::new();
    for (n, string) in strings.iter().enumerate() {
        out.extend_from_slice(if n == 0 { b"" } else { b" " });
        astring_out_as(&mut out, string.as_ref(), LiteralStyle::NonSynchronising);
    }
    if strings.len() == 1 { out } else { [b"(", out.as_slice(), b")"].concat() }
}

/// The arguments with every literal announced as `{n+}`: they are here as a whole, so nobody waits.
fn without_waiting(args: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(args.len() + 8);
    let mut rest = args;
    while let Ok(first) = line::first(rest, usize::MAX) {
        let (head, behind) = rest.split_at(first.len);
        let text = line::without_end(head);
        let Some(announced) = literal::at_line_end(text) else {
            out.extend_from_slice(head);
            rest = behind;
            continue;
        };
        out.extend_from_slice(text.strip_suffix(b"}").unwrap_or(text));
        out.extend_from_slice(if announced.sync { b"+}\r\n" } else { b"}\r\n" });
        let len = usize::try_from(announced.len).unwrap_or(usize::MAX).min(behind.len());
        out.extend_from_slice(&behind[..len]);
        rest = &behind[len..];
    }
    out.extend_from_slice(rest);
    out
}
