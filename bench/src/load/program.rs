//! What a session says, made ready for a protocol.

use std::sync::Arc;

use protocols::sasl::base64_out;

use super::reader::Expect;
use crate::scenario::{Login, Person, Protocol, Random, Scenario, Security, Template};

/// A command, its gaps still open.
pub(super) struct Command {
    line: Template,
    /// What follows a literal's announcement or a go-ahead, with its end.
    payload: Option<Arc<[u8]>>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Plain,
    /// IMAP's IDLE: the go-ahead is the answer, and nothing follows on this connection but DONE.
    Idle,
    /// The end of IDLE: no command, its answer is that of the IDLE before.
    Done,
    /// LMTP's DATA: go-ahead, message, one reply for each recipient.
    Data,
    /// LMTP's RCPT, whose acceptance counts.
    Recipient,
    /// POP3's answers of many lines.
    Dotted,
    /// TLS begins with the answer; the flag tells whether a greeting comes again.
    StartTls {
        greets: bool,
    },
}

/// What becomes of the answer, beside its being right or wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum After {
    /// Nothing.
    Nothing,
    /// TLS begins.
    Secure { greets: bool },
    /// The payload goes out, and is answered.
    SendPayload,
    /// One more recipient was accepted.
    CountRecipient,
}

/// A command as it goes out.
pub(super) struct Ready {
    pub(super) expect: Expect,
    pub(super) after: After,
    /// Nothing more goes out before the answer.
    pub(super) blocks: bool,
    /// Goes out behind the line, now or after the go-ahead.
    pub(super) payload: Option<Arc<[u8]>>,
}

/// All commands of a scenario.
pub(super) struct Program {
    pub(super) prologue: Vec<Command>,
    pub(super) operations: Vec<Vec<Command>>,
    pub(super) epilogue: Vec<Command>,
    /// For each ticket an operation, as often as its weight says.
    tickets: Vec<usize>,
}

impl Program {
    pub(super) fn new(scenario: &Scenario) -> Program {
        let protocol = scenario.protocol;
        let compile = |lines: &[Template]| lines.iter().map(|line| Command::new(protocol, line)).collect();
        let mut prologue = Vec::new();
        let lhlo = || Command::new(protocol, &Template::of("LHLO localhost"));
        if protocol == Protocol::Lmtp {
            prologue.push(lhlo());
        }
        if scenario.security == Security::Starttls {
            prologue.push(start_tls(protocol));
            if protocol == Protocol::Lmtp {
                prologue.push(lhlo());
            }
        }
        prologue.extend(login(protocol, scenario.login()).iter().map(|line| Command::new(protocol, line)));
        let before: Vec<Command> = compile(&scenario.before);
        prologue.extend(before);
        let weighted = scenario.operation.iter().enumerate();
        let tickets = weighted.flat_map(|(n, o)| std::iter::repeat_n(n, o.weight as usize)).collect();
        Program {
            prologue,
            operations: scenario.operation.iter().map(|operation| compile(&operation.lines)).collect(),
            epilogue: compile(&scenario.after),
            tickets,
        }
    }

    /// Draws an operation.
    pub(super) fn draw(&self, random: &mut Random) -> usize {
        match self.tickets.as_slice() {
            [only] => *only,
            tickets => tickets[random.below(tickets.len() as u64) as usize],
        }
    }
}

fn start_tls(protocol: Protocol) -> Command {
    let line = Template::of(if protocol == Protocol::Pop3 { "STLS" } else { "STARTTLS" });
    let greets = matches!(protocol, Protocol::Sieve | Protocol::Mupdate);
    Command { line, payload: None, kind: Kind::StartTls { greets } }
}

/// The commands of a login.
fn login(protocol: Protocol, login: Login) -> Vec<Template> {
    let lines: &[&str] = match (login, protocol) {
        (Login::None, _) => &[],
        (Login::Command, Protocol::Imap) => &["LOGIN {user} {password}"],
        (Login::Command, Protocol::Pop3) => &["USER {user}", "PASS {password}"],
        (Login::Plain, Protocol::Imap) => &["AUTHENTICATE PLAIN {sasl}"],
        (_, Protocol::Pop3 | Protocol::Lmtp) => &["AUTH PLAIN {sasl}"],
        (_, Protocol::Sieve | Protocol::Mupdate) => &["AUTHENTICATE \"PLAIN\" \"{sasl}\""],
    };
    lines.iter().map(|line| Template::of(line)).collect()
}

impl Command {
    fn new(protocol: Protocol, line: &Template) -> Command {
        let text = String::from(line.clone());
        let mut words = text.split_ascii_whitespace().map(str::to_ascii_uppercase);
        let verb = words.next().unwrap_or_default();
        let argument = words.next();
        let kind = match (protocol, verb.as_str()) {
            (Protocol::Imap, "IDLE") => Kind::Idle,
            (Protocol::Imap, "DONE") => Kind::Done,
            (Protocol::Lmtp, "DATA") => Kind::Data,
            (Protocol::Lmtp, "RCPT") => Kind::Recipient,
            (Protocol::Pop3, "RETR" | "TOP" | "CAPA") => Kind::Dotted,
            (Protocol::Pop3, "LIST" | "UIDL") if argument.is_none() => Kind::Dotted,
            _ => Kind::Plain,
        };
        let payload = line.payload_bytes().map(|bytes| payload(protocol, bytes));
        Command { line: line.clone(), payload, kind }
    }

    /// Whether it has no tag of its own: DONE ends the IDLE before it.
    pub(super) fn keeps_tag(&self) -> bool {
        self.kind == Kind::Done
    }

    /// Appends the command; tells what is awaited.
    pub(super) fn send(
        &self,
        protocol: Protocol,
        tag: u8,
        person: &Person,
        random: &mut Random,
        out: &mut Vec<u8>,
    ) -> Ready {
        if matches!(protocol, Protocol::Imap | Protocol::Mupdate) && self.kind != Kind::Done {
            out.extend_from_slice(&[tag, b' ']);
        }
        self.line.render(person, random, out);
        let has_literal = protocol != Protocol::Lmtp && self.payload.is_some();
        if has_literal {
            let size = self.line.payload_bytes().unwrap_or_default();
            while out.last() == Some(&b' ') {
                out.pop();
            }
            out.extend_from_slice(format!(" {{{size}+}}").as_bytes());
        } else if self.kind == Kind::Data {
            while out.last() == Some(&b' ') {
                out.pop();
            }
        }
        out.extend_from_slice(b"\r\n");
        let (expect, after, blocks) = match self.kind {
            Kind::Plain | Kind::Done => (Expect::Completion(tag), After::Nothing, false),
            Kind::Idle => (Expect::GoAhead(tag), After::Nothing, true),
            Kind::Dotted => (Expect::DottedLines, After::Nothing, false),
            Kind::Recipient => (Expect::Completion(tag), After::CountRecipient, false),
            Kind::Data => (Expect::GoAhead(tag), After::SendPayload, true),
            Kind::StartTls { greets } => (Expect::Completion(tag), After::Secure { greets }, true),
        };
        Ready { expect, after, blocks, payload: self.payload.clone() }
    }
}

/// What a payload is: a message, or a script of comments; with what ends it in the protocol.
fn payload(protocol: Protocol, bytes: usize) -> Arc<[u8]> {
    let (head, line): (&[u8], &[u8]) = match protocol {
        Protocol::Sieve => (b"keep;\r\n", b"# A line of comment, again and again until the script is long enough.\r\n"),
        Protocol::Imap | Protocol::Pop3 | Protocol::Lmtp | Protocol::Mupdate => (
            b"From: <load@example.com>\r\nTo: <load@example.com>\r\nSubject: load\r\nMessage-ID: <load@example.com>\r\n\
              Date: Sun, 1 Nov 2026 12:00:00 +0000\r\n\r\n",
            b"One line again and again until the message is long enough for this measurement.\r\n",
        ),
    };
    let mut text: Vec<u8> = head.iter().chain(line.iter().cycle()).copied().take(bytes).collect();
    // A CR without its LF is refused by servers.
    if let Some(last) = text.last_mut().filter(|last| **last == b'\r') {
        *last = b'.';
    }
    text.extend_from_slice(match protocol {
        Protocol::Lmtp if text.ends_with(b"\r\n") => b".\r\n",
        Protocol::Lmtp => b"\r\n.\r\n",
        Protocol::Imap | Protocol::Pop3 | Protocol::Sieve | Protocol::Mupdate => b"\r\n",
    });
    text.into()
}

/// The response of SASL PLAIN, without an authorisation identity of its own.
pub(super) fn sasl_plain(user: &str, password: &str) -> String {
    let mut out = Vec::new();
    base64_out(&mut out, format!("\0{user}\0{password}").as_bytes());
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(protocol: Protocol, line: &str) -> (String, Ready) {
        let person = Person { number: 1, user: "u1", password: "pw", sasl: &sasl_plain("u1", "pw") };
        let mut out = Vec::new();
        let command = Command::new(protocol, &Template::of(line));
        let ready = command.send(protocol, b'a', &person, &mut Random::new(1), &mut out);
        (String::from_utf8(out).unwrap(), ready)
    }

    #[test]
    fn payload_is_announced_as_the_protocol_wants_it() {
        let (line, ready) = sent(Protocol::Imap, "APPEND INBOX {data 100}");
        assert_eq!(line, "a APPEND INBOX {100+}\r\n");
        assert_eq!(ready.payload.map(|p| p.len()), Some(102));
        let (line, ready) = sent(Protocol::Lmtp, "DATA {data 100}");
        assert_eq!(line, "DATA\r\n");
        assert!(ready.payload.is_some_and(|p| p.ends_with(b"\r\n.\r\n")));
        assert_eq!((ready.expect, ready.after), (Expect::GoAhead(b'a'), After::SendPayload));
        assert_eq!(sent(Protocol::Sieve, "PUTSCRIPT \"x\" {data 9}").0, "PUTSCRIPT \"x\" {9+}\r\n");
    }

    #[test]
    fn login_carries_the_users_own_words() {
        assert_eq!(sent(Protocol::Imap, "AUTHENTICATE PLAIN {sasl}").0, "a AUTHENTICATE PLAIN AHUxAHB3\r\n");
    }

    #[test]
    fn many_lines_are_awaited_where_pop3_sends_them() {
        for (line, dotted) in [("LIST", true), ("LIST 1", false), ("RETR 1", true), ("STAT", false)] {
            assert_eq!(sent(Protocol::Pop3, line).1.expect == Expect::DottedLines, dotted, "{line}");
        }
    }
}
