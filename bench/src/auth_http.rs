//! The HTTP service that nginx's mail proxy asks where a user's server is (`auth_http`).

use std::net::SocketAddr;
use std::time::Instant;

use backends::net::{ConnectionId, Handler, Outbox};
use memchr::memmem;

/// A request head past this ends the connection.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Sends everybody to one server of his protocol, whatever the password.
pub struct AuthHttp {
    imap: String,
    pop3: String,
}

fn answer(server: SocketAddr) -> String {
    let (address, port) = (server.ip(), server.port());
    format!("HTTP/1.0 200 OK\r\nAuth-Status: OK\r\nAuth-Server: {address}\r\nAuth-Port: {port}\r\n\r\n")
}

impl AuthHttp {
    /// Sends everybody to these servers.
    pub fn new(imap: SocketAddr, pop3: SocketAddr) -> AuthHttp {
        AuthHttp { imap: answer(imap), pop3: answer(pop3) }
    }
}

impl Handler for AuthHttp {
    fn opened(&mut self, _: ConnectionId, _: &mut Outbox) {}

    fn connected(&mut self, _: ConnectionId, _: bool, _: &mut Outbox) {}

    fn received(&mut self, id: ConnectionId, input: &mut Vec<u8>, out: &mut Outbox) {
        if input.ends_with(b"\r\n\r\n") {
            let is_pop3 = memmem::find(input, b"\nAuth-Protocol: pop3").is_some();
            out.send(id, if is_pop3 { self.pop3.as_bytes() } else { self.imap.as_bytes() });
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
