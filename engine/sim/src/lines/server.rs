//! The POP3 and ManageSieve servers of a backend: they check what they are asked and by whom.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocols::proxy::Instant;
use protocols::sieve::grammar::{Scan, Verb, command};

use super::{BODY_BYTES_MAX, Kind};
use crate::dice::Dice;
use crate::message;
use crate::net::{Broken, EndId, Net};
use crate::site::PROXY_PASSWORD;

/// Messages in a maildrop at the start.
const MESSAGES: u64 = 6;

/// The POP3 and ManageSieve servers of one backend.
#[derive(Default)]
pub struct Server {
    /// The users whose home it is.
    users: BTreeSet<String>,
    /// Seeds of the messages of a user.
    drops: BTreeMap<String, Vec<u64>>,
    /// Scripts by user and name.
    scripts: BTreeMap<(String, String), Vec<u8>>,
    peers: Vec<Peer>,
    /// Clients that said QUIT here, by the mark that they left.
    pub quits: BTreeSet<String>,
    /// What must not happen and did.
    pub violations: Vec<String>,
}

struct Peer {
    kind: Kind,
    end: EndId,
    input: Vec<u8>,
    out: Vec<u8>,
    user: Option<String>,
    deleted: BTreeSet<usize>,
    mark: Option<String>,
    closing: bool,
}

impl Server {
    /// Servers of these users.
    pub fn new(users: impl IntoIterator<Item = String>) -> Server {
        let users: BTreeSet<String> = users.into_iter().collect();
        let drops = users.iter().map(|user| (user.clone(), (0..MESSAGES).collect())).collect();
        Server { users, drops, ..Server::default() }
    }

    /// Takes a connection.
    pub fn accept(&mut self, kind: Kind, end: EndId) {
        let out: &[u8] = match kind {
            Kind::Pop3 => b"+OK ready\r\n",
            Kind::Sieve => b"\"SIEVE\" \"fileinto\"\r\n\"SASL\" \"PLAIN\"\r\nOK\r\n",
        };
        self.peers.push(Peer {
            kind,
            end,
            input: Vec::new(),
            out: out.to_vec(),
            user: None,
            deleted: BTreeSet::new(),
            mark: None,
            closing: false,
        });
    }

    /// Dies: its connections are gone, what it stored stays.
    pub fn die(&mut self) {
        self.peers.clear();
    }

    /// Reads, answers, sends.
    pub fn turn(&mut self, net: &mut Net, now: Instant, dice: &mut Dice) {
        for mut peer in std::mem::take(&mut self.peers) {
            let input = &mut peer.input;
            let mut over =
                net.receive(peer.end, now, dice, &mut |bytes| input.extend_from_slice(bytes)).is_err();
            match peer.kind {
                Kind::Pop3 => self.serve_pop3(&mut peer),
                Kind::Sieve => self.serve_sieve(&mut peer),
            }
            match net.send(peer.end, &peer.out, now, dice) {
                Ok(n) => drop(peer.out.drain(..n)),
                Err(Broken) => over = true,
            }
            if over || (peer.closing && peer.out.is_empty()) {
                net.close(peer.end, now);
            } else {
                self.peers.push(peer);
            }
        }
    }

    fn log_in(&mut self, peer: &mut Peer, response: &[u8]) -> bool {
        let message = STANDARD.decode(response).unwrap_or_default();
        let parts: Vec<String> =
            message.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
        let [user, proxy, password] = parts.as_slice() else { return false };
        if proxy != "proxy" || password != PROXY_PASSWORD {
            self.violations.push(format!("{:?} server: {proxy} logs in", peer.kind));
            return false;
        }
        if !self.users.contains(user) {
            self.violations.push(format!("{:?} server: {user} is at home elsewhere", peer.kind));
        }
        peer.user = Some(user.clone());
        true
    }

    fn serve_pop3(&mut self, peer: &mut Peer) {
        while let Some(lf) = peer.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = peer.input.drain(..=lf).collect();
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let words: Vec<&str> = line.split(' ').collect();
            match (peer.user.clone(), words.as_slice()) {
                (None, ["CAPA"]) => peer.out.extend_from_slice(b"+OK\r\nSASL PLAIN\r\n.\r\n"),
                (None, ["AUTH", "PLAIN", response]) => {
                    let is_in = self.log_in(peer, response.as_bytes());
                    peer.out.extend_from_slice(if is_in { b"+OK in\r\n" } else { b"-ERR [AUTH]\r\n" });
                }
                (Some(user), words) => self.obey_pop3(peer, &user, words),
                (None, _) => self.violations.push(format!("POP3 server: a guest says {line}")),
            }
        }
    }

    fn obey_pop3(&mut self, peer: &mut Peer, user: &str, words: &[&str]) {
        let seeds = self.drops.get(user).cloned().unwrap_or_default();
        let number = words.get(1).and_then(|word| word.parse::<usize>().ok()).unwrap_or(0);
        match words {
            ["NOOP", mark] => {
                peer.mark = Some((*mark).to_owned());
                peer.out.extend_from_slice(format!("+OK {user}\r\n").as_bytes());
            }
            ["STAT"] => peer.out.extend_from_slice(format!("+OK {} 0\r\n", seeds.len()).as_bytes()),
            ["RETR", _] => match seeds.get(number.wrapping_sub(1)) {
                Some(seed) => {
                    let bytes = message_bytes(*seed);
                    let body = STANDARD.encode(message::write(user, *seed, bytes));
                    peer.out.extend_from_slice(format!("+OK\r\n{body}\r\n.\r\n").as_bytes());
                }
                None => peer.out.extend_from_slice(b"-ERR no such message\r\n"),
            },
            ["DELE", _] => {
                peer.deleted.insert(number);
                peer.out.extend_from_slice(b"+OK\r\n");
            }
            ["QUIT"] => {
                self.quits.extend(peer.mark.clone());
                let left = seeds.iter().enumerate().filter(|(n, _)| !peer.deleted.contains(&(n + 1)));
                self.drops.insert(user.to_owned(), left.map(|(_, seed)| *seed).collect());
                peer.out.extend_from_slice(b"+OK\r\n");
                peer.closing = true;
            }
            words => self.violations.push(format!("POP3 server: {words:?}")),
        }
    }

    fn serve_sieve(&mut self, peer: &mut Peer) {
        loop {
            let (verb, strings, len) = match command(&peer.input) {
                Scan::Whole { verb, strings, len } => {
                    (verb, strings.iter().map(|string| string.to_vec()).collect::<Vec<_>>(), len)
                }
                Scan::Script { verb, begins, script } => {
                    let end = begins + script as usize;
                    if peer.input.len() < end + 2 {
                        return;
                    }
                    let name = script_name(&peer.input[..begins]);
                    (verb, vec![name, peer.input[begins..end].to_vec()], end + 2)
                }
                Scan::More => return,
                Scan::Bad { .. } | Scan::TooLong => {
                    self.violations.push("ManageSieve server: no command".into());
                    peer.closing = true;
                    return;
                }
            };
            peer.input.drain(..len);
            self.obey_sieve(peer, verb, &strings);
        }
    }

    fn obey_sieve(&mut self, peer: &mut Peer, verb: Verb, strings: &[Vec<u8>]) {
        let text = |at: usize| String::from_utf8_lossy(strings.get(at).map_or(&[], |s| s)).into_owned();
        match (verb, peer.user.clone()) {
            (Verb::Authenticate, None) => {
                let is_in = self.log_in(peer, strings.get(1).map_or(&[], |response| response));
                peer.out.extend_from_slice(if is_in { b"OK\r\n" } else { b"NO\r\n" });
            }
            (Verb::PutScript, Some(user)) => {
                self.scripts.insert((user, text(0)), strings[1].clone());
                peer.out.extend_from_slice(b"OK\r\n");
            }
            (Verb::GetScript, Some(user)) => match self.scripts.get(&(user, text(0))) {
                Some(script) => {
                    peer.out.extend_from_slice(format!("{{{}}}\r\n", script.len()).as_bytes());
                    peer.out.extend_from_slice(script);
                    peer.out.extend_from_slice(b"\r\nOK\r\n");
                }
                None => peer.out.extend_from_slice(b"NO (NONEXISTENT) \"none\"\r\n"),
            },
            (Verb::Noop, Some(user)) => peer.out.extend_from_slice(format!("OK \"{user}\"\r\n").as_bytes()),
            (Verb::Logout, _) => peer.closing = true,
            (verb, _) => self.violations.push(format!("ManageSieve server: {verb:?}")),
        }
    }
}

/// Bytes of a message of a maildrop: one of them is long.
fn message_bytes(seed: u64) -> usize {
    (seed * 7919 * 13) as usize % if seed == 1 { BODY_BYTES_MAX } else { 5000 }
}

/// The name in `PUTSCRIPT "name" {n+}`.
fn script_name(head: &[u8]) -> Vec<u8> {
    head.split(|byte| *byte == b'"').nth(1).unwrap_or_default().to_vec()
}
