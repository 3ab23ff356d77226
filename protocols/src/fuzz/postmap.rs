//! Postfix' look-ups: requests at every split, and a session that answers each request once.

use std::sync::Arc;

use super::bounded;
use crate::postmap::grammar::{self, Dialect, Request, RequestError};
use crate::postmap::{Config, Session};
use crate::proxy::{
    Answer, Entry, Event, Finding, Instant, Location, Output, Question, Session as _, Side, Then,
};

/// Checks requests of socketmap and tcp_table; the first byte says what the list knows.
///
/// # Panics
/// A property does not hold.
pub fn postmap(input: &[u8]) {
    let Some((&knows, input)) = bounded(input).split_first() else { return };
    let asked = requests(input);
    let whole = replies(knows, input, input.len().max(1));
    assert!(whole == replies(knows, input, 1), "cuts change what is answered");
    assert!(whole == replies(knows, input, 7), "cuts change what is answered");
    let mut rest = &whole[..];
    for request in &asked {
        rest = &rest[reply_bytes(request.dialect, rest)..];
    }
    assert!(rest.is_empty(), "answers to nothing: {}", rest.escape_ascii());
}

/// All requests up to the first that is none. Of each, what is less is incomplete, and what follows changes nothing.
fn requests(input: &[u8]) -> Vec<Request> {
    let (mut at, mut asked) = (0, Vec::new());
    while let Ok((request, length)) = grammar::request(&input[at..]) {
        let own = &input[at..at + length];
        assert_eq!(grammar::request(own), Ok((request.clone(), length)));
        for cut in 0..length {
            assert_eq!(grammar::request(&own[..cut]), Err(RequestError::Incomplete), "a request within one");
        }
        asked.push(request);
        at += length;
    }
    asked
}

/// What the session says to input that comes in steps.
fn replies(knows: u8, input: &[u8], step: usize) -> Vec<u8> {
    let mut session = Session::new(Arc::new(Config::default()));
    let (mut said, mut standing) = (Vec::new(), Vec::new());
    for piece in input.chunks(step) {
        standing.extend_from_slice(piece);
        loop {
            let taken = session.handle_input(Side::Client, &standing, Instant(1));
            standing.drain(..taken.n);
            if collect(&mut session, knows, &mut said) {
                return said;
            }
            if taken.then == Then::More {
                break;
            }
        }
    }
    said
}

/// Carries outputs out; whether the connection is closed.
fn collect(session: &mut Session, knows: u8, said: &mut Vec<u8>) -> bool {
    let mut scratch = Vec::new();
    loop {
        scratch.clear();
        let Some(output) = session.poll_output(&mut scratch) else { return false };
        #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else is wanted here")]
        match output {
            Output::Write { .. } => said.extend_from_slice(&scratch),
            Output::Ask { id, question: Question::Find { name, .. } } => {
                let answer = Answer::Found(finding(knows, &name));
                session.handle_event(Event::Answer { id, answer }, Instant(1));
            }
            Output::Close { .. } => return true,
            other => panic!("not wanted: {other:?}"),
        }
    }
}

fn finding(knows: u8, name: &[u8]) -> Finding {
    let location = Location((*b"be1.example.com:2143!default").as_slice().into());
    match knows % 4 {
        0 => Finding::Active(Entry { name: name.into(), location, acl: Arc::from(&b""[..]) }),
        1 => Finding::Reserved { location },
        2 => Finding::Absent,
        _ => Finding::Unknown,
    }
}

/// Bytes of the first reply, which is one of its dialect.
fn reply_bytes(dialect: Dialect, said: &[u8]) -> usize {
    match dialect {
        Dialect::Socketmap => {
            let colon = memchr::memchr(b':', said).expect("a length");
            let digits = std::str::from_utf8(&said[..colon]).expect("digits");
            let content = &said[colon + 1..][..digits.parse::<usize>().expect("a number")];
            let word = content.split(|byte| *byte == b' ').next().expect("a word");
            assert!([&b"OK"[..], b"NOTFOUND", b"TEMP", b"PERM"].contains(&word), "{}", said.escape_ascii());
            let end = colon + 1 + content.len();
            assert_eq!(said.get(end), Some(&b','));
            end + 1
        }
        Dialect::TcpTable => {
            let lf = memchr::memchr(b'\n', said).expect("a line");
            let (code, text) = said[..lf].split_at(4);
            assert!([&b"200 "[..], b"400 ", b"500 "].contains(&code), "{}", said.escape_ascii());
            assert!(text.iter().all(|byte| byte.is_ascii_graphic()), "{}", text.escape_ascii());
            lf + 1
        }
    }
}
