//! NOTIFY (RFC 5465): how a mailbox stands, told to who watches it when something changed there.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::command::{Value, astring};
use super::mailbox::{Mailbox, external, internal, owner};

/// What a session is told of.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// What happens in the selected mailbox, at once.
    pub(crate) selected: bool,
    /// Internal names, and whether those below them are watched, too.
    places: Vec<(String, bool)>,
    /// By internal name: all changes up to this one were told.
    told: BTreeMap<String, u64>,
}

impl Watch {
    /// Reads the event groups behind `SET` and `STATUS`; events are not told apart.
    pub(crate) fn read(groups: &[Value], user: &str) -> Option<Watch> {
        let mut watch = Watch::default();
        for group in groups {
            let Value::List(parts) = group else { return None };
            match &parts[..] {
                [kind, events] if kind.is("selected") || kind.is("selected-delayed") => {
                    watch.selected = !events.is("NONE");
                }
                [kind, _] if kind.is("personal") || kind.is("inboxes") => {
                    watch.places.push((format!("user.{user}"), true));
                }
                [kind, names, _] if kind.is("mailboxes") || kind.is("subtree") => {
                    for name in names.members() {
                        watch.places.push((internal(&name.text()?, user), kind.is("subtree")));
                    }
                }
                _ => return None,
            }
        }
        if groups.is_empty() { None } else { Some(watch) }
    }

    /// Tells of the mailboxes that the user may read and that have changed, but for the selected one.
    pub(crate) fn tell(
        &mut self,
        mailboxes: &BTreeMap<String, Mailbox>,
        user: &str,
        selected: Option<&str>,
        out: &mut Vec<u8>,
    ) {
        for (name, mailbox) in mailboxes {
            let may_read = owner(name) == Some(user) || mailbox.acl.rights(user).contains('r');
            if !may_read || !self.is_watched(name) {
                continue;
            }
            let told = self.told.insert(name.clone(), mailbox.modseq);
            if told != Some(mailbox.modseq) && selected != Some(name) {
                let mut text = format!("* STATUS {} ", astring(&external(name, user)));
                let (messages, next) = (mailbox.messages.len(), mailbox.uid_next);
                // Writing to a String cannot fail.
                let _ = write!(
                    text,
                    "(MESSAGES {messages} UIDNEXT {next} UIDVALIDITY {})\r\n",
                    mailbox.uid_validity
                );
                out.extend_from_slice(text.as_bytes());
            }
        }
    }

    fn is_watched(&self, name: &str) -> bool {
        let is_within = |(place, below): &(String, bool)| match name.strip_prefix(place.as_str()) {
            Some(rest) => rest.is_empty() || (*below && rest.starts_with('.')),
            None => false,
        };
        self.places.iter().any(is_within)
    }
}
