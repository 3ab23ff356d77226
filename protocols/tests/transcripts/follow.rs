//! Follows a script: what happens, and what is expected.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use protocols::bulletin::Notices;
use protocols::proxy::{Answer, BackendId, Event, Instant, Side, TlsInfo};

use super::script::{Cut, expand, expect_next, matches, named, sent};
use super::words::answered;
use super::world::{Claim, World};

impl World {
    /// Plays a piece of a script.
    pub(crate) fn run(&mut self, folder: &Path, text: &str) -> Result<(), String> {
        let mut lines = Vec::new();
        expand(folder, text, &mut lines);
        self.follow(&lines)
    }

    pub(crate) fn follow(&mut self, lines: &[String]) -> Result<(), String> {
        let mut at = 0;
        while at < lines.len() {
            let line = &lines[at];
            let mut next = at + 1;
            if let Some((side, mut bytes)) = sent(line) {
                while self.cut == Cut::Joined && next < lines.len() {
                    match sent(&lines[next]) {
                        Some((other, more)) if other == side => bytes.extend(more),
                        _ => break,
                    }
                    next += 1;
                }
                self.feed(side, &bytes);
            } else {
                self.check(line).map_err(|why| format!("line {}: {line}\n    {why}", at + 1))?;
            }
            at = next;
        }
        Ok(())
    }

    /// Checks an expectation or does what a line says.
    pub(crate) fn check(&mut self, line: &str) -> Result<(), String> {
        if let Some((who, text)) = line.split_once("| ") {
            let side = who
                .strip_prefix('P')
                .map_or(Side::Client, |id| Side::Backend(BackendId(id.parse().unwrap())));
            return self.expect_bytes(side, text.as_bytes());
        }
        let (kind, text) = line.split_once(':').unwrap_or((line, ""));
        let text = text.strip_prefix(' ').unwrap_or(text);
        match kind.split_at_checked(1) {
            Some(("S", "")) => self.expect_line(Side::Client, text),
            Some(("P", number)) if number.parse::<u32>().is_ok() => {
                self.expect_line(Side::Backend(BackendId(number.parse().unwrap())), text)
            }
            Some(("Q", "")) => expect_next("question", self.asked.pop_front(), text),
            Some(("X", "")) => expect_next("close", self.closes.pop_front(), text),
            Some(("W", "")) => expect_next("switch", self.switches.pop_front(), text),
            Some(("J", "")) => expect_next("join", self.joined.pop_front(), text),
            Some(("L", "")) => self.expect_log(text),
            Some(("A", "")) => self.answer(text),
            Some(("E", "")) => {
                self.happen(text);
                Ok(())
            }
            Some(("T", "")) => {
                self.pass_time(text.parse().unwrap());
                Ok(())
            }
            _ if line.starts_with("--") => self.expect_silence(),
            _ if line.is_empty() || line.starts_with('#') || line.starts_with("% ") => Ok(()),
            _ => Err("line is not understood".into()),
        }
    }

    pub(crate) fn expect_line(&mut self, side: Side, expected: &str) -> Result<(), String> {
        let at = self.end(side);
        let output = &mut self.ends[at].output;
        let end = output.iter().position(|byte| *byte == b'\n').map_or(output.len(), |lf| lf + 1);
        let line: Vec<u8> = output.drain(..end).collect();
        let got = String::from_utf8_lossy(&line).into_owned();
        let content = got.strip_suffix("\r\n").or(got.strip_suffix('\n')).unwrap_or(&got);
        if matches(expected, content) && got.ends_with('\n') {
            return Ok(());
        }
        Err(format!("got {:?}; {}", got, self.state()))
    }

    pub(crate) fn expect_bytes(&mut self, side: Side, expected: &[u8]) -> Result<(), String> {
        let at = self.end(side);
        let got = std::mem::take(&mut self.ends[at].output);
        if got == expected { Ok(()) } else { Err(format!("got {}", got.escape_ascii())) }
    }

    pub(crate) fn expect_log(&mut self, expected: &str) -> Result<(), String> {
        match self.logs.iter().position(|log| matches(expected, log)) {
            Some(at) => {
                self.logs.drain(..=at);
                Ok(())
            }
            None => Err(format!("logged: {:?}", self.logs)),
        }
    }

    pub(crate) fn expect_silence(&mut self) -> Result<(), String> {
        let spoke = self.ends.iter().any(|end| !end.output.is_empty());
        if spoke
            || !self.asked.is_empty()
            || !self.closes.is_empty()
            || !self.switches.is_empty()
            || !self.joined.is_empty()
        {
            return Err(format!("unexpected: {}", self.state()));
        }
        Ok(())
    }

    pub(crate) fn state(&self) -> String {
        let mut text = String::new();
        for end in &self.ends {
            let (output, input) = (end.output.escape_ascii(), end.input.escape_ascii());
            write!(text, "[{} out {output} in {input} held {}] ", named(end.side), end.held).unwrap();
        }
        write!(text, "asked {:?} closed {:?} logs {:?}", self.asked, self.closes, self.logs).unwrap();
        text
    }

    pub(crate) fn answer(&mut self, text: &str) -> Result<(), String> {
        let (id, question) = self.questions.pop_front().ok_or("nothing was asked")?;
        let answer = answered(text).ok_or("answer is not understood")?;
        if question.starts_with("open ") && matches!(answer, Answer::Opened(Ok(_))) {
            let number = question.split(' ').nth(1).unwrap().parse().unwrap();
            let at = self.end(Side::Backend(BackendId(number)));
            self.ends[at].closed = false;
        }
        self.event(Event::Answer { id, answer });
        Ok(())
    }

    pub(crate) fn happen(&mut self, text: &str) {
        let (what, who) = text.split_once(' ').unwrap_or((text, "client"));
        let (who, more) = who.split_once(' ').unwrap_or((who, ""));
        let side = match who {
            "client" => Side::Client,
            number => Side::Backend(BackendId(number.parse().unwrap_or(0))),
        };
        let event = match what {
            "eof" => Event::Eof(side),
            "reset" => Event::Reset(side),
            "secured" => Event::Switched { side, result: Ok(TlsInfo::default()) },
            "not-secured" => Event::Switched { side, result: Err(more.into()) },
            "idle" => {
                let seconds = Duration::from_secs(more.parse().unwrap());
                Event::Idle { since: Instant(self.now.0 - seconds.as_nanos() as u64) }
            }
            "stalled" => Event::Stalled { from: side, to: Default::default() },
            "drain" => Event::Drain { deadline: self.now + Duration::from_secs(10) },
            "posted" => {
                let shutdown = text.split_once(' ').map(|(_, text)| text.into());
                self.bulletin.post(Notices { shutdown, ..Notices::default() });
                Event::Posted
            }
            _ => panic!("unknown event {what}"),
        };
        if matches!(event, Event::Eof(_) | Event::Reset(_)) {
            let Some(at) = self.ends.iter().position(|end| end.side == side && !end.gone) else { return };
            if self.ends[at].closed {
                return;
            }
            self.ends[at].gone = true;
            if matches!(event, Event::Eof(_)) && self.pass_end(at) {
                return;
            }
        }
        self.event(event);
    }

    /// An end that goes through a pipe is no news for the machine.
    pub(crate) fn pass_end(&mut self, at: usize) -> bool {
        let Some(Claim { to: Some(to), left, .. }) = self.ends[at].claims.front() else { return false };
        if *left < u64::MAX / 2 {
            return false;
        }
        self.closes.push_back(format!("{} half", named(*to)));
        self.ends[at].claims.pop_front();
        true
    }
}
