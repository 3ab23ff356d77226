//! What a command waits for.

/// A part of the time between a command's line and its tagged reply.
///
/// `Own` counts from the wake-up of the shard with the line to the hand-over of what it caused to
/// the kernel, so the work for other connections in the same turn is in it: for this client it is
/// the frontend's time. Of a command that takes more than two turns of a shard the turns in between
/// count to the wait that follows them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// All of it.
    Total,
    /// The frontend itself.
    Own,
    /// The client: literals that he has not sent, answers that he does not read.
    Client,
    /// A backend: connecting, logging in, its answers.
    Backend,
    /// A password check or key derivation off the shard.
    Authentication,
    /// The mailbox list: pages and barriers.
    Directory,
}

impl Stage {
    /// How many there are.
    pub const COUNT: usize = 6;

    /// Every stage, in the order in which they are shown.
    pub const ALL: [Stage; Stage::COUNT] =
        [Stage::Total, Stage::Own, Stage::Client, Stage::Backend, Stage::Authentication, Stage::Directory];

    /// Its name in tables and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Total => "total",
            Stage::Own => "own",
            Stage::Client => "client",
            Stage::Backend => "backend",
            Stage::Authentication => "authentication",
            Stage::Directory => "directory",
        }
    }

    /// The stage of a name.
    pub fn from_name(name: &str) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| stage.name() == name)
    }

    /// Its place in [`Stage::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The time of one command, in microseconds. The parts add up to the whole as far as the clock
/// tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Split {
    /// From its line to its tagged reply.
    pub total_us: u32,
    /// [`Stage::Own`].
    pub own_us: u32,
    /// [`Stage::Client`].
    pub client_us: u32,
    /// [`Stage::Backend`].
    pub backend_us: u32,
    /// [`Stage::Authentication`].
    pub authentication_us: u32,
    /// [`Stage::Directory`].
    pub directory_us: u32,
}

impl Split {
    /// The part of a stage.
    pub const fn of(&self, stage: Stage) -> u32 {
        match stage {
            Stage::Total => self.total_us,
            Stage::Own => self.own_us,
            Stage::Client => self.client_us,
            Stage::Backend => self.backend_us,
            Stage::Authentication => self.authentication_us,
            Stage::Directory => self.directory_us,
        }
    }
}
