//! Which rows a LIST shows, and how they are written.

use std::collections::{BTreeMap, BTreeSet};

use super::options::{Options, Word};
use super::walk::{Inferiors, Row, is_below};
use crate::imap::config::Config;
use crate::mailbox::Namespace;
use crate::proxy::Knowledge;
use crate::wire::quote::mailbox_out;

/// What the user's home server told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Subscribed names as the user sees them.
    pub(super) subscribed: BTreeSet<Box<[u8]>>,
    /// Special-use attributes of mailboxes, as they stand in a LIST.
    pub(super) special: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

/// What the rows of one answer are judged by.
pub(super) struct Judge<'a> {
    pub(super) options: &'a Options,
    pub(super) told: &'a Told,
    pub(super) config: &'a Config,
    /// Whether a name matches one of the patterns.
    pub(super) matches: &'a dyn Fn(&[u8]) -> bool,
}

impl Judge<'_> {
    /// Whether a row is shown, and with which criteria for its children; RFC 5258 section 3.5.
    pub(super) fn child_info(&self, row: &Row) -> Option<Vec<&'static str>> {
        let selection = &self.options.selection;
        let mut is_shown = true;
        let mut children = Vec::new();
        let namespace = &*self.config.namespace;
        if selection.subscribed {
            let names = self.told.subscribed.iter().map(|name| &**name);
            is_shown &= self.told.subscribed.contains(&row.name);
            if selection.recursive_match && self.has_hidden_child(names, row, namespace) {
                children.push("SUBSCRIBED");
            }
        }
        if selection.special_use {
            let names = self.told.special.keys().map(|name| &**name);
            is_shown &= self.told.special.contains_key(&row.name);
            if selection.recursive_match && self.has_hidden_child(names, row, namespace) {
                children.push("SPECIAL-USE");
            }
        }
        (is_shown || !children.is_empty()).then_some(children)
    }

    /// Whether one of the names is below the row and has no row of its own.
    fn has_hidden_child<'n>(
        &self,
        mut names: impl Iterator<Item = &'n [u8]>,
        row: &Row,
        namespace: &Namespace,
    ) -> bool {
        names.any(|name| is_below(&row.name, name, namespace) && !(self.matches)(name))
    }

    /// Writes a row that is shown, and what the list itself knows besides.
    pub(super) fn write(&self, row: &Row, child_info: &[&str], out: &mut Vec<u8>) {
        let mut attributes = Attributes::default();
        match (&row.mailbox, self.options.extended) {
            (Some(mailbox), _) if mailbox.inferiors == Inferiors::Never => attributes.add(b"\\Noinferiors"),
            (Some(_), _) => {}
            (None, true) => attributes.add(b"\\NonExistent"),
            (None, false) => attributes.add(b"\\Noselect"),
        }
        if self.options.returns_subscribed() && self.told.subscribed.contains(&row.name) {
            attributes.add(b"\\Subscribed");
        }
        attributes.add(if row.has_children { b"\\HasChildren" } else { b"\\HasNoChildren" });
        if let Some(special) = self.told.special.get(&row.name)
            && row.mailbox.is_some()
        {
            attributes.add(special);
        }
        if self.options.word == Word::XList && row.name.eq_ignore_ascii_case(b"INBOX") {
            attributes.add(b"\\Inbox");
        }
        self.write_line(&attributes, &row.name, child_info, out);
        if let Some(mailbox) = row.mailbox.as_ref().filter(|_| self.options.my_rights) {
            out.extend_from_slice(b"* MYRIGHTS ");
            mailbox_out(out, &row.name);
            out.push(b' ');
            out.extend_from_slice(mailbox.rights.text_with(self.config.acl.deleteright).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Writes a subscription without a row. That there is no such mailbox can be said only by a list
    /// that is live.
    pub(super) fn write_orphan(&self, name: &[u8], knowledge: Knowledge, out: &mut Vec<u8>) {
        let mut attributes = Attributes::default();
        if knowledge == Knowledge::Live {
            attributes.add(b"\\NonExistent");
        }
        attributes.add(b"\\Subscribed");
        self.write_line(&attributes, name, &[], out);
    }

    /// Writes a parent without a row of a subscription below it.
    pub(super) fn write_owed(&self, name: &[u8], knowledge: Knowledge, out: &mut Vec<u8>) {
        let mut attributes = Attributes::default();
        if knowledge == Knowledge::Live {
            attributes.add(b"\\NonExistent");
        }
        attributes.add(b"\\HasChildren");
        self.write_line(&attributes, name, &["SUBSCRIBED"], out);
    }

    /// ```text
    /// mailbox-list = "(" [mbx-list-flags] ")" SP DQUOTE QUOTED-CHAR DQUOTE SP mailbox [SP mbox-list-extended]
    /// ```
    /// RFC 9051 section 9.
    fn write_line(&self, attributes: &Attributes, name: &[u8], child_info: &[&str], out: &mut Vec<u8>) {
        out.extend_from_slice(match self.options.word {
            Word::List => b"* LIST (",
            Word::XList => b"* XLIST (",
        });
        out.extend_from_slice(&attributes.text);
        out.extend_from_slice(b") \"");
        out.push(self.config.namespace.separator);
        out.extend_from_slice(b"\" ");
        mailbox_out(out, name);
        if !child_info.is_empty() {
            let quoted: Vec<String> = child_info.iter().map(|criterion| format!("\"{criterion}\"")).collect();
            out.extend_from_slice(format!(" (CHILDINFO ({}))", quoted.join(" ")).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Attributes with spaces between them.
#[derive(Default)]
struct Attributes {
    text: Vec<u8>,
}

impl Attributes {
    fn add(&mut self, attribute: &[u8]) {
        if !self.text.is_empty() {
            self.text.push(b' ');
        }
        self.text.extend_from_slice(attribute);
    }
}

/// The attributes of a LIST response that are special uses: none of those that RFC 5258 knows.
pub(super) fn special_uses<'a>(attributes: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    const PLAIN: [&str; 11] = [
        "\\HasChildren",
        "\\HasNoChildren",
        "\\Noselect",
        "\\NonExistent",
        "\\Noinferiors",
        "\\Subscribed",
        "\\Remote",
        "\\Marked",
        "\\Unmarked",
        "\\Inbox",
        "\\Muted",
    ];
    let mut special = Attributes::default();
    for attribute in attributes {
        if !PLAIN.iter().any(|plain| plain.as_bytes().eq_ignore_ascii_case(attribute)) {
            special.add(attribute);
        }
    }
    special.text
}
