//! What the parts of one session share: outputs, questions, randomness, the log.

use std::sync::Arc;

use aws_lc_rs::digest;
use smallvec::SmallVec;

use super::config::Common;
use crate::outbox::Outbox;
use crate::proxy::{BackendId, Instant, Level, Notice, Origin, Presence, Question, QuestionId};
use crate::watch::Watch;

/// Who asked a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// The login of the client.
    Guest,
    /// The way to the server of his mailbox.
    Way,
    /// A connection that is being opened or logged in.
    Backend(BackendId),
    /// The session itself, by a number of its own.
    Session(usize),
}

/// The desk of one session.
pub(crate) struct Desk {
    pub(crate) outbox: Outbox,
    pub(crate) origin: Origin,
    /// The name of the protocol in the log.
    protocol: &'static str,
    /// The service as in cyrus.conf.
    service: Arc<str>,
    /// By which logs are joined; empty until somebody wants it.
    session_id: Box<str>,
    /// `servername`, which session ids begin with.
    servername: Box<str>,
    asked: SmallVec<[(QuestionId, Purpose); 2]>,
    next_question: u32,
    next_backend: u32,
    next_nonce: u32,
    /// The command under way.
    pub(super) watched: Option<Box<Watch>>,
}

/// What a part of a session works with.
pub(crate) struct Around<'a> {
    pub(crate) desk: &'a mut Desk,
    pub(crate) common: &'a Common,
    pub(crate) now: Instant,
}

impl Desk {
    pub(crate) fn new(protocol: &'static str, common: &Common, origin: Origin) -> Desk {
        let mut desk = Desk {
            outbox: Outbox::default(),
            origin,
            protocol,
            service: Arc::clone(&common.service),
            session_id: "".into(),
            servername: common.servername.clone(),
            asked: SmallVec::new(),
            next_question: 0,
            next_backend: 0,
            next_nonce: 0,
            watched: None,
        };
        desk.tell_presence(b"");
        desk
    }

    /// Asks the engine.
    pub(crate) fn ask(&mut self, purpose: Purpose, question: Question) {
        let id = QuestionId(self.next_question);
        self.next_question = self.next_question.wrapping_add(1);
        self.asked.push((id, purpose));
        if let Some(watch) = &mut self.watched {
            watch.note_question(&question);
        }
        self.outbox.ask(id, question);
    }

    /// Whether somebody waits for an answer.
    pub(super) fn is_asking(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Who waits for an answer; `None` when nobody does any longer.
    pub(crate) fn answers(&mut self, id: QuestionId) -> Option<Purpose> {
        let at = self.asked.iter().position(|(asked, _)| *asked == id)?;
        Some(self.asked.remove(at).1)
    }

    /// Forgets the questions of somebody who no longer waits. Those of connections stay: one that
    /// stands after all has to be closed.
    pub(crate) fn forget(&mut self, purpose: Purpose) {
        self.asked.retain(|(_, asked)| *asked != purpose);
    }

    /// Forgets the questions of the session itself.
    pub(crate) fn forget_own(&mut self) {
        self.asked.retain(|(_, asked)| !matches!(asked, Purpose::Session(_)));
    }

    /// A number for a new connection.
    pub(crate) fn new_backend_id(&mut self) -> BackendId {
        self.next_backend += 1;
        BackendId(self.next_backend)
    }

    /// Fresh bytes, used once, made of the randomness that the session was given.
    pub(crate) fn nonce(&mut self) -> [u8; 18] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.origin.random);
        context.update(&self.next_nonce.to_be_bytes());
        self.next_nonce += 1;
        let mut nonce = [0; 18];
        nonce.copy_from_slice(&context.finish().as_ref()[..18]);
        nonce
    }

    /// A random number.
    pub(crate) fn number(&mut self) -> u64 {
        let nonce = self.nonce();
        nonce.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }

    /// An id by which logs are joined.
    pub(crate) fn session_id(&mut self) -> Box<str> {
        if self.session_id.is_empty() {
            let (started, random) = (self.origin.started_unix, self.number());
            self.session_id = format!("{}-{started}-1-{random}", self.servername).into();
        }
        self.session_id.clone()
    }

    /// What follows is another session's, on the same connection: of this name, or of none yet.
    pub(crate) fn begin_anew(&mut self, session_id: &str) {
        self.session_id = session_id.into();
    }

    /// Puts a line in the log. The text holds nothing secret.
    pub(crate) fn log(&mut self, level: Level, text: String) {
        let (service, session_id) = (Arc::clone(&self.service), self.session_id());
        self.outbox.tell(Notice::Session { level, service, session_id, text: text.into() });
    }

    /// Tells those who look at the process who the client is.
    pub(crate) fn tell_presence(&mut self, user: &[u8]) {
        let (service, host) = (Arc::clone(&self.service), self.client_host().into());
        self.outbox.tell(Notice::Presence(Presence::Client { service, host, user: user.into() }));
    }

    /// A failed login as Cyrus says it, which is what the filters of fail2ban look for. That for ManageSieve wants
    /// a name before the address, and nothing behind its two words: the session's stands there.
    pub(crate) fn bad_login(&mut self, mechanism: &str, user: &[u8], why: &str) -> String {
        let session_id = self.session_id();
        let (host, user) = (self.client_host(), user.escape_ascii());
        match self.protocol {
            "sieve" => {
                format!("badlogin: sessionid=<{session_id}> [{host}] {mechanism} authentication failure")
            }
            _ => format!("badlogin: [{host}] {mechanism} {user} [SASL(-13): authentication failure: {why}]"),
        }
    }

    /// Puts a line about a backend in the log.
    pub(crate) fn log_backend(&mut self, server: &[u8], why: &str) {
        let (protocol, server) = (self.protocol, server.escape_ascii());
        self.log(Level::Warn, format!("{protocol} backend {server}: {why}"));
    }

    /// Puts a line about the client in the log.
    pub(crate) fn log_client(&mut self, level: Level, text: &str) {
        let (protocol, host) = (self.protocol, host_of(&self.origin.client_address).to_owned());
        self.log(level, format!("{protocol}: [{host}] {text}"));
    }

    /// The client's host.
    pub(crate) fn client_host(&self) -> &str {
        host_of(&self.origin.client_address)
    }
}

/// The host of an address with port: `192.0.2.1:143`, `[2001:db8::1]:143`.
pub(crate) fn host_of(address: &str) -> &str {
    match address.strip_prefix('[') {
        Some(inside) => inside.split(']').next().unwrap_or(inside),
        None => address.rsplit_once(':').map_or(address, |(host, _)| host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_is_cut_off_an_address() {
        assert_eq!(host_of("192.0.2.1:4711"), "192.0.2.1");
        assert_eq!(host_of("[2001:db8::1]:4711"), "2001:db8::1");
        assert_eq!(host_of(""), "");
    }
}
