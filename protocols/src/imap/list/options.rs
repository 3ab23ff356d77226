//! What a LIST asks for beyond names, and how servers are asked for what only they know.

use super::singly::Singly;
use crate::imap::grammar::ListArgs;
use crate::imap::offer::Offer;
use crate::imap::status::{ALONE, without_mailbox_id};
use crate::imap::text::push;
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
    /// MAILBOXID is among what is asked of STATUS, and asked apart.
    pub(super) ids_apart: bool,
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
        let others = args.returns.status.and_then(without_mailbox_id);
        let status = others.as_deref().or(args.returns.status);
        let mut fan = Vec::new();
        for (name, items) in [(&b"STATUS "[..], status), (b"METADATA ", args.returns.metadata)] {
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
            status: status.map(Box::from),
            ids_apart: others.is_some(),
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

    /// What they must offer to be asked by [`Options::commands`].
    pub(super) fn needs(&self) -> Offer {
        match self.status {
            Some(_) => Offer::LIST_EXTENDED.and(Offer::LIST_STATUS),
            None => Offer::LIST_EXTENDED,
        }
    }

    /// The commands that ask them, without their tags.
    pub(super) fn commands(&self, patterns: &[Pattern]) -> Vec<Vec<u8>> {
        let ids = self.ids_apart.then(|| command(b"", patterns, &[b"STATUS ", ALONE].concat()));
        ids.into_iter().chain([command(&self.fan_depth, patterns, &self.fan)]).collect()
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
        let ids = self.ids_apart.then(|| ALONE.to_vec());
        let items = ids.into_iter().chain([items.to_vec()]).collect();
        Some(Singly { lists, items, wants_more })
    }
}

/// A LIST with these return options.
fn command(depth: &[u8], patterns: &[Pattern], returns: &[u8]) -> Vec<u8> {
    let mut command = b"LIST ".to_vec();
    if !depth.is_empty() {
        push(&mut command, &[b"(METADATA ", depth, b") "]);
    }
    command.extend_from_slice(b"\"\" (");
    for (n, pattern) in patterns.iter().enumerate() {
        command.extend_from_slice(if n == 0 { b"" } else { b" " });
        astring_out_as(&mut command, pattern.text(), LiteralStyle::NonSynchronising);
    }
    push(&mut command, &[b") RETURN (", returns, b")\r\n"]);
    command
}
