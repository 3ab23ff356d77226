//! One core of the data path: an io_uring of its own inside a glommio executor.
//!
//! [`run()`] drives session machines (`driver`) over sockets on the calling thread. It knows no
//! protocol; what a session wants beyond bytes and time is asked of a [`Host`], and other threads
//! reach it through an [`Inbox`].

mod accept;
mod buffers;
mod carrier;
mod config;
mod connect;
mod exchange;
mod executor;
mod host;
mod inbox;
mod listen;
mod measure;
mod pipes;
mod preflight;
mod ring;
mod run;
mod seal;
mod sockets;
mod splice;
mod underway;

pub use config::{Keepalive, Listener, Pipe, RECEIVE_BUFFERS, ShardConfig};
pub use driver::layer::Layer;
pub use driver::{Limits, SessionId, TooMuch};
pub use exchange::EXCHANGES_MAX;
pub use host::{
    Accepted, ConnectPlan, Endpoint, Exchange, Host, ListenerId, PeerAddress, QUESTION_BYTES_MAX, Reply,
};
pub use inbox::{Inbox, InboxReader, MakeSession, ToShard};
pub use listen::{listen_tcp, listen_unix};
pub use measure::Measured;
pub use pipes::{PIPE_BYTES, pipes};
pub use preflight::{Fit, Unfit, preflight};
pub use ring::RingSize;
pub use run::run;

/// The cores that this process may run on, ascending: what `ShardConfig::cpu` is chosen from.
///
/// # Errors
/// The system does not tell.
pub fn allowed_cpus() -> std::io::Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Why a shard could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// glommio could not make or pin the executor.
    #[error("executor of shard {index}: {why}")]
    Executor {
        /// The shard.
        index: usize,
        /// What glommio said.
        why: String,
    },
    /// The ring, its buffers or a descriptor of the shard could not be had.
    #[error("ring of shard {index}: {why}{}", advice(why))]
    Ring {
        /// The shard.
        index: usize,
        /// What the system said.
        why: std::io::Error,
    },
}

/// What to set, where an error of the system says too little.
fn advice(why: &std::io::Error) -> &'static str {
    if why.kind() == std::io::ErrorKind::OutOfMemory {
        ": this user's locked memory is used up: set LimitMEMLOCK=infinity (ulimit -l unlimited)"
    } else {
        ""
    }
}
