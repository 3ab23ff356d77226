//! The sockets of a shard, by the slots of the driver's connections.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use driver::{ConnId, Pace};
use socket2::{SockRef, TcpKeepalive};

use super::ring::{Kind, Token};
use super::{Keepalive, PeerAddress};

/// Where the multishot receive of a socket stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Receive {
    Off,
    Armed,
    /// It ran out of buffers and stands in the queue for them.
    Starved,
    /// Being cancelled.
    Stopping,
}

/// One socket.
pub(super) struct Socket {
    pub(super) fd: OwnedFd,
    pub(super) generation: u32,
    /// Operations that will complete.
    pub(super) in_flight: u16,
    pub(super) receive: Receive,
    /// How the driver wants it received; `None` while it does not.
    pub(super) wanted: Option<Pace>,
    /// Closed when the last operation has completed.
    pub(super) closing: bool,
    /// The splice that reads from it, or `NO_SPLICE`.
    pub(super) splice: u32,
    /// The splice that waits to write to it, or `NO_SPLICE`.
    pub(super) awaited_by: u32,
}

/// No splice.
pub(super) const NO_SPLICE: u32 = u32::MAX;

impl Socket {
    pub(super) fn new(fd: OwnedFd, generation: u32) -> Socket {
        Socket {
            fd,
            generation,
            in_flight: 0,
            receive: Receive::Off,
            wanted: None,
            closing: false,
            splice: NO_SPLICE,
            awaited_by: NO_SPLICE,
        }
    }

    pub(super) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Sockets by slot.
pub(super) struct Sockets(Vec<Option<Socket>>);

impl Sockets {
    /// With room for so many.
    pub(super) fn new(room: usize) -> Sockets {
        Sockets(Vec::with_capacity(room))
    }

    pub(super) fn insert(&mut self, conn: ConnId, fd: OwnedFd) {
        let slot = conn.slot as usize;
        if self.0.len() <= slot {
            self.0.resize_with(slot + 1, || None);
        }
        self.0[slot] = Some(Socket::new(fd, conn.generation));
    }

    pub(super) fn of(&mut self, conn: ConnId) -> Option<&mut Socket> {
        self.0.get_mut(conn.slot as usize)?.as_mut().filter(|socket| socket.generation == conn.generation)
    }

    pub(super) fn remove(&mut self, conn: ConnId) -> Option<Socket> {
        self.0.get_mut(conn.slot as usize)?.take()
    }
}

pub(super) fn token(kind: Kind, conn: ConnId) -> Token {
    Token { kind, slot: conn.slot, generation: conn.generation }
}

pub(super) fn conn_of(token: Token) -> ConnId {
    ConnId { slot: token.slot, generation: token.generation }
}

/// Sets what every TCP socket has: no delay, keepalive if configured. A socket that refuses is
/// already broken, which its first operation will tell.
pub(super) fn tune(fd: &OwnedFd, keepalive: Option<Keepalive>) {
    let socket = SockRef::from(fd);
    let _ = socket.set_tcp_nodelay(true);
    if let Some(Keepalive { idle, interval, count }) = keepalive {
        let probes = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(count);
        let _ = socket.set_tcp_keepalive(&probes);
    }
}

/// Who is at the other end; `None` if it is gone already.
pub(super) fn peer_of(fd: &OwnedFd) -> Option<PeerAddress> {
    let address = SockRef::from(fd).peer_addr().ok()?;
    Some(match address.as_socket() {
        Some(SocketAddr::V6(v6)) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => PeerAddress::Ip(SocketAddr::new(v4.into(), v6.port())),
            None => PeerAddress::Ip(v6.into()),
        },
        Some(v4) => PeerAddress::Ip(v4),
        None => PeerAddress::Unix,
    })
}
