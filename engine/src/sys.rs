//! System calls that neither std nor rustix has in a safe form.
#![allow(
    unsafe_code,
    reason = "signals, users and inherited descriptors have no safe wrappers among our crates"
)]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Exit status: everything went well.
pub(crate) const EX_OK: u8 = 0;
/// Exit status: a part of the program broke (sysexits.h).
pub(crate) const EX_SOFTWARE: u8 = 70;

/// A user of the system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct User {
    /// Its number.
    pub(crate) uid: u32,
    /// Its group.
    pub(crate) gid: u32,
    /// All groups that it is in.
    pub(crate) groups: Vec<u32>,
}

/// Bytes for the strings of one passwd entry.
const PASSWD_BYTES: usize = 16 * 1024;

/// Bytes for the strings of one group entry, its members among them.
const GROUP_BYTES: usize = 256 * 1024;

/// Bytes of a host's name (NI_MAXHOST).
const HOST_BYTES: usize = 1025;

/// Groups of one user.
const GROUPS_MAX: usize = 1024;

/// Looks a user up by name; `None` when there is none.
pub(crate) fn user(name: &str) -> io::Result<Option<User>> {
    let name = CString::new(name)?;
    let mut entry = MaybeUninit::<libc::passwd>::zeroed();
    let mut strings = vec![0 as libc::c_char; PASSWD_BYTES];
    let mut found = std::ptr::null_mut();
    // SAFETY: all pointers are to live buffers of the lengths given.
    let error = unsafe {
        libc::getpwnam_r(name.as_ptr(), entry.as_mut_ptr(), strings.as_mut_ptr(), strings.len(), &mut found)
    };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    if found.is_null() {
        return Ok(None);
    }
    // SAFETY: a non-null result says that the entry was filled in.
    let entry = unsafe { entry.assume_init() };
    let (uid, gid) = (entry.pw_uid, entry.pw_gid);
    Ok(Some(User { uid, gid, groups: groups(&name, gid) }))
}

fn groups(name: &CStr, gid: u32) -> Vec<u32> {
    let mut groups = vec![0; GROUPS_MAX];
    let mut count = libc::c_int::try_from(GROUPS_MAX).unwrap_or(libc::c_int::MAX);
    // SAFETY: the buffer holds as many groups as `count` says.
    let got = unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &mut count) };
    match usize::try_from(got) {
        Ok(n) => groups.truncate(n),
        // More groups than anybody has: the own one alone.
        Err(_) => groups = vec![gid],
    }
    groups
}

/// The names of all groups of a user, as Cyrus asks for them: also of a user who has no account, for
/// groups may list names that have none.
///
/// # Errors
/// The system cannot tell.
pub(crate) fn groups_of(user: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let Some(name) = std::str::from_utf8(user).ok().filter(|name| !name.contains('\0')) else {
        return Ok(Vec::new());
    };
    let numbers = match self::user(name)? {
        Some(user) => user.groups,
        None => groups(&CString::new(name)?, NO_GROUP),
    };
    Ok(numbers.into_iter().filter(|gid| *gid != NO_GROUP).filter_map(group_name).collect())
}

/// The number that is no group's (`(gid_t) -1`).
const NO_GROUP: u32 = u32::MAX;

fn group_name(gid: u32) -> Option<Vec<u8>> {
    let mut entry = MaybeUninit::<libc::group>::zeroed();
    let mut strings = vec![0 as libc::c_char; GROUP_BYTES];
    let mut found = std::ptr::null_mut();
    // SAFETY: all pointers are to live buffers of the lengths given.
    let error =
        unsafe { libc::getgrgid_r(gid, entry.as_mut_ptr(), strings.as_mut_ptr(), strings.len(), &mut found) };
    if error != 0 || found.is_null() {
        return None;
    }
    // SAFETY: a non-null result says that the entry was filled in, with a string of `strings`.
    let name = unsafe { CStr::from_ptr(entry.assume_init().gr_name) };
    Some(name.to_bytes().to_vec())
}

/// The name of an address, if it has one.
pub(crate) fn name_of(address: IpAddr) -> Option<String> {
    let address = socket2::SockAddr::from(SocketAddr::new(address, 0));
    let mut host = vec![0 as libc::c_char; HOST_BYTES];
    let room = libc::socklen_t::try_from(host.len()).ok()?;
    // SAFETY: address and buffer live and have the lengths given; no service is asked for.
    let error = unsafe {
        libc::getnameinfo(
            address.as_ptr().cast(),
            address.len(),
            host.as_mut_ptr(),
            room,
            std::ptr::null_mut(),
            0,
            libc::NI_NAMEREQD,
        )
    };
    if error != 0 {
        return None;
    }
    // SAFETY: without an error the buffer holds a string that ends.
    let name = unsafe { CStr::from_ptr(host.as_ptr()) };
    name.to_str().ok().map(str::to_owned)
}

/// The signals that the daemon answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signal {
    /// SIGTERM, SIGINT, SIGQUIT.
    Stop,
    /// SIGHUP.
    Reload,
}

const SIGNALS: [libc::c_int; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP];

/// Signals that are taken by [`Signals::wait`] on one thread.
pub(crate) struct Signals(libc::sigset_t);

impl Signals {
    /// Keeps the signals from interrupting anything. Must be called before a thread is started, for
    /// threads inherit it.
    pub(crate) fn block() -> io::Result<Signals> {
        let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: sigemptyset initialises the set; the others get a set that is.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in SIGNALS {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            let set = set.assume_init();
            match libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) {
                0 => Ok(Signals(set)),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        }
    }

    /// Waits for a signal at most so many milliseconds.
    pub(crate) fn wait(&self, milliseconds: u32) -> Option<Signal> {
        let timeout = libc::timespec {
            tv_sec: libc::time_t::from(milliseconds / 1000),
            tv_nsec: libc::c_long::from(milliseconds % 1000) * 1_000_000,
        };
        // SAFETY: set and timeout live; no information is asked for.
        match unsafe { libc::sigtimedwait(&self.0, std::ptr::null_mut(), &timeout) } {
            libc::SIGHUP => Some(Signal::Reload),
            signal if signal > 0 => Some(Signal::Stop),
            _ => None,
        }
    }
}

/// Takes descriptors that the process inherited (sd_listen_fds(3)): `n` from 3 on.
pub(crate) fn inherited(n: u16) -> Vec<OwnedFd> {
    let first: RawFd = 3;
    (first..first + RawFd::from(n))
        // SAFETY: fcntl reads a flag; a number that is no descriptor is an error.
        .filter(|fd| unsafe { libc::fcntl(*fd, libc::F_SETFD, libc::FD_CLOEXEC) } == 0)
        // SAFETY: the descriptor is open, and by the protocol nobody else in this process owns it.
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect()
}

/// The parent that waits until its daemon serves.
pub(crate) struct Starter(io::PipeWriter);

impl Starter {
    /// Lets the parent exit with this status. A daemon that serves lets go of its terminal first.
    pub(crate) fn tell(mut self, status: u8) {
        if status == EX_OK {
            // Without /dev/null it keeps what it has.
            let _ = close_stdio();
        }
        // The parent may have been killed.
        let _ = self.0.write_all(&[status]);
    }
}

/// Goes on in a child process in a session of its own; the parent exits with the status that the
/// child tells, or 70 when it ends without a word.
pub(crate) fn background() -> io::Result<Starter> {
    let (mut reader, writer) = io::pipe()?;
    // SAFETY: the process has one thread, so the child may do all that its parent might.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(reader);
            rustix::process::setsid()?;
            Ok(Starter(writer))
        }
        _ => {
            drop(writer);
            let mut status = [EX_SOFTWARE];
            // Without a byte the child has ended: the status stays what it is.
            let _ = reader.read_exact(&mut status);
            std::process::exit(i32::from(status[0]))
        }
    }
}

/// Puts /dev/null in the place of what the process reads and says: whoever started it waits for no
/// more of that.
fn close_stdio() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for fd in 0..=2 {
        // SAFETY: both are descriptors of this process; std's handles stay valid as numbers.
        if unsafe { libc::dup2(null.as_raw_fd(), fd) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_and_nobody_else_by_a_wrong_name() {
        let root = user("root").unwrap().unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups.contains(&0));
        assert_eq!(user("no-such-user-here").unwrap(), None);
        assert!(user("a\0b").is_err());
    }
}
