//! `rookery conflicts`.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use engine::control::{Ask, AskError, Conflict, Connection, Forgotten, Program, Reservation, UnfinishedMove};
use serde::{Serialize, de::DeserializeOwned};

use crate::common::Common;
use crate::exit::{Failure, Outcome};
use crate::output::{self, Form, Table, shown, span};
use crate::socket;

/// Options of `rookery conflicts`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Let the master forget the conflicts that are shown
    ///
    /// For when they are settled: as long as it remembers one, the exit status is 1. Reservations and unfinished moves
    /// end by themselves, with the mailbox.
    #[arg(long)]
    forget: bool,
}

/// A reservation that is younger is a creation or a move under way.
const RESERVATION_OLD_SECONDS: u64 = 600;

/// What a master remembers of claims.
struct Claims {
    conflicts: Vec<Conflict>,
    reservations: Vec<Reservation>,
    unfinished: Vec<UnfinishedMove>,
}

impl Claims {
    fn is_empty(&self) -> bool {
        self.conflicts.is_empty() && self.reservations.is_empty() && self.unfinished.is_empty()
    }
}

/// Shows what the master of this host refused or overrode, its old reservations, and unfinished moves.
///
/// # Errors
/// No master answers.
pub(crate) fn run(options: &Options, common: &Common, form: Form) -> Result<Outcome, Failure> {
    let mut master = socket::open(common, &[Program::Mupdate])?;
    let claims = Claims {
        conflicts: rows(&mut master, &Ask::Conflicts)?,
        reservations: rows(&mut master, &Ask::Reservations)?,
        unfinished: rows(&mut master, &Ask::UnfinishedMoves)?,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut out = output::stdout();
    match form {
        Form::Json => write_json(&mut out, &claims)?,
        Form::Terminal | Form::Plain => write(&mut out, form, &claims, now)?,
    }
    out.flush()?;
    let mut is_settled = claims.conflicts.is_empty();
    if let (true, Some(newest)) = (options.forget, claims.conflicts.iter().map(|known| known.last_unix).max())
    {
        let _: Forgotten = master.ask_one(&Ask::ForgetConflicts { until_unix: newest })?;
        is_settled = true;
    }
    let is_old = |reservation: &Reservation| age(reservation.since_unix, now) >= RESERVATION_OLD_SECONDS;
    let is_fine = is_settled && claims.unfinished.is_empty() && !claims.reservations.iter().any(is_old);
    Ok(if is_fine { Outcome::Fine } else { Outcome::Differences })
}

fn rows<T: DeserializeOwned>(master: &mut Connection, ask: &Ask) -> Result<Vec<T>, AskError> {
    master.ask(ask)?.collect()
}

fn write_json(out: &mut impl Write, claims: &Claims) -> std::io::Result<()> {
    for conflict in &claims.conflicts {
        output::json(out, &Named { conflict })?;
    }
    for reservation in &claims.reservations {
        output::json(out, &Reserved { reservation })?;
    }
    for unfinished_move in &claims.unfinished {
        output::json(out, &Unfinished { unfinished_move, repair: repair(unfinished_move) })?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Named<'a> {
    conflict: &'a Conflict,
}

#[derive(Serialize)]
struct Reserved<'a> {
    reservation: &'a Reservation,
}

#[derive(Serialize)]
struct Unfinished<'a> {
    unfinished_move: &'a UnfinishedMove,
    /// What to do, in the safe order.
    repair: String,
}

fn write(out: &mut impl Write, form: Form, claims: &Claims, now: u64) -> std::io::Result<()> {
    if form == Form::Terminal && claims.is_empty() {
        return writeln!(out, "Nobody contradicts anybody; nothing is reserved.");
    }
    let header = ["MAILBOX", "ASKED", "WAS", "OWNER", "CLAIMED BY", "TIMES", "LAST"];
    let mut table = Table::new(&mut *out, form, &header);
    for conflict in &claims.conflicts {
        table.row(vec![
            shown(conflict.name.as_bytes()),
            conflict.asked.clone(),
            conflict.outcome.clone(),
            shown(conflict.owner.as_bytes()),
            claimant(conflict),
            conflict.times.to_string(),
            ago(Some(conflict.last_unix), now),
        ])?;
    }
    table.finish()?;
    let mut table = Table::new(&mut *out, form, &["MAILBOX", "RESERVED AT", "BY", "SINCE"]);
    for reservation in &claims.reservations {
        table.row(vec![
            shown(reservation.name.as_bytes()),
            shown(reservation.location.as_bytes()),
            reservation.cause.clone(),
            ago(reservation.since_unix, now),
        ])?;
    }
    table.finish()?;
    let mut table = Table::new(&mut *out, form, &["MAILBOX", "UNFINISHED MOVE FROM", "BEGUN", "REPAIR"]);
    for broken in &claims.unfinished {
        let (name, source) = (shown(broken.name.as_bytes()), shown(broken.source.as_bytes()));
        table.row(vec![name, source, ago(broken.deactivated_unix, now), repair(broken)])?;
    }
    table.finish()
}

/// The source first: at the destination first, Cyrus' tool would delete the only copy there is.
fn repair(broken: &UnfinishedMove) -> String {
    let server = broken.source.split('!').next().unwrap_or_default();
    format!("ctl_mboxlist -m on {} first, then at its destination", shown(server.as_bytes()))
}

/// Who else says that it has the mailbox, as well as that is known.
fn claimant(conflict: &Conflict) -> String {
    let text = match (&conflict.claimed, &conflict.address) {
        (Some(claimed), Some(address)) => format!("{claimed} ({address})"),
        (Some(claimed), None) => claimed.clone(),
        (None, Some(address)) if conflict.servers.is_empty() => address.clone(),
        (None, Some(address)) => format!("{} ({address})", conflict.servers.join(", ")),
        (None, None) => "a UNIX socket".into(),
    };
    shown(text.as_bytes())
}

fn age(since: Option<u64>, now: u64) -> u64 {
    since.map_or(u64::MAX, |since| now.saturating_sub(since))
}

fn ago(since: Option<u64>, now: u64) -> String {
    since.map_or_else(|| "unknown".into(), |since| format!("{} ago", span(now.saturating_sub(since))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_claimants_of_a_conflict_are_shown() {
        let conflict = Conflict {
            name: "user.fred".into(),
            asked: "activate".into(),
            outcome: "refused".into(),
            owner: "backend1!default".into(),
            claimed: Some("backend2!default".into()),
            address: Some("10.0.0.2".into()),
            servers: vec!["backend2".into()],
            first_unix: 900,
            last_unix: 940,
            times: 3,
        };
        let unfinished = UnfinishedMove {
            name: "user.joe".into(),
            source: "backend1!default".into(),
            deactivated_unix: None,
            listed_unix: 990,
        };
        let claims =
            Claims { conflicts: vec![conflict], reservations: Vec::new(), unfinished: vec![unfinished] };
        let mut out = Vec::new();
        write(&mut out, Form::Plain, &claims, 1_000).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "user.fred\tactivate\trefused\tbackend1!default\tbackend2!default (10.0.0.2)\t3\t1 min ago\n\
             user.joe\tbackend1!default\tunknown\tctl_mboxlist -m on backend1 first, then at its destination\n"
        );
        let mut out = Vec::new();
        write_json(&mut out, &claims).unwrap();
        let text = String::from_utf8(out).unwrap();
        let last = text.lines().last().unwrap();
        assert!(
            last.contains("\"repair\":\"ctl_mboxlist -m on backend1 first, then at its destination\""),
            "{last}"
        );
    }
}
