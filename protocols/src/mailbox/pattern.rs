//! LIST patterns over external names: `*` matches anything, `%` anything but the separator.

use super::names::NAME_BYTES_MAX;

/// Bytes of a pattern with its reference; a longer one matches nothing.
pub const PATTERN_BYTES_MAX: usize = 1023;
/// Wildcards of a pattern; one with more matches nothing. Clients use one or two.
pub const WILDCARDS_MAX: usize = 64;

/// A reference and a pattern put together (RFC 3501 section 6.3.8), ready to match.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    text: Box<[u8]>,
    separator: u8,
    /// Bytes before the first wildcard.
    literal: usize,
    /// The last character is `%`, as typed.
    ends_with_percent: bool,
    /// Over one of the limits: matches nothing.
    is_too_much: bool,
}

impl Pattern {
    /// Puts a pattern behind its reference as Cyrus does: a separator at the end of the one and at the
    /// beginning of the other is one; runs of wildcards shrink to one. A first component INBOX
    /// in any case is made upper case, as it stands in names.
    ///
    /// Deviates: to Cyrus `LIST "" inbox` is another name than the INBOX.
    pub fn new(reference: &[u8], pattern: &[u8], separator: u8) -> Pattern {
        let is_too_long = reference.len() + pattern.len() > PATTERN_BYTES_MAX;
        let text = if is_too_long { Vec::new() } else { canonical(reference, pattern, separator) };
        let wildcards = text.iter().filter(|byte| is_wildcard(**byte)).count();
        let literal = text.iter().position(|byte| is_wildcard(*byte)).unwrap_or(text.len());
        let is_too_much = is_too_long || wildcards > WILDCARDS_MAX;
        let ends_with_percent = pattern.last().or(reference.last()) == Some(&b'%');
        Pattern { text: text.into(), separator, literal, ends_with_percent, is_too_much }
    }

    /// The whole pattern after the reference was applied.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// What every match begins with.
    pub fn prefix(&self) -> &[u8] {
        &self.text[..self.literal]
    }

    /// Whether "matching levels of hierarchy are also returned" (RFC 3501 section 6.3.8): names above
    /// mailboxes that are none themselves.
    pub fn returns_levels(&self) -> bool {
        self.ends_with_percent || self.is_literal()
    }

    /// Whether the pattern has no wildcard.
    pub fn is_literal(&self) -> bool {
        self.literal == self.text.len()
    }

    /// Whether an external name matches as a whole. Takes time wildcards × name at worst.
    pub fn matches(&self, external: &[u8]) -> bool {
        if self.is_too_much || external.len() > NAME_BYTES_MAX {
            return false;
        }
        let Some(name) = external.strip_prefix(self.prefix()) else { return false };
        match &self.text[self.literal..] {
            b"" => name.is_empty(),
            b"*" => true,
            b"%" => !name.contains(&self.separator),
            wild => glob(wild, name, self.separator),
        }
    }
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
    let first = text.iter().position(|byte| *byte == separator).unwrap_or(text.len());
    if text[..first].eq_ignore_ascii_case(b"INBOX") {
        text[..first].make_ascii_uppercase();
    }
    text
}

/// A set of places in a name.
#[derive(Clone, Copy, Default)]
struct Places([u64; (NAME_BYTES_MAX + 1).div_ceil(64)]);

impl Places {
    fn insert(&mut self, place: usize) {
        self.0[place / 64] |= 1 << (place % 64);
    }

    fn contains(&self, place: usize) -> bool {
        self.0[place / 64] & (1 << (place % 64)) != 0
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

/// Matches a pattern that begins with a wildcard: from the places where a wildcard may begin, finds
/// those where the next one may.
fn glob(mut pattern: &[u8], name: &[u8], separator: u8) -> bool {
    let mut begins = Places::default();
    begins.insert(0);
    while let Some((&wildcard, behind)) = pattern.split_first() {
        let length = behind.iter().position(|byte| is_wildcard(*byte)).unwrap_or(behind.len());
        let (literal, rest) = behind.split_at(length);
        let mut ends = Places::default();
        let mut is_open = false;
        for place in 0..=name.len() {
            is_open |= begins.contains(place);
            if is_open && name[place..].starts_with(literal) {
                ends.insert(place + length);
            }
            if wildcard == b'%' && name.get(place) == Some(&separator) {
                is_open = false;
            }
        }
        if ends.is_empty() {
            return false;
        }
        begins = ends;
        pattern = rest;
    }
    begins.contains(name.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(reference: &str, pattern: &str, name: &str) -> bool {
        Pattern::new(reference.as_bytes(), pattern.as_bytes(), b'.').matches(name.as_bytes())
    }

    #[test]
    fn percent_stops_at_the_separator_and_star_does_not() {
        assert!(matches("", "*", "INBOX.Work.Projects"));
        assert!(matches("", "%", "INBOX"));
        assert!(!matches("", "%", "INBOX.Work"));
        assert!(matches("", "INBOX.%", "INBOX.Work"));
        assert!(!matches("", "INBOX.%", "INBOX.Work.Projects"));
        assert!(!matches("", "INBOX.%", "INBOX"));
        assert!(matches("", "%.%", "INBOX.Work"));
        assert!(matches("", "*.Direct", "INBOX.a.Direct"));
        assert!(matches("", "team%", "team01"));
        assert!(!matches("", "team%", "team01.docs"));
        assert!(matches("", "INBOX*", "INBOX"));
    }

    #[test]
    fn reference_is_put_before_with_one_separator_between() {
        for (reference, pattern) in [("INBOX.", "%"), ("INBOX", ".%"), ("INBOX.", ".%")] {
            assert!(matches(reference, pattern, "INBOX.Sent"), "{reference} {pattern}");
            assert!(!matches(reference, pattern, "Sent"), "{reference} {pattern}");
        }
        assert_eq!(Pattern::new(b"user.", b"f*", b'.').prefix(), b"user.f");
    }

    #[test]
    fn inbox_in_any_case_is_the_inbox_where_it_stands_alone() {
        assert!(matches("", "inbox", "INBOX"));
        assert!(matches("", "InBox.S%", "INBOX.Sent"));
        assert!(!matches("", "inbox.s%", "INBOX.Sent"));
        assert!(!matches("", "inb*", "INBOX"));
        assert!(!matches("", "inboxes", "INBOXES"));
        assert_eq!(Pattern::new(b"", b"inbox.%", b'.').prefix(), b"INBOX.");
    }

    #[test]
    fn runs_of_wildcards_are_one() {
        assert_eq!(Pattern::new(b"a%%", b"%*%b%*", b'.').text(), b"a*b*");
        assert_eq!(Pattern::new(b"", b"%%%", b'.').text(), b"%");
    }

    #[test]
    fn pattern_over_a_limit_matches_nothing() {
        assert!(!matches("", &"*".repeat(PATTERN_BYTES_MAX + 1), "a"));
        let most = "%a".repeat(WILDCARDS_MAX);
        assert!(matches("", &most, &"a".repeat(WILDCARDS_MAX)));
        assert!(!matches("", &(most + "%a"), &"a".repeat(WILDCARDS_MAX + 1)));
    }

    #[test]
    fn longest_name_and_hostile_pattern_are_matched() {
        let name = "a".repeat(NAME_BYTES_MAX);
        assert!(matches("", "*a%a%a%a*a%", &name));
        assert!(!matches("", "*a%a%a%a*a%b", &name));
        assert!(!matches("", "*", &(name + "a")));
    }

    /// The definition of a match, word for word and slow.
    fn oracle(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|n| oracle(rest, &name[n..])),
            Some((b'%', rest)) => {
                let component = name.iter().position(|byte| *byte == b'.').unwrap_or(name.len());
                (0..=component).any(|n| oracle(rest, &name[n..]))
            }
            Some((byte, rest)) => name.first() == Some(byte) && oracle(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn matches_as_the_definition_does(pattern in "[ab.%*]{0,9}", name in "[ab.]{0,10}") {
            prop_assert_eq!(matches("", &pattern, &name), oracle(pattern.as_bytes(), name.as_bytes()));
        }

        #[test]
        fn every_match_begins_with_the_prefix(pattern in "[a.%*]{0,6}", name in "[a.]{0,8}") {
            let pattern = Pattern::new(b"", pattern.as_bytes(), b'.');
            if pattern.matches(name.as_bytes()) {
                prop_assert!(name.as_bytes().starts_with(pattern.prefix()));
                prop_assert!(!pattern.is_literal() || name.as_bytes() == pattern.prefix());
            }
        }

        #[test]
        fn hostile_bytes_do_no_harm(a: Vec<u8>, b: Vec<u8>, name: Vec<u8>, separator: u8) {
            let _ = Pattern::new(&a, &b, separator).matches(&name);
        }
    }
}
