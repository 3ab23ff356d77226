//! A relay of lines, or of everything, to one backend: what the data path is measured and tested
//! with.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::mpsc;
use std::time::Duration;

use driver::SessionId;
use driver::layer::Layer;
use engine::shard::{Accepted, ConnectPlan, Endpoint, Host, ListenerId, PeerAddress, Reply};
use protocols::proxy::{
    Answer, BackendId, Close, Event, Instant, LayerKind, Notice, Opened, Output, Question, QuestionId,
    Service, Session, Side, Taken, Then,
};
use smallvec::smallvec;

/// The listener whose connections are joined by a pipe.
pub(crate) const PIPED: ListenerId = ListenerId(1);

const BACKEND: Side = Side::Backend(BackendId(0));

/// Where a relay stands.
enum Phase {
    Begin,
    ExpectBackend,
    Relaying,
    Piping,
    Over,
}

/// Forwards lines both ways.
struct Relay {
    phase: Phase,
    output: Option<Output>,
    /// Whether the client's and the backend's end were closed.
    closed: [bool; 2],
    piped: bool,
}

impl Session for Relay {
    fn handle_input(&mut self, side: Side, input: &[u8], _: Instant) -> Taken {
        if !matches!(self.phase, Phase::Relaying) {
            return Taken { n: 0, then: Then::Hold };
        }
        let to = if side == Side::Client { BACKEND } else { Side::Client };
        match whole_lines(input) {
            0 => Taken { n: 0, then: Then::More },
            n => {
                self.output = Some(Output::Forward { from: side, to: smallvec![to], n });
                Taken { n: 0, then: Then::More }
            }
        }
    }

    fn handle_event(&mut self, event: Event, _: Instant) {
        match event {
            // The client went before the backend came.
            Event::Answer { .. } if matches!(self.phase, Phase::Over) => self.closed[1] = false,
            Event::Answer { answer: Answer::Opened(Ok(_)), .. } if self.piped => {
                self.phase = Phase::Piping;
                self.output = Some(Output::Pipe { a: Side::Client, b: BACKEND });
            }
            Event::Answer { answer: Answer::Opened(Ok(_)), .. } => self.phase = Phase::Relaying,
            Event::Eof(_)
            | Event::Answer { .. }
            | Event::Reset(_)
            | Event::Switched { .. }
            | Event::ForwardBroken { .. }
            | Event::Stalled { .. }
            | Event::Drain { .. } => self.phase = Phase::Over,
            Event::Drained { .. }
            | Event::Idle { .. }
            | Event::ListChanged
            | Event::Posted
            | Event::BarrierWanted => {}
        }
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_output(&mut self, _: &mut Vec<u8>) -> Option<Output> {
        match self.phase {
            Phase::Begin => {
                self.phase = Phase::ExpectBackend;
                let question = Question::OpenBackend {
                    side: BackendId(0),
                    server: "backend".into(),
                    service: Service::Imap,
                };
                Some(Output::Ask { id: QuestionId(0), question })
            }
            Phase::ExpectBackend | Phase::Relaying | Phase::Piping => self.output.take(),
            Phase::Over if !self.closed[0] => {
                self.closed[0] = true;
                Some(Output::Close { side: Side::Client, how: Close::Flush })
            }
            Phase::Over if !self.closed[1] => {
                self.closed[1] = true;
                Some(Output::Close { side: BACKEND, how: Close::Flush })
            }
            Phase::Over => None,
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

/// Bytes of the whole lines at the front with the literal that the last one announces; a line that
/// is still open is forwarded as it comes if it is too long to announce one.
fn whole_lines(input: &[u8]) -> u64 {
    let mut end = 0;
    while let Some(at) = memchr::memchr(b'\n', &input[end..]) {
        end += at + 1;
        if let Some(literal) = literal_of(&input[..end]) {
            return end as u64 + literal;
        }
    }
    if end == 0 && input.len() > 4096 { (input.len() - 32) as u64 } else { end as u64 }
}

fn literal_of(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"}\r\n")?;
    let open = memchr::memrchr(b'{', &line[line.len().saturating_sub(20)..])?;
    let digits = &line[line.len().saturating_sub(20) + open + 1..];
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Sends every client to one backend.
pub(crate) struct OneBackend {
    pub(crate) backend: SocketAddr,
    /// Whether connections stood, in order.
    pub(crate) outcomes: Option<mpsc::Sender<bool>>,
}

impl Host for OneBackend {
    fn accept(&mut self, listener: ListenerId, _: &PeerAddress, _: BorrowedFd<'_>) -> Option<Accepted> {
        let relay = Relay { phase: Phase::Begin, output: None, closed: [false; 2], piped: listener == PIPED };
        Some(Accepted { session: Box::new(relay), layer: None })
    }

    fn ask(&mut self, _: SessionId, _: QuestionId, _: Question, _: Instant) -> Reply {
        Reply::Connect(ConnectPlan {
            server: "backend".into(),
            addresses: smallvec![Endpoint::Ip(self.backend)],
            opened: Opened { host: "backend".into(), tls: false, noauth: false },
            layer: None,
            deadline: Duration::from_secs(10),
            bind: None,
        })
    }

    fn tell(&mut self, _: SessionId, _: Notice) {}

    fn connected(&mut self, server: &str, result: io::Result<()>) {
        assert_eq!(server, "backend");
        if let Some(outcomes) = &self.outcomes {
            // Who asked may have seen enough.
            let _ = outcomes.send(result.is_ok());
        }
    }

    fn layer(&mut self, _: &LayerKind) -> Result<Box<dyn Layer>, Box<str>> {
        Err("a relay has no layers".into())
    }

    fn ended(&mut self, _: SessionId) {}
}
