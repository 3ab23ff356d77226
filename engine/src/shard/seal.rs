//! Moving bulk into a layer: what can be read is encoded and sent at once, so that plain bytes and
//! records are used while they are in the cache, and no received buffer is held meanwhile.

use driver::SpliceEnd;
use driver::limits::{SEAL_BYTES, SEAL_BYTES_PER_TURN, SEALED_WEIGHT};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::Host;
use super::carrier::Carrier;
use super::underway::Rest;

impl<H: Host> Carrier<H> {
    /// Moves what can be moved, at most a turn's share.
    pub(super) fn seal_bytes(&mut self, index: usize) -> Rest {
        self.bulk.resize(SEAL_BYTES, 0);
        let mut moved = 0;
        while moved < SEAL_BYTES_PER_TURN {
            match self.seal_piece(index) {
                Ok(n) => {
                    moved += n;
                    self.spliced += SEALED_WEIGHT * n;
                }
                Err(rest) => return rest,
            }
        }
        Rest::NextTurn
    }

    /// Moves one piece: how much, or why the splice rests.
    fn seal_piece(&mut self, index: usize) -> Result<usize, Rest> {
        let Some(splice) = self.splices.get_mut(index) else { return Err(Rest::Stopped) };
        let (from, to) = (splice.from, splice.to);
        let most = splice.left.min(SEAL_BYTES as u64) as usize;
        if most == 0 {
            return Err(Rest::Over(SpliceEnd::Done));
        }
        if !self.driver.is_clear(to) {
            return Err(Rest::Over(SpliceEnd::Full));
        }
        let Some(source) = self.sockets.of(from) else { return Err(Rest::Over(SpliceEnd::FromFailed)) };
        let n = match retried(|| recv(&source.fd, &mut self.bulk[..most], RecvFlags::DONTWAIT)) {
            Ok((0, _)) => return Err(Rest::Over(SpliceEnd::Eof)),
            Ok((n, _)) => n,
            Err(Errno::AGAIN) => return Err(Rest::Readable),
            Err(_) => return Err(Rest::Over(SpliceEnd::FromFailed)),
        };
        splice.left -= n as u64;
        let Some(wire) = self.driver.seal(from, to, &self.bulk[..n]) else { return Err(Rest::Stopped) };
        let Some(sink) = self.sockets.of(to) else { return Err(Rest::Over(SpliceEnd::ToFailed)) };
        let sent = match retried(|| send(&sink.fd, wire, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)) {
            Ok(sent) => sent,
            Err(Errno::AGAIN) => 0,
            Err(_) => return Err(Rest::Over(SpliceEnd::ToFailed)),
        };
        if sent < wire.len() {
            self.driver.sealed_rest(to, sent);
        }
        // Less than there was room for: the source is empty, which asking it again would only tell.
        if n < most { Err(Rest::Readable) } else { Ok(n) }
    }
}

fn retried<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
