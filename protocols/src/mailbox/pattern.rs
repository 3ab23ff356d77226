//! LIST patterns over external names: `*` matches anything, `%` anything but the separator.

/// Bytes of a pattern with its reference; longer ones match nothing a mailbox is called.
pub const PATTERN_BYTES_MAX: usize = 1023;

/// A reference and a pattern put together (RFC 3501 section 6.3.8), ready to match.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    text: Box<[u8]>,
    separator: u8,
    /// Bytes before the first wildcard.
    literal: usize,
    /// Over [`PATTERN_BYTES_MAX`]: matches nothing.
    too_long: bool,
}

impl Pattern {
    /// Puts a pattern behind its reference as Cyrus does: a separator at the end of the one and at the
    /// beginning of the other is one; runs of wildcards shrink to one.
    pub fn new(reference: &[u8], pattern: &[u8], separator: u8) -> Pattern {
        let too_long = reference.len() + pattern.len() > PATTERN_BYTES_MAX;
        let text = if too_long { Vec::new() } else { canonical(reference, pattern, separator) };
        let literal = text.iter().position(|byte| is_wildcard(*byte)).unwrap_or(text.len());
        Pattern { text: text.into(), separator, literal, too_long }
    }

    /// The whole pattern after the reference was applied.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// What every match begins with, but for the case of INBOX.
    pub fn prefix(&self) -> &[u8] {
        &self.text[..self.literal]
    }

    /// Whether the pattern has no wildcard.
    pub fn is_literal(&self) -> bool {
        self.literal == self.text.len()
    }

    /// Whether an external name matches as a whole. A first component INBOX matches in any case.
    pub fn matches(&self, external: &[u8]) -> bool {
        if self.too_long {
            return false;
        }
        let inbox = inbox_bytes(external, self.separator);
        let same = |pattern: u8, name_at: usize| {
            let byte = external[name_at];
            byte == pattern || (name_at < inbox && byte.eq_ignore_ascii_case(&pattern))
        };
        glob(&self.text, external.len(), |at| external[at] == self.separator, same)
    }
}

/// Bytes of a first component that is INBOX, else 0.
fn inbox_bytes(external: &[u8], separator: u8) -> usize {
    let is_inbox = external.len() >= 5
        && external[..5].eq_ignore_ascii_case(b"INBOX")
        && (external.len() == 5 || external[5] == separator);
    if is_inbox { 5 } else { 0 }
}

fn is_wildcard(byte: u8) -> bool {
    matches!(byte, b'*' | b'%')
}

/// Reference and pattern joined, runs of wildcards shrunk: `*` swallows every `%` beside it.
fn canonical(reference: &[u8], pattern: &[u8], separator: u8) -> Vec<u8> {
    let joins_twice = reference.last() == Some(&separator) && pattern.first() == Some(&separator);
    let pattern = if joins_twice { &pattern[1..] } else { pattern };
    let mut text: Vec<u8> = Vec::with_capacity(reference.len() + pattern.len());
    for &byte in reference.iter().chain(pattern) {
        match (text.last_mut(), byte) {
            (Some(b'*'), b'*' | b'%') | (Some(b'%'), b'%') => {}
            (Some(last @ b'%'), b'*') => *last = b'*',
            _ => text.push(byte),
        }
    }
    text
}

/// Matches with one step back per kind of wildcard, so in time pattern × name at worst: a later `*`
/// makes every choice before it final, and a `%` can be lengthened only within its component.
fn glob(
    pattern: &[u8],
    name_length: usize,
    is_separator: impl Fn(usize) -> bool,
    same: impl Fn(u8, usize) -> bool,
) -> bool {
    let (mut at, mut name_at) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    let mut percent = None;
    loop {
        match pattern.get(at) {
            Some(b'*') => {
                at += 1;
                star = Some((at, name_at));
                percent = None;
                continue;
            }
            Some(b'%') => {
                at += 1;
                percent = Some((at, name_at));
                continue;
            }
            Some(byte) if name_at < name_length && same(*byte, name_at) => {
                at += 1;
                name_at += 1;
                continue;
            }
            None if name_at == name_length => return true,
            Some(_) | None => {}
        }
        if let Some((behind, from)) = percent
            && from < name_length
            && !is_separator(from)
        {
            percent = Some((behind, from + 1));
            (at, name_at) = (behind, from + 1);
        } else if let Some((behind, from)) = star
            && from < name_length
        {
            star = Some((behind, from + 1));
            percent = None;
            (at, name_at) = (behind, from + 1);
        } else {
            return false;
        }
    }
}
