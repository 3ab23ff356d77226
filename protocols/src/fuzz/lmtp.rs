//! LMTP: commands and replies at every split, and one end of message whatever comes.

use super::bounded;
use crate::lmtp::address::{AddressPolicy, Recipient, path_bytes};
use crate::lmtp::grammar::{self, ReplyError};
use crate::lmtp::message::{END, Piece, Scanner};
use crate::mailbox::Namespace;
use crate::mailbox::names::VirtDomains;

/// Commands, paths and replies.
pub fn lmtp_grammar(input: &[u8]) {
    let input = bounded(input);
    for line in input.split(|byte| *byte == b'\n') {
        // Whatever it is, it is answered.
        let _ = grammar::command(line);
        address(line);
    }
    reply(input);
}

/// A path that is taken is written again as one that is read the same.
fn address(line: &[u8]) {
    let Some(length) = path_bytes(line) else { return };
    let path = &line[..length];
    for cut in 0..length {
        assert_eq!(path_bytes(&path[..cut]), None, "a path within a path");
    }
    let policy = AddressPolicy { postuser: (*b"bb").into(), ..AddressPolicy::default() };
    for virtdomains in [VirtDomains::Off, VirtDomains::UserId] {
        let namespace = Namespace { virtdomains, ..Namespace::default() };
        let Some(recipient) = Recipient::parse(path, &policy) else { continue };
        let told = recipient.path();
        assert_eq!(path_bytes(&told), Some(told.len()), "{}", told.escape_ascii());
        let again = Recipient::parse(&told, &policy);
        assert_eq!(again.as_ref(), Some(&recipient), "{}", told.escape_ascii());
        assert_eq!(
            again.and_then(|again| again.target(&policy, &namespace)),
            recipient.target(&policy, &namespace)
        );
    }
}

/// A reply is incomplete until it is whole, and what follows changes nothing.
fn reply(input: &[u8]) {
    let Ok(reply) = grammar::reply(input) else { return };
    let length = reply.text.len();
    for cut in 0..length {
        assert_eq!(grammar::reply(&input[..cut]), Err(ReplyError::Incomplete));
    }
    assert_eq!(grammar::reply(&input[..length]), Ok(reply));
    assert!(reply.lines().count() >= 1);
}

/// A message, its splits chosen by its first byte: a backend sees one end, where the frontend does, and
/// none before or without it. Runs of `a` are stretched so that lines reach Cyrus' chunks.
pub fn lmtp_message(input: &[u8]) {
    let Some((&seed, input)) = bounded(input).split_first() else { return };
    let stretched: Vec<u8> = input
        .iter()
        .flat_map(|byte| std::iter::repeat_n(*byte, if *byte == b'A' { 4093 } else { 1 }))
        .collect();
    let (sent, taken, is_faulty) = scan(&stretched, usize::from(seed) + 1);
    let bytewise = scan(&stretched, 1);
    assert_eq!((bytewise.1, bytewise.2), (taken, is_faulty), "splits change where the end is");
    assert!(is_faulty || bytewise.0 == sent, "splits change what is sent");
    assert!(memchr::memchr(0, &sent).is_none());
    let seen = backend_ends_at(&sent);
    match (taken, is_faulty) {
        (Some(_), false) => assert_eq!(seen, Some(sent.len()), "backend and frontend disagree"),
        // Such a message is cut off: nothing that was sent may be taken for its end.
        (_, _) => assert_eq!(seen, None, "a backend sees an end that was not sent"),
    }
}

/// What backends are sent, what of the input is the message, and whether it is delivered.
fn scan(input: &[u8], step: usize) -> (Vec<u8>, Option<usize>, bool) {
    let (mut scanner, mut sent) = (Scanner::default(), Vec::new());
    let (mut at, mut end) = (0, 0);
    while end < input.len() {
        end = (end + step).min(input.len());
        while at < end {
            let (n, instead): (usize, &[u8]) = match scanner.look(&input[at..end]) {
                Piece::Pass(n) => (n, &input[at..at + n]),
                Piece::Instead(n, instead) => (n, instead),
                Piece::End(n) => {
                    if scanner.fault().is_none() {
                        sent.extend_from_slice(END);
                    }
                    return (sent, Some(at + n), scanner.fault().is_some());
                }
                Piece::More => break,
            };
            if scanner.fault().is_none() {
                sent.extend_from_slice(instead);
            }
            at += n;
        }
    }
    (sent, None, scanner.fault().is_some())
}

/// Where Cyrus' `lmtpd` sees the end: a model of its `spool_fill_hdrcache` and `spool_copy_msg`.
fn backend_ends_at(sent: &[u8]) -> Option<usize> {
    let mut at = header_bytes(sent);
    loop {
        let chunk = &sent[at..sent.len().min(at + 8189)];
        let mut length = memchr::memchr(b'\n', chunk).map_or(chunk.len(), |lf| lf + 1);
        if length == 0 {
            return None;
        }
        if chunk[length - 1] == b'\r' && length > 1 {
            length -= 1;
        }
        let mut line = chunk[..length].to_vec();
        if line.ends_with(b"\n") && !line.ends_with(b"\r\n") {
            line.pop();
            line.extend_from_slice(b"\r\n");
        }
        while let Some(cr) = memchr::memchr(b'\r', &line).filter(|cr| line.get(cr + 1) != Some(&b'\n')) {
            line.remove(cr);
        }
        at += length;
        if line.starts_with(b".\r\n") {
            return Some(at);
        }
    }
}

/// How far Cyrus reads octet by octet, before it goes on by chunks.
fn header_bytes(sent: &[u8]) -> usize {
    let is_name = |byte: u8| matches!(byte, 33..=57 | 59..=126);
    let peek = |at: usize| sent.get(at).copied();
    let mut at = 0;
    loop {
        // NAME_START
        match peek(at) {
            Some(b'.') if matches!(peek(at + 1), Some(b'\r' | b'\n')) => return at,
            Some(byte) if is_name(byte) => at += 1,
            Some(_) | None => return at,
        }
        // NAME
        while peek(at).is_some_and(is_name) {
            at += 1;
        }
        // COLON
        if matches!(peek(at), Some(b' ' | b'\t')) {
            while matches!(peek(at), Some(b' ' | b'\t')) {
                at += 1;
            }
            if peek(at) != Some(b':') {
                while peek(at) == Some(b'.') {
                    at += 1;
                }
                return at;
            }
        }
        if peek(at) != Some(b':') {
            return at;
        }
        // BODY, over folded lines
        loop {
            at += 1;
            match peek(at) {
                None => return at,
                Some(b'\r' | b'\n') => {
                    at += usize::from(peek(at) == Some(b'\r') && peek(at + 1) == Some(b'\n'));
                    if !matches!(peek(at + 1), Some(b' ' | b'\t')) {
                        at += 1;
                        break;
                    }
                }
                Some(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_ends_where_cyrus_was_seen_to() {
        for (sent, end) in [
            (&b"a: b\r\n\r\nc\n.\nx"[..], 12),
            (b"a: b\r\n\r\n\r.\r\nx", 12),
            (b"a: b\r\n\r\n.\r\r\nx", 12),
            (b"a: b\r\n\r\n.\nx", 10),
            (b".\r\nx", 3),
        ] {
            assert_eq!(backend_ends_at(sent), Some(end), "{}", sent.escape_ascii());
        }
        let long = |n: usize| [&b"a: b\r\n\r\n"[..], &vec![b'a'; n], b".\r\n"].concat();
        assert_eq!(backend_ends_at(&long(8189)), Some(8 + 8189 + 3));
        assert_eq!(backend_ends_at(&long(8188)), None);
        assert_eq!(backend_ends_at(&long(8190)), None);
    }

    #[test]
    fn random_messages_have_one_end() {
        let alphabet = b"..\r\r\n\n\naA: \0";
        for seed in 0..1500_u64 {
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut next = || {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) as usize
            };
            let length = 2 + next() % 24;
            // NUL makes most of them faults: in every second one there is none.
            let letters = alphabet.len() - next() % 2;
            let mut input: Vec<u8> = vec![(next() % 40) as u8];
            input.extend((0..length).map(|_| alphabet[next() % letters]));
            lmtp_message(&input);
        }
    }
}
