//! What machines tell without waiting for an answer.

use std::sync::Arc;

use super::{HomeNews, Presence, QuestionId, Service, Stage};

/// What a machine tells without waiting for an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// A line for the log, without a secret in it.
    Log {
        /// How much it matters.
        level: Level,
        /// Lower case, no period.
        text: Box<str>,
    },
    /// A server of a protocol other than IMAP offered these, each one item that can be compared.
    ServiceCapabilities {
        /// The protocol.
        service: Service,
        /// The server as in the list.
        server: Box<str>,
        /// In its order.
        capabilities: Vec<Box<str>>,
    },
    /// A line for the log that a client's session writes, without a secret in it.
    Session {
        /// How much it matters.
        level: Level,
        /// The service as in cyrus.conf.
        service: Arc<str>,
        /// The id that joins the lines of a session, also with those of backends.
        session_id: Box<str>,
        /// Lower case, no period.
        text: Box<str>,
    },
    /// A server offered these capabilities after login.
    Capabilities {
        /// The server as in the list.
        server: Box<str>,
        /// In its order.
        capabilities: Vec<Box<str>>,
    },
    /// Who the client is or what he has open has changed, for those who look at the process from outside.
    Presence(Presence),
    /// A server took a connection and did not log in in time.
    Silent {
        /// The server as in the list.
        server: Box<str>,
    },
    /// How far it is with what [`super::Question::Intend`] announced.
    Stage {
        /// That question's.
        id: QuestionId,
        /// How far.
        stage: Stage,
    },
    /// A user's home server told this of him.
    Home {
        /// The canonical user.
        user: Box<[u8]>,
        /// What.
        news: HomeNews,
    },
}

/// How much a line of the log matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// A decision.
    Debug,
    /// A session.
    Info,
    /// Something was refused that an operator may ask about (failed login).
    Notice,
    /// Would wake someone.
    Warn,
}
