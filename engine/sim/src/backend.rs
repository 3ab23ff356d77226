//! A backend of the simulated murder: stores mail, checks what it is asked and by whom.

use std::collections::BTreeMap;

use protocols::proxy::Instant;
use protocols::wire::{Cursor, literal};

use crate::dice::Dice;
use crate::message;
use crate::net::{Broken, EndId, Net, Read};
use crate::units::{Unit, Units};

/// The password of the frontends' proxy user.
pub const PROXY_PASSWORD: &str = "proxy-secret";

const CAPABILITIES: &str =
    "IMAP4rev1 LITERAL+ ID ENABLE IDLE MULTIAPPEND UIDPLUS MOVE UNSELECT NAMESPACE AUTH=PLAIN SASL-IR";

/// A backend.
pub struct Backend {
    /// Its server name in the list.
    pub name: String,
    boxes: BTreeMap<String, Mailbox>,
    peers: Vec<Peer>,
    up: bool,
    /// What must not happen and did.
    pub violations: Vec<String>,
}

#[derive(Default)]
struct Mailbox {
    messages: Vec<(u32, Vec<u8>, bool)>,
    next_uid: u32,
}

struct Peer {
    end: EndId,
    units: Units,
    out: Vec<u8>,
    user: Option<String>,
    selected: Option<String>,
    /// Tag of an IDLE in progress.
    idle: Option<String>,
    closing: bool,
}

impl Backend {
    /// A backend with empty mailboxes.
    pub fn new(name: &str, mailboxes: impl IntoIterator<Item = String>) -> Backend {
        let boxes = mailboxes.into_iter().map(|name| (name, Mailbox { messages: Vec::new(), next_uid: 1 }));
        Backend {
            name: name.to_owned(),
            boxes: boxes.collect(),
            peers: Vec::new(),
            up: true,
            violations: Vec::new(),
        }
    }

    /// Whether it takes connections.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Dies, or comes back. What it stored stays.
    pub fn set_up(&mut self, up: bool) {
        self.up = up;
        self.peers.clear();
    }

    /// Takes a connection.
    pub fn accept(&mut self, end: EndId) {
        let greeting =
            format!("* OK [CAPABILITY {CAPABILITIES}] {} Cyrus IMAP 3.6.1 server ready\r\n", self.name);
        self.peers.push(Peer {
            end,
            units: Units::default(),
            out: greeting.into_bytes(),
            user: None,
            selected: None,
            idle: None,
            closing: false,
        });
    }

    /// Connections that it serves.
    pub fn connections(&self) -> usize {
        self.peers.len()
    }

    /// Reads, answers, sends.
    pub fn turn(&mut self, net: &mut Net, now: Instant, dice: &mut Dice) {
        for mut peer in std::mem::take(&mut self.peers) {
            let mut over = false;
            loop {
                match net.read(peer.end, 64 * 1024, now, dice) {
                    Read::Bytes(bytes) => peer.units.push(&bytes),
                    Read::Nothing => break,
                    Read::Eof => {
                        over = true;
                        break;
                    }
                    Read::Reset => {
                        net.close(peer.end, now);
                        over = true;
                        break;
                    }
                }
            }
            self.serve(&mut peer);
            let sent = net.send(peer.end, &peer.out, now, dice);
            match sent {
                Ok(n) => drop(peer.out.drain(..n)),
                Err(Broken) => over = true,
            }
            if over || (peer.closing && peer.out.is_empty()) {
                net.close(peer.end, now);
            } else {
                self.peers.push(peer);
            }
        }
    }

    fn serve(&mut self, peer: &mut Peer) {
        loop {
            match peer.units.poll() {
                Unit::Whole(unit) if peer.idle.is_some() => {
                    let tag = peer.idle.take().unwrap_or_default();
                    if unit.eq_ignore_ascii_case(b"DONE") {
                        say(peer, &format!("{tag} OK Completed"));
                    } else {
                        say(peer, &format!("{tag} BAD Invalid Idle continuation"));
                    }
                }
                Unit::Whole(unit) => self.command(peer, &unit),
                Unit::Announced => say(peer, "+ go ahead"),
                Unit::Incomplete => return,
            }
        }
    }

    fn command(&mut self, peer: &mut Peer, unit: &[u8]) {
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
                say(peer, &format!("* CAPABILITY {CAPABILITIES}"));
                Ok("OK Completed".into())
            }
            ("LOGOUT", _) => {
                say(peer, "* BYE LOGOUT received");
                peer.closing = true;
                Ok("OK Completed".into())
            }
            ("NOOP" | "ID" | "ENABLE", _) => Ok("OK Completed".into()),
            ("AUTHENTICATE", None) => self.authenticate(peer, arguments),
            (_, None) => Err("BAD Please login first".into()),
            (verb, Some(user)) => self.authenticated(peer, &user, &tag, verb, arguments),
        };
        if peer.idle.is_none() {
            let (Ok(text) | Err(text)) = result;
            say(peer, &format!("{tag} {text}"));
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
                Ok(format!("OK [CAPABILITY {CAPABILITIES}] Success"))
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
    ) -> Result<String, String> {
        match verb {
            "SELECT" | "EXAMINE" => self.select(peer, user, arguments),
            "UNSELECT" | "CLOSE" => {
                peer.selected = None;
                Ok("OK Completed".into())
            }
            "STATUS" => {
                let name = self.named(user, arguments)?;
                let messages = self.boxes[&name].messages.len();
                say(peer, &format!("* STATUS {} (MESSAGES {messages})", outer(user, &name)));
                Ok("OK Completed".into())
            }
            "APPEND" | "LOCALAPPEND" => self.append(user, arguments),
            "FETCH" | "UID FETCH" => self.fetch(peer, arguments, verb.starts_with("UID")),
            "UID STORE" | "UID EXPUNGE" => self.alter(peer, verb, arguments),
            "IDLE" => {
                say(peer, "+ idling");
                peer.idle = Some(tag.to_owned());
                Ok(String::new())
            }
            _ => Err("BAD Unrecognized command".into()),
        }
    }

    fn select(&mut self, peer: &mut Peer, user: &str, arguments: &[u8]) -> Result<String, String> {
        peer.selected = None;
        let name = self.named(user, arguments)?;
        let mailbox = &self.boxes[&name];
        say(peer, &format!("* {} EXISTS", mailbox.messages.len()));
        say(peer, "* 0 RECENT");
        say(peer, "* OK [UIDVALIDITY 1] Ok");
        say(peer, &format!("* OK [UIDNEXT {}] Ok", mailbox.next_uid));
        peer.selected = Some(name);
        Ok("OK [READ-WRITE] Completed".into())
    }

    fn append(&mut self, user: &str, arguments: &[u8]) -> Result<String, String> {
        let name = self.named(user, arguments)?;
        let text = arguments.windows(7).position(|at| at == b"Owner: ").ok_or("BAD no message in APPEND")?;
        // One message may follow another: each begins behind its literal's announcement.
        let mut uids = Vec::new();
        let mut rest = &arguments[text..];
        let mut announced = announced_before(&arguments[..text]).ok_or("BAD no literal in APPEND")?;
        loop {
            let (bytes, behind) = rest.split_at_checked(announced).ok_or("BAD short literal")?;
            match message::check(bytes) {
                Ok(_) => {}
                Err(why) => self.violations.push(format!("{}: APPEND of {user} to {name}: {why}", self.name)),
            }
            if let Some(mailbox) = self.boxes.get_mut(&name) {
                mailbox.messages.push((mailbox.next_uid, bytes.to_vec(), false));
                uids.push(mailbox.next_uid.to_string());
                mailbox.next_uid += 1;
            }
            let Some(next) = behind.windows(7).position(|at| at == b"Owner: ") else { break };
            announced = announced_before(&behind[..next]).ok_or("BAD no literal in APPEND")?;
            rest = &behind[next..];
        }
        Ok(format!("OK [APPENDUID 1 {}] Completed", uids.join(",")))
    }

    fn fetch(&mut self, peer: &mut Peer, arguments: &[u8], by_uid: bool) -> Result<String, String> {
        let name = peer.selected.clone().ok_or("BAD Please select a mailbox first")?;
        let set = arguments.split(|byte| *byte == b' ').next().unwrap_or_default();
        let wants_body = arguments.windows(4).any(|at| at.eq_ignore_ascii_case(b"BODY"));
        if let Some(user) = peer.user.clone() {
            say(peer, &format!("* OK X-FOR {user}"));
        }
        let mailbox = &self.boxes[&name];
        for (at, (uid, bytes, _)) in mailbox.messages.iter().enumerate() {
            let number = if by_uid { *uid as usize } else { at + 1 };
            if !contains(set, number, mailbox.messages.len()) {
                continue;
            }
            let line = format!(
                "* {} FETCH (FLAGS (\\Seen) INTERNALDATE \"01-Jan-2026 00:00:00 +0000\" UID {uid}",
                at + 1
            );
            peer.out.extend_from_slice(line.as_bytes());
            if wants_body {
                peer.out.extend_from_slice(format!(" BODY[] {{{}}}\r\n", bytes.len()).as_bytes());
                peer.out.extend_from_slice(bytes);
            }
            peer.out.extend_from_slice(b")\r\n");
        }
        Ok("OK Completed".into())
    }

    /// STORE of \Deleted and EXPUNGE, by UID.
    fn alter(&mut self, peer: &mut Peer, verb: &str, arguments: &[u8]) -> Result<String, String> {
        let name = peer.selected.clone().ok_or("BAD Please select a mailbox first")?;
        let set = arguments.split(|byte| *byte == b' ').next().unwrap_or_default();
        let Some(mailbox) = self.boxes.get_mut(&name) else { return Err("NO gone".into()) };
        let count = mailbox.messages.len();
        let mut at = 0;
        while at < mailbox.messages.len() {
            let (uid, _, deleted) = &mut mailbox.messages[at];
            let named = contains(set, *uid as usize, count);
            if verb == "UID STORE" && named {
                *deleted = true;
            } else if verb == "UID EXPUNGE" && named && *deleted {
                mailbox.messages.remove(at);
                peer.out.extend_from_slice(format!("* {} EXPUNGE\r\n", at + 1).as_bytes());
                continue;
            }
            at += 1;
        }
        Ok("OK Completed".into())
    }

    /// The mailbox that the first argument names, if it lives here.
    fn named(&mut self, user: &str, arguments: &[u8]) -> Result<String, String> {
        let name = Cursor::new(arguments).astring().map_err(|_| "BAD no mailbox")?;
        let name = inner(user, &String::from_utf8_lossy(&name));
        if self.boxes.contains_key(&name) {
            return Ok(name);
        }
        self.violations.push(format!("{}: {user} was brought here for {name}", self.name));
        Err("NO Mailbox does not exist".into())
    }

    /// Messages in all mailboxes.
    pub fn messages(&self) -> usize {
        self.boxes.values().map(|mailbox| mailbox.messages.len()).sum()
    }
}

fn say(peer: &mut Peer, line: &str) {
    peer.out.extend_from_slice(line.as_bytes());
    peer.out.extend_from_slice(b"\r\n");
}

/// The internal name behind what a user types (standard namespace).
pub fn inner(user: &str, name: &str) -> String {
    match name.get(..5) {
        Some(inbox) if inbox.eq_ignore_ascii_case("inbox") => format!("user.{user}{}", &name[5..]),
        _ => name.to_owned(),
    }
}

fn outer(user: &str, name: &str) -> String {
    match name.strip_prefix(&format!("user.{user}")) {
        Some(rest) => format!("INBOX{rest}"),
        None => name.to_owned(),
    }
}

/// The length announced by the last line before a literal.
fn announced_before(head: &[u8]) -> Option<usize> {
    let line = head.strip_suffix(b"\r\n")?;
    usize::try_from(literal::at_line_end(line)?.len).ok()
}

/// Whether a sequence set names a number; `*` is the last.
fn contains(set: &[u8], number: usize, last: usize) -> bool {
    let bound = |text: &str| if text == "*" { Some(last) } else { text.parse().ok() };
    String::from_utf8_lossy(set).split(',').any(|range| {
        let (from, to) = range.split_once(':').unwrap_or((range, range));
        match (bound(from), bound(to)) {
            (Some(from), Some(to)) => from.min(to) <= number && number <= from.max(to),
            (None, _) | (_, None) => false,
        }
    })
}
