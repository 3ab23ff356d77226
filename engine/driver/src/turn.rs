//! What is to be sent, gathered for one turn.
//!
//! Chunks of all connections stand in one table and are chained per connection. They refer to the
//! carrier's received buffers, to the arena, which holds what was authored or copied, or to what was
//! encoded. All are emptied when the turn ends, so that an idle connection has nothing here.

use std::ops::Range;

use crate::layer::Wire;

/// A received buffer of the carrier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BufferId(pub u16);

/// Gives the driver the bytes of the received buffers of this turn.
pub trait Buffers {
    /// All bytes that were received into a buffer.
    fn bytes(&self, buffer: BufferId) -> &[u8];
}

/// A stretch of bytes of one turn.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// In a received buffer.
    Buffer(BufferId, Range<u32>),
    /// In the arena.
    Arena(Range<u32>),
    /// Among the encoded bytes.
    Sealed(Range<u32>),
}

impl Source {
    pub(crate) fn len(&self) -> usize {
        let (Source::Buffer(_, range) | Source::Arena(range) | Source::Sealed(range)) = self;
        range.len()
    }
}

/// Whether a chunk goes through the layer of its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Coding {
    /// As the machine sees it: to be encoded.
    Plain,
    /// As it goes out.
    Wire,
}

struct Chunk {
    source: Source,
    coding: Coding,
    next: u32,
}

pub(crate) const NONE: u32 = u32::MAX;

/// The chain of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    head: u32,
    tail: u32,
    /// Bytes in it.
    pub(crate) bytes: u32,
}

impl Chain {
    pub(crate) const EMPTY: Chain = Chain { head: NONE, tail: NONE, bytes: 0 };

    pub(crate) fn is_empty(&self) -> bool {
        self.head == NONE
    }
}

/// The chunks and the arena.
#[derive(Default)]
pub(crate) struct Turn {
    chunks: Vec<Chunk>,
    arena: Vec<u8>,
    pub(crate) sealed: Wire,
}

/// Capacity of the arena, and of encoded bytes, that is kept from turn to turn.
const ARENA_BYTES_KEPT: usize = 256 * 1024;

impl Turn {
    /// Copies bytes to the arena.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Source {
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(bytes);
        Source::Arena(start..self.arena.len() as u32)
    }

    /// Appends a stretch to a chain; a stretch that continues the last one becomes part of it.
    pub(crate) fn push(&mut self, chain: &mut Chain, source: Source, coding: Coding) {
        let len = source.len() as u32;
        if len == 0 {
            return;
        }
        chain.bytes += len;
        if chain.tail != NONE {
            let last = &mut self.chunks[chain.tail as usize];
            if last.coding == coding && joins(&mut last.source, &source) {
                return;
            }
        }
        let place = self.chunks.len() as u32;
        self.chunks.push(Chunk { source, coding, next: NONE });
        if chain.tail == NONE {
            chain.head = place;
        } else {
            self.chunks[chain.tail as usize].next = place;
        }
        chain.tail = place;
    }

    /// The stretches of a chain in order.
    pub(crate) fn walk(&self, chain: Chain) -> impl Iterator<Item = (&Source, Coding)> {
        let mut at = chain.head;
        std::iter::from_fn(move || {
            let chunk = self.chunks.get(at as usize)?;
            at = chunk.next;
            Some((&chunk.source, chunk.coding))
        })
    }

    /// Bytes of a stretch.
    pub(crate) fn bytes<'a>(&'a self, source: &Source, buffers: &'a impl Buffers) -> &'a [u8] {
        match source {
            Source::Buffer(id, range) => &buffers.bytes(*id)[range.start as usize..range.end as usize],
            Source::Arena(range) => &self.arena[range.start as usize..range.end as usize],
            Source::Sealed(range) => &self.sealed.bytes()[range.start as usize..range.end as usize],
        }
    }

    /// A copy of a chain without its first `n` bytes.
    pub(crate) fn rest(&self, chain: Chain, n: usize, buffers: &impl Buffers) -> Vec<u8> {
        let mut rest = Vec::with_capacity((chain.bytes as usize).saturating_sub(n));
        let mut skip = n;
        for (source, _) in self.walk(chain) {
            let bytes = self.bytes(source, buffers);
            let skipped = skip.min(bytes.len());
            skip -= skipped;
            rest.extend_from_slice(&bytes[skipped..]);
        }
        rest
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
        self.arena.clear();
        self.sealed.clear(ARENA_BYTES_KEPT);
        if self.arena.capacity() > ARENA_BYTES_KEPT {
            self.arena.shrink_to(ARENA_BYTES_KEPT);
        }
    }
}

/// Extends `last` by `next` if that is what follows it in the same memory.
fn joins(last: &mut Source, next: &Source) -> bool {
    let joined = match (&last, next) {
        (Source::Buffer(a, left), Source::Buffer(b, right)) => a == b && left.end == right.start,
        (Source::Arena(left), Source::Arena(right)) | (Source::Sealed(left), Source::Sealed(right)) => {
            left.end == right.start
        }
        (Source::Buffer(..) | Source::Arena(_) | Source::Sealed(_), _) => false,
    };
    if joined {
        let (Source::Buffer(_, end) | Source::Arena(end) | Source::Sealed(end)) = next;
        let (Source::Buffer(_, range) | Source::Arena(range) | Source::Sealed(range)) = last;
        range.end = end.end;
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    struct No;
    impl Buffers for No {
        fn bytes(&self, _: BufferId) -> &[u8] {
            b"0123456789"
        }
    }

    #[test]
    fn stretches_that_follow_each_other_are_one() {
        let mut turn = Turn::default();
        let mut chain = Chain::EMPTY;
        for range in [0..3, 3..5, 6..9] {
            turn.push(&mut chain, Source::Buffer(BufferId(1), range), Coding::Plain);
        }
        let authored = turn.copy(b"ab");
        turn.push(&mut chain, authored, Coding::Plain);
        let pieces: Vec<_> = turn.walk(chain).map(|(source, _)| turn.bytes(source, &No).to_vec()).collect();
        assert_eq!(pieces, [b"01234".to_vec(), b"678".to_vec(), b"ab".to_vec()]);
        assert_eq!(chain.bytes, 10);
    }
}
