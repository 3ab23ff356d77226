//! Makes a glommio executor that locks little memory.
//!
//! glommio registers a buffer with each of its three rings, for files that we do not use. The kernel
//! counts the pages against the user's limit of locked memory, once a ring, and all of a huge page when
//! the buffer lies in one: 192 KiB to 6 MiB an executor. So the buffers are taken back again. From
//! Linux 6.14 on the rings themselves count, too, and are kept small.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use glommio::{GlommioError, LocalExecutor, LocalExecutorBuilder, Placement};

use super::ring::patiently;
use super::{ShardConfig, ShardError};

/// Registered memory of an executor until it is taken back; the default is 10 MiB.
const IO_MEMORY_BYTES: usize = 64 * 1024;

/// Submission entries of each of glommio's rings; the loop has no operation on them.
pub(super) const RING_DEPTH: u32 = 32;

/// Rings of an executor.
pub(super) const RINGS: u64 = 3;

/// What io_uring_register(2) calls IORING_UNREGISTER_BUFFERS.
const UNREGISTER_BUFFERS: libc::c_uint = 1;

/// The loop is the only task and is never to be preempted. glommio (0.9) takes an executor whose time is up before
/// its task runs for one that has nothing to do, and sleeps on the task: by default that happens to a thread that is
/// kept from the CPU for 100 ms at the wrong moment.
const PREEMPT_AFTER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// One executor is made at a time, so that its rings are known from others.
static MAKING: Mutex<()> = Mutex::new(());

pub(super) fn make_executor(config: &ShardConfig) -> Result<LocalExecutor, ShardError> {
    let make = || {
        let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let before = rings();
        let made = LocalExecutorBuilder::new(config.cpu.map_or(Placement::Unbound, Placement::Fixed))
            .name(&format!("shard-{}", config.index))
            .io_memory(IO_MEMORY_BYTES)
            .ring_depth(RING_DEPTH as usize)
            .preempt_timer(PREEMPT_AFTER)
            .make();
        rings().difference(&before).copied().for_each(unregister_buffers);
        made
    };
    let is_out = |why: &GlommioError<()>| matches!(why, GlommioError::IoError(why) if why.kind() == io::ErrorKind::OutOfMemory);
    patiently(make, is_out).map_err(|why| ShardError::Executor { index: config.index, why: why.to_string() })
}

/// The rings of this process; none where /proc is not to be had, and then more memory stays locked.
fn rings() -> BTreeSet<RawFd> {
    let is_ring = |fd: &RawFd| {
        let target = fs::read_link(format!("/proc/self/fd/{fd}"));
        target.is_ok_and(|target| target.as_os_str() == "anon_inode:[io_uring]")
    };
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_ring).collect()
}

/// Takes the buffers of a ring back. One that another thread made meanwhile has none, or is that
/// thread's alone: the kernel refuses.
fn unregister_buffers(ring: RawFd) {
    #[allow(unsafe_code, reason = "the crate has no ring for a bare descriptor")]
    // SAFETY: the call takes no memory, and changes nothing of what is no ring. glommio uses its buffers
    // only for files that are opened for direct I/O; this program opens none.
    unsafe {
        let nothing: *const libc::c_void = std::ptr::null();
        libc::syscall(libc::SYS_io_uring_register, ring, UNREGISTER_BUFFERS, nothing, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loop_is_not_preempted_however_long_it_was_kept_from_the_cpu() {
        let executor = make_executor(&ShardConfig::new(0)).unwrap();
        executor.run(async {
            // Twice as long as glommio waits by itself.
            std::thread::sleep(Duration::from_millis(200));
            assert!(!glommio::executor().need_preempt());
        });
    }
}
