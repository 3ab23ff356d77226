//! One connection of the load.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use rustls::pki_types::ServerName;

use super::Plan;
use super::reader::{Reader, Seen};
use super::script::Script;

/// What became of a connection's turn.
pub(super) enum Progress {
    /// Nothing more can be done until the socket is ready.
    Waits,
    /// An operation was answered.
    Done { took: Duration },
    /// The session is in IDLE.
    Parked,
    /// The connection is of no more use.
    Failed(String),
}

/// A connection: socket, TLS, and how far its script is.
pub(super) struct Client {
    socket: TcpStream,
    tls: Option<Box<rustls::ClientConnection>>,
    script: Script,
    /// The next of `script.before`; past its end the operations run.
    step: usize,
    /// What is being sent, and how much of it is.
    sending: Option<(Arc<[u8]>, usize)>,
    reader: Reader,
    /// Decoded input from `input_at` on was not looked at.
    input: Vec<u8>,
    input_at: usize,
    begun: Instant,
    state: State,
    has_answered: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    ExpectGreeting,
    Running,
    Parked,
    Over,
}

impl Client {
    pub(super) fn connect(plan: &Plan, slot: usize) -> Result<Client> {
        let socket = begin_connect(plan.target)?;
        let name = ServerName::try_from("localhost")?;
        let tls = match &plan.tls {
            Some(config) => {
                let mut tls = rustls::ClientConnection::new(Arc::clone(config), name)?;
                tls.set_buffer_limit(None);
                Some(Box::new(tls))
            }
            None => None,
        };
        Ok(Client {
            socket,
            tls,
            script: Script::new(plan.scenario, slot % plan.users.max(1)),
            step: 0,
            sending: None,
            reader: Reader::default(),
            input: Vec::new(),
            input_at: 0,
            begun: Instant::now(),
            state: State::ExpectGreeting,
            has_answered: false,
        })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Not logged in yet.
    pub(super) fn is_connecting(&self) -> bool {
        self.state == State::ExpectGreeting
    }

    /// Whether the operation that was answered was the first; asked once for each.
    pub(super) fn is_first_answer(&mut self) -> bool {
        !std::mem::replace(&mut self.has_answered, true)
    }

    /// The script is at its end.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Works until something is finished or the socket blocks.
    pub(super) fn advance(&mut self, scratch: &mut [u8]) -> Progress {
        loop {
            if let Err(e) = self.send() {
                return Progress::Failed(format!("send: {e}"));
            }
            while self.input_at < self.input.len() {
                let (n, seen) = self.reader.feed(&self.input[self.input_at..]);
                self.input_at += n;
                if let Some(progress) = seen.and_then(|seen| self.seen(seen)) {
                    return progress;
                }
                if self.sending.is_some() {
                    break;
                }
            }
            if self.sending.is_some() && self.input_at < self.input.len() {
                continue;
            }
            if self.input_at == self.input.len() {
                self.input.clear();
                self.input_at = 0;
            }
            match self.receive(scratch) {
                Ok(0) if self.script.whole_connection && self.step >= self.script.before.len() => {
                    return self.connection_done();
                }
                Ok(0) => return Progress::Failed("connection lost".to_owned()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return self.flush_after_block();
                }
                Err(e) => return Progress::Failed(format!("receive: {e}")),
            }
        }
    }

    fn flush_after_block(&mut self) -> Progress {
        match self.send() {
            Ok(()) => Progress::Waits,
            Err(e) => Progress::Failed(format!("send: {e}")),
        }
    }

    /// Reacts to a line that matters.
    fn seen(&mut self, seen: Seen) -> Option<Progress> {
        match (seen, self.state) {
            (Seen::Greeting, State::ExpectGreeting) => {
                self.state = State::Running;
                self.next();
                None
            }
            (Seen::Ok, State::Running) if self.step < self.script.before.len() => {
                self.step += 1;
                if self.step == self.script.before.len() && self.script.whole_connection {
                    return None;
                }
                self.next();
                None
            }
            (Seen::Ok, State::Running) => {
                let took = self.begun.elapsed();
                self.next();
                Some(Progress::Done { took })
            }
            (Seen::GoAhead, State::Running) if self.script.parks => {
                self.state = State::Parked;
                Some(Progress::Parked)
            }
            (Seen::GoAhead, _) => None,
            (Seen::Refused | Seen::Greeting | Seen::Ok, _) => {
                Some(Progress::Failed(format!("step {} was refused", self.step)))
            }
        }
    }

    fn connection_done(&mut self) -> Progress {
        self.state = State::Over;
        Progress::Done { took: self.begun.elapsed() }
    }

    /// Begins the next line of the script.
    fn next(&mut self) {
        let line = self.script.before.get(self.step).or(self.script.operation.as_ref());
        self.sending = line.map(|line| (Arc::clone(line), 0));
        if !self.script.whole_connection {
            self.begun = Instant::now();
        }
    }

    fn send(&mut self) -> io::Result<()> {
        while let Some((bytes, at)) = &mut self.sending {
            if *at == bytes.len() {
                self.sending = None;
                break;
            }
            let wrote = match &mut self.tls {
                Some(tls) => tls.writer().write(&bytes[*at..]),
                None => self.socket.write(&bytes[*at..]),
            };
            match wrote {
                Ok(n) => *at += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Bytes into `input`; 0 is the end.
    fn receive(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            let n = self.socket.read(scratch)?;
            self.input.extend_from_slice(&scratch[..n]);
            return Ok(n);
        };
        loop {
            match tls.reader().read(scratch) {
                Ok(n) => {
                    self.input.extend_from_slice(&scratch[..n]);
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                // Closed without close_notify: an end like any other.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(e) => return Err(e),
            }
            let n = tls.read_tls(&mut self.socket)?;
            tls.process_new_packets().map_err(io::Error::other)?;
            while tls.wants_write() {
                if let Err(e) = tls.write_tls(&mut self.socket) {
                    if e.kind() == io::ErrorKind::WouldBlock {
                        break;
                    }
                    return Err(e);
                }
            }
            if n == 0 && tls.reader().read(scratch).is_err() {
                return Ok(0);
            }
        }
    }
}

/// A socket that is connecting; the first write or read tells if it cannot.
fn begin_connect(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(e) => Err(e.into()),
    }
}
