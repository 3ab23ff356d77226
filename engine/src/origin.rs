//! What tells a connection of a client from all others.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use protocols::proxy::Origin;

use crate::shard::PeerAddress;

/// What a session is made with; `None` when the system has no random bytes, without which no
/// session is safe.
pub(crate) fn origin(peer: &PeerAddress, tls: bool) -> Option<Origin> {
    let mut random = [0; 32];
    rand::fill(&mut random).ok()?;
    Some(Origin {
        random,
        started_unix: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        client_address: match peer {
            PeerAddress::Ip(address) => address.to_string().into(),
            PeerAddress::Unix => "".into(),
        },
        tls,
    })
}
