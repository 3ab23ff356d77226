//! IMAP4rev1 and what Cyrus adds to it, seen from a frontend.

pub mod config;
pub mod grammar;
mod session;
mod state;

mod auth;
mod capabilities;
mod catenate;
mod client;
mod compress;
mod dispatch;
mod guest;
mod id;
mod info;
mod layout;
mod relay;
mod renamed;
mod timers;
mod timing;

pub mod backend;
mod connect;
pub mod login;
pub mod offer;

mod lost;
mod moving;
mod numbers;
mod rejoin;
mod withheld;
mod witness;

mod agenda;
mod answers;
mod running;
pub mod task;
mod text;

pub mod acl;
mod append;
pub mod copy;
mod creatable;
pub mod deeds;
mod esearch;
mod folder;
mod idle;
pub mod list;
pub mod lsub;
pub mod metadata;
mod namespace;
mod notify;
mod passing;
mod placement;
pub mod quota;
mod referral;
mod relocate;
mod replace;
mod route;
mod routed;
mod select;
mod settle;
mod status;
mod urlauth;

#[cfg(test)]
mod testing;

pub use config::Config;
pub use info::{AT_HOME, CYRUS_3_6, with_shims};
pub use session::Session;
pub(crate) use settle::is_meant;
