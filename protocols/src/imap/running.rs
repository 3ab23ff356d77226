//! Carries out what the running task wants, and shows it what comes.

use memchr::memchr;
use smallvec::SmallVec;

use super::backend::{Flow, Tag};
use super::deeds::{Asked, Deed};
use super::grammar::{Response, UntaggedKind, response};
use super::session::Session;
use super::state::{Moving, Phase, Progress, Purpose, Reading, Running, SelectedMailbox, User, Withheld};
use super::task::{Access, Bond, Context, Line, News, Selected, Task, Want};
use crate::proxy::{
    Answer, BackendId, Close, Finding, Freshness, HEAD_BYTES_MAX, HomeNews, Instant, Intent, Level,
    ListQuery, Notice, Question, Side, Stage, Unavailable,
};
use crate::wire::head::{self, Extent};
use crate::wire::line;

impl Session {
    /// Begins a task; the caller polls it.
    pub(super) fn start(&mut self, tag: &[u8], task: Box<dyn Task>, now: Instant) {
        self.bad_commands = 0;
        let tag = Tag::from_slice(tag);
        let (awaits, finds, lists) = (SmallVec::new(), Vec::new(), Asked::default());
        let drafts = Vec::new();
        let (wake, moving, looked, intent, last_news) = (None, None, None, None, now);
        let running =
            Running { tag, task, wake, last_news, awaits, finds, moving, looked, intent, lists, drafts };
        self.task = Some(Box::new(running));
    }

    /// Carries out what the task wants until it wants nothing.
    pub(super) fn run_task(&mut self, now: Instant) {
        let mut out =
            self.task.as_mut().map(|running| std::mem::take(&mut running.drafts)).unwrap_or_default();
        while self.may_task_speak() {
            let Some(mut running) = self.task.take() else { break };
            out.clear();
            let want = self
                .context(&running.tag, running.moving)
                .and_then(|cx| running.task.poll_want(&cx, &mut out));
            self.task = Some(running);
            match want {
                Some(want) => self.carry_out(want, &out, now),
                None => break,
            }
        }
        if let Some(running) = self.task.as_mut().filter(|_| out.capacity() <= HEAD_BYTES_MAX) {
            running.drafts = out;
        }
    }

    /// Whether nobody but a connection of the task is in the middle of a response to the client.
    fn may_task_speak(&self) -> bool {
        self.reading != Reading::Over && self.task.is_some() && self.speaking.is_none()
    }

    /// What a task may know; `moving` as it has waited.
    fn context<'a>(&'a self, tag: &'a [u8], moving: Option<Moving>) -> Option<Context<'a>> {
        let user = self.user()?;
        let selected = self.selected.as_deref().and_then(|selected| {
            let at = self.backend_at(selected.backend)?;
            Some(Selected {
                backend: selected.backend,
                server: self.backends[at].server(),
                name: &selected.name,
                access: selected.access,
            })
        });
        Some(Context {
            config: &self.config,
            identity: &user.identity,
            selected,
            home: user.home.as_deref(),
            tag,
            has_waited: moving.is_some(),
            backends: &self.backends,
            enabled: user.enabled,
        })
    }

    /// Tells the task news.
    pub(super) fn tell_task(&mut self, news: News<'_>, now: Instant) {
        let Some(mut running) = self.task.take() else { return };
        running.last_news = now;
        if let Some(cx) = self.context(&running.tag, running.moving) {
            running.task.handle_news(news, &cx, now);
        }
        self.task = Some(running);
    }

    fn carry_out(&mut self, want: Want, out: &[u8], now: Instant) {
        match want {
            Want::Find { name, freshness } => {
                self.ask(Purpose::Task, Question::Find { name: name.as_slice().into(), freshness });
                if let Some(running) = &mut self.task {
                    running.finds = name;
                }
            }
            Want::Page(query) => self.ask_page(query),
            Want::Barrier => self.ask(Purpose::Task, Question::Barrier),
            Want::Intend(intent) => self.intend(intent),
            Want::Stage(stage) => self.tell_stage(stage),
            Want::Backend { server } => {
                let connection = self.connection_to(&server, now);
                self.task_wants_backend(connection, now);
            }
            Want::Apart { server } => {
                let connection = self.connection_apart(&server, now);
                self.task_wants_backend(connection, now);
            }
            Want::Dismiss(id) => self.close_backend(id, Close::Flush),
            Want::Leave(id) => {
                if let Some(at) = self.backend_at(id) {
                    self.leave_backend(at, now);
                }
            }
            Want::Rejoined(rejoined) => {
                self.finish_task();
                self.rejoined(*rejoined, now);
            }
            Want::GiveUp(why) => self.not_rejoined(why),
            Want::AdminBackend { server } => self.task_wants_admin(&server, now),
            Want::Notify(notified) => self.notify(*notified, now),
            Want::NotifyNone => self.notify_none(),
            Want::NotifyOverflow => self.overflow(),
            Want::Reply => self.tell_client(&[out]),
            Want::Send(id) => self.send_for_task(id, out, now),
            Want::Forward { from, to, n } => self.outbox.forward(from, to, n),
            Want::Discard { from, n } => self.outbox.discard(from, n),
            Want::Selected { backend, name, access, bond } => {
                self.be_selected(backend, name, access, bond, now);
            }
            Want::Unselected => self.set_selected(None),
            Want::Unselect => self.unselect(now),
            Want::Wake(after) => {
                if let Some(running) = &mut self.task {
                    running.wake = Some(now + after);
                }
            }
            Want::Remember(deed) => self.remember(deed),
            Want::Doubt(doubt) => self.deeds.iter_mut().for_each(|deeds| deeds.doubt(&doubt)),
            Want::IsThere(name) => self.deeds.iter_mut().for_each(|deeds| deeds.is_there(&name)),
            Want::Keep(news) => self.keep(news),
            Want::Recall => self.recall(),
            Want::Offered => self.ask_offered(),
            Want::Abandon(id) => self.close_backend(id, Close::Abort),
            Want::Bye => {
                self.finish_task();
                self.end(b"");
            }
            Want::Done => self.finish_task(),
        }
    }

    fn be_selected(&mut self, backend: BackendId, name: Vec<u8>, access: Access, bond: Bond, now: Instant) {
        let is_numberless = self.user().is_some_and(|user| user.enabled.uidonly);
        let bond = if is_numberless || self.is_notified() { Bond::Fast } else { bond };
        self.deeds.iter_mut().for_each(|deeds| deeds.is_there(&name));
        let selected = SelectedMailbox {
            backend,
            name: name.into(),
            access,
            bond,
            said: Vec::new(),
            withheld: Withheld::Nothing,
            away: None,
            since: now,
            patience: None,
        };
        self.set_selected(Some(Box::new(selected)));
    }

    fn keep(&mut self, news: HomeNews) {
        let Some(user) = self.user() else { return };
        let news = news.from_spelling(user.identity.spelling);
        let user = user.identity.user.clone();
        self.outbox.tell(Notice::Home { user, news });
    }

    fn recall(&mut self) {
        let Some(user) = self.user().map(|user| user.identity.user.clone()) else { return };
        self.ask(Purpose::Task, Question::HomeCopy { user });
    }

    fn ask_offered(&mut self) {
        let Some(inbox) = self.user().map(|user| user.inbox.clone()) else { return };
        self.ask(Purpose::Task, Question::Capabilities { inbox });
    }

    /// Announces a move. The task goes on when the engine has kept it, or cannot.
    fn intend(&mut self, intent: Box<Intent>) {
        let id = self.ask_numbered(Purpose::Task, Question::Intend(intent));
        if let Some(running) = &mut self.task {
            running.intent = Some(id);
        }
    }

    /// Tells how far the announced move is, if there is one.
    fn tell_stage(&mut self, stage: Stage) {
        let Some(running) = &mut self.task else { return };
        let Some(id) = running.intent else { return };
        if matches!(stage, Stage::Done | Stage::GivenUp) {
            running.intent = None;
        }
        self.outbox.tell(Notice::Stage { id, stage });
    }

    fn ask_page(&mut self, query: ListQuery) {
        if let Some(running) = self.task.as_mut().filter(|_| self.deeds.is_some()) {
            running.lists = Asked::of(&query);
        }
        self.ask(Purpose::Task, Question::List(query));
    }

    /// Keeps a deed if the list does not show it.
    fn remember(&mut self, deed: Deed) {
        let name = deed.name().into();
        let number = self.deeds.get_or_insert_default().keep(deed);
        self.ask(Purpose::Deed(number), Question::Find { name, freshness: Freshness::Snapshot });
    }

    /// The list says this of a deed.
    pub(super) fn handle_deed_answer(&mut self, number: u32, answer: Answer) {
        if let (Some(deeds), Answer::Found(finding)) = (&mut self.deeds, answer) {
            deeds.check(number, finding);
        }
        self.deeds = self.deeds.take().filter(|deeds| !deeds.is_empty());
    }

    fn task_wants_backend(&mut self, connection: Result<BackendId, Unavailable>, now: Instant) {
        match connection {
            Ok(id) if self.backend_at(id).is_some_and(|at| self.backends[at].is_ready()) => {
                self.lend(id, now);
            }
            Ok(id) => {
                if let Some(running) = &mut self.task {
                    running.awaits.push(id);
                }
            }
            Err(Unavailable) => self.tell_task(News::Backend(Err(Unavailable)), now),
        }
    }

    fn task_wants_admin(&mut self, server: &[u8], now: Instant) {
        match self.connection_as_admin(server, now) {
            Ok(id) => {
                if let Some(running) = &mut self.task {
                    running.awaits.push(id);
                }
            }
            Err(Unavailable) => self.tell_task(News::Backend(Err(Unavailable)), now),
        }
    }

    /// A connection that the task may have waited for is logged in, or cannot be.
    pub(super) fn task_backend(&mut self, id: BackendId, result: Result<(), Unavailable>, now: Instant) {
        let Some(running) = &mut self.task else { return };
        let Some(at) = running.awaits.iter().position(|awaited| *awaited == id) else { return };
        running.awaits.remove(at);
        match result {
            Ok(()) => self.lend(id, now),
            Err(unavailable) => self.tell_task(News::Backend(Err(unavailable)), now),
        }
    }

    /// Gives the task a connection: what it says from here on is the task's.
    fn lend(&mut self, id: BackendId, now: Instant) {
        if !self.keeps_promises(id) {
            return self.tell_task(News::Backend(Err(Unavailable)), now);
        }
        self.enable_at(id, now);
        self.notify_at(id);
        if let Some(at) = self.backend_at(id) {
            self.backends[at].serves_task = true;
        }
        if let Some(watch) = &mut self.watched {
            watch.note_backend(id);
        }
        self.tell_task(News::Backend(Ok(id)), now);
    }

    /// Whether a connection speaks to the client as he was promised by ENABLED. One that does not is of a
    /// server that came, or went back to an older release, behind his login.
    pub(super) fn keeps_promises(&mut self, id: BackendId) -> bool {
        let (Some(at), Some(user)) = (self.backend_at(id), self.user()) else { return true };
        let is_kept = user.enabled.are_kept_by(self.backends[at].offer());
        if !is_kept {
            let (server, names) =
                (self.backends[at].server().escape_ascii().to_string(), user.enabled.names());
            self.log(
                Level::Warn,
                format!("imap backend {server}: does not offer all of{names}, which a client enabled"),
            );
        }
        is_kept
    }

    fn send_for_task(&mut self, id: BackendId, bytes: &[u8], now: Instant) {
        // It may have been lost while the task waited for something else.
        let Some(at) = self.backend_at(id) else { return self.tell_task(News::Lost(id), now) };
        self.backends[at].serves_task = true;
        self.backends[at].last_use = now;
        let side = self.backends[at].side();
        self.outbox.write(side, &[bytes]);
        if let Some(running) = &mut self.task {
            running.last_news = now;
        }
    }

    pub(super) fn finish_task(&mut self) {
        // Who waited for us was not idle, however long that took.
        if self.task.as_ref().is_some_and(|running| !running.tag.is_empty()) {
            self.last_input = self.now;
        }
        self.tell_stage(Stage::GivenUp);
        self.task = None;
        self.forget_questions(Purpose::Task);
        self.forget_questions(Purpose::Silence);
        self.close_admin_connections();
        self.backends.iter_mut().for_each(|backend| backend.serves_task = false);
    }

    /// An answer for the task.
    pub(super) fn handle_task_answer(&mut self, answer: Answer, now: Instant) {
        match answer {
            Answer::Found(mut finding) => {
                if let (Some(deeds), Some(running), Some(user)) =
                    (&mut self.deeds, &self.task, user_of(&self.phase))
                {
                    finding = deeds.correct(&running.finds, finding, &user.identity);
                }
                if self.waits_for(&finding, now) {
                    return;
                }
                self.note_home(&finding);
                self.tell_task(News::Found(finding), now);
            }
            Answer::Page(mut page) => {
                if let (Some(deeds), Some(running), Some(user)) =
                    (&mut self.deeds, &self.task, user_of(&self.phase))
                {
                    deeds.correct_page(&running.lists, &mut page, &user.identity);
                }
                self.tell_task(News::Page(&page), now);
            }
            Answer::Barrier(result) => self.tell_task(News::Barrier(result), now),
            Answer::Intended(_) => self.tell_task(News::Intended, now),
            Answer::HomeCopy(copy) => {
                let spelling = self.user().map(|user| user.identity.spelling).unwrap_or_default();
                self.tell_task(News::Kept(&copy.respelled(spelling)), now);
            }
            Answer::Capabilities(offered) => {
                if let Phase::User(user) = &mut self.phase {
                    user.offered = offered;
                }
                let capabilities = self.capabilities();
                self.tell_task(News::Offered(&capabilities), now);
            }
            Answer::Opened(_)
            | Answer::Password(_)
            | Answer::Reused { .. }
            | Answer::Groups(_)
            | Answer::Domain(_)
            | Answer::ScramKeys(_)
            | Answer::SaltedPassword(_)
            | Answer::Directory(_) => {}
        }
    }

    /// Remembers where the user's INBOX is when a task looked it up.
    fn note_home(&mut self, finding: &Finding) {
        let Some(running) = &self.task else { return };
        if self.user().is_none_or(|user| *user.inbox != *running.finds) {
            return;
        }
        let server = match finding {
            Finding::Active(entry) => entry.location.server().map(Box::from),
            Finding::Absent => None,
            Finding::Reserved { .. } | Finding::Unknown => return,
        };
        if let Phase::User(user) = &mut self.phase {
            user.home = server;
        }
    }

    /// Shows the task a line of the client, if it reads from him.
    pub(super) fn offer_client_line(&mut self, input: &[u8], now: Instant) -> Progress {
        if !self.task.as_ref().is_some_and(|running| running.task.reads_client()) {
            return Progress::Hold;
        }
        let Some(lf) = memchr(b'\n', input) else {
            if input.len() < HEAD_BYTES_MAX {
                return Progress::More;
            }
            self.end(b"* BYE command line too long\r\n");
            return Progress::Took(input.len());
        };
        let line = &input[..=lf];
        let verdict = self.show_line(Side::Client, line, now);
        self.run_task(now);
        match verdict {
            Some(Line::Taken | Line::Drop) => Progress::Took(line.len()),
            Some(Line::Hold | Line::Relay | Line::Reworded(_) | Line::Whole) | None => Progress::Hold,
        }
    }

    fn show_line(&mut self, from: Side, line: &[u8], now: Instant) -> Option<Line> {
        let mut running = self.task.take()?;
        let verdict = self
            .context(&running.tag, running.moving)
            .map(|cx| running.task.handle_line(from, line, &cx, now));
        if verdict != Some(Line::Hold) {
            // A line on hold is offered again and again: it is no news.
            running.last_news = now;
        }
        self.task = Some(running);
        verdict
    }

    /// Shows the task what a connection says that serves it.
    pub(super) fn offer_backend_line(&mut self, at: usize, input: &[u8], now: Instant) -> Progress {
        let id = self.backends[at].id();
        if self.speaking.is_some_and(|speaking| speaking != id) {
            return Progress::Hold;
        }
        if self.is_selected(id)
            && let Some(progress) = self.look_at_withheld(at, input, now)
        {
            return progress;
        }
        if self.task.as_ref().is_some_and(|running| running.task.relays_untagged(id))
            && let Some(progress) = self.relay_untagged(at, input)
        {
            return progress;
        }
        let Some(lf) = memchr(b'\n', input) else {
            if input.len() < HEAD_BYTES_MAX {
                return Progress::More;
            }
            return self.offer_long_line(at, input, now);
        };
        let line = &input[..=lf];
        if self.is_for_nobody(line) {
            return self.pass(at, Flow::Dropping, line, input);
        }
        let verdict = self.show_line(Side::Backend(id), line, now);
        let progress = match verdict {
            Some(Line::Taken) => Progress::Took(line.len()),
            Some(Line::Relay) => self.pass(at, Flow::Relaying, line, input),
            Some(Line::Drop) => self.pass(at, Flow::Dropping, line, input),
            Some(Line::Whole) => self.offer_whole(at, input, now),
            Some(Line::Reworded(n)) => self.pass_reworded(at, n.min(line.len() - 1)),
            Some(Line::Hold) | None => Progress::Hold,
        };
        self.run_task(now);
        progress
    }

    /// Passes a response on whose first `n` bytes read otherwise for the client.
    fn pass_reworded(&mut self, at: usize, n: usize) -> Progress {
        let mut out = Vec::new();
        if let Some(running) = &mut self.task {
            running.task.reword(&mut out);
        }
        self.tell_client(&[&out]);
        self.response_goes_on(at, Flow::Relaying);
        Progress::Took(n)
    }

    /// What no task wants to see.
    fn is_for_nobody(&self, line: &[u8]) -> bool {
        match response(line) {
            Response::Untagged { kind, .. } => {
                matches!(kind, UntaggedKind::Bye | UntaggedKind::Capability | UntaggedKind::Preauth)
            }
            Response::Tagged { .. } | Response::Continuation { .. } | Response::Invalid => false,
        }
    }

    /// Shows the task a response with its literals, once it is here.
    fn offer_whole(&mut self, at: usize, input: &[u8], now: Instant) -> Progress {
        let line_len = line::first(input, usize::MAX).map_or(input.len(), |line| line.len);
        let len = match head::extent(input, HEAD_BYTES_MAX as u64, HEAD_BYTES_MAX) {
            Ok(Extent::Complete { len }) => len,
            Ok(Extent::Literal { announced, .. }) if announced.len <= HEAD_BYTES_MAX as u64 => {
                return Progress::More;
            }
            Ok(Extent::Partial { .. }) => return Progress::More,
            Ok(Extent::Literal { .. }) | Err(_) => {
                return self.pass(at, Flow::Relaying, &input[..line_len], input);
            }
        };
        let side = self.backends[at].side();
        match self.show_line(side, &input[..len], now) {
            Some(Line::Relay) => {
                self.outbox.forward(side, Side::Client, len as u64);
                Progress::Claimed
            }
            Some(Line::Taken | Line::Drop) => Progress::Took(len),
            Some(Line::Reworded(n)) => self.pass_reworded(at, n.min(len - 1)),
            Some(Line::Whole | Line::Hold) | None => Progress::Hold,
        }
    }

    /// A line longer than a head: the task decides by its beginning.
    fn offer_long_line(&mut self, at: usize, input: &[u8], now: Instant) -> Progress {
        let side = self.backends[at].side();
        let verdict = self.show_line(side, input, now);
        let progress = match verdict {
            Some(Line::Relay | Line::Whole) => self.pass_part(at, Flow::Relaying, input),
            Some(Line::Reworded(n)) => self.pass_reworded(at, n.min(input.len() - 1)),
            Some(Line::Drop | Line::Taken) => self.pass_part(at, Flow::Dropping, input),
            Some(Line::Hold) | None => Progress::Hold,
        };
        self.run_task(now);
        progress
    }

    /// What was queued for a side has gone out.
    pub(super) fn drained(&mut self, side: Side, now: Instant) {
        if side == Side::Client {
            self.drain_withheld();
        }
        self.tell_task(News::Drained(side), now);
    }

    /// Bytes did not move for long. Where a task moves them from one server to another, the other one is
    /// at fault; the end of the forward tells the task.
    pub(super) fn stalled(&mut self, from: Side) {
        let to = match from {
            Side::Backend(id) => self.task.as_ref().and_then(|running| running.task.forwards_to(id)),
            Side::Client => None,
        };
        match to.filter(|to| self.backend_at(*to).is_some()) {
            Some(to) => self.close_backend(to, Close::Abort),
            None => self.end(b"* BYE connection stalled\r\n"),
        }
    }

    /// A side died that a forward went to.
    pub(super) fn forward_broken(&mut self, from: Side, to: Side, left: u64, now: Instant) {
        match (from, to) {
            (Side::Backend(id), Side::Client) => self.close_backend(id, Close::Abort),
            (Side::Client, Side::Client) => {}
            // Commands that are sent again, or were answered.
            (Side::Client, Side::Backend(_)) if self.is_away() && left > 0 => {
                self.outbox.discard(Side::Client, left);
            }
            (_, Side::Backend(_)) if self.task.is_some() => {
                self.tell_task(News::ForwardBroken { from, to, left }, now);
            }
            (Side::Client, Side::Backend(_)) => {
                // The rest of a relayed command whose backend died.
                if left > 0 {
                    self.outbox.discard(Side::Client, left);
                }
            }
            (Side::Backend(_), Side::Backend(_)) => self.outbox.close(from, Close::Abort),
        }
    }
}

fn user_of(phase: &Phase) -> Option<&User> {
    match phase {
        Phase::User(user) => Some(user),
        Phase::Guest(_) => None,
    }
}
