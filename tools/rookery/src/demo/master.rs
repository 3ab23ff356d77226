//! The MUPDATE master of the demo: the real machines and rules on a shard of the engine, with
//! nothing behind them: what it knows ends with it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use engine::log::Log;
use engine::shard::{
    self, Accepted, Host, Inbox, Layer, Listener, ListenerId, PeerAddress, Reply, SessionId, ShardConfig,
    ToShard,
};
use mupdate::directory::{Config, Directory, Effect, Loaded, Published, Ticket};
use mupdate::master::{Connection, Role};
use protocols::mailbox::acl::Policy;
use protocols::proxy::{
    Answer, Event, Instant, LayerKind, Level, ListPage, Notice, Origin, PasswordVerdict, Question,
    QuestionId, Unavailable,
};

use protocols::sasl::{Mechanism, Offer};
use protocols::secret::Secret;

use super::POSTMAN;

/// The number of the master's shard in thread and log names.
const MASTER_INDEX: usize = 9998;

/// The running master.
pub(super) struct Master {
    /// Where it listens.
    pub(super) address: SocketAddr,
    published: Published,
    inbox: Inbox,
    thread: JoinHandle<()>,
}

impl Master {
    /// Listens on a free port of the loopback.
    pub(super) fn start(log: Log) -> Result<Master> {
        let socket = shard::listen_tcp(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = SocketAddr::try_from(rustix::net::getsockname(socket.as_fd())?)?;
        let (inbox, reader) = Inbox::new()?;
        let mut config = ShardConfig::new(MASTER_INDEX);
        config.listeners.push(Listener { id: ListenerId(0), socket, deal: Vec::new() });
        let host = MasterHost::new(inbox.clone(), log.clone());
        let published = host.directory.published();
        let thread = thread::Builder::new().name("master".into()).spawn(move || {
            if let Err(error) = shard::run(config, host, reader) {
                log.write(Level::Warn, &format!("the master has stopped: {error}"));
            }
        })?;
        Ok(Master { address, published, inbox, thread })
    }

    /// Mailboxes that were registered.
    pub(super) fn mailboxes(&self) -> usize {
        self.published.load().list.len()
    }

    /// Stops it and waits.
    pub(super) fn stop(self) {
        self.inbox.send(ToShard::Stop);
        // A thread that panicked has stopped too.
        let _ = self.thread.join();
    }
}

/// What the sessions of the master ask: the one directory.
struct MasterHost {
    directory: Directory,
    config: Arc<mupdate::master::Config>,
    inbox: Inbox,
    log: Log,
    /// Connections that have asked something: all that may stream.
    sessions: BTreeSet<SessionId>,
    waiting: BTreeMap<Ticket, (SessionId, QuestionId)>,
    next_ticket: u64,
}

impl MasterHost {
    fn new(inbox: Inbox, log: Log) -> MasterHost {
        let config = Config { has_store: false, ..Config::master() };
        let directory = Directory::new(config, Loaded::nothing());
        MasterHost {
            directory,
            config: Arc::new(server_config()),
            inbox,
            log,
            sessions: BTreeSet::new(),
            waiting: BTreeMap::new(),
            next_ticket: 0,
        }
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.directory.poll_effect() {
            match effect {
                Effect::Answer { ticket, answer } => {
                    if let Some((session, id)) = self.waiting.remove(&ticket) {
                        self.inbox.send(ToShard::Answer { session, id, answer });
                    }
                }
                Effect::ListChanged => {
                    for session in &self.sessions {
                        self.inbox.send(ToShard::Event { session: *session, event: Event::ListChanged });
                    }
                }
                // A master is its own source.
                Effect::BarrierWanted => {}
                Effect::Log { level, text } => self.log.write(level, &text),
            }
        }
    }

    fn page(&self, query: &protocols::proxy::ListQuery) -> ListPage {
        let snapshot = self.directory.published().load_full();
        let page = snapshot.list.page(query, &Policy::default());
        ListPage { entries: page.entries, next: page.next, knowledge: snapshot.knowledge }
    }
}

impl Host for MasterHost {
    fn accept(&mut self, _: ListenerId, peer: &PeerAddress) -> Option<Accepted> {
        let origin = origin(peer).ok()?;
        let session = Connection::new(Arc::clone(&self.config), origin);
        Some(Accepted { session: Box::new(session), layer: None })
    }

    fn ask(&mut self, session: SessionId, id: QuestionId, question: Question, _: Instant) -> Reply {
        self.sessions.insert(session);
        match question {
            Question::Directory(question) => {
                let ticket = Ticket(self.next_ticket);
                self.next_ticket += 1;
                self.waiting.insert(ticket, (session, id));
                self.directory.handle(ticket, question);
                self.carry_out();
                Reply::Later
            }
            Question::List(query) => Reply::Now(Answer::Page(self.page(&query))),
            Question::Find { name, .. } => {
                let snapshot = self.directory.published().load_full();
                let found = snapshot.find(&name, protocols::proxy::Freshness::Snapshot);
                Reply::Now(Answer::Found(found.unwrap_or(protocols::proxy::Finding::Unknown)))
            }
            Question::CheckPassword { user, password, .. } => {
                let (name, secret) = POSTMAN;
                let right = *user == *name.as_bytes() && password.expose() == secret.as_bytes();
                let verdict = if right { PasswordVerdict::Accepted } else { PasswordVerdict::Denied };
                Reply::Now(Answer::Password(verdict))
            }
            Question::ScramKeys { .. } => Reply::Now(Answer::ScramKeys(None)),
            // What it has committed is what there is.
            Question::Barrier => Reply::Now(Answer::Barrier(Ok(()))),
            // No session of a master asks these.
            Question::OpenBackend { server, .. } => {
                Reply::Now(Answer::Opened(Err(protocols::proxy::OpenError::BadServer(server))))
            }
            Question::SaltPassword { .. } | Question::Capabilities => {
                Reply::Now(Answer::Barrier(Err(Unavailable)))
            }
        }
    }

    fn tell(&mut self, _: SessionId, notice: Notice) {
        match notice {
            Notice::Log { level, text } => self.log.write(level, &text),
            Notice::Capabilities { .. } => {}
        }
    }

    fn layer(&mut self, _: &LayerKind) -> Result<Box<dyn Layer>, Box<str>> {
        Err("the demo's master has no certificate".into())
    }

    fn ended(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }
}

/// How the master serves: PLAIN for one account, no TLS.
fn server_config() -> mupdate::master::Config {
    mupdate::master::Config {
        servername: "localhost".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        role: Role::Master,
        admins: vec![POSTMAN.0.as_bytes().into()],
        offer: Offer {
            mechanisms: vec![Mechanism::Plain],
            external: None,
            // Without SCRAM no salt is ever made up.
            fake_salt_secret: Secret::default(),
            fake_iterations: 4096,
        },
        allow_plaintext: true,
        starttls: false,
        failed_login_pause: Duration::from_secs(3),
        login_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(3 * 60 * 60),
    }
}

fn origin(peer: &PeerAddress) -> io::Result<Origin> {
    let mut random = [0; 32];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut random)?;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let client_address = match peer {
        PeerAddress::Ip(address) => address.to_string().into(),
        PeerAddress::Unix => "".into(),
    };
    Ok(Origin { random, started_unix: since.map_or(0, |d| d.as_secs()), client_address, tls: false })
}
