//! LOGIN, AUTHENTICATE and STARTTLS.
//!
//! ```text
//! Idle ──> Deciding (crate::login::attempt, and a connection that tries the password) ──> Finishing ──> (User)
//!     ^─────────────── Pausing <── refused ──┘ └── home is being moved: a pause, again
//! ```

use std::sync::Arc;

use super::answers::{WAITING_TOLD_EVERY, in_progress};
use super::backend::{LoginAs, Tag};
use super::dispatch::{EXCESS, is_alone};
use super::grammar::{Command, Verb, authenticate_args, login_args};
use super::guest::{Deciding, Domain, Guest, How, Plus, Stage};
use super::info::after_login;
use super::offer::Extensions;
use super::session::Session;
use super::settle::{self, Settle};
use super::state::{Phase, Progress, Purpose, Reading, User};
use crate::login::attempt::{Attempt, Step, Tried};
use crate::login::desk::host_of;
use crate::login::rules::Rules;
use crate::login::waiting::Waiting;
use crate::mailbox::Identity;
use crate::mailbox::names::VirtDomains;
use crate::proxy::{
    Answer, BackendCapabilities, BackendId, Close, HEAD_BYTES_MAX, Instant, LayerKind, Level, Question, Side,
    TlsInfo,
};
use crate::sasl::{self, SaslError};
use crate::seats::Full;
use crate::secret::Secret;
use crate::wire::line;

/// The text for a temporary failure of a login.
const LOGIN_UNAVAILABLE: &[u8] = b"NO [UNAVAILABLE] authentication temporarily unavailable";

/// What a client is told whose login takes long.
const LOGIN_WAITS: &[u8] = b"Authentication takes longer; wait";

impl Session {
    /// Commands before login.
    #[expect(clippy::wildcard_enum_match_arm, reason = "a guest may say few verbs")]
    pub(super) fn dispatch_guest(&mut self, command: Command<'_>, now: Instant) {
        let tag = command.tag;
        match command.verb {
            verb if is_alone(verb) && !command.args.is_empty() => self.bad(tag, EXCESS),
            Verb::Capability => self.capability(tag),
            Verb::Noop => self.reply(tag, b"OK Completed"),
            Verb::Id => self.id(tag, command.args),
            Verb::Logout => self.logout(tag),
            Verb::Starttls => self.starttls(tag),
            Verb::Login => self.login(tag, command.args, now),
            Verb::Authenticate => self.authenticate(tag, command.args, now),
            _ => self.bad(tag, b"BAD Please login first"),
        }
    }

    fn stage(&mut self) -> Option<&mut Stage> {
        match &mut self.phase {
            Phase::Guest(guest) => Some(&mut guest.stage),
            Phase::User(_) => None,
        }
    }

    fn take_stage(&mut self) -> Stage {
        self.stage().map_or(Stage::Idle, |stage| std::mem::replace(stage, Stage::Idle))
    }

    fn set_stage(&mut self, next: Stage) {
        self.reading = match &next {
            Stage::Idle => Reading::Command { asked: 0 },
            Stage::Deciding(deciding) if deciding.attempt.expects_response() => Reading::Sasl,
            Stage::Securing | Stage::Deciding(_) | Stage::Finishing { .. } | Stage::Pausing { .. } => {
                Reading::Wait
            }
        };
        if let Some(stage) = self.stage() {
            *stage = next;
        }
    }

    fn starttls(&mut self, tag: &[u8]) {
        if self.is_tls() {
            self.reply(tag, b"BAD TLS already active");
        } else if !self.config.login.starttls {
            self.bad(tag, b"BAD Unrecognized command");
        } else {
            self.reply(tag, b"OK Begin TLS negotiation now");
            self.outbox.switch(Side::Client, LayerKind::TlsServer);
            self.set_stage(Stage::Securing);
        }
    }

    /// TLS towards the client is on, or is not.
    pub(super) fn client_secured(&mut self, result: Result<TlsInfo, Box<str>>) {
        match result {
            Ok(_) => {
                if let Phase::Guest(guest) = &mut self.phase {
                    guest.tls = true;
                }
                if matches!(self.stage(), Some(Stage::Securing)) {
                    self.set_stage(Stage::Idle);
                } else if matches!(self.phase, Phase::User(_)) && self.reading == Reading::Wait {
                    self.reading = Reading::Command { asked: 0 };
                }
            }
            Err(why) => {
                let host = host_of(&self.origin.client_address).to_owned();
                let layer = if self.is_compressed() { "compression" } else { "TLS" };
                self.log(Level::Notice, format!("imap: [{host}] no {layer}: {why}"));
                self.end(b"");
            }
        }
    }

    fn login(&mut self, tag: &[u8], args: &[u8], now: Instant) {
        let Ok(login) = login_args(args) else {
            self.bad(tag, b"BAD Missing required argument to Login");
            return;
        };
        if !self.config.login.allows_plaintext(self.is_tls()) {
            self.reply(tag, b"NO Login only available under a layer");
            return;
        }
        self.bad_commands = 0;
        let (attempt, step) =
            self.with_rules(|rules| Attempt::password(&login.user, login.password.clone(), rules));
        self.decide(tag, How::Login, attempt, step, now);
    }

    fn authenticate(&mut self, tag: &[u8], args: &[u8], now: Instant) {
        let Ok(arguments) = authenticate_args(args) else {
            self.bad(tag, b"BAD Missing required argument to Authenticate");
            return;
        };
        let initial = arguments.initial.map(sasl::decode_initial).transpose();
        let (nonce, secured) = (self.nonce(), self.is_tls());
        let begun = self.with_rules(|rules| {
            if !sasl::Mechanism::parse(arguments.mechanism)
                .is_some_and(|mechanism| rules.login.allows(mechanism, secured))
            {
                return Err(SaslError::Mechanism);
            }
            let initial = initial?;
            let initial = initial.as_ref().map(Secret::expose);
            Attempt::sasl(arguments.mechanism, initial, nonce, secured, rules)
        });
        match begun {
            Ok((attempt, step)) => self.decide(tag, How::Authenticate, attempt, step, now),
            Err(SaslError::Mechanism) => self.reply(tag, b"NO no mechanism available"),
            Err(error) => self.bad(tag, malformed(error)),
        }
    }

    fn with_rules<R>(&self, f: impl FnOnce(&Rules<'_>) -> R) -> R {
        let domain = match &self.phase {
            Phase::Guest(guest) => guest.domain(),
            Phase::User(_) => None,
        };
        f(&self.config.rules(domain))
    }

    fn decide(&mut self, tag: &[u8], how: How, attempt: Attempt, step: Step, now: Instant) {
        let tag = Tag::from_slice(tag);
        self.follow(
            Box::new(Deciding { tag, how, attempt, tries: None, home: None, waiting: Waiting::default() }),
            step,
            now,
        );
    }

    /// Takes a response of the client.
    pub(super) fn look_at_sasl(&mut self, input: &[u8], now: Instant) -> Progress {
        let line = match line::first(input, HEAD_BYTES_MAX) {
            Ok(line) => line,
            Err(crate::wire::Error::Incomplete) => return Progress::More,
            Err(_) => {
                self.end(b"* BYE authentication response too long\r\n");
                return Progress::Took(input.len());
            }
        };
        let mut deciding = match self.take_stage() {
            Stage::Deciding(deciding) if deciding.attempt.expects_response() => deciding,
            stage @ (Stage::Idle
            | Stage::Securing
            | Stage::Deciding(_)
            | Stage::Finishing { .. }
            | Stage::Pausing { .. }) => {
                self.set_stage(stage);
                return Progress::Hold;
            }
        };
        self.set_stage(Stage::Idle);
        if line.content == b"*" {
            self.bad(&deciding.tag, b"BAD Client canceled authentication");
            return Progress::Took(line.len);
        }
        let response = sasl::decode_base64(line.content);
        let step = response
            .and_then(|response| self.with_rules(|rules| deciding.attempt.respond(response.expose(), rules)));
        match step {
            Ok(step) => self.follow(deciding, step, now),
            Err(error) => self.bad(&deciding.tag, malformed(error)),
        }
        Progress::Took(line.len)
    }

    /// Does what the attempt wants.
    fn follow(&mut self, mut deciding: Box<Deciding>, step: Step, now: Instant) {
        match step {
            Step::Challenge(message) | Step::LastWord(message) => {
                self.challenge(&message);
                self.set_stage(Stage::Deciding(deciding));
            }
            Step::Ask(question) => {
                self.set_stage(Stage::Deciding(deciding));
                self.ask(Purpose::Guest, question);
            }
            Step::AskLater(question) => self.ask_later(deciding, question, now),
            Step::Try { server, who } => self.try_password_at(deciding, &server, who, now),
            Step::Accepted(identity) => {
                let identity = Arc::new(identity);
                let inbox = self.config.namespace.inbox(&identity.user).into();
                deciding.tries = None;
                self.set_stage(Stage::Finishing { decided: deciding, identity });
                self.ask(Purpose::Guest, Question::Capabilities { inbox });
            }
            Step::Refused(why) => self.refuse(&deciding, why, now),
            Step::Unavailable(why) => self.postpone(&deciding, why),
        }
    }

    fn ask_later(&mut self, mut deciding: Box<Deciding>, question: Question, now: Instant) {
        if deciding.waiting.ask_later(question, self.config.timeouts.moving, now) {
            self.set_stage(Stage::Deciding(deciding));
        } else {
            self.postpone(&deciding, "home is being moved");
        }
    }

    /// A client waits for a mailbox that is being moved: the list is asked again, and he is told so now and then.
    /// What he is told does not say why, for nobody knows who he is.
    fn look_again(&mut self, mut deciding: Box<Deciding>, now: Instant) {
        let question = deciding.waiting.take_due(now);
        if deciding.waiting.is_to_be_told(WAITING_TOLD_EVERY, now) {
            let line = in_progress(&self.config, &deciding.tag, LOGIN_WAITS);
            self.tell_client(&[&line]);
        }
        self.set_stage(Stage::Deciding(deciding));
        if let Some(question) = question {
            self.ask(Purpose::Guest, question);
        }
    }

    fn challenge(&mut self, message: &[u8]) {
        self.outbox.author(Side::Client, |out| {
            out.extend_from_slice(b"+ ");
            sasl::base64_out(out, message);
            out.extend_from_slice(b"\r\n");
        });
    }

    /// Tells which address of ours the client came to: with `virtdomains: on` its name says in which
    /// domain users are who name none, and a login waits for it.
    pub fn came_to(&mut self, address: &str) {
        if self.config.namespace.virtdomains != VirtDomains::On {
            return;
        }
        if let Phase::Guest(guest) = &mut self.phase {
            guest.domain = Domain::Awaited;
            self.ask(Purpose::Guest, Question::DomainOf { address: address.into() });
        }
    }

    /// Whether the client waits until it is known in which domain he is.
    pub(super) fn awaits_domain(&self) -> bool {
        matches!(&self.phase, Phase::Guest(guest) if matches!(guest.domain, Domain::Awaited))
    }

    fn take_domain(&mut self, domain: Option<Box<str>>) {
        if let Phase::Guest(guest) = &mut self.phase {
            guest.domain = domain.map_or(Domain::Nothing, Domain::Of);
        }
    }

    /// An answer for the login.
    pub(super) fn handle_guest_answer(&mut self, answer: Answer, now: Instant) {
        if let Answer::Domain(domain) = answer {
            return self.take_domain(domain);
        }
        match (self.take_stage(), answer) {
            (Stage::Deciding(mut deciding), answer) => {
                match self.with_rules(|rules| deciding.attempt.answered(answer, rules)) {
                    Some(step) => self.follow(deciding, step, now),
                    None => self.set_stage(Stage::Deciding(deciding)),
                }
            }
            (Stage::Finishing { decided, identity }, Answer::Capabilities(offered)) => {
                self.welcome(&decided, identity, offered, now);
            }
            (stage, _) => self.set_stage(stage),
        }
    }

    fn try_password_at(&mut self, mut deciding: Box<Deciding>, server: &[u8], who: LoginAs, now: Instant) {
        match self.open(server, who, now) {
            Ok(id) => {
                deciding.tries = Some(id);
                self.set_stage(Stage::Deciding(deciding));
            }
            Err(_) => self.postpone(&deciding, "too many connections"),
        }
    }

    /// Whether a connection checks the password of the client.
    pub(super) fn is_guest_at(&self, id: BackendId) -> bool {
        match &self.phase {
            Phase::Guest(guest) => {
                matches!(&guest.stage, Stage::Deciding(deciding) if deciding.tries == Some(id))
            }
            Phase::User(_) => false,
        }
    }

    /// The user's password was right at a backend. The connection serves the session if it is his
    /// home and he is nobody else.
    pub(super) fn home_accepted(&mut self, id: BackendId, now: Instant) {
        let mut stage = self.take_stage();
        if let Stage::Deciding(deciding) = &mut stage {
            if self.with_rules(|rules| deciding.attempt.may_keep_home(rules)) {
                deciding.home = Some(id);
            } else {
                self.close_backend(id, Close::Flush);
            }
        }
        self.set_stage(stage);
        self.home_tried(Tried::Accepted, now);
    }

    /// How the login at a backend ended that was to check the password.
    pub(super) fn home_tried(&mut self, tried: Tried, now: Instant) {
        match self.take_stage() {
            Stage::Deciding(mut deciding) => {
                let step = self.with_rules(|rules| deciding.attempt.tried(tried, rules));
                self.follow(deciding, step, now);
            }
            stage @ (Stage::Idle | Stage::Securing | Stage::Finishing { .. } | Stage::Pausing { .. }) => {
                self.set_stage(stage);
            }
        }
    }

    fn welcome(
        &mut self,
        decided: &Deciding,
        identity: Arc<Identity>,
        offered: Arc<BackendCapabilities>,
        now: Instant,
    ) {
        let tls = self.is_tls();
        let host = host_of(&self.origin.client_address).to_owned();
        let (service, limits) = (&self.config.service, self.config.seat_limits);
        match self.config.seats.take(service, &identity.user, host.as_bytes(), limits) {
            Ok(None) => {}
            Ok(Some(seat)) => self.rare().seat = Some(seat),
            Err(full) => return self.turn_away(decided, &identity, full),
        }
        let session_id = self.session_id();
        let (user, mechanism) = (identity.user.escape_ascii(), decided.attempt.mechanism());
        let layer = if tls { "+TLS" } else { "" };
        self.log(
            Level::Info,
            format!("login: [{host}] {user} {mechanism}{layer} User logged in SESSIONID=<{session_id}>"),
        );
        self.log_event("login.good", &identity.user, mechanism, None);
        self.tell_presence(&identity.user);
        let text = match (decided.how, tls) {
            (How::Login, _) => "User logged in",
            (How::Authenticate, false) => "Success (no protection)",
            (How::Authenticate, true) => "Success (tls protection)",
        };
        let capabilities = after_login(&self.config, &offered, self.is_compressed());
        let line = format!("OK [CAPABILITY {capabilities}] {text} SESSIONID=<{session_id}>");
        self.reply(&decided.tag, line.as_bytes());
        let home =
            decided.home.and_then(|id| self.backend_at(id)).map(|at| self.backends[at].server().into());
        let inbox = self.config.namespace.inbox(&identity.user).into();
        let plus = Plus::of(decided.attempt.magic_plus());
        let domain = self.take_named_domain();
        self.phase = Phase::User(User {
            identity,
            inbox,
            home,
            plus,
            tls,
            domain,
            enabled: Extensions::default(),
            referrals: false,
            offered,
        });
        self.reading = Reading::Command { asked: 0 };
        self.last_input = now;
        self.begin_telemetry();
        self.settle(now);
    }

    /// Gives a user without a home one, before his first command.
    pub(super) fn settle(&mut self, now: Instant) {
        let Some(user) = self.user() else { return };
        if settle::is_meant(&self.config.autocreate, &user.identity) {
            let task = Box::new(Settle::new(&user.inbox));
            self.start(b"", task, now);
        }
    }

    /// Writes the session along from here on, if the operator wants it.
    fn begin_telemetry(&mut self) {
        let Phase::User(user) = &self.phase else { return };
        let user = user.identity.user.clone();
        let is_traced = self.rare.as_ref().is_some_and(|rare| rare.is_traced);
        if is_traced || !self.config.bulletin.notices().traced.contains(&user) {
            return;
        }
        self.rare().is_traced = true;
        let service = (&*self.config.service).into();
        self.outbox.switch(Side::Client, LayerKind::Telemetry { user, service });
        self.reading = Reading::Wait;
    }

    /// Refuses a login that is one too many, without a pause: the password was right.
    fn turn_away(&mut self, decided: &Deciding, identity: &Identity, full: Full) {
        let host = host_of(&self.origin.client_address).to_owned();
        let user = identity.user.escape_ascii().to_string();
        let text = format!("NO [LIMIT] {}", full.text(self.config.seat_limits, &identity.user, &host));
        self.log(Level::Notice, format!("badlogin: [{host}] {user} too many open connections"));
        if let Some(home) = decided.home {
            self.close_backend(home, Close::Flush);
        }
        self.reply(&decided.tag, text.as_bytes());
        self.set_stage(Stage::Idle);
    }

    /// A login as a line of `key=value`, with the keys of upstream's releases from 2025 on.
    fn log_event(&mut self, event: &str, user: &[u8], mechanism: &str, error: Option<&str>) {
        if !self.config.logfmt {
            return;
        }
        let host = host_of(&self.origin.client_address).to_owned();
        let session_id = self.session_id();
        let mut line = format!("event={event} sessionid={}", logfmt_value(&session_id));
        line.push_str(&format!(" r.clienthost={}", logfmt_value(&format!("[{host}]"))));
        line.push_str(&format!(" u.username={}", logfmt_value(&user.escape_ascii().to_string())));
        line.push_str(&format!(
            " login.mech={} login.tls={}",
            logfmt_value(mechanism),
            u8::from(self.is_tls())
        ));
        if let Some(error) = error {
            line.push_str(&format!(" error={}", logfmt_value(error)));
        }
        self.log(Level::Info, line);
    }

    fn take_named_domain(&mut self) -> Option<Box<Domain>> {
        let Phase::Guest(guest) = &mut self.phase else { return None };
        let domain = std::mem::replace(&mut guest.domain, Domain::Nothing);
        matches!(domain, Domain::Of(_)).then(|| Box::new(domain))
    }

    /// UNAUTHENTICATE (RFC 8437): nothing of the user stays, and least of all a connection that is logged
    /// in as him. The mailbox is left without an EXPUNGE; TLS stays.
    pub(super) fn unauthenticate(&mut self, tag: &[u8], now: Instant) {
        self.bad_commands = 0;
        self.leave_backends(now);
        (self.deeds, self.papers) = (None, None);
        self.set_selected(None);
        self.tell_presence(b"");
        if let Some(rare) = &mut self.rare {
            (rare.seat, rare.notify) = (None, None);
        }
        let Phase::User(user) = &mut self.phase else { return };
        self.phase = Phase::Guest(Box::new(Guest::again(user.tls, user.domain.take())));
        self.reply(tag, b"OK Completed");
    }

    /// Refuses a login after a pause, so that guessing takes time.
    fn refuse(&mut self, deciding: &Deciding, why: &str, now: Instant) {
        let host = host_of(&self.origin.client_address).to_owned();
        let (user, mechanism) = (deciding.attempt.authcid().escape_ascii(), deciding.attempt.mechanism());
        // As Cyrus says it, which is what fail2ban's filter looks for.
        let text = match deciding.how {
            How::Login => {
                format!("badlogin: [{host}] {mechanism} {user} SASL(-13): authentication failure: {why}")
            }
            How::Authenticate => {
                format!("badlogin: [{host}] {mechanism} {user} [SASL(-13): authentication failure: {why}]")
            }
        };
        self.log(Level::Notice, text);
        let authcid = deciding.attempt.authcid().to_vec();
        self.log_event("login.bad", &authcid, mechanism, Some(why));
        let text: &'static [u8] = match deciding.how {
            How::Login => b"NO Login failed: authentication failure",
            How::Authenticate => b"NO authentication failure",
        };
        let until = now + self.config.login.failed_pause;
        self.set_stage(Stage::Pausing { tag: deciding.tag.clone(), text, until });
    }

    /// The pause behind a wrong password is over, or one of a login that waits.
    pub(super) fn pause_is_over(&mut self, now: Instant) {
        match self.take_stage() {
            Stage::Pausing { tag, text, .. } => {
                self.last_input = now;
                self.set_stage(Stage::Idle);
                self.reply(&tag, text);
            }
            Stage::Deciding(deciding) => self.look_again(deciding, now),
            stage @ (Stage::Idle | Stage::Securing | Stage::Finishing { .. }) => self.set_stage(stage),
        }
    }

    /// A login that cannot be decided at the moment.
    fn postpone(&mut self, deciding: &Deciding, why: &str) {
        if let Some(home) = deciding.home {
            self.close_backend(home, Close::Flush);
        }
        let host = host_of(&self.origin.client_address).to_owned();
        let user = deciding.attempt.authcid().escape_ascii();
        self.log(Level::Warn, format!("login: [{host}] {user} not decided: {why}"));
        // He was not idle while he waited.
        self.last_input = self.now;
        self.reply(&deciding.tag, LOGIN_UNAVAILABLE);
        self.set_stage(Stage::Idle);
    }
}

/// A value of logfmt: bare where it can be, else quoted.
fn logfmt_value(value: &str) -> String {
    let is_bare = !value.is_empty() && value.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '='));
    if is_bare { value.to_owned() } else { format!("{value:?}") }
}

/// What a client is told whose message is none of the mechanism.
fn malformed(error: SaslError) -> &'static [u8] {
    match error {
        SaslError::Base64 => b"BAD Invalid base64 string",
        SaslError::Mechanism
        | SaslError::Malformed { .. }
        | SaslError::TooLong
        | SaslError::ChannelBinding
        | SaslError::Iterations { .. }
        | SaslError::ServerSignature
        | SaslError::Refused
        | SaslError::Credentials
        | SaslError::Authzid
        | SaslError::Unexpected => b"BAD authentication exchange failed",
    }
}
