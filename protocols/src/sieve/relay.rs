//! Replies of a server on their way to the client: lines and their literals, up to the line with the status.

use super::grammar::{Status, status};
use crate::proxy::HEAD_BYTES_MAX;
use crate::wire::{line, literal};

/// Bytes of a literal of a server that is passed on at once.
const LITERAL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Where in a reply a server is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Reply {
    /// The line that goes on: `Some` behind a literal, with its status.
    line: Option<Option<Status>>,
}

/// What stands at the front of a server's input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Passed {
    /// So many bytes are the client's, and the reply goes on.
    On(u64),
    /// So many bytes are the client's, and the reply is over.
    Over(u64, Status),
    /// More are needed.
    More,
    /// No ManageSieve server says this.
    Broken(&'static str),
}

impl Reply {
    /// Whether the client has the beginning of a line and not its end.
    pub(super) fn is_inside(self) -> bool {
        self.line.is_some()
    }

    /// Measures as many whole lines as there are; a literal is passed with the line that announces it.
    pub(super) fn pass(&mut self, input: &[u8]) -> Passed {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            let line = match line::first(rest, HEAD_BYTES_MAX) {
                Ok(line) => line,
                Err(crate::wire::Error::Incomplete) if at > 0 => return Passed::On(at as u64),
                Err(crate::wire::Error::Incomplete) => return Passed::More,
                Err(_) => return Passed::Broken("line too long"),
            };
            let state = self.line.take().unwrap_or_else(|| status(line.content).map(|(status, _)| status));
            at += line.len;
            if let Some(announced) = announced(line.content) {
                if announced > LITERAL_BYTES_MAX {
                    return Passed::Broken("literal too long");
                }
                self.line = Some(state);
                return Passed::On(at as u64 + announced);
            }
            if let Some(status) = state {
                return Passed::Over(at as u64, status);
            }
        }
    }
}

/// The literal at the end of a line; what only looks like one stands inside quotes, whose closing mark is
/// behind it.
fn announced(content: &[u8]) -> Option<u64> {
    literal::at_line_end(content)
        .filter(|announced| announced.sync && !announced.binary)
        .map(|found| found.len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_ends_with_its_status_wherever_the_input_is_cut() {
        let whole = b"\"a\" ACTIVE\r\n{7}\r\nOK\r\nNO.\r\nNO (X) {4}\r\nOK\r\n\r\n\"next\"\r\n";
        let end = whole.len() - b"\"next\"\r\n".len();
        for cut in 1..whole.len() {
            let (mut reply, mut at, mut status) = (Reply::default(), 0, None);
            for part in [cut, whole.len()] {
                while at < part && status.is_none() {
                    match reply.pass(&whole[at..part]) {
                        Passed::On(n) => at += usize::try_from(n).unwrap(),
                        Passed::Over(n, is) => {
                            at += usize::try_from(n).unwrap();
                            status = Some(is);
                        }
                        Passed::More => break,
                        Passed::Broken(why) => panic!("{why}"),
                    }
                }
            }
            assert_eq!((at, status), (end, Some(Status::No)), "cut at {cut}");
        }
    }

    #[test]
    fn line_without_end_is_broken() {
        assert_eq!(Reply::default().pass(&[b'x'; HEAD_BYTES_MAX]), Passed::Broken("line too long"));
    }
}
