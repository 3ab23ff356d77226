//! REPLACE (RFC 8508): a new message in the place of an old one.
//!
//! ```text
//!  Find source, rights ──> ExpectUid ──┬─ destination's server is the source's and offers it ─> REPLACE there
//!                                      └─ else ─> APPEND ──OK──> `* OK [APPENDUID]`, STORE \Deleted of that
//!                                                    └─NO─> NO      UID ──> UID EXPUNGE of that UID ──> OK
//! ```
//! The old message goes only when the new one is stored, and by its UID alone.

use super::agenda::{Agenda, aside_of, located, result_of};
use super::answers::{DENIED, SELECT_FIRST, UID_REQUIRED};
use super::append::{Append, Passage};
use super::grammar::responses::FetchItems;
use super::grammar::{Response, Status, UntaggedKind, response};
use super::offer::Offer;
use super::task::{Access, Context, Line, News, Task, Want};
use crate::mailbox::acl::{self, Rights};
use crate::proxy::{BackendId, Finding, Freshness, Instant, Side};

/// Our tags.
const FETCH: u32 = 0;
const REMOVE: u32 = 1;

const NO_MESSAGE: &[u8] = b"NO [NONEXISTENT] no such message";
const READ_ONLY: &[u8] = b"NO [CANNOT] the mailbox is selected read-only";
const NO_UIDPLUS: &[u8] = b"NO [CANNOT] the server of the selected mailbox does not offer UIDPLUS";
const NOT_REMOVED: &[u8] = b"NO the new message was stored, but the old one was not removed";
const NO_SOURCE: &[u8] = b"NO [UNAVAILABLE] the message that is to be replaced cannot be looked at";

/// One REPLACE.
pub(super) struct Replace {
    /// `UID ` or nothing, and the message as typed.
    message: Vec<u8>,
    append: Append,
    step: Step,
    /// The UID that goes.
    uid: Vec<u8>,
    /// It was marked as deleted before.
    is_deleted: bool,
    agenda: Agenda,
}

enum Step {
    Start,
    /// May the old message go?
    ExpectSource,
    /// Is it there?
    ExpectUid(BackendId),
    /// The new one is stored.
    Append,
    ExpectStored(BackendId),
    ExpectExpunged(BackendId),
    /// It stays, and is not to vanish with the next EXPUNGE.
    ExpectRestored(BackendId),
    Over,
}

impl Replace {
    /// `message` is its number or UID with `UID ` in front, `append` the rest of the command.
    pub(super) fn new(message: Vec<u8>, append: Append) -> Replace {
        Replace {
            message,
            append,
            step: Step::Start,
            uid: Vec::new(),
            is_deleted: false,
            agenda: Agenda::default(),
        }
    }

    fn start(&mut self, cx: &Context<'_>) {
        let Some(selected) = cx.selected else { return self.refuse(SELECT_FIRST) };
        if cx.enabled.uidonly && !self.message.starts_with(b"UID ") {
            return self.refuse(UID_REQUIRED);
        }
        if selected.access == Access::ReadOnly {
            return self.refuse(READ_ONLY);
        }
        if !cx.offer(selected.backend).has(Offer::UIDPLUS) {
            return self.refuse(NO_UIDPLUS);
        }
        let (name, freshness) = (selected.name.to_vec(), Freshness::Snapshot);
        self.agenda.want(Want::Find { name, freshness });
        self.step = Step::ExpectSource;
    }

    /// The rest of the command is read away.
    fn refuse(&mut self, text: &'static [u8]) {
        self.append.refuse(text);
        self.step = Step::Append;
    }

    fn handle_source(&mut self, finding: Finding, cx: &Context<'_>) {
        let (Ok(entry), Some(selected)) = (located(finding), cx.selected) else {
            return self.refuse(NO_SOURCE);
        };
        let rights = acl::rights(&entry.acl, &entry.name, cx.identity, &cx.config.acl);
        if !rights.contains(Rights::T.union(Rights::E)) {
            return self.refuse(DENIED);
        }
        let mut line = Vec::new();
        cx.own_tag(FETCH, &mut line);
        let (uid, message) = match self.message.strip_prefix(b"UID ") {
            Some(message) => (&b" UID FETCH "[..], message),
            None => (&b" FETCH "[..], &self.message[..]),
        };
        [uid, message, b" (UID FLAGS)\r\n"].iter().for_each(|part| line.extend_from_slice(part));
        self.agenda.send(selected.backend, line);
        self.step = Step::ExpectUid(selected.backend);
    }

    fn handle_fetch_line(&mut self, backend: BackendId, line: &[u8], cx: &Context<'_>) -> Line {
        if let Some(FetchItems { uid: Some(uid), body: None, flags, .. }) = fetched(line)
            && self.uid.is_empty()
        {
            self.uid = uid.to_string().into_bytes();
            let mut flags = flags.unwrap_or_default().split(|byte| *byte == b' ');
            self.is_deleted = flags.any(|flag| flag.eq_ignore_ascii_case(b"\\Deleted"));
            return Line::Drop;
        }
        match result_of(line, &own_tag(FETCH, cx)) {
            Some((Status::Ok, _)) if !self.uid.is_empty() => {
                self.append.replaces(Passage { backend, message: self.message.clone() });
                self.step = Step::Append;
                Line::Drop
            }
            Some((Status::Ok | Status::No | Status::Bad, _)) => {
                self.refuse(NO_MESSAGE);
                Line::Drop
            }
            None => aside_of(backend, line, cx),
        }
    }

    /// The new message is stored elsewhere, or by a server that does not know REPLACE.
    fn stored_new(&mut self, text: &[u8], cx: &Context<'_>) {
        let Some(selected) = cx.selected else { return self.finish(cx, NOT_REMOVED) };
        if text.starts_with(b"[APPENDUID ") {
            self.agenda.reply([b"* OK ", text, b"\r\n"].concat());
        }
        self.remove(b" UID STORE ", b" +FLAGS.SILENT (\\Deleted)\r\n", selected.backend, cx);
        self.step = Step::ExpectStored(selected.backend);
    }

    fn remove(&mut self, verb: &[u8], end: &[u8], at: BackendId, cx: &Context<'_>) {
        let mut line = Vec::new();
        cx.own_tag(REMOVE, &mut line);
        [verb, &self.uid, end].iter().for_each(|part| line.extend_from_slice(part));
        self.agenda.send(at, line);
    }

    fn handle_removal_line(&mut self, at: BackendId, line: &[u8], cx: &Context<'_>) -> Line {
        let Some((status, _)) = result_of(line, &own_tag(REMOVE, cx)) else { return aside_of(at, line, cx) };
        match (&self.step, status) {
            (Step::ExpectStored(_), Status::Ok) => {
                self.remove(b" UID EXPUNGE ", b"\r\n", at, cx);
                self.step = Step::ExpectExpunged(at);
            }
            (Step::ExpectExpunged(_), Status::Ok) => self.finish(cx, b"OK Completed"),
            (Step::ExpectExpunged(_), Status::No | Status::Bad) if !self.is_deleted => {
                self.remove(b" UID STORE ", b" -FLAGS.SILENT (\\Deleted)\r\n", at, cx);
                self.step = Step::ExpectRestored(at);
            }
            (_, Status::Ok | Status::No | Status::Bad) => self.finish(cx, NOT_REMOVED),
        }
        Line::Drop
    }

    fn finish(&mut self, cx: &Context<'_>, result: &[u8]) {
        self.agenda.finish(cx, result);
        self.step = Step::Over;
    }
}

impl Task for Replace {
    fn expunges(&self) -> bool {
        true
    }

    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, now: Instant) {
        match (&self.step, news) {
            (Step::Append, news) => self.append.handle_news(news, cx, now),
            (Step::ExpectSource, News::Found(finding)) => self.handle_source(finding, cx),
            (Step::ExpectUid(at), News::Lost(lost)) if *at == lost => self.refuse(NO_SOURCE),
            (
                Step::ExpectStored(at) | Step::ExpectExpunged(at) | Step::ExpectRestored(at),
                News::Lost(lost),
            ) if *at == lost => {
                self.finish(cx, NOT_REMOVED);
            }
            _ => {}
        }
    }

    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, now: Instant) -> Line {
        match (&self.step, from) {
            (Step::ExpectUid(at), Side::Backend(id)) if *at == id => self.handle_fetch_line(id, line, cx),
            (
                Step::ExpectStored(at) | Step::ExpectExpunged(at) | Step::ExpectRestored(at),
                Side::Backend(id),
            ) if *at == id => self.handle_removal_line(id, line, cx),
            (Step::Append, Side::Backend(_)) if !self.append.is_passed_on() => {
                match result_of(line, cx.tag) {
                    Some((Status::Ok, text)) => {
                        self.stored_new(text, cx);
                        Line::Drop
                    }
                    Some((Status::No | Status::Bad, _)) | None => {
                        self.append.handle_line(from, line, cx, now)
                    }
                }
            }
            (Step::Append, _) => self.append.handle_line(from, line, cx, now),
            (_, Side::Backend(id)) => aside_of(id, line, cx),
            (_, Side::Client) => Line::Hold,
        }
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        if matches!(self.step, Step::Start) {
            self.start(cx);
        }
        if let Some(want) = self.agenda.poll(out) {
            return Some(want);
        }
        if matches!(self.step, Step::Append) { self.append.poll_want(cx, out) } else { None }
    }

    fn forwards_to(&self, from: BackendId) -> Option<BackendId> {
        if matches!(self.step, Step::Append) { self.append.forwards_to(from) } else { None }
    }

    fn reads_client(&self) -> bool {
        matches!(self.step, Step::Append) && self.append.reads_client()
    }
}

/// What a FETCH or UIDFETCH response tells.
fn fetched(line: &[u8]) -> Option<FetchItems<'_>> {
    match response(line) {
        Response::Untagged { kind: UntaggedKind::Fetch, rest, .. } => FetchItems::read_head(rest).ok(),
        Response::Untagged { kind: UntaggedKind::UidFetch, rest, number } => {
            FetchItems::read_uid(number, rest).ok()
        }
        Response::Untagged { .. }
        | Response::Tagged { .. }
        | Response::Continuation { .. }
        | Response::Invalid => None,
    }
}

fn own_tag(number: u32, cx: &Context<'_>) -> Vec<u8> {
    let mut tag = Vec::new();
    cx.own_tag(number, &mut tag);
    tag
}
