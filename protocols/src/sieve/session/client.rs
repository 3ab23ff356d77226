//! What a client says: carried out here, or sent on to his server.

use super::super::capabilities::Asker;
use super::super::grammar::{self, Scan, Strings, Verb};
use super::super::relay::Reply;
use super::{BAD_COMMANDS_MAX, Phase, Session};
use crate::login::link::Look;
use crate::proxy::{self, Side};
use crate::wire::quote::{LiteralStyle, literal_out};

impl Session {
    pub(super) fn look_at_client(&mut self, input: &[u8]) -> Look {
        match &self.phase {
            Phase::Silent => return Look::Hold,
            Phase::Over => return Look::Took(input.len()),
            Phase::User(user) if user.in_script => return self.end_script(input),
            Phase::User(user) if user.reply.is_some() || user.securing => return Look::Hold,
            Phase::Guest if self.entrance.is_underway() || self.entrance.guest.is_busy() => {
                return Look::Hold;
            }
            Phase::User(_) | Phase::Guest | Phase::Referred(_) => {}
        }
        if self.draining || self.config.common.bulletin.is_down() {
            return Look::Hold;
        }
        let is_response = self.entrance.guest.expects_response();
        match if is_response { grammar::response(input) } else { grammar::command(input) } {
            Scan::Whole { strings, len, .. } if is_response => {
                self.respond(&strings[0]);
                Look::Took(len)
            }
            Scan::Whole { verb, strings, len } => self.obey(verb, &strings, len),
            Scan::Script { verb, begins, script } => self.script(verb, begins, script),
            Scan::Bad { len, why } => {
                self.entrance.guest.cancel();
                self.bad(why);
                Look::Took(len)
            }
            Scan::More => Look::More,
            Scan::TooLong => {
                self.end(b"BYE \"command too long\"\r\n");
                Look::Took(input.len())
            }
        }
    }

    pub(super) fn bad(&mut self, why: &str) {
        self.no(why);
        self.bad_commands += 1;
        if self.bad_commands >= BAD_COMMANDS_MAX {
            self.end(b"BYE \"too many invalid commands\"\r\n");
        }
    }

    /// Carries a command out, or sends it on.
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not the frontend's goes to the server")]
    fn obey(&mut self, verb: Verb, strings: &Strings<'_>, len: usize) -> Look {
        self.bad_commands = 0;
        self.desk.watch(verb.name(), self.now.stamp());
        if let Phase::Referred(server) = &self.phase
            && !matches!(verb, Verb::Logout | Verb::Noop)
        {
            let referral = [&b"BYE (REFERRAL \"sieve://"[..], server, b"\") \"Try Remote.\"\r\n"].concat();
            self.end(&referral);
            return Look::Took(len);
        }
        let is_user = matches!(self.phase, Phase::User(_));
        match verb {
            Verb::Logout => self.logout(),
            Verb::Starttls => self.starttls(),
            Verb::Capability => self.tell_capabilities(),
            Verb::Unauthenticate if is_user => self.unauthenticate(),
            Verb::Authenticate if is_user => self.no("Already authenticated"),
            Verb::Authenticate => self.authenticate(strings),
            Verb::Noop if !is_user => self.noop(strings.first().map(|tag| &**tag)),
            _ if is_user => return self.send(len as u64, false),
            _ => self.no("Authenticate first"),
        }
        Look::Took(len)
    }

    /// A command with a script in a literal.
    fn script(&mut self, verb: Verb, begins: usize, script: u64) -> Look {
        let len = begins as u64 + script;
        if let Phase::User(_) = self.phase {
            self.desk.watch(verb.name(), self.now.stamp());
            return self.send(len, true);
        }
        if let Phase::Referred(_) = self.phase {
            return self.obey(verb, &Strings::new(), begins);
        }
        // The line end behind the script is a command that is none, as with Cyrus.
        self.no("Authenticate first");
        self.desk.outbox.discard(Side::Client, len);
        Look::More
    }

    /// Sends the next `n` bytes of the client to the server, which owes a reply then.
    fn send(&mut self, n: u64, in_script: bool) -> Look {
        let Phase::User(user) = &mut self.phase else { return Look::Hold };
        user.in_script = in_script;
        user.reply = Some((Reply::default(), self.now));
        let backend = user.backend;
        self.desk.outbox.forward(Side::Client, Side::Backend(backend), n);
        self.desk.watch_backend(backend);
        Look::More
    }

    /// Behind a script nothing but the line end may stand.
    fn end_script(&mut self, input: &[u8]) -> Look {
        let n = match input {
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            [b'\r'] => return Look::More,
            _ => {
                self.cut(b"BYE \"Expected EOL\"\r\n");
                return Look::Took(input.len());
            }
        };
        let Phase::User(user) = &mut self.phase else { return Look::Hold };
        user.in_script = false;
        if let Some((_, since)) = &mut user.reply {
            *since = self.now;
        }
        self.desk.outbox.forward(Side::Client, Side::Backend(user.backend), n);
        Look::More
    }

    fn logout(&mut self) {
        self.end(b"OK \"Logout Complete\"\r\n");
    }

    fn starttls(&mut self) {
        if self.entrance.guest.is_tls() {
            self.no("TLS already active");
        } else if !self.config.common.login.starttls {
            self.bad("Expected a command. Got something else.");
        } else {
            self.tell(&[b"OK \"Begin TLS negotiation now\"\r\n"]);
            self.entrance.guest.start_tls(&mut self.desk);
            if let Phase::User(user) = &mut self.phase {
                user.securing = true;
            }
        }
    }

    /// "The server MUST send a CAPABILITY response" (RFC 5804 section 2.2).
    pub(super) fn client_secured(&mut self, result: Result<proxy::TlsInfo, Box<str>>) {
        if !self.entrance.guest.secured(result, &mut self.desk) {
            return self.end(b"");
        }
        if let Phase::User(user) = &mut self.phase {
            user.securing = false;
        }
        if !matches!(self.phase, Phase::Silent) {
            self.tell_capabilities();
        }
    }

    pub(super) fn tell_capabilities(&mut self) {
        let user = match &self.phase {
            Phase::User(user) => Some((&*user.name, &*user.capabilities)),
            Phase::Silent | Phase::Guest | Phase::Referred(_) | Phase::Over => None,
        };
        let asker = Asker {
            common: &self.config.common,
            tls: self.entrance.guest.is_tls(),
            user,
            offered: &self.offered,
        };
        self.desk.outbox.author(Side::Client, |out| asker.tell(out));
    }

    fn noop(&mut self, tag: Option<&[u8]>) {
        let Some(tag) = tag else { return self.tell(&[b"OK \"Done\"\r\n"]) };
        self.desk.outbox.author(Side::Client, |out| {
            out.extend_from_slice(b"OK (TAG ");
            literal_out(out, tag, LiteralStyle::Synchronising);
            out.extend_from_slice(b") \"Done\"\r\n");
        });
    }

    /// UNAUTHENTICATE: nothing of the user stays, and least of all a connection that is logged in as him.
    fn unauthenticate(&mut self) {
        self.leave_server();
        self.phase = Phase::Guest;
        self.seat = None;
        self.desk.tell_presence(b"");
        self.desk.begin_anew("");
        self.entrance.guest.cancel();
        self.tell(&[b"OK\r\n"]);
    }
}
