//! Many commands on their way at once.

use std::collections::VecDeque;

use ::mupdate::grammar::{Response, Status};

use super::{Answer, Change, ClientError, Located, Mupdate, lossy};

/// Changes that may be unanswered; a master of ours commits up to 1,024 of a connection at once.
const CHANGES_MAX: usize = 1_000;

/// FINDs that may be unanswered: their answers are longer than they.
const FINDS_MAX: usize = 200;

/// Bytes of unanswered commands, but for a single longer one: what the sockets in between hold, so
/// that a server that does not read while it cannot write stops nobody for ever.
const BYTES_MAX: usize = 64 * 1024;

/// Sends commands without waiting for each answer. Answers come in any order; each is told once.
pub struct Pipeline<'m, T, F> {
    server: &'m mut Mupdate,
    done: F,
    in_flight: VecDeque<InFlight<T>>,
    bytes: usize,
}

struct InFlight<T> {
    tag: Box<str>,
    bytes: usize,
    is_find: bool,
    found: Option<Located>,
    value: T,
}

/// What one response says of the commands in flight.
enum Event {
    Located { at: usize, located: Located },
    End { at: usize, status: Status, text: Box<str> },
    Nothing,
    Stray,
}

impl<'m, T, F: FnMut(T, Answer)> Pipeline<'m, T, F> {
    pub(super) fn new(server: &'m mut Mupdate, done: F) -> Pipeline<'m, T, F> {
        Pipeline { server, done, in_flight: VecDeque::new(), bytes: 0 }
    }

    /// Sends a command, once there is room for it; `value` comes back with its answer.
    ///
    /// # Errors
    /// What ends the connection: what became of unanswered commands is unknown.
    pub fn submit(&mut self, change: Change<'_>, value: T) -> Result<(), ClientError> {
        let is_find = matches!(change, Change::Find { .. });
        let commands_max = if is_find { FINDS_MAX } else { CHANGES_MAX };
        while self.in_flight.len() >= commands_max || self.bytes >= BYTES_MAX {
            self.read()?;
        }
        let tag: Box<str> = self.server.tag().into();
        let from = self.server.out.len();
        change.write(&mut self.server.out, tag.as_bytes());
        let bytes = self.server.out.len() - from;
        self.bytes += bytes;
        self.in_flight.push_back(InFlight { tag, bytes, is_find, found: None, value });
        self.server.send_if_much()
    }

    /// Waits for all answers.
    ///
    /// # Errors
    /// As [`Pipeline::submit`].
    pub fn finish(mut self) -> Result<(), ClientError> {
        while !self.in_flight.is_empty() {
            self.read()?;
        }
        Ok(())
    }

    /// Takes one response.
    fn read(&mut self) -> Result<(), ClientError> {
        let in_flight = &self.in_flight;
        let place = |tag: &[u8]| in_flight.iter().position(|command| command.tag.as_bytes() == tag);
        let event = self.server.read(|response| event(&response, place))?;
        match event {
            Event::Located { at, located } => self.in_flight[at].found = Some(located),
            Event::End { at, status, text } => self.end(at, status, text),
            Event::Nothing => {}
            Event::Stray => return Err(self.server.stream.protocol("answer to no command")),
        }
        Ok(())
    }

    fn end(&mut self, at: usize, status: Status, text: Box<str>) {
        let Some(command) = self.in_flight.remove(at) else { return };
        self.bytes -= command.bytes;
        let answer = match status {
            Status::Ok if command.is_find => Answer::Found(command.found),
            Status::Ok => Answer::Done,
            Status::No | Status::Bad | Status::Bye => Answer::Refused(text),
        };
        (self.done)(command.value, answer);
    }
}

fn event(response: &Response<'_>, place: impl Fn(&[u8]) -> Option<usize>) -> Event {
    let located = |tag: &[u8], located| match place(tag) {
        Some(at) => Event::Located { at, located },
        None => Event::Stray,
    };
    match response {
        Response::Mailbox { tag, location, acl, .. } => {
            located(tag, Located { location: (**location).into(), acl: Some((**acl).into()) })
        }
        Response::Reserve { tag, location, .. } => {
            located(tag, Located { location: (**location).into(), acl: None })
        }
        Response::Status { tag: b"*", .. } | Response::Position { .. } | Response::Other { .. } => {
            Event::Nothing
        }
        Response::Status { tag, status, text } => match place(tag) {
            Some(at) => Event::End { at, status: *status, text: lossy(text) },
            None => Event::Stray,
        },
        Response::Delete { .. } => Event::Stray,
    }
}
