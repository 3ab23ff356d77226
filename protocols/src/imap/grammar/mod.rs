//! IMAP as it stands on the wire: what a frontend reads of commands and responses.
//!
//! Read is only what decides a route or must be changed on its way: [`Command`] finds tag and verb,
//! and each verb that is routed by its arguments has a parser in [`args`]. [`mod@response`] sorts what
//! servers say. Everything else is forwarded unread.
//!
//! ```text
//!   head  ──Command──> tag, Verb, args ──args::list_args, ...──> mailbox, options, ...
//!   line  ──response──> Tagged | Untagged | Continuation ──responses::*, codes::*──> values
//! ```

pub mod args;
pub mod codes;
mod command;
mod response;
pub mod responses;
mod set;
pub mod url;
mod verb;

pub use args::*;
pub use codes::{capabilities, code};
pub use command::{Command, CommandError};
pub use response::{Response, Status, UntaggedKind, response};
pub use set::{Bound, Range, SequenceSet};
pub use verb::Verb;
