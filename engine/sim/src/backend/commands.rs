//! Commands at a simulated backend: who asks and for which mailbox, and those that are about mailboxes.

use std::collections::BTreeSet;

use base64::Engine as _;
use protocols::wire::Cursor;

use super::peer::{AWAY, Peer, Selected, Tells, changed};
use super::{Backend, Rename};
use crate::mailbox::{Door, Mailbox, VALIDITY, set_of};
use crate::site::{PROXY_PASSWORD, SPREAD};
use crate::truth::Truth;
use crate::typed::{between, inner, may_see, outer, root_of, since};

impl Backend {
    /// Whether a command waits for the lock of a mailbox.
    pub(super) fn is_locked(&self, user: Option<&str>, unit: &[u8]) -> bool {
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

    /// Does a command and answers it.
    pub(super) fn command(&mut self, peer: &mut Peer, unit: &[u8], truth: &mut Truth) {
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
                peer.say(&format!("* CAPABILITY {}", self.capabilities));
                Ok("OK Completed".into())
            }
            ("LOGOUT", _) => {
                peer.say("* BYE LOGOUT received");
                peer.closing = true;
                Ok("OK Completed".into())
            }
            ("AUTHENTICATE", None) => self.authenticate(peer, arguments),
            ("ENABLE", _) => {
                if arguments.windows(7).any(|word| word.eq_ignore_ascii_case(b"QRESYNC")) {
                    peer.qresync = true;
                    peer.say("* ENABLED QRESYNC");
                }
                Ok("OK Completed".into())
            }
            ("NOOP" | "ID", _) => Ok("OK Completed".into()),
            (_, None) => Err("BAD Please login first".into()),
            (verb, Some(user)) => self.authenticated(peer, &user, &tag, verb, arguments, truth),
        };
        if peer.idle.is_none() && !peer.renames {
            let uses_numbers = matches!(verb.as_str(), "FETCH" | "STORE" | "SEARCH" | "COPY");
            peer.tell(&mut self.boxes, if uses_numbers { Tells::NoExpunge } else { Tells::Everything });
            let (Ok(text) | Err(text)) = result;
            peer.say(&format!("{tag} {text}"));
        }
    }

    /// PLAIN with an initial response, by the proxy user for somebody else.
    fn authenticate(&mut self, peer: &mut Peer, arguments: &[u8]) -> Result<String, String> {
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
                peer.say(&line);
                Ok("OK Completed".into())
            }
            "LIST" => {
                let wants_status = arguments.windows(8).any(|word| word.eq_ignore_ascii_case(b"(STATUS "));
                for (name, mailbox) in self.boxes.iter().filter(|(name, _)| may_see(user, name)) {
                    peer.say(&format!("* LIST () \".\" {}", outer(user, name)));
                    if wants_status {
                        peer.say(&status(user, name, mailbox));
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
                peer.say("+ idling");
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
        peer.say(&format!("* {} EXISTS", mailbox.messages().len()));
        peer.say("* 0 RECENT");
        peer.say(&format!("* OK [UIDVALIDITY {VALIDITY}] Ok"));
        peer.say(&format!("* OK [UIDNEXT {}] Ok", mailbox.next_uid()));
        peer.say(&format!("* OK [HIGHESTMODSEQ {}] Ok", mailbox.modseq()));
        if let Some(since) = since(arguments).filter(|_| peer.qresync) {
            let vanished = mailbox.vanished_since(since);
            if !vanished.is_empty() {
                peer.say(&format!("* VANISHED (EARLIER) {}", set_of(&vanished)));
            }
            for (at, message) in
                mailbox.messages().iter().enumerate().filter(|(_, message)| message.modseq > since)
            {
                peer.say(&changed(at, message, &selected.recent, true));
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
            peer.say(&format!("* ESEARCH (TAG \"{tag}\" MAILBOX {name} UIDVALIDITY {VALIDITY}) UID{found}"));
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
            peer.say(&format!("* QUOTAROOT {} {root}", outer(user, &name)));
        }
        peer.say(&format!("* QUOTA {root} (STORAGE 1 {limit})"));
        Ok("OK Completed".into())
    }

    /// The mailbox that the first argument names, if it lives here.
    pub(super) fn named(&mut self, user: &str, arguments: &[u8]) -> Result<String, String> {
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

fn status(user: &str, name: &str, mailbox: &Mailbox) -> String {
    format!("* STATUS {} (MESSAGES {})", outer(user, name), mailbox.messages().len())
}
