//! One thread, one epoll: accepts, connects, reads and writes for a [`Handler`].
//!
//! ```text
//!   sockets ──bytes──> Handler ──Outbox: send, connect, close──> sockets
//! ```

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use slab::Slab;

/// Bytes read from one connection in one turn.
const READ_BYTES_MAX: usize = 256 * 1024;
/// Connections waiting to be accepted.
const BACKLOG: i32 = 4096;
/// Events taken from the kernel in one turn.
const EVENTS_MAX: usize = 512;
/// Unsent bytes of one connection past which its input is not read.
const UNSENT_BYTES_MAX: usize = 1024 * 1024;

const LISTENER: u64 = u64::MAX;
const STOP: u64 = u64::MAX - 1;

/// Names a connection; never used twice by one loop.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId {
    slot: usize,
    generation: u32,
}

impl ConnectionId {
    /// A small number that no other open connection has; numbers are used again.
    pub fn slot(self) -> usize {
        self.slot
    }
}

/// What serves the connections of a loop.
pub trait Handler {
    /// A client was accepted.
    fn opened(&mut self, id: ConnectionId, out: &mut Outbox);

    /// A connection of [`Outbox::connect`] stands, or could not be made.
    fn connected(&mut self, id: ConnectionId, made: bool, out: &mut Outbox);

    /// Input stands in `input`; what is not drained is offered again with what follows.
    fn received(&mut self, id: ConnectionId, input: &mut Vec<u8>, out: &mut Outbox);

    /// The connection is gone.
    fn closed(&mut self, id: ConnectionId, out: &mut Outbox);

    /// When [`Handler::woken`] is wanted.
    fn wake_at(&self) -> Option<Instant>;

    /// The time named by [`Handler::wake_at`] has come.
    fn woken(&mut self, now: Instant, out: &mut Outbox);
}

/// What a handler wants done; carried out in order when it returns.
#[derive(Default)]
pub struct Outbox {
    wishes: Vec<Wish>,
    /// All bytes of the [`Wish::Send`]s, back to back.
    bytes: Vec<u8>,
}

enum Wish {
    Send(ConnectionId, usize),
    SendShared(ConnectionId, Arc<[u8]>, usize),
    Connect(SocketAddr),
    Close(ConnectionId),
    OfferAgain(ConnectionId),
}

impl Outbox {
    /// Sends bytes.
    pub fn send(&mut self, to: ConnectionId, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        match self.wishes.last_mut() {
            Some(Wish::Send(last, n)) if *last == to => *n += bytes.len(),
            _ => self.wishes.push(Wish::Send(to, bytes.len())),
        }
    }

    /// Sends the first `n` of bytes that many connections share, without a copy where the socket
    /// takes them.
    pub fn send_shared(&mut self, to: ConnectionId, bytes: &Arc<[u8]>, n: usize) {
        self.wishes.push(Wish::SendShared(to, Arc::clone(bytes), n.min(bytes.len())));
    }

    /// Connects; [`Handler::connected`] tells the number. One attempt at a time is told apart by
    /// the handler.
    pub fn connect(&mut self, address: SocketAddr) {
        self.wishes.push(Wish::Connect(address));
    }

    /// Closes after what was sent before has gone out.
    pub fn close(&mut self, id: ConnectionId) {
        self.wishes.push(Wish::Close(id));
    }

    /// Offers the input that stands at a connection once more.
    pub fn offer_again(&mut self, id: ConnectionId) {
        self.wishes.push(Wish::OfferAgain(id));
    }
}

struct Connection {
    stream: TcpStream,
    generation: u32,
    input: Vec<u8>,
    unsent: Vec<u8>,
    sent: usize,
    state: State,
    interest: EventFlags,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Open,
    /// Half-closed after the last byte; input is read away until the other end closes.
    Closing,
}

/// Ends a [`Loop`] from another thread.
#[derive(Clone)]
pub struct Stopper(Arc<OwnedFd>);

impl Stopper {
    /// Asks the loop to end; it does so before it waits again.
    pub fn stop(&self) {
        // An eventfd takes eight bytes unless its counter overflows, which also wakes.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

/// The loop.
pub struct Loop<H> {
    handler: H,
    listener: TcpListener,
    epoll: OwnedFd,
    stop: Arc<OwnedFd>,
    connections: Slab<Connection>,
    generation: u32,
    outbox: Outbox,
    scratch: Vec<u8>,
}

impl<H: Handler> Loop<H> {
    /// Binds; port 0 takes any free one.
    ///
    /// # Errors
    /// The address cannot be bound, or there are no descriptors.
    pub fn bind(address: SocketAddr, handler: H) -> io::Result<Loop<H>> {
        let listener = TcpListener::bind(address)?;
        rustix::net::listen(&listener, BACKLOG)?;
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        epoll::add(&epoll, &*stop, EventData::new_u64(STOP), EventFlags::IN)?;
        Ok(Loop {
            handler,
            listener,
            epoll,
            stop,
            connections: Slab::new(),
            generation: 0,
            outbox: Outbox::default(),
            scratch: vec![0; READ_BYTES_MAX],
        })
    }

    /// Where clients connect.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The handler, before the loop runs.
    pub fn handler_mut(&mut self) -> &mut H {
        &mut self.handler
    }

    /// What ends the loop.
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// Runs until stopped.
    ///
    /// # Errors
    /// The epoll descriptor fails; a connection's error only ends that connection.
    pub fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            self.wake();
            let wait = self.wait_time();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), wait.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            for event in events.drain(..) {
                let (data, flags) = (event.data.u64(), event.flags);
                match data {
                    STOP => return Ok(()),
                    LISTENER => self.accept(),
                    _ => self.ready(data, flags),
                }
            }
        }
    }

    fn wait_time(&self) -> Option<Timespec> {
        let left = self.handler.wake_at()?.saturating_duration_since(Instant::now());
        let seconds = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
        Some(Timespec { tv_sec: seconds, tv_nsec: left.subsec_nanos().into() })
    }

    fn wake(&mut self) {
        let now = Instant::now();
        if self.handler.wake_at().is_some_and(|at| at <= now) {
            self.handler.woken(now, &mut self.outbox);
            self.carry_out();
        }
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let Ok(id) = self.add(stream, State::Open, EventFlags::IN) else { continue };
                    self.handler.opened(id, &mut self.outbox);
                    self.carry_out();
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // Out of descriptors: the queue keeps; a short rest keeps the loop from spinning.
                Err(e) if e.kind() != io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(1));
                    return;
                }
                Err(_) => return,
            }
        }
    }

    fn add(&mut self, stream: TcpStream, state: State, interest: EventFlags) -> io::Result<ConnectionId> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let entry = self.connections.vacant_entry();
        let id = ConnectionId { slot: entry.key(), generation };
        epoll::add(&self.epoll, &stream, EventData::new_u64(pack(id)), interest)?;
        let (input, unsent) = (Vec::new(), Vec::new());
        entry.insert(Connection { stream, generation, input, unsent, sent: 0, state, interest });
        Ok(id)
    }

    fn ready(&mut self, data: u64, flags: EventFlags) {
        let id = unpack(data);
        let Some(connection) = self.connections.get(id.slot).filter(|c| c.generation == id.generation) else {
            return;
        };
        if connection.state == State::Connecting {
            return self.finish_connect(id);
        }
        if flags.contains(EventFlags::OUT) {
            self.flush(id);
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            self.read(id);
        }
    }

    fn finish_connect(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id.slot];
        let failed = sockopt::socket_error(&connection.stream).map_or(true, |result| result.is_err());
        connection.state = State::Open;
        self.set_interest(id, EventFlags::IN);
        self.handler.connected(id, !failed, &mut self.outbox);
        self.carry_out();
        if failed {
            self.remove(id);
        }
    }

    fn read(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id.slot).filter(|c| c.generation == id.generation)
        else {
            return;
        };
        match connection.stream.read(&mut self.scratch) {
            Ok(0) => self.end(id),
            Ok(_) if connection.state == State::Closing => {}
            Ok(n) => {
                connection.input.extend_from_slice(&self.scratch[..n]);
                self.offer(id);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock || e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.end(id),
        }
    }

    fn offer(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id.slot).filter(|c| c.generation == id.generation)
        else {
            return;
        };
        let mut input = std::mem::take(&mut connection.input);
        self.handler.received(id, &mut input, &mut self.outbox);
        if let Some(connection) = self.connections.get_mut(id.slot).filter(|c| c.generation == id.generation)
        {
            connection.input = if input.is_empty() { Vec::new() } else { input };
        }
        self.carry_out();
    }

    fn end(&mut self, id: ConnectionId) {
        if self.remove(id) {
            self.handler.closed(id, &mut self.outbox);
            self.carry_out();
        }
    }

    fn remove(&mut self, id: ConnectionId) -> bool {
        if self.connections.get(id.slot).is_none_or(|c| c.generation != id.generation) {
            return false;
        }
        let connection = self.connections.remove(id.slot);
        // The descriptor closes with the stream; epoll forgets it then.
        drop(connection);
        true
    }

    fn carry_out(&mut self) {
        while !self.outbox.wishes.is_empty() {
            let Outbox { wishes, bytes } = std::mem::take(&mut self.outbox);
            let mut at = 0;
            for wish in wishes {
                match wish {
                    Wish::Send(id, n) => {
                        self.send(id, &bytes[at..at + n]);
                        at += n;
                    }
                    Wish::SendShared(id, shared, n) => self.send(id, &shared[..n]),
                    Wish::Connect(address) => self.connect(address),
                    Wish::Close(id) => self.close(id),
                    Wish::OfferAgain(id) => self.offer(id),
                }
            }
        }
    }

    fn send(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(id.slot).filter(|c| c.generation == id.generation)
        else {
            return;
        };
        let mut done = 0;
        if connection.unsent.is_empty() {
            // A broken connection is seen by the next read.
            done = connection.stream.write(bytes).unwrap_or_default();
        }
        if done < bytes.len() {
            connection.unsent.extend_from_slice(&bytes[done..]);
            self.flush(id);
        }
    }

    fn flush(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id.slot).filter(|c| c.generation == id.generation)
        else {
            return;
        };
        while connection.sent < connection.unsent.len() {
            match connection.stream.write(&connection.unsent[connection.sent..]) {
                Ok(n) => connection.sent += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let left = connection.unsent.len() - connection.sent;
        if left == 0 {
            (connection.unsent, connection.sent) = (Vec::new(), 0);
            if connection.state == State::Closing {
                // Fails only when the other end is gone, which the next read tells.
                let _ = connection.stream.shutdown(std::net::Shutdown::Write);
            }
        }
        let mut interest = if left > UNSENT_BYTES_MAX { EventFlags::empty() } else { EventFlags::IN };
        interest.set(EventFlags::OUT, left > 0);
        self.set_interest(id, interest);
    }

    fn set_interest(&mut self, id: ConnectionId, interest: EventFlags) {
        let connection = &mut self.connections[id.slot];
        if connection.interest != interest {
            connection.interest = interest;
            // Cannot fail for a descriptor that was added.
            let _ =
                epoll::modify(&self.epoll, connection.stream.as_fd(), EventData::new_u64(pack(id)), interest);
        }
    }

    fn close(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id.slot).filter(|c| c.generation == id.generation)
        {
            connection.state = State::Closing;
            connection.input = Vec::new();
            self.flush(id);
        }
    }

    fn connect(&mut self, address: SocketAddr) {
        match begin_connect(address).and_then(|s| self.add(s, State::Connecting, EventFlags::OUT)) {
            Ok(_) => {}
            Err(_) => {
                let nobody = ConnectionId { slot: usize::MAX >> 33, generation: 0 };
                self.handler.connected(nobody, false, &mut self.outbox);
            }
        }
    }
}

fn begin_connect(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(e) => Err(e.into()),
    }
}

fn pack(id: ConnectionId) -> u64 {
    // A slot stays far below 2^31: each is a descriptor.
    (id.slot as u64) << 32 | u64::from(id.generation)
}

fn unpack(data: u64) -> ConnectionId {
    ConnectionId { slot: (data >> 32) as usize, generation: data as u32 }
}

/// Keeps the calling thread on one core.
///
/// # Errors
/// There is no such core, or the process may not use it.
pub fn pin(core: usize) -> io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}
