//! Takes a fresh backend connection to "logged in".
//!
//! ```text
//! ExpectGreeting ──(ExpectCapability)──> choose a mechanism
//!   ├─ none, or TLS wanted ──> ExpectStarttls ──> Securing ──> ExpectCapability ──> choose
//!   └─ ExpectAuthReply <──> Salting ──> (ExpectLateCapability) ──> ready
//! ```
//! Tags of the login are of no one else: no command of the client is on the connection yet.

use super::backend::{LoginAs, Offer};
use super::config::{BackendTls, Config};
use super::grammar::{Response, Status, UntaggedKind, capabilities, code, response};
use crate::proxy::{Opened, ScramHash};
use crate::sasl::{self, Mechanism};
use crate::secret::Secret;

const CAPABILITY_TAG: &[u8] = b"RKC";
const STARTTLS_TAG: &[u8] = b"RKS";
const AUTH_TAG: &[u8] = b"RKA";

/// Lines that a backend may say before it is logged in; a server that says more is none.
const LINES_MAX: u16 = 256;

/// A login in progress. Tools drive it too.
pub struct Login {
    who: LoginAs,
    opened: Opened,
    nonce: [u8; 18],
    stage: Stage,
    secured: bool,
    capabilities: Vec<u8>,
    lines: u16,
}

enum Stage {
    ExpectGreeting,
    ExpectCapability,
    ExpectStarttls,
    Securing,
    ExpectAuthReply(Box<sasl::Client>),
    Salting(Box<sasl::Client>),
    ExpectLateCapability,
}

/// What a login wants after what it was told.
#[derive(Debug)]
pub enum Step {
    /// More lines.
    Wait,
    /// TLS; then [`Login::secured`].
    Secure,
    /// PBKDF2; then [`Login::salted`].
    Salt {
        /// Which hash.
        hash: ScramHash,
        /// The password, prepared.
        password: Secret,
        /// The server's salt.
        salt: Box<[u8]>,
        /// The server's count.
        iterations: u32,
    },
    /// Logged in.
    Ready(Ready),
    /// The server refused name and password.
    Refused,
    /// It cannot be.
    Failed(&'static str),
}

/// What is known of a connection that logged in.
#[derive(Debug)]
pub struct Ready {
    /// What it offers.
    pub offer: Offer,
    /// Its capabilities, in its words.
    pub capabilities: Vec<u8>,
}

impl Login {
    /// Begins on a connection that stands. `nonce` is used once.
    pub fn new(who: LoginAs, opened: Opened, nonce: [u8; 18]) -> Login {
        let secured = opened.tls;
        let stage = Stage::ExpectGreeting;
        Login { who, opened, nonce, stage, secured, capabilities: Vec::new(), lines: 0 }
    }

    /// Host part of the server's name: what its certificate must carry.
    pub fn host(&self) -> &str {
        &self.opened.host
    }

    /// Whether the login is the user's own.
    pub(super) fn is_users_own(&self) -> bool {
        matches!(self.who, LoginAs::User { .. })
    }

    /// Whether TLS is being set up by STARTTLS.
    pub(super) fn is_securing(&self) -> bool {
        matches!(self.stage, Stage::Securing)
    }

    /// Takes a line of the server, its end included. What is sent is appended to `out`.
    pub fn handle_line(&mut self, line: &[u8], config: &Config, out: &mut Vec<u8>) -> Step {
        self.lines += 1;
        if self.lines > LINES_MAX {
            return Step::Failed("too many lines before login");
        }
        match response(line) {
            Response::Untagged { kind, rest, .. } => self.handle_untagged(kind, rest, config, out),
            Response::Continuation { text } => self.handle_challenge(text, out),
            Response::Tagged { tag, status, text } => self.handle_tagged(tag, status, text, config, out),
            Response::Invalid => Step::Failed("no IMAP response"),
        }
    }

    /// TLS is on.
    pub fn secured(&mut self, out: &mut Vec<u8>) -> Step {
        self.secured = true;
        self.ask_capabilities(out)
    }

    /// PBKDF2 is done.
    pub fn salted(&mut self, salted: Secret, out: &mut Vec<u8>) -> Step {
        match std::mem::replace(&mut self.stage, Stage::ExpectGreeting) {
            Stage::Salting(mut client) => {
                let step = client.salted_password(&salted);
                self.stage = Stage::ExpectAuthReply(client);
                match step {
                    Ok(step) => self.respond(step, out),
                    Err(_) => cancel("server failed the mechanism", out),
                }
            }
            Stage::ExpectGreeting
            | Stage::ExpectCapability
            | Stage::ExpectStarttls
            | Stage::Securing
            | Stage::ExpectAuthReply(_)
            | Stage::ExpectLateCapability => Step::Failed("salted password that was not asked for"),
        }
    }

    fn handle_untagged(
        &mut self,
        kind: UntaggedKind,
        rest: &[u8],
        config: &Config,
        out: &mut Vec<u8>,
    ) -> Step {
        if kind == UntaggedKind::Bye {
            return Step::Failed("server said BYE");
        }
        if kind == UntaggedKind::Capability {
            self.capabilities = rest.to_vec();
        }
        if !matches!(self.stage, Stage::ExpectGreeting) {
            return Step::Wait;
        }
        match (kind, self.opened.noauth) {
            (UntaggedKind::Ok, _) | (UntaggedKind::Preauth, true) => {}
            _ => return Step::Failed("greeting is not OK"),
        }
        if self.take_capability_code(rest) { self.choose(config, out) } else { self.ask_capabilities(out) }
    }

    fn handle_tagged(
        &mut self,
        tag: &[u8],
        status: Status,
        text: &[u8],
        config: &Config,
        out: &mut Vec<u8>,
    ) -> Step {
        match (&self.stage, tag, status) {
            (Stage::ExpectCapability, CAPABILITY_TAG, Status::Ok) => self.choose(config, out),
            (Stage::ExpectStarttls, STARTTLS_TAG, Status::Ok) => {
                self.stage = Stage::Securing;
                Step::Secure
            }
            (Stage::ExpectAuthReply(_), AUTH_TAG, Status::Ok) => self.authenticated(text, out),
            (Stage::ExpectAuthReply(_), AUTH_TAG, Status::No) if is_temporary(text) => {
                Step::Failed("server cannot authenticate at the moment")
            }
            (Stage::ExpectAuthReply(_), AUTH_TAG, Status::No) => Step::Refused,
            (Stage::ExpectLateCapability, CAPABILITY_TAG, Status::Ok) => self.ready(),
            _ => Step::Failed("unexpected tagged reply during login"),
        }
    }

    /// The server's last message of the mechanism must have been verified before its OK counts.
    fn authenticated(&mut self, text: &[u8], out: &mut Vec<u8>) -> Step {
        if let Stage::ExpectAuthReply(client) = &self.stage
            && !client.is_complete()
        {
            return Step::Failed("server did not prove itself");
        }
        if self.take_capability_code(text) {
            return self.ready();
        }
        self.stage = Stage::ExpectLateCapability;
        push_line(out, &[CAPABILITY_TAG, b" CAPABILITY"]);
        Step::Wait
    }

    fn ready(&mut self) -> Step {
        let capabilities = std::mem::take(&mut self.capabilities);
        Step::Ready(Ready { offer: Offer::read(&capabilities), capabilities })
    }

    fn handle_challenge(&mut self, text: &[u8], out: &mut Vec<u8>) -> Step {
        let Stage::ExpectAuthReply(client) = &mut self.stage else {
            return Step::Failed("unexpected continuation request during login");
        };
        let Ok(challenge) = sasl::decode_base64(text.trim_ascii()) else {
            return cancel("challenge is not base64", out);
        };
        match client.step(challenge.expose()) {
            Ok(step) => self.respond(step, out),
            Err(_) => cancel("server failed the mechanism", out),
        }
    }

    fn respond(&mut self, step: sasl::ClientStep, out: &mut Vec<u8>) -> Step {
        match step {
            sasl::ClientStep::Response(response) => {
                sasl::base64_out(out, response.expose());
                push_line(out, &[]);
                Step::Wait
            }
            sasl::ClientStep::NeedSaltedPassword { hash, password, salt, iterations } => {
                let stage = std::mem::replace(&mut self.stage, Stage::ExpectGreeting);
                if let Stage::ExpectAuthReply(client) = stage {
                    self.stage = Stage::Salting(client);
                }
                Step::Salt { hash, password, salt, iterations }
            }
            sasl::ClientStep::Done => {
                push_line(out, &[]);
                Step::Wait
            }
        }
    }

    fn ask_capabilities(&mut self, out: &mut Vec<u8>) -> Step {
        self.stage = Stage::ExpectCapability;
        push_line(out, &[CAPABILITY_TAG, b" CAPABILITY"]);
        Step::Wait
    }

    /// Takes `[CAPABILITY ...]` out of a text; whether there was one.
    fn take_capability_code(&mut self, text: &[u8]) -> bool {
        match code(text) {
            Some((name, args)) if name.eq_ignore_ascii_case(b"CAPABILITY") => {
                self.capabilities = args.to_vec();
                true
            }
            Some(_) | None => false,
        }
    }

    /// Decides what comes behind greeting or STARTTLS.
    fn choose(&mut self, config: &Config, out: &mut Vec<u8>) -> Step {
        if self.opened.noauth {
            return self.ready();
        }
        let mechanism = self.mechanism(config);
        let offers_tls = Offer::read(&self.capabilities).has(Offer::STARTTLS);
        if !self.secured && self.wants_tls(config, mechanism.is_none()) {
            if !offers_tls && (mechanism.is_none() || config.proxy.starttls == BackendTls::Required) {
                return Step::Failed("server offers neither a mechanism that we may use nor STARTTLS");
            }
            if offers_tls {
                self.stage = Stage::ExpectStarttls;
                push_line(out, &[STARTTLS_TAG, b" STARTTLS"]);
                return Step::Wait;
            }
        }
        match mechanism {
            Some(mechanism) => self.authenticate(mechanism, config, out),
            None => Step::Failed("server offers no mechanism that we may use"),
        }
    }

    fn wants_tls(&self, config: &Config, nothing_usable: bool) -> bool {
        let policy = match (config.proxy.starttls, self.is_users_own()) {
            // A user's own password is never sent in the clear where that can be helped.
            (BackendTls::WhenNeeded, true) => BackendTls::WhenOffered,
            (policy, _) => policy,
        };
        nothing_usable || policy != BackendTls::WhenNeeded
    }

    fn mechanism(&self, config: &Config) -> Option<Mechanism> {
        let offered = capabilities(&self.capabilities).filter_map(auth_mechanism);
        if self.is_users_own() {
            return sasl::choose(offered, Some(&[b"PLAIN", b"LOGIN"]), self.secured);
        }
        // A mechanism without an authorization identity would log in as the proxy itself.
        let offered = offered.filter(|name| Mechanism::parse(name).is_some_and(Mechanism::carries_authzid));
        match config.proxy.mechanisms_for(&self.opened.host) {
            None => sasl::choose(offered, None, self.secured),
            Some(allowed) => {
                let allowed: Vec<&[u8]> = allowed.iter().map(|name| name.as_bytes()).collect();
                sasl::choose(offered, Some(&allowed), self.secured)
            }
        }
    }

    fn authenticate(&mut self, mechanism: Mechanism, config: &Config, out: &mut Vec<u8>) -> Step {
        let Ok(mut client) = sasl::Client::new(mechanism, self.credentials(config), self.nonce) else {
            return Step::Failed("user name or password cannot be used with the mechanism");
        };
        out.extend_from_slice(AUTH_TAG);
        out.extend_from_slice(b" AUTHENTICATE ");
        out.extend_from_slice(mechanism.name().as_bytes());
        if Offer::read(&self.capabilities).has(Offer::SASL_IR)
            && let Some(initial) = client.initial()
        {
            out.push(b' ');
            match initial.expose() {
                [] => out.push(b'='),
                initial => sasl::base64_out(out, initial),
            }
        }
        out.extend_from_slice(b"\r\n");
        self.stage = Stage::ExpectAuthReply(Box::new(client));
        Step::Wait
    }

    fn credentials(&self, config: &Config) -> sasl::Credentials {
        match &self.who {
            LoginAs::Proxy { user } => sasl::Credentials {
                authzid: user.clone(),
                authcid: config.proxy.authname.clone(),
                realm: config.proxy.realm.clone(),
                password: config.proxy.password_for(&self.opened.host).clone(),
            },
            LoginAs::User { user, password } => sasl::Credentials {
                authzid: Box::default(),
                authcid: user.clone(),
                realm: None,
                password: password.clone(),
            },
        }
    }
}

/// `AUTH=name` (RFC 9051 section 7.2.2).
fn auth_mechanism(word: &[u8]) -> Option<&[u8]> {
    let (prefix, name) = word.split_at_checked(5)?;
    prefix.eq_ignore_ascii_case(b"AUTH=").then_some(name)
}

/// A NO that says nothing about the password (RFC 5530).
fn is_temporary(text: &[u8]) -> bool {
    let temporary: [&[u8]; 4] = [b"UNAVAILABLE", b"INUSE", b"SERVERBUG", b"LIMIT"];
    code(text).is_some_and(|(name, _)| temporary.iter().any(|word| word.eq_ignore_ascii_case(name)))
}

fn cancel(why: &'static str, out: &mut Vec<u8>) -> Step {
    push_line(out, &[b"*"]);
    Step::Failed(why)
}

fn push_line(out: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.extend_from_slice(b"\r\n");
}
