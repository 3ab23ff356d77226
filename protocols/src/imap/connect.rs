//! Backend connections: opened, logged in, told what is enabled, lost, closed.

use std::time::Duration;

use memchr::memchr;

use super::backend::{Backend, Flow, LoginAs, Phase, Whose};
use super::grammar::{Response, UntaggedKind, Verb, code, response};
use super::login::{Login, Ready, Step};
use super::offer::Offer;
use super::session::Session;
use super::state::{Progress, Purpose, Reading};
use super::task::News;
use crate::login::attempt::Tried;
use crate::login::backend::Login as _;
use crate::proxy::{
    Answer, BackendId, Close, HEAD_BYTES_MAX, Instant, LayerKind, Level, Notice, OpenError, Opened, Question,
    Service, Side, TlsInfo, Unavailable,
};
use crate::secret::Secret;
use crate::wire::line;

/// Connections of one session; a listing over more servers than that leaves some out.
const BACKENDS_MAX: usize = 256;

/// How long a connection may take to end after LOGOUT. It may be in the way of a client that reads
/// slowly what was sent to him before.
const LEAVING_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// The last command on a connection.
const LOGOUT: &[u8] = b"RKQ LOGOUT\r\n";

impl Session {
    /// A connection to a server as the user: one that stands or is on its way, else a new one.
    ///
    /// # Errors
    /// Too many.
    pub(super) fn connection_to(&mut self, server: &[u8], now: Instant) -> Result<BackendId, Unavailable> {
        let usable = |backend: &&Backend| {
            backend.server() == server && !backend.is_apart && !matches!(backend.phase, Phase::Leaving(_))
        };
        if let Some(backend) = self.backends.iter_mut().find(|backend| usable(&&**backend)) {
            backend.last_use = now;
            return Ok(backend.id());
        }
        let user = self.user().map(|user| user.identity.user.clone()).ok_or(Unavailable)?;
        self.open(server, LoginAs::Proxy { user }, now)
    }

    /// A new connection to a server as the user, which nobody else is given.
    ///
    /// # Errors
    /// Too many.
    pub(super) fn connection_apart(&mut self, server: &[u8], now: Instant) -> Result<BackendId, Unavailable> {
        let user = self.user().map(|user| user.identity.user.clone()).ok_or(Unavailable)?;
        let id = self.open(server, LoginAs::Proxy { user }, now)?;
        self.backends
            .iter_mut()
            .filter(|backend| backend.id() == id)
            .for_each(|backend| backend.is_apart = true);
        Ok(id)
    }

    /// A new connection to a server as the first of `admins`; never one for the client's commands.
    ///
    /// # Errors
    /// Nobody is named there, or too many connections.
    pub(super) fn connection_as_admin(
        &mut self,
        server: &[u8],
        now: Instant,
    ) -> Result<BackendId, Unavailable> {
        let named = self.config.admins.iter().find(|admin| !admin.starts_with(b"group:"));
        let user = named.cloned().ok_or(Unavailable)?;
        let name = server.escape_ascii().to_string();
        let whose = self.user().map(|user| user.identity.user.escape_ascii().to_string()).unwrap_or_default();
        self.log(Level::Info, format!("{whose} has no mailbox: one is made at {name}"));
        let id = self.open(server, LoginAs::Proxy { user }, now)?;
        if let Some(at) = self.backend_at(id) {
            self.backends[at].is_apart = true;
            self.backends[at].is_admin = true;
        }
        Ok(id)
    }

    /// Closes what was opened as an administrator.
    pub(super) fn close_admin_connections(&mut self) {
        while let Some(at) = self.backends.iter().position(|backend| backend.is_admin) {
            self.close_backend(self.backends[at].id(), Close::Flush);
        }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// Too many, or a server name that is no text.
    pub(super) fn open(
        &mut self,
        server: &[u8],
        login: LoginAs,
        now: Instant,
    ) -> Result<BackendId, Unavailable> {
        let name = std::str::from_utf8(server).map_err(|_| Unavailable)?;
        if self.backends.len() >= BACKENDS_MAX {
            return Err(Unavailable);
        }
        let id = self.new_backend_id();
        let deadline = now + self.config.timeouts.backend_login;
        // Most sessions never have a second one.
        self.backends.reserve_exact(1);
        self.backends.push(Backend::new(id, server, login, deadline, now));
        let question = Question::OpenBackend { side: id, server: name.into(), service: Service::Imap };
        self.ask(Purpose::Backend(id), question);
        Ok(id)
    }

    /// An answer for a connection that is not logged in yet.
    pub(super) fn handle_backend_answer(&mut self, id: BackendId, answer: Answer, now: Instant) {
        match answer {
            Answer::Opened(Ok(opened)) => self.opened(id, opened),
            Answer::Opened(Err(error)) => self.not_opened(id, &error, now),
            Answer::SaltedPassword(salted) => self.salted(id, salted, now),
            Answer::Found(_)
            | Answer::Page(_)
            | Answer::Reused { .. }
            | Answer::Barrier(_)
            | Answer::Password(_)
            | Answer::Groups(_)
            | Answer::HomeCopy(_)
            | Answer::Domain(_)
            | Answer::ScramKeys(_)
            | Answer::Intended(_)
            | Answer::Capabilities(_)
            | Answer::Directory(_) => {}
        }
    }

    fn opened(&mut self, id: BackendId, opened: Opened) {
        let nonce = self.nonce();
        let Some(at) = self.backend_at(id) else {
            // Given up in the meantime.
            self.outbox.close(Side::Backend(id), Close::Abort);
            return;
        };
        let backend = &mut self.backends[at];
        let leaving = Phase::Leaving(Instant(u64::MAX));
        if let Phase::Opening(who, deadline) = std::mem::replace(&mut backend.phase, leaving) {
            backend.phase = Phase::Login(Box::new(Login::new(*who, opened, nonce)), deadline);
        }
    }

    fn not_opened(&mut self, id: BackendId, error: &OpenError, now: Instant) {
        self.log(Level::Warn, format!("imap backend: {error}"));
        if let Some(at) = self.backend_at(id) {
            self.backends.remove(at);
        }
        self.login_failed(id, Tried::Failed, now);
    }

    fn salted(&mut self, id: BackendId, salted: Secret, now: Instant) {
        self.with_login(id, now, |login, out| login.salted(salted, out));
    }

    /// TLS towards a backend is on, or is not.
    pub(super) fn backend_secured(&mut self, id: BackendId, result: Result<TlsInfo, Box<str>>, now: Instant) {
        let Some(at) = self.backend_at(id) else { return };
        match (result, &self.backends[at].phase) {
            (Ok(_), Phase::Login(login, _)) if login.is_securing() => {
                self.with_login(id, now, Login::secured);
            }
            (Ok(_), Phase::Compressing(..)) => self.backend_compressed(id, now),
            // `/tls`: the greeting comes over it.
            (Ok(_), _) => {}
            (Err(why), _) => {
                let server = self.backends[at].server().escape_ascii().to_string();
                let is_compressing = matches!(self.backends[at].phase, Phase::Compressing(..));
                let layer = if is_compressing { "compression" } else { "TLS" };
                self.log(Level::Warn, format!("imap backend {server}: no {layer}: {why}"));
                self.backend_gone(id, now);
            }
        }
    }

    /// Runs a step of a login and does what it wants.
    fn with_login(
        &mut self,
        id: BackendId,
        now: Instant,
        step: impl FnOnce(&mut Login, &mut Vec<u8>) -> Step,
    ) {
        let Some(at) = self.backend_at(id) else { return };
        let side = self.backends[at].side();
        let Phase::Login(login, _) = &mut self.backends[at].phase else { return };
        let mut wants = Step::Wait;
        self.outbox.author_secret(side, |out| wants = step(login, out));
        let host = login.host().into();
        match wants {
            Step::Wait => {}
            Step::Secure => self.outbox.switch(side, LayerKind::TlsClient { server_name: host }),
            Step::Salt { hash, password, salt, iterations } => {
                self.ask(Purpose::Backend(id), Question::SaltPassword { hash, password, salt, iterations });
            }
            Step::Ready(ready) => self.logged_in(at, ready, now),
            Step::Refused { .. } => self.login_over(id, Tried::Refused, "login refused", now),
            Step::Failed(why) => self.login_over(id, Tried::Failed, why, now),
        }
    }

    fn logged_in(&mut self, at: usize, ready: Ready, now: Instant) {
        if let Some(ready) = self.begin_compression(at, ready) {
            self.be_logged_in(at, ready, now);
        }
    }

    /// A connection is the session's to use.
    pub(super) fn be_logged_in(&mut self, at: usize, ready: Ready, now: Instant) {
        let backend = &mut self.backends[at];
        let id = backend.id();
        backend.be_ready(ready.offer, ready.release);
        backend.last_use = now;
        let server = String::from_utf8_lossy(backend.server()).into_owned().into_boxed_str();
        let words =
            ready.capabilities.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
        let capabilities = words.map(|word| String::from_utf8_lossy(word).into_owned().into()).collect();
        self.outbox.tell(Notice::Capabilities { server, capabilities });
        self.identify(id);
        self.ask_layout(id);
        if self.is_guest_at(id) {
            self.home_accepted(id, now);
        } else if self.is_heard(id) {
            self.ask_witness(at, now);
        } else {
            self.task_backend(id, Ok(()), now);
        }
    }

    fn login_over(&mut self, id: BackendId, end: Tried, why: &'static str, now: Instant) {
        if let Some(at) = self.backend_at(id) {
            let server = self.backends[at].server().escape_ascii().to_string();
            self.log(Level::Warn, format!("imap backend {server}: {why}"));
        }
        self.close_backend(id, Close::Abort);
        self.login_failed(id, end, now);
    }

    /// Tells who waits that a connection cannot be had.
    fn login_failed(&mut self, id: BackendId, end: Tried, now: Instant) {
        if self.is_guest_at(id) {
            self.home_tried(end, now);
        } else if self.is_heard(id) {
            self.server_is_silent(now);
        } else {
            self.task_backend(id, Err(Unavailable), now);
        }
    }

    /// Tells a backend whose client this is (ID, RFC 2971).
    pub(super) fn identify(&mut self, id: BackendId) {
        let Some(at) = self.backend_at(id) else { return };
        if !self.config.proxy.send_id || !self.backends[at].offer().has(Offer::ID) {
            return;
        }
        let command = [&b"ID "[..], &self.id_for_backend()].concat();
        self.send_own(at, &command);
    }

    /// Tells a backend what the client enabled, as far as it offers it.
    pub(super) fn enable_at(&mut self, id: BackendId, now: Instant) {
        let Some(at) = self.backend_at(id) else { return };
        let Some(wanted) = self.user().map(|user| user.enabled) else { return };
        let backend = &mut self.backends[at];
        let wanted = wanted.offered_by(backend.offer());
        if !backend.is_ready() || backend.enabled == wanted || !backend.offer().has(Offer::ENABLE) {
            return;
        }
        backend.enabled = wanted;
        backend.last_use = now;
        self.send_own(at, format!("ENABLE{}", wanted.names()).as_bytes());
    }

    /// Sends a command of ours whose answer nobody wants.
    pub(super) fn send_own(&mut self, at: usize, command: &[u8]) {
        self.send_own_as(at, Verb::Unknown, command);
    }

    /// Sends a command of ours, which is kept under this verb.
    pub(super) fn send_own_as(&mut self, at: usize, verb: Verb, command: &[u8]) {
        let tag = self.new_own_tag();
        let side = self.backends[at].side();
        self.outbox.write(side, &[&tag, b" ", command, b"\r\n"]);
        self.backends[at].sent(&tag, Whose::Ours, verb, self.now);
    }

    /// Leaves the selected mailbox without a word to the client.
    pub(super) fn unselect(&mut self, now: Instant) {
        let Some(selected) = self.selected.as_deref().map(|selected| selected.backend) else { return };
        self.set_selected(None);
        let Some(at) = self.backend_at(selected) else { return };
        self.backends[at].last_use = now;
        if self.backends[at].offer().has(Offer::UNSELECT) {
            self.send_own(at, b"UNSELECT");
        } else {
            // CLOSE would expunge.
            self.close_backend(selected, Close::Flush);
        }
    }

    /// Takes the next step with what a connection says.
    pub(super) fn look_at_backend(&mut self, id: BackendId, input: &[u8], now: Instant) -> Progress {
        let Some(at) = self.backend_at(id) else { return Progress::Took(input.len()) };
        let is_heard = self.is_heard(id);
        let backend = &mut self.backends[at];
        backend.last_use = now;
        match &backend.phase {
            Phase::Opening(..) => return Progress::Hold,
            Phase::Login(..) => return self.look_at_login(at, input, now),
            Phase::Compressing(..) => return self.look_at_compressing(at, input, now),
            Phase::Leaving(_) => return Progress::Took(input.len()),
            Phase::Ready(_) => {}
        }
        if backend.is_listening {
            self.look_at_listener(at, input, now)
        } else if backend.flow != Flow::Start {
            self.pass_rest(at, input)
        } else if is_heard {
            self.look_at_witness(at, input, now)
        } else if backend.answers_us() {
            self.look_at_own_answer(at, input, now)
        } else if backend.serves_task {
            self.offer_backend_line(at, input, now)
        } else if self.is_selected(id) {
            self.relay_responses(at, input, now)
        } else {
            self.look_at_stray(at, input, now)
        }
    }

    fn look_at_login(&mut self, at: usize, input: &[u8], now: Instant) -> Progress {
        let id = self.backends[at].id();
        match line::first(input, HEAD_BYTES_MAX) {
            Ok(line) => {
                let config = std::sync::Arc::clone(&self.config);
                self.with_login(id, now, |login, out| {
                    login.handle_line(&input[..line.len], &config.proxy, out)
                });
                Progress::Took(line.len)
            }
            Err(crate::wire::Error::Incomplete) => Progress::More,
            Err(_) => {
                self.login_over(id, Tried::Failed, "line too long during login", now);
                Progress::Took(input.len())
            }
        }
    }

    /// What answers a command of ours is thrown away; what a selected mailbox tells is not.
    fn look_at_own_answer(&mut self, at: usize, input: &[u8], now: Instant) -> Progress {
        let Some(lf) = memchr(b'\n', input) else {
            if input.len() < HEAD_BYTES_MAX {
                return Progress::More;
            }
            return self.pass_part(at, Flow::Dropping, input);
        };
        let line = &input[..=lf];
        let flow = match response(line) {
            Response::Tagged { tag, .. } => {
                if self.backends[at].answered(tag).is_none() {
                    return self.break_backend(at, "reply with a tag that was not sent", now, input.len());
                }
                Flow::Dropping
            }
            Response::Untagged { kind, rest, .. } if self.is_news(at, kind, rest) => {
                if self.speaking.is_some_and(|speaking| speaking != self.backends[at].id()) {
                    return Progress::Hold;
                }
                Flow::Relaying
            }
            Response::Untagged { kind: UntaggedKind::Namespace, rest, .. } => {
                self.compare_layout(at, rest);
                Flow::Dropping
            }
            Response::Untagged { .. } | Response::Continuation { .. } => Flow::Dropping,
            Response::Invalid => return self.break_backend(at, "no IMAP response", now, input.len()),
        };
        self.pass(at, flow, line, input)
    }

    /// Whether an untagged response is for the client whatever the backend was asked.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other kinds answer a command")]
    pub(super) fn is_news(&self, at: usize, kind: UntaggedKind, rest: &[u8]) -> bool {
        match kind {
            UntaggedKind::Ok | UntaggedKind::No => {
                code(rest).is_some_and(|(name, _)| name.eq_ignore_ascii_case(b"ALERT"))
            }
            UntaggedKind::Exists
            | UntaggedKind::Recent
            | UntaggedKind::Expunge
            | UntaggedKind::Vanished
            | UntaggedKind::Fetch
            | UntaggedKind::UidFetch
            | UntaggedKind::Flags => self.is_selected(self.backends[at].id()),
            _ => false,
        }
    }

    /// What a connection says that was asked nothing and has nothing selected.
    fn look_at_stray(&mut self, at: usize, input: &[u8], now: Instant) -> Progress {
        let Some(lf) = memchr(b'\n', input) else {
            if input.len() < HEAD_BYTES_MAX {
                return Progress::More;
            }
            return self.pass_part(at, Flow::Dropping, input);
        };
        let line = &input[..=lf];
        match response(line) {
            Response::Untagged { kind, rest, .. } if self.is_news(at, kind, rest) => {
                if self.speaking.is_some() {
                    return Progress::Hold;
                }
                self.pass(at, Flow::Relaying, line, input)
            }
            Response::Untagged { .. } | Response::Continuation { .. } => {
                self.pass(at, Flow::Dropping, line, input)
            }
            Response::Tagged { .. } | Response::Invalid => {
                self.break_backend(at, "reply to nothing", now, input.len())
            }
        }
    }

    /// A backend does not keep to the protocol: as good as lost.
    pub(super) fn break_backend(
        &mut self,
        at: usize,
        why: &'static str,
        now: Instant,
        here: usize,
    ) -> Progress {
        let id = self.backends[at].id();
        let server = self.backends[at].server().escape_ascii().to_string();
        self.log(Level::Warn, format!("imap backend {server}: {why}"));
        self.outbox.close(Side::Backend(id), Close::Abort);
        self.backend_gone(id, now);
        Progress::Took(here)
    }

    /// A connection was not logged in in time. That it stands says that its server took it.
    pub(super) fn login_timed_out(&mut self, id: BackendId, now: Instant) {
        if let Some(at) = self.backend_at(id)
            && matches!(self.backends[at].phase, Phase::Login(..))
        {
            let server = String::from_utf8_lossy(self.backends[at].server()).into_owned().into_boxed_str();
            self.outbox.tell(Notice::Silent { server });
        }
        self.backend_gone(id, now);
    }

    /// A connection ended.
    pub(super) fn backend_gone(&mut self, id: BackendId, now: Instant) {
        let Some(at) = self.backend_at(id) else {
            // We had closed it.
            self.outbox.close(Side::Backend(id), Close::Abort);
            return;
        };
        let backend = self.backends.remove(at);
        if !matches!(backend.phase, Phase::Opening(..)) {
            self.outbox.close(backend.side(), Close::Abort);
        }
        if self.reading == Reading::Over {
            return;
        }
        if self.speaking == Some(id) {
            // The client has half a response: nothing that we say would be understood.
            self.end(b"");
            return;
        }
        match backend.phase {
            Phase::Opening(..) | Phase::Login(..) | Phase::Compressing(..) => {
                self.login_failed(id, Tried::Failed, now)
            }
            Phase::Leaving(_) => {}
            Phase::Ready(_) => self.ready_backend_gone(&backend, now),
        }
    }

    fn ready_backend_gone(&mut self, backend: &Backend, now: Instant) {
        let was_selected = self.is_selected(backend.id());
        if backend.serves_task {
            self.tell_task(News::Lost(backend.id()), now);
        }
        if backend.is_listening {
            self.listener_gone(backend.server());
        }
        if was_selected {
            self.selected_gone(backend, "lost", now);
        } else if self.is_heard(backend.id()) {
            self.server_is_silent(now);
        }
    }

    /// Closes a connection and forgets it.
    pub(super) fn close_backend(&mut self, id: BackendId, how: Close) {
        let Some(at) = self.backend_at(id) else { return };
        let backend = self.backends.remove(at);
        if backend.is_ready() && how == Close::Flush {
            self.outbox.write(backend.side(), &[LOGOUT]);
        }
        if self.is_selected(id) {
            self.set_selected(None);
        }
        if !matches!(backend.phase, Phase::Opening(..)) {
            self.outbox.close(backend.side(), how);
        }
    }

    /// Leaves all connections at the end of the session, with LOGOUT; what they still send to the
    /// client goes on, so they are closed when they end. One that is in the middle of a command of
    /// the client is cut: LOGOUT would be taken for part of it.
    pub(super) fn leave_backends(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(backend) = self.backends.get(at) {
            let side = backend.side();
            if backend.is_ready() && !self.is_cut_short(backend) {
                self.leave_backend(at, now);
                at += 1;
            } else {
                let is_open = !matches!(backend.phase, Phase::Opening(..));
                self.backends.remove(at);
                if is_open {
                    self.outbox.close(side, Close::Abort);
                }
            }
        }
    }

    /// Leaves a connection with LOGOUT; what it still sends to the client goes on.
    pub(super) fn leave_backend(&mut self, at: usize, now: Instant) {
        self.outbox.write(self.backends[at].side(), &[LOGOUT]);
        self.backends[at].phase = Phase::Leaving(now + LEAVING_TIMEOUT);
    }

    /// Closes all connections: the client is gone, so nothing that they say matters.
    pub(super) fn close_backends(&mut self) {
        self.leave_backends(Instant(0));
        for backend in std::mem::take(&mut self.backends) {
            self.outbox.close(backend.side(), Close::Flush);
        }
    }

    /// Whether a connection is in the middle of a response, or of a command of the client or of a
    /// task: what comes next would be taken for the rest of a literal.
    fn is_cut_short(&self, backend: &Backend) -> bool {
        let is_mid_command = !matches!(self.reading, Reading::Command { .. } | Reading::Over);
        backend.flow != Flow::Start
            || (self.task.is_some() && backend.serves_task)
            || (is_mid_command && self.is_selected(backend.id()))
    }
}
