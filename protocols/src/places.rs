//! A number of places that all sessions of a process share: for what costs memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Places, and the way to have one. Clones share them.
#[derive(Clone, Debug)]
pub struct Places {
    free: Arc<AtomicUsize>,
}

/// One place; it is free again when this is dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Places {
    /// So many places.
    pub fn new(places: usize) -> Places {
        Places { free: Arc::new(AtomicUsize::new(places)) }
    }

    /// Takes a place; `None` when all are taken.
    pub fn take(&self) -> Option<Place> {
        let took = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(1));
        took.ok().map(|_| Place(Arc::clone(&self.free)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_left_can_be_taken_again() {
        let places = Places::new(2);
        let (first, _second) = (places.take(), places.clone().take());
        assert!(first.is_some() && places.take().is_none());
        drop(first);
        assert!(places.take().is_some());
    }
}
