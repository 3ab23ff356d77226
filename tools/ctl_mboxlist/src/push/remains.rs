//! What a push leaves to a person, and how it says so.

use std::fmt::Write;

use client::Located;
use cyrusdb::dump::Dump;
use cyrusdb::{Mailbox, Mbtype};

use crate::options::Mode;
use crate::report::{LINES_MAX, Syslog};

/// What was not done.
#[derive(Default)]
pub(super) struct Remains {
    /// Here, and by the master on another server.
    pub elsewhere: Vec<(Box<[u8]>, Located)>,
    /// Flagged as moving away, which the master does not say.
    pub moving: Vec<Mailbox>,
    /// The master said no.
    pub refused: Vec<(Box<[u8]>, Box<str>)>,
    /// Names that were not removed from the master, because they are many.
    pub held_back: usize,
}

impl Remains {
    /// Tells what remains, on the standard error and, in numbers, to syslog; how much it is.
    pub(super) fn tell(&self, syslog: &Syslog, mode: Mode) -> usize {
        let count = self.elsewhere.len() + self.moving.len() + self.refused.len() + self.held_back;
        if mode == Mode::Change {
            let mut text = String::new();
            self.write(&mut text);
            eprint!("{text}");
            if count > 0 {
                syslog.warning(&format!(
                    "{} mailboxes are on another server too, {} flagged as moving, {} refused by the master, {} \
                     removals held back: nothing was deleted here",
                    self.elsewhere.len(),
                    self.moving.len(),
                    self.refused.len(),
                    self.held_back
                ));
            }
        }
        count
    }

    fn write(&self, text: &mut String) {
        for (name, why) in first(&self.refused, text) {
            line(
                text,
                format_args!("temporary failure storing '{}' (update continuing): {why}", shown(name)),
            );
        }
        self.write_elsewhere(text);
        self.write_moving(text);
        if self.held_back > 0 {
            line(
                text,
                format_args!(
                    "{} mailboxes that the master has of this server are not here. They are so many that they were \
                     not removed there: if they are really gone, run with -i.",
                    self.held_back
                ),
            );
        }
    }

    fn write_elsewhere(&self, text: &mut String) {
        if self.elsewhere.is_empty() {
            return;
        }
        line(text, format_args!("Here, but by the master on another server; nothing was deleted:"));
        for (name, located) in first(&self.elsewhere, text) {
            let state = if located.acl.is_some() { "" } else { " (reserved: a move was not finished)" };
            line(text, format_args!("  {} at {}{state}", shown(name), shown(&located.location)));
        }
        line(
            text,
            format_args!(
                "If one is reserved there, run ctl_mboxlist -m on that server first, then here again. If the other \
                 copy is the right one, remove this one as an administrator of this server by IMAP: LOCALDELETE \
                 mailbox. If this copy is the right one: ctl_mboxlist -m -a."
            ),
        );
    }

    fn write_moving(&self, text: &mut String) {
        if self.moving.is_empty() {
            return;
        }
        line(
            text,
            format_args!(
                "Flagged as moving to another server, which never took them. Give these entries to Cyrus' own \
                 ctl_mboxlist -u, then run ctl_mboxlist -m again:"
            ),
        );
        let repaired = self.moving.iter().map(|mailbox| {
            let flags = Mbtype::MOVING.with(Mbtype::REMOTE);
            let mbtype = Mbtype(mailbox.mbtype.0 & !flags.0);
            Mailbox { mbtype, server: None, ..mailbox.clone() }
        });
        let mut json = Vec::new();
        let written = Dump::new(&mut json).and_then(|mut dump| {
            repaired.take(LINES_MAX).try_for_each(|mailbox| dump.entry(&mailbox))?;
            dump.finish()
        });
        // Writing to memory does not fail.
        if written.is_ok() {
            text.push_str(&String::from_utf8_lossy(&json));
        }
    }
}

/// The first of many, and a line about the rest.
fn first<'a, T>(all: &'a [T], text: &mut String) -> impl Iterator<Item = &'a T> + use<'a, T> {
    if all.len() > LINES_MAX {
        line(text, format_args!("({} in all, of which {LINES_MAX} are shown)", all.len()));
    }
    all.iter().take(LINES_MAX)
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(arguments);
    text.push('\n');
}

fn shown(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_when_nothing_remains() {
        let mut text = String::new();
        Remains::default().write(&mut text);
        assert_eq!(text, "");
    }

    #[test]
    fn a_moving_entry_is_shown_repaired() {
        let mailbox = Mailbox {
            name: (*b"user.a").into(),
            mbtype: Mbtype::MOVING.with(Mbtype::REMOTE).with(Mbtype::LEGACY_DIRS),
            partition: Some((*b"default").into()),
            server: Some((*b"be2").into()),
            ..Mailbox::default()
        };
        let mut text = String::new();
        Remains { moving: vec![mailbox], ..Remains::default() }.write(&mut text);
        assert!(text.contains("\"mbtype\": \"el\", \"partition\": \"default\", \"acl\""), "{text}");
    }

    #[test]
    fn a_reservation_elsewhere_is_told_with_the_safe_order() {
        let located = Located { location: (*b"be2!default").into(), acl: None };
        let elsewhere = vec![(Box::from(&b"user.a"[..]), located)];
        let mut text = String::new();
        Remains { elsewhere, ..Remains::default() }.write(&mut text);
        assert!(text.contains("user.a at be2!default (reserved"), "{text}");
        assert!(text.contains("on that server first"), "{text}");
    }
}
