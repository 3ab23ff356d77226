//! A socket that connects, plain or within TLS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use anyhow::Result;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use rustls::pki_types::ServerName;

/// Bytes there and back.
pub(super) struct Stream {
    socket: TcpStream,
    tls: Option<Box<rustls::ClientConnection>>,
}

impl Stream {
    /// Begins to connect; the first write or read tells if it cannot.
    pub(super) fn connect(address: SocketAddr) -> io::Result<Stream> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {
                Ok(Stream { socket: TcpStream::from(socket), tls: None })
            }
            Err(e) => Err(e.into()),
        }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Begins TLS with what is sent next.
    pub(super) fn secure(
        &mut self,
        config: &Arc<rustls::ClientConfig>,
        name: &ServerName<'static>,
    ) -> Result<()> {
        let mut tls = rustls::ClientConnection::new(Arc::clone(config), name.clone())?;
        tls.set_buffer_limit(None);
        self.tls = Some(Box::new(tls));
        Ok(())
    }

    /// Sends some of the bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let wrote = match &mut self.tls {
                Some(tls) => tls.writer().write(bytes),
                None => self.socket.write(bytes),
            };
            match wrote {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                wrote => return wrote,
            }
        }
    }

    /// Sends what TLS holds, as far as the socket takes it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
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

    /// Reads; 0 is the end.
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(scratch) };
        loop {
            match tls.reader().read(scratch) {
                Ok(n) => return Ok(n),
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
