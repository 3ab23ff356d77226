//! Names to addresses: getaddrinfo on a helper, with a short memory and merged look-ups.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::pool::Pool;

/// How long addresses are used without asking again. getaddrinfo tells no time to live; backends
/// are few and rarely move.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(30);

/// How long "no such host" is believed.
pub(super) const FAILURE_KEPT_FOR: Duration = Duration::from_secs(1);

/// Names that are remembered.
pub(super) const NAMES_MAX: usize = 4096;

/// Look-ups that may wait for one name.
pub(super) const WAITERS_MAX: usize = 10_000;

/// The addresses of a name, in the system's order of preference; never empty.
pub type Addresses = Arc<[IpAddr]>;

/// The name has no address, or there is no capacity to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unresolved;

/// Takes the addresses on a helper thread.
pub type Waiter = Box<dyn FnOnce(Result<Addresses, Unresolved>) + Send>;

/// Asks the system for the addresses of a host; blocks.
pub(super) type Ask = fn(&str) -> Vec<IpAddr>;

/// Resolves names for all shards.
pub struct Resolver {
    shared: Arc<Shared>,
}

struct Shared {
    ask: Ask,
    names: Mutex<BTreeMap<Box<str>, Name>>,
}

#[derive(Default)]
struct Name {
    /// What was learned last and until when it holds; addresses outlive their time when asking
    /// again fails.
    known: Option<(Result<Addresses, Unresolved>, Instant)>,
    /// A look-up is under way; these wait for it.
    waiters: Option<Vec<Waiter>>,
}

impl Default for Resolver {
    fn default() -> Resolver {
        Resolver::new(system)
    }
}

impl Resolver {
    /// A resolver that asks by this function.
    pub(super) fn new(ask: Ask) -> Resolver {
        Resolver { shared: Arc::new(Shared { ask, names: Mutex::default() }) }
    }

    /// Tells the addresses if they are known or the host is an address, else calls `waiter` later.
    pub fn resolve(
        &self,
        pool: &Pool,
        host: &str,
        waiter: Waiter,
        now: Instant,
    ) -> Option<Result<Addresses, Unresolved>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Ok(Arc::from([address])));
        }
        let mut names = self.shared.lock();
        if names.len() >= NAMES_MAX && !names.contains_key(host) {
            names.retain(|_, name| name.waiters.is_some() || name.is_fresh(now));
            if names.len() >= NAMES_MAX {
                return Some(Err(Unresolved));
            }
        }
        let name = names.entry(host.into()).or_default();
        if name.is_fresh(now) {
            return name.known.as_ref().map(|(result, _)| result.clone());
        }
        match &mut name.waiters {
            Some(waiters) if waiters.len() >= WAITERS_MAX => return Some(Err(Unresolved)),
            Some(waiters) => {
                waiters.push(waiter);
                return None;
            }
            None => name.waiters = Some(vec![waiter]),
        }
        let (shared, host) = (Arc::clone(&self.shared), Box::<str>::from(host));
        let asked = pool.submit(Box::new({
            let host = host.clone();
            move || shared.look_up(&host)
        }));
        match asked {
            Ok(()) => None,
            Err(_) => {
                name.waiters = None;
                Some(name.last_known())
            }
        }
    }
}

impl Name {
    fn is_fresh(&self, now: Instant) -> bool {
        self.known.as_ref().is_some_and(|(_, until)| now < *until)
    }

    fn last_known(&self) -> Result<Addresses, Unresolved> {
        self.known.as_ref().map_or(Err(Unresolved), |(result, _)| result.clone())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Name>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On a helper: asks, remembers, tells all who wait.
    fn look_up(&self, host: &str) {
        let addresses = (self.ask)(host);
        let now = Instant::now();
        let (result, waiters) = {
            let mut names = self.lock();
            let name = names.entry(host.into()).or_default();
            let (result, kept_for) = if addresses.is_empty() {
                (name.last_known(), FAILURE_KEPT_FOR)
            } else {
                (Ok(Arc::from(addresses)), KEPT_FOR)
            };
            name.known = Some((result.clone(), now + kept_for));
            (result, name.waiters.take().unwrap_or_default())
        };
        for waiter in waiters {
            waiter(result.clone());
        }
    }
}

/// getaddrinfo, as nsswitch.conf has it.
fn system(host: &str) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in (host, 0).to_socket_addrs().into_iter().flatten().map(|address: SocketAddr| address.ip()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    fn waiter(to: &mpsc::Sender<Result<Addresses, Unresolved>>) -> Waiter {
        let to = to.clone();
        Box::new(move |result| to.send(result).unwrap())
    }

    fn unused() -> Waiter {
        Box::new(|_| unreachable!("answered at once"))
    }

    #[test]
    fn addresses_need_no_look_up() {
        let pool = Pool::start("test", 0, 0).unwrap();
        let resolver = Resolver::new(|_| unreachable!("an address is not asked for"));
        let found = resolver.resolve(&pool, "127.0.0.1", unused(), Instant::now());
        assert_eq!(found, Some(Ok(Arc::from([IpAddr::from([127, 0, 0, 1])]))));
        assert!(resolver.resolve(&pool, "::1", unused(), Instant::now()).unwrap().is_ok());
    }

    #[test]
    fn equal_look_ups_are_one_and_its_result_is_kept() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let resolver = Resolver::new(|_| {
            ASKED.fetch_add(1, Ordering::SeqCst);
            vec![IpAddr::from([127, 0, 0, 9])]
        });
        let pool = Pool::start("test", 1, 10).unwrap();
        let (held, release) = hold(&pool);
        let (to, from) = mpsc::channel();
        for _ in 0..3 {
            assert_eq!(resolver.resolve(&pool, "be1", waiter(&to), Instant::now()), None);
        }
        held.recv().unwrap();
        drop(release);
        for _ in 0..3 {
            assert_eq!(from.recv().unwrap().unwrap()[..], [IpAddr::from([127, 0, 0, 9])]);
        }
        assert!(resolver.resolve(&pool, "be1", unused(), Instant::now()).unwrap().is_ok());
        assert_eq!(ASKED.load(Ordering::SeqCst), 1);
    }

    /// Keeps the one thread of a pool busy until the second end is dropped.
    fn hold(pool: &Pool) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (started, is_started) = mpsc::channel();
        let (release, wait) = mpsc::channel::<()>();
        pool.submit(Box::new(move || {
            started.send(()).unwrap();
            let _ = wait.recv();
        }))
        .unwrap();
        (is_started, release)
    }

    #[test]
    fn failure_is_told_and_kept_for_a_moment_only() {
        let resolver = Resolver::new(|_| Vec::new());
        let pool = Pool::start("test", 1, 10).unwrap();
        let (to, from) = mpsc::channel();
        let now = Instant::now();
        assert_eq!(resolver.resolve(&pool, "nowhere", waiter(&to), now), None);
        assert_eq!(from.recv().unwrap(), Err(Unresolved));
        assert_eq!(resolver.resolve(&pool, "nowhere", unused(), now), Some(Err(Unresolved)));
        let later = Instant::now() + FAILURE_KEPT_FOR;
        assert_eq!(resolver.resolve(&pool, "nowhere", waiter(&to), later), None);
    }

    #[test]
    fn old_addresses_are_used_when_asking_again_fails() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let resolver = Resolver::new(|_| match ASKED.fetch_add(1, Ordering::SeqCst) {
            0 => vec![IpAddr::from([127, 0, 0, 9])],
            _ => Vec::new(),
        });
        let pool = Pool::start("test", 1, 10).unwrap();
        let (to, from) = mpsc::channel();
        for times in 0..2 {
            let now = Instant::now() + KEPT_FOR * times;
            assert_eq!(resolver.resolve(&pool, "be1", waiter(&to), now), None);
            assert!(from.recv().unwrap().is_ok());
        }
    }

    #[test]
    fn full_pool_is_unresolved_at_once() {
        let resolver = Resolver::new(|_| Vec::new());
        let pool = Pool::start("test", 0, 0).unwrap();
        assert_eq!(resolver.resolve(&pool, "be1", unused(), Instant::now()), Some(Err(Unresolved)));
    }
}
