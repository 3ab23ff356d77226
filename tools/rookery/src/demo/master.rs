//! The MUPDATE master of the demo: the real one, with no disk behind it: what it knows ends with it.

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use engine::config::{self, Command, ProcessSecret};
use engine::log::Log;
use engine::standalone::{self, Standalone};
use rustix::fs::{MemfdFlags, memfd_create};

use super::POSTMAN;

/// The password of [`POSTMAN`], as `openssl passwd -6` writes it.
const POSTMAN_HASH: &str =
    "$6$demodemo$Y32RbgwaVA.Mj5gtE8Y6SrUy4UnLPGosI7zvt2gZPcEGHbVKhTn1m4sAMvie2nx/91lGTvqAZud99J8.Y24us/";

/// The running master.
pub(super) struct Master {
    /// Where it listens.
    pub(super) address: SocketAddr,
    server: Standalone,
    /// Its password file, in memory.
    _passwords: File,
}

impl Master {
    /// Listens on a free port of the loopback.
    pub(super) fn start(log: Log, secret: &ProcessSecret) -> Result<Master> {
        let mut passwords = File::from(memfd_create("demo-passwords", MemfdFlags::CLOEXEC)?);
        writeln!(passwords, "{}:{POSTMAN_HASH}", POSTMAN.0)?;
        let server = standalone::start(configuration(&passwords, secret)?, log)?;
        let address = *server.addresses().first().context("the master listens nowhere")?;
        Ok(Master { address, server, _passwords: passwords })
    }

    /// Mailboxes that were registered.
    pub(super) fn mailboxes(&self) -> usize {
        self.server.directory().mailboxes()
    }

    /// Stops it and waits.
    pub(super) fn stop(self) {
        self.server.stop();
    }
}

/// The text that a master would have as its imapd.conf: PLAIN for one account, no TLS.
fn configuration(passwords: &File, secret: &ProcessSecret) -> Result<config::Standalone> {
    let imapd = format!(
        "configdirectory: /nonexistent\nservername: localhost\nadmins: {}\nallowplaintext: yes\n\
         sasl_pwcheck_method: passwd_file\nsasl_passwd_file: /proc/self/fd/{}\nsasl_mech_list: PLAIN\n",
        POSTMAN.0,
        passwords.as_raw_fd()
    );
    let read = |path: &str| match path {
        "imapd.conf" => Ok(imapd.clone()),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    let command =
        Command { is_master: true, imapd_conf: "imapd.conf", cyrus_conf: None, listen: Some("127.0.0.1:0") };
    let mut configuration = config::Standalone::load(command, &read, secret)?;
    configuration.source.forget_store();
    configuration.source.forget_kick_socket();
    configuration.process.control_socket = None;
    Ok(configuration)
}
