//! The way of a client from AUTHENTICATE to his server.

use super::super::backend::Ready;
use super::super::capabilities::items;
use super::super::grammar::Strings;
use super::{Phase, Session, User};
use crate::login::desk::Around;
use crate::login::entrance::Step;
use crate::login::guest::{Accepted, Outcome};
use crate::login::way::Arrival;
use crate::proxy::{BackendId, Close, Entry, Notice, Service, Side};
use crate::sasl::{self, SaslError};
use crate::wire::quote::{LiteralStyle, literal_out};

impl Session {
    pub(super) fn authenticate(&mut self, strings: &Strings<'_>) {
        self.last_word = None;
        let initial = strings.get(1).map(|text| sasl::decode_base64(text)).transpose();
        let (entrance, mut around) = parts!(self);
        let begun = initial.and_then(|initial| {
            let initial = initial.as_ref().map(crate::secret::Secret::expose);
            entrance.guest.sasl(&strings[0], initial, &mut around)
        });
        self.began(begun);
    }

    pub(super) fn respond(&mut self, text: &[u8]) {
        if text == b"*" {
            self.entrance.guest.cancel();
            return self.no("Authentication Error");
        }
        let (entrance, mut around) = parts!(self);
        let begun = match sasl::decode_base64(text) {
            Ok(response) => entrance.guest.respond(response.expose(), &mut around),
            Err(error) => {
                entrance.guest.cancel();
                Err(error)
            }
        };
        self.began(begun);
    }

    fn began(&mut self, begun: Result<Outcome<Ready>, SaslError>) {
        match begun {
            Ok(outcome) => self.follow(outcome.into()),
            Err(_) => self.bad("Authentication Error"),
        }
    }

    /// Does what became of the login and the way to the server.
    pub(super) fn follow(&mut self, step: Step<Ready>) {
        match step {
            Step::Wait => {}
            Step::Challenge(message) => self.desk.outbox.author(Side::Client, |out| {
                let mut text = Vec::new();
                sasl::base64_out(&mut text, &message);
                literal_out(out, &text, LiteralStyle::Synchronising);
                out.extend_from_slice(b"\r\n");
            }),
            Step::LastWord(message) => {
                self.last_word = Some(message);
                let (entrance, mut around) = parts!(self);
                let outcome = entrance.guest.proven(&mut around);
                self.follow(outcome.into());
            }
            Step::Accepted(accepted) => self.accept(accepted),
            // A refusal of ManageSieve does not say what was wrong: its guests keep no home.
            Step::Home(accepted, id, _) => {
                self.desk.outbox.close(Side::Backend(id), Close::Abort);
                self.accept(accepted);
            }
            Step::Refused => self.give_up("Authentication Error"),
            Step::Unavailable => self.try_later("authentication temporarily unavailable"),
            Step::Found(entry) => self.found(&entry),
            Step::At(id, ready) => self.join(id, ready),
            Step::Ended(arrival) => self.refuse(&arrival),
        }
    }

    fn accept(&mut self, accepted: Box<Accepted>) {
        match accepted.admit(self.entrance.guest.is_tls(), &mut self.desk, &self.config.common) {
            Ok(seat) => self.seat = seat,
            Err(text) => return self.give_up(&text),
        }
        let user = accepted.identity.user.clone();
        let inbox = self.config.common.namespace.inbox(&user);
        self.entrance.set_out(inbox.into(), user, &mut self.desk);
        self.accepted = Some(accepted);
    }

    fn found(&mut self, entry: &Entry) {
        if self.config.referrals
            && let Some(server) = entry.location.server()
        {
            // A port in a server's name is IMAP's.
            let host = server.split(|byte| matches!(byte, b':' | b'/')).next().unwrap_or(server);
            let names =
                self.entrance.guest.has_domain_of_address().then_some(self.accepted.as_deref()).flatten();
            let who = names.map_or(Vec::new(), |who| userinfo(who.attempt.authcid(), &who.identity.user));
            self.entrance.leave_way(&mut self.desk);
            self.phase = Phase::Referred([&who, host].concat().into());
            return self.tell_success();
        }
        let (entrance, mut around) = parts!(self);
        let step = entrance.go(entry, &mut around);
        self.follow(step);
    }

    fn join(&mut self, backend: BackendId, ready: Ready) {
        let server: Box<[u8]> = self.entrance.server().into();
        self.entrance.leave_way(&mut self.desk);
        let Some(accepted) = self.accepted.take() else { return };
        let capabilities =
            ready.capabilities.split_inclusive(|byte| *byte == b'\n').flat_map(items).collect();
        self.desk.outbox.tell(Notice::ServiceCapabilities {
            service: Service::Sieve,
            server: String::from_utf8_lossy(&server).into_owned().into(),
            capabilities,
        });
        self.phase = Phase::User(Box::new(User {
            backend,
            server,
            name: accepted.identity.user,
            capabilities: ready.capabilities,
            in_script: false,
            reply: None,
            securing: false,
        }));
        self.tell_success();
    }

    /// The OK of AUTHENTICATE, with the last word of the mechanism.
    fn tell_success(&mut self) {
        self.accepted = None;
        self.last_input = Some(self.now);
        let Some(message) = self.last_word.take() else { return self.tell(&[b"OK\r\n"]) };
        let mut text = Vec::new();
        sasl::base64_out(&mut text, &message);
        self.tell(&[b"OK (SASL \"", &text, b"\")\r\n"]);
    }

    fn refuse(&mut self, arrival: &Arrival) {
        match arrival {
            Arrival::Absent => self.give_up("Mailbox does not exist"),
            Arrival::Unknown => self.try_later("mailbox list temporarily unavailable"),
            Arrival::Reserved => self.try_later("Mailbox is currently reserved"),
            Arrival::Unreachable => self.try_later("Server(s) unavailable to complete operation"),
            Arrival::Refused(_) => self.try_later("Authentication to backend server failed"),
        }
    }

    fn give_up(&mut self, text: &str) {
        self.be_guest();
        self.no(text);
    }

    fn try_later(&mut self, text: &str) {
        self.be_guest();
        self.tell(&[b"NO (TRYLATER) \"", text.as_bytes(), b"\"\r\n"]);
    }

    fn be_guest(&mut self) {
        self.entrance.leave_way(&mut self.desk);
        if self.seat.take().is_some() || self.accepted.take().is_some() {
            self.desk.tell_presence(b"");
        }
        self.last_word = None;
        self.last_input = Some(self.now);
    }
}

/// `authcid;user@` of a referral, for who is in the domain of the address that he came to: at the server he comes to
/// another, and has to say the domain himself, behind a percent sign as Cyrus' referrals do.
fn userinfo(authcid: &[u8], user: &[u8]) -> Vec<u8> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~@+".contains(byte);
    if !authcid.iter().chain(user).all(is_plain) {
        return Vec::new();
    }
    let mut info = [authcid, b";", user].concat();
    info.iter_mut().filter(|byte| **byte == b'@').for_each(|byte| *byte = b'%');
    info.push(b'@');
    info
}
