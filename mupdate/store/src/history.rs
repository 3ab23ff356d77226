//! The history of a list as it is stored, and names for new epochs.
//!
//! ```text
//!   epochs   *(first (8 octets), length (1 octet), name)      position   sequence (8 octets), name
//! ```

use std::fs::OpenOptions;
use std::io::{self, Read};

use mupdate::directory::{Epoch, History};
use protocols::proxy::Position;

/// Octets of randomness in a name: no two epochs have the same.
const NAME_RANDOM_BYTES: usize = 16;

/// A name that no other epoch has.
pub(crate) fn new_name() -> io::Result<Box<str>> {
    let mut random = [0; NAME_RANDOM_BYTES];
    OpenOptions::new().read(true).open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().map(|octet| format!("{octet:02x}")).collect::<String>().into())
}

pub(crate) fn encode(history: &History) -> Vec<u8> {
    let mut out = Vec::new();
    for Epoch { name, first } in &history.0 {
        // Names are 32 octets, those of older versions too.
        let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
        out.extend_from_slice(&first.to_be_bytes());
        out.push(len);
        out.extend_from_slice(&name.as_bytes()[..usize::from(len)]);
    }
    out
}

/// Reads a history; `None` when it makes no sense.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<History> {
    let mut history = History::default();
    while !bytes.is_empty() {
        let (first, rest) = bytes.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*len))?;
        history.begin(std::str::from_utf8(name).ok()?.into(), u64::from_be_bytes(*first));
        bytes = rest;
    }
    Some(history)
}

pub(crate) fn encode_position(position: &Position) -> Vec<u8> {
    [&position.sequence.to_be_bytes()[..], position.epoch.as_bytes()].concat()
}

/// Reads a position; `None` when it makes no sense.
pub(crate) fn decode_position(bytes: &[u8]) -> Option<Position> {
    let (sequence, epoch) = bytes.split_first_chunk::<8>()?;
    let epoch = std::str::from_utf8(epoch).ok()?.into();
    Some(Position { epoch, sequence: u64::from_be_bytes(*sequence) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_leads_back_to_itself() {
        let mut history = History::default();
        history.begin(new_name().unwrap(), 0);
        history.begin(new_name().unwrap(), 700);
        assert_ne!(history.0[0].name, history.0[1].name);
        let bytes = encode(&history);
        assert_eq!(decode(&bytes), Some(history));
        for cut in 1..bytes.len() {
            assert!(decode(&bytes[..cut]).is_none_or(|part| part.0.len() == 1));
        }
        let position = Position { epoch: "abc".into(), sequence: 9 };
        assert_eq!(decode_position(&encode_position(&position)), Some(position));
        assert_eq!(decode_position(b"1234567"), None);
    }
}
