//! Telling the service manager (sd_notify(3)) and whoever waits for files.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

/// What the manager is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Serving, and the list is live.
    Ready,
    /// Reading the configuration again.
    Reloading {
        /// CLOCK_MONOTONIC, as the protocol demands.
        monotonic_us: u64,
    },
    /// Going.
    Stopping,
}

/// The manager, if there is one (`NOTIFY_SOCKET`).
pub(super) struct Manager(Option<OsString>);

impl Manager {
    /// The manager that the environment names.
    pub(super) fn from_environment() -> Manager {
        Manager(std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()))
    }

    /// Tells the manager; without one nothing happens.
    ///
    /// # Errors
    /// The socket cannot be written.
    pub(super) fn tell(&self, state: State) -> io::Result<()> {
        let Some(socket) = &self.0 else { return Ok(()) };
        let text = match state {
            State::Ready => "READY=1\nSTATUS=serving".into(),
            State::Reloading { monotonic_us } => format!("RELOADING=1\nMONOTONIC_USEC={monotonic_us}"),
            State::Stopping => "STOPPING=1".into(),
        };
        UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address(socket)?).map(|_| ())
    }
}

/// A path, or `@` and an abstract name.
fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(socket),
    }
}

/// A file that says something while the process lives, removed when this is dropped.
pub(super) struct Marker(PathBuf);

impl Marker {
    /// Writes the file in one step.
    ///
    /// # Errors
    /// Its folder cannot be written.
    pub(super) fn write(path: &Path, text: &str) -> io::Result<Marker> {
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        fs::write(&new, text)?;
        fs::rename(&new, path)?;
        Ok(Marker(path.into()))
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        // Somebody else may have removed it.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manager_hears_every_state() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let manager = Manager(Some(path.into()));
        for (state, text) in [
            (State::Ready, "READY=1\nSTATUS=serving"),
            (State::Reloading { monotonic_us: 5 }, "RELOADING=1\nMONOTONIC_USEC=5"),
            (State::Stopping, "STOPPING=1"),
        ] {
            manager.tell(state).unwrap();
            let mut buffer = [0; 64];
            let n = socket.recv(&mut buffer).unwrap();
            assert_eq!(std::str::from_utf8(&buffer[..n]), Ok(text));
        }
        assert!(Manager(None).tell(State::Ready).is_ok());
    }

    #[test]
    fn marker_is_gone_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ready");
        let marker = Marker::write(&path, "42\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "42\n");
        drop(marker);
        assert!(!path.exists());
    }
}
