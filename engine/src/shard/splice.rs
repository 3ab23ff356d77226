//! Moving bytes from socket to socket by splice(2) on readiness.
//!
//! IORING_OP_SPLICE is never used: the kernel runs it on threads of its own, one per operation.

use driver::limits::{SPLICE_BYTES_PER_SHARD_TURN, SPLICE_BYTES_PER_TURN};
use driver::{ConnId, Passage, SpliceEnd};
use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

use super::carrier::Carrier;
use super::ring::Kind;
use super::sockets::{NO_SPLICE, token};
use super::underway::{Rest, Splice};
use super::{Host, Pipe};

impl<H: Host> Carrier<H> {
    pub(super) fn begin_splice(&mut self, from: ConnId, to: ConnId, bytes: u64, passage: Passage) {
        let splice =
            Splice { from, to, left: bytes, passage, pipe: None, in_pipe: 0, ended: false, waits: None };
        let index = self.splices.insert(splice);
        match self.sockets.of(from) {
            Some(socket) => socket.splice = index as u32,
            None => {
                self.splices.remove(index);
                return;
            }
        }
        self.run_splice(index);
    }

    /// Goes on with the splices that wait for a turn, as far as the shard's share of it goes. They come before
    /// those that have just become ready, else these could keep them waiting for ever.
    pub(super) fn run_eager(&mut self) {
        self.spliced = 0;
        for _ in 0..self.eager.len() {
            if self.spliced >= SPLICE_BYTES_PER_SHARD_TURN {
                return;
            }
            let Some(index) = self.eager.pop_front() else { return };
            self.run_splice(index);
        }
    }

    /// Moves what can be moved, at most a turn's share.
    pub(super) fn run_splice(&mut self, index: usize) {
        let Some(splice) = self.splices.get(index) else { return };
        if self.spliced >= SPLICE_BYTES_PER_SHARD_TURN {
            self.eager.push_back(index);
            return;
        }
        let (from, to) = (splice.from, splice.to);
        let rest = match splice.passage {
            Passage::Pipe => self.move_bytes(index),
            Passage::Layer => self.seal_bytes(index),
        };
        match rest {
            Rest::Readable => self.poll_splice(Kind::SpliceIn, from, libc::POLLIN | libc::POLLRDHUP),
            Rest::Writable => {
                if let Some(socket) = self.sockets.of(to) {
                    socket.awaited_by = index as u32;
                }
                if let Some(splice) = self.splices.get_mut(index) {
                    splice.waits = Some(self.now);
                }
                self.poll_splice(Kind::SpliceOut, to, libc::POLLOUT);
            }
            Rest::NextTurn => self.eager.push_back(index),
            Rest::Stopped => {}
            Rest::Over(end) => self.end_splice(index, end),
        }
    }

    fn move_bytes(&mut self, index: usize) -> Rest {
        let Some(splice) = self.splices.get_mut(index) else { return Rest::NextTurn };
        let mut moved = 0;
        loop {
            if splice.in_pipe == 0 && splice.left == 0 {
                return Rest::Over(SpliceEnd::Done);
            }
            if splice.in_pipe == 0 && splice.ended {
                return Rest::Over(SpliceEnd::Eof);
            }
            if moved >= SPLICE_BYTES_PER_TURN {
                return Rest::NextTurn;
            }
            if splice.in_pipe == 0 {
                if splice.pipe.is_none() {
                    splice.pipe = self.pipes.pop();
                }
                let Some(pipe) = &splice.pipe else { return Rest::Over(SpliceEnd::Done) };
                let Some(source) = self.sockets.of(splice.from) else {
                    return Rest::Over(SpliceEnd::FromFailed);
                };
                let most = splice.left.min(pipe.bytes as u64) as usize;
                match splice_some(&source.fd, &pipe.writer, most) {
                    Ok(0) => splice.ended = true,
                    Ok(n) => {
                        splice.in_pipe = n;
                        splice.left -= n as u64;
                        self.driver.spliced(splice.from, n as u64);
                    }
                    Err(Errno::AGAIN) => {
                        self.pipes.extend(splice.pipe.take());
                        return Rest::Readable;
                    }
                    Err(_) => return Rest::Over(SpliceEnd::FromFailed),
                }
                continue;
            }
            let (Some(pipe), Some(sink)) = (&splice.pipe, self.sockets.of(splice.to)) else {
                return Rest::Over(SpliceEnd::ToFailed);
            };
            match splice_some(&pipe.reader, &sink.fd, splice.in_pipe) {
                Ok(n) => {
                    splice.in_pipe -= n;
                    moved += n;
                    self.spliced += n;
                }
                Err(Errno::AGAIN) => return Rest::Writable,
                Err(_) => return Rest::Over(SpliceEnd::ToFailed),
            }
        }
    }

    fn poll_splice(&mut self, kind: Kind, conn: ConnId, events: i16) {
        let Some(socket) = self.sockets.of(conn) else { return };
        socket.in_flight += 1;
        let fd = socket.raw();
        self.ring.poll(fd, events, token(kind, conn));
    }

    pub(super) fn splice_readable(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.of(conn) else { return };
        socket.in_flight -= 1;
        let index = socket.splice as usize;
        if socket.closing {
            self.finish_closing(conn);
        } else if self.splices.get(index).is_some_and(|splice| splice.from == conn) {
            self.run_splice(index);
        }
    }

    pub(super) fn splice_writable(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.of(conn) else { return };
        socket.in_flight -= 1;
        let index = std::mem::replace(&mut socket.awaited_by, NO_SPLICE) as usize;
        if socket.closing {
            self.finish_closing(conn);
        } else if let Some(splice) = self.splices.get_mut(index).filter(|splice| splice.to == conn) {
            if let Some(since) = splice.waits.take() {
                self.driver.client_left_unread(conn, since.stamp().until(self.now.stamp()));
            }
            self.run_splice(index);
        }
    }

    /// The driver gave the splice of a source up.
    pub(super) fn stop_splice(&mut self, from: ConnId) {
        let Some(index) = self.sockets.of(from).map(|socket| socket.splice) else { return };
        if self.splices.get(index as usize).is_some_and(|splice| splice.from == from) {
            self.end_splice(index as usize, SpliceEnd::Done);
        }
    }

    /// A socket of a splice is being closed. The driver knows, and has ended it if it was the source.
    pub(super) fn drop_splice_of(&mut self, conn: ConnId, index: usize) {
        if self.splices.get(index).is_some_and(|splice| splice.from == conn) {
            self.remove_splice(index);
        }
    }

    fn end_splice(&mut self, index: usize, end: SpliceEnd) {
        if let Some(from) = self.remove_splice(index) {
            self.driver.splice_ended(from, end);
        }
    }

    fn remove_splice(&mut self, index: usize) -> Option<ConnId> {
        let splice = self.splices.try_remove(index)?;
        self.eager.retain(|eager| *eager != index);
        if let Some(socket) = self.sockets.of(splice.from) {
            socket.splice = NO_SPLICE;
        }
        if let Some(pipe) = splice.pipe {
            if splice.in_pipe > 0 {
                empty(&pipe);
            }
            self.pipes.push(pipe);
        }
        Some(splice.from)
    }
}

fn splice_some(
    from: &std::os::fd::OwnedFd,
    to: &std::os::fd::OwnedFd,
    most: usize,
) -> rustix::io::Result<usize> {
    loop {
        match splice(from, None, to, None, most, SpliceFlags::NONBLOCK | SpliceFlags::MOVE) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Throws away what is in a pipe.
fn empty(pipe: &Pipe) {
    let mut bytes = [0; 4096];
    while matches!(rustix::io::read(&pipe.reader, &mut bytes), Ok(1..)) {}
}
