//! Mail whose bytes say whose it is and whether they are all there.

use crate::dice::Dice;

/// A message of `user`, at least as long as its header, with a body that follows from its seed.
pub fn write(user: &str, seed: u64, body_bytes: usize) -> Vec<u8> {
    let mut message = format!("Owner: {user}\r\nSeed: {seed}\r\nLength: {body_bytes}\r\n\r\n").into_bytes();
    let mut dice = Dice::new(seed);
    let end = message.len() + body_bytes;
    while message.len() < end {
        // Line ends and brackets among the bytes: what a careless scanner stumbles over.
        let word: &[u8] = match dice.below(16) {
            0 => b"\r\n",
            1 => b"A1 OK {5}\r\n",
            2 => b"* BYE\r\n",
            3 => b"{12+}\r\n",
            _ => b"abcdefgh",
        };
        message.extend_from_slice(word);
    }
    message.truncate(end);
    message
}

/// Whose a message is, and its seed, if it is whole.
pub fn check(message: &[u8]) -> Result<(&str, u64), &'static str> {
    let header_end = message.windows(4).position(|at| at == b"\r\n\r\n").ok_or("no header")?;
    let header = std::str::from_utf8(&message[..header_end]).map_err(|_| "header is no text")?;
    let field = |name: &str| {
        header
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .ok_or("a field is missing")
    };
    let user = field("Owner")?;
    let seed = field("Seed")?.parse().map_err(|_| "bad seed")?;
    let length = field("Length")?.parse().map_err(|_| "bad length")?;
    if write(user, seed, length) == message { Ok((user, seed)) } else { Err("bytes differ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_whole_or_found_out() {
        let message = write("u1", 7, 5000);
        assert_eq!(check(&message), Ok(("u1", 7)));
        let mut cut = message.clone();
        cut.remove(3000);
        assert!(check(&cut).is_err());
        let mut swapped = message;
        swapped.swap(100, 101);
        swapped[200] ^= 1;
        assert!(check(&swapped).is_err());
    }
}
