//! Whether servers lay names out as this frontend does.
//!
//! A name goes to its server as the client typed it. One with another `altnamespace`, `unixhierarchysep` or prefix
//! understands another mailbox, or none, and clients are told that mailboxes which they see do not exist. So when
//! a client asks for NAMESPACE, which we answer ourselves, the servers of his session are asked, too, and what
//! differs is logged. Nobody waits for it.

use super::grammar::Verb;
use super::session::Session;
use crate::proxy::{BackendId, Level};
use crate::wire::Cursor;

impl Session {
    /// Asks the servers that this session is connected with, once; those that come later as they come.
    pub(super) fn ask_layouts(&mut self) {
        if std::mem::replace(&mut self.papers().asks_layout, true) {
            return;
        }
        let usable = self.backends.iter().filter(|backend| backend.is_ready() && !backend.is_listening);
        for id in usable.map(|backend| backend.id()).collect::<Vec<_>>() {
            self.ask_layout(id);
        }
    }

    /// Asks a server, if the client asked us.
    pub(super) fn ask_layout(&mut self, id: BackendId) {
        let is_wanted = self.papers.as_ref().is_some_and(|papers| papers.asks_layout);
        if let Some(at) = self.backend_at(id).filter(|_| is_wanted) {
            self.send_own_as(at, Verb::Namespace, b"NAMESPACE");
        }
    }

    /// Compares what a server says with what the client is told.
    ///
    /// ```text
    /// namespace-response = "* NAMESPACE" SP namespace SP namespace SP namespace      RFC 9051 section 9
    /// namespace          = nil / "(" 1*namespace-descr ")"
    /// ```
    /// A server in which the user sees no mailbox of a kind tells NIL for it, which says nothing.
    pub(super) fn compare_layout(&mut self, at: usize, told: &[u8]) {
        let Some(user) = self.user() else { return };
        let own = self.config.namespace.namespace_response(&user.identity, true);
        let Some((ours, theirs)) = namespaces(&own).zip(namespaces(told)) else { return };
        let differs = |pair: &(Option<&[u8]>, Option<&[u8]>)| matches!(pair, (Some(a), Some(b)) if a != b);
        if ours.into_iter().zip(theirs).any(|pair| differs(&pair)) {
            let server = self.backends[at].server().escape_ascii().to_string();
            let (theirs, ours) = (told.escape_ascii(), own.escape_ascii());
            self.log(Level::Warn, format!(
                "imap backend {server}: NAMESPACE is {theirs} there and {ours} here: altnamespace, unixhierarchysep, \
                 userprefix and sharedprefix must be the same on frontends and backends"
            ));
        }
    }
}

/// The personal namespace, other users', the shared ones; what is NIL is none.
fn namespaces(text: &[u8]) -> Option<[Option<&[u8]>; 3]> {
    let mut cursor = Cursor::new(text);
    let mut found = [None; 3];
    for (n, place) in found.iter_mut().enumerate() {
        if n > 0 {
            cursor.sp().ok()?;
        }
        *place = match cursor.parenthesised() {
            Ok(namespace) => Some(namespace),
            Err(_) => cursor.nstring().ok()?.is_none().then_some(None)?,
        };
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_told_apart() {
        let found = namespaces(b"((\"\" \"/\")) NIL ((\"Shared Folders/\" \"/\") (\"x/\" \"/\"))");
        let [own, others, shared] = found.unwrap();
        assert_eq!((own, others), (Some(&b"((\"\" \"/\"))"[..]), None));
        assert!(shared.unwrap().ends_with(b"(\"x/\" \"/\"))"));
        for wrong in [&b""[..], b"NIL NIL", b"NIL \"x\" NIL", b"((\"\" \"/\") NIL NIL"] {
            assert_eq!(namespaces(wrong), None, "{}", wrong.escape_ascii());
        }
    }
}
