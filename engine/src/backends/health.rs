//! What is remembered of servers that did not answer.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a server that could not be reached is not asked again. Short: a user who logs in while
/// his server restarts is served a moment later.
pub const BARRED_FOR: Duration = Duration::from_secs(1);

/// Servers that are remembered.
const SERVERS_MAX: usize = 4096;

/// The last failure of each server.
#[derive(Default)]
pub struct Health(Mutex<BTreeMap<Box<str>, Note>>);

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
        let mut notes = self.lock();
        if notes.len() >= SERVERS_MAX && !notes.contains_key(server) {
            notes.retain(|_, note| now.saturating_duration_since(note.at) < BARRED_FOR);
        }
        if notes.len() < SERVERS_MAX || notes.contains_key(server) {
            let note = notes.entry(server.into()).or_insert(Note { at: now, times: 0 });
            *note = Note { at: now, times: note.times.saturating_add(1) };
        }
    }

    /// Notes that a server answered.
    pub fn answered(&self, server: &str) {
        self.lock().remove(server);
    }

    /// Whether a server failed so lately that it is not asked.
    pub fn is_barred(&self, server: &str, now: Instant) -> bool {
        let notes = self.lock();
        notes.get(server).is_some_and(|note| now.saturating_duration_since(note.at) < BARRED_FOR)
    }

    /// The last failure of a server that has not answered since.
    pub fn note(&self, server: &str) -> Option<Note> {
        self.lock().get(server).copied()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Note>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_is_barred_for_a_moment_after_a_failure() {
        let (health, now) = (Health::default(), Instant::now());
        assert!(!health.is_barred("be1", now));
        health.failed("be1", now);
        health.failed("be1", now);
        assert!(health.is_barred("be1", now) && !health.is_barred("be2", now));
        assert_eq!(health.note("be1").map(|note| note.times), Some(2));
        assert!(!health.is_barred("be1", now + BARRED_FOR));
        health.answered("be1");
        assert!(!health.is_barred("be1", now));
    }

    #[test]
    fn memory_is_bounded() {
        let (health, now) = (Health::default(), Instant::now());
        for n in 0..SERVERS_MAX + 100 {
            health.failed(&n.to_string(), now);
        }
        assert_eq!(health.lock().len(), SERVERS_MAX);
        health.failed("late", now + BARRED_FOR);
        assert!(health.is_barred("late", now + BARRED_FOR));
    }
}
