//! A subscriber that checks what it is told: the list, each change behind it in the order of the
//! commits, none left out, and everything that was committed before a NOOP before its OK.

use mupdate::grammar::{self, Response, Status, Stop, message_out};
use protocols::proxy::{Change, Entry, Instant, Location};

use super::life::{Life, Picture, is_at};
use super::line::{Line, Stage};
use crate::dice::Dice;
use crate::net::{EndId, Net};

/// How a subscriber reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Manner {
    /// Everything, at once.
    Prompt,
    /// Little, and rarely.
    Slow,
    /// PARTIAL-UPDATE of one server.
    Partial(&'static str),
}

/// Octets that a slow one reads at once.
const SIP_BYTES: usize = 400;

pub(super) struct Watcher {
    manner: Manner,
    line: Line,
    /// Which life of the master it follows.
    life: usize,
    stream: Option<Stream>,
    pub(super) told: usize,
    pub(super) barriers: usize,
    pub(super) byes: usize,
    pub(super) violations: Vec<String>,
}

struct Stream {
    picture: Picture,
    /// Places in the master's life at which it may be, in order; before the OK, the first.
    at: Vec<usize>,
    is_dumped: bool,
    /// The NOOP in flight, and the place that the master was at.
    noop: Option<(u64, usize)>,
    noops: u64,
    /// Where the master was at the last NOOP that was answered.
    seen: Option<usize>,
}

impl Watcher {
    pub(super) fn new(manner: Manner) -> Watcher {
        Watcher {
            manner,
            line: Line::default(),
            life: 0,
            stream: None,
            told: 0,
            barriers: 0,
            byes: 0,
            violations: Vec::new(),
        }
    }

    pub(super) fn wants_connection(&self) -> bool {
        !self.line.stands()
    }

    pub(super) fn connected(&mut self, end: EndId, life: usize) {
        self.line.connected(end);
        self.life = life;
        self.stream = None;
    }

    /// Whether it has heard of everything up to the end of the last life.
    pub(super) fn is_done(&self, lives: &[Life]) -> bool {
        let seen = self.stream.as_ref().filter(|_| self.line.stands()).and_then(|stream| stream.seen);
        self.life + 1 == lives.len() && seen.is_some_and(|at| at == lives[self.life].len())
    }

    pub(super) fn turn(
        &mut self,
        net: &mut Net,
        now: Instant,
        dice: &mut Dice,
        lives: &[Life],
        is_calm: bool,
    ) {
        let life = &lives[self.life];
        let octets_max = match self.manner {
            Manner::Slow if !is_calm => SIP_BYTES * usize::from(dice.per_mille(300)),
            Manner::Prompt | Manner::Slow | Manner::Partial(_) => usize::MAX,
        };
        self.line.receive(net, now, dice, octets_max);
        if self.line.stage() == Stage::Ready && self.stream.is_none() {
            self.begin(life);
        }
        let mut taken = 0;
        while self.line.stage() == Stage::Ready {
            let input = &self.line.input()[taken..];
            let (change, status, n) = match grammar::response(input) {
                Ok((Response::Status { tag, status, .. }, n)) => (None, Some((tag.to_vec(), status)), n),
                Ok((response, n)) => (change(response), None, n),
                Err(Stop::Incomplete { .. }) => break,
                Err(why) => {
                    self.violations.push(format!("{:?}: {why:?}", self.manner));
                    break;
                }
            };
            taken += n;
            if let Some(change) = change {
                self.hear(&change, life);
            }
            if let Some((tag, status)) = status {
                self.answered(&tag, status, life);
            }
        }
        self.line.took(taken);
        if self.line.send(net, now, dice) {
            self.stream = None;
        }
    }

    fn begin(&mut self, life: &Life) {
        let hosts: Vec<&[u8]> = match self.manner {
            Manner::Partial(server) => vec![server.as_bytes()],
            Manner::Prompt | Manner::Slow => Vec::new(),
        };
        message_out(self.line.out(), b"U01", "UPDATE", &hosts);
        self.stream = Some(Stream {
            picture: Picture::default(),
            at: vec![life.len()],
            is_dumped: false,
            noop: None,
            noops: 0,
            seen: None,
        });
    }

    /// Asks for a barrier, unless one is on its way.
    pub(super) fn noop(&mut self, lives: &[Life]) {
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.is_dumped && stream.noop.is_none())
        else {
            return;
        };
        stream.noops += 1;
        stream.noop = Some((stream.noops, lives[self.life].len()));
        message_out(self.line.out(), format!("N{}", stream.noops).as_bytes(), "NOOP", &[]);
    }

    fn hear(&mut self, change: &Change, life: &Life) {
        let Some(stream) = &mut self.stream else { return };
        stream.picture.apply(change);
        if !stream.is_dumped {
            return;
        }
        self.told += 1;
        let manner = self.manner;
        stream.at.retain_mut(|at| {
            let fits = life.next(*at).is_some_and(|next| as_told(next, manner) == *change);
            *at += 1;
            fits
        });
        if stream.at.is_empty() {
            self.violations.push(format!("{manner:?} is told {change:?} out of the order of commits"));
            self.stream = None;
        }
    }

    fn answered(&mut self, tag: &[u8], status: Status, life: &Life) {
        let Some(stream) = &mut self.stream else { return };
        match status {
            Status::Bye => self.byes += 1,
            Status::Ok if tag == b"U01" => {
                stream.is_dumped = true;
                stream.at = (stream.at[0]..=life.len()).collect();
            }
            Status::Ok if stream.noop.is_some_and(|(n, _)| format!("N{n}").as_bytes() == tag) => {
                self.barrier(life)
            }
            Status::Ok | Status::No | Status::Bad => {
                let tag = String::from_utf8_lossy(tag);
                self.violations.push(format!("{:?}: {status:?} to {tag}", self.manner));
            }
        }
    }

    /// The OK of a NOOP: all up to there was told, and the list is what the master had at that place.
    fn barrier(&mut self, life: &Life) {
        let Some(stream) = &mut self.stream else { return };
        let Some((_, floor)) = stream.noop.take() else { return };
        self.barriers += 1;
        stream.at.retain(|at| *at >= floor);
        if stream.at.is_empty() {
            self.violations
                .push(format!("{:?}: NOOP is answered before what was committed is told", self.manner));
        }
        let picture = &stream.picture;
        let is_right = match self.manner {
            Manner::Partial(server) => {
                // The past is not kept for each server: its list is compared where the master stands still.
                stream.at.last() != Some(&life.len())
                    || picture.mark() == life.picture.part(server.as_bytes()).mark()
            }
            Manner::Prompt | Manner::Slow => {
                stream.at.retain(|at| life.mark(*at) == picture.mark());
                !stream.at.is_empty()
            }
        };
        if !is_right {
            let (ours, theirs) = (picture.len(), life.picture.len());
            self.violations
                .push(format!("{:?} has another list than the master: {ours}, {theirs}", self.manner));
            self.stream = None;
            return;
        }
        stream.seen = Some(floor);
    }
}

/// A change as a subscriber of this manner is told it.
fn as_told(change: &Change, manner: Manner) -> Change {
    match manner {
        Manner::Partial(server) if !is_at(change, server.as_bytes()) => {
            Change::Deleted { name: change.name().into() }
        }
        Manner::Prompt | Manner::Slow | Manner::Partial(_) => change.clone(),
    }
}

fn change(response: Response<'_>) -> Option<Change> {
    Some(match response {
        Response::Mailbox { name, location, acl, .. } => Change::Active(Entry {
            name: name.as_ref().into(),
            location: Location(location.as_ref().into()),
            acl: acl.as_ref().into(),
        }),
        Response::Reserve { name, location, .. } => {
            Change::Reserved { name: name.as_ref().into(), location: Location(location.as_ref().into()) }
        }
        Response::Delete { name, .. } => Change::Deleted { name: name.as_ref().into() },
        Response::Position { .. } | Response::Status { .. } | Response::Other { .. } => return None,
    })
}
