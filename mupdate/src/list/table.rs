//! Values that many entries share, by number: locations and ACLs.
//!
//! [`Table`] is what a snapshot reads; [`Interner`] is the writer's side of it, with counts. A
//! number whose count falls to zero is used again, so that ten years of changed ACLs take no more
//! room than the ACLs of one day.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hashbrown::HashTable;

/// Values in one piece of a table; a change copies one piece and the row of pieces.
const CHUNK: usize = 256;

/// Values by number, shared between snapshots.
#[derive(Clone)]
pub(crate) struct Table<T> {
    chunks: Arc<Vec<Arc<Vec<T>>>>,
}

impl<T: Clone> Table<T> {
    fn new() -> Table<T> {
        Table { chunks: Arc::new(Vec::new()) }
    }

    /// The value of a number that an entry of the same snapshot holds.
    pub(crate) fn at(&self, number: u32) -> &T {
        &self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }

    /// Numbers in use or free.
    pub(crate) fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    /// Whether two tables are one, which no change has come between.
    pub(crate) fn is_same(&self, other: &Table<T>) -> bool {
        Arc::ptr_eq(&self.chunks, &other.chunks)
    }

    /// All values, in use or free.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    fn put(&mut self, number: usize, value: T) {
        let chunks = Arc::make_mut(&mut self.chunks);
        if number / CHUNK == chunks.len() {
            chunks.push(Arc::new(Vec::with_capacity(CHUNK.min(16))));
        }
        let chunk = Arc::make_mut(&mut chunks[number / CHUNK]);
        if number % CHUNK == chunk.len() {
            chunk.push(value);
        } else {
            chunk[number % CHUNK] = value;
        }
    }
}

/// Gives equal values equal numbers and counts who holds them.
#[derive(Clone)]
pub(crate) struct Interner<T> {
    table: Table<T>,
    counts: Vec<u32>,
    free: Vec<u32>,
    index: HashTable<u32>,
}

impl<T: Clone + Eq + Hash> Interner<T> {
    /// Without values.
    pub(crate) fn new() -> Interner<T> {
        Interner { table: Table::new(), counts: Vec::new(), free: Vec::new(), index: HashTable::new() }
    }

    /// Takes a table over. Nothing is held until [`Interner::hold`] says so; [`Interner::settle`]
    /// ends the counting.
    pub(crate) fn over(table: Table<T>) -> Interner<T> {
        let counts = vec![0; table.len()];
        Interner { table, counts, free: Vec::new(), index: HashTable::new() }
    }

    /// Takes values over, by number, each with how many hold it.
    pub(crate) fn restore(values: impl IntoIterator<Item = (T, u32)>) -> Interner<T> {
        let mut interner = Interner::new();
        for (number, (value, holders)) in values.into_iter().enumerate() {
            interner.table.put(number, value);
            interner.counts.push(holders);
        }
        interner.settle();
        interner
    }

    /// Counts one more holder of a known number.
    pub(crate) fn hold(&mut self, number: u32) {
        self.counts[number as usize] += 1;
    }

    /// Makes values that nobody holds free and the others findable.
    pub(crate) fn settle(&mut self) {
        for number in 0..self.counts.len() as u32 {
            if self.counts[number as usize] == 0 {
                self.free.push(number);
            } else {
                self.enter(number);
            }
        }
    }

    /// What the snapshot reads.
    pub(crate) fn table(&self) -> &Table<T> {
        &self.table
    }

    /// The number of a value, if somebody holds it.
    pub(crate) fn number(&self, value: &T) -> Option<u32> {
        self.index.find(hash(value), |&number| self.table.at(number) == value).copied()
    }

    /// The number of a value for one more holder.
    pub(crate) fn intern(&mut self, value: &T) -> u32 {
        if let Some(number) = self.number(value) {
            self.hold(number);
            return number;
        }
        let number = self.free.pop().unwrap_or(self.counts.len() as u32);
        self.table.put(number as usize, value.clone());
        if number as usize == self.counts.len() {
            self.counts.push(0);
        }
        self.counts[number as usize] = 1;
        self.enter(number);
        number
    }

    /// Counts one holder less.
    pub(crate) fn release(&mut self, number: u32) {
        let count = &mut self.counts[number as usize];
        *count -= 1;
        if *count > 0 {
            return;
        }
        let wanted = hash(self.table.at(number));
        if let Ok(entry) = self.index.find_entry(wanted, |&other| other == number) {
            entry.remove();
        }
        self.free.push(number);
    }

    /// Values that somebody holds.
    pub(crate) fn held(&self) -> usize {
        self.index.len()
    }

    fn enter(&mut self, number: u32) {
        let table = &self.table;
        self.index.insert_unique(hash(table.at(number)), number, |&other| hash(table.at(other)));
    }
}

/// A hash that is the same in every run.
fn hash<T: Hash>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_released_values_are_used_again() {
        let mut interner = Interner::new();
        for round in 0..10_000u32 {
            let number = interner.intern(&round);
            assert_eq!(interner.table().at(number), &round);
            interner.release(number);
        }
        assert_eq!(interner.table().len(), 1);
        assert_eq!(interner.held(), 0);
    }

    #[test]
    fn equal_values_share_a_number_until_the_last_holder_goes() {
        let mut interner = Interner::new();
        let numbers: Vec<u32> = (0..600u32).map(|value| interner.intern(&value)).collect();
        assert_eq!(interner.intern(&7), numbers[7]);
        interner.release(numbers[7]);
        assert_eq!(interner.number(&7), Some(numbers[7]));
        interner.release(numbers[7]);
        assert_eq!(interner.number(&7), None);
        assert_eq!(interner.intern(&1000), numbers[7]);
        assert_eq!(interner.number(&599), Some(numbers[599]));
    }

    #[test]
    fn a_snapshot_keeps_its_values_when_the_writer_changes_them() {
        let mut interner = Interner::new();
        let number = interner.intern(&1);
        let snapshot = interner.table().clone();
        interner.release(number);
        assert_eq!(interner.intern(&2), number);
        assert_eq!((snapshot.at(number), interner.table().at(number)), (&1, &2));
    }
}
