//! Commands whose arguments a frontend does not judge: they go to one server as they are.

use super::grammar::Command;
use super::route::Route;
use super::routed::{Effect, Routed};
use super::text::{name_out, push};
use crate::wire::{Announced, line, literal};

/// To the server of the user's INBOX: push notifications, groups, JMAP.
pub(super) fn at_home(command: &Command<'_>, inbox: Vec<u8>) -> Box<Routed> {
    let mut line = command.name.to_vec();
    if !command.args.is_empty() {
        line.push(b' ');
        unasked(command.args, &mut line);
    }
    line.extend_from_slice(b"\r\n");
    Box::new(Routed::new(Route::to(inbox), line, Effect::Writes).final_no())
}

/// To the server of the mailbox that stands first; what stands behind it from `rest_at` on is passed.
pub(super) fn to_mailbox(
    command: &Command<'_>,
    name: Vec<u8>,
    mailbox: &[u8],
    rest_at: usize,
) -> Box<Routed> {
    let mut line = Vec::with_capacity(command.args.len() + command.name.len() + 8);
    push(&mut line, &[command.name, b" "]);
    name_out(&mut line, mailbox);
    unasked(&command.args[rest_at..], &mut line);
    line.extend_from_slice(b"\r\n");
    Box::new(Routed::new(Route::to(name), line, Effect::Writes))
}

/// Copies arguments, each literal in them announced such that nobody has to be asked for it: they are
/// all here.
fn unasked(args: &[u8], out: &mut Vec<u8>) {
    let mut rest = args;
    while let Some(lf) = memchr::memchr(b'\n', rest) {
        let (head, behind) = rest.split_at(lf + 1);
        match literal::at_line_end(line::without_end(head)) {
            Some(Announced { len, sync, .. }) => {
                let content = line::without_end(head);
                let content = if sync { &content[..content.len() - b"}".len()] } else { content };
                push(out, &[content, if sync { b"+}" } else { b"" }, b"\r\n"]);
                // Fits: the head holds its literals, which are small.
                let body = behind.len().min(usize::try_from(len).unwrap_or(usize::MAX));
                out.extend_from_slice(&behind[..body]);
                rest = &behind[body..];
            }
            None => {
                out.extend_from_slice(head);
                rest = behind;
            }
        }
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_announced_as_unasked_and_kept() {
        let told = |args: &[u8]| {
            let mut out = Vec::new();
            unasked(args, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(told(b"a {3}\r\nx}\n {2+}\r\nbc d"), "a {3+}\r\nx}\n {2+}\r\nbc d");
        assert_eq!(told(b"a b"), "a b");
        assert_eq!(told(b"{0}\r\n"), "{0+}\r\n");
        assert_eq!(told(b"{4}\r\n{2}\n x"), "{4+}\r\n{2}\n x");
    }
}
