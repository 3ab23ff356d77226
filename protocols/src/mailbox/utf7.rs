//! Modified UTF-7, the encoding of mailbox names on the wire (RFC 3501 section 5.1.3).
//!
//! `&` begins a run of modified base64 over UTF-16BE and `-` ends it; `&-` is `&`.

/// Why a text is no modified UTF-7, or a name no UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("modified UTF-7 malformed at {at}")]
pub struct Utf7Error {
    /// The byte offset at which reading stopped.
    pub at: usize,
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// Whether a name is well-formed, shortest modified UTF-7: ASCII only, every run non-empty, closed, of
/// whole UTF-16 without lone surrogates, encoding nothing that stands for itself, no two runs side by
/// side, unused bits zero.
pub fn is_valid(name: &[u8]) -> bool {
    decode(name, &mut |_| ()).is_ok()
}

/// The UTF-8 of a name in modified UTF-7.
///
/// # Errors: [`Utf7Error`] where [`is_valid`] says no.
pub fn to_utf8(name: &[u8]) -> Result<String, Utf7Error> {
    let mut text = String::with_capacity(name.len());
    decode(name, &mut |character| text.push(character))?;
    Ok(text)
}

fn decode(name: &[u8], out: &mut impl FnMut(char)) -> Result<(), Utf7Error> {
    let mut at = 0;
    let mut is_behind_run = false;
    while let Some(&byte) = name.get(at) {
        if byte != b'&' {
            if !byte.is_ascii() {
                return Err(Utf7Error { at });
            }
            out(char::from(byte));
            at += 1;
            is_behind_run = false;
            continue;
        }
        let length = memchr::memchr(b'-', &name[at..]).ok_or(Utf7Error { at })?;
        let run = &name[at + 1..at + length];
        if run.is_empty() {
            out('&');
            is_behind_run = false;
        } else if is_behind_run {
            return Err(Utf7Error { at });
        } else {
            decode_run(run, out).ok_or(Utf7Error { at })?;
            is_behind_run = true;
        }
        at += length + 1;
    }
    Ok(())
}

/// The characters of one run without its `&` and `-`.
fn decode_run(run: &[u8], out: &mut impl FnMut(char)) -> Option<()> {
    let (mut bits, mut bit_count) = (0u32, 0u32);
    let mut high = None;
    for &byte in run {
        bits = (bits << 6) | u32::from(sextet(byte)?);
        bit_count += 6;
        if bit_count < 16 {
            continue;
        }
        bit_count -= 16;
        let unit = bits >> bit_count & 0xFFFF;
        bits &= (1 << bit_count) - 1;
        match (high.take(), unit) {
            (None, 0xD800..=0xDBFF) => high = Some(unit),
            (None, _) => out(char::from_u32(unit).filter(|character| !is_plain(*character))?),
            (Some(high), 0xDC00..=0xDFFF) => {
                out(char::from_u32(0x10000 + ((high - 0xD800) << 10) + (unit - 0xDC00))?);
            }
            (Some(_), _) => return None,
        }
    }
    let is_whole = high.is_none() && bit_count < 6 && bits == 0;
    is_whole.then_some(())
}

fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b',' => Some(63),
        _ => None,
    }
}

/// What must not be encoded: all of ASCII, as Cyrus has it (control bytes are in no name at all).
fn is_plain(character: char) -> bool {
    character.is_ascii()
}

/// The modified UTF-7 of a name in UTF-8.
///
/// # Errors: [`Utf7Error`] at the first byte that is no UTF-8 or is a control character of ASCII.
pub fn from_utf8(name: &[u8]) -> Result<Vec<u8>, Utf7Error> {
    let text = std::str::from_utf8(name).map_err(|error| Utf7Error { at: error.valid_up_to() })?;
    let mut out = Vec::with_capacity(name.len() + 8);
    let mut run: Option<Run> = None;
    for (at, character) in text.char_indices() {
        if character.is_ascii_control() {
            return Err(Utf7Error { at });
        }
        if is_plain(character) {
            if let Some(open) = run.take() {
                open.close(&mut out);
            }
            out.push(character as u8);
            if character == '&' {
                out.push(b'-');
            }
            continue;
        }
        let open = run.get_or_insert_with(|| Run::open(&mut out));
        for unit in character.encode_utf16(&mut [0; 2]) {
            open.push(*unit, &mut out);
        }
    }
    if let Some(open) = run {
        open.close(&mut out);
    }
    Ok(out)
}

/// A base64 run being written.
#[derive(Default)]
struct Run {
    bits: u32,
    bit_count: u32,
}

impl Run {
    fn open(out: &mut Vec<u8>) -> Run {
        out.push(b'&');
        Run::default()
    }

    fn push(&mut self, unit: u16, out: &mut Vec<u8>) {
        self.bits = self.bits << 16 | u32::from(unit);
        self.bit_count += 16;
        while self.bit_count >= 6 {
            self.bit_count -= 6;
            out.push(ALPHABET[(self.bits >> self.bit_count & 63) as usize]);
        }
        self.bits &= (1 << self.bit_count) - 1;
    }

    fn close(self, out: &mut Vec<u8>) {
        if self.bit_count > 0 {
            out.push(ALPHABET[(self.bits << (6 - self.bit_count) & 63) as usize]);
        }
        out.push(b'-');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_answers_decode_and_encode() {
        let pairs: [(&[u8], &str); 6] = [
            (b"INBOX", "INBOX"),
            (b"&-", "&"),
            (b"Entw&APw-rfe", "Entw\u{fc}rfe"),
            (b"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/\u{53f0}\u{5317}/\u{65e5}\u{672c}\u{8a9e}"),
            (b"&2D3cAA-", "\u{1f400}"),
            (b"a&-&AOk-", "a&\u{e9}"),
        ];
        for (encoded, text) in pairs {
            assert_eq!(to_utf8(encoded).as_deref(), Ok(text));
            assert_eq!(from_utf8(text.as_bytes()).as_deref(), Ok(encoded));
        }
    }

    /// What Cyrus 3.6.1 answered to CREATE, but for the last three: Cyrus takes lone surrogates.
    #[test]
    fn malformed_and_longer_forms_are_refused() {
        for good in ["&AOk-", "&-", "&2D3cAA-", "a-b", "&AOkA6Q-"] {
            assert!(is_valid(good.as_bytes()), "{good}");
        }
        for bad in ["&AOk", "&AGE-", "&AOk-&AOk-", "&", "&A-", "&AO-", "&AOl-", "&AOkA-", "&A Ok-", "&AA0-"] {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
        for bad in ["&2D0-", "&3AA-", "&2D3YPQ-"] {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
        assert!(!is_valid("\u{e9}".as_bytes()));
    }

    #[test]
    fn bytes_that_are_no_utf8_are_refused_where_they_stand() {
        assert_eq!(from_utf8(b"ab\xff"), Err(Utf7Error { at: 2 }));
        assert_eq!(from_utf8(b"a\r"), Err(Utf7Error { at: 1 }));
        assert_eq!(to_utf8(b"ab&x"), Err(Utf7Error { at: 2 }));
    }

    proptest! {
        #[test]
        fn every_text_survives(text in "[^\\x00-\\x1f\\x7f]{0,40}") {
            let encoded = from_utf8(text.as_bytes()).unwrap();
            prop_assert!(is_valid(&encoded));
            prop_assert_eq!(to_utf8(&encoded).unwrap(), text);
        }

        #[test]
        fn what_is_valid_has_one_form(name in "[ab&A-D+,3-]{0,12}") {
            if let Ok(text) = to_utf8(name.as_bytes()) {
                prop_assert_eq!(from_utf8(text.as_bytes()).unwrap(), name.as_bytes());
            }
        }

        #[test]
        fn hostile_bytes_do_no_harm(name: Vec<u8>) {
            let _ = to_utf8(&name);
            let _ = from_utf8(&name);
        }
    }
}
