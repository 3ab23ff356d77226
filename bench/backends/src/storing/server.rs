//! The server: sessions, mailboxes, and the registry between them.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use memchr::memchr;

use crate::net::{ConnectionId, Handler, Outbox};

use super::Config;
use super::accounts::{Accounts, CAPABILITIES};
use super::command::{self, Framed};
use super::mailbox::Mailbox;
use super::registry::{Finished, Job, Registry, Tell};
use super::session::{Awaits, Session, Telling, User};
use super::store::{Registration, Store, Undo};
use super::verbs::{self, Hall, Reply};

/// A line of SASL or DONE.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// A command that waits for the master.
pub(crate) struct Waiting {
    session: ConnectionId,
    tag: String,
    undo: Undo,
    refused: &'static str,
}

/// The handler of a storing backend.
pub struct Server {
    name: Option<String>,
    accounts: Accounts,
    store: Store,
    sessions: BTreeMap<ConnectionId, Session>,
    registry: Option<Registry<Waiting>>,
}

impl Server {
    /// Fills it from the configuration.
    pub(crate) fn new(config: Config) -> Server {
        let (accounts, store) = (Accounts::new(&config), Store::new(&config.seeds));
        let registry = config.master.clone().map(|master| Registry::new(master, Instant::now()));
        Server { name: config.name, accounts, store, sessions: BTreeMap::new(), registry }
    }

    /// Says where the loop listens, which is the server's name unless it has another.
    pub(crate) fn listens_on(&mut self, address: SocketAddr) {
        let name = self.name.clone().unwrap_or_else(|| address.to_string());
        if let Some(registry) = &mut self.registry {
            registry.located_at(&name);
        }
    }

    /// Runs what stands in the input; returns when more must come or the session waits.
    fn serve(&mut self, id: ConnectionId, input: &mut Vec<u8>, out: &mut Outbox) {
        loop {
            let Some(session) = self.sessions.get_mut(&id) else { return };
            let awaits = session.awaits.clone();
            let more = match awaits {
                Awaits::Master => false,
                Awaits::Nothing => {
                    input.clear();
                    false
                }
                Awaits::Command => self.next_command(id, input, out),
                Awaits::PlainResponse { .. }
                | Awaits::LoginName { .. }
                | Awaits::LoginPassword { .. }
                | Awaits::IdleEnd { .. } => self.next_answer(id, awaits, input, out),
            };
            if !more {
                return;
            }
        }
    }

    fn next_command(&mut self, id: ConnectionId, input: &mut Vec<u8>, out: &mut Outbox) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        match command::frame(input, session.gone_ahead) {
            Framed::Partial => false,
            Framed::WantsGoAhead(at) => {
                session.gone_ahead = at;
                out.send(id, b"+ go ahead\r\n");
                false
            }
            Framed::TooLong => {
                session.awaits = Awaits::Nothing;
                out.send(id, b"* BYE command too long\r\n");
                out.close(id);
                false
            }
            Framed::Whole(end) => {
                session.gone_ahead = 0;
                let whole: Vec<u8> = input.drain(..end).collect();
                self.command(id, &whole, out);
                true
            }
        }
    }

    fn command(&mut self, id: ConnectionId, whole: &[u8], out: &mut Outbox) {
        let Some(mut session) = self.sessions.remove(&id) else { return };
        let mut text = Vec::new();
        let reply = match command::parse(whole) {
            Ok(command) => {
                let hall = Hall {
                    accounts: &self.accounts,
                    master_is_reachable: self.registry.as_ref().is_none_or(Registry::is_ready),
                    store: &mut self.store,
                };
                let reply = verbs::run(hall, &mut session, &command, &mut text);
                (command.tag.clone(), Some(command), reply)
            }
            Err(tag) => (tag, None, Reply::bad("syntax error")),
        };
        let (tag, command, reply) = reply;
        if let Some(selected) = &mut session.selected {
            let numbered =
                command.is_some_and(|c| !c.uid && ["FETCH", "STORE", "SEARCH"].contains(&&*c.verb));
            let telling = if numbered { Telling::NoExpunge } else { Telling::Everything };
            selected.tell(self.store.mailboxes.get(&selected.name), telling, &mut text);
        }
        let logout = matches!(reply, Reply::Goodbye);
        let registration = reply.finish(&tag, &mut session.awaits, &mut text);
        out.send(id, &text);
        if logout {
            out.close(id);
        }
        if registration.is_some() {
            session.awaits = Awaits::Master;
        }
        self.sessions.insert(id, session);
        if let Some(registration) = registration {
            self.register(id, tag, registration, out);
        }
        self.push_to_idlers(out);
    }

    fn register(&mut self, session: ConnectionId, tag: String, registration: Registration, out: &mut Outbox) {
        let Registration { tells, undo, refused } = registration;
        let waiting = Waiting { session, tag, undo, refused };
        match &mut self.registry {
            Some(registry) => registry.push(Job { tells: tells.into(), then: Some(waiting) }, out),
            None => {
                out.send(session, format!("{} OK Completed\r\n", waiting.tag).as_bytes());
                self.go_on(session, out);
            }
        }
    }

    fn finished(&mut self, finished: Finished<Waiting>, out: &mut Outbox) {
        for (waiting, accepted) in finished {
            let tag = &waiting.tag;
            let line = if accepted {
                format!("{tag} OK Completed\r\n")
            } else {
                self.store.undo(waiting.undo);
                format!("{tag} NO {}\r\n", waiting.refused)
            };
            out.send(waiting.session, line.as_bytes());
            self.go_on(waiting.session, out);
        }
    }

    fn go_on(&mut self, id: ConnectionId, out: &mut Outbox) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.awaits = Awaits::Command;
        }
        out.offer_again(id);
    }

    fn push_to_idlers(&mut self, out: &mut Outbox) {
        for (id, session) in &mut self.sessions {
            let mut text = Vec::new();
            if let (Some(watch), Some(user)) = (&mut session.watch, &session.user) {
                let selected = session.selected.as_ref().map(|selected| &*selected.name);
                watch.tell(&self.store.mailboxes, &user.name, selected, &mut text);
            }
            let is_told = matches!(session.awaits, Awaits::IdleEnd { .. })
                || session.watch.as_ref().is_some_and(|watch| watch.selected);
            if let Some(selected) = session.selected.as_mut().filter(|_| is_told) {
                let mailbox = self.store.mailboxes.get(&selected.name);
                if selected.is_behind(mailbox) {
                    selected.tell(mailbox, Telling::Everything, &mut text);
                }
            }
            if !text.is_empty() {
                out.send(*id, &text);
            }
        }
    }

    fn next_answer(
        &mut self,
        id: ConnectionId,
        awaits: Awaits,
        input: &mut Vec<u8>,
        out: &mut Outbox,
    ) -> bool {
        let Some(end) = memchr(b'\n', input) else {
            if input.len() > ANSWER_BYTES_MAX {
                input.clear();
                out.close(id);
            }
            return false;
        };
        let line = String::from_utf8_lossy(&input[..end]).trim_end().to_owned();
        input.drain(..=end);
        let decoded = BASE64.decode(&line).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        match awaits {
            Awaits::IdleEnd { tag } => {
                let done = line.eq_ignore_ascii_case("DONE");
                self.answer(
                    id,
                    &tag,
                    if done { Reply::ok("Completed") } else { Reply::bad("expected DONE") },
                    out,
                );
            }
            Awaits::PlainResponse { tag } => {
                let reply = self.plain(id, decoded.as_deref());
                self.answer(id, &tag, reply, out);
            }
            Awaits::LoginName { tag } => match decoded {
                Some(name) => {
                    out.send(id, b"+ UGFzc3dvcmQ6\r\n");
                    self.set_awaits(id, Awaits::LoginPassword { tag, name });
                }
                None => self.answer(id, &tag, Reply::bad("cancelled"), out),
            },
            Awaits::LoginPassword { tag, name } => {
                let reply = self.login(id, &name, decoded.as_deref().unwrap_or(""));
                self.answer(id, &tag, reply, out);
            }
            Awaits::Command | Awaits::Master | Awaits::Nothing => {}
        }
        true
    }

    fn answer(&mut self, id: ConnectionId, tag: &str, reply: Reply, out: &mut Outbox) {
        let mut text = Vec::new();
        let mut awaits = Awaits::Command;
        // These replies never register anything.
        let _ = reply.finish(tag, &mut awaits, &mut text);
        self.set_awaits(id, awaits);
        out.send(id, &text);
    }

    fn set_awaits(&mut self, id: ConnectionId, awaits: Awaits) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.awaits = awaits;
        }
    }

    fn plain(&mut self, id: ConnectionId, message: Option<&str>) -> Reply {
        match self.accounts.user_of_plain(message) {
            Some(user) => self.logged_in(id, user),
            None => Reply::no("authentication failure"),
        }
    }

    fn login(&mut self, id: ConnectionId, name: &str, password: &str) -> Reply {
        match self.accounts.user_of_login(name, password) {
            Some(user) => self.logged_in(id, user),
            None => Reply::no("Login failed: authentication failure"),
        }
    }

    fn logged_in(&mut self, id: ConnectionId, user: User) -> Reply {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.user = Some(user);
        }
        Reply::ok(&format!("[CAPABILITY {CAPABILITIES}] User logged in"))
    }
}

impl Handler for Server {
    fn opened(&mut self, id: ConnectionId, out: &mut Outbox) {
        self.sessions.insert(id, Session::new());
        out.send(id, format!("* OK [CAPABILITY {CAPABILITIES}] storing backend ready\r\n").as_bytes());
    }

    fn connected(&mut self, id: ConnectionId, made: bool, _: &mut Outbox) {
        if let Some(registry) = &mut self.registry {
            registry.connected(id, made, Instant::now());
        }
    }

    fn received(&mut self, id: ConnectionId, input: &mut Vec<u8>, out: &mut Outbox) {
        match &mut self.registry {
            Some(registry) if registry.owns(id) => {
                let mailboxes = &self.store.mailboxes;
                let everything = || -> VecDeque<Tell> {
                    let tell = |(name, m): (&String, &Mailbox)| Tell::Activate {
                        name: name.clone(),
                        acl: m.acl.wire(),
                    };
                    mailboxes.iter().map(tell).collect()
                };
                let finished = registry.received(input, everything, out);
                self.finished(finished, out);
            }
            Some(_) | None => self.serve(id, input, out),
        }
    }

    fn closed(&mut self, id: ConnectionId, out: &mut Outbox) {
        match &mut self.registry {
            Some(registry) if registry.owns(id) => {
                let finished = registry.lost(Instant::now());
                self.finished(finished, out);
            }
            Some(_) | None => drop(self.sessions.remove(&id)),
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        self.registry.as_ref()?.wake_at()
    }

    fn woken(&mut self, _: Instant, out: &mut Outbox) {
        if let Some(registry) = &mut self.registry {
            registry.woken(out);
        }
    }
}
