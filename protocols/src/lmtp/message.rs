//! Where a message ends, decided as Cyrus' `lmtpd` decides it, so that both always agree.
//!
//! Cyrus' reader takes a bare LF for CRLF, drops a CR without LF, and reads a line in chunks of 8,189
//! octets, at each of which a dot means the end or is taken for dot-stuffing. What goes to backends is
//! brought in the one form in which nothing of that can happen: CRLF ends lines, no other CR, no NUL,
//! and no dot where a chunk could begin. Whatever a client sends, a backend sees exactly one end.

use memchr::{memchr, memchr3};

/// Octets of one line that Cyrus reads at once.
pub const CHUNK_BYTES: u64 = 8189;

/// Why a message is not delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It holds NUL.
    Nul,
    /// A line so long that a backend could begin a chunk with one of its dots.
    LongLine,
}

/// What becomes of the next bytes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece {
    /// So many go to the backends as they are.
    Pass(usize),
    /// So many are taken, and these go instead.
    Instead(usize, &'static [u8]),
    /// So many are the end; [`END`] goes instead.
    End(usize),
    /// More bytes decide.
    More,
}

/// The end of a message as backends are sent it.
pub const END: &[u8] = b".\r\n";

/// Reads one message.
#[derive(Clone, Debug)]
pub struct Scanner {
    /// Octets of the current line that went out.
    line: u64,
    /// A dot at the start of the line was taken and has not gone out.
    has_dot: bool,
    /// No empty line came yet.
    in_header: bool,
    /// Octets of the message.
    size: u64,
    /// Dots among them that were stuffed.
    stuffed: u64,
    fault: Option<Fault>,
}

impl Default for Scanner {
    fn default() -> Scanner {
        Scanner { line: 0, has_dot: false, in_header: true, size: 0, stuffed: 0, fault: None }
    }
}

impl Scanner {
    /// Why the message is not delivered, as far as it was read.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Octets of the message so far, as RFC 1870 counts them.
    pub fn size(&self) -> u64 {
        self.size - self.stuffed
    }

    /// Says what the next bytes are. After a fault the rest is taken and nothing goes instead.
    pub fn look(&mut self, input: &[u8]) -> Piece {
        let piece = self.piece(input);
        match (piece, self.fault) {
            (Piece::Pass(n) | Piece::Instead(n, _), Some(_)) => Piece::Instead(n, b""),
            (piece, _) => piece,
        }
    }

    fn piece(&mut self, input: &[u8]) -> Piece {
        if self.has_dot {
            return self.behind_dot(input);
        }
        if self.line == 0
            && let [b'.', rest @ ..] = input
        {
            match rest {
                [b'\n', ..] => return Piece::End(2),
                [b'\r', b'\n', ..] => return Piece::End(3),
                [] | [b'\r', ..] => {
                    self.has_dot = true;
                    return Piece::Instead(1, b"");
                }
                [_, ..] => {}
            }
        }
        self.run(input)
    }

    /// The line so far is a dot that was taken: CRs without LF do not keep it from being the end.
    fn behind_dot(&mut self, input: &[u8]) -> Piece {
        match input {
            [] | [b'\r'] => Piece::More,
            [b'\n', ..] => Piece::End(1),
            [b'\r', b'\n', ..] => Piece::End(2),
            [b'\r', ..] => Piece::Instead(1, b""),
            [_, ..] => {
                self.has_dot = false;
                self.line = 1;
                Piece::Instead(0, b".")
            }
        }
    }

    /// The longest run from here that needs no change.
    fn run(&mut self, input: &[u8]) -> Piece {
        let mut at = 0;
        loop {
            if self.line == 0 && input.get(at) == Some(&b'.') {
                match input.get(at + 1) {
                    // Looked at again when it stands first.
                    None | Some(b'\r' | b'\n') if at > 0 => return Piece::Pass(at),
                    // The stuffed dot is none of the message.
                    _ => self.stuffed += 1,
                }
            }
            let rest = &input[at..];
            let plain = memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
            self.pass_plain(&rest[..plain]);
            at += plain;
            match &input[at..] {
                [b'\r', b'\n', ..] => at += self.end_line(),
                [b'\r'] | [] if at == 0 => return Piece::More,
                [b'\r'] | [] => return Piece::Pass(at),
                [_, ..] if at > 0 => return Piece::Pass(at),
                [b'\r', ..] => return Piece::Instead(1, b""),
                [b'\n', ..] => {
                    self.end_line();
                    return Piece::Instead(1, b"\r\n");
                }
                [_, ..] => {
                    self.fault.get_or_insert(Fault::Nul);
                    self.line += 1;
                    return Piece::Instead(1, b"");
                }
            }
        }
    }

    /// Ends a line; its CRLF is two octets.
    fn end_line(&mut self) -> usize {
        self.in_header &= self.line > 0;
        self.line = 0;
        self.size += 2;
        2
    }

    /// Counts octets of a line. In the header Cyrus reads octet by octet until something is no header,
    /// and counts its chunks from there: no dot is safe behind the first chunk's length. In the body
    /// chunks are counted from the start of the line.
    fn pass_plain(&mut self, plain: &[u8]) {
        let (from, to) = (self.line, self.line + plain.len() as u64);
        self.line = to;
        self.size += plain.len() as u64;
        if to <= CHUNK_BYTES {
            return;
        }
        let is_bad = if self.in_header {
            let safe = CHUNK_BYTES.saturating_sub(from).min(plain.len() as u64) as usize;
            memchr(b'.', &plain[safe..]).is_some()
        } else {
            let first = from.next_multiple_of(CHUNK_BYTES).max(CHUNK_BYTES);
            (first..to).step_by(CHUNK_BYTES as usize).any(|at| plain[(at - from) as usize] == b'.')
        };
        if is_bad {
            self.fault.get_or_insert(Fault::LongLine);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What backends are sent, how much of the input was taken, and whether it ended.
    fn scan<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, Option<usize>, Option<Fault>) {
        let (mut scanner, mut sent, mut held, mut taken) = (Scanner::default(), Vec::new(), Vec::new(), 0);
        for piece in pieces {
            held.extend_from_slice(piece);
            loop {
                if held.is_empty() {
                    break;
                }
                match scanner.look(&held) {
                    Piece::Pass(n) => {
                        sent.extend(held.drain(..n));
                        taken += n;
                    }
                    Piece::Instead(n, instead) => {
                        sent.extend_from_slice(instead);
                        held.drain(..n);
                        taken += n;
                    }
                    Piece::End(n) => {
                        sent.extend_from_slice(END);
                        return (sent, Some(taken + n), scanner.fault());
                    }
                    Piece::More => break,
                }
            }
        }
        (sent, None, scanner.fault())
    }

    fn whole(input: &[u8]) -> (Vec<u8>, Option<usize>, Option<Fault>) {
        scan(std::iter::once(input))
    }

    #[test]
    fn ends_are_those_of_cyrus() {
        for (input, taken) in [
            (&b"a\r\n.\r\nx"[..], 6),
            (b"a\n.\nx", 4),
            (b"a\r\n.\nx", 5),
            (b"a\r\n\r.\r\nx", 7),
            (b"a\r\n.\r\r\nx", 7),
            (b"a\r\n\r.\r\r\nx", 8),
            (b".\r\nx", 3),
            (b".\nx", 2),
        ] {
            let (sent, end, fault) = whole(input);
            assert_eq!((end, fault), (Some(taken), None), "{}", input.escape_ascii());
            assert!(sent.ends_with(b".\r\n") && !sent.ends_with(b"..\r\n"), "{}", sent.escape_ascii());
        }
        for input in [&b"a\r\n..\r\n"[..], b"a.\r\n", b"a\r.\r\n", b"a\r\n. \r\n", b".\rx\r\n"] {
            assert_eq!(whole(input).1, None, "{}", input.escape_ascii());
        }
    }

    #[test]
    fn lines_end_with_crlf_and_no_other_cr_is_sent() {
        assert_eq!(whole(b"a\nb\r\rc\r\n\rd\r\r\n.\r\n").0, b"a\r\nbc\r\nd\r\n.\r\n");
        assert_eq!(whole(b".\r\rx\n..\n.\n").0, b".x\r\n..\r\n.\r\n");
    }

    #[test]
    fn nul_is_a_fault_and_the_end_is_found_all_the_same() {
        let (sent, end, fault) = whole(b"a\0.\r\nb\r\n.\r\nQUIT\r\n");
        assert_eq!((end, fault), (Some(11), Some(Fault::Nul)));
        assert_eq!(sent, b"a.\r\n");
    }

    #[test]
    fn dot_where_a_chunk_begins_is_a_fault() {
        let line = |dots_at: usize, len: usize| {
            let mut line = vec![b'a'; len];
            line[dots_at] = b'.';
            [b"a: b\r\n\r\n", &line[..], b"\r\n.\r\n"].concat()
        };
        for (at, is_fault) in
            [(8188, false), (8189, true), (8190, false), (16377, false), (16378, true), (16379, false)]
        {
            assert_eq!(whole(&line(at, 20_000)).2.is_some(), is_fault, "{at}");
        }
        // A dot behind 8,189 octets, and nothing more.
        assert_eq!(whole(&line(8189, 8190)).2, Some(Fault::LongLine));
        let header = [b"a: ", &vec![b'b'; 9000][..], b".\r\n\r\n.\r\n"].concat();
        assert_eq!(whole(&header).2, Some(Fault::LongLine));
        let header = [b"a: ", &vec![b'b'; 9000][..], b"\r\n\r\n.\r\n"].concat();
        assert_eq!(whole(&header).2, None);
    }

    #[test]
    fn size_is_without_stuffed_dots() {
        let mut scanner = Scanner::default();
        assert_eq!(scanner.look(b"..a\r\n.b\r\n"), Piece::Pass(9));
        assert_eq!(scanner.size(), 7);
    }

    #[test]
    fn every_split_is_the_same() {
        let input = b"S: x\n\r\n.\rq\r\n..\r\n\r\r\na\rb\0c\r\n.\r\r\nrest";
        for input in [&input[..], b"a\n.b\n\n.\r", b"x\r\n.\r\r\r\n"] {
            let expected = whole(input);
            assert_eq!(scan(input.chunks(1)), expected);
            for at in 1..input.len() {
                assert_eq!(scan([&input[..at], &input[at..]].into_iter()), expected, "{at}");
            }
        }
    }
}
