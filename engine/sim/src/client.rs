//! A mail client of the simulated murder: does what the dice say and checks what it sees.

use std::collections::BTreeMap;
use std::time::Duration;

use protocols::proxy::Instant;

use crate::boxes::{NAMES, STEM, identity};
use crate::deed::{Action, Deed, Outcome};
use crate::dialog::{ANSWER_MAX, Dialog, quota, tagged};
use crate::dice::Dice;
use crate::flags::{Flags, date_of_seed};
use crate::machines::{COMMAND_TIMEOUT, FAN_OUT_TIMEOUT, LOGIN_TIMEOUT};
use crate::mailbox::{numbers, set_of};
use crate::message;
use crate::net::{EndId, Net};
use crate::picture::Picture;
use crate::truth::Truth;
use crate::typed::inner;

/// Bytes of the largest body that is appended.
const BODY_BYTES_MAX: usize = 200_000;

/// The list, the way to the client and the like.
const WAYS: Duration = Duration::from_secs(1);

/// How long a LIST with data of the backends may take: the way to the home and what that is asked, then what all
/// others are, for which connecting to them counts.
const LIST_STATUS_MAX: Duration =
    LOGIN_TIMEOUT.saturating_add(FAN_OUT_TIMEOUT).saturating_add(FAN_OUT_TIMEOUT).saturating_add(WAYS);

/// How long a search of several servers may take: the way to all at once, then the slowest of them.
const SEARCH_MAX: Duration = LOGIN_TIMEOUT.saturating_add(COMMAND_TIMEOUT).saturating_add(WAYS);

/// Messages that are copied or moved at once.
const CHOSEN_MAX: usize = 3;

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

struct Pending {
    tag: String,
    verb: Verb,
    since: Instant,
    /// Its number in the truth.
    deed: Option<usize>,
    /// What it stores, of which messages.
    keyword: Option<(String, Vec<u32>)>,
    /// The internal names of the mailboxes that it names.
    named: Vec<String>,
    /// The number of a RENAME.
    renames: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verb {
    Login,
    Enable,
    Select,
    Fetch,
    /// All UIDs.
    Look,
    Append,
    Status,
    List,
    ListStatus,
    Search,
    Quota,
    Rename,
    Noop,
    Copy,
    Move,
    Mark,
    Keyword,
    Expunge,
    Idle,
    Logout,
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

    fn response(&mut self, unit: &[u8], turn: &mut Turn<'_>) {
        let text = String::from_utf8_lossy(unit).into_owned();
        if text.starts_with("+ ") {
            return self.continued(turn.dice);
        }
        let Some(rest) = text.strip_prefix("* ") else { return self.tagged(&text, turn) };
        if rest.starts_with("BYE") {
            self.saw_bye = true;
        } else if let Some(user) = rest.strip_prefix("OK X-FOR ") {
            if user != self.user {
                self.violation(&format!("what was meant for {user}"));
            }
        } else if rest.starts_with("OK Mailbox is being moved") {
            self.waited += 1;
        } else if let Some((_, code)) = rest.split_once("[COPYUID ") {
            self.copies = pairs(code);
        } else if let Some(told) = quota(rest) {
            self.quota = Some(told);
        } else if let Some(row) = rest.strip_prefix("LIST ") {
            self.rows.extend(row.rsplit(' ').next().map(|name| inner(&self.user, name)));
        } else {
            self.untagged(rest, unit, turn.truth);
        }
    }

    /// News of the selected mailbox. While another one is selected it is not known whose they are, until a
    /// count begins it.
    fn untagged(&mut self, rest: &str, unit: &[u8], truth: &mut Truth) {
        let mut words = rest.splitn(3, ' ');
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let behind = words.next().unwrap_or_default();
        let selects = self.pending.first().is_some_and(|pending| pending.verb == Verb::Select);
        let Some(picture) = &mut self.selected else { return };
        let result = match (first.parse::<usize>(), second) {
            (Ok(count), "EXISTS") if selects => {
                *picture = Picture::new(picture.mailbox(), self.qresync, picture.since());
                picture.exists(count)
            }
            (Ok(count), "EXISTS") => picture.exists(count),
            (_, _) if selects => Ok(()),
            (Ok(number), "EXPUNGE") => picture.expunge(number, truth),
            (Ok(number), "FETCH") => return self.fetched(number, behind, unit, truth),
            (Err(_), _) if first == "VANISHED" => picture.vanished(second, truth),
            (Ok(_) | Err(_), _) => Ok(()),
        };
        self.check(result);
    }

    /// A message must be whole, and the one that has the number.
    fn fetched(&mut self, number: usize, items: &str, unit: &[u8], truth: &Truth) {
        let Some(picture) = &mut self.selected else { return };
        let told = items
            .split_once("UID ")
            .and_then(|(_, rest)| rest.split([' ', ')']).next().and_then(|word| word.parse::<u32>().ok()));
        // Numbers say which message it is where they are kept.
        let Some(uid) = told.or_else(|| picture.uid(number).filter(|_| !self.qresync)) else { return };
        let flags = items.split_once("FLAGS (").and_then(|(_, rest)| rest.split_once(')'));
        let flags = Flags::read(flags.map_or("", |(list, _)| list)).without_recent();
        let mut result = told.map_or(Ok(()), |uid| picture.fetched(number, uid));
        if let Some(seed) = truth.seed(picture.mailbox(), uid) {
            result = result.and(truth.flags.fetched(seed, &flags));
        }
        if told.is_some() || self.told.contains_key(&uid) {
            self.told.insert(uid, flags);
        }
        if let Some(start) = unit.windows(7).position(|at| at == b"Owner: ") {
            let seed = unit[start..]
                .strip_suffix(b")")
                .ok_or("no end")
                .and_then(message::check)
                .map(|(_, seed)| seed);
            if seed != Ok(truth.seed(picture.mailbox(), uid).unwrap_or(0)) {
                result = Err(format!("message {uid} of {} is {seed:?}", picture.mailbox()));
            }
        }
        self.check(result);
    }

    fn continued(&mut self, dice: &mut Dice) {
        if let Some((_, rest)) = self.held.take() {
            self.dialog.add(&rest);
        } else if self.pending.last().is_some_and(|pending| pending.verb == Verb::Idle) {
            self.idling = true;
            if dice.per_mille(700) {
                self.done();
            }
        } else {
            self.violation("a go-ahead that nobody waits for");
        }
    }

    fn done(&mut self) {
        self.dialog.add(b"DONE\r\n");
        self.idling = false;
    }

    fn tagged(&mut self, text: &str, turn: &mut Turn<'_>) {
        let (tag, status, rest) = tagged(text);
        if self.pending.first().is_none_or(|first| first.tag != tag) {
            let waits: Vec<_> = self.pending.iter().map(|pending| pending.tag.clone()).collect();
            return self.violation(&format!("answer {text:?} while {waits:?} wait"));
        }
        let Pending { verb, since, deed, keyword, named, renames, .. } = self.pending.remove(0);
        let ok = status == "OK";
        self.answered_ok += usize::from(ok);
        self.answered_no += usize::from(!ok);
        self.check_time(verb, since, turn.now);
        self.answered = turn.now;
        if let Some(deed) = deed {
            let (outcome, copies) = self.outcome(ok, rest);
            turn.truth.told(deed, outcome, copies);
        }
        if let (true, Some((keyword, uids)), Some(picture)) = (ok, keyword, &self.selected) {
            let ledger = &mut turn.truth.flags;
            uids.iter().for_each(|uid| ledger.is_stored(picture.mailbox(), *uid, &keyword, turn.now));
        }
        if let Some(number) = renames {
            turn.truth.boxes.told(number, self.outcome(ok, rest).0);
            self.renamed = match named.as_slice() {
                [old, new] if ok => Some((old.clone(), new.clone(), turn.now)),
                _ => None,
            };
        }
        let absent = named.iter().find(|name| !turn.truth.boxes.was_there(name, since, turn.now));
        if let (true, Some(name)) = (ok, absent) {
            self.violation(&format!("{verb:?} of {name} is answered OK, and it was never there"));
        }
        self.after(verb, ok, since, turn.truth);
        if !ok {
            self.held.take_if(|(held, _)| held == tag);
            let is_away = named.iter().any(|name| turn.truth.boxes.was_away(name, since, turn.now))
                || self.selected.as_ref().is_some_and(|picture| {
                    turn.truth.boxes.was_away(picture.mailbox(), picture.since(), turn.now)
                });
            self.refused(verb, status, rest, is_away);
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "nothing follows from the others")]
    fn after(&mut self, verb: Verb, ok: bool, since: Instant, truth: &Truth) {
        match verb {
            Verb::Select if !ok => self.selected = None,
            Verb::Select => {
                self.looks_around = self.selected.as_ref().is_some_and(|picture| !picture.is_empty())
            }
            Verb::Look if ok => {
                let told = std::mem::take(&mut self.told);
                let Some(picture) = &mut self.selected else { return };
                let mailbox = picture.mailbox().to_owned();
                let looked = told.iter().map(|(uid, flags)| truth.flags.looked(&mailbox, *uid, flags, since));
                let looked: Result<(), String> = looked.collect();
                let uids: Vec<u32> = told.keys().copied().collect();
                let all = picture.told_all(&uids, truth);
                self.check(looked.and(all));
            }
            Verb::Login if !ok => self.steps_left = 0,
            Verb::List | Verb::ListStatus => {
                let rows = std::mem::take(&mut self.rows);
                if ok {
                    self.check_renamed(&rows, since, truth);
                }
            }
            Verb::Quota if ok => {
                let result = match self.quota.take() {
                    Some((root, limit)) => {
                        truth.quotas.check(&inner(&self.user, &root), limit, since, truth.now)
                    }
                    None => Err("GETQUOTAROOT tells of no quota".to_owned()),
                };
                self.check(result);
            }
            Verb::Idle => self.idling = false,
            _ => {}
        }
    }

    /// It sees what it did: the box has the name that it was given and not the one before, unless somebody else
    /// gave it another. A stale list may show beside it a name that others took from it, and none that it never had.
    fn check_renamed(&mut self, rows: &[String], since: Instant, truth: &Truth) {
        let Some((old, new, told)) = self.renamed.clone().filter(|(.., told)| *told <= since) else { return };
        let is_last = truth.boxes.current(&new).is_some_and(|(at, name)| *at <= told && *name == new);
        let may_be_stale =
            |row: &str| row != old && row != new && truth.boxes.was_there(row, Instant(0), told);
        let names = rows.iter().filter(|row| identity(row) == identity(&new));
        let shown: Vec<&String> = names.filter(|row| !may_be_stale(row)).collect();
        if is_last && shown != [&new] {
            self.violation(&format!("renamed a mailbox {new}, and LIST tells of {shown:?}"));
        }
    }

    /// What is told of a command that changes something.
    fn outcome(&mut self, ok: bool, rest: &str) -> (Outcome, Vec<(u32, u32)>) {
        let before = std::mem::take(&mut self.copies);
        let copies = rest.split_once("[COPYUID ").map_or(before, |(_, code)| pairs(code));
        let in_doubt = ["may have been", "messages were copied"].iter().any(|text| rest.contains(text));
        match ok {
            true => (Outcome::Done, copies),
            false if in_doubt => (Outcome::Doubtful, copies),
            false => (Outcome::Refused, Vec::new()),
        }
    }

    fn check_time(&mut self, verb: Verb, since: Instant, now: Instant) {
        let took = now.since(since.max(self.answered));
        // A selected mailbox that is away is waited for before anything else is done.
        let limit = match (&self.selected, verb) {
            (None, Verb::ListStatus) => LIST_STATUS_MAX,
            (None, Verb::Search) => SEARCH_MAX,
            (Some(_) | None, _) => ANSWER_MAX,
        };
        if took > limit && verb != Verb::Idle {
            self.violation(&format!("{verb:?} took {took:?}"));
        }
    }

    /// Every mailbox that is named exists all the time, so only a temporary refusal is true; but for boxes, whose
    /// names come and go.
    fn refused(&mut self, verb: Verb, status: &str, rest: &str, is_away: bool) {
        let temporary = rest.starts_with("[UNAVAILABLE]") || rest.starts_with("[INUSE]");
        let is_of_selected = matches!(
            verb,
            Verb::Fetch | Verb::Look | Verb::Copy | Verb::Move | Verb::Mark | Verb::Keyword | Verb::Expunge
        );
        let unselected = is_of_selected && (self.selected.is_none() || status == "BAD");
        // Messages that others took meanwhile.
        let is_gone = rest.contains("a message could not be read") || rest.contains("messages were copied");
        let excused =
            temporary || unselected || is_away || (is_gone && matches!(verb, Verb::Copy | Verb::Move));
        if !excused || status == "BAD" && !unselected {
            self.violation(&format!("{verb:?} refused for good: {status} {rest}"));
        }
        // A box may leave between the server's go-ahead and the message, and the list may not know yet.
        let left_meanwhile = is_away && matches!(verb, Verb::Append);
        if self.is_late && temporary && !left_meanwhile {
            self.violation(&format!("all is well, and {verb:?} is refused: {rest}"));
        }
    }

    fn speak(&mut self, turn: &mut Turn<'_>) {
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

/// `validity from to]...`: what became what.
fn pairs(code: &str) -> Vec<(u32, u32)> {
    let mut words = code.split([' ', ']']).skip(1);
    let (from, to) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    numbers(from).into_iter().zip(numbers(to)).collect()
}

impl Verb {
    /// Nothing is pipelined behind it.
    fn is_alone(self) -> bool {
        match self {
            Verb::Login
            | Verb::Enable
            | Verb::Select
            | Verb::Look
            | Verb::Copy
            | Verb::Move
            | Verb::Mark
            | Verb::Keyword
            | Verb::Expunge
            | Verb::Rename
            | Verb::Idle
            | Verb::Logout => true,
            Verb::Fetch
            | Verb::Append
            | Verb::Status
            | Verb::List
            | Verb::ListStatus
            | Verb::Search
            | Verb::Quota
            | Verb::Noop => false,
        }
    }
}
