//! The MUPDATE master: a fixed list, dumped to whoever asks.

use std::fmt::Write;
use std::time::Instant;

use memchr::{memchr, memrchr};

use crate::net::{ConnectionId, Handler, Outbox};

/// Users `u0` … `u{users-1}`, each with an INBOX at one server.
pub struct MupdateMaster {
    users: usize,
    server: String,
}

impl MupdateMaster {
    /// A list for a server (`host:port`).
    pub fn new(users: usize, server: &str) -> MupdateMaster {
        MupdateMaster { users, server: server.to_owned() }
    }

    fn dump(&self, tag: &str) -> String {
        let mut out = String::new();
        (0..self.users).for_each(|n| self.record(tag, n, &mut out));
        out + tag + " OK \"streaming starts\"\r\n"
    }

    fn record(&self, tag: &str, n: usize, out: &mut String) {
        let server = &self.server;
        // Writing to a String cannot fail.
        let _ =
            write!(out, "{tag} MAILBOX \"user.u{n}\" \"{server}!default\" \"u{n}\tlrswipkxtecdan\t\"\r\n");
    }

    fn find(&self, tag: &str, name: Option<&str>) -> String {
        let mut out = String::new();
        let number = name.and_then(|name| name.trim_matches('"').strip_prefix("user.u")?.parse().ok());
        if let Some(n) = number.filter(|n| *n < self.users) {
            self.record(tag, n, &mut out);
        }
        out + tag + " OK \"Search completed\"\r\n"
    }

    fn line(&self, id: ConnectionId, line: &str, out: &mut Outbox) {
        let mut words = line.split_ascii_whitespace();
        let tag = words.next().unwrap_or("*");
        let text = match words.next().unwrap_or("").to_ascii_uppercase().as_str() {
            "UPDATE" => self.dump(tag),
            "LOGOUT" => {
                out.send(id, format!("{tag} OK \"bye-bye\"\r\n").as_bytes());
                return out.close(id);
            }
            "NOOP" => format!("{tag} OK \"Noop done\"\r\n"),
            "AUTHENTICATE" => format!("{tag} OK \"Authenticated\"\r\n"),
            "FIND" => self.find(tag, words.next()),
            // Said and forgotten: the list is fixed.
            "RESERVE" | "ACTIVATE" | "DEACTIVATE" | "DELETE" => format!("{tag} OK \"done\"\r\n"),
            _ => format!("{tag} NO \"not in the script\"\r\n"),
        };
        out.send(id, text.as_bytes());
    }
}

/// Where the first whole command ends, literals included.
fn command_end(input: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let end = at + memchr(b'\n', input.get(at..)?)?;
        let line = input[at..end].strip_suffix(b"\r").unwrap_or(&input[at..end]);
        let size = line.strip_suffix(b"+}").and_then(|rest| {
            std::str::from_utf8(&rest[memrchr(b'{', rest)? + 1..]).ok()?.parse::<usize>().ok()
        });
        match size {
            Some(size) => at = (end + 1).checked_add(size)?,
            None => return Some(end + 1),
        }
    }
}

impl Handler for MupdateMaster {
    fn opened(&mut self, id: ConnectionId, out: &mut Outbox) {
        out.send(
            id,
            b"* AUTH \"PLAIN\"\r\n* PARTIAL-UPDATE\r\n* OK MUPDATE \"localhost\" \"Cyrus IMAP\" \"3.6.1\" \"(master)\"\r\n",
        );
    }

    fn connected(&mut self, _: ConnectionId, _: bool, _: &mut Outbox) {}

    fn received(&mut self, id: ConnectionId, input: &mut Vec<u8>, out: &mut Outbox) {
        while let Some(end) = command_end(input) {
            let line: Vec<u8> = input.drain(..end).collect();
            self.line(id, &String::from_utf8_lossy(&line), out);
        }
    }

    fn closed(&mut self, _: ConnectionId, _: &mut Outbox) {}

    fn wake_at(&self) -> Option<Instant> {
        None
    }

    fn woken(&mut self, _: Instant, _: &mut Outbox) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn find_tells_what_the_dump_tells() {
        let master = MupdateMaster::new(2, "b1");
        assert!(master.dump("U").contains("U MAILBOX \"user.u1\" \"b1!default\""));
        assert!(master.find("F", Some("\"user.u1\"")).starts_with("F MAILBOX \"user.u1\" \"b1!default\""));
        assert!(master.find("F", Some("\"user.u2\"")).starts_with("F OK"));
    }

    #[test]
    fn command_with_a_literal_ends_behind_it() {
        let input = b"A01 AUTHENTICATE \"PLAIN\" {4+}\r\nAAAA\r\nU01 UPDATE\r\n";
        assert_eq!(command_end(input), Some(input.len() - b"U01 UPDATE\r\n".len()));
        for end in 0..37 {
            assert_eq!(command_end(&input[..end]), None, "{end}");
        }
    }
}
