//! Reads commands: heads with their small literals, refusals, limits.

use smallvec::SmallVec;

use super::backend::Tag;
use super::grammar::{Command, CommandError, Verb};
use super::session::Session;
use super::state::{Phase, Progress, Reading};
use crate::proxy::{HEAD_BYTES_MAX, Instant, Side};
use crate::wire::head::{self, Extent};
use crate::wire::limits::HEAD_LITERAL_BYTES_MAX;
use crate::wire::{Announced, Cursor, Error, limits, line, literal};

/// Commands in a row that are none, after which the client is told goodbye.
const BAD_COMMANDS_MAX: u8 = 10;

/// Bytes of an unwanted non-synchronising literal that are read away; a larger one ends the session.
const DISCARDED_BYTES_MAX: u64 = 16 * 1024 * 1024;

impl Session {
    /// Takes the next step with input of the client.
    pub(super) fn look_at_client(&mut self, input: &[u8], now: Instant) -> Progress {
        match self.reading {
            Reading::Command { asked } => self.look_at_command(input, asked, now),
            Reading::Rest => self.relay_rest(input),
            Reading::IdleLine if self.is_away() => Progress::Hold,
            Reading::IdleLine => self.relay_idle_line(input),
            Reading::Sasl => self.look_at_sasl(input, now),
            Reading::Skip => self.skip_rest(input),
            Reading::Downgrade(len) => self.downgrade_literal(input, len),
            Reading::AwaitGo(_) | Reading::Wait => Progress::Hold,
            Reading::Over => Progress::Took(input.len()),
        }
    }

    fn look_at_command(&mut self, input: &[u8], asked: usize, now: Instant) -> Progress {
        if self.task.is_some() {
            return self.offer_client_line(input, now);
        }
        if asked == 0 && self.is_sent_away() {
            // Goodbye is due at once.
            return Progress::Hold;
        }
        if asked == 0 && self.selected.is_some() {
            match self.relay_commands(input) {
                Progress::Took(0) => {}
                progress @ (Progress::Took(_) | Progress::Claimed | Progress::More | Progress::Hold) => {
                    return progress;
                }
            }
        }
        if self.is_client_busy() || self.awaits_domain() {
            return Progress::Hold;
        }
        if self.draining && asked == 0 {
            // Goodbye is due at once.
            return Progress::Hold;
        }
        let line = match line::first(input, HEAD_BYTES_MAX) {
            Ok(line) => line,
            Err(Error::Incomplete) => return Progress::More,
            Err(Error::TooLong { .. } | Error::Syntax(_)) => return self.refuse_long(input),
        };
        match Command::parse(line.content) {
            Ok(command) => self.collect(command, line, input, asked, now),
            Err(CommandError::InvalidTag) => self.refuse_line(b"*", b"BAD Invalid tag", line),
            Err(CommandError::NullCommand { tag_len }) => {
                let tag = Tag::from_slice(&input[..tag_len]);
                self.refuse_line(&tag, b"BAD Null command", line)
            }
        }
    }

    /// Whether `msg/shutdown` concerns the client.
    pub(super) fn is_sent_away(&self) -> bool {
        self.config.bulletin.is_down() && self.user().is_some_and(|user| !user.identity.is_admin)
    }

    /// Says goodbye once what was under way is answered.
    pub(super) fn say_goodbye(&mut self) {
        if !self.is_sent_away() {
            return self.end(b"* BYE server is shutting down\r\n");
        }
        let text = self.config.bulletin.farewell();
        self.end(&[b"* BYE [ALERT] ", text.as_bytes(), b"\r\n"].concat());
    }

    /// Waits until the head of a command is whole, asking for its literals, and acts on it.
    fn collect(
        &mut self,
        command: Command<'_>,
        line: line::Line<'_>,
        input: &[u8],
        asked: usize,
        now: Instant,
    ) -> Progress {
        let is_user = matches!(self.phase, Phase::User(_));
        let streams = is_user && matches!(command.verb, Verb::Append | Verb::Replace);
        if streams && !names_by_literal(command.verb, command.args) {
            return self.act(command, line.len, now);
        }
        // The second literal of an APPEND is the message.
        let literals = if streams { 1 } else { usize::MAX };
        match head::extent_with(literals, input, HEAD_LITERAL_BYTES_MAX, HEAD_BYTES_MAX) {
            Ok(Extent::Complete { len }) => self.act_on_head(&input[..len], now),
            Ok(Extent::Partial { .. }) => Progress::More,
            Ok(Extent::Literal { announced, begins }) => {
                if streams && begins > line.len {
                    return self.act_on_head(&input[..begins], now);
                }
                self.ask_for_literal(command.tag, announced, begins, asked)
            }
            Err(_) => self.refuse_head(command.tag, line, b"BAD command too long"),
        }
    }

    fn ask_for_literal(&mut self, tag: &[u8], announced: Announced, begins: usize, asked: usize) -> Progress {
        if announced.len > HEAD_LITERAL_BYTES_MAX || begins as u64 + announced.len >= HEAD_BYTES_MAX as u64 {
            return self.refuse_literal(tag, announced, begins);
        }
        if announced.sync && begins > asked {
            self.reading = Reading::Command { asked: begins };
            self.tell_client(&[b"+ go ahead\r\n"]);
        }
        Progress::More
    }

    fn act_on_head(&mut self, head: &[u8], now: Instant) -> Progress {
        match Command::parse(head) {
            Ok(command) => self.act(command, head.len(), now),
            // The first line was a command a moment ago.
            Err(_) => Progress::Took(head.len()),
        }
    }

    fn act(&mut self, command: Command<'_>, len: usize, now: Instant) -> Progress {
        self.reading = Reading::Command { asked: 0 };
        self.watch(command.verb);
        match self.phase {
            Phase::Guest(_) => self.dispatch_guest(command, now),
            Phase::User(_) => self.dispatch(command, now),
        }
        self.run_task(now);
        Progress::Took(len)
    }

    /// Answers a command that is none, whose first line this is.
    fn refuse_line(&mut self, tag: &[u8], text: &[u8], line: line::Line<'_>) -> Progress {
        self.bad(tag, text);
        self.skip_behind(line)
    }

    fn refuse_head(&mut self, tag: &[u8], line: line::Line<'_>, text: &[u8]) -> Progress {
        let tag = Tag::from_slice(tag);
        self.refuse_line(&tag, text, line)
    }

    /// Refuses a literal before it is read.
    fn refuse_literal(&mut self, tag: &[u8], announced: Announced, begins: usize) -> Progress {
        self.reading = Reading::Command { asked: 0 };
        self.reply(tag, b"NO [TOOBIG] literal too large");
        if announced.sync {
            return Progress::Took(begins);
        }
        if announced.len > DISCARDED_BYTES_MAX {
            self.end(b"* BYE literal too large\r\n");
            return Progress::Took(begins);
        }
        self.reading = Reading::Skip;
        self.outbox.discard(Side::Client, begins as u64 + announced.len);
        Progress::Claimed
    }

    /// A line that has no end within the limit.
    fn refuse_long(&mut self, input: &[u8]) -> Progress {
        let tag = match Command::parse(&input[..HEAD_BYTES_MAX.min(input.len())]) {
            Ok(command) => Tag::from_slice(command.tag),
            Err(_) => SmallVec::from_slice(b"*"),
        };
        self.bad(&tag, b"BAD command line too long");
        if self.reading != Reading::Over {
            self.reading = Reading::Skip;
        }
        Progress::Took(input.len() - limits::LITERAL_TAIL_BYTES_MAX)
    }

    /// Answers BAD, and BYE to who sends nothing else.
    pub(super) fn bad(&mut self, tag: &[u8], text: &[u8]) {
        self.reading = Reading::Command { asked: 0 };
        self.reply(tag, text);
        self.bad_commands += 1;
        if self.bad_commands >= BAD_COMMANDS_MAX {
            self.end(b"* BYE too many invalid commands\r\n");
        }
    }

    /// Passes a line of a refused command and what must follow it.
    fn skip_behind(&mut self, line: line::Line<'_>) -> Progress {
        if self.reading == Reading::Over {
            return Progress::Took(line.len);
        }
        let announced = literal::at_line_end(line.content).filter(|announced| !announced.sync);
        let Some(announced) = announced else {
            self.reading = Reading::Command { asked: 0 };
            return Progress::Took(line.len);
        };
        if announced.len > DISCARDED_BYTES_MAX {
            self.end(b"* BYE literal too large\r\n");
            return Progress::Took(line.len);
        }
        self.reading = Reading::Skip;
        self.outbox.discard(Side::Client, line.len as u64 + announced.len);
        Progress::Claimed
    }

    /// Reads the rest of a refused command away. A synchronising literal ends it: the client has
    /// the answer and does not send it.
    pub(super) fn skip_rest(&mut self, input: &[u8]) -> Progress {
        match line::first(input, usize::MAX) {
            Ok(line) => self.skip_behind(line),
            Err(_) if input.len() > limits::LITERAL_TAIL_BYTES_MAX => {
                Progress::Took(input.len() - limits::LITERAL_TAIL_BYTES_MAX)
            }
            Err(_) => Progress::More,
        }
    }
}

/// Whether the mailbox of an APPEND or REPLACE is a literal at the end of this line.
fn names_by_literal(verb: Verb, args: &[u8]) -> bool {
    let mut first_line = args.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if verb == Verb::Replace {
        let space = first_line.iter().position(|byte| *byte == b' ');
        first_line = space.map_or(first_line, |space| &first_line[space + 1..]);
    }
    Cursor::new(line::without_end(first_line)).take_announced_at_end().is_some()
}
