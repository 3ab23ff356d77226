//! A backend as the master sees it: creates, changes, moves and deletes mailboxes, many at once, and
//! remembers what it was told.

use std::collections::{BTreeMap, VecDeque};

use mupdate::grammar::{self, Response, Status, Stop, message_out};
use protocols::proxy::{Change, Entry, Instant, Location, MasterRequest};

use super::life::Life;
use super::line::{Line, Stage};
use crate::dice::Dice;
use crate::net::{EndId, Net};
use crate::stored::Stored;

/// Names that a writer alone changes.
const OWN_NAMES: usize = 12;

/// Names that all writers want.
const SHARED_NAMES: usize = 6;

/// Requests of one burst.
const BURST_MAX: usize = 6;

/// The texts of refusals that say nothing about the name.
const OF_THE_DISK: [&[u8]; 2] = [b"cannot store the change", b"too many changes wait for the disk"];

/// What may stand at a name, the oldest first: one when everything is answered.
type May = VecDeque<(u64, Option<Change>)>;

/// A request in flight.
struct Asked {
    tag: u64,
    request: MasterRequest,
    /// What stands there when it is done.
    after: Option<Change>,
    /// It may not be refused.
    must: bool,
    /// Changes of the master's life when it was sent.
    since: usize,
}

pub(super) struct Writer {
    server: String,
    line: Line,
    asked: VecDeque<Asked>,
    may: BTreeMap<Box<[u8]>, May>,
    /// What it believes to have of the names that all want.
    has: BTreeMap<Box<[u8]>, bool>,
    next: u64,
    pub(super) acknowledged: usize,
    pub(super) refused: usize,
    pub(super) violations: Vec<String>,
}

impl Writer {
    pub(super) fn new(number: usize) -> Writer {
        Writer {
            server: format!("be{number}"),
            line: Line::default(),
            asked: VecDeque::new(),
            may: BTreeMap::new(),
            has: BTreeMap::new(),
            next: 0,
            acknowledged: 0,
            refused: 0,
            violations: Vec::new(),
        }
    }

    pub(super) fn wants_connection(&self) -> bool {
        !self.line.stands()
    }

    pub(super) fn connected(&mut self, end: EndId) {
        self.line.connected(end);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    /// Reads answers, sends what is due.
    pub(super) fn turn(&mut self, net: &mut Net, now: Instant, dice: &mut Dice, life: &Life, disk: &Stored) {
        self.line.receive(net, now, dice, usize::MAX);
        while self.line.stage() == Stage::Ready {
            let step = match grammar::response(self.line.input()) {
                Ok((Response::Status { tag, status, text }, n)) => {
                    (n, Some((tag.to_vec(), status, text.to_vec())))
                }
                Ok((_, n)) => (n, None),
                Err(Stop::Incomplete { .. }) => break,
                Err(why) => {
                    self.violations.push(format!("{}: {why:?}", self.server));
                    break;
                }
            };
            self.line.took(step.0);
            if let Some((tag, status, text)) = step.1 {
                self.answered(&tag, status, &text, life, disk);
            }
        }
        if self.line.send(net, now, dice) {
            // What was in flight may have been done or not.
            self.asked.clear();
        }
    }

    /// Asks for something, perhaps for much at once.
    pub(super) fn plan(&mut self, dice: &mut Dice, life: &Life) {
        if self.line.stage() != Stage::Ready || self.asked.len() > BURST_MAX {
            return;
        }
        for _ in 0..=dice.below(BURST_MAX) {
            if dice.per_mille(300) {
                self.want_shared(dice, life);
            } else {
                self.change_own(dice, life);
            }
        }
    }

    fn own_name(&self, dice: &mut Dice) -> Box<[u8]> {
        format!("user.{}.box{}", self.server, dice.below(OWN_NAMES)).into_bytes().into()
    }

    /// A place that was never told before.
    fn place(&mut self) -> Location {
        self.next += 1;
        Location(format!("{}!p{}", self.server, self.next).into_bytes().into())
    }

    fn entry(&mut self, name: &[u8], location: Location) -> Entry {
        self.next += 1;
        let acl = format!("{}\tlrs{}\t", self.server, self.next).into_bytes().into();
        Entry { name: name.into(), location, acl }
    }

    fn change_own(&mut self, dice: &mut Dice, life: &Life) {
        let name = self.own_name(dice);
        let believed = self.may.get(&name).and_then(|may| may.back()).and_then(|(_, state)| state.clone());
        match believed {
            None => self.create(&name, life),
            Some(Change::Active(there)) => match dice.below(6) {
                0 | 1 => {
                    let entry = self.entry(&name, there.location);
                    self.ask(MasterRequest::Activate(entry), life);
                }
                2 => {
                    let place = self.place();
                    let entry = self.entry(&name, place);
                    self.ask(MasterRequest::Activate(entry), life);
                }
                // A move that comes back.
                3 => {
                    let entry = self.entry(&name, there.location.clone());
                    let (name, location) = (name.clone(), there.location);
                    self.ask(MasterRequest::Deactivate { name, location }, life);
                    self.ask(MasterRequest::Activate(entry), life);
                }
                4 => self.ask(MasterRequest::Delete { name }, life),
                // RENAME as a backend tells it.
                _ => {
                    self.ask(MasterRequest::Delete { name }, life);
                    let other = self.own_name(dice);
                    let is_free =
                        self.may.get(&other).and_then(|may| may.back()).is_none_or(|at| at.1.is_none());
                    if is_free {
                        self.create(&other, life);
                    }
                }
            },
            Some(Change::Reserved { location, .. }) => {
                let entry = self.entry(&name, location);
                self.ask(MasterRequest::Activate(entry), life);
            }
            Some(Change::Deleted { .. }) => {}
        }
    }

    fn create(&mut self, name: &[u8], life: &Life) {
        let location = self.place();
        let entry = self.entry(name, location.clone());
        self.ask(MasterRequest::Reserve { name: name.into(), location }, life);
        self.ask(MasterRequest::Activate(entry), life);
    }

    fn want_shared(&mut self, dice: &mut Dice, life: &Life) {
        let name: Box<[u8]> = format!("shared{}", dice.below(SHARED_NAMES)).into_bytes().into();
        if self.has.get(&name).copied().unwrap_or(false) && dice.per_mille(600) {
            self.ask(MasterRequest::Delete { name }, life);
        } else {
            self.create(&name, life);
        }
    }

    fn is_own(&self, name: &[u8]) -> bool {
        !name.starts_with(b"shared")
    }

    fn ask(&mut self, request: MasterRequest, life: &Life) {
        self.next += 1;
        let tag = self.next;
        let word = format!("X{tag}");
        let after = match &request {
            MasterRequest::Activate(entry) => Some(Change::Active(entry.clone())),
            MasterRequest::Reserve { name, location } | MasterRequest::Deactivate { name, location } => {
                Some(Change::Reserved { name: name.clone(), location: location.clone() })
            }
            MasterRequest::Delete { .. } => None,
        };
        let (verb, name, rest): (_, &[u8], Vec<&[u8]>) = match &request {
            MasterRequest::Activate(entry) => ("ACTIVATE", &entry.name, vec![&entry.location.0, &entry.acl]),
            MasterRequest::Reserve { name, location } => ("RESERVE", name, vec![&location.0]),
            MasterRequest::Deactivate { name, location } => ("DEACTIVATE", name, vec![&location.0]),
            MasterRequest::Delete { name } => ("DELETE", name, Vec::new()),
        };
        let strings: Vec<&[u8]> = std::iter::once(name).chain(rest).collect();
        message_out(self.line.out(), word.as_bytes(), verb, &strings);
        let in_flight = self.asked.iter().filter(|asked| asked.request.name() == name).count();
        let mut must = false;
        if self.is_own(name) {
            let may = self.may.entry(name.into()).or_insert_with(|| VecDeque::from([(0, None)]));
            must = may.len() == 1 + in_flight;
            may.push_back((tag, after.clone()));
        }
        self.asked.push_back(Asked { tag, request, after, must, since: life.len() });
    }

    fn answered(&mut self, tag: &[u8], status: Status, text: &[u8], life: &Life, disk: &Stored) {
        if status == Status::Bye {
            return;
        }
        let said = || String::from_utf8_lossy(text).into_owned();
        let Some(asked) = self.asked.pop_front_if(|asked| format!("X{}", asked.tag).as_bytes() == tag) else {
            let tag = String::from_utf8_lossy(tag);
            self.violations.push(format!("{}: {tag} is answered out of turn: {}", self.server, said()));
            return;
        };
        match status {
            Status::Ok => self.done(&asked, life, disk),
            Status::No => {
                self.refused += 1;
                let name = asked.request.name();
                let is_disk = OF_THE_DISK.contains(&text);
                if asked.must && !is_disk {
                    self.violations.push(format!("{:?} is refused: {}", asked.request, said()));
                }
                if !is_disk && let Some(may) = self.may.get_mut(name) {
                    may.retain(|(tag, _)| *tag != asked.tag);
                }
                self.asked
                    .iter_mut()
                    .filter(|other| other.request.name() == name)
                    .for_each(|other| other.must = false);
            }
            Status::Bad | Status::Bye => self.violations.push(format!("{:?}: {}", asked.request, said())),
        }
    }

    /// What is acknowledged is on the disk: it stands there, or what this writer has asked for since.
    fn done(&mut self, asked: &Asked, life: &Life, disk: &Stored) {
        self.acknowledged += 1;
        let name = asked.request.name();
        if !self.is_own(name) {
            self.has.insert(name.into(), matches!(asked.after, Some(Change::Active(_))));
            if let Some(change @ Change::Active(_)) = &asked.after
                && !life.made(change, asked.since)
                && disk.entries.get(name) != Some(change)
            {
                self.violations.push(format!("{change:?} is acknowledged and was never made"));
            }
            return;
        }
        let Some(may) = self.may.get_mut(name) else { return };
        while may.front().is_some_and(|(tag, _)| *tag != asked.tag) {
            may.pop_front();
        }
        let held = disk.entries.get(name);
        if !may.iter().any(|(_, state)| state.as_ref() == held) {
            self.violations.push(format!("{:?} is acknowledged, the disk has {held:?}", asked.request));
        }
    }

    /// What the master holds in the end is what it acknowledged, or what it was asked for since.
    pub(super) fn judge(&mut self, disk: &Stored) {
        for (name, may) in &self.may {
            let held = disk.entries.get(&**name);
            if !may.iter().any(|(_, state)| state.as_ref() == held) {
                self.violations.push(format!("the master holds {held:?}, expected one of {may:?}"));
            }
        }
    }
}
