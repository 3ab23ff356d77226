//! The life of a shard inside a glommio executor: turns, and waiting in the own ring between them.
//!
//! The loop is the only task of its executor and never gives the thread back before it ends. Other threads
//! reach the shard through its inbox, which the own ring watches.

use std::io;
use std::time::Duration;

use driver::Driver;

use super::buffers::ReceiveBuffers;
use super::carrier::{Carrier, Parts};
use super::executor::make_executor;
use super::ring::{Ring, patiently};
use super::{Host, InboxReader, ShardConfig, ShardError};

/// How soon a turn follows one that wanted something of the kernel, though nothing comes: sends that went out do
/// not complete, and some things go on behind them.
const SOON: Duration = Duration::from_millis(10);

/// How long a shard sleeps that waits for nothing but what comes.
const LONG: Duration = Duration::from_secs(60 * 60);

/// Runs a shard on the calling thread until it was drained or stopped through its inbox.
///
/// # Errors
/// The executor or the ring could not be made, or the ring broke.
pub fn run(config: ShardConfig, host: impl Host, inbox: InboxReader) -> Result<(), ShardError> {
    let index = config.index;
    let broken = |why| ShardError::Ring { index, why };
    let executor = make_executor(&config)?;
    executor.run(async move {
        let count = config.receive_buffers.clamp(8, 1 << 15).next_power_of_two();
        let make = || {
            let ring = Ring::new(config.ring)?;
            let buffers = ReceiveBuffers::new(&ring, count)?;
            io::Result::Ok((ring, buffers))
        };
        let is_out = |why: &io::Error| why.kind() == io::ErrorKind::OutOfMemory;
        let (ring, buffers) = patiently(make, is_out).map_err(broken)?;
        let room = config.limits.room();
        let driver = Driver::new(config.limits);
        let (pipes, keepalive) = (config.pipes, config.keepalive);
        let mut carrier =
            Carrier::new(Parts { ring, buffers, driver, host, inbox, pipes, keepalive, index, room });
        carrier.listen(config.listeners);
        carrier.watch_inbox();
        turns(carrier).map_err(broken)
    })
}

/// Turns until the shard is over.
fn turns<H: Host>(mut carrier: Carrier<H>) -> io::Result<()> {
    loop {
        carrier.turn();
        if carrier.is_over() {
            break;
        }
        wait(&mut carrier)?;
    }
    // Submits the last closes.
    carrier.ring.enter(Duration::ZERO)?;
    let Carrier { ring, buffers, .. } = carrier;
    buffers.unregister(&ring);
    Ok(())
}

/// Hands over what the turn wants and waits until something comes or is due.
fn wait<H: Host>(carrier: &mut Carrier<H>) -> io::Result<()> {
    let most = if carrier.ring.has_submissions() { SOON } else { LONG };
    let left = carrier.next_deadline().map_or(most, |at| at.since(carrier.now));
    if carrier.is_restless() || left.is_zero() || !carrier.inbox.begin_waiting() {
        return carrier.ring.enter(Duration::ZERO);
    }
    let entered = carrier.ring.enter(left.min(most));
    carrier.inbox.end_waiting();
    entered
}
