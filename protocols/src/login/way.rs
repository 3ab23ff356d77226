//! From a logged-in user to a logged-in connection at the server of his mailbox.
//!
//! "Here" in the list is where to ask first. When that server refuses the user or cannot be reached, the
//! list is asked again behind a barrier, and a new server once.
//!
//! ```text
//! Finding ──> (found) ──go──> Linking ──> at
//!  ^   └─reserved: a pause      │
//!  └──────────── refused, failed┘
//! ```

use super::backend::{Login, LoginAs};
use super::desk::{Around, Desk, Purpose};
use super::link::{Link, Look, Outcome};
use super::waiting::Waiting;
use crate::proxy::{Answer, BackendId, Entry, Finding, Freshness, Instant, Question};

/// The way to the server of one mailbox.
pub(crate) struct Way<L> {
    /// The mailbox's internal name.
    name: Box<[u8]>,
    /// The authorization identity at the server.
    user: Box<[u8]>,
    stage: Stage<L>,
    /// The server that was gone to last.
    server: Box<[u8]>,
    /// The server that was asked, and why it did not take him.
    tried: Option<(Box<[u8]>, Arrival)>,
    /// Which server of the list is tried for an entry that names none.
    next_server: usize,
    /// It is being moved.
    waiting: Waiting,
}

enum Stage<L> {
    Finding(Freshness),
    Linking(Box<Link<L>>),
    Over,
}

/// Why a way ends elsewhere.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Arrival {
    /// There is no such mailbox, proven.
    Absent,
    /// The list cannot tell.
    Unknown,
    /// It is being created or moved.
    Reserved,
    /// Its server cannot be reached.
    Unreachable,
    /// Its server refused the user, with this text.
    Refused(Box<[u8]>),
}

/// What a session does next.
pub(crate) enum News<R> {
    /// Nothing.
    Wait,
    /// The mailbox is in the list: look at it, then [`Way::go`].
    Found(Entry),
    /// A connection is logged in.
    At(BackendId, R),
    /// It ends here.
    Ended(Arrival),
}

impl<L: Login> Way<L> {
    /// To the server of a mailbox, by its internal name, to be there as `user`.
    pub(crate) fn to(name: Box<[u8]>, user: Box<[u8]>, desk: &mut Desk) -> Way<L> {
        let mut way = Way {
            name,
            user,
            stage: Stage::Over,
            server: Box::default(),
            tried: None,
            next_server: 0,
            waiting: Waiting::default(),
        };
        way.find(Freshness::BarrierIfAbsent, desk);
        way
    }

    fn find(&mut self, freshness: Freshness, desk: &mut Desk) {
        self.stage = Stage::Finding(freshness);
        desk.ask(Purpose::Way, Question::Find { name: self.name.clone(), freshness });
    }

    /// Takes the answer to a look-up.
    pub(crate) fn answered(&mut self, answer: Answer, around: &mut Around<'_>) -> News<L::Ready> {
        let (Stage::Finding(freshness), Answer::Found(finding)) = (&self.stage, answer) else {
            return News::Wait;
        };
        match finding {
            Finding::Active(entry) => self.found(entry),
            // The reservation may be over by the time the barrier is.
            Finding::Reserved { .. } if *freshness != Freshness::Barrier => {
                self.find(Freshness::Barrier, around.desk);
                News::Wait
            }
            Finding::Reserved { .. } => self.wait(around),
            Finding::Absent => self.end(Arrival::Absent),
            Finding::Unknown => {
                let arrival = self.tried.take().map_or(Arrival::Unknown, |(_, why)| why);
                self.end(arrival)
            }
        }
    }

    fn wait(&mut self, around: &mut Around<'_>) -> News<L::Ready> {
        let question = Question::Find { name: self.name.clone(), freshness: Freshness::Barrier };
        if !self.waiting.ask_later(question, around.common.moving, around.now) {
            return self.end(Arrival::Reserved);
        }
        // It may have been refused because of the move, which may be taken back.
        self.tried = None;
        News::Wait
    }

    fn found(&mut self, entry: Entry) -> News<L::Ready> {
        match &self.tried {
            Some((tried, why)) if entry.location.server().is_none_or(|server| *server == **tried) => {
                let why = why.clone();
                self.end(why)
            }
            Some(_) | None => News::Found(entry),
        }
    }

    fn end(&mut self, arrival: Arrival) -> News<L::Ready> {
        self.stage = Stage::Over;
        News::Ended(arrival)
    }

    /// Goes to the server of the mailbox that was found; an entry without one is at every server of
    /// `serverlist`.
    pub(crate) fn go(&mut self, entry: &Entry, around: &mut Around<'_>) -> News<L::Ready> {
        match entry.location.server() {
            Some(server) => {
                self.next_server = usize::MAX;
                self.link(server, around)
            }
            None => self.next_of_list(around),
        }
    }

    fn next_of_list(&mut self, around: &mut Around<'_>) -> News<L::Ready> {
        let next = around.common.serverlist.get(self.next_server);
        self.next_server = self.next_server.saturating_add(1);
        match next {
            Some(server) => self.link(server.as_bytes(), around),
            None => self.end(Arrival::Unreachable),
        }
    }

    fn link(&mut self, server: &[u8], around: &mut Around<'_>) -> News<L::Ready> {
        match Link::open(server, LoginAs::Proxy { user: self.user.clone() }, around) {
            Ok(link) => {
                self.server = server.into();
                self.stage = Stage::Linking(Box::new(link));
                News::Wait
            }
            Err(_) => self.end(Arrival::Unreachable),
        }
    }

    /// Whether this connection is on its way.
    pub(crate) fn is_at(&self, id: BackendId) -> bool {
        matches!(&self.stage, Stage::Linking(link) if link.id() == id)
    }

    /// The server that was gone to last.
    pub(crate) fn server(&self) -> &[u8] {
        &self.server
    }

    /// The connection that is on its way.
    pub(crate) fn link_of(&mut self, id: BackendId) -> Option<&mut Link<L>> {
        match &mut self.stage {
            Stage::Linking(link) if link.id() == id => Some(link),
            Stage::Linking(_) | Stage::Finding(_) | Stage::Over => None,
        }
    }

    /// Looks at what the server says.
    pub(crate) fn look(&mut self, input: &[u8], around: &mut Around<'_>) -> (Look, News<L::Ready>) {
        let Stage::Linking(link) = &mut self.stage else { return (Look::Hold, News::Wait) };
        let (look, outcome) = link.look(input, around);
        (look, self.linked(outcome, around))
    }

    /// What became of the connection.
    pub(crate) fn linked(&mut self, outcome: Outcome<L::Ready>, around: &mut Around<'_>) -> News<L::Ready> {
        let Stage::Linking(link) = &self.stage else { return News::Wait };
        let (id, server) = (link.id(), Box::from(link.server()));
        let why = match outcome {
            Outcome::Wait => return News::Wait,
            Outcome::Ready(ready) => {
                self.stage = Stage::Over;
                return News::At(id, ready);
            }
            Outcome::Refused(text) => Arrival::Refused(text),
            Outcome::Failed => Arrival::Unreachable,
        };
        if self.next_server != usize::MAX && why == Arrival::Unreachable {
            return self.next_of_list(around);
        }
        if self.tried.is_some() || self.next_server != usize::MAX {
            return self.end(why);
        }
        self.tried = Some((server, why));
        self.find(Freshness::Barrier, around.desk);
        News::Wait
    }

    /// Whether the mailbox is being moved, and waited for.
    pub(crate) fn waits_for_move(&self) -> bool {
        self.waiting.is_on()
    }

    /// When the connection is given up, or the list asked again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Linking(link) => Some(link.deadline()),
            Stage::Finding(_) => self.waiting.due(),
            Stage::Over => None,
        }
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, around: &mut Around<'_>) -> News<L::Ready> {
        match &mut self.stage {
            Stage::Linking(link) if link.deadline() <= around.now => {
                let outcome = link.ended("no login in time", around.desk);
                self.linked(outcome, around)
            }
            Stage::Finding(_) => {
                if let Some(question) = self.waiting.take_due(around.now) {
                    around.desk.ask(Purpose::Way, question);
                }
                News::Wait
            }
            Stage::Linking(_) | Stage::Over => News::Wait,
        }
    }

    /// The session ends.
    pub(crate) fn abandon(&mut self, desk: &mut Desk) {
        if let Stage::Linking(link) = &mut self.stage {
            link.abandon(desk);
        }
        self.stage = Stage::Over;
        desk.forget(Purpose::Way);
    }
}
