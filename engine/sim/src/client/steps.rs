//! What a client says next, as the dice will have it.

use protocols::proxy::Instant;

use super::command::{Pending, Verb};
use super::{Client, Turn};
use crate::boxes::{NAMES, STEM};
use crate::deed::{Action, Deed, Outcome};
use crate::dice::Dice;
use crate::flags::{Flags, date_of_seed};
use crate::mailbox::set_of;
use crate::message;
use crate::picture::Picture;
use crate::typed::inner;

/// Bytes of the largest body that is appended.
const BODY_BYTES_MAX: usize = 200_000;

/// Messages that are copied or moved at once.
const CHOSEN_MAX: usize = 3;

impl Client {
    /// Says something, unless it waits or has nothing to say.
    pub(super) fn speak(&mut self, turn: &mut Turn<'_>) {
        if self.idling && turn.dice.per_mille(300) {
            self.done();
        }
        let waits = self.held.is_some() || self.pending.iter().any(|pending| pending.verb.is_alone());
        if waits || self.saw_bye || self.pending.len() > turn.dice.below(3) {
            return;
        }
        if self.dialog.said == 0 {
            let login = format!("LOGIN {} pw-{}", self.user, self.user);
            return self.say(Verb::Login, &login, turn.now);
        }
        if self.dialog.said == 1 && turn.dice.per_mille(300) {
            self.qresync = true;
            return self.say(Verb::Enable, "ENABLE QRESYNC", turn.now);
        }
        if self.steps_left == 0 {
            if self.pending.is_empty() {
                self.say(Verb::Logout, "LOGOUT", turn.now);
                self.saw_bye = true;
            }
            return;
        }
        if self.looks_around && self.pending.is_empty() {
            return self.look_around(turn.now);
        }
        self.steps_left -= 1;
        self.step(turn);
    }

    /// Ends an IDLE.
    pub(super) fn done(&mut self) {
        self.dialog.add(b"DONE\r\n");
        self.idling = false;
    }

    fn look_around(&mut self, now: Instant) {
        self.looks_around = false;
        self.told.clear();
        self.say(Verb::Look, "FETCH 1:* (UID FLAGS)", now);
    }

    fn step(&mut self, turn: &mut Turn<'_>) {
        let (now, count) = (turn.now, self.selected.as_ref().map_or(0, Picture::len));
        let name = self.some_name(turn);
        let is_alone = self.pending.is_empty();
        match turn.dice.below(26) {
            0..3 if is_alone => self.select(&name, now),
            3 if count > 0 => {
                let from = count.saturating_sub(2).max(1);
                self.say(Verb::Fetch, &format!("FETCH {from}:* (UID FLAGS BODY.PEEK[])"), now);
            }
            4 => self.say(Verb::Fetch, "UID FETCH 1:3 (UID BODY.PEEK[])", now),
            5..8 => self.append(&name, turn),
            8 => {
                self.say(Verb::Status, &format!("STATUS {name} (MESSAGES)"), now);
                self.names(&name);
            }
            9 => self.say(Verb::List, "LIST \"\" \"*\"", now),
            10 => self.say(Verb::ListStatus, "LIST \"\" \"*\" RETURN (STATUS (MESSAGES))", now),
            11 => {
                let boxes = self.boxes.join(" ");
                self.say(Verb::Search, &format!("ESEARCH IN (mailboxes ({boxes})) ALL"), now)
            }
            12 => {
                self.say(Verb::Quota, &format!("GETQUOTAROOT {name}"), now);
                self.names(&name);
            }
            25 if is_alone => self.rename(turn),
            13 | 14 | 20 if is_alone && count > 0 => self.copy(Verb::Copy, &name, turn),
            15 | 16 | 21 if is_alone && count > 0 => self.copy(Verb::Move, &name, turn),
            17 if is_alone && count > 0 => self.remove(turn),
            22..24 if is_alone && count > 0 => self.store(turn),
            18 if self.selected.is_some() => self.say(Verb::Idle, "IDLE", now),
            19 | 24 if is_alone && count > 0 => self.look_around(now),
            _ => self.say(Verb::Noop, "NOOP", now),
        }
    }

    fn select(&mut self, name: &str, now: Instant) {
        self.selected = Some(Picture::new(&inner(&self.user, name), self.qresync, now));
        self.say(Verb::Select, &format!("SELECT {name}"), now);
        self.names(name);
    }

    /// One of its mailboxes as the user types it; of a box mostly the name that it has.
    fn some_name(&self, turn: &mut Turn<'_>) -> String {
        let name = &self.boxes[turn.dice.below(self.boxes.len())];
        if !name.ends_with(STEM) {
            return name.clone();
        }
        let any = format!("{name}{}", turn.dice.below(NAMES));
        let current = turn.truth.boxes.current(&inner(&self.user, &any)).map(|(_, name)| name);
        match current.and_then(|current| current.chars().last()) {
            Some(digit) if turn.dice.per_mille(800) => format!("{name}{digit}"),
            Some(_) | None => any,
        }
    }

    /// The command that was said last names a mailbox.
    fn names(&mut self, name: &str) {
        let name = inner(&self.user, name);
        if let Some(pending) = self.pending.last_mut() {
            pending.named.push(name);
        }
    }

    fn rename(&mut self, turn: &mut Turn<'_>) {
        let Some(stem) = self.boxes.iter().find(|name| name.ends_with(STEM)).cloned() else {
            return self.say(Verb::Noop, "NOOP", turn.now);
        };
        let (old, new) = (turn.dice.below(NAMES), 1 + turn.dice.below(NAMES - 1));
        let any = format!("{stem}{old}");
        let current = turn.truth.boxes.current(&inner(&self.user, &any)).map(|(_, name)| name.clone());
        let digit = current.and_then(|name| name.chars().last()?.to_digit(10)).map(|digit| digit as usize);
        let old = digit.filter(|_| turn.dice.per_mille(800)).unwrap_or(old);
        let (old, new) = (format!("{stem}{old}"), format!("{stem}{}", (old + new) % NAMES));
        let number = turn.truth.boxes.asked(&inner(&self.user, &old), &inner(&self.user, &new));
        if let Some(picture) =
            self.selected.as_mut().filter(|picture| picture.mailbox() == inner(&self.user, &old))
        {
            picture.rename();
        }
        self.say(Verb::Rename, &format!("RENAME {old} {new}"), turn.now);
        self.names(&old);
        self.names(&new);
        if let Some(pending) = self.pending.last_mut() {
            pending.renames = Some(number);
        }
    }

    /// Some messages that it knows: their UIDs, and how it calls them.
    fn chosen(&self, dice: &mut Dice) -> Option<(&'static str, String, Vec<u32>)> {
        let picture = self.selected.as_ref()?;
        let first = 1 + dice.below(picture.len());
        let last = (first + dice.below(CHOSEN_MAX)).min(picture.len());
        let uids: Option<Vec<u32>> = (first..=last).map(|number| picture.uid(number)).collect();
        let uids = uids?;
        // Numbers are kept only where EXPUNGE tells of them.
        match self.qresync || dice.per_mille(600) {
            true => Some(("UID ", set_of(&uids), uids)),
            false => Some(("", format!("{first}:{last}"), uids)),
        }
    }

    fn copy(&mut self, verb: Verb, name: &str, turn: &mut Turn<'_>) {
        let Some((by, set, uids)) = self.chosen(turn.dice) else {
            return self.say(Verb::Noop, "NOOP", turn.now);
        };
        let (word, action) = if verb == Verb::Move { ("MOVE", Action::Move) } else { ("COPY", Action::Copy) };
        let deed = turn.truth.asked(Deed {
            action,
            user: self.user.clone(),
            source: self.selected.as_ref().map(|picture| picture.mailbox().to_owned()).unwrap_or_default(),
            destination: inner(&self.user, name),
            typed: name.to_owned(),
            set: set.clone(),
            uids,
            seeds: Vec::new(),
            asked: turn.now,
            outcome: Outcome::Pending,
            copies: Vec::new(),
        });
        self.say(verb, &format!("{by}{word} {set} {name}"), turn.now);
        self.names(name);
        self.mark_deed(deed);
    }

    /// Gives some messages a keyword that nobody else uses.
    fn store(&mut self, turn: &mut Turn<'_>) {
        let (Some((by, set, uids)), Some(picture)) = (self.chosen(turn.dice), &self.selected) else {
            return self.say(Verb::Noop, "NOOP", turn.now);
        };
        let seeds: Vec<u64> =
            uids.iter().filter_map(|uid| turn.truth.seed(picture.mailbox(), *uid)).collect();
        let keyword = turn.truth.flags.keyword(seeds);
        let silent = if turn.dice.per_mille(500) { ".SILENT" } else { "" };
        self.say(Verb::Keyword, &format!("{by}STORE {set} +FLAGS{silent} ({keyword})"), turn.now);
        if let Some(pending) = self.pending.last_mut() {
            pending.keyword = Some((keyword, uids));
        }
    }

    /// Marks a message, or takes away one that is marked.
    fn remove(&mut self, turn: &mut Turn<'_>) {
        let Some((_, _, uids)) = self.chosen(turn.dice) else {
            return self.say(Verb::Noop, "NOOP", turn.now);
        };
        let set = set_of(&uids[..1]);
        if turn.dice.per_mille(500) {
            let line = format!("UID STORE {set} +FLAGS.SILENT (\\Deleted)");
            return self.say(Verb::Mark, &line, turn.now);
        }
        if let Some(picture) = &self.selected {
            turn.truth.unwanted(picture.mailbox(), &uids[..1]);
        }
        self.say(Verb::Expunge, &format!("UID EXPUNGE {set}"), turn.now);
    }

    fn append(&mut self, name: &str, turn: &mut Turn<'_>) {
        let size = match turn.dice.below(8) {
            0 => turn.dice.below(BODY_BYTES_MAX),
            _ => turn.dice.below(1500),
        };
        let seed = turn.dice.roll();
        let mail = message::write(&self.user, seed, size);
        let head = format!("({}) \"{}\"", Flags::of_seed(seed).list(), date_of_seed(seed));
        let deed = turn.truth.asked(Deed {
            action: Action::Append,
            user: self.user.clone(),
            source: String::new(),
            destination: inner(&self.user, name),
            typed: name.to_owned(),
            set: String::new(),
            uids: Vec::new(),
            seeds: vec![seed],
            asked: turn.now,
            outcome: Outcome::Pending,
            copies: Vec::new(),
        });
        if turn.dice.per_mille(500) {
            self.say_part(Verb::Append, &format!("APPEND {name} {head} {{{}+}}\r\n", mail.len()), turn.now);
            self.dialog.add(&mail);
            self.dialog.add(b"\r\n");
        } else {
            self.say_part(Verb::Append, &format!("APPEND {name} {head} {{{}}}\r\n", mail.len()), turn.now);
            let tag = self.pending.last().map(|pending| pending.tag.clone()).unwrap_or_default();
            self.held = Some((tag, [&mail[..], b"\r\n"].concat()));
        }
        self.names(name);
        self.mark_deed(deed);
    }

    fn mark_deed(&mut self, deed: usize) {
        if let Some(pending) = self.pending.last_mut() {
            pending.deed = Some(deed);
        }
    }

    fn say(&mut self, verb: Verb, command: &str, now: Instant) {
        self.say_part(verb, &format!("{command}\r\n"), now);
    }

    fn say_part(&mut self, verb: Verb, command: &str, now: Instant) {
        let tag = self.dialog.say(command, now);
        self.pending.push(Pending {
            tag,
            verb,
            since: now,
            deed: None,
            keyword: None,
            named: Vec::new(),
            renames: None,
        });
    }
}
