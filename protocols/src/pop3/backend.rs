//! Takes a fresh connection to a POP3 server to "logged in".
//!
//! ```text
//! ExpectGreeting ──> ExpectCapa ──> InCapa ──> choose a mechanism
//!   ├─ none, or TLS wanted ──> ExpectStls ──> Securing ──> ExpectCapa
//!   └─ Authenticating ──> ready
//! ```

use super::grammar::{Reply, reply};
use crate::login::backend::{self, LoginAs, Next, Step, Terms};
use crate::login::config::ProxyLogin;
use crate::login::exchange::{Exchange, UNASKED_SALT};
use crate::proxy::{Opened, Service};
use crate::sasl::{self, Mechanism};
use crate::secret::Secret;
use crate::wire::line;

/// Lines that a server may say before it is logged in; one that says more is none.
const LINES_MAX: u16 = 256;

/// Bytes of a command line with an initial response: "the total length of the AUTH command line when the
/// initial response is used is limited to 255 octets" (RFC 5034 section 4).
const AUTH_LINE_BYTES_MAX: usize = 255;

/// A login in progress.
pub struct Login {
    terms: Terms,
    stage: Stage,
    offers_tls: bool,
    /// The mechanisms that it offers.
    mechanisms: Vec<u8>,
    lines: u16,
}

enum Stage {
    ExpectGreeting,
    ExpectCapa,
    InCapa,
    ExpectStls,
    Securing,
    Authenticating(Exchange),
    Over,
}

/// A connection that is logged in.
#[derive(Debug)]
pub struct Ready {
    /// What the server said behind `+OK`.
    pub text: Box<[u8]>,
}

impl backend::Login for Login {
    type Ready = Ready;

    const SERVICE: Service = Service::Pop3;

    fn new(who: LoginAs, opened: Opened, nonce: [u8; 18]) -> Login {
        let terms = Terms::new(who, opened, nonce);
        Login { terms, stage: Stage::ExpectGreeting, offers_tls: false, mechanisms: Vec::new(), lines: 0 }
    }

    fn host(&self) -> &str {
        self.terms.host()
    }

    fn is_securing(&self) -> bool {
        matches!(self.stage, Stage::Securing)
    }

    fn handle_line(&mut self, line: &[u8], proxy: &ProxyLogin, out: &mut Vec<u8>) -> Step<Ready> {
        self.lines += 1;
        if self.lines > LINES_MAX {
            return Step::Failed("too many lines before login");
        }
        let line = line::without_end(line);
        match (std::mem::replace(&mut self.stage, Stage::Over), reply(line)) {
            (Stage::ExpectGreeting, Reply::Ok(_)) => self.ask_capabilities(out),
            (Stage::ExpectGreeting, _) => Step::Failed("greeting is not +OK"),
            (Stage::ExpectCapa, Reply::Ok(_)) => {
                self.stage = Stage::InCapa;
                Step::Wait
            }
            // A server without CAPA has no SASL that could be known.
            (Stage::ExpectCapa, _) => Step::Failed("server does not tell its capabilities"),
            (Stage::InCapa, _) if line == b"." => self.choose(proxy, out),
            (Stage::InCapa, _) => {
                self.note(line);
                self.stage = Stage::InCapa;
                Step::Wait
            }
            (Stage::ExpectStls, Reply::Ok(_)) => {
                self.stage = Stage::Securing;
                Step::Secure
            }
            (Stage::ExpectStls, _) => Step::Failed("STLS refused"),
            (Stage::Authenticating(exchange), reply) if exchange.awaits_server() => {
                self.handle_auth_reply(exchange, reply, out)
            }
            (Stage::Securing | Stage::Authenticating(_) | Stage::Over, _) => {
                Step::Failed("line that was not asked for during login")
            }
        }
    }

    /// `[AUTH]` is about name and password (RFC 3206 section 4); nothing else is.
    fn blames_password(text: &[u8]) -> bool {
        text.get(..6).is_some_and(|code| code.eq_ignore_ascii_case(b"[AUTH]"))
    }

    fn secured(&mut self, out: &mut Vec<u8>) -> Step<Ready> {
        self.terms.be_secured();
        // What was said in the clear counts for nothing.
        self.mechanisms.clear();
        self.offers_tls = false;
        self.ask_capabilities(out)
    }

    fn salted(&mut self, salted: Secret, out: &mut Vec<u8>) -> Step<Ready> {
        match &mut self.stage {
            Stage::Authenticating(exchange) => exchange.salted(&salted, out),
            Stage::ExpectGreeting
            | Stage::ExpectCapa
            | Stage::InCapa
            | Stage::ExpectStls
            | Stage::Securing
            | Stage::Over => Step::Failed(UNASKED_SALT),
        }
    }
}

impl Login {
    fn ask_capabilities(&mut self, out: &mut Vec<u8>) -> Step<Ready> {
        self.stage = Stage::ExpectCapa;
        out.extend_from_slice(b"CAPA\r\n");
        Step::Wait
    }

    /// Takes a line of the reply to CAPA.
    fn note(&mut self, line: &[u8]) {
        let mut words = line.splitn(2, |byte| *byte == b' ');
        let name = words.next().unwrap_or_default();
        if name.eq_ignore_ascii_case(b"STLS") {
            self.offers_tls = true;
        } else if name.eq_ignore_ascii_case(b"SASL") {
            self.mechanisms = words.next().unwrap_or_default().to_vec();
        }
    }

    /// Decides what comes behind the capabilities.
    fn choose(&mut self, proxy: &ProxyLogin, out: &mut Vec<u8>) -> Step<Ready> {
        let offered = self.mechanisms.split(u8::is_ascii_whitespace).filter(|name| !name.is_empty());
        match self.terms.next(offered, self.offers_tls, proxy) {
            // POP3 has no greeting of a client that is known already.
            Next::Ready => Step::Failed("/noauth is not for POP3"),
            Next::Starttls => {
                self.stage = Stage::ExpectStls;
                out.extend_from_slice(b"STLS\r\n");
                Step::Wait
            }
            Next::Authenticate(mechanism) => self.authenticate(mechanism, proxy, out),
            Next::Fail(why) => Step::Failed(why),
        }
    }

    fn authenticate(&mut self, mechanism: Mechanism, proxy: &ProxyLogin, out: &mut Vec<u8>) -> Step<Ready> {
        let Ok(mut client) = self.terms.client(mechanism, proxy) else {
            return Step::Failed("user name or password cannot be used with the mechanism");
        };
        out.extend_from_slice(b"AUTH ");
        out.extend_from_slice(mechanism.name().as_bytes());
        let before = "AUTH  \r\n".len() + mechanism.name().len();
        match client.initial() {
            Some(initial) if initial.expose().is_empty() => out.extend_from_slice(b" ="),
            Some(initial) if before + initial.expose().len().div_ceil(3) * 4 <= AUTH_LINE_BYTES_MAX => {
                out.push(b' ');
                sasl::base64_out(out, initial.expose());
            }
            // The server asks for it, of a client that has said nothing.
            Some(_) => match self.terms.client(mechanism, proxy) {
                Ok(fresh) => client = fresh,
                Err(_) => return Step::Failed("user name or password cannot be used with the mechanism"),
            },
            None => {}
        }
        out.extend_from_slice(b"\r\n");
        self.stage = Stage::Authenticating(Exchange::new(client));
        Step::Wait
    }

    fn handle_auth_reply(
        &mut self,
        mut exchange: Exchange,
        reply: Reply<'_>,
        out: &mut Vec<u8>,
    ) -> Step<Ready> {
        match reply {
            Reply::Ok(text) if exchange.is_complete() => Step::Ready(Ready { text: text.into() }),
            Reply::Ok(_) => Step::Failed("server did not prove itself"),
            Reply::Err(text) => Step::Refused { text: text.trim_ascii().into() },
            Reply::Challenge(text) => {
                let step = exchange.challenge(text, out);
                self.stage = Stage::Authenticating(exchange);
                step
            }
            Reply::Other(_) => Step::Failed("no POP3 reply to AUTH"),
        }
    }
}
