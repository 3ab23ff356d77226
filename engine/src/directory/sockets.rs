//! What the directory shard listens on.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use protocols::proxy::Level;

use super::{DirectoryError, KICK, MUPDATE};
use crate::config::Serving;
use crate::listen::Listen;
use crate::log::Log;
use crate::shard::{self, Listener, ShardConfig};

/// Listens where other programs of this host wait for a barrier. Without its folder nobody does.
pub(super) fn kick(path: &Path, shard: &mut ShardConfig, log: &Log) -> Option<PathBuf> {
    match listen_unix(path) {
        Ok(socket) => {
            shard.listeners.push(Listener { id: KICK, socket, deal: Vec::new() });
            Some(path.into())
        }
        Err(error) => {
            log.write(Level::Warn, &format!("no kick socket {}: {error}", path.display()));
            None
        }
    }
}

/// Whether somebody listens at a path.
pub(super) fn is_alive(path: &Path) -> bool {
    UnixStream::connect(path).is_ok()
}

/// Listens for MUPDATE clients; what was made is added to `addresses` and `paths`.
pub(super) fn mupdate(
    serving: &Serving,
    shard: &mut ShardConfig,
    addresses: &mut Vec<SocketAddr>,
    paths: &mut Vec<PathBuf>,
) -> Result<(), DirectoryError> {
    let failed = |place: &dyn ToString, error| DirectoryError::Listen {
        place: place.to_string().into(),
        service: serving.name.clone(),
        error,
    };
    let mut add = |socket| shard.listeners.push(Listener { id: MUPDATE, socket, deal: Vec::new() });
    match &serving.listen {
        Listen::Unix(path) => {
            add(listen_unix(path).map_err(|error| failed(&path.display(), error))?);
            paths.push(path.clone());
        }
        Listen::Tcp(all) => {
            for address in all {
                let socket = shard::listen_tcp(*address).map_err(|error| failed(address, error))?;
                addresses.push(local_address(&socket).unwrap_or(*address));
                add(socket);
            }
        }
    }
    Ok(())
}

fn local_address(socket: &OwnedFd) -> Option<SocketAddr> {
    socket2::SockRef::from(&socket.as_fd()).local_addr().ok()?.as_socket()
}

/// A UNIX listener in the place of one that is there: who starts last is asked.
fn listen_unix(path: &Path) -> io::Result<OwnedFd> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let socket = shard::listen_unix(path)?;
    // Every local program may ask for a barrier, as with Cyrus.
    fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
    Ok(socket)
}
