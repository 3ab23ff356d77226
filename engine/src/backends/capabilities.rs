//! What the backends offer, as seen after login.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use protocols::proxy::BackendCapabilities;

/// Servers that are remembered; a murder has tens.
const SERVERS_MAX: usize = 4096;

/// Capabilities kept of one server.
const CAPABILITIES_MAX: usize = 512;

/// What every server offered last, and what all have in common.
#[derive(Default)]
pub struct Offered {
    by_server: Mutex<BTreeMap<Box<str>, Vec<Box<str>>>>,
    common: ArcSwap<BackendCapabilities>,
}

impl Offered {
    /// Notes what a server offers.
    pub fn seen(&self, server: &str, mut capabilities: Vec<Box<str>>) {
        capabilities.truncate(CAPABILITIES_MAX);
        let mut by_server = self.by_server.lock().unwrap_or_else(PoisonError::into_inner);
        if by_server.get(server) == Some(&capabilities) {
            return;
        }
        if by_server.len() < SERVERS_MAX || by_server.contains_key(server) {
            by_server.insert(server.into(), capabilities);
            self.common.store(Arc::new(common(&by_server)));
        }
    }

    /// What all servers that were seen have in common.
    pub fn common(&self) -> Arc<BackendCapabilities> {
        self.common.load_full()
    }
}

/// The intersection in the order of the first server by name.
fn common(by_server: &BTreeMap<Box<str>, Vec<Box<str>>>) -> BackendCapabilities {
    let mut servers = by_server.values();
    let mut common = servers.next().cloned().unwrap_or_default();
    for other in servers {
        common.retain(|name| other.iter().any(|offered| offered.eq_ignore_ascii_case(name)));
    }
    BackendCapabilities { common, servers: by_server.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<Box<str>> {
        text.split(' ').map(Box::from).collect()
    }

    #[test]
    fn common_is_what_every_server_offers() {
        let offered = Offered::default();
        assert_eq!(*offered.common(), BackendCapabilities::default());
        offered.seen("be1", names("IMAP4rev1 IDLE MOVE QRESYNC"));
        offered.seen("be2", names("MOVE IMAP4REV1 NOTIFY IDLE"));
        assert_eq!(offered.common().common, names("IMAP4rev1 IDLE MOVE"));
        assert_eq!(offered.common().servers, 2);
        offered.seen("be2", names("IMAP4rev1"));
        assert_eq!(offered.common().common, names("IMAP4rev1"));
    }
}
