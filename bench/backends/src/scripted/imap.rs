//! The IMAP responder.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memchr::{memchr, memrchr};

use crate::net::{ConnectionId, Handler, Outbox};

/// A message is at most this many KiB.
pub const MESSAGE_KIB_MAX: usize = 64 * 1024;
/// A line past this ends the connection.
const LINE_BYTES_MAX: usize = 64 * 1024;

const CAPABILITIES: &str =
    "IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE NAMESPACE UIDPLUS UNSELECT MOVE AUTH=PLAIN";

/// How long answers are held back.
#[derive(Clone, Copy, Default, Debug)]
pub struct Delays {
    /// Before the answer to LOGIN and AUTHENTICATE.
    pub login: Duration,
    /// Before every other tagged answer.
    pub command: Duration,
}

impl Delays {
    fn of(self, command: Verb) -> Duration {
        match command {
            Verb::Login => self.login,
            Verb::Other | Verb::Fetch | Verb::Select | Verb::Append | Verb::Idle | Verb::Logout => {
                self.command
            }
        }
    }
}

/// What a command does, as far as the script tells them apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verb {
    Login,
    Select,
    Fetch,
    Append,
    Idle,
    Logout,
    /// Answered by OK and nothing else.
    Other,
}

/// Where in a command a connection is.
#[derive(Default)]
struct Progress {
    /// Bytes of a literal that are still to come.
    literal_left: usize,
    /// The command whose line is not finished: tag, verb, and the number behind it.
    open: Option<(Vec<u8>, Verb, usize)>,
    /// The tag of an IDLE or of an AUTHENTICATE without initial response; the next line ends it.
    answering: Option<(Vec<u8>, Verb)>,
}

/// The handler.
pub struct Imap {
    delays: Delays,
    body: Arc<[u8]>,
    connections: Vec<Progress>,
    late: VecDeque<(Instant, ConnectionId, Answer)>,
}

struct Answer {
    tag: Vec<u8>,
    verb: Verb,
    number: usize,
}

impl Imap {
    /// A responder with these delays.
    pub fn new(delays: Delays) -> Imap {
        let line = b"This line is repeated until the message is as long as its number says, in KiB.\r\n";
        let body: Vec<u8> = line.iter().copied().cycle().take(MESSAGE_KIB_MAX * 1024).collect();
        Imap { delays, body: body.into(), connections: Vec::new(), late: VecDeque::new() }
    }

    /// Takes one line; false when a literal follows it.
    fn line(&mut self, id: ConnectionId, line: &[u8], out: &mut Outbox) {
        let progress = &mut self.connections[id.slot()];
        if let Some((tag, verb)) = progress.answering.take() {
            self.answer(id, Answer { tag, verb, number: 0 }, out);
            return;
        }
        let (tag, verb, number) = progress.open.take().unwrap_or_else(|| head(line));
        if let Some((size, synchronising)) = literal(line) {
            (progress.literal_left, progress.open) = (size, Some((tag, verb, number)));
            if synchronising {
                out.send(id, b"+ go ahead\r\n");
            }
            return;
        }
        let waits = verb == Verb::Idle || (verb == Verb::Login && is_bare_authenticate(line));
        if waits {
            progress.answering = Some((tag, if verb == Verb::Idle { Verb::Other } else { verb }));
            out.send(id, b"+ \r\n");
            return;
        }
        self.answer(id, Answer { tag, verb, number }, out);
    }

    fn answer(&mut self, id: ConnectionId, answer: Answer, out: &mut Outbox) {
        let delay = self.delays.of(answer.verb);
        if delay.is_zero() {
            return self.send(id, &answer, out);
        }
        let due = Instant::now() + delay;
        let at = self.late.partition_point(|(other, ..)| *other <= due);
        self.late.insert(at, (due, id, answer));
    }

    fn send(&mut self, id: ConnectionId, answer: &Answer, out: &mut Outbox) {
        match answer.verb {
            Verb::Login | Verb::Idle | Verb::Other => {}
            Verb::Select => out.send(
                id,
                b"* 65536 EXISTS\r\n* 0 RECENT\r\n* FLAGS (\\Answered \\Flagged \\Draft \\Deleted \\Seen)\r\n\
                  * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Draft \\Deleted \\Seen \\*)] Ok\r\n\
                  * OK [UIDVALIDITY 1] Ok\r\n* OK [UIDNEXT 65537] Ok\r\n* OK [HIGHESTMODSEQ 1] Ok\r\n",
            ),
            Verb::Fetch => self.send_message(id, answer.number, out),
            Verb::Append => {}
            Verb::Logout => out.send(id, b"* BYE LOGOUT received\r\n"),
        }
        out.send(id, &answer.tag);
        let text: &[u8] = match answer.verb {
            Verb::Login => b" OK [CAPABILITY IMAP4rev1 LITERAL+ IDLE UIDPLUS] User logged in\r\n",
            Verb::Select => b" OK [READ-WRITE] Completed\r\n",
            Verb::Append => b" OK [APPENDUID 1 65537] Completed\r\n",
            Verb::Idle | Verb::Other | Verb::Fetch | Verb::Logout => b" OK Completed\r\n",
        };
        out.send(id, text);
        if answer.verb == Verb::Logout {
            out.close(id);
        }
    }

    fn send_message(&mut self, id: ConnectionId, number: usize, out: &mut Outbox) {
        let size = number.min(MESSAGE_KIB_MAX) * 1024;
        out.send(id, format!("* {number} FETCH (BODY[] {{{size}}}\r\n").as_bytes());
        out.send_shared(id, &self.body, size);
        out.send(id, b")\r\n");
    }
}

/// Tag, verb, and the first number among the arguments.
fn head(line: &[u8]) -> (Vec<u8>, Verb, usize) {
    let mut words = line.split(|c| *c == b' ');
    let tag = words.next().unwrap_or(b"").to_vec();
    let mut verb = words.next().unwrap_or(b"");
    if verb.eq_ignore_ascii_case(b"UID") {
        verb = words.next().unwrap_or(b"");
    }
    let is = |name: &str| verb.eq_ignore_ascii_case(name.as_bytes());
    let verb = match verb.first().map_or(0, u8::to_ascii_uppercase) {
        b'L' if is("LOGIN") => Verb::Login,
        b'A' if is("AUTHENTICATE") => Verb::Login,
        b'S' if is("SELECT") => Verb::Select,
        b'E' if is("EXAMINE") => Verb::Select,
        b'F' if is("FETCH") => Verb::Fetch,
        b'A' if is("APPEND") || is("LOCALAPPEND") => Verb::Append,
        b'I' if is("IDLE") => Verb::Idle,
        b'L' if is("LOGOUT") => Verb::Logout,
        _ => Verb::Other,
    };
    let number = words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
    (tag, verb, number.unwrap_or(1))
}

/// `AUTHENTICATE mechanism` with nothing behind it.
fn is_bare_authenticate(line: &[u8]) -> bool {
    let mut words = line.split(|c| *c == b' ').skip(1);
    words.next().is_some_and(|w| w.eq_ignore_ascii_case(b"AUTHENTICATE")) && words.count() == 1
}

/// The literal that a line (without its end) announces.
fn literal(line: &[u8]) -> Option<(usize, bool)> {
    let inside = line.strip_suffix(b"}")?;
    let inside = &inside[memrchr(b'{', inside)? + 1..];
    let (digits, synchronising) = inside.strip_suffix(b"+").map_or((inside, true), |digits| (digits, false));
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, synchronising))
}

impl Handler for Imap {
    fn opened(&mut self, id: ConnectionId, out: &mut Outbox) {
        if self.connections.len() <= id.slot() {
            self.connections.resize_with(id.slot() + 1, Progress::default);
        }
        self.connections[id.slot()] = Progress::default();
        out.send(id, format!("* OK [CAPABILITY {CAPABILITIES}] scripted backend ready\r\n").as_bytes());
    }

    fn connected(&mut self, _: ConnectionId, _: bool, _: &mut Outbox) {}

    fn received(&mut self, id: ConnectionId, input: &mut Vec<u8>, out: &mut Outbox) {
        let mut at = 0;
        loop {
            let skip = self.connections[id.slot()].literal_left.min(input.len() - at);
            self.connections[id.slot()].literal_left -= skip;
            at += skip;
            let Some(end) = memchr(b'\n', &input[at..]) else { break };
            let line = &input[at..at + end];
            self.line(id, line.strip_suffix(b"\r").unwrap_or(line), out);
            at += end + 1;
        }
        input.drain(..at);
        if input.len() > LINE_BYTES_MAX {
            input.clear();
            out.close(id);
        }
    }

    fn closed(&mut self, id: ConnectionId, _: &mut Outbox) {
        self.connections[id.slot()] = Progress::default();
    }

    fn wake_at(&self) -> Option<Instant> {
        self.late.front().map(|(due, ..)| *due)
    }

    fn woken(&mut self, now: Instant, out: &mut Outbox) {
        while self.late.front().is_some_and(|(due, ..)| *due <= now) {
            if let Some((_, id, answer)) = self.late.pop_front() {
                self.send(id, &answer, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_told_apart() {
        assert_eq!(head(b"a1 uid fetch 16 (BODY[])"), (b"a1".to_vec(), Verb::Fetch, 16));
        assert_eq!(head(b"a1 LOGOUT").1, Verb::Logout);
        assert_eq!(head(b"a1 LOGINX u p").1, Verb::Other);
        assert_eq!(head(b"").1, Verb::Other);
    }

    #[test]
    fn literals_are_announced_at_the_end_only() {
        assert_eq!(literal(b"a APPEND x {12+}"), Some((12, false)));
        assert_eq!(literal(b"a LOGIN {3}"), Some((3, true)));
        assert_eq!(literal(b"a LOGIN {3} x"), None);
    }

    #[test]
    fn initial_response_is_not_waited_for() {
        assert!(is_bare_authenticate(b"a AUTHENTICATE PLAIN"));
        assert!(!is_bare_authenticate(b"a AUTHENTICATE PLAIN AHgAeA=="));
    }
}
