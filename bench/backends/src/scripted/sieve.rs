//! The ManageSieve responder: one script, the same for everybody.

use super::dialogue::{Dialogue, Kind, Reply};
use super::lines;

const CAPABILITIES: &str = "\"IMPLEMENTATION\" \"scripted\"\r\n\"VERSION\" \"1.0\"\r\n\"SASL\" \"PLAIN\"\r\n\
    \"SIEVE\" \"fileinto reject vacation\"\r\n\"UNAUTHENTICATE\"\r\n";

/// The dialogue.
pub struct Sieve;

/// Where a connection is.
#[derive(Default)]
pub struct Progress {
    literal_left: usize,
    /// The command whose line goes on behind a literal.
    open: Option<Vec<u8>>,
    /// The next line is the answer to an AUTHENTICATE without initial response.
    answering: bool,
}

impl Dialogue for Sieve {
    type State = Progress;

    fn greeting(&self) -> String {
        format!("{CAPABILITIES}OK \"scripted backend ready\"\r\n")
    }

    fn take(&self, progress: &mut Progress, input: &[u8]) -> (usize, Option<Reply>) {
        if progress.literal_left > 0 {
            let skip = progress.literal_left.min(input.len());
            progress.literal_left -= skip;
            return (skip, None);
        }
        let Some((line, n)) = lines::line(input) else { return (0, None) };
        let begun = progress.open.take().unwrap_or_else(|| lines::word(line).0.to_ascii_uppercase());
        if let Some((size, synchronising)) = lines::literal(line) {
            (progress.literal_left, progress.open) = (size, Some(begun));
            // There is no go-ahead in this protocol: a synchronising literal is an error of the client.
            return (n, synchronising.then(|| Reply::of(Kind::Last, b"BYE \"expected {n+}\"\r\n")));
        }
        if std::mem::take(&mut progress.answering) {
            return (n, Some(Reply::of(Kind::Login, b"OK\r\n")));
        }
        if begun == b"AUTHENTICATE" && line.split(|c| *c == b' ').count() == 2 && line.ends_with(b"\"") {
            progress.answering = true;
            return (n, Some(Reply::of(Kind::Continue, b"\"\"\r\n")));
        }
        (n, Some(answer(&begun)))
    }

    fn refusal(&self, _: &Reply) -> Vec<u8> {
        b"NO \"refused by the script\"\r\n".to_vec()
    }
}

fn answer(verb: &[u8]) -> Reply {
    match verb {
        b"AUTHENTICATE" => Reply::of(Kind::Login, b"OK\r\n"),
        b"CAPABILITY" => Reply::to_command(format!("{CAPABILITIES}OK\r\n").as_bytes()),
        b"LISTSCRIPTS" => Reply::to_command(b"\"main\" ACTIVE\r\nOK\r\n"),
        b"GETSCRIPT" => Reply::to_command(b"{7}\r\nkeep;\r\n\r\nOK\r\n"),
        b"LOGOUT" => Reply::of(Kind::Last, b"OK \"Logout Complete\"\r\n"),
        b"NOOP" | b"PUTSCRIPT" | b"CHECKSCRIPT" | b"SETACTIVE" | b"DELETESCRIPT" | b"RENAMESCRIPT"
        | b"HAVESPACE" | b"UNAUTHENTICATE" => Reply::to_command(b"OK\r\n"),
        _ => Reply::to_command(b"NO \"not in the script\"\r\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TALK: &[u8] = b"AUTHENTICATE \"PLAIN\" {8+}\r\nAHUAcA==\r\nPUTSCRIPT \"a\" {6+}\r\nOK\r\nx;\r\n\
        AUTHENTICATE \"PLAIN\"\r\n\"AHUAcA==\"\r\nLOGOUT\r\n";

    fn talk(pieces: impl Iterator<Item = &'static [u8]>) -> Vec<(Kind, Vec<u8>)> {
        let (mut progress, mut held, mut said) = (Progress::default(), Vec::new(), Vec::new());
        for piece in pieces {
            held.extend_from_slice(piece);
            loop {
                let (n, reply) = Sieve.take(&mut progress, &held);
                held.drain(..n);
                if n == 0 && reply.is_none() {
                    break;
                }
                said.extend(reply.map(|reply| (reply.kind, reply.head)));
            }
        }
        said
    }

    #[test]
    fn literals_are_no_commands_at_any_split() {
        let whole = talk(std::iter::once(TALK));
        let kinds: Vec<Kind> = whole.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [Kind::Login, Kind::Command, Kind::Continue, Kind::Login, Kind::Last]);
        assert_eq!(talk(TALK.chunks(1)), whole);
    }
}
