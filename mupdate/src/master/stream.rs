//! UPDATE: the dump, and the stream of changes behind it.
//!
//! ```text
//!   Sequence ──> pages of the list ──> OK "streaming starts" ──> Changes, again at every ListChanged
//! ```
//!
//! The pages are of whatever list is current, so the dump may hold changes that were made while it
//! was written. All changes since its beginning are told behind it, in order, each with all that it
//! says: so the slave ends with the list as it is. A NOOP is answered behind everything that was
//! committed when it came.

use protocols::proxy::{Change, ChangePage, DirectoryQuestion, ListPage, Location, Question, Unavailable};

use crate::grammar::message_out;

use super::query::Query;
use super::{Connection, UNSENT_BYTES_MAX};

/// A stream of changes.
pub(super) struct Stream {
    pub(super) tag: Vec<u8>,
    /// PARTIAL-UPDATE: only entries at these servers; all when empty.
    hosts: Vec<Box<[u8]>>,
    /// The last change that was told.
    since: Option<u64>,
    state: State,
    /// The list changed since changes were last asked for.
    is_behind: bool,
    /// A NOOP that waits until all is told.
    noop: Option<Noop>,
}

/// A NOOP that waits; a RESUME waits for the same.
struct Noop {
    tag: Vec<u8>,
    awaits: Awaits,
    text: &'static str,
}

/// What a NOOP waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaits {
    /// A slave has to be in step with its own master first.
    Barrier,
    /// Changes have to be asked for: an answer on its way may be older than the NOOP.
    Question,
    /// The answer, up to the last page of it.
    Changes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The sequence number is asked for.
    ExpectSequence,
    Dumping,
    /// All that was asked for is told.
    Idle,
    /// Changes are asked for.
    ExpectChanges,
    /// A NOOP on a slave: first the barrier with its own master.
    ExpectBarrier,
}

impl Connection {
    pub(super) fn update(&mut self, tag: &[u8], hosts: &[&[u8]]) {
        if hosts.iter().any(|host| host.is_empty()) {
            return self.say(tag, "BAD", "Badly formed arguments");
        }
        self.ask(Question::Directory(DirectoryQuestion::Sequence));
        self.stream = Some(Stream {
            tag: tag.to_vec(),
            hosts: hosts.iter().map(|host| (*host).into()).collect(),
            since: None,
            state: State::ExpectSequence,
            is_behind: false,
            noop: None,
        });
        self.query = Some(Query::Dump { next: None });
    }

    /// A stream that goes on behind a number: its OK follows all that has changed since.
    pub(super) fn stream_from(&mut self, tag: Vec<u8>, since: u64) {
        self.stream = Some(Stream {
            tag: tag.clone(),
            hosts: Vec::new(),
            since: Some(since),
            state: State::Idle,
            is_behind: true,
            noop: None,
        });
        self.stream_barrier(&tag, "streaming resumes");
    }

    pub(super) fn sequence(&mut self, sequence: u64) {
        let Some(stream) = &mut self.stream else { return };
        if stream.state == State::ExpectSequence {
            stream.since = Some(sequence);
            stream.state = State::Dumping;
            self.query = Some(Query::Dump { next: Some(Box::default()) });
        }
    }

    pub(super) fn dump_page(&mut self, page: &ListPage) {
        let Some(stream) = self.stream.take() else { return };
        for listed in &page.entries {
            if stream.wants(&listed.entry.location) {
                self.listed(&stream.tag, listed);
            }
        }
        self.query = page.next.clone().map(|next| Query::Dump { next: Some(next) });
        let is_last = self.query.is_none();
        if is_last {
            self.say(&stream.tag, "OK", "streaming starts");
            self.tell_position(&stream);
        }
        let state = if is_last { State::Idle } else { stream.state };
        // What was committed while the dump was written is told at once.
        self.stream = Some(Stream { state, is_behind: true, ..stream });
    }

    pub(super) fn list_changed(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.is_behind = true;
        }
    }

    /// Asks for changes when there are some and room for them, for the barrier of a NOOP first.
    pub(super) fn pump_stream(&mut self) {
        let has_room = self.unsent.len() < UNSENT_BYTES_MAX && self.taken_by.is_none();
        let Some(stream) = &mut self.stream else { return };
        let (State::Idle, Some(since)) = (stream.state, stream.since) else { return };
        if stream.noop.as_ref().is_some_and(|noop| noop.awaits == Awaits::Barrier) {
            stream.state = State::ExpectBarrier;
            self.ask(Question::Barrier);
        } else if stream.is_behind && has_room {
            stream.is_behind = false;
            stream.state = State::ExpectChanges;
            if let Some(noop) = &mut stream.noop {
                noop.awaits = Awaits::Changes;
            }
            self.ask(Question::Directory(DirectoryQuestion::Changes { since }));
        }
    }

    pub(super) fn changes(&mut self, page: Result<ChangePage, Unavailable>) {
        let Some(mut stream) = self.stream.take() else { return };
        let Ok(page) = page else {
            // A slave that is cut off connects again and gets the whole list.
            return self.bye("too many changes to tell them one by one: connect again");
        };
        for change in &page.changes {
            self.push_change(&stream, change);
        }
        stream.since = Some(page.upto);
        if !page.changes.is_empty() {
            self.tell_position(&stream);
        }
        stream.state = State::Idle;
        stream.is_behind |= !page.complete;
        if page.complete
            && let Some(noop) = stream.noop.take_if(|noop| noop.awaits == Awaits::Changes)
        {
            self.say(&noop.tag, "OK", noop.text);
            self.query = None;
        }
        self.stream = Some(stream);
    }

    fn tell_position(&mut self, stream: &Stream) {
        if let (true, Some(since)) = (self.tells_positions, stream.since) {
            self.say(&stream.tag, "POSITION", &since.to_string());
        }
    }

    /// Tells one change.
    ///
    /// Deviates from Cyrus, which tells a filtered stream of a move to another server as MAILBOX
    /// with the foreign location: here it is a DELETE, for that is what it is in the part asked for.
    fn push_change(&mut self, stream: &Stream, change: &Change) {
        let tag = &stream.tag;
        match change {
            Change::Active(entry) if stream.wants(&entry.location) => {
                message_out(&mut self.unsent, tag, "MAILBOX", &[&entry.name, &entry.location.0, &entry.acl]);
            }
            Change::Reserved { name, location } if stream.wants(location) => {
                message_out(&mut self.unsent, tag, "RESERVE", &[name, &location.0]);
            }
            Change::Active(_) | Change::Reserved { .. } | Change::Deleted { .. } => {
                message_out(&mut self.unsent, tag, "DELETE", &[change.name()]);
            }
        }
    }

    /// A NOOP while streaming: everything committed before it is told before its OK.
    pub(super) fn stream_noop(&mut self, tag: &[u8]) {
        self.stream_barrier(tag, "Noop done");
    }

    fn stream_barrier(&mut self, tag: &[u8], text: &'static str) {
        let awaits = if self.is_slave() { Awaits::Barrier } else { Awaits::Question };
        let Some(stream) = &mut self.stream else { return };
        stream.noop = Some(Noop { tag: tag.to_vec(), awaits, text });
        stream.is_behind = true;
        self.query = Some(Query::StreamNoop);
        self.pump_stream();
    }

    pub(super) fn barrier(&mut self, result: Result<(), Unavailable>) {
        let Some(stream) = &mut self.stream else { return };
        if stream.state != State::ExpectBarrier {
            return;
        }
        stream.state = State::Idle;
        stream.is_behind = true;
        if result.is_ok() {
            if let Some(noop) = &mut stream.noop {
                noop.awaits = Awaits::Question;
            }
        } else if let Some(noop) = stream.noop.take() {
            self.query = None;
            // A RESUME that fails leaves no stream.
            if noop.tag == stream.tag {
                self.stream = None;
            }
            self.say(&noop.tag, "NO", "not in step with the master");
        }
    }
}

impl Stream {
    fn wants(&self, location: &Location) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|host| location.is_at(host))
    }
}
