//! A connection to an IMAP server, logged in with the proxy's credentials.

use std::time::{Duration, Instant};

use protocols::imap::backend::LoginAs;
use protocols::imap::config::ProxyLogin;
use protocols::imap::grammar::{Response, Status, UntaggedKind, response};
use protocols::imap::login::{Login, Ready, Step};
use protocols::imap::offer::Offer;
use protocols::login::backend::Login as _;
use protocols::wire::head::{self, Extent};

use crate::{ClientError, Endpoint, INPUT_BYTES_MAX, Stream, random, salted_password};

/// A literal in a response: names, ACLs and annotations, no messages.
const LITERAL_BYTES_MAX: u64 = 256 * 1024;

/// Who logs in at an IMAP server.
#[derive(Clone, Debug, Default)]
pub struct ImapLogin {
    /// `proxy_authname`, its password and mechanisms, by host.
    pub proxy: ProxyLogin,
    /// Whom to act for; empty is oneself.
    pub authzid: Box<[u8]>,
}

/// How a command ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Completion {
    /// The result.
    pub status: Status,
    /// Response code and text.
    pub text: Box<[u8]>,
}

/// A connection to an IMAP server.
pub struct Imap {
    stream: Stream,
    ready: Ready,
    answer_timeout: Duration,
    next_tag: u64,
    /// The tag of the oldest command that is not answered.
    next_answer: u64,
}

impl Imap {
    /// Connects and logs in.
    ///
    /// # Errors
    /// Any but `Refused`.
    pub fn connect(endpoint: &Endpoint, login: &ImapLogin) -> Result<Imap, ClientError> {
        let until = Instant::now() + endpoint.login_timeout;
        let mut stream = Stream::connect(endpoint, until)?;
        let ready = log_in(&mut stream, endpoint, login, until)?;
        Ok(Imap { stream, ready, answer_timeout: endpoint.answer_timeout, next_tag: 0, next_answer: 0 })
    }

    /// What the server offers, as far as a frontend acts on it.
    pub fn offer(&self) -> Offer {
        self.ready.offer
    }

    /// What the server offers, in its words.
    pub fn capabilities(&self) -> &[u8] {
        &self.ready.capabilities
    }

    /// Carries out a command: everything between its tag and its CRLF, literals only as `{n+}`.
    /// `each` sees the kind of every untagged response and what stands behind it, literals included.
    ///
    /// # Errors
    /// What ends the connection. NO and BAD are completions.
    pub fn command(
        &mut self,
        command: &[u8],
        each: impl FnMut(UntaggedKind, &[u8]),
    ) -> Result<Completion, ClientError> {
        self.send(command)?;
        self.receive(each)
    }

    /// Sends a command whose completion [`Imap::receive`] waits for. Not more may be on their way than
    /// what their answers fill of the sockets in between: some 100 small ones.
    ///
    /// # Errors
    /// What ends the connection.
    pub fn send(&mut self, command: &[u8]) -> Result<(), ClientError> {
        let tag = format!("R{}", self.next_tag);
        self.next_tag += 1;
        let line = [tag.as_bytes(), b" ", command, b"\r\n"].concat();
        self.stream.write(&line, Instant::now() + self.answer_timeout)
    }

    /// Waits for the completion of the oldest command on its way; `each` as in [`Imap::command`].
    ///
    /// # Errors
    /// What ends the connection.
    pub fn receive(&mut self, mut each: impl FnMut(UntaggedKind, &[u8])) -> Result<Completion, ClientError> {
        let tag = format!("R{}", self.next_answer);
        self.next_answer += 1;
        loop {
            let n = head_bytes(&mut self.stream, Instant::now() + self.answer_timeout)?;
            let completion = match response(&self.stream.unread()[..n]) {
                Response::Untagged { kind: UntaggedKind::Bye, rest, .. } => {
                    return Err(self.stream.closed(String::from_utf8_lossy(rest)));
                }
                Response::Untagged { kind, rest, .. } => {
                    each(kind, rest);
                    None
                }
                Response::Tagged { tag: of, status, text } if of == tag.as_bytes() => {
                    Some(Completion { status, text: text.into() })
                }
                Response::Tagged { .. } | Response::Continuation { .. } | Response::Invalid => {
                    return Err(self.stream.protocol("no response to the command that was sent"));
                }
            };
            self.stream.take(n);
            if let Some(completion) = completion {
                return Ok(completion);
            }
        }
    }

    /// Says goodbye and closes. That the server may have gone before does not matter.
    pub fn logout(mut self) {
        const GOODBYE: Duration = Duration::from_secs(2);
        self.answer_timeout = self.answer_timeout.min(GOODBYE);
        // The BYE is an error to anybody but who asked for it.
        let _ = self.command(b"LOGOUT", |_, _| {});
    }
}

/// Drives the login machine of a frontend's backend connections over a blocking stream.
fn log_in(
    stream: &mut Stream,
    endpoint: &Endpoint,
    login: &ImapLogin,
    until: Instant,
) -> Result<Ready, ClientError> {
    let who = LoginAs::Proxy { user: login.authzid.clone() };
    let mut machine = Login::new(who, stream.opened().clone(), random()?);
    let mut out = Vec::new();
    loop {
        let n = head_bytes(stream, until)?;
        let mut step = machine.handle_line(&stream.unread()[..n], &login.proxy, &mut out);
        stream.take(n);
        if let Step::Salt { hash, password, salt, iterations } = step {
            let salted = salted_password(hash, &password, &salt, iterations)
                .ok_or_else(|| stream.login_failed("iteration count is zero"))?;
            step = machine.salted(salted, &mut out);
        }
        match step {
            Step::Wait | Step::Salt { .. } => {}
            Step::Secure => {
                stream.start_tls(&endpoint.tls, until)?;
                machine.secured(&mut out);
            }
            Step::Ready(ready) => return Ok(ready),
            Step::Refused { .. } => return Err(stream.login_failed("the server refuses name and password")),
            Step::Failed(why) => return Err(stream.login_failed(why)),
        }
        stream.write(&out, until)?;
        out.clear();
    }
}

/// Waits for a whole response with its literals; how many bytes it takes.
fn head_bytes(stream: &mut Stream, until: Instant) -> Result<usize, ClientError> {
    loop {
        match head::extent(stream.unread(), LITERAL_BYTES_MAX, INPUT_BYTES_MAX) {
            Ok(Extent::Complete { len }) => return Ok(len),
            Ok(Extent::Literal { announced, .. }) if announced.len > LITERAL_BYTES_MAX => {
                return Err(stream.protocol("literal over the limit"));
            }
            Ok(Extent::Literal { .. } | Extent::Partial { .. }) => {}
            Err(error) => return Err(stream.protocol(error.to_string())),
        }
        if !stream.fill(until)? {
            return Err(stream.closed("in the middle of an answer"));
        }
    }
}
