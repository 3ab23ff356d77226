//! The options of a table listener.

use std::sync::Arc;

use protocols::conf::{ConfError, Imapd, cyrus::Entry};
use protocols::lmtp::address::AddressPolicy;
use protocols::postmap::config::{Config, HERE, TRANSPORT};

use super::{backends, namespace};

/// Reads the configuration of one table listener; `imapd` is that service's view, `-m` in its line names
/// the table of tcp_table clients.
pub(crate) fn config(imapd: &Imapd, entry: &Entry, arguments: &[&str]) -> Result<Config, ConfError> {
    let ports = backends::settings(imapd)?.ports;
    let named = arguments.iter().position(|argument| *argument == "-m");
    let table = match named.map(|at| arguments.get(at + 1)) {
        None => "transport",
        Some(Some(table)) => table,
        Some(None) => {
            return Err(entry.error("-m without a table: expected transport, exists, home or here=SERVER"));
        }
    };
    Ok(Config {
        namespace: Arc::new(namespace(imapd, &entry.file)?),
        address: AddressPolicy {
            downcase: imapd.switch("lmtp_downcase_rcpt", true)?,
            postuser: imapd.text("postuser").unwrap_or_default().as_bytes().into(),
            ..AddressPolicy::default()
        },
        transport: imapd.text("rookery_map_transport").unwrap_or(TRANSPORT).into(),
        here: imapd.text("rookery_map_here").unwrap_or(HERE).into(),
        ports: ports
            .into_iter()
            .filter(|((_, word), _)| *word == "lmtp")
            .map(|((host, _), port)| (host, port))
            .collect(),
        table: table.as_bytes().into(),
    })
}
