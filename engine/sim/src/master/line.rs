//! A connection to a MUPDATE server: logs in, then gives what comes and takes what goes.

use mupdate::grammar::message_out;
use protocols::proxy::Instant;

use crate::dice::Dice;
use crate::net::{Broken, EndId, Net};

/// Where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Stage {
    #[default]
    Down,
    ExpectGreeting,
    ExpectAuthReply,
    Ready,
}

#[derive(Default)]
pub(super) struct Line {
    end: Option<EndId>,
    stage: Stage,
    input: Vec<u8>,
    out: Vec<u8>,
    over: bool,
}

impl Line {
    pub(super) fn stands(&self) -> bool {
        self.end.is_some()
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    pub(super) fn connected(&mut self, end: EndId) {
        *self = Line { end: Some(end), stage: Stage::ExpectGreeting, ..Line::default() };
    }

    /// What has come and was not taken.
    pub(super) fn input(&self) -> &[u8] {
        &self.input
    }

    pub(super) fn took(&mut self, n: usize) {
        self.input.drain(..n);
    }

    /// Where to write.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Reads up to so many octets, and logs in.
    pub(super) fn receive(&mut self, net: &mut Net, now: Instant, dice: &mut Dice, octets_max: usize) {
        let Some(end) = self.end else { return };
        let input = &mut self.input;
        let take = &mut |bytes: &[u8]| input.extend_from_slice(bytes);
        self.over |= net.receive_up_to(octets_max, end, now, dice, take).is_err();
        self.log_in();
    }

    fn log_in(&mut self) {
        while matches!(self.stage, Stage::ExpectGreeting | Stage::ExpectAuthReply) {
            let Some(end) = self.input.windows(2).position(|at| at == b"\r\n") else { return };
            let line: Vec<u8> = self.input.drain(..end + 2).collect();
            if self.stage == Stage::ExpectAuthReply && line.starts_with(b"A01 OK") {
                self.stage = Stage::Ready;
            } else if self.stage == Stage::ExpectGreeting && line.starts_with(b"* OK") {
                use base64::Engine as _;
                let plain = base64::engine::general_purpose::STANDARD.encode(b"\0postman\0pw-postman");
                message_out(&mut self.out, b"A01", "AUTHENTICATE", &[b"PLAIN", plain.as_bytes()]);
                self.stage = Stage::ExpectAuthReply;
            }
        }
    }

    /// Sends what waits; whether the connection has ended with that.
    pub(super) fn send(&mut self, net: &mut Net, now: Instant, dice: &mut Dice) -> bool {
        let Some(end) = self.end else { return false };
        match net.send(end, &self.out, now, dice) {
            Ok(n) => drop(self.out.drain(..n)),
            Err(Broken) => self.over = true,
        }
        if self.over {
            net.close(end, now);
            *self = Line::default();
        }
        self.stage == Stage::Down
    }
}
