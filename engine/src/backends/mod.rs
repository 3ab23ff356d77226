//! Backends: from a server string to a plan how to connect, and what is known of each.

mod capabilities;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use driver::breaker::{self, Health};
use protocols::conf::server::{Place, Server, default_port};
use protocols::proxy::{self, LayerKind, OpenError, Opened, Service};
use smallvec::SmallVec;

pub use capabilities::Offered;

use crate::helpers::{Asker, Helpers, Unresolved};
use crate::shard::{ConnectPlan, Endpoint, Reply};

/// Addresses of one server that are tried.
const ADDRESSES_MAX: usize = 8;

/// How backends are reached, from imapd.conf.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `client_timeout`: connecting to all addresses together.
    pub deadline: Duration,
    /// `client_bind`: the local addresses of outgoing connections, in turn; the system's choice without any.
    pub bind: Box<[IpAddr]>,
    /// `rookery_HOST_SERVICE_port` by host and service name.
    pub ports: BTreeMap<(Box<str>, &'static str), u16>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { deadline: Duration::from_secs(10), bind: Box::default(), ports: BTreeMap::new() }
    }
}

/// The backends as the shards of a process know them.
pub struct Backends {
    /// What could not be reached lately.
    health: Health,
    /// When their clock began.
    start: Instant,
    /// What they offer in IMAP.
    pub offered: Offered,
    /// What they offer in ManageSieve.
    pub sieve: Offered,
}

impl Default for Backends {
    fn default() -> Backends {
        Backends {
            health: Health::default(),
            start: Instant::now(),
            offered: Offered::default(),
            sieve: Offered::of(protocols::sieve::cyrus_3_6),
        }
    }
}

impl Backends {
    /// Backends of which nothing is known but what they offered in IMAP.
    pub fn new(offered: Offered) -> Backends {
        Backends { offered, ..Backends::default() }
    }

    /// What the servers of a protocol offer; of IMAP where no other is told of.
    pub fn offered_in(&self, service: Service) -> &Offered {
        match service {
            Service::Sieve => &self.sieve,
            Service::Imap | Service::Pop3 | Service::Lmtp | Service::Mupdate => &self.offered,
        }
    }

    /// Notes whether a server, by its watched name, took a connection.
    pub fn connected(&self, server: &str, reached: bool) {
        if reached { self.health.reached(server, self.now()) } else { self.health.failed(server, self.now()) }
    }

    /// Notes that a server took a connection and did not say what it must.
    pub fn was_silent(&self, server: &str) {
        self.health.was_silent(server, self.now());
    }

    /// Notes that a server answered.
    pub fn answered(&self, server: &str) {
        self.health.answered(server);
    }

    /// The moment on the clock that all shards share.
    fn now(&self) -> proxy::Instant {
        // Nanoseconds of 584 years fit.
        proxy::Instant(self.start.elapsed().as_nanos() as u64)
    }

    /// Answers `Question::OpenBackend`: where to connect, at once or later.
    pub fn open(
        &self,
        settings: &Arc<Settings>,
        helpers: &Helpers,
        asker: Asker,
        server: &str,
        service: Service,
    ) -> Reply {
        let parsed = match Server::parse(server) {
            Ok(parsed) => parsed,
            Err(error) => return refuse(error),
        };
        let name = breaker::watched(server, service);
        if self.health.is_barred(&name, self.now()) {
            return refuse(OpenError::Connect(server.into()));
        }
        // Places are dealt out from the first, so that sessions are spread evenly and shards share nothing.
        let turn = asker.session.slot as usize;
        let (host, port) = match &parsed.place {
            Place::Unix(path) => {
                return Reply::Connect(settings.plan(&name, &parsed, [Endpoint::Unix(path.clone())], turn));
            }
            Place::Host { host, port } => (host.clone(), settings.port(host, *port, service)),
        };
        let later = {
            let settings = Arc::clone(settings);
            let (parsed, server, name): (_, Box<str>, _) = (parsed.clone(), server.into(), name.clone());
            Box::new(move |found: Result<Arc<[IpAddr]>, Unresolved>| {
                asker.connect(match found {
                    Ok(addresses) => Ok(settings.plan(&name, &parsed, endpoints(&addresses, port), turn)),
                    Err(Unresolved) => Err(OpenError::Resolve(server)),
                });
            })
        };
        match helpers.resolve(&host, later) {
            Some(Ok(addresses)) => {
                Reply::Connect(settings.plan(&name, &parsed, endpoints(&addresses, port), turn))
            }
            Some(Err(Unresolved)) => refuse(OpenError::Resolve(server.into())),
            None => Reply::Later,
        }
    }
}

impl Settings {
    /// A port in a server name is IMAP's (for the master's name, MUPDATE's); other services have
    /// `rookery_HOST_SERVICE_port` or their usual one.
    fn port(&self, host: &str, named: Option<u16>, service: Service) -> u16 {
        let word = match service {
            Service::Imap | Service::Mupdate => return named.unwrap_or(default_port(service)),
            Service::Pop3 => "pop3",
            Service::Lmtp => "lmtp",
            Service::Sieve => "sieve",
        };
        let short = host.split('.').next().unwrap_or(host);
        let of = |host: &str| self.ports.get(&(Box::from(host), word)).copied();
        of(host).or_else(|| of(short)).unwrap_or(default_port(service))
    }

    /// `name` is the server string that `server` was read from; `turn` chooses the local address.
    fn plan(
        &self,
        name: &str,
        server: &Server,
        addresses: impl IntoIterator<Item = Endpoint>,
        turn: usize,
    ) -> ConnectPlan {
        let mut addresses: SmallVec<[Endpoint; 2]> = addresses.into_iter().collect();
        let bind = self.bind(&addresses, turn);
        if let Some(bind) = bind {
            // A socket bound to one family reaches no address of the other.
            addresses.retain(|address| match address {
                Endpoint::Ip(address) => address.is_ipv4() == bind.is_ipv4(),
                Endpoint::Unix(_) => true,
            });
        }
        let host: Box<str> = server.host().into();
        ConnectPlan {
            server: name.into(),
            addresses,
            layer: server.tls.then(|| LayerKind::TlsClient { server_name: host.clone() }),
            opened: Opened { host, tls: server.tls, noauth: server.noauth },
            deadline: self.deadline,
            bind: bind.map(|address| SocketAddr::new(address, 0)),
        }
    }

    /// The local address whose turn it is, of those from which one of the addresses can be reached.
    fn bind(&self, addresses: &[Endpoint], turn: usize) -> Option<IpAddr> {
        let reaches = |local: &&IpAddr| {
            addresses.iter().any(|address| match address {
                Endpoint::Ip(address) => address.is_ipv4() == local.is_ipv4(),
                Endpoint::Unix(_) => true,
            })
        };
        let fit = self.bind.iter().filter(reaches).count();
        let mut chosen = self.bind.iter().filter(reaches);
        chosen.nth(turn.checked_rem(fit).unwrap_or(0)).or(self.bind.first()).copied()
    }
}

fn endpoints(addresses: &[IpAddr], port: u16) -> impl Iterator<Item = Endpoint> {
    addresses.iter().take(ADDRESSES_MAX).map(move |address| Endpoint::Ip(SocketAddr::new(*address, port)))
}

fn refuse(error: OpenError) -> Reply {
    Reply::Now(proxy::Answer::Opened(Err(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_of_a_server_name_is_for_imap_only() {
        let mut settings = Settings::default();
        settings.ports.insert(("be1".into(), "pop3"), 2110);
        let port = |service| settings.port("be1.example.com", Some(2143), service);
        assert_eq!(port(Service::Imap), 2143);
        assert_eq!(port(Service::Mupdate), 2143);
        assert_eq!(port(Service::Pop3), 2110);
        assert_eq!(port(Service::Sieve), 4190);
        assert_eq!(settings.port("be1", None, Service::Imap), 143);
    }

    #[test]
    fn plan_has_the_layer_and_name_of_the_server() {
        let settings = Settings::default();
        let server = Server::parse("be1.example.com:993/tls").unwrap();
        let plan = settings.plan(
            "be1.example.com:993/tls",
            &server,
            endpoints(&[IpAddr::from([127, 0, 0, 1])], 993),
            0,
        );
        assert_eq!(plan.layer, Some(LayerKind::TlsClient { server_name: "be1.example.com".into() }));
        assert_eq!(plan.addresses[..], [Endpoint::Ip("127.0.0.1:993".parse().unwrap())]);
        assert_eq!(plan.deadline, Duration::from_secs(10));
        assert!(plan.opened.tls && !plan.opened.noauth);
    }

    #[test]
    fn bound_plan_keeps_addresses_of_its_family() {
        let settings = Settings { bind: [IpAddr::from([127, 0, 0, 2])].into(), ..Settings::default() };
        let server = Server::parse("be1").unwrap();
        let both = [IpAddr::from([127, 0, 0, 1]), "::1".parse().unwrap()];
        let plan = settings.plan("be1", &server, endpoints(&both, 143), 7);
        assert_eq!(plan.addresses.len(), 1);
        assert_eq!(plan.bind, Some("127.0.0.2:0".parse().unwrap()));
    }

    #[test]
    fn local_addresses_are_taken_in_turn_where_they_reach_the_server() {
        let pool = ["127.0.0.2", "::1", "127.0.0.3"].map(|address| address.parse().unwrap());
        let settings = Settings { bind: pool.into(), ..Settings::default() };
        let server = Server::parse("be1").unwrap();
        let bound = |to: &str, turn| {
            let plan = settings.plan("be1", &server, endpoints(&[to.parse().unwrap()], 143), turn);
            assert_eq!(plan.addresses.len(), 1);
            plan.bind.unwrap().ip().to_string()
        };
        let to_four: Vec<String> = (0..4).map(|turn| bound("127.0.0.1", turn)).collect();
        assert_eq!(to_four, ["127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3"]);
        assert_eq!([bound("::1", 0), bound("::1", 1)], ["::1", "::1"]);
    }
}
