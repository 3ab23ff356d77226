//! Going on with a stream that broke, at both ends of it.

use protocols::proxy::{Knowledge, Level, Position};

use super::Directory;
use super::dump::Dump;

impl Directory {
    /// Slave: what was learnt leads to this place in the history of the source.
    pub(super) fn reached(&mut self, position: Position) {
        match &mut self.dump {
            Dump::None => {
                self.backlog.moved |= self.source.as_ref() != Some(&position);
                self.source = Some(position);
            }
            // It is the dump that stands there, not the list that is kept in its place.
            Dump::Held { position: reached, .. } => *reached = Some(position),
            Dump::Building(_) | Dump::Sorting { .. } | Dump::Comparing { .. } | Dump::Adopting { .. } => {}
        }
    }

    /// Slave: the list stands nowhere in the history of the source until a dump is complete.
    pub(super) fn lose_position(&mut self) {
        self.backlog.moved |= self.source.take().is_some();
    }

    /// Slave: the source has told all that happened since the position.
    pub(super) fn resumed(&mut self) {
        if self.knowledge != Knowledge::Stale || self.source.is_none() {
            return;
        }
        let mailboxes = self.editor.len();
        self.say(Level::Info, format!("in step with the mupdate master again: {mailboxes} mailboxes"));
        self.know(Knowledge::Live);
    }

    /// Master: whether the log has all that happened since a position of this list's history.
    pub(super) fn is_resumable(&self, position: &Position) -> bool {
        let newest = self.published.load().sequence;
        self.history.has(position, newest) && self.log.reaches(position.sequence)
    }
}
