//! A mail client of the simulated murder: does what the dice say and checks what it sees.

mod command;
mod steps;
mod tagged;
mod untagged;

use std::collections::BTreeMap;

use protocols::proxy::Instant;

use crate::deed::Outcome;
use crate::dialog::Dialog;
use crate::dice::Dice;
use crate::flags::Flags;
use crate::net::{EndId, Net};
use crate::picture::Picture;
use crate::truth::Truth;

use command::Pending;

/// A client.
pub struct Client {
    /// Its user.
    pub user: String,
    dialog: Dialog,
    /// Bytes that follow once the server says "go ahead" to the command of this tag.
    held: Option<(String, Vec<u8>)>,
    /// Commands without a tagged answer, in order.
    pending: Vec<Pending>,
    /// When the last of them was answered.
    answered: Instant,
    steps_left: usize,
    boxes: Vec<String>,
    /// It is of those who come when all is well, and is refused nothing.
    is_late: bool,
    /// QRESYNC is enabled.
    qresync: bool,
    selected: Option<Picture>,
    /// The whole mailbox is asked for next.
    looks_around: bool,
    /// UIDs that an answer to that told of, with their flags.
    told: BTreeMap<u32, Flags>,
    /// Names that a LIST told of.
    rows: Vec<String>,
    /// The old and the new name of the box that it renamed, and when it was told so.
    renamed: Option<(String, String, Instant)>,
    /// The quota that was told last: its root and limit.
    quota: Option<(String, u64)>,
    /// COPYUID of a MOVE that is not over.
    copies: Vec<(u32, u32)>,
    idling: bool,
    saw_bye: bool,
    /// The connection has ended.
    pub over: bool,
    /// Commands that were answered OK.
    pub answered_ok: usize,
    /// Times that it was told to wait for a mailbox that is being moved.
    pub waited: usize,
    /// Commands that were answered NO or BAD.
    pub answered_no: usize,
    /// What must not happen and did.
    pub violations: Vec<String>,
}

/// What surrounds a turn.
struct Turn<'a> {
    now: Instant,
    dice: &'a mut Dice,
    truth: &'a mut Truth,
}

impl Client {
    /// A client that has connected and will log in as `user`, then use these mailboxes.
    pub fn new(user: &str, end: EndId, boxes: Vec<String>, steps: usize, trace: bool) -> Client {
        Client {
            user: user.to_owned(),
            dialog: Dialog::new(user, 'c', end, trace),
            held: None,
            pending: Vec::new(),
            answered: Instant(0),
            steps_left: steps,
            boxes,
            is_late: false,
            qresync: false,
            selected: None,
            looks_around: false,
            told: BTreeMap::new(),
            rows: Vec::new(),
            renamed: None,
            quota: None,
            copies: Vec::new(),
            idling: false,
            saw_bye: false,
            over: false,
            answered_ok: 0,
            waited: 0,
            answered_no: 0,
            violations: Vec::new(),
        }
    }

    /// One who comes when all is well again.
    pub fn late(mut self) -> Client {
        self.is_late = true;
        self
    }

    /// Commands that wait for their answer.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Reads, checks, says the next thing.
    pub fn turn(&mut self, net: &mut Net, now: Instant, dice: &mut Dice, truth: &mut Truth) {
        if self.over {
            return;
        }
        let mut turn = Turn { now, dice, truth };
        let stands = self.dialog.receive(net, now, turn.dice);
        while let Some(unit) = self.dialog.poll() {
            self.response(&unit, &mut turn);
        }
        if stands.is_err() {
            return self.end(net, now, turn.truth);
        }
        self.speak(&mut turn);
        if self.dialog.send(net, now, turn.dice).is_err() {
            self.end(net, now, turn.truth);
        }
    }

    /// What was not answered may have been done.
    fn end(&mut self, net: &mut Net, now: Instant, truth: &mut Truth) {
        self.over = true;
        for pending in self.pending.drain(..) {
            if let Some(deed) = pending.deed {
                truth.told(deed, Outcome::Doubtful, std::mem::take(&mut self.copies));
            }
            if let Some(number) = pending.renames {
                truth.boxes.told(number, Outcome::Doubtful);
            }
        }
        self.dialog.close(net, now);
    }

    fn violation(&mut self, what: &str) {
        self.violations.push(format!("client {}: {what}", self.dialog.name));
    }

    fn check(&mut self, result: Result<(), String>) {
        if let Err(what) = result {
            self.violation(&what);
        }
    }
}
