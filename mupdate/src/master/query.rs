//! FIND, LIST, NOOP and the commands that change the list.

use protocols::proxy::{
    DirectoryQuestion, Entry, Finding, Freshness, Instant, ListPage, ListQuery, ListedEntry, Location,
    MasterRequest, Question, QuestionId, Reserved,
};

use crate::grammar::{Verb, message_out};

use super::{Commit, Connection, Role, UNSENT_BYTES_MAX, watch};

/// A command that waits for an answer.
pub(super) enum Query {
    Find {
        tag: Vec<u8>,
        name: Vec<u8>,
    },
    List {
        tag: Vec<u8>,
        prefix: Vec<u8>,
        /// Asked behind this name; `None` when a page is on its way.
        next: Option<Box<[u8]>>,
    },
    /// The dump of a stream.
    Dump {
        /// As in `List`.
        next: Option<Box<[u8]>>,
    },
    /// A NOOP while streaming: the stream answers it.
    StreamNoop,
    /// Whether a stream may go on.
    Resume {
        tag: Vec<u8>,
        /// Behind this number.
        since: u64,
    },
}

/// The commands that change the list.
#[derive(Clone, Copy)]
pub(super) enum Write {
    Activate,
    Deactivate,
    Delete,
    Reserve,
}

impl Write {
    pub(super) fn of(verb: Verb) -> Option<Write> {
        match verb {
            Verb::Activate => Some(Write::Activate),
            Verb::Deactivate => Some(Write::Deactivate),
            Verb::Delete => Some(Write::Delete),
            Verb::Reserve => Some(Write::Reserve),
            Verb::Authenticate
            | Verb::Compress
            | Verb::Find
            | Verb::List
            | Verb::Logout
            | Verb::Noop
            | Verb::Resume
            | Verb::Starttls
            | Verb::Update
            | Verb::Unknown => None,
        }
    }
}

impl Write {
    fn verb(self) -> Verb {
        match self {
            Write::Activate => Verb::Activate,
            Write::Deactivate => Verb::Deactivate,
            Write::Delete => Verb::Delete,
            Write::Reserve => Verb::Reserve,
        }
    }
}

impl Connection {
    pub(super) fn find(&mut self, tag: &[u8], name: &[u8]) {
        self.ask(Question::Find { name: name.into(), freshness: Freshness::Snapshot });
        self.query = Some(Query::Find { tag: tag.to_vec(), name: name.to_vec() });
    }

    pub(super) fn found(&mut self, finding: Finding) {
        let Some(Query::Find { tag, name }) = self.query.take() else { return };
        match finding {
            Finding::Active(entry) => {
                message_out(&mut self.unsent, &tag, "MAILBOX", &[&entry.name, &entry.location.0, &entry.acl]);
            }
            Finding::Reserved { location } => {
                message_out(&mut self.unsent, &tag, "RESERVE", &[&name, &location.0]);
            }
            Finding::Absent => {}
            Finding::Unknown => return self.say(&tag, "NO", "mailbox list is not complete"),
        }
        self.say(&tag, "OK", "Search completed");
    }

    pub(super) fn list(&mut self, tag: &[u8], prefix: &[u8]) {
        if let Some(server) = server_of(prefix) {
            self.listed = Some(server.into());
        }
        let next = Some(Box::default());
        self.query = Some(Query::List { tag: tag.to_vec(), prefix: prefix.to_vec(), next });
        self.pump_query();
    }

    /// Asks for the next page when there is room for it.
    pub(super) fn pump_query(&mut self) {
        if self.unsent.len() >= UNSENT_BYTES_MAX || self.taken_by.is_some() {
            return;
        }
        let next = match &mut self.query {
            Some(Query::List { next, .. } | Query::Dump { next }) => next.take(),
            Some(Query::Find { .. } | Query::StreamNoop | Query::Resume { .. }) | None => None,
        };
        if let Some(after) = next {
            let prefix = Box::default();
            let query = ListQuery { after, prefix, visible_to: None, reserved: Reserved::Shown };
            self.ask(Question::List(query));
        }
    }

    pub(super) fn page(&mut self, page: &ListPage, now: Instant) {
        match self.query.take() {
            Some(Query::List { tag, prefix, .. }) => {
                for listed in &page.entries {
                    if is_prefix(&prefix, &listed.entry.location) {
                        self.listed(&tag, listed);
                    }
                }
                match &page.next {
                    Some(next) => self.query = Some(Query::List { tag, prefix, next: Some(next.clone()) }),
                    None => {
                        self.say(&tag, "OK", "list complete");
                        self.tell_listed(&prefix, now);
                    }
                }
            }
            Some(Query::Dump { .. }) => self.dump_page(page),
            other => self.query = other,
        }
    }

    /// Tells the master's directory that a server knows its part of the list.
    fn tell_listed(&mut self, prefix: &[u8], now: Instant) {
        if server_of(prefix).is_some() && !self.is_slave() {
            let requester = self.requester(now);
            self.ask(Question::Directory(DirectoryQuestion::Listed { requester }));
        }
    }

    /// Writes an entry of a list.
    pub(super) fn listed(&mut self, tag: &[u8], listed: &ListedEntry) {
        let Entry { name, location, acl } = &listed.entry;
        if listed.reserved {
            message_out(&mut self.unsent, tag, "RESERVE", &[name, &location.0]);
        } else {
            message_out(&mut self.unsent, tag, "MAILBOX", &[name, &location.0, acl]);
        }
    }

    pub(super) fn noop(&mut self, tag: &[u8]) {
        if self.stream.is_some() {
            return self.stream_noop(tag);
        }
        self.say(tag, "OK", "Noop done");
    }

    /// Asks for a change. The number of arguments was checked.
    pub(super) fn commit(&mut self, tag: &[u8], write: Write, arguments: &[&[u8]], now: Instant) {
        let name: Box<[u8]> = arguments[0].into();
        let location = || Location(arguments[1].into());
        let request = match write {
            Write::Activate => {
                MasterRequest::Activate(Entry { name, location: location(), acl: arguments[2].into() })
            }
            Write::Reserve => MasterRequest::Reserve { name, location: location() },
            Write::Deactivate => MasterRequest::Deactivate { name, location: location() },
            Write::Delete => MasterRequest::Delete { name },
        };
        let requester = self.requester(now);
        let question = self.ask(Question::Directory(DirectoryQuestion::Commit { request, requester }));
        let (tag, verb, began) = (tag.to_vec(), watch::name(write.verb()), now.stamp());
        self.commits.push_back(Commit { tag, verb, began, question: Some(question), answer: None });
    }

    /// An answer to a change: said when all before it are.
    pub(super) fn committed(&mut self, id: QuestionId, result: Result<(), &'static str>, now: Instant) {
        if let Some(commit) = self.commits.iter_mut().find(|commit| commit.question == Some(id)) {
            commit.answer = Some(result);
        }
        while let Some(commit) = self.commits.pop_front_if(|commit| commit.answer.is_some()) {
            if commit.question.is_some() {
                self.commit_took(commit.verb, commit.began, now);
            }
            match commit.answer {
                Some(Ok(())) | None => self.say(&commit.tag, "OK", "done"),
                Some(Err(text)) if commit.question.is_none() => self.say(&commit.tag, "BAD", text),
                Some(Err(text)) => self.say(&commit.tag, "NO", text),
            }
        }
    }

    pub(super) fn is_slave(&self) -> bool {
        matches!(self.config.role, Role::Slave { .. })
    }
}

/// The server of a prefix `server!`, as a backend lists what is its own.
fn server_of(prefix: &[u8]) -> Option<&[u8]> {
    let server = prefix.strip_suffix(b"!")?;
    (!server.is_empty() && !server.contains(&b'!')).then_some(server)
}

/// Whether a LIST with this prefix has the location: a server in any case of letters, so that a
/// backend does not miss mailboxes of its own.
fn is_prefix(prefix: &[u8], location: &Location) -> bool {
    match server_of(prefix) {
        Some(server) => location.is_at(server),
        None => location.0.starts_with(prefix),
    }
}
