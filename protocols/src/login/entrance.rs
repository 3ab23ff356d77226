//! The way of a client into his server, for protocols with one connection behind each session: a guest, and
//! the way to the server once he is known.

use super::backend::Login;
use super::desk::{Around, Desk, Purpose};
use super::guest::{Accepted, Guest, Outcome};
use super::link::{self, Look};
use super::way::{Arrival, News, Way};
use crate::proxy::{Answer, BackendId, Close, Entry, Instant, QuestionId, Side, TlsInfo};

/// Guest and way.
pub(crate) struct Entrance<L: Login> {
    pub(crate) guest: Guest<L>,
    way: Option<Box<Way<L>>>,
}

/// What a session does next.
pub(crate) enum Step<R> {
    /// Nothing.
    Wait,
    /// Tell the client this; he answers.
    Challenge(Vec<u8>),
    /// The last word of the mechanism.
    LastWord(Vec<u8>),
    /// He is who he says: [`Entrance::set_out`].
    Accepted(Box<Accepted>),
    /// He is, and logged in at his server with his own words.
    Home(Box<Accepted>, BackendId, R),
    /// He is not.
    Refused,
    /// Nobody can say at the moment.
    Unavailable,
    /// His mailbox is in the list: [`Entrance::go`].
    Found(Entry),
    /// He is logged in at its server.
    At(BackendId, R),
    /// The way ends here.
    Ended(Arrival),
}

impl<R> From<Outcome<R>> for Step<R> {
    fn from(outcome: Outcome<R>) -> Step<R> {
        match outcome {
            Outcome::Wait => Step::Wait,
            Outcome::Challenge(message) => Step::Challenge(message),
            Outcome::LastWord(message) => Step::LastWord(message),
            Outcome::Accepted(accepted) => Step::Accepted(accepted),
            Outcome::Home(accepted, id, ready) => Step::Home(accepted, id, ready),
            Outcome::Refused => Step::Refused,
            Outcome::Unavailable => Step::Unavailable,
        }
    }
}

impl<R> From<News<R>> for Step<R> {
    fn from(news: News<R>) -> Step<R> {
        match news {
            News::Wait => Step::Wait,
            News::Found(entry) => Step::Found(entry),
            News::At(id, ready) => Step::At(id, ready),
            News::Ended(arrival) => Step::Ended(arrival),
        }
    }
}

impl<L: Login> Entrance<L> {
    pub(crate) fn new(guest: Guest<L>) -> Entrance<L> {
        Entrance { guest, way: None }
    }

    /// Sets out for the server of a mailbox, to be there as `user`.
    pub(crate) fn set_out(&mut self, mailbox: Box<[u8]>, user: Box<[u8]>, desk: &mut Desk) {
        self.way = Some(Box::new(Way::to(mailbox, user, desk)));
    }

    /// Goes to where the mailbox was found.
    pub(crate) fn go(&mut self, entry: &Entry, around: &mut Around<'_>) -> Step<L::Ready> {
        self.way.as_mut().map_or(Step::Wait, |way| way.go(entry, around).into())
    }

    /// Whether the client waits until a server has him.
    pub(crate) fn is_underway(&self) -> bool {
        self.way.is_some()
    }

    /// Whether he waits for a mailbox that is being moved: for long, and nothing of his is at any server.
    pub(crate) fn waits_for_move(&self) -> bool {
        self.guest.waits_for_move() || self.way.as_ref().is_some_and(|way| way.waits_for_move())
    }

    /// The server that was gone to last.
    pub(crate) fn server(&self) -> &[u8] {
        self.way.as_ref().map_or(&[], |way| way.server())
    }

    /// He has arrived, or gives up.
    pub(crate) fn leave_way(&mut self, desk: &mut Desk) {
        if let Some(mut way) = self.way.take() {
            way.abandon(desk);
        }
    }

    /// The session ends.
    pub(crate) fn abandon(&mut self, desk: &mut Desk) {
        self.guest.abandon(desk);
        self.leave_way(desk);
    }

    /// Takes an answer; gives it back when it answers the session itself.
    pub(crate) fn answered(
        &mut self,
        id: QuestionId,
        answer: Answer,
        around: &mut Around<'_>,
    ) -> Result<Step<L::Ready>, Answer> {
        Ok(match around.desk.answers(id) {
            Some(Purpose::Guest) => self.guest.answered(answer, around).into(),
            Some(Purpose::Way) => match &mut self.way {
                Some(way) => way.answered(answer, around).into(),
                None => Step::Wait,
            },
            Some(Purpose::Backend(id)) => self.backend_answered(id, answer, around),
            Some(Purpose::Session(_)) => return Err(answer),
            None => Step::Wait,
        })
    }

    fn backend_answered(&mut self, id: BackendId, answer: Answer, around: &mut Around<'_>) -> Step<L::Ready> {
        if let Some(check) = self.guest.check(id) {
            let checked = check.answered(answer, around);
            self.guest.tried(checked, around).into()
        } else if let Some(way) = &mut self.way
            && let Some(link) = way.link_of(id)
        {
            let outcome = link.answered(answer, around);
            way.linked(outcome, around).into()
        } else {
            if matches!(answer, Answer::Opened(Ok(_))) {
                link::close_late(id, around.desk);
            }
            Step::Wait
        }
    }

    /// Looks at what a connection of a login says.
    pub(crate) fn look(
        &mut self,
        id: BackendId,
        input: &[u8],
        around: &mut Around<'_>,
    ) -> (Look, Step<L::Ready>) {
        if let Some(check) = self.guest.check(id) {
            let (look, checked) = check.look(input, around);
            return (look, self.guest.tried(checked, around).into());
        }
        if self.guest.is_home(id) {
            return (Look::Hold, Step::Wait);
        }
        match &mut self.way {
            Some(way) if way.is_at(id) => {
                let (look, news) = way.look(input, around);
                (look, news.into())
            }
            // It was given up.
            Some(_) | None => (Look::Took(input.len()), Step::Wait),
        }
    }

    /// TLS of a connection is on, or is not.
    pub(crate) fn backend_secured(
        &mut self,
        id: BackendId,
        result: Result<TlsInfo, Box<str>>,
        around: &mut Around<'_>,
    ) -> Step<L::Ready> {
        if let Some(check) = self.guest.check(id) {
            let checked = check.secured(result, around);
            self.guest.tried(checked, around).into()
        } else if let Some(way) = &mut self.way
            && let Some(link) = way.link_of(id)
        {
            let outcome = link.secured(result, around);
            way.linked(outcome, around).into()
        } else {
            Step::Wait
        }
    }

    /// A connection of a login ended.
    pub(crate) fn backend_gone(&mut self, id: BackendId, around: &mut Around<'_>) -> Step<L::Ready> {
        const WHY: &str = "connection lost during login";
        if let Some(check) = self.guest.check(id) {
            let checked = check.ended(WHY, around);
            self.guest.tried(checked, around).into()
        } else if let Some(way) = &mut self.way
            && let Some(link) = way.link_of(id)
        {
            let outcome = link.ended(WHY, around.desk);
            way.linked(outcome, around).into()
        } else {
            if self.guest.is_home(id) {
                self.guest.lose_home();
            }
            around.desk.outbox.close(Side::Backend(id), Close::Abort);
            Step::Wait
        }
    }

    /// The next moment at which [`Entrance::handle_timeout`] is wanted.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let way = self.way.as_ref().and_then(|way| way.deadline());
        self.guest.deadline().into_iter().chain(way).min()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, around: &mut Around<'_>) -> Step<L::Ready> {
        match &mut self.way {
            Some(way) => way.handle_timeout(around).into(),
            None => self.guest.handle_timeout(around).into(),
        }
    }
}
