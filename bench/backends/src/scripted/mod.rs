//! Servers that answer from a script, so that what stands before them is the bottleneck.
//!
//! * [`Imap`]: any user, any password, one mailbox; the message with number n has n KiB.
//! * [`MupdateMaster`]: a list of `user.u0` … whose mailboxes are all at one server.

mod imap;
mod master;

pub use imap::{Delays, Imap, MESSAGE_KIB_MAX};
pub use master::MupdateMaster;
