//! One turn of one proxy: what it is loaded with, and its start before the first.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::USERS;
use super::cases::{self, Case};
use super::kind::Kind;
use super::peers::{Peer, Place};
use crate::load::{self, Plan, Target};

/// A proxy that serves nobody for so long after its start is left out.
const READY_MAX: Duration = Duration::from_secs(15);

/// A turn in which so much time is counted.
pub(super) fn plan(case: &Case, peer: &Peer, seconds: f64, tls: &Arc<ClientConfig>) -> Plan {
    let mut scenario = case.scenario.clone();
    scenario.users.count = USERS;
    (scenario.seconds, scenario.warm_up) = (seconds, seconds / 4.0);
    let address = if case.tls { peer.tls.unwrap_or(peer.plain) } else { peer.plain };
    let target = Target { address, name: ServerName::from(address.ip()), tls: Arc::clone(tls) };
    Plan { target, scenario, pid: Some(peer.pid()), progress: None, interrupted: Arc::default() }
}

/// Starts a peer and waits until it serves what the row wants.
///
/// # Errors
/// It does not start, or serves nobody.
pub(super) fn start(place: &Place, case: &Case, kind: Kind, tls: &Arc<ClientConfig>) -> Result<Peer> {
    let peer = Peer::start(kind, place, case)?;
    let end = Instant::now() + READY_MAX;
    let mut plan = plan(case, &peer, 0.05, tls);
    plan.scenario.connections = 1;
    if plan.scenario.hold {
        // A process for each session is not made beforehand: the slope would not see it.
        plan.scenario = cases::before_idle(case, if kind == Kind::Cyrus { 1 } else { 200 })?;
    }
    // A frontend that has not heard from its master yet knows nobody.
    loop {
        match load::run(&plan) {
            Ok(outcome) if outcome.done() > 0 => return Ok(peer),
            Err(e) if Instant::now() > end => return Err(e.context("is not ready")),
            Ok(_) if Instant::now() > end => bail!("is not ready: nothing is answered"),
            // On a loaded machine the first answer takes its time.
            Ok(_) => plan.scenario.seconds = (plan.scenario.seconds * 2.0).min(3.0),
            Err(_) => {}
        }
    }
}
