//! `mupdate -a`: the master on the host that `mupdate_server` names, a slave on every other.

use std::fs;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::Path;

use protocols::conf::Imapd;
use protocols::conf::server::Server;

use super::{EX_CONFIG, EX_UNAVAILABLE, Failure};

/// Whether this host is the master. Deviates: Cyrus compares IPv4 addresses that are not of loopback,
/// and the wrong bytes of them.
pub(super) fn is_master(file: &Path) -> Result<bool, Failure> {
    let imapd = Imapd::load(&file.to_string_lossy(), &|path: &str| fs::read_to_string(path))
        .map_err(|error| Failure::new(EX_CONFIG, error))?;
    let unset = || {
        let text = "mupdate_server is not set: -a expected the MUPDATE master's host";
        Failure::new(EX_CONFIG, format!("{}: {text}", file.display()))
    };
    let value = imapd.value("mupdate_server").ok_or_else(unset)?;
    let server = Server::parse(&value.text)
        .map_err(|error| Failure::new(EX_CONFIG, value.error(error.to_string())))?;
    let addresses = (server.host(), 0).to_socket_addrs().map_err(|error| {
        let text = format!("-a: the address of mupdate_server {} is not known: {error}", server.host());
        Failure::new(EX_UNAVAILABLE, text)
    })?;
    Ok(addresses.map(|address| address.ip()).any(is_here))
}

/// Whether an address is this host's: one that is reached from itself. Nothing is sent.
fn is_here(address: IpAddr) -> bool {
    /// Any port will do.
    const DISCARD: u16 = 9;
    let unspecified: IpAddr = match address {
        IpAddr::V4(_) => [0, 0, 0, 0].into(),
        IpAddr::V6(_) => [0; 16].into(),
    };
    let from = || {
        let socket = UdpSocket::bind(SocketAddr::new(unspecified, 0))?;
        socket.connect(SocketAddr::new(address, DISCARD))?;
        socket.local_addr()
    };
    address.is_loopback() || from().is_ok_and(|from| from.ip() == address)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn decided(conf: &str) -> Result<bool, u8> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(conf.as_bytes()).unwrap();
        is_master(file.path()).map_err(|failure| failure.0)
    }

    #[test]
    fn the_host_that_is_named_is_the_master() {
        assert_eq!(decided("mupdate_server: 127.0.0.1:3905\n"), Ok(true));
        // An address that stands in documentation and on no host.
        assert_eq!(decided("mupdate_server: 192.0.2.7\n"), Ok(false));
        assert_eq!(decided("servername: x\n"), Err(EX_CONFIG));
        assert_eq!(decided("mupdate_server: :3905\n"), Err(EX_CONFIG));
    }
}
