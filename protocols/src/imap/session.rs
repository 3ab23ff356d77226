//! The machine of one IMAP client.

use std::sync::Arc;

use super::config::{Config, ServerInfo};
use super::outbox::Outbox;
use crate::proxy::{self, Event, Instant, Origin, Output, Side, Taken, Then};

/// One client of the frontend, from greeting to BYE.
pub struct Session {
    config: Arc<Config>,
    origin: Origin,
    outbox: Outbox,
}

impl Session {
    /// Begins with the greeting.
    pub fn new(config: Arc<Config>, origin: Origin) -> Session {
        let mut session = Session { config, origin, outbox: Outbox::default() };
        session.greet();
        session
    }

    fn greet(&mut self) {
        let config = Arc::clone(&self.config);
        self.outbox.author(Side::Client, |out| {
            out.extend_from_slice(b"* OK ");
            if config.server_info != ServerInfo::Off {
                out.extend_from_slice(config.servername.as_bytes());
            }
            out.extend_from_slice(b" server ready\r\n");
        });
    }
}

impl proxy::Session for Session {
    fn handle_input(&mut self, _side: Side, _input: &[u8], _now: Instant) -> Taken {
        Taken { n: 0, then: Then::Hold }
    }

    fn handle_event(&mut self, _event: Event, _now: Instant) {}

    fn handle_timeout(&mut self, _now: Instant) {}

    fn poll_output(&mut self, scratch: &mut Vec<u8>) -> Option<Output> {
        self.outbox.poll(scratch)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.origin.started_unix).map(Instant)
    }
}
