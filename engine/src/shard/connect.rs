//! Connecting to backends.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use driver::SessionId;
use io_uring::types::Timespec;
use protocols::proxy::{OpenError, QuestionId};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::carrier::Carrier;
use super::ring::{Kind, Token};
use super::sockets::tune;
use super::underway::Attempt;
use super::{ConnectPlan, Endpoint, Host};

impl<H: Host> Carrier<H> {
    pub(super) fn begin_connecting(&mut self, session: SessionId, id: QuestionId, plan: ConnectPlan) {
        if !self.driver.has_room() {
            self.refuse(session, id, OpenError::Limit);
            return;
        }
        let deadline = self.now + plan.deadline;
        let attempt = Attempt {
            session,
            id,
            plan,
            next: 0,
            deadline,
            socket: None,
            address: None,
            within: Timespec::new(),
            error: None,
        };
        let index = self.attempts.insert(Box::new(attempt));
        self.try_next(index);
    }

    /// Tries the next address that a socket can be made for.
    fn try_next(&mut self, index: usize) {
        let now = self.now;
        let keepalive = self.keepalive;
        while let Some(attempt) = self.attempts.get_mut(index) {
            attempt.socket = None;
            let left = attempt.deadline.since(now);
            let Some(endpoint) = attempt.plan.addresses.get(attempt.next).filter(|_| !left.is_zero()) else {
                let Attempt { session, id, plan, error, .. } = *self.attempts.remove(index);
                let error = error.unwrap_or_else(|| io::ErrorKind::TimedOut.into());
                self.host.connected(&plan.server, Err(error));
                self.refuse(session, id, OpenError::Connect(plan.opened.host));
                return;
            };
            attempt.next += 1;
            let (socket, address) = match socket_for(endpoint, &attempt.plan) {
                Ok(made) => made,
                Err(error) => {
                    attempt.error = Some(error);
                    continue;
                }
            };
            if matches!(endpoint, Endpoint::Ip(_)) {
                tune(&socket, keepalive);
            }
            attempt.within = Timespec::from(left);
            let fd = socket.as_raw_fd();
            attempt.socket = Some(socket);
            let address = attempt.address.insert(address);
            let (start, len) = (address.as_ptr().cast(), address.len());
            let within = &raw const attempt.within;
            #[allow(unsafe_code, reason = "the operation points to the attempt")]
            // SAFETY: the attempt is boxed and not touched before the completion, or until the shard is
            // over: by then it was submitted, and the kernel has copies.
            unsafe {
                self.ring.connect(fd, start, len, within, Token::of(Kind::Connect, index as u32));
            }
            return;
        }
    }

    pub(super) fn connected(&mut self, index: usize, result: i32) {
        if result < 0 {
            if let Some(attempt) = self.attempts.get_mut(index) {
                attempt.error = Some(match -result {
                    // Its time was up.
                    libc::ECANCELED => io::ErrorKind::TimedOut.into(),
                    errno => io::Error::from_raw_os_error(errno),
                });
            }
            self.try_next(index);
            return;
        }
        let Some(attempt) = self.attempts.try_remove(index) else { return };
        let Attempt { session, id, plan, socket: Some(socket), .. } = *attempt else { return };
        self.host.connected(&plan.server, Ok(()));
        let layer = match plan.layer.as_ref().map(|kind| self.host.layer(kind)).transpose() {
            Ok(layer) => layer,
            Err(why) => {
                let level = protocols::proxy::Level::Warn;
                self.host.tell(session, protocols::proxy::Notice::Log { level, text: why });
                self.refuse(session, id, OpenError::Connect(plan.opened.host));
                return;
            }
        };
        let carriage = self.carriage();
        if let Some(conn) = self.driver.opened(session, id, plan.opened, layer, carriage) {
            self.sockets.insert(conn, socket);
        }
    }
}

fn socket_for(endpoint: &Endpoint, plan: &ConnectPlan) -> io::Result<(OwnedFd, SockAddr)> {
    let kind = Type::STREAM.nonblocking();
    let (socket, address) = match endpoint {
        Endpoint::Ip(address) => {
            let socket = Socket::new(Domain::for_address(*address), kind, Some(Protocol::TCP))?;
            if let Some(local) = plan.bind.filter(|local| local.is_ipv4() == address.is_ipv4()) {
                leave_port_to_connect(&socket)?;
                socket.bind(&local.into())?;
            }
            (socket, SockAddr::from(*address))
        }
        Endpoint::Unix(path) => (Socket::new(Domain::UNIX, kind, None)?, SockAddr::unix(path)?),
    };
    Ok((socket.into(), address))
}

/// Lets connect choose the port: what bind chooses serves one connection, wherever it leads, and so 28,000 of
/// an address and not as many to each server.
fn leave_port_to_connect(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    #[allow(unsafe_code, reason = "neither socket2 nor rustix knows the option")]
    // SAFETY: the value is an int that lives as long as the call, with its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;

    /// A port of an address may lead to several servers at once: so bind must not have taken it.
    #[test]
    fn bound_socket_gets_its_port_when_it_connects() {
        for (local, remote) in [("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:0", "[::1]:0")] {
            let Ok(server) = TcpListener::bind(remote) else { continue }; // a machine without IPv6
            let local: SocketAddr = local.parse().unwrap();
            let socket = Socket::new(Domain::for_address(local), Type::STREAM, Some(Protocol::TCP)).unwrap();
            leave_port_to_connect(&socket).unwrap();
            socket.bind(&local.into()).unwrap();
            let port = |socket: &Socket| socket.local_addr().unwrap().as_socket().unwrap().port();
            assert_eq!(port(&socket), 0, "{local}");
            socket.connect(&server.local_addr().unwrap().into()).unwrap();
            assert_ne!(port(&socket), 0, "{local}");
        }
    }
}
