//! The provided receive buffers of a shard.

use std::io;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use driver::limits::BUFFER_BYTES;
use driver::{BufferId, Buffers};
use io_uring::types::BufRingEntry;

use super::ring::{BUFFER_GROUP, Ring};

/// A ring of buffers that the kernel fills. Filled ones are ours until they are given back.
pub(super) struct ReceiveBuffers {
    /// `count` entries, then `count` buffers.
    memory: *mut u8,
    bytes: usize,
    count: u16,
    tail: u16,
    /// What each filled buffer holds.
    filled: Vec<u16>,
    /// Buffers that the kernel has.
    offered: u16,
}

impl ReceiveBuffers {
    /// Makes and registers the buffers; the pages come when they are first filled.
    pub(super) fn new(ring: &Ring, count: u16) -> io::Result<ReceiveBuffers> {
        let entries = usize::from(count) * size_of::<BufRingEntry>();
        let bytes = entries.next_multiple_of(BUFFER_BYTES) + usize::from(count) * BUFFER_BYTES;
        #[allow(unsafe_code, reason = "memory that the kernel shares")]
        // SAFETY: a fresh anonymous mapping, owned by this value and unmapped by its drop.
        let memory = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = memory.cast();
        let mut buffers =
            ReceiveBuffers { memory, bytes, count, tail: 0, filled: vec![0; usize::from(count)], offered: 0 };
        #[allow(unsafe_code, reason = "the kernel is told of the mapping")]
        // SAFETY: the mapping begins with `count` entries, is page aligned, and stays until the ring
        // has let go of it (`unregister`, or the end of the ring).
        let registered = unsafe {
            ring.inner().submitter().register_buf_ring_with_flags(memory as u64, count, BUFFER_GROUP, 0)
        };
        if let Err(why) = registered {
            buffers.unmap();
            return Err(why);
        }
        for id in 0..count {
            buffers.give_back(BufferId(id));
        }
        Ok(buffers)
    }

    /// Takes note of a buffer that the kernel has filled.
    pub(super) fn fill(&mut self, id: u16, len: usize) -> BufferId {
        self.filled[usize::from(id)] = len as u16;
        self.offered -= 1;
        BufferId(id)
    }

    /// The bytes of a filled buffer, to be decoded in place.
    pub(super) fn bytes_mut(&mut self, id: BufferId) -> &mut [u8] {
        let len = usize::from(self.filled[usize::from(id.0)]);
        #[allow(unsafe_code, reason = "the buffer is in shared memory")]
        // SAFETY: the kernel has let go of a filled buffer until it is given back, and `&mut self`
        // makes this the only reference into it; `len` is at most BUFFER_BYTES.
        unsafe {
            slice::from_raw_parts_mut(self.at(id), len)
        }
    }

    /// Gives a buffer to the kernel.
    pub(super) fn give_back(&mut self, id: BufferId) {
        let place = usize::from(self.tail & (self.count - 1));
        #[allow(unsafe_code, reason = "the ring is in shared memory")]
        // SAFETY: `place` is below `count`, the entry lies in the mapping, and the kernel reads only
        // entries before the tail that is stored behind it. The tail is an aligned u16 that both
        // sides use atomically.
        unsafe {
            let entry = &mut *self.memory.cast::<BufRingEntry>().add(place);
            entry.set_addr(self.at(id) as u64);
            entry.set_len(BUFFER_BYTES as u32);
            entry.set_bid(id.0);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(self.memory.cast::<BufRingEntry>());
            AtomicU16::from_ptr(tail.cast_mut()).store(self.tail, Ordering::Release);
        }
        self.offered += 1;
    }

    /// Buffers that the kernel can fill.
    pub(super) fn offered(&self) -> u16 {
        self.offered
    }

    fn at(&self, id: BufferId) -> *mut u8 {
        let entries = usize::from(self.count) * size_of::<BufRingEntry>();
        let offset = entries.next_multiple_of(BUFFER_BYTES) + usize::from(id.0) * BUFFER_BYTES;
        debug_assert!(offset < self.bytes);
        #[allow(unsafe_code, reason = "the buffer is in shared memory")]
        // SAFETY: ids are below `count`, for which the mapping has room.
        unsafe {
            self.memory.add(offset)
        }
    }

    /// Takes the buffers from the kernel, when no receive is in flight any more.
    pub(super) fn unregister(self, ring: &Ring) {
        if ring.inner().submitter().unregister_buf_ring(BUFFER_GROUP).is_ok() {
            self.unmap();
        }
    }

    /// Only when the kernel does not have the buffers.
    fn unmap(self) {
        #[allow(unsafe_code, reason = "memory that the kernel may have shared")]
        // SAFETY: the kernel does not have it, and `self` ends here.
        unsafe {
            libc::munmap(self.memory.cast(), self.bytes);
        }
    }
}

impl Buffers for ReceiveBuffers {
    fn bytes(&self, id: BufferId) -> &[u8] {
        let len = usize::from(self.filled[usize::from(id.0)]);
        #[allow(unsafe_code, reason = "the buffer is in shared memory")]
        // SAFETY: as in `bytes_mut`, shared.
        unsafe {
            slice::from_raw_parts(self.at(id), len)
        }
    }
}
