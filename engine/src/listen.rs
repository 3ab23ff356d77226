//! `listen=` of a SERVICES line.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use protocols::conf::{ConfError, cyrus::Entry};

/// What a service listens on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listen {
    /// A UNIX socket.
    Unix(PathBuf),
    /// TCP addresses, never none.
    Tcp(Vec<SocketAddr>),
}

/// Which families `proto=` allows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Families {
    Both,
    V4,
    V6,
}

/// Services that are served and their ports, for systems whose /etc/services lacks them.
const PORTS: [(&str, u16); 8] = [
    ("imap", 143),
    ("imap2", 143),
    ("imaps", 993),
    ("pop3", 110),
    ("pop3s", 995),
    ("lmtp", 24),
    ("sieve", 4190),
    ("mupdate", 3905),
];

impl Listen {
    /// Reads `listen` and `proto` of a line.
    ///
    /// ```text
    ///   listen = "/" path / [host ":"] port         ; port is a number or a service name
    ///   host   = name / IPv4 address / "[" IPv6 address "]" / "*"
    ///   proto  = "tcp" / "tcp4" / "tcp6"            ; default tcp, both families
    /// ```
    ///
    /// # Errors
    /// The line has none, or it names nothing that could be listened on.
    pub fn of(entry: &Entry) -> Result<Listen, ConfError> {
        let listen = entry
            .argument("listen")
            .ok_or_else(|| entry.error("no listen: expected a port, host:port or a path"))?;
        Listen::parse(listen, entry.argument("proto")).map_err(|what| entry.error(what))
    }

    /// Reads `listen` and `proto` wherever they stand.
    ///
    /// # Errors
    /// One sentence: it names nothing that could be listened on.
    pub fn parse(listen: &str, proto: Option<&str>) -> Result<Listen, String> {
        if listen.starts_with('/') {
            return Ok(Listen::Unix(listen.into()));
        }
        let families = match proto {
            None | Some("tcp") => Families::Both,
            Some("tcp4") => Families::V4,
            Some("tcp6") => Families::V6,
            Some(other) => return Err(format!("bad proto: expected tcp, tcp4 or tcp6, got {other}")),
        };
        let (host, port) = split(listen);
        let port = service_port(port)
            .ok_or_else(|| format!("bad listen: expected a port or service name, got {port}"))?;
        let addresses: Vec<SocketAddr> = hosts(host)
            .into_iter()
            .filter(|address| match families {
                Families::Both => true,
                Families::V4 => address.is_ipv4(),
                Families::V6 => address.is_ipv6(),
            })
            .map(|address| SocketAddr::new(address, port))
            .collect();
        if addresses.is_empty() {
            return Err(format!("bad listen: no address of {listen} for its proto"));
        }
        Ok(Listen::Tcp(addresses))
    }
}

/// Host and port of `host:port`, `[address]:port` or `port`.
fn split(listen: &str) -> (&str, &str) {
    match listen.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        Some((host, port)) => (host, port),
        None => listen.rsplit_once(':').unwrap_or(("", listen)),
    }
}

fn hosts(host: &str) -> Vec<IpAddr> {
    match host {
        "" | "*" => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        _ => addresses(host),
    }
}

/// Addresses of a name, asked once at start.
pub(crate) fn addresses(host: &str) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> =
        (host, 0).to_socket_addrs().into_iter().flatten().map(|a| a.ip()).collect();
    addresses.dedup();
    addresses
}

/// A number, a name of /etc/services, or one that everybody knows.
fn service_port(name: &str) -> Option<u16> {
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
        return name.parse().ok();
    }
    let services = fs::read_to_string("/etc/services").unwrap_or_default();
    let known = || PORTS.iter().find(|(known, _)| *known == name).map(|(_, port)| *port);
    port_in(&services, name).or_else(known)
}

/// `name port/tcp aliases... # comment`.
fn port_in(services: &str, name: &str) -> Option<u16> {
    services.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let (first, port) = (words.next()?, words.next()?.strip_suffix("/tcp")?);
        (first == name || words.any(|alias| alias == name)).then(|| port.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use protocols::conf::cyrus;

    use super::*;

    fn listen(arguments: &str) -> Result<Listen, String> {
        let text = format!("SERVICES {{\n imap cmd=\"imapd\" {arguments}\n}}\n");
        let conf = cyrus::parse(&text, "cyrus.conf").unwrap();
        Listen::of(&conf.services[0]).map_err(|error| error.to_string())
    }

    fn tcp(addresses: &[&str]) -> Result<Listen, String> {
        Ok(Listen::Tcp(addresses.iter().map(|address| address.parse().unwrap()).collect()))
    }

    #[test]
    fn every_form_of_listen_is_read() {
        assert_eq!(listen(r#"listen="127.0.0.9:1143" proto="tcp4""#), tcp(&["127.0.0.9:1143"]));
        assert_eq!(listen(r#"listen="[::1]:143""#), tcp(&["[::1]:143"]));
        assert_eq!(listen(r#"listen="imap""#), tcp(&["0.0.0.0:143", "[::]:143"]));
        assert_eq!(listen(r#"listen="*:imaps" proto="tcp6""#), tcp(&["[::]:993"]));
        assert_eq!(listen("listen=3143 proto=tcp4"), tcp(&["0.0.0.0:3143"]));
        assert_eq!(listen(r#"listen="/run/imap""#), Ok(Listen::Unix("/run/imap".into())));
    }

    #[test]
    fn errors_name_the_line() {
        assert_eq!(
            listen(""),
            Err("cyrus.conf:2: imap: no listen: expected a port, host:port or a path".into())
        );
        for (arguments, part) in [
            ("listen=no-such-service", "expected a port or service name, got no-such-service"),
            ("listen=70000", "got 70000"),
            ("listen=143 proto=udp", "expected tcp, tcp4 or tcp6, got udp"),
            (r#"listen="127.0.0.1:143" proto=tcp6"#, "no address"),
        ] {
            let error = listen(arguments).unwrap_err();
            assert!(error.starts_with("cyrus.conf:2: ") && error.contains(part), "{error}");
        }
    }

    #[test]
    fn services_are_found_by_name_and_alias() {
        let services = "imap2\t143/tcp\timap # Interim\nlmtp 24/udp\nlmtp 2424/tcp\n";
        assert_eq!(port_in(services, "imap"), Some(143));
        assert_eq!(port_in(services, "imap2"), Some(143));
        assert_eq!(port_in(services, "lmtp"), Some(2424));
        assert_eq!(port_in(services, "Interim"), None);
    }
}
