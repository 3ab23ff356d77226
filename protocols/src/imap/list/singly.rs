//! STATUS of one mailbox after another, for a server that does not know LIST-STATUS (RFC 5819).
//!
//! ```text
//!  LIST of each pattern ──names──> all LISTs answered ──> STATUS, some at a time ──> all answered
//! ```
//! A mailbox whose STATUS is refused has none: "the server ... MUST NOT return the STATUS response" for it
//! (RFC 5819 section 2), and the LIST is good.

use std::collections::BTreeSet;

use super::wanted::Wanted;
use crate::imap::agenda::{Agenda, string_for};
use crate::imap::grammar::responses;
use crate::imap::task::Context;
use crate::proxy::BackendId;

/// Bytes of names that one server is asked for; what is beyond has no STATUS.
const NAMES_BYTES_MAX: usize = 1024 * 1024;

/// Commands that are not answered at a time.
const IN_FLIGHT_MAX: u32 = 16;

/// Our first tag, behind those of a [`super::fan::Fan`].
const FIRST_TAG: u32 = 1000;

/// What a server without LIST-STATUS is asked instead.
#[derive(Clone, Debug)]
pub(in crate::imap) struct Singly {
    /// LIST commands without their tags, line ends included.
    pub(super) lists: Vec<Vec<u8>>,
    /// The STATUS items with their parentheses; a command for each.
    pub(super) items: Vec<Vec<u8>>,
    /// The server is asked for more, which it does not tell.
    pub(super) wants_more: bool,
}

/// One server of that kind.
#[derive(Debug)]
pub(super) struct SinglyArm {
    pub(super) backend: BackendId,
    pub(super) server: Box<[u8]>,
    items: Vec<Vec<u8>>,
    /// LISTs without an answer.
    lists: u32,
    names: BTreeSet<Box<[u8]>>,
    names_bytes: usize,
    /// The numbers of the next command and of the oldest one without an answer.
    next: u32,
    oldest: u32,
    /// Something is left out.
    pub(super) is_short: bool,
    pub(super) is_done: bool,
}

impl SinglyArm {
    /// Asks which mailboxes there are.
    pub(super) fn new(
        singly: &Singly,
        backend: BackendId,
        server: Box<[u8]>,
        cx: &Context<'_>,
        agenda: &mut Agenda,
    ) -> SinglyArm {
        let mut arm = SinglyArm {
            backend,
            server,
            items: singly.items.clone(),
            lists: 0,
            names: BTreeSet::new(),
            names_bytes: 0,
            next: FIRST_TAG,
            oldest: FIRST_TAG,
            is_short: singly.wants_more,
            is_done: false,
        };
        for list in &singly.lists {
            arm.lists += 1;
            arm.send(list, cx, agenda);
        }
        arm
    }

    fn send(&mut self, command: &[u8], cx: &Context<'_>, agenda: &mut Agenda) {
        let mut line = Vec::with_capacity(command.len() + 8);
        cx.own_tag(self.next, &mut line);
        line.push(b' ');
        line.extend_from_slice(command);
        agenda.send(self.backend, line);
        self.next += 1;
    }

    /// A mailbox of the server.
    pub(super) fn note(&mut self, rest: &[u8], wanted: &Wanted) {
        let Ok(row) = responses::list(rest) else { return };
        let is_none = [&b"\\Noselect"[..], b"\\NonExistent"].iter().any(|attribute| row.has(attribute));
        if is_none || self.lists == 0 || !wanted.includes(&row.mailbox) {
            return;
        }
        if self.names_bytes + row.mailbox.len() > NAMES_BYTES_MAX {
            self.is_short = true;
        } else if self.names.insert(row.mailbox.as_ref().into()) {
            self.names_bytes += row.mailbox.len();
        }
    }

    /// Takes a tagged line, whatever it says; whether it answers a command of this arm.
    pub(super) fn handle_tagged(&mut self, tag: &[u8], cx: &Context<'_>, agenda: &mut Agenda) -> bool {
        let mut own = Vec::new();
        cx.own_tag(self.oldest, &mut own);
        if self.oldest == self.next || own != tag {
            return false;
        }
        self.oldest += 1;
        self.lists = self.lists.saturating_sub(1);
        while self.lists == 0
            && self.next - self.oldest < IN_FLIGHT_MAX
            && let Some(name) = self.names.pop_first()
        {
            for items in self.items.clone() {
                let mut command = b"STATUS ".to_vec();
                string_for(self.backend, &name, cx, &mut command);
                command.push(b' ');
                command.extend_from_slice(&items);
                command.extend_from_slice(b"\r\n");
                self.send(&command, cx, agenda);
            }
        }
        self.is_done = self.oldest == self.next;
        true
    }
}
