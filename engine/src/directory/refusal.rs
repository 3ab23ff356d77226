//! What is told to a MUPDATE client that is not served: a BYE in the place of the greeting.

use protocols::proxy::{Close, Event, Instant, Output, Session, Side, Taken, Then};

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Say,
    Close,
    Over,
}

/// A connection that is turned away.
pub(super) struct Refusal {
    text: &'static str,
    state: State,
}

impl Refusal {
    /// `text` has nothing in it that a quoted string cannot hold.
    pub(super) fn new(text: &'static str) -> Refusal {
        Refusal { text, state: State::Say }
    }
}

impl Session for Refusal {
    /// What clients send is thrown away.
    fn handle_input(&mut self, _side: Side, input: &[u8], _now: Instant) -> Taken {
        Taken { n: input.len(), then: Then::More }
    }

    fn handle_event(&mut self, event: Event, _now: Instant) {
        if matches!(event, Event::Reset(_)) && self.state == State::Say {
            self.state = State::Close;
        }
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    fn poll_output(&mut self, scratch: &mut Vec<u8>) -> Option<Output> {
        match self.state {
            State::Say => {
                self.state = State::Close;
                scratch.extend_from_slice(format!("* BYE \"{}\"\r\n", self.text).as_bytes());
                Some(Output::Write { to: Side::Client })
            }
            State::Close => {
                self.state = State::Over;
                Some(Output::Close { side: Side::Client, how: Close::Flush })
            }
            State::Over => None,
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bye_is_said_once_and_the_connection_closed() {
        let (mut refusal, mut said) = (Refusal::new("Server Unable"), Vec::new());
        assert!(matches!(refusal.poll_output(&mut said), Some(Output::Write { to: Side::Client })));
        assert_eq!(said, b"* BYE \"Server Unable\"\r\n");
        assert_eq!(refusal.handle_input(Side::Client, b"A01 NOOP", Instant(0)).n, 8);
        let close = refusal.poll_output(&mut said);
        assert!(matches!(close, Some(Output::Close { side: Side::Client, how: Close::Flush })));
        assert!(refusal.poll_output(&mut said).is_none());
    }
}
