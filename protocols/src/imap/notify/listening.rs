//! A session whose client is told of mailboxes that he has not selected.
//!
//! What a listener says is news: it is passed on between commands, if the list does not say that the mailbox
//! is another server's. Listeners are stirred now and then, or their servers would end them, and the plan is
//! looked at again.

use std::time::Duration;

use super::Notify;
use super::wishes::{Judged, Loss, Notified, On, Telling};
use crate::imap::backend::ToldNotify;
use crate::imap::grammar::{Response, UntaggedKind, code, response, responses};
use crate::imap::offer::Offer;
use crate::imap::session::Session;
use crate::imap::state::{Progress, Purpose, Reading};
use crate::imap::task::Bond;
use crate::proxy::{Answer, BackendId, Finding, Freshness, HEAD_BYTES_MAX, Instant, Level, Question, Side};
use crate::wire::head::{self, Extent};

/// How often the list is asked whether the plan would still be the same.
const CHECK_EVERY: Duration = Duration::from_secs(60);

/// How often a listener is said NOOP; servers end a connection that says nothing for half an hour.
pub(in crate::imap) const STIR_EVERY: Duration = Duration::from_secs(10 * 60);

/// The client is told of nothing any more (RFC 5465 section 5.8).
const OVERFLOW: &[u8] = b"* OK [NOTIFICATIONOVERFLOW] not all mailboxes can be watched any more\r\n";

impl Session {
    fn on(&mut self) -> Option<&mut On> {
        self.rare.as_mut()?.notify.as_deref_mut()
    }

    /// NOTIFY SET was accepted everywhere.
    pub(in crate::imap) fn notify(&mut self, notified: Notified, now: Instant) {
        self.forget_notify();
        for backend in &mut self.backends {
            backend.is_listening = notified.listeners.contains(&backend.id());
            if notified.at_selected == Some(backend.id()) {
                backend.told_notify = ToldNotify::Set;
            }
        }
        if let Some(selected) = self.selected.as_deref_mut() {
            // Another connection could not say what was missed meanwhile.
            selected.bond = Bond::Fast;
        }
        let Notified { selected, wishes, plan, listeners, .. } = notified;
        // One may be lost by now.
        let is_whole = listeners.iter().all(|id| self.backend_at(*id).is_some());
        let loss = if is_whole { Loss::Nothing } else { Loss::Untold };
        let on = On { selected, wishes, plan, check_at: now + CHECK_EVERY, loss, judged: None };
        self.rare().notify = Some(Box::new(on));
    }

    /// NOTIFY NONE.
    pub(in crate::imap) fn notify_none(&mut self) {
        self.forget_notify();
        if let Some(selected) = self.selected.as_deref().map(|selected| selected.backend) {
            self.notify_at(selected);
        }
    }

    /// Whether NOTIFY is on.
    pub(in crate::imap) fn is_notified(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.notify.is_some())
    }

    /// Leaves the listeners; what others were told holds no more.
    fn forget_notify(&mut self) {
        for at in 0..self.backends.len() {
            if std::mem::take(&mut self.backends[at].is_listening) {
                self.leave_backend(at, self.now);
            }
        }
        for backend in self.backends.iter_mut().filter(|backend| backend.told_notify == ToldNotify::Set) {
            backend.told_notify = ToldNotify::Stale;
        }
        if let Some(rare) = &mut self.rare {
            rare.notify = None;
        }
        self.forget_listener_questions();
    }

    fn forget_listener_questions(&mut self) {
        self.asked.retain(|(_, purpose)| !matches!(purpose, Purpose::Listener(_)));
    }

    /// Tells a connection that may get a SELECT what holds for the selected mailbox.
    pub(in crate::imap) fn notify_at(&mut self, id: BackendId) {
        let Some(at) = self.backend_at(id) else { return };
        let (told, offer) = (self.backends[at].told_notify, self.backends[at].offer());
        if self.backends[at].is_apart || told == ToldNotify::Set {
            return;
        }
        let selected = self.on().map(|on| on.selected.clone());
        match selected {
            Some(_) if !offer.has(Offer::NOTIFY) => {
                let server = self.backends[at].server().escape_ascii().to_string();
                self.lose_news(&server);
            }
            Some(selected) => {
                self.backends[at].told_notify = ToldNotify::Set;
                self.send_own(at, &[b"NOTIFY SET ", &*selected].concat());
            }
            None if told == ToldNotify::Stale => {
                self.backends[at].told_notify = ToldNotify::Nothing;
                self.send_own(at, b"NOTIFY NONE");
            }
            None => {}
        }
    }

    /// A connection does not tell what it was to tell.
    fn lose_news(&mut self, server: &str) {
        let Some(on) = self.on().filter(|on| on.loss == Loss::Nothing) else { return };
        on.loss = Loss::Untold;
        self.log(
            Level::Info,
            format!("imap backend {server}: news of mailboxes may be missed, the client is told"),
        );
    }

    /// The list says that the plan would be another one.
    pub(in crate::imap) fn overflow(&mut self) {
        if let Some(on) = self.on().filter(|on| on.loss == Loss::Nothing) {
            on.loss = Loss::Untold;
        }
    }

    /// The selected mailbox's server tells the client itself that it tells him nothing any more.
    pub(in crate::imap) fn note_overflow(&mut self, line: &[u8]) {
        if line.starts_with(b"* OK [NOTIFICATIONOVERFLOW")
            && let Some(on) = self.on()
        {
            on.loss = Loss::Told;
        }
    }

    /// Ends NOTIFY where news may have been missed.
    pub(in crate::imap) fn end_notify(&mut self) {
        let may_tell = self.may_tell_news();
        match self.on().map(|on| on.loss) {
            Some(Loss::Untold) if may_tell => self.tell_client(&[OVERFLOW]),
            Some(Loss::Told) if may_tell => {}
            Some(Loss::Untold | Loss::Told | Loss::Nothing) | None => return,
        }
        self.notify_none();
    }

    /// Whether the client is between commands, or waits for news.
    fn may_tell_news(&self) -> bool {
        self.reading != Reading::Over
            && self.speaking.is_none()
            && !self.withholds()
            && self.task.as_ref().is_none_or(|running| running.task.lets_news_pass())
    }

    /// Takes the next step with what a listener says.
    pub(in crate::imap) fn look_at_listener(&mut self, at: usize, input: &[u8], now: Instant) -> Progress {
        let whole = match head::extent(input, HEAD_BYTES_MAX as u64, HEAD_BYTES_MAX) {
            Ok(Extent::Complete { len }) => &input[..len],
            Ok(Extent::Partial { .. }) => return Progress::More,
            Ok(Extent::Literal { announced, .. }) if announced.len <= HEAD_BYTES_MAX as u64 => {
                return Progress::More;
            }
            Ok(Extent::Literal { .. }) | Err(_) => {
                return self.break_backend(at, "news longer than any name", now, input.len());
            }
        };
        let (kind, rest) = match response(whole) {
            Response::Untagged { kind, rest, .. } => (kind, rest),
            Response::Continuation { .. } => return Progress::Took(whole.len()),
            Response::Tagged { tag, .. } if self.backends[at].answered(tag).is_some() => {
                return Progress::Took(whole.len());
            }
            Response::Tagged { .. } | Response::Invalid => {
                return self.break_backend(at, "reply to nothing", now, input.len());
            }
        };
        if self.overflows(kind, rest) {
            let server = self.backends[at].server().escape_ascii().to_string();
            self.lose_news(&server);
        }
        match self.mailbox_of(kind, rest) {
            Some(name) => self.pass_news(at, name, is_end(kind, rest), whole.len()),
            None if self.is_news(at, kind, rest) && !self.may_tell_news() => Progress::Hold,
            None if self.is_news(at, kind, rest) => self.pass_whole(at, whole.len()),
            None => Progress::Took(whole.len()),
        }
    }

    fn overflows(&self, kind: UntaggedKind, rest: &[u8]) -> bool {
        kind == UntaggedKind::Ok
            && code(rest).is_some_and(|(name, _)| name.eq_ignore_ascii_case(b"NOTIFICATIONOVERFLOW"))
    }

    /// The internal name of the mailbox that a response is news of. The selected one's connection tells of it.
    #[expect(clippy::wildcard_enum_match_arm, reason = "two kinds are news of a mailbox")]
    fn mailbox_of(&self, kind: UntaggedKind, rest: &[u8]) -> Option<Vec<u8>> {
        let name = match kind {
            UntaggedKind::Status => responses::status(rest).ok()?.mailbox,
            UntaggedKind::List => responses::list(rest).ok()?.mailbox,
            _ => return None,
        };
        let identity = &self.user()?.identity;
        let name = self.config.namespace.internal(&name, identity).ok()?;
        let is_selected = self.selected.as_deref().is_some_and(|selected| *selected.name == *name);
        (kind == UntaggedKind::List || !is_selected).then_some(name)
    }

    /// Passes news of a mailbox on once the list was asked whose it is.
    fn pass_news(&mut self, at: usize, name: Vec<u8>, is_end: bool, len: usize) -> Progress {
        let id = self.backends[at].id();
        let may_tell = self.may_tell_news();
        let Some(on) = self.on() else { return Progress::Took(len) };
        match on.judged {
            Some((of, judged)) if of == id && judged != Judged::Asked => {
                if judged == Judged::Its && !may_tell {
                    return Progress::Hold;
                }
                on.judged = None;
                if judged == Judged::Its { self.pass_whole(at, len) } else { Progress::Took(len) }
            }
            Some(_) => Progress::Hold,
            None => {
                on.judged = Some((id, Judged::Asked));
                let purpose = Purpose::Listener(if is_end { Telling::End(id) } else { Telling::Other(id) });
                self.ask(purpose, Question::Find { name: name.into(), freshness: Freshness::Snapshot });
                Progress::Hold
            }
        }
    }

    fn pass_whole(&mut self, at: usize, len: usize) -> Progress {
        self.outbox.forward(self.backends[at].side(), Side::Client, len as u64);
        Progress::Claimed
    }

    /// The list says whose a mailbox is that a listener tells of.
    pub(in crate::imap) fn handle_listener_answer(&mut self, telling: Telling, answer: Answer) {
        let (id, is_end) = match telling {
            Telling::End(id) => (id, true),
            Telling::Other(id) => (id, false),
        };
        let Some(at) = self.backend_at(id) else { return };
        let Answer::Found(finding) = answer else { return };
        let is_its = match finding {
            Finding::Active(entry) => {
                entry.location.server().is_none_or(|server| server == self.backends[at].server())
            }
            // One that is made is reserved before, one that moves is meanwhile.
            Finding::Reserved { .. } => !is_end,
            Finding::Absent | Finding::Unknown => true,
        };
        if let Some(on) = self.on() {
            on.judged = Some((id, if is_its { Judged::Its } else { Judged::Anothers }));
        }
    }

    /// A listener is gone.
    pub(in crate::imap) fn listener_gone(&mut self, server: &[u8]) {
        self.lose_news(&server.escape_ascii().to_string());
        self.forget_listener_questions();
        if let Some(on) = self.on() {
            on.judged = None;
        }
    }

    /// When the plan is looked at again.
    pub(in crate::imap) fn check_notify_at(&self) -> Option<Instant> {
        let is_idle = matches!(self.reading, Reading::Command { asked: 0 } | Reading::IdleLine);
        let on = self.rare.as_ref()?.notify.as_deref().filter(|on| on.loss == Loss::Nothing)?;
        (is_idle && self.task.is_none()).then_some(on.check_at)
    }

    /// Looks at the plan again.
    pub(in crate::imap) fn check_notify(&mut self, now: Instant) {
        if self.check_notify_at().is_none() {
            return;
        }
        let Some(on) = self.on() else { return };
        on.check_at = now + CHECK_EVERY;
        let check = Notify::check(on.plan.clone(), on.wishes.clone());
        self.start(b"", Box::new(check), now);
        self.run_task(now);
    }

    /// Keeps a listener from being ended; one that did not answer the last time is dead.
    pub(in crate::imap) fn stir(&mut self, id: BackendId, now: Instant) {
        let Some(at) = self.backend_at(id) else { return };
        if !self.backends[at].flights.is_empty() {
            return self.backend_gone(id, now);
        }
        self.backends[at].last_use = now;
        self.send_own(at, b"NOOP");
    }
}

fn is_end(kind: UntaggedKind, rest: &[u8]) -> bool {
    kind == UntaggedKind::List && responses::list(rest).is_ok_and(|list| list.has(b"\\NonExistent"))
}
