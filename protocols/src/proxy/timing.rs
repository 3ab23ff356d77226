//! What machines tell of the time that commands took.

use super::{BackendId, Instant, Question};

/// A moment in microseconds, modulo 2^32: enough for the age of a command (71 minutes), in a third
/// of the room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stamp(pub u32);

impl Stamp {
    /// Microseconds from this moment to a later one.
    pub fn until(self, later: Stamp) -> u32 {
        later.0.wrapping_sub(self.0)
    }
}

impl Instant {
    /// The moment as a stamp.
    pub fn stamp(self) -> Stamp {
        // Modulo 2^32, as a stamp is.
        Stamp((self.0 / 1000) as u32)
    }
}

/// The name of a verb; behind a thin pointer, because it waits in queues.
pub type VerbName = &'static &'static str;

/// A command was answered. All times are those of turns: what a turn itself took is known to the
/// shard alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Timing {
    /// The command's verb, one of few.
    pub verb: VerbName,
    /// The connection that served it, the last one if there were several.
    pub backend: Option<BackendId>,
    /// When its line came.
    pub began: Stamp,
    /// For whom it waited; `None`: for the backend alone.
    pub waits: Option<Box<Waits>>,
}

/// For whom a command waited, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Waits {
    /// The client.
    pub client_us: u32,
    /// Backends.
    pub backend_us: u32,
    /// The check of a password.
    pub authentication_us: u32,
    /// The mailbox list.
    pub directory_us: u32,
}

impl Waits {
    /// Adds a wait.
    pub fn add(&mut self, wait: Wait, us: u32) {
        let sum = match wait {
            Wait::Client => &mut self.client_us,
            Wait::Backend => &mut self.backend_us,
            Wait::Authentication => &mut self.authentication_us,
            Wait::Directory => &mut self.directory_us,
        };
        *sum = sum.saturating_add(us);
    }

    /// The line of the log about a slow command, without whose it was.
    pub fn slow_command(&self, verb: &str, us: u32) -> String {
        let ms = |us: u32| us / 1000;
        format!(
            "slow command: {verb} took {} ms: client {} backend {} authentication {} directory {} ms",
            ms(us),
            ms(self.client_us),
            ms(self.backend_us),
            ms(self.authentication_us),
            ms(self.directory_us)
        )
    }
}

/// For whom a command waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// The client: more of the command, or a response of a SASL exchange.
    Client,
    /// A backend: to be connected, to log in, to answer.
    Backend,
    /// The check of a password.
    Authentication,
    /// The mailbox list.
    Directory,
}

impl Wait {
    /// Whose answer a question waits for. Asked for every question: it must stay cheap.
    pub(crate) fn of(question: &Question) -> Wait {
        match question {
            Question::OpenBackend { .. } => Wait::Backend,
            Question::Find { .. } | Question::List(_) | Question::Barrier | Question::Directory(_) => {
                Wait::Directory
            }
            Question::CheckPassword { .. }
            | Question::Groups { .. }
            | Question::DomainOf { .. }
            | Question::ScramKeys { .. }
            | Question::SaltPassword { .. }
            | Question::HomeCopy { .. }
            | Question::ServiceCapabilities(_)
            | Question::Intend(_)
            | Question::Errand(_)
            | Question::Capabilities { .. } => Wait::Authentication,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_count_on_over_their_end() {
        let before = Instant(u64::from(u32::MAX) * 1000);
        let after = Instant(before.0 + 5_000);
        assert_eq!(before.stamp().until(after.stamp()), 5);
    }
}
