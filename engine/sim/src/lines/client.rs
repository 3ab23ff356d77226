//! A client of POP3 or ManageSieve: he checks what he sees.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocols::proxy::Instant;

use super::{BODY_BYTES_MAX, Kind};
use crate::dice::Dice;
use crate::message;
use crate::net::{Broken, EndId, Net};

/// A client of POP3 or ManageSieve.
pub struct LineClient {
    kind: Kind,
    user: String,
    /// Tells this client from all others.
    pub mark: String,
    end: EndId,
    input: Vec<u8>,
    out: Vec<u8>,
    awaits: Vec<Awaited>,
    steps_left: usize,
    is_in: bool,
    /// He has said QUIT or LOGOUT.
    pub quit: bool,
    /// What his script must be, once a PUTSCRIPT of it was answered.
    script: Option<Vec<u8>>,
    /// The connection has ended.
    pub over: bool,
    /// Commands that were answered well.
    pub answered_ok: usize,
    /// What must not happen and did.
    pub violations: Vec<String>,
}

/// The reply that is due.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Awaited {
    Greeting,
    Login,
    /// One line that names the user.
    Name,
    Line,
    Message,
    Put(Vec<u8>),
    Script,
}

impl LineClient {
    /// A client that has connected and will log in as `user`.
    pub fn new(kind: Kind, user: &str, end: EndId, steps: usize) -> LineClient {
        LineClient {
            kind,
            user: user.to_owned(),
            mark: format!("client{}", end.0),
            end,
            input: Vec::new(),
            out: Vec::new(),
            awaits: vec![Awaited::Greeting],
            steps_left: steps,
            is_in: false,
            quit: false,
            script: None,
            over: false,
            answered_ok: 0,
            violations: Vec::new(),
        }
    }

    /// Reads, checks, says the next thing.
    pub fn turn(&mut self, net: &mut Net, now: Instant, dice: &mut Dice) {
        if self.over {
            return;
        }
        let input = &mut self.input;
        let stands = net.receive(self.end, now, dice, &mut |bytes| input.extend_from_slice(bytes));
        while self.take_reply() {}
        if stands.is_err() {
            return self.end(net, now);
        }
        if self.awaits.is_empty() {
            if self.steps_left == 0 && !self.quit && dice.per_mille(300) {
                // Goes without a word.
                return self.end(net, now);
            }
            self.speak(dice);
        }
        match net.send(self.end, &self.out, now, dice) {
            Ok(n) => drop(self.out.drain(..n)),
            Err(Broken) => self.end(net, now),
        }
    }

    fn end(&mut self, net: &mut Net, now: Instant) {
        self.over = true;
        net.close(self.end, now);
    }

    fn say(&mut self, line: &str, awaited: Awaited) {
        self.out.extend_from_slice(line.as_bytes());
        self.out.extend_from_slice(b"\r\n");
        self.awaits.push(awaited);
    }

    fn speak(&mut self, dice: &mut Dice) {
        if self.quit {
            return;
        }
        if !self.is_in {
            let plain = STANDARD.encode(format!("\0{}\0pw-{}", self.user, self.user));
            return match self.kind {
                Kind::Pop3 => self.say(&format!("AUTH PLAIN {plain}"), Awaited::Login),
                Kind::Sieve => self.say(&format!("AUTHENTICATE \"PLAIN\" \"{plain}\""), Awaited::Login),
            };
        }
        if self.steps_left == 0 {
            self.quit = true;
            let word = if self.kind == Kind::Pop3 { "QUIT" } else { "LOGOUT" };
            return self.say(word, Awaited::Line);
        }
        // Some at once: the next is said before the last is answered.
        for _ in 0..1 + dice.below(4) {
            if self.steps_left > 0 {
                self.steps_left -= 1;
                match self.kind {
                    Kind::Pop3 => self.speak_pop3(dice),
                    Kind::Sieve => self.speak_sieve(dice),
                }
            }
        }
    }

    fn speak_pop3(&mut self, dice: &mut Dice) {
        match dice.below(4) {
            0 => self.say(&format!("NOOP {}", self.mark), Awaited::Name),
            1 => self.say("STAT", Awaited::Line),
            2 => self.say(&format!("RETR {}", 1 + dice.below(4)), Awaited::Message),
            _ => self.say(&format!("DELE {}", 1 + dice.below(3)), Awaited::Line),
        }
    }

    fn speak_sieve(&mut self, dice: &mut Dice) {
        match dice.below(3) {
            0 => self.say(&format!("NOOP \"{}\"", self.mark), Awaited::Name),
            1 => {
                let bytes_max = [50, 5000, 5000, 5000, BODY_BYTES_MAX][dice.below(5)];
                let bytes = dice.below(bytes_max);
                let script = message::write(&self.user, dice.roll(), bytes);
                let head = format!("PUTSCRIPT \"{}\" {{{}+}}\r\n", self.mark, script.len());
                self.out.extend_from_slice(head.as_bytes());
                self.out.extend_from_slice(&script);
                self.say("", Awaited::Put(script));
            }
            _ => self.say(&format!("GETSCRIPT \"{}\"", self.mark), Awaited::Script),
        }
    }

    /// Takes one whole reply; whether there was one.
    fn take_reply(&mut self) -> bool {
        let Some(awaited) = self.awaits.first().cloned() else {
            return self.take_unasked();
        };
        let Some(len) = self.reply_len(&awaited) else { return false };
        let reply: Vec<u8> = self.input.drain(..len).collect();
        self.awaits.remove(0);
        self.check(awaited, &reply);
        true
    }

    /// A goodbye.
    fn take_unasked(&mut self) -> bool {
        let Some(lf) = self.input.iter().position(|byte| *byte == b'\n') else { return false };
        let line: Vec<u8> = self.input.drain(..=lf).collect();
        if !line.starts_with(b"BYE") && !line.starts_with(b"-ERR") {
            self.violation(&format!("unasked {}", line.escape_ascii()));
        }
        true
    }

    /// Bytes of the reply at the front of the input, once it is whole.
    fn reply_len(&self, awaited: &Awaited) -> Option<usize> {
        let line_end = |from: usize| Some(from + self.input[from..].iter().position(|b| *b == b'\n')? + 1);
        let first = line_end(0)?;
        if self.kind == Kind::Pop3 {
            let is_multi = *awaited == Awaited::Message && self.input.starts_with(b"+OK");
            return if is_multi {
                self.input.windows(5).position(|at| at == b"\r\n.\r\n").map(|at| at + 5)
            } else {
                Some(first)
            };
        }
        let mut at = 0;
        loop {
            let end = line_end(at)?;
            let line = &self.input[at..end];
            if [&b"OK"[..], b"NO", b"BYE"].iter().any(|word| line.starts_with(word)) {
                return Some(end);
            }
            at = end;
            if let Some(digits) = line.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}\r\n")) {
                at += std::str::from_utf8(digits).ok()?.parse::<usize>().ok()?;
                if at > self.input.len() {
                    return None;
                }
            }
        }
    }

    fn violation(&mut self, what: &str) {
        self.violations.push(format!("{:?} client {} of {}: {what}", self.kind, self.mark, self.user));
    }

    fn check(&mut self, awaited: Awaited, reply: &[u8]) {
        let text = String::from_utf8_lossy(reply).into_owned();
        let is_ok = if self.kind == Kind::Pop3 { text.starts_with("+OK") } else { text.contains("OK") };
        if text.starts_with("BYE") {
            self.quit = true;
            return self.awaits.clear();
        }
        self.answered_ok += usize::from(is_ok);
        match awaited {
            Awaited::Login if is_ok => self.is_in = true,
            Awaited::Login if text.contains("[AUTH]") || text.contains("Authentication Error") => {
                self.violation(&format!("right password is wrong: {text}"));
            }
            Awaited::Name if is_ok && !text.contains(&self.user) => {
                self.violation(&format!("what was meant for another: {text}"));
            }
            Awaited::Message if is_ok => self.check_message(reply),
            Awaited::Put(script) if is_ok => self.script = Some(script),
            Awaited::Script if self.script.is_some() => self.check_script(reply, is_ok),
            Awaited::Greeting
            | Awaited::Login
            | Awaited::Name
            | Awaited::Line
            | Awaited::Message
            | Awaited::Put(_)
            | Awaited::Script => {}
        }
    }

    fn check_message(&mut self, reply: &[u8]) {
        let body = reply.split(|byte| *byte == b'\n').nth(1).unwrap_or_default().trim_ascii();
        let message = STANDARD.decode(body).unwrap_or_default();
        match message::check(&message) {
            Ok((user, _)) if user == self.user => {}
            Ok((user, _)) => self.violation(&format!("a message of {user}")),
            Err(why) => self.violation(why),
        }
    }

    fn check_script(&mut self, reply: &[u8], is_ok: bool) {
        let expected = self.script.clone().unwrap_or_default();
        let head = format!("{{{}}}\r\n", expected.len());
        let is_same =
            is_ok && reply.strip_prefix(head.as_bytes()).is_some_and(|rest| rest.starts_with(&expected));
        if !is_same {
            self.violation("a script is not what it was");
        }
    }
}
