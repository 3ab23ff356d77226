//! A network in memory: pairs of ends with delays, split deliveries, full buffers, half closes,
//! resets and partitions, all decided by the dice.

use std::collections::VecDeque;
use std::time::Duration;

use protocols::proxy::Instant;

use crate::dice::Dice;

/// Bytes that stand between a sender and a receiver before the sender is told to wait.
const WINDOW_BYTES: usize = 96 * 1024;

/// Bytes that are taken at once of what has arrived.
const PIECE_BYTES: usize = 32 * 1024;

/// One end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EndId(pub u32);

/// Who is woken when something happens to an end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Owner {
    /// A client or its like, by number.
    Client(usize),
    /// A frontend, by number.
    Frontend(usize),
    /// A backend, by number.
    Backend(usize),
    /// The MUPDATE master.
    Master,
}

/// The connection is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken;

/// What stands to be read at an end.
#[derive(PartialEq, Eq, Debug)]
pub enum Read {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Nothing yet.
    Nothing,
    /// The other end sends no more.
    Eof,
    /// The connection broke.
    Reset,
}

struct Chunk {
    at: Instant,
    bytes: Vec<u8>,
}

struct End {
    owner: Owner,
    peer: EndId,
    /// What the other end sent and this one has not read.
    inbox: VecDeque<Chunk>,
    inbox_bytes: usize,
    /// When the end of input arrives.
    eof_at: Option<Instant>,
    /// When the breaking arrives.
    reset_at: Option<Instant>,
    /// This end has said that it sends no more.
    shut: bool,
    closed: bool,
    /// This end was told that the window is full, and is woken when it is not.
    wants_room: bool,
}

/// How unkind the network is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// The longest delay of a delivery.
    pub delay_max: Duration,
    /// Sends in a thousand of which only a part is taken.
    pub short_sends: u32,
    /// Reads in a thousand that bring only a few bytes.
    pub split_reads: u32,
}

/// All connections of a world.
pub struct Net {
    ends: Vec<End>,
    weather: Weather,
    /// Whom to wake, and when.
    wakes: Vec<(Instant, Owner)>,
    /// The largest number of bytes that ever stood in one inbox.
    pub inbox_bytes_seen_max: usize,
}

impl Net {
    /// A network without connections.
    pub fn new(weather: Weather) -> Net {
        Net { ends: Vec::new(), weather, wakes: Vec::new(), inbox_bytes_seen_max: 0 }
    }

    /// Connects two owners: the end of the first, then that of the second.
    pub fn connect(&mut self, a: Owner, b: Owner) -> (EndId, EndId) {
        let first = EndId(self.ends.len() as u32);
        let second = EndId(first.0 + 1);
        for (owner, peer) in [(a, second), (b, first)] {
            self.ends.push(End {
                owner,
                peer,
                inbox: VecDeque::new(),
                inbox_bytes: 0,
                eof_at: None,
                reset_at: None,
                shut: false,
                closed: false,
                wants_room: false,
            });
        }
        (first, second)
    }

    /// Sends what the window takes: how many bytes, or `Err` when the connection is broken.
    ///
    /// # Errors
    /// The other end is closed or the connection was reset.
    pub fn send(
        &mut self,
        from: EndId,
        bytes: &[u8],
        now: Instant,
        dice: &mut Dice,
    ) -> Result<usize, Broken> {
        let end = &self.ends[from.0 as usize];
        let peer = end.peer;
        if end.closed || end.reset_at.is_some_and(|at| at <= now) || end.shut {
            return Err(Broken);
        }
        let to = &self.ends[peer.0 as usize];
        if to.closed {
            self.reset(from, now);
            return Err(Broken);
        }
        let mut n = bytes.len().min(WINDOW_BYTES - to.inbox_bytes.min(WINDOW_BYTES));
        if n > 1 && dice.per_mille(self.weather.short_sends) {
            n = 1 + dice.below(n);
        }
        if n < bytes.len() {
            self.ends[from.0 as usize].wants_room = true;
        }
        if n == 0 {
            return Ok(0);
        }
        let soon = now + dice.time(self.weather.delay_max);
        let to = &mut self.ends[peer.0 as usize];
        let at = to.inbox.back().map_or(soon, |last| last.at.max(soon));
        to.inbox.push_back(Chunk { at, bytes: bytes[..n].to_vec() });
        to.inbox_bytes += n;
        self.inbox_bytes_seen_max = self.inbox_bytes_seen_max.max(to.inbox_bytes);
        self.wakes.push((at, to.owner));
        Ok(n)
    }

    /// Takes all that has arrived, piece by piece.
    ///
    /// # Errors
    /// Nothing more comes: the other end has ended, or the connection broke.
    pub fn receive(
        &mut self,
        end: EndId,
        now: Instant,
        dice: &mut Dice,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Broken> {
        self.receive_up_to(usize::MAX, end, now, dice, take)
    }

    /// Takes at most so many bytes of what has arrived.
    ///
    /// # Errors
    /// As of [`Net::receive`].
    pub fn receive_up_to(
        &mut self,
        bytes_max: usize,
        end: EndId,
        now: Instant,
        dice: &mut Dice,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Broken> {
        let mut left = bytes_max;
        while left > 0 {
            match self.read(end, left.min(PIECE_BYTES), now, dice) {
                Read::Bytes(bytes) => {
                    left -= bytes.len();
                    take(&bytes);
                }
                Read::Nothing => break,
                Read::Eof | Read::Reset => return Err(Broken),
            }
        }
        Ok(())
    }

    /// Reads at most `max` bytes that have arrived.
    pub fn read(&mut self, end: EndId, max: usize, now: Instant, dice: &mut Dice) -> Read {
        let at = &mut self.ends[end.0 as usize];
        if at.reset_at.is_some_and(|reset| reset <= now) {
            return Read::Reset;
        }
        let Some(chunk) = at.inbox.front_mut().filter(|chunk| chunk.at <= now) else {
            let over = at.inbox.is_empty() && at.eof_at.is_some_and(|eof| eof <= now);
            return if over { Read::Eof } else { Read::Nothing };
        };
        let mut n = chunk.bytes.len().min(max);
        if n > 1 && dice.per_mille(self.weather.split_reads) {
            n = 1 + dice.below(n.min(40));
        }
        let rest = chunk.bytes.split_off(n);
        let bytes = std::mem::replace(&mut chunk.bytes, rest);
        if chunk.bytes.is_empty() {
            at.inbox.pop_front();
        }
        at.inbox_bytes -= n;
        let peer = at.peer;
        let peer = &mut self.ends[peer.0 as usize];
        if std::mem::take(&mut peer.wants_room) {
            self.wakes.push((now, peer.owner));
        }
        Read::Bytes(bytes)
    }

    /// Whether something can be read now: bytes, the end, or the breaking.
    pub fn is_readable(&self, end: EndId, now: Instant) -> bool {
        let at = &self.ends[end.0 as usize];
        at.reset_at.is_some_and(|reset| reset <= now)
            || at.inbox.front().is_some_and(|chunk| chunk.at <= now)
            || (at.inbox.is_empty() && at.eof_at.is_some_and(|eof| eof <= now))
    }

    /// Says that nothing more is sent.
    pub fn shutdown(&mut self, end: EndId, now: Instant) {
        let at = &mut self.ends[end.0 as usize];
        if std::mem::replace(&mut at.shut, true) || at.closed {
            return;
        }
        self.end_input_of(at_peer(&self.ends, end), now);
    }

    /// Closes an end. What the other one still sends is lost; unread input makes it a reset.
    pub fn close(&mut self, end: EndId, now: Instant) {
        let at = &mut self.ends[end.0 as usize];
        if std::mem::replace(&mut at.closed, true) {
            return;
        }
        let (shut, unread) = (at.shut, at.inbox_bytes > 0);
        let peer = at.peer;
        if unread {
            self.reset(peer, now);
        } else if !shut {
            self.end_input_of(peer, now);
        }
    }

    /// Breaks a connection: both ends see a reset.
    pub fn reset(&mut self, end: EndId, now: Instant) {
        for id in [end, self.ends[end.0 as usize].peer] {
            let at = &mut self.ends[id.0 as usize];
            if at.reset_at.is_none() {
                at.reset_at = Some(now);
                self.wakes.push((now, at.owner));
            }
        }
    }

    /// Breaks every connection of an owner: it died.
    pub fn reset_all(&mut self, owner: Owner, now: Instant) {
        for id in 0..self.ends.len() {
            let end = &self.ends[id];
            if end.owner == owner && !end.closed {
                self.reset(EndId(id as u32), now);
            }
        }
    }

    /// Takes the wake-ups that have come together since the last call.
    pub fn take_wakes(&mut self) -> Vec<(Instant, Owner)> {
        std::mem::take(&mut self.wakes)
    }

    /// Ends that are not closed, of this owner.
    pub fn open_ends(&self, owner: Owner) -> usize {
        self.ends.iter().filter(|end| end.owner == owner && !end.closed).count()
    }

    fn end_input_of(&mut self, end: EndId, now: Instant) {
        let at = &mut self.ends[end.0 as usize];
        let eof = at.inbox.back().map_or(now, |last| last.at.max(now));
        at.eof_at.get_or_insert(eof);
        self.wakes.push((eof, at.owner));
    }
}

fn at_peer(ends: &[End], end: EndId) -> EndId {
    ends[end.0 as usize].peer
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Weather = Weather { delay_max: Duration::ZERO, short_sends: 0, split_reads: 0 };

    fn pair() -> (Net, EndId, EndId, Dice) {
        let mut net = Net::new(CALM);
        let (a, b) = net.connect(Owner::Client(0), Owner::Master);
        (net, a, b, Dice::new(1))
    }

    #[test]
    fn bytes_then_the_end_arrive_in_order() {
        let (mut net, a, b, mut dice) = pair();
        assert_eq!(net.send(a, b"hello", Instant(0), &mut dice), Ok(5));
        net.shutdown(a, Instant(0));
        assert_eq!(net.read(b, 3, Instant(1), &mut dice), Read::Bytes(b"hel".to_vec()));
        assert_eq!(net.read(b, 9, Instant(1), &mut dice), Read::Bytes(b"lo".to_vec()));
        assert_eq!(net.read(b, 9, Instant(1), &mut dice), Read::Eof);
    }

    #[test]
    fn a_full_window_wakes_the_sender_when_it_is_read() {
        let (mut net, a, b, mut dice) = pair();
        let bytes = vec![0; WINDOW_BYTES + 1];
        assert_eq!(net.send(a, &bytes, Instant(0), &mut dice), Ok(WINDOW_BYTES));
        net.take_wakes();
        net.read(b, 1, Instant(0), &mut dice);
        assert_eq!(net.take_wakes(), [(Instant(0), Owner::Client(0))]);
    }

    #[test]
    fn closing_with_unread_input_resets_the_other_end() {
        let (mut net, a, b, mut dice) = pair();
        assert_eq!(net.send(a, b"x", Instant(0), &mut dice), Ok(1));
        net.close(b, Instant(0));
        assert_eq!(net.read(a, 1, Instant(0), &mut dice), Read::Reset);
        assert_eq!(net.send(a, b"x", Instant(0), &mut dice), Err(Broken));
    }
}
