//! What the line protocols share: lines, literals, strings, limits.
//!
//! Nothing here allocates while it scans. A [`Cursor`] reads tokens of a complete command head, that
//! is of a line together with the small literals that belong to it; [`head`] tells how far such a
//! head reaches in what was received.
//!
//! ```text
//!   received bytes ──line──> line ──literal──> announced literal ──head──> extent of a whole head
//!                                                             ──Cursor──> atom, astring, list, ...
//! ```

pub mod cursor;
pub mod head;
pub mod limits;
pub mod line;
pub mod literal;
pub mod quote;

pub use cursor::Cursor;
pub use literal::Announced;
pub use quote::LiteralStyle;

/// Bytes that are not what the grammar says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("syntax error at byte {at}: expected {expected}")]
pub struct SyntaxError {
    /// Offset of the first byte that does not fit, in what was given to the parser.
    pub at: usize,
    /// What would have fitted.
    pub expected: &'static str,
}

/// Why bytes cannot be read, by blame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// Nothing is wrong yet: more bytes are needed.
    #[error("incomplete")]
    Incomplete,
    /// The peer sent what the grammar does not have.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// A limit of ours.
    #[error("{what} too long: limit {limit}")]
    TooLong {
        /// The thing that is too long.
        what: &'static str,
        /// How long it may be, in bytes or, for lists, in elements.
        limit: u64,
    },
}
