//! IDLE where no server idles: with nothing selected there is nothing to tell, so nobody is asked; a selected
//! mailbox whose server does not offer IDLE is asked by NOOP now and then, as Cyrus' frontend does.

use std::time::Duration;

use super::task::{Context, Line, News, Task, Want};
use super::text::push;
use crate::imap::grammar::{Response, response};
use crate::proxy::{BackendId, Instant, Side};
use crate::wire::line;

/// IDLE (RFC 2177) that is answered here.
pub(super) struct Idle {
    step: Step,
    /// How often the server of the selected mailbox is asked.
    poll_every: Duration,
    /// It was asked and has not answered.
    asked: Option<BackendId>,
    /// How often it was asked, for a tag.
    number: u32,
    /// DONE was said, and this is the answer.
    result: Option<&'static [u8]>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Begin,
    /// The next poll is due after a while.
    Rest,
    ExpectDone,
    /// A poll is due.
    Poll,
    Answer(&'static [u8]),
    Over,
    End,
}

impl Idle {
    pub(super) fn new(poll_every: Duration) -> Idle {
        Idle { step: Step::Begin, poll_every, asked: None, number: 0, result: None }
    }

    fn done(&mut self, line: &[u8]) {
        let is_done = line::without_end(line).eq_ignore_ascii_case(b"DONE");
        self.result = Some(if is_done { b"OK Completed" } else { b"BAD Invalid Idle continuation" });
        self.answer_when_heard();
    }

    /// Answers the client unless the server has still to answer us.
    fn answer_when_heard(&mut self) {
        if let (Some(result), None) = (self.result, self.asked) {
            self.step = Step::Answer(result);
        }
    }

    fn own_tag(&self, cx: &Context<'_>) -> Vec<u8> {
        let mut tag = Vec::new();
        cx.own_tag(self.number, &mut tag);
        tag
    }
}

impl Task for Idle {
    fn handle_news(&mut self, news: News<'_>, _cx: &Context<'_>, _now: Instant) {
        match (self.asked, news) {
            (None, News::Time) if self.step == Step::ExpectDone => self.step = Step::Poll,
            (Some(asked), News::Lost(id)) if asked == id => {
                self.asked = None;
                self.answer_when_heard();
            }
            _ => {}
        }
    }

    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, _now: Instant) -> Line {
        if from == Side::Client {
            if !self.reads_client() {
                return Line::Hold;
            }
            self.done(line);
            return Line::Taken;
        }
        match response(line) {
            Response::Untagged { .. } => Line::Relay,
            Response::Tagged { tag, .. } if self.asked.is_some() && tag == self.own_tag(cx) => {
                self.asked = None;
                self.step = Step::Rest;
                self.answer_when_heard();
                Line::Drop
            }
            Response::Tagged { .. } | Response::Continuation { .. } | Response::Invalid => Line::Drop,
        }
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        match self.step {
            Step::Begin => {
                self.step = Step::Rest;
                out.extend_from_slice(b"+ idling\r\n");
                Some(Want::Reply)
            }
            Step::Rest => {
                self.step = Step::ExpectDone;
                cx.selected.map(|_| Want::Wake(self.poll_every))
            }
            Step::Poll => {
                self.step = Step::ExpectDone;
                let selected = cx.selected?;
                self.number = self.number.wrapping_add(1);
                self.asked = Some(selected.backend);
                push(out, &[&self.own_tag(cx), b" NOOP\r\n"]);
                Some(Want::Send(selected.backend))
            }
            Step::Answer(text) => {
                self.step = Step::Over;
                push(out, &[cx.tag, b" ", text, b"\r\n"]);
                Some(Want::Reply)
            }
            Step::Over => {
                self.step = Step::End;
                Some(Want::Done)
            }
            Step::ExpectDone | Step::End => None,
        }
    }

    fn lets_news_pass(&self) -> bool {
        self.reads_client()
    }

    fn reads_client(&self) -> bool {
        self.step == Step::ExpectDone && self.result.is_none()
    }

    fn relays_untagged(&self, backend: BackendId) -> bool {
        self.asked == Some(backend)
    }

    fn awaits(&self, backend: BackendId) -> bool {
        self.asked == Some(backend)
    }
}
