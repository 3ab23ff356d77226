//! Access control lists as Cyrus keeps them.

/// A set of rights letters (RFC 4314 and Cyrus' own `n` and digits).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Rights(pub u32);
