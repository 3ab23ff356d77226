//! How long things may be.

/// Bytes of one line of a client, its end included. Cyrus' `maxword` and `maxquoted` are 128 KiB,
/// but a line of that size is never a head that we hold: it is forwarded as it comes.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// Bytes at the end of a line that may announce a literal: `~{18446744073709551615+}`.
pub const LITERAL_TAIL_BYTES_MAX: usize = 24;

/// Bytes of a tag. Tags of commands in flight are kept, so this is our limit, not an RFC's.
pub const TAG_BYTES_MAX: usize = 256;

/// Parentheses inside parentheses. Cyrus' deepest argument (SEARCH keys aside, which are forwarded
/// unread) has four.
pub const NESTING_MAX: usize = 32;

/// Bytes of one literal that is part of a command head (mailbox names, identifiers, passwords).
pub const HEAD_LITERAL_BYTES_MAX: u64 = crate::proxy::HEAD_BYTES_MAX as u64;

/// Bytes of a non-synchronising literal towards a server that offers LITERAL- (RFC 7888 section 5).
pub const LITERAL_MINUS_BYTES_MAX: u64 = 4096;

/// Ranges of one sequence set that is read, not only forwarded.
pub const SET_RANGES_MAX: usize = 16 * 1024;

/// Field-value pairs of ID (RFC 2971 section 3.3: "Implementations MUST NOT send more than 30").
pub const ID_PAIRS_MAX: usize = 30;

/// Elements of one list of arguments: patterns, capabilities, entries, resources.
pub const LIST_ELEMENTS_MAX: usize = 1024;
