//! An administrator of the simulated murder: asks for quotas and sets them, and checks what he is told.

use protocols::proxy::Instant;

use crate::deed::Outcome;
use crate::dialog::{ANSWER_MAX, Dialog, quota, tagged};
use crate::dice::Dice;
use crate::net::{EndId, Net};
use crate::site::{ADMIN, SPREAD};
use crate::truth::Truth;

/// What he is told of the tree on several servers.
const SPREAD_TEXT: &str = "This mailbox hierarchy does not exist on a single backend server";

/// The administrator.
pub struct Overseer {
    dialog: Dialog,
    pending: Option<Pending>,
    steps_left: usize,
    roots: Vec<String>,
    /// He comes when all is well.
    is_late: bool,
    /// The roots and limits that he was told since he asked.
    told: Vec<(String, u64)>,
    /// The connection has ended.
    pub over: bool,
    /// Commands that were answered OK.
    pub answered_ok: usize,
    /// Commands that were answered NO or BAD.
    pub answered_no: usize,
    /// What must not happen and did.
    pub violations: Vec<String>,
}

struct Pending {
    tag: String,
    since: Instant,
    asks: Asks,
}

enum Asks {
    Login,
    Logout,
    /// GETQUOTA of a root.
    Get(String),
    /// SETQUOTA of a root; its number in the truth.
    Set(String, usize),
}

impl Overseer {
    /// One who has connected, and will ask for these roots.
    pub fn new(end: EndId, roots: Vec<String>, steps: usize, is_late: bool, trace: bool) -> Overseer {
        Overseer {
            dialog: Dialog::new("admin", 'a', end, trace),
            pending: None,
            steps_left: steps,
            roots,
            is_late,
            told: Vec::new(),
            over: false,
            answered_ok: 0,
            answered_no: 0,
            violations: Vec::new(),
        }
    }

    /// Reads, checks, says the next thing.
    pub fn turn(&mut self, net: &mut Net, now: Instant, dice: &mut Dice, truth: &mut Truth) {
        if self.over {
            return;
        }
        let stands = self.dialog.receive(net, now, dice);
        while let Some(unit) = self.dialog.poll() {
            self.response(&String::from_utf8_lossy(&unit), now, truth);
        }
        if self.pending.is_none() && dice.per_mille(300) {
            self.speak(dice, now, truth);
        }
        if self.dialog.send(net, now, dice).and(stands).is_err() {
            self.end(net, now, truth);
        }
    }

    /// What was not answered may have been done.
    fn end(&mut self, net: &mut Net, now: Instant, truth: &mut Truth) {
        self.over = true;
        if let Some(Pending { asks: Asks::Set(_, number), .. }) = self.pending.take() {
            truth.quotas.told(number, Outcome::Doubtful);
        }
        self.dialog.close(net, now);
    }

    fn violation(&mut self, what: &str) {
        self.violations.push(format!("{}: {what}", self.dialog.name));
    }

    fn response(&mut self, text: &str, now: Instant, truth: &mut Truth) {
        if let Some(rest) = text.strip_prefix("* ") {
            self.told.extend(quota(rest));
            return;
        }
        let (tag, status, rest) = tagged(text);
        let Some(Pending { since, asks, .. }) = self.pending.take_if(|pending| pending.tag == tag) else {
            return self.violation(&format!("answer {text:?} that nobody waits for"));
        };
        if now.since(since) > ANSWER_MAX {
            self.violation(&format!("{text} took {:?}", now.since(since)));
        }
        let is_ok = status == "OK";
        self.answered_ok += usize::from(is_ok);
        self.answered_no += usize::from(!is_ok);
        match asks {
            Asks::Login | Asks::Logout if is_ok => {}
            Asks::Login => {
                self.steps_left = 0;
                self.refused(None, rest);
            }
            Asks::Logout => self.violation("cannot go"),
            Asks::Get(root) if is_ok => self.told_of(&root, since, now, truth),
            Asks::Get(root) => self.refused(Some(&root), rest),
            Asks::Set(root, number) => {
                let outcome = match is_ok {
                    true => Outcome::Done,
                    false if rest.contains("may have been") => Outcome::Doubtful,
                    false => Outcome::Refused,
                };
                truth.quotas.told(number, outcome);
                match is_ok {
                    true if root == SPREAD => self.violation("sets the quota of a tree on several servers"),
                    true => {}
                    false => self.refused(Some(&root), rest),
                }
            }
        }
    }

    /// Of one root, and of that which he asked for.
    fn told_of(&mut self, root: &str, since: Instant, now: Instant, truth: &Truth) {
        match std::mem::take(&mut self.told).as_slice() {
            [(told, _)] if told != root || root == SPREAD => {
                self.violation(&format!("asks for the quota of {root}, and is told that of {told}"));
            }
            [(_, limit)] => {
                if let Err(what) = truth.quotas.check(root, *limit, since, now) {
                    self.violation(&what);
                }
            }
            told => self.violation(&format!("is told {} quotas of {root}", told.len())),
        }
    }

    /// All roots exist all the time.
    fn refused(&mut self, root: Option<&str>, rest: &str) {
        let is_temporary = rest.starts_with("[UNAVAILABLE]") || rest.starts_with("[INUSE]");
        let is_right = root == Some(SPREAD) && rest.starts_with(SPREAD_TEXT);
        if !is_right && (!is_temporary || self.is_late) {
            self.violation(&format!("is refused {}: {rest}", root.unwrap_or("to come in")));
        }
    }

    fn speak(&mut self, dice: &mut Dice, now: Instant, truth: &mut Truth) {
        if self.dialog.said == 0 {
            return self.say(&format!("LOGIN {ADMIN} pw-{ADMIN}"), Asks::Login, now);
        }
        if self.steps_left == 0 {
            return self.say("LOGOUT", Asks::Logout, now);
        }
        self.steps_left -= 1;
        self.told.clear();
        let root = self.roots[dice.below(self.roots.len())].clone();
        if dice.per_mille(500) {
            return self.say(&format!("GETQUOTA {root}"), Asks::Get(root), now);
        }
        let limit = dice.roll() >> 16;
        let number = truth.quotas.asked(&root, limit);
        self.say(&format!("SETQUOTA {root} (STORAGE {limit})"), Asks::Set(root, number), now);
    }

    fn say(&mut self, command: &str, asks: Asks, now: Instant) {
        let tag = self.dialog.say(&format!("{command}\r\n"), now);
        self.pending = Some(Pending { tag, since: now, asks });
    }
}
