//! Toy sessions: made of a function that is told news and queues outputs.

use std::collections::VecDeque;

use protocols::proxy::{
    Answer, BackendId, Close, Event, Instant, Output, Question, QuestionId, Service, Session, Side, Taken,
    Then,
};
use smallvec::smallvec;

use super::world::BACKEND;

/// A session made of a function that is told news and queues outputs.
pub(crate) struct Toy<F> {
    act: F,
    queue: VecDeque<(Output, Vec<u8>)>,
    wake: Option<Instant>,
}

/// What a toy is told.
pub(crate) enum News<'a> {
    Begin,
    Input(Side, &'a [u8]),
    Event(Event),
    Time,
}

pub(crate) type Queue = VecDeque<(Output, Vec<u8>)>;

pub(crate) fn toy<F: FnMut(News<'_>, &mut Queue) -> Taken + 'static>(mut act: F) -> Box<dyn Session> {
    let mut queue = VecDeque::new();
    act(News::Begin, &mut queue);
    Box::new(Toy { act, queue, wake: None })
}

impl<F: FnMut(News<'_>, &mut Queue) -> Taken> Session for Toy<F> {
    fn handle_input(&mut self, side: Side, input: &[u8], _: Instant) -> Taken {
        (self.act)(News::Input(side, input), &mut self.queue)
    }
    fn handle_event(&mut self, event: Event, _: Instant) {
        (self.act)(News::Event(event), &mut self.queue);
    }
    fn handle_timeout(&mut self, _: Instant) {
        self.wake = None;
        (self.act)(News::Time, &mut self.queue);
    }
    fn poll_output(&mut self, scratch: &mut Vec<u8>) -> Option<Output> {
        let (output, bytes) = self.queue.pop_front()?;
        scratch.extend_from_slice(&bytes);
        Some(output)
    }
    fn poll_timeout(&self) -> Option<Instant> {
        self.wake
    }
}

pub(crate) const HOLD: Taken = Taken { n: 0, then: Then::Hold };

pub(crate) const MORE: Taken = Taken { n: 0, then: Then::More };

pub(crate) fn write(queue: &mut Queue, to: Side, bytes: &[u8]) {
    queue.push_back((Output::Write { to }, bytes.to_vec()));
}

pub(crate) fn open(queue: &mut Queue, side: u32) {
    let question =
        Question::OpenBackend { side: BackendId(side), server: "b".into(), service: Service::Imap };
    queue.push_back((Output::Ask { id: QuestionId(side), question }, Vec::new()));
}

pub(crate) fn forward(queue: &mut Queue, from: Side, to: Side, n: u64) {
    queue.push_back((Output::Forward { from, to: smallvec![to], n }, Vec::new()));
}

pub(crate) fn close(queue: &mut Queue, side: Side, how: Close) {
    queue.push_back((Output::Close { side, how }, Vec::new()));
}

/// Lines in which `!n` before the end announces n bytes, forwarded both ways.
pub(crate) fn relay() -> Box<dyn Session> {
    let mut open_yet = false;
    toy(move |news, queue| match news {
        News::Begin => {
            open(queue, 0);
            MORE
        }
        News::Input(_, _) if !open_yet => HOLD,
        News::Input(side, input) => {
            let Some(at) = input.iter().position(|byte| *byte == b'\n') else { return MORE };
            let literal = input[..at].split(|byte| *byte == b'!').nth(1);
            let n: u64 =
                literal.and_then(|n| std::str::from_utf8(n).ok()?.parse().ok()).unwrap_or(0) + at as u64 + 1;
            forward(queue, side, if side == Side::Client { BACKEND } else { Side::Client }, n);
            MORE
        }
        News::Event(Event::Answer { answer: Answer::Opened(Ok(_)), .. }) => {
            open_yet = true;
            MORE
        }
        News::Event(Event::Eof(Side::Client)) => {
            close(queue, BACKEND, Close::Flush);
            MORE
        }
        News::Event(Event::Eof(_)) => {
            close(queue, Side::Client, Close::Flush);
            MORE
        }
        News::Event(_) | News::Time => MORE,
    })
}

pub(crate) fn lines(count: usize, literal: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for i in 0..count {
        if i % 7 == 3 {
            bytes.extend_from_slice(format!("append {i} !{literal}\n").as_bytes());
            bytes.extend((0..literal).map(|at| (at * 31 + i) as u8));
        }
        bytes.extend_from_slice(format!("line {i} of many\n").as_bytes());
    }
    bytes
}

/// The only session of a fresh world.
pub(crate) fn first_session() -> driver::SessionId {
    driver::SessionId { slot: 0, generation: 0 }
}
