//! What a table session is configured with.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::lmtp::address::AddressPolicy;
use crate::mailbox::Namespace;

/// The configuration of one table listener.
#[derive(Clone, Debug)]
pub struct Config {
    /// How user ids and mailbox names read.
    pub namespace: Arc<Namespace>,
    /// How addresses read, as in LMTP.
    pub address: AddressPolicy,
    /// `rookery_map_transport`: what `transport` answers; `%h` is the host and `%p` its LMTP port.
    pub transport: Box<str>,
    /// `rookery_map_here`: what `here` answers of an address at its server.
    pub here: Box<str>,
    /// `rookery_HOST_lmtp_port`, by host or its short name.
    pub ports: BTreeMap<Box<str>, u16>,
    /// The table that a tcp_table client asks, who cannot name one.
    pub table: Box<[u8]>,
}

/// The default of `rookery_map_transport`.
pub const TRANSPORT: &str = "lmtp:inet:[%h]:%p";

/// The default of `rookery_map_here`: how a server's own MTA delivers.
pub const HERE: &str = "lmtp:unix:/run/cyrus/socket/lmtp";

/// The port of LMTP.
const LMTP_PORT: u16 = 24;

impl Default for Config {
    fn default() -> Config {
        Config {
            namespace: Arc::default(),
            address: AddressPolicy::default(),
            transport: TRANSPORT.into(),
            here: HERE.into(),
            ports: BTreeMap::new(),
            table: (*b"transport").into(),
        }
    }
}

impl Config {
    /// The transport to a host.
    pub fn transport_to(&self, host: &str) -> String {
        let short = host.split('.').next().unwrap_or(host);
        let port = self.ports.get(host).or_else(|| self.ports.get(short)).copied().unwrap_or(LMTP_PORT);
        self.transport.replace("%h", host).replace("%p", &port.to_string())
    }
}
