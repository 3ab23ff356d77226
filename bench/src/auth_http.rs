//! The HTTP service that nginx's mail proxy asks where a user's server is (`auth_http`).

use std::net::SocketAddr;
use std::time::Instant;

use backends::net::{ConnectionId, Handler, Outbox};

/// A request head past this ends the connection.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Sends everybody to one server, whatever the password.
pub struct AuthHttp {
    answer: String,
}

impl AuthHttp {
    /// Sends everybody to this server.
    pub fn new(server: SocketAddr) -> AuthHttp {
        let (address, port) = (server.ip(), server.port());
        let answer = format!(
            "HTTP/1.0 200 OK\r\nAuth-Status: OK\r\nAuth-Server: {address}\r\nAuth-Port: {port}\r\n\r\n"
        );
        AuthHttp { answer }
    }
}

impl Handler for AuthHttp {
    fn opened(&mut self, _: ConnectionId, _: &mut Outbox) {}

    fn connected(&mut self, _: ConnectionId, _: bool, _: &mut Outbox) {}

    fn received(&mut self, id: ConnectionId, input: &mut Vec<u8>, out: &mut Outbox) {
        if input.ends_with(b"\r\n\r\n") {
            out.send(id, self.answer.as_bytes());
            out.close(id);
        } else if input.len() > HEAD_BYTES_MAX {
            out.close(id);
        }
    }

    fn closed(&mut self, _: ConnectionId, _: &mut Outbox) {}

    fn wake_at(&self) -> Option<Instant> {
        None
    }

    fn woken(&mut self, _: Instant, _: &mut Outbox) {}
}
