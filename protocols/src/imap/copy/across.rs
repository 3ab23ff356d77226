//! COPY and MOVE between two servers.
//!
//! One FETCH reads the messages from the source, one APPEND (MULTIAPPEND, RFC 3502) writes them; bodies
//! are forwarded, so that no message is held here. The first literal is announced so that the
//! destination can refuse before anything was sent; where a `+` is awaited, the source waits too.
//!
//! ```text
//!  Messages ──FETCH with body──> [ExpectGoAhead] ──> Tail ──)──> Messages ─ ─ ─ tagged OK
//!     ^────────────── (no MULTIAPPEND: ExpectAppended) ─┘              │
//!                                                                      v
//!         COPY: tagged OK [COPYUID] <── ExpectAppended (all) <── end of the APPEND
//!         MOVE: ExpectStored ──> `* OK [COPYUID]` ──> ExpectExpunged ──> tagged OK
//!                    └──── refused ──> ExpectRestored <── refused ────┘──> tagged NO
//!  MOVE on a server without that command: Gathering ──UIDs──> ExpectCopied ──> ExpectStored, as above
//!  a failure at any point: Abandon a destination with half an APPEND, Draining the source, tagged NO
//!  no such mailbox at the destination: the same, then Elsewhere, and the list is asked again
//! ```

mod remove;

use std::num::NonZeroU32;

use self::remove::NOT_REMOVED;
use super::super::agenda::{Agenda, aside, result_line, result_of, string_for};
use super::super::answers::{BEING_MOVED, is_elsewhere};
use super::super::grammar::responses::{Body, FetchItems};
use super::super::grammar::{Response, Status, UntaggedKind, response};
use super::super::offer::Offer;
use super::super::task::{Context, Line, News, Want};
use super::Request;
use super::ledger::{Ledger, Mark};
use crate::proxy::{BackendId, Side};
use crate::wire::SyntaxError;
use crate::wire::limits::LITERAL_MINUS_BYTES_MAX;
use crate::wire::literal::Announced;
use crate::wire::quote::{LiteralStyle, announce_out, quoted_out};

/// Our tags: the FETCH, the APPENDs, the STOREs and EXPUNGEs.
const FETCH: u32 = 0;
const APPEND: u32 = 1;
const REMOVE: u32 = 2;

/// Behind the text of a failure after which the destination has some of the messages.
const SOME_COPIED: &[u8] = b"; some messages may have been copied";

/// The text for a source that has the selected mailbox no more.
pub(super) const SOURCE_MOVED: &[u8] = b"NO [UNAVAILABLE] the selected mailbox is being moved";

/// The text for a source that answers a FETCH otherwise than it must.
const BAD_SOURCE: &[u8] = b"NO inter-server COPY failed: the source server's answer is not understood";

/// A copy on its way.
#[derive(Debug)]
pub(super) struct Across {
    request: Request,
    source: BackendId,
    destination: BackendId,
    phase: Phase,
    /// The destination has an unfinished APPEND.
    appending: bool,
    /// The next line of the source stands behind a body.
    in_tail: bool,
    /// The UID and mark that the head of the message told.
    uid: Option<NonZeroU32>,
    mark: Mark,
    ledger: Ledger,
    /// MOVE: the sets to mark, take away or restore, and how many are done.
    sets: Vec<Vec<u8>>,
    done: usize,
    /// The destination knows no such mailbox, and nothing was appended.
    is_elsewhere: bool,
    /// The destination took messages one by one, and has some.
    has_some: bool,
}

#[derive(Debug)]
enum Phase {
    /// The server of both mailboxes tells which messages are meant.
    Gathering,
    /// It copies them.
    ExpectCopied,
    Messages,
    ExpectGoAhead {
        bytes: u64,
    },
    Tail,
    ExpectAppended(More),
    ExpectStored,
    ExpectExpunged,
    ExpectRestored,
    Draining {
        result: Vec<u8>,
    },
    /// Nothing was done: what the client is told if the list agrees with the destination.
    Elsewhere {
        result: Vec<u8>,
    },
    Over,
}

/// Whether messages may follow an APPEND.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum More {
    Follows,
    Ends,
}

impl Across {
    /// Asks the source for the messages.
    pub(super) fn new(
        request: Request,
        source: BackendId,
        destination: BackendId,
        cx: &Context<'_>,
        agenda: &mut Agenda,
    ) -> Across {
        let mut line = Vec::new();
        cx.own_tag(FETCH, &mut line);
        line.extend_from_slice(request.by.fetch());
        line.extend_from_slice(&request.set);
        line.extend_from_slice(b" (UID FLAGS INTERNALDATE BODY.PEEK[])\r\n");
        agenda.send(source, line);
        Across::begun(request, source, destination, Phase::Messages)
    }

    /// Moves messages on a server that has no command for it (RFC 6851 section 3.3).
    pub(super) fn within(
        request: Request,
        server: BackendId,
        cx: &Context<'_>,
        agenda: &mut Agenda,
    ) -> Across {
        let mut line = Vec::new();
        cx.own_tag(FETCH, &mut line);
        line.extend_from_slice(request.by.fetch());
        line.extend_from_slice(&request.set);
        line.extend_from_slice(b" (UID FLAGS INTERNALDATE)\r\n");
        agenda.send(server, line);
        Across::begun(request, server, server, Phase::Gathering)
    }

    fn begun(request: Request, source: BackendId, destination: BackendId, phase: Phase) -> Across {
        Across {
            request,
            source,
            destination,
            phase,
            appending: false,
            in_tail: false,
            uid: None,
            mark: Mark::default(),
            ledger: Ledger::default(),
            sets: Vec::new(),
            done: 0,
            is_elsewhere: false,
            has_some: false,
        }
    }

    /// The refusal of a destination that has no such mailbox, once the source is at rest.
    pub(super) fn poll_elsewhere(&mut self) -> Option<Vec<u8>> {
        let Phase::Elsewhere { result } = &mut self.phase else { return None };
        let result = std::mem::take(result);
        self.phase = Phase::Over;
        Some(result)
    }

    /// Whether a server that says nothing is in the way. While a body is forwarded nobody is asked: that
    /// nothing moves is noticed by who moves it.
    pub(super) fn awaits(&self, backend: BackendId) -> bool {
        match self.phase {
            Phase::Gathering
            | Phase::ExpectCopied
            | Phase::Messages
            | Phase::ExpectStored
            | Phase::ExpectExpunged
            | Phase::ExpectRestored
            | Phase::Draining { .. } => backend == self.source,
            Phase::ExpectGoAhead { .. } | Phase::ExpectAppended(_) => backend == self.destination,
            Phase::Tail | Phase::Elsewhere { .. } | Phase::Over => false,
        }
    }

    /// Where a body of this server is forwarded to.
    pub(super) fn forwards_to(&self, from: BackendId) -> Option<BackendId> {
        (from == self.source && matches!(self.phase, Phase::Tail)).then_some(self.destination)
    }

    pub(super) fn handle_news(&mut self, news: &News<'_>, cx: &Context<'_>, agenda: &mut Agenda) {
        match *news {
            News::Lost(lost) if lost == self.source => self.handle_source_lost(cx, agenda),
            News::Lost(lost) if lost == self.destination => self.handle_destination_lost(cx, agenda),
            News::ForwardBroken { from, left, .. } if from == Side::Backend(self.source) => {
                if left > 0 {
                    agenda.want(Want::Discard { from, n: left });
                }
                self.fail(b"NO [UNAVAILABLE] connection to the destination server lost", cx, agenda);
            }
            News::Lost(_)
            | News::ForwardBroken { .. }
            | News::Found(_)
            | News::Page(_)
            | News::Barrier(_)
            | News::Intended
            | News::Backend(_)
            | News::Drained(_)
            | News::Kept(_)
            | News::Offered(_)
            | News::Time => {}
        }
    }

    fn handle_destination_lost(&mut self, cx: &Context<'_>, agenda: &mut Agenda) {
        self.appending = false;
        match self.phase {
            Phase::ExpectAppended(_) => self.fail(
                b"NO [UNAVAILABLE] connection to the destination server lost, messages may have been copied",
                cx,
                agenda,
            ),
            // The body that was to follow its `+` comes all the same, and is no response.
            Phase::ExpectGoAhead { bytes } => {
                agenda.want(Want::Discard { from: Side::Backend(self.source), n: bytes });
                self.fail(b"NO [UNAVAILABLE] connection to the destination server lost", cx, agenda);
            }
            Phase::Messages | Phase::Tail => {
                self.fail(b"NO [UNAVAILABLE] connection to the destination server lost", cx, agenda);
            }
            Phase::Gathering
            | Phase::ExpectCopied
            | Phase::ExpectStored
            | Phase::ExpectExpunged
            | Phase::ExpectRestored
            | Phase::Draining { .. }
            | Phase::Elsewhere { .. }
            | Phase::Over => {}
        }
    }

    fn handle_source_lost(&mut self, cx: &Context<'_>, agenda: &mut Agenda) {
        self.abandon(agenda);
        let result: &[u8] = match &self.phase {
            Phase::Draining { result } => &result.clone(),
            Phase::ExpectStored | Phase::ExpectExpunged | Phase::ExpectRestored => {
                b"NO [UNAVAILABLE] messages were copied, removing them from the source was interrupted"
            }
            // The end of an APPEND was sent: its server does it, whoever hears of that.
            Phase::ExpectAppended(_) | Phase::ExpectCopied => {
                b"NO [UNAVAILABLE] connection to the source server lost, messages may have been copied"
            }
            Phase::Elsewhere { .. } | Phase::Over => return,
            Phase::Gathering | Phase::Messages | Phase::ExpectGoAhead { .. } | Phase::Tail => {
                b"NO [UNAVAILABLE] connection to the source server lost"
            }
        };
        self.finish(result, cx, agenda);
    }

    /// Takes a line of one of the two servers.
    pub(super) fn handle_line(
        &mut self,
        from: BackendId,
        line: &[u8],
        cx: &Context<'_>,
        agenda: &mut Agenda,
    ) -> Line {
        if from == self.source {
            self.handle_source_line(line, cx, agenda)
        } else if from == self.destination {
            self.handle_destination_line(line, cx, agenda)
        } else {
            aside(line)
        }
    }

    fn handle_source_line(&mut self, line: &[u8], cx: &Context<'_>, agenda: &mut Agenda) -> Line {
        match self.phase {
            Phase::ExpectGoAhead { .. } | Phase::ExpectAppended(More::Follows) => return Line::Hold,
            Phase::Tail => return self.handle_tail(line, cx, agenda),
            Phase::Draining { .. } if std::mem::take(&mut self.in_tail) => return Line::Drop,
            Phase::Gathering
            | Phase::ExpectCopied
            | Phase::Messages
            | Phase::ExpectAppended(More::Ends)
            | Phase::ExpectStored
            | Phase::ExpectExpunged
            | Phase::ExpectRestored
            | Phase::Draining { .. }
            | Phase::Elsewhere { .. }
            | Phase::Over => {}
        }
        match response(line) {
            Response::Untagged { kind: UntaggedKind::Fetch, rest, .. } => {
                self.handle_fetch(FetchItems::read_head(rest), cx, agenda)
            }
            Response::Untagged { kind: UntaggedKind::UidFetch, rest, number } => {
                self.handle_fetch(FetchItems::read_uid(number, rest), cx, agenda)
            }
            Response::Untagged { .. } => Line::Relay,
            Response::Tagged { tag, status, text } if self.is_ours(tag, cx) => {
                self.handle_source_result(status, text, cx, agenda);
                Line::Drop
            }
            Response::Tagged { .. } | Response::Continuation { .. } | Response::Invalid => Line::Drop,
        }
    }

    /// Whether a tag of the source answers what is awaited of it.
    fn is_ours(&self, tag: &[u8], cx: &Context<'_>) -> bool {
        let number = match self.phase {
            Phase::Gathering | Phase::Messages | Phase::Draining { .. } => FETCH,
            Phase::ExpectCopied => APPEND,
            Phase::ExpectStored | Phase::ExpectExpunged | Phase::ExpectRestored => REMOVE,
            Phase::ExpectGoAhead { .. }
            | Phase::Tail
            | Phase::ExpectAppended(_)
            | Phase::Elsewhere { .. }
            | Phase::Over => return false,
        };
        tag == own_tag(number, cx)
    }

    /// A message of ours has a body; any other FETCH tells the client of flags, but for those that we
    /// set ourselves on what he moves away.
    fn handle_fetch(
        &mut self,
        items: Result<FetchItems<'_>, SyntaxError>,
        cx: &Context<'_>,
        agenda: &mut Agenda,
    ) -> Line {
        let has_body = items.as_ref().is_ok_and(|items| items.body.is_some());
        match (&self.phase, items) {
            // Nobody is told of a date unasked: it marks the answer.
            (
                Phase::Gathering,
                Ok(FetchItems { uid: Some(uid), flags: Some(flags), internal_date: Some(_), .. }),
            ) => {
                self.ledger.add(uid, mark(flags));
                Line::Drop
            }
            (Phase::Messages, Ok(items)) if has_body => {
                self.begin_message(&items, cx, agenda);
                Line::Taken
            }
            (Phase::Messages, Err(_)) => {
                self.fail(BAD_SOURCE, cx, agenda);
                Line::Drop
            }
            (Phase::Draining { .. }, Ok(_)) if has_body => Line::Drop,
            (Phase::Draining { .. }, Err(_)) => Line::Drop,
            (Phase::ExpectStored | Phase::ExpectExpunged | Phase::ExpectRestored, Ok(items))
                if items.uid.is_some_and(|uid| self.ledger.has(uid)) =>
            {
                Line::Drop
            }
            (_, Ok(_) | Err(_)) => Line::Relay,
        }
    }

    /// Writes the head of a message to the destination and sends its body after it.
    fn begin_message(&mut self, items: &FetchItems<'_>, cx: &Context<'_>, agenda: &mut Agenda) {
        self.uid = items.uid;
        let (Some(flags), Some(date), Some(body)) = (items.flags, &items.internal_date, &items.body) else {
            return self.refuse_message(items, cx, agenda);
        };
        self.mark = mark(flags);
        let mut head = Vec::with_capacity(flags.len() + self.request.mailbox.len() + 80);
        let begins = !std::mem::replace(&mut self.appending, true);
        if begins {
            cx.own_tag(APPEND, &mut head);
            head.extend_from_slice(b" APPEND ");
            string_for(self.destination, &self.request.mailbox, cx, &mut head);
        }
        head.extend_from_slice(b" (");
        append_flags(flags, &mut head);
        head.extend_from_slice(b") ");
        if quoted_out(&mut head, date).is_err() {
            return self.refuse_message(items, cx, agenda);
        }
        head.push(b' ');
        match body {
            Body::Announced(announced) => {
                self.in_tail = true;
                self.announce(announced.len, begins, head, cx, agenda);
            }
            Body::Inline(bytes)
                if !bytes.is_empty() && cx.offer(self.destination).has(Offer::LITERAL_PLUS) =>
            {
                announce_out(&mut head, bytes.len() as u64, LiteralStyle::NonSynchronising);
                head.extend_from_slice(bytes);
                agenda.send(self.destination, head);
                self.end_message(cx, agenda);
            }
            Body::Inline(_) | Body::Nil => self.refuse_message(items, cx, agenda),
        }
    }

    /// A message that cannot be copied: one that was expunged meanwhile has no body.
    fn refuse_message(&mut self, items: &FetchItems<'_>, cx: &Context<'_>, agenda: &mut Agenda) {
        if let Some(Body::Announced(Announced { len, .. })) = items.body {
            let from = Side::Backend(self.source);
            agenda.want(Want::Discard { from, n: len });
            self.in_tail = true;
        }
        self.fail(b"NO inter-server COPY failed: a message could not be read", cx, agenda);
    }

    fn announce(
        &mut self,
        bytes: u64,
        begins: bool,
        mut head: Vec<u8>,
        cx: &Context<'_>,
        agenda: &mut Agenda,
    ) {
        let offer = cx.offer(self.destination);
        let may_send = offer.has(Offer::LITERAL_PLUS)
            || (offer.has(Offer::LITERAL_MINUS) && bytes <= LITERAL_MINUS_BYTES_MAX);
        if may_send && !begins {
            announce_out(&mut head, bytes, LiteralStyle::NonSynchronising);
            agenda.send(self.destination, head);
            self.forward_body(bytes, agenda);
        } else {
            announce_out(&mut head, bytes, LiteralStyle::Synchronising);
            agenda.send(self.destination, head);
            self.phase = Phase::ExpectGoAhead { bytes };
        }
    }

    fn forward_body(&mut self, bytes: u64, agenda: &mut Agenda) {
        let (from, to) = (Side::Backend(self.source), Side::Backend(self.destination));
        agenda.want(Want::Forward { from, to, n: bytes });
        self.phase = Phase::Tail;
    }

    /// The line behind a body: `)`, or more items and `)`.
    fn handle_tail(&mut self, line: &[u8], cx: &Context<'_>, agenda: &mut Agenda) -> Line {
        self.in_tail = false;
        let mut items = FetchItems::default();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if items.read_tail(line.strip_suffix(b"\r").unwrap_or(line)).is_err() {
            self.phase = Phase::Messages;
            self.fail(BAD_SOURCE, cx, agenda);
            return Line::Drop;
        }
        self.uid = self.uid.or(items.uid);
        self.end_message(cx, agenda);
        Line::Taken
    }

    fn end_message(&mut self, cx: &Context<'_>, agenda: &mut Agenda) {
        self.phase = Phase::Messages;
        let Some(uid) = self.uid.take() else { return self.fail(BAD_SOURCE, cx, agenda) };
        self.ledger.add(uid, self.mark);
        if !cx.offer(self.destination).has(Offer::MULTIAPPEND) {
            self.end_append(More::Follows, agenda);
        }
    }

    fn end_append(&mut self, more: More, agenda: &mut Agenda) {
        agenda.send(self.destination, b"\r\n".to_vec());
        self.phase = Phase::ExpectAppended(more);
    }

    fn handle_source_result(&mut self, status: Status, text: &[u8], cx: &Context<'_>, agenda: &mut Agenda) {
        match (&self.phase, status) {
            (Phase::Draining { result }, _) => self.finish(&result.clone(), cx, agenda),
            (Phase::Gathering, Status::Ok) if !self.ledger.is_empty() => self.begin_copy(cx, agenda),
            (Phase::Gathering, Status::Ok) => self.finish(b"OK Completed", cx, agenda),
            (Phase::ExpectCopied, _) => self.handle_copied(status, text, cx, agenda),
            (Phase::Gathering, Status::No | Status::Bad) => {
                self.finish(&result_line(status, text), cx, agenda);
            }
            (Phase::Messages, Status::Ok) if self.ledger.is_empty() => {
                self.finish(b"OK Completed", cx, agenda)
            }
            (Phase::Messages, Status::Ok) if self.appending => self.end_append(More::Ends, agenda),
            (Phase::Messages, Status::Ok) => self.appended(cx, agenda),
            (Phase::Messages, Status::No) if is_elsewhere(text) => {
                self.abandon(agenda);
                self.finish(SOURCE_MOVED, cx, agenda);
            }
            (Phase::Messages, Status::No | Status::Bad) => {
                self.abandon(agenda);
                self.finish(&result_line(status, text), cx, agenda);
            }
            (Phase::ExpectStored, Status::Ok) => self.stored(cx, agenda),
            (Phase::ExpectExpunged, Status::Ok) => self.expunged(cx, agenda),
            (Phase::ExpectStored | Phase::ExpectExpunged, Status::No | Status::Bad) => {
                self.sets = self.ledger.undeleted_sets();
                self.done = 0;
                self.restore(cx, agenda);
            }
            (Phase::ExpectRestored, _) => {
                self.done += 1;
                self.restore(cx, agenda);
            }
            (_, Status::Ok | Status::No | Status::Bad) => self.finish(NOT_REMOVED, cx, agenda),
        }
    }

    fn handle_destination_line(&mut self, line: &[u8], cx: &Context<'_>, agenda: &mut Agenda) -> Line {
        if let Some((status, text)) = result_of(line, &own_tag(APPEND, cx)) {
            self.handle_append_result(status, text, cx, agenda);
            return Line::Drop;
        }
        match (response(line), &self.phase) {
            (Response::Continuation { .. }, Phase::ExpectGoAhead { bytes }) => {
                let bytes = *bytes;
                self.forward_body(bytes, agenda);
                Line::Drop
            }
            (_, _) => aside(line),
        }
    }

    fn handle_append_result(&mut self, status: Status, text: &[u8], cx: &Context<'_>, agenda: &mut Agenda) {
        match (&self.phase, status) {
            (Phase::ExpectAppended(more), Status::Ok) => {
                let more = *more;
                self.appending = false;
                self.ledger.note_copies(text);
                match more {
                    More::Follows => {
                        self.has_some = true;
                        self.phase = Phase::Messages;
                    }
                    More::Ends => self.appended(cx, agenda),
                }
            }
            (Phase::ExpectAppended(_), Status::No | Status::Bad) => {
                self.appending = false;
                let is_elsewhere = status == Status::No && is_elsewhere(text);
                self.is_elsewhere = is_elsewhere && !self.has_some;
                let result = result_line(Status::No, text);
                self.fail(if is_elsewhere && self.has_some { BEING_MOVED } else { &result }, cx, agenda);
            }
            (Phase::ExpectGoAhead { bytes }, _) => {
                let (from, n) = (Side::Backend(self.source), *bytes);
                self.appending = false;
                self.is_elsewhere = self.ledger.is_empty() && status == Status::No && is_elsewhere(text);
                agenda.want(Want::Discard { from, n });
                self.fail(&result_line(Status::No, text), cx, agenda);
            }
            // An answer before the end of the command: the connection is in between.
            (Phase::Messages | Phase::Tail, _) => self.fail(&result_line(Status::No, text), cx, agenda),
            (
                Phase::Gathering
                | Phase::ExpectCopied
                | Phase::ExpectStored
                | Phase::ExpectExpunged
                | Phase::ExpectRestored
                | Phase::Draining { .. }
                | Phase::Elsewhere { .. }
                | Phase::Over,
                _,
            ) => {}
        }
    }

    /// Ends the copy without success: what the source still sends of it is thrown away.
    fn fail(&mut self, result: &[u8], cx: &Context<'_>, agenda: &mut Agenda) {
        self.abandon(agenda);
        match self.phase {
            Phase::Messages
            | Phase::ExpectGoAhead { .. }
            | Phase::Tail
            | Phase::ExpectAppended(More::Follows) => {
                self.phase = Phase::Draining { result: result.to_vec() }
            }
            Phase::Gathering
            | Phase::ExpectCopied
            | Phase::ExpectAppended(More::Ends)
            | Phase::ExpectStored
            | Phase::ExpectExpunged
            | Phase::ExpectRestored => self.finish(result, cx, agenda),
            Phase::Draining { .. } | Phase::Elsewhere { .. } | Phase::Over => {}
        }
    }

    /// Closes a destination that has half an APPEND.
    fn abandon(&mut self, agenda: &mut Agenda) {
        if std::mem::take(&mut self.appending) {
            agenda.want(Want::Abandon(self.destination));
        }
    }

    fn finish(&mut self, result: &[u8], cx: &Context<'_>, agenda: &mut Agenda) {
        if self.is_elsewhere {
            self.phase = Phase::Elsewhere { result: result.to_vec() };
            return;
        }
        // Who is told NO believes that nothing was done (RFC 3501 section 6.4.7).
        let tells = result.windows(6).any(|word| word == b"copied");
        let doubts = self.has_some && result.starts_with(b"NO") && !tells;
        let doubt: &[u8] = if doubts { SOME_COPIED } else { b"" };
        agenda.finish(cx, &[result, doubt].concat());
        self.phase = Phase::Over;
    }
}

fn own_tag(number: u32, cx: &Context<'_>) -> Vec<u8> {
    let mut tag = Vec::new();
    cx.own_tag(number, &mut tag);
    tag
}

fn mark(flags: &[u8]) -> Mark {
    let is_deleted = flags.split(|byte| *byte == b' ').any(|flag| flag.eq_ignore_ascii_case(b"\\Deleted"));
    if is_deleted { Mark::Deleted } else { Mark::Undeleted }
}

/// The flags but `\Recent`, which no client may set (RFC 3501 section 2.3.2).
fn append_flags(flags: &[u8], out: &mut Vec<u8>) {
    let kept = flags
        .split(|byte| *byte == b' ')
        .filter(|flag| !flag.is_empty() && !flag.eq_ignore_ascii_case(b"\\Recent"));
    for (n, flag) in kept.enumerate() {
        if n > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(flag);
    }
}
