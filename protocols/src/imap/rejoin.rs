//! Gets a selected mailbox back on another connection: at its server again, or where it has moved.
//!
//! ```text
//!  Pause ──> Find ──> Connect ──> Select ──(nothing can have vanished)──────────────┐
//!    ^────────┴──────────┴──────────┘ not now: later, until patience is over        │
//!                                   └──> Apart ──> Enable ──> Examine ──> Tell ─────┴──> Rejoined
//!                                            what vanished since? as many as told
//! ```
//! A client with QRESYNC is told the gap by the server: SELECT (QRESYNC) names what vanished. Any other
//! knows messages by their number alone. So a second, short connection asks what vanished since the
//! mailbox was selected (on the first one QRESYNC stays off, for it would change what the client
//! sees); if that is as much as the client was told, nothing vanished in between, and the messages that
//! he counts are the first of those that are there.

use std::num::NonZeroU32;
use std::time::Duration;

use super::agenda::{is_partial, result_of};
use super::answers::{BEING_MOVED_WAIT, WAITING_TOLD_EVERY, in_progress, is_elsewhere};
use super::grammar::responses::FetchItems;
use super::grammar::{Response, Status, UntaggedKind, code, response};
use super::numbers::{Numbers, earlier_set, vanished_earlier};
use super::offer::Offer;
use super::task::{Access, Context, Line, News, Rejoined, Task, Want};
use super::text::{name_out, push};
use crate::proxy::{AUTHORED_BYTES_MAX, BackendId, Finding, Freshness, Instant, Side};

/// The longest first pause of a client who waits for nothing: a restart is no herd.
const IDLE_JITTER: Duration = Duration::from_secs(2);

/// The same of a client who waits for an answer.
const AWAITED_JITTER: Duration = Duration::from_millis(100);

/// Pauses between attempts grow from the first to the second.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);

/// A server that the list names may say so often that it has no such mailbox: it is moving, or its
/// server does not know it yet.
const REFUSALS_MAX: u32 = 8;

/// Bytes of FETCH responses that are gathered for the client; 4 KiB make the driver tell when they are
/// out.
const ROWS_BYTES: usize = AUTHORED_BYTES_MAX / 2;

const SELECT: u32 = 0;
const ENABLE: u32 = 1;
const EXAMINE: u32 = 2;

/// How much a client waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Urgency {
    /// Not at all.
    Idle,
    /// For the answer to a command.
    Awaited,
}

/// The way back to a selected mailbox.
pub(super) struct Rejoin {
    /// Its internal name.
    name: Vec<u8>,
    access: Access,
    /// What the client was told of it.
    known: Numbers,
    /// What the new connection tells.
    numbers: Numbers,
    /// When the client gets BYE.
    patience: Instant,
    urgency: Urgency,
    /// Since when it is known that the mailbox is being moved.
    moving: Option<Instant>,
    /// When the client who waits was told so last, or begun to wait.
    told: Option<Instant>,
    /// He is to be told.
    tells: bool,
    qresync: bool,
    seed: u64,
    attempts: u32,
    refusals: u32,
    step: Step,
    /// The connection that has it selected.
    selected: Option<BackendId>,
    apart: Option<BackendId>,
    /// One that did not answer in time.
    abandoned: Option<BackendId>,
    /// How many messages vanished since it was selected first.
    vanished: u32,
    /// What the client is told next.
    rows: Vec<u8>,
    /// What he was told has not gone out.
    drains: bool,
}

#[derive(Debug)]
enum Step {
    Pause(Duration),
    Pausing,
    Find,
    ExpectFinding,
    Connect(Vec<u8>),
    Open(Vec<u8>),
    ExpectBackend,
    Select(BackendId),
    ExpectSelected(BackendId),
    Apart(Vec<u8>),
    ExpectApart,
    Enable(BackendId),
    ExpectEnabled(BackendId),
    Examine(BackendId),
    ExpectVanished(BackendId),
    /// The picture holds: what changed is told.
    Tell,
    Dismiss,
    Rejoined,
    GiveUp(&'static str),
    Over,
}

impl Rejoin {
    /// `name` is internal; `known` is what the client was told; he waits until `patience`.
    pub(super) fn new(name: Vec<u8>, access: Access, known: Numbers, patience: Instant) -> Rejoin {
        Rejoin {
            name,
            access,
            known,
            numbers: Numbers::default(),
            patience,
            urgency: Urgency::Idle,
            moving: None,
            told: None,
            tells: false,
            qresync: false,
            seed: 0,
            attempts: 0,
            refusals: 0,
            step: Step::Find,
            selected: None,
            apart: None,
            abandoned: None,
            vanished: 0,
            rows: Vec::new(),
            drains: false,
        }
    }

    /// Whether the client enabled QRESYNC.
    pub(super) fn with_qresync(mut self, enabled: bool) -> Rejoin {
        self.qresync = enabled;
        self
    }

    /// Spreads the first attempts of many; `seed` is random.
    pub(super) fn with_jitter(mut self, urgency: Urgency, seed: u64) -> Rejoin {
        let jitter = match urgency {
            Urgency::Idle => IDLE_JITTER,
            Urgency::Awaited => AWAITED_JITTER,
        };
        (self.seed, self.urgency) = (seed, urgency);
        self.step = Step::Pause(part(jitter, seed));
        self
    }

    /// Tries again later, if the client's patience allows it.
    fn later(&mut self, now: Instant) {
        if now >= self.patience {
            return self.give_up("it took too long");
        }
        self.attempts += 1;
        let pause = PAUSE_MAX.min(PAUSE_MIN * 2_u32.pow(self.attempts.min(8)));
        let spread = part(pause, self.seed.rotate_left(self.attempts));
        self.step = Step::Pause((pause / 2 + spread).min(self.patience.since(now)));
        (self.selected, self.numbers, self.vanished) = (None, Numbers::default(), 0);
    }

    fn give_up(&mut self, why: &'static str) {
        self.step = Step::GiveUp(why);
    }

    /// While it is being moved the client waits on; the time for its new connection begins behind the move.
    fn is_moving(&mut self, cx: &Context<'_>, now: Instant) {
        let timeouts = &cx.config.timeouts;
        let since = *self.moving.get_or_insert(now);
        if now < since + timeouts.moving {
            self.patience = self.patience.max(now + timeouts.rejoin);
        }
        let told = *self.told.get_or_insert(now);
        if self.urgency == Urgency::Awaited && told + WAITING_TOLD_EVERY <= now {
            (self.told, self.tells) = (Some(now), true);
        }
        self.later(now);
    }

    fn found(&mut self, finding: &Finding, cx: &Context<'_>, now: Instant) {
        match finding {
            Finding::Active(entry) => match entry.location.server() {
                Some(server) => self.step = Step::Connect(server.to_vec()),
                None => self.give_up("the list names no server"),
            },
            Finding::Absent => self.give_up("it does not exist"),
            Finding::Reserved { .. } => self.is_moving(cx, now),
            Finding::Unknown => self.later(now),
        }
    }

    fn lost(&mut self, lost: BackendId, now: Instant) {
        let is_needed = match self.step {
            Step::Select(at) | Step::ExpectSelected(at) => at == lost,
            Step::Enable(at) | Step::ExpectEnabled(at) | Step::Examine(at) | Step::ExpectVanished(at) => {
                at == lost || self.selected == Some(lost)
            }
            Step::Apart(_) | Step::ExpectApart | Step::Tell | Step::Dismiss | Step::Rejoined => {
                self.selected == Some(lost)
            }
            Step::Pause(_)
            | Step::Pausing
            | Step::Find
            | Step::ExpectFinding
            | Step::Connect(_)
            | Step::Open(_)
            | Step::ExpectBackend
            | Step::GiveUp(_)
            | Step::Over => false,
        };
        if self.apart == Some(lost) {
            self.apart = None;
        }
        if !is_needed {
            return;
        }
        self.later(now);
    }

    /// A pause is over, or an attempt took too long: then its connection, which may answer late, is
    /// given up. That the client reads slowly is no fault of the server.
    #[expect(clippy::wildcard_enum_match_arm, reason = "in all other steps nobody is waited for")]
    fn time_is_over(&mut self, now: Instant) {
        match self.step {
            Step::Pausing => self.step = Step::Find,
            Step::ExpectSelected(id) | Step::ExpectEnabled(id) | Step::ExpectVanished(id) if !self.drains => {
                self.abandoned = Some(id);
                self.later(now);
            }
            Step::ExpectBackend | Step::ExpectApart => self.later(now),
            _ => {}
        }
    }

    fn select_line(&self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<()> {
        let mailbox = cx.config.namespace.external(&self.name, cx.identity)?;
        cx.own_tag(SELECT, out);
        out.extend_from_slice(match self.access {
            Access::ReadWrite => b" SELECT ",
            Access::ReadOnly => b" EXAMINE ",
        });
        name_out(out, &mailbox);
        if self.qresync {
            push(out, &[&self.since()]);
        }
        out.extend_from_slice(b"\r\n");
        Some(())
    }

    fn examine_line(&self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<()> {
        let mailbox = cx.config.namespace.external(&self.name, cx.identity)?;
        cx.own_tag(EXAMINE, out);
        out.extend_from_slice(b" EXAMINE ");
        name_out(out, &mailbox);
        push(out, &[&self.since(), b"\r\n"]);
        Some(())
    }

    /// ` (QRESYNC (uidvalidity mod-sequence))` (RFC 7162 section 3.2.5).
    fn since(&self) -> Vec<u8> {
        let validity = self.known.validity.map_or(0, NonZeroU32::get);
        format!(" (QRESYNC ({validity} {}))", self.known.modseq).into_bytes()
    }

    /// A line of the connection that selects the mailbox.
    fn select_says(&mut self, line: &[u8], cx: &Context<'_>, now: Instant) -> Line {
        if self.drains {
            return Line::Hold;
        }
        if let Some((status, text)) = result_of(line, &own_tag(SELECT, cx)) {
            self.selected_or_not(status, text, cx, now);
            return Line::Drop;
        }
        self.numbers.note(line);
        if self.qresync && self.numbers.validity == self.known.validity {
            return self.tell_gap(line);
        }
        Line::Drop
    }

    /// What SELECT (QRESYNC) tells of the gap, as news of a mailbox that is selected.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other kinds are of a SELECT")]
    fn tell_gap(&mut self, line: &[u8]) -> Line {
        let Response::Untagged { kind, rest, .. } = response(line) else { return Line::Drop };
        match kind {
            UntaggedKind::Vanished if !line.ends_with(b"\n") => {
                self.give_up("too much has vanished");
                Line::Drop
            }
            UntaggedKind::Vanished => {
                if let Some(set) = earlier_set(rest) {
                    push(&mut self.rows, &[b"* VANISHED ", set, b"\r\n"]);
                    // What of it he knew he counts no more.
                    self.tell_exists();
                }
                Line::Drop
            }
            UntaggedKind::Fetch => {
                self.begin_rows();
                self.rows.extend_from_slice(line);
                Line::Drop
            }
            _ => Line::Drop,
        }
    }

    fn selected_or_not(&mut self, status: Status, text: &[u8], cx: &Context<'_>, now: Instant) {
        let Step::ExpectSelected(id) = self.step else { return };
        match status {
            Status::Ok => {
                let is_read_only =
                    code(text).is_some_and(|(name, _)| name.eq_ignore_ascii_case(b"READ-ONLY"));
                self.note_access(is_read_only);
                self.selected = Some(id);
                self.compare(cx);
            }
            Status::No if self.refusals < REFUSALS_MAX => {
                // Elsewhere, or it cannot be read at the moment.
                self.refusals += u32::from(is_elsewhere(text));
                self.later(now);
            }
            Status::No | Status::Bad => self.give_up("its server refuses it"),
        }
    }

    fn note_access(&mut self, is_read_only: bool) {
        if is_read_only && self.access == Access::ReadWrite {
            self.access = Access::ReadOnly;
            self.rows.extend_from_slice(b"* OK [READ-ONLY] mailbox has become read-only\r\n");
        }
    }

    /// Whether the new connection shows what the client knows, as far as this is known now.
    fn compare(&mut self, cx: &Context<'_>) {
        let Numbers { messages, expunged, modseq, .. } = self.known;
        let is_same = self.numbers.modseq == modseq && expunged == 0 && self.numbers.messages == messages;
        if self.numbers.validity != self.known.validity {
            self.give_up("its UIDVALIDITY is another");
        } else if self.numbers.modseq == 0 {
            self.give_up("its server has no mod-sequences for it");
        } else if self.qresync || messages == 0 || is_same {
            self.tell_count();
        } else if self.numbers.messages < messages {
            self.give_up("messages have vanished meanwhile");
        } else {
            self.ask_vanished(cx);
        }
    }

    fn ask_vanished(&mut self, cx: &Context<'_>) {
        let offer = self.selected.map(|id| cx.offer(id)).unwrap_or_default();
        let server = self.selected.and_then(|id| cx.server(id));
        match server {
            Some(server) if offer.has(Offer::QRESYNC) && offer.has(Offer::ENABLE) => {
                self.step = Step::Apart(server.to_vec());
            }
            Some(_) | None => self.give_up("its server cannot tell what has vanished"),
        }
    }

    /// A line of the connection that asks what vanished.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other kinds are of a SELECT")]
    fn apart_says(&mut self, line: &[u8], cx: &Context<'_>, now: Instant) -> Line {
        if self.drains {
            return Line::Hold;
        }
        match (response(line), &self.step) {
            (Response::Tagged { tag, status, .. }, Step::ExpectEnabled(id)) if tag == own_tag(ENABLE, cx) => {
                match status {
                    Status::Ok => self.step = Step::Examine(*id),
                    Status::No | Status::Bad => self.give_up("its server cannot tell what has vanished"),
                }
                Line::Drop
            }
            (Response::Tagged { tag, status, .. }, Step::ExpectVanished(_))
                if tag == own_tag(EXAMINE, cx) =>
            {
                match status {
                    Status::Ok => self.conclude(),
                    Status::No | Status::Bad => self.later(now),
                }
                Line::Drop
            }
            (Response::Untagged { number, kind, rest }, Step::ExpectVanished(_)) => match kind {
                UntaggedKind::Vanished => {
                    let whole = line.ends_with(b"\n").then(|| vanished_earlier(rest)).flatten();
                    let more = whole.unwrap_or(u32::MAX);
                    self.vanished = self.vanished.saturating_add(more);
                    Line::Drop
                }
                UntaggedKind::Fetch => self.flags_changed(number, rest),
                _ => Line::Drop,
            },
            _ => Line::Drop,
        }
    }

    /// Whether nothing vanished that the client was not told of.
    fn holds(&self) -> bool {
        self.vanished == self.known.expunged
    }

    /// "VANISHED (EARLIER) MUST be sent before FETCH" (RFC 7162 section 3.2.5.1), so what vanished is known
    /// by now: a client whose picture holds is told of the flags that changed.
    fn flags_changed(&mut self, number: Option<u32>, rest: &[u8]) -> Line {
        if !self.holds() {
            return Line::Drop;
        }
        let items = FetchItems::read_head(rest).unwrap_or_default();
        // Messages that came since the mailbox was selected again the other connection tells of.
        let number = number.filter(|number| *number <= self.numbers.messages);
        if let (Some(number), Some(flags), Some(uid)) = (number, items.flags, items.uid) {
            self.begin_rows();
            let head = format!("* {number} FETCH (UID {uid} FLAGS (");
            push(&mut self.rows, &[head.as_bytes(), flags, b"))\r\n"]);
        }
        Line::Drop
    }

    fn conclude(&mut self) {
        if self.holds() {
            self.tell_count();
        } else {
            self.give_up("messages have vanished meanwhile");
        }
    }

    /// The count comes before flags of messages that are new.
    fn begin_rows(&mut self) {
        if self.known.messages != self.numbers.messages {
            self.tell_exists();
        }
    }

    fn tell_exists(&mut self) {
        self.known.messages = self.numbers.messages;
        self.rows.extend_from_slice(format!("* {} EXISTS\r\n", self.numbers.messages).as_bytes());
    }

    fn tell_count(&mut self) {
        self.begin_rows();
        self.step = Step::Tell;
    }

    /// Rows that are many go to the client; the rest when he is told of them all.
    fn poll_rows(&mut self, out: &mut Vec<u8>) -> Option<Want> {
        if self.rows.is_empty() || (self.rows.len() < ROWS_BYTES && !matches!(self.step, Step::Tell)) {
            return None;
        }
        if !matches!(self.step, Step::Tell) {
            self.drains = true;
        }
        out.append(&mut self.rows);
        Some(Want::Reply)
    }
}

impl Task for Rejoin {
    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, now: Instant) {
        match (news, &self.step) {
            (News::Found(finding), Step::ExpectFinding) => self.found(&finding, cx, now),
            (News::Backend(Ok(id)), Step::ExpectBackend) => self.step = Step::Select(id),
            (News::Backend(Ok(id)), Step::ExpectApart) => {
                self.apart = Some(id);
                self.step = Step::Enable(id);
            }
            (News::Backend(Err(_)), Step::ExpectBackend | Step::ExpectApart) => self.later(now),
            (News::Lost(lost), _) => self.lost(lost, now),
            (News::Time, _) => self.time_is_over(now),
            (News::Drained(Side::Client), _) => self.drains = false,
            _ => {}
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "in all other steps nothing is read")]
    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, now: Instant) -> Line {
        let Side::Backend(from) = from else { return Line::Hold };
        match self.step {
            Step::ExpectSelected(id) if from == id && is_partial(line) => Line::Drop,
            Step::ExpectSelected(id) if from == id => self.select_says(line, cx, now),
            Step::ExpectEnabled(id) | Step::ExpectVanished(id) if from == id => {
                self.apart_says(line, cx, now)
            }
            // It is the client's again in a moment.
            _ if self.selected == Some(from) => Line::Hold,
            _ => Line::Drop,
        }
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        if let Some(want) = self.poll_rows(out) {
            return Some(want);
        }
        if std::mem::take(&mut self.tells) {
            // Which command it is of those that wait is not known here.
            out.extend_from_slice(&in_progress(cx.config, b"", BEING_MOVED_WAIT));
            return Some(Want::Reply);
        }
        match std::mem::replace(&mut self.step, Step::Over) {
            Step::Pause(pause) => Some(self.pause(pause)),
            Step::Find => {
                self.step = Step::ExpectFinding;
                Some(Want::Find { name: self.name.clone(), freshness: Freshness::Barrier })
            }
            Step::Connect(server) => {
                self.step = Step::Open(server);
                Some(Want::Wake(ATTEMPT_TIMEOUT))
            }
            Step::Open(server) => {
                self.step = Step::ExpectBackend;
                Some(Want::Backend { server })
            }
            Step::Select(id) => {
                self.step = Step::ExpectSelected(id);
                self.wants_line(id, self.select_line(cx, out))
            }
            Step::Apart(server) => {
                self.step = Step::ExpectApart;
                Some(Want::Apart { server })
            }
            Step::Enable(id) => {
                self.step = Step::ExpectEnabled(id);
                cx.own_tag(ENABLE, out);
                out.extend_from_slice(b" ENABLE QRESYNC\r\n");
                Some(Want::Send(id))
            }
            Step::Examine(id) => {
                self.step = Step::ExpectVanished(id);
                self.wants_line(id, self.examine_line(cx, out))
            }
            Step::Tell => {
                self.step = Step::Dismiss;
                self.poll_want(cx, out)
            }
            Step::Dismiss => {
                self.step = Step::Rejoined;
                match self.apart.take() {
                    Some(apart) => Some(Want::Dismiss(apart)),
                    None => self.poll_want(cx, out),
                }
            }
            Step::Rejoined => self.end(),
            Step::GiveUp(why) => Some(Want::GiveUp(why)),
            waiting @ (Step::Pausing
            | Step::ExpectFinding
            | Step::ExpectBackend
            | Step::ExpectSelected(_)
            | Step::ExpectApart
            | Step::ExpectEnabled(_)
            | Step::ExpectVanished(_)
            | Step::Over) => {
                self.step = waiting;
                None
            }
        }
    }

    fn awaits(&self, backend: BackendId) -> bool {
        match self.step {
            Step::ExpectSelected(id) | Step::ExpectEnabled(id) | Step::ExpectVanished(id) => id == backend,
            Step::Pause(_)
            | Step::Pausing
            | Step::Find
            | Step::ExpectFinding
            | Step::Connect(_)
            | Step::Open(_)
            | Step::ExpectBackend
            | Step::Select(_)
            | Step::Apart(_)
            | Step::ExpectApart
            | Step::Enable(_)
            | Step::Examine(_)
            | Step::Tell
            | Step::Dismiss
            | Step::Rejoined
            | Step::GiveUp(_)
            | Step::Over => false,
        }
    }
}

impl Rejoin {
    /// Gives up what the attempt leaves behind, then waits.
    fn pause(&mut self, pause: Duration) -> Want {
        self.step = Step::Pause(pause);
        if let Some(id) = self.abandoned.take() {
            self.apart.take_if(|apart| *apart == id);
            return Want::Abandon(id);
        }
        if let Some(apart) = self.apart.take() {
            return Want::Dismiss(apart);
        }
        self.step = Step::Pausing;
        Want::Wake(pause)
    }

    fn wants_line(&mut self, id: BackendId, line: Option<()>) -> Option<Want> {
        if line.is_none() {
            self.step = Step::Over;
            return Some(Want::GiveUp("its name cannot be said"));
        }
        Some(Want::Send(id))
    }

    fn end(&mut self) -> Option<Want> {
        let Some(backend) = self.selected else { return Some(Want::GiveUp("it is not selected")) };
        let numbers = Numbers { expunged: 0, ..self.numbers };
        Some(Want::Rejoined(Box::new(Rejoined { backend, numbers, access: self.access })))
    }
}

fn own_tag(number: u32, cx: &Context<'_>) -> Vec<u8> {
    let mut tag = Vec::new();
    cx.own_tag(number, &mut tag);
    tag
}

/// A part of a time, by a random number.
fn part(whole: Duration, seed: u64) -> Duration {
    let share = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44;
    // 20 bits.
    whole.mul_f64(share as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENTS: u64 = 2000;

    /// When the sessions of a server that died come to it: how many in the fullest of so many parts of the time
    /// that the last of them takes.
    fn fullest(moments: &[Duration], parts: u32) -> usize {
        let last = moments.iter().max().copied().unwrap_or_default();
        let part =
            |moment: Duration| (moment.as_nanos() * u128::from(parts) / (last.as_nanos() + 1)) as usize;
        let mut counts = vec![0; parts as usize];
        moments.iter().for_each(|moment| counts[part(*moment)] += 1);
        counts.into_iter().max().unwrap_or_default()
    }

    /// The pauses of all clients before each attempt, as far as none succeeds.
    fn attempts(urgency: Urgency, number: usize) -> Vec<Duration> {
        let sessions = (0..CLIENTS).map(|seed| {
            let patience = Instant(u64::MAX);
            let mut rejoin = Rejoin::new(b"user.a".to_vec(), Access::ReadWrite, Numbers::default(), patience)
                .with_jitter(urgency, seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
            let mut all = Duration::ZERO;
            for n in 0..=number {
                let Step::Pause(pause) = rejoin.step else { panic!("no pause before attempt {n}") };
                all += pause;
                rejoin.later(Instant(0));
            }
            all
        });
        sessions.collect()
    }

    #[test]
    fn sessions_of_a_server_that_restarts_are_no_herd() {
        for (urgency, number) in
            [(Urgency::Idle, 0), (Urgency::Idle, 1), (Urgency::Idle, 5), (Urgency::Awaited, 5)]
        {
            let moments = attempts(urgency, number);
            let fullest = fullest(&moments, 20);
            // An even spread has a twentieth in each part; sums of pauses have more in the middle.
            assert!(fullest < CLIENTS as usize / 5, "{fullest} of {CLIENTS} at once, {urgency:?} {number}");
        }
    }
}
