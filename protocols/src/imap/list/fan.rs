//! One command to many servers at once: STATUS and METADATA of the rows of a LIST (RFC 5819, RFC 9590),
//! GETMETADATA of a pattern.
//!
//! For a LIST each server gets the LIST itself, so one command a server tells of all its mailboxes. Its
//! own LIST lines are dropped: the rows are on their way already.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::singly::{Singly, SinglyArm};
use super::wanted::Wanted;
use crate::imap::agenda::{Agenda, aside_of, is_partial};
use crate::imap::grammar::{Response, Status, UntaggedKind, code, response};
use crate::imap::offer::Offer;
use crate::imap::status::MailboxIds;
use crate::imap::task::{Context, Line, News, Want};
use crate::proxy::BackendId;
use crate::wire::Cursor;

/// Servers asked for one LIST; a murder has some dozens.
const FAN_SERVERS_MAX: usize = 64;

/// By server: commands without their tags, line ends included.
pub(in crate::imap) type Questions = BTreeMap<Box<[u8]>, Vec<Vec<u8>>>;

/// The questions to all servers.
#[derive(Debug)]
pub(in crate::imap) struct Fan {
    /// Asked for a connection, not answered.
    awaited: usize,
    /// Connected.
    arms: SmallVec<[Arm; 4]>,
    /// Connected to servers that are asked otherwise.
    singles: Vec<SinglyArm>,
    /// How those are asked that do not offer what is needed.
    singly: Option<Box<Singly>>,
    /// Servers that no connection was had to, as far as known, and what they are asked.
    servers: Questions,
    /// What a server must offer to be asked.
    needs: Offer,
    wanted: Wanted,
    missing: Vec<Box<[u8]>>,
    /// The text of the first refusal.
    refusal: Option<Box<[u8]>>,
    /// The text of the first BAD.
    malformed: Option<Box<[u8]>>,
    /// The most that a `[METADATA LONGENTRIES n]` told of.
    long_entries: Option<u64>,
    /// A server answered OK.
    is_understood: bool,
    /// MAILBOXID is asked apart.
    ids: Option<MailboxIds>,
}

/// How it ended.
#[derive(Debug)]
pub(in crate::imap) struct Harvest {
    /// Servers whose data are missing, the refusing ones too.
    pub(in crate::imap) missing: Vec<Box<[u8]>>,
    /// What the first server that refused said behind NO or BAD.
    pub(in crate::imap) refusal: Option<Box<[u8]>>,
    /// What the first server said behind BAD, where none said OK.
    pub(in crate::imap) malformed: Option<Box<[u8]>>,
    /// `[METADATA LONGENTRIES n]` (RFC 5464 section 4.2.1): the longest of all.
    pub(in crate::imap) long_entries: Option<u64>,
}

/// Our first tag; each server has one of its own.
const FIRST_TAG: u32 = 2;

#[derive(Debug)]
struct Arm {
    backend: BackendId,
    server: Box<[u8]>,
    number: u32,
    is_done: bool,
}

impl Fan {
    /// Asks for connections to all servers.
    pub(in crate::imap) fn new(
        questions: Questions,
        needs: Offer,
        wanted: Wanted,
        cx: &Context<'_>,
        agenda: &mut Agenda,
    ) -> Fan {
        let missing = questions.keys().skip(FAN_SERVERS_MAX).cloned().collect();
        let servers: Questions = questions.into_iter().take(FAN_SERVERS_MAX).collect();
        for server in servers.keys() {
            agenda.want(Want::Backend { server: server.to_vec() });
        }
        agenda.want(Want::Wake(cx.config.timeouts.fan_out));
        let (awaited, arms) = (servers.len(), SmallVec::new());
        Fan {
            awaited,
            arms,
            singles: Vec::new(),
            singly: None,
            servers,
            needs,
            wanted,
            missing,
            refusal: None,
            malformed: None,
            long_entries: None,
            is_understood: false,
            ids: None,
        }
    }

    /// MAILBOXID of mailboxes is asked first, and told with the rest of their STATUS.
    pub(in crate::imap) fn with_ids_apart(mut self) -> Fan {
        self.ids = Some(MailboxIds::default());
        self
    }

    /// Appends what stands in the place of the front of a line behind [`Line::Reworded`].
    pub(in crate::imap) fn reword(&mut self, out: &mut Vec<u8>) {
        if let Some(ids) = &mut self.ids {
            ids.reword(out);
        }
    }

    /// What becomes of the STATUS of a mailbox that the client is told of.
    fn handle_status(&mut self, line: &[u8], rest: &[u8]) -> Line {
        self.ids.as_mut().map_or(Line::Relay, |ids| ids.handle_status(line, rest))
    }

    /// Servers that do not offer what is needed are asked so.
    pub(in crate::imap) fn or_singly(mut self, singly: Option<Singly>) -> Fan {
        self.singly = singly.map(Box::new);
        self
    }

    pub(in crate::imap) fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, agenda: &mut Agenda) {
        match news {
            News::Backend(Ok(backend)) => self.handle_connected(backend, cx, agenda),
            News::Backend(Err(_)) => self.awaited = self.awaited.saturating_sub(1),
            News::Lost(lost) => self.give_up(|backend| backend == lost),
            News::Time => self.handle_time(cx, agenda),
            News::Found(_)
            | News::Page(_)
            | News::Barrier(_)
            | News::Intended
            | News::ForwardBroken { .. }
            | News::Drained(_)
            | News::Kept(_)
            | News::Offered(_) => {}
        }
    }

    fn handle_connected(&mut self, backend: BackendId, cx: &Context<'_>, agenda: &mut Agenda) {
        self.awaited = self.awaited.saturating_sub(1);
        let Some((server, commands)) =
            cx.server(backend).and_then(|server| self.servers.remove_entry(server))
        else {
            return;
        };
        if !cx.offer(backend).has(self.needs) {
            match &self.singly {
                Some(singly) => self.singles.push(SinglyArm::new(singly, backend, server, cx, agenda)),
                None => self.missing.push(server),
            }
            return;
        }
        for command in commands {
            // Truncation: FAN_SERVERS_MAX servers with at most LIST_ELEMENTS_MAX patterns each.
            let number = FIRST_TAG + self.arms.len() as u32;
            let mut line = Vec::new();
            cx.own_tag(number, &mut line);
            line.push(b' ');
            line.extend_from_slice(&command);
            agenda.send(backend, line);
            self.arms.push(Arm { backend, server: server.clone(), number, is_done: false });
        }
    }

    /// The time is over: connections with an open question are closed, but for the selected one, which
    /// is waited for.
    fn handle_time(&mut self, cx: &Context<'_>, agenda: &mut Agenda) {
        let selected = cx.selected.map(|selected| selected.backend);
        let open = self.arms.iter().filter(|arm| !arm.is_done).map(|arm| arm.backend);
        let open = open.chain(self.singles.iter().filter(|arm| !arm.is_done).map(|arm| arm.backend));
        for backend in open.filter(|backend| Some(*backend) != selected) {
            agenda.want(Want::Abandon(backend));
        }
        self.give_up(|backend| Some(backend) != selected);
        self.awaited = 0;
    }

    /// Marks as missing what is not answered.
    fn give_up(&mut self, is_lost: impl Fn(BackendId) -> bool) {
        for arm in self.arms.iter_mut().filter(|arm| !arm.is_done && is_lost(arm.backend)) {
            arm.is_done = true;
            self.missing.push(arm.server.clone());
        }
        for arm in self.singles.iter_mut().filter(|arm| !arm.is_done && is_lost(arm.backend)) {
            (arm.is_done, arm.is_short) = (true, true);
        }
    }

    pub(in crate::imap) fn handle_line(
        &mut self,
        from: BackendId,
        line: &[u8],
        cx: &Context<'_>,
        agenda: &mut Agenda,
    ) -> Line {
        if let Some(arm) = self.singles.iter_mut().find(|arm| arm.backend == from && !arm.is_done) {
            match response(line) {
                Response::Tagged { tag, .. } if arm.handle_tagged(tag, cx, agenda) => return Line::Drop,
                Response::Untagged { kind: UntaggedKind::List, .. } if is_partial(line) => {
                    return Line::Whole;
                }
                Response::Untagged { kind: UntaggedKind::List, rest, .. } => {
                    arm.note(rest, &self.wanted);
                    return Line::Drop;
                }
                Response::Untagged { kind: UntaggedKind::Status, rest, .. } => {
                    return self.handle_status(line, rest);
                }
                Response::Tagged { .. }
                | Response::Untagged { .. }
                | Response::Continuation { .. }
                | Response::Invalid => return aside_of(from, line, cx),
            }
        }
        if !self.arms.iter().any(|arm| arm.backend == from && !arm.is_done) {
            return aside_of(from, line, cx);
        }
        if let Response::Tagged { tag, status, text } = response(line)
            && let Some(arm) =
                self.arms.iter_mut().find(|arm| arm.backend == from && arm.is_answered_by(tag, cx))
        {
            arm.is_done = true;
            match status {
                Status::Ok => {
                    self.is_understood = true;
                    self.long_entries = self.long_entries.max(long_entries(text));
                }
                Status::No | Status::Bad => {
                    let server = arm.server.clone();
                    self.missing.push(server);
                    self.refusal.get_or_insert_with(|| text.into());
                }
            }
            if status == Status::Bad {
                self.malformed.get_or_insert_with(|| text.into());
            }
            return Line::Drop;
        }
        match response(line) {
            Response::Untagged { kind: UntaggedKind::List, .. } => Line::Drop,
            Response::Untagged {
                kind: kind @ (UntaggedKind::Status | UntaggedKind::Metadata), rest, ..
            } => match Cursor::new(rest).astring() {
                Ok(name) if !self.wanted.includes(&name) => Line::Drop,
                Ok(_) if kind == UntaggedKind::Status => self.handle_status(line, rest),
                Ok(_) => Line::Relay,
                Err(_) if is_partial(line) => Line::Whole,
                Err(_) => Line::Drop,
            },
            Response::Tagged { .. }
            | Response::Untagged { .. }
            | Response::Continuation { .. }
            | Response::Invalid => aside_of(from, line, cx),
        }
    }

    /// When all have answered or are given up.
    pub(in crate::imap) fn poll_end(&mut self) -> Option<Harvest> {
        let is_open = self.arms.iter().any(|arm| !arm.is_done) || self.singles.iter().any(|arm| !arm.is_done);
        if self.awaited > 0 || is_open {
            return None;
        }
        let mut missing = std::mem::take(&mut self.missing);
        let short = std::mem::take(&mut self.singles).into_iter().filter(|arm| arm.is_short);
        missing.extend(short.map(|arm| arm.server));
        missing.extend(std::mem::take(&mut self.servers).into_keys());
        missing.dedup();
        let malformed = self.malformed.take().filter(|_| !self.is_understood);
        Some(Harvest { missing, refusal: self.refusal.take(), malformed, long_entries: self.long_entries })
    }
}

/// ```text
/// resp-text-code = "METADATA" SP "LONGENTRIES" SP number      RFC 5464 section 5
/// ```
fn long_entries(text: &[u8]) -> Option<u64> {
    let (name, value) = code(text)?;
    let number = value.get(b"LONGENTRIES ".len()..)?;
    let is_so = name.eq_ignore_ascii_case(b"METADATA")
        && value.get(..b"LONGENTRIES ".len())?.eq_ignore_ascii_case(b"LONGENTRIES ");
    std::str::from_utf8(number).ok().filter(|_| is_so)?.trim().parse().ok()
}

impl Arm {
    fn is_answered_by(&self, tag: &[u8], cx: &Context<'_>) -> bool {
        let mut own = Vec::new();
        cx.own_tag(self.number, &mut own);
        !self.is_done && own == tag
    }
}
