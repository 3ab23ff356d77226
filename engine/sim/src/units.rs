//! Cuts a stream of bytes into lines together with the literals that they announce.

/// Bytes of one unit with its literals; past it the stream is no IMAP of this world.
const UNIT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What stands at the front of a stream.
#[derive(PartialEq, Eq, Debug)]
pub enum Unit {
    /// A whole line with its literals, without the last line end.
    Whole(Vec<u8>),
    /// A synchronising literal was announced: somebody waits for a go-ahead.
    Announced,
    /// More bytes are needed.
    Incomplete,
}

/// Collects units.
#[derive(Default)]
pub struct Units {
    bytes: Vec<u8>,
    /// Bytes of the unit in progress that were looked at.
    seen: usize,
    /// The literal that is awaited was told of.
    told: bool,
}

impl Units {
    /// Appends what came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether a unit has begun and is not whole.
    pub fn is_inside(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// The next unit. `announces` is told once for each synchronising literal.
    pub fn poll(&mut self) -> Unit {
        assert!(self.bytes.len() <= UNIT_BYTES_MAX, "a unit of {} bytes", self.bytes.len());
        loop {
            let Some(end) = self.bytes[self.seen..].windows(2).position(|at| at == b"\r\n") else {
                return Unit::Incomplete;
            };
            let line_end = self.seen + end;
            let Some((length, synchronising)) = announced(&self.bytes[self.seen..line_end]) else {
                let rest = self.bytes.split_off(line_end + 2);
                let mut unit = std::mem::replace(&mut self.bytes, rest);
                unit.truncate(line_end);
                self.seen = 0;
                return Unit::Whole(unit);
            };
            let literal_end = line_end + 2 + length;
            if self.bytes.len() < literal_end {
                // Nothing of a synchronising literal comes before the go-ahead.
                let waits = synchronising && !self.told && self.bytes.len() == line_end + 2;
                self.told |= waits;
                return if waits { Unit::Announced } else { Unit::Incomplete };
            }
            self.seen = literal_end;
            self.told = false;
        }
    }
}

/// The literal at the end of a line: its length, and whether it waits for a go-ahead.
fn announced(line: &[u8]) -> Option<(usize, bool)> {
    let inner = line.strip_suffix(b"}")?;
    let open = inner.iter().rposition(|byte| *byte == b'{')?;
    let digits = &inner[open + 1..];
    let (digits, synchronising) = match digits.strip_suffix(b"+") {
        Some(digits) => (digits, false),
        None => (digits, true),
    };
    let text = std::str::from_utf8(digits).ok()?;
    Some((text.parse().ok()?, synchronising))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_holds_its_literals_whatever_the_split() {
        let stream = b"a APPEND x {5+}\r\n{1}\r\n FLAGS {2}\r\n\r\n\r\nnext\r\n";
        for split in 0..stream.len() {
            let mut units = Units::default();
            units.push(&stream[..split]);
            let mut found = Vec::new();
            while let Unit::Whole(unit) = units.poll() {
                found.push(unit);
            }
            units.push(&stream[split..]);
            while let Unit::Whole(unit) = units.poll() {
                found.push(unit);
            }
            assert_eq!(found, [b"a APPEND x {5+}\r\n{1}\r\n FLAGS {2}\r\n\r\n".to_vec(), b"next".to_vec()]);
        }
    }

    #[test]
    fn a_synchronising_literal_is_told_of_once() {
        let mut units = Units::default();
        units.push(b"a LOGIN {2}\r\n");
        assert_eq!(units.poll(), Unit::Announced);
        assert_eq!(units.poll(), Unit::Incomplete);
        units.push(b"me x\r\n");
        assert_eq!(units.poll(), Unit::Whole(b"a LOGIN {2}\r\nme x".to_vec()));
    }
}
