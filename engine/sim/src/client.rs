//! A mail client of the simulated murder: does what the dice say and checks what it sees.

use protocols::proxy::Instant;

use crate::dice::Dice;
use crate::message;
use crate::net::{Broken, EndId, Net, Read};
use crate::units::{Unit, Units};

/// Bytes of the largest body that is appended.
const BODY_BYTES_MAX: usize = 300_000;

/// A client.
pub struct Client {
    /// Its user.
    pub user: String,
    end: EndId,
    units: Units,
    out: Vec<u8>,
    /// Bytes that follow once the server says "go ahead" to the command of this tag.
    held: Option<(String, Vec<u8>)>,
    /// Commands without a tagged answer, in order: tag and what they are.
    pending: Vec<(String, Verb)>,
    next_tag: u32,
    steps_left: usize,
    boxes: Vec<String>,
    selected: bool,
    idling: bool,
    saw_bye: bool,
    /// The connection has ended.
    pub over: bool,
    /// Commands that were answered OK.
    pub answered_ok: usize,
    /// Commands that were answered NO or BAD.
    pub answered_no: usize,
    /// Print what is said.
    trace: bool,
    /// What must not happen and did.
    pub violations: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verb {
    Login,
    Select,
    Fetch,
    Append,
    Status,
    List,
    Noop,
    Copy,
    Idle,
    Logout,
}

impl Client {
    /// A client that has connected and will log in as `user`, then use these mailboxes.
    pub fn new(user: &str, end: EndId, boxes: Vec<String>, steps: usize, trace: bool) -> Client {
        Client {
            user: user.to_owned(),
            end,
            units: Units::default(),
            out: Vec::new(),
            held: None,
            pending: Vec::new(),
            next_tag: 1,
            steps_left: steps,
            boxes,
            selected: false,
            idling: false,
            saw_bye: false,
            over: false,
            answered_ok: 0,
            answered_no: 0,
            trace,
            violations: Vec::new(),
        }
    }

    fn name(&self) -> String {
        format!("{}@{}", self.user, self.end.0)
    }

    /// Commands that wait for their answer.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Reads, checks, says the next thing.
    pub fn turn(&mut self, net: &mut Net, now: Instant, dice: &mut Dice) {
        if self.over {
            return;
        }
        loop {
            match net.read(self.end, 32 * 1024, now, dice) {
                Read::Bytes(bytes) => self.units.push(&bytes),
                Read::Nothing => break,
                Read::Eof | Read::Reset => return self.end(net, now),
            }
            while let Unit::Whole(unit) = self.units.poll() {
                self.response(&unit, dice);
            }
        }
        self.speak(dice);
        match net.send(self.end, &self.out, now, dice) {
            Ok(n) => drop(self.out.drain(..n)),
            Err(Broken) => self.end(net, now),
        }
    }

    fn end(&mut self, net: &mut Net, now: Instant) {
        self.over = true;
        net.close(self.end, now);
    }

    fn violation(&mut self, what: &str) {
        self.violations.push(format!("client of {}: {what}", self.user));
    }

    fn response(&mut self, unit: &[u8], dice: &mut Dice) {
        let text = String::from_utf8_lossy(unit).into_owned();
        if text.starts_with("+ ") {
            if self.trace {
                println!("             {} <- {text}", self.name());
            }
            return self.continued(dice);
        }
        if self.trace {
            println!("             {} <- {}", self.name(), text.get(..90).unwrap_or(&text));
        }
        if text.starts_with("* BYE") {
            self.saw_bye = true;
        } else if let Some(user) = text.strip_prefix("* OK X-FOR ") {
            if user != self.user {
                self.violation(&format!("what was meant for {user}"));
            }
        } else if text.contains(" FETCH (") && text.starts_with("* ") {
            self.fetched(unit);
        } else if !text.starts_with("* ") {
            self.tagged(&text);
        }
    }

    fn continued(&mut self, dice: &mut Dice) {
        if let Some((_, rest)) = self.held.take() {
            self.out.extend_from_slice(&rest);
        } else if self.pending.last().is_some_and(|(_, verb)| *verb == Verb::Idle) {
            self.idling = true;
            if dice.per_mille(700) {
                self.out.extend_from_slice(b"DONE\r\n");
                self.idling = false;
            }
        } else {
            self.violation("a go-ahead that nobody waits for");
        }
    }

    /// A message must be whole.
    fn fetched(&mut self, unit: &[u8]) {
        let Some(start) = unit.windows(7).position(|at| at == b"Owner: ") else { return };
        let Some(message) = unit[start..].strip_suffix(b")") else {
            return self.violation("a FETCH without an end");
        };
        if let Err(why) = message::check(message) {
            self.violation(&format!("a damaged message: {why}"));
        }
    }

    fn tagged(&mut self, text: &str) {
        let mut words = text.splitn(3, ' ');
        let (tag, status) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let rest = words.next().unwrap_or_default();
        if self.pending.first().is_none_or(|(first, _)| first != tag) {
            let waits: Vec<_> = self.pending.iter().map(|(tag, _)| tag.clone()).collect();
            return self.violation(&format!("answer {text:?} while {waits:?} wait"));
        }
        let (_, verb) = self.pending.remove(0);
        let ok = status == "OK";
        self.answered_ok += usize::from(ok);
        self.answered_no += usize::from(!ok);
        match verb {
            Verb::Select => self.selected = ok,
            Verb::Login if !ok => self.steps_left = 0,
            Verb::Idle => self.idling = false,
            Verb::Append
            | Verb::Login
            | Verb::Fetch
            | Verb::Status
            | Verb::List
            | Verb::Noop
            | Verb::Copy
            | Verb::Logout => {}
        }
        if !ok {
            self.held.take_if(|(held, _)| held == tag);
            self.refused(verb, status, rest);
        }
    }

    /// Every mailbox that is named exists all the time, so only a temporary refusal is true.
    fn refused(&mut self, verb: Verb, status: &str, rest: &str) {
        let temporary = rest.starts_with("[UNAVAILABLE]") || rest.starts_with("[INUSE]");
        let unselected = verb == Verb::Fetch || verb == Verb::Copy;
        if status == "NO" && !temporary && !unselected {
            self.violation(&format!("{verb:?} refused for good: {rest}"));
        }
        if status == "BAD" && !unselected {
            self.violation(&format!("{verb:?} was BAD: {rest}"));
        }
    }

    fn speak(&mut self, dice: &mut Dice) {
        if self.idling && dice.per_mille(300) {
            self.out.extend_from_slice(b"DONE\r\n");
            self.idling = false;
        }
        let waits = self.held.is_some() || self.pending.iter().any(|(_, verb)| verb.is_alone());
        if waits || self.saw_bye || self.pending.len() > dice.below(3) {
            return;
        }
        if self.next_tag == 1 {
            let login = format!("LOGIN {} pw-{}", self.user, self.user);
            return self.say(Verb::Login, &login);
        }
        if self.steps_left == 0 {
            if self.pending.is_empty() {
                self.say(Verb::Logout, "LOGOUT");
                self.saw_bye = true;
            }
            return;
        }
        self.steps_left -= 1;
        self.step(dice);
    }

    fn step(&mut self, dice: &mut Dice) {
        let name = self.boxes[dice.below(self.boxes.len())].clone();
        match dice.below(10) {
            0 | 1 => self.say(Verb::Select, &format!("SELECT {name}")),
            2 if self.selected => self.say(Verb::Fetch, "FETCH 1:* (FLAGS BODY.PEEK[])"),
            3 => self.say(Verb::Fetch, "UID FETCH 1:3 (UID BODY.PEEK[])"),
            4 | 5 => self.append(&name, dice),
            6 => self.say(Verb::Status, &format!("STATUS {name} (MESSAGES)")),
            7 => self.say(Verb::List, "LIST \"\" \"*\""),
            8 if self.selected => self.say(Verb::Copy, &format!("COPY 1:2 {name}")),
            9 if self.selected => self.say(Verb::Idle, "IDLE"),
            _ => self.say(Verb::Noop, "NOOP"),
        }
    }

    fn append(&mut self, name: &str, dice: &mut Dice) {
        let size = match dice.below(4) {
            0 => dice.below(BODY_BYTES_MAX),
            _ => dice.below(3000),
        };
        let mail = message::write(&self.user, dice.roll(), size);
        if dice.per_mille(500) {
            self.say_part(Verb::Append, &format!("APPEND {name} (\\Seen) {{{}+}}\r\n", mail.len()));
            self.out.extend_from_slice(&mail);
            self.out.extend_from_slice(b"\r\n");
        } else {
            self.say_part(Verb::Append, &format!("APPEND {name} {{{}}}\r\n", mail.len()));
            let tag = self.pending.last().map(|(tag, _)| tag.clone()).unwrap_or_default();
            self.held = Some((tag, [&mail[..], b"\r\n"].concat()));
        }
    }

    fn say(&mut self, verb: Verb, command: &str) {
        self.say_part(verb, &format!("{command}\r\n"));
    }

    fn say_part(&mut self, verb: Verb, command: &str) {
        let tag = format!("c{}", self.next_tag);
        if self.trace {
            println!("             {} -> {tag} {}", self.name(), command.trim_end());
        }
        self.next_tag += 1;
        self.out.extend_from_slice(format!("{tag} {command}").as_bytes());
        self.pending.push((tag, verb));
    }
}

impl Verb {
    /// Nothing is pipelined behind it.
    fn is_alone(self) -> bool {
        matches!(self, Verb::Login | Verb::Idle | Verb::Logout | Verb::Select)
    }
}
