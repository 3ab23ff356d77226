//! One backend connection of a session, from opening to logged in.
//!
//! ```text
//! Opening ──opened──> Login ──> ready
//!    └── error ──> failed <── refused, deadline, end ──┘
//! ```

use super::backend::{Login, LoginAs, Step};
use super::desk::{Around, Desk, Purpose};
use crate::proxy::{
    Answer, BackendId, Close, HEAD_BYTES_MAX, Instant, LayerKind, Opened, Question, Side, TlsInfo,
    Unavailable,
};
use crate::wire;

/// A connection that is not logged in yet, or has just been.
pub(crate) struct Link<L> {
    id: BackendId,
    server: Box<[u8]>,
    stage: Stage<L>,
    deadline: Instant,
}

enum Stage<L> {
    /// The engine connects.
    Opening(LoginAs),
    /// Greeting, TLS, SASL.
    Login(Box<L>),
    /// Logged in, or closed.
    Over,
}

/// What became of a connection.
#[derive(Debug)]
pub(crate) enum Outcome<R> {
    /// Nothing yet.
    Wait,
    /// It is logged in.
    Ready(R),
    /// The server refused the login, with this text. The connection is closed.
    Refused(Box<[u8]>),
    /// It cannot be had; why is in the log. It is closed.
    Failed,
}

/// How far a look at input got.
pub(crate) enum Look {
    /// These bytes are done with.
    Took(usize),
    /// More are needed.
    More,
    /// Not yet.
    Hold,
}

impl<L: Login> Link<L> {
    /// Opens a connection to a server.
    ///
    /// # Errors
    /// The server's name is no text.
    pub(crate) fn open(server: &[u8], who: LoginAs, around: &mut Around<'_>) -> Result<Link<L>, Unavailable> {
        let name = std::str::from_utf8(server).map_err(|_| Unavailable)?;
        let id = around.desk.new_backend_id();
        let question = Question::OpenBackend { side: id, server: name.into(), service: L::SERVICE };
        around.desk.ask(Purpose::Backend(id), question);
        let deadline = around.now + around.common.backend_login;
        Ok(Link { id, server: server.into(), stage: Stage::Opening(who), deadline })
    }

    /// The connection's number.
    pub(crate) fn id(&self) -> BackendId {
        self.id
    }

    /// Its server as in the list.
    pub(crate) fn server(&self) -> &[u8] {
        &self.server
    }

    /// When it is given up.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Takes the answer to a question of this connection.
    #[expect(clippy::wildcard_enum_match_arm, reason = "a connection asks two questions")]
    pub(crate) fn answered(&mut self, answer: Answer, around: &mut Around<'_>) -> Outcome<L::Ready> {
        match answer {
            Answer::Opened(Ok(opened)) => {
                self.opened(opened, around.desk);
                Outcome::Wait
            }
            Answer::Opened(Err(error)) => {
                self.stage = Stage::Over;
                around.desk.log_backend(&self.server, &error.to_string());
                Outcome::Failed
            }
            Answer::SaltedPassword(salted) => self.step(around, |login, out| login.salted(salted, out)),
            _ => Outcome::Wait,
        }
    }

    fn opened(&mut self, opened: Opened, desk: &mut Desk) {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Opening(who) => self.stage = Stage::Login(Box::new(L::new(who, opened, desk.nonce()))),
            // Given up in the meantime.
            Stage::Login(_) | Stage::Over => close_late(self.id, desk),
        }
    }

    /// TLS is on, or is not.
    pub(crate) fn secured(
        &mut self,
        result: Result<TlsInfo, Box<str>>,
        around: &mut Around<'_>,
    ) -> Outcome<L::Ready> {
        match (result, &self.stage) {
            (Ok(_), Stage::Login(login)) if login.is_securing() => self.step(around, L::secured),
            // `/tls`: the greeting comes over it.
            (Ok(_), _) => Outcome::Wait,
            (Err(why), _) => self.fail(&format!("no TLS: {why}"), around.desk),
        }
    }

    /// Looks at what the server says.
    pub(crate) fn look(&mut self, input: &[u8], around: &mut Around<'_>) -> (Look, Outcome<L::Ready>) {
        match &self.stage {
            Stage::Opening(_) => return (Look::Hold, Outcome::Wait),
            Stage::Login(login) if login.is_securing() => return (Look::Hold, Outcome::Wait),
            Stage::Login(_) => {}
            Stage::Over => return (Look::Took(input.len()), Outcome::Wait),
        }
        match L::extent(input, HEAD_BYTES_MAX) {
            Ok(len) => {
                let proxy = &around.common.proxy;
                let outcome = self.step(
                    &mut Around { desk: around.desk, common: around.common, now: around.now },
                    |login, out| login.handle_line(&input[..len], proxy, out),
                );
                (Look::Took(len), outcome)
            }
            Err(wire::Error::Incomplete) => (Look::More, Outcome::Wait),
            Err(_) => (Look::Took(input.len()), self.fail("line too long during login", around.desk)),
        }
    }

    /// The connection ended, or its time is over.
    pub(crate) fn ended(&mut self, why: &str, desk: &mut Desk) -> Outcome<L::Ready> {
        self.fail(why, desk)
    }

    /// Closes it without a word.
    pub(crate) fn abandon(&mut self, desk: &mut Desk) {
        if matches!(self.stage, Stage::Login(_)) {
            desk.outbox.close(Side::Backend(self.id), Close::Abort);
        }
        self.stage = Stage::Over;
    }

    fn fail(&mut self, why: &str, desk: &mut Desk) -> Outcome<L::Ready> {
        if matches!(self.stage, Stage::Over) {
            return Outcome::Wait;
        }
        desk.log_backend(&self.server, why);
        self.abandon(desk);
        Outcome::Failed
    }

    /// Runs a step of the login and does what it wants.
    fn step(
        &mut self,
        around: &mut Around<'_>,
        step: impl FnOnce(&mut L, &mut Vec<u8>) -> Step<L::Ready>,
    ) -> Outcome<L::Ready> {
        let side = Side::Backend(self.id);
        let Stage::Login(login) = &mut self.stage else { return Outcome::Wait };
        let mut wants = Step::Wait;
        around.desk.outbox.author_secret(side, |out| wants = step(login, out));
        match wants {
            Step::Wait => Outcome::Wait,
            Step::Secure => {
                let layer = LayerKind::TlsClient { server_name: login.host().into() };
                around.desk.outbox.switch(side, layer);
                Outcome::Wait
            }
            Step::Salt { hash, password, salt, iterations } => {
                let question = Question::SaltPassword { hash, password, salt, iterations };
                around.desk.ask(Purpose::Backend(self.id), question);
                Outcome::Wait
            }
            Step::Ready(ready) => {
                self.stage = Stage::Over;
                Outcome::Ready(ready)
            }
            Step::Refused { text } => {
                around.desk.log_backend(&self.server, &format!("login refused: {}", text.escape_ascii()));
                self.abandon(around.desk);
                Outcome::Refused(text)
            }
            Step::Failed(why) => self.fail(why, around.desk),
        }
    }
}

/// Closes a connection that stands although nobody waits for it any longer.
pub(crate) fn close_late(id: BackendId, desk: &mut Desk) {
    desk.outbox.close(Side::Backend(id), Close::Abort);
}
