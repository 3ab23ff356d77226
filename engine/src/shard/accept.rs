//! Accepting.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use driver::{Carriage, Limits, TooMuch};
use rustix::net::{RecvFlags, SendFlags, Shutdown};

use super::carrier::Carrier;
use super::ring::{Completion, Kind, Token};
use super::sockets::{peer_of, tune};
use super::underway::{Accepting, Acceptor};
use super::{Accepted, Host, Listener, ListenerId, PeerAddress, ToShard};

/// Pause after the system had no descriptor or memory for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Bytes that are taken of who is turned away: a greeting to a server that speaks first, or to TLS.
const REFUSED_BYTES: usize = 4096;

impl<H: Host> Carrier<H> {
    pub(super) fn listen(&mut self, listeners: Vec<Listener>) {
        for listener in listeners {
            let state = Accepting::Paused(self.now);
            self.acceptors.push(Acceptor { listener, state, turn: 0, closing: false, closed: false });
        }
    }

    /// Arms the accepts that may go on.
    pub(super) fn resume_acceptors(&mut self) {
        for (index, acceptor) in self.acceptors.iter_mut().enumerate() {
            let resumes = match acceptor.state {
                Accepting::Paused(at) => at <= self.now,
                Accepting::Armed => false,
            };
            if acceptor.closing || acceptor.closed {
                continue;
            }
            let token = Token::of(Kind::Accept, index as u32);
            if resumes {
                acceptor.state = Accepting::Armed;
                self.ring.accept(acceptor.listener.socket.as_raw_fd(), token);
            }
        }
    }

    pub(super) fn accepted(&mut self, completion: Completion) {
        let index = completion.token.slot as usize;
        if completion.result >= 0 {
            #[allow(unsafe_code, reason = "the kernel gives a descriptor")]
            // SAFETY: a successful accept gives a descriptor that nobody else owns.
            let socket = unsafe { OwnedFd::from_raw_fd(completion.result) };
            self.deal(index, socket);
        }
        if completion.goes_on() {
            return;
        }
        let Some(acceptor) = self.acceptors.get_mut(index) else { return };
        acceptor.state = match completion.result {
            n if n >= 0 || n == -libc::ECONNABORTED => Accepting::Paused(self.now),
            _ => Accepting::Paused(self.now + PAUSE),
        };
        if acceptor.closing {
            self.empty_and_close(index);
        }
    }

    /// Hands a connection to the shard whose turn it is.
    fn deal(&mut self, index: usize, socket: OwnedFd) {
        let Some(acceptor) = self.acceptors.get_mut(index) else { return };
        let id = acceptor.listener.id;
        let deal = &acceptor.listener.deal;
        if deal.is_empty() {
            self.adopt(id, socket);
        } else {
            acceptor.turn = (acceptor.turn + 1) % deal.len();
            deal[acceptor.turn].send(ToShard::Adopt { listener: id, socket });
        }
    }

    /// Serves a connection, or refuses it.
    pub(super) fn adopt(&mut self, listener: ListenerId, socket: OwnedFd) {
        if let Some(full) = self.driver.full() {
            return self.turn_away(listener, full, &socket);
        }
        let Some(peer) = peer_of(&socket) else { return };
        if peer != PeerAddress::Unix {
            tune(&socket, self.keepalive);
        }
        let accepted = self.host.accept(listener, &peer, socket.as_fd());
        let Some(Accepted { session, layer }) = accepted else { return };
        let carriage = self.carriage();
        if let Some(conn) = self.driver.accept(session, layer, carriage) {
            self.sockets.insert(conn, socket);
        }
        self.operate();
    }

    /// Tells who finds no place why, and closes: what fits into an empty socket is sent at once.
    fn turn_away(&mut self, listener: ListenerId, full: TooMuch, socket: &OwnedFd) {
        self.refused += 1;
        let Some(words) = self.host.refusal(listener, full, self.now) else { return };
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        // Who is gone already hears nothing.
        let _ = rustix::net::send(socket, words, flags);
        let _ = rustix::net::shutdown(socket, Shutdown::Write);
        // What he has said is taken, so that close sends no reset before he has read.
        let mut said = [0; REFUSED_BYTES];
        let _ = rustix::net::recv(socket, &mut said, RecvFlags::DONTWAIT);
    }

    pub(super) fn carriage(&self) -> Carriage {
        if self.pipes.is_empty() && self.splices.is_empty() { Carriage::Copied } else { Carriage::Spliceable }
    }

    /// Ends accepting for good.
    pub(super) fn close_acceptors(&mut self) {
        for index in 0..self.acceptors.len() {
            let acceptor = &mut self.acceptors[index];
            if acceptor.closing {
                continue;
            }
            acceptor.closing = true;
            match acceptor.state {
                Accepting::Armed => self.ring.cancel(Token::of(Kind::Accept, index as u32)),
                Accepting::Paused(_) => self.empty_and_close(index),
            }
        }
    }

    /// Accepts what is queued, then closes: what the kernel has answered must not be reset.
    fn empty_and_close(&mut self, index: usize) {
        let Some(acceptor) = self.acceptors.get_mut(index) else { return };
        let listener = acceptor.listener.socket.try_clone();
        acceptor.closed = true;
        let Ok(listener) = listener else { return };
        if rustix::io::ioctl_fionbio(&listener, true).is_err() {
            return;
        }
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        for _ in 0..Limits::default().connections_max {
            match rustix::net::accept_with(&listener, flags) {
                Ok(socket) => self.deal(index, socket),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
                Err(_) => break,
            }
        }
        // The descriptor itself goes with the acceptors when the shard is over; a listener that is
        // shared with a successor stays open there.
        if let Some(acceptor) = self.acceptors.get_mut(index)
            && let Ok(nowhere) = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)
        {
            acceptor.listener.socket = nowhere;
        }
    }
}
