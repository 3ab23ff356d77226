//! A session at a simulated backend: what it was told of the mailbox that it has selected, and what it is told next.

use std::collections::{BTreeMap, BTreeSet};

use protocols::proxy::Instant;

use crate::mailbox::{Mailbox, Message, set_of};
use crate::net::EndId;
use crate::units::Units;

/// What a session is told of a mailbox that has left.
pub(super) const AWAY: &str = "NO Mailbox does not exist";

/// A session at a backend.
pub(super) struct Peer {
    pub(super) end: EndId,
    pub(super) units: Units,
    pub(super) out: Vec<u8>,
    pub(super) user: Option<String>,
    pub(super) qresync: bool,
    pub(super) selected: Option<Selected>,
    /// Tag of an IDLE in progress.
    pub(super) idle: Option<String>,
    /// It waits for a RENAME.
    pub(super) renames: bool,
    /// A command that waits for the lock of a mailbox.
    pub(super) locked_out: Option<Vec<u8>>,
    pub(super) closing: bool,
    /// The mailboxes of its user have left: it ends then.
    pub(super) ends_at: Option<Instant>,
}

/// What a session has selected.
pub(super) struct Selected {
    pub(super) name: String,
    /// UIDs in the order of the numbers that it was told, each with the mod-sequence of what it was told.
    pub(super) known: Vec<(u32, u64)>,
    /// Those that are `\Recent` to it.
    pub(super) recent: BTreeSet<u32>,
    pub(super) is_read_only: bool,
}

/// Whether a session may be told that messages are gone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tells {
    Everything,
    /// Numbers are in use.
    NoExpunge,
}

impl Peer {
    /// One that has just connected.
    pub(super) fn new(end: EndId, greeting: String) -> Peer {
        Peer {
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
        }
    }

    /// Says a line.
    pub(super) fn say(&mut self, line: &str) {
        self.out.extend_from_slice(line.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// Tells a session what others did to its mailbox.
    pub(super) fn tell(&mut self, boxes: &mut BTreeMap<String, Mailbox>, tells: Tells) {
        let Some(mut selected) = self.selected.take() else { return };
        if tells == Tells::Everything {
            self.tell_gone(boxes, &mut selected);
        }
        if let Some(mailbox) = boxes.get_mut(&selected.name) {
            selected.meet(mailbox);
            let before = selected.known.len();
            let last = selected.known.last().map_or(0, |(uid, _)| *uid);
            for (at, (uid, told)) in selected.known.iter_mut().enumerate() {
                let Some(message) = mailbox.message(*uid).filter(|message| message.modseq > *told) else {
                    continue;
                };
                *told = message.modseq;
                let line = changed(at, message, &selected.recent, self.qresync);
                self.say(&line);
            }
            let new = mailbox.messages().iter().filter(|message| message.uid > last);
            selected.known.extend(new.map(|message| (message.uid, message.modseq)));
            if selected.known.len() > before {
                self.say(&format!("* {} EXISTS", selected.known.len()));
                self.say("* 0 RECENT");
            }
        }
        self.selected = Some(selected);
    }

    /// Of a mailbox that has left all are gone.
    fn tell_gone(&mut self, boxes: &BTreeMap<String, Mailbox>, selected: &mut Selected) {
        let mailbox = boxes.get(&selected.name);
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
            if !self.qresync {
                self.say(&format!("* {} EXPUNGE", at + 1));
            }
        }
        if self.qresync && !vanished.is_empty() {
            self.say(&format!("* VANISHED {}", set_of(&vanished)));
        }
    }
}

impl Selected {
    pub(super) fn entry(&mut self, uid: u32) -> Option<&mut (u32, u64)> {
        self.known.iter_mut().find(|(known, _)| *known == uid)
    }

    /// What nobody has been told of is recent to it.
    pub(super) fn meet(&mut self, mailbox: &mut Mailbox) {
        if !self.is_read_only {
            self.recent.extend(mailbox.take_recent());
        }
    }
}

/// Flags that changed, as a session with QRESYNC or without is told.
pub(super) fn changed(at: usize, message: &Message, recent: &BTreeSet<u32>, qresync: bool) -> String {
    let Message { uid, modseq, .. } = message;
    let flags = flags_of(message, recent);
    match qresync {
        true => format!("* {} FETCH (UID {uid} FLAGS ({flags}) MODSEQ ({modseq}))", at + 1),
        false => format!("* {} FETCH (FLAGS ({flags}))", at + 1),
    }
}

/// Flags, with `\Recent` where it is that to the session.
pub(super) fn flags_of(message: &Message, recent: &BTreeSet<u32>) -> String {
    let flags = message.flags.list();
    if recent.contains(&message.uid) { format!("\\Recent {flags}") } else { flags }
}
