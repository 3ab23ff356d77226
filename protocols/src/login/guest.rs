//! A client that has not logged in, as far as it is the same in POP3 and ManageSieve.
//!
//! ```text
//!        STARTTLS ──> Securing ──> Idle
//! Idle ──login──> Deciding <──> Trying (a connection that checks the password at the home)
//!   ^                 └──> accepted | unavailable | Pausing ──> refused
//! ```

use std::sync::Arc;

use super::attempt::{Attempt, Rules, Step, Tried};
use super::config::Common;
use super::desk::{Around, Desk, Purpose};
use super::link::{self, Link, Look};
use crate::imap;
use crate::mailbox::Identity;
use crate::mailbox::names::VirtDomains;
use crate::proxy::{Answer, BackendId, Close, Instant, LayerKind, Level, Question, Side, TlsInfo};
use crate::sasl::SaslError;
use crate::secret::Secret;

/// The last command on a connection that checked a password.
const LOGOUT: &[u8] = b"RKQ LOGOUT\r\n";

/// A client that has not logged in.
pub(crate) struct Guest {
    /// The SASL service name.
    service: &'static str,
    /// What stands behind a plus of a user id is a folder.
    subfolders: bool,
    tls: bool,
    domain: Domain,
    stage: Stage,
}

/// The domain of users who name none (`virtdomains: on`).
enum Domain {
    Nothing,
    /// The reverse name of the address that the client came to is looked up; he waits.
    Awaited,
    Of(Arc<str>),
}

enum Stage {
    Idle,
    Securing,
    Deciding(Box<Attempt>),
    Trying(Box<Attempt>, Box<Link<imap::login::Login>>),
    Pausing(Instant),
}

/// What a session does next.
pub(crate) enum Outcome {
    /// Nothing.
    Wait,
    /// Tell the client this and give the response to [`Guest::respond`].
    Challenge(Vec<u8>),
    /// The last word of the mechanism; then [`Guest::proven`] or [`Guest::respond`].
    LastWord(Vec<u8>),
    /// He is who he says.
    Accepted(Box<Accepted>),
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

impl Guest {
    pub(crate) fn new(service: &'static str, subfolders: bool, tls: bool) -> Guest {
        Guest { service, subfolders, tls, domain: Domain::Nothing, stage: Stage::Idle }
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

    /// Whether a typed user id is one.
    pub(crate) fn is_name(&self, typed: &[u8], common: &Common) -> bool {
        common.rules(self.service, None, self.subfolders).is_name(typed)
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
    pub(crate) fn password(&mut self, user: &[u8], password: Secret, around: &mut Around<'_>) -> Outcome {
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
    ) -> Result<Outcome, SaslError> {
        let (nonce, tls) = (around.desk.nonce(), self.tls);
        let begun = |rules: &Rules<'_>| Attempt::sasl(mechanism, initial, nonce, tls, rules);
        let (attempt, step) = self.with_rules(around, begun)?;
        Ok(self.follow(Box::new(attempt), step, around))
    }

    /// Takes a response of the client, decoded.
    ///
    /// # Errors
    /// He does not speak the mechanism; the login is over.
    pub(crate) fn respond(&mut self, response: &[u8], around: &mut Around<'_>) -> Result<Outcome, SaslError> {
        let Some(mut attempt) = self.take_attempt() else { return Err(SaslError::Unexpected) };
        let step = self.with_rules(around, |rules| attempt.respond(response, rules))?;
        Ok(self.follow(attempt, step, around))
    }

    /// The client will have the last word of the mechanism with the success.
    pub(crate) fn proven(&mut self, around: &mut Around<'_>) -> Outcome {
        let Some(mut attempt) = self.take_attempt() else { return Outcome::Unavailable };
        let step = self.with_rules(around, |rules| attempt.proven(rules));
        self.follow(attempt, step, around)
    }

    /// The client gives a login up.
    pub(crate) fn cancel(&mut self) {
        self.stage = Stage::Idle;
    }

    /// An answer for the login.
    pub(crate) fn answered(&mut self, answer: Answer, around: &mut Around<'_>) -> Outcome {
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

    /// The connection that checks the password.
    pub(crate) fn link(&mut self, id: BackendId) -> Option<&mut Link<imap::login::Login>> {
        match &mut self.stage {
            Stage::Trying(_, link) if link.id() == id => Some(link),
            Stage::Trying(..) | Stage::Idle | Stage::Securing | Stage::Deciding(_) | Stage::Pausing(_) => {
                None
            }
        }
    }

    /// Looks at what the connection that checks the password says.
    pub(crate) fn look(&mut self, input: &[u8], around: &mut Around<'_>) -> (Look, Outcome) {
        let Stage::Trying(_, link) = &mut self.stage else { return (Look::Hold, Outcome::Wait) };
        let (look, outcome) = link.look(input, around);
        (look, self.tried(outcome, around))
    }

    /// What became of the connection that checks the password.
    pub(crate) fn tried(
        &mut self,
        outcome: link::Outcome<imap::login::Ready>,
        around: &mut Around<'_>,
    ) -> Outcome {
        let tried = match outcome {
            link::Outcome::Wait => return Outcome::Wait,
            link::Outcome::Ready(_) => Tried::Accepted,
            link::Outcome::Refused(_) => Tried::Refused,
            link::Outcome::Failed => Tried::Failed,
        };
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Trying(mut attempt, link) => {
                if tried == Tried::Accepted {
                    let side = Side::Backend(link.id());
                    around.desk.outbox.write(side, &[LOGOUT]);
                    around.desk.outbox.close(side, Close::Flush);
                }
                let step = self.with_rules(around, |rules| attempt.tried(tried, rules));
                self.follow(attempt, step, around)
            }
            stage @ (Stage::Idle | Stage::Securing | Stage::Deciding(_) | Stage::Pausing(_)) => {
                self.stage = stage;
                Outcome::Wait
            }
        }
    }

    /// The next moment at which [`Guest::handle_timeout`] is wanted.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Trying(_, link) => Some(link.deadline()),
            Stage::Pausing(until) => Some(*until),
            Stage::Idle | Stage::Securing | Stage::Deciding(_) => None,
        }
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, around: &mut Around<'_>) -> Outcome {
        if self.deadline().is_none_or(|due| due > around.now) {
            return Outcome::Wait;
        }
        match &mut self.stage {
            Stage::Trying(_, link) => {
                let outcome = link.ended("no login in time", around.desk);
                self.tried(outcome, around)
            }
            Stage::Pausing(_) => {
                self.stage = Stage::Idle;
                Outcome::Refused
            }
            Stage::Idle | Stage::Securing | Stage::Deciding(_) => Outcome::Wait,
        }
    }

    /// Whether the client waits for us.
    pub(crate) fn is_busy(&self) -> bool {
        !self.is_idle() && !self.expects_response()
    }

    /// The session ends.
    pub(crate) fn abandon(&mut self, desk: &mut Desk) {
        if let Stage::Trying(_, link) = &mut self.stage {
            link.abandon(desk);
        }
        self.stage = Stage::Idle;
    }

    fn with_rules<R>(&self, around: &Around<'_>, f: impl FnOnce(&Rules<'_>) -> R) -> R {
        let domain = match &self.domain {
            Domain::Of(domain) => Some(&**domain),
            Domain::Nothing | Domain::Awaited => None,
        };
        f(&around.common.rules(self.service, domain, self.subfolders))
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
    fn follow(&mut self, attempt: Box<Attempt>, step: Step, around: &mut Around<'_>) -> Outcome {
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
            Step::Try { server, who } => match Link::open(&server, who, around) {
                Ok(link) => {
                    self.stage = Stage::Trying(attempt, Box::new(link));
                    Outcome::Wait
                }
                Err(_) => postpone(&attempt, "no name of a server", around.desk),
            },
            Step::Accepted(identity) => Outcome::Accepted(Box::new(Accepted { identity, attempt })),
            Step::Refused(why) => {
                refuse(&attempt, why, around.desk);
                self.stage = Stage::Pausing(around.now + around.common.login.failed_pause);
                Outcome::Wait
            }
            Step::Unavailable(why) => postpone(&attempt, why, around.desk),
        }
    }
}

impl Accepted {
    /// Puts the login in the log.
    pub(crate) fn log(&self, session_id: &str, tls: bool, desk: &mut Desk) {
        let (user, mechanism) = (self.identity.user.escape_ascii(), self.attempt.mechanism());
        let (host, layer) = (desk.client_host().to_owned(), if tls { "+TLS" } else { "" });
        desk.log(
            Level::Info,
            format!("login: [{host}] {user} {mechanism}{layer} User logged in SESSIONID=<{session_id}>"),
        );
    }
}

fn refuse(attempt: &Attempt, why: &str, desk: &mut Desk) {
    let (user, mechanism, host) = (attempt.authcid().escape_ascii(), attempt.mechanism(), desk.client_host());
    let text = format!("badlogin: [{host}] {mechanism} {user} [{why}]");
    desk.log(Level::Notice, text);
}

fn postpone(attempt: &Attempt, why: &str, desk: &mut Desk) -> Outcome {
    let text =
        format!("login: [{}] {} not decided: {why}", desk.client_host(), attempt.authcid().escape_ascii());
    desk.log(Level::Warn, text);
    Outcome::Unavailable
}
