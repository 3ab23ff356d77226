//! What a NOOP through an IMAP session costs in instructions, for `cargo xtask bench instructions`:
//! driver and machine, both turns, without the kernel.
//!
//! The argument `noop` runs it; only functions whose name begins with `measured_` count.

use std::sync::Arc;

use driver::{BufferId, Buffers, Carriage, ConnId, Driver, Limits, Op};
use protocols::imap::{Config, Session};
use protocols::proxy::{
    Answer, BackendCapabilities, Entry, Finding, HomeCopy, Instant, ListPage, Location, Opened, Origin,
    PasswordVerdict, Question, Unavailable,
};
use protocols::secret::Secret;

const NOOPS: usize = 200;

fn main() {
    if std::env::args().nth(1).as_deref() != Some("noop") {
        // Called by `cargo bench` without a case: there is nothing to time here.
        return;
    }
    let mut carrier = Carrier::selected();
    let answered = measured_noops(&mut carrier);
    assert_eq!(answered, NOOPS, "every NOOP is answered");
}

#[inline(never)]
fn measured_noops(carrier: &mut Carrier) -> usize {
    let mut answered = 0;
    for _ in 0..NOOPS {
        let to_backend = carrier.turn(carrier.client, b"a9 NOOP\r\n");
        let to_client = carrier.turn(carrier.backend, b"a9 OK Completed\r\n");
        answered += usize::from(to_backend == 9 && to_client == 17);
    }
    answered
}

/// Received bytes of one turn.
struct Memory(Vec<u8>);

impl Buffers for Memory {
    fn bytes(&self, _: BufferId) -> &[u8] {
        &self.0
    }
}

/// Carries one session with one backend.
struct Carrier {
    driver: Driver,
    now: Instant,
    client: ConnId,
    backend: ConnId,
    memory: Memory,
    /// What was sent in the last turn to the backend.
    heard: Vec<u8>,
}

impl Carrier {
    /// A session that has its INBOX selected.
    fn selected() -> Carrier {
        let mut config = Config::default();
        config.proxy.authname = (*b"mailproxy").into();
        config.proxy.password = Secret::new(*b"secret");
        let origin =
            Origin { random: [7; 32], started_unix: 1, client_address: "192.0.2.1:1".into(), tls: true };
        let session = Box::new(Session::new(Arc::new(config), origin));
        let mut driver = Driver::new(Limits::default());
        driver.begin_turn(Instant(1));
        let client = driver.accept(session, None, Carriage::Spliceable).expect("there is room");
        let memory = Memory(Vec::new());
        let mut carrier =
            Carrier { driver, now: Instant(1), client, backend: client, memory, heard: Vec::new() };
        carrier.operate();
        carrier.turn(client, b"a1 LOGIN user secret\r\n");
        carrier.turn(client, b"a2 SELECT INBOX\r\n");
        carrier.converse();
        carrier
    }

    /// Answers the session's login at its backend, and its SELECT.
    fn converse(&mut self) {
        self.turn(self.backend, b"* OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR AUTH=PLAIN] ready\r\n");
        for _ in 0..8 {
            let line = String::from_utf8_lossy(&self.heard).into_owned();
            let Some((tag, rest)) = line.split_once(' ') else { return };
            let more = if rest.starts_with("SELECT") { "* 1 EXISTS\r\n" } else { "" };
            let answer = format!("{more}{tag} OK [CAPABILITY IMAP4rev1 LITERAL+] done\r\n");
            self.heard.clear();
            self.turn(self.backend, answer.as_bytes());
        }
    }

    /// A turn in which these bytes come; how many are sent.
    fn turn(&mut self, from: ConnId, bytes: &[u8]) -> usize {
        self.now = Instant(self.now.0 + 50_000);
        self.driver.begin_turn(self.now);
        self.operate();
        self.memory.0.clear();
        self.memory.0.extend_from_slice(bytes);
        // The machine may decode in place: it looks at a copy, as the ring's buffer is one.
        let mut received = bytes.to_vec();
        self.driver.received(from, BufferId(0), &mut received);
        self.operate();
        self.driver.prepare_sends(&self.memory);
        self.operate();
        let mut sent = 0;
        for outgoing in self.driver.sends() {
            sent += outgoing.len();
            if outgoing.conn == self.backend && self.backend != self.client {
                self.heard.clear();
                self.driver
                    .pieces(&outgoing, &self.memory)
                    .for_each(|piece| self.heard.extend_from_slice(piece));
            }
        }
        self.driver.take_timed().for_each(drop);
        self.driver.end_turn();
        self.operate();
        sent
    }

    fn operate(&mut self) {
        while let Some(op) = self.driver.poll_op() {
            let Op::Ask { session, id, question } = op else { continue };
            if let Question::OpenBackend { .. } = question {
                let opened = Opened { host: "be1".into(), tls: false, noauth: false };
                let conn = self.driver.opened(session, id, opened, None, Carriage::Spliceable);
                self.backend = conn.expect("there is room");
                continue;
            }
            self.driver.answer(session, id, answer(question));
        }
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "what the session does not ask here is not known")]
fn answer(question: Question) -> Answer {
    let entry = |name: &[u8]| Entry {
        name: name.into(),
        location: Location((*b"be1!default").into()),
        acl: (*b"user\tlrswipkxtecda\t").into(),
    };
    match question {
        Question::CheckPassword { .. } => Answer::Password(PasswordVerdict::Accepted),
        Question::Find { name, .. } => Answer::Found(Finding::Active(entry(&name))),
        Question::Groups { .. } => Answer::Groups(Ok(Default::default())),
        Question::DomainOf { .. } => Answer::Domain(None),
        Question::Capabilities { .. } => Answer::Capabilities(Arc::new(BackendCapabilities::default())),
        Question::HomeCopy { .. } => Answer::HomeCopy(HomeCopy::default()),
        Question::List(_) => Answer::Page(ListPage {
            entries: Vec::new(),
            next: None,
            knowledge: protocols::proxy::Knowledge::Live,
        }),
        Question::Barrier => Answer::Barrier(Ok(())),
        _ => Answer::Barrier(Err(Unavailable)),
    }
}
