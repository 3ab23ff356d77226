//! A breaker for each backend: a server that does not answer is not asked by everybody.
//!
//! ```text
//!  closed ──failure──> barred for 1 s, 2 s, 3 s ──> one is let through to try
//!    ^───────────────── it answered ────────────────────┘ └── it did not: barred anew
//! ```
//! Of a server that nobody asked for long, though he would have been let through, nothing is known any more:
//! all are let through until one of them says what came of it.
//!
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

/// How long nobody must have asked for a server, from when he would have been let through, until old failures
/// say nothing any more and everybody is let through. Longer than any server is barred, and than whoever was
/// let through has as a rule to say what came of it (`client_timeout`), so that steady traffic, however thin,
/// tries a dead server one by one. Servers restart in less: who comes together with others to one that has long
/// been well must not be refused because of a failure that nobody remembers.
const UNASKED: Duration = Duration::from_secs(10);

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

    /// Who is let through to try moves `barred_until` on, and who is refused does not: that it lies far back says
    /// that nobody asked. A probe of whom nothing is heard, because he went away or still waits, counts as
    /// having asked, so [`UNASKED`] begins behind his time.
    ///
    /// Everybody is let through then until the first of them says what came of it. Where the server is still dead
    /// those are no herd: nobody had asked for seconds, a connection is refused at once, and a server that takes
    /// connections and says nothing is waited for as long as by those whom its first failure met. The failures
    /// stay counted, so that the next one bars for the longest pause at once.
    fn lets_through(&self, now: u64) -> bool {
        if self.failures.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let until = self.barred_until.load(Ordering::Relaxed);
        // Fits: it is a few seconds.
        if now >= until + UNASKED.as_millis() as u64 {
            return true;
        }
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
    fn failures_of_a_server_that_nobody_asked_for_long_bar_nobody() {
        let (health, now) = (Health::default(), Instant(5_000_000_000));
        health.was_silent("be1", now);
        health.failed("be2", now);
        let soon = now + (BARRED_FOR + UNASKED - Duration::from_millis(1));
        assert!(!health.is_barred("be2", soon) && health.is_barred("be2", soon), "one tries");
        let later = now + BARRED_FOR + UNASKED;
        for _ in 0..100 {
            assert!(!health.is_barred("be1", later));
        }
        // Still dead: the first who says so bars it, for longer than the first time.
        health.was_silent("be1", later);
        assert!(health.is_barred("be1", later + BARRED_FOR));
        assert_eq!(health.note("be1").map(|note| note.times), Some(2));
    }

    #[test]
    fn probe_that_says_nothing_is_followed_by_one_and_after_long_by_all() {
        let (health, now) = (Health::default(), Instant(5_000_000_000));
        health.failed("be1", now);
        let tried = now + BARRED_FOR;
        assert!(!health.is_barred("be1", tried), "one tries and says nothing");
        // Those who are refused meanwhile change nothing.
        for at in 0..PROBE.as_secs() {
            assert!(health.is_barred("be1", tried + Duration::from_secs(at)));
        }
        let again = tried + (PROBE + UNASKED - Duration::from_millis(1));
        assert!(!health.is_barred("be1", again) && health.is_barred("be1", again), "so does another one");
        let later = again + PROBE + UNASKED;
        assert!(!health.is_barred("be1", later) && !health.is_barred("be1", later), "nobody asked since");
        health.reached("be1", later);
        assert_eq!(health.note("be1"), None);
    }

    #[test]
    fn steady_traffic_tries_a_dead_server_one_by_one() {
        let (health, mut now) = (Health::default(), Instant(5_000_000_000));
        health.failed("be1", now);
        let mut tries = 0;
        for _ in 0..60 {
            now = now + Duration::from_secs(1);
            let through = (0..50).filter(|_| !health.is_barred("be1", now)).count();
            assert!(through <= 1);
            tries += through;
            (0..through).for_each(|_| health.failed("be1", now));
        }
        assert!((10..=30).contains(&tries), "{tries}");
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
