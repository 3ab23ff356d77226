//! NOTIFY (RFC 5465).

use super::esearch::{Source, SourceKind, source};
use crate::wire::{Cursor, SyntaxError};

/// Event groups of one command; more are refused.
const GROUPS_MAX: usize = 16;

/// Mailboxes that one command may name.
const MAILBOXES_MAX: usize = 256;

/// Arguments of NOTIFY.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotifyArgs<'a> {
    /// `NONE`.
    None,
    /// `SET`.
    Set {
        /// `STATUS`: how the mailboxes stand is wanted at once.
        status: bool,
        /// At least one.
        groups: Vec<EventGroup<'a>>,
    },
}

/// Mailboxes, and what of them is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventGroup<'a> {
    /// Which mailboxes.
    pub source: Source<'a>,
    /// `NONE`, or a list with its parentheses: the server's to judge.
    pub events: &'a [u8],
}

/// ```text
/// notify      = "NOTIFY" SP ("SET" [SP "STATUS"] SP event-groups / "NONE")
/// event-group = "(" filter-mailboxes SP ("(" event *(SP event) ")" / "NONE") ")"      RFC 5465 section 8
/// ```
///
/// # Errors
/// Anything else, a kind of mailboxes that is named twice, a literal among the events, or too much.
pub fn notify_args(args: &[u8]) -> Result<NotifyArgs<'_>, SyntaxError> {
    let mut cursor = Cursor::new(args);
    if cursor.take_word(b"NONE") {
        cursor.end()?;
        return Ok(NotifyArgs::None);
    }
    if !cursor.take_word(b"SET") {
        return Err(cursor.error("SET or NONE"));
    }
    cursor.sp()?;
    let status = cursor.take_word(b"STATUS");
    if status {
        cursor.sp()?;
    }
    let mut groups: Vec<EventGroup<'_>> = Vec::new();
    loop {
        let group = event_group(&mut cursor, args)?;
        let is_twice = groups.iter().any(|known| is_same(&known.source, &group.source));
        groups.push(group);
        let named: usize = groups.iter().map(|group| group.source.mailboxes.len()).sum();
        if is_twice || groups.len() > GROUPS_MAX || named > MAILBOXES_MAX {
            return Err(cursor.error("fewer mailboxes, each kind of them once"));
        }
        if cursor.is_at_end() {
            return Ok(NotifyArgs::Set { status, groups });
        }
        cursor.sp()?;
    }
}

fn event_group<'a>(cursor: &mut Cursor<'a>, args: &'a [u8]) -> Result<EventGroup<'a>, SyntaxError> {
    cursor.byte(b'(', "(")?;
    let source = source(cursor, args)?;
    cursor.sp()?;
    let begins = cursor.position();
    let events =
        if cursor.take_word(b"NONE") { &args[begins..cursor.position()] } else { cursor.parenthesised()? };
    if memchr::memchr(b'\n', events).is_some() {
        return Err(cursor.error("events without a literal"));
    }
    cursor.byte(b')', ")")?;
    Ok(EventGroup { source, events })
}

fn is_same(one: &Source<'_>, other: &Source<'_>) -> bool {
    let is_selected = one.kind == SourceKind::Selected;
    one.kind == other.kind && (is_selected || word(one.text).eq_ignore_ascii_case(word(other.text)))
}

/// The word that a source of messages begins with.
fn word(source: &[u8]) -> &[u8] {
    source.split(|byte| *byte == b' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_groups_are_read_and_their_events_kept() {
        let args =
            b"SET STATUS (selected (MessageNew (UID BODY.PEEK[HEADER.FIELDS (From)]) MessageExpunge)) \
            (Personal NONE) (subtree (a \"b c\") (MailboxName)) (mailboxes {3+}\r\nx y (FlagChange))";
        let NotifyArgs::Set { status, groups } = notify_args(args).unwrap() else { panic!("SET") };
        assert!(status);
        let kinds: Vec<_> = groups.iter().map(|group| group.source.kind).collect();
        let all = [SourceKind::Selected, SourceKind::Personal, SourceKind::Subtree, SourceKind::Mailboxes];
        assert_eq!(kinds, all);
        assert_eq!(groups[0].events, b"(MessageNew (UID BODY.PEEK[HEADER.FIELDS (From)]) MessageExpunge)");
        assert_eq!(groups[1].events, b"NONE");
        assert_eq!(&*groups[2].source.mailboxes[1], b"b c");
        assert_eq!(&*groups[3].source.mailboxes[0], b"x y");
        assert_eq!(notify_args(b"none").unwrap(), NotifyArgs::None);
        assert!(notify_args(b"SET (inboxes NONE) (personal NONE)").is_ok());
    }

    #[test]
    fn what_is_none_is_refused() {
        for args in [
            "",
            "SET",
            "SET STATUS",
            "NONE x",
            "SET ()",
            "SET (selected)",
            "SET (selected ())x",
            "SET (nosuch (MessageNew))",
            "SET (personal (MessageNew)) (Personal NONE)",
            "SET (selected NONE) (selected-delayed NONE)",
            "SET (mailboxes (MessageNew))",
            "SET (personal (A)",
            "SET (personal (A))  (inboxes NONE)",
            "SET (personal (MessageNew {1+}\r\nx))",
            "GET",
        ] {
            assert!(notify_args(args.as_bytes()).is_err(), "{args}");
        }
        let many = "x ".repeat(MAILBOXES_MAX);
        assert!(notify_args(format!("SET (mailboxes ({many}x) (MessageNew))").as_bytes()).is_err());
    }
}
