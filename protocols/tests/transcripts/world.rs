//! A driver of one session: it does what the contract says, and nothing else.

use std::collections::VecDeque;
use std::time::Duration;

use protocols::bulletin::Bulletin;
use protocols::proxy::{
    self, Close, Event, HEAD_BYTES_MAX, Instant, LayerKind, Notice, Output, QuestionId, Side,
};

use super::script::{Cut, named};
use super::words::shown;

/// One end of the session as the driver sees it.
pub(crate) struct End {
    pub(crate) side: Side,
    pub(crate) input: Vec<u8>,
    /// Bytes of `input` that the machine saw and left with `More`.
    pub(crate) seen: usize,
    pub(crate) held: bool,
    pub(crate) claims: VecDeque<Claim>,
    /// What goes out here, in order: bytes, or the forward with this number.
    pub(crate) queue: VecDeque<Queued>,
    pub(crate) output: Vec<u8>,
    pub(crate) closed: bool,
    pub(crate) gone: bool,
}

pub(crate) struct Claim {
    pub(crate) number: u64,
    pub(crate) to: Option<Side>,
    pub(crate) left: u64,
}

pub(crate) enum Queued {
    Bytes(Vec<u8>),
    Forward(u64),
}

pub(crate) struct World {
    pub(crate) session: Box<dyn proxy::Session>,
    pub(crate) bulletin: Bulletin,
    pub(crate) cut: Cut,
    pub(crate) now: Instant,
    pub(crate) random: u64,
    pub(crate) ends: Vec<End>,
    pub(crate) questions: VecDeque<(QuestionId, String)>,
    pub(crate) asked: VecDeque<String>,
    pub(crate) closes: VecDeque<String>,
    pub(crate) switches: VecDeque<String>,
    pub(crate) joined: VecDeque<String>,
    pub(crate) logs: Vec<String>,
    pub(crate) next_claim: u64,
}

impl World {
    pub(crate) fn new(session: Box<dyn proxy::Session>, bulletin: Bulletin, cut: Cut) -> World {
        let mut world = World {
            session,
            bulletin,
            cut,
            // The shard has been up for an hour.
            now: Instant(3_600_000_000_000),
            random: cut.seed(),
            ends: Vec::new(),
            questions: VecDeque::new(),
            asked: VecDeque::new(),
            closes: VecDeque::new(),
            switches: VecDeque::new(),
            joined: VecDeque::new(),
            logs: Vec::new(),
            next_claim: 0,
        };
        world.end(Side::Client);
        world.collect();
        world.pass_time(0);
        world
    }

    pub(crate) fn end(&mut self, side: Side) -> usize {
        if let Some(at) = self.ends.iter().position(|end| end.side == side) {
            return at;
        }
        self.ends.push(End {
            side,
            input: Vec::new(),
            seen: 0,
            held: false,
            claims: VecDeque::new(),
            queue: VecDeque::new(),
            output: Vec::new(),
            closed: false,
            gone: false,
        });
        self.ends.len() - 1
    }

    pub(crate) fn feed(&mut self, side: Side, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let n = self.cut.next(rest.len(), &mut self.random);
            let at = self.end(side);
            self.ends[at].input.extend_from_slice(&rest[..n]);
            rest = &rest[n..];
            self.pump();
        }
    }

    /// Moves bytes and offers input until nothing more happens.
    pub(crate) fn pump(&mut self) {
        loop {
            if self.move_claimed() {
                continue;
            }
            let ready = self.ends.iter().position(|end| {
                !end.gone && !end.closed && !end.held && end.claims.is_empty() && end.input.len() > end.seen
            });
            let Some(at) = ready else { break };
            let side = self.ends[at].side;
            let input = std::mem::take(&mut self.ends[at].input);
            let taken = self.session.handle_input(side, &input, self.now);
            assert!(taken.n <= input.len(), "took more than was offered");
            let end = &mut self.ends[at];
            end.input = input[taken.n..].to_vec();
            end.seen = end.input.len();
            end.held = taken.then == proxy::Then::Hold;
            // As the driver does: two sides on hold would wake each other for ever.
            if self.collect() || taken.n > 0 {
                self.wake(Some(side));
            }
            let end = &self.ends[at];
            if taken.then == proxy::Then::More && end.claims.is_empty() && !end.closed {
                assert!(end.input.len() <= HEAD_BYTES_MAX, "more than a head is kept");
            }
        }
    }

    /// Something happened: what was held is offered again.
    pub(crate) fn wake(&mut self, except: Option<Side>) {
        for end in self.ends.iter_mut().filter(|end| Some(end.side) != except && end.held) {
            end.held = false;
            end.seen = 0;
        }
    }

    /// One step of a forward or discard.
    pub(crate) fn move_claimed(&mut self) -> bool {
        for at in 0..self.ends.len() {
            let Some(claim) = self.ends[at].claims.front() else { continue };
            let n = self.ends[at].input.len().min(usize::try_from(claim.left).unwrap());
            let (number, to) = (claim.number, claim.to);
            if let Some(to) = to {
                let to = self.end(to);
                if self.ends[to].gone || self.ends[to].closed {
                    self.break_claim(at);
                    return true;
                }
                let is_first =
                    matches!(self.ends[to].queue.front(), Some(Queued::Forward(first)) if *first == number);
                if !is_first {
                    continue;
                }
                let bytes: Vec<u8> = self.ends[at].input.drain(..n).collect();
                self.ends[to].output.extend(bytes);
            } else {
                self.ends[at].input.drain(..n);
            }
            let claim = self.ends[at].claims.front_mut().unwrap();
            claim.left -= n as u64;
            if claim.left == 0 {
                self.ends[at].claims.pop_front();
                self.ends[at].seen = 0;
                self.ends[at].held = false;
                if let Some(to) = to {
                    let to = self.end(to);
                    self.ends[to].queue.pop_front();
                    self.flush(to);
                }
                return true;
            }
            if n > 0 {
                return true;
            }
        }
        false
    }

    pub(crate) fn break_claim(&mut self, at: usize) {
        let claim = self.ends[at].claims.pop_front().unwrap();
        let (from, to) = (self.ends[at].side, claim.to.unwrap());
        self.ends[at].seen = 0;
        self.event(Event::ForwardBroken { from, to, left: claim.left });
    }

    pub(crate) fn flush(&mut self, at: usize) {
        while let Some(Queued::Bytes(bytes)) = self.ends[at].queue.front_mut() {
            let bytes = std::mem::take(bytes);
            self.ends[at].output.extend(bytes);
            self.ends[at].queue.pop_front();
        }
    }

    /// Carries out what the session wants.
    /// Whether there was anything.
    pub(crate) fn collect(&mut self) -> bool {
        let mut scratch = Vec::new();
        let mut is_any = false;
        loop {
            scratch.clear();
            let Some(output) = self.session.poll_output(&mut scratch) else { return is_any };
            is_any = true;
            match output {
                Output::Write { to } => {
                    let at = self.end(to);
                    assert!(!self.ends[at].closed, "write to the closed {to:?}");
                    self.ends[at].queue.push_back(Queued::Bytes(scratch.clone()));
                    self.flush(at);
                }
                Output::Forward { from, to, n } => {
                    assert_eq!(to.len(), 1);
                    assert!(n > 0, "empty forward");
                    self.claim(from, Some(to[0]), n);
                }
                Output::Discard { from, n } => self.claim(from, None, n),
                Output::Timed(_) => {}
                Output::Ask { id, question } => {
                    let text = shown(&question);
                    self.asked.push_back(text.clone());
                    self.questions.push_back((id, text));
                }
                Output::Switch { side, layer } => {
                    let kind = match layer {
                        LayerKind::TlsServer => "tls-server".to_owned(),
                        LayerKind::TlsClient { server_name } => format!("tls-client {server_name}"),
                        LayerKind::Deflate => "deflate".to_owned(),
                        LayerKind::Telemetry { user, service } => {
                            format!("telemetry {} {service}", user.escape_ascii())
                        }
                    };
                    self.switches.push_back(format!("{} {kind}", named(side)));
                }
                Output::Close { side, how } => self.close(side, how),
                Output::Tell(Notice::Log { text, .. } | Notice::Session { text, .. }) => {
                    self.logs.push(text.into());
                }
                Output::Tell(
                    Notice::Capabilities { .. }
                    | Notice::ServiceCapabilities { .. }
                    | Notice::Silent { .. }
                    | Notice::Presence(_)
                    | Notice::Stage { .. }
                    | Notice::Home { .. },
                ) => {}
                Output::Pipe { a, b } => {
                    let Side::Backend(id) = b else { panic!("the client is joined with himself") };
                    self.joined.push_back(id.0.to_string());
                    self.claim(a, Some(b), u64::MAX);
                    self.claim(b, Some(a), u64::MAX);
                }
                Output::Release { .. } => panic!("connections of IMAP are somebody's"),
            }
        }
    }

    pub(crate) fn claim(&mut self, from: Side, to: Option<Side>, n: u64) {
        self.next_claim += 1;
        let number = self.next_claim;
        if let Some(to) = to {
            let at = self.end(to);
            self.ends[at].queue.push_back(Queued::Forward(number));
        }
        let at = self.end(from);
        self.ends[at].claims.push_back(Claim { number, to, left: n });
    }

    pub(crate) fn close(&mut self, side: Side, how: Close) {
        let at = self.end(side);
        if self.ends[at].closed {
            return;
        }
        self.ends[at].closed = true;
        if !self.ends[at].gone {
            let how = match how {
                Close::Flush => "flush",
                Close::BetweenLines => "between-lines",
                Close::Abort => "abort",
            };
            self.closes.push_back(format!("{} {how}", named(side)));
        }
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.session.handle_event(event, self.now);
        self.wake(None);
        self.collect();
        self.pump();
    }

    pub(crate) fn pass_time(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        while let Some(due) = self.session.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.session.handle_timeout(self.now);
            self.wake(None);
            self.collect();
            self.pump();
        }
        self.now = until;
    }
}
