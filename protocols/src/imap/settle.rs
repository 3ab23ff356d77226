//! A user without a home gets one when he logs in (`autocreate_quota` and its kin).
//!
//! ```text
//! Find ──absent──> Connect as the user ──> Barrier, Find ──absent──> Connect as an administrator
//!   │                 │ ^── cannot be had: next server                 ──> CREATE, SETQUOTA, CREATE ...
//!   │                 │                                                ──> SUBSCRIBE ... ──> Barrier
//!   └─ is there, or cannot be told ──> Done <── is there: the backend's own autocreate made it
//! ```
//! Cyrus makes mailboxes of a user when he logs in, if it is told to; so the server that all frontends choose
//! alike is contacted in his name before any other. Where that does not do, `admins` make them. Who comes
//! second finds what the first made: a CREATE of what is there is refused, and that is as good.

use std::collections::VecDeque;

use super::agenda::{Agenda, aside_of, result_of};
use super::config::Autocreate;
use super::grammar::Status;
use super::task::{Context, Line, News, Task, Want};
use super::text::{name_out, push};
use crate::mailbox::home::servers_for;
use crate::mailbox::{Identity, names};
use crate::proxy::{BackendId, Finding, Freshness, Instant, Side};

/// Whether a user is one of those that get a home.
pub(crate) fn is_meant(policy: &Autocreate, who: &Identity) -> bool {
    let is_named = |name: &[u8]| {
        name == b"anyone"
            || name == &*who.user
            || name.strip_prefix(b"group:").is_some_and(|group| who.groups.iter().any(|own| **own == *group))
    };
    policy.quota_kib.is_some() && !who.is_admin && policy.users.iter().any(|name| is_named(name))
}

/// Gives the user a home.
pub(super) struct Settle {
    /// The internal name of his INBOX.
    inbox: Vec<u8>,
    /// Not tried yet, the next one first.
    servers: VecDeque<Vec<u8>>,
    step: Step,
    agenda: Agenda,
    /// Our commands, numbered as they are sent.
    commands: VecDeque<Vec<u8>>,
    sent: u32,
    /// The connection as the user.
    own: Option<BackendId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Start,
    ExpectFound,
    ExpectOwn,
    ExpectBarrier,
    /// Behind the barrier: did the backend make it?
    ExpectFoundAgain,
    ExpectAdmin,
    /// CREATE of the INBOX; then what may fail.
    Making(BackendId),
    Furnishing(BackendId),
    Subscribing(BackendId),
    ExpectLastBarrier,
    Over,
}

impl Settle {
    pub(super) fn new(inbox: &[u8]) -> Settle {
        Settle {
            inbox: inbox.to_vec(),
            servers: VecDeque::new(),
            step: Step::Start,
            agenda: Agenda::default(),
            commands: VecDeque::new(),
            sent: 0,
            own: None,
        }
    }

    fn find(&mut self, freshness: Freshness, step: Step) {
        self.agenda.want(Want::Find { name: self.inbox.clone(), freshness });
        self.step = step;
    }

    fn found(&mut self, finding: &Finding, cx: &Context<'_>) {
        match finding {
            Finding::Absent => {
                let servers = cx.config.serverlist.iter().map(|server| server.as_bytes());
                self.servers =
                    servers_for(servers, &cx.identity.user).into_iter().map(<[u8]>::to_vec).collect();
                self.try_next();
            }
            // It is there, on its way, or nobody can tell: nothing is made.
            Finding::Active(_) | Finding::Reserved { .. } | Finding::Unknown => self.end(),
        }
    }

    fn try_next(&mut self) {
        match self.servers.front() {
            Some(server) => {
                self.agenda.want(Want::Backend { server: server.clone() });
                self.step = Step::ExpectOwn;
            }
            None => self.end(),
        }
    }

    fn connected(&mut self, own: BackendId) {
        self.own = Some(own);
        self.agenda.want(Want::Barrier);
        self.step = Step::ExpectBarrier;
    }

    fn found_again(&mut self, finding: &Finding) {
        match (finding, self.servers.front()) {
            (Finding::Absent, Some(server)) => {
                self.agenda.want(Want::AdminBackend { server: server.clone() });
                self.step = Step::ExpectAdmin;
            }
            _ => self.end(),
        }
    }

    fn make(&mut self, at: BackendId, cx: &Context<'_>) {
        self.commands = making(&self.inbox, cx);
        self.step = Step::Making(at);
        self.send_next(at, cx);
    }

    /// Sends the next command, or goes on behind the last one.
    fn send_next(&mut self, at: BackendId, cx: &Context<'_>) {
        let Some(command) = self.commands.pop_front() else { return self.go_on(cx) };
        self.sent += 1;
        let mut line = Vec::new();
        cx.own_tag(self.sent, &mut line);
        push(&mut line, &[b" ", &command, b"\r\n"]);
        self.agenda.send(at, line);
    }

    fn go_on(&mut self, cx: &Context<'_>) {
        match (self.step, self.own) {
            (Step::Making(_) | Step::Furnishing(_), Some(own)) => {
                self.commands = subscribing(cx);
                self.step = Step::Subscribing(own);
                self.send_next(own, cx);
            }
            _ => {
                self.agenda.want(Want::Barrier);
                self.step = Step::ExpectLastBarrier;
            }
        }
    }

    fn answered(&mut self, at: BackendId, status: Status, cx: &Context<'_>) {
        match (self.step, status) {
            (Step::Making(_), Status::Ok) => {
                self.step = Step::Furnishing(at);
                self.send_next(at, cx);
            }
            // Somebody else was first, or may not: what the list says behind a barrier counts.
            (Step::Making(_), Status::No | Status::Bad) => {
                self.agenda.want(Want::Barrier);
                self.step = Step::ExpectLastBarrier;
            }
            _ => self.send_next(at, cx),
        }
    }

    fn end(&mut self) {
        self.agenda.want(Want::Done);
        self.step = Step::Over;
    }
}

/// What an administrator does: the INBOX first, then what may fail without harm.
fn making(inbox: &[u8], cx: &Context<'_>) -> VecDeque<Vec<u8>> {
    let policy = &cx.config.autocreate;
    let namespace = &cx.config.namespace;
    let admin = Identity { user: (*b"").into(), is_admin: true, ..Identity::default() };
    let seen_as = |internal: &[u8]| namespace.external(internal, &admin).unwrap_or_default();
    let create = |name: &[u8]| {
        let mut command = b"CREATE ".to_vec();
        name_out(&mut command, name);
        command
    };
    let mut commands = VecDeque::from([create(&seen_as(inbox))]);
    let limits = [("STORAGE", policy.quota_kib.unwrap_or(0)), ("MESSAGE", policy.quota_messages)];
    let limits: Vec<String> = limits
        .iter()
        .filter(|(_, limit)| *limit > 0)
        .map(|(name, limit)| format!("{name} {limit}"))
        .collect();
    if !limits.is_empty() {
        let mut command = b"SETQUOTA ".to_vec();
        name_out(&mut command, &seen_as(inbox));
        push(&mut command, &[b" (", limits.join(" ").as_bytes(), b")"]);
        commands.push_back(command);
    }
    for folder in &policy.folders {
        commands.push_back(create(&seen_as(&names::child(inbox, folder, namespace.separator))));
    }
    commands
}

/// What the user subscribes to.
fn subscribing(cx: &Context<'_>) -> VecDeque<Vec<u8>> {
    let namespace = &cx.config.namespace;
    let inbox = namespace.inbox(&cx.identity.user);
    let folders = cx.config.autocreate.subscribed.iter();
    let below = folders.map(|folder| names::child(&inbox, folder, namespace.separator));
    let all = std::iter::once(inbox.clone()).chain(below);
    let command = |internal: Vec<u8>| {
        let mut command = b"SUBSCRIBE ".to_vec();
        name_out(&mut command, &namespace.external(&internal, cx.identity)?);
        Some(command)
    };
    all.filter_map(command).collect()
}

impl Task for Settle {
    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, _now: Instant) {
        match (self.step, news) {
            (Step::ExpectFound, News::Found(finding)) => self.found(&finding, cx),
            (Step::ExpectOwn, News::Backend(Ok(own))) => self.connected(own),
            (Step::ExpectOwn, News::Backend(Err(_))) => {
                self.servers.pop_front();
                self.try_next();
            }
            (Step::ExpectBarrier, News::Barrier(Ok(()))) => {
                self.find(Freshness::Snapshot, Step::ExpectFoundAgain);
            }
            (Step::ExpectFoundAgain, News::Found(finding)) => self.found_again(&finding),
            (Step::ExpectAdmin, News::Backend(Ok(admin))) => self.make(admin, cx),
            (Step::ExpectAdmin, News::Backend(Err(_)))
            | (Step::ExpectBarrier, News::Barrier(Err(_)))
            | (Step::ExpectLastBarrier, News::Barrier(_)) => self.end(),
            (Step::Making(at) | Step::Furnishing(at) | Step::Subscribing(at), News::Lost(lost))
                if at == lost =>
            {
                self.end();
            }
            _ => {}
        }
    }

    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, _now: Instant) -> Line {
        let Side::Backend(backend) = from else { return Line::Hold };
        let mut tag = Vec::new();
        cx.own_tag(self.sent, &mut tag);
        match (self.step, result_of(line, &tag)) {
            (Step::Making(at) | Step::Furnishing(at) | Step::Subscribing(at), Some((status, _)))
                if at == backend =>
            {
                self.answered(at, status, cx);
                Line::Drop
            }
            _ => aside_of(backend, line, cx),
        }
    }

    fn poll_want(&mut self, _cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        if self.step == Step::Start {
            self.find(Freshness::BarrierIfAbsent, Step::ExpectFound);
        }
        self.agenda.poll(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::testing::{Host, found};
    use crate::proxy::Unavailable;

    fn host() -> Host<Settle> {
        let mut host = Host::new(Settle::new(b"user.user001"));
        host.config.serverlist = ["backend1".into(), "backend2".into()].into();
        host.config.autocreate = Autocreate {
            quota_kib: Some(5000),
            folders: [(*b"Drafts").into(), (*b"Sent").into()].into(),
            subscribed: [(*b"Sent").into()].into(),
            ..Autocreate::default()
        };
        assert_eq!(host.wants(), ["find user.user001"]);
        host
    }

    /// The server that is tried first, and the other one.
    fn order() -> (u32, u32) {
        let first = servers_for([&b"backend1"[..], b"backend2"].into_iter(), b"user001")[0];
        if first == b"backend1" { (1, 2) } else { (2, 1) }
    }

    #[test]
    fn user_with_a_home_is_left_alone() {
        for finding in [found("user.user001", "backend1", ""), News::Found(Finding::Unknown)] {
            assert_eq!(host().news(finding), ["done"]);
        }
    }

    #[test]
    fn backend_s_own_autocreate_is_enough() {
        let (first, _) = order();
        let mut host = host();
        assert_eq!(host.news(News::Found(Finding::Absent)), [format!("backend backend{first}")]);
        assert_eq!(host.news(News::Backend(Ok(BackendId(first)))), ["Barrier"]);
        assert_eq!(host.news(News::Barrier(Ok(()))), ["find user.user001"]);
        assert_eq!(host.news(found("user.user001", "backend1", "")), ["done"]);
    }

    #[test]
    fn administrator_makes_what_the_backend_does_not() {
        let (first, second) = order();
        let mut host = host();
        host.news(News::Found(Finding::Absent));
        assert_eq!(host.news(News::Backend(Err(Unavailable))), [format!("backend backend{second}")]);
        host.news(News::Backend(Ok(BackendId(second))));
        host.news(News::Barrier(Ok(())));
        let wants = host.news(News::Found(Finding::Absent));
        assert_eq!(
            wants,
            [format!("AdminBackend {{ server: {:?} }}", format!("backend{second}").as_bytes())]
        );
        let mut says = vec![host.news(News::Backend(Ok(BackendId(first))))];
        for n in 1..5 {
            says.push(host.says(first, &format!("RK{n} OK Completed\r\n")));
        }
        let said: Vec<String> = says.concat().iter().map(|line| line.trim().to_owned()).collect();
        let expected = [
            format!("B{first}> RK1 CREATE \"user.user001\""),
            format!("B{first}> RK2 SETQUOTA \"user.user001\" (STORAGE 5000)"),
            format!("B{first}> RK3 CREATE \"user.user001.Drafts\""),
            format!("B{first}> RK4 CREATE \"user.user001.Sent\""),
            format!("B{second}> RK5 SUBSCRIBE \"INBOX\""),
        ];
        assert_eq!(said, expected);
        host.says(second, "RK5 OK Completed\r\n");
        assert_eq!(host.says(second, "RK6 NO Mailbox does not exist\r\n"), ["Barrier"]);
        assert_eq!(host.news(News::Barrier(Err(Unavailable))), ["done"]);
    }

    #[test]
    fn who_comes_second_finds_what_the_first_made() {
        let (first, _) = order();
        let mut host = host();
        host.news(News::Found(Finding::Absent));
        host.news(News::Backend(Ok(BackendId(first))));
        host.news(News::Barrier(Ok(())));
        host.news(News::Found(Finding::Absent));
        host.news(News::Backend(Ok(BackendId(first))));
        assert_eq!(host.says(first, "RK1 NO Mailbox already exists\r\n"), ["Barrier"]);
        assert_eq!(host.news(News::Barrier(Ok(()))), ["done"]);
    }

    #[test]
    fn those_are_meant_who_are_named() {
        let fred = Identity { user: (*b"fred").into(), ..Identity::default() };
        let policy = |names: &[&str]| Autocreate {
            quota_kib: Some(0),
            users: names.iter().map(|name| name.as_bytes().into()).collect(),
            ..Autocreate::default()
        };
        assert!(is_meant(&policy(&["anyone"]), &fred) && is_meant(&policy(&["joe", "fred"]), &fred));
        assert!(!is_meant(&policy(&["joe"]), &fred) && !is_meant(&Autocreate::default(), &fred));
        let admin = Identity { is_admin: true, ..fred };
        assert!(!is_meant(&policy(&["anyone"]), &admin));
    }
}
