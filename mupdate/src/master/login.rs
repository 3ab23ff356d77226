//! AUTHENTICATE, STARTTLS and COMPRESS.
//!
//! ```text
//!   ExpectResponse <──challenge── step ──> CheckingPassword | LookingUpKeys ──> verdict
//!   refused: Pausing for failedloginpause, then NO
//! ```

use protocols::proxy::{Instant, LayerKind, Level, PasswordVerdict, Question, ScramKeys, TlsInfo};
use protocols::sasl::{self, SaslError, Server, ServerStep};

use crate::grammar::{self, Stop};

use super::{Compression, Connection, Phase, Places, switch};

/// Octets of a line of base64: Cyrus' own limit is 21,848.
const RESPONSE_BYTES_MAX: usize = 32 * 1024;

/// A login on its way.
pub(super) struct Login {
    tag: Vec<u8>,
    state: State,
}

enum State {
    /// A challenge was sent.
    ExpectResponse(Box<Server>),
    /// The engine checks a password.
    CheckingPassword { authcid: Vec<u8> },
    /// The engine looks keys up.
    LookingUpKeys(Box<Server>),
    /// The server's last message was sent as a challenge; the client answers with an empty line.
    ExpectEmpty { authcid: Vec<u8> },
    /// The login is refused, with this text, when the pause is over.
    Pausing { text: &'static str },
}

impl Login {
    pub(super) fn reads(&self) -> bool {
        matches!(self.state, State::ExpectResponse(_) | State::ExpectEmpty { .. })
    }
}

impl Connection {
    pub(super) fn authenticate(&mut self, tag: &[u8], arguments: &[&[u8]], now: Instant) {
        if matches!(self.phase, Phase::LoggedIn) {
            return self.say(tag, "BAD", "already authenticated");
        }
        let initial = match arguments.get(1).map(|text| sasl::decode_initial(text)).transpose() {
            Ok(initial) => initial,
            Err(_) => return self.say(tag, "NO", "bad protocol / cancel"),
        };
        let mut nonce = [0; 18];
        nonce.copy_from_slice(&self.origin.random[..18]);
        let offer = self.offer();
        let initial = initial.as_ref().map(|initial| initial.expose());
        let started = Server::start(arguments[0], &offer, initial, nonce);
        // A second attempt on the connection has a nonce of its own.
        for byte in &mut self.origin.random {
            *byte = byte.wrapping_mul(5).wrapping_add(17);
        }
        match started {
            Ok((server, step)) => self.login_step(tag.to_vec(), Box::new(server), step, now),
            Err(SaslError::Mechanism) => self.say(tag, "NO", "no mechanism available"),
            Err(_) => self.say(tag, "NO", "bad protocol / cancel"),
        }
    }

    fn login_step(&mut self, tag: Vec<u8>, server: Box<Server>, step: ServerStep, now: Instant) {
        let state = match step {
            ServerStep::Challenge(challenge) => {
                sasl::base64_out(&mut self.unsent, &challenge);
                self.unsent.extend_from_slice(b"\r\n");
                State::ExpectResponse(server)
            }
            ServerStep::CheckPassword { authcid, password, .. } => {
                let user = authcid.clone().into_boxed_slice();
                self.ask(Question::CheckPassword { user, password, service: "mupdate" });
                State::CheckingPassword { authcid }
            }
            ServerStep::NeedScramKeys { user, hash } => {
                self.ask(Question::ScramKeys { user: user.into_boxed_slice(), hash });
                State::LookingUpKeys(server)
            }
            ServerStep::Done { authcid, final_message: Some(message), .. } => {
                sasl::base64_out(&mut self.unsent, &message);
                self.unsent.extend_from_slice(b"\r\n");
                State::ExpectEmpty { authcid }
            }
            ServerStep::Done { authcid, final_message: None, .. } => {
                return self.proven(tag, &authcid, now);
            }
            ServerStep::Failed => return self.denied(tag, now),
        };
        self.phase = Phase::LoggingIn(Box::new(Login { tag, state }));
    }

    pub(super) fn login_line(&mut self, input: &[u8], now: Instant) -> Result<usize, Stop> {
        let (line, n) = grammar::line(input, RESPONSE_BYTES_MAX)?;
        let Phase::LoggingIn(login) = std::mem::replace(&mut self.phase, Phase::ExpectLogin) else {
            return Ok(n);
        };
        let Login { tag, state } = *login;
        if line.starts_with(b"*") {
            self.say(&tag, "NO", "Client canceled authentication");
            return Ok(n);
        }
        match state {
            State::ExpectResponse(mut server) => {
                match sasl::decode_base64(line).and_then(|response| server.step(response.expose())) {
                    Ok(step) => self.login_step(tag, server, step, now),
                    Err(_) => self.say(&tag, "NO", "bad protocol / cancel"),
                }
            }
            State::ExpectEmpty { authcid } if line.is_empty() => self.proven(tag, &authcid, now),
            State::ExpectEmpty { .. }
            | State::CheckingPassword { .. }
            | State::LookingUpKeys(_)
            | State::Pausing { .. } => self.say(&tag, "NO", "bad protocol / cancel"),
        }
        Ok(n)
    }

    pub(super) fn password_checked(&mut self, verdict: PasswordVerdict, now: Instant) {
        let Phase::LoggingIn(login) = std::mem::replace(&mut self.phase, Phase::ExpectLogin) else { return };
        let Login { tag, state: State::CheckingPassword { authcid } } = *login else { return };
        match verdict {
            PasswordVerdict::Accepted => self.proven(tag, &authcid, now),
            PasswordVerdict::Denied | PasswordVerdict::AskBackend => self.denied(tag, now),
            PasswordVerdict::Unavailable => self.say(&tag, "NO", "authentication is unavailable"),
        }
    }

    pub(super) fn scram_keys(&mut self, keys: Option<ScramKeys>, now: Instant) {
        let Phase::LoggingIn(login) = std::mem::replace(&mut self.phase, Phase::ExpectLogin) else { return };
        let Login { tag, state: State::LookingUpKeys(mut server) } = *login else { return };
        let step = server.scram_keys(keys);
        self.login_step(tag, server, step, now);
    }

    /// The client is who it says; only an admin may go on. The authorisation id is not looked at.
    fn proven(&mut self, tag: Vec<u8>, authcid: &[u8], now: Instant) {
        if !self.config.admins.iter().any(|admin| **admin == *authcid) {
            self.log(
                Level::Notice,
                format!("mupdate login refused: {} is no admin", String::from_utf8_lossy(authcid)),
            );
            return self.pause(tag, "only admins may authenticate", now);
        }
        self.user = authcid.to_vec();
        self.say(&tag, "OK", "Authenticated");
        self.phase = Phase::LoggedIn;
        self.deadline = now + self.config.idle_timeout;
    }

    fn denied(&mut self, tag: Vec<u8>, now: Instant) {
        self.log(Level::Notice, format!("mupdate login failed from {}", self.origin.client_address));
        self.pause(tag, "authentication failure", now);
    }

    fn pause(&mut self, tag: Vec<u8>, text: &'static str, now: Instant) {
        self.deadline = now + self.config.failed_login_pause;
        self.phase = Phase::LoggingIn(Box::new(Login { tag, state: State::Pausing { text } }));
    }

    /// Says the NO if a pause is over; whether it was.
    pub(super) fn pause_is_over(&mut self, now: Instant) -> bool {
        let Phase::LoggingIn(login) = &self.phase else { return false };
        let State::Pausing { text } = login.state else { return false };
        let tag = login.tag.clone();
        self.phase = Phase::ExpectLogin;
        self.deadline = now + self.config.login_timeout;
        self.say(&tag, "NO", text);
        true
    }

    pub(super) fn starttls(&mut self, tag: &[u8]) {
        if matches!(self.phase, Phase::LoggedIn) {
            return self.say(tag, "BAD", "Can't Starttls after authentication");
        }
        if self.tls {
            return self.say(tag, "BAD", "Already did a successful Starttls");
        }
        if self.compression != Compression::Off {
            return self.say(tag, "BAD", "Can't Starttls after Compress");
        }
        self.say(tag, "OK", "Begin TLS negotiation now");
        self.finally.push_back(switch(LayerKind::TlsServer));
        self.phase = Phase::Switching;
    }

    /// Under TLS only who is logged in: a password and what others choose in one compressed stream would
    /// let its size tell the one from the other.
    pub(super) fn compress(&mut self, tag: &[u8], algorithm: &[u8]) {
        if self.compression != Compression::Off {
            return self.say(tag, "BAD", "DEFLATE active via COMPRESS");
        }
        if !algorithm.eq_ignore_ascii_case(b"DEFLATE") {
            return self.say(tag, "NO", "Unknown COMPRESS algorithm");
        }
        if self.tls && !matches!(self.phase, Phase::LoggedIn) {
            return self.say(tag, "NO", "under TLS log in first");
        }
        self.place = self.config.compression.as_ref().and_then(Places::take);
        if self.place.is_none() {
            return self.say(tag, "NO", "too many compressed connections");
        }
        self.say(tag, "OK", "DEFLATE active");
        self.finally.push_back(switch(LayerKind::Deflate));
        self.compression = Compression::Switching;
    }

    pub(super) fn switched(&mut self, result: Result<TlsInfo, Box<str>>) {
        match result {
            Ok(_) if self.compression == Compression::Switching => {
                // What was sent behind the command was sent too early.
                self.input = Vec::new();
                self.input_min = 0;
                self.compression = Compression::On;
            }
            Ok(info) => {
                // What was said before in clear may be anybody's.
                self.input = Vec::new();
                self.input_min = 0;
                self.tls = true;
                self.subject = info.client_subject;
                self.phase = Phase::ExpectLogin;
                self.greet();
            }
            Err(why) => {
                self.log(Level::Info, format!("mupdate client's TLS or COMPRESS: {why}"));
                self.phase = Phase::Over;
            }
        }
    }
}
