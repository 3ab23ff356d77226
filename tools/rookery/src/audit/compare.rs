//! The comparison: walks all lists side by side and judges each name.
//!
//! ```text
//!   master says      backends have        it is
//!   nothing          one                  missing at the master
//!   active at S      nobody (S was read)  an orphan at the master
//!   active at S      S alone              fine, or a wrong partition or ACL
//!   active at S      B alone (S was read) on the wrong server
//!   reserved at S    S alone              a move or creation that did not begin or end
//!   reserved at S    B alone (S was read) a move whose last step is missing
//!   reserved at S    S and B              a move that broke off in the middle
//!   reserved at S    nobody               a reservation that nobody activates
//!   else             two or more          a mailbox with two owners
//! ```
//!
//! What a backend that was not read might hold is never guessed: a finding that it could explain is
//! not repaired.

use mupdate::list::{self, Cursor, List};
use protocols::proxy::Location;

use super::model::{Backend, Depth, Holding, Murder, Said, is_same_acl, is_same_location, is_same_server};

/// Findings that are kept in full; what is over is counted, and found again when these are repaired.
pub(crate) const FINDINGS_MAX: usize = 100_000;

/// What is wrong with a mailbox, in the order in which it is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Problem {
    /// Two backends hold it and no move explains that.
    DoubleOwner,
    /// Reserved; the source and another backend hold it.
    MoveInterrupted,
    /// Reserved; the source holds it, alone.
    NotActivated,
    /// Reserved; another backend than the source holds it, alone.
    MoveNotAnnounced,
    /// Reserved; nobody holds it.
    StaleReservation,
    /// Active at a backend that has it not; another has it.
    WrongServer,
    /// Active, and held by that backend, which still has it flagged as being moved away.
    StillFlagged,
    /// A backend holds it, the master has never heard of it.
    MissingAtMaster,
    /// Active at a backend that has it not; nobody has.
    Orphan,
    /// Right server, wrong partition.
    WrongPartition,
    /// Right place, other rights.
    WrongAcl,
    /// The master is right and a frontend says something else.
    StaleFrontend,
}

impl Problem {
    /// A word for tables and JSON.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Problem::DoubleOwner => "double-owner",
            Problem::MoveInterrupted => "move-interrupted",
            Problem::NotActivated => "not-activated",
            Problem::MoveNotAnnounced => "move-not-announced",
            Problem::StaleReservation => "stale-reservation",
            Problem::WrongServer => "wrong-server",
            Problem::StillFlagged => "still-flagged",
            Problem::MissingAtMaster => "missing-at-master",
            Problem::Orphan => "orphan",
            Problem::WrongPartition => "wrong-partition",
            Problem::WrongAcl => "wrong-acl",
            Problem::StaleFrontend => "stale-frontend",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Finding {
    /// The internal name.
    pub(crate) name: Box<[u8]>,
    /// What it is.
    pub(crate) problem: Problem,
    /// What the master says.
    pub(crate) master: Said,
    /// Who holds it.
    pub(crate) holders: Vec<Holding>,
    /// Frontends that say something else than the master, by number.
    pub(crate) frontends: Vec<(usize, Said)>,
    /// A backend that was not read might explain it.
    pub(crate) is_uncertain: bool,
}

/// What came out.
#[derive(Default)]
pub(crate) struct Comparison {
    /// In hierarchy order; a mailbox may have two: one between master and backends, one at frontends.
    pub(crate) findings: Vec<Finding>,
    /// Findings past [`FINDINGS_MAX`].
    pub(crate) omitted: usize,
    /// Names that were judged.
    pub(crate) judged: usize,
    /// Names that changed meanwhile.
    pub(crate) in_flux: usize,
}

impl Comparison {
    fn add(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.omitted += 1;
        }
    }
}

/// Compares everything with everything.
pub(crate) fn compare(murder: &Murder) -> Comparison {
    let mut lists: Vec<&List> = vec![&murder.before, &murder.master];
    lists.extend(murder.backends.iter().map(|backend| &*backend.list));
    lists.extend(murder.frontends.iter().map(|frontend| &*frontend.list));
    let mut comparison = Comparison::default();
    let mut side_by_side = SideBySide::new(&lists);
    while let Some(name) = side_by_side.step() {
        let said = side_by_side.said();
        let (master, rest) = said.split_at(2);
        if master[0] != master[1] {
            comparison.in_flux += 1;
            continue;
        }
        comparison.judged += 1;
        let (held, believed) = rest.split_at(murder.backends.len());
        let mut holders = holders(&name, held, &murder.backends);
        if murder.is_replicated {
            share(&mut holders);
        }
        judge_backends(&name, &master[1], &holders, murder, &mut comparison);
        judge_frontends(&name, &master[1], &holders, believed, murder, &mut comparison);
    }
    comparison
}

fn holders(name: &[u8], held: &[Said], backends: &[Backend]) -> Vec<Holding> {
    let holding = |(said, backend): (&Said, &Backend)| match said {
        Said::Active { location, acl } => Some(Holding {
            location: location.clone(),
            acl: (backend.depth == Depth::Whole).then(|| acl.clone()),
            moving_to: backend.moving.get(name).cloned(),
        }),
        Said::Nothing | Said::Reserved { .. } => None,
    };
    held.iter().zip(backends).filter_map(holding).collect()
}

/// Several servers of one spool are one holder without a server.
fn share(holders: &mut Vec<Holding>) {
    holders.truncate(1);
    for holder in holders {
        holder.location = Location(holder.location.partition().into());
    }
}

fn judge_backends(
    name: &[u8],
    master: &Said,
    holders: &[Holding],
    murder: &Murder,
    comparison: &mut Comparison,
) {
    let is_unread = |server: &[u8]| {
        let mut unread = murder.unread.iter();
        if server.is_empty() {
            unread.next().is_some()
        } else {
            unread.any(|name| is_same_server(name.as_bytes(), server))
        }
    };
    let Some(problem) = judge(master, holders, is_unread) else { return };
    comparison.add(Finding {
        name: name.into(),
        problem,
        master: master.clone(),
        holders: holders.to_vec(),
        frontends: Vec::new(),
        is_uncertain: !murder.unread.is_empty() && is_explained_by_more(problem),
    });
}

/// Whether one more holder would make it something else.
fn is_explained_by_more(problem: Problem) -> bool {
    match problem {
        Problem::MoveNotAnnounced
        | Problem::NotActivated
        | Problem::StaleReservation
        | Problem::WrongServer
        | Problem::MissingAtMaster
        | Problem::Orphan => true,
        Problem::DoubleOwner
        | Problem::MoveInterrupted
        | Problem::StillFlagged
        | Problem::WrongPartition
        | Problem::WrongAcl
        | Problem::StaleFrontend => false,
    }
}

/// Judges what the master says of a name by those who hold it. `is_unread` knows the servers that
/// could not be read; without a name, whether there are any.
fn judge(master: &Said, holders: &[Holding], is_unread: impl Fn(&[u8]) -> bool) -> Option<Problem> {
    match (master, holders) {
        (Said::Nothing, []) => None,
        (Said::Nothing, [_]) => Some(Problem::MissingAtMaster),
        (Said::Nothing, _) => Some(Problem::DoubleOwner),
        (Said::Active { location, acl }, _) => judge_active(location, acl, holders, is_unread),
        (Said::Reserved { location }, _) => {
            judge_reserved(location.server().unwrap_or_default(), holders, is_unread)
        }
    }
}

fn judge_active(
    location: &Location,
    acl: &[u8],
    holders: &[Holding],
    is_unread: impl Fn(&[u8]) -> bool,
) -> Option<Problem> {
    // `mupdate_config: replicated`: who holds it has no server either.
    let server = location.server().unwrap_or_default();
    match holders {
        [] => (!is_unread(server)).then_some(Problem::Orphan),
        [holder] if is_same_server(holder.server(), server) => judge_place(location, acl, holder),
        [_] => Some(Problem::WrongServer),
        _ => Some(Problem::DoubleOwner),
    }
}

/// The right server: the rest of what the master says of it.
fn judge_place(location: &Location, acl: &[u8], holder: &Holding) -> Option<Problem> {
    if holder.moving_to.is_some() {
        return Some(Problem::StillFlagged);
    }
    if !is_same_location(location, &holder.location) {
        return Some(Problem::WrongPartition);
    }
    let differs = holder.acl.as_ref().is_some_and(|truth| !is_same_acl(truth, acl));
    differs.then_some(Problem::WrongAcl)
}

fn judge_reserved(source: &[u8], holders: &[Holding], is_unread: impl Fn(&[u8]) -> bool) -> Option<Problem> {
    let has_source = holders.iter().any(|holder| is_same_server(holder.server(), source));
    match (holders.len(), has_source) {
        (0, _) => (!is_unread(source)).then_some(Problem::StaleReservation),
        (1, true) => Some(Problem::NotActivated),
        (1, false) => Some(Problem::MoveNotAnnounced),
        (2, true) => Some(Problem::MoveInterrupted),
        _ => Some(Problem::DoubleOwner),
    }
}

/// What frontends say is compared with what the master says: they follow nobody else.
fn judge_frontends(
    name: &[u8],
    master: &Said,
    holders: &[Holding],
    believed: &[Said],
    murder: &Murder,
    comparison: &mut Comparison,
) {
    let differs = |(at, said): (usize, &Said)| {
        (!is_believed(&murder.frontends[at].name, master, said)).then(|| (at, said.clone()))
    };
    let frontends: Vec<(usize, Said)> = believed.iter().enumerate().filter_map(differs).collect();
    if frontends.is_empty() {
        return;
    }
    comparison.add(Finding {
        name: name.into(),
        problem: Problem::StaleFrontend,
        master: master.clone(),
        holders: holders.to_vec(),
        frontends,
        is_uncertain: false,
    });
}

/// Whether a frontend believes what the master says. A unified server lists its own without a server.
fn is_believed(frontend: &str, master: &Said, said: &Said) -> bool {
    let is_at = |master: &Location, said: &Location| {
        let is_own = said.server().is_none()
            && master.server().is_some_and(|server| is_same_server(server, frontend.as_bytes()))
            && master.partition() == said.partition();
        is_own || is_same_location(master, said)
    };
    match (master, said) {
        (Said::Nothing, Said::Nothing) => true,
        (Said::Reserved { location: a }, Said::Reserved { location: b }) => is_at(a, b),
        (Said::Active { location: a, acl }, Said::Active { location: b, acl: believed }) => {
            is_at(a, b) && is_same_acl(acl, believed)
        }
        (Said::Nothing | Said::Reserved { .. } | Said::Active { .. }, _) => false,
    }
}

/// Several lists, walked together in hierarchy order.
struct SideBySide<'a> {
    cursors: Vec<Cursor<'a>>,
    /// Where each cursor stands: the name and what is said of it.
    heads: Vec<Option<(Box<[u8]>, Said)>>,
    said: Vec<Said>,
}

impl<'a> SideBySide<'a> {
    fn new(lists: &[&'a List]) -> SideBySide<'a> {
        let mut cursors: Vec<Cursor<'a>> = lists.iter().map(|list| list.iter_from(b"")).collect();
        let heads = cursors.iter_mut().map(head).collect();
        SideBySide { cursors, heads, said: Vec::with_capacity(lists.len()) }
    }

    /// Goes to the next name that any list has.
    fn step(&mut self) -> Option<Box<[u8]>> {
        let names = self.heads.iter().flatten().map(|(name, _)| &**name);
        let next: Box<[u8]> = names.min_by(|a, b| list::compare(a, b))?.into();
        self.said.clear();
        for (cursor, place) in self.cursors.iter_mut().zip(&mut self.heads) {
            let said = match place.take() {
                Some((name, said)) if name == next => {
                    *place = head(cursor);
                    said
                }
                other => {
                    *place = other;
                    Said::Nothing
                }
            };
            self.said.push(said);
        }
        Some(next)
    }

    /// What each list says of it.
    fn said(&self) -> &[Said] {
        &self.said
    }
}

fn head(cursor: &mut Cursor<'_>) -> Option<(Box<[u8]>, Said)> {
    cursor.next().map(|row| (row.name.into(), Said::of(&row)))
}

#[cfg(test)]
pub(super) mod tests;
