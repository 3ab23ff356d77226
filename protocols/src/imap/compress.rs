//! COMPRESS=DEFLATE (RFC 4978), with clients that ask for it and with backends where it is configured.
//!
//! ```text
//!   client:   COMPRESS DEFLATE ──OK, switch──> (waits) ──Switched──> commands
//!   backend:  logged in ──RKZ COMPRESS DEFLATE──> Asked ──OK, switch──> Switching ──Switched──> Ready
//!                                                   └──NO──> Ready
//! ```

use super::backend::{Compressing, Compression, Phase};
use super::grammar::{Response, Status, response};
use super::login::Ready;
use super::offer::Offer;
use super::session::Session;
use super::state::{Progress, Reading};
use crate::proxy::{BackendId, HEAD_BYTES_MAX, Instant, LayerKind, Side};
use crate::wire::line;

const TAG: &[u8] = b"RKZ";

impl Session {
    /// COMPRESS of a client.
    pub(super) fn compress(&mut self, tag: &[u8], args: &[u8]) {
        if args.is_empty() {
            self.bad(tag, b"BAD Missing required argument to Compress");
            return;
        }
        self.bad_commands = 0;
        if self.is_compressed() {
            self.reply(tag, b"NO [COMPRESSIONACTIVE] DEFLATE active via COMPRESS");
        } else if !args.eq_ignore_ascii_case(b"DEFLATE") {
            self.reply(tag, b"NO Unknown COMPRESS algorithm");
        } else if let Some(place) = self.config.compression.take() {
            self.rare().compressed = Some(place);
            self.reply(tag, b"OK DEFLATE active");
            self.outbox.switch(Side::Client, LayerKind::Deflate);
            self.reading = Reading::Wait;
        } else {
            self.reply(tag, b"NO [LIMIT] too many compressed connections");
        }
    }

    /// Whether the client's bytes are compressed, or will be in a moment.
    pub(super) fn is_compressed(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.compressed.is_some())
    }

    /// Asks a backend that has just let us in; what it told comes back where it is not to be compressed.
    pub(super) fn begin_compression(&mut self, at: usize, ready: Ready) -> Option<Ready> {
        let deadline = match &self.backends[at].phase {
            Phase::Login(_, deadline) => *deadline,
            Phase::Opening(..) | Phase::Compressing(..) | Phase::Ready(_) | Phase::Leaving(_) => {
                return Some(ready);
            }
        };
        if !self.config.proxy.compress || !ready.offer.has(Offer::COMPRESS) {
            return Some(ready);
        }
        let Some(place) = self.config.compression.take() else { return Some(ready) };
        let compressing = Compressing { ready, place, stage: Compression::Asked };
        self.backends[at].phase = Phase::Compressing(Box::new(compressing), deadline);
        let side = self.backends[at].side();
        self.outbox.write(side, &[TAG, b" COMPRESS DEFLATE\r\n"]);
        None
    }

    /// A backend that was asked says something.
    pub(super) fn look_at_compressing(&mut self, at: usize, input: &[u8], now: Instant) -> Progress {
        let side = self.backends[at].side();
        let Phase::Compressing(compressing, _) = &mut self.backends[at].phase else { return Progress::Hold };
        if compressing.stage == Compression::Switching {
            return Progress::Hold;
        }
        let line = match line::first(input, HEAD_BYTES_MAX) {
            Ok(line) => line,
            Err(crate::wire::Error::Incomplete) => return Progress::More,
            Err(_) => return self.break_backend(at, "line too long", now, input.len()),
        };
        match response(&input[..line.len]) {
            Response::Tagged { tag: TAG, status: Status::Ok, .. } => {
                compressing.stage = Compression::Switching;
                self.outbox.switch(side, LayerKind::Deflate);
            }
            Response::Tagged { tag: TAG, .. } => self.end_compression(at, false, now),
            Response::Untagged { .. } => {}
            Response::Tagged { .. } | Response::Continuation { .. } | Response::Invalid => {
                return self.break_backend(at, "no answer to COMPRESS", now, input.len());
            }
        }
        Progress::Took(line.len)
    }

    /// The layer is on.
    pub(super) fn backend_compressed(&mut self, id: BackendId, now: Instant) {
        if let Some(at) = self.backend_at(id) {
            self.end_compression(at, true, now);
        }
    }

    fn end_compression(&mut self, at: usize, agreed: bool, now: Instant) {
        let phase = std::mem::replace(&mut self.backends[at].phase, Phase::Ready(None));
        if let Phase::Compressing(compressing, _) = phase {
            let Compressing { ready, place, .. } = *compressing;
            self.backends[at].phase = Phase::Ready(agreed.then_some(place));
            self.be_logged_in(at, ready, now);
        }
    }
}
