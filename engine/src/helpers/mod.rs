//! What blocks or computes for long: name look-ups, password checks, key derivation.
//!
//! Two pools, so that passwords whose hashes take long keep nobody from connecting to a backend. Answers go
//! to the asking shard through its inbox. saslauthd is asked by the shards themselves.

mod accounts;
mod passwd_file;
mod pool;
mod resolve;
mod saslauthd;
mod scram;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use protocols::proxy::{Answer, Level, OpenError, PasswordVerdict, QuestionId, ScramHash, Unavailable};
use protocols::secret::Secret;

use accounts::Accounts;
pub use passwd_file::{PasswdError, PasswdFile};
pub use pool::{Full, Job, Pool};
pub use resolve::{Addresses, Resolver, Unresolved, Waiter};
pub use saslauthd::{PATH as SASLAUTHD_PATH, Saslauthd};
pub use scram::Derived;

use crate::log::Log;
use crate::shard::{ConnectPlan, Inbox, Reply, SessionId, ToShard};

/// Threads for name look-ups and key derivation.
const QUICK_THREADS: usize = 4;

/// Threads that compute hashes of passwords, of which more than cores gain nothing: at least and at most.
const PASSWORD_THREADS: (usize, usize) = (2, 16);

/// Jobs that may wait in one pool; at 85 µs a TLS login a shard cannot bring more in half a second.
const JOBS_MAX: usize = 4096;

/// Where passwords are checked (`sasl_pwcheck_method`).
#[derive(Clone)]
pub enum PasswordSource {
    /// saslauthd's socket.
    Saslauthd(Saslauthd),
    /// A file of ours.
    PasswdFile(Arc<PasswdFile>),
    /// The user's home server; the session asks it.
    Backend,
}

impl PasswordSource {
    /// The file, if passwords come from one.
    pub fn file(&self) -> Option<&PasswdFile> {
        match self {
            PasswordSource::PasswdFile(file) => Some(file),
            PasswordSource::Saslauthd(_) | PasswordSource::Backend => None,
        }
    }
}

/// Who waits for an answer.
pub struct Asker {
    /// The shard.
    pub inbox: Inbox,
    /// The session on it.
    pub session: SessionId,
    /// Its question.
    pub id: QuestionId,
}

impl Asker {
    /// Gives the answer.
    pub fn answer(self, answer: Answer) {
        self.inbox.send(ToShard::Answer { session: self.session, id: self.id, answer });
    }

    /// Tells where to connect.
    pub fn connect(self, plan: Result<ConnectPlan, OpenError>) {
        self.inbox.send(ToShard::Connect { session: self.session, id: self.id, plan });
    }
}

/// The helpers of a process, shared by all shards.
pub struct Helpers {
    quick: Pool,
    passwords: Pool,
    resolver: Resolver,
    derived: Arc<Derived>,
    accounts: Arc<Accounts>,
    log: Log,
}

impl Helpers {
    /// Starts the threads; must be called before any thread is pinned.
    ///
    /// # Errors
    /// The system has no threads left.
    pub fn start(log: Log) -> io::Result<Helpers> {
        Ok(Helpers {
            quick: Pool::start("quick", QUICK_THREADS, JOBS_MAX)?,
            passwords: Pool::start("password", password_threads(), JOBS_MAX)?,
            resolver: Resolver::default(),
            derived: Arc::default(),
            accounts: Arc::default(),
            log,
        })
    }

    /// Runs a job that blocks for a moment.
    ///
    /// # Errors
    /// Too many wait.
    pub fn submit(&self, job: Job) -> Result<(), Full> {
        self.quick.submit(job)
    }

    /// Addresses of a host, at once or through `waiter` on a helper thread.
    pub fn resolve(&self, host: &str, waiter: Waiter) -> Option<Result<Addresses, Unresolved>> {
        self.resolver.resolve(&self.quick, host, waiter, Instant::now())
    }

    /// The groups of a user, from memory or by a helper.
    pub fn groups(&self, asker: Asker, user: Box<[u8]>) -> Reply {
        if let Some(groups) = self.accounts.known(&user, Instant::now()) {
            return Reply::Now(Answer::Groups(Ok(groups)));
        }
        let accounts = Arc::clone(&self.accounts);
        let job = move || asker.answer(Answer::Groups(accounts.look_up(&user).ok_or(Unavailable)));
        match self.quick.submit(Box::new(job)) {
            Ok(()) => Reply::Later,
            Err(_) => Reply::Now(Answer::Groups(Err(Unavailable))),
        }
    }

    /// The domain of an address of ours, by its reverse name.
    pub fn domain_of(&self, asker: Asker, address: &str) -> Reply {
        let Ok(address) = address.parse::<SocketAddr>() else { return Reply::Now(Answer::Domain(None)) };
        if let Some(domain) = self.accounts.known_domain(address.ip(), Instant::now()) {
            return Reply::Now(Answer::Domain(domain));
        }
        let accounts = Arc::clone(&self.accounts);
        let job = move || asker.answer(Answer::Domain(accounts.look_domain_up(address.ip())));
        match self.quick.submit(Box::new(job)) {
            Ok(()) => Reply::Later,
            Err(_) => Reply::Now(Answer::Domain(None)),
        }
    }

    /// Checks a password at its source.
    pub fn check_password(
        &self,
        source: &PasswordSource,
        asker: Asker,
        user: Box<[u8]>,
        password: Secret,
        service: &'static str,
    ) -> Reply {
        let file = match source {
            PasswordSource::Backend => return Reply::Now(Answer::Password(PasswordVerdict::AskBackend)),
            PasswordSource::Saslauthd(daemon) => {
                return self.ask_saslauthd(daemon, &user, &password, service);
            }
            PasswordSource::PasswdFile(file) => Arc::clone(file),
        };
        let log = self.log.clone();
        let job = move || {
            asker.answer(Answer::Password(file.check(&user, password.expose()).unwrap_or_else(|error| {
                log.write(Level::Warn, &error.to_string());
                PasswordVerdict::Unavailable
            })));
        };
        match self.passwords.submit(Box::new(job)) {
            Ok(()) => Reply::Later,
            Err(full) => {
                self.log.write(Level::Warn, &format!("password not checked: {full}"));
                Reply::Now(Answer::Password(PasswordVerdict::Unavailable))
            }
        }
    }

    fn ask_saslauthd(&self, daemon: &Saslauthd, user: &[u8], password: &Secret, service: &str) -> Reply {
        match daemon.exchange(user, password.expose(), service) {
            Some(exchange) => Reply::Exchange(exchange),
            None => {
                self.log.write(Level::Warn, "password not checked: it or its user is too long for saslauthd");
                Reply::Now(Answer::Password(PasswordVerdict::Unavailable))
            }
        }
    }

    /// The SCRAM keys of a user; none when passwords are elsewhere.
    pub fn scram_keys(
        &self,
        source: &PasswordSource,
        asker: Asker,
        user: Box<[u8]>,
        hash: ScramHash,
    ) -> Reply {
        let none = Reply::Now(Answer::ScramKeys(None));
        let PasswordSource::PasswdFile(file) = source else { return none };
        let (file, log) = (Arc::clone(file), self.log.clone());
        let job = move || {
            let keys = file.scram_keys(&user, hash).unwrap_or_else(|error| {
                log.write(Level::Warn, &error.to_string());
                None
            });
            asker.answer(Answer::ScramKeys(keys));
        };
        self.passwords.submit(Box::new(job)).map_or(none, |()| Reply::Later)
    }

    /// The key of the client side of SCRAM, from memory or derived by a helper. When none is free
    /// the key is empty and the login at the backend fails, as it does when the backend is down.
    pub fn salt_password(
        &self,
        asker: Asker,
        hash: ScramHash,
        password: Secret,
        salt: Box<[u8]>,
        iterations: u32,
    ) -> Reply {
        if let Some(known) = self.derived.known(hash, &password, &salt, iterations) {
            return Reply::Now(Answer::SaltedPassword(known));
        }
        let derived = Arc::clone(&self.derived);
        let job = move || {
            let key = derived.derive(hash, &password, &salt, iterations);
            asker.answer(Answer::SaltedPassword(key));
        };
        match self.quick.submit(Box::new(job)) {
            Ok(()) => Reply::Later,
            Err(full) => {
                self.log.write(Level::Warn, &format!("SCRAM key not derived: {full}"));
                Reply::Now(Answer::SaltedPassword(Secret::default()))
            }
        }
    }
}

fn password_threads() -> usize {
    let (least, most) = PASSWORD_THREADS;
    std::thread::available_parallelism().map_or(least, |cores| cores.get().clamp(least, most))
}

/// Where Debian's or the configured saslauthd listens: `sasl_saslauthd_path` is the socket, or the
/// folder of a socket named `mux`, as libsasl2 takes it.
pub fn saslauthd_socket(configured: Option<&str>) -> PathBuf {
    let path = PathBuf::from(configured.unwrap_or(SASLAUTHD_PATH));
    if path.is_dir() { path.join("mux") } else { path }
}
