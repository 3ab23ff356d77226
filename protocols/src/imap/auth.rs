//! LOGIN, AUTHENTICATE and STARTTLS.
//!
//! ```text
//!            ┌─ Sasl <─> response lines, ScramKeys ─┐
//! Idle ──────┤                                      ├─> Authorising ─> Finishing ─> (User)
//!            └─ Checking ─(ask backend)─> AtHome ───┘        │
//!     ^────────────── Pausing <── refused ───────────────────┘
//!                     (Authorising and Finishing ask for groups on the way: Grouping)
//! ```

use std::borrow::Cow;
use std::sync::Arc;

use super::backend::{Extensions, LoginAs, Tag};
use super::connect::LoginEnd;
use super::grammar::{Command, Verb, authenticate_args, login_args};
use super::info::{after_login, host_of, is_plaintext_allowed};
use super::session::{Phase, Plus, Progress, Purpose, Reading, Session, User};
use crate::mailbox::acl::{self, Rights};
use crate::mailbox::names::{CanonicalUser, MagicPlus, VirtDomains};
use crate::mailbox::{Groups, Identity};
use crate::proxy::{
    Answer, BackendCapabilities, BackendId, Close, Finding, Freshness, HEAD_BYTES_MAX, Instant, LayerKind,
    Level, PasswordVerdict, Question, Side, TlsInfo,
};
use crate::sasl::{self, SaslError, ServerStep};
use crate::secret::Secret;
use crate::wire::line;

/// The text for a temporary failure of a login.
const LOGIN_UNAVAILABLE: &[u8] = b"NO [UNAVAILABLE] authentication temporarily unavailable";

/// A client that has not logged in.
pub(super) struct Guest {
    tls: bool,
    stage: Stage,
    domain: Domain,
}

/// The domain of users who name none (`virtdomains: on`).
pub(super) enum Domain {
    /// There is none, or it is not wanted.
    Nothing,
    /// The reverse name of the address that the client came to is looked up; he waits.
    Awaited,
    /// It is this one.
    Of(Box<str>),
}

enum Stage {
    Idle,
    /// STARTTLS was answered.
    Securing,
    /// A mechanism waits for a response of the client or for keys.
    Sasl {
        attempt: Attempt,
        server: Box<sasl::Server>,
    },
    /// The client has proven who he is, and was told the last word of the mechanism.
    Proven {
        attempt: Attempt,
    },
    /// The engine checks the password.
    Checking {
        attempt: Attempt,
        password: Secret,
    },
    /// The user's home is looked up, or a server of the list is tried, to check the password.
    AtHome {
        attempt: Attempt,
        password: Secret,
        next_server: usize,
        backend: Option<BackendId>,
    },
    /// `loginuseacl`: the ACL of the INBOX of the other user is looked up.
    Authorising {
        attempt: Attempt,
        inbox: Vec<u8>,
    },
    /// The groups of who logs in, or of whom he acts for, are looked up.
    Grouping {
        attempt: Attempt,
        of: Grouped,
    },
    /// The capabilities for the OK are asked for.
    Finishing {
        attempt: Attempt,
        identity: Arc<Identity>,
    },
    /// The refusal is held back.
    Pausing {
        tag: Tag,
        text: &'static [u8],
        until: Instant,
    },
}

/// Whose groups are looked up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grouped {
    /// Of who proved who he is: may he act for another?
    Authenticated,
    /// Of whose session it will be.
    Authorised,
}

/// A login in progress.
struct Attempt {
    tag: Tag,
    how: How,
    /// Canonical.
    authcid: Box<[u8]>,
    /// Canonical; empty when nobody else was named.
    authzid: Box<[u8]>,
    /// The connection at the home on which the user logged in himself.
    home: Option<BackendId>,
    /// What stood behind the plus of the name.
    plus: Plus,
    /// The groups of `authcid`, once they were looked up.
    groups: Option<Groups>,
}

/// The command of a login.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Login,
    Authenticate(&'static str),
}

impl Guest {
    pub(super) fn new(tls: bool) -> Guest {
        Guest { tls, stage: Stage::Idle, domain: Domain::Nothing }
    }

    /// A client that was logged in.
    fn again(tls: bool, domain: Option<Box<Domain>>) -> Guest {
        Guest { tls, stage: Stage::Idle, domain: domain.map_or(Domain::Nothing, |domain| *domain) }
    }

    /// Whether TLS is on.
    pub(super) fn is_tls(&self) -> bool {
        self.tls
    }

    /// The end of a pause.
    pub(super) fn pause_until(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Pausing { until, .. } => Some(*until),
            Stage::Idle
            | Stage::Securing
            | Stage::Sasl { .. }
            | Stage::Proven { .. }
            | Stage::Checking { .. }
            | Stage::AtHome { .. }
            | Stage::Authorising { .. }
            | Stage::Grouping { .. }
            | Stage::Finishing { .. } => None,
        }
    }
}

fn plus(magic: Option<MagicPlus>) -> Plus {
    match magic {
        Some(MagicPlus::Subscribed) => Plus::Subscribed,
        Some(MagicPlus::Dav) => Plus::Dav,
        Some(MagicPlus::Other(_)) | None => Plus::Nothing,
    }
}

impl Attempt {
    fn new(tag: &[u8], how: How) -> Attempt {
        let empty = Box::default;
        Attempt {
            tag: Tag::from_slice(tag),
            how,
            authcid: empty(),
            authzid: empty(),
            home: None,
            plus: Plus::Nothing,
            groups: None,
        }
    }

    /// Whether it names somebody else to act for.
    fn acts_for_other(&self) -> bool {
        !self.authzid.is_empty() && self.authzid != self.authcid
    }

    fn mechanism(&self) -> &'static str {
        match self.how {
            How::Login => "plaintext",
            How::Authenticate(mechanism) => mechanism,
        }
    }
}

impl Session {
    /// Commands before login.
    #[expect(clippy::wildcard_enum_match_arm, reason = "a guest may say few verbs")]
    pub(super) fn dispatch_guest(&mut self, command: Command<'_>, now: Instant) {
        let tag = command.tag;
        match command.verb {
            Verb::Capability => self.capability(tag),
            Verb::Noop => self.reply(tag, b"OK Completed"),
            Verb::Id => self.id(tag, command.args),
            Verb::Logout => self.logout(tag),
            Verb::Starttls => self.starttls(tag),
            Verb::Login => self.login(tag, command.args),
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
            Stage::Sasl { .. } | Stage::Proven { .. } => Reading::Sasl,
            Stage::Securing
            | Stage::Checking { .. }
            | Stage::AtHome { .. }
            | Stage::Authorising { .. }
            | Stage::Grouping { .. }
            | Stage::Finishing { .. }
            | Stage::Pausing { .. } => Reading::Wait,
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
    pub(super) fn client_secured(&mut self, result: Result<TlsInfo, Box<str>>, _now: Instant) {
        match result {
            Ok(_) => {
                if let Phase::Guest(guest) = &mut self.phase {
                    guest.tls = true;
                }
                if matches!(self.stage(), Some(Stage::Securing)) {
                    self.set_stage(Stage::Idle);
                }
            }
            Err(why) => {
                let host = host_of(&self.origin.client_address).to_owned();
                self.log(Level::Notice, format!("imap: [{host}] no TLS: {why}"));
                self.end(b"");
            }
        }
    }

    fn login(&mut self, tag: &[u8], args: &[u8]) {
        let Ok(login) = login_args(args) else {
            self.bad(tag, b"BAD Missing required argument to Login");
            return;
        };
        if !is_plaintext_allowed(&self.config, self.is_tls()) {
            self.reply(tag, b"NO Login only available under a layer");
            return;
        }
        self.bad_commands = 0;
        let attempt = Attempt::new(tag, How::Login);
        self.check_password(attempt, &login.user, b"", login.password);
    }

    fn authenticate(&mut self, tag: &[u8], args: &[u8], now: Instant) {
        let Ok(arguments) = authenticate_args(args) else {
            self.bad(tag, b"BAD Missing required argument to Authenticate");
            return;
        };
        let plaintext = is_plaintext_allowed(&self.config, self.is_tls());
        let mechanism = sasl::Mechanism::parse(arguments.mechanism)
            .filter(|mechanism| plaintext || !mechanism.sends_password());
        let Some(mechanism) = mechanism else {
            self.reply(tag, b"NO no mechanism available");
            return;
        };
        let attempt = Attempt::new(tag, How::Authenticate(mechanism.name()));
        let initial = arguments.initial.map(sasl::decode_initial).transpose();
        let Ok(initial) = initial else {
            self.bad(tag, b"BAD Invalid base64 string");
            return;
        };
        let nonce = self.nonce();
        let initial = initial.as_ref().map(Secret::expose);
        match sasl::Server::start(arguments.mechanism, &self.config.login.offer, initial, nonce) {
            Ok((server, step)) => self.sasl_step(attempt, Box::new(server), step, now),
            Err(SaslError::Mechanism) => self.reply(tag, b"NO no mechanism available"),
            Err(_) => self.bad(tag, b"BAD authentication exchange failed"),
        }
    }

    /// Takes a response of the client.
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not about SASL stays as it is")]
    pub(super) fn look_at_sasl(&mut self, input: &[u8], now: Instant) -> Progress {
        let line = match line::first(input, HEAD_BYTES_MAX) {
            Ok(line) => line,
            Err(crate::wire::Error::Incomplete) => return Progress::More,
            Err(_) => {
                self.end(b"* BYE authentication response too long\r\n");
                return Progress::Took(input.len());
            }
        };
        let (attempt, server) = match self.take_stage() {
            Stage::Sasl { attempt, server } => (attempt, Some(server)),
            Stage::Proven { attempt } => (attempt, None),
            stage => {
                self.set_stage(stage);
                return Progress::Hold;
            }
        };
        self.set_stage(Stage::Idle);
        if line.content == b"*" {
            self.bad(&attempt.tag, b"BAD Client canceled authentication");
            return Progress::Took(line.len);
        }
        let Some(mut server) = server else {
            self.authorise(attempt, now);
            return Progress::Took(line.len);
        };
        match sasl::decode_base64(line.content).and_then(|response| server.step(response.expose())) {
            Ok(step) => self.sasl_step(attempt, server, step, now),
            Err(SaslError::Base64) => self.bad(&attempt.tag, b"BAD Invalid base64 string"),
            Err(_) => self.bad(&attempt.tag, b"BAD authentication exchange failed"),
        }
        Progress::Took(line.len)
    }

    fn sasl_step(&mut self, mut attempt: Attempt, server: Box<sasl::Server>, step: ServerStep, now: Instant) {
        match step {
            ServerStep::Challenge(challenge) => {
                self.challenge(&challenge);
                self.set_stage(Stage::Sasl { attempt, server });
            }
            ServerStep::CheckPassword { authzid, authcid, password } => {
                self.check_password(attempt, &authcid, &authzid, password);
            }
            ServerStep::NeedScramKeys { user, hash } => {
                self.set_stage(Stage::Sasl { attempt, server });
                self.reading = Reading::Wait;
                self.ask(Purpose::Guest, Question::ScramKeys { user: user.into(), hash });
            }
            ServerStep::Done { authzid, authcid, final_message } => {
                if !self.name(&mut attempt, &authcid, &authzid) {
                    self.refuse(attempt, "invalid user name", now);
                } else if let Some(message) = final_message {
                    self.challenge(&message);
                    self.set_stage(Stage::Proven { attempt });
                } else {
                    self.authorise(attempt, now);
                }
            }
            ServerStep::Failed => self.refuse(attempt, "authentication failure", now),
        }
    }

    fn challenge(&mut self, message: &[u8]) {
        self.outbox.author(Side::Client, |out| {
            out.extend_from_slice(b"+ ");
            sasl::base64_out(out, message);
            out.extend_from_slice(b"\r\n");
        });
    }

    /// Notes who logs in; false when a name is none.
    fn name(&self, attempt: &mut Attempt, authcid: &[u8], authzid: &[u8]) -> bool {
        let canonical = |typed: &[u8]| {
            let typed = self.in_domain(typed);
            self.config.namespace.canonical_user(&typed).ok()
        };
        let Some(CanonicalUser { user, magic_plus }) = canonical(authcid) else { return false };
        attempt.plus = plus(magic_plus);
        // Where user ids have domains, those say who is who.
        let has_domains = self.config.namespace.virtdomains != VirtDomains::Off;
        if !has_domains && !self.config.login.takes_realm_of(&user) {
            return false;
        }
        attempt.authcid = user;
        if !authzid.is_empty() {
            let Some(CanonicalUser { user, magic_plus }) = canonical(authzid) else { return false };
            (attempt.authzid, attempt.plus) = (user, plus(magic_plus));
        }
        true
    }

    /// The user id as typed, with the domain that he gets where he names none.
    fn in_domain<'a>(&self, typed: &'a [u8]) -> Cow<'a, [u8]> {
        let Phase::Guest(guest) = &self.phase else { return typed.into() };
        let Domain::Of(domain) = &guest.domain else { return typed.into() };
        let named = self.config.namespace.in_domain(typed, domain.as_bytes());
        named.map_or(typed.into(), Cow::Owned)
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

    fn check_password(&mut self, mut attempt: Attempt, typed: &[u8], authzid: &[u8], password: Secret) {
        if !self.name(&mut attempt, typed, authzid) {
            // The engine's answer to this is "denied", with all that belongs to it.
            attempt.authcid = Box::default();
        }
        // What stands behind a magic plus is no part of the name.
        let has_plus = self.config.namespace.imapmagicplus && typed.contains(&b'+');
        let user = if has_plus { attempt.authcid.clone() } else { self.in_domain(typed).as_ref().into() };
        let asked = password.clone();
        self.set_stage(Stage::Checking { attempt, password });
        self.ask(Purpose::Guest, Question::CheckPassword { user, password: asked, service: "imap" });
    }

    /// An answer for the login.
    pub(super) fn handle_guest_answer(&mut self, answer: Answer, now: Instant) {
        if let Answer::Domain(domain) = answer {
            return self.take_domain(domain);
        }
        match (self.take_stage(), answer) {
            (Stage::Checking { attempt, password }, Answer::Password(verdict)) => {
                self.handle_verdict(attempt, password, verdict, now);
            }
            (Stage::AtHome { attempt, password, next_server, .. }, Answer::Found(finding)) => {
                self.handle_home(attempt, password, next_server, &finding, now);
            }
            (Stage::Authorising { attempt, inbox }, Answer::Found(finding)) => {
                self.handle_inbox(attempt, &inbox, &finding, now);
            }
            (Stage::Grouping { attempt, of }, Answer::Groups(Ok(groups))) => {
                self.handle_groups(attempt, of, groups, now);
            }
            (Stage::Grouping { attempt, .. }, Answer::Groups(Err(_))) => {
                self.postpone(&attempt, "groups cannot be looked up");
            }
            (Stage::Sasl { attempt, mut server }, Answer::ScramKeys(keys)) => {
                let step = server.scram_keys(keys);
                self.sasl_step(attempt, server, step, now);
            }
            (Stage::Finishing { attempt, identity }, Answer::Capabilities(offered)) => {
                self.welcome(attempt, identity, offered);
            }
            (stage, _) => self.set_stage(stage),
        }
    }

    fn handle_verdict(&mut self, attempt: Attempt, password: Secret, verdict: PasswordVerdict, now: Instant) {
        if attempt.authcid.is_empty() {
            self.refuse(attempt, "invalid user name", now);
            return;
        }
        match verdict {
            PasswordVerdict::Accepted => self.authorise(attempt, now),
            PasswordVerdict::Denied => self.refuse(attempt, "authentication failure", now),
            PasswordVerdict::Unavailable => self.postpone(&attempt, "password check unavailable"),
            PasswordVerdict::AskBackend => {
                let name = self.config.namespace.inbox(&attempt.authcid).into();
                self.set_stage(Stage::AtHome { attempt, password, next_server: 0, backend: None });
                self.ask(Purpose::Guest, Question::Find { name, freshness: Freshness::BarrierIfAbsent });
            }
        }
    }

    /// The home of a user whose password a backend checks.
    fn handle_home(
        &mut self,
        attempt: Attempt,
        password: Secret,
        next: usize,
        finding: &Finding,
        now: Instant,
    ) {
        match finding {
            Finding::Active(entry) => match entry.location.server() {
                Some(server) => self.try_password_at(attempt, password, next, server, now),
                None => self.try_next_server(attempt, password, next, now),
            },
            Finding::Absent if self.config.is_admin(&attempt.authcid) => {
                self.try_next_server(attempt, password, next, now);
            }
            Finding::Absent => self.refuse(attempt, "no mailbox", now),
            Finding::Reserved { .. } | Finding::Unknown => self.postpone(&attempt, "home unknown"),
        }
    }

    fn try_next_server(&mut self, attempt: Attempt, password: Secret, next: usize, now: Instant) {
        match self.config.serverlist.get(next).cloned() {
            Some(server) => self.try_password_at(attempt, password, next + 1, server.as_bytes(), now),
            None => self.postpone(&attempt, "no server to check the password"),
        }
    }

    fn try_password_at(
        &mut self,
        attempt: Attempt,
        password: Secret,
        next: usize,
        server: &[u8],
        now: Instant,
    ) {
        let login = LoginAs::User { user: attempt.authcid.clone(), password: password.clone() };
        match self.open(server, login, now) {
            Ok(id) => {
                self.set_stage(Stage::AtHome { attempt, password, next_server: next, backend: Some(id) })
            }
            Err(_) => self.postpone(&attempt, "too many connections"),
        }
    }

    /// Whether a connection checks the password of the client.
    pub(super) fn is_guest_at(&self, id: BackendId) -> bool {
        match &self.phase {
            Phase::Guest(guest) => {
                matches!(&guest.stage, Stage::AtHome { backend, .. } if *backend == Some(id))
            }
            Phase::User(_) => false,
        }
    }

    /// The user's password was right at a backend. The connection serves the session if it is his
    /// home and he is nobody else.
    pub(super) fn home_accepted(&mut self, id: BackendId, now: Instant) {
        let Stage::AtHome { mut attempt, .. } = self.take_stage() else { return };
        if attempt.acts_for_other() || self.config.is_admin(&attempt.authcid) {
            self.close_backend(id, Close::Flush);
        } else {
            attempt.home = Some(id);
        }
        self.authorise(attempt, now);
    }

    /// The user's password was not accepted at a backend.
    pub(super) fn home_refused(&mut self, end: LoginEnd, now: Instant) {
        let Stage::AtHome { attempt, password, next_server, .. } = self.take_stage() else { return };
        match end {
            LoginEnd::Refused => self.refuse(attempt, "authentication failure", now),
            // Servers of the list are tried in order; a home is the only one there is.
            LoginEnd::Failed if next_server > 0 => self.try_next_server(attempt, password, next_server, now),
            LoginEnd::Failed => self.postpone(&attempt, "home server unavailable"),
        }
    }

    /// Decides whether who proved who he is may act as whom he named.
    fn authorise(&mut self, attempt: Attempt, now: Instant) {
        let Some(groups) = attempt.groups.clone() else {
            return self.look_groups_up(attempt, Grouped::Authenticated, now);
        };
        let who = self.config.identity(attempt.authcid.clone(), groups);
        if !attempt.acts_for_other() {
            self.finish(attempt, who);
        } else if who.is_admin {
            self.look_groups_up(attempt, Grouped::Authorised, now);
        } else if self.config.login.use_acl {
            let inbox = self.config.namespace.inbox(&attempt.authzid);
            let question =
                Question::Find { name: inbox.as_slice().into(), freshness: Freshness::BarrierIfAbsent };
            self.set_stage(Stage::Authorising { attempt, inbox });
            self.ask(Purpose::Guest, question);
        } else {
            self.refuse(attempt, "not allowed to act for another user", now);
        }
    }

    /// Goes on at once where the system's groups do not count.
    fn look_groups_up(&mut self, attempt: Attempt, of: Grouped, now: Instant) {
        let user = match of {
            Grouped::Authenticated => attempt.authcid.clone(),
            Grouped::Authorised => attempt.authzid.clone(),
        };
        if self.config.login.groups {
            self.set_stage(Stage::Grouping { attempt, of });
            self.ask(Purpose::Guest, Question::Groups { user });
        } else {
            self.handle_groups(attempt, of, Groups::default(), now);
        }
    }

    fn handle_groups(&mut self, mut attempt: Attempt, of: Grouped, groups: Groups, now: Instant) {
        match of {
            Grouped::Authenticated => {
                attempt.groups = Some(groups);
                self.authorise(attempt, now);
            }
            Grouped::Authorised => {
                let who = self.config.identity(attempt.authzid.clone(), groups);
                self.finish(attempt, who);
            }
        }
    }

    fn handle_inbox(&mut self, attempt: Attempt, inbox: &[u8], finding: &Finding, now: Instant) {
        match finding {
            Finding::Active(entry) => {
                let groups = attempt.groups.clone().unwrap_or_default();
                let who = Identity { user: attempt.authcid.clone(), is_admin: false, groups };
                if acl::rights(&entry.acl, inbox, &who, &self.config.acl).contains(Rights::A) {
                    self.look_groups_up(attempt, Grouped::Authorised, now);
                } else {
                    self.refuse(attempt, "not allowed to act for another user", now);
                }
            }
            Finding::Absent => self.refuse(attempt, "not allowed to act for another user", now),
            Finding::Reserved { .. } | Finding::Unknown => {
                self.postpone(&attempt, "mailbox list unavailable")
            }
        }
    }

    fn finish(&mut self, attempt: Attempt, identity: Identity) {
        let identity = Arc::new(identity);
        self.set_stage(Stage::Finishing { attempt, identity });
        self.ask(Purpose::Guest, Question::Capabilities);
    }

    fn welcome(&mut self, attempt: Attempt, identity: Arc<Identity>, offered: Arc<BackendCapabilities>) {
        let tls = self.is_tls();
        let session_id = self.session_id();
        let host = host_of(&self.origin.client_address).to_owned();
        let (user, mechanism) = (identity.user.escape_ascii(), attempt.mechanism());
        let layer = if tls { "+TLS" } else { "" };
        self.log(
            Level::Info,
            format!("login: [{host}] {user} {mechanism}{layer} User logged in SESSIONID=<{session_id}>"),
        );
        let text = match (attempt.how, tls) {
            (How::Login, _) => "User logged in",
            (How::Authenticate(_), false) => "Success (no protection)",
            (How::Authenticate(_), true) => "Success (tls protection)",
        };
        let capabilities = after_login(&self.config, &offered);
        let line = format!("OK [CAPABILITY {capabilities}] {text} SESSIONID=<{session_id}>");
        self.reply(&attempt.tag, line.as_bytes());
        let home =
            attempt.home.and_then(|id| self.backend_at(id)).map(|at| self.backends[at].server().into());
        let inbox = self.config.namespace.inbox(&identity.user).into();
        let plus = attempt.plus;
        let domain = self.take_named_domain();
        self.phase = Phase::User(User {
            identity,
            inbox,
            home,
            plus,
            tls,
            domain,
            enabled: Extensions::default(),
            offered,
        });
        self.reading = Reading::Command { asked: 0 };
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
        (self.selected, self.deeds, self.papers) = (None, None, None);
        let Phase::User(user) = &mut self.phase else { return };
        self.phase = Phase::Guest(Box::new(Guest::again(user.tls, user.domain.take())));
        self.reply(tag, b"OK Completed");
    }

    /// Refuses a login after a pause, so that guessing takes time.
    fn refuse(&mut self, attempt: Attempt, why: &str, now: Instant) {
        let host = host_of(&self.origin.client_address).to_owned();
        let (user, mechanism) = (attempt.authcid.escape_ascii(), attempt.mechanism());
        self.log(Level::Notice, format!("badlogin: [{host}] {mechanism} {user} [{why}]"));
        let text: &'static [u8] = match attempt.how {
            How::Login => b"NO Login failed: authentication failure",
            How::Authenticate(_) => b"NO authentication failure",
        };
        let until = now + self.config.login.failed_pause;
        self.set_stage(Stage::Pausing { tag: attempt.tag, text, until });
    }

    /// The pause behind a wrong password is over.
    pub(super) fn pause_is_over(&mut self, now: Instant) {
        if let Stage::Pausing { tag, text, .. } = self.take_stage() {
            self.last_input = Some(now);
            self.reply(&tag, text);
        }
        self.set_stage(Stage::Idle);
    }

    /// A login that cannot be decided at the moment.
    fn postpone(&mut self, attempt: &Attempt, why: &str) {
        let host = host_of(&self.origin.client_address).to_owned();
        let user = attempt.authcid.escape_ascii();
        self.log(Level::Warn, format!("login: [{host}] {user} not decided: {why}"));
        self.reply(&attempt.tag, LOGIN_UNAVAILABLE);
        self.set_stage(Stage::Idle);
    }
}
