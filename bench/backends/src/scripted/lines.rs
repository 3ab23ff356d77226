//! What the line protocols share.

use memchr::{memchr, memmem, memrchr};

/// The first line without its end, and how many bytes it takes with it.
pub(super) fn line(input: &[u8]) -> Option<(&[u8], usize)> {
    let end = memchr(b'\n', input)?;
    let line = &input[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
}

/// The literal that a line (without its end) announces, and whether a go-ahead is awaited.
pub(super) fn literal(line: &[u8]) -> Option<(usize, bool)> {
    let inside = line.strip_suffix(b"}")?;
    let inside = &inside[memrchr(b'{', inside)? + 1..];
    let (digits, synchronising) = inside.strip_suffix(b"+").map_or((inside, true), |digits| (digits, false));
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, synchronising))
}

/// The first word and what follows it.
pub(super) fn word(line: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b' ', line) {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => (line, b""),
    }
}

/// The number at the start of a text.
pub(super) fn number(text: &[u8]) -> Option<usize> {
    let digits = text.iter().take_while(|c| c.is_ascii_digit()).count();
    std::str::from_utf8(&text[..digits]).ok()?.parse().ok()
}

/// How much of a dot-terminated text can be taken: all of it with its end (true), or what cannot be part of
/// the end. `at_line_start` tells where the input begins, and afterwards where the rest does.
pub(super) fn dotted(input: &[u8], at_line_start: &mut bool) -> (usize, bool) {
    if *at_line_start && input.starts_with(b".\r\n") {
        return (3, true);
    }
    if let Some(at) = memmem::find(input, b"\r\n.\r\n") {
        return (at + 5, true);
    }
    // The last bytes may be the beginning of the end.
    let end: &[u8] = b"\r\n.\r\n";
    let kept = (1..end.len().min(input.len() + 1)).rev().find(|n| input.ends_with(&end[..*n])).unwrap_or(0);
    let is_short = *at_line_start && b".\r\n".starts_with(input);
    let taken = if is_short { 0 } else { input.len() - kept };
    if taken > 0 {
        *at_line_start = false;
    }
    (taken, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_announced_at_the_end_only() {
        assert_eq!(literal(b"a APPEND x {12+}"), Some((12, false)));
        assert_eq!(literal(b"a LOGIN {3}"), Some((3, true)));
        assert_eq!(literal(b"a LOGIN {3} x"), None);
    }

    /// Takes a text in two pieces; returns whether its end was found, and what was left over.
    fn ends(text: &[u8], split: usize) -> (bool, Vec<u8>) {
        let (mut start, mut held) = (true, Vec::new());
        for piece in [&text[..split], &text[split..]] {
            held.extend_from_slice(piece);
            let (n, ended) = dotted(&held, &mut start);
            held.drain(..n);
            if ended {
                return (true, held);
            }
        }
        (false, held)
    }

    #[test]
    fn dot_alone_ends_a_text_at_any_split() {
        for text in [&b".\r\n"[..], b"a\r\n.\r\n", b"\r\n.\r\n", b"..\r\n.b\r\n\r\n.\r\n"] {
            for split in 0..=text.len() {
                let (ended, left) = ends(text, split);
                assert!(ended && left.is_empty(), "{split} of {text:?}");
            }
        }
        for text in [&b"a.\r\n"[..], b"a\r\n..\r\n", b"a\r\n.b\r\n"] {
            for split in 0..=text.len() {
                assert!(!ends(text, split).0, "{split} of {text:?}");
            }
        }
    }
}
