//! What is answered without a backend.

use std::borrow::Cow;

use super::grammar::{Command, CommandError, LINE_BYTES_MAX, command};
use super::session::{Progress, Reading, Session};
use super::text;
use super::transaction::{RECIPIENTS_AHEAD_MAX, Stage, Transaction};
use crate::login::config::ServerInfo;
use crate::proxy::{Side, VerbName};
use crate::wire::{self, line};

/// Commands in a row that may be none.
const BAD_COMMANDS_MAX: u8 = 20;

/// Bytes of a TRACE id, as Cyrus has it (3.13).
const TRACE_BYTES_MAX: usize = 255;

impl Session {
    pub(super) fn greet(&mut self) {
        let (host, version) = (&self.config.common.servername, &self.config.common.version);
        let greeting = match self.config.common.server_info {
            ServerInfo::On => format!("220 {host} Rookery LMTP {version} server ready\r\n"),
            ServerInfo::Min | ServerInfo::Off => format!("220 {host} LMTP server ready\r\n"),
        };
        self.desk.outbox.write(Side::Client, &[greeting.as_bytes()]);
    }

    /// Takes a command. While RCPTs wait for replies, only more of them and DATA are taken.
    pub(super) fn look_at_command(&mut self, input: &[u8]) -> Progress {
        let line = match line::first(input, LINE_BYTES_MAX) {
            Ok(line) => line,
            Err(wire::Error::Incomplete) => return Progress::More,
            Err(_) => {
                if !self.may_reply() {
                    return Progress::Hold;
                }
                self.reading = Reading::Skip;
                return Progress::Took(0);
            }
        };
        let command = command(line.content);
        let is_ahead = match &command {
            Ok(Command::Rcpt(_)) => self.untold() < RECIPIENTS_AHEAD_MAX && self.transaction.is_some(),
            Ok(Command::Data) => self.untold() > 0,
            Ok(_) | Err(_) => false,
        };
        if !is_ahead && !self.may_reply() {
            return Progress::Hold;
        }
        match command {
            Ok(command) => {
                self.bad_commands = 0;
                self.dispatch(command);
            }
            Err(error) => self.bad(&error),
        }
        Progress::Took(line.len)
    }

    /// Recipients that the client has no reply of.
    pub(super) fn untold(&self) -> usize {
        self.transaction.as_deref().map_or(0, |transaction| transaction.recipients.len() - transaction.told)
    }

    /// Whether nothing is owed to the client before the reply to his next command.
    fn may_reply(&self) -> bool {
        self.untold() == 0
    }

    fn dispatch(&mut self, command: Command<'_>) {
        self.desk.watch(verb_name(&command), self.now.stamp());
        let is_harmless = matches!(command, Command::Lhlo(_) | Command::Noop | Command::Quit);
        if self.config.common.bulletin.is_down() && !is_harmless {
            let text = self.config.common.bulletin.farewell();
            return self.end(&Cow::Owned(format!("421 4.3.2 {text}\r\n").into_bytes()));
        }
        match command {
            Command::Lhlo(_) => self.lhlo(),
            Command::Mail(_) if !self.may_deliver() => self.reply(&self.log_in()),
            Command::Mail(mail) => self.mail(&mail),
            Command::Rcpt(rcpt) => self.rcpt(&rcpt),
            Command::Data => self.data(),
            Command::Rset => self.rset(),
            Command::Noop => self.reply(&text::OK),
            Command::Quit => self.end(&text::BYE),
            Command::Vrfy => self.reply(&text::TRY_RCPT),
            Command::Starttls => self.starttls(),
            Command::Auth { mechanism, initial } => self.auth(mechanism, initial),
            Command::Trace(id) => self.trace(id),
        }
    }

    fn bad(&mut self, error: &CommandError) {
        self.bad_commands += 1;
        if self.bad_commands > BAD_COMMANDS_MAX {
            self.end(&text::TOO_MANY_BAD);
        } else {
            self.desk.outbox.write(Side::Client, &[error.to_string().as_bytes(), b"\r\n"]);
        }
    }

    /// Throws the rest of a line away that is too long.
    pub(super) fn skip_line(&mut self, input: &[u8]) -> Progress {
        match memchr::memchr(b'\n', input) {
            Some(lf) => {
                self.reading = Reading::Command;
                self.bad_commands += 1;
                if self.bad_commands > BAD_COMMANDS_MAX {
                    self.end(&text::TOO_MANY_BAD);
                } else {
                    self.reply(&text::TOO_LONG);
                }
                Progress::Took(lf + 1)
            }
            None => Progress::Took(input.len()),
        }
    }

    fn lhlo(&mut self) {
        let host = self.config.common.servername.clone();
        let mut reply =
            format!("250-{host}\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250-PIPELINING\r\n");
        match self.config.message_bytes_max {
            Some(limit) => reply.push_str(&format!("250-SIZE {limit}\r\n")),
            None => reply.push_str("250-SIZE\r\n"),
        }
        if self.offers_tls() {
            reply.push_str("250-STARTTLS\r\n");
        }
        if !self.may_deliver() {
            let names: Vec<&str> =
                self.config.common.login.offered(self.tls).map(|known| known.name()).collect();
            if !names.is_empty() {
                reply.push_str(&format!("250-AUTH {}\r\n", names.join(" ")));
            }
        }
        reply.push_str("250-IGNOREQUOTA\r\n250-TRACE\r\n");
        reply.push_str(&format!("250 Ok SESSIONID=<{}>\r\n", self.session_id()));
        self.desk.outbox.write(Side::Client, &[reply.as_bytes()]);
    }

    fn rset(&mut self) {
        self.abandon_transaction();
        self.trace = None;
        let reply = format!("250 2.0.0 Ok SESSIONID=<{}>\r\n", self.session_id());
        self.desk.outbox.write(Side::Client, &[reply.as_bytes()]);
    }

    fn trace(&mut self, id: &[u8]) {
        let is_good = matches!(id.len(), 1..=TRACE_BYTES_MAX)
            && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
        if !is_good {
            return self.reply(&text::TRACE_INVALID);
        }
        self.trace = Some(id.into());
        let reply = format!("250 2.0.0 Ok SESSIONID=<{}> TRACEID=<", self.session_id());
        self.desk.outbox.write(Side::Client, &[reply.as_bytes(), id, b">\r\n"]);
    }

    /// DATA: what is known of all recipients decides, which may take a moment.
    fn data(&mut self) {
        match self.transaction.as_deref_mut() {
            Some(transaction) if transaction.wants_data() => {
                transaction.stage = Stage::Wanted;
                self.reading = Reading::Wait;
            }
            Some(_) | None => self.reply(&text::NO_RECIPIENTS),
        }
    }
}

/// What measurements call a command: their tables hold all protocols.
fn verb_name(command: &Command<'_>) -> VerbName {
    match command {
        Command::Lhlo(_) => &"LMTP LHLO",
        Command::Mail(_) => &"LMTP MAIL",
        Command::Rcpt(_) => &"LMTP RCPT",
        Command::Data => &"LMTP DATA",
        Command::Rset => &"LMTP RSET",
        Command::Noop => &"LMTP NOOP",
        Command::Quit => &"LMTP QUIT",
        Command::Vrfy => &"LMTP VRFY",
        Command::Starttls => &"LMTP STARTTLS",
        Command::Auth { .. } => &"LMTP AUTH",
        Command::Trace(_) => &"LMTP TRACE",
    }
}

impl Transaction {
    /// Whether there is a recipient who is taken or may be.
    fn wants_data(&self) -> bool {
        self.recipients.iter().any(|recipient| recipient.accepted || !recipient.is_resolved())
            || self.told < self.recipients.len()
    }
}
