//! Commands about messages at a simulated backend: APPEND, FETCH, STORE, EXPUNGE, COPY and MOVE.

use std::rc::Rc;

use super::Backend;
use super::peer::{AWAY, Peer, Selected, flags_of};
use crate::flags::Flags;
use crate::mailbox::{Message, VALIDITY, names, set_of};
use crate::message;
use crate::truth::Truth;
use crate::typed::{announced_before, between, head_of_append, split};

impl Backend {
    /// APPEND of one message or more.
    pub(super) fn append(
        &mut self,
        user: &str,
        arguments: &[u8],
        truth: &mut Truth,
    ) -> Result<String, String> {
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

    /// FETCH, which also says whose session it is.
    pub(super) fn fetch(
        &mut self,
        peer: &mut Peer,
        arguments: &[u8],
        by_uid: bool,
    ) -> Result<String, String> {
        let (set, items) = split(arguments);
        let (name, uids) = self.chosen(peer, &set, by_uid)?;
        let wants = |item: &str| items.to_uppercase().contains(item);
        if let Some(user) = peer.user.clone() {
            peer.say(&format!("* OK X-FOR {user}"));
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
    pub(super) fn alter(
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
    pub(super) fn copy(
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
        peer.say(&format!("* OK {code}Completed"));
        if let Some(mailbox) = self.boxes.get_mut(&from) {
            for uid in uids {
                mailbox.expunge(uid);
                truth.expunged(&from, uid);
            }
        }
        Ok("OK Completed".into())
    }
}
