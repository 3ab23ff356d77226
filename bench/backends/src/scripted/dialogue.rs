//! Serves a protocol to any number of connections.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use super::MESSAGE_KIB_MAX;
use super::conduct::{Conduct, Judge, Verdict};
use crate::net::{ConnectionId, Handler, Outbox};

/// A line past this ends the connection.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// The message of all backends of a process; a shorter one is its beginning.
static BODY: LazyLock<Arc<[u8]>> = LazyLock::new(|| {
    let line = b"This line is repeated until the message is as long as its number says, in KiB.\r\n";
    let mut body = line.repeat((MESSAGE_KIB_MAX * 1024).div_ceil(line.len()));
    body.truncate(MESSAGE_KIB_MAX * 1024);
    body.into()
});

/// What a protocol says to what.
pub trait Dialogue {
    /// Where one connection is.
    type State: Default;

    /// What is said first.
    fn greeting(&self) -> String;

    /// Takes what can be taken from the front of the input, up to one reply: how many bytes, and the reply.
    fn take(&self, state: &mut Self::State, input: &[u8]) -> (usize, Option<Reply>);

    /// What is said in the place of a reply that is refused.
    fn refusal(&self, reply: &Reply) -> Vec<u8>;
}

/// An answer: `head`, then `body_bytes` of a message that is the same for all, then `tail`.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What comes first.
    pub head: Vec<u8>,
    /// How much of a message follows.
    pub body_bytes: usize,
    /// What comes last.
    pub tail: Vec<u8>,
    /// The tag of the command, where the protocol has them.
    pub tag: Vec<u8>,
    /// What kind of an answer it is.
    pub kind: Kind,
}

/// What delays and faults do to an answer.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Delays and faults of a command.
    #[default]
    Command,
    /// The delay of a login.
    Login,
    /// Said at once: no command ends with it.
    Continue,
    /// As a command, and the connection ends.
    Last,
}

impl Reply {
    /// A few words to a command.
    pub fn to_command(words: &[u8]) -> Reply {
        Reply { head: words.to_vec(), ..Reply::default() }
    }

    /// A few words of this kind.
    pub fn of(kind: Kind, words: &[u8]) -> Reply {
        Reply { head: words.to_vec(), kind, ..Reply::default() }
    }
}

/// The handler that serves a dialogue.
pub struct Scripted<D: Dialogue> {
    dialogue: D,
    judge: Judge,
    body: Arc<[u8]>,
    connections: Vec<Connection<D::State>>,
    late: VecDeque<(Instant, ConnectionId, Reply, bool)>,
}

#[derive(Default)]
struct Connection<S> {
    state: S,
    /// Answers of this connection that are in `late`: what follows waits for them, or order is lost.
    late: usize,
}

impl<D: Dialogue> Scripted<D> {
    /// Serves a dialogue.
    pub fn new(dialogue: D, conduct: Conduct) -> Scripted<D> {
        let (connections, late) = (Vec::new(), VecDeque::new());
        Scripted { dialogue, judge: Judge::new(conduct), body: Arc::clone(&BODY), connections, late }
    }

    fn reply(&mut self, id: ConnectionId, reply: Reply, out: &mut Outbox) {
        if reply.kind == Kind::Continue {
            return self.send(id, &reply, false, out);
        }
        let now = Instant::now();
        match self.judge.verdict(reply.kind == Kind::Login, now) {
            Verdict::Drop => out.close(id),
            Verdict::Answer { refused, due } => {
                let connection = &mut self.connections[id.slot()];
                if due.is_none() && connection.late == 0 {
                    return self.send(id, &reply, refused, out);
                }
                connection.late += 1;
                let due = due.unwrap_or(now).max(self.last_due(id).unwrap_or(now));
                let at = self.late.partition_point(|(other, ..)| *other <= due);
                self.late.insert(at, (due, id, reply, refused));
            }
        }
    }

    /// When the last answer that waits for this connection is due.
    fn last_due(&self, id: ConnectionId) -> Option<Instant> {
        if self.connections[id.slot()].late <= 1 {
            return None; // the one that is being added
        }
        self.late.iter().rev().find(|(_, other, ..)| *other == id).map(|(due, ..)| *due)
    }

    fn send(&mut self, id: ConnectionId, reply: &Reply, refused: bool, out: &mut Outbox) {
        if refused {
            out.send(id, &self.dialogue.refusal(reply));
        } else {
            out.send(id, &reply.head);
            if reply.body_bytes > 0 {
                out.send_shared(id, &self.body, reply.body_bytes);
            }
            out.send(id, &reply.tail);
        }
        if reply.kind == Kind::Last {
            out.close(id);
        }
    }
}

impl<D: Dialogue> Handler for Scripted<D> {
    fn opened(&mut self, id: ConnectionId, out: &mut Outbox) {
        if self.connections.len() <= id.slot() {
            self.connections.resize_with(id.slot() + 1, Connection::default);
        }
        self.connections[id.slot()] = Connection::default();
        out.send(id, self.dialogue.greeting().as_bytes());
    }

    fn connected(&mut self, _: ConnectionId, _: bool, _: &mut Outbox) {}

    fn received(&mut self, id: ConnectionId, input: &mut Vec<u8>, out: &mut Outbox) {
        let mut at = 0;
        while at < input.len() {
            let (n, reply) = self.dialogue.take(&mut self.connections[id.slot()].state, &input[at..]);
            at += n;
            let was_all = reply.is_none() && n == 0;
            if let Some(reply) = reply {
                self.reply(id, reply, out);
            }
            if was_all {
                break;
            }
        }
        input.drain(..at);
        if input.len() > LINE_BYTES_MAX {
            input.clear();
            out.close(id);
        }
    }

    fn closed(&mut self, id: ConnectionId, _: &mut Outbox) {
        self.late.retain(|(_, other, ..)| *other != id);
        self.connections[id.slot()] = Connection::default();
    }

    fn wake_at(&self) -> Option<Instant> {
        self.late.front().map(|(due, ..)| *due)
    }

    fn woken(&mut self, now: Instant, out: &mut Outbox) {
        while self.late.front().is_some_and(|(due, ..)| *due <= now) {
            if let Some((_, id, reply, refused)) = self.late.pop_front() {
                self.connections[id.slot()].late -= 1;
                self.send(id, &reply, refused, out);
            }
        }
    }
}
