//! Backend connections: had from the pool or opened, logged in, spoken with, given back or lost.

use std::sync::Arc;

use super::backend::{Awaited, Peer, State};
use super::grammar::{Body, Reply, ReplyError, reply};
use super::login::{Login, Step};
use super::offer::Offer;
use super::session::{Progress, Session};
use super::text::{self, Text};
use super::transaction::{Fate, Transaction};
use crate::login::backend::{Login as _, LoginAs};
use crate::login::desk::Purpose;
use crate::proxy::{
    Answer, BackendId, Close, HEAD_BYTES_MAX, LayerKind, Level, OpenError, Opened, Question, Service, Side,
    TlsInfo,
};
use crate::wire;

/// Backends of one message, those that are left from others included.
const PEERS_MAX: usize = 256;

/// Times that a connection is had anew when one from the pool was dead.
const TRIES_MAX: u8 = 3;

impl Session {
    pub(super) fn peer_at(&self, id: BackendId) -> Option<usize> {
        self.peers.iter().position(|peer| peer.id == id)
    }

    /// Puts a recipient with a server.
    pub(super) fn assign(&mut self, number: usize, server: &str) {
        let same = |peer: &Peer| peer.takes_recipients() && peer.server.eq_ignore_ascii_case(server);
        let at = match self.peers.iter().position(same) {
            Some(at) => at,
            None if self.peers.len() >= PEERS_MAX => return self.decide(number, text::TOO_MANY_RECIPIENTS),
            None => self.open_peer(server),
        };
        let peer = &mut self.peers[at];
        peer.recipients.push(number);
        let id = peer.id;
        if let Some(recipient) = self.recipient(number) {
            recipient.fate = Fate::Asked(id);
        }
        self.tell_peer(at);
    }

    fn open_peer(&mut self, server: &str) -> usize {
        let id = self.desk.new_backend_id();
        let deadline = self.now + self.config.common.backend_login;
        self.peers.push(Peer::new(id, server, deadline));
        self.ask_peer(id, server);
        self.peers.len() - 1
    }

    fn ask_peer(&mut self, id: BackendId, server: &str) {
        let question = Question::OpenBackend { side: id, server: server.into(), service: Service::Lmtp };
        self.desk.ask(Purpose::Backend(id), question);
    }

    /// An answer for a connection that is not logged in yet.
    #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else is asked for it")]
    pub(super) fn handle_backend_answer(&mut self, id: BackendId, answer: Answer) {
        match answer {
            Answer::Opened(Ok(opened)) => self.peer_opened(id, opened),
            Answer::Opened(Err(error)) => self.peer_not_opened(id, &error),
            Answer::Reused { offer } => self.peer_reused(id, offer),
            Answer::SaltedPassword(salted) => self.with_login(id, |login, _, out| login.salted(salted, out)),
            _ => {}
        }
    }

    fn peer_opened(&mut self, id: BackendId, opened: Opened) {
        let nonce = self.desk.nonce();
        match self.peer_at(id) {
            Some(at) => {
                let nobody = LoginAs::Proxy { user: Box::default() };
                self.peers[at].state = State::Login(Box::new(Login::new(nobody, opened, nonce)));
            }
            None => self.desk.outbox.close(Side::Backend(id), Close::Abort),
        }
    }

    fn peer_not_opened(&mut self, id: BackendId, error: &OpenError) {
        self.desk.log(Level::Warn, format!("lmtp backend: {error}"));
        self.drop_peer(id, &text::UNAVAILABLE);
    }

    fn peer_reused(&mut self, id: BackendId, offer: Arc<[u8]>) {
        let Some(at) = self.peer_at(id) else {
            return self.desk.outbox.close(Side::Backend(id), Close::Abort);
        };
        self.peers[at].is_doubtful = true;
        self.peer_is_ready(at, offer);
    }

    fn peer_is_ready(&mut self, at: usize, offer: Arc<[u8]>) {
        let peer = &mut self.peers[at];
        peer.offer = Offer::read(&offer);
        peer.words = offer;
        peer.state = State::Envelope;
        self.tell_peer(at);
    }

    /// TLS towards a backend is on, or is not.
    pub(super) fn peer_secured(&mut self, id: BackendId, result: Result<TlsInfo, Box<str>>) {
        let Some(at) = self.peer_at(id) else { return };
        match (result, &self.peers[at].state) {
            (Ok(_), State::Login(login)) if login.is_securing() => {
                self.with_login(id, |login, _, out| login.secured(out));
            }
            // `/tls`: the greeting comes over it.
            (Ok(_), _) => {}
            (Err(why), _) => {
                let server = self.peers[at].server.clone();
                self.desk.log(Level::Warn, format!("lmtp backend {server}: no TLS: {why}"));
                self.drop_peer(id, &text::UNAVAILABLE);
            }
        }
    }

    /// Runs a step of a login and does what it wants.
    fn with_login(
        &mut self,
        id: BackendId,
        step: impl FnOnce(&mut Login, &super::Config, &mut Vec<u8>) -> Step,
    ) {
        let Some(at) = self.peer_at(id) else { return };
        let (side, config) = (self.peers[at].side(), Arc::clone(&self.config));
        let State::Login(login) = &mut self.peers[at].state else { return };
        let mut wants = Step::Wait;
        self.desk.outbox.author_secret(side, |out| wants = step(login, &config, out));
        let server_name = login.host().into();
        match wants {
            Step::Wait => {}
            Step::Secure => self.desk.outbox.switch(side, LayerKind::TlsClient { server_name }),
            Step::Salt { hash, password, salt, iterations } => {
                self.desk
                    .ask(Purpose::Backend(id), Question::SaltPassword { hash, password, salt, iterations });
            }
            Step::Ready(offer) => self.peer_is_ready(at, offer),
            Step::Refused { .. } => self.break_peer(id, "login refused"),
            Step::Failed(why) => self.break_peer(id, why),
        }
    }

    /// Takes the next reply of a connection.
    pub(super) fn look_at_backend(&mut self, id: BackendId, input: &[u8]) -> Progress {
        let Some(at) = self.peer_at(id) else { return Progress::Took(input.len()) };
        let peer = &mut self.peers[at];
        if let State::Opening = peer.state {
            return Progress::Hold;
        }
        if let State::Login(_) = peer.state {
            return self.look_at_login(id, input);
        }
        match reply(input) {
            Ok(reply) => {
                peer.is_doubtful = false;
                match peer.awaited.pop_front() {
                    Some(awaited) => self.handle_reply(at, awaited, reply),
                    None => self.break_peer(id, "reply to nothing"),
                }
                Progress::Took(reply.text.len())
            }
            Err(ReplyError::Incomplete) => Progress::More,
            Err(ReplyError::Invalid) => {
                self.break_peer(id, "no LMTP reply");
                Progress::Took(input.len())
            }
        }
    }

    fn look_at_login(&mut self, id: BackendId, input: &[u8]) -> Progress {
        match Login::extent(input, HEAD_BYTES_MAX) {
            Ok(length) => {
                self.with_login(id, |login, config, out| {
                    login.handle_line(&input[..length], &config.common.proxy, out)
                });
                Progress::Took(length)
            }
            Err(wire::Error::Incomplete) => Progress::More,
            Err(_) => {
                self.break_peer(id, "no LMTP reply during login");
                Progress::Took(input.len())
            }
        }
    }

    fn handle_reply(&mut self, at: usize, awaited: Awaited, reply: Reply<'_>) {
        let (id, now) = (self.peers[at].id, self.now);
        match awaited {
            // An id is for the log alone.
            Awaited::Trace => {}
            Awaited::Mail if reply.is_positive() => {}
            Awaited::Mail => self.peers[at].refusal = Some(judge(reply)),
            Awaited::Rcpt(number) => self.handle_rcpt_reply(at, number, reply),
            Awaited::Data => self.handle_data_reply(at, reply),
            Awaited::Delivery(number) => self.handle_delivery(at, number, reply),
            Awaited::Reset if reply.is_positive() => self.release_peer(id),
            Awaited::Reset => self.break_peer(id, "does not reset"),
        }
        if let Some(at) = self.peer_at(id) {
            let timeouts = &self.config.timeouts;
            let peer = &mut self.peers[at];
            let patience = if matches!(peer.state, State::AwaitDelivery) {
                timeouts.delivery
            } else {
                timeouts.envelope
            };
            peer.deadline = now + patience;
        }
        if reply.code == 421 {
            self.peer_is_lost(id, &text::UNAVAILABLE);
        }
    }

    fn handle_rcpt_reply(&mut self, at: usize, number: usize, reply: Reply<'_>) {
        let peer = &self.peers[at];
        let (id, server, refusal) = (peer.id, peer.server.clone(), peer.refusal.clone());
        let Some(recipient) = self.recipient(number) else { return };
        if recipient.peer() != Some(id) {
            return;
        }
        if let Some(refusal) = refusal {
            return self.decide(number, refusal);
        }
        if reply.is_positive() {
            recipient.fate = Fate::Taken(id, own(reply));
        } else if reply.is_unknown_mailbox() && recipient.may_post {
            self.doubt(number, &server);
        } else {
            self.decide(number, judge(reply));
        }
    }

    /// Closes a connection that does not keep to the protocol.
    pub(super) fn break_peer(&mut self, id: BackendId, why: &str) {
        if let Some(at) = self.peer_at(id) {
            let server = self.peers[at].server.clone();
            self.desk.log(Level::Warn, format!("lmtp backend {server}: {why}"));
        }
        self.drop_peer(id, &text::UNAVAILABLE);
    }

    /// A connection has ended.
    pub(super) fn peer_is_lost(&mut self, id: BackendId, text: &Text) {
        let Some(at) = self.peer_at(id) else {
            return self.desk.outbox.close(Side::Backend(id), Close::Abort);
        };
        let peer = &self.peers[at];
        let is_unsaid = matches!(peer.state, State::Envelope | State::AwaitGo);
        if peer.is_doubtful && is_unsaid && peer.tries < TRIES_MAX && self.transaction.is_some() {
            return self.renew_peer(at);
        }
        let server = peer.server.clone();
        let is_delivering = matches!(peer.state, State::AwaitDelivery);
        self.desk.log(Level::Warn, format!("lmtp backend {server}: connection lost"));
        self.drop_peer(id, if is_delivering { &text::LOST } else { text });
    }

    /// A connection of the pool was dead before it was used: nothing was said to anybody.
    fn renew_peer(&mut self, at: usize) {
        let old = self.peers[at].id;
        self.desk.outbox.close(Side::Backend(old), Close::Abort);
        let id = self.desk.new_backend_id();
        let deadline = self.now + self.config.common.backend_login;
        let peer = &mut self.peers[at];
        let server = peer.server.clone();
        let mut fresh = Peer::new(id, &server, deadline);
        fresh.tries = peer.tries + 1;
        fresh.recipients = std::mem::take(&mut peer.recipients);
        let numbers = fresh.recipients.clone();
        *peer = fresh;
        for number in numbers {
            if let Some(recipient) = self.recipient(number).filter(|recipient| recipient.peer() == Some(old))
            {
                recipient.fate = Fate::Asked(id);
            }
        }
        self.ask_peer(id, &server);
    }

    /// A connection does not answer in time.
    pub(super) fn peer_is_late(&mut self, id: BackendId) {
        if let Some(at) = self.peer_at(id) {
            let server = self.peers[at].server.clone();
            self.desk.log(Level::Warn, format!("lmtp backend {server}: no answer in time"));
        }
        self.drop_peer(id, &text::UNAVAILABLE);
    }

    /// Closes a connection; those of its recipients who have no answer get this one.
    pub(super) fn drop_peer(&mut self, id: BackendId, text: &Text) {
        let Some(at) = self.peer_at(id) else { return };
        let peer = self.peers.remove(at);
        if peer.is_open() {
            self.desk.outbox.close(peer.side(), Close::Abort);
        }
        for number in peer.recipients {
            if let Some(recipient) = self.recipient(number).filter(|recipient| recipient.peer() == Some(id)) {
                recipient.fate = Fate::Over(text.clone());
            }
        }
    }

    /// A connection that has answered everything goes to the pool.
    pub(super) fn release_peer(&mut self, id: BackendId) {
        let Some(at) = self.peer_at(id) else { return };
        let peer = self.peers.remove(at);
        if peer.awaited.is_empty() {
            self.desk.outbox.release(peer.side(), peer.server, Service::Lmtp, peer.words);
        } else {
            self.desk.outbox.close(peer.side(), Close::Abort);
        }
    }

    /// A connection whose message is delivered goes to the pool. One that was told an id forgets it before: the next
    /// message there may be another's, who has none.
    pub(super) fn finish_peer(&mut self, id: BackendId) {
        match self.peer_at(id) {
            Some(at) if self.peers[at].has_trace => self.reset_peer(at),
            Some(_) => self.release_peer(id),
            None => {}
        }
    }

    fn reset_peer(&mut self, at: usize) {
        let deadline = self.now + self.config.timeouts.envelope;
        let peer = &mut self.peers[at];
        self.desk.outbox.write(peer.side(), &[b"RSET\r\n"]);
        peer.awaited.push_back(Awaited::Reset);
        peer.recipients.clear();
        (peer.state, peer.deadline) = (State::Leaving, deadline);
    }

    /// Makes a connection forget the message, for the pool; one that waits for it is closed.
    pub(super) fn leave_peer(&mut self, id: BackendId) {
        let Some(at) = self.peer_at(id) else { return };
        let peer = &self.peers[at];
        match peer.state {
            State::Envelope if !peer.has_sender => self.release_peer(id),
            State::Envelope => self.reset_peer(at),
            State::Leaving => {}
            State::Opening
            | State::Login(_)
            | State::AwaitGo
            | State::Go
            | State::Streaming
            | State::AwaitDelivery => self.drop_peer(id, &text::UNAVAILABLE),
        }
    }

    /// Closes all connections at the end. What was ended with a dot is still sent whole.
    pub(super) fn close_peers(&mut self) {
        for peer in std::mem::take(&mut self.peers) {
            let how = if matches!(peer.state, State::AwaitDelivery) { Close::Flush } else { Close::Abort };
            if peer.is_open() {
                self.desk.outbox.close(peer.side(), how);
            }
        }
    }
}

impl Peer {
    /// TRACE and MAIL, as far as the backend offers what they say.
    pub(super) fn sender_lines(&mut self, trace: Option<&[u8]>, transaction: &Transaction) -> Vec<u8> {
        let mut lines = Vec::with_capacity(transaction.sender.len() + 64);
        if let Some(id) = trace.filter(|_| self.offer.trace) {
            lines.extend_from_slice(b"TRACE ");
            lines.extend_from_slice(id);
            lines.extend_from_slice(b"\r\n");
            self.awaited.push_back(Awaited::Trace);
            self.has_trace = true;
        }
        lines.extend_from_slice(b"MAIL FROM:");
        lines.extend_from_slice(&transaction.sender);
        if let Some(size) = transaction.size.filter(|_| self.offer.size) {
            lines.extend_from_slice(format!(" SIZE={size}").as_bytes());
        }
        if let Some(Body::EightBit) = transaction.body.filter(|_| self.offer.eight_bit) {
            lines.extend_from_slice(b" BODY=8BITMIME");
        }
        if self.offer.auth {
            lines.extend_from_slice(b" AUTH=");
            lines.extend_from_slice(transaction.auth.as_deref().unwrap_or(b"<>"));
        }
        lines.extend_from_slice(b"\r\n");
        self.awaited.push_back(Awaited::Mail);
        lines
    }

    /// Whether all its recipients have their answers from elsewhere or were refused.
    pub(super) fn is_useless(&self, transaction: &Transaction) -> bool {
        !self.recipients.iter().any(|number| transaction.recipients[*number].peer() == Some(self.id))
    }
}

/// The text of a reply; the common one is not copied.
pub(super) fn own(reply: Reply<'_>) -> Text {
    if reply.text == &*text::RECIPIENT_OK { text::RECIPIENT_OK } else { reply.text.to_vec().into() }
}

/// What a client is told of a refusal: that of a recipient or message as it is, one of how we speak as a
/// temporary failure, for which nobody's mail is sent back.
pub(super) fn judge(reply: Reply<'_>) -> Text {
    if reply.is_judgement() && !reply.is_positive() {
        reply.text.to_vec().into()
    } else if reply.code == 421 {
        text::UNAVAILABLE
    } else {
        text::CONFUSED
    }
}
