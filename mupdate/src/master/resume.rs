//! RESUME: a stream that goes on where another broke (see [`crate::grammar`]).

use protocols::proxy::{DirectoryQuestion, Position, Question};

use super::Connection;
use super::query::Query;

/// Octets of the name of an epoch.
const EPOCH_BYTES_MAX: usize = 64;

/// The NO.
const NOT_RESUMABLE: &str = "cannot go on from there: ask for the list";

impl Connection {
    pub(super) fn resume(&mut self, tag: &[u8], epoch: &[u8], sequence: &[u8]) {
        let number = std::str::from_utf8(sequence).ok().and_then(|text| text.parse().ok());
        let epoch = std::str::from_utf8(epoch).ok().filter(|epoch| epoch.len() <= EPOCH_BYTES_MAX);
        let (Some(epoch), Some(since)) = (epoch, number) else {
            return self.say(tag, "BAD", "Badly formed arguments");
        };
        self.tells_positions = true;
        if epoch.is_empty() {
            return self.say(tag, "NO", NOT_RESUMABLE);
        }
        let position = Position { epoch: epoch.into(), sequence: since };
        self.ask(Question::Directory(DirectoryQuestion::Resume(position)));
        self.query = Some(Query::Resume { tag: tag.to_vec(), since });
    }

    pub(super) fn resumable(&mut self, resumable: bool) {
        let Some(Query::Resume { tag, since }) = self.query.take() else { return };
        if resumable {
            self.stream_from(tag, since);
        } else {
            self.say(&tag, "NO", NOT_RESUMABLE);
        }
    }
}
