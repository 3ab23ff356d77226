//! The machine of one client, which asks one thing after the other.

use std::sync::Arc;
use std::time::Duration;

use super::config::Config;
use super::grammar::{self, Request, RequestError, Verdict};
use crate::lmtp::address::Recipient;
use crate::outbox::Outbox;
use crate::proxy::{
    self, Answer, Close, Event, Finding, Freshness, Instant, Location, Output, Question, QuestionId, Side,
    Taken, Then,
};

/// A client that asks nothing for so long is left; Postfix leaves after 10 s of its own.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// What is said when the list cannot tell.
const NOT_IN_STEP: &str = "mailbox list is not in step";

/// One client.
pub struct Session {
    config: Arc<Config>,
    outbox: Outbox,
    /// What is looked up.
    pending: Option<Request>,
    next_question: u32,
    last_input: Option<Instant>,
    half_closed: bool,
    draining: bool,
    is_over: bool,
}

/// The tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Table<'a> {
    /// Where the mail of an address goes.
    Transport,
    /// Whether there is such an address.
    Exists,
    /// The server of an address.
    Home,
    /// Whether an address is at this server.
    Here(&'a [u8]),
}

impl<'a> Table<'a> {
    /// Reads a name. Postfix takes the last colon for its own, hence `here=SERVER` beside `here:SERVER`.
    fn parse(name: &'a [u8]) -> Option<Table<'a>> {
        match name {
            b"transport" => Some(Table::Transport),
            b"exists" => Some(Table::Exists),
            b"home" => Some(Table::Home),
            [b'h', b'e', b'r', b'e', b':' | b'=', server @ ..] if !server.is_empty() => {
                Some(Table::Here(server))
            }
            _ => None,
        }
    }
}

impl Session {
    /// Begins; the client speaks first.
    pub fn new(config: Arc<Config>) -> Session {
        Session {
            config,
            outbox: Outbox::default(),
            pending: None,
            next_question: 0,
            last_input: None,
            half_closed: false,
            draining: false,
            is_over: false,
        }
    }

    fn end(&mut self, how: Close) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.outbox.close(Side::Client, how);
        }
    }

    /// Asks the list for a request, or answers it at once.
    fn take(&mut self, request: Request) {
        let name = request.table.as_deref().unwrap_or(&self.config.table);
        let Some(table) = Table::parse(name) else {
            return self.answer(&request, &Verdict::Permanent("no such table"));
        };
        // Keys without an address are domains in a transport table, and `@domain` is one everywhere.
        let is_domain = request.key.starts_with(b"@") || !request.key.contains(&b'@');
        if is_domain && (table == Table::Transport || request.key.starts_with(b"@")) {
            return self.answer(&request, &Verdict::NotFound);
        }
        let path = [b"<", &request.key[..], b">"].concat();
        let is_path = crate::lmtp::address::path_bytes(&path) == Some(path.len());
        let recipient = Recipient::parse(&path, &self.config.address).filter(|_| is_path);
        let target = recipient.and_then(|it| it.target(&self.config.address, &self.config.namespace));
        let Some(target) = target else { return self.answer(&request, &Verdict::NotFound) };
        self.pending = Some(request);
        let question = Question::Find { name: target.name().into(), freshness: Freshness::BarrierOnce };
        self.outbox.ask(QuestionId(self.next_question), question);
        self.next_question = self.next_question.wrapping_add(1);
    }

    fn answer(&mut self, request: &Request, verdict: &Verdict) {
        self.outbox.author(Side::Client, |out| grammar::reply(request.dialect, verdict, out));
        if self.half_closed || self.draining {
            self.end(Close::Flush);
        }
    }

    fn found(&mut self, finding: &Finding) {
        let Some(request) = self.pending.take() else { return };
        let name = request.table.as_deref().unwrap_or(&self.config.table);
        let verdict = match (finding, Table::parse(name)) {
            (Finding::Active(entry), Some(table)) => self.at(&entry.location, table),
            (Finding::Reserved { .. }, _) => Verdict::Temporary("mailbox is being moved or made"),
            (Finding::Absent, _) | (_, None) => Verdict::NotFound,
            (Finding::Unknown, _) => Verdict::Temporary(NOT_IN_STEP),
        };
        self.answer(&request, &verdict);
    }

    /// What is told of a mailbox there.
    fn at(&self, location: &Location, table: Table<'_>) -> Verdict {
        let server = location.server().and_then(|server| std::str::from_utf8(server).ok());
        let host = server.and_then(|server| crate::conf::server::Server::parse(server).ok());
        let host = host.as_ref().map(crate::conf::server::Server::host);
        match (table, host) {
            (Table::Exists, _) => Verdict::Found((*b"ok").into()),
            (_, None) => Verdict::Temporary("mailbox has no server"),
            (Table::Home, Some(host)) => Verdict::Found(host.as_bytes().into()),
            (Table::Transport, Some(host)) => {
                Verdict::Found(self.config.transport_to(host).into_bytes().into())
            }
            (Table::Here(wanted), Some(host)) => {
                let short = host.split('.').next().unwrap_or(host);
                let is_here = [host, short].iter().any(|name| name.as_bytes().eq_ignore_ascii_case(wanted));
                if is_here { Verdict::Found(self.config.here.as_bytes().into()) } else { Verdict::NotFound }
            }
        }
    }
}

impl proxy::Session for Session {
    fn handle_input(&mut self, _side: Side, input: &[u8], now: Instant) -> Taken {
        self.last_input = Some(now);
        let mut n = 0;
        while n < input.len() && !self.is_over {
            if self.pending.is_some() {
                return Taken { n, then: Then::Hold };
            }
            match grammar::request(&input[n..]) {
                Ok((request, length)) => {
                    n += length;
                    self.take(request);
                }
                Err(RequestError::Incomplete) => break,
                Err(RequestError::Invalid) => {
                    self.end(Close::Flush);
                    return Taken { n: input.len(), then: Then::More };
                }
            }
        }
        Taken { n, then: Then::More }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else concerns a session without backends")]
    fn handle_event(&mut self, event: Event, now: Instant) {
        self.last_input.get_or_insert(now);
        match event {
            Event::Answer { answer: Answer::Found(finding), .. } => self.found(&finding),
            Event::Eof(_) if self.pending.is_some() => self.half_closed = true,
            Event::Eof(_) | Event::Reset(_) => self.end(Close::Abort),
            Event::Drain { .. } if self.pending.is_some() => self.draining = true,
            Event::Drain { .. } => self.end(Close::Flush),
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let last = *self.last_input.get_or_insert(now);
        if now.since(last) >= IDLE_TIMEOUT {
            self.end(Close::Flush);
        }
    }

    fn poll_output(&mut self, scratch: &mut Vec<u8>) -> Option<Output> {
        self.outbox.poll(scratch)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (!self.is_over).then(|| self.last_input.unwrap_or_default() + IDLE_TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::{Entry, Session as _};

    fn ask(request: &[u8], finding: Option<Finding>) -> String {
        let mut session = Session::new(Arc::new(Config::default()));
        let now = Instant(1);
        assert_eq!(session.handle_input(Side::Client, request, now).n, request.len());
        let (mut said, mut scratch, mut asked) = (Vec::new(), Vec::new(), false);
        for answer in [finding, None] {
            loop {
                scratch.clear();
                match session.poll_output(&mut scratch) {
                    Some(Output::Write { .. }) => said.append(&mut scratch),
                    Some(Output::Ask { .. }) => asked = true,
                    Some(_) => {}
                    None => break,
                }
            }
            if let Some(finding) = answer {
                assert!(asked, "nothing was looked up");
                let answer = Answer::Found(finding);
                session.handle_event(Event::Answer { id: QuestionId(0), answer }, now);
            }
        }
        String::from_utf8(said).unwrap()
    }

    fn active() -> Option<Finding> {
        let location = Location((*b"be1.example.com:2143!default").as_slice().into());
        Some(Finding::Active(Entry { name: (*b"user.fred").into(), location, acl: (*b"").as_slice().into() }))
    }

    #[test]
    fn tables_answer_with_three_values() {
        let key = b"22:transport fred@x.test+,";
        assert!(ask(key, None).starts_with("9:NOTFOUND"), "no path");
        assert_eq!(ask(b"21:transport fred@x.test,", None), "");
        assert_eq!(ask(b"21:transport fred@x.test,", active()), "33:OK lmtp:inet:[be1.example.com]:24,");
        assert_eq!(ask(b"18:exists fred@x.test,", active()), "5:OK ok,");
        assert_eq!(ask(b"16:home fred@x.test,", active()), "18:OK be1.example.com,");
        assert!(
            ask(b"20:here:be1 fred@x.test,", active()).ends_with(":OK lmtp:unix:/run/cyrus/socket/lmtp,")
        );
        assert_eq!(ask(b"20:here=be2 fred@x.test,", active()), "9:NOTFOUND ,");
        assert_eq!(ask(b"16:home fred@x.test,", Some(Finding::Absent)), "9:NOTFOUND ,");
        assert!(ask(b"16:home fred@x.test,", Some(Finding::Unknown)).contains("TEMP mailbox list"));
        assert_eq!(ask(b"get fred@x.test\n", active()), "200 lmtp:inet:[be1.example.com]:24\n");
    }

    #[test]
    fn domains_are_not_users() {
        assert_eq!(ask(b"16:transport x.test,", None), "9:NOTFOUND ,");
        assert_eq!(ask(b"14:exists @x.test,", None), "9:NOTFOUND ,");
        assert_eq!(ask(b"11:exists fred,", active()), "5:OK ok,");
        assert!(ask(b"8:xx x.tes,", None).contains("PERM"));
    }
}
