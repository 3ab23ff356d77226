//! What a frontend shard asks of its surroundings.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use driver::TooMuch;
use driver::deflate::Deflaters;
use driver::layer::Layer;
use protocols::mailbox::acl::Policy;
use protocols::proxy::{Answer, DirectoryAnswer, Instant, LayerKind, Level, Notice, Question, QuestionId};

use crate::backends::{self, Backends};
use crate::config::Configuration;
use crate::directory::Client;
use crate::errand;
use crate::helpers::{Asker, Helpers, PasswordSource};
use crate::homes::Homes;
use crate::intents::Intents;
use crate::log::Log;
use crate::origin::origin;
use crate::paging::Paging;
use crate::presence::Sessions;
use crate::services::Service;
use crate::shard::{Accepted, Host, Inbox, ListenerId, PeerAddress, Reply, SessionId, ToShard};
use crate::telemetry::Telemetry;
use crate::tls::Tls;

/// What all frontend shards share.
pub struct Shared {
    /// The log.
    pub log: Log,
    /// Which sessions there are.
    pub(crate) presence: Sessions,
    /// TLS on both sides.
    pub tls: Arc<Tls>,
    /// Threads for what blocks.
    pub helpers: Arc<Helpers>,
    /// What is known of backends.
    pub backends: Backends,
    /// What writes sessions along.
    pub(crate) telemetry: Telemetry,
    /// What compresses connections.
    pub deflaters: Deflaters,
    /// What was begun in two steps and is not finished.
    pub intents: Intents,
    /// The mailbox list.
    pub directory: Client,
    /// What home servers told of their users.
    pub homes: Homes,
    /// What the configuration says; swapped whole when it is read again.
    pub settings: ArcSwap<Settings>,
    /// Sessions that stand, shard by shard.
    pub sessions: Box<[SessionCount]>,
}

/// Sessions of one shard, on a cache line that no other shard writes; 128 bytes, for lines are fetched in pairs.
#[derive(Default, Debug)]
#[repr(align(128))]
pub struct SessionCount(pub(crate) AtomicU64);

/// The part of the configuration that new sessions and questions look at.
pub struct Settings {
    /// By [`ListenerId`]; a line keeps its number when the configuration is read again.
    pub services: Vec<Service>,
    /// How backends are reached.
    pub backends: Arc<backends::Settings>,
    /// Where passwords are checked.
    pub passwords: PasswordSource,
    /// How ACLs are read when a page of the list is made.
    pub acl: Policy,
}

impl Settings {
    /// Takes what it needs of a configuration.
    pub fn of(configuration: &Configuration) -> Settings {
        Settings {
            services: configuration.services.clone(),
            backends: Arc::clone(&configuration.backends),
            passwords: configuration.passwords.clone(),
            acl: configuration.acl.clone(),
        }
    }
}

/// The host of one frontend shard.
pub struct FrontendHost {
    shared: Arc<Shared>,
    inbox: Inbox,
    /// The number of its shard.
    index: usize,
    /// Sessions that began a move: few, and only their ends are news for who keeps moves.
    moved: BTreeSet<SessionId>,
    paging: Paging,
    refused: Refused,
}

/// Clients for whom there was no place.
#[derive(Default)]
pub(crate) struct Refused {
    untold: u64,
    /// When more are told of.
    next: Instant,
}

impl Refused {
    /// Between two lines of the log.
    const EVERY: Duration = Duration::from_secs(60);

    /// One more.
    pub(crate) fn note(&mut self, full: TooMuch, now: Instant, log: &Log) {
        self.untold += 1;
        if now < self.next {
            return;
        }
        let n = std::mem::take(&mut self.untold);
        let why = match full {
            TooMuch::Connections => "the shard has as many connections as its descriptors allow",
            TooMuch::Unsent => "others do not take what waits for them (rookery_unsent_max)",
        };
        log.write(Level::Warn, &format!("{n} clients refused: {why}"));
        self.next = now + Refused::EVERY;
    }
}

impl FrontendHost {
    /// The host of the shard of this number behind `inbox`.
    pub fn new(shared: Arc<Shared>, inbox: Inbox, index: usize) -> FrontendHost {
        FrontendHost {
            shared,
            inbox,
            index,
            moved: BTreeSet::new(),
            paging: Paging::default(),
            refused: Refused::default(),
        }
    }
}

impl FrontendHost {
    /// Keeps what the backends offer, on a helper.
    fn save_offered(&self) {
        let shared = Arc::clone(&self.shared);
        let save = move || {
            if let Err(error) = shared.backends.offered.save() {
                shared.log.write(Level::Warn, &format!("capabilities of the backends not kept: {error}"));
            }
        };
        // When no helper is free the next news is kept together with this.
        let _ = self.shared.helpers.submit(Box::new(save));
    }
}

impl Host for FrontendHost {
    fn accept(
        &mut self,
        listener: ListenerId,
        peer: &PeerAddress,
        socket: BorrowedFd<'_>,
    ) -> Option<Accepted> {
        let settings = self.shared.settings.load();
        let service = settings.services.get(usize::try_from(listener.0).ok()?)?;
        let layer = match service.tls {
            false => None,
            true => match self.shared.tls.layer(&LayerKind::TlsServer) {
                Ok(layer) => Some(layer),
                Err(error) => {
                    self.shared.log.write(Level::Warn, &format!("{}: {error}", service.name));
                    return None;
                }
            },
        };
        let session = service.session(origin(peer, service.tls)?, || local_address(socket));
        self.shared.sessions[self.index].0.fetch_add(1, Ordering::Relaxed);
        Some(Accepted { session, layer })
    }

    fn refusal(&mut self, listener: ListenerId, full: TooMuch, now: Instant) -> Option<&'static [u8]> {
        self.refused.note(full, now, &self.shared.log);
        let settings = self.shared.settings.load();
        settings.services.get(usize::try_from(listener.0).ok()?)?.refusal()
    }

    fn ask(&mut self, session: SessionId, id: QuestionId, question: Question, now: Instant) -> Reply {
        let shared = &*self.shared;
        let settings = shared.settings.load();
        let asker = Asker { inbox: self.inbox.clone(), session, id };
        match question {
            Question::OpenBackend { server, service, .. } => {
                shared.backends.open(&settings.backends, &shared.helpers, asker, &server, service)
            }
            Question::Find { name, freshness } => shared.directory.find(asker, name, freshness),
            Question::List(query) => {
                self.paging.reply(asker, now, || shared.directory.page(&query, &settings.acl))
            }
            Question::Barrier => shared.directory.barrier(asker),
            Question::CheckPassword { user, password, service } => {
                shared.helpers.check_password(&settings.passwords, asker, user, password, service)
            }
            Question::Groups { user } => shared.helpers.groups(asker, user),
            Question::DomainOf { address } => shared.helpers.domain_of(asker, &address),
            Question::ScramKeys { user, hash } => {
                shared.helpers.scram_keys(&settings.passwords, asker, user, hash)
            }
            Question::SaltPassword { hash, password, salt, iterations } => {
                shared.helpers.salt_password(asker, hash, password, salt, iterations)
            }
            Question::Capabilities { inbox } => {
                let snapshot = shared.directory.snapshot();
                let offered = &shared.backends.offered;
                let home = snapshot.list.locate(&inbox).and_then(|(location, _)| location.server());
                Reply::Now(Answer::Capabilities(offered.told(&snapshot.list.all_locations(), home)))
            }
            Question::ServiceCapabilities(service) => {
                let locations = shared.directory.locations();
                Reply::Now(Answer::Capabilities(shared.backends.offered_in(service).common(&locations)))
            }
            Question::Errand(errand) => {
                shared.sessions[self.index].0.fetch_add(1, Ordering::Relaxed);
                self.inbox.send(ToShard::Spawn(Box::new(move || errand::sent(errand, asker))));
                Reply::Later
            }
            Question::Intend(intent) => {
                self.moved.insert(session);
                shared.intents.begin(self.index, asker, intent)
            }
            Question::HomeCopy { user } => Reply::Now(Answer::HomeCopy(shared.homes.copy(&user))),
            // No session of a frontend asks this; the directory shard has a host of its own.
            Question::Directory(_) => Reply::Now(Answer::Directory(DirectoryAnswer::Done)),
        }
    }

    fn tell(&mut self, session: SessionId, notice: Notice) {
        match notice {
            Notice::Log { level, text } => self.shared.log.write(level, &text),
            Notice::Session { level, service, session_id, text } => {
                self.shared.log.write_for(&service, &session_id, level, &text);
            }
            Notice::Silent { server } => {
                self.shared.backends.was_silent(&server);
            }
            Notice::Presence(presence) => self.shared.presence.note(self.index, session, presence),
            Notice::Stage { id, stage } => self.shared.intents.stage(self.index, session, id, stage),
            Notice::Capabilities { server, capabilities } => {
                self.shared.backends.answered(&server);
                if self.shared.backends.offered.seen(&server, capabilities) {
                    self.save_offered();
                }
            }
            Notice::ServiceCapabilities { service, server, capabilities } => {
                self.shared.backends.offered_in(service).seen(&server, capabilities);
            }
            Notice::Home { user, news } => self.shared.homes.learn(&user, news),
        }
    }

    fn exchange_failed(&mut self, daemon: &str, socket: &Path, error: &io::Error) {
        self.shared.log.write(Level::Warn, &format!("{daemon} at {}: {error}", socket.display()));
    }

    fn connected(&mut self, server: &str, result: io::Result<()>) {
        let Shared { backends, log, .. } = &*self.shared;
        backends.connected(server, result.is_ok());
        if let Err(error) = result {
            log.write(Level::Info, &format!("cannot connect to {server}: {error}"));
        }
    }

    fn layer(&mut self, kind: &LayerKind) -> Result<Box<dyn Layer>, Box<str>> {
        match kind {
            LayerKind::Deflate => self.shared.deflaters.layer(),
            LayerKind::Telemetry { user, service } => self.shared.telemetry.layer(user, service),
            LayerKind::TlsServer | LayerKind::TlsClient { .. } => {
                self.shared.tls.layer(kind).map_err(|error| error.to_string().into())
            }
        }
    }

    fn ended(&mut self, session: SessionId) {
        if self.moved.remove(&session) {
            self.shared.intents.ended(self.index, session);
        }
        self.shared.presence.ended(self.index, session);
        self.shared.sessions[self.index].0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The address that a client came to.
fn local_address(socket: BorrowedFd<'_>) -> Option<Box<str>> {
    let address = socket2::SockRef::from(&socket).local_addr().ok()?.as_socket()?;
    Some(address.to_string().into())
}
