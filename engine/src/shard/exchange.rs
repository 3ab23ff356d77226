//! Short exchanges with daemons of this host: a connection to a UNIX socket, a question, an answer.
//!
//! ```text
//!   waiting ──place free──> connect ─> send ─> receive ──answer not whole──> receive ...
//!                              └────────┴─────────┴── failed, or its time is up ──> the answer for that
//! ```
//!
//! Connect, send and the first receive are one chain of the ring: submitted together, of which one operation
//! completes, the first that fails or the receive. A chain is begun when another has ended, so that a daemon
//! that hangs has [`EXCHANGES_MAX`] connections of a shard and no more.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use driver::SessionId;
use io_uring::types::Timespec;
use protocols::proxy::QuestionId;
use socket2::{Domain, SockAddr, Socket, Type};

use super::carrier::Carrier;
use super::ring::{Chain, Kind, Token};
use super::underway::{ANSWER_BYTES_MAX, Running};
use super::{Exchange, Host};

/// Exchanges of one shard that are under way. A daemon's queue of connections holds 128 or more; while it is
/// full each that waits to connect costs a thread of the kernel.
pub const EXCHANGES_MAX: usize = 32;

/// Exchanges of one shard that wait for their turn; what comes then has failed.
const WAITING_MAX: usize = 4096;

impl<H: Host> Carrier<H> {
    pub(super) fn begin_exchange(&mut self, session: SessionId, id: QuestionId, exchange: Exchange) {
        let deadline = self.now + exchange.deadline;
        let running = Box::new(Running {
            session,
            id,
            exchange,
            deadline,
            socket: None,
            address: None,
            within: Timespec::new(),
            answer: [0; ANSWER_BYTES_MAX],
            filled: 0,
        });
        if self.exchanges.are_cut {
            self.exchange_failed(*running, &io::Error::other("the shard stops"));
        } else if self.exchanges.running.len() < EXCHANGES_MAX {
            self.run_exchange(running);
        } else if self.exchanges.waiting.len() < WAITING_MAX {
            self.exchanges.waiting.push_back(running);
        } else {
            self.exchange_failed(*running, &io::Error::other("too many wait for it"));
        }
    }

    /// Begins those that wait, as far as there are places.
    fn run_waiting(&mut self) {
        while self.exchanges.running.len() < EXCHANGES_MAX
            && let Some(next) = self.exchanges.waiting.pop_front()
        {
            self.run_exchange(next);
        }
    }

    fn run_exchange(&mut self, mut running: Box<Running>) {
        let left = running.deadline.since(self.now);
        let made = match left.is_zero() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => socket_for(&running.exchange.socket),
        };
        let (socket, address) = match made {
            Ok(made) => made,
            Err(error) => return self.exchange_failed(*running, &error),
        };
        let fd = socket.as_raw_fd();
        running.socket = Some(socket);
        running.within = Timespec::from(left);
        running.address = Some(address);
        let place = self.exchanges.running.vacant_entry();
        let index = place.key();
        let running = place.insert(running);
        let Some(address) = &running.address else { return };
        let chain = Chain {
            fd,
            address: (address.as_ptr().cast(), address.len()),
            question: (running.exchange.question.as_ptr(), running.exchange.question.len()),
            answer: (running.answer.as_mut_ptr(), running.answer.len()),
            within: &raw const running.within,
        };
        #[allow(unsafe_code, reason = "the operations point to the exchange")]
        // SAFETY: it is boxed and not touched before the completion, for which the shard's end waits.
        unsafe {
            self.ring.ask(&chain, Token::of(Kind::Exchange, index as u32));
        }
    }

    /// An operation of an exchange has completed: the receive, or the first that failed.
    pub(super) fn exchanged(&mut self, index: usize, result: i32) {
        let Some(running) = self.exchanges.running.get_mut(index) else { return };
        let outcome = match result {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            // Its time was up; a connect that waits in the kernel for a full queue is interrupted.
            e if e == -libc::ECANCELED || e == -libc::EINTR => Err(io::ErrorKind::TimedOut.into()),
            e if e < 0 => Err(io::Error::from_raw_os_error(-e)),
            n => {
                running.filled += n as usize;
                (running.exchange.read)(&running.answer[..running.filled])
            }
        };
        let is_full = running.filled == ANSWER_BYTES_MAX;
        match outcome {
            Ok(None) if !is_full => return self.receive_more(index),
            Ok(Some(answer)) => {
                let Running { session, id, .. } = self.end_exchange(index);
                self.driver.answer(session, id, answer);
            }
            Ok(None) => {
                let over = self.end_exchange(index);
                self.exchange_failed(over, &io::Error::other("the answer is too long"));
            }
            Err(error) => {
                let over = self.end_exchange(index);
                self.exchange_failed(over, &error);
            }
        }
        self.run_waiting();
    }

    /// Waits for the rest of an answer.
    fn receive_more(&mut self, index: usize) {
        let Some(running) = self.exchanges.running.get_mut(index) else { return };
        let Some(fd) = running.socket.as_ref().map(AsRawFd::as_raw_fd) else { return };
        running.within = Timespec::from(running.deadline.since(self.now));
        let place = &mut running.answer[running.filled..];
        let (start, len) = (place.as_mut_ptr(), place.len());
        let within = &raw const running.within;
        #[allow(unsafe_code, reason = "the operations point to the exchange")]
        // SAFETY: as in `run_exchange`.
        unsafe {
            self.ring.receive_within(fd, start, len, within, Token::of(Kind::Exchange, index as u32));
        }
    }

    /// Takes an exchange of which nothing is in flight, and closes its connection.
    fn end_exchange(&mut self, index: usize) -> Running {
        let mut running = *self.exchanges.running.remove(index);
        if let Some(socket) = running.socket.take() {
            self.ring.close(socket);
        }
        running
    }

    fn exchange_failed(&mut self, running: Running, error: &io::Error) {
        let Running { session, id, exchange, .. } = running;
        self.host.exchange_failed(exchange.daemon, &exchange.socket, error);
        self.driver.answer(session, id, exchange.failed);
    }

    /// Ends what is under way for nobody: the kernel must not write where nothing is any more.
    pub(super) fn cut_exchanges(&mut self) {
        if std::mem::replace(&mut self.exchanges.are_cut, true) {
            return;
        }
        self.exchanges.waiting.clear();
        for (index, _) in &self.exchanges.running {
            self.ring.cancel(Token::of(Kind::Exchange, index as u32));
        }
    }
}

fn socket_for(path: &Path) -> io::Result<(OwnedFd, SockAddr)> {
    let address = SockAddr::unix(path)?;
    Ok((Socket::new(Domain::UNIX, Type::STREAM, None)?.into(), address))
}
