//! RENAMEs of a simulated backend, one at a time: who asks waits until the master has heard of it.

use super::peer::{AWAY, Tells};
use super::{Backend, Rename};

impl Backend {
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
        peer.tell(&mut self.boxes, Tells::Everything);
        peer.say(&format!("{tag} {result}"));
        self.peers.push(peer);
    }
}
