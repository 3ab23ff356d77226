//! Servers that stand behind a frontend where no Cyrus is at hand.
//!
//! * [`storing`] keeps mail in memory, serves ordinary clients and registers its mailboxes with a
//!   MUPDATE master: the backends of `rookery demo`.
//! * [`scripted`] answers any user from a script, fast: the backend of load tests.
//!
//! Both stand on [`net`], one thread with an epoll loop.

pub mod net;
pub mod scripted;
pub mod storing;
