//! The kick socket: who connects is told `ok` when this frontend has seen all that the master had
//! committed, and closed.
//!
//! A barrier that fails is answered too: the clients of this protocol wait without a time limit and
//! treat every answer alike.

use protocols::proxy::{Close, Event, Instant, Output, Question, QuestionId, Session, Side, Taken, Then};

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Ask,
    ExpectBarrier,
    Answer,
    Close,
    Over,
}

/// One connection to the kick socket.
pub(super) struct Kick(State);

impl Kick {
    pub(super) fn new() -> Kick {
        Kick(State::Ask)
    }
}

impl Session for Kick {
    /// What clients send is thrown away.
    fn handle_input(&mut self, _side: Side, input: &[u8], _now: Instant) -> Taken {
        Taken { n: input.len(), then: Then::More }
    }

    fn handle_event(&mut self, event: Event, _now: Instant) {
        match event {
            Event::Answer { .. } if self.0 == State::ExpectBarrier => self.0 = State::Answer,
            Event::Drain { .. } if self.0 != State::Over => self.0 = State::Answer,
            Event::Reset(_) => self.0 = State::Close,
            // A client that half-closes still waits.
            Event::Answer { .. }
            | Event::Drain { .. }
            | Event::Eof(_)
            | Event::Switched { .. }
            | Event::ForwardBroken { .. }
            | Event::Stalled { .. }
            | Event::Drained { .. }
            | Event::ListChanged
            | Event::Idle { .. }
            | Event::BarrierWanted
            | Event::Posted => {}
        }
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    fn poll_output(&mut self, scratch: &mut Vec<u8>) -> Option<Output> {
        match self.0 {
            State::Ask => {
                self.0 = State::ExpectBarrier;
                Some(Output::Ask { id: QuestionId(0), question: Question::Barrier })
            }
            State::Answer => {
                self.0 = State::Close;
                scratch.extend_from_slice(b"ok");
                Some(Output::Write { to: Side::Client })
            }
            State::Close => {
                self.0 = State::Over;
                Some(Output::Close { side: Side::Client, how: Close::Flush })
            }
            State::ExpectBarrier | State::Over => None,
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

#[cfg(test)]
mod tests {
    use protocols::proxy::{Answer, Unavailable};

    use super::*;

    fn said(kick: &mut Kick) -> Vec<u8> {
        let mut said = Vec::new();
        while let Some(output) = kick.poll_output(&mut said) {
            if let Output::Close { .. } = output {
                said.extend_from_slice(b" closed");
            }
        }
        said
    }

    #[test]
    fn ok_is_said_behind_the_barrier_whatever_became_of_it() {
        for result in [Ok(()), Err(Unavailable)] {
            let mut kick = Kick::new();
            assert_eq!(said(&mut kick), b"");
            kick.handle_input(Side::Client, b"noise", Instant(0));
            assert_eq!(said(&mut kick), b"");
            let answer = Answer::Barrier(result);
            kick.handle_event(Event::Answer { id: QuestionId(0), answer }, Instant(0));
            assert_eq!(said(&mut kick), b"ok closed");
            kick.handle_event(Event::Eof(Side::Client), Instant(0));
            assert_eq!(said(&mut kick), b"");
        }
    }
}
