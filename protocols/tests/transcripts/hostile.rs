//! Anything said by anybody, for as long as the session takes it.

use std::fmt::Write as _;
use std::path::Path;

use protocols::bulletin::Bulletin;
use protocols::proxy::Side;

use super::play::Protocol;
use super::script::Cut;
use super::world::World;

/// What a hostile client or a broken backend may say.
const FRAGMENTS: [&str; 52] = [
    "a NOOP\r\n",
    "b ",
    "CAPABILITY\r\n",
    "\r\n",
    "\n",
    "{5}\r\n",
    "{5+}\r\n",
    "12345",
    "{99999}\r\n",
    "{4097+}\r\n",
    "c LOGIN u p\r\n",
    "d AUTHENTICATE PLAIN\r\n",
    "AHUAcA==\r\n",
    "*\r\n",
    "e SELECT INBOX\r\n",
    "f FETCH 1 BODY[]\r\n",
    "g IDLE\r\n",
    "DONE\r\n",
    "h APPEND INBOX {5+}\r\n",
    "i APPEND INBOX {5}\r\n",
    "j LOGOUT\r\n",
    "k CREATE INBOX.x\r\n",
    "l STATUS x (MESSAGES)\r\n",
    "m CLOSE\r\n",
    "n SEARCH TEXT {3+}\r\nabc\r\n",
    "o ENABLE QRESYNC\r\n",
    "p SUBSCRIBE x\r\n",
    "* OK [CAPABILITY IMAP4rev1 LITERAL- AUTH=PLAIN SASL-IR UNSELECT ENABLE QRESYNC] x\r\n",
    "* 1 FETCH (X {5}\r\n",
    ")\r\n",
    "+ go\r\n",
    "RKA OK in\r\n",
    "RKC OK done\r\n",
    "RK0S OK done\r\n",
    "* BYE x\r\n",
    "e OK [READ-WRITE] done\r\n",
    "f OK done\r\n",
    "g OK done\r\n",
    "h OK done\r\n",
    "i NO no\r\n",
    "k OK done\r\n",
    "l NO Mailbox does not exist\r\n",
    "\0\u{ff}",
    "* 2 EXISTS\r\n",
    "q APPEND x CATENATE (URL /INBOX/;UID=1 TEXT {5+}\r\n",
    "r APPEND INBOX CATENATE (URL {14+}\r\n/x;UIDVALIDITY=",
    "s UID MOVE 1:2 INBOX\r\n",
    "* 7 UIDFETCH (FLAGS () INTERNALDATE \" 1-Nov-2026 21:01:30 +0000\" BODY[] {5}\r\n",
    "* 1 FETCH (UID 7 FLAGS () INTERNALDATE \" 1-Nov-2026 21:01:30 +0000\")\r\n",
    "RK10 OK done\r\n",
    "RK11 OK done\r\n",
    "RK1 OK [COPYUID 1 7 8] done\r\n",
];

const ANSWERS: [&str; 16] = [
    "accepted",
    "denied",
    "ask-backend",
    "unavailable",
    "active user.u be1!default",
    "active x be2!default",
    "absent",
    "unknown",
    "reserved be1!default",
    "opened be1",
    "not-opened",
    "barrier ok",
    "barrier failed",
    "capabilities",
    "page user.user001 user.user001.x=be2!default",
    "page",
];

#[test]
fn nothing_that_is_said_brings_a_session_down() {
    let mut relayed = 0;
    for seed in 0..1500 {
        let heard = heard_by_client(seed, &["", "@ login user001", "@ inbox"], [&FRAGMENTS, &FRAGMENTS]);
        relayed += usize::from(heard.windows(6).any(|part| part == b"f OK d"));
    }
    assert!(relayed > 25, "only {relayed} sessions relayed a command");
}

/// What a client says who is told of mailboxes.
const OF_NOTIFY: [&str; 7] = [
    "a NOOP\r\n",
    "e SELECT INBOX\r\n",
    "g IDLE\r\n",
    "DONE\r\n",
    "l STATUS x (MESSAGES)\r\n",
    "t NOTIFY SET STATUS (selected (MessageNew MessageExpunge)) (personal (MessageNew MessageExpunge))\r\n",
    "u NOTIFY NONE\r\n",
];

/// What his servers say.
const NEWS: [&str; 6] = [
    "* STATUS INBOX (MESSAGES 3)\r\n",
    "* STATUS INBOX (MESSAGES 3)\r\n",
    "* LIST (\\NonExistent) \".\" {7}\r\nINBOX.x\r\n",
    "* STATUS {5}\r\n",
    "* OK [NOTIFICATIONOVERFLOW] x\r\n",
    "\0",
];

#[test]
fn nothing_that_is_said_brings_a_session_down_that_is_told_of_mailboxes() {
    let (mut told, mut ended) = (0, 0);
    for seed in 0..1000 {
        let heard = heard_by_client(seed, &["@ listeners"], [&OF_NOTIFY, &NEWS]);
        let has = |text: &[u8]| heard.windows(text.len()).any(|part| part == text);
        told += usize::from(has(b"* STATUS INBOX (MESSAGES 3)"));
        ended += usize::from(has(b"* OK [NOTIFICATIONOVERFLOW] not all"));
    }
    assert!(told > 25 && ended > 25, "news in {told} sessions, an end of it in {ended}");
}

/// Plays a session in which the client and the servers say some of these at random, and gives what the client heard.
fn heard_by_client(seed: u64, begins: &[&str], [his, theirs]: [&[&str]; 2]) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let bulletin = Bulletin::default();
    let mut world = World::new(Protocol::Imap.session(&[], &bulletin), bulletin, Cut::Random(seed + 1));
    world.run(&folder, begins[next(begins.len())]).unwrap();
    for _ in 0..60 {
        match next(10) {
            0..4 => world.feed(Side::Client, his[next(his.len())].as_bytes()),
            4..7 => {
                let backends: Vec<Side> = world
                    .ends
                    .iter()
                    .filter(|end| end.side != Side::Client && !end.gone)
                    .map(|end| end.side)
                    .collect();
                if !backends.is_empty() {
                    let side = backends[next(backends.len())];
                    let reply = world.reply_fitting(side);
                    let hostile = next(8) == 0;
                    let said = if hostile { theirs[next(theirs.len())].to_owned() } else { reply };
                    world.feed(side, said.as_bytes());
                }
            }
            7..9 => world.answer_fitting(next(64)),
            _ => match next(12) {
                0 => world.happen("eof 1"),
                1 => world.happen("reset 2"),
                2 => world.pass_time(next(400) as u64),
                3 => world.happen("drain"),
                _ => {}
            },
        }
    }
    world.happen("eof client");
    // What was left with LOGOUT has five minutes.
    world.pass_time(300);
    assert!(world.ends.iter().all(|end| end.closed || end.gone), "seed {seed}: {}", world.state());
    std::mem::take(&mut world.ends[0].output)
}

impl World {
    /// News, and the end of the last command that a backend was sent.
    fn reply_fitting(&mut self, side: Side) -> String {
        let at = self.end(side);
        let output = String::from_utf8_lossy(&self.ends[at].output).into_owned();
        self.ends[at].output.clear();
        let is_tag = |word: &&str| !word.is_empty() && word.len() < 8;
        let mut reply = "* 3 EXISTS\r\n* 1 FETCH (X {3}\r\nabc)\r\n".to_owned();
        for tag in output.split("\r\n").filter_map(|line| line.split(' ').next()).filter(is_tag) {
            write!(reply, "{tag} OK done\r\n").unwrap();
        }
        reply
    }

    /// Answers the oldest question with one of the answers that fit it.
    fn answer_fitting(&mut self, choice: usize) {
        let Some((_, question)) = self.questions.front() else { return };
        let fits =
            |answer: &&str| match (question.split(' ').next().unwrap(), answer.split(' ').next().unwrap()) {
                ("open", word) => word.ends_with("opened"),
                ("find", word) => ["active", "absent", "unknown", "reserved"].contains(&word),
                ("password", word) => ["accepted", "denied", "ask-backend", "unavailable"].contains(&word),
                ("barrier", word) => word == "barrier",
                ("list", word) => word == "page",
                ("capabilities", word) => word == "capabilities",
                _ => false,
            };
        let fitting: Vec<&str> = ANSWERS.iter().copied().filter(|answer| fits(answer)).collect();
        if let Some(answer) = fitting.get(choice % fitting.len().max(1)) {
            self.answer(answer).unwrap();
        }
    }
}
