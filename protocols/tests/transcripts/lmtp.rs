//! Plays transcripts through the LMTP session machine, in one piece, line by line, byte by byte and split
//! at random.
//!
//! ```text
//! C: text     the client sends a line          S: text     a line to the client, {*} matches anything
//! B1: text    backend 1 sends a line           P1: text    a line to backend 1
//! C| B1|      without a line end; \r \n \0     Q: text     a question of the session
//! A: text     answers the oldest question      X: side     a side is closed, or `release 1`
//! E: event    `eof 1`, `reset client`, ...     T: 3        so many seconds pass
//! % option    of the configuration, first      --          nothing else was said so far
//! ```

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it wants")]

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use protocols::bulletin::Notices;
use protocols::lmtp::config::{Trust, Verify};
use protocols::lmtp::{Config, Session};
use protocols::login::config::Common;
use protocols::mailbox::Namespace;
use protocols::proxy::{
    Answer, BackendId, Entry, Event, Finding, Instant, Knowledge, ListPage, ListedEntry, Location, OpenError,
    Opened, Origin, Output, PasswordVerdict, Question, QuestionId, Session as _, Side, Then, Unavailable,
};

use super::script::{Cut, expect_next, matches, named, sent};

#[test]
fn transcripts_of_lmtp_play_however_the_input_is_cut() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/lmtp");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 6, "transcripts are missing");
    let mut failures = String::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, scene) in text.split("\n====").enumerate() {
            // The first line is a title.
            let scene = scene.split_once('\n').map_or("", |(_, scene)| scene);
            let cuts = [Cut::Joined, Cut::Lines, Cut::Bytes].into_iter().chain((1..=6).map(Cut::Random));
            let title = format!("{} scene {}", file.file_name().unwrap().to_string_lossy(), number + 1);
            let failed = cuts.into_iter().find_map(|cut| play(scene, cut).err().map(|why| (cut, why)));
            if let Some((cut, why)) = failed {
                failures.push_str(&format!("{title}, {cut:?}: {why}\n"));
            }
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

#[derive(Default)]
struct End {
    input: Vec<u8>,
    /// Bytes of `input` that were offered and left.
    seen: usize,
    held: bool,
    output: Vec<u8>,
    closed: bool,
}

struct World {
    session: Session,
    now: Instant,
    random: u64,
    cut: Cut,
    ends: BTreeMap<Side, End>,
    questions: VecDeque<(QuestionId, String)>,
    asked: VecDeque<String>,
    closes: VecDeque<String>,
}

fn config(lines: &[&str]) -> (Config, String) {
    let mut config = Config {
        common: Common {
            servername: "frontend".into(),
            version: "0".into(),
            namespace: Arc::new(Namespace { separator: b'.', alt: false, ..Namespace::default() }),
            admins: [Box::from(&b"cyrus"[..])].into(),
            ..Common::default()
        },
        trust: Trust::Everybody,
        ..Config::default()
    };
    config.common.login.plaintext_allowed = true;
    config.common.proxy.authname = (*b"mailproxy").into();
    config.common.proxy.password = protocols::secret::Secret::new(*b"secret");
    let mut address = "192.0.2.1:4711".to_owned();
    for line in lines.iter().filter_map(|line| line.strip_prefix("% ")) {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        match name {
            "untrusted" => config.trust = Trust::LoggedIn,
            "unix" => address.clear(),
            "hard-noauth" => config.soft_noauth = false,
            "starttls" => config.common.login.starttls = true,
            "serverlist" => config.common.serverlist = value.split(' ').map(Box::from).collect(),
            "verify-list" => config.verify = Verify::List,
            "postuser" => config.address.postuser = value.as_bytes().into(),
            "catchall" => config.address.catchall = Some(value.as_bytes().into()),
            "fuzzy" => config.address.fuzzy = true,
            "maxmessagesize" => config.message_bytes_max = value.parse().ok(),
            "autocreate" => {
                let mut homes = protocols::imap::Config::default();
                homes.autocreate.quota_kib = Some(0);
                homes.autocreate.users = value.split(' ').map(|user| user.as_bytes().into()).collect();
                config.homes = Some(Arc::new(homes));
            }
            "shutdown" => {
                config.common.bulletin.post(Notices { shutdown: Some(value.into()), ..Notices::default() });
            }
            _ => panic!("unknown option {name}"),
        }
    }
    (config, address)
}

fn play(scene: &str, cut: Cut) -> Result<(), String> {
    let lines: Vec<&str> = scene.lines().collect();
    let (config, address) = config(&lines);
    let origin = Origin { random: [7; 32], started_unix: 1, client_address: address.into(), tls: false };
    let mut world = World {
        session: Session::new(Arc::new(config), origin),
        now: Instant(3_600_000_000_000),
        random: cut.seed(),
        cut,
        ends: BTreeMap::new(),
        questions: VecDeque::new(),
        asked: VecDeque::new(),
        closes: VecDeque::new(),
    };
    world.collect();
    let mut at = 0;
    while at < lines.len() {
        let mut next = at + 1;
        if let Some((side, mut bytes)) = sent(lines[at]) {
            while cut == Cut::Joined && next < lines.len() {
                match sent(lines[next]) {
                    Some((other, more)) if other == side => bytes.extend(more),
                    Some(_) | None => break,
                }
                next += 1;
            }
            world.feed(side, &bytes);
        } else {
            world.follow(lines[at]).map_err(|why| format!("line {}: {}\n    {why}", at + 1, lines[at]))?;
        }
        at = next;
    }
    world.follow("--")
}

fn side(text: &str) -> Side {
    match text {
        "client" => Side::Client,
        number => Side::Backend(BackendId(number.parse().unwrap())),
    }
}

impl World {
    fn feed(&mut self, side: Side, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let n = self.cut.next(rest.len(), &mut self.random);
            self.ends.entry(side).or_default().input.extend_from_slice(&rest[..n]);
            rest = &rest[n..];
            self.pump();
        }
    }

    fn pump(&mut self) {
        loop {
            let ready = |end: &End| !end.held && !end.closed && end.input.len() > end.seen;
            let Some(side) = self.ends.iter().find(|(_, end)| ready(end)).map(|(side, _)| *side) else {
                return;
            };
            let input = self.ends[&side].input.clone();
            let taken = self.session.handle_input(side, &input, self.now);
            let end = self.ends.get_mut(&side).unwrap();
            end.input.drain(..taken.n);
            end.held = taken.then == Then::Hold;
            let left = end.input.len();
            end.seen = left;
            let claimed = self.collect();
            if taken.n > 0 || claimed {
                self.wake(Some(side));
            }
            let end = self.ends.get_mut(&side).unwrap();
            if end.input.len() < left {
                (end.seen, end.held) = (0, false);
            }
        }
    }

    fn wake(&mut self, except: Option<Side>) {
        for (side, end) in &mut self.ends {
            if Some(*side) != except && end.held {
                (end.held, end.seen) = (false, 0);
            }
        }
    }

    /// Carries outputs out; whether one claimed input.
    fn collect(&mut self) -> bool {
        let (mut scratch, mut claimed) = (Vec::new(), false);
        loop {
            scratch.clear();
            let Some(output) = self.session.poll_output(&mut scratch) else { return claimed };
            match output {
                Output::Write { to } => self.ends.entry(to).or_default().output.extend_from_slice(&scratch),
                Output::Forward { from, to, n } => {
                    claimed = true;
                    let end = self.ends.get_mut(&from).unwrap();
                    let bytes: Vec<u8> = end.input.drain(..usize::try_from(n).unwrap()).collect();
                    assert!(!to.is_empty(), "a forward to nobody");
                    for side in to {
                        let end = self.ends.entry(side).or_default();
                        assert!(!end.closed, "a forward to a side that was closed");
                        end.output.extend_from_slice(&bytes);
                    }
                }
                Output::Ask { id, question } => {
                    let text = shown(&question);
                    self.asked.push_back(text.clone());
                    self.questions.push_back((id, text));
                }
                Output::Close { side, how } => {
                    let end = self.ends.entry(side).or_default();
                    if !std::mem::replace(&mut end.closed, true) {
                        self.closes.push_back(format!("{} {how:?}", named(side)).to_lowercase());
                    }
                }
                Output::Release { side, server, .. } => {
                    self.ends.entry(side).or_default().closed = true;
                    self.closes.push_back(format!("release {} {server}", named(side)));
                }
                Output::Switch { side, .. } => self.closes.push_back(format!("tls {}", named(side))),
                Output::Tell(_) | Output::Timed(_) => {}
                other => panic!("not wanted in LMTP: {other:?}"),
            }
        }
    }

    fn event(&mut self, event: Event) {
        self.session.handle_event(event, self.now);
        self.wake(None);
        self.collect();
        self.pump();
    }

    fn follow(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() || line.starts_with(['#', '%', '=']) {
            return Ok(());
        }
        let (mark, text) = line.split_once(':').unwrap_or((line, ""));
        let text = text.strip_prefix(' ').unwrap_or(text);
        match mark {
            "--" => self.is_quiet(),
            "S" => self.said(Side::Client, text),
            "Q" => expect_next("question", self.asked.pop_front(), text),
            "X" => expect_next("close", self.closes.pop_front(), text),
            "T" => {
                self.now = self.now + Duration::from_secs(text.parse().unwrap());
                while self.session.poll_timeout().is_some_and(|at| at <= self.now) {
                    self.session.handle_timeout(self.now);
                    self.wake(None);
                    self.collect();
                    self.pump();
                }
                Ok(())
            }
            "A" => {
                let (id, _) = self.questions.pop_front().ok_or("nothing was asked")?;
                let answer = answer(text);
                self.event(Event::Answer { id, answer });
                Ok(())
            }
            "E" => {
                let (what, who) = text.split_once(' ').unwrap_or((text, "client"));
                self.event(match what {
                    "eof" => Event::Eof(side(who)),
                    "reset" => Event::Reset(side(who)),
                    "stalled" => Event::Stalled { from: Side::Client, to: [side(who)].into_iter().collect() },
                    "tls" => Event::Switched { side: side(who), result: Ok(Default::default()) },
                    "drain" => Event::Drain { deadline: Instant(u64::MAX) },
                    _ => return Err("no such event".into()),
                });
                Ok(())
            }
            _ => match mark.strip_prefix('P') {
                Some(number) => self.said(side(number), text),
                None => Err("what is this?".into()),
            },
        }
    }

    fn said(&mut self, side: Side, pattern: &str) -> Result<(), String> {
        let output = &mut self.ends.entry(side).or_default().output;
        let lf = output.iter().position(|byte| *byte == b'\n').ok_or("nothing was said")?;
        let line: Vec<u8> = output.drain(..=lf).collect();
        let line = String::from_utf8_lossy(&line).trim_end_matches("\r\n").to_owned();
        if matches(pattern, &line) { Ok(()) } else { Err(format!("said {line}")) }
    }

    fn is_quiet(&self) -> Result<(), String> {
        // What a backend has of a message that was cut depends on how it came.
        let counts = |side: &Side, end: &End| *side == Side::Client || !end.closed;
        let said = self.ends.iter().find(|(side, end)| !end.output.is_empty() && counts(side, end));
        if let Some((side, end)) = said {
            return Err(format!("{} was also told {}", named(*side), end.output.escape_ascii()));
        }
        match (self.asked.front(), self.closes.front()) {
            (Some(what), _) | (_, Some(what)) => Err(format!("also: {what}")),
            (None, None) => Ok(()),
        }
    }
}

fn shown(question: &Question) -> String {
    match question {
        Question::OpenBackend { side, server, service } => format!("open {} {server} {service:?}", side.0),
        Question::Find { name, freshness } => format!("find {} {freshness:?}", name.escape_ascii()),
        Question::List(query) => format!("list {}", query.prefix.escape_ascii()),
        Question::CheckPassword { user, .. } => format!("password {}", user.escape_ascii()),
        Question::Errand(_) => "errand".into(),
        other => format!("{other:?}"),
    }
}

fn entry(name: &str, server: &str) -> Entry {
    Entry {
        name: name.as_bytes().into(),
        location: Location(format!("{server}!default").into_bytes().into()),
        acl: b"anyone\tlrsp\t".as_slice().into(),
    }
}

fn answer(text: &str) -> Answer {
    let words: Vec<&str> = text.split(' ').collect();
    match words[..] {
        ["at", server] => Answer::Found(Finding::Active(entry("user.x", server))),
        ["private", server] => Answer::Found(Finding::Active(Entry {
            acl: b"fred\tlrs\t".as_slice().into(),
            ..entry("team", server)
        })),
        ["reserved"] => Answer::Found(Finding::Reserved { location: entry("x", "be9").location }),
        ["absent"] => Answer::Found(Finding::Absent),
        ["unknown"] => Answer::Found(Finding::Unknown),
        ["opened", host] => Answer::Opened(Ok(Opened { host: host.into(), tls: false, noauth: false })),
        ["barrier"] => Answer::Barrier(Ok(())),
        ["no-barrier"] => Answer::Barrier(Err(Unavailable)),
        ["not-opened"] => Answer::Opened(Err(OpenError::Connect("be".into()))),
        ["reused", offer] => {
            Answer::Reused { offer: offer.replace(',', "\n").replace('_', " ").into_bytes().into() }
        }
        ["accepted"] => Answer::Password(PasswordVerdict::Accepted),
        ["ask-backend"] => Answer::Password(PasswordVerdict::AskBackend),
        ["denied"] => Answer::Password(PasswordVerdict::Denied),
        ["page", ref names @ ..] => Answer::Page(ListPage {
            entries: names
                .iter()
                .map(|name| ListedEntry {
                    entry: entry(name, "be1"),
                    reserved: false,
                    rights: protocols::mailbox::Rights::FULL,
                })
                .collect(),
            next: None,
            knowledge: Knowledge::Live,
        }),
        _ => panic!("no answer: {text}"),
    }
}
