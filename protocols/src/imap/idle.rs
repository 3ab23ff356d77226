//! IDLE with nothing selected: there is nothing to tell, so nobody is asked.

use super::route::push;
use super::task::{Context, Line, News, Task, Want};
use crate::proxy::{Instant, Side};
use crate::wire::line;

/// IDLE (RFC 2177) without a selected mailbox.
pub(super) struct Idle {
    step: Step,
}

enum Step {
    Begin,
    ExpectDone,
    Answer(&'static [u8]),
    Over,
    End,
}

impl Idle {
    pub(super) fn new() -> Idle {
        Idle { step: Step::Begin }
    }
}

impl Task for Idle {
    fn handle_news(&mut self, _news: News<'_>, _cx: &Context<'_>, _now: Instant) {}

    fn handle_line(&mut self, from: Side, line: &[u8], _cx: &Context<'_>, _now: Instant) -> Line {
        if from != Side::Client || !matches!(self.step, Step::ExpectDone) {
            return Line::Hold;
        }
        let is_done = line::without_end(line).eq_ignore_ascii_case(b"DONE");
        self.step = Step::Answer(if is_done { b"OK Completed" } else { b"BAD Invalid Idle continuation" });
        Line::Taken
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        match self.step {
            Step::Begin => {
                self.step = Step::ExpectDone;
                out.extend_from_slice(b"+ idling\r\n");
                Some(Want::Reply)
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
        matches!(self.step, Step::ExpectDone)
    }
}
