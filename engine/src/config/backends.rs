//! How backends are reached.

use std::collections::BTreeMap;
use std::net::IpAddr;

use protocols::conf::server::port;
use protocols::conf::{ConfError, DurationUnit, Imapd};

use crate::backends::Settings;
use crate::listen::addresses;

/// Services with a port option of their own (`rookery_HOST_SERVICE_port`).
const SERVICES: [&str; 3] = ["pop3", "lmtp", "sieve"];

pub(super) fn settings(imapd: &Imapd) -> Result<Settings, ConfError> {
    let default = Settings::default();
    Ok(Settings {
        deadline: imapd.duration("client_timeout", DurationUnit::Seconds, default.deadline)?,
        bind: bind(imapd)?,
        ports: ports(imapd)?,
    })
}

/// `client_bind` with `client_bind_name`, by default `servername`: all addresses of all names in it.
fn bind(imapd: &Imapd) -> Result<Box<[IpAddr]>, ConfError> {
    if !imapd.switch("client_bind", false)? {
        return Ok(Box::default());
    }
    let Some(value) = imapd.value("client_bind_name").or_else(|| imapd.value("servername")) else {
        return Ok(Box::default());
    };
    let mut all = Vec::new();
    for name in value.text.split_ascii_whitespace() {
        let found = addresses(name);
        if found.is_empty() {
            return Err(value.error(format!("bad address for client_bind: cannot resolve {name}")));
        }
        all.extend(found);
    }
    Ok(all.into())
}

fn ports(imapd: &Imapd) -> Result<BTreeMap<(Box<str>, &'static str), u16>, ConfError> {
    let mut ports = BTreeMap::new();
    for (key, value) in imapd.iter() {
        let Some(inner) = key.strip_prefix("rookery_").and_then(|key| key.strip_suffix("_port")) else {
            continue;
        };
        let Some((host, service)) = inner.rsplit_once('_') else { continue };
        if let Some(service) = SERVICES.iter().find(|name| **name == service) {
            let port = port(&value.text).ok_or_else(|| {
                value.error(format!("bad value for {key}: expected a port, got {}", value.text))
            })?;
            ports.insert((host.into(), *service), port);
        }
    }
    Ok(ports)
}
