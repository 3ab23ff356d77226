//! A session of POP3 or ManageSieve between a client of any bytes and a server that keeps to its protocol.
//!
//! Two properties: what the client hears does not depend on how his bytes are cut, and what reaches the
//! server is what its protocol has.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::login::config::Common;
use crate::mailbox::Groups;
use crate::proxy::{
    Answer, BackendCapabilities, BackendId, Entry, Event, Finding, Instant, Location, Opened, Origin, Output,
    PasswordVerdict, Question, QuestionId, ScramKeys, Session, Side, Then,
};
use crate::secret::Secret;
use crate::{pop3, sieve};

/// Bytes of an input that are looked at: byte by byte a command is read again for each byte of it, so that what an
/// input costs grows with its square.
const INPUT_BYTES_MAX: usize = 512;

/// Cuts of one input that are tried, beside each byte by itself: chosen by the input, so that many inputs try many.
const CUTS: u64 = 2;

/// A server: takes what it was sent, and gives what it says to it; the greeting for nothing.
type Server = fn(&mut Vec<u8>, &mut bool) -> Vec<u8>;

/// Checks a POP3 session on any bytes.
///
/// # Panics
/// A property does not hold.
pub fn pop3_session(input: &[u8]) {
    let config = Arc::new(pop3::Config { common: common(), ..pop3::Config::default() });
    check(input, || Box::new(pop3::Session::new(Arc::clone(&config), origin())), pop3_server);
}

/// Checks a ManageSieve session on any bytes.
///
/// # Panics
/// A property does not hold.
pub fn sieve_session(input: &[u8]) {
    let config = Arc::new(sieve::Config { common: common(), ..sieve::Config::default() });
    check(input, || Box::new(sieve::Session::new(Arc::clone(&config), origin())), sieve_server);
}

fn common() -> Common {
    let mut common = Common::default();
    common.login.plaintext_allowed = true;
    common.login.failed_pause = Duration::ZERO;
    common.proxy.password = Secret::new(*b"secret");
    common
}

fn origin() -> Origin {
    Origin { random: [7; 32], started_unix: 1, client_address: "".into(), tls: false }
}

fn check(input: &[u8], session: impl Fn() -> Box<dyn Session>, server: Server) {
    let input = &input[..input.len().min(INPUT_BYTES_MAX)];
    let whole = World::new(session(), server).run(input, &[]);
    for cut in cuts(input) {
        let cut_once = World::new(session(), server).run(input, &[cut]);
        assert!(whole == cut_once, "cut at {cut}: {} and {}", whole.escape_ascii(), cut_once.escape_ascii());
    }
    let cuts: Vec<usize> = (1..input.len()).collect();
    let bytes = World::new(session(), server).run(input, &cuts);
    assert!(whole == bytes, "byte by byte: {} and {}", whole.escape_ascii(), bytes.escape_ascii());
}

/// Where an input is cut in two: anywhere within it.
fn cuts(input: &[u8]) -> impl Iterator<Item = usize> {
    // FNV-1a.
    let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let places = input.len().saturating_sub(1) as u64;
    // Within usize: below the length of a slice.
    (0..CUTS).filter(move |_| places > 0).map(move |n| 1 + ((hash >> (16 * n)) % places) as usize)
}

fn pop3_server(sent: &mut Vec<u8>, is_logged_in: &mut bool) -> Vec<u8> {
    let mut says = Vec::new();
    while let Some(lf) = sent.iter().position(|byte| *byte == b'\n') {
        let line: Vec<u8> = sent.drain(..=lf).collect();
        if *is_logged_in {
            says.extend_from_slice(b"+OK ");
            says.extend_from_slice(line.len().to_string().as_bytes());
            says.extend_from_slice(b"\r\n");
        } else if line == b"CAPA\r\n" {
            says.extend_from_slice(b"+OK\r\nSASL PLAIN\r\n.\r\n");
        } else {
            assert!(line.starts_with(b"AUTH PLAIN "), "a server was sent {}", line.escape_ascii());
            *is_logged_in = true;
            says.extend_from_slice(b"+OK in\r\n");
        }
    }
    says
}

fn sieve_server(sent: &mut Vec<u8>, _is_logged_in: &mut bool) -> Vec<u8> {
    use sieve::grammar::{Scan, command};
    let mut says = Vec::new();
    loop {
        let len = match command(sent) {
            Scan::Whole { len, .. } => len,
            Scan::Script { begins, script, .. } => match sent.get(begins + script as usize..) {
                Some([b'\r', b'\n', ..]) => begins + script as usize + 2,
                Some([b'\n', ..]) => begins + script as usize + 1,
                Some([] | [b'\r']) | None => return says,
                Some(rest) => panic!("behind a script: {}", rest.escape_ascii()),
            },
            Scan::More => return says,
            Scan::Bad { .. } | Scan::TooLong => panic!("a server was sent {}", sent.escape_ascii()),
        };
        sent.drain(..len);
        says.extend_from_slice(format!("\"{len}\"\r\nOK\r\n").as_bytes());
    }
}

const POP3_GREETING: &[u8] = b"+OK ready\r\n";
const SIEVE_GREETING: &[u8] = b"\"SASL\" \"PLAIN\"\r\nOK\r\n";

/// Bytes of one side that the machine has not taken.
#[derive(Default)]
struct End {
    input: Vec<u8>,
    /// Of these the machine has seen so many, and wants more.
    seen: usize,
    held: bool,
    /// The next bytes go to the other side, or nowhere.
    claims: VecDeque<(u64, bool)>,
    closed: bool,
}

struct World {
    session: Box<dyn Session>,
    server: Server,
    is_logged_in: bool,
    client: End,
    backend: End,
    backend_id: BackendId,
    heard: Vec<u8>,
    to_server: Vec<u8>,
    /// Of these the server has seen so many, and waits for more.
    seen_by_server: usize,
}

impl World {
    fn new(session: Box<dyn Session>, server: Server) -> World {
        let mut world = World {
            session,
            server,
            is_logged_in: false,
            client: End::default(),
            backend: End::default(),
            backend_id: BackendId(0),
            heard: Vec::new(),
            to_server: Vec::new(),
            seen_by_server: 0,
        };
        world.tick();
        world.settle();
        world
    }

    /// What the client hears.
    fn run(mut self, input: &[u8], cuts: &[usize]) -> Vec<u8> {
        let mut begins = 0;
        for end in cuts.iter().copied().chain([input.len()]) {
            self.client.input.extend_from_slice(&input[begins..end]);
            begins = end;
            self.settle();
        }
        self.heard
    }

    fn tick(&mut self) {
        let now = Instant(0);
        if self.session.poll_timeout().is_some_and(|due| due <= now) {
            self.session.handle_timeout(now);
            self.wake(None);
        }
    }

    fn settle(&mut self) {
        loop {
            self.collect();
            self.tick();
            self.collect();
            if self.to_server.len() > self.seen_by_server {
                let says = (self.server)(&mut self.to_server, &mut self.is_logged_in);
                self.backend.input.extend_from_slice(&says);
                self.seen_by_server = self.to_server.len();
            }
            if !self.move_claimed() && !self.offer(true) && !self.offer(false) {
                return;
            }
        }
    }

    fn end(&mut self, is_client: bool) -> &mut End {
        if is_client { &mut self.client } else { &mut self.backend }
    }

    fn wake(&mut self, except: Option<bool>) {
        for is_client in [true, false] {
            if except != Some(is_client) && self.end(is_client).held {
                (self.end(is_client).held, self.end(is_client).seen) = (false, 0);
            }
        }
    }

    /// Moves bytes that an output claims; whether any moved.
    fn move_claimed(&mut self) -> bool {
        for is_client in [true, false] {
            let end = self.end(is_client);
            let Some((left, goes_on)) = end.claims.front_mut() else { continue };
            let n = end.input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
            if n == 0 {
                continue;
            }
            *left -= n as u64;
            let (is_over, goes_on) = (*left == 0, *goes_on);
            let bytes: Vec<u8> = end.input.drain(..n).collect();
            end.seen = 0;
            if is_over {
                end.claims.pop_front();
                end.held = false;
            }
            match (goes_on, is_client) {
                (true, true) => self.to_server.extend_from_slice(&bytes),
                (true, false) => self.heard.extend_from_slice(&bytes),
                (false, _) => {}
            }
            return true;
        }
        false
    }

    /// Offers input to the machine; whether there was any.
    fn offer(&mut self, is_client: bool) -> bool {
        let side = if is_client { Side::Client } else { Side::Backend(self.backend_id) };
        let end = self.end(is_client);
        if end.closed || end.held || !end.claims.is_empty() || end.input.len() <= end.seen {
            return false;
        }
        let input = std::mem::take(&mut end.input);
        let taken = self.session.handle_input(side, &input, Instant(0));
        let end = self.end(is_client);
        end.input = input;
        end.input.drain(..taken.n);
        end.seen = end.input.len();
        end.held = taken.then == Then::Hold;
        self.wake(Some(is_client));
        true
    }

    fn collect(&mut self) {
        let mut scratch = Vec::new();
        loop {
            scratch.clear();
            let Some(output) = self.session.poll_output(&mut scratch) else { return };
            match output {
                Output::Write { to: Side::Client } => self.heard.extend_from_slice(&scratch),
                Output::Write { to: Side::Backend(_) } => self.to_server.extend_from_slice(&scratch),
                Output::Forward { from, n, .. } => self.end(from == Side::Client).claims.push_back((n, true)),
                Output::Discard { from, n } => self.end(from == Side::Client).claims.push_back((n, false)),
                Output::Pipe { .. } => {
                    self.client.claims.push_back((u64::MAX, true));
                    self.backend.claims.push_back((u64::MAX, true));
                }
                Output::Ask { id, question } => self.answer(id, question),
                Output::Close { side, .. } => {
                    let end = self.end(side == Side::Client);
                    end.closed = true;
                    if side != Side::Client {
                        (self.backend, self.is_logged_in) = (End::default(), false);
                        self.to_server.clear();
                        self.seen_by_server = 0;
                    }
                }
                Output::Switch { .. } => panic!("TLS is not offered"),
                Output::Release { .. } => panic!("connections are somebody's"),
                Output::Tell(_) | Output::Timed(_) => {}
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what these sessions ask")]
    fn answer(&mut self, id: QuestionId, question: Question) {
        let answer = match question {
            Question::OpenBackend { side, service, .. } => {
                let greeting =
                    if service == crate::proxy::Service::Pop3 { POP3_GREETING } else { SIEVE_GREETING };
                self.backend_id = side;
                self.backend = End { input: greeting.to_vec(), ..End::default() };
                Answer::Opened(Ok(Opened { host: "be1".into(), tls: false, noauth: false }))
            }
            Question::Find { name, .. } => Answer::Found(Finding::Active(Entry {
                name,
                location: Location((*b"be1!default").into()),
                acl: Arc::from(&b""[..]),
            })),
            Question::CheckPassword { password, .. } => Answer::Password(match password.expose() {
                b"pw" => PasswordVerdict::Accepted,
                _ => PasswordVerdict::Denied,
            }),
            Question::Groups { .. } => Answer::Groups(Ok(Groups::default())),
            Question::ServiceCapabilities(_) => {
                Answer::Capabilities(Arc::new(BackendCapabilities::default()))
            }
            Question::ScramKeys { .. } => Answer::ScramKeys(None::<ScramKeys>),
            question => panic!("nobody asks {question:?}"),
        };
        self.session.handle_event(Event::Answer { id, answer }, Instant(0));
        self.wake(None);
    }
}
