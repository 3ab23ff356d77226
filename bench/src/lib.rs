//! Load for mail servers, and what it costs them.
//!
//! * [`scenario`] is what a load does, read from a file.
//! * [`load`] does it: many connections on one thread, in a closed loop or at a constant rate.
//! * [`report`] tells what came of it.
//! * [`process`] reads what a process has used so far, [`machine`] what it ran on.
//! * [`compare`] runs rookeryd and its peers before the same backend, in turns.
//! * [`auth_http`] answers nginx's question where a user's server is; [`saslauthd`] answers ours about a password.
//!
//! Black box: knows nothing of the engine.

pub mod auth_http;
pub mod compare;
pub mod load;
pub mod machine;
pub mod process;
pub mod report;
pub mod saslauthd;
pub mod scenario;
