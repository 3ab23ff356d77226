//! The IMAP responder.

use super::dialogue::{Dialogue, Kind, Reply};
use super::{MESSAGE_KIB_MAX, lines};

const CAPABILITIES: &str =
    "IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE NAMESPACE UIDPLUS UNSELECT MOVE AUTH=PLAIN";

const SELECTED: &[u8] =
    b"* 65536 EXISTS\r\n* 0 RECENT\r\n* FLAGS (\\Answered \\Flagged \\Draft \\Deleted \\Seen)\r\n\
      * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Draft \\Deleted \\Seen \\*)] Ok\r\n\
      * OK [UIDVALIDITY 1] Ok\r\n* OK [UIDNEXT 65537] Ok\r\n* OK [HIGHESTMODSEQ 1] Ok\r\n";

/// The dialogue.
pub struct Imap;

/// What a command does, as far as the script tells them apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verb {
    Login,
    Select,
    Fetch,
    Append,
    Idle,
    Logout,
    /// Answered by OK and nothing else.
    Other,
}

/// Where in a command a connection is.
#[derive(Default)]
pub struct Progress {
    /// Bytes of a literal that are still to come.
    literal_left: usize,
    /// The command whose line is not finished: tag, verb, and the number behind it.
    open: Option<(Vec<u8>, Verb, usize)>,
    /// The tag of an IDLE or of an AUTHENTICATE without initial response; the next line ends it.
    answering: Option<(Vec<u8>, Verb)>,
}

impl Dialogue for Imap {
    type State = Progress;

    fn greeting(&self) -> String {
        format!("* OK [CAPABILITY {CAPABILITIES}] scripted backend ready\r\n")
    }

    fn take(&self, progress: &mut Progress, input: &[u8]) -> (usize, Option<Reply>) {
        if progress.literal_left > 0 {
            let skip = progress.literal_left.min(input.len());
            progress.literal_left -= skip;
            return (skip, None);
        }
        match lines::line(input) {
            Some((line, n)) => (n, take_line(progress, line)),
            None => (0, None),
        }
    }

    fn refusal(&self, reply: &Reply) -> Vec<u8> {
        [&reply.tag, &b" NO refused by the script\r\n"[..]].concat()
    }
}

fn take_line(progress: &mut Progress, line: &[u8]) -> Option<Reply> {
    if let Some((tag, verb)) = progress.answering.take() {
        return Some(answer(tag, verb, 0));
    }
    let (tag, verb, number) = progress.open.take().unwrap_or_else(|| head(line));
    if let Some((size, synchronising)) = lines::literal(line) {
        (progress.literal_left, progress.open) = (size, Some((tag, verb, number)));
        return synchronising.then(|| Reply::of(Kind::Continue, b"+ go ahead\r\n"));
    }
    if verb == Verb::Idle || (verb == Verb::Login && is_bare_authenticate(line)) {
        progress.answering = Some((tag, if verb == Verb::Idle { Verb::Other } else { verb }));
        return Some(Reply::of(Kind::Continue, b"+ \r\n"));
    }
    Some(answer(tag, verb, number))
}

fn answer(tag: Vec<u8>, verb: Verb, number: usize) -> Reply {
    let text: &[u8] = match verb {
        Verb::Login => b" OK [CAPABILITY IMAP4rev1 LITERAL+ IDLE UIDPLUS] User logged in\r\n",
        Verb::Select => b" OK [READ-WRITE] Completed\r\n",
        Verb::Append => b" OK [APPENDUID 1 65537] Completed\r\n",
        Verb::Idle | Verb::Other | Verb::Fetch | Verb::Logout => b" OK Completed\r\n",
    };
    let (mut head, mut body_bytes, mut tail) = (Vec::new(), 0, Vec::with_capacity(64));
    match verb {
        Verb::Select => head = SELECTED.to_vec(),
        Verb::Logout => head = b"* BYE LOGOUT received\r\n".to_vec(),
        Verb::Fetch => {
            body_bytes = number.min(MESSAGE_KIB_MAX) * 1024;
            head = format!("* {number} FETCH (BODY[] {{{body_bytes}}}\r\n").into_bytes();
            tail.extend_from_slice(b")\r\n");
        }
        Verb::Login | Verb::Append | Verb::Idle | Verb::Other => {}
    }
    tail.extend_from_slice(&tag);
    tail.extend_from_slice(text);
    let kind = match verb {
        Verb::Login => Kind::Login,
        Verb::Logout => Kind::Last,
        Verb::Select | Verb::Fetch | Verb::Append | Verb::Idle | Verb::Other => Kind::Command,
    };
    Reply { head, body_bytes, tail, tag, kind }
}

/// Tag, verb, and the first number among the arguments.
fn head(line: &[u8]) -> (Vec<u8>, Verb, usize) {
    let mut words = line.split(|c| *c == b' ');
    let tag = words.next().unwrap_or(b"").to_vec();
    let mut verb = words.next().unwrap_or(b"");
    if verb.eq_ignore_ascii_case(b"UID") {
        verb = words.next().unwrap_or(b"");
    }
    let is = |name: &str| verb.eq_ignore_ascii_case(name.as_bytes());
    let verb = match verb.first().map_or(0, u8::to_ascii_uppercase) {
        b'L' if is("LOGIN") => Verb::Login,
        b'A' if is("AUTHENTICATE") => Verb::Login,
        b'S' if is("SELECT") => Verb::Select,
        b'E' if is("EXAMINE") => Verb::Select,
        b'F' if is("FETCH") => Verb::Fetch,
        b'A' if is("APPEND") || is("LOCALAPPEND") => Verb::Append,
        b'I' if is("IDLE") => Verb::Idle,
        b'L' if is("LOGOUT") => Verb::Logout,
        _ => Verb::Other,
    };
    let number = words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
    (tag, verb, number.unwrap_or(1))
}

/// `AUTHENTICATE mechanism` with nothing behind it.
fn is_bare_authenticate(line: &[u8]) -> bool {
    let mut words = line.split(|c| *c == b' ').skip(1);
    words.next().is_some_and(|w| w.eq_ignore_ascii_case(b"AUTHENTICATE")) && words.count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_told_apart() {
        assert_eq!(head(b"a1 uid fetch 16 (BODY[])"), (b"a1".to_vec(), Verb::Fetch, 16));
        assert_eq!(head(b"a1 LOGOUT").1, Verb::Logout);
        assert_eq!(head(b"a1 LOGINX u p").1, Verb::Other);
        assert_eq!(head(b"").1, Verb::Other);
    }

    #[test]
    fn initial_response_is_not_waited_for() {
        assert!(is_bare_authenticate(b"a AUTHENTICATE PLAIN"));
        assert!(!is_bare_authenticate(b"a AUTHENTICATE PLAIN AHgAeA=="));
    }
}
