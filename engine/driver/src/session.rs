//! What the driver keeps of one session.

use protocols::proxy::{BackendId, Instant, QuestionId, Session, Side};
use smallvec::SmallVec;

/// The connection that an answer will bring, and the number of its server.
pub(crate) type Brings = (BackendId, u16);

/// One session.
pub(crate) struct SessionState {
    /// Taken out while it is called.
    pub(crate) machine: Option<Box<dyn Session>>,
    /// Its connections by slot.
    pub(crate) sides: SmallVec<[(Side, u32); 2]>,
    /// Questions without an answer, and which connection one will bring, to which server.
    pub(crate) questions: SmallVec<[(QuestionId, Option<Brings>); 1]>,
    /// What its timer in the wheel is armed for; `Instant(u64::MAX)` when it is not.
    pub(crate) armed: Instant,
    /// It began with a client: without any side left it ends.
    pub(crate) has_client: bool,
    /// How long the client left bytes unread since the last answered command.
    pub(crate) unread_us: u32,
}

/// The moment that never comes.
pub(crate) const NEVER: Instant = Instant(u64::MAX);

impl SessionState {
    pub(crate) fn new(machine: Box<dyn Session>, has_client: bool) -> SessionState {
        SessionState {
            machine: Some(machine),
            sides: SmallVec::new(),
            questions: SmallVec::new(),
            armed: NEVER,
            has_client,
            unread_us: 0,
        }
    }

    pub(crate) fn slot_of(&self, side: Side) -> Option<u32> {
        self.sides.iter().find(|(at, _)| *at == side).map(|(_, slot)| *slot)
    }
}
