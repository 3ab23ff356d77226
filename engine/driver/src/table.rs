//! A slab whose places have generations.

/// A place that is in use or was.
struct Place<T> {
    generation: u32,
    value: Option<T>,
}

/// Values by slot, with a generation that changes whenever a slot is freed.
pub(crate) struct Table<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Table<T> {
    /// With room for so many.
    pub(crate) fn new(room: usize) -> Table<T> {
        Table { places: Vec::with_capacity(room), free: Vec::new(), len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Slots that were ever in use.
    pub(crate) fn slots(&self) -> u32 {
        self.places.len() as u32
    }

    /// Puts a value at a free place: its slot and generation.
    pub(crate) fn insert(&mut self, value: T) -> (u32, u32) {
        self.len += 1;
        if let Some(slot) = self.free.pop() {
            let place = &mut self.places[slot as usize];
            place.value = Some(value);
            return (slot, place.generation);
        }
        self.places.push(Place { generation: 0, value: Some(value) });
        (self.places.len() as u32 - 1, 0)
    }

    /// What stands at a slot, whatever its generation.
    pub(crate) fn at(&self, slot: u32) -> Option<&T> {
        self.places.get(slot as usize)?.value.as_ref()
    }

    pub(crate) fn at_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.places.get_mut(slot as usize)?.value.as_mut()
    }

    /// Whether the value that had this generation still stands.
    pub(crate) fn is(&self, slot: u32, generation: u32) -> bool {
        self.places
            .get(slot as usize)
            .is_some_and(|place| place.generation == generation && place.value.is_some())
    }

    pub(crate) fn generation(&self, slot: u32) -> u32 {
        self.places.get(slot as usize).map_or(0, |place| place.generation)
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        let place = self.places.get_mut(slot as usize)?;
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(slot);
        self.len -= 1;
        Some(value)
    }

    /// Bytes that one value takes.
    pub(crate) const fn place_bytes() -> usize {
        size_of::<Place<T>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_slot_is_used_again_under_another_generation() {
        let mut table = Table::new(0);
        let (slot, generation) = table.insert('a');
        assert!(table.is(slot, generation));
        assert_eq!(table.remove(slot), Some('a'));
        assert_eq!(table.remove(slot), None);
        let (again, next) = table.insert('b');
        assert_eq!(again, slot);
        assert_ne!(next, generation);
        assert!(!table.is(slot, generation));
        assert_eq!(table.len(), 1);
    }
}
