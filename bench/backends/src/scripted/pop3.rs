//! The POP3 responder: a maildrop of 64 messages, the one with number n of n KiB.

use super::dialogue::{Dialogue, Kind, Reply};
use super::lines;

/// Messages of a maildrop; RETR gives any number up to [`super::MESSAGE_KIB_MAX`].
const MESSAGES: usize = 64;

/// The dialogue.
pub struct Pop3;

/// What the next line is.
#[derive(Default)]
pub enum Progress {
    /// A command.
    #[default]
    ExpectCommand,
    /// The answer to `AUTH PLAIN`.
    ExpectResponse,
}

impl Dialogue for Pop3 {
    type State = Progress;

    fn greeting(&self) -> String {
        "+OK scripted backend ready <1.1@localhost>\r\n".to_owned()
    }

    fn take(&self, progress: &mut Progress, input: &[u8]) -> (usize, Option<Reply>) {
        let Some((line, n)) = lines::line(input) else { return (0, None) };
        let reply = match std::mem::take(progress) {
            Progress::ExpectResponse => Reply::of(Kind::Login, b"+OK Logged in\r\n"),
            Progress::ExpectCommand => command(progress, line),
        };
        (n, Some(reply))
    }

    fn refusal(&self, _: &Reply) -> Vec<u8> {
        b"-ERR refused by the script\r\n".to_vec()
    }
}

fn command(progress: &mut Progress, line: &[u8]) -> Reply {
    let (verb, rest) = lines::word(line);
    let octets = MESSAGES * (MESSAGES + 1) / 2 * 1024;
    match (verb.to_ascii_uppercase().as_slice(), rest) {
        (b"USER", _) => Reply::of(Kind::Login, b"+OK Name is a valid mailbox\r\n"),
        (b"PASS" | b"APOP", _) => Reply::of(Kind::Login, b"+OK Logged in\r\n"),
        (b"AUTH", rest) if rest.contains(&b' ') => Reply::of(Kind::Login, b"+OK Logged in\r\n"),
        (b"AUTH", b"") => Reply::to_command(b"+OK\r\nPLAIN\r\n.\r\n"),
        (b"AUTH", _) => {
            *progress = Progress::ExpectResponse;
            Reply::of(Kind::Continue, b"+ \r\n")
        }
        (b"CAPA", _) => Reply::to_command(
            b"+OK List of capabilities follows\r\nSASL PLAIN\r\nEXPIRE NEVER\r\nTOP\r\nUIDL\r\n\
              PIPELINING\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nUSER\r\nIMPLEMENTATION scripted\r\n.\r\n",
        ),
        (b"STAT", _) => Reply::to_command(format!("+OK {MESSAGES} {octets}\r\n").as_bytes()),
        (b"LIST", b"") => listing("scan listing follows", |n| format!("{}", n * 1024)),
        (b"UIDL", b"") => listing("unique-id listing follows", |n| format!("1.{n}")),
        (b"LIST", n) => single(n, |n| format!("{}", n * 1024)),
        (b"UIDL", n) => single(n, |n| format!("1.{n}")),
        (b"RETR", n) => message(lines::number(n).unwrap_or(1)),
        (b"TOP", _) => Reply::to_command(b"+OK Message follows\r\nSubject: one\r\n\r\n.\r\n"),
        (b"QUIT", _) => Reply::of(Kind::Last, b"+OK\r\n"),
        (b"NOOP" | b"RSET" | b"DELE", _) => Reply::to_command(b"+OK\r\n"),
        (_, _) => Reply::to_command(b"-ERR Unrecognized command\r\n"),
    }
}

fn listing(what: &str, of: impl Fn(usize) -> String) -> Reply {
    let mut text = format!("+OK {what}\r\n");
    for n in 1..=MESSAGES {
        text += &format!("{n} {}\r\n", of(n));
    }
    Reply::to_command((text + ".\r\n").as_bytes())
}

fn single(argument: &[u8], of: impl Fn(usize) -> String) -> Reply {
    match lines::number(argument).filter(|n| (1..=MESSAGES).contains(n)) {
        Some(n) => Reply::to_command(format!("+OK {n} {}\r\n", of(n)).as_bytes()),
        None => Reply::to_command(b"-ERR No such message\r\n"),
    }
}

/// A message of n KiB. No line of the body begins with a dot.
fn message(n: usize) -> Reply {
    let body_bytes = n.clamp(1, super::MESSAGE_KIB_MAX) * 1024;
    let (head, tail) = (b"+OK Message follows\r\n".to_vec(), b"\r\n.\r\n".to_vec());
    Reply { head, body_bytes, tail, ..Reply::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lines: &[&[u8]]) -> Vec<Reply> {
        let mut progress = Progress::default();
        lines.iter().filter_map(|line| Pop3.take(&mut progress, line).1).collect()
    }

    #[test]
    fn response_of_auth_plain_is_a_login() {
        let replies = said(&[b"AUTH PLAIN\r\n", b"AHUAcA==\r\n", b"STAT\r\n"]);
        assert_eq!(replies[0].kind, Kind::Continue);
        assert_eq!(replies[1].kind, Kind::Login);
        assert!(replies[2].head.starts_with(b"+OK 64 "));
    }

    #[test]
    fn message_has_as_many_kib_as_its_number() {
        assert_eq!(said(&[b"retr 12\r\n"])[0].body_bytes, 12 * 1024);
    }
}
