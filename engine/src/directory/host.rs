//! The host of the directory shard: owns the directory, carries out what it wants.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use driver::TooMuch;
use driver::deflate::Deflaters;
use driver::layer::Layer;
use mupdate::directory::WaitForBarrier;
use mupdate::directory::{self, Directory, Effect, Role, StoreWrite, Ticket, Wait};
use mupdate::slave::{self, Slave};
use protocols::mailbox::acl::Policy;
use protocols::proxy::{
    Answer, DirectoryQuestion, Event, Finding, Freshness, Instant, LayerKind, Level, ListPage, ListQuery,
    Notice, PasswordVerdict, Question, QuestionId, ScramHash, Unavailable,
};
use protocols::sasl::Credentials;
use protocols::secret::Secret;

use super::client::{Request, Requests, temper};
use super::clients::Clients;
use super::kick::Kick;
use super::{KICK, MUPDATE, Surroundings};
use crate::backends::Backends;
use crate::config::{self, Source};
use crate::helpers::Asker;
use crate::paging::Paging;
use crate::shard::{Accepted, Host, Inbox, ListenerId, MakeSession, PeerAddress, Reply, SessionId, ToShard};

/// Names compared in one slice of a resync, about a millisecond.
const WORK_NAMES: usize = 10_000;

/// How long a dump may stand still: a master under load pauses for seconds.
const DUMP_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the end waits for a disk that is to take what it has not got yet.
const LAST_WRITES: Duration = Duration::from_secs(10);

/// How often the end looks whether the disk has taken a write.
const LAST_WRITES_LOOK: Duration = Duration::from_millis(1);

/// The host of the directory shard. When it is dropped, the store has all that the directory knows.
pub(super) struct DirectoryHost {
    directory: Directory,
    requests: Arc<Requests>,
    store: Option<SyncSender<StoreWrite>>,
    around: Surroundings,
    backends: Backends,
    inbox: Inbox,
    slave: Option<SessionId>,
    /// Who is served the list over MUPDATE.
    clients: Option<Clients>,
    deflaters: Deflaters,
    paging: Paging,
    waiting: BTreeMap<Ticket, Asker>,
    next_ticket: u64,
    accept_empty: bool,
}

/// The directory's own configuration.
pub(super) fn config(source: &Source, has_store: bool) -> directory::Config {
    match source {
        Source::Slave(settings) => directory::Config {
            role: Role::Slave { own_server: settings.own_server.clone() },
            has_store,
            hold_back_percent: settings.hold_back_percent,
            ..directory::Config::slave()
        },
        Source::Master(master) => {
            directory::Config { role: Role::Master(master.rules), has_store, ..directory::Config::master() }
        }
    }
}

/// Makes the slave session.
pub(super) fn slave(settings: &config::Directory) -> io::Result<MakeSession> {
    let config = slave::Config {
        server: settings.server.clone(),
        credentials: Credentials {
            authzid: settings.username.clone(),
            authcid: settings.authname.clone(),
            realm: settings.realm.clone(),
            password: settings.password.clone(),
        },
        mechanisms: settings.mechanisms.clone(),
        login_timeout: settings.login_timeout,
        dump_timeout: DUMP_TIMEOUT,
        retry_delay: settings.retry_delay,
        starttls: settings.starttls,
    };
    let origin = crate::origin::origin(&PeerAddress::Unix, false)
        .ok_or_else(|| io::Error::other("the system has no random bytes"))?;
    Ok(Box::new(move || Box::new(Slave::new(config, &origin))))
}

impl Drop for DirectoryHost {
    fn drop(&mut self) {
        // What a panic has left of the directory is no list.
        if thread::panicking() {
            return;
        }
        let end = std::time::Instant::now() + LAST_WRITES;
        self.write_store();
        while self.directory.is_storing() && std::time::Instant::now() < end {
            for request in self.requests.take() {
                let Request::Stored(result) = request else { continue };
                let is_stored = result.is_ok();
                self.directory.stored(result);
                if is_stored {
                    self.write_store();
                }
            }
            thread::sleep(LAST_WRITES_LOOK);
        }
    }
}

impl DirectoryHost {
    pub(super) fn new(
        directory: Directory,
        requests: Arc<Requests>,
        store: Option<SyncSender<StoreWrite>>,
        around: Surroundings,
        inbox: Inbox,
        clients: Option<Clients>,
        accept_empty: bool,
    ) -> DirectoryHost {
        DirectoryHost {
            directory,
            requests,
            store,
            around,
            backends: Backends::default(),
            inbox,
            slave: None,
            clients,
            deflaters: Deflaters::default(),
            paging: Paging::default(),
            waiting: BTreeMap::new(),
            next_ticket: 0,
            accept_empty,
        }
    }

    fn ticket(&mut self, asker: Asker) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiting.insert(ticket, asker);
        ticket
    }

    /// All that is due: requests of other threads, deadlines, a slice of a resync.
    fn tick(&mut self, now: Instant) {
        for request in self.requests.take() {
            match request {
                Request::Wait(asker, wait) => {
                    let ticket = self.ticket(asker);
                    self.directory.wait(ticket, wait, now);
                }
                Request::Stored(result) => self.directory.stored(result),
                Request::Look(look) => look(&mut self.directory),
                Request::Accept => {
                    if !self.directory.accept() {
                        self.around.log.write(Level::Notice, "no list is held back");
                    }
                }
            }
        }
        if self.directory.poll_timeout().is_some_and(|at| at <= now) {
            self.directory.handle_timeout(now);
        }
        if self.directory.has_work() {
            self.directory.work(WORK_NAMES);
        }
        self.carry_out(now);
    }

    /// Carries out what the directory wants and says when it wants to be asked again.
    fn carry_out(&mut self, now: Instant) {
        // First, so that the disk works while answers and pushes go out.
        self.write_store();
        while let Some(effect) = self.directory.poll_effect() {
            match effect {
                Effect::Answer { ticket, answer } => self.answer(ticket, answer),
                Effect::BarrierWanted => self.tell_slave(Event::BarrierWanted),
                Effect::ListChanged => {
                    if let Some(clients) = &self.clients {
                        clients.list_changed(&self.inbox);
                    }
                }
                Effect::Log { level, text } => self.around.log.write(level, &text),
            }
        }
        let next = match self.directory.has_work() {
            true => now,
            false => self.directory.poll_timeout().unwrap_or(Instant(u64::MAX)),
        };
        if self.requests.timer.swap(next.0, Ordering::Relaxed) > next.0 {
            // The desk looks at its timer when it was called.
            self.requests.wake();
        }
    }

    fn write_store(&mut self) {
        let Some(store) = &self.store else { return };
        if let Some(write) = self.directory.poll_store()
            && store.try_send(write).is_err()
        {
            self.directory.stored(Err("the store thread has ended".into()));
        }
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        let Some(asker) = self.waiting.remove(&ticket) else { return };
        if let Answer::Found(finding) = answer {
            asker.answer(Answer::Found(self.temper(finding)));
        } else {
            asker.answer(answer);
        }
    }

    fn temper(&self, finding: Finding) -> Finding {
        temper(finding, &self.directory.published().load(), self.accept_empty)
    }

    fn tell_slave(&self, event: Event) {
        if let Some(session) = self.slave {
            self.inbox.send(ToShard::Event { session, event });
        }
    }

    /// A question of the slave session or of a MUPDATE client.
    fn ask_directory(&mut self, asker: Asker, question: DirectoryQuestion, now: Instant) -> Reply {
        match &question {
            DirectoryQuestion::Changes { .. }
            | DirectoryQuestion::Sequence
            | DirectoryQuestion::Resume(_) => {
                if let Some(clients) = &mut self.clients {
                    clients.streams(asker.session);
                }
            }
            DirectoryQuestion::Commit { .. } | DirectoryQuestion::Listed { .. } => {}
            DirectoryQuestion::DumpBegins
            | DirectoryQuestion::Dump(_)
            | DirectoryQuestion::DumpEnds
            | DirectoryQuestion::Learn(_)
            | DirectoryQuestion::BarrierReached
            | DirectoryQuestion::Position
            | DirectoryQuestion::Reached(_)
            | DirectoryQuestion::Resumed
            | DirectoryQuestion::SourceLost { .. } => self.slave = Some(asker.session),
        }
        let ticket = self.ticket(asker);
        self.directory.handle(ticket, question);
        self.carry_out(now);
        Reply::Later
    }

    fn wait(&mut self, asker: Asker, wait: Wait, now: Instant) -> Reply {
        let ticket = self.ticket(asker);
        self.directory.wait(ticket, wait, now);
        self.carry_out(now);
        Reply::Later
    }

    fn find(&mut self, asker: Asker, name: Box<[u8]>, freshness: Freshness, now: Instant) -> Reply {
        let found = self.directory.published().load().find(&name, freshness);
        match found {
            Ok(finding) => Reply::Now(Answer::Found(self.temper(finding))),
            Err(WaitForBarrier) => self.wait(asker, Wait::Find { name, freshness }, now),
        }
    }

    fn list(&mut self, asker: Asker, query: &ListQuery, now: Instant) -> Reply {
        let snapshot = self.directory.published().load_full();
        self.paging.reply(asker, now, || {
            let page = snapshot.list.page(query, &Policy::default());
            ListPage { entries: page.entries, next: page.next, knowledge: snapshot.knowledge }
        })
    }

    fn check_password(
        &self,
        asker: Asker,
        user: Box<[u8]>,
        password: Secret,
        service: &'static str,
    ) -> Reply {
        match &self.clients {
            Some(clients) => {
                self.around.helpers.check_password(&clients.passwords(), asker, user, password, service)
            }
            None => Reply::Now(Answer::Password(PasswordVerdict::Unavailable)),
        }
    }

    fn scram_keys(&self, asker: Asker, user: Box<[u8]>, hash: ScramHash) -> Reply {
        match &self.clients {
            Some(clients) => self.around.helpers.scram_keys(&clients.passwords(), asker, user, hash),
            None => Reply::Now(Answer::ScramKeys(None)),
        }
    }
}

impl Host for DirectoryHost {
    fn accept(&mut self, listener: ListenerId, peer: &PeerAddress, _: BorrowedFd<'_>) -> Option<Accepted> {
        if listener == KICK {
            return Some(Accepted { session: Box::new(Kick::new()), layer: None });
        }
        self.clients.as_ref()?.accept(peer, self.directory.knowledge())
    }

    fn refusal(&mut self, listener: ListenerId, _: TooMuch, _: Instant) -> Option<&'static [u8]> {
        (listener == MUPDATE).then_some(b"* BYE \"Server Unable\"\r\n")
    }

    fn ask(&mut self, session: SessionId, id: QuestionId, question: Question, now: Instant) -> Reply {
        let asker = Asker { inbox: self.inbox.clone(), session, id };
        match question {
            Question::Directory(question) => self.ask_directory(asker, question, now),
            Question::Barrier => self.wait(asker, Wait::Barrier, now),
            Question::Find { name, freshness } => self.find(asker, name, freshness, now),
            Question::List(query) => self.list(asker, &query, now),
            Question::CheckPassword { user, password, service } => {
                self.check_password(asker, user, password, service)
            }
            Question::ScramKeys { user, hash } => self.scram_keys(asker, user, hash),
            // No session of this shard asks these.
            Question::Groups { .. } => Reply::Now(Answer::Groups(Err(Unavailable))),
            Question::HomeCopy { .. } => Reply::Now(Answer::HomeCopy(Default::default())),
            Question::DomainOf { .. } => Reply::Now(Answer::Domain(None)),
            Question::ServiceCapabilities(_) => Reply::Now(Answer::Capabilities(Default::default())),
            Question::Intend(_) => Reply::Now(Answer::Intended(Err(Unavailable))),
            Question::Errand(_) => Reply::Now(Answer::Barrier(Err(Unavailable))),
            Question::OpenBackend { server, service, .. } => {
                self.slave = Some(session);
                let around = &self.around;
                self.backends.open(&around.backends, &around.helpers, asker, &server, service)
            }
            Question::SaltPassword { hash, password, salt, iterations } => {
                self.around.helpers.salt_password(asker, hash, password, salt, iterations)
            }
            // The desk asks this to say that something is due.
            Question::Capabilities { .. } => {
                // It is one session for the life of the shard.
                let _ = self.requests.desk.set(session);
                self.tick(now);
                Reply::Now(Answer::Capabilities(Arc::default()))
            }
        }
    }

    fn tell(&mut self, _session: SessionId, notice: Notice) {
        match notice {
            Notice::Log { level, text } | Notice::Session { level, text, .. } => {
                self.around.log.write(level, &text);
            }
            Notice::Capabilities { .. }
            | Notice::ServiceCapabilities { .. }
            | Notice::Silent { .. }
            | Notice::Presence(_)
            | Notice::Stage { .. }
            | Notice::Home { .. } => {}
        }
    }

    fn exchange_failed(&mut self, daemon: &str, socket: &Path, error: &io::Error) {
        self.around.log.write(Level::Warn, &format!("{daemon} at {}: {error}", socket.display()));
    }

    fn layer(&mut self, kind: &LayerKind) -> Result<Box<dyn Layer>, Box<str>> {
        match kind {
            LayerKind::Deflate => self.deflaters.layer(),
            LayerKind::TlsServer | LayerKind::TlsClient { .. } | LayerKind::Telemetry { .. } => {
                self.around.tls.layer(kind).map_err(|error| error.to_string().into())
            }
        }
    }

    fn ended(&mut self, session: SessionId) {
        if self.slave == Some(session) {
            self.slave = None;
        }
        if let Some(clients) = &mut self.clients {
            clients.ended(session);
        }
    }
}
