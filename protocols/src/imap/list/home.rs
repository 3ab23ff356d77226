//! What servers are asked before the rows: the home of the user for subscriptions and special uses, others that have
//! mailboxes of his for special uses.

use super::row::special_uses;
use super::{ListTask, Phase, SUBSCRIPTION_BYTES_MAX};
use crate::imap::agenda::{Home, aside_of, is_partial, result_of};
use crate::imap::answers::UNREACHABLE;
use crate::imap::grammar::{Response, Status, UntaggedKind, response, responses};
use crate::imap::task::{Context, Line, Want};
use crate::proxy::{BackendId, HomeCopy, HomeNews};

/// Our tags: subscriptions, special uses.
const SUBSCRIPTIONS: u32 = 0;
const SPECIAL_USES: u32 = 1;

/// Asks for them.
const LIST_SUBSCRIPTIONS: &[u8] = b" LSUB \"\" \"*\"\r\n";
const LIST_SPECIAL_USES: &[u8] = b" LIST (SPECIAL-USE) \"\" \"*\" RETURN (SPECIAL-USE)\r\n";

/// Servers that one LIST asks for special uses.
const OTHERS_MAX: usize = 64;

impl ListTask {
    /// The home of the user is asked for his subscriptions, then for special uses, as far as they are wanted.
    pub(super) fn handle_home(&mut self, home: Home, cx: &Context<'_>) {
        match home {
            Home::At(backend) if self.options.returns_subscribed() => {
                self.ask(backend, SUBSCRIPTIONS, LIST_SUBSCRIPTIONS, cx);
                self.phase = Phase::ExpectSubscriptions(backend);
            }
            Home::At(backend) => self.ask_special(backend, cx),
            Home::Nowhere => self.next_page(cx),
            Home::Unavailable => self.recall(),
        }
    }

    fn ask_special(&mut self, backend: BackendId, cx: &Context<'_>) {
        if self.tells_special {
            self.asked.extend(cx.server(backend).map(Box::from));
            self.ask(backend, SPECIAL_USES, LIST_SPECIAL_USES, cx);
            self.phase = Phase::ExpectSpecialUses(backend);
        } else {
            self.next_page(cx);
        }
    }

    /// Goes on when the rows that wait have no server that is to be asked.
    pub(super) fn seek_others(&mut self, cx: &Context<'_>) {
        let others = self.rows.iter().filter_map(|row| row.mailbox.as_ref());
        for server in others.filter(|mailbox| mailbox.is_own).filter_map(|mailbox| mailbox.server.as_ref()) {
            if self.tells_special && self.asked.len() < OTHERS_MAX && self.asked.insert(server.clone()) {
                self.others.push_back(server.clone());
            }
        }
        self.next_other(cx);
    }

    fn next_other(&mut self, cx: &Context<'_>) {
        match self.others.pop_front() {
            Some(server) => {
                self.agenda.want(Want::Backend { server: server.to_vec() });
                self.phase = Phase::ExpectOther(server);
            }
            None => self.write_rows(cx),
        }
    }

    /// Another server is there.
    pub(super) fn ask_other(&mut self, backend: BackendId, cx: &Context<'_>) {
        self.ask(backend, SPECIAL_USES, LIST_SPECIAL_USES, cx);
        self.phase = Phase::ExpectOtherUses(backend);
    }

    /// Another server does not tell.
    pub(super) fn other_is_away(&mut self, server: Option<Box<[u8]>>, cx: &Context<'_>) {
        self.missing.extend(server.filter(|_| self.options.wants_special()));
        self.next_other(cx);
    }

    /// A line of another server, which is asked for special uses.
    pub(super) fn handle_other_line(&mut self, backend: BackendId, line: &[u8], cx: &Context<'_>) -> Line {
        let mut tag = Vec::new();
        cx.own_tag(SPECIAL_USES, &mut tag);
        match result_of(line, &tag) {
            Some((Status::Ok, _)) => self.next_other(cx),
            Some((Status::No | Status::Bad, _)) => self.other_is_away(cx.server(backend).map(Box::from), cx),
            None => return self.note_told(backend, SPECIAL_USES, line, cx),
        }
        Line::Drop
    }

    /// The home is away.
    pub(super) fn recall(&mut self) {
        self.agenda.want(Want::Recall);
        self.phase = Phase::ExpectCopy;
    }

    /// What the home told last stands in for what it does not tell now. The rows stand even without their
    /// special uses, but a list of no subscriptions would make clients forget them all.
    pub(super) fn handle_copy(&mut self, copy: &HomeCopy, cx: &Context<'_>) {
        let home: Box<[u8]> = cx.home.unwrap_or(b"of the INBOX").into();
        self.asked.insert(home.clone());
        if self.options.returns_subscribed() && !self.is_told_subscriptions {
            let Some(names) = &copy.subscribed else { return self.finish(cx, UNREACHABLE) };
            self.told.subscribed.extend(names.iter().cloned());
            self.recalled = Some(home.clone());
        }
        match &copy.special {
            _ if !self.tells_special => {}
            Some(uses) => {
                self.told.special.extend(uses.iter().cloned());
                self.recalled = self.options.wants_special().then_some(home).or(self.recalled.take());
            }
            None if self.options.wants_special() => self.missing.push(home),
            None => {}
        }
        self.next_page(cx);
    }

    fn ask(&mut self, backend: BackendId, number: u32, command: &[u8], cx: &Context<'_>) {
        let mut line = Vec::new();
        cx.own_tag(number, &mut line);
        line.extend_from_slice(command);
        self.agenda.send(backend, line);
        self.agenda.want(Want::Wake(cx.config.timeouts.fan_out));
    }

    /// The home takes too long: as good as away, but for one that has the selected mailbox, which is
    /// waited for, because what it says later is nobody else's.
    pub(super) fn home_is_slow(&mut self, home: BackendId, cx: &Context<'_>) {
        if cx.selected.is_none_or(|selected| selected.backend != home) {
            self.agenda.want(Want::Abandon(home));
            self.recall();
        }
    }

    /// The home has told all of one kind: it is kept if nothing was left out.
    fn keep(&mut self, number: u32) {
        if self.told_bytes >= SUBSCRIPTION_BYTES_MAX {
            return;
        }
        let news = if number == SUBSCRIPTIONS {
            HomeNews::Subscriptions(self.told.subscribed.iter().cloned().collect())
        } else {
            let uses = self.told.special.iter().map(|(name, uses)| (name.clone(), uses.clone()));
            HomeNews::SpecialUses(uses.collect())
        };
        self.agenda.want(Want::Keep(news));
    }

    fn handle_home_line(&mut self, backend: BackendId, number: u32, line: &[u8], cx: &Context<'_>) -> Line {
        let mut tag = Vec::new();
        cx.own_tag(number, &mut tag);
        if let Some((status, _)) = result_of(line, &tag) {
            match (number, status) {
                (_, Status::No | Status::Bad) => self.recall(),
                (SUBSCRIPTIONS, Status::Ok) => {
                    self.keep(number);
                    self.is_told_subscriptions = true;
                    self.ask_special(backend, cx);
                }
                (_, Status::Ok) => {
                    self.keep(number);
                    self.next_page(cx);
                }
            }
            return Line::Drop;
        }
        self.note_told(backend, number, line, cx)
    }

    /// A line of the home, which is asked for subscriptions.
    pub(super) fn handle_subscription(&mut self, home: BackendId, line: &[u8], cx: &Context<'_>) -> Line {
        self.handle_home_line(home, SUBSCRIPTIONS, line, cx)
    }

    /// A line of the home, which is asked for special uses.
    pub(super) fn handle_special_use(&mut self, home: BackendId, line: &[u8], cx: &Context<'_>) -> Line {
        self.handle_home_line(home, SPECIAL_USES, line, cx)
    }

    /// A row of what a server was asked.
    fn note_told(&mut self, backend: BackendId, number: u32, line: &[u8], cx: &Context<'_>) -> Line {
        let Response::Untagged { kind: UntaggedKind::Lsub | UntaggedKind::List, rest, .. } = response(line)
        else {
            return aside_of(backend, line, cx);
        };
        if is_partial(line) {
            return Line::Whole;
        }
        if let Ok(answer) = responses::list(rest)
            && self.told_bytes < SUBSCRIPTION_BYTES_MAX
        {
            self.told_bytes += answer.mailbox.len();
            let name: Box<[u8]> = answer.mailbox.as_ref().into();
            if number == SUBSCRIPTIONS {
                self.told.subscribed.insert(name);
            } else {
                let special = special_uses(answer.attributes());
                if !special.is_empty() {
                    self.told.special.insert(name, special.into());
                }
            }
        }
        Line::Drop
    }
}
