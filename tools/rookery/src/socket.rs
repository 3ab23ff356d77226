//! The control sockets of this host.

use std::fs;
use std::path::{Path, PathBuf};

use engine::config;
use engine::control::{Connection, Program};
use protocols::conf::Imapd;

use crate::common::Common;
use crate::exit::Failure;

/// Reads imapd.conf and what it includes.
///
/// # Errors
/// It cannot be read, or Cyrus would refuse it.
pub(crate) fn imapd_conf(common: &Common) -> Result<Imapd, Failure> {
    let path = common.config.to_string_lossy();
    Ok(Imapd::load(&path, |file| fs::read_to_string(file))?)
}

/// Where daemons of this host may answer, the given ones in this order.
///
/// # Errors
/// The configuration does not say.
pub(crate) fn paths(common: &Common, programs: &[Program]) -> Result<Vec<PathBuf>, Failure> {
    if let Some(path) = &common.socket {
        return Ok(vec![path.clone()]);
    }
    let imapd = imapd_conf(common)?;
    let Some(folder) = imapd.text("configdirectory") else {
        let file = common.config.display();
        return Err(Failure::Configuration(format!("{file}: configdirectory is not set: expected a folder")));
    };
    let path = |program: &Program| config::control_socket(&imapd, Path::new(folder), *program);
    Ok(programs.iter().map(path).collect())
}

/// Connects to the first daemon that answers.
///
/// # Errors
/// None does.
pub(crate) fn open(common: &Common, programs: &[Program]) -> Result<Connection, Failure> {
    let mut tried = Vec::new();
    for path in paths(common, programs)? {
        match Connection::open(&path) {
            Ok(connection) => return Ok(connection),
            Err(error) => tried.push(format!("{}: {error}", path.display())),
        }
    }
    Err(Failure::CannotAsk(format!("no daemon answers: {}", tried.join("; "))))
}
