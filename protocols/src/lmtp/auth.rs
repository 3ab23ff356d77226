//! STARTTLS and AUTH: who may deliver where nobody is trusted.

use std::sync::Arc;

use super::login::Login;
use super::session::{Client, Progress, Reading, Session};
use super::text::{self, Text};
use crate::login::desk::Around;
use crate::login::guest::{self, Accepted, Guest};
use crate::login::link::Look;
use crate::proxy::{BackendId, Close, Event, HEAD_BYTES_MAX, Side, TlsInfo};
use crate::sasl::{self, SaslError};
use crate::secret::Secret;
use crate::wire::{self, line};

type Outcome = guest::Outcome<Arc<[u8]>>;

impl Session {
    /// Whether the client may say MAIL.
    pub(super) fn may_deliver(&self) -> bool {
        !matches!(self.client, Client::Guest(_))
    }

    /// The text of who has not logged in.
    pub(super) fn log_in(&self) -> Text {
        if self.config.soft_noauth { text::LOG_IN_LATER } else { text::LOG_IN_FIRST }
    }

    /// The client as long as he has not logged in, and what his login works with.
    fn guest(&mut self) -> Option<(&mut Guest<Login>, Around<'_>)> {
        let Session { client, desk, config, now, .. } = self;
        match client {
            Client::Guest(guest) => Some((guest, Around { desk, common: &config.common, now: *now })),
            Client::Trusted | Client::LoggedIn => None,
        }
    }

    /// Goes on with his login.
    pub(super) fn with_guest(&mut self, step: impl FnOnce(&mut Guest<Login>, &mut Around<'_>) -> Outcome) {
        if let Some((guest, mut around)) = self.guest() {
            let outcome = step(guest, &mut around);
            self.follow(outcome);
        }
    }

    pub(super) fn starttls(&mut self) {
        if !self.offers_tls() {
            return self.reply(&if self.tls { text::STARTTLS_AGAIN } else { text::SYNTAX });
        }
        if self.transaction.is_some() {
            return self.reply(&text::STARTTLS_NOT_NOW);
        }
        self.reply(&text::BEGIN_TLS);
        if let Some((guest, around)) = self.guest() {
            guest.start_tls(around.desk);
        }
        self.heed_guest();
    }

    /// Whether STARTTLS may be said.
    pub(super) fn offers_tls(&self) -> bool {
        !self.tls && self.config.common.login.starttls && matches!(self.client, Client::Guest(_))
    }

    /// TLS towards the client is on, or is not.
    pub(super) fn client_secured(&mut self, result: Result<TlsInfo, Box<str>>) {
        let Some((guest, around)) = self.guest() else { return };
        if guest.secured(result, around.desk) {
            self.tls = true;
            // What was said in the clear counts for nothing.
            self.trace = None;
            self.heed_guest();
        } else {
            self.client_gone();
        }
    }

    pub(super) fn auth(&mut self, mechanism: &[u8], initial: Option<&[u8]>) {
        if self.may_deliver() {
            return self.reply(&text::AUTH_AGAIN);
        }
        if self.transaction.is_some() {
            return self.reply(&text::AUTH_NOT_NOW);
        }
        let initial = initial.map(sasl::decode_initial).transpose();
        let Some((guest, mut around)) = self.guest() else { return };
        let begun = initial
            .and_then(|initial| guest.sasl(mechanism, initial.as_ref().map(Secret::expose), &mut around));
        self.began(begun);
    }

    fn began(&mut self, begun: Result<Outcome, SaslError>) {
        match begun {
            Ok(outcome) => return self.follow(outcome),
            Err(SaslError::Mechanism) => self.reply(&text::AUTH_MECHANISM),
            Err(_) => self.reply(&text::AUTH_GARBLED),
        }
        self.heed_guest();
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
        let Some((guest, mut around)) = self.guest() else { return Progress::Took(line.len) };
        if line.content == b"*" {
            guest.cancel();
            self.reply(&text::AUTH_CANCELLED);
            self.heed_guest();
            return Progress::Took(line.len);
        }
        let begun = match sasl::decode_base64(line.content) {
            Ok(response) => guest.respond(response.expose(), &mut around),
            Err(error) => {
                guest.cancel();
                Err(error)
            }
        };
        self.began(begun);
        Progress::Took(line.len)
    }

    /// Does what became of the login.
    fn follow(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Wait => {}
            Outcome::Challenge(message) | Outcome::LastWord(message) => {
                self.desk.outbox.author(Side::Client, |out| {
                    out.extend_from_slice(b"334 ");
                    sasl::base64_out(out, &message);
                    out.extend_from_slice(b"\r\n");
                });
            }
            Outcome::Accepted(accepted) => self.accept(&accepted),
            // Who delivers has no mailbox that his connection could serve: guests of LMTP keep no home.
            Outcome::Home(accepted, id, _) => {
                self.desk.outbox.close(Side::Backend(id), Close::Abort);
                self.accept(&accepted);
            }
            Outcome::Refused => {
                self.last_input = Some(self.now);
                self.reply(&text::AUTH_FAILED);
            }
            Outcome::Unavailable => self.reply(&text::AUTH_UNAVAILABLE),
        }
        self.heed_guest();
    }

    fn accept(&mut self, accepted: &Accepted) {
        if accepted.identity.is_admin {
            accepted.log(self.tls, &mut self.desk);
            self.reply(&text::AUTHENTICATED);
            self.client = Client::LoggedIn;
            self.reading = Reading::Command;
        } else if let Some((guest, mut around)) = self.guest() {
            guest.turn_away(accepted, "only admins may authenticate", &mut around);
        }
    }

    /// What the client may say depends on how far his login is.
    fn heed_guest(&mut self) {
        let Client::Guest(guest) = &self.client else { return };
        let reading = match guest.expects_response() {
            true => Reading::Sasl,
            false if guest.is_busy() => Reading::Wait,
            false => Reading::Command,
        };
        if !matches!(self.reading, Reading::Over | Reading::Skip) {
            self.reading = reading;
        }
    }

    /// Takes what a connection says on which a server checks the client's password; `None` for others.
    pub(super) fn look_at_check(&mut self, id: BackendId, input: &[u8]) -> Option<Progress> {
        let (guest, mut around) = self.guest()?;
        let (look, checked) = guest.check(id)?.look(input, &mut around);
        let outcome = guest.tried(checked, &mut around);
        self.follow(outcome);
        Some(match look {
            Look::Took(n) => Progress::Took(n),
            Look::More => Progress::More,
            Look::Hold => Progress::Hold,
        })
    }

    /// Takes an event of such a connection; gives it back when it is of another.
    pub(super) fn handle_check(&mut self, id: BackendId, event: Event) -> Option<Event> {
        let Some((guest, mut around)) = self.guest() else { return Some(event) };
        let Some(check) = guest.check(id) else { return Some(event) };
        #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else happens to a connection")]
        let checked = match event {
            Event::Answer { answer, .. } => check.answered(answer, &mut around),
            Event::Switched { result, .. } => check.secured(result, &mut around),
            _ => check.ended("connection lost during login", &mut around),
        };
        let outcome = guest.tried(checked, &mut around);
        self.follow(outcome);
        None
    }
}
