//! Takes a fresh connection to a ManageSieve server to "logged in".
//!
//! ```text
//! ExpectCapabilities ──> choose a mechanism
//!   ├─ none, or TLS wanted ──> ExpectStarttls ──> Securing ──> ExpectCapabilities
//!   └─ Authenticating ──> ready
//! ```

use std::borrow::Cow;

use super::capabilities::{KEPT_BYTES_MAX, is_passed};
use super::grammar::{STRING_BYTES_MAX, Status, sasl_code, server_string, status};
use crate::login::backend::{self, LoginAs, Next, Step, Terms};
use crate::login::config::ProxyLogin;
use crate::login::exchange::{Exchange, Frame, UNASKED_SALT};
use crate::proxy::{Opened, Service};
use crate::sasl::{self, Mechanism};
use crate::secret::Secret;
use crate::wire::head::{self, Extent};
use crate::wire::{self, line};

/// Lines that a server may say before it is logged in; one that says more is none.
const LINES_MAX: u16 = 256;

/// A login in progress.
pub struct Login {
    terms: Terms,
    stage: Stage,
    offers_tls: bool,
    /// The mechanisms that it offers.
    mechanisms: Vec<u8>,
    /// What else it offers, as it said it.
    capabilities: Vec<u8>,
    lines: u16,
}

enum Stage {
    ExpectCapabilities,
    ExpectStarttls,
    Securing,
    Authenticating(Exchange<Strings>),
    Over,
}

/// A connection that is logged in.
#[derive(Debug)]
pub struct Ready {
    /// What the server offers, line by line as it said it, without what is a frontend's own.
    pub capabilities: Box<[u8]>,
}

impl backend::Login for Login {
    type Ready = Ready;

    const SERVICE: Service = Service::Sieve;

    fn new(who: LoginAs, opened: Opened, nonce: [u8; 18]) -> Login {
        let terms = Terms::new(who, opened, nonce);
        let stage = Stage::ExpectCapabilities;
        Login { terms, stage, offers_tls: false, mechanisms: Vec::new(), capabilities: Vec::new(), lines: 0 }
    }

    fn host(&self) -> &str {
        self.terms.host()
    }

    fn is_securing(&self) -> bool {
        matches!(self.stage, Stage::Securing)
    }

    fn extent(input: &[u8], limit: usize) -> Result<usize, wire::Error> {
        let too_long = wire::Error::TooLong { what: "response", limit: limit as u64 };
        match head::extent(input, STRING_BYTES_MAX, limit)? {
            Extent::Complete { len } => Ok(len),
            Extent::Literal { announced, .. } if announced.len > STRING_BYTES_MAX => Err(too_long),
            Extent::Literal { .. } | Extent::Partial { .. } => Err(wire::Error::Incomplete),
        }
    }

    fn handle_line(&mut self, line: &[u8], proxy: &ProxyLogin, out: &mut Vec<u8>) -> Step<Ready> {
        self.lines += 1;
        if self.lines > LINES_MAX {
            return Step::Failed("too many lines before login");
        }
        match (std::mem::replace(&mut self.stage, Stage::Over), status(line)) {
            (_, Some((Status::Bye, _))) => Step::Failed("server said BYE"),
            (Stage::ExpectCapabilities, Some((Status::Ok, _))) => self.choose(proxy, out),
            (Stage::ExpectCapabilities, Some((Status::No, _))) => Step::Failed("greeting is not OK"),
            (Stage::ExpectCapabilities, None) => self.note(line),
            (Stage::ExpectStarttls, Some((Status::Ok, _))) => {
                self.stage = Stage::Securing;
                Step::Secure
            }
            (Stage::ExpectStarttls, _) => Step::Failed("STARTTLS refused"),
            (Stage::Authenticating(mut exchange), said) if exchange.awaits_server() => match said {
                Some((Status::Ok, text)) => self.authenticated(exchange, text),
                Some((Status::No, text)) => Step::Refused { text: text.into() },
                Some((Status::Bye, _)) => Step::Failed("server said BYE"),
                None => {
                    // What is no string is no base64 either.
                    let challenge = server_string(line).map_or(Cow::Borrowed(line), |(text, _)| text);
                    let step = exchange.challenge(&challenge, out);
                    self.stage = Stage::Authenticating(exchange);
                    step
                }
            },
            (Stage::Securing | Stage::Authenticating(_) | Stage::Over, _) => {
                Step::Failed("line that was not asked for during login")
            }
        }
    }

    /// The server tells its capabilities unasked (RFC 5804 section 2.2).
    fn secured(&mut self, _out: &mut Vec<u8>) -> Step<Ready> {
        self.terms.be_secured();
        // What was said in the clear counts for nothing.
        self.mechanisms.clear();
        self.capabilities.clear();
        self.offers_tls = false;
        self.stage = Stage::ExpectCapabilities;
        Step::Wait
    }

    fn salted(&mut self, salted: Secret, out: &mut Vec<u8>) -> Step<Ready> {
        match &mut self.stage {
            Stage::Authenticating(exchange) => exchange.salted(&salted, out),
            Stage::ExpectCapabilities | Stage::ExpectStarttls | Stage::Securing | Stage::Over => {
                Step::Failed(UNASKED_SALT)
            }
        }
    }
}

impl Login {
    /// Takes a line of the capabilities.
    fn note(&mut self, line: &[u8]) -> Step<Ready> {
        let Some((name, rest)) = server_string(line::without_end(line)) else {
            return Step::Failed("no ManageSieve capability");
        };
        if name.eq_ignore_ascii_case(b"STARTTLS") {
            self.offers_tls = true;
        } else if name.eq_ignore_ascii_case(b"SASL") {
            let value = rest.strip_prefix(b" ").and_then(server_string);
            self.mechanisms = value.map(|(value, _)| value.into_owned()).unwrap_or_default();
        } else if is_passed(line) && self.capabilities.len() + line.len() <= KEPT_BYTES_MAX {
            self.capabilities.extend_from_slice(line);
        }
        self.stage = Stage::ExpectCapabilities;
        Step::Wait
    }

    /// Decides what comes behind the capabilities.
    fn choose(&mut self, proxy: &ProxyLogin, out: &mut Vec<u8>) -> Step<Ready> {
        let offered = self.mechanisms.split(u8::is_ascii_whitespace).filter(|name| !name.is_empty());
        match self.terms.next(offered, self.offers_tls, proxy) {
            Next::Ready => self.ready(),
            Next::Starttls => {
                self.stage = Stage::ExpectStarttls;
                out.extend_from_slice(b"STARTTLS\r\n");
                Step::Wait
            }
            Next::Authenticate(mechanism) => self.authenticate(mechanism, proxy, out),
            Next::Fail(why) => Step::Failed(why),
        }
    }

    fn ready(&mut self) -> Step<Ready> {
        Step::Ready(Ready { capabilities: std::mem::take(&mut self.capabilities).into() })
    }

    fn authenticate(&mut self, mechanism: Mechanism, proxy: &ProxyLogin, out: &mut Vec<u8>) -> Step<Ready> {
        let Ok(mut client) = self.terms.client(mechanism, proxy) else {
            return Step::Failed("user name or password cannot be used with the mechanism");
        };
        out.extend_from_slice(b"AUTHENTICATE \"");
        out.extend_from_slice(mechanism.name().as_bytes());
        out.push(b'"');
        if let Some(initial) = client.initial() {
            out.push(b' ');
            string_out(initial.expose(), out);
        }
        out.extend_from_slice(b"\r\n");
        self.stage = Stage::Authenticating(Exchange::new(client));
        Step::Wait
    }

    /// The server's last message of the mechanism must have been verified before its OK counts.
    fn authenticated(&mut self, mut exchange: Exchange<Strings>, text: &[u8]) -> Step<Ready> {
        if let Some(last) = sasl_code(text)
            && exchange.last_message(&last).is_err()
        {
            return Step::Failed("server failed the mechanism");
        }
        if exchange.is_complete() { self.ready() } else { Step::Failed("server did not prove itself") }
    }
}

/// Messages are strings (RFC 5804 section 2.1).
enum Strings {}

impl Frame for Strings {
    const CANCEL: &'static [u8] = b"\"*\"\r\n";

    fn response(message: &[u8], out: &mut Vec<u8>) {
        string_out(message, out);
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes a message in base64, as a literal where no quoted string may be so long (1,024 octets, RFC 5804
/// section 4).
fn string_out(message: &[u8], out: &mut Vec<u8>) {
    let encoded = message.len().div_ceil(3) * 4;
    if encoded > 1000 {
        out.extend_from_slice(format!("{{{encoded}+}}\r\n").as_bytes());
        sasl::base64_out(out, message);
    } else {
        out.push(b'"');
        sasl::base64_out(out, message);
        out.push(b'"');
    }
}
