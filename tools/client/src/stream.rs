//! A connection: socket, TLS, deadlines, and the input that nobody has taken yet.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use protocols::conf::server::{Place, Server};
use protocols::proxy::Opened;
use rustls::ClientConnection;

use crate::deflate::Deflate;
use crate::{ClientError, TlsSettings};

/// Bytes that may stand unread: the longest response of either protocol, and what came behind it.
pub const INPUT_BYTES_MAX: usize = 1024 * 1024;

/// Bytes that one read takes.
const READ_BYTES: usize = 64 * 1024;

/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 8;

/// Where a server is and how long it may take.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `host[:port][/tls][/noauth]`, or the path of a UNIX socket.
    pub server: Box<str>,
    /// The port when the string has none.
    pub default_port: u16,
    /// For `/tls` and STARTTLS.
    pub tls: TlsSettings,
    /// Connecting and logging in together (`client_timeout`).
    pub login_timeout: Duration,
    /// How long a server may be silent while an answer is due.
    pub answer_timeout: Duration,
}

/// A connection that stands.
pub struct Stream {
    server: Box<str>,
    opened: Opened,
    wire: Wire,
    tls: Option<Box<ClientConnection>>,
    deflate: Option<Box<Deflate>>,
    input: Vec<u8>,
    /// Bytes of `input` that were taken.
    taken: usize,
}

impl Stream {
    /// Connects; with `/tls` hands are shaken too.
    ///
    /// # Errors
    /// `Unreachable`, `Tls`.
    pub fn connect(endpoint: &Endpoint, until: Instant) -> Result<Stream, ClientError> {
        let unreachable =
            |why: String| ClientError::Unreachable { server: endpoint.server.clone(), why: why.into() };
        let server = Server::parse(&endpoint.server).map_err(|error| unreachable(error.to_string()))?;
        let socket = Socket::connect(&server, endpoint.default_port, until)
            .map_err(|error| unreachable(error.to_string()))?;
        let opened = Opened { host: server.host().into(), tls: server.tls, noauth: server.noauth };
        let mut stream = Stream {
            server: endpoint.server.clone(),
            opened,
            wire: Wire { socket, until },
            tls: None,
            deflate: None,
            input: Vec::new(),
            taken: 0,
        };
        if server.tls {
            stream.start_tls(&endpoint.tls, until)?;
        }
        Ok(stream)
    }

    /// The server string.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// How the connection came to be.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Whether TLS is on.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The TLS side, for its version and cipher suite.
    pub fn tls(&self) -> Option<&ClientConnection> {
        self.tls.as_deref()
    }

    /// Shakes hands and goes on under TLS. What the server has said before in the clear and nobody
    /// took is dropped.
    ///
    /// # Errors
    /// `Tls`.
    pub fn start_tls(&mut self, settings: &TlsSettings, until: Instant) -> Result<(), ClientError> {
        let failed = |server: &str, why: String| ClientError::Tls { server: server.into(), why: why.into() };
        let mut connection =
            settings.connection(&self.opened.host).map_err(|why| failed(&self.server, why))?;
        self.wire.until = until;
        while connection.is_handshaking() {
            connection
                .complete_io(&mut self.wire)
                .map_err(|error| failed(&self.server, error.to_string()))?;
        }
        self.input.clear();
        self.taken = 0;
        self.tls = Some(Box::new(connection));
        Ok(())
    }

    /// What was received and not taken.
    pub fn unread(&self) -> &[u8] {
        &self.input[self.taken..]
    }

    /// Takes bytes off the front of what is unread.
    pub fn take(&mut self, n: usize) {
        self.taken = (self.taken + n).min(self.input.len());
        if self.taken == self.input.len() {
            self.input.clear();
            self.taken = 0;
        }
    }

    /// Waits for more input; false at the end of it.
    ///
    /// # Errors
    /// `Lost`, also at the deadline; `Protocol` past [`INPUT_BYTES_MAX`] unread bytes.
    pub fn fill(&mut self, until: Instant) -> Result<bool, ClientError> {
        if self.unread().len() >= INPUT_BYTES_MAX {
            return Err(self.protocol("response over the limit"));
        }
        self.input.drain(..self.taken);
        self.taken = 0;
        self.wire.until = until;
        match self.deflate.take() {
            None => {
                let mut input = std::mem::take(&mut self.input);
                let read = self.read_into(&mut input);
                self.input = input;
                Ok(read? > 0)
            }
            Some(mut deflate) => {
                let read = self.fill_inflated(&mut deflate);
                self.deflate = Some(deflate);
                read
            }
        }
    }

    /// Reads until something comes out of the inflater.
    fn fill_inflated(&mut self, deflate: &mut Deflate) -> Result<bool, ClientError> {
        let before = self.input.len();
        let mut packed = Vec::new();
        while self.input.len() == before {
            packed.clear();
            if self.read_into(&mut packed)? == 0 {
                return Ok(false);
            }
            let inflated = deflate.decompress(&packed, &mut self.input, INPUT_BYTES_MAX);
            inflated.map_err(|error| self.lost(error))?;
        }
        Ok(true)
    }

    /// Appends what one read brings; how much that is, 0 at the end.
    fn read_into(&mut self, input: &mut Vec<u8>) -> Result<usize, ClientError> {
        let from = input.len();
        input.resize(from + READ_BYTES, 0);
        let read = match &mut self.tls {
            None => self.wire.read(&mut input[from..]),
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.wire).read(&mut input[from..]),
        };
        let n = match read {
            Ok(n) => n,
            // The end of the socket without a goodbye of TLS; what is cut off shows in the protocol.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(error) => {
                input.truncate(from);
                return Err(self.lost(error));
            }
        };
        input.truncate(from + n);
        Ok(n)
    }

    /// Whether [`Stream::fill`] has something without waiting for the socket.
    pub fn is_readable_at_once(&self) -> bool {
        let has_plain = |tls: &ClientConnection| !tls.wants_read();
        !self.unread().is_empty() || self.tls.as_deref().is_some_and(has_plain)
    }

    /// Both sides compress what they say from here on; what stands unread is compressed.
    ///
    /// # Errors
    /// `Lost`: that is no compressed data.
    pub fn start_deflate(&mut self) -> Result<(), ClientError> {
        let mut deflate = Deflate::new();
        let packed = self.unread().to_vec();
        self.input.clear();
        self.taken = 0;
        let inflated = deflate.decompress(&packed, &mut self.input, INPUT_BYTES_MAX);
        self.deflate = Some(Box::new(deflate));
        inflated.map_err(|error| self.lost(error))
    }

    /// Sends all bytes.
    ///
    /// # Errors
    /// `Lost`, also at the deadline.
    pub fn write(&mut self, bytes: &[u8], until: Instant) -> Result<(), ClientError> {
        self.wire.until = until;
        let packed = self.deflate.as_mut().map(|deflate| deflate.compress(bytes));
        let packed = packed.transpose().map_err(|error| self.lost(error))?;
        let bytes = packed.as_deref().unwrap_or(bytes);
        let written = match &mut self.tls {
            None => self.wire.write_all(bytes),
            Some(tls) => {
                let mut stream = rustls::Stream::new(&mut **tls, &mut self.wire);
                stream.write_all(bytes).and_then(|()| stream.flush())
            }
        };
        written.map_err(|error| self.lost(error))
    }

    /// A `Protocol` error of this server.
    pub fn protocol(&self, why: impl Into<Box<str>>) -> ClientError {
        ClientError::Protocol { server: self.server.clone(), why: why.into() }
    }

    /// A `Closed` error of this server.
    pub fn closed(&self, text: impl Into<Box<str>>) -> ClientError {
        ClientError::Closed { server: self.server.clone(), text: text.into() }
    }

    /// A `Login` error at this server.
    pub fn login_failed(&self, why: impl Into<Box<str>>) -> ClientError {
        ClientError::Login { server: self.server.clone(), why: why.into() }
    }

    fn lost(&self, error: io::Error) -> ClientError {
        ClientError::Lost { server: self.server.clone(), error }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.wire.socket {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        }
    }
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn connect(server: &Server, default_port: u16, until: Instant) -> io::Result<Socket> {
        let (host, port) = match &server.place {
            Place::Unix(path) => return UnixStream::connect(path).map(Socket::Unix),
            Place::Host { host, port } => (&**host, port.unwrap_or(default_port)),
        };
        let mut failure = io::Error::other("the host has no address");
        for address in (host, port).to_socket_addrs()?.take(ADDRESSES_MAX) {
            match TcpStream::connect_timeout(&address, time_left(until)?) {
                Ok(socket) => {
                    socket.set_nodelay(true)?;
                    return Ok(Socket::Tcp(socket));
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// The socket with a deadline for everything that is done on it.
struct Wire {
    socket: Socket,
    until: Instant,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = Some(time_left(self.until)?);
        let read = match &mut self.socket {
            Socket::Tcp(socket) => socket.set_read_timeout(left).and_then(|()| socket.read(buffer)),
            Socket::Unix(socket) => socket.set_read_timeout(left).and_then(|()| socket.read(buffer)),
        };
        read.map_err(named_timeout)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = Some(time_left(self.until)?);
        let written = match &mut self.socket {
            Socket::Tcp(socket) => socket.set_write_timeout(left).and_then(|()| socket.write(bytes)),
            Socket::Unix(socket) => socket.set_write_timeout(left).and_then(|()| socket.write(bytes)),
        };
        written.map_err(named_timeout)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is left until the deadline, never zero.
fn time_left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(timed_out()) } else { Ok(left) }
}

/// A socket's own word for its timeout is that it would block.
fn named_timeout(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { timed_out() } else { error }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}
