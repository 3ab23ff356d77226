//! What each question is answered.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use mupdate::directory::{Directory, HeldBack, Snapshot};
use mupdate::list::{Found, Row};
use protocols::mailbox::Pattern;
use protocols::proxy::{Knowledge, Level, Location};
use serde::Serialize;

use super::protocol::{Accepted, Ask, Forgotten, HeldBackDump, Mailbox, State, Status, text};
use super::watched::Shared;
use super::{ANSWER_MAX, claims, latency};

/// How long the directory may take to answer: it applies a resync in slices of about a millisecond.
const DIRECTORY_MAX: Duration = Duration::from_secs(5);

/// Rows between two looks at the clock.
const ROWS_PER_LOOK: u32 = 1024;

/// Why an answer ends early.
pub(super) enum Refused {
    /// The connection is of no use any more.
    Broken(io::Error),
    /// This is said.
    Why(String),
}

impl Refused {
    /// What is said, or why nothing can be.
    pub(super) fn into_why(self) -> io::Result<String> {
        match self {
            Refused::Broken(error) => Err(error),
            Refused::Why(why) => Ok(why),
        }
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Refused {
        Refused::Broken(error)
    }
}

/// The rows of one answer on their way out.
pub(super) struct Answering<'w, W> {
    writer: &'w mut W,
    deadline: Instant,
    rows: u32,
}

impl<'w, W: Write> Answering<'w, W> {
    pub(super) fn new(writer: &'w mut W) -> Answering<'w, W> {
        Answering { writer, deadline: Instant::now() + ANSWER_MAX, rows: 0 }
    }

    fn row(&mut self, row: &impl Serialize) -> Result<(), Refused> {
        self.rows = self.rows.wrapping_add(1);
        if self.rows.is_multiple_of(ROWS_PER_LOOK) && Instant::now() > self.deadline {
            return Err(Refused::Why(format!("not read within {} s", ANSWER_MAX.as_secs())));
        }
        serde_json::to_writer(&mut *self.writer, row).map_err(io::Error::from)?;
        self.writer.write_all(b"\n")?;
        Ok(())
    }
}

/// Gives the rows of an answer.
pub(super) fn answer<W: Write>(
    ask: &Ask,
    shared: &Shared,
    answering: &mut Answering<'_, W>,
) -> Result<(), Refused> {
    match ask {
        Ask::Status => answering.row(&status(shared)?),
        Ask::Locate { name } => answering.row(&locate(&shared.watched.directory.snapshot(), name.as_bytes())),
        Ask::List { pattern } => list(&shared.watched.directory.snapshot(), pattern.as_bytes(), answering),
        Ask::Accept => answering.row(&accept(shared)?),
        Ask::Conflicts => claims(shared, answering, Directory::conflicts, claims::conflict),
        Ask::ForgetConflicts { until_unix } => answering.row(&forget(shared, *until_unix)?),
        Ask::Reservations => claims(shared, answering, Directory::reservations, claims::reservation),
        Ask::Shards => {
            let shards = (shared.watched.measure)();
            shards.iter().try_for_each(|shard| answering.row(&latency::load(shard)))
        }
        Ask::Latency { times } => {
            let all = measured(shared);
            all.series.iter().try_for_each(|series| answering.row(&latency::latency(series, *times)))
        }
        Ask::Slowest => {
            let all = measured(shared);
            all.slowest.iter().try_for_each(|slow| answering.row(&latency::slow(slow)))
        }
        Ask::UnfinishedMoves => {
            claims(shared, answering, Directory::unfinished_moves, claims::unfinished_move)
        }
    }
}

/// What all shards measured.
fn measured(shared: &Shared) -> perf::Snapshot {
    let mut all = perf::Snapshot::default();
    (shared.watched.measure)().into_iter().for_each(|of| all.merge(of.snapshot));
    all
}

/// What a master remembers, taken from the directory at once and told row by row.
fn claims<W: Write, T: Send + 'static, R: Serialize>(
    shared: &Shared,
    answering: &mut Answering<'_, W>,
    look: fn(&Directory) -> Vec<T>,
    row: fn(&T) -> R,
) -> Result<(), Refused> {
    masters_only(shared)?;
    let claims = shared.watched.directory.inspect(look, DIRECTORY_MAX).ok_or_else(no_answer)?;
    claims.iter().try_for_each(|claim| answering.row(&row(claim)))
}

fn forget(shared: &Shared, until_unix: u64) -> Result<Forgotten, Refused> {
    masters_only(shared)?;
    let directory = &shared.watched.directory;
    let conflicts = directory.forget_conflicts(until_unix, DIRECTORY_MAX).ok_or_else(no_answer)?;
    shared.watched.log.write(Level::Notice, &format!("control socket: {conflicts} conflicts are forgotten"));
    Ok(Forgotten { conflicts: conflicts as u64 })
}

fn masters_only(shared: &Shared) -> Result<(), Refused> {
    match shared.watched.source {
        Some(_) => Err(Refused::Why("this is no master: it keeps no record of claims".into())),
        None => Ok(()),
    }
}

/// The directory shard has ended or stands still.
fn no_answer() -> Refused {
    Refused::Why(format!("the directory did not answer within {} s", DIRECTORY_MAX.as_secs()))
}

fn status(shared: &Shared) -> Result<Status, Refused> {
    let watched = &shared.watched;
    let snapshot = watched.directory.snapshot();
    let held_back = held_back(shared)?;
    Ok(Status {
        program: watched.program,
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_seconds: shared.started.elapsed().as_secs(),
        source: watched.source.as_deref().map(String::from),
        knowledge: knowledge(snapshot.knowledge).into(),
        mailboxes: snapshot.list.len() as u64,
        sequence: snapshot.sequence,
        held_back,
        sessions: (watched.sessions)(),
    })
}

fn knowledge(knowledge: Knowledge) -> &'static str {
    match knowledge {
        Knowledge::Live => "live",
        Knowledge::Stale => "stale",
        Knowledge::NeverSynced => "never synced",
    }
}

fn held_back(shared: &Shared) -> Result<Option<HeldBackDump>, Refused> {
    let held = shared.watched.directory.inspect(Directory::held_back, DIRECTORY_MAX).ok_or_else(no_answer)?;
    Ok(held.map(HeldBackDump::from))
}

impl From<HeldBack> for HeldBackDump {
    fn from(held: HeldBack) -> HeldBackDump {
        HeldBackDump { deletes: held.deletes as u64, of: held.of as u64, brought: held.brought as u64 }
    }
}

/// What is accepted is the dump that was held back a moment ago, or one that took its place since.
fn accept(shared: &Shared) -> Result<Accepted, Refused> {
    let directory = &shared.watched.directory;
    let dump = held_back(shared)?.ok_or_else(|| Refused::Why("no list is held back".into()))?;
    shared.watched.log.write(Level::Notice, "control socket: the held-back list is to be taken");
    directory.accept_held_back();
    if held_back(shared)?.is_some() {
        return Err(Refused::Why("the list is still held back".into()));
    }
    Ok(Accepted { dump })
}

fn locate(snapshot: &Snapshot, name: &[u8]) -> Mailbox {
    let row = |state, location: Option<&Location>, acl| Mailbox {
        name: text(name),
        state,
        server: location.and_then(Location::server).map(text),
        partition: location.map(|location| text(location.partition())),
        acl,
    };
    match snapshot.list.find(name) {
        Some(Found::Active(entry)) => row(State::Active, Some(&entry.location), Some(text(&entry.acl))),
        Some(Found::Reserved { location }) => row(State::Reserved, Some(&location), None),
        None if snapshot.knowledge == Knowledge::Live => row(State::Absent, None, None),
        None => row(State::Unknown, None, None),
    }
}

/// Names that match, in hierarchy order, from one snapshot.
fn list<W: Write>(
    snapshot: &Snapshot,
    pattern: &[u8],
    answering: &mut Answering<'_, W>,
) -> Result<(), Refused> {
    let pattern = Pattern::new(b"", pattern, b'.');
    let mut cursor = snapshot.list.iter_from(b"");
    while let Some(row) = cursor.next() {
        if pattern.matches(row.name) {
            answering.row(&listed(&row))?;
        }
    }
    Ok(())
}

fn listed(row: &Row<'_>) -> Mailbox {
    Mailbox {
        name: text(row.name),
        state: if row.reserved { State::Reserved } else { State::Active },
        server: row.location.server().map(text),
        partition: Some(text(row.location.partition())),
        acl: (!row.reserved).then(|| text(&row.acl())),
    }
}
