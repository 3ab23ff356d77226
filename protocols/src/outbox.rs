//! What a session wants done and has not been polled for.
//!
//! Authored bytes of all sides stand in one buffer in the order in which they are written; the
//! queue says whose they are. An idle session keeps a few small entries and no bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::smallvec;
use zeroize::Zeroize as _;

use crate::proxy::{
    BackendId, Close, LayerKind, Notice, Output, Question, QuestionId, Service, Side, Sides, Stamp, Timing,
    VerbName,
};

/// Capacity of the authored buffer that a session keeps while idle.
const AUTHORED_BYTES_KEPT: usize = 256;

/// The outputs of a session, in order.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Pending>,
    authored: Vec<u8>,
    written: usize,
    holds_secret: bool,
}

enum Pending {
    Write {
        to: Side,
        n: usize,
    },
    Forward {
        from: Side,
        to: Side,
        n: u64,
    },
    Fan(Box<Fan>),
    Release(Box<Released>),
    Discard {
        from: Side,
        n: u64,
    },
    Pipe {
        a: Side,
        b: Side,
    },
    Ask(Box<(QuestionId, Question)>),
    Switch(Side, Box<LayerKind>),
    Close(Side, Close),
    Tell(Box<Notice>),
    Timed(Box<Timing>),
    /// The time of a relayed command, which waited for its backend alone.
    Relayed {
        verb: VerbName,
        backend: BackendId,
        began: Stamp,
    },
}

/// A forward to several sides.
struct Fan {
    from: Side,
    to: Sides,
    n: u64,
}

/// A connection that goes to the pool.
struct Released {
    side: Side,
    server: Box<str>,
    service: Service,
    offer: Arc<[u8]>,
}

impl Outbox {
    /// Bytes of one output that waits.
    #[cfg(test)]
    pub(crate) const ENTRY_BYTES: usize = size_of::<Pending>();

    /// Appends what `author` writes to what goes to a side.
    pub(crate) fn author(&mut self, to: Side, author: impl FnOnce(&mut Vec<u8>)) {
        let before = self.authored.len();
        author(&mut self.authored);
        let wrote = self.authored.len() - before;
        if wrote == 0 {
            return;
        }
        match self.queue.back_mut() {
            Some(Pending::Write { to: last, n }) if *last == to => *n += wrote,
            Some(_) | None => self.queue.push_back(Pending::Write { to, n: wrote }),
        }
    }

    /// Writes the parts, one behind the other, to a side.
    pub(crate) fn write(&mut self, to: Side, parts: &[&[u8]]) {
        self.author(to, |out| parts.iter().for_each(|part| out.extend_from_slice(part)));
    }

    /// As [`Outbox::author`], for bytes that are wiped once they went out.
    pub(crate) fn author_secret(&mut self, to: Side, author: impl FnOnce(&mut Vec<u8>)) {
        self.holds_secret = true;
        self.author(to, author);
    }

    /// Whether input of a side is claimed by an output that has not been polled.
    pub(crate) fn claims(&self, side: Side) -> bool {
        self.queue.iter().any(|pending| match pending {
            Pending::Forward { from, .. } | Pending::Discard { from, .. } => *from == side,
            Pending::Fan(fan) => fan.from == side,
            Pending::Pipe { a, b } => *a == side || *b == side,
            Pending::Write { .. }
            | Pending::Release(_)
            | Pending::Ask(_)
            | Pending::Switch(..)
            | Pending::Close(..)
            | Pending::Tell(_)
            | Pending::Timed(_)
            | Pending::Relayed { .. } => false,
        })
    }

    /// Moves the next `n` bytes of a side to another.
    pub(crate) fn forward(&mut self, from: Side, to: Side, n: u64) {
        self.queue.push_back(Pending::Forward { from, to, n });
    }

    /// Moves the next `n` bytes of a side to several others.
    pub(crate) fn forward_to(&mut self, from: Side, to: Sides, n: u64) {
        match to.as_slice() {
            [to] => self.forward(from, *to, n),
            _ => self.queue.push_back(Pending::Fan(Box::new(Fan { from, to, n }))),
        }
    }

    /// Gives a clean connection to the pool.
    pub(crate) fn release(&mut self, side: Side, server: Box<str>, service: Service, offer: Arc<[u8]>) {
        self.queue.push_back(Pending::Release(Box::new(Released { side, server, service, offer })));
    }

    /// Throws the next `n` bytes of a side away.
    pub(crate) fn discard(&mut self, from: Side, n: u64) {
        self.queue.push_back(Pending::Discard { from, n });
    }

    /// Joins two sides for good.
    pub(crate) fn pipe(&mut self, a: Side, b: Side) {
        self.queue.push_back(Pending::Pipe { a, b });
    }

    pub(crate) fn ask(&mut self, id: QuestionId, question: Question) {
        self.queue.push_back(Pending::Ask(Box::new((id, question))));
    }

    pub(crate) fn switch(&mut self, side: Side, layer: LayerKind) {
        self.queue.push_back(Pending::Switch(side, Box::new(layer)));
    }

    pub(crate) fn close(&mut self, side: Side, how: Close) {
        self.queue.push_back(Pending::Close(side, how));
    }

    pub(crate) fn tell(&mut self, notice: Notice) {
        self.queue.push_back(Pending::Tell(Box::new(notice)));
    }

    /// How long a command took.
    pub(crate) fn timed(&mut self, timing: Timing) {
        if cfg!(feature = "unmeasured") {
            return;
        }
        self.queue.push_back(Pending::Timed(Box::new(timing)));
    }

    /// A relayed command was answered.
    pub(crate) fn relayed(&mut self, verb: VerbName, backend: BackendId, began: Stamp) {
        if cfg!(feature = "unmeasured") {
            return;
        }
        self.queue.push_back(Pending::Relayed { verb, backend, began });
    }

    /// Gives the next output; bytes of a write are appended to `scratch`.
    pub(crate) fn poll(&mut self, scratch: &mut Vec<u8>) -> Option<Output> {
        let Some(next) = self.queue.pop_front() else {
            self.forget();
            return None;
        };
        Some(match next {
            Pending::Write { to, n } => {
                scratch.extend_from_slice(&self.authored[self.written..self.written + n]);
                self.written += n;
                Output::Write { to }
            }
            Pending::Forward { from, to, n } => Output::Forward { from, to: smallvec![to], n },
            Pending::Fan(fan) => Output::Forward { from: fan.from, to: fan.to, n: fan.n },
            Pending::Release(released) => {
                let Released { side, server, service, offer } = *released;
                Output::Release { side, server, service, offer }
            }
            Pending::Discard { from, n } => Output::Discard { from, n },
            Pending::Pipe { a, b } => Output::Pipe { a, b },
            Pending::Ask(asked) => Output::Ask { id: asked.0, question: asked.1 },
            Pending::Switch(side, layer) => Output::Switch { side, layer: *layer },
            Pending::Close(side, how) => Output::Close { side, how },
            Pending::Tell(notice) => Output::Tell(*notice),
            Pending::Timed(timing) => Output::Timed(*timing),
            Pending::Relayed { verb, backend, began } => {
                Output::Timed(Timing { verb, backend: Some(backend), began, waits: None })
            }
        })
    }

    /// Drops bytes that went out, and a larger buffer with them.
    fn forget(&mut self) {
        self.written = 0;
        if std::mem::take(&mut self.holds_secret) {
            self.authored.zeroize();
        }
        if self.authored.capacity() > AUTHORED_BYTES_KEPT {
            self.authored = Vec::new();
        } else {
            self.authored.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::BackendId;

    #[test]
    fn writes_to_one_side_are_one_output_and_order_is_kept() {
        let mut outbox = Outbox::default();
        let backend = Side::Backend(BackendId(1));
        outbox.write(Side::Client, &[b"a ", b"b"]);
        outbox.write(Side::Client, &[b"c"]);
        outbox.write(backend, &[b"d"]);
        outbox.forward(Side::Client, backend, 3);
        let mut scratch = Vec::new();
        assert!(matches!(outbox.poll(&mut scratch), Some(Output::Write { to: Side::Client })));
        assert_eq!(scratch, b"a bc");
        scratch.clear();
        assert!(matches!(outbox.poll(&mut scratch), Some(Output::Write { to }) if to == backend));
        assert_eq!(scratch, b"d");
        assert!(matches!(outbox.poll(&mut scratch), Some(Output::Forward { n: 3, .. })));
        assert!(outbox.poll(&mut scratch).is_none());
    }
}
