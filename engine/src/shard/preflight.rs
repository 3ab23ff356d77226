//! What the system must allow before a shard can run, asked once in `main`, with an answer that
//! says what to set. glommio itself would panic or exit without a word.

use std::io;

use io_uring::IoUring;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{MembarrierCommand, membarrier};

/// The oldest kernel with all that the ring uses (DEFER_TASKRUN, multishot receive, buffer rings).
const KERNEL_MIN: (u32, u32) = (6, 1);

/// Locked memory that glommio asks for.
const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

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
    /// ENOMEM or the limit itself.
    #[error(
        "locked memory limit is {have} bytes, {MEMLOCK_BYTES_MIN} are needed: set LimitMEMLOCK=8M (ulimit -l 8192)"
    )]
    Memlock {
        /// The limit.
        have: u64,
    },
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
}

/// Checks the kernel and io_uring, and raises the limits of descriptors and of locked memory.
///
/// # Errors
/// What stands against starting.
pub fn preflight() -> Result<Fit, Unfit> {
    // Without it the first sleep of a glommio executor takes tens of milliseconds once there are
    // other threads. A kernel that cannot only makes that sleep slow.
    let _ = membarrier(MembarrierCommand::RegisterPrivateExpedited);
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    if !is_new_enough(&release) {
        return Err(Unfit::Kernel(release.into_owned()));
    }
    memlock()?;
    ring()?;
    Ok(Fit { nofile: raise_nofile()? })
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

/// Lifts the limit of locked memory as far as it goes: it counts for all processes of the user
/// together, and a successor runs beside this one.
fn memlock() -> Result<(), Unfit> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Memlock);
    // Only root may have all; a refusal leaves what there was.
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None })
        .or_else(|_| setrlimit(Resource::Memlock, Rlimit { current: maximum, maximum }));
    match getrlimit(Resource::Memlock).current {
        Some(have) if have < MEMLOCK_BYTES_MIN => Err(Unfit::Memlock { have }),
        _ => Ok(()),
    }
}

/// Makes and drops a ring as a shard makes it.
fn ring() -> Result<(), Unfit> {
    let made: io::Result<IoUring> = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(8);
    match made {
        Ok(_) => Ok(()),
        Err(why) if why.kind() == io::ErrorKind::PermissionDenied => Err(Unfit::RingForbidden),
        Err(why) if why.raw_os_error() == Some(libc::ENOSYS) => Err(Unfit::RingMissing),
        Err(why) if why.kind() == io::ErrorKind::OutOfMemory => {
            Err(Unfit::Memlock { have: getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX) })
        }
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
        let fit = preflight().expect("tests need io_uring");
        assert_eq!(Some(fit.nofile), getrlimit(Resource::Nofile).maximum);
    }
}
