//! The LMTP responder: takes every message, and answers once for each recipient.
//!
//! Recipients whose names begin with `refuse` are refused for good, with `defer` for now; `fail` and `full`
//! are accepted and then fail with the message.

use super::dialogue::{Dialogue, Kind, Reply};
use super::lines;

/// The dialogue.
pub struct Lmtp;

/// Where a connection is.
#[derive(Default)]
pub struct Progress {
    /// What is said of each recipient that was accepted, when the message has come.
    recipients: Vec<&'static str>,
    has_sender: bool,
    expects: Expects,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Expects {
    #[default]
    Command,
    /// The answer to `AUTH PLAIN`.
    Response,
    /// A message; the flag tells whether a line begins.
    Message { at_line_start: bool },
}

impl Dialogue for Lmtp {
    type State = Progress;

    fn greeting(&self) -> String {
        "220 localhost scripted LMTP ready\r\n".to_owned()
    }

    fn take(&self, progress: &mut Progress, input: &[u8]) -> (usize, Option<Reply>) {
        if let Expects::Message { at_line_start } = &mut progress.expects {
            let (n, ended) = lines::dotted(input, at_line_start);
            return (n, ended.then(|| delivered(progress)));
        }
        let Some((line, n)) = lines::line(input) else { return (0, None) };
        let reply = match std::mem::take(&mut progress.expects) {
            Expects::Response => Reply::of(Kind::Login, b"235 Authenticated!\r\n"),
            Expects::Command | Expects::Message { .. } => command(progress, line),
        };
        (n, Some(reply))
    }

    fn refusal(&self, _: &Reply) -> Vec<u8> {
        b"451 4.3.0 refused by the script\r\n".to_vec()
    }
}

fn delivered(progress: &mut Progress) -> Reply {
    let text: String = progress.recipients.iter().copied().collect();
    *progress = Progress::default();
    Reply::to_command(text.as_bytes())
}

fn command(progress: &mut Progress, line: &[u8]) -> Reply {
    let (verb, rest) = lines::word(line);
    match verb.to_ascii_uppercase().as_slice() {
        b"LHLO" => Reply::to_command(
            b"250-localhost\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250-PIPELINING\r\n250-SIZE\r\n\
              250-IGNOREQUOTA\r\n250 AUTH PLAIN\r\n",
        ),
        b"AUTH" if rest.contains(&b' ') => Reply::of(Kind::Login, b"235 Authenticated!\r\n"),
        b"AUTH" => {
            progress.expects = Expects::Response;
            Reply::of(Kind::Continue, b"334 \r\n")
        }
        b"MAIL" => {
            (progress.has_sender, progress.recipients) = (true, Vec::new());
            Reply::to_command(b"250 2.1.0 ok\r\n")
        }
        b"RCPT" if !progress.has_sender => Reply::to_command(b"503 5.5.1 Need MAIL command\r\n"),
        b"RCPT" => recipient(progress, rest),
        b"DATA" if progress.recipients.is_empty() => Reply::to_command(b"503 5.5.1 No recipients\r\n"),
        b"DATA" => {
            progress.expects = Expects::Message { at_line_start: true };
            Reply::of(Kind::Continue, b"354 go ahead\r\n")
        }
        b"RSET" => {
            *progress = Progress::default();
            Reply::to_command(b"250 2.0.0 ok\r\n")
        }
        b"NOOP" | b"VRFY" => Reply::to_command(b"250 2.0.0 ok\r\n"),
        b"QUIT" => Reply::of(Kind::Last, b"221 2.0.0 bye\r\n"),
        _ => Reply::to_command(b"500 5.5.2 Syntax error\r\n"),
    }
}

fn recipient(progress: &mut Progress, argument: &[u8]) -> Reply {
    let name = argument.iter().position(|c| *c == b'<').map_or(argument, |at| &argument[at + 1..]);
    let is = |word: &str| name.get(..word.len()).is_some_and(|n| n.eq_ignore_ascii_case(word.as_bytes()));
    if is("refuse") {
        return Reply::to_command(b"550 5.1.1 User unknown\r\n");
    }
    if is("defer") {
        return Reply::to_command(b"451 4.3.2 System not accepting network messages\r\n");
    }
    progress.recipients.push(match () {
        () if is("fail") => "451 4.3.0 System I/O error\r\n",
        () if is("full") => "552 5.2.2 Over quota\r\n",
        () => "250 2.1.5 Ok SESSIONID=<scripted>\r\n",
    });
    Reply::to_command(b"250 2.1.5 ok\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TALK: &[u8] =
        b"LHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<u1>\r\nRCPT TO:<refuse1>\r\nRCPT TO:<full>\r\n\
        DATA\r\nSubject: x\r\n\r\n..\r\n.\r\nQUIT\r\n";

    fn talk(pieces: impl Iterator<Item = &'static [u8]>) -> String {
        let (mut progress, mut held, mut said) = (Progress::default(), Vec::new(), Vec::new());
        for piece in pieces {
            held.extend_from_slice(piece);
            loop {
                let (n, reply) = Lmtp.take(&mut progress, &held);
                held.drain(..n);
                if n == 0 && reply.is_none() {
                    break;
                }
                said.extend(reply.map(|reply| reply.head).unwrap_or_default());
            }
        }
        String::from_utf8(said).unwrap()
    }

    #[test]
    fn each_accepted_recipient_gets_an_answer_at_any_split() {
        let whole = talk(std::iter::once(TALK));
        let (_, end) = whole.split_once("354 go ahead\r\n").unwrap();
        assert_eq!(end, "250 2.1.5 Ok SESSIONID=<scripted>\r\n552 5.2.2 Over quota\r\n221 2.0.0 bye\r\n");
        assert_eq!(talk(TALK.chunks(1)), whole);
        for at in 1..TALK.len() {
            assert_eq!(talk([&TALK[..at], &TALK[at..]].into_iter()), whole, "{at}");
        }
    }

    #[test]
    fn message_without_recipients_is_not_asked_for() {
        let said = talk(std::iter::once(&b"MAIL FROM:<>\r\nRCPT TO:<defer1>\r\nDATA\r\nNOOP\r\n"[..]));
        assert!(said.ends_with(
            "451 4.3.2 System not accepting network messages\r\n503 5.5.1 No recipients\r\n250 2.0.0 ok\r\n"
        ));
    }
}
