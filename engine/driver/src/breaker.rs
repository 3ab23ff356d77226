//! A breaker for each backend: a server that does not answer is not asked by everybody.
//!
//! ```text
//!  closed ──failure──> barred for 1 s, 2 s, 3 s ──> one is let through to try
//!    ^───────────────── it answered ────────────────────┘ └── it did not: barred anew
//! ```
//! All shards share it. Who asks reads atomics behind a pointer; the map is copied only when a server
//! fails for the first time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use protocols::proxy::{Instant, Service};

/// How long a server that could not be reached is not asked again, for the first failure; as much
/// more for each that follows. Short: a user who logs in while his server restarts is served a moment later.
pub const BARRED_FOR: Duration = Duration::from_secs(1);

/// The longest time between two attempts.
const BARRED_FOR_MAX: Duration = Duration::from_secs(3);

/// How long others wait for who was let through.
const PROBE: Duration = Duration::from_secs(2);

/// A server that took connections and said nothing is believed to be well when nobody has found it so for
/// this long.
const SILENCE_FORGOTTEN: Duration = Duration::from_secs(60);

/// Servers that are remembered.
const SERVERS_MAX: usize = 1024;

/// The breakers of the servers that failed since the start, by their [`watched`] names. Its moments are
/// those of one clock for all shards.
#[derive(Default)]
pub struct Health {
    breakers: ArcSwap<BTreeMap<Box<str>, Arc<Breaker>>>,
}

/// What is known of one server. Moments are milliseconds since the start.
#[derive(Default)]
struct Breaker {
    /// Failures in a row; none means closed.
    failures: AtomicU32,
    /// The last of them.
    failed_at: AtomicU64,
    /// Nobody is let through before.
    barred_until: AtomicU64,
    /// It took a connection and said nothing: that it takes another one says nothing.
    is_silent: AtomicBool,
}

/// A failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Note {
    /// When.
    pub at: Instant,
    /// How many in a row.
    pub times: u32,
}

impl Health {
    /// Notes that a server could not be reached.
    pub fn failed(&self, server: &str, now: Instant) {
        if let Some(breaker) = self.breaker(server) {
            breaker.fail(millis(now));
        }
    }

    /// Notes that a server took a connection and did not say what it must.
    pub fn was_silent(&self, server: &str, now: Instant) {
        if let Some(breaker) = self.breaker(server) {
            breaker.is_silent.store(true, Ordering::Relaxed);
            breaker.fail(millis(now));
        }
    }

    /// Notes that a server took a connection.
    pub fn reached(&self, server: &str, now: Instant) {
        let breakers = self.breakers.load();
        let Some(breaker) = breakers.get(server) else { return };
        let since = millis(now).saturating_sub(breaker.failed_at.load(Ordering::Relaxed));
        if !breaker.is_silent.load(Ordering::Relaxed) || u128::from(since) > SILENCE_FORGOTTEN.as_millis() {
            breaker.close();
        }
    }

    /// Notes that a server answered.
    pub fn answered(&self, server: &str) {
        if let Some(breaker) = self.breakers.load().get(server) {
            breaker.close();
        }
    }

    /// Whether a server is not asked at the moment. Of those who come when its time is over one is
    /// told that it is, and must say what came of it.
    pub fn is_barred(&self, server: &str, now: Instant) -> bool {
        let breakers = self.breakers.load();
        breakers.get(server).is_some_and(|breaker| !breaker.lets_through(millis(now)))
    }

    /// The last failure of a server that has not answered since.
    pub fn note(&self, server: &str) -> Option<Note> {
        let breakers = self.breakers.load();
        let breaker = breakers.get(server)?;
        let times = breaker.failures.load(Ordering::Relaxed);
        let at = Instant(breaker.failed_at.load(Ordering::Relaxed).saturating_mul(1_000_000));
        (times > 0).then_some(Note { at, times })
    }

    /// The breaker of a server, made when there is none and room for it.
    fn breaker(&self, server: &str) -> Option<Arc<Breaker>> {
        if let Some(breaker) = self.breakers.load().get(server) {
            return Some(Arc::clone(breaker));
        }
        self.breakers.rcu(|breakers| {
            let mut breakers = BTreeMap::clone(breakers);
            if breakers.len() >= SERVERS_MAX {
                breakers.retain(|_, breaker| breaker.failures.load(Ordering::Relaxed) > 0);
            }
            if breakers.len() < SERVERS_MAX {
                breakers.entry(server.into()).or_default();
            }
            breakers
        });
        self.breakers.load().get(server).map(Arc::clone)
    }
}

fn millis(now: Instant) -> u64 {
    now.0 / 1_000_000
}

/// Under which name a server's health is kept: a server whose POP3 is down may well serve IMAP.
pub fn watched(server: &str, service: Service) -> Box<str> {
    match service {
        Service::Imap | Service::Mupdate => server.into(),
        Service::Pop3 => format!("{server} (pop3)").into(),
        Service::Lmtp => format!("{server} (lmtp)").into(),
        Service::Sieve => format!("{server} (sieve)").into(),
    }
}

impl Breaker {
    fn fail(&self, now: u64) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.failed_at.store(now, Ordering::Relaxed);
        let pause = BARRED_FOR_MAX.min(BARRED_FOR.saturating_mul(failures));
        // Fits: it is a few seconds.
        self.barred_until.store(now + pause.as_millis() as u64, Ordering::Relaxed);
    }

    fn close(&self) {
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.is_silent.store(false, Ordering::Relaxed);
            self.barred_until.store(0, Ordering::Relaxed);
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    fn lets_through(&self, now: u64) -> bool {
        if self.failures.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let until = self.barred_until.load(Ordering::Relaxed);
        // Fits: it is a few seconds.
        let next = now + PROBE.as_millis() as u64;
        now >= until
            && self.barred_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_is_barred_for_a_moment_and_then_tried_by_one() {
        let (health, now) = (Health::default(), Instant(5_000_000_000));
        assert!(!health.is_barred("be1", now));
        health.failed("be1", now);
        assert!(health.is_barred("be1", now) && !health.is_barred("be2", now));
        let later = now + BARRED_FOR;
        assert!(!health.is_barred("be1", later), "one tries");
        assert!(health.is_barred("be1", later), "others wait for him");
        assert!(!health.is_barred("be1", later + PROBE), "he said nothing: another one");
        health.reached("be1", later);
        assert!(!health.is_barred("be1", later) && !health.is_barred("be1", later));
        assert_eq!(health.note("be1"), None);
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        let (health, now) = (Health::default(), Instant(5_000_000_000));
        for _ in 0..100 {
            health.failed("be1", now);
        }
        assert_eq!(health.note("be1").map(|note| note.times), Some(100));
        assert!(health.is_barred("be1", now + BARRED_FOR));
        assert!(!health.is_barred("be1", now + BARRED_FOR_MAX));
    }

    #[test]
    fn silent_server_is_not_believed_for_taking_connections() {
        let (health, now) = (Health::default(), Instant(5_000_000_000));
        health.was_silent("be1", now);
        health.reached("be1", now);
        assert!(health.is_barred("be1", now));
        health.answered("be1");
        assert!(!health.is_barred("be1", now));
        health.was_silent("be1", now);
        health.reached("be1", now + SILENCE_FORGOTTEN + BARRED_FOR);
        assert!(!health.is_barred("be1", now));
    }

    #[test]
    fn memory_is_bounded() {
        let (health, now) = (Health::default(), Instant(5_000_000_000));
        for n in 0..SERVERS_MAX + 100 {
            health.failed(&n.to_string(), now);
        }
        assert_eq!(health.breakers.load().len(), SERVERS_MAX);
        health.answered("7");
        health.failed("late", now);
        assert!(health.is_barred("late", now));
    }
}
