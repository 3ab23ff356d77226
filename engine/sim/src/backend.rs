//! A backend of the simulated murder, as Cyrus 3.6 does it: stores mail, checks what it is asked and by whom.
//!
//! A user's mailboxes can be taken away and given to another backend: his sessions end without a word, a
//! moment late; to everybody else's it looks as if all messages had been expunged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use protocols::proxy::Instant;
use protocols::wire::Cursor;

use crate::boxes::identity;
use crate::dice::Dice;
use crate::flags::Flags;
use crate::mailbox::{Door, Mailbox, Message, VALIDITY, names, set_of};
use crate::message;
use crate::net::{Broken, EndId, Net};
use crate::site::{PROXY_PASSWORD, SPREAD};
use crate::truth::Truth;
use crate::typed::{announced_before, between, head_of_append, inner, may_see, outer, root_of, since, split};
use crate::units::{Unit, Units};

const CAPABILITIES: &str = "IMAP4rev1 LITERAL+ ID ENABLE IDLE MULTIAPPEND UIDPLUS MOVE UNSELECT NAMESPACE \
CONDSTORE QRESYNC LIST-EXTENDED LIST-STATUS MULTISEARCH QUOTA AUTH=PLAIN SASL-IR";

/// What a session is told of a mailbox that has left.
const AWAY: &str = "NO Mailbox does not exist";

/// A backend.
pub struct Backend {
    /// Its server name in the list.
    pub name: String,
    capabilities: String,
    boxes: BTreeMap<String, Mailbox>,
    /// Mailboxes that may be asked for although they live elsewhere: they move.
    wandering: BTreeSet<String>,
    peers: Vec<Peer>,
    /// Mailboxes that are to be renamed, the first at the moment.
    renames: VecDeque<Rename>,
    up: bool,
    /// What must not happen and did.
    pub violations: Vec<String>,
}

struct Peer {
    end: EndId,
    units: Units,
    out: Vec<u8>,
    user: Option<String>,
    qresync: bool,
    selected: Option<Selected>,
    /// Tag of an IDLE in progress.
    idle: Option<String>,
    /// It waits for a RENAME.
    renames: bool,
    /// A command that waits for the lock of a mailbox.
    locked_out: Option<Vec<u8>>,
    closing: bool,
    /// The mailboxes of its user have left: it ends then.
    ends_at: Option<Instant>,
}

/// A RENAME: who waits for it, and the internal names.
struct Rename {
    end: EndId,
    tag: String,
    old: String,
    new: String,
    /// It is being done.
    begun: bool,
}

/// What a session has selected.
struct Selected {
    name: String,
    /// UIDs in the order of the numbers that it was told, each with the mod-sequence of what it was told.
    known: Vec<(u32, u64)>,
    /// Those that are `\Recent` to it.
    recent: BTreeSet<u32>,
    is_read_only: bool,
}

/// Whether a session may be told that messages are gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tells {
    Everything,
    /// Numbers are in use.
    NoExpunge,
}

impl Backend {
    /// A backend with empty mailboxes. `lacks` is a capability that it has not.
    pub fn new(name: &str, mailboxes: impl IntoIterator<Item = String>, lacks: &str) -> Backend {
        let capabilities =
            CAPABILITIES.split(' ').filter(|word| *word != lacks).collect::<Vec<_>>().join(" ");
        Backend {
            name: name.to_owned(),
            capabilities,
            boxes: mailboxes.into_iter().map(|name| (name, Mailbox::default())).collect(),
            wandering: BTreeSet::new(),
            peers: Vec::new(),
            renames: VecDeque::new(),
            up: true,
            violations: Vec::new(),
        }
    }

    /// Mailboxes that may come and go.
    pub fn expect(&mut self, wandering: impl IntoIterator<Item = String>) {
        self.wandering.extend(wandering);
    }

    /// Whether it takes connections.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Dies, or comes back. What it stored stays.
    pub fn set_up(&mut self, up: bool) {
        self.up = up;
        self.peers.clear();
        self.renames.clear();
    }

    /// Whether a copy of a message is there, whatever the mailbox is called.
    pub fn holds(&self, mailbox: &str, uid: u32) -> bool {
        let mut named = self.boxes.iter().filter(|(name, _)| identity(name) == mailbox);
        named.any(|(_, mailbox)| mailbox.message(uid).is_some())
    }

    /// Whether a mailbox is to be renamed.
    pub fn wants_rename(&self) -> bool {
        !self.renames.is_empty()
    }

    /// The old and new name of what is renamed next. Who asks for a mailbox that is not there is refused.
    pub fn begin_rename(&mut self) -> Option<(String, String)> {
        while let Some(Rename { old, new, begun, .. }) = self.renames.front_mut() {
            if self.boxes.contains_key(old) {
                *begun = true;
                return Some((old.clone(), new.clone()));
            }
            self.answer_rename(AWAY);
        }
        None
    }

    /// Renames a mailbox.
    pub fn rename(&mut self, old: &str, new: &str) {
        if let Some(mailbox) = self.boxes.remove(old) {
            self.boxes.insert(new.to_owned(), mailbox);
        }
    }

    /// What [`Backend::begin_rename`] told of is done. Who asked for it may be gone.
    pub fn end_rename(&mut self) {
        if self.renames.front().is_some_and(|rename| rename.begun) {
            self.answer_rename("OK Completed");
        }
    }

    fn answer_rename(&mut self, result: &str) {
        let Some(Rename { end, tag, .. }) = self.renames.pop_front() else { return };
        let Some(at) = self.peers.iter().position(|peer| peer.end == end) else { return };
        let mut peer = self.peers.swap_remove(at);
        peer.renames = false;
        self.tell(&mut peer, Tells::Everything);
        say(&mut peer, &format!("{tag} {result}"));
        self.peers.push(peer);
    }

    /// Closes mailboxes to everybody, or opens them again.
    pub fn set_door(&mut self, names: &[String], door: Door) {
        for name in names {
            if let Some(mailbox) = self.boxes.get_mut(name) {
                mailbox.door = door;
            }
        }
    }

    /// Whether a command waits for the lock of a mailbox.
    fn is_locked(&self, user: Option<&str>, unit: &[u8]) -> bool {
        let mut words = unit.splitn(3, |byte| *byte == b' ').skip(1);
        let (Some(user), Some(verb), Some(arguments)) = (user, words.next(), words.next()) else {
            return false;
        };
        let opens = [&b"SELECT"[..], b"EXAMINE", b"STATUS", b"APPEND"];
        let name = Cursor::new(arguments).astring().map(|name| inner(user, &String::from_utf8_lossy(&name)));
        let mailbox = name.ok().and_then(|name| self.boxes.get(&name));
        opens.iter().any(|opens| verb.eq_ignore_ascii_case(opens))
            && mailbox.is_some_and(|mailbox| mailbox.door == Door::Locked)
    }

    /// Gives mailboxes away. The sessions of their owner end at `end`.
    pub fn give(&mut self, owner: &str, names: &[String], end: Instant) -> Vec<(String, Mailbox)> {
        for peer in self.peers.iter_mut().filter(|peer| peer.user.as_deref() == Some(owner)) {
            peer.ends_at = Some(end);
        }
        names.iter().filter_map(|name| self.boxes.remove_entry(name)).collect()
    }

    /// Takes mailboxes of another backend.
    pub fn take(&mut self, mailboxes: Vec<(String, Mailbox)>) {
        self.boxes.extend(mailboxes);
    }

    /// Takes a connection.
    pub fn accept(&mut self, end: EndId) {
        let Backend { name, capabilities, .. } = self;
        let greeting = format!("* OK [CAPABILITY {capabilities}] {name} Cyrus IMAP 3.6.1 server ready\r\n");
        self.peers.push(Peer {
            end,
            units: Units::default(),
            out: greeting.into_bytes(),
            user: None,
            qresync: false,
            selected: None,
            idle: None,
            renames: false,
            locked_out: None,
            closing: false,
            ends_at: None,
        });
    }

    /// Connections that it serves.
    pub fn connections(&self) -> usize {
        self.peers.len()
    }

    /// Reads, answers, sends.
    pub fn turn(&mut self, net: &mut Net, now: Instant, dice: &mut Dice, truth: &mut Truth) {
        let mut served = Vec::new();
        for mut peer in std::mem::take(&mut self.peers) {
            if self.read(&mut peer, net, now, dice, truth) {
                served.push(peer)
            } else {
                net.close(peer.end, now)
            }
        }
        // What one session did the others are told, who wait for it.
        for mut peer in served {
            if peer.idle.is_some() {
                self.tell(&mut peer, Tells::Everything);
            }
            let is_sent = match net.send(peer.end, &peer.out, now, dice) {
                Ok(n) => {
                    drop(peer.out.drain(..n));
                    true
                }
                Err(Broken) => false,
            };
            if !is_sent || (peer.closing && peer.out.is_empty()) {
                net.close(peer.end, now);
            } else {
                self.peers.push(peer);
            }
        }
    }

    /// Takes in and does what a session says; whether it goes on.
    fn read(
        &mut self,
        peer: &mut Peer,
        net: &mut Net,
        now: Instant,
        dice: &mut Dice,
        truth: &mut Truth,
    ) -> bool {
        if peer.ends_at.is_some_and(|at| at <= now) {
            return false;
        }
        let units = &mut peer.units;
        let stands = net.receive(peer.end, now, dice, &mut |bytes| units.push(bytes));
        // What came whole before the end is done.
        self.serve(peer, truth);
        stands.is_ok()
    }

    fn serve(&mut self, peer: &mut Peer, truth: &mut Truth) {
        while !peer.renames {
            let unit = peer.locked_out.take().map_or_else(|| peer.units.poll(), Unit::Whole);
            match unit {
                Unit::Whole(unit) if peer.idle.is_none() && self.is_locked(peer.user.as_deref(), &unit) => {
                    peer.locked_out = Some(unit);
                    return;
                }
                Unit::Whole(unit) if peer.idle.is_some() => {
                    let tag = peer.idle.take().unwrap_or_default();
                    self.tell(peer, Tells::Everything);
                    if unit.eq_ignore_ascii_case(b"DONE") {
                        say(peer, &format!("{tag} OK Completed"));
                    } else {
                        say(peer, &format!("{tag} BAD Invalid Idle continuation"));
                    }
                }
                Unit::Whole(unit) => self.command(peer, &unit, truth),
                Unit::Announced => say(peer, "+ go ahead"),
                Unit::Incomplete => return,
            }
        }
    }

    fn command(&mut self, peer: &mut Peer, unit: &[u8], truth: &mut Truth) {
        let mut words = unit.splitn(3, |byte| *byte == b' ');
        let tag = String::from_utf8_lossy(words.next().unwrap_or_default()).into_owned();
        let mut verb = String::from_utf8_lossy(words.next().unwrap_or_default()).to_uppercase();
        let mut arguments = words.next().unwrap_or_default();
        if verb == "UID" {
            let mut words = arguments.splitn(2, |byte| *byte == b' ');
            verb =
                format!("UID {}", String::from_utf8_lossy(words.next().unwrap_or_default()).to_uppercase());
            arguments = words.next().unwrap_or_default();
        }
        let result = match (verb.as_str(), peer.user.clone()) {
            ("CAPABILITY", _) => {
                say(peer, &format!("* CAPABILITY {}", self.capabilities));
                Ok("OK Completed".into())
            }
            ("LOGOUT", _) => {
                say(peer, "* BYE LOGOUT received");
                peer.closing = true;
                Ok("OK Completed".into())
            }
            ("AUTHENTICATE", None) => self.authenticate(peer, arguments),
            ("ENABLE", _) => {
                if arguments.windows(7).any(|word| word.eq_ignore_ascii_case(b"QRESYNC")) {
                    peer.qresync = true;
                    say(peer, "* ENABLED QRESYNC");
                }
                Ok("OK Completed".into())
            }
            ("NOOP" | "ID", _) => Ok("OK Completed".into()),
            (_, None) => Err("BAD Please login first".into()),
            (verb, Some(user)) => self.authenticated(peer, &user, &tag, verb, arguments, truth),
        };
        if peer.idle.is_none() && !peer.renames {
            let uses_numbers = matches!(verb.as_str(), "FETCH" | "STORE" | "SEARCH" | "COPY");
            self.tell(peer, if uses_numbers { Tells::NoExpunge } else { Tells::Everything });
            let (Ok(text) | Err(text)) = result;
            say(peer, &format!("{tag} {text}"));
        }
    }

    /// Tells a session what others did to its mailbox.
    fn tell(&mut self, peer: &mut Peer, tells: Tells) {
        let Some(mut selected) = peer.selected.take() else { return };
        if tells == Tells::Everything {
            self.tell_gone(peer, &mut selected);
        }
        if let Some(mailbox) = self.boxes.get_mut(&selected.name) {
            selected.meet(mailbox);
            let before = selected.known.len();
            let last = selected.known.last().map_or(0, |(uid, _)| *uid);
            for (at, (uid, told)) in selected.known.iter_mut().enumerate() {
                let Some(message) = mailbox.message(*uid).filter(|message| message.modseq > *told) else {
                    continue;
                };
                *told = message.modseq;
                let line = changed(at, message, &selected.recent, peer.qresync);
                say(peer, &line);
            }
            let new = mailbox.messages().iter().filter(|message| message.uid > last);
            selected.known.extend(new.map(|message| (message.uid, message.modseq)));
            if selected.known.len() > before {
                say(peer, &format!("* {} EXISTS", selected.known.len()));
                say(peer, "* 0 RECENT");
            }
        }
        peer.selected = Some(selected);
    }

    /// Of a mailbox that has left all are gone.
    fn tell_gone(&self, peer: &mut Peer, selected: &mut Selected) {
        let mailbox = self.boxes.get(&selected.name);
        let is_there = |uid: u32| mailbox.is_some_and(|mailbox| mailbox.message(uid).is_some());
        let mut vanished = Vec::new();
        let mut at = 0;
        while let Some((uid, _)) = selected.known.get(at) {
            if is_there(*uid) {
                at += 1;
                continue;
            }
            vanished.push(*uid);
            selected.known.remove(at);
            if !peer.qresync {
                say(peer, &format!("* {} EXPUNGE", at + 1));
            }
        }
        if peer.qresync && !vanished.is_empty() {
            say(peer, &format!("* VANISHED {}", set_of(&vanished)));
        }
    }

    /// PLAIN with an initial response, by the proxy user for somebody else.
    fn authenticate(&mut self, peer: &mut Peer, arguments: &[u8]) -> Result<String, String> {
        use base64::Engine as _;
        let initial = arguments.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
        let plain = base64::engine::general_purpose::STANDARD.decode(initial).unwrap_or_default();
        let mut parts = plain.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
        match (parts.next(), parts.next(), parts.next()) {
            (Some(user), Some(proxy), Some(password)) if proxy == "proxy" && password == PROXY_PASSWORD => {
                peer.user = Some(user);
                Ok(format!("OK [CAPABILITY {}] Success", self.capabilities))
            }
            (user, _, _) => {
                self.violations.push(format!("{}: a bad proxy login for {user:?}", self.name));
                Err("NO authentication failure".into())
            }
        }
    }

    fn authenticated(
        &mut self,
        peer: &mut Peer,
        user: &str,
        tag: &str,
        verb: &str,
        arguments: &[u8],
        truth: &mut Truth,
    ) -> Result<String, String> {
        match verb {
            "SELECT" | "EXAMINE" => self.select(peer, user, verb, arguments),
            "UNSELECT" | "CLOSE" => {
                peer.selected = None;
                Ok("OK Completed".into())
            }
            "STATUS" => {
                let name = self.named(user, arguments)?;
                let line = status(user, &name, &self.boxes[&name]);
                say(peer, &line);
                Ok("OK Completed".into())
            }
            "LIST" => {
                let wants_status = arguments.windows(8).any(|word| word.eq_ignore_ascii_case(b"(STATUS "));
                for (name, mailbox) in self.boxes.iter().filter(|(name, _)| may_see(user, name)) {
                    say(peer, &format!("* LIST () \".\" {}", outer(user, name)));
                    if wants_status {
                        say(peer, &status(user, name, mailbox));
                    }
                }
                Ok("OK Completed".into())
            }
            "ESEARCH" => {
                self.search(peer, user, tag, arguments);
                Ok("OK Completed".into())
            }
            "GETQUOTAROOT" | "GETQUOTA" | "SETQUOTA" => self.quota(peer, user, verb, arguments, truth),
            "RENAME" => {
                let mut names = Cursor::new(arguments);
                let old = self.named(user, arguments)?;
                names.astring().and_then(|_| names.sp()).map_err(|_| "BAD no name")?;
                let new = names.astring().map_err(|_| "BAD no new name")?;
                let new = inner(user, &String::from_utf8_lossy(&new));
                self.renames.push_back(Rename { end: peer.end, tag: tag.to_owned(), old, new, begun: false });
                peer.renames = true;
                Ok(String::new())
            }
            "APPEND" | "LOCALAPPEND" => self.append(user, arguments, truth),
            "FETCH" | "UID FETCH" => self.fetch(peer, arguments, verb.starts_with("UID")),
            "STORE" | "UID STORE" | "UID EXPUNGE" => self.alter(peer, verb, arguments, truth),
            "COPY" | "MOVE" | "UID COPY" | "UID MOVE" => self.copy(peer, user, verb, arguments, truth),
            "IDLE" => {
                say(peer, "+ idling");
                peer.idle = Some(tag.to_owned());
                Ok(String::new())
            }
            _ => Err(format!("BAD Unrecognized command {verb}")),
        }
    }

    fn select(
        &mut self,
        peer: &mut Peer,
        user: &str,
        verb: &str,
        arguments: &[u8],
    ) -> Result<String, String> {
        peer.selected = None;
        let name = self.named(user, arguments)?;
        let is_read_only = verb == "EXAMINE";
        let mut selected =
            Selected { name: name.clone(), known: Vec::new(), recent: BTreeSet::new(), is_read_only };
        let Some(mailbox) = self.boxes.get_mut(&name) else { return Err(AWAY.into()) };
        selected.meet(mailbox);
        say(peer, &format!("* {} EXISTS", mailbox.messages().len()));
        say(peer, "* 0 RECENT");
        say(peer, &format!("* OK [UIDVALIDITY {VALIDITY}] Ok"));
        say(peer, &format!("* OK [UIDNEXT {}] Ok", mailbox.next_uid()));
        say(peer, &format!("* OK [HIGHESTMODSEQ {}] Ok", mailbox.modseq()));
        if let Some(since) = since(arguments).filter(|_| peer.qresync) {
            let vanished = mailbox.vanished_since(since);
            if !vanished.is_empty() {
                say(peer, &format!("* VANISHED (EARLIER) {}", set_of(&vanished)));
            }
            for (at, message) in
                mailbox.messages().iter().enumerate().filter(|(_, message)| message.modseq > since)
            {
                say(peer, &changed(at, message, &selected.recent, true));
            }
        }
        selected.known = mailbox.messages().iter().map(|message| (message.uid, message.modseq)).collect();
        peer.selected = Some(selected);
        Ok(if is_read_only { "OK [READ-ONLY] Completed" } else { "OK [READ-WRITE] Completed" }.into())
    }

    /// ESEARCH IN (mailboxes (...)): of those that are here, the UIDs.
    fn search(&self, peer: &mut Peer, user: &str, tag: &str, arguments: &[u8]) {
        let text = String::from_utf8_lossy(arguments).into_owned();
        for name in text.split(['(', ')', ' ', '"']) {
            let Some(mailbox) = self.boxes.get(&inner(user, name)).filter(|_| !name.is_empty()) else {
                continue;
            };
            let uids: Vec<u32> = mailbox.messages().iter().map(|message| message.uid).collect();
            let found = if uids.is_empty() { String::new() } else { format!(" ALL {}", set_of(&uids)) };
            say(peer, &format!("* ESEARCH (TAG \"{tag}\" MAILBOX {name} UIDVALIDITY {VALIDITY}) UID{found}"));
        }
    }

    /// The quotas of a user's tree, or of a mailbox that is nobody's.
    fn quota(
        &mut self,
        peer: &mut Peer,
        user: &str,
        verb: &str,
        arguments: &[u8],
        truth: &mut Truth,
    ) -> Result<String, String> {
        let name = self.named(user, arguments)?;
        let root = root_of(&name);
        if name == SPREAD {
            self.violations.push(format!("{}: {verb} of a tree on several servers", self.name));
        }
        let Some(mailbox) = self.boxes.get_mut(&root) else { return Err(AWAY.into()) };
        if verb == "SETQUOTA" {
            let text = String::from_utf8_lossy(arguments).into_owned();
            let limit = between(&text, '(', ')').strip_prefix("STORAGE ").and_then(|word| word.parse().ok());
            mailbox.limit = limit.ok_or("BAD Invalid quota list in Setquota")?;
            truth.quotas.set(&root, mailbox.limit, truth.now);
            return Ok("OK Completed".into());
        }
        let (limit, root) = (mailbox.limit, outer(user, &root));
        if verb == "GETQUOTAROOT" {
            say(peer, &format!("* QUOTAROOT {} {root}", outer(user, &name)));
        }
        say(peer, &format!("* QUOTA {root} (STORAGE 1 {limit})"));
        Ok("OK Completed".into())
    }

    fn append(&mut self, user: &str, arguments: &[u8], truth: &mut Truth) -> Result<String, String> {
        let name = self.named(user, arguments)?;
        let text = arguments.windows(7).position(|at| at == b"Owner: ").ok_or("BAD no message in APPEND")?;
        // One message may follow another: each begins behind its literal's announcement.
        let mut uids = Vec::new();
        let mut head = &arguments[..text];
        let mut rest = &arguments[text..];
        loop {
            let announced = announced_before(head).ok_or("BAD no literal in APPEND")?;
            let (bytes, behind) = rest.split_at_checked(announced).ok_or("BAD short literal")?;
            match (message::check(bytes), self.boxes.get_mut(&name)) {
                (Ok((_, seed)), Some(mailbox)) => {
                    let (flags, date) = head_of_append(head);
                    let uid = mailbox.append(seed, Rc::from(bytes), flags.clone(), date.as_str().into());
                    truth.arrived(&name, uid, seed, &flags, &date);
                    uids.push(uid);
                }
                (Err(why), _) => {
                    self.violations.push(format!("{}: APPEND of {user} to {name}: {why}", self.name));
                }
                (Ok(_), None) => return Err(AWAY.into()),
            }
            let Some(next) = behind.windows(7).position(|at| at == b"Owner: ") else { break };
            (head, rest) = behind.split_at(next);
        }
        Ok(format!("OK [APPENDUID {VALIDITY} {}] Completed", set_of(&uids)))
    }

    /// The selected mailbox, and the UIDs of it that a set names.
    fn chosen(&self, peer: &Peer, set: &str, by_uid: bool) -> Result<(String, Vec<u32>), String> {
        let selected = peer.selected.as_ref().ok_or("BAD Please select a mailbox first")?;
        let mailbox = self.boxes.get(&selected.name).ok_or(AWAY)?;
        let last = match by_uid {
            true => selected.known.last().map_or(0, |(uid, _)| *uid),
            false => selected.known.len() as u32,
        };
        let known = selected.known.iter().enumerate();
        let named =
            known.filter(|(at, (uid, _))| names(set, if by_uid { *uid } else { *at as u32 + 1 }, last));
        let uids = named.map(|(_, (uid, _))| *uid).filter(|uid| mailbox.message(*uid).is_some());
        Ok((selected.name.clone(), uids.collect()))
    }

    fn fetch(&mut self, peer: &mut Peer, arguments: &[u8], by_uid: bool) -> Result<String, String> {
        let (set, items) = split(arguments);
        let (name, uids) = self.chosen(peer, &set, by_uid)?;
        let wants = |item: &str| items.to_uppercase().contains(item);
        if let Some(user) = peer.user.clone() {
            say(peer, &format!("* OK X-FOR {user}"));
        }
        let Some(Selected { known, recent, .. }) = &peer.selected else { return Ok("OK Completed".into()) };
        let (known, recent): (Vec<u32>, _) = (known.iter().map(|(uid, _)| *uid).collect(), recent.clone());
        for uid in uids {
            let (Some(message), Some(at)) =
                (self.boxes[&name].message(uid), known.iter().position(|known| *known == uid))
            else {
                continue;
            };
            let mut line = format!("* {} FETCH (FLAGS ({})", at + 1, flags_of(message, &recent));
            if wants("INTERNALDATE") {
                line += &format!(" INTERNALDATE \"{}\"", message.date);
            }
            if by_uid || wants("UID") {
                line += &format!(" UID {uid}");
            }
            peer.out.extend_from_slice(line.as_bytes());
            if wants("BODY") {
                peer.out.extend_from_slice(format!(" BODY[] {{{}}}\r\n", message.bytes.len()).as_bytes());
                peer.out.extend_from_slice(&message.bytes);
            }
            peer.out.extend_from_slice(b")\r\n");
        }
        Ok("OK Completed".into())
    }

    /// STORE and EXPUNGE, by UID.
    fn alter(
        &mut self,
        peer: &mut Peer,
        verb: &str,
        arguments: &[u8],
        truth: &mut Truth,
    ) -> Result<String, String> {
        let (set, rest) = split(arguments);
        let (name, uids) = self.chosen(peer, &set, verb.starts_with("UID"))?;
        if peer.selected.as_ref().is_some_and(|selected| selected.is_read_only) {
            return Err("NO Permission denied".into());
        }
        let Some(mailbox) = self.boxes.get_mut(&name) else { return Err(AWAY.into()) };
        for uid in uids {
            if verb.ends_with("STORE") {
                mailbox.mark(uid, &Flags::read(between(&rest, '(', ')')), rest.starts_with('+'));
                let told = mailbox.message(uid).map_or(0, |message| message.modseq);
                // A silent STORE is not told to who made it.
                if rest.contains(".SILENT")
                    && let Some(known) = peer.selected.as_mut().and_then(|selected| selected.entry(uid))
                {
                    known.1 = told;
                }
            } else if mailbox.message(uid).is_some_and(|message| message.flags.has("\\Deleted")) {
                mailbox.expunge(uid);
                truth.expunged(&name, uid);
            }
        }
        Ok("OK Completed".into())
    }

    /// COPY and MOVE to a mailbox that is here.
    fn copy(
        &mut self,
        peer: &mut Peer,
        user: &str,
        verb: &str,
        arguments: &[u8],
        truth: &mut Truth,
    ) -> Result<String, String> {
        let (set, rest) = split(arguments);
        let to = self.named(user, rest.as_bytes())?;
        let (from, uids) = self.chosen(peer, &set, verb.starts_with("UID"))?;
        let mut copies = Vec::new();
        for uid in &uids {
            let Some(Message { seed, bytes, flags, date, .. }) = self.boxes[&from].message(*uid).cloned()
            else {
                continue;
            };
            let Some(mailbox) = self.boxes.get_mut(&to) else { return Err(AWAY.into()) };
            let copy = mailbox.append(seed, bytes, flags.clone(), date.clone());
            truth.arrived(&to, copy, seed, &flags, &date);
            copies.push(copy);
        }
        let code = match copies.is_empty() {
            true => String::new(),
            false => format!("[COPYUID {VALIDITY} {} {}] ", set_of(&uids), set_of(&copies)),
        };
        if !verb.ends_with("MOVE") {
            return Ok(format!("OK {code}Completed"));
        }
        say(peer, &format!("* OK {code}Completed"));
        if let Some(mailbox) = self.boxes.get_mut(&from) {
            for uid in uids {
                mailbox.expunge(uid);
                truth.expunged(&from, uid);
            }
        }
        Ok("OK Completed".into())
    }

    /// The mailbox that the first argument names, if it lives here.
    fn named(&mut self, user: &str, arguments: &[u8]) -> Result<String, String> {
        let name = Cursor::new(arguments).astring().map_err(|_| "BAD no mailbox")?;
        let name = inner(user, &String::from_utf8_lossy(&name));
        match self.boxes.get(&name) {
            Some(mailbox) if mailbox.door != Door::Open => {
                Err(format!("NO [REFERRAL imap://;AUTH=*@elsewhere/{name}] Remote mailbox."))
            }
            Some(_) => Ok(name),
            None => {
                if !self.wandering.contains(&name) {
                    self.violations.push(format!("{}: {user} was brought here for {name}", self.name));
                }
                Err(AWAY.into())
            }
        }
    }
}

impl Selected {
    fn entry(&mut self, uid: u32) -> Option<&mut (u32, u64)> {
        self.known.iter_mut().find(|(known, _)| *known == uid)
    }

    /// What nobody has been told of is recent to it.
    fn meet(&mut self, mailbox: &mut Mailbox) {
        if !self.is_read_only {
            self.recent.extend(mailbox.take_recent());
        }
    }
}

fn say(peer: &mut Peer, line: &str) {
    peer.out.extend_from_slice(line.as_bytes());
    peer.out.extend_from_slice(b"\r\n");
}

/// Flags that changed, as a session with QRESYNC or without is told.
fn changed(at: usize, message: &Message, recent: &BTreeSet<u32>, qresync: bool) -> String {
    let Message { uid, modseq, .. } = message;
    let flags = flags_of(message, recent);
    match qresync {
        true => format!("* {} FETCH (UID {uid} FLAGS ({flags}) MODSEQ ({modseq}))", at + 1),
        false => format!("* {} FETCH (FLAGS ({flags}))", at + 1),
    }
}

fn flags_of(message: &Message, recent: &BTreeSet<u32>) -> String {
    let flags = message.flags.list();
    if recent.contains(&message.uid) { format!("\\Recent {flags}") } else { flags }
}

fn status(user: &str, name: &str, mailbox: &Mailbox) -> String {
    format!("* STATUS {} (MESSAGES {})", outer(user, name), mailbox.messages().len())
}
