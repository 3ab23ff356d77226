//! The machine of one IMAP client.
//!
//! ```text
//!              ┌── relay: bytes of commands and responses, a FIFO of tags between them
//!   client ────┼── auth: LOGIN, AUTHENTICATE, STARTTLS             (Guest)
//!              ├── dispatch: answered here, or a Task               (User)
//!              └── running: carries out what the task wants ──> connect: backend connections
//! ```
//! This file holds the order of things, `state.rs` what they are; each arrow is a file with methods of
//! [`Session`]. Two rules keep the client's stream whole: at most one connection is in the middle
//! of a response to him (`speaking`), and nothing is authored while one is.

use std::sync::Arc;

use aws_lc_rs::digest;
use smallvec::SmallVec;

use super::backend::{Backend, Tag};
use super::config::Config;
use super::deeds::Deeds;
use super::guest::Guest;
use super::info;
use super::state::{Errand, Papers, Phase, Progress, Purpose, Rare, Reading, Running, SelectedMailbox, User};
use crate::login::desk::host_of;
use crate::mailbox::Identity;
use crate::outbox::Outbox;
use crate::proxy::{
    self, Answer, BackendId, Close, Event, Instant, Level, Notice, Origin, Output, Presence, Question,
    QuestionId, Side, Taken, Then,
};
use crate::watch::Watch;

/// No moment yet.
pub(super) const UNTOLD: Instant = Instant(u64::MAX);

/// One client of the frontend, from greeting to BYE.
pub struct Session {
    pub(super) config: Arc<Config>,
    pub(super) origin: Origin,
    pub(super) phase: Phase,
    pub(super) reading: Reading,
    /// Commands in a row that were none.
    pub(super) bad_commands: u8,
    pub(super) backends: Vec<Backend>,
    pub(super) selected: Option<Box<SelectedMailbox>>,
    pub(super) task: Option<Box<Running>>,
    pub(super) outbox: Outbox,
    /// What backends are told of the client.
    pub(super) papers: Option<Box<Papers>>,
    /// What he did and the list does not show.
    pub(super) deeds: Option<Box<Deeds>>,
    /// What few sessions have.
    pub(super) rare: Option<Box<Rare>>,
    pub(super) asked: SmallVec<[(QuestionId, Purpose); 1]>,
    /// The connection that is in the middle of a response to the client.
    pub(super) speaking: Option<BackendId>,
    /// The last moment at which the client sent something; [`UNTOLD`] before the first call, because a
    /// session is not told when it is made.
    pub(super) last_input: Instant,
    /// The moment of the last call.
    pub(super) now: Instant,
    /// The command under way, unless it is relayed.
    pub(super) watched: Option<Box<Watch>>,
    pub(super) draining: bool,
    next_question: u32,
    next_backend: u32,
    next_own_tag: u32,
    next_nonce: u32,
}

impl Session {
    /// Begins with the greeting.
    pub fn new(config: Arc<Config>, origin: Origin) -> Session {
        let guest = Guest::new(origin.tls);
        let mut session = Session::begun(config, origin, Phase::Guest(Box::new(guest)));
        session.tell_presence(b"");
        let greeting = info::greeting(&session.config, session.is_tls());
        session.tell_client(&[&greeting]);
        if let Some(text) = &session.config.bulletin.notices().motd {
            session.tell_client(&[b"* OK [ALERT] ", text.as_bytes(), b"\r\n"]);
        }
        session
    }

    /// A session without a client, which gives a user a home and ends.
    pub fn at_errand(config: Arc<Config>, origin: Origin, user: Identity) -> Session {
        let user = User::new(Arc::new(user), &config);
        let mut session = Session::begun(config, origin, Phase::User(user));
        session.rare().errand = Some(Errand::Due);
        session
    }

    fn begun(config: Arc<Config>, origin: Origin, phase: Phase) -> Session {
        Session {
            config,
            origin,
            phase,
            reading: Reading::Command { asked: 0 },
            bad_commands: 0,
            backends: Vec::new(),
            selected: None,
            task: None,
            outbox: Outbox::default(),
            papers: None,
            deeds: None,
            rare: None,
            asked: SmallVec::new(),
            speaking: None,
            last_input: UNTOLD,
            now: Instant::default(),
            watched: None,
            draining: false,
            next_question: 0,
            next_backend: 0,
            next_own_tag: 0,
            next_nonce: 0,
        }
    }

    /// Goes on with what a session without a client is for.
    fn run_errand(&mut self, now: Instant) {
        let Some(errand) = self.rare.as_mut().and_then(|rare| rare.errand.as_mut()) else { return };
        match errand {
            Errand::Due => {
                *errand = Errand::Begun;
                self.settle(now);
                self.run_task(now);
            }
            Errand::Begun => {}
        }
        if self.task.is_none() && self.reading != Reading::Over {
            self.leave_backends(now);
            self.reading = Reading::Over;
        }
    }

    /// What few sessions have; this one has it from here on.
    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Writes to the client. The caller knows that nobody is speaking.
    pub(super) fn tell_client(&mut self, parts: &[&[u8]]) {
        self.outbox.write(Side::Client, parts);
    }

    /// Writes a tagged reply.
    pub(super) fn reply(&mut self, tag: &[u8], text: &[u8]) {
        self.tell_client(&[tag, b" ", text, b"\r\n"]);
    }

    /// Puts a line in the log. The text holds nothing secret.
    pub(super) fn log(&mut self, level: Level, text: String) {
        let (service, session_id) = (Arc::clone(&self.config.service), self.session_id());
        self.outbox.tell(Notice::Session { level, service, session_id, text: text.into() });
    }

    /// Tells those who look at the process who the client is.
    pub(super) fn tell_presence(&mut self, user: &[u8]) {
        let service = Arc::clone(&self.config.service);
        let host = host_of(&self.origin.client_address).into();
        self.outbox.tell(Notice::Presence(Presence::Client { service, host, user: user.into() }));
    }

    /// Selects a mailbox or none, for those to know who look at the process.
    pub(super) fn set_selected(&mut self, selected: Option<Box<SelectedMailbox>>) {
        let name = selected.as_deref().map(|selected| selected.name.clone());
        if self.selected.as_deref().map(|selected| &selected.name) != name.as_ref() {
            self.outbox.tell(Notice::Presence(Presence::Mailbox(name)));
        }
        self.selected = selected;
    }

    /// The logged-in client.
    pub(super) fn user(&self) -> Option<&User> {
        match &self.phase {
            Phase::User(user) => Some(user),
            Phase::Guest(_) => None,
        }
    }

    /// Whether the client's bytes are under TLS.
    pub(super) fn is_tls(&self) -> bool {
        match &self.phase {
            Phase::Guest(guest) => guest.is_tls(),
            Phase::User(user) => user.tls,
        }
    }

    /// Asks the engine.
    pub(super) fn ask(&mut self, purpose: Purpose, question: Question) {
        self.ask_numbered(purpose, question);
    }

    /// As [`Session::ask`]; gives the question's number.
    pub(super) fn ask_numbered(&mut self, purpose: Purpose, question: Question) -> QuestionId {
        let id = QuestionId(self.next_question);
        self.next_question = self.next_question.wrapping_add(1);
        self.asked.push((id, purpose));
        if let Some(watch) = &mut self.watched {
            watch.note_question(&question);
        }
        self.outbox.ask(id, question);
        id
    }

    /// Forgets the questions of somebody who no longer waits.
    pub(super) fn forget_questions(&mut self, purpose: Purpose) {
        self.asked.retain(|(_, asked)| *asked != purpose);
    }

    /// A number for a new connection.
    pub(super) fn new_backend_id(&mut self) -> BackendId {
        self.next_backend += 1;
        BackendId(self.next_backend)
    }

    /// A tag for a command of ours; differs from that of the running command.
    pub(super) fn new_own_tag(&mut self) -> Tag {
        let mut tag = Vec::with_capacity(12);
        let taken = self.task.as_ref().map(|running| running.tag.as_slice()).unwrap_or_default();
        super::task::own_tag(taken, self.next_own_tag, &mut tag);
        // Tasks number their own tags from 0 with a lower number of digits in flight; a letter
        // keeps the two apart.
        tag.push(b'S');
        self.next_own_tag = self.next_own_tag.wrapping_add(1);
        Tag::from_vec(tag)
    }

    /// A random number of this session, the same for the same `purpose`.
    pub(super) fn seed(&self, purpose: &[u8]) -> u64 {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.origin.random);
        context.update(purpose);
        context.finish().as_ref().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }

    /// Fresh bytes, used once, made of the randomness that the session was given.
    pub(super) fn nonce(&mut self) -> [u8; 18] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.origin.random);
        context.update(&self.next_nonce.to_be_bytes());
        self.next_nonce += 1;
        let mut nonce = [0; 18];
        nonce.copy_from_slice(&context.finish().as_ref()[..18]);
        nonce
    }

    /// Whether something of the client is under way that a local answer must not overtake.
    pub(super) fn is_client_busy(&self) -> bool {
        self.speaking.is_some()
            || self.task.is_some()
            || self.is_away()
            || self.withholds()
            || self.selected_backend().is_some_and(Backend::is_busy_for_client)
    }

    /// The connection with this number and where it stands.
    pub(super) fn backend_at(&self, id: BackendId) -> Option<usize> {
        self.backends.iter().position(|backend| backend.id() == id)
    }

    /// The connection of the selected mailbox.
    pub(super) fn selected_backend(&self) -> Option<&Backend> {
        let selected = self.selected.as_deref()?;
        self.backends.iter().find(|backend| backend.id() == selected.backend)
    }

    /// Whether this connection has the selected mailbox.
    pub(super) fn is_selected(&self, id: BackendId) -> bool {
        self.selected.as_deref().is_some_and(|selected| selected.backend == id)
    }

    /// Ends the session. `farewell` is said if the client is not in the middle of something.
    pub(super) fn end(&mut self, farewell: &[u8]) {
        if self.reading == Reading::Over {
            return;
        }
        let is_cut = self.speaking.is_some();
        if !is_cut {
            self.tell_client(&[farewell]);
        }
        if is_cut {
            self.close_backends();
            self.outbox.close(Side::Client, Close::Abort);
        } else {
            self.leave_backends(self.now);
            self.outbox.close(Side::Client, Close::Flush);
        }
        self.reading = Reading::Over;
    }

    /// The client is gone.
    fn client_gone(&mut self) {
        if self.reading == Reading::Over {
            return;
        }
        self.close_backends();
        self.outbox.close(Side::Client, Close::Abort);
        self.reading = Reading::Over;
    }

    /// Looks at input until nothing more can be done with it.
    fn look(&mut self, side: Side, input: &[u8], now: Instant) -> Taken {
        let mut n = 0;
        loop {
            if self.outbox.claims(side) {
                return Taken { n, then: Then::More };
            }
            let rest = &input[n..];
            if rest.is_empty() {
                return Taken { n, then: Then::More };
            }
            let progress = match side {
                Side::Client => self.look_at_client(rest, now),
                Side::Backend(id) => self.look_at_backend(id, rest, now),
            };
            match progress {
                Progress::Took(took) => n += took,
                Progress::Claimed | Progress::More => return Taken { n, then: Then::More },
                Progress::Hold => return Taken { n, then: Then::Hold },
            }
        }
    }

    fn handle_answer(&mut self, id: QuestionId, answer: Answer, now: Instant) {
        let Some(at) = self.asked.iter().position(|(asked, _)| *asked == id) else { return };
        match self.asked.remove(at).1 {
            Purpose::Guest => self.handle_guest_answer(answer, now),
            Purpose::Task => self.handle_task_answer(answer, now),
            Purpose::Silence => self.handle_silence(answer, now),
            Purpose::Hush => self.handle_hush(&answer, now),
            Purpose::Selected => self.handle_became(answer, now),
            Purpose::Deed(number) => self.handle_deed_answer(number, answer),
            Purpose::Listener(telling) => self.handle_listener_answer(telling, answer),
            Purpose::Backend(backend) => self.handle_backend_answer(backend, answer, now),
        }
    }

    fn set_clock(&mut self, now: Instant) {
        self.now = now;
        if self.last_input == UNTOLD {
            self.last_input = now;
        }
        self.end_wait();
    }

    /// Carries on with what an event or input made possible.
    fn carry_on(&mut self, now: Instant) {
        self.run_task(now);
        self.run_errand(now);
        if self.withholds() {
            self.pass_withheld();
        }
        if self.is_notified() {
            self.end_notify();
        }
        if self.is_to_be_followed() {
            self.follow_mailbox(now);
        }
        if self.is_away() && self.task.is_none() {
            self.rejoin(now);
            self.run_task(now);
        }
        self.begin_wait();
    }
}

impl proxy::Session for Session {
    fn handle_input(&mut self, side: Side, input: &[u8], now: Instant) -> Taken {
        self.set_clock(now);
        if side == Side::Client {
            self.last_input = now;
        }
        let taken = self.look(side, input, now);
        self.carry_on(now);
        taken
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        self.set_clock(now);
        match event {
            Event::Answer { id, answer } => self.handle_answer(id, answer, now),
            Event::Eof(Side::Client) | Event::Reset(Side::Client) => self.client_gone(),
            Event::Eof(Side::Backend(id)) | Event::Reset(Side::Backend(id)) => self.backend_gone(id, now),
            Event::Switched { side: Side::Client, result } => self.client_secured(result),
            Event::Switched { side: Side::Backend(id), result } => self.backend_secured(id, result, now),
            Event::ForwardBroken { from, to, left } => self.forward_broken(from, to, left, now),
            Event::Stalled { from, .. } => self.stalled(from),
            Event::Drained { side } => self.drained(side, now),
            Event::Drain { .. } => self.draining = true,
            // Who is sent away is so by his deadlines.
            Event::Posted | Event::Idle { .. } | Event::ListChanged | Event::BarrierWanted => {}
        }
        self.carry_on(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.set_clock(now);
        self.check_deadlines(now);
        self.carry_on(now);
    }

    fn poll_output(&mut self, scratch: &mut Vec<u8>) -> Option<Output> {
        self.outbox.poll(scratch)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.next_deadline()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::backend::Tag;

    /// What an idle session with one backend connection costs beside what the engine keeps for its
    /// sockets: the session, the connection with its server's name, the room for tags in flight and for outputs, the selected mailbox, who the user is.
    /// Shared and not counted: configuration and the capabilities that backends offer.
    #[test]
    fn idle_session_with_one_backend_is_small() {
        let name = 24;
        let session = size_of::<Session>();
        let backends = size_of::<Backend>() + name;
        let flights = 4 * size_of::<super::super::backend::Flight>() + name;
        let outbox = 4 * Outbox::ENTRY_BYTES;
        let selected = size_of::<SelectedMailbox>() + name;
        let user = size_of::<Identity>() + 3 * name;
        let papers = size_of::<Papers>() + 2 * name;
        let all = session + backends + flights + outbox + selected + user + papers;
        assert!(session <= 512, "session {session}");
        assert!(
            all <= 1152,
            "session {session}, backends {backends}, flights {flights}, outbox {outbox}, selected {selected}, user {user}, papers {papers}"
        );
        assert_eq!(size_of::<Tag>(), 32);
    }
}
