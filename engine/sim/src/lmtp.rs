//! Mail in the simulated murder: MTAs that deliver by LMTP, and the LMTP side of backends.

use std::collections::BTreeMap;

use protocols::proxy::Instant;

use crate::dice::Dice;
use crate::net::{Broken, EndId, Net};

/// Bytes of the largest message.
const MESSAGE_BYTES_MAX: usize = 200_000;

/// The LMTP side of a backend: keeps what it was given, and how often.
#[derive(Default)]
pub struct Store {
    /// Users who live here.
    users: Vec<String>,
    peers: Vec<Peer>,
    /// How often a message is in a mailbox, by message and user.
    pub kept: BTreeMap<(String, String), usize>,
    /// What must not happen and did.
    pub violations: Vec<String>,
}

struct Peer {
    end: EndId,
    input: Vec<u8>,
    out: Vec<u8>,
    recipients: Vec<String>,
    has_sender: bool,
    in_message: bool,
    message: Vec<u8>,
}

impl Store {
    /// Of these users.
    pub fn new(users: Vec<String>) -> Store {
        Store { users, ..Store::default() }
    }

    /// Dies: what it kept stays.
    pub fn die(&mut self) {
        self.peers.clear();
    }

    /// Takes a connection.
    pub fn accept(&mut self, end: EndId) {
        self.peers.push(Peer {
            end,
            input: Vec::new(),
            out: b"220 backend LMTP\r\n".to_vec(),
            recipients: Vec::new(),
            has_sender: false,
            in_message: false,
            message: Vec::new(),
        });
    }

    /// Reads, answers, sends.
    pub fn turn(&mut self, net: &mut Net, now: Instant, dice: &mut Dice) {
        for mut peer in std::mem::take(&mut self.peers) {
            let input = &mut peer.input;
            let mut is_over =
                net.receive(peer.end, now, dice, &mut |bytes| input.extend_from_slice(bytes)).is_err();
            self.serve(&mut peer);
            match net.send(peer.end, &peer.out, now, dice) {
                Ok(n) => drop(peer.out.drain(..n)),
                Err(Broken) => is_over = true,
            }
            if is_over {
                net.close(peer.end, now);
            } else {
                self.peers.push(peer);
            }
        }
    }

    fn serve(&mut self, peer: &mut Peer) {
        while let Some(lf) = peer.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = peer.input.drain(..=lf).collect();
            let Some(line) = line.strip_suffix(b"\r\n") else {
                self.violations.push("a backend was sent a bare LF".into());
                continue;
            };
            if line.contains(&b'\r') || line.contains(&0) {
                self.violations.push("a backend was sent a lone CR or NUL".into());
            }
            if peer.in_message { self.message_line(peer, line) } else { self.command(peer, line) }
        }
    }

    fn message_line(&mut self, peer: &mut Peer, line: &[u8]) {
        if line != b"." {
            peer.message.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
            peer.message.push(b'\n');
            return;
        }
        peer.in_message = false;
        peer.has_sender = false;
        let message = String::from_utf8_lossy(&std::mem::take(&mut peer.message)).into_owned();
        let (name, body) = message.split_once('\n').unwrap_or_default();
        if body.len().to_string() != name.rsplit('/').next().unwrap_or_default() {
            self.violations.push(format!("message {name} is not whole: {} bytes", body.len()));
        }
        for user in std::mem::take(&mut peer.recipients) {
            *self.kept.entry((name.to_owned(), user)).or_default() += 1;
            peer.out.extend_from_slice(b"250 2.1.5 Success\r\n");
        }
    }

    fn command(&self, peer: &mut Peer, line: &[u8]) {
        let text = String::from_utf8_lossy(line).into_owned();
        let reply = match text.split([' ', ':']).next().unwrap_or_default() {
            "LHLO" => "250-backend\r\n250-PIPELINING\r\n250-SIZE\r\n250 AUTH PLAIN\r\n",
            "AUTH" => "235 Authenticated!\r\n",
            "MAIL" if peer.has_sender => "503 5.5.1 Nested MAIL command\r\n",
            "MAIL" => {
                peer.has_sender = true;
                "250 2.1.0 ok\r\n"
            }
            "RCPT" => {
                let user = text.split(['<', '>', '@']).nth(1).unwrap_or_default().to_owned();
                if self.users.contains(&user) {
                    peer.recipients.push(user);
                    "250 2.1.5 ok\r\n"
                } else {
                    "550 5.1.1 User unknown\r\n"
                }
            }
            "DATA" if peer.recipients.is_empty() => "503 5.5.1 No recipients\r\n",
            "DATA" => {
                peer.in_message = true;
                "354 go ahead\r\n"
            }
            "RSET" => {
                peer.recipients.clear();
                peer.has_sender = false;
                "250 2.0.0 ok\r\n"
            }
            _ => "500 5.5.2 Syntax error\r\n",
        };
        peer.out.extend_from_slice(reply.as_bytes());
    }
}

/// An MTA with some messages to deliver over one connection.
pub struct Sender {
    end: EndId,
    input: Vec<u8>,
    out: Vec<u8>,
    /// Replies that are owed, in order.
    owed: Vec<Owed>,
    messages_left: usize,
    name: String,
    users: Vec<String>,
    /// It went in the middle of this message, which nobody may have.
    pub cut: Option<String>,
    /// Message and user for whom delivery was confirmed.
    pub confirmed: Vec<(String, String)>,
    /// Replies that said to come again.
    pub deferred: usize,
    taken: Vec<String>,
    message_name: String,
    number: usize,
    /// The connection has ended.
    pub over: bool,
    /// What must not happen and did.
    pub violations: Vec<String>,
}

enum Owed {
    Any,
    Rcpt(String),
    Go,
    Delivery(String),
}

impl Sender {
    /// An MTA that has connected.
    pub fn new(name: String, end: EndId, users: Vec<String>, messages: usize) -> Sender {
        Sender {
            end,
            input: Vec::new(),
            out: b"LHLO mta\r\n".to_vec(),
            owed: vec![Owed::Any, Owed::Any],
            messages_left: messages,
            name,
            users,
            cut: None,
            confirmed: Vec::new(),
            deferred: 0,
            taken: Vec::new(),
            message_name: String::new(),
            number: 0,
            over: false,
            violations: Vec::new(),
        }
    }

    /// Replies that it waits for.
    pub fn pending(&self) -> usize {
        self.owed.len()
    }

    /// Reads, checks, sends the next message.
    pub fn turn(&mut self, net: &mut Net, now: Instant, dice: &mut Dice) {
        if self.over {
            return;
        }
        let input = &mut self.input;
        let stands = net.receive(self.end, now, dice, &mut |bytes| input.extend_from_slice(bytes));
        while let Some(lf) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=lf).collect();
            if line.get(3) != Some(&b'-') {
                self.reply(&String::from_utf8_lossy(&line), dice);
            }
        }
        if stands.is_err() {
            return self.end(net, now);
        }
        if self.owed.is_empty() && self.out.is_empty() {
            if self.messages_left == 0 || self.cut.is_some() {
                return self.end(net, now);
            }
            self.begin(dice);
        }
        match net.send(self.end, &self.out, now, dice) {
            Ok(n) => drop(self.out.drain(..n)),
            Err(Broken) => self.end(net, now),
        }
        if self.cut.is_some() && self.out.is_empty() {
            self.end(net, now);
        }
    }

    fn end(&mut self, net: &mut Net, now: Instant) {
        self.over = true;
        self.owed.clear();
        net.close(self.end, now);
    }

    fn begin(&mut self, dice: &mut Dice) {
        self.messages_left -= 1;
        self.number += 1;
        self.taken.clear();
        self.out.extend_from_slice(b"MAIL FROM:<a@b.c>\r\n");
        self.owed.push(Owed::Any);
        let mut recipients: Vec<String> =
            self.users.iter().filter(|_| dice.per_mille(600)).cloned().collect();
        if dice.per_mille(200) {
            recipients.push("nobody".into());
        }
        for user in recipients {
            self.out.extend_from_slice(format!("RCPT TO:<{user}>\r\n").as_bytes());
            self.owed.push(Owed::Rcpt(user));
        }
        self.out.extend_from_slice(b"DATA\r\n");
        self.owed.push(Owed::Go);
    }

    fn reply(&mut self, line: &str, dice: &mut Dice) {
        if line.starts_with("421") {
            self.messages_left = 0;
            return self.owed.clear();
        }
        if self.owed.is_empty() {
            return self.violations.push(format!("an MTA was told what it did not ask: {line}"));
        }
        let is_good = line.starts_with('2');
        match self.owed.remove(0) {
            Owed::Any => {}
            Owed::Rcpt(user) if is_good => self.taken.push(user),
            Owed::Rcpt(user) => self.refused(&user, line),
            Owed::Go if line.starts_with("354") => self.send_message(dice),
            Owed::Go if line.starts_with('5') && !self.taken.is_empty() => {
                self.violations.push(format!("DATA refused for good: {line}"));
            }
            Owed::Go => {
                if !self.taken.is_empty() || !line.starts_with("503") {
                    self.deferred += 1;
                }
                self.out.extend_from_slice(b"RSET\r\n");
                self.owed.push(Owed::Any);
            }
            Owed::Delivery(user) if is_good => self.confirmed.push((self.message_name.clone(), user)),
            Owed::Delivery(user) => self.refused(&user, line),
        }
    }

    fn refused(&mut self, user: &str, line: &str) {
        self.deferred += 1;
        if user != "nobody" && line.starts_with('5') {
            self.violations.push(format!("mail for {user} refused for good: {line}"));
        }
    }

    /// Lines of all kinds, in a name of its own that tells its length.
    fn send_message(&mut self, dice: &mut Dice) {
        let wanted = if dice.per_mille(100) { dice.below(MESSAGE_BYTES_MAX) } else { dice.below(3000) };
        let (mut wire, mut plain) = (Vec::new(), 0);
        while plain < wanted {
            let length = dice.below(90);
            let end: &[u8] = [&b"\r\n"[..], b"\n", b"\r\r\n"][dice.below(3)];
            if dice.per_mille(100) {
                wire.extend_from_slice(b"..");
                plain += 1;
            }
            wire.extend(std::iter::repeat_n(b'm', length));
            wire.extend_from_slice(end);
            plain += length + 1;
        }
        let name = format!("{}/{}/{plain}", self.name, self.number);
        self.out.extend_from_slice(format!("{name}\r\n").as_bytes());
        self.message_name = name.clone();
        if dice.per_mille(100) {
            let part = dice.below(wire.len().max(1));
            self.out.extend_from_slice(&wire[..part.min(wire.len())]);
            self.cut = Some(name);
            return;
        }
        self.out.extend_from_slice(&wire);
        self.out.extend_from_slice([&b".\r\n"[..], b".\n", b"\r.\r\r\n"][dice.below(3)]);
        self.owed.extend(self.taken.drain(..).map(Owed::Delivery));
    }
}
