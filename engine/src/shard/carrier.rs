//! Carries the driver's operations out, turn by turn.

use std::collections::VecDeque;
use std::time::Duration;

use driver::{BufferId, ConnId, Driver, Op, Outgoing, Pace};
use protocols::proxy::{Instant, OpenError};
use slab::Slab;

use super::buffers::ReceiveBuffers;
use super::measure::{Measured, Measures};
use super::ring::{Completion, Kind, Ring, Token};
use super::sockets::{NO_SPLICE, Receive, Sockets, conn_of, token};
use super::underway::{Acceptor, Attempt, Exchanges, Splice};
use super::{Host, InboxReader, Keepalive, Pipe, Reply, ToShard};

/// Starved receives that are armed again in one turn, at most; and only while that many buffers
/// stand ready for each. All at once would spin.
const REARMED_PER_TURN: usize = 16;

/// Buffers that must stand ready to arm one starved receive again.
const BUFFERS_PER_REARM: u16 = 4;

/// Stretches of one message (IOV_MAX).
const STRETCHES_MAX: usize = 1024;

/// One shard at work.
pub(super) struct Carrier<H> {
    pub(super) ring: Ring,
    pub(super) buffers: ReceiveBuffers,
    pub(super) driver: Driver,
    pub(super) host: H,
    pub(super) inbox: InboxReader,
    pub(super) sockets: Sockets,
    pub(super) acceptors: Vec<Acceptor>,
    pub(super) attempts: Slab<Box<Attempt>>,
    pub(super) exchanges: Exchanges,
    pub(super) splices: Slab<Splice>,
    pub(super) pipes: Vec<Pipe>,
    /// Splices that have had their share of a turn, or found the shard's gone: the first has waited longest.
    pub(super) eager: VecDeque<usize>,
    /// Bytes spliced in this turn.
    pub(super) spliced: usize,
    pub(super) keepalive: Option<Keepalive>,
    pub(super) now: Instant,
    pub(super) draining: bool,
    /// Clients for whom there was no place.
    pub(super) refused: u64,
    measures: Measures,
    /// The number of the shard.
    index: usize,
    started: std::time::Instant,
    starved: VecDeque<ConnId>,
    /// Buffers that were looked at in this turn.
    used: Vec<BufferId>,
    /// What came for connections that had had their share of a turn, in order.
    deferred: VecDeque<Received>,
    /// What is read to be sealed.
    pub(super) bulk: Vec<u8>,
    completions: Vec<Completion>,
    messages: Vec<ToShard>,
    stretches: Vec<libc::iovec>,
    headers: Vec<libc::msghdr>,
    /// Sends that had more stretches than one message takes, and the bytes that it took.
    cut: Vec<(ConnId, usize)>,
}

/// One completion of a receive.
struct Received {
    completion: Completion,
    /// What it filled, which the kernel does not have meanwhile.
    buffer: Option<BufferId>,
}

/// What a shard is made of.
pub(super) struct Parts<H> {
    pub(super) ring: Ring,
    pub(super) buffers: ReceiveBuffers,
    pub(super) driver: Driver,
    pub(super) host: H,
    pub(super) inbox: InboxReader,
    pub(super) pipes: Vec<Pipe>,
    pub(super) keepalive: Option<Keepalive>,
    pub(super) index: usize,
    /// Sockets that there is room for from the start.
    pub(super) room: usize,
}

impl<H: Host> Carrier<H> {
    pub(super) fn new(parts: Parts<H>) -> Carrier<H> {
        let Parts { ring, buffers, driver, host, inbox, pipes, keepalive, index, room } = parts;
        Carrier {
            ring,
            buffers,
            driver,
            host,
            inbox,
            sockets: Sockets::new(room),
            acceptors: Vec::new(),
            attempts: Slab::new(),
            exchanges: Exchanges::default(),
            splices: Slab::new(),
            pipes,
            eager: VecDeque::new(),
            spliced: 0,
            keepalive,
            now: Instant(0),
            draining: false,
            refused: 0,
            measures: Measures::default(),
            index,
            started: std::time::Instant::now(),
            starved: VecDeque::new(),
            used: Vec::new(),
            deferred: VecDeque::new(),
            bulk: Vec::new(),
            completions: Vec::new(),
            messages: Vec::new(),
            stretches: Vec::new(),
            headers: Vec::new(),
            cut: Vec::new(),
        }
    }

    /// Whether the next turn is wanted at once.
    pub(super) fn is_restless(&self) -> bool {
        self.driver.is_restless() || !self.deferred.is_empty() || !self.eager.is_empty() || self.can_rearm()
    }

    /// Whether the shard was drained or stopped and nothing is left of it. Attempts to connect for
    /// nobody end with the ring.
    pub(super) fn is_over(&self) -> bool {
        self.draining
            && self.driver.sessions() == 0
            && self.driver.connections() == 0
            && self.exchanges.is_empty()
            && self.acceptors.iter().all(Acceptor::is_closed)
    }

    /// When a turn is wanted at the latest.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let paused = self.acceptors.iter().filter_map(Acceptor::resumes_at).min();
        self.driver.next_deadline().into_iter().chain(paused).min()
    }

    /// One turn, between two enters of the kernel.
    pub(super) fn turn(&mut self) {
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.harvest(&mut completions);
        self.end_sends(&completions);
        self.now = self.clock();
        Measures::turn_begins(self.now);
        self.driver.begin_turn(self.now);
        self.operate();
        for received in std::mem::take(&mut self.deferred) {
            self.received(received);
            self.operate();
        }
        self.run_eager();
        for completion in completions.drain(..) {
            self.complete(completion);
        }
        self.completions = completions;
        self.read_inbox();
        if self.draining && self.driver.sessions() == 0 {
            self.cut_exchanges();
        }
        self.resume_acceptors();
        self.operate();
        self.rearm_starved();
        self.send_all();
        let has_done = self.driver.has_timed() || self.driver.sends().next().is_some();
        if has_done && !cfg!(feature = "unmeasured") {
            let ended = self.clock();
            self.measures.turn_ended(self.now, ended, &mut self.driver);
        }
    }

    fn clock(&self) -> Instant {
        Instant(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The sends of the last turn: what fell short is spilled, and the buffers go back.
    fn end_sends(&mut self, completions: &[Completion]) {
        for completion in completions.iter().filter(|completion| completion.token.kind == Kind::TurnSend) {
            let conn = conn_of(completion.token);
            match completion.result {
                n if n >= 0 => self.driver.sent(conn, n as usize, &self.buffers),
                e if e == -libc::EAGAIN => self.driver.sent(conn, 0, &self.buffers),
                _ => self.driver.failed(conn),
            }
            self.cut.retain(|(cut, _)| *cut != conn);
        }
        for (conn, n) in std::mem::take(&mut self.cut) {
            self.driver.sent(conn, n, &self.buffers);
        }
        self.driver.end_turn();
        for buffer in self.used.drain(..) {
            self.buffers.give_back(buffer);
        }
    }

    fn complete(&mut self, completion: Completion) {
        let Completion { token, result, .. } = completion;
        match token.kind {
            Kind::Receive => {
                let len = completion.result.max(0) as usize;
                let buffer = completion.buffer().map(|id| self.buffers.fill(id, len));
                self.received(Received { completion, buffer });
            }
            Kind::SpillSend => self.spill_sent(conn_of(token), result),
            Kind::Accept => self.accepted(completion),
            Kind::Connect => self.connected(token.slot as usize, result),
            Kind::Exchange => self.exchanged(token.slot as usize, result),
            Kind::SpliceIn => self.splice_readable(conn_of(token)),
            Kind::SpliceOut => self.splice_writable(conn_of(token)),
            Kind::Inbox => self.inbox_woke(),
            Kind::TurnSend | Kind::Ignored => {}
        }
        self.operate();
    }

    fn received(&mut self, received: Received) {
        let Received { completion, buffer } = received;
        let conn = conn_of(completion.token);
        if !self.driver.has_share(conn) {
            self.deferred.push_back(Received { completion, buffer });
            return;
        }
        let result = completion.result;
        self.used.extend(buffer);
        let Some(socket) = self.sockets.of(conn) else { return };
        let was = socket.receive;
        if !completion.goes_on() {
            socket.in_flight -= 1;
            socket.receive = Receive::Off;
        }
        if socket.closing {
            self.finish_closing(conn);
            return;
        }
        if let Some(buffer) = buffer
            && result > 0
        {
            self.driver.received(conn, buffer, self.buffers.bytes_mut(buffer));
        }
        if !completion.goes_on() {
            self.receive_ended(conn, result, was == Receive::Stopping);
        }
    }

    /// A receive has completed for the last time.
    fn receive_ended(&mut self, conn: ConnId, result: i32, was_stopping: bool) {
        match result {
            0 => self.driver.ended(conn),
            _ if was_stopping => self.driver.receive_stopped(conn),
            e if e == -libc::ENOBUFS => {
                if let Some(socket) = self.sockets.of(conn) {
                    socket.receive = Receive::Starved;
                    self.starved.push_back(conn);
                }
            }
            n if n > 0 => {
                // The driver may have had enough of it meanwhile.
                self.operate();
                self.arm_receive(conn);
            }
            e if e == -libc::ECANCELED => self.driver.receive_stopped(conn),
            _ => self.driver.failed(conn),
        }
    }

    /// Does what the driver wants.
    pub(super) fn operate(&mut self) {
        while let Some(op) = self.driver.poll_op() {
            match op {
                Op::Receive(conn, pace) => {
                    if let Some(socket) = self.sockets.of(conn) {
                        socket.wanted = Some(pace);
                    }
                    self.arm_receive(conn);
                }
                Op::Stop(conn) => self.stop_receive(conn),
                Op::Send(conn) => self.send_spill(conn),
                Op::Splice { from, to, bytes, passage } => self.begin_splice(from, to, bytes, passage),
                Op::StopSplice(from) => self.stop_splice(from),
                Op::Shutdown(conn) => {
                    if let Some(socket) = self.sockets.of(conn) {
                        // A refusal means that the connection is gone, which its receive tells.
                        let _ = rustix::net::shutdown(&socket.fd, rustix::net::Shutdown::Write);
                    }
                }
                Op::Close(conn) => self.begin_closing(conn),
                Op::Layer { conn, kind } => {
                    let layer = self.host.layer(&kind);
                    self.driver.switch(conn, layer);
                }
                Op::Ask { session, id, question } => match self.host.ask(session, id, question, self.now) {
                    Reply::Now(answer) => self.driver.answer(session, id, answer),
                    Reply::Later => {}
                    Reply::Connect(plan) => self.begin_connecting(session, id, plan),
                    Reply::Exchange(exchange) => self.begin_exchange(session, id, exchange),
                },
                Op::Tell { session, notice } => self.host.tell(session, notice),
                Op::Ended(session) => self.host.ended(session),
            }
        }
    }

    fn arm_receive(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.of(conn) else { return };
        let Some(pace) = socket.wanted.filter(|_| !socket.closing && socket.receive == Receive::Off) else {
            return;
        };
        socket.receive = Receive::Armed;
        socket.in_flight += 1;
        let fd = socket.raw();
        match pace {
            Pace::Burst => self.ring.receive(fd, token(Kind::Receive, conn)),
            Pace::Single => self.ring.receive_one(fd, token(Kind::Receive, conn)),
        }
    }

    fn stop_receive(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.of(conn) else { return };
        socket.wanted = None;
        match socket.receive {
            Receive::Armed => {
                socket.receive = Receive::Stopping;
                self.ring.cancel(token(Kind::Receive, conn));
            }
            Receive::Starved => {
                socket.receive = Receive::Off;
                self.starved.retain(|starved| *starved != conn);
                self.driver.receive_stopped(conn);
            }
            Receive::Off => self.driver.receive_stopped(conn),
            Receive::Stopping => {}
        }
    }

    fn can_rearm(&self) -> bool {
        !self.starved.is_empty() && self.buffers.offered() >= BUFFERS_PER_REARM
    }

    /// Arms receives that ran out of buffers, as far as buffers came back.
    fn rearm_starved(&mut self) {
        let ready = usize::from(self.buffers.offered() / BUFFERS_PER_REARM);
        for _ in 0..ready.min(REARMED_PER_TURN) {
            let Some(conn) = self.starved.pop_front() else { return };
            if let Some(socket) = self.sockets.of(conn)
                && socket.receive == Receive::Starved
            {
                socket.receive = Receive::Off;
                self.arm_receive(conn);
            }
        }
    }

    fn send_spill(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.of(conn) else { return };
        if socket.closing {
            return;
        }
        socket.in_flight += 1;
        let fd = socket.raw();
        let bytes = self.driver.spill(conn);
        let (start, len) = (bytes.as_ptr(), bytes.len());
        #[allow(unsafe_code, reason = "the driver keeps the bytes")]
        // SAFETY: the driver does not touch flying spilled bytes before `spill_sent` and keeps them
        // until `closed`, which is told after the last completion.
        unsafe {
            self.ring.send(fd, start, len, token(Kind::SpillSend, conn));
        }
    }

    fn spill_sent(&mut self, conn: ConnId, result: i32) {
        let Some(socket) = self.sockets.of(conn) else { return };
        socket.in_flight -= 1;
        if socket.closing {
            self.finish_closing(conn);
        } else if result >= 0 {
            self.driver.spill_sent(conn, result as usize);
        } else if result == -libc::EAGAIN || result == -libc::EINTR {
            self.send_spill(conn);
        } else {
            self.driver.failed(conn);
        }
    }

    /// Stop, shut down, and close when all has completed.
    fn begin_closing(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.of(conn) else { return };
        socket.closing = true;
        let splice = std::mem::replace(&mut socket.splice, NO_SPLICE);
        let was = socket.receive;
        if socket.in_flight > 0 {
            // Ends polls and sends in flight; a socket that is not connected has none.
            let _ = rustix::net::shutdown(&socket.fd, rustix::net::Shutdown::Both);
        }
        if was == Receive::Armed {
            self.ring.cancel(token(Kind::Receive, conn));
        }
        if splice != NO_SPLICE {
            self.drop_splice_of(conn, splice as usize);
        }
        self.finish_closing(conn);
    }

    pub(super) fn finish_closing(&mut self, conn: ConnId) {
        if self.sockets.of(conn).is_some_and(|socket| socket.closing && socket.in_flight == 0)
            && let Some(socket) = self.sockets.remove(conn)
        {
            self.ring.close(socket.fd);
            self.driver.closed(conn);
        }
    }

    /// Hands what was gathered in this turn to the kernel: one send per connection.
    fn send_all(&mut self) {
        self.driver.prepare_sends(&self.buffers);
        self.operate();
        self.stretches.clear();
        self.headers.clear();
        // Both tables must not move once an operation points into them.
        let (mut stretches, mut headers) = (0, 0);
        for outgoing in self.driver.sends() {
            let n = self.driver.pieces(&outgoing, &self.buffers).take(STRETCHES_MAX).count();
            if n > 1 {
                stretches += n;
                headers += 1;
            }
        }
        self.stretches.reserve(stretches);
        self.headers.reserve(headers);
        for outgoing in self.driver.sends() {
            let conn = outgoing.conn;
            let Some(fd) = self.sockets.of(conn).map(|socket| socket.raw()) else { continue };
            send_one(
                &self.driver,
                &self.buffers,
                &mut self.ring,
                outgoing,
                fd,
                &mut self.stretches,
                &mut self.headers,
                &mut self.cut,
            );
        }
    }

    fn read_inbox(&mut self) {
        self.inbox.take(&mut self.messages);
        for message in std::mem::take(&mut self.messages) {
            match message {
                ToShard::Answer { session, id, answer } => self.driver.answer(session, id, answer),
                ToShard::Connect { session, id, plan: Ok(plan) } => self.begin_connecting(session, id, plan),
                ToShard::Connect { session, id, plan: Err(why) } => self.driver.open_failed(session, id, why),
                ToShard::Event { session, event } => self.driver.tell(session, event),
                ToShard::Posted => self.driver.posted(),
                ToShard::Spawn(make) => {
                    self.driver.spawn(make());
                }
                ToShard::Adopt { listener, socket } => self.adopt(listener, socket),
                ToShard::Drain { within } => self.drain(within),
                ToShard::Measure(answer) => {
                    // Who asked may have given up.
                    let _ = answer.send(self.measured());
                }
                ToShard::Stop => {
                    self.drain(Duration::ZERO);
                    self.driver.stop();
                }
            }
            self.operate();
        }
    }

    fn drain(&mut self, within: Duration) {
        self.draining = true;
        self.close_acceptors();
        self.driver.drain(self.now + within);
    }

    fn inbox_woke(&mut self) {
        let mut wakes = [0; 8];
        // Nonblocking; what woke the shard is looked at in the queue itself.
        let _ = rustix::io::read(self.inbox.woken(), &mut wakes);
        self.watch_inbox();
    }

    fn measured(&mut self) -> Measured {
        Measured {
            shard: self.index,
            sessions: self.driver.sessions(),
            connections: self.driver.connections(),
            refused: self.refused,
            waiting: self.driver.waiting(),
            snapshot: self.measures.snapshot(&self.driver, self.now),
        }
    }

    /// Waits for the inbox once.
    pub(super) fn watch_inbox(&mut self) {
        use std::os::fd::AsRawFd;
        let fd = self.inbox.woken().as_raw_fd();
        self.ring.poll(fd, libc::POLLIN, Token::of(Kind::Inbox, 0));
    }

    /// A plan cannot be carried out.
    pub(super) fn refuse(
        &mut self,
        session: driver::SessionId,
        id: protocols::proxy::QuestionId,
        why: OpenError,
    ) {
        self.driver.open_failed(session, id, why);
    }
}

/// Pushes the send of one connection.
#[allow(clippy::too_many_arguments, reason = "fields of the carrier that are borrowed apart")]
fn send_one(
    driver: &Driver,
    buffers: &ReceiveBuffers,
    ring: &mut Ring,
    outgoing: Outgoing,
    fd: i32,
    stretches: &mut Vec<libc::iovec>,
    headers: &mut Vec<libc::msghdr>,
    cut: &mut Vec<(ConnId, usize)>,
) {
    let token = token(Kind::TurnSend, outgoing.conn);
    let first = stretches.len();
    let mut pieces = driver.pieces(&outgoing, buffers);
    let Some(one) = pieces.next() else { return };
    if one.len() == outgoing.len() {
        #[allow(unsafe_code, reason = "the driver keeps the bytes")]
        // SAFETY: the bytes of a turn stand until `end_turn`, which comes after the next enter.
        unsafe {
            ring.send_now(fd, one.as_ptr(), one.len(), token);
        }
        return;
    }
    let mut bytes = 0;
    for piece in std::iter::once(one).chain(pieces).take(STRETCHES_MAX) {
        bytes += piece.len();
        stretches.push(libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() });
    }
    if bytes < outgoing.len() {
        cut.push((outgoing.conn, bytes));
    }
    headers.push(libc::msghdr {
        msg_name: std::ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: stretches[first..].as_mut_ptr(),
        msg_iovlen: stretches.len() - first,
        msg_control: std::ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    });
    let header: *const libc::msghdr = &raw const headers[headers.len() - 1];
    #[allow(unsafe_code, reason = "the operation points to the tables and to the turn's bytes")]
    // SAFETY: as above for the bytes; the tables were reserved and are not touched before the enter.
    unsafe {
        ring.send_message_now(fd, header, token);
    }
}
