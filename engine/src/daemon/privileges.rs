//! From root to a user that may bind low ports and nothing else.

use std::io;

use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_keep_capabilities, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use crate::sys;

/// Why privileges could not be dropped.
#[derive(Debug, thiserror::Error)]
pub(super) enum DropError {
    /// There is no such user.
    #[error("no user {0}: create it or set rookery_user")]
    NoUser(Box<str>),
    /// It is root.
    #[error("rookery_user {0} is root: name an unprivileged user")]
    Root(Box<str>),
    /// The system refused.
    #[error("cannot become user {user}: {error}")]
    Refused {
        /// The user.
        user: Box<str>,
        /// What the system said.
        error: io::Error,
    },
}

/// Becomes `user`, keeping CAP_NET_BIND_SERVICE. Does nothing for who is not root.
///
/// Works on the calling thread: it must be the only one, so that all later ones inherit.
///
/// # Errors
/// The user does not exist, is root, or the system refuses. The caller must not go on.
pub(super) fn drop_to(user: &str) -> Result<(), DropError> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let refused = |error: io::Error| DropError::Refused { user: user.into(), error };
    let found = sys::user(user).map_err(refused)?.ok_or_else(|| DropError::NoUser(user.into()))?;
    if found.uid == 0 {
        return Err(DropError::Root(user.into()));
    }
    become_user(&found).map_err(|error| refused(error.into()))
}

fn become_user(user: &sys::User) -> rustix::io::Result<()> {
    let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    set_keep_capabilities(true)?;
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    set_keep_capabilities(false)?;
    let kept = CapabilitySet::NET_BIND_SERVICE;
    set_capabilities(
        None,
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() },
    )
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::process::getuid;
    use rustix::thread::capabilities;

    use super::*;

    /// Credentials belong to threads, so a thread of its own can lose them.
    fn on_a_thread<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
        thread::spawn(run).join().unwrap()
    }

    #[test]
    fn root_becomes_the_user_and_keeps_one_capability() {
        if !geteuid().is_root() {
            return;
        }
        let sets = on_a_thread(|| {
            become_user(&sys::User { uid: 65534, gid: 65534, groups: vec![65534] }).unwrap();
            capabilities(None).unwrap()
        });
        assert_eq!(sets.effective, CapabilitySet::NET_BIND_SERVICE);
        assert_eq!(sets.permitted, CapabilitySet::NET_BIND_SERVICE);
        assert!(getuid().is_root(), "other threads keep theirs");
    }

    #[test]
    fn missing_user_and_root_are_refused() {
        if !geteuid().is_root() {
            return;
        }
        let error = drop_to("no-such-user-here").unwrap_err().to_string();
        assert_eq!(error, "no user no-such-user-here: create it or set rookery_user");
        assert!(matches!(drop_to("root"), Err(DropError::Root(_))));
    }
}
