//! Commands that were answered, with what only the driver knows of them: which server a connection
//! leads to, and how long the client left unread what was sent to him.

use protocols::proxy::{Side, Timing};

use crate::{Driver, SessionId};

/// Servers that are told apart; those behind are one.
const SERVERS_MAX: u16 = 512;

/// A command that was answered in this turn.
#[derive(Clone, Debug)]
pub struct Timed {
    /// Whose it was.
    pub session: SessionId,
    /// What the machine tells of it.
    pub timing: Timing,
    /// The server of the connection that served it, for [`Driver::server`].
    pub server: Option<u16>,
    /// How long bytes for the client waited to be taken since the command before, in microseconds.
    pub unread_us: u32,
}

impl Driver {
    /// The commands that were answered since this was asked last, or in the last turn.
    pub fn take_timed(&mut self) -> std::vec::Drain<'_, Timed> {
        self.timed.drain(..)
    }

    /// Exchanges them for an empty list, whose memory is used for those to come.
    pub fn swap_timed(&mut self, empty: &mut Vec<Timed>) {
        std::mem::swap(&mut self.timed, empty);
    }

    /// Whether there are any.
    pub fn has_timed(&self) -> bool {
        !self.timed.is_empty()
    }

    /// The name of a numbered server as in the mailbox list.
    pub fn server(&self, number: u16) -> &str {
        self.servers.get(usize::from(number)).map_or("other servers", |name| name)
    }

    /// Bytes for a client could not be sent for so long.
    pub fn client_left_unread(&mut self, conn: crate::ConnId, us: u32) {
        let session = match self.conns.at(conn.slot) {
            Some(at) if self.is_open(conn) && at.side == Side::Client => at.session,
            Some(_) | None => return,
        };
        if let Some(state) = self.sessions.at_mut(session) {
            state.unread_us = state.unread_us.saturating_add(us);
        }
    }

    /// A machine tells of a command.
    pub(crate) fn time(&mut self, session: u32, timing: Timing) {
        let backend = timing.backend.and_then(|backend| self.slot_of(session, Side::Backend(backend)));
        let server = backend.and_then(|slot| self.conns.at(slot)).map(|conn| conn.server);
        let unread_us = self.sessions.at_mut(session).map_or(0, |state| std::mem::take(&mut state.unread_us));
        let session = self.session_id(session);
        self.timed.push(Timed { session, timing, server, unread_us });
    }

    /// The number of a server. Only connecting looks for one, so that a walk will do.
    pub(crate) fn number_of(&mut self, server: &str) -> u16 {
        if let Some(at) = self.servers.iter().position(|known| **known == *server) {
            return at as u16;
        }
        if self.servers.len() >= usize::from(SERVERS_MAX) {
            return SERVERS_MAX;
        }
        self.servers.push(server.into());
        (self.servers.len() - 1) as u16
    }
}
