//! STARTTLS and AUTH: who may deliver where nobody is trusted.

use super::session::{Progress, Purpose, Reading, Session};
use super::text::{self, Text};
use crate::login::attempt::{Attempt, Rules, Step};
use crate::proxy::{Answer, HEAD_BYTES_MAX, Instant, LayerKind, Level, Side, TlsInfo};
use crate::sasl::{self, SaslError};
use crate::wire::{self, line};

/// Who the client is.
pub(super) enum Client {
    /// Nobody known; a login in progress.
    Guest(Option<Box<Login>>),
    /// Over a UNIX socket, or a service that trusts all.
    Trusted,
    /// An administrator who logged in.
    LoggedIn,
}

/// A login in progress.
pub(super) enum Login {
    /// STARTTLS was answered.
    Securing,
    /// It is decided.
    Deciding(Attempt),
    /// The refusal is held back.
    Pausing { until: Instant },
}

impl Session {
    /// Whether the client may say MAIL.
    pub(super) fn may_deliver(&self) -> bool {
        !matches!(self.client, Client::Guest(_))
    }

    /// The text of who has not logged in.
    pub(super) fn log_in(&self) -> Text {
        if self.config.soft_noauth { text::LOG_IN_LATER } else { text::LOG_IN_FIRST }
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            service: "lmtp",
            namespace: &self.config.namespace,
            acl: &self.config.acl,
            admins: &self.config.admins,
            login: &self.config.login,
            serverlist: &self.config.serverlist,
            domain: None,
            subfolders: false,
        }
    }

    fn set_login(&mut self, login: Option<Login>, reading: Reading) {
        if let Client::Guest(slot) = &mut self.client {
            *slot = login.map(Box::new);
            self.reading = reading;
        }
    }

    fn take_login(&mut self) -> Option<Login> {
        match &mut self.client {
            Client::Guest(slot) => slot.take().map(|login| *login),
            Client::Trusted | Client::LoggedIn => None,
        }
    }

    pub(super) fn starttls(&mut self) {
        if !self.offers_tls() {
            return self.reply(&if self.tls { text::STARTTLS_AGAIN } else { super::commands::SYNTAX });
        }
        if self.transaction.is_some() {
            return self.reply(&text::STARTTLS_NOT_NOW);
        }
        self.reply(&text::BEGIN_TLS);
        self.outbox.switch(Side::Client, LayerKind::TlsServer);
        self.set_login(Some(Login::Securing), Reading::Wait);
    }

    /// Whether STARTTLS may be said.
    pub(super) fn offers_tls(&self) -> bool {
        !self.tls && self.config.login.starttls && matches!(self.client, Client::Guest(_))
    }

    /// TLS towards the client is on, or is not.
    pub(super) fn client_secured(&mut self, result: Result<TlsInfo, Box<str>>) {
        match result {
            Ok(_) => {
                self.tls = true;
                if let Some(Login::Securing) = self.take_login() {
                    self.set_login(None, Reading::Command);
                }
            }
            Err(why) => {
                let client = self.client_name();
                self.log(Level::Notice, format!("lmtp: [{client}] no TLS: {why}"));
                self.client_gone();
            }
        }
    }

    pub(super) fn auth(&mut self, mechanism: &[u8], initial: Option<&[u8]>) {
        if !matches!(self.client, Client::Guest(_)) {
            return self.reply(&text::AUTH_AGAIN);
        }
        if self.transaction.is_some() {
            return self.reply(&text::AUTH_NOT_NOW);
        }
        let Ok(initial) = initial.map(sasl::decode_initial).transpose() else {
            return self.reply(&text::AUTH_GARBLED);
        };
        let nonce = self.nonce();
        let initial = initial.as_ref().map(crate::secret::Secret::expose);
        match Attempt::sasl(mechanism, initial, nonce, self.tls, &self.rules()) {
            Ok((attempt, step)) => self.follow(attempt, step),
            Err(SaslError::Mechanism) => self.reply(&text::AUTH_MECHANISM),
            Err(_) => self.reply(&text::AUTH_GARBLED),
        }
    }

    /// Takes a response of the client.
    pub(super) fn look_at_sasl(&mut self, input: &[u8]) -> Progress {
        let line = match line::first(input, HEAD_BYTES_MAX) {
            Ok(line) => line,
            Err(wire::Error::Incomplete) => return Progress::More,
            Err(_) => {
                self.end(&text::AUTH_GARBLED);
                return Progress::Took(input.len());
            }
        };
        let Some(Login::Deciding(mut attempt)) = self.take_login() else {
            self.reading = Reading::Command;
            return Progress::Took(0);
        };
        self.reading = Reading::Command;
        if line.content == b"*" {
            self.reply(&text::AUTH_CANCELLED);
            return Progress::Took(line.len);
        }
        let response = sasl::decode_base64(line.content);
        match response.and_then(|response| attempt.respond(response.expose(), &self.rules())) {
            Ok(step) => self.follow(attempt, step),
            Err(_) => self.reply(&text::AUTH_GARBLED),
        }
        Progress::Took(line.len)
    }

    /// An answer for the login.
    pub(super) fn handle_login_answer(&mut self, answer: Answer) {
        match self.take_login() {
            Some(Login::Deciding(mut attempt)) => match attempt.answered(answer, &self.rules()) {
                Some(step) => self.follow(attempt, step),
                None => self.set_login(Some(Login::Deciding(attempt)), Reading::Wait),
            },
            login @ (Some(Login::Securing | Login::Pausing { .. }) | None) => {
                self.set_login(login, Reading::Wait);
            }
        }
    }

    fn follow(&mut self, attempt: Attempt, step: Step) {
        match step {
            Step::Challenge(message) | Step::LastWord(message) => {
                self.outbox.author(Side::Client, |out| {
                    out.extend_from_slice(b"334 ");
                    sasl::base64_out(out, &message);
                    out.extend_from_slice(b"\r\n");
                });
                self.set_login(Some(Login::Deciding(attempt)), Reading::Sasl);
            }
            Step::Ask(question) => {
                self.set_login(Some(Login::Deciding(attempt)), Reading::Wait);
                self.ask(Purpose::Login, question);
            }
            Step::Accepted(identity) if identity.is_admin => self.logged_in(&attempt),
            Step::Accepted(_) => self.refuse(&attempt, "only admins may authenticate"),
            Step::Refused(why) => self.refuse(&attempt, why),
            Step::Try { .. } => self.postpone(&attempt, "sasl_pwcheck_method: backend does not serve lmtp"),
            Step::Unavailable(why) => self.postpone(&attempt, why),
        }
    }

    fn logged_in(&mut self, attempt: &Attempt) {
        let (client, user) = (self.client_name(), attempt.user().escape_ascii());
        let layer = if self.tls { "+TLS" } else { "" };
        let mechanism = attempt.mechanism();
        self.log(Level::Info, format!("login: [{client}] {user} {mechanism}{layer} User logged in"));
        self.reply(&text::AUTHENTICATED);
        self.client = Client::LoggedIn;
        self.reading = Reading::Command;
    }

    /// Refuses a login after a pause, so that guessing takes time.
    fn refuse(&mut self, attempt: &Attempt, why: &str) {
        let (client, user) = (self.client_name(), attempt.authcid().escape_ascii());
        let mechanism = attempt.mechanism();
        self.log(Level::Notice, format!("badlogin: [{client}] {mechanism} {user} [{why}]"));
        let until = self.now + self.config.login.failed_pause;
        self.set_login(Some(Login::Pausing { until }), Reading::Wait);
    }

    /// A login that cannot be decided at the moment.
    fn postpone(&mut self, attempt: &Attempt, why: &str) {
        let (client, user) = (self.client_name(), attempt.authcid().escape_ascii());
        self.log(Level::Warn, format!("login: [{client}] {user} not decided: {why}"));
        self.reply(&text::AUTH_UNAVAILABLE);
        self.set_login(None, Reading::Command);
    }

    /// When a refusal is told.
    pub(super) fn pause_until(&self) -> Option<Instant> {
        match &self.client {
            Client::Guest(Some(login)) => match **login {
                Login::Pausing { until } => Some(until),
                Login::Securing | Login::Deciding(_) => None,
            },
            Client::Guest(None) | Client::Trusted | Client::LoggedIn => None,
        }
    }

    pub(super) fn pause_is_over(&mut self, _until: Instant) {
        self.set_login(None, Reading::Command);
        self.reply(&text::AUTH_FAILED);
    }

    /// The client's address, for the log.
    pub(super) fn client_name(&self) -> String {
        let address = &*self.origin.client_address;
        if address.is_empty() { "unix socket".into() } else { address.to_owned() }
    }
}
