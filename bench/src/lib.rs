//! Load for mail proxies, and what it costs them.
//!
//! * [`load`] is a closed loop of many connections on one thread.
//! * [`process`] reads what a process has used so far.
//! * [`compare`] runs rookeryd, nginx and HAProxy before the same backend, in turns.
//! * [`auth_http`] answers nginx's question where a user's server is.
//!
//! Black box: knows nothing of the engine.

pub mod auth_http;
pub mod compare;
pub mod load;
pub mod process;
pub mod report;
