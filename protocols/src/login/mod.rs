//! Logins, as far as they are the same in all protocols: who a client is, for whom he acts, and how a
//! backend is logged in to.

pub mod attempt;
pub mod backend;
pub mod config;
