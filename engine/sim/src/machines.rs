//! The machines of the simulated murder and their configuration.

use std::sync::Arc;
use std::time::Duration;

use protocols::imap::config::{Config, Timeouts};
use protocols::mailbox::Namespace;
use protocols::proxy::{Origin, Session};

use crate::world::proxy_password;

/// What the frontends are configured with.
pub(crate) fn imap_config() -> Config {
    let mut config = Config { servername: "frontend".into(), ..Config::default() };
    config.namespace = Arc::new(Namespace { separator: b'.', alt: false, ..Namespace::default() });
    config.login.plaintext_allowed = true;
    config.login.failed_pause = Duration::from_millis(100);
    config.proxy.password = proxy_password();
    config.timeouts = Timeouts { backend_idle: Duration::from_secs(5), ..Timeouts::default() };
    config
}

struct Never;
impl Session for Never {
    fn handle_input(&mut self, _: protocols::proxy::Side, _: &[u8], _: protocols::proxy::Instant) -> protocols::proxy::Taken { protocols::proxy::Taken { n: 0, then: protocols::proxy::Then::Hold } }
    fn handle_event(&mut self, _: protocols::proxy::Event, _: protocols::proxy::Instant) {}
    fn handle_timeout(&mut self, _: protocols::proxy::Instant) {}
    fn poll_output(&mut self, _: &mut Vec<u8>) -> Option<protocols::proxy::Output> { None }
    fn poll_timeout(&self) -> Option<protocols::proxy::Instant> { None }
}
pub(crate) fn master_connection(_: &Origin) -> Box<dyn Session> { Box::new(Never) }
pub(crate) fn slave(_: [u8; 32]) -> Box<dyn Session> { Box::new(Never) }
