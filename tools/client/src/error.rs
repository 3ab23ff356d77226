//! What goes wrong between a tool and a server.

use std::io;

/// Why a server could not be used. All but `Refused` leave the connection of no use.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server string makes no sense, or its host has no address, or nobody answers there.
    #[error("cannot reach {server}: {why}")]
    Unreachable {
        /// The server string.
        server: Box<str>,
        /// One sentence.
        why: Box<str>,
    },
    /// The connection broke.
    #[error("connection to {server} lost: {error}")]
    Lost {
        /// The server string.
        server: Box<str>,
        /// What the system said.
        error: io::Error,
    },
    /// The server closed in the middle of something, with or without saying why.
    #[error("{server} closed the connection: {text}")]
    Closed {
        /// The server string.
        server: Box<str>,
        /// The text of its BYE, or what we were waiting for.
        text: Box<str>,
    },
    /// TLS cannot be set up, or not with this server.
    #[error("TLS with {server}: {why}")]
    Tls {
        /// The server string.
        server: Box<str>,
        /// One sentence.
        why: Box<str>,
    },
    /// The login failed.
    #[error("cannot log in at {server}: {why}")]
    Login {
        /// The server string.
        server: Box<str>,
        /// One sentence.
        why: Box<str>,
    },
    /// The server says what its protocol does not have, or more than we take.
    #[error("{server} does not speak as expected: {why}")]
    Protocol {
        /// The server string.
        server: Box<str>,
        /// One sentence.
        why: Box<str>,
    },
    /// The server said no to a command; the connection stands.
    #[error("{server} refuses {command}: {text}")]
    Refused {
        /// The server string.
        server: Box<str>,
        /// The verb.
        command: &'static str,
        /// Its text.
        text: Box<str>,
    },
    /// This machine lacks something.
    #[error("{what}")]
    System {
        /// One sentence.
        what: &'static str,
    },
}
