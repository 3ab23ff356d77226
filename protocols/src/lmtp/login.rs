//! Takes a fresh backend connection to where MAIL may be said.
//!
//! ```text
//! ExpectGreeting ──> ExpectLhlo ──> choose a mechanism
//!   ├─ none, or TLS wanted ──> ExpectStarttls ──> Securing ──> ExpectLhlo ──> choose
//!   └─ Authenticating ──> ready
//! ```

use std::sync::Arc;

use super::grammar::{ReplyError, reply};
use super::offer::Offer;
use crate::login::backend::{self, LoginAs, Next, Terms};
use crate::login::config::ProxyLogin;
use crate::login::exchange::{Exchange, UNASKED_SALT};
use crate::proxy::{Opened, Service};
use crate::sasl::{self, Mechanism};
use crate::secret::Secret;
use crate::wire;

/// Replies that a backend may need until it is logged in to; a server that needs more is none.
const REPLIES_MAX: u8 = 32;

/// Bytes of an AUTH command with its initial response (RFC 4954 section 4: 12288 with; Cyrus reads 4096).
const AUTH_LINE_BYTES_MAX: usize = 512;

const LHLO: &[u8] = b"LHLO rookery\r\n";

/// A login in progress.
pub struct Login {
    terms: Terms,
    stage: Stage,
    offer: Arc<[u8]>,
    replies: u8,
}

enum Stage {
    ExpectGreeting,
    ExpectLhlo,
    ExpectStarttls,
    Securing,
    Authenticating(Exchange),
}

/// What a login wants. Ready with what the backend offers, in the words of [`Offer::read`].
pub type Step = backend::Step<Arc<[u8]>>;

impl backend::Login for Login {
    type Ready = Arc<[u8]>;

    const SERVICE: Service = Service::Lmtp;

    fn new(who: LoginAs, opened: Opened, nonce: [u8; 18]) -> Login {
        let terms = Terms::new(who, opened, nonce);
        Login { terms, stage: Stage::ExpectGreeting, offer: Arc::default(), replies: 0 }
    }

    fn host(&self) -> &str {
        self.terms.host()
    }

    fn is_securing(&self) -> bool {
        matches!(self.stage, Stage::Securing)
    }

    fn extent(input: &[u8], limit: usize) -> Result<usize, wire::Error> {
        match reply(input) {
            Ok(reply) => Ok(reply.text.len()),
            Err(ReplyError::Incomplete) => Err(wire::Error::Incomplete),
            Err(ReplyError::Invalid) => Err(wire::Error::TooLong { what: "reply", limit: limit as u64 }),
        }
    }

    fn handle_line(&mut self, line: &[u8], proxy: &ProxyLogin, out: &mut Vec<u8>) -> Step {
        self.replies += 1;
        if self.replies > REPLIES_MAX {
            return Step::Failed("too many replies before login");
        }
        let Ok(reply) = reply(line) else { return Step::Failed("no LMTP reply") };
        match (&mut self.stage, reply.code) {
            (Stage::ExpectGreeting, 220) => self.lhlo(out),
            (Stage::ExpectLhlo, 250) => {
                self.offer = reply.lines().skip(1).collect::<Vec<_>>().join(&b'\n').into();
                self.choose(proxy, out)
            }
            (Stage::ExpectStarttls, 220) => {
                self.stage = Stage::Securing;
                Step::Secure
            }
            (Stage::Authenticating(exchange), code) if exchange.awaits_server() => match code {
                235 if exchange.is_complete() => Step::Ready(Arc::clone(&self.offer)),
                235 => Step::Failed("server did not prove itself"),
                334 => exchange.challenge(reply.last_text().trim_ascii(), out),
                500..=599 => Step::Refused { text: reply.last_text().into() },
                _ => Step::Failed("unexpected reply during login"),
            },
            _ => Step::Failed("unexpected reply during login"),
        }
    }

    fn secured(&mut self, out: &mut Vec<u8>) -> Step {
        self.terms.be_secured();
        self.lhlo(out)
    }

    fn salted(&mut self, salted: Secret, out: &mut Vec<u8>) -> Step {
        let Stage::Authenticating(exchange) = &mut self.stage else { return Step::Failed(UNASKED_SALT) };
        exchange.salted(&salted, out)
    }
}

impl Login {
    fn lhlo(&mut self, out: &mut Vec<u8>) -> Step {
        self.stage = Stage::ExpectLhlo;
        out.extend_from_slice(LHLO);
        Step::Wait
    }

    fn choose(&mut self, proxy: &ProxyLogin, out: &mut Vec<u8>) -> Step {
        let offer = Arc::clone(&self.offer);
        let mechanisms = Offer::mechanisms(&offer);
        match self.terms.next(mechanisms, Offer::read(&offer).starttls, proxy) {
            Next::Ready => Step::Ready(offer),
            Next::Starttls => {
                self.stage = Stage::ExpectStarttls;
                out.extend_from_slice(b"STARTTLS\r\n");
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
        let start = out.len();
        out.extend_from_slice(b"AUTH ");
        out.extend_from_slice(mechanism.name().as_bytes());
        let bare = out.len();
        if let Some(initial) = client.initial() {
            out.push(b' ');
            match initial.expose() {
                [] => out.push(b'='),
                initial => sasl::base64_out(out, initial),
            }
        }
        if out.len() - start > AUTH_LINE_BYTES_MAX {
            out.truncate(bare);
            return Step::Failed("user name and password are too long for AUTH");
        }
        out.extend_from_slice(b"\r\n");
        self.stage = Stage::Authenticating(Exchange::new(client));
        Step::Wait
    }
}
