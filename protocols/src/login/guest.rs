//! A client that has not logged in, as far as it is the same in POP3, ManageSieve and LMTP.
//!
//! ```text
//!        STARTTLS ──> Securing ──> Idle
//! Idle ──login──> Deciding <──> Trying (a connection on which a server checks the password)
//!   ^                 └──> accepted | unavailable | Pausing ──> refused
//! ```

use std::sync::Arc;

use super::attempt::{Attempt, Step, Tried};
use super::backend::Login;
use super::check::{Check, Checked};
use super::config::Common;
use super::desk::{Around, Desk, Purpose};
use super::rules::Rules;
use super::waiting::Waiting;
use crate::mailbox::Identity;
use crate::mailbox::names::VirtDomains;
use crate::proxy::{
    Answer, BackendId, Close, Instant, LayerKind, Level, Question, Side, TlsInfo, Unavailable,
};
use crate::sasl::SaslError;
use crate::seats::Seat;
use crate::secret::Secret;

/// A client that has not logged in.
pub(crate) struct Guest<L: Login> {
    /// The SASL service name.
    service: &'static str,
    /// What stands behind a plus of a user id is a folder.
    subfolders: bool,
    tls: bool,
    domain: Domain,
    stage: Stage<L>,
    /// Where he is logged in with his own words, as long as it is not decided whether he may.
    home: Option<(BackendId, L::Ready)>,
    /// A login with his own words serves his session.
    keeps_home: bool,
    /// The login waits for a mailbox that is being moved.
    waiting: Waiting,
}

/// The domain of users who name none (`virtdomains: on`).
enum Domain {
    Nothing,
    /// The reverse name of the address that the client came to is looked up; he waits.
    Awaited,
    Of(Arc<str>),
}

enum Stage<L> {
    Idle,
    Securing,
    Deciding(Box<Attempt>),
    Trying(Box<Attempt>, Check<L>),
    Pausing(Instant),
}

/// What a session does next.
pub(crate) enum Outcome<R> {
    /// Nothing.
    Wait,
    /// Tell the client this and give the response to [`Guest::respond`].
    Challenge(Vec<u8>),
    /// The last word of the mechanism; then [`Guest::proven`] or [`Guest::respond`].
    LastWord(Vec<u8>),
    /// He is who he says.
    Accepted(Box<Accepted>),
    /// He is, and logged in at his server.
    Home(Box<Accepted>, BackendId, R),
    /// He is not, and the pause is over.
    Refused,
    /// Nobody can say at the moment.
    Unavailable,
}

/// A login that was accepted.
pub(crate) struct Accepted {
    /// Whose session it is.
    pub(crate) identity: Identity,
    /// What was asked for on the way.
    pub(crate) attempt: Box<Attempt>,
}

impl<L: Login> Guest<L> {
    pub(crate) fn new(service: &'static str, subfolders: bool, tls: bool) -> Guest<L> {
        Guest {
            service,
            subfolders,
            tls,
            domain: Domain::Nothing,
            stage: Stage::Idle,
            home: None,
            keeps_home: false,
            waiting: Waiting::default(),
        }
    }

    /// Where a server checks his password, does so by a login that serves the session: for protocols whose
    /// refusals blame the password where it is to blame.
    pub(crate) fn keeping_home(self, keeps_home: bool) -> Guest<L> {
        Guest { keeps_home, ..self }
    }

    /// Whether his bytes are under TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whether he may send a command.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle) && !matches!(self.domain, Domain::Awaited)
    }

    /// Whether his next line is a response of a mechanism.
    pub(crate) fn expects_response(&self) -> bool {
        matches!(&self.stage, Stage::Deciding(attempt) if attempt.expects_response())
    }

    /// Tells which address of ours he came to: with `virtdomains: on` its name says in which domain users
    /// are who name none, and a login waits for it.
    pub(crate) fn came_to(&mut self, address: &str, around: &mut Around<'_>) {
        if around.common.namespace.virtdomains == VirtDomains::On {
            self.domain = Domain::Awaited;
            around.desk.ask(Purpose::Guest, Question::DomainOf { address: address.into() });
        }
    }

    /// Whether the address that he came to says in which domain he is.
    pub(crate) fn has_domain_of_address(&self) -> bool {
        matches!(self.domain, Domain::Of(_))
    }

    /// Whether a typed user id is one.
    pub(crate) fn is_name(&self, typed: &[u8], common: &Common) -> bool {
        Rules::of(common, self.service, None, self.subfolders).is_name(typed)
    }

    /// Puts TLS on; what the client is told of it stands before.
    pub(crate) fn start_tls(&mut self, desk: &mut Desk) {
        desk.outbox.switch(Side::Client, LayerKind::TlsServer);
        self.stage = Stage::Securing;
    }

    /// TLS is on, or is not: then the session ends.
    pub(crate) fn secured(&mut self, result: Result<TlsInfo, Box<str>>, desk: &mut Desk) -> bool {
        match result {
            Ok(_) => {
                self.tls = true;
                if matches!(self.stage, Stage::Securing) {
                    self.stage = Stage::Idle;
                }
                true
            }
            Err(why) => {
                desk.log_client(Level::Notice, &format!("no TLS: {why}"));
                false
            }
        }
    }

    /// Logs in with name and password.
    pub(crate) fn password(
        &mut self,
        user: &[u8],
        password: Secret,
        around: &mut Around<'_>,
    ) -> Outcome<L::Ready> {
        self.waiting = Waiting::default();
        let (attempt, step) = self.with_rules(around, |rules| Attempt::password(user, password, rules));
        self.follow(Box::new(attempt), step, around)
    }

    /// Begins a mechanism. `initial` is decoded.
    ///
    /// # Errors
    /// As [`Attempt::sasl`].
    pub(crate) fn sasl(
        &mut self,
        mechanism: &[u8],
        initial: Option<&[u8]>,
        around: &mut Around<'_>,
    ) -> Result<Outcome<L::Ready>, SaslError> {
        self.waiting = Waiting::default();
        let (nonce, tls) = (around.desk.nonce(), self.tls);
        let begun = |rules: &Rules<'_>| Attempt::sasl(mechanism, initial, nonce, tls, rules);
        let (attempt, step) = self.with_rules(around, begun)?;
        Ok(self.follow(Box::new(attempt), step, around))
    }

    /// Takes a response of the client, decoded.
    ///
    /// # Errors
    /// He does not speak the mechanism; the login is over.
    pub(crate) fn respond(
        &mut self,
        response: &[u8],
        around: &mut Around<'_>,
    ) -> Result<Outcome<L::Ready>, SaslError> {
        let Some(mut attempt) = self.take_attempt() else { return Err(SaslError::Unexpected) };
        let step = self.with_rules(around, |rules| attempt.respond(response, rules))?;
        Ok(self.follow(attempt, step, around))
    }

    /// The client will have the last word of the mechanism with the success.
    pub(crate) fn proven(&mut self, around: &mut Around<'_>) -> Outcome<L::Ready> {
        let Some(mut attempt) = self.take_attempt() else { return Outcome::Unavailable };
        let step = self.with_rules(around, |rules| attempt.proven(rules));
        self.follow(attempt, step, around)
    }

    /// The client gives a login up.
    pub(crate) fn cancel(&mut self) {
        self.stage = Stage::Idle;
    }

    /// An answer for the login.
    pub(crate) fn answered(&mut self, answer: Answer, around: &mut Around<'_>) -> Outcome<L::Ready> {
        if let Answer::Domain(domain) = answer {
            self.domain = domain.map_or(Domain::Nothing, |domain| Domain::Of(domain.into()));
            return Outcome::Wait;
        }
        let Some(mut attempt) = self.take_attempt() else { return Outcome::Wait };
        match self.with_rules(around, |rules| attempt.answered(answer, rules)) {
            Some(step) => self.follow(attempt, step, around),
            None => {
                self.stage = Stage::Deciding(attempt);
                Outcome::Wait
            }
        }
    }

    /// The connection on which a server checks the password.
    pub(crate) fn check(&mut self, id: BackendId) -> Option<&mut Check<L>> {
        match &mut self.stage {
            Stage::Trying(_, check) if check.id() == id => Some(check),
            Stage::Trying(..) | Stage::Idle | Stage::Securing | Stage::Deciding(_) | Stage::Pausing(_) => {
                None
            }
        }
    }

    /// Whether he is logged in on this connection, which waits until it is decided whether he may.
    pub(crate) fn is_home(&self, id: BackendId) -> bool {
        self.home.as_ref().is_some_and(|(home, _)| *home == id)
    }

    /// That connection ended: another one will be made.
    pub(crate) fn lose_home(&mut self) {
        self.home = None;
    }

    /// What became of the connection on which a server checks the password.
    pub(crate) fn tried(&mut self, checked: Checked<L::Ready>, around: &mut Around<'_>) -> Outcome<L::Ready> {
        if matches!(checked, Checked::Wait) {
            return Outcome::Wait;
        }
        let (mut attempt, check) = match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Trying(attempt, check) => (attempt, check),
            stage @ (Stage::Idle | Stage::Securing | Stage::Deciding(_) | Stage::Pausing(_)) => {
                self.stage = stage;
                return Outcome::Wait;
            }
        };
        let tried = match checked {
            Checked::Wait => return Outcome::Wait,
            Checked::Right(home) => {
                self.home = home;
                Tried::Accepted
            }
            Checked::Wrong => Tried::Refused,
            Checked::Failed => Tried::Failed,
            Checked::Unclear => match attempt.own_words() {
                Some(who) => {
                    let check = Check::by_imap(check.server(), who, around);
                    return self.try_at(attempt, check, around);
                }
                None => Tried::Failed,
            },
        };
        let step = self.with_rules(around, |rules| attempt.tried(tried, rules));
        self.follow(attempt, step, around)
    }

    fn try_at(
        &mut self,
        attempt: Box<Attempt>,
        check: Result<Check<L>, Unavailable>,
        around: &mut Around<'_>,
    ) -> Outcome<L::Ready> {
        match check {
            Ok(check) => {
                self.stage = Stage::Trying(attempt, check);
                Outcome::Wait
            }
            Err(_) => postpone(&attempt, "no name of a server", around.desk),
        }
    }

    /// The next moment at which [`Guest::handle_timeout`] is wanted.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Trying(_, check) => Some(check.deadline()),
            Stage::Pausing(until) => Some(*until),
            Stage::Deciding(_) => self.waiting.due(),
            Stage::Idle | Stage::Securing => None,
        }
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, around: &mut Around<'_>) -> Outcome<L::Ready> {
        if self.deadline().is_none_or(|due| due > around.now) {
            return Outcome::Wait;
        }
        match &mut self.stage {
            Stage::Trying(_, check) => {
                let checked = check.is_late(around);
                self.tried(checked, around)
            }
            Stage::Pausing(_) => {
                self.stage = Stage::Idle;
                Outcome::Refused
            }
            Stage::Deciding(_) => {
                if let Some(question) = self.waiting.take_due(around.now) {
                    around.desk.ask(Purpose::Guest, question);
                }
                Outcome::Wait
            }
            Stage::Idle | Stage::Securing => Outcome::Wait,
        }
    }

    /// Whether he waits for a mailbox that is being moved.
    pub(crate) fn waits_for_move(&self) -> bool {
        matches!(self.stage, Stage::Deciding(_)) && self.waiting.is_on()
    }

    /// Whether the client waits for us.
    pub(crate) fn is_busy(&self) -> bool {
        !self.is_idle() && !self.expects_response()
    }

    /// The session ends.
    pub(crate) fn abandon(&mut self, desk: &mut Desk) {
        if let Stage::Trying(_, check) = &mut self.stage {
            check.abandon(desk);
        }
        self.leave_home(desk);
        self.stage = Stage::Idle;
        self.waiting = Waiting::default();
    }

    fn with_rules<R>(&self, around: &Around<'_>, f: impl FnOnce(&Rules<'_>) -> R) -> R {
        let domain = match &self.domain {
            Domain::Of(domain) => Some(&**domain),
            Domain::Nothing | Domain::Awaited => None,
        };
        f(&Rules::of(around.common, self.service, domain, self.subfolders))
    }

    fn take_attempt(&mut self) -> Option<Box<Attempt>> {
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Deciding(attempt) => Some(attempt),
            stage @ (Stage::Idle | Stage::Securing | Stage::Trying(..) | Stage::Pausing(_)) => {
                self.stage = stage;
                None
            }
        }
    }

    /// Does what the attempt wants.
    fn follow(&mut self, attempt: Box<Attempt>, step: Step, around: &mut Around<'_>) -> Outcome<L::Ready> {
        match step {
            Step::Challenge(message) => {
                self.stage = Stage::Deciding(attempt);
                Outcome::Challenge(message)
            }
            Step::LastWord(message) => {
                self.stage = Stage::Deciding(attempt);
                Outcome::LastWord(message)
            }
            Step::Ask(question) => {
                around.desk.ask(Purpose::Guest, question);
                self.stage = Stage::Deciding(attempt);
                Outcome::Wait
            }
            Step::AskLater(question) => {
                if !self.waiting.ask_later(question, around.common.moving, around.now) {
                    self.leave_home(around.desk);
                    return postpone(&attempt, "home is being moved", around.desk);
                }
                self.stage = Stage::Deciding(attempt);
                Outcome::Wait
            }
            Step::Try { server, who } => {
                let is_kept = self.keeps_home
                    && attempt.folder().is_none()
                    && self.with_rules(around, |rules| attempt.may_keep_home(rules));
                let check = match is_kept {
                    true => Check::by_own(&server, who, around),
                    false => Check::by_imap(&server, who, around),
                };
                self.try_at(attempt, check, around)
            }
            Step::Accepted(identity) => {
                let accepted = Box::new(Accepted { identity, attempt });
                match self.home.take() {
                    Some((id, ready)) => Outcome::Home(accepted, id, ready),
                    None => Outcome::Accepted(accepted),
                }
            }
            Step::Refused(why) => {
                self.leave_home(around.desk);
                refuse(&attempt, why, around.desk);
                self.stage = Stage::Pausing(around.now + around.common.login.failed_pause);
                Outcome::Wait
            }
            Step::Unavailable(why) => {
                self.leave_home(around.desk);
                postpone(&attempt, why, around.desk)
            }
        }
    }

    /// Refuses somebody who is who he says, after the pause.
    pub(crate) fn turn_away(&mut self, accepted: &Accepted, why: &str, around: &mut Around<'_>) {
        refuse(&accepted.attempt, why, around.desk);
        self.stage = Stage::Pausing(around.now + around.common.login.failed_pause);
    }

    /// Closes the connection on which he is logged in already: he may not have it.
    fn leave_home(&mut self, desk: &mut Desk) {
        if let Some((id, _)) = self.home.take() {
            desk.outbox.close(Side::Backend(id), Close::Abort);
        }
    }
}

impl Accepted {
    /// Lets him in: counts him, puts the login in the log, and tells who he is.
    ///
    /// # Errors
    /// What he is told who is one too many, though his password was right.
    pub(crate) fn admit(&self, tls: bool, desk: &mut Desk, common: &Common) -> Result<Option<Seat>, String> {
        let (user, host) = (&self.identity.user, desk.client_host().to_owned());
        let seat = match common.seats.take(&common.service, user, host.as_bytes(), common.seat_limits) {
            Ok(seat) => seat,
            Err(full) => {
                let text = format!("badlogin: [{host}] {} too many open connections", user.escape_ascii());
                desk.log(Level::Notice, text);
                return Err(full.text(common.seat_limits, user, &host));
            }
        };
        self.log(tls, desk);
        Ok(seat)
    }

    /// Puts the login in the log, and tells who he is.
    pub(crate) fn log(&self, tls: bool, desk: &mut Desk) {
        let (user, host) = (&self.identity.user, desk.client_host().to_owned());
        let (mechanism, layer) = (self.attempt.mechanism(), if tls { "+TLS" } else { "" });
        let (name, session_id) = (user.escape_ascii(), desk.session_id());
        desk.log(
            Level::Info,
            format!("login: [{host}] {name} {mechanism}{layer} User logged in SESSIONID=<{session_id}>"),
        );
        desk.tell_presence(user);
    }
}

fn refuse(attempt: &Attempt, why: &str, desk: &mut Desk) {
    let text = desk.bad_login(attempt.mechanism(), attempt.authcid(), why);
    desk.log(Level::Notice, text);
}

fn postpone<R>(attempt: &Attempt, why: &str, desk: &mut Desk) -> Outcome<R> {
    let text =
        format!("login: [{}] {} not decided: {why}", desk.client_host(), attempt.authcid().escape_ascii());
    desk.log(Level::Warn, text);
    Outcome::Unavailable
}
