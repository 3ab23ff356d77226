//! STATUS of MAILBOXID (RFC 8474), which is asked by itself.
//!
//! Cyrus 3.6 to 3.12 opens a mailbox that is not selected for what its index has, and tells the MAILBOXID from
//! memory that it freed when it closed the mailbox again (`status_lookup_internal` in imap/statuscache_db.c):
//! addresses, or bytes of whom the process served before, line ends among them. The order of the items changes
//! nothing; alone, or with UIDVALIDITY, it comes from the server's mailbox list, and is right. So MAILBOXID goes
//! ahead in a command of its own, and the answers are joined.
//!
//! ```text
//! C: a STATUS INBOX (MESSAGES MAILBOXID)
//! P: RK1 STATUS "INBOX" (MAILBOXID)      B: * STATUS INBOX (MAILBOXID (x))      kept
//! P: a STATUS "INBOX" (MESSAGES)         B: * STATUS INBOX (MESSAGES 5)
//! S: * STATUS INBOX (MAILBOXID (x) MESSAGES 5)
//! ```
//! It is so for every server: a release that is right loses a round of bytes, no round trip.

use std::collections::BTreeMap;

use super::agenda::{is_partial, result_line, result_of};
use super::folder::on_mailbox;
use super::grammar::{Response, Status, UntaggedKind, response};
use super::routed::{Effect, Routed};
use super::task::{Context, Line, News, Task, Want};
use super::text::{name_out, push};
use crate::proxy::{BackendId, Instant, Side};
use crate::wire::{Cursor, line as wire_line};

const MAILBOX_ID: &[u8] = b"MAILBOXID";

/// Items that Cyrus has without opening the mailbox (`STATUS_MBENTRYITEMS`).
const OF_THE_LIST: [&[u8]; 2] = [MAILBOX_ID, b"UIDVALIDITY"];

/// The item alone, as asked.
pub(super) const ALONE: &[u8] = b"(MAILBOXID)";

/// Bytes of names and ids that wait for the rest of what is told of their mailboxes, some 10,000 mailboxes; what is
/// beyond is told in a line of its own.
const IDS_BYTES_MAX: usize = 1024 * 1024;

/// RFC 8474 section 7: "objectid = 1*255(ALPHA / DIGIT / "_" / "-")".
const OBJECT_ID_BYTES_MAX: usize = 255;

/// Our tag; a command that is routed has numbers of its own.
const TAG: u32 = 2;

/// The items without MAILBOXID, where it must not be asked together with them.
///
/// ```text
/// status-att-list = "(" status-att *(SP status-att) ")"
/// ```
pub(super) fn without_mailbox_id(items: &[u8]) -> Option<Vec<u8>> {
    let words = || items[1..items.len() - 1].split(|byte| *byte == b' ');
    if !items.starts_with(b"(") || !items.ends_with(b")") || items.len() < ALONE.len() {
        return None;
    }
    let is_id = |word: &&[u8]| word.eq_ignore_ascii_case(MAILBOX_ID);
    let is_listed = |word: &[u8]| OF_THE_LIST.iter().any(|item| item.eq_ignore_ascii_case(word));
    if !words().any(|word| is_id(&word)) || words().all(is_listed) {
        return None;
    }
    let others: Vec<&[u8]> = words().filter(|word| !is_id(word)).collect();
    Some([b"(", &*others.join(&b' '), b")"].concat())
}

/// What was told of MAILBOXID alone, until the rest comes.
#[derive(Debug, Default)]
pub(super) struct MailboxIds {
    /// By mailbox as its server names it.
    ids: BTreeMap<Box<[u8]>, Box<[u8]>>,
    bytes: usize,
    /// What stands in the place of the front of the line that is passed on.
    front: Vec<u8>,
}

impl MailboxIds {
    /// Takes a STATUS response; `rest` stands behind `* STATUS `.
    pub(super) fn handle_status(&mut self, line: &[u8], rest: &[u8]) -> Line {
        if is_partial(line) {
            return Line::Whole;
        }
        let mut cursor = Cursor::new(rest);
        let Ok(name) = cursor.astring() else { return Line::Relay };
        let Some(items) = rest[cursor.position()..].strip_prefix(b" (") else { return Line::Relay };
        if let Some(id) = behind_name(items) {
            return self.keep(&name, id);
        }
        let Some(id) = self.ids.remove(&*name) else { return Line::Relay };
        self.bytes -= name.len() + id.len();
        let front = wire_line::without_end(line).len() - items.len();
        self.front.clear();
        push(&mut self.front, &[&line[..front], MAILBOX_ID, b" ", &id, b" "]);
        Line::Reworded(front)
    }

    fn keep(&mut self, name: &[u8], told: &[u8]) -> Line {
        let Some(id) = told.strip_suffix(b")").filter(|id| is_object_id(id)) else { return Line::Drop };
        let replaced = self.ids.remove(name).map_or(0, |before| name.len() + before.len());
        self.bytes -= replaced;
        if self.bytes + name.len() + id.len() > IDS_BYTES_MAX {
            return Line::Relay;
        }
        self.bytes += name.len() + id.len();
        self.ids.insert(name.into(), id.into());
        Line::Drop
    }

    /// Appends what stands in the place of the front of a line behind [`Line::Reworded`].
    pub(super) fn reword(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.front);
    }

    fn clear(&mut self) {
        self.ids.clear();
        self.bytes = 0;
    }
}

/// What stands behind the name of the item, where it comes first.
fn behind_name(items: &[u8]) -> Option<&[u8]> {
    let (name, told) = items.split_at_checked(MAILBOX_ID.len())?;
    told.strip_prefix(b" ").filter(|_| name.eq_ignore_ascii_case(MAILBOX_ID))
}

/// `"(" objectid ")"`.
fn is_object_id(value: &[u8]) -> bool {
    let id = value.strip_prefix(b"(").and_then(|id| id.strip_suffix(b")"));
    id.is_some_and(|id| {
        (1..=OBJECT_ID_BYTES_MAX).contains(&id.len())
            && id.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    })
}

/// STATUS, of which MAILBOXID is asked apart.
pub(super) struct StatusApart {
    /// The rest.
    command: Box<Routed>,
    /// The first, without its tag.
    asks_id: Vec<u8>,
    ids: MailboxIds,
    /// The server knows no MAILBOXID: what the client is told.
    malformed: Option<Vec<u8>>,
}

impl StatusApart {
    /// `name` is internal, `mailbox` as typed, `others` are the items without MAILBOXID.
    pub(super) fn new(name: Vec<u8>, mailbox: &[u8], others: &[u8]) -> StatusApart {
        let command = on_mailbox(b"STATUS", name, mailbox, &[others], Effect::Reads);
        let mut asks_id = b"STATUS ".to_vec();
        name_out(&mut asks_id, mailbox);
        push(&mut asks_id, &[b" ", ALONE, b"\r\n"]);
        StatusApart { command, asks_id, ids: MailboxIds::default(), malformed: None }
    }

    /// The result of the rest.
    fn handle_result(&mut self, line: &[u8], verdict: Line) -> Line {
        match self.malformed.take() {
            Some(front) if verdict == Line::Relay => {
                self.ids.front = front;
                Line::Reworded(line.len() - 1)
            }
            Some(_) | None => verdict,
        }
    }
}

impl Task for StatusApart {
    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, now: Instant) {
        self.command.handle_news(news, cx, now);
    }

    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, now: Instant) -> Line {
        if let Response::Untagged { kind: UntaggedKind::Status, rest, .. } = response(line) {
            return self.ids.handle_status(line, rest);
        }
        let mut own = Vec::new();
        cx.own_tag(TAG, &mut own);
        if let Some((Status::Bad, text)) = result_of(line, &own) {
            self.malformed = Some([cx.tag, b" ", &*result_line(Status::Bad, text), b"\r"].concat());
        }
        let verdict = self.command.handle_line(from, line, cx, now);
        match result_of(line, cx.tag) {
            Some((Status::Ok, _)) => self.handle_result(line, verdict),
            Some((Status::No | Status::Bad, _)) | None => verdict,
        }
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        let want = self.command.poll_want(cx, out);
        if let Some(Want::Send(_)) = want {
            self.ids.clear();
            self.malformed = None;
            let rest = std::mem::take(out);
            cx.own_tag(TAG, out);
            push(out, &[b" ", &self.asks_id, &rest]);
        }
        want
    }

    fn awaits(&self, backend: BackendId) -> bool {
        self.command.awaits(backend)
    }

    fn reword(&mut self, out: &mut Vec<u8>) {
        self.ids.reword(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::testing::{Host, found};

    #[test]
    fn mailbox_id_is_taken_from_what_the_index_has_alone() {
        let parted =
            |items: &str| without_mailbox_id(items.as_bytes()).map(|items| String::from_utf8(items).unwrap());
        assert_eq!(parted("(MESSAGES mailboxid UNSEEN)").as_deref(), Some("(MESSAGES UNSEEN)"));
        assert_eq!(parted("(MAILBOXID MAILBOXID SIZE)").as_deref(), Some("(SIZE)"));
        assert_eq!(parted("(MAILBOXID BOGUS)").as_deref(), Some("(BOGUS)"));
        assert_eq!(parted("(MAILBOXID  SIZE)").as_deref(), Some("( SIZE)"));
        let whole = [
            "(MAILBOXID)",
            "(UIDVALIDITY MailboxID)",
            "(MESSAGES UNSEEN)",
            "()",
            "(",
            "",
            "(MAILBOXIDS SIZE)",
            "((MAILBOXID) SIZE)",
        ];
        for items in whole {
            assert_eq!(parted(items), None, "{items}");
        }
    }

    fn asked() -> Host<StatusApart> {
        let mut host = Host::new(StatusApart::new(b"team02".to_vec(), b"team02", b"(MESSAGES)"));
        assert_eq!(host.wants(), ["find team02"]);
        assert_eq!(host.news(found("team02", "backend2", "")), ["backend backend2"]);
        let sent = "B2> RK2 STATUS \"team02\" (MAILBOXID)\r\nA1 STATUS \"team02\" (MESSAGES)\r\n";
        assert_eq!(host.news(News::Backend(Ok(BackendId(2)))), [sent]);
        host
    }

    /// What the client is told in the place of the front of a line.
    fn reworded(host: &mut Host<StatusApart>, line: &str) -> String {
        let (verdict, _) = host.line(2, line);
        let Line::Reworded(n) = verdict else { panic!("{verdict:?}") };
        let mut out = Vec::new();
        host.task.reword(&mut out);
        String::from_utf8([&out[..], &line.as_bytes()[n..]].concat()).unwrap()
    }

    #[test]
    fn both_answers_are_one_line() {
        let mut host = asked();
        assert_eq!(host.line(2, "* STATUS team02 (MAILBOXID (a-B_9))\r\n").0, Line::Drop);
        assert_eq!(host.line(2, "RK2 OK Completed\r\n").0, Line::Drop);
        let told = reworded(&mut host, "* STATUS team02 (MESSAGES 5)\r\n");
        assert_eq!(told, "* STATUS team02 (MAILBOXID (a-B_9) MESSAGES 5)\r\n");
        assert_eq!(host.line(2, "A1 OK Completed\r\n"), (Line::Relay, vec!["done".to_owned()]));
    }

    #[test]
    fn name_that_is_a_literal_is_seen_whole() {
        let mut host = asked();
        assert_eq!(host.line(2, "* STATUS {6}\r\n").0, Line::Whole);
        assert_eq!(host.line(2, "* STATUS {6}\r\nteam02 (MAILBOXID (x))\r\n").0, Line::Drop);
        let told = reworded(&mut host, "* STATUS {6}\r\nteam02 (MESSAGES 5)\r\n");
        assert_eq!(told, "* STATUS {6}\r\nteam02 (MAILBOXID (x) MESSAGES 5)\r\n");
    }

    #[test]
    fn what_is_no_id_reaches_nobody() {
        let long = "x".repeat(256);
        for garbage in ["(v\u{6}{x)", "()", "((null))", "(a b)", "NIL", "(a", "", &format!("({long})")] {
            let mut host = asked();
            assert_eq!(
                host.line(2, &format!("* STATUS team02 (MAILBOXID {garbage})\r\n")).0,
                Line::Drop,
                "{garbage}"
            );
            assert_eq!(host.line(2, "* STATUS team02 (MESSAGES 5)\r\n").0, Line::Relay);
        }
    }

    #[test]
    fn server_that_knows_no_mailbox_id_says_so() {
        let mut host = asked();
        host.line(2, "RK2 BAD Invalid Status attributes\r\n");
        assert_eq!(host.line(2, "* STATUS team02 (MESSAGES 5)\r\n").0, Line::Relay);
        assert_eq!(reworded(&mut host, "A1 OK Completed\r\n"), "A1 BAD Invalid Status attributes\r\n");
        let mut host = asked();
        host.line(2, "RK2 NO Permission denied\r\n");
        assert_eq!(host.line(2, "A1 NO Permission denied\r\n"), (Line::Relay, vec!["done".to_owned()]));
    }

    #[test]
    fn ids_that_wait_are_bounded() {
        let mut ids = MailboxIds::default();
        let mut line = |name: &str, items: &str| {
            let rest = format!("{name} ({items})");
            ids.handle_status(format!("* STATUS {rest}\r\n").as_bytes(), rest.as_bytes())
        };
        let id = format!("MAILBOXID ({})", "x".repeat(255));
        let kept = (0..5000).take_while(|n| line(&format!("m{n}"), &id) == Line::Drop).count();
        assert!((3900..4100).contains(&kept), "{kept}");
        assert!(matches!(line("m0", "SIZE 1"), Line::Reworded(_)));
        assert_eq!(line("m0", "SIZE 1"), Line::Relay);
        for _ in 0..2 {
            assert_eq!(line("m0", &id), Line::Drop);
        }
    }
}
