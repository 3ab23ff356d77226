//! A connection on which a user's password is checked with his own words: at his home by IMAP, or at the very
//! server that is to have him, where its protocol can tell a wrong password from other refusals.

use super::backend::{Login, LoginAs};
use super::desk::{Around, Desk};
use super::link::{Link, Look, Outcome};
use crate::imap;
use crate::proxy::{Answer, BackendId, Close, Instant, Side, TlsInfo, Unavailable};

/// The last command on a connection by IMAP.
const LOGOUT: &[u8] = b"RKQ LOGOUT\r\n";

/// The connection.
pub(crate) enum Check<L> {
    /// Closed as soon as it has answered.
    Imap(Box<Link<imap::login::Login>>),
    /// It may serve the session.
    Own(Box<Link<L>>),
}

/// What became of it.
pub(crate) enum Checked<R> {
    /// Nothing yet.
    Wait,
    /// The password was right. A connection that may serve the session is logged in.
    Right(Option<(BackendId, R)>),
    /// It was wrong.
    Wrong,
    /// The server has not said which; by IMAP it may.
    Unclear,
    /// Nobody could say.
    Failed,
}

/// Does the same to either connection and says what became of it.
macro_rules! either {
    ($check:expr, $link:ident => $outcome:expr, $around:expr) => {
        match $check {
            Check::Imap($link) => {
                let outcome = $outcome;
                by_imap($link.id(), outcome, $around.desk)
            }
            Check::Own($link) => {
                let outcome = $outcome;
                by_own::<L>($link.id(), outcome)
            }
        }
    };
}

impl<L: Login> Check<L> {
    /// Asks by IMAP.
    ///
    /// # Errors
    /// As [`Link::open`].
    pub(crate) fn by_imap(
        server: &[u8],
        who: LoginAs,
        around: &mut Around<'_>,
    ) -> Result<Check<L>, Unavailable> {
        Ok(Check::Imap(Box::new(Link::open(server, who, around)?)))
    }

    /// Asks the server that is to have him.
    ///
    /// # Errors
    /// As [`Link::open`].
    pub(crate) fn by_own(
        server: &[u8],
        who: LoginAs,
        around: &mut Around<'_>,
    ) -> Result<Check<L>, Unavailable> {
        Ok(Check::Own(Box::new(Link::open(server, who, around)?)))
    }

    pub(crate) fn id(&self) -> BackendId {
        match self {
            Check::Imap(link) => link.id(),
            Check::Own(link) => link.id(),
        }
    }

    /// The server as in the list.
    pub(crate) fn server(&self) -> &[u8] {
        match self {
            Check::Imap(link) => link.server(),
            Check::Own(link) => link.server(),
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        match self {
            Check::Imap(link) => link.deadline(),
            Check::Own(link) => link.deadline(),
        }
    }

    pub(crate) fn answered(&mut self, answer: Answer, around: &mut Around<'_>) -> Checked<L::Ready> {
        either!(self, link => link.answered(answer, around), around)
    }

    pub(crate) fn secured(
        &mut self,
        result: Result<TlsInfo, Box<str>>,
        around: &mut Around<'_>,
    ) -> Checked<L::Ready> {
        either!(self, link => link.secured(result, around), around)
    }

    pub(crate) fn look(&mut self, input: &[u8], around: &mut Around<'_>) -> (Look, Checked<L::Ready>) {
        let look;
        let checked = either!(self, link => {
            let (looked, outcome) = link.look(input, around);
            look = looked;
            outcome
        }, around);
        (look, checked)
    }

    /// The connection ended.
    pub(crate) fn ended(&mut self, why: &str, around: &mut Around<'_>) -> Checked<L::Ready> {
        either!(self, link => link.ended(why, around.desk), around)
    }

    /// Its time is over: there is none left for another.
    pub(crate) fn is_late(&mut self, around: &mut Around<'_>) -> Checked<L::Ready> {
        match self.ended("no login in time", around) {
            Checked::Unclear => Checked::Failed,
            checked @ (Checked::Wait | Checked::Right(_) | Checked::Wrong | Checked::Failed) => checked,
        }
    }

    pub(crate) fn abandon(&mut self, desk: &mut Desk) {
        match self {
            Check::Imap(link) => link.abandon(desk),
            Check::Own(link) => link.abandon(desk),
        }
    }
}

fn by_imap<R>(id: BackendId, outcome: Outcome<imap::login::Ready>, desk: &mut Desk) -> Checked<R> {
    match outcome {
        Outcome::Wait => Checked::Wait,
        Outcome::Ready(_) => {
            desk.outbox.write(Side::Backend(id), &[LOGOUT]);
            desk.outbox.close(Side::Backend(id), Close::Flush);
            Checked::Right(None)
        }
        Outcome::Refused(_) => Checked::Wrong,
        Outcome::Failed => Checked::Failed,
    }
}

fn by_own<L: Login>(id: BackendId, outcome: Outcome<L::Ready>) -> Checked<L::Ready> {
    match outcome {
        Outcome::Wait => Checked::Wait,
        Outcome::Ready(ready) => Checked::Right(Some((id, ready))),
        Outcome::Refused(text) if L::blames_password(&text) => Checked::Wrong,
        Outcome::Refused(_) | Outcome::Failed => Checked::Unclear,
    }
}
