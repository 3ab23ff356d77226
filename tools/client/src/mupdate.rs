//! A connection to a MUPDATE server, logged in (RFC 3656 and what Cyrus makes of it).

mod pipeline;

use std::time::{Duration, Instant};

use ::mupdate::grammar::{self, Response, Status, Stop, message_out};
use ::mupdate::slave::login::{Login, Next};
use ::mupdate::slave::{Config, Starttls};
use protocols::sasl::Credentials;

use crate::{ClientError, Endpoint, Stream, random, salted_password};

pub use pipeline::Pipeline;

/// Octets of a line until the login is done: Cyrus' own limit for base64 is 21,848.
const LOGIN_LINE_BYTES_MAX: usize = 32 * 1024;

/// Lines of a greeting that are kept.
const GREETING_LINES_MAX: usize = 64;

/// Bytes of commands that are gathered before they are sent.
const OUT_BYTES: usize = 16 * 1024;

/// Who logs in at a MUPDATE server, and how.
#[derive(Clone, Debug)]
pub struct MupdateLogin {
    /// `mupdate_username` (authzid), `mupdate_authname`, `mupdate_realm`, `mupdate_password`.
    pub credentials: Credentials,
    /// `HOST_mechs` or `force_sasl_client_mech`; `None` allows all that we speak.
    pub mechanisms: Option<Vec<Box<str>>>,
    /// `rookery_mupdate_starttls`.
    pub starttls: Starttls,
}

/// What a server said first, under TLS what it said there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Greeting {
    /// Lines without their ends; the last begins with `* OK`.
    pub lines: Vec<Box<[u8]>>,
}

impl Greeting {
    /// Whether it calls itself the master; a slave names its master in that place.
    pub fn is_master(&self) -> bool {
        self.lines.last().is_some_and(|line| line.ends_with(b"\"(master)\""))
    }

    /// Whether a capability line begins with this word.
    pub fn offers(&self, capability: &str) -> bool {
        self.lines.iter().any(|line| {
            let word = line.strip_prefix(b"* ").and_then(|rest| rest.split(|byte| *byte == b' ').next());
            word.is_some_and(|word| word.eq_ignore_ascii_case(capability.as_bytes()))
        })
    }

    fn note(&mut self, line: &[u8]) {
        let is_complete = self.lines.last().is_some_and(|last| last.starts_with(b"* OK"));
        if !is_complete && self.lines.len() < GREETING_LINES_MAX {
            self.lines.push(line.into());
        }
    }
}

/// One row of LIST.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row<'a> {
    /// The internal name.
    pub name: &'a [u8],
    /// `server!partition`.
    pub location: &'a [u8],
    /// The ACL of an active mailbox; `None` when it is reserved.
    pub acl: Option<&'a [u8]>,
}

/// Where FIND found a mailbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Located {
    /// `server!partition`.
    pub location: Box<[u8]>,
    /// The ACL of an active mailbox; `None` when it is reserved.
    pub acl: Option<Box<[u8]>>,
}

/// A command that concerns one mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names of RFC 3656 section 4 and of their arguments")]
pub enum Change<'a> {
    Activate { name: &'a [u8], location: &'a [u8], acl: &'a [u8] },
    Deactivate { name: &'a [u8], location: &'a [u8] },
    Delete { name: &'a [u8] },
    Find { name: &'a [u8] },
    Reserve { name: &'a [u8], location: &'a [u8] },
}

impl Change<'_> {
    fn write(&self, out: &mut Vec<u8>, tag: &[u8]) {
        match self {
            Change::Activate { name, location, acl } => {
                message_out(out, tag, "ACTIVATE", &[name, location, acl]);
            }
            Change::Deactivate { name, location } => message_out(out, tag, "DEACTIVATE", &[name, location]),
            Change::Delete { name } => message_out(out, tag, "DELETE", &[name]),
            Change::Find { name } => message_out(out, tag, "FIND", &[name]),
            Change::Reserve { name, location } => message_out(out, tag, "RESERVE", &[name, location]),
        }
    }
}

/// What a server answered to a [`Change`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// OK.
    Done,
    /// OK to FIND.
    Found(Option<Located>),
    /// NO or BAD, with its text.
    Refused(Box<str>),
}

/// A connection to a MUPDATE server.
pub struct Mupdate {
    stream: Stream,
    greeting: Greeting,
    answer_timeout: Duration,
    next_tag: u64,
    /// Commands that are not sent yet.
    out: Vec<u8>,
}

impl Mupdate {
    /// Connects and logs in.
    ///
    /// # Errors
    /// Any but `Refused`.
    pub fn connect(endpoint: &Endpoint, login: &MupdateLogin) -> Result<Mupdate, ClientError> {
        let until = Instant::now() + endpoint.login_timeout;
        let mut stream = Stream::connect(endpoint, until)?;
        let greeting = log_in(&mut stream, endpoint, login, until)?;
        let answer_timeout = endpoint.answer_timeout;
        Ok(Mupdate { stream, greeting, answer_timeout, next_tag: 0, out: Vec::new() })
    }

    /// What the server said first.
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// Asks where a mailbox is.
    ///
    /// # Errors
    /// `Refused`, and what ends the connection.
    pub fn find(&mut self, name: &[u8]) -> Result<Option<Located>, ClientError> {
        match self.run(Change::Find { name })? {
            Answer::Found(found) => Ok(found),
            Answer::Done => Ok(None),
            Answer::Refused(text) => Err(self.refused("FIND", text)),
        }
    }

    /// Carries out one command and waits for its answer.
    ///
    /// # Errors
    /// What ends the connection.
    pub fn run(&mut self, change: Change<'_>) -> Result<Answer, ClientError> {
        let mut last = None;
        let mut pipeline = self.pipeline(|(), answer| last = Some(answer));
        pipeline.submit(change, ())?;
        pipeline.finish()?;
        last.ok_or_else(|| self.stream.protocol("no answer"))
    }

    /// Lists the mailboxes whose location begins with a prefix, or all.
    ///
    /// # Errors
    /// `Refused`, and what ends the connection: then what `each` was shown is not all.
    pub fn list(&mut self, prefix: Option<&[u8]>, mut each: impl FnMut(Row<'_>)) -> Result<(), ClientError> {
        let tag = self.tag();
        message_out(&mut self.out, tag.as_bytes(), "LIST", prefix.as_slice());
        self.finish("LIST", &tag, |response| match response {
            Response::Mailbox { name, location, acl, .. } => {
                each(Row { name, location, acl: Some(acl) });
            }
            Response::Reserve { name, location, .. } => each(Row { name, location, acl: None }),
            Response::Status { .. }
            | Response::Delete { .. }
            | Response::Position { .. }
            | Response::Other { .. } => {}
        })
    }

    /// Waits until everything that was committed at the master before is seen on this connection;
    /// also tells that the server is alive.
    ///
    /// # Errors
    /// `Refused`, and what ends the connection.
    pub fn noop(&mut self) -> Result<(), ClientError> {
        let tag = self.tag();
        message_out(&mut self.out, tag.as_bytes(), "NOOP", &[]);
        self.finish("NOOP", &tag, |_| {})
    }

    /// Sends commands without waiting for each answer; `done` is told of each.
    pub fn pipeline<T, F: FnMut(T, Answer)>(&mut self, done: F) -> Pipeline<'_, T, F> {
        Pipeline::new(self, done)
    }

    /// Says goodbye and closes. That the server may have gone before does not matter.
    pub fn logout(mut self) {
        const GOODBYE: Duration = Duration::from_secs(2);
        message_out(&mut self.out, b"Q01", "LOGOUT", &[]);
        let until = Instant::now() + GOODBYE;
        let out = std::mem::take(&mut self.out);
        if self.stream.write(&out, until).is_ok() {
            while let Ok(true) = self.stream.fill(until) {
                self.stream.take(self.stream.unread().len());
            }
        }
    }

    fn tag(&mut self) -> String {
        let tag = format!("X{}", self.next_tag);
        self.next_tag += 1;
        tag
    }

    /// Shows responses to `each` up to the command's end.
    fn finish(
        &mut self,
        command: &'static str,
        tag: &str,
        mut each: impl FnMut(&Response<'_>),
    ) -> Result<(), ClientError> {
        loop {
            let end = self.read(|response| {
                each(&response);
                end_of(&response, tag)
            })?;
            match end {
                None => {}
                Some((Status::Ok, _)) => return Ok(()),
                Some((Status::No | Status::Bad | Status::Bye, text)) => {
                    return Err(self.refused(command, text));
                }
            }
        }
    }

    fn refused(&self, command: &'static str, text: Box<str>) -> ClientError {
        ClientError::Refused { server: self.stream.server().into(), command, text }
    }

    /// Sends what was gathered once it is worth it.
    fn send_if_much(&mut self) -> Result<(), ClientError> {
        if self.out.len() < OUT_BYTES { Ok(()) } else { self.send() }
    }

    fn send(&mut self) -> Result<(), ClientError> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.stream.write(&self.out, Instant::now() + self.answer_timeout)?;
        self.out.clear();
        Ok(())
    }

    /// Shows the next response to `take`. Commands that were gathered are sent before anything is
    /// waited for. A BYE is an error.
    fn read<T>(&mut self, take: impl FnOnce(Response<'_>) -> T) -> Result<T, ClientError> {
        let until = Instant::now() + self.answer_timeout;
        let mut bytes_min = 1;
        loop {
            if self.stream.unread().len() >= bytes_min {
                match grammar::response(self.stream.unread()) {
                    Ok((Response::Status { status: Status::Bye, text, .. }, _)) => {
                        return Err(self.stream.closed(lossy(&text)));
                    }
                    Ok((response, n)) => {
                        let taken = take(response);
                        self.stream.take(n);
                        return Ok(taken);
                    }
                    Err(Stop::Incomplete { bytes_min: more }) => bytes_min = more,
                    Err(stop) => return Err(self.stream.protocol(stop.to_string())),
                }
            }
            self.send()?;
            if !self.stream.fill(until)? {
                return Err(self.stream.closed("in the middle of an answer"));
            }
        }
    }
}

/// Result and text of the command with this tag, if the response ends it.
fn end_of(response: &Response<'_>, wanted: &str) -> Option<(Status, Box<str>)> {
    match response {
        Response::Status { tag, status, text } if *tag == wanted.as_bytes() => Some((*status, lossy(text))),
        Response::Status { .. }
        | Response::Mailbox { .. }
        | Response::Reserve { .. }
        | Response::Delete { .. }
        | Response::Position { .. }
        | Response::Other { .. } => None,
    }
}

/// Drives the login machine of the slave over a blocking stream.
fn log_in(
    stream: &mut Stream,
    endpoint: &Endpoint,
    login: &MupdateLogin,
    until: Instant,
) -> Result<Greeting, ClientError> {
    let config = Config {
        server: endpoint.server.clone(),
        credentials: login.credentials.clone(),
        mechanisms: login.mechanisms.clone(),
        login_timeout: endpoint.login_timeout,
        dump_timeout: endpoint.answer_timeout,
        retry_delay: endpoint.answer_timeout,
        starttls: login.starttls,
    };
    let mut machine = Login::new(&config, stream.opened(), random()?);
    let mut greeting = Greeting::default();
    loop {
        let line = line(stream, until)?;
        greeting.note(&line);
        let mut next = machine.line(&line);
        if let Next::Salt { hash, password, salt, iterations } = next {
            let salted = salted_password(hash, &password, &salt, iterations)
                .ok_or_else(|| stream.login_failed("iteration count is zero"))?;
            next = machine.salted_password(&salted);
        }
        match next {
            Next::Read | Next::Salt { .. } => {}
            Next::Send(bytes) => stream.write(&bytes, until)?,
            Next::Tls(_) => {
                stream.start_tls(&endpoint.tls, until)?;
                machine.secured();
                greeting = Greeting::default();
            }
            Next::Done => return Ok(greeting),
            Next::Failed(why) => return Err(stream.login_failed(why)),
        }
    }
}

/// Reads a line of the login, without its end.
fn line(stream: &mut Stream, until: Instant) -> Result<Vec<u8>, ClientError> {
    loop {
        match grammar::line(stream.unread(), LOGIN_LINE_BYTES_MAX) {
            Ok((line, n)) => {
                let line = line.to_vec();
                stream.take(n);
                return Ok(line);
            }
            Err(Stop::Incomplete { .. }) => {}
            Err(stop) => return Err(stream.protocol(stop.to_string())),
        }
        if !stream.fill(until)? {
            return Err(stream.closed("before the login was done"));
        }
    }
}

fn lossy(text: &[u8]) -> Box<str> {
    String::from_utf8_lossy(text).into()
}
