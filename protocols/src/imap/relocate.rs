//! Moving a mailbox to another server or partition: RENAME with a location, and XFER.
//!
//! A backend takes a server in the location of RENAME for one to move to, also its own name; so the
//! frontend decides which of the two commands is meant.

use super::login::Release;
use super::task::Context;
use super::text::astring;
use super::text::{name_out, push};
use crate::mailbox::names;
use crate::proxy::BackendId;

/// A backend of this release or an older one aborts in the middle of moving a mailbox that is no
/// user's, and leaves it reserved (seen on 3.6.1).
const ABORTS: Release = Release { major: 3, minor: 6 };

const WOULD_ABORT: &[u8] =
    b"NO [CANNOT] the server of this mailbox would abort: Cyrus 3.6 cannot move a mailbox \
that is no user's to another server (rookery_xfer_shared: yes tries it)";

const MAY_ABORT: &[u8] =
    b"NO [CANNOT] the server of this mailbox does not tell its release, and Cyrus 3.6 would \
abort: it cannot move a mailbox that is no user's to another server (rookery_xfer_shared: yes tries it)";

const IS_THERE: &[u8] = b"NO [ALREADYEXISTS] Mailbox is on that server";

/// Bytes of a reason that are told.
const REASON_BYTES_MAX: usize = 200;

/// Where a mailbox shall go.
#[derive(Debug)]
pub(super) struct Relocation {
    /// The mailbox as typed.
    pub(super) mailbox: Vec<u8>,
    /// Whether it belongs to a user.
    pub(super) belongs: Belongs,
    /// The server; `None` is where it is.
    pub(super) server: Option<Vec<u8>>,
    /// The partition; empty is the default one.
    pub(super) partition: Vec<u8>,
}

/// Whose a mailbox is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Belongs {
    /// A user's.
    User,
    /// Nobody's: shared, or deleted.
    Nobody,
}

impl Belongs {
    /// By its internal name.
    pub(super) fn of(name: &[u8]) -> Belongs {
        let is_users = names::owner(name).is_some() && !names::is_deleted(name);
        if is_users { Belongs::User } else { Belongs::Nobody }
    }
}

impl Relocation {
    /// What is sent to the server of the mailbox behind the tag.
    ///
    /// # Errors
    /// The text of the answer: nothing is sent.
    pub(super) fn command(&self, at: BackendId, cx: &Context<'_>) -> Result<Vec<u8>, &'static [u8]> {
        let target = self.server.as_deref().filter(|server| cx.server(at) != Some(server));
        let mut command = Vec::with_capacity(2 * self.mailbox.len() + self.partition.len() + 32);
        match target {
            None if self.partition.is_empty() => return Err(IS_THERE),
            None => {
                command.extend_from_slice(b"RENAME ");
                name_out(&mut command, &self.mailbox);
                command.push(b' ');
                name_out(&mut command, &self.mailbox);
            }
            Some(server) => {
                self.check(at, cx)?;
                command.extend_from_slice(b"XFER ");
                name_out(&mut command, &self.mailbox);
                push(&mut command, &[b" ", &astring(server)]);
            }
        }
        if !self.partition.is_empty() {
            push(&mut command, &[b" ", &astring(&self.partition)]);
        }
        command.extend_from_slice(b"\r\n");
        Ok(command)
    }

    /// Why the move to another server broke off, from the text of an untagged NO. Cyrus 3.6 says OK behind it:
    ///
    /// ```text
    /// ("USER " user / "MAILBOX " name) " (" reason ")"
    /// ```
    pub(super) fn broke_off<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        self.server.as_ref()?;
        let whom = text.trim_ascii_end();
        let whom = whom.strip_prefix(b"USER ").or_else(|| whom.strip_prefix(b"MAILBOX "))?;
        let begin = memchr::memmem::find(whom, b" (").map_or(0, |at| at + b" (".len());
        let reason = whom[begin..].strip_suffix(b")").unwrap_or(&whom[begin..]);
        Some(&reason[..reason.len().min(REASON_BYTES_MAX)])
    }

    fn check(&self, at: BackendId, cx: &Context<'_>) -> Result<(), &'static [u8]> {
        if self.belongs == Belongs::User || cx.config.commands.xfer_shared {
            return Ok(());
        }
        match cx.release(at) {
            None => Err(MAY_ABORT),
            Some(release) if release <= ABORTS => Err(WOULD_ABORT),
            Some(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_of_a_broken_move_is_read_whatever_is_in_it() {
        let to = |server: Option<&str>| Relocation {
            mailbox: b"user.fred".to_vec(),
            belongs: Belongs::User,
            server: server.map(|server| server.as_bytes().to_vec()),
            partition: Vec::new(),
        };
        let away = to(Some("be2"));
        let reason = |text: &'static str| {
            away.broke_off(text.as_bytes()).map(|reason| reason.escape_ascii().to_string())
        };
        assert_eq!(reason("USER fred (Retry operation)\r\n").as_deref(), Some("Retry operation"));
        assert_eq!(reason("MAILBOX team.a b (no (more) room)").as_deref(), Some("no (more) room"));
        assert_eq!(reason("USER fred").as_deref(), Some("fred"));
        assert_eq!(reason("[ALERT] USER (x)"), None);
        assert_eq!(to(None).broke_off(b"USER fred (x)"), None);
        assert_eq!(
            away.broke_off(&[&b"USER fred ("[..], &[b'x'; 900]].concat()).map(<[u8]>::len),
            Some(REASON_BYTES_MAX)
        );
    }
}
