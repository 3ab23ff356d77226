//! Finds the end of an answer in a stream: tagged lines, continuations, literals skipped.

/// A line that is kept past this is none of a mail server.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// What a line was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    /// The first line of a connection.
    Greeting,
    /// `a OK`.
    Ok,
    /// `a NO`, `a BAD`, or what else ends a command.
    Refused,
    /// `+`.
    GoAhead,
}

/// Reads answers of commands whose tag is `a`.
#[derive(Default)]
pub(super) struct Reader {
    literal_left: usize,
    /// The head of a line whose end has not come.
    partial: Vec<u8>,
    greeted: bool,
}

impl Reader {
    /// Takes bytes up to the first line that matters; returns how many, and what it was.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> (usize, Option<Seen>) {
        let mut at = 0;
        loop {
            let skip = self.literal_left.min(bytes.len() - at);
            self.literal_left -= skip;
            at += skip;
            let Some(end) = bytes[at..].iter().position(|c| *c == b'\n') else {
                if self.partial.len() < LINE_BYTES_MAX {
                    self.partial.extend_from_slice(&bytes[at..]);
                }
                return (bytes.len(), None);
            };
            let rest = &bytes[at..at + end];
            at += end + 1;
            let seen = if self.partial.is_empty() {
                self.line(rest)
            } else {
                let mut line = std::mem::take(&mut self.partial);
                line.extend_from_slice(rest);
                self.line(&line)
            };
            if seen.is_some() {
                return (at, seen);
            }
        }
    }

    fn line(&mut self, line: &[u8]) -> Option<Seen> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(size) = literal(line) {
            self.literal_left = size;
            return None;
        }
        let first = !std::mem::replace(&mut self.greeted, true);
        match line {
            _ if first => Some(if line.starts_with(b"* OK") { Seen::Greeting } else { Seen::Refused }),
            [b'a', b' ', b'O', b'K', ..] => Some(Seen::Ok),
            [b'a', b' ', ..] => Some(Seen::Refused),
            [b'+', ..] => Some(Seen::GoAhead),
            _ => None,
        }
    }
}

fn literal(line: &[u8]) -> Option<usize> {
    let inside = line.strip_suffix(b"}")?;
    let open = inside.iter().rposition(|c| *c == b'{')?;
    std::str::from_utf8(&inside[open + 1..]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] =
        b"* OK hello\r\n* 1 FETCH (BODY[] {7}\r\na OK x\n)\r\na OK done\r\n+ go\r\na NO never\r\n";

    fn read_in(pieces: impl Iterator<Item = &'static [u8]>) -> Vec<Seen> {
        let mut reader = Reader::default();
        let mut seen = Vec::new();
        for piece in pieces {
            let mut at = 0;
            while at < piece.len() {
                let (n, what) = reader.feed(&piece[at..]);
                at += n;
                seen.extend(what);
            }
        }
        seen
    }

    #[test]
    fn tag_inside_a_literal_is_no_answer_at_any_split() {
        let expected = [Seen::Greeting, Seen::Ok, Seen::GoAhead, Seen::Refused];
        assert_eq!(read_in(std::iter::once(ANSWER)), expected);
        assert_eq!(read_in(ANSWER.chunks(1)), expected);
        for at in 1..ANSWER.len() {
            assert_eq!(read_in([&ANSWER[..at], &ANSWER[at..]].into_iter()), expected, "{at}");
        }
    }
}
