//! What a fuzzer does to a connection: the same bytes whole and cut are answered alike.

use std::sync::Arc;
use std::time::Duration;

use protocols::mailbox::acl::Policy;
use protocols::proxy::{
    Answer, Event, Instant, ListPage, Origin, Output, PasswordVerdict, Question, QuestionId, Session, Side,
    Then,
};
use protocols::sasl::{Mechanism, Offer};

use super::{Config, Connection, Role};
use crate::directory::{self, Directory, Effect, History, Loaded, Ticket};
use crate::list::Editor;

/// Octets that are looked at: longer input finds nothing more.
const INPUT_BYTES_MAX: usize = 4 * 1024;

/// Turns of one connection; past it something spins.
const TURNS_MAX: usize = 100_000;

/// The time, which stands still.
const NOW: Instant = Instant(1);

/// A master, one connection that is logged in, and the bytes between.
struct Bench {
    directory: Directory,
    connection: Connection,
    pending: Vec<u8>,
    said: Vec<u8>,
    asked: Vec<(QuestionId, Question)>,
    owes_drained: bool,
    is_closed: bool,
}

/// What a fuzzer calls with any bytes: a connection that is logged in reads them whole, and cut at a
/// place that they name themselves, and says the same, within its limits.
///
/// # Panics
/// When a property does not hold.
pub fn fuzz(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let bytes = &rest[..rest.len().min(INPUT_BYTES_MAX)];
    let mut whole = Bench::new();
    whole.reads(bytes);
    let (head, tail) = bytes.split_at(bytes.len() * usize::from(*first) / 256);
    let mut cut = Bench::new();
    cut.reads(head);
    cut.reads(tail);
    let mut slow = Bench::new();
    bytes.iter().for_each(|byte| slow.reads(&[*byte]));
    // A go-ahead is said only to who waits for it.
    assert_eq!(without_go_ahead(&whole.said), without_go_ahead(&cut.said), "cut at {}", head.len());
    assert_eq!(without_go_ahead(&whole.said), without_go_ahead(&slow.said), "byte by byte");
    assert_eq!((whole.is_closed, whole.is_closed), (cut.is_closed, slow.is_closed));
}

fn without_go_ahead(said: &[u8]) -> Vec<u8> {
    let lines = said.split_inclusive(|byte| *byte == b'\n');
    lines.filter(|line| *line != b"+ go ahead\r\n").flatten().copied().collect()
}

impl Bench {
    fn new() -> Bench {
        let mut history = History::default();
        history.begin("epoch".into(), 0);
        let loaded = Loaded { list: Editor::empty(), history, ..Loaded::nothing() };
        let config = directory::Config { has_store: false, ..directory::Config::master() };
        let directory = Directory::new(config, loaded);
        let origin =
            Origin { random: [7; 32], started_unix: 0, client_address: "192.0.2.1:1".into(), tls: false };
        let epoch = directory.epoch().map(Into::into);
        let mut bench = Bench {
            directory,
            connection: Connection::new(Arc::new(settings()), origin, epoch),
            pending: Vec::new(),
            said: Vec::new(),
            asked: Vec::new(),
            owes_drained: false,
            is_closed: false,
        };
        bench.reads(b"A AUTHENTICATE \"PLAIN\" \"AGEAYQ==\"\r\n");
        assert!(bench.said.ends_with(b"A OK \"Authenticated\"\r\n"), "the login is right");
        bench.said.clear();
        bench
    }

    fn reads(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        for _ in 0..TURNS_MAX {
            if !self.turn() {
                return;
            }
        }
        panic!("the connection does not come to rest");
    }

    /// Does what can be done; whether anything moved.
    fn turn(&mut self) -> bool {
        let before = self.pending.len();
        if !self.pending.is_empty() && !self.is_closed {
            let taken = self.connection.handle_input(Side::Client, &self.pending, NOW);
            assert!(taken.n <= self.pending.len(), "no more is taken than there is");
            assert!(taken.n > 0 || taken.then == Then::Hold, "a machine takes or holds");
            self.pending.drain(..taken.n);
        }
        let mut moved = self.pending.len() != before;
        moved |= self.poll();
        for (id, question) in std::mem::take(&mut self.asked) {
            self.answer(id, question);
            moved = true;
        }
        while let Some(effect) = self.directory.poll_effect() {
            moved = true;
            self.carry_out(effect);
        }
        if std::mem::take(&mut self.owes_drained) {
            moved = true;
            self.connection.handle_event(Event::Drained { side: Side::Client }, NOW);
        }
        moved | self.poll()
    }

    fn poll(&mut self) -> bool {
        let (mut scratch, mut moved) = (Vec::new(), false);
        while let Some(output) = self.connection.poll_output(&mut scratch) {
            moved = true;
            match output {
                Output::Write { .. } => {
                    self.said.append(&mut scratch);
                    self.owes_drained = true;
                }
                Output::Ask { id, question } => self.asked.push((id, question)),
                Output::Close { .. } => self.is_closed = true,
                Output::Tell(_) | Output::Timed(_) => {}
                Output::Forward { .. }
                | Output::Discard { .. }
                | Output::Pipe { .. }
                | Output::Release { .. }
                | Output::Switch { .. } => {
                    panic!("a connection of MUPDATE without TLS does none of these")
                }
            }
        }
        moved
    }

    fn answer(&mut self, id: QuestionId, question: Question) {
        let snapshot = self.directory.published().load_full();
        let answer = match question {
            Question::Directory(question) => return self.directory.handle(Ticket(u64::from(id.0)), question),
            Question::Find { name, freshness } => match snapshot.find(&name, freshness) {
                Ok(finding) => Answer::Found(finding),
                Err(_) => panic!("a snapshot was asked"),
            },
            Question::List(query) => {
                let page = snapshot.list.page(&query, &Policy::default());
                Answer::Page(ListPage {
                    entries: page.entries,
                    next: page.next,
                    knowledge: snapshot.knowledge,
                })
            }
            Question::CheckPassword { .. } => Answer::Password(PasswordVerdict::Accepted),
            Question::ScramKeys { .. } => Answer::ScramKeys(None),
            Question::Barrier => Answer::Barrier(Ok(())),
            Question::OpenBackend { .. }
            | Question::SaltPassword { .. }
            | Question::Intend(_)
            | Question::Errand(_)
            | Question::Capabilities { .. }
            | Question::ServiceCapabilities(_)
            | Question::Groups { .. }
            | Question::HomeCopy { .. }
            | Question::DomainOf { .. } => {
                panic!("a server asks none of these")
            }
        };
        self.connection.handle_event(Event::Answer { id, answer }, NOW);
    }

    fn carry_out(&mut self, effect: Effect) {
        let event = match effect {
            Effect::Answer { ticket, answer } => Event::Answer { id: QuestionId(ticket.0 as u32), answer },
            Effect::ListChanged => Event::ListChanged,
            Effect::BarrierWanted | Effect::Log { .. } => return,
        };
        self.connection.handle_event(event, NOW);
    }
}

fn settings() -> Config {
    Config {
        servername: "m".into(),
        version: "0".into(),
        role: Role::Master,
        admins: vec![b"a".as_slice().into()],
        offer: Offer { mechanisms: vec![Mechanism::Plain], ..Offer::default() },
        allow_plaintext: true,
        starttls: false,
        compression: None,
        failed_login_pause: Duration::from_secs(3),
        login_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(60),
        slow_command: None,
    }
}
