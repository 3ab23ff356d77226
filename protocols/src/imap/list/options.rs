//! What a LIST asks for beyond names, and how servers are asked for what only they know.

use super::singly::Singly;
use crate::imap::grammar::ListArgs;
use crate::imap::offer::Offer;
use crate::mailbox::Pattern;
use crate::wire::LiteralStyle;
use crate::wire::quote::astring_out_as;

/// The word of the response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    /// LIST, and RLIST, which says LIST too (RFC 2193 section 4).
    List,
    /// XLIST, which implies SPECIAL-USE.
    XList,
}

/// What was asked for beyond names.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) word: Word,
    pub(super) selection: Selection,
    pub(super) subscribed: bool,
    pub(super) special_use: bool,
    pub(super) my_rights: bool,
    /// Options or several patterns were given (RFC 5258 section 3).
    pub(super) extended: bool,
    /// The part in `RETURN (...)` that backends answer: STATUS, METADATA.
    fan: Vec<u8>,
    /// The items of STATUS in that part.
    status: Option<Box<[u8]>>,
    /// The selection option METADATA, which says how deep the return option looks.
    fan_depth: Vec<u8>,
}

/// Of which mailboxes there are rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Selection {
    pub(super) subscribed: bool,
    pub(super) special_use: bool,
    pub(super) recursive_match: bool,
}

impl Options {
    /// Those of a command.
    pub(super) fn new(word: Word, args: &ListArgs<'_>) -> Options {
        let mut fan = Vec::new();
        for (name, items) in [(&b"STATUS "[..], args.returns.status), (b"METADATA ", args.returns.metadata)] {
            if let Some(items) = items {
                fan.extend_from_slice(if fan.is_empty() { b"" } else { b" " });
                fan.extend_from_slice(name);
                fan.extend_from_slice(items);
            }
        }
        let selection = Selection {
            subscribed: args.selection.subscribed,
            special_use: args.selection.special_use,
            recursive_match: args.selection.recursive_match,
        };
        Options {
            word,
            selection,
            subscribed: args.returns.subscribed,
            special_use: args.returns.special_use,
            my_rights: args.returns.my_rights,
            extended: args.extended,
            fan,
            status: args.returns.status.map(Box::from),
            fan_depth: args.selection.metadata.unwrap_or_default().to_vec(),
        }
    }

    /// Selecting by subscription tells of it too (RFC 5258 section 3.1).
    pub(super) fn returns_subscribed(&self) -> bool {
        self.subscribed || self.selection.subscribed
    }

    /// A parent is told of the subscriptions below it even if it has no row.
    pub(super) fn owes_parents(&self) -> bool {
        self.selection.subscribed && self.selection.recursive_match && !self.selection.special_use
    }

    /// Special uses are asked for, if only by the word.
    pub(super) fn wants_special(&self) -> bool {
        self.special_use || self.selection.special_use || self.word == Word::XList
    }

    /// Something is asked for that only the servers of the rows know.
    pub(super) fn asks_servers(&self) -> bool {
        !self.fan.is_empty()
    }

    /// What they must offer to be asked by [`Options::command`].
    pub(super) fn needs(&self) -> Offer {
        match self.status {
            Some(_) => Offer::LIST_EXTENDED.and(Offer::LIST_STATUS),
            None => Offer::LIST_EXTENDED,
        }
    }

    /// The command that asks them, without its tag.
    pub(super) fn command(&self, patterns: &[Pattern]) -> Vec<u8> {
        let mut command = b"LIST ".to_vec();
        if !self.fan_depth.is_empty() {
            command.extend_from_slice(b"(METADATA ");
            command.extend_from_slice(&self.fan_depth);
            command.extend_from_slice(b") ");
        }
        command.extend_from_slice(b"\"\" (");
        for (n, pattern) in patterns.iter().enumerate() {
            command.extend_from_slice(if n == 0 { b"" } else { b" " });
            astring_out_as(&mut command, pattern.text(), LiteralStyle::NonSynchronising);
        }
        command.extend_from_slice(b") RETURN (");
        command.extend_from_slice(&self.fan);
        command.extend_from_slice(b")\r\n");
        command
    }

    /// How a server without LIST-STATUS is asked.
    pub(super) fn singly(&self, patterns: &[Pattern]) -> Option<Singly> {
        let items = self.status.as_deref()?;
        let list = |pattern: &Pattern| {
            let mut command = b"LIST \"\" ".to_vec();
            astring_out_as(&mut command, pattern.text(), LiteralStyle::NonSynchronising);
            command.extend_from_slice(b"\r\n");
            command
        };
        let lists = patterns.iter().map(list).collect();
        let wants_more = self.fan.len() > b"STATUS ".len() + items.len();
        Some(Singly { lists, items: items.to_vec(), wants_more })
    }
}
