//! The selected state: commands and responses as bytes, with a FIFO of tags between them.
//!
//! Of a command only tag, verb and literal announcements are looked at; of a response only its
//! first word and its literals. Whole bursts are one `Forward`.

use memchr::memchr;

use super::backend::{Backend, Flow, Nature, Whose};
use super::grammar::{Command, Response, UntaggedKind, Verb, response};
use super::offer::Offer;
use super::session::Session;
use super::state::{Go, Progress, Reading};
use super::task::Bond;
use crate::proxy::{HEAD_BYTES_MAX, Instant, Side};
use crate::wire::limits::LITERAL_TAIL_BYTES_MAX;
use crate::wire::{Announced, line, literal};

/// Commands of the client in flight at the selected backend.
pub(super) const FLIGHTS_MAX: usize = 64;

/// Bytes of a line without an end from which on it is passed in parts: fewer are cheaper to keep
/// until the rest is here.
const PART_BYTES_MIN: usize = 2048;

/// Whether a command in the selected state goes to the selected backend as it is.
fn is_relayed(command: &Command<'_>) -> bool {
    // ESEARCH that says where it searches may concern other servers.
    if command.verb == Verb::Esearch {
        return !command.args.get(..3).is_some_and(|begin| begin.eq_ignore_ascii_case(b"IN "));
    }
    matches!(
        command.verb,
        Verb::Noop
            | Verb::Check
            | Verb::Expunge
            | Verb::Fetch
            | Verb::Store
            | Verb::Search
            | Verb::Sort
            | Verb::Thread
            | Verb::UidBatches
            | Verb::Idle
            | Verb::XRunAnnotator
            | Verb::XConvFetch
            | Verb::XConvMeta
            | Verb::XConvMultiSort
            | Verb::XConvSort
            | Verb::XConvUpdates
            | Verb::XSnippets
            | Verb::XStats
            | Verb::Unknown
    )
}

/// What a relayed command does; an unknown one may do anything.
#[expect(clippy::wildcard_enum_match_arm, reason = "all other verbs may change something")]
fn nature(verb: Verb) -> Nature {
    match verb {
        Verb::Noop | Verb::Check => Nature::Waits,
        Verb::Idle => Nature::Idles,
        Verb::Fetch
        | Verb::Search
        | Verb::Esearch
        | Verb::Sort
        | Verb::Thread
        | Verb::UidBatches
        | Verb::XConvFetch
        | Verb::XConvMeta
        | Verb::XConvMultiSort
        | Verb::XConvSort
        | Verb::XConvUpdates
        | Verb::XSnippets => Nature::Reads,
        _ => Nature::Writes,
    }
}

/// What a response of the selected backend is.
enum Judged {
    /// Goes to the client.
    Untagged,
    /// Goes to the client and ends the command at this place in the FIFO.
    Tagged,
    /// The request that the client waits for.
    Go,
    /// Is not for the client.
    Drop,
    /// No IMAP server says this.
    Broken(&'static str),
}

impl Session {
    /// Relays the commands at the front of the input; `Took(0)` when the first one is not to be
    /// relayed.
    pub(super) fn relay_commands(&mut self, input: &[u8]) -> Progress {
        let Some(at) = self.selected.as_deref().and_then(|selected| self.backend_at(selected.backend)) else {
            return Progress::Took(0);
        };
        let side = self.backends[at].side();
        let mut n = 0;
        let mut behind = 0;
        while n < input.len() && self.reading == (Reading::Command { asked: 0 }) {
            let Some(lf) = memchr(b'\n', &input[n..]) else {
                if n == 0 {
                    return self.relay_part(at, input);
                }
                break;
            };
            let line = &input[n..=n + lf];
            let Ok(command) = Command::parse(line) else { break };
            if !is_relayed(&command) || !self.idles(at, command.verb) {
                break;
            }
            if !may_send(&self.backends[at], command.tag) {
                if n == 0 {
                    return Progress::Hold;
                }
                break;
            }
            let whose = Whose::Client(nature(command.verb));
            self.backends[at].sent(command.tag, whose, command.verb, self.now);
            self.note_condstore(at, line);
            n += line.len();
            (self.reading, behind) = self.behind_line(at, command.verb, line);
            self.note_said(command.verb, line);
            if let Reading::Downgrade(_) = self.reading {
                n -= announcement_end(line);
            }
        }
        if n == 0 {
            return Progress::Took(0);
        }
        self.bad_commands = 0;
        self.outbox.forward(Side::Client, side, n as u64 + behind);
        Progress::Claimed
    }

    /// Whether a command is not IDLE, or the server knows it.
    fn idles(&self, at: usize, verb: Verb) -> bool {
        verb != Verb::Idle || self.backends[at].offer().has(Offer::IDLE)
    }

    /// A relayed command that names mod-sequences enables CONDSTORE for the session (RFC 7162 section
    /// 3.1): where it goes by itself, at other backends by ENABLE. Once it is enabled nobody looks.
    fn note_condstore(&mut self, at: usize, line: &[u8]) {
        let is_on = self.user().is_none_or(|user| user.enabled.condstore);
        if !is_on && names_modseq(line) {
            self.enable_condstore();
            self.backends[at].enabled.condstore = self.user().is_some_and(|user| user.enabled.condstore);
        }
    }

    /// Keeps a command that may have to be said again, and notes one that leaves something at its
    /// connection: SEARCH RETURN (SAVE) (RFC 5182).
    fn note_said(&mut self, verb: Verb, line: &[u8]) {
        let is_whole = self.reading == (Reading::Command { asked: 0 });
        let Some(selected) = self.selected.as_deref_mut() else { return };
        if matches!(verb, Verb::Search | Verb::Esearch | Verb::Sort) && has_word(line, b"SAVE") {
            selected.bond = Bond::Fast;
        }
        match nature(verb) {
            Nature::Reads if is_whole => selected.keep_said(line),
            Nature::Waits | Nature::Reads | Nature::Idles | Nature::Writes => {}
        }
    }

    /// What follows a relayed line, and how many bytes behind it go with it.
    fn behind_line(&self, at: usize, verb: Verb, line: &[u8]) -> (Reading, u64) {
        match literal::at_line_end(line::without_end(line)) {
            Some(announced) if self.backends[at].must_be_asked(announced) => {
                (Reading::Downgrade(announced.len), 0)
            }
            Some(announced) if announced.sync => (Reading::AwaitGo(Go::Literal), 0),
            Some(announced) => (Reading::Rest, announced.len),
            None if verb == Verb::Idle => (Reading::AwaitGo(Go::Idle), 0),
            None => (Reading::Command { asked: 0 }, 0),
        }
    }

    /// A command whose line has no end yet: passed in parts once it is long.
    fn relay_part(&mut self, at: usize, input: &[u8]) -> Progress {
        if input.len() < PART_BYTES_MIN {
            return Progress::More;
        }
        match Command::parse(input) {
            Ok(command) if is_relayed(&command) && input.len() > command.args_at => {
                self.relay_first_part(at, command, input)
            }
            Ok(_) | Err(_) => Progress::Took(0),
        }
    }

    fn relay_first_part(&mut self, at: usize, command: Command<'_>, input: &[u8]) -> Progress {
        if !may_send(&self.backends[at], command.tag) {
            return Progress::Hold;
        }
        // Not kept: what is not known whole cannot be said again.
        let whose = Whose::Client(Nature::Writes);
        self.backends[at].sent(command.tag, whose, command.verb, self.now);
        self.note_condstore(at, input);
        self.reading = Reading::Rest;
        self.outbox.forward(
            Side::Client,
            self.backends[at].side(),
            (input.len() - LITERAL_TAIL_BYTES_MAX) as u64,
        );
        Progress::Claimed
    }

    /// Passes what belongs to a command that was begun.
    pub(super) fn relay_rest(&mut self, input: &[u8]) -> Progress {
        let Some(at) = self.selected.as_deref().and_then(|selected| self.backend_at(selected.backend)) else {
            return self.skip_rest(input);
        };
        let side = self.backends[at].side();
        let n = match memchr(b'\n', input) {
            Some(lf) => {
                let line = &input[..=lf];
                let (reading, behind) = self.behind_line(at, Verb::Unknown, line);
                self.reading = reading;
                let cut = if let Reading::Downgrade(_) = reading { announcement_end(line) } else { 0 };
                (line.len() - cut) as u64 + behind
            }
            None if input.len() >= PART_BYTES_MIN => (input.len() - LITERAL_TAIL_BYTES_MAX) as u64,
            None => return Progress::More,
        };
        self.outbox.forward(Side::Client, side, n);
        Progress::Claimed
    }

    /// Announces `{n+}` as `{n}`: "a client that has only LITERAL- ..." may not send more than
    /// 4096 bytes unasked (RFC 7888 section 5), and towards the backend we are the client.
    pub(super) fn downgrade_literal(&mut self, input: &[u8], len: u64) -> Progress {
        let Some(lf) = memchr(b'\n', input) else { return Progress::More };
        self.reading = Reading::AwaitGo(Go::Quiet(len));
        if let Some(side) = self.selected_backend().map(Backend::side) {
            self.outbox.write(side, &[b"}\r\n"]);
        }
        Progress::Took(lf + 1)
    }

    /// The line that ends IDLE, whatever it says: the backend judges it.
    pub(super) fn relay_idle_line(&mut self, input: &[u8]) -> Progress {
        match line::first(input, HEAD_BYTES_MAX) {
            Ok(line) => {
                self.reading = Reading::Command { asked: 0 };
                let Some(side) = self.selected_backend().map(Backend::side) else {
                    return Progress::Took(line.len);
                };
                self.idle_ends();
                self.outbox.forward(Side::Client, side, line.len as u64);
                Progress::Claimed
            }
            Err(crate::wire::Error::Incomplete) => Progress::More,
            Err(_) => {
                self.end(b"* BYE line too long in IDLE\r\n");
                Progress::Took(input.len())
            }
        }
    }

    /// Relays the responses at the front of what the selected backend says.
    pub(super) fn relay_responses(&mut self, at: usize, input: &[u8], now: Instant) -> Progress {
        let id = self.backends[at].id();
        if self.speaking.is_some_and(|speaking| speaking != id) {
            return Progress::Hold;
        }
        if let Some(progress) = self.look_at_withheld(at, input, now) {
            return progress;
        }
        let mut n = 0;
        let mut behind = 0;
        while n < input.len() && self.backends[at].flow == Flow::Start && !self.backends[at].answers_us() {
            let Some(lf) = memchr(b'\n', &input[n..]) else { break };
            let line = &input[n..=n + lf];
            if n > 0 && self.is_withheld(at, line) {
                break;
            }
            match self.judge(at, line) {
                Judged::Untagged => self.told(at, line),
                Judged::Tagged => self.client_answered(at, line),
                Judged::Go if n == 0 => return self.go_along(at, line),
                Judged::Drop if n == 0 => return self.pass(at, Flow::Dropping, line, input),
                Judged::Broken(why) if n == 0 => return self.break_backend(at, why, now, input.len()),
                Judged::Go | Judged::Drop | Judged::Broken(_) => break,
            }
            n += line.len();
            (n, behind) = self.follow_literals(at, input, n, line);
        }
        if n == 0 {
            return self.relay_response_part(at, input, now);
        }
        self.outbox.forward(Side::Backend(id), Side::Client, n as u64 + behind);
        Progress::Claimed
    }

    /// Relays the untagged responses at the front of the input as one; `None` when there is none.
    pub(super) fn relay_untagged(&mut self, at: usize, input: &[u8]) -> Option<Progress> {
        let mut n = 0;
        let mut behind = 0;
        while n < input.len() && self.backends[at].flow == Flow::Start {
            let Some(lf) = memchr(b'\n', &input[n..]) else { break };
            let line = &input[n..=n + lf];
            if self.is_selected(self.backends[at].id()) && self.is_withheld(at, line) {
                break;
            }
            if !matches!(self.judge(at, line), Judged::Untagged) {
                break;
            }
            self.told(at, line);
            n += line.len();
            (n, behind) = self.follow_literals(at, input, n, line);
        }
        if n == 0 {
            return None;
        }
        self.outbox.forward(self.backends[at].side(), Side::Client, n as u64 + behind);
        Some(Progress::Claimed)
    }

    /// Goes over the literals and lines that belong to the response whose line ends at `n`. Gives
    /// where the look ended and how much of a literal is still to come.
    fn follow_literals(&mut self, at: usize, input: &[u8], mut n: usize, line: &[u8]) -> (usize, u64) {
        let mut announced = literal::at_line_end(line::without_end(line));
        while let Some(literal) = announced {
            let here = (input.len() - n) as u64;
            self.backends[at].flow = Flow::Relaying;
            self.speaking = Some(self.backends[at].id());
            if literal.len >= here {
                return (input.len(), literal.len - here);
            }
            // Fits: it is less than what is here.
            n += literal.len as usize;
            let Some(lf) = memchr(b'\n', &input[n..]) else { return (n, 0) };
            announced = literal::at_line_end(line::without_end(&input[n..=n + lf]));
            n += lf + 1;
        }
        self.response_ends(at);
        (n, 0)
    }

    /// A response whose line has no end yet.
    fn relay_response_part(&mut self, at: usize, input: &[u8], now: Instant) -> Progress {
        if input.len() < PART_BYTES_MIN {
            return Progress::More;
        }
        let flow = match self.judge(at, input) {
            Judged::Untagged => {
                self.told(at, input);
                Flow::Relaying
            }
            Judged::Tagged => {
                self.client_answered(at, input);
                Flow::Relaying
            }
            Judged::Go | Judged::Drop => Flow::Dropping,
            Judged::Broken(why) => return self.break_backend(at, why, now, input.len()),
        };
        self.pass_part(at, flow, input)
    }

    /// The client is told this: his numbers, and what the first command in flight was answered.
    fn told(&mut self, at: usize, line: &[u8]) {
        self.note_overflow(line);
        let backend = &mut self.backends[at];
        backend.numbers.note(line);
        if let Some(first) = backend.flights.front_mut() {
            first.told = true;
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "all but three kinds are for the client")]
    fn judge(&self, at: usize, line: &[u8]) -> Judged {
        // Most lines are `* 12 FETCH`: nothing that begins with a number is held back.
        if let [b'*', b' ', b'0'..=b'9', ..] = line {
            return Judged::Untagged;
        }
        match response(line) {
            Response::Untagged { kind, .. } => match kind {
                UntaggedKind::Bye | UntaggedKind::Capability | UntaggedKind::Preauth => Judged::Drop,
                _ => Judged::Untagged,
            },
            Response::Continuation { .. } => Judged::Go,
            Response::Tagged { tag, .. } => {
                let flights = &self.backends[at].flights;
                if flights.iter().any(|flight| flight.tag.as_slice() == tag) {
                    Judged::Tagged
                } else {
                    Judged::Broken("reply with a tag that was not sent")
                }
            }
            Response::Invalid => Judged::Broken("no IMAP response"),
        }
    }

    /// A tagged line answers a command of the client.
    #[expect(clippy::wildcard_enum_match_arm, reason = "one of ten ways to read is special")]
    fn client_answered(&mut self, at: usize, line: &[u8]) {
        let end = memchr(b' ', line).unwrap_or(line.len());
        if let Some(flight) = self.backends[at].answered(&line[..end]) {
            self.relayed_took(self.backends[at].id(), &flight);
        }
        if !self.backends[at].is_busy_for_client()
            && let Some(selected) = self.selected.as_deref_mut()
        {
            selected.forget_said();
        }
        let waits = matches!(self.reading, Reading::AwaitGo(_) | Reading::IdleLine);
        if waits && !self.backends[at].is_busy_for_client() {
            // Refused: the literal is not sent, or for `{n+}` is thrown away.
            self.reading = match self.reading {
                Reading::AwaitGo(Go::Quiet(len)) => {
                    self.outbox.discard(Side::Client, len);
                    Reading::Skip
                }
                _ => Reading::Command { asked: 0 },
            };
        }
    }

    /// The backend wants the literal, or idles.
    #[expect(clippy::wildcard_enum_match_arm, reason = "nobody else waits")]
    fn go_along(&mut self, at: usize, line: &[u8]) -> Progress {
        let side = self.backends[at].side();
        self.reading = match self.reading {
            Reading::AwaitGo(Go::Literal) => Reading::Rest,
            Reading::AwaitGo(Go::Idle) => Reading::IdleLine,
            Reading::AwaitGo(Go::IdleAgain) => {
                self.reading = Reading::IdleLine;
                return Progress::Took(line.len());
            }
            Reading::AwaitGo(Go::Quiet(len)) => {
                self.reading = Reading::Rest;
                self.outbox.forward(Side::Client, side, len);
                return Progress::Took(line.len());
            }
            _ => return Progress::Took(line.len()),
        };
        self.outbox.forward(side, Side::Client, line.len() as u64);
        Progress::Claimed
    }

    /// Passes on, or throws away, a line that begins a response.
    pub(super) fn pass(&mut self, at: usize, flow: Flow, line: &[u8], input: &[u8]) -> Progress {
        if flow == Flow::Relaying && self.backends[at].flow == Flow::Start {
            self.backends[at].numbers.note(line);
        }
        let behind = match literal::at_line_end(line::without_end(line)) {
            Some(announced) => {
                self.response_goes_on(at, flow);
                announced.len
            }
            None => {
                self.response_ends(at);
                0
            }
        };
        self.move_bytes(at, flow, line.len() as u64 + behind, input.len())
    }

    /// Passes on, or throws away, a part of a line that has no end yet.
    pub(super) fn pass_part(&mut self, at: usize, flow: Flow, input: &[u8]) -> Progress {
        self.response_goes_on(at, flow);
        self.move_bytes(at, flow, (input.len() - LITERAL_TAIL_BYTES_MAX) as u64, input.len())
    }

    /// Goes on with a response that was begun.
    pub(super) fn pass_rest(&mut self, at: usize, input: &[u8]) -> Progress {
        let flow = self.backends[at].flow;
        match memchr(b'\n', input) {
            Some(lf) => self.pass(at, flow, &input[..=lf], input),
            None if input.len() >= PART_BYTES_MIN => self.pass_part(at, flow, input),
            None => Progress::More,
        }
    }

    fn move_bytes(&mut self, at: usize, flow: Flow, n: u64, here: usize) -> Progress {
        let side = self.backends[at].side();
        match flow {
            Flow::Dropping if n <= here as u64 => return Progress::Took(n as usize),
            Flow::Dropping => self.outbox.discard(side, n),
            Flow::Relaying | Flow::Start => self.outbox.forward(side, Side::Client, n),
        }
        Progress::Claimed
    }

    pub(super) fn response_goes_on(&mut self, at: usize, flow: Flow) {
        self.backends[at].flow = flow;
        if flow == Flow::Relaying {
            self.speaking = Some(self.backends[at].id());
        }
    }

    fn response_ends(&mut self, at: usize) {
        self.backends[at].flow = Flow::Start;
        if self.speaking == Some(self.backends[at].id()) {
            self.speaking = None;
        }
    }
}

/// Whether another command of the client may go to this connection.
fn may_send(backend: &Backend, tag: &[u8]) -> bool {
    backend.is_ready() && backend.flights.len() < FLIGHTS_MAX && !backend.has_our_tag(tag)
}

/// Whether a command has MODSEQ, CHANGEDSINCE or UNCHANGEDSINCE as a word.
fn names_modseq(command: &[u8]) -> bool {
    let is_at = |from: Option<usize>, word: &[u8]| {
        let Some(from) = from else { return false };
        let here = command.get(from..from + word.len());
        let behind = command.get(from + word.len());
        here.is_some_and(|here| here.eq_ignore_ascii_case(word))
            && matches!(behind, Some(b' ' | b')' | b'\r' | b'\n'))
    };
    // The letters that few commands have.
    memchr::memchr2_iter(b'q', b'Q', command).any(|at| is_at(at.checked_sub(5), b"MODSEQ"))
        || memchr::memchr2_iter(b'g', b'G', command).any(|at| is_at(at.checked_sub(4), b"CHANGEDSINCE"))
}

/// Whether a command has a word, in any case.
fn has_word(command: &[u8], word: &[u8]) -> bool {
    let mut words = command.split(|byte| matches!(byte, b' ' | b'(' | b')' | b'\r' | b'\n'));
    words.any(|found| found.eq_ignore_ascii_case(word))
}

/// Bytes of `+}` and line end behind the number of an announcement.
fn announcement_end(line: &[u8]) -> usize {
    line.len() - line::without_end(line).len() + b"+}".len()
}

impl Backend {
    /// Whether a literal that the client sends unasked must be announced as `{n}` here.
    pub(super) fn must_be_asked(&self, announced: Announced) -> bool {
        !announced.sync && !self.offer().has(Offer::LITERAL_PLUS) && !announced.fits_literal_minus()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_name_mod_sequences_are_found_by_whole_words() {
        for line in [
            "a FETCH 1:* (FLAGS modseq)\r\n",
            "a UID FETCH 1 FLAGS (CHANGEDSINCE 5)\r\n",
            "a STORE 1 (UNCHANGEDSINCE 5) +FLAGS (x)\r\n",
            "a SEARCH MODSEQ 5\r\n",
        ] {
            assert!(names_modseq(line.as_bytes()), "{line}");
        }
        for line in ["a FETCH 1 (MODSEQX)\r\n", "q SEARCH SUBJECT changed\r\n", "Gq NOOP\r\n", "MODSEQ"] {
            assert!(!names_modseq(line.as_bytes()), "{line}");
        }
    }
}
