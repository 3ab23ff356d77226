//! Logins, as far as they are the same in all protocols: who a client is, for whom he acts, and how a
//! backend is logged in to.
//!
//! ```text
//!   client ──> attempt: who he is ──> way: the server of his mailbox ──> link: logged in there
//!                └ guest: attempt, TLS and the password check at his home, for POP3 and ManageSieve
//! ```

pub mod attempt;
pub mod backend;
pub(crate) mod check;
pub mod config;
pub(crate) mod desk;
pub(crate) mod entrance;
pub(crate) mod exchange;
pub(crate) mod guest;
pub(crate) mod link;
pub mod rules;
pub mod waiting;
pub(crate) mod watch;
pub(crate) mod way;
