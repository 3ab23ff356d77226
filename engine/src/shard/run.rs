//! The life of a shard inside a glommio executor: wait in the own ring, park in glommio.
//!
//! While the loop waits in its own ring, glommio does not know that it sleeps, and would not be
//! woken by other threads; so it waits there for at most [`HOLD`] at a time, and parks in glommio,
//! on the eventfd of the own ring, when nothing came. Other threads reach the shard through its
//! inbox, which the own ring watches; only glommio's own tasks and timers wait for the hold.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use driver::Driver;
use glommio::io::BufferedFile;
use io_uring::types::Timespec;
use protocols::proxy::Instant;
use rustix::event::{PollFd, PollFlags, Timespec as PollTime, poll};

use super::buffers::ReceiveBuffers;
use super::carrier::{Carrier, Parts};
use super::executor::make_executor;
use super::ring::{Kind, Ring, Token, patiently};
use super::{Host, InboxReader, ShardConfig, ShardError};

/// How long the loop waits in its own ring before it parks: as long as glommio's tasks and timers
/// wait under load anyhow. Parking and being woken costs about ten enters of glommio's rings, so that
/// a few connections that say something every few milliseconds must not park in between.
const HOLD: Duration = YIELD_EVERY;

/// Under load the loop never parks; it lets glommio's tasks and timers run this often. Watching
/// glommio's rings from the own one does not do: their own timers complete in them, so that every
/// yield asks for the next (measured: 8 enters a turn, and 70 ms of CPU a second when idle). A yield
/// costs about 15 µs.
const YIELD_EVERY: Duration = Duration::from_millis(10);

/// How long a shard sleeps at most, whoever does not wake it. On a busy machine (Linux 6.18.44) one was seen asleep for
/// 17 minutes with input in its sockets, until a debugger came. Its eventfd stood at 0: the kernel had not signalled it,
/// which it does only for the first of what is to be done, or glommio had read it and was not woken. Looking again
/// costs an idle shard about 0.1 ms of CPU; what it finds then that nobody told of is counted ([`Parking`]).
const PARKED_MAX: Duration = Duration::from_secs(2);

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
        let parking = Rc::new(Cell::new(Parking::Awake));
        Loop { carrier, armed: None, yielded: Instant(0), parking }.run().await.map_err(broken)
    })
}

struct Loop<H> {
    carrier: Carrier<H>,
    /// What a timeout in the own ring is armed for.
    armed: Option<Instant>,
    /// When glommio last had the thread.
    yielded: Instant,
    parking: Rc<Cell<Parking>>,
}

/// Whether a shard sleeps, and who woke it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parking {
    Awake,
    Parked,
    /// Nobody woke it for long: it looks whether something has come all the same.
    LookedAgain,
}

/// Wakes a shard that has slept for long, again and again.
async fn look_again(parking: Rc<Cell<Parking>>, signal: OwnedFd) {
    loop {
        glommio::timer::sleep(PARKED_MAX).await;
        if parking.get() == Parking::Parked {
            parking.set(Parking::LookedAgain);
            // The counter cannot be full: the shard reads it.
            let _ = rustix::io::write(&signal, &1_u64.to_ne_bytes());
        }
    }
}

impl<H: Host> Loop<H> {
    async fn run(mut self) -> io::Result<()> {
        let again = self.carrier.ring.signal().try_clone()?;
        let again = glommio::spawn_local(look_again(Rc::clone(&self.parking), again));
        let signal = self.carrier.ring.signal().try_clone()?;
        #[allow(unsafe_code, reason = "glommio takes descriptors raw")]
        // SAFETY: the descriptor is a fresh duplicate that the file owns alone from here on.
        let signal = unsafe { BufferedFile::from_raw_fd(signal.into_raw_fd()) };
        loop {
            self.carrier.turn();
            if self.carrier.is_over() {
                break;
            }
            if self.carrier.now.since(self.yielded) >= YIELD_EVERY {
                self.yielded = self.carrier.now;
                // What the turn wants to send is not kept waiting.
                self.carrier.ring.enter(Duration::ZERO)?;
                glommio::executor().yield_task_queue_now().await;
            }
            if self.wait()? && !self.carrier.ring.has_news() {
                // What goes on when the last sends are out must not sleep with the loop.
                self.carrier.turn();
                if self.carrier.is_restless() {
                    // A turn begins behind the sends of the last: what was not handed over would be shut down unsent.
                    self.carrier.ring.enter(Duration::ZERO)?;
                } else {
                    self.park(&signal).await?;
                }
            }
        }
        again.cancel().await;
        // Submits the last closes.
        self.carrier.ring.enter(Duration::ZERO)?;
        let Carrier { ring, buffers, .. } = self.carrier;
        buffers.unregister(&ring);
        // A failed close leaves nothing behind: the shard is over.
        let _ = signal.close().await;
        Ok(())
    }

    /// Waits in the own ring; whether that was in vain and the loop may park.
    fn wait(&mut self) -> io::Result<bool> {
        let carrier = &mut self.carrier;
        let left = carrier.next_deadline().map_or(HOLD, |at| at.since(carrier.now));
        let wait = if carrier.is_restless() { Duration::ZERO } else { left.min(HOLD) };
        if wait.is_zero() || !carrier.inbox.begin_waiting() {
            carrier.ring.enter(Duration::ZERO)?;
            return Ok(false);
        }
        let entered = carrier.ring.enter(wait);
        carrier.inbox.end_waiting();
        entered?;
        Ok(wait == HOLD)
    }

    /// Sleeps in glommio until the own ring has a completion.
    async fn park(&mut self, signal: &BufferedFile) -> io::Result<()> {
        self.arm_timeout();
        self.carrier.ring.signal_on(true);
        // Submits the timeout and catches what came before the signal was on.
        self.carrier.ring.enter(Duration::ZERO)?;
        if !self.carrier.ring.has_news() && self.carrier.inbox.begin_waiting() {
            self.yielded = self.carrier.now;
            self.parking.set(Parking::Parked);
            let woken = signal.read_at(0, 8).await;
            let parking = self.parking.replace(Parking::Awake);
            let count = woken.map_err(|why| io::Error::other(why.to_string()))?;
            if parking == Parking::LookedAgain && *count == 1_u64.to_ne_bytes() && self.has_overslept() {
                self.carrier.overslept += 1;
            }
        }
        self.carrier.inbox.end_waiting();
        self.carrier.ring.signal_on(false);
        if self.armed.is_some_and(|at| at <= self.carrier.now) {
            self.armed = None;
        }
        Ok(())
    }

    /// Whether something has come and the kernel has not signalled it.
    fn has_overslept(&mut self) -> bool {
        let ring = &mut self.carrier.ring;
        if !ring.has_news() {
            return false;
        }
        // What came since the signal was read was signalled anew.
        let mut signal = [PollFd::from_borrowed_fd(ring.signal().as_fd(), PollFlags::IN)];
        poll(&mut signal, Some(&PollTime::default())).is_ok_and(|ready| ready == 0)
    }

    /// Makes the own ring complete by the next deadline.
    fn arm_timeout(&mut self) {
        let now = self.carrier.now;
        if self.armed.is_some_and(|at| at <= now) {
            self.armed = None;
        }
        let Some(at) = self.carrier.next_deadline() else { return };
        if self.armed.is_some_and(|armed| armed <= at) {
            return;
        }
        self.armed = Some(at);
        let after = Timespec::from(at.since(now));
        #[allow(unsafe_code, reason = "the operation points to the time")]
        // SAFETY: `after` stands until it was submitted, right here.
        unsafe {
            self.carrier.ring.timeout(&raw const after, Token::of(Kind::Timeout, 0));
        }
        // What fails here fails again in `park`, which tells.
        let _ = self.carrier.ring.enter(Duration::ZERO);
    }
}
