//! Finds the end of a reply in a stream, in each protocol.
//!
//! ```text
//!   bytes ──feed, awaiting an Expect──> Seen
//! ```

use memchr::{memchr, memmem, memrchr};

use crate::scenario::Protocol;

/// A line that is kept past this is none of a mail server.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// So much of a refusal is kept for messages.
const REFUSAL_BYTES_MAX: usize = 200;

/// What is awaited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expect {
    /// The first words of a connection, or those after STARTTLS where a protocol has them.
    Greeting,
    /// The end of a command with this tag; protocols without tags do not look at it.
    Completion(u8),
    /// A reply that goes on to a line with a dot, unless it is refused (POP3).
    DottedLines,
    /// A go-ahead, or the refusal of the command with this tag.
    GoAhead(u8),
    /// So many replies (LMTP, after a message).
    Replies(usize),
}

/// What came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    /// What was awaited.
    Ok,
    /// A refusal.
    Refused,
    /// Something that answers nothing which was asked.
    Nonsense,
}

/// Reads the replies of one connection.
pub(super) struct Reader {
    protocol: Protocol,
    literal_left: usize,
    /// The next line goes on behind a literal: it tells nothing by its beginning.
    is_continued: bool,
    /// The head of a line whose end has not come.
    partial: Vec<u8>,
    /// Within dotted lines, and whether a line begins.
    dotted: Option<bool>,
    /// Replies of an [`Expect::Replies`] that came, and whether one was a refusal.
    replies: (usize, bool),
    /// The last line that was a refusal, or nonsense.
    refusal: Vec<u8>,
}

impl Reader {
    pub(super) fn new(protocol: Protocol) -> Reader {
        Reader {
            protocol,
            literal_left: 0,
            is_continued: false,
            partial: Vec::new(),
            dotted: None,
            replies: (0, false),
            refusal: Vec::new(),
        }
    }

    /// Takes bytes up to the end of what is awaited; returns how many, and what it was.
    pub(super) fn feed(&mut self, bytes: &[u8], expect: Expect) -> (usize, Option<Seen>) {
        let mut at = 0;
        loop {
            let skip = self.literal_left.min(bytes.len() - at);
            self.literal_left -= skip;
            at += skip;
            if self.dotted.is_some() {
                let (n, seen) = self.dotted(&bytes[at..]);
                return (at + n, seen);
            }
            let Some(end) = memchr(b'\n', &bytes[at..]) else {
                if self.partial.len() < LINE_BYTES_MAX {
                    self.partial.extend_from_slice(&bytes[at..]);
                }
                return (bytes.len(), None);
            };
            let rest = &bytes[at..at + end];
            at += end + 1;
            let seen = if self.partial.is_empty() {
                self.line(rest, expect)
            } else {
                let mut line = std::mem::take(&mut self.partial);
                line.extend_from_slice(rest);
                let seen = self.line(&line, expect);
                line.clear();
                self.partial = line;
                seen
            };
            if seen.is_some() {
                return (at, seen);
            }
        }
    }

    fn line(&mut self, line: &[u8], expect: Expect) -> Option<Seen> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let seen = self.judge(line, expect);
        if matches!(seen, Some(Seen::Refused | Seen::Nonsense)) {
            self.refusal.clear();
            self.refusal.extend_from_slice(&line[..line.len().min(REFUSAL_BYTES_MAX)]);
        }
        seen
    }

    /// The last refusal, for a message.
    pub(super) fn refusal(&self) -> String {
        String::from_utf8_lossy(&self.refusal).into_owned()
    }

    fn judge(&mut self, line: &[u8], expect: Expect) -> Option<Seen> {
        match self.protocol {
            Protocol::Imap => {
                self.tagged(line, expect, |line| line.starts_with(b"* OK") || line.starts_with(b"* PREAUTH"))
            }
            Protocol::Mupdate => self.tagged(line, expect, |line| line.starts_with(b"* OK")),
            Protocol::Pop3 => self.pop3(line, expect),
            Protocol::Lmtp => self.lmtp(line, expect),
            Protocol::Sieve => self.sieve(line),
        }
    }

    /// Whether a line announces a literal or goes on behind one.
    fn is_within(&mut self, line: &[u8]) -> bool {
        let size = literal(line);
        self.literal_left = size.unwrap_or(0);
        std::mem::replace(&mut self.is_continued, size.is_some()) || size.is_some()
    }

    /// IMAP and MUPDATE: everything is told by tags.
    fn tagged(&mut self, line: &[u8], expect: Expect, greets: fn(&[u8]) -> bool) -> Option<Seen> {
        if self.is_within(line) {
            return None;
        }
        let tag = match expect {
            // A MUPDATE greeting is several lines; a BYE is never the beginning of a session.
            Expect::Greeting if line.starts_with(b"* BYE") => return Some(Seen::Refused),
            Expect::Greeting if !line.starts_with(b"*") => return Some(Seen::Nonsense),
            Expect::Greeting => return greets(line).then_some(Seen::Ok),
            Expect::GoAhead(_) if line.starts_with(b"+") => return Some(Seen::Ok),
            Expect::GoAhead(tag) | Expect::Completion(tag) => tag,
            Expect::DottedLines | Expect::Replies(_) => return Some(Seen::Nonsense),
        };
        match line {
            [b'*' | b'+', ..] => None,
            [seen, b' ', rest @ ..] if *seen == tag => {
                let word = rest.split(|c| *c == b' ').next().unwrap_or(rest);
                match word {
                    b"OK" => {
                        Some(if matches!(expect, Expect::GoAhead(_)) { Seen::Nonsense } else { Seen::Ok })
                    }
                    // MUPDATE's answers to FIND, LIST and UPDATE carry the tag as well.
                    b"MAILBOX" | b"RESERVE" | b"DELETE" | b"MUPDATE" => None,
                    _ => Some(Seen::Refused),
                }
            }
            _ => Some(Seen::Nonsense),
        }
    }

    fn pop3(&mut self, line: &[u8], expect: Expect) -> Option<Seen> {
        if line.starts_with(b"-ERR") {
            return Some(Seen::Refused);
        }
        match expect {
            Expect::GoAhead(_) => Some(if line.starts_with(b"+ ") { Seen::Ok } else { Seen::Nonsense }),
            _ if !line.starts_with(b"+OK") => Some(Seen::Nonsense),
            Expect::DottedLines => {
                self.dotted = Some(true);
                None
            }
            Expect::Greeting | Expect::Completion(_) | Expect::Replies(_) => Some(Seen::Ok),
        }
    }

    fn dotted(&mut self, bytes: &[u8]) -> (usize, Option<Seen>) {
        // What was kept of the end of earlier bytes stands in `partial`: at most four bytes.
        let kept = self.partial.len();
        if kept > 0 {
            let joined: Vec<u8> = self.partial.iter().chain(bytes.iter().take(8)).copied().collect();
            if let Some(end) = dotted_end(&joined, self.dotted == Some(true)) {
                (self.partial, self.dotted) = (Vec::new(), None);
                return (end - kept, Some(Seen::Ok));
            }
        }
        if let Some(end) = dotted_end(bytes, kept == 0 && self.dotted == Some(true)) {
            (self.partial, self.dotted) = (Vec::new(), None);
            return (end, Some(Seen::Ok));
        }
        self.partial.extend_from_slice(&bytes[bytes.len().saturating_sub(4)..]);
        if kept + bytes.len() > 4 {
            self.partial.drain(..self.partial.len() - 4);
            self.dotted = Some(false);
        }
        (bytes.len(), None)
    }

    fn lmtp(&mut self, line: &[u8], expect: Expect) -> Option<Seen> {
        if line.get(3) == Some(&b'-') {
            return None;
        }
        let refused = !matches!(line.first(), Some(b'2' | b'3'));
        let is_go_ahead = line.first() == Some(&b'3');
        match expect {
            _ if line.len() < 3 => Some(Seen::Nonsense),
            Expect::Replies(wanted) => {
                self.replies = (self.replies.0 + 1, self.replies.1 || refused);
                if self.replies.0 < wanted {
                    return None;
                }
                let (_, refused) = std::mem::take(&mut self.replies);
                Some(if refused { Seen::Refused } else { Seen::Ok })
            }
            _ if refused => Some(Seen::Refused),
            Expect::GoAhead(_) => Some(if is_go_ahead { Seen::Ok } else { Seen::Nonsense }),
            Expect::Greeting | Expect::Completion(_) | Expect::DottedLines => {
                Some(if is_go_ahead { Seen::Nonsense } else { Seen::Ok })
            }
        }
    }

    fn sieve(&mut self, line: &[u8]) -> Option<Seen> {
        if self.is_within(line) {
            return None;
        }
        let is = |word: &[u8]| {
            line.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word))
                && matches!(line.get(word.len()), None | Some(b' '))
        };
        match () {
            () if is(b"OK") => Some(Seen::Ok),
            () if is(b"NO") || is(b"BYE") => Some(Seen::Refused),
            () => None,
        }
    }
}

/// How many bytes there are up to and with the line that is a dot.
fn dotted_end(bytes: &[u8], at_line_start: bool) -> Option<usize> {
    if at_line_start && bytes.starts_with(b".\r\n") {
        return Some(3);
    }
    memmem::find(bytes, b"\r\n.\r\n").map(|at| at + 5)
}

fn literal(line: &[u8]) -> Option<usize> {
    let inside = line.strip_suffix(b"}")?;
    let inside = inside.strip_suffix(b"+").unwrap_or(inside);
    std::str::from_utf8(&inside[memrchr(b'{', inside)? + 1..]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a stream in pieces; an expectation after the other.
    fn read_in<'a>(
        protocol: Protocol,
        expects: &[Expect],
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Vec<Seen> {
        let (mut reader, mut seen) = (Reader::new(protocol), Vec::new());
        for piece in pieces {
            let mut at = 0;
            while at < piece.len() {
                let Some(expect) = expects.get(seen.len()) else { return seen };
                let (n, what) = reader.feed(&piece[at..], *expect);
                at += n;
                seen.extend(what);
            }
        }
        seen
    }

    fn reads(protocol: Protocol, stream: &[u8], expected: &[(Expect, Seen)]) {
        let expects: Vec<Expect> = expected.iter().map(|(expect, _)| *expect).collect();
        let seen: Vec<Seen> = expected.iter().map(|(_, seen)| *seen).collect();
        assert_eq!(read_in(protocol, &expects, std::iter::once(stream)), seen);
        assert_eq!(read_in(protocol, &expects, stream.chunks(1)), seen);
        for at in 1..stream.len() {
            let halves = [&stream[..at], &stream[at..]];
            assert_eq!(read_in(protocol, &expects, halves.into_iter()), seen, "{at}");
        }
    }

    #[test]
    fn tag_inside_a_literal_is_no_answer() {
        let stream =
            b"* OK hello\r\n* 1 FETCH (BODY[] {7}\r\na OK x\n)\r\na OK done\r\n* x\r\n+ go\r\nb NO never\r\n";
        let (done, go, never) = (Expect::Completion(b'a'), Expect::GoAhead(b'b'), Expect::Completion(b'b'));
        let expected =
            [(Expect::Greeting, Seen::Ok), (done, Seen::Ok), (go, Seen::Ok), (never, Seen::Refused)];
        reads(Protocol::Imap, stream, &expected);
    }

    #[test]
    fn answer_to_another_tag_is_nonsense() {
        reads(Protocol::Imap, b"b OK x\r\n", &[(Expect::Completion(b'a'), Seen::Nonsense)]);
    }

    #[test]
    fn records_of_a_find_are_not_its_end() {
        let stream = b"* AUTH \"PLAIN\"\r\n* OK MUPDATE \"x\"\r\na MAILBOX {3}\r\na \n \"l\" \"acl\"\r\na OK \"done\"\r\n";
        reads(
            Protocol::Mupdate,
            stream,
            &[(Expect::Greeting, Seen::Ok), (Expect::Completion(b'a'), Seen::Ok)],
        );
    }

    #[test]
    fn dotted_lines_end_with_a_dot_alone() {
        let stream = b"+OK\r\n+OK x\r\na\r\n..\r\n.b\r\n.\r\n+OK\r\n.\r\n-ERR no\r\n+OK\r\n";
        let dotted = Expect::DottedLines;
        let one = Expect::Completion(b'a');
        let expected = [
            (Expect::Greeting, Seen::Ok),
            (dotted, Seen::Ok),
            (dotted, Seen::Ok),
            (dotted, Seen::Refused),
            (one, Seen::Ok),
        ];
        reads(Protocol::Pop3, stream, &expected);
    }

    #[test]
    fn each_recipient_is_answered() {
        let stream = b"220 x\r\n250-a\r\n250 b\r\n354 go\r\n250 ok\r\n452 full\r\n250 ok\r\n";
        let expected = [
            (Expect::Greeting, Seen::Ok),
            (Expect::Completion(b'a'), Seen::Ok),
            (Expect::GoAhead(b'a'), Seen::Ok),
            (Expect::Replies(2), Seen::Refused),
            (Expect::Replies(1), Seen::Ok),
        ];
        reads(Protocol::Lmtp, stream, &expected);
    }

    #[test]
    fn words_within_a_script_are_no_answer() {
        let stream = b"\"SIEVE\" \"x\"\r\nOK \"hello\"\r\n{6}\r\nOK\r\n\r\n\r\nok\r\nNO \"x\"\r\n";
        let one = Expect::Completion(b'a');
        reads(
            Protocol::Sieve,
            stream,
            &[(Expect::Greeting, Seen::Ok), (one, Seen::Ok), (one, Seen::Refused)],
        );
    }
}
