//! Names of what a driver keeps.

/// A session of one driver. The generation makes it a name that is not used twice soon: what
/// arrives for a session that has ended meets nobody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId {
    /// Its place.
    pub slot: u32,
    /// Counts the uses of the place.
    pub generation: u32,
}

/// A connection of one driver. Its slot is the carrier's as well: the driver gives a slot free only
/// when the carrier has said that the descriptor is closed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId {
    /// Its place.
    pub slot: u32,
    /// Counts the uses of the place.
    pub generation: u32,
}
