//! Server strings of the mailbox list and of `mupdate_server`.

use std::path::PathBuf;

use crate::proxy::{OpenError, Service};

/// A server string.
///
/// ```text
///   server = "/" path / host [":" port] *("/" option)      ; option is tls or noauth
///   host   = name / IPv4 address / "[" IPv6 address "]"
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// Where it is.
    pub place: Place,
    /// TLS from the first byte (`/tls`).
    pub tls: bool,
    /// No login (`/noauth`).
    pub noauth: bool,
}

/// Where a server is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A UNIX socket.
    Unix(PathBuf),
    /// A host.
    Host {
        /// Name or address, without brackets.
        host: Box<str>,
        /// The port, if the string has one.
        port: Option<u16>,
    },
}

impl Server {
    /// Reads a server string.
    ///
    /// # Errors
    /// [`OpenError::BadServer`]: empty host, port 0 or no number, unknown option.
    pub fn parse(text: &str) -> Result<Server, OpenError> {
        if text.starts_with('/') {
            return Ok(Server { place: Place::Unix(text.into()), tls: false, noauth: false });
        }
        let bad = || OpenError::BadServer(text.into());
        let mut parts = text.split('/');
        let (host, port) = host_and_port(parts.next().unwrap_or("")).ok_or_else(bad)?;
        let mut server = Server { place: Place::Host { host: host.into(), port }, tls: false, noauth: false };
        for option in parts {
            match option {
                "tls" => server.tls = true,
                "noauth" => server.noauth = true,
                _ => return Err(bad()),
            }
        }
        Ok(server)
    }

    /// The host part, for certificate names and `HOST_` options; of a UNIX socket it is `localhost`.
    pub fn host(&self) -> &str {
        match &self.place {
            Place::Unix(_) => "localhost",
            Place::Host { host, .. } => host,
        }
    }
}

fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    if host.is_empty() || host.bytes().any(|byte| byte.is_ascii_whitespace() || byte == 0) {
        return None;
    }
    let port = match rest.strip_prefix(':') {
        Some(digits) => Some(port(digits)?),
        None if rest.is_empty() => None,
        None => return None,
    };
    Some((host, port))
}

/// Reads a port: `1*DIGIT`, not 0.
pub fn port(digits: &str) -> Option<u16> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|port| *port != 0)
}

/// The port of a service where nothing else is said.
pub fn default_port(service: Service) -> u16 {
    match service {
        Service::Imap => 143,
        Service::Pop3 => 110,
        Service::Lmtp => 24,
        Service::Sieve => 4190,
        Service::Mupdate => 3905,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(host: &str, port: Option<u16>) -> Place {
        Place::Host { host: host.into(), port }
    }

    #[test]
    fn hosts_ports_and_options_are_read() {
        for (text, place, tls, noauth) in [
            ("be1.example.com", host("be1.example.com", None), false, false),
            ("be1:2143", host("be1", Some(2143)), false, false),
            ("be1:993/tls", host("be1", Some(993)), true, false),
            ("be1/tls/noauth", host("be1", None), true, true),
            ("127.0.0.1:1", host("127.0.0.1", Some(1)), false, false),
            ("[::1]:2143/noauth", host("::1", Some(2143)), false, true),
            ("[::1]", host("::1", None), false, false),
            ("/run/imap.sock", Place::Unix("/run/imap.sock".into()), false, false),
        ] {
            assert_eq!(Server::parse(text), Ok(Server { place, tls, noauth }), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            ":143",
            "be1:",
            "be1:0",
            "be1:65536",
            "be1:+1",
            "be1:x",
            "be1/ssl",
            "be1/",
            "[::1",
            "[::1]x",
            "[]",
            "a b",
            "::1",
        ] {
            assert_eq!(Server::parse(text), Err(OpenError::BadServer(text.into())), "{text}");
        }
    }
}
