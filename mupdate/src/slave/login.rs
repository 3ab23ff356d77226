//! From the greeting to the end of AUTHENTICATE, as a client of the master.
//!
//! ```text
//!   ExpectGreeting ──no STARTTLS──> ExpectAuth ──OK──> done
//!        │    ^                        └──challenge──> (ExpectSalt) ──> ExpectAuth
//!        │    └────────── TLS ────────┐
//!        └──> ExpectStarttls ──OK──> ExpectTls
//! ```
//!
//! In these phases only the beginning of a line counts: Cyrus sends some texts unquoted, and its
//! challenges are bare base64.

use protocols::proxy::{Instant, LayerKind, Level, Opened, Output, Question, ScramHash, Side, TlsInfo};
use protocols::sasl::{self, Client, ClientStep, Credentials, Mechanism};
use protocols::secret::Secret;

use crate::grammar::{self, Stop};

use super::{Config, Slave, Starttls};

/// Octets of a line until the login is done: Cyrus' own limit for base64 is 21,848.
const LOGIN_LINE_BYTES_MAX: usize = 32 * 1024;

/// Octets of the name of an epoch.
const EPOCH_BYTES_MAX: usize = 64;

/// Mechanisms that are looked at in a greeting.
const OFFERED_MAX: usize = 64;

/// The login of one connection. Tools drive it too.
pub struct Login {
    state: State,
    host: Box<str>,
    tls: bool,
    starttls_offered: bool,
    /// The epoch of a master that offers RESUME.
    epoch: Option<Box<str>>,
    mechanisms: Vec<Box<[u8]>>,
    credentials: Credentials,
    allowed: Option<Vec<Box<str>>>,
    policy: Starttls,
    nonce: [u8; 18],
}

enum State {
    ExpectGreeting,
    ExpectStarttls,
    ExpectTls,
    ExpectAuth(Box<Client>),
    /// The engine derives the salted password.
    ExpectSalt(Box<Client>),
    Over,
}

/// What comes next.
pub enum Next {
    /// More lines.
    Read,
    /// This goes to the master.
    Send(Vec<u8>),
    /// TLS with the host of this name, then [`Login::secured`].
    Tls(Box<str>),
    /// A derived key is needed, for [`Login::salted_password`].
    Salt {
        /// Which hash.
        hash: ScramHash,
        /// The password, prepared.
        password: Secret,
        /// The master's salt.
        salt: Box<[u8]>,
        /// The master's count.
        iterations: u32,
    },
    /// Logged in.
    Done,
    /// One sentence why not.
    Failed(String),
}

impl Login {
    /// Begins on a connection that stands. `nonce` is used once.
    pub fn new(config: &Config, opened: &Opened, nonce: [u8; 18]) -> Login {
        Login {
            state: State::ExpectGreeting,
            host: opened.host.clone(),
            tls: opened.tls,
            starttls_offered: false,
            epoch: None,
            mechanisms: Vec::new(),
            credentials: config.credentials.clone(),
            allowed: config.mechanisms.clone(),
            policy: config.starttls,
            nonce,
        }
    }

    /// Whether lines are expected.
    pub(super) fn reads(&self) -> bool {
        match self.state {
            State::ExpectGreeting | State::ExpectStarttls | State::ExpectAuth(_) => true,
            State::ExpectTls | State::ExpectSalt(_) | State::Over => false,
        }
    }

    /// Takes a line without its end.
    pub fn line(&mut self, line: &[u8]) -> Next {
        match std::mem::replace(&mut self.state, State::Over) {
            State::ExpectGreeting => {
                self.state = State::ExpectGreeting;
                self.greeting(line)
            }
            State::ExpectStarttls if begins(line, b"S01 OK") => {
                self.state = State::ExpectTls;
                Next::Tls(self.host.clone())
            }
            State::ExpectStarttls => Next::Failed(said("no to STARTTLS", line)),
            State::ExpectAuth(client) => self.auth(client, line),
            State::ExpectTls | State::ExpectSalt(_) | State::Over => {
                Next::Failed("the master speaks out of turn".into())
            }
        }
    }

    /// ```text
    /// greeting = *("* " capability *(SP parameter) CRLF) "* OK MUPDATE" ...
    /// ```
    fn greeting(&mut self, line: &[u8]) -> Next {
        if begins(line, b"* OK") {
            return self.greeted();
        }
        if begins(line, b"* BYE") || begins(line, b"* NO") || begins(line, b"* BAD") {
            return Next::Failed(said("goodbye", line));
        }
        if let Some(list) = strip(line, b"* AUTH") {
            let words =
                list.split(|byte| matches!(byte, b' ' | b'"' | b'\t')).filter(|word| !word.is_empty());
            self.mechanisms = words.take(OFFERED_MAX).map(Into::into).collect();
        } else if strip(line, b"* STARTTLS").is_some() {
            self.starttls_offered = true;
        } else if let Some(epoch) = strip(line, b"* RESUME") {
            let epoch = std::str::from_utf8(epoch).unwrap_or_default().trim().trim_matches('"');
            self.epoch = (!epoch.is_empty() && epoch.len() <= EPOCH_BYTES_MAX).then(|| epoch.into());
        }
        Next::Read
    }

    fn greeted(&mut self) -> Next {
        let may_start = !self.tls && self.starttls_offered;
        if may_start && matches!(self.policy, Starttls::Offered | Starttls::Required) {
            return self.start_tls();
        }
        if !self.tls && self.policy == Starttls::Required {
            return Next::Failed("the master does not offer STARTTLS, which is required (Cyrus from 3.8 on offers it with allowstarttls: yes)".into());
        }
        let allowed: Option<Vec<&[u8]>> =
            self.allowed.as_ref().map(|names| names.iter().map(|name| name.as_bytes()).collect());
        let usable = self.mechanisms.iter().map(|name| &**name).filter(|name| {
            self.credentials.authzid.is_empty()
                || Mechanism::parse(name).is_some_and(Mechanism::carries_authzid)
        });
        let chosen = sasl::choose(usable, allowed.as_deref(), self.tls);
        if may_start
            && self.policy == Starttls::WhenNeeded
            && chosen.is_none_or(|mechanism| mechanism.sends_password())
        {
            return self.start_tls();
        }
        let Some(mechanism) = chosen else {
            return Next::Failed("the master offers no mechanism that we may use".into());
        };
        match Client::new(mechanism, self.credentials.clone(), self.nonce) {
            Ok(client) => self.authenticate(mechanism, client),
            Err(error) => Next::Failed(error.to_string()),
        }
    }

    fn start_tls(&mut self) -> Next {
        self.state = State::ExpectStarttls;
        Next::Send(b"S01 STARTTLS\r\n".to_vec())
    }

    /// ```text
    /// A01 AUTHENTICATE "mechanism" [SP "base64"]
    /// ```
    /// Deviates from Cyrus' client, which sends the initial response as a literal: a quoted string
    /// is read by every server. An empty one is `"="`.
    fn authenticate(&mut self, mechanism: Mechanism, mut client: Client) -> Next {
        let mut line = format!("A01 AUTHENTICATE \"{}\"", mechanism.name()).into_bytes();
        if let Some(initial) = client.initial() {
            line.extend_from_slice(b" \"");
            match initial.expose() {
                [] => line.push(b'='),
                bytes => sasl::base64_out(&mut line, bytes),
            }
            line.push(b'"');
        }
        line.extend_from_slice(b"\r\n");
        self.state = State::ExpectAuth(Box::new(client));
        Next::Send(line)
    }

    fn auth(&mut self, mut client: Box<Client>, line: &[u8]) -> Next {
        if begins(line, b"A01 OK") {
            return match client.is_complete() {
                true => Next::Done,
                false => Next::Failed("the master says OK without having proven itself".into()),
            };
        }
        if begins(line, b"A01 NO") || begins(line, b"A01 BAD") {
            return Next::Failed(said("no to AUTHENTICATE", line));
        }
        if begins(line, b"* BYE") {
            return Next::Failed(said("goodbye", line));
        }
        let challenge = line.strip_prefix(b"+ ").unwrap_or(line);
        match sasl::decode_base64(challenge).and_then(|challenge| client.step(challenge.expose())) {
            Ok(step) => self.stepped(client, step),
            Err(error) => Next::Failed(format!("login at the master: {error}")),
        }
    }

    fn stepped(&mut self, client: Box<Client>, step: ClientStep) -> Next {
        match step {
            ClientStep::Response(response) => {
                let mut line = Vec::new();
                sasl::base64_out(&mut line, response.expose());
                line.extend_from_slice(b"\r\n");
                self.state = State::ExpectAuth(client);
                Next::Send(line)
            }
            ClientStep::NeedSaltedPassword { hash, password, salt, iterations } => {
                self.state = State::ExpectSalt(client);
                Next::Salt { hash, password, salt, iterations }
            }
            // The server's last message came as a challenge: it wants an empty answer.
            ClientStep::Done => {
                self.state = State::ExpectAuth(client);
                Next::Send(b"\r\n".to_vec())
            }
        }
    }

    /// Takes the key that [`Next::Salt`] asked for.
    pub fn salted_password(&mut self, salted: &Secret) -> Next {
        if !matches!(self.state, State::ExpectSalt(_)) {
            return Next::Read;
        }
        let State::ExpectSalt(mut client) = std::mem::replace(&mut self.state, State::Over) else {
            return Next::Read;
        };
        match client.salted_password(salted) {
            Ok(step) => self.stepped(client, step),
            Err(error) => Next::Failed(format!("login at the master: {error}")),
        }
    }

    /// TLS is on: the master greets again.
    pub fn secured(&mut self) {
        self.tls = true;
        self.starttls_offered = false;
        self.epoch = None;
        self.mechanisms.clear();
        self.state = State::ExpectGreeting;
    }
}

impl Slave {
    pub(super) fn login_step(&mut self, input: &[u8], now: Instant) -> Result<usize, Stop> {
        let (line, n) = grammar::line(input, LOGIN_LINE_BYTES_MAX)?;
        if let super::Phase::LoggingIn { login, .. } = &mut self.phase {
            let next = login.line(line);
            self.deadline = now + self.config.login_timeout;
            self.login_next(next, now);
        }
        Ok(n)
    }

    pub(super) fn login_next(&mut self, next: Next, now: Instant) {
        let super::Phase::LoggingIn { backend, login } = &mut self.phase else { return };
        let backend = *backend;
        let side = Side::Backend(backend);
        match next {
            Next::Read => {}
            Next::Send(bytes) => self.outbox.write(side, &bytes),
            Next::Tls(host) => {
                self.outbox.push(Output::Switch { side, layer: LayerKind::TlsClient { server_name: host } });
            }
            Next::Salt { hash, password, salt, iterations } => {
                self.ask(Question::SaltPassword { hash, password, salt, iterations });
            }
            Next::Done => {
                let epoch = login.epoch.take();
                self.log(Level::Debug, "logged in at the mupdate master");
                self.logged_in(backend, epoch, now);
            }
            Next::Failed(why) => self.lose(&why, now),
        }
    }

    pub(super) fn switched(&mut self, result: Result<TlsInfo, Box<str>>, now: Instant) {
        match (result, &mut self.phase) {
            // Plain text behind the OK is nothing that a server under TLS has said.
            (Ok(_), super::Phase::LoggingIn { login, .. }) if matches!(login.state, State::ExpectTls) => {
                login.secured();
                self.input = Vec::new();
                self.input_min = 0;
            }
            (Ok(_), _) => {}
            (Err(why), _) => self.lose(&format!("TLS with the master: {why}"), now),
        }
    }
}

fn begins(line: &[u8], wanted: &[u8]) -> bool {
    strip(line, wanted).is_some()
}

/// What stands behind a beginning in any case of letters, a word end in between.
fn strip<'a>(line: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = line.split_at_checked(wanted.len())?;
    let is_whole = rest.first().is_none_or(|byte| !byte.is_ascii_alphanumeric());
    (head.eq_ignore_ascii_case(wanted) && is_whole).then_some(rest)
}

fn said(what: &str, line: &[u8]) -> String {
    const SHOWN: usize = 200;
    format!("the master says {what}: {}", String::from_utf8_lossy(&line[..line.len().min(SHOWN)]))
}
