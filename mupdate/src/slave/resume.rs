//! Going on where the list stands, with a master that offers RESUME (see [`crate::grammar`]).

use protocols::proxy::{BackendId, DirectoryQuestion, Instant, Position, Side};

use crate::grammar::message_out;

use super::{Phase, Slave};

impl Slave {
    /// The login is done: goes on where the list stands if the master can, else asks for all of it.
    pub(super) fn logged_in(&mut self, backend: BackendId, epoch: Option<Box<str>>, now: Instant) {
        self.epoch = epoch;
        if self.epoch.is_none() {
            return self.update(backend, now);
        }
        let question = self.tell_directory(DirectoryQuestion::Position);
        self.phase = Phase::Recalling { backend, question };
        self.deadline = now + self.config.dump_timeout;
    }

    /// Without a position RESUME is sent too: who has sent it is told positions.
    pub(super) fn resume(&mut self, backend: BackendId, position: Option<Position>, now: Instant) {
        let (epoch, sequence) = match &position {
            Some(position) => (&*position.epoch, position.sequence),
            None => ("", 0),
        };
        let sequence = sequence.to_string();
        let strings = [epoch.as_bytes(), sequence.as_bytes()];
        self.outbox.author(Side::Backend(backend), |out| message_out(out, b"R01", "RESUME", &strings));
        self.asked = now.stamp();
        self.phase = Phase::Resuming { backend, has_position: position.is_some() };
        self.deadline = now + self.config.dump_timeout;
    }

    /// The master has told all that changed, or cannot.
    pub(super) fn resume_answered(&mut self, backend: BackendId, resumes: bool, now: Instant) {
        self.flush();
        if resumes {
            self.tell_directory(DirectoryQuestion::Resumed);
            self.stream(backend, now);
        } else {
            self.update(backend, now);
        }
    }

    /// All that was told so far is what the master had at this number.
    pub(super) fn position(&mut self, sequence: &[u8]) {
        let number = std::str::from_utf8(sequence).ok().and_then(|text| text.parse().ok());
        let is_told = matches!(self.phase, Phase::Resuming { .. } | Phase::Streaming { .. });
        if let (true, Some(epoch), Some(sequence)) = (is_told, self.epoch.clone(), number) {
            self.flush();
            self.tell_directory(DirectoryQuestion::Reached(Position { epoch, sequence }));
        }
    }
}
