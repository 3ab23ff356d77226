//! Takes a fresh backend connection to "logged in".
//!
//! ```text
//! ExpectGreeting ──(ExpectCapability)──> choose a mechanism
//!   ├─ none, or TLS wanted ──> ExpectStarttls ──> Securing ──> ExpectCapability ──> choose
//!   └─ Authenticating ──> (ExpectLateCapability) ──> ready
//! ```
//! Tags of the login are of no one else: no command of the client is on the connection yet.

use super::grammar::{Response, Status, UntaggedKind, capabilities, code, response};
use super::offer::Offer;
use crate::login::backend::{self, LoginAs, Next, Terms};
use crate::login::config::ProxyLogin;
use crate::login::exchange::{Exchange, UNASKED_SALT};
use crate::proxy::{Opened, Service};
use crate::sasl::{self, Mechanism};
use crate::secret::Secret;

const CAPABILITY_TAG: &[u8] = b"RKC";
const STARTTLS_TAG: &[u8] = b"RKS";
const AUTH_TAG: &[u8] = b"RKA";

/// Lines that a backend may say before it is logged in; a server that says more is none.
const LINES_MAX: u16 = 256;

/// A login in progress. Tools drive it too.
pub struct Login {
    terms: Terms,
    stage: Stage,
    capabilities: Vec<u8>,
    release: Option<Release>,
    lines: u16,
}

enum Stage {
    ExpectGreeting,
    ExpectCapability,
    ExpectStarttls,
    Securing,
    Authenticating(Exchange),
    ExpectLateCapability,
}

/// What a login wants after what it was told.
pub type Step = backend::Step<Ready>;

/// What is known of a connection that logged in.
#[derive(Debug)]
pub struct Ready {
    /// What it offers.
    pub offer: Offer,
    /// Its capabilities, in its words.
    pub capabilities: Vec<u8>,
    /// The release of Cyrus that its greeting names.
    pub release: Option<Release>,
}

/// A release of Cyrus IMAP: `3.6` of `3.6.1`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Release {
    /// Before the first dot.
    pub major: u8,
    /// Behind it.
    pub minor: u8,
}

impl Release {
    /// Reads a greeting: `backend1 Cyrus IMAP 3.6.1-Debian-3.6.1-4 server ready`. With `serverinfo: min` or
    /// `off` there is nothing to read.
    pub fn of_greeting(text: &[u8]) -> Option<Release> {
        let text = std::str::from_utf8(text).ok()?;
        let (_, behind) = text.split_once("Cyrus IMAP ")?;
        let mut numbers = behind.trim_start_matches('v').split(|c: char| !c.is_ascii_digit());
        Some(Release { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.parse().ok()? })
    }
}

impl backend::Login for Login {
    type Ready = Ready;

    const SERVICE: Service = Service::Imap;

    fn new(who: LoginAs, opened: Opened, nonce: [u8; 18]) -> Login {
        let terms = Terms::new(who, opened, nonce);
        Login { terms, stage: Stage::ExpectGreeting, capabilities: Vec::new(), release: None, lines: 0 }
    }

    fn host(&self) -> &str {
        self.terms.host()
    }

    fn is_securing(&self) -> bool {
        matches!(self.stage, Stage::Securing)
    }

    fn handle_line(&mut self, line: &[u8], proxy: &ProxyLogin, out: &mut Vec<u8>) -> Step {
        self.lines += 1;
        if self.lines > LINES_MAX {
            return Step::Failed("too many lines before login");
        }
        match response(line) {
            Response::Untagged { kind, rest, .. } => self.handle_untagged(kind, rest, proxy, out),
            Response::Continuation { text } => self.handle_challenge(text, out),
            Response::Tagged { tag, status, text } => self.handle_tagged(tag, status, text, proxy, out),
            Response::Invalid => Step::Failed("no IMAP response"),
        }
    }

    fn secured(&mut self, out: &mut Vec<u8>) -> Step {
        self.terms.be_secured();
        self.ask_capabilities(out)
    }

    fn salted(&mut self, salted: Secret, out: &mut Vec<u8>) -> Step {
        let Stage::Authenticating(exchange) = &mut self.stage else { return Step::Failed(UNASKED_SALT) };
        exchange.salted(&salted, out)
    }
}

impl Login {
    fn handle_untagged(
        &mut self,
        kind: UntaggedKind,
        rest: &[u8],
        proxy: &ProxyLogin,
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
        match (kind, self.terms.is_noauth()) {
            (UntaggedKind::Ok, _) | (UntaggedKind::Preauth, true) => {}
            _ => return Step::Failed("greeting is not OK"),
        }
        self.release = Release::of_greeting(rest);
        if self.take_capability_code(rest) { self.choose(proxy, out) } else { self.ask_capabilities(out) }
    }

    fn handle_tagged(
        &mut self,
        tag: &[u8],
        status: Status,
        text: &[u8],
        proxy: &ProxyLogin,
        out: &mut Vec<u8>,
    ) -> Step {
        match (&self.stage, tag, status) {
            (Stage::ExpectCapability, CAPABILITY_TAG, Status::Ok) => self.choose(proxy, out),
            (Stage::ExpectStarttls, STARTTLS_TAG, Status::Ok) => {
                self.stage = Stage::Securing;
                Step::Secure
            }
            (Stage::Authenticating(exchange), AUTH_TAG, Status::Ok) if exchange.awaits_server() => {
                if exchange.is_complete() {
                    self.authenticated(text, out)
                } else {
                    Step::Failed("server did not prove itself")
                }
            }
            (Stage::Authenticating(exchange), AUTH_TAG, Status::No) if exchange.awaits_server() => {
                if is_temporary(text) {
                    Step::Failed("server cannot authenticate at the moment")
                } else {
                    Step::Refused { text: text.trim_ascii().into() }
                }
            }
            (Stage::ExpectLateCapability, CAPABILITY_TAG, Status::Ok) => self.ready(),
            _ => Step::Failed("unexpected tagged reply during login"),
        }
    }

    fn authenticated(&mut self, text: &[u8], out: &mut Vec<u8>) -> Step {
        if self.take_capability_code(text) {
            return self.ready();
        }
        self.stage = Stage::ExpectLateCapability;
        push_line(out, &[CAPABILITY_TAG, b" CAPABILITY"]);
        Step::Wait
    }

    fn handle_challenge(&mut self, text: &[u8], out: &mut Vec<u8>) -> Step {
        if let Stage::Authenticating(exchange) = &mut self.stage
            && exchange.awaits_server()
        {
            return exchange.challenge(text.trim_ascii(), out);
        }
        Step::Failed("unexpected continuation request during login")
    }

    fn ready(&mut self) -> Step {
        let capabilities = std::mem::take(&mut self.capabilities);
        Step::Ready(Ready { offer: Offer::read(&capabilities), capabilities, release: self.release })
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
    fn choose(&mut self, proxy: &ProxyLogin, out: &mut Vec<u8>) -> Step {
        let offered = capabilities(&self.capabilities).filter_map(auth_mechanism);
        let offers_tls = Offer::read(&self.capabilities).has(Offer::STARTTLS);
        match self.terms.next(offered, offers_tls, proxy) {
            Next::Ready => self.ready(),
            Next::Starttls => {
                self.stage = Stage::ExpectStarttls;
                push_line(out, &[STARTTLS_TAG, b" STARTTLS"]);
                Step::Wait
            }
            Next::Authenticate(mechanism) => self.authenticate(mechanism, proxy, out),
            Next::Fail(why) => Step::Failed(why),
        }
    }

    fn authenticate(&mut self, mechanism: Mechanism, proxy: &ProxyLogin, out: &mut Vec<u8>) -> Step {
        let Ok(mut client) = self.terms.client(mechanism, proxy) else {
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
        self.stage = Stage::Authenticating(Exchange::new(client));
        Step::Wait
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

fn push_line(out: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.extend_from_slice(b"\r\n");
}
