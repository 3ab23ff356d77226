//! What is told of clients to those who look at the process from outside.

use std::sync::Arc;

/// What of a client changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Presence {
    /// Who he is; he has nothing open.
    Client {
        /// The service as in cyrus.conf.
        service: Arc<str>,
        /// His address; empty over a UNIX socket.
        host: Box<str>,
        /// The canonical user; empty before a login.
        user: Box<[u8]>,
    },
    /// He has the mailbox of this internal name open, or none.
    Mailbox(Option<Box<[u8]>>),
}
