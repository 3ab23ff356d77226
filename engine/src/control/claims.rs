//! What a master remembers of claims, as rows.

use mupdate::directory::{self, ConflictKind, ConflictOutcome, ReservationCause};

use super::protocol::{Conflict, Reservation, UnfinishedMove, text};

pub(super) fn conflict(of: &directory::Conflict) -> Conflict {
    let asked = match of.kind {
        ConflictKind::Activate => "activate",
        ConflictKind::Deactivate => "deactivate",
        ConflictKind::Delete => "delete",
    };
    let outcome = match of.outcome {
        ConflictOutcome::Refused => "refused",
        ConflictOutcome::Done => "done",
    };
    Conflict {
        name: text(&of.name),
        asked: asked.into(),
        outcome: outcome.into(),
        owner: text(&of.owner.0),
        claimed: of.claimed.as_ref().map(|location| text(&location.0)),
        address: of.address.map(|address| address.to_string()),
        servers: of.servers.iter().map(|server| text(server)).collect(),
        first_unix: of.first_unix,
        last_unix: of.last_unix,
        times: of.times,
    }
}

pub(super) fn reservation(of: &directory::Reservation) -> Reservation {
    let cause = match of.cause {
        ReservationCause::Reserve => "reserve",
        ReservationCause::Deactivate => "deactivate",
    };
    Reservation {
        name: text(&of.name),
        location: text(&of.location.0),
        cause: cause.into(),
        since_unix: of.since_unix,
    }
}

pub(super) fn unfinished_move(of: &directory::UnfinishedMove) -> UnfinishedMove {
    UnfinishedMove {
        name: text(&of.name),
        source: text(&of.source.0),
        deactivated_unix: of.deactivated_unix,
        listed_unix: of.listed_unix,
    }
}
