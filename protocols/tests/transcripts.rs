//! Plays transcripts through the session machines: IMAP's in `transcripts`, the others' in its folders.
//!
//! Each file is played four times: with commands that follow each other in one
//! piece, line by line, one byte at a time, and split at random. The driver below does what the
//! contract in `protocols::proxy` says, and nothing else: input left with `More` is offered again
//! only with new bytes, input left with `Hold` only after something else happened.
//!
//! ```text
//! C: text     the client sends a line          S: text     a line to the client, {*} matches anything
//! B1: text    backend 1 sends a line           P1: text    a line to backend 1
//! C| B1| P1|  without a line end; \r \n \0     Q: text     a question of the session
//! A: text     answers the oldest question      X: side     a side is closed: `client flush`, `1 abort`
//! E: event    `eof 1`, `posted x`, ...         T: 3        so many seconds pass
//! % option    of the configuration, first      L: text     was logged since the last L
//! @ file a b  includes a file, $1 is a         --          nothing else was said so far
//! W: layer    a side is switched to a layer    J: 1        the client is joined with backend 1 for good
//! ```

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use protocols::bulletin::{Bulletin, Notices};
use protocols::imap::config::ServerSelection;
use protocols::imap::{Config, Session};
use protocols::login::config::Common;
use protocols::mailbox::names::VirtDomains;
use protocols::mailbox::{Namespace, Rights};
use protocols::places::Places;
use protocols::pop3;
use protocols::proxy::{
    self, Answer, BackendCapabilities, BackendId, Close, Entry, Event, Finding, Freshness, HEAD_BYTES_MAX,
    HomeCopy, Instant, Knowledge, LayerKind, ListPage, ListedEntry, Location, Notice, OpenError, Opened,
    Origin, Output, PasswordVerdict, Question, QuestionId, Service, Side, TlsInfo, Unavailable,
};
use protocols::seats::{SeatLimits, Seats};
use protocols::sieve;

/// How the input is cut.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Cut {
    Joined,
    Lines,
    Bytes,
    Random(u64),
}

/// A protocol with a folder of transcripts.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Protocol {
    Imap,
    Pop3,
    Sieve,
}

impl Protocol {
    fn folder(self) -> &'static str {
        match self {
            Protocol::Imap => "",
            Protocol::Pop3 => "pop3",
            Protocol::Sieve => "sieve",
        }
    }

    /// A session, configured by the options of a scene.
    fn session(self, options: &[&str], bulletin: &Bulletin) -> Box<dyn proxy::Session> {
        let origin =
            Origin { random: [7; 32], started_unix: 1, client_address: "192.0.2.1:4711".into(), tls: false };
        match self {
            Protocol::Imap => {
                let mut config = config();
                config.bulletin = bulletin.clone();
                options.iter().for_each(|option| configure(&mut config, option));
                let mut session = Session::new(Arc::new(config), origin);
                session.came_to("192.0.2.9:143");
                Box::new(session)
            }
            Protocol::Pop3 => {
                let mut config = pop3::Config { common: common(bulletin), ..pop3::Config::default() };
                options.iter().for_each(|option| match *option {
                    "popsubfolders" => config.subfolders = true,
                    "popuseacl" => config.use_acl = true,
                    option => configure_common(&mut config.common, option),
                });
                let mut session = pop3::Session::new(Arc::new(config), origin);
                session.came_to("192.0.2.9:110");
                Box::new(session)
            }
            Protocol::Sieve => {
                let mut config = sieve::Config { common: common(bulletin), ..sieve::Config::default() };
                options.iter().for_each(|option| match *option {
                    "referrals" => config.referrals = true,
                    option => configure_common(&mut config.common, option),
                });
                let mut session = sieve::Session::new(Arc::new(config), origin);
                session.came_to("192.0.2.9:4190");
                Box::new(session)
            }
        }
    }
}

#[test]
fn transcripts_play_however_the_input_is_cut() {
    let failures: String =
        [Protocol::Imap, Protocol::Pop3, Protocol::Sieve].into_iter().map(play_all).collect();
    assert!(failures.is_empty(), "\n{failures}");
}

fn play_all(protocol: Protocol) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(protocol.folder());
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    assert!(files.len() > if protocol == Protocol::Imap { 8 } else { 1 }, "transcripts are missing");
    let mut failures = String::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, scene) in text.split("\n====").enumerate() {
            let name = file.file_name().unwrap().to_string_lossy();
            let title = format!("{protocol:?} {name} scene {}", number + 1);
            let mut cuts = vec![Cut::Joined, Cut::Lines, Cut::Bytes];
            cuts.extend((1..=8).map(Cut::Random));
            for cut in cuts {
                if let Err(why) = play(protocol, &folder, scene, cut) {
                    writeln!(failures, "{title}, {cut:?}: {why}").unwrap();
                    break;
                }
            }
        }
    }
    failures
}

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

const ANSWERS: [&str; 14] = [
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
];

#[test]
fn nothing_that_is_said_brings_a_session_down() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut relayed = 0;
    for seed in 0..1500_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = move |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % below
        };
        let bulletin = Bulletin::default();
        let mut world = World::new(Protocol::Imap.session(&[], &bulletin), bulletin, Cut::Random(seed + 1));
        let begin = ["", "@ login user001", "@ inbox"][next(3)];
        world.run(&folder, begin).unwrap();
        for _ in 0..60 {
            match next(10) {
                0..4 => world.feed(Side::Client, FRAGMENTS[next(FRAGMENTS.len())].as_bytes()),
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
                        let said = if hostile { FRAGMENTS[next(FRAGMENTS.len())].to_owned() } else { reply };
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
        let heard = &world.ends[0].output;
        relayed += usize::from(heard.windows(6).any(|part| part == b"f OK d"));
    }
    assert!(relayed > 25, "only {relayed} sessions relayed a command");
}

/// Script lines with includes expanded.
fn expand(folder: &Path, text: &str, lines: &mut Vec<String>) {
    for line in text.lines() {
        let Some(include) = line.strip_prefix("@ ") else {
            lines.push(line.to_owned());
            continue;
        };
        let words: Vec<&str> = include.split(' ').collect();
        let file = folder.join("include").join(format!("{}.inc", words[0]));
        let mut text = std::fs::read_to_string(&file).unwrap_or_else(|_| panic!("no {}", file.display()));
        for (number, word) in words.iter().enumerate().skip(1) {
            text = text.replace(&format!("${number}"), word);
        }
        expand(folder, &text, lines);
    }
}

fn play(protocol: Protocol, folder: &Path, scene: &str, cut: Cut) -> Result<(), String> {
    let mut lines = Vec::new();
    expand(folder, scene, &mut lines);
    let options: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("% ")).collect();
    let bulletin = Bulletin::default();
    let mut world = World::new(protocol.session(&options, &bulletin), bulletin, cut);
    world.follow(&lines)?;
    world.check("--")
}

/// What a line sends, if it sends something.
fn sent(line: &str) -> Option<(Side, Vec<u8>)> {
    let (who, rest) = line.split_at_checked(line.find([':', '|'])?)?;
    let side = match who.split_at_checked(1)? {
        ("C", "") => Side::Client,
        ("B", number) => Side::Backend(BackendId(number.parse().ok()?)),
        _ => return None,
    };
    let (mark, text) = rest.split_at(1);
    let text = text.strip_prefix(' ').unwrap_or(text);
    let mut bytes = unescape(text);
    if mark == ":" {
        bytes.extend_from_slice(b"\r\n");
    }
    Some((side, bytes))
}

fn unescape(text: &str) -> Vec<u8> {
    let text = match text.strip_prefix("repeat ") {
        Some(rest) => {
            let (count, what) = rest.split_once(' ').unwrap();
            what.repeat(count.parse().unwrap())
        }
        None => text.to_owned(),
    };
    text.replace("\\r", "\r").replace("\\n", "\n").replace("\\0", "\0").into_bytes()
}

fn config() -> Config {
    let namespace = Namespace { separator: b'.', alt: false, ..Namespace::default() };
    let mut config = Config {
        servername: "frontend".into(),
        version: "0".into(),
        namespace: Arc::new(namespace),
        admins: [Box::from(&b"cyrus"[..])].into(),
        ..Config::default()
    };
    config.login.plaintext_allowed = true;
    config.proxy.send_id = false;
    config.proxy.password = protocols::secret::Secret::new(*b"secret");
    config.proxy.authname = (*b"mailproxy").into();
    config
}

/// What is configured of the other protocols.
fn common(bulletin: &Bulletin) -> Common {
    let imap = config();
    Common {
        bulletin: bulletin.clone(),
        servername: imap.servername,
        version: imap.version,
        namespace: imap.namespace,
        admins: imap.admins,
        login: imap.login,
        proxy: imap.proxy,
        ..Common::default()
    }
}

fn configure_common(common: &mut Common, option: &str) {
    let (name, value) = option.split_once(' ').unwrap_or((option, ""));
    match name {
        "plaintext-forbidden" => common.login.plaintext_allowed = false,
        "starttls" => common.login.starttls = true,
        "loginuseacl" => common.login.use_acl = true,
        "maxlogins" => common.seat_limits = limits(value, &common.seats, &common.service),
        "serverlist" => common.serverlist = value.split(' ').map(Box::from).collect(),
        "groups" => common.login.groups = true,
        "scram" => common.login.offer.mechanisms.push(protocols::sasl::Mechanism::ScramSha256),
        "virtdomains" => {
            let mut namespace = (*common.namespace).clone();
            namespace.virtdomains = if value == "on" { VirtDomains::On } else { VirtDomains::UserId };
            common.namespace = Arc::new(namespace);
        }
        _ => panic!("unknown option {name}"),
    }
}

fn configure(config: &mut Config, option: &str) {
    let (name, value) = option.split_once(' ').unwrap_or((option, ""));
    match name {
        "plaintext-forbidden" => config.login.plaintext_allowed = false,
        "starttls" => config.login.starttls = true,
        "send-id" => config.proxy.send_id = true,
        "loginuseacl" => config.login.use_acl = true,
        "serverlist" => {
            config.serverlist_select = ServerSelection::Random;
            config.serverlist = value.split(' ').map(Box::from).collect();
        }
        "maxmessagesize" => config.limits.append_bytes_max = value.parse().ok(),
        "readonly" => config.commands.read_only = true,
        "scram" => {
            config.login.offer.mechanisms.push(protocols::sasl::Mechanism::ScramSha256);
        }
        "virtdomains" => {
            let mut namespace = (*config.namespace).clone();
            namespace.virtdomains = if value == "on" { VirtDomains::On } else { VirtDomains::UserId };
            config.namespace = Arc::new(namespace);
        }
        "imapmagicplus" => {
            let mut namespace = (*config.namespace).clone();
            namespace.imapmagicplus = true;
            config.namespace = Arc::new(namespace);
        }
        "select" => {
            config.serverlist_select = match value {
                "freespace-most" => ServerSelection::FreespaceMost,
                "freespace-percent-most" => ServerSelection::FreespacePercentMost,
                _ => ServerSelection::Random,
            }
        }
        "motd" | "shutdown" | "traced" => {
            let mut notices = (*config.bulletin.notices()).clone();
            match name {
                "motd" => notices.motd = Some(value.into()),
                "shutdown" => notices.shutdown = Some(value.into()),
                _ => notices.traced = [value.as_bytes().into()].into(),
            }
            config.bulletin.post(notices);
        }
        "maxlogins" => {
            config.seat_limits = limits(value, &config.seats, &config.service);
        }
        "logfmt" => config.logfmt = true,
        "mailbox-referrals" => config.capabilities.referrals = true,
        "status-referral" => config.commands.status_referral = true,
        "proxy-compress" => config.proxy.compress = true,
        "compressed-max" => config.compression = Places::new(value.parse().unwrap()),
        "xfer-shared" => config.commands.xfer_shared = true,
        "groups" => config.login.groups = true,
        "disconnect-on-vanished" => config.commands.disconnect_on_vanished = true,
        "loginrealms" => config.login.realms = value.split(' ').map(Box::from).collect(),
        _ => panic!("unknown option {name}"),
    }
}

/// How many may log in; somebody else has.
fn limits(value: &str, seats: &Seats, service: &Arc<str>) -> SeatLimits {
    let (user, host) = value.split_once(' ').unwrap();
    let many = SeatLimits { per_user: 9, per_host: 9 };
    std::mem::forget(seats.take(service, b"user001", b"192.0.2.1", many));
    SeatLimits { per_user: user.parse().unwrap(), per_host: host.parse().unwrap() }
}

/// One end of the session as the driver sees it.
struct End {
    side: Side,
    input: Vec<u8>,
    /// Bytes of `input` that the machine saw and left with `More`.
    seen: usize,
    held: bool,
    claims: VecDeque<Claim>,
    /// What goes out here, in order: bytes, or the forward with this number.
    queue: VecDeque<Queued>,
    output: Vec<u8>,
    closed: bool,
    gone: bool,
}

struct Claim {
    number: u64,
    to: Option<Side>,
    left: u64,
}

enum Queued {
    Bytes(Vec<u8>),
    Forward(u64),
}

struct World {
    session: Box<dyn proxy::Session>,
    bulletin: Bulletin,
    cut: Cut,
    now: Instant,
    random: u64,
    ends: Vec<End>,
    questions: VecDeque<(QuestionId, String)>,
    asked: VecDeque<String>,
    closes: VecDeque<String>,
    switches: VecDeque<String>,
    joined: VecDeque<String>,
    logs: Vec<String>,
    next_claim: u64,
}

impl World {
    fn new(session: Box<dyn proxy::Session>, bulletin: Bulletin, cut: Cut) -> World {
        let mut world = World {
            session,
            bulletin,
            cut,
            // The shard has been up for an hour.
            now: Instant(3_600_000_000_000),
            random: if let Cut::Random(seed) = cut { seed } else { 0 },
            ends: Vec::new(),
            questions: VecDeque::new(),
            asked: VecDeque::new(),
            closes: VecDeque::new(),
            switches: VecDeque::new(),
            joined: VecDeque::new(),
            logs: Vec::new(),
            next_claim: 0,
        };
        world.end(Side::Client);
        world.collect();
        world.pass_time(0);
        world
    }

    /// Plays a piece of a script.
    fn run(&mut self, folder: &Path, text: &str) -> Result<(), String> {
        let mut lines = Vec::new();
        expand(folder, text, &mut lines);
        self.follow(&lines)
    }

    fn follow(&mut self, lines: &[String]) -> Result<(), String> {
        let mut at = 0;
        while at < lines.len() {
            let line = &lines[at];
            let mut next = at + 1;
            if let Some((side, mut bytes)) = sent(line) {
                while self.cut == Cut::Joined && next < lines.len() {
                    match sent(&lines[next]) {
                        Some((other, more)) if other == side => bytes.extend(more),
                        _ => break,
                    }
                    next += 1;
                }
                self.feed(side, &bytes);
            } else {
                self.check(line).map_err(|why| format!("line {}: {line}\n    {why}", at + 1))?;
            }
            at = next;
        }
        Ok(())
    }

    fn end(&mut self, side: Side) -> usize {
        if let Some(at) = self.ends.iter().position(|end| end.side == side) {
            return at;
        }
        self.ends.push(End {
            side,
            input: Vec::new(),
            seen: 0,
            held: false,
            claims: VecDeque::new(),
            queue: VecDeque::new(),
            output: Vec::new(),
            closed: false,
            gone: false,
        });
        self.ends.len() - 1
    }

    fn feed(&mut self, side: Side, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let n = match self.cut {
                Cut::Joined | Cut::Lines => rest.len(),
                Cut::Bytes => 1,
                Cut::Random(_) => {
                    self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (1 + (self.random >> 33) as usize % 23).min(rest.len())
                }
            };
            let at = self.end(side);
            self.ends[at].input.extend_from_slice(&rest[..n]);
            rest = &rest[n..];
            self.pump();
        }
    }

    /// Moves bytes and offers input until nothing more happens.
    fn pump(&mut self) {
        loop {
            if self.move_claimed() {
                continue;
            }
            let ready = self.ends.iter().position(|end| {
                !end.gone && !end.closed && !end.held && end.claims.is_empty() && end.input.len() > end.seen
            });
            let Some(at) = ready else { break };
            let side = self.ends[at].side;
            let input = std::mem::take(&mut self.ends[at].input);
            let taken = self.session.handle_input(side, &input, self.now);
            assert!(taken.n <= input.len(), "took more than was offered");
            let end = &mut self.ends[at];
            end.input = input[taken.n..].to_vec();
            end.seen = end.input.len();
            end.held = taken.then == proxy::Then::Hold;
            // As the driver does: two sides on hold would wake each other for ever.
            if self.collect() || taken.n > 0 {
                self.wake(Some(side));
            }
            let end = &self.ends[at];
            if taken.then == proxy::Then::More && end.claims.is_empty() && !end.closed {
                assert!(end.input.len() <= HEAD_BYTES_MAX, "more than a head is kept");
            }
        }
    }

    /// Something happened: what was held is offered again.
    fn wake(&mut self, except: Option<Side>) {
        for end in self.ends.iter_mut().filter(|end| Some(end.side) != except && end.held) {
            end.held = false;
            end.seen = 0;
        }
    }

    /// One step of a forward or discard.
    fn move_claimed(&mut self) -> bool {
        for at in 0..self.ends.len() {
            let Some(claim) = self.ends[at].claims.front() else { continue };
            let n = self.ends[at].input.len().min(usize::try_from(claim.left).unwrap());
            let (number, to) = (claim.number, claim.to);
            if let Some(to) = to {
                let to = self.end(to);
                if self.ends[to].gone || self.ends[to].closed {
                    self.break_claim(at);
                    return true;
                }
                let is_first =
                    matches!(self.ends[to].queue.front(), Some(Queued::Forward(first)) if *first == number);
                if !is_first {
                    continue;
                }
                let bytes: Vec<u8> = self.ends[at].input.drain(..n).collect();
                self.ends[to].output.extend(bytes);
            } else {
                self.ends[at].input.drain(..n);
            }
            let claim = self.ends[at].claims.front_mut().unwrap();
            claim.left -= n as u64;
            if claim.left == 0 {
                self.ends[at].claims.pop_front();
                self.ends[at].seen = 0;
                self.ends[at].held = false;
                if let Some(to) = to {
                    let to = self.end(to);
                    self.ends[to].queue.pop_front();
                    self.flush(to);
                }
                return true;
            }
            if n > 0 {
                return true;
            }
        }
        false
    }

    fn break_claim(&mut self, at: usize) {
        let claim = self.ends[at].claims.pop_front().unwrap();
        let (from, to) = (self.ends[at].side, claim.to.unwrap());
        self.ends[at].seen = 0;
        self.event(Event::ForwardBroken { from, to, left: claim.left });
    }

    fn flush(&mut self, at: usize) {
        while let Some(Queued::Bytes(bytes)) = self.ends[at].queue.front_mut() {
            let bytes = std::mem::take(bytes);
            self.ends[at].output.extend(bytes);
            self.ends[at].queue.pop_front();
        }
    }

    /// Carries out what the session wants.
    /// Whether there was anything.
    fn collect(&mut self) -> bool {
        let mut scratch = Vec::new();
        let mut is_any = false;
        loop {
            scratch.clear();
            let Some(output) = self.session.poll_output(&mut scratch) else { return is_any };
            is_any = true;
            match output {
                Output::Write { to } => {
                    let at = self.end(to);
                    assert!(!self.ends[at].closed, "write to the closed {to:?}");
                    self.ends[at].queue.push_back(Queued::Bytes(scratch.clone()));
                    self.flush(at);
                }
                Output::Forward { from, to, n } => {
                    assert_eq!(to.len(), 1);
                    assert!(n > 0, "empty forward");
                    self.claim(from, Some(to[0]), n);
                }
                Output::Discard { from, n } => self.claim(from, None, n),
                Output::Timed(_) => {}
                Output::Ask { id, question } => {
                    let text = shown(&question);
                    self.asked.push_back(text.clone());
                    self.questions.push_back((id, text));
                }
                Output::Switch { side, layer } => {
                    let kind = match layer {
                        LayerKind::TlsServer => "tls-server".to_owned(),
                        LayerKind::TlsClient { server_name } => format!("tls-client {server_name}"),
                        LayerKind::Deflate => "deflate".to_owned(),
                        LayerKind::Telemetry { user, service } => {
                            format!("telemetry {} {service}", user.escape_ascii())
                        }
                    };
                    self.switches.push_back(format!("{} {kind}", named(side)));
                }
                Output::Close { side, how } => self.close(side, how),
                Output::Tell(Notice::Log { text, .. } | Notice::Session { text, .. }) => {
                    self.logs.push(text.into());
                }
                Output::Tell(
                    Notice::Capabilities { .. }
                    | Notice::ServiceCapabilities { .. }
                    | Notice::Silent { .. }
                    | Notice::Presence(_)
                    | Notice::Stage { .. }
                    | Notice::Home { .. },
                ) => {}
                Output::Pipe { a, b } => {
                    let Side::Backend(id) = b else { panic!("the client is joined with himself") };
                    self.joined.push_back(id.0.to_string());
                    self.claim(a, Some(b), u64::MAX);
                    self.claim(b, Some(a), u64::MAX);
                }
                Output::Release { .. } => panic!("connections of IMAP are somebody's"),
            }
        }
    }

    fn claim(&mut self, from: Side, to: Option<Side>, n: u64) {
        self.next_claim += 1;
        let number = self.next_claim;
        if let Some(to) = to {
            let at = self.end(to);
            self.ends[at].queue.push_back(Queued::Forward(number));
        }
        let at = self.end(from);
        self.ends[at].claims.push_back(Claim { number, to, left: n });
    }

    fn close(&mut self, side: Side, how: Close) {
        let at = self.end(side);
        if self.ends[at].closed {
            return;
        }
        self.ends[at].closed = true;
        if !self.ends[at].gone {
            let how = if how == Close::Flush { "flush" } else { "abort" };
            self.closes.push_back(format!("{} {how}", named(side)));
        }
    }

    fn event(&mut self, event: Event) {
        self.session.handle_event(event, self.now);
        self.wake(None);
        self.collect();
        self.pump();
    }

    /// Checks an expectation or does what a line says.
    fn check(&mut self, line: &str) -> Result<(), String> {
        if let Some((who, text)) = line.split_once("| ") {
            let side = who
                .strip_prefix('P')
                .map_or(Side::Client, |id| Side::Backend(BackendId(id.parse().unwrap())));
            return self.expect_bytes(side, text.as_bytes());
        }
        let (kind, text) = line.split_once(':').unwrap_or((line, ""));
        let text = text.strip_prefix(' ').unwrap_or(text);
        match kind.split_at_checked(1) {
            Some(("S", "")) => self.expect_line(Side::Client, text),
            Some(("P", number)) if number.parse::<u32>().is_ok() => {
                self.expect_line(Side::Backend(BackendId(number.parse().unwrap())), text)
            }
            Some(("Q", "")) => expect_next("question", self.asked.pop_front(), text),
            Some(("X", "")) => expect_next("close", self.closes.pop_front(), text),
            Some(("W", "")) => expect_next("switch", self.switches.pop_front(), text),
            Some(("J", "")) => expect_next("join", self.joined.pop_front(), text),
            Some(("L", "")) => self.expect_log(text),
            Some(("A", "")) => self.answer(text),
            Some(("E", "")) => {
                self.happen(text);
                Ok(())
            }
            Some(("T", "")) => {
                self.pass_time(text.parse().unwrap());
                Ok(())
            }
            _ if line.starts_with("--") => self.expect_silence(),
            _ if line.is_empty() || line.starts_with('#') || line.starts_with("% ") => Ok(()),
            _ => Err("line is not understood".into()),
        }
    }

    fn expect_line(&mut self, side: Side, expected: &str) -> Result<(), String> {
        let at = self.end(side);
        let output = &mut self.ends[at].output;
        let end = output.iter().position(|byte| *byte == b'\n').map_or(output.len(), |lf| lf + 1);
        let line: Vec<u8> = output.drain(..end).collect();
        let got = String::from_utf8_lossy(&line).into_owned();
        let content = got.strip_suffix("\r\n").or(got.strip_suffix('\n')).unwrap_or(&got);
        if matches(expected, content) && got.ends_with('\n') {
            return Ok(());
        }
        Err(format!("got {:?}; {}", got, self.state()))
    }

    fn expect_bytes(&mut self, side: Side, expected: &[u8]) -> Result<(), String> {
        let at = self.end(side);
        let got = std::mem::take(&mut self.ends[at].output);
        if got == expected { Ok(()) } else { Err(format!("got {}", got.escape_ascii())) }
    }

    fn expect_log(&mut self, expected: &str) -> Result<(), String> {
        match self.logs.iter().position(|log| matches(expected, log)) {
            Some(at) => {
                self.logs.drain(..=at);
                Ok(())
            }
            None => Err(format!("logged: {:?}", self.logs)),
        }
    }

    fn expect_silence(&mut self) -> Result<(), String> {
        let spoke = self.ends.iter().any(|end| !end.output.is_empty());
        if spoke
            || !self.asked.is_empty()
            || !self.closes.is_empty()
            || !self.switches.is_empty()
            || !self.joined.is_empty()
        {
            return Err(format!("unexpected: {}", self.state()));
        }
        Ok(())
    }

    fn state(&self) -> String {
        let mut text = String::new();
        for end in &self.ends {
            let (output, input) = (end.output.escape_ascii(), end.input.escape_ascii());
            write!(text, "[{} out {output} in {input} held {}] ", named(end.side), end.held).unwrap();
        }
        write!(text, "asked {:?} closed {:?} logs {:?}", self.asked, self.closes, self.logs).unwrap();
        text
    }

    fn answer(&mut self, text: &str) -> Result<(), String> {
        let (id, question) = self.questions.pop_front().ok_or("nothing was asked")?;
        let answer = answered(text).ok_or("answer is not understood")?;
        if question.starts_with("open ") && matches!(answer, Answer::Opened(Ok(_))) {
            let number = question.split(' ').nth(1).unwrap().parse().unwrap();
            let at = self.end(Side::Backend(BackendId(number)));
            self.ends[at].closed = false;
        }
        self.event(Event::Answer { id, answer });
        Ok(())
    }

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
                ("capabilities", word) => word == "capabilities",
                _ => false,
            };
        let fitting: Vec<&str> = ANSWERS.iter().copied().filter(|answer| fits(answer)).collect();
        if let Some(answer) = fitting.get(choice % fitting.len().max(1)) {
            self.answer(answer).unwrap();
        }
    }

    fn happen(&mut self, text: &str) {
        let (what, who) = text.split_once(' ').unwrap_or((text, "client"));
        let (who, more) = who.split_once(' ').unwrap_or((who, ""));
        let side = match who {
            "client" => Side::Client,
            number => Side::Backend(BackendId(number.parse().unwrap_or(0))),
        };
        let event = match what {
            "eof" => Event::Eof(side),
            "reset" => Event::Reset(side),
            "secured" => Event::Switched { side, result: Ok(TlsInfo::default()) },
            "not-secured" => Event::Switched { side, result: Err(more.into()) },
            "idle" => {
                let seconds = Duration::from_secs(more.parse().unwrap());
                Event::Idle { since: Instant(self.now.0 - seconds.as_nanos() as u64) }
            }
            "stalled" => Event::Stalled { from: side, to: Default::default() },
            "drain" => Event::Drain { deadline: self.now + Duration::from_secs(10) },
            "posted" => {
                let shutdown = text.split_once(' ').map(|(_, text)| text.into());
                self.bulletin.post(Notices { shutdown, ..Notices::default() });
                Event::Posted
            }
            _ => panic!("unknown event {what}"),
        };
        if matches!(event, Event::Eof(_) | Event::Reset(_)) {
            let Some(at) = self.ends.iter().position(|end| end.side == side && !end.gone) else { return };
            if self.ends[at].closed {
                return;
            }
            self.ends[at].gone = true;
            if matches!(event, Event::Eof(_)) && self.pass_end(at) {
                return;
            }
        }
        self.event(event);
    }

    /// An end that goes through a pipe is no news for the machine.
    fn pass_end(&mut self, at: usize) -> bool {
        let Some(Claim { to: Some(to), left, .. }) = self.ends[at].claims.front() else { return false };
        if *left < u64::MAX / 2 {
            return false;
        }
        self.closes.push_back(format!("{} half", named(*to)));
        self.ends[at].claims.pop_front();
        true
    }

    fn pass_time(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        while let Some(due) = self.session.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.session.handle_timeout(self.now);
            self.wake(None);
            self.collect();
            self.pump();
        }
        self.now = until;
    }
}

fn named(side: Side) -> String {
    match side {
        Side::Client => "client".into(),
        Side::Backend(id) => id.0.to_string(),
    }
}

fn expect_next(what: &str, got: Option<String>, expected: &str) -> Result<(), String> {
    match got {
        Some(got) if matches(expected, &got) => Ok(()),
        Some(got) => Err(format!("{what} is {got:?}")),
        None => Err(format!("no {what}")),
    }
}

/// Whether a text is as expected, where `{*}` stands for anything.
fn matches(expected: &str, got: &str) -> bool {
    match expected.split_once("{*}") {
        None => expected == got,
        Some((before, behind)) => {
            let Some(rest) = got.strip_prefix(before) else { return false };
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && matches(behind, &rest[at..]))
        }
    }
}

fn shown(question: &Question) -> String {
    match question {
        Question::OpenBackend { side, server, service: Service::Imap } => format!("open {} {server}", side.0),
        Question::OpenBackend { side, server, service } => {
            format!("open {} {server} {}", side.0, format!("{service:?}").to_lowercase())
        }
        Question::Find { name, freshness } => {
            let how = match freshness {
                Freshness::Snapshot => "snapshot",
                Freshness::BarrierIfAbsent => "sure",
                Freshness::BarrierOnce => "once",
                // What they differ in is the directory's: the answer of a list that is stale.
                Freshness::Barrier | Freshness::Proven => "barrier",
            };
            format!("find {} {how}", name.escape_ascii())
        }
        Question::List(query) => format!("list {}", query.prefix.escape_ascii()),
        Question::Barrier => "barrier".into(),
        Question::CheckPassword { user, password, .. } => {
            format!("password {} {}", user.escape_ascii(), password.expose().escape_ascii())
        }
        Question::Groups { user } => format!("groups {}", user.escape_ascii()),
        Question::HomeCopy { user } => format!("home-copy {}", user.escape_ascii()),
        Question::DomainOf { address } => format!("domain of {address}"),
        Question::ScramKeys { user, .. } => format!("scram-keys {}", user.escape_ascii()),
        Question::SaltPassword { iterations, .. } => format!("salt {iterations}"),
        Question::Capabilities { .. } => "capabilities".into(),
        Question::ServiceCapabilities(service) => format!("capabilities {service:?}").to_lowercase(),
        Question::Intend(_) => "intend".into(),
        Question::Errand(_) => "errand".into(),
        Question::Directory(_) => "directory".into(),
    }
}

/// A mailbox on the first server, with all rights.
fn listed(name: &str) -> ListedEntry {
    let (name, location) = name.split_once('=').unwrap_or((name, "be1!default"));
    let location = Location(location.as_bytes().into());
    let entry = Entry { name: name.as_bytes().into(), location, acl: [].into() };
    ListedEntry { entry, reserved: false, rights: Rights::ALL }
}

fn answered(text: &str) -> Option<Answer> {
    let words: Vec<&str> = text.split(' ').collect();
    let rest = || words[1..].iter().map(|word| Box::from(*word)).collect::<Vec<Box<str>>>();
    let location = |at: usize| Location(words.get(at).copied().unwrap_or("be1!default").as_bytes().into());
    Some(match words[0] {
        "opened" => Answer::Opened(Ok(Opened {
            host: (*words.get(1)?).into(),
            tls: words.contains(&"tls"),
            noauth: words.contains(&"noauth"),
        })),
        "not-opened" => Answer::Opened(Err(OpenError::Connect("be".into()))),
        "active" => Answer::Found(Finding::Active(Entry {
            name: words.get(1)?.as_bytes().into(),
            location: location(2),
            acl: words.get(3).copied().unwrap_or("").replace(',', "\t").into_bytes().into(),
        })),
        "page" => Answer::Page(ListPage {
            entries: words[1..].iter().map(|name| listed(name)).collect(),
            next: None,
            knowledge: Knowledge::Stale,
        }),
        "reserved" => Answer::Found(Finding::Reserved { location: location(1) }),
        "absent" => Answer::Found(Finding::Absent),
        "unknown" => Answer::Found(Finding::Unknown),
        "kept" => Answer::Intended(Ok(())),
        "barrier" => Answer::Barrier(if words.get(1) == Some(&"ok") { Ok(()) } else { Err(Unavailable) }),
        "accepted" => Answer::Password(PasswordVerdict::Accepted),
        "denied" => Answer::Password(PasswordVerdict::Denied),
        "unavailable" => Answer::Password(PasswordVerdict::Unavailable),
        "ask-backend" => Answer::Password(PasswordVerdict::AskBackend),
        "groups-unavailable" => Answer::Groups(Err(Unavailable)),
        "no-home-copy" => Answer::HomeCopy(HomeCopy::default()),
        "groups" => Answer::Groups(Ok(words[1..].iter().map(|word| word.as_bytes().into()).collect())),
        "domain" => Answer::Domain(words.get(1).map(|word| (*word).into())),
        "no-keys" => Answer::ScramKeys(None),
        "capabilities" => {
            let (home, common): (Vec<_>, Vec<_>) =
                rest().into_iter().partition(|item| item.starts_with("home:"));
            let common: Vec<Box<str>> = common.iter().map(|item| item.replace('_', " ").into()).collect();
            let home = home.iter().map(|item| item["home:".len()..].into()).collect();
            let servers = usize::from(!common.is_empty());
            Answer::Capabilities(Arc::new(BackendCapabilities { common, home, servers }))
        }
        _ => return None,
    })
}
