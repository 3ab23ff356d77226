//! A backend of the simulated murder, as Cyrus 3.6 does it: stores mail, checks what it is asked and by whom.
//!
//! A user's mailboxes can be taken away and given to another backend: his sessions end without a word, a
//! moment late; to everybody else's it looks as if all messages had been expunged.

mod commands;
mod messages;
mod peer;
mod renames;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocols::proxy::Instant;

use crate::boxes::identity;
use crate::dice::Dice;
use crate::mailbox::{Door, Mailbox};
use crate::net::{Broken, EndId, Net};
use crate::truth::Truth;
use crate::units::Unit;

use peer::{Peer, Tells};

const CAPABILITIES: &str = "IMAP4rev1 LITERAL+ ID ENABLE IDLE MULTIAPPEND UIDPLUS MOVE UNSELECT NAMESPACE \
CONDSTORE QRESYNC LIST-EXTENDED LIST-STATUS MULTISEARCH QUOTA AUTH=PLAIN SASL-IR";

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

/// A RENAME: who waits for it, and the internal names.
struct Rename {
    end: EndId,
    tag: String,
    old: String,
    new: String,
    /// It is being done.
    begun: bool,
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

    /// Closes mailboxes to everybody, or opens them again.
    pub fn set_door(&mut self, names: &[String], door: Door) {
        for name in names {
            if let Some(mailbox) = self.boxes.get_mut(name) {
                mailbox.door = door;
            }
        }
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
        self.peers.push(Peer::new(end, greeting));
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
                peer.tell(&mut self.boxes, Tells::Everything);
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
                    peer.tell(&mut self.boxes, Tells::Everything);
                    if unit.eq_ignore_ascii_case(b"DONE") {
                        peer.say(&format!("{tag} OK Completed"));
                    } else {
                        peer.say(&format!("{tag} BAD Invalid Idle continuation"));
                    }
                }
                Unit::Whole(unit) => self.command(peer, &unit, truth),
                Unit::Announced => peer.say("+ go ahead"),
                Unit::Incomplete => return,
            }
        }
    }
}
