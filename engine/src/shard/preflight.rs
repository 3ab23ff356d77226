//! What the system must allow before a shard can run, asked once in `main`, with an answer that
//! says what to set. glommio itself would panic or exit without a word.

use std::io;

use io_uring::IoUring;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::RECEIVE_BUFFERS;
use super::executor::{RING_DEPTH, RINGS};
use super::ring::{PAGE_BYTES, RingSize, locked_bytes};

/// The oldest kernel with all that the ring uses (DEFER_TASKRUN, multishot receive, buffer rings).
const KERNEL_MIN: (u32, u32) = (6, 1);

/// Locked memory that glommio asks for.
const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// What each shard leaves of the user's locked memory when rings are chosen, as one of so many: a
/// successor runs beside this process for a while.
const PROCESSES: u64 = 2;

/// Descriptors without which not even one shard and its files fit.
const NOFILE_MIN: u64 = 256;

/// What stands against starting; the text says what to set.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// Too old.
    #[error("kernel is {0}: Linux 6.1 or newer is needed")]
    Kernel(String),
    /// EPERM.
    #[error(
        "io_uring is forbidden: set sysctl kernel.io_uring_disabled=0; in a container allow \
         io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile; under systemd \
         add @io-event to SystemCallFilter="
    )]
    RingForbidden,
    /// ENOSYS.
    #[error("the kernel or the seccomp profile has no io_uring: allow the io_uring_* system calls")]
    RingMissing,
    /// The limit is too low for so many shards.
    #[error(
        "locked memory limit is {have} bytes, {executors} shards need {need} (rookery_shards and one for the \
         list): set LimitMEMLOCK={need} (ulimit -l {}){}", need.div_ceil(1024), fewer(*have)
    )]
    Memlock {
        /// The limit.
        have: u64,
        /// What the rings need.
        need: u64,
        /// Shards, the directory's among them.
        executors: u64,
    },
    /// ENOMEM, although the limit is high enough: other processes of the user have locked memory.
    #[error("locked memory of this user is used up: set LimitMEMLOCK=infinity (ulimit -l unlimited)")]
    MemlockUsed,
    /// The hard limit.
    #[error("descriptor limit is {have}, at least {NOFILE_MIN} are needed: set LimitNOFILE= (ulimit -n)")]
    Nofile {
        /// The limit.
        have: u64,
    },
    /// Something that has no advice.
    #[error("cannot make an io_uring: {0}")]
    Ring(#[source] io::Error),
}

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fit {
    /// Descriptors that this process may have.
    pub nofile: u64,
    /// What the ring of a shard may hold.
    pub ring: RingSize,
}

/// What fewer shards would do about a limit.
fn fewer(have: u64) -> String {
    match (have / executor_bytes(RingSize::SMALL)).checked_sub(1) {
        Some(shards) if shards > 0 && have >= MEMLOCK_BYTES_MIN => format!(", or rookery_shards: {shards}"),
        _ => String::new(),
    }
}

/// Locked memory of a shard: its ring, the ring of its buffers, and glommio's three.
fn executor_bytes(size: RingSize) -> u64 {
    let glommio = RingSize { submissions: RING_DEPTH, completions: 2 * RING_DEPTH };
    let buffers = (u64::from(RECEIVE_BUFFERS) * 16).next_multiple_of(PAGE_BYTES);
    locked_bytes(size) + buffers + RINGS * locked_bytes(glommio)
}

/// Checks the kernel and io_uring, and raises the limits of descriptors and of locked memory; `shards`
/// beside the directory's are to be run.
///
/// # Errors
/// What stands against starting.
pub fn preflight(shards: usize) -> Result<Fit, Unfit> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    if !is_new_enough(&release) {
        return Err(Unfit::Kernel(release.into_owned()));
    }
    let executors = shards as u64 + 1;
    let ring = ring_size(memlock(), executors)?;
    try_ring()?;
    Ok(Fit { nofile: raise_nofile()?, ring })
}

/// Whether `6.18.44-foo` is at least [`KERNEL_MIN`]. What cannot be read is too old.
fn is_new_enough(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= KERNEL_MIN,
        (Some(Ok(major)), _) => major > KERNEL_MIN.0,
        _ => false,
    }
}

/// Lifts the limit of locked memory as far as it goes, and gives it; `None` is no limit. It counts for
/// all processes of the user together.
fn memlock() -> Option<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Memlock);
    // Only a privileged process may have all; a refusal leaves what there was.
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None })
        .or_else(|_| setrlimit(Resource::Memlock, Rlimit { current: maximum, maximum }));
    getrlimit(Resource::Memlock).current
}

/// Large rings where they take no more than a share of the limit.
fn ring_size(limit: Option<u64>, executors: u64) -> Result<RingSize, Unfit> {
    let Some(have) = limit else { return Ok(RingSize::LARGE) };
    let need = (executors * executor_bytes(RingSize::SMALL)).max(MEMLOCK_BYTES_MIN);
    if have < need {
        Err(Unfit::Memlock { have, need, executors })
    } else if have / PROCESSES >= executors * executor_bytes(RingSize::LARGE) {
        Ok(RingSize::LARGE)
    } else {
        Ok(RingSize::SMALL)
    }
}

/// Makes and drops a ring as a shard makes it.
fn try_ring() -> Result<(), Unfit> {
    let made: io::Result<IoUring> = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(8);
    match made {
        Ok(_) => Ok(()),
        Err(why) if why.kind() == io::ErrorKind::PermissionDenied => Err(Unfit::RingForbidden),
        Err(why) if why.raw_os_error() == Some(libc::ENOSYS) => Err(Unfit::RingMissing),
        Err(why) if why.kind() == io::ErrorKind::OutOfMemory => Err(Unfit::MemlockUsed),
        Err(why) => Err(Unfit::Ring(why)),
    }
}

fn raise_nofile() -> Result<u64, Unfit> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // A refusal leaves what there was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let have = getrlimit(Resource::Nofile).current.or(current).unwrap_or(u64::MAX);
    if have < NOFILE_MIN { Err(Unfit::Nofile { have }) } else { Ok(have) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_compared_by_number() {
        for (release, fits) in [
            ("6.18.44-fc-v657", true),
            ("6.1.0-47-cloud-amd64", true),
            ("6.0.19", false),
            ("5.15.0", false),
            ("10.0", true),
            ("7", true),
            ("", false),
            ("linux", false),
        ] {
            assert_eq!(is_new_enough(release), fits, "{release}");
        }
    }

    #[test]
    fn this_machine_is_fit_and_descriptors_are_raised() {
        let fit = preflight(1).expect("tests need io_uring");
        assert_eq!(Some(fit.nofile), getrlimit(Resource::Nofile).maximum);
    }

    #[test]
    fn sixty_four_shards_fit_into_the_usual_limit() {
        let usual = 8 << 20;
        assert_eq!(ring_size(None, 1000).ok(), Some(RingSize::LARGE));
        assert_eq!(ring_size(Some(usual), 3).ok(), Some(RingSize::LARGE));
        assert_eq!(ring_size(Some(usual), 65).ok(), Some(RingSize::SMALL));
    }

    #[test]
    fn limit_that_is_too_low_is_told_with_what_to_set() {
        let text = |limit, executors| ring_size(Some(limit), executors).unwrap_err().to_string();
        let need = 65 * executor_bytes(RingSize::SMALL);
        let said = text(1 << 20, 65);
        assert!(said.contains(&format!("LimitMEMLOCK={need} ")), "{said}");
        assert!(said.contains(&format!("(ulimit -l {})", need / 1024)), "{said}");
        assert!(said.ends_with("or rookery_shards: 8"), "{said}");
        assert!(ring_size(Some(need), 65).is_ok() && ring_size(Some(1 << 20), 9).is_ok());
        assert!(text(64 << 10, 2).ends_with("LimitMEMLOCK=524288 (ulimit -l 512)"));
    }
}
