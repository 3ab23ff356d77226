//! GETQUOTA and SETQUOTA, for administrators (RFC 9208): to the one server that has the whole tree.
//! GETQUOTAROOT needs no more than the server of its mailbox.

use super::agenda::{Agenda, aside_of, internal, result_line, result_of};
use super::answers::{ABSENT, BEING_MOVED, DENIED, MAY_BE_DONE, UNAVAILABLE, UNREACHABLE, is_elsewhere};
use super::grammar::Status;
use super::grammar::args::SetQuotaArgs;
use super::task::{Context, Line, News, Task, Want};
use crate::proxy::{BackendId, Instant, Knowledge, ListPage, ListQuery, Reserved, Side};
use crate::wire::LiteralStyle;
use crate::wire::quote::astring_out_as;

/// A quota root cannot span servers.
const SPREAD: &[u8] = b"NO This mailbox hierarchy does not exist on a single backend server.";

/// GETQUOTA or SETQUOTA.
#[derive(Debug)]
pub struct QuotaTask {
    /// As typed, without the `+` that creates a root.
    root: Box<[u8]>,
    /// What stands behind the tag, line end included.
    command: Vec<u8>,
    /// The answer when there is no such tree.
    absent: &'static [u8],
    /// The answer when the connection is lost.
    lost: &'static [u8],
    phase: Phase,
    proof: Proof,
    /// The internal name of the root.
    name: Vec<u8>,
    /// Of the mailboxes seen so far.
    server: Option<Box<[u8]>>,
    /// One of those seen so far is being moved, or made.
    moving: Option<Moving>,
    /// The server that was asked, and its word that there is no such tree.
    refused: Option<(Box<[u8]>, Vec<u8>)>,
    agenda: Agenda,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Start,
    ExpectPage,
    ExpectBarrier,
    ExpectBackend,
    Relaying(BackendId),
    Over,
}

/// Where the reserved mailboxes of the tree are.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Moving {
    /// All at this server.
    At(Box<[u8]>),
    /// At several, or at one that is not known.
    Apart,
}

/// Whether what the list has not is proven.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Proof {
    Snapshot,
    Barrier,
}

impl QuotaTask {
    /// Begins a GETQUOTA.
    pub fn get(root: &[u8]) -> QuotaTask {
        let mut command = b"GETQUOTA ".to_vec();
        astring_out_as(&mut command, root, LiteralStyle::NonSynchronising);
        QuotaTask::new(root, command, b"NO Quota root does not exist", UNREACHABLE)
    }

    /// Begins a SETQUOTA. Resources that are not named are the backend's business, as is a `+`.
    pub fn set(args: &SetQuotaArgs<'_>) -> QuotaTask {
        let mut command = b"SETQUOTA ".to_vec();
        astring_out_as(&mut command, &args.root, LiteralStyle::NonSynchronising);
        command.extend_from_slice(b" (");
        for (n, resource) in args.resources.iter().enumerate() {
            command.extend_from_slice(if n == 0 { b"" } else { b" " });
            command.extend_from_slice(resource.name);
            match resource.limit {
                Some(limit) => command.extend_from_slice(format!(" {limit}").as_bytes()),
                None => command.extend_from_slice(b" -1"),
            }
        }
        command.push(b')');
        let root = args.root.strip_prefix(b"+").unwrap_or(&args.root);
        QuotaTask::new(root, command, ABSENT, MAY_BE_DONE)
    }

    fn new(root: &[u8], mut command: Vec<u8>, absent: &'static [u8], lost: &'static [u8]) -> QuotaTask {
        command.extend_from_slice(b"\r\n");
        QuotaTask {
            root: root.into(),
            command,
            absent,
            lost,
            phase: Phase::Start,
            proof: Proof::Snapshot,
            name: Vec::new(),
            server: None,
            moving: None,
            refused: None,
            agenda: Agenda::default(),
        }
    }

    fn start(&mut self, cx: &Context<'_>) {
        if !cx.identity.is_admin {
            return self.finish(cx, DENIED);
        }
        match internal(&self.root, cx) {
            Ok(name) => {
                self.name = name;
                self.ask_page(Box::default());
            }
            Err(_) => self.finish(cx, self.absent),
        }
    }

    fn ask_page(&mut self, after: Box<[u8]>) {
        let prefix = self.name.as_slice().into();
        self.agenda.want(Want::Page(ListQuery {
            after,
            prefix,
            visible_to: None,
            reserved: Reserved::Shown,
        }));
        self.phase = Phase::ExpectPage;
    }

    fn handle_page(&mut self, page: &ListPage, cx: &Context<'_>) {
        for listed in &page.entries {
            let name = &listed.entry.name;
            let is_below = matches!(name.get(self.name.len()), None | Some(b'.'));
            if !is_below {
                continue;
            }
            match (listed.entry.location.server(), &self.server) {
                (server, _) if listed.reserved => self.note_moving(server),
                (Some(server), Some(seen)) if **seen != *server => return self.is_spread(cx),
                (Some(server), None) => self.server = Some(server.into()),
                (Some(_) | None, _) => {}
            }
        }
        match &page.next {
            Some(next) => self.ask_page(next.clone()),
            None => self.handle_tree(page.knowledge, cx),
        }
    }

    fn note_moving(&mut self, server: Option<&[u8]>) {
        self.moving = Some(match (&self.moving, server) {
            (None, Some(server)) => Moving::At(server.into()),
            (Some(Moving::At(seen)), Some(server)) if **seen == *server => Moving::At(server.into()),
            (Some(_), _) | (None, None) => Moving::Apart,
        });
    }

    /// Two servers have mailboxes of the tree: so is it, or the pages are of before and behind a move.
    fn is_spread(&mut self, cx: &Context<'_>) {
        match self.proof {
            Proof::Snapshot => self.want_barrier(),
            Proof::Barrier => self.finish(cx, SPREAD),
        }
    }

    /// All rows of the tree were seen. Where some are being moved it is asked for at the server of all, which
    /// knows whether it still has them.
    fn handle_tree(&mut self, knowledge: Knowledge, cx: &Context<'_>) {
        let server = match (&self.server, &self.moving) {
            (Some(server), Some(Moving::At(other))) if server != other => None,
            (_, Some(Moving::Apart)) => None,
            (Some(server), Some(Moving::At(_)) | None) | (None, Some(Moving::At(server))) => Some(server),
            (None, None) if self.refused.is_some() => return self.finish_refused(cx),
            (None, None) => return self.is_absent(knowledge, cx),
        };
        let Some(server) = server else { return self.is_apart(cx) };
        if self.refused.as_ref().is_some_and(|(asked, _)| asked == server) {
            return self.finish_refused(cx);
        }
        self.agenda.want(Want::Backend { server: server.to_vec() });
        self.phase = Phase::ExpectBackend;
    }

    /// Mailboxes are being moved, or are as far as the list has heard.
    fn is_apart(&mut self, cx: &Context<'_>) {
        match self.proof {
            Proof::Snapshot => self.want_barrier(),
            Proof::Barrier => self.finish(cx, BEING_MOVED),
        }
    }

    fn is_absent(&mut self, knowledge: Knowledge, cx: &Context<'_>) {
        match (knowledge, self.proof) {
            (Knowledge::NeverSynced | Knowledge::Stale, _) => self.finish(cx, UNAVAILABLE),
            (Knowledge::Live, Proof::Barrier) => self.finish(cx, self.absent),
            (Knowledge::Live, Proof::Snapshot) => self.want_barrier(),
        }
    }

    fn want_barrier(&mut self) {
        self.agenda.want(Want::Barrier);
        self.phase = Phase::ExpectBarrier;
    }

    /// The server's word is the answer, but for that of one which is giving the tree away.
    fn finish_refused(&mut self, cx: &Context<'_>) {
        match self.refused.take() {
            _ if self.moving.is_some() => self.finish(cx, BEING_MOVED),
            Some((_, result)) => self.finish(cx, &result),
            None => self.finish(cx, self.absent),
        }
    }

    /// The server of the tree says that it has none: once more, behind a barrier.
    fn look_again(&mut self, backend: BackendId, result: Vec<u8>, cx: &Context<'_>) {
        self.refused = cx.server(backend).map(|server| (server.into(), result));
        self.want_barrier();
    }

    fn finish(&mut self, cx: &Context<'_>, result: &[u8]) {
        self.agenda.finish(cx, result);
        self.phase = Phase::Over;
    }
}

impl Task for QuotaTask {
    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, _now: Instant) {
        match (self.phase, news) {
            (Phase::ExpectPage, News::Page(page)) => self.handle_page(page, cx),
            (Phase::ExpectBarrier, News::Barrier(Ok(()))) => {
                (self.proof, self.server, self.moving) = (Proof::Barrier, None, None);
                self.ask_page(Box::default());
            }
            (Phase::ExpectBarrier, News::Barrier(Err(_))) => self.finish(cx, UNAVAILABLE),
            (Phase::ExpectBackend, News::Backend(Ok(backend))) => {
                let line = [cx.tag, b" ", &self.command].concat();
                self.agenda.send(backend, line);
                self.phase = Phase::Relaying(backend);
            }
            (Phase::ExpectBackend, News::Backend(Err(_))) => self.finish(cx, UNREACHABLE),
            (Phase::Relaying(backend), News::Lost(lost)) if lost == backend => {
                self.finish(cx, self.lost);
            }
            (
                Phase::Start
                | Phase::ExpectPage
                | Phase::ExpectBarrier
                | Phase::ExpectBackend
                | Phase::Relaying(_)
                | Phase::Over,
                _,
            ) => {}
        }
    }

    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, _now: Instant) -> Line {
        let Side::Backend(backend) = from else { return Line::Hold };
        if self.phase != Phase::Relaying(backend) {
            return aside_of(backend, line, cx);
        }
        let Some((status, text)) = result_of(line, cx.tag) else { return Line::Relay };
        let is_absent = is_elsewhere(text) || text.starts_with(b"Quota root does not exist");
        if status == Status::No && is_absent {
            match self.refused {
                None => self.look_again(backend, result_line(status, text), cx),
                // It was at another server a moment ago.
                Some(_) => self.finish(cx, BEING_MOVED),
            }
            return Line::Drop;
        }
        self.agenda.want(Want::Done);
        self.phase = Phase::Over;
        Line::Relay
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        if self.phase == Phase::Start {
            self.start(cx);
        }
        self.agenda.poll(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::grammar::args::setquota_args;
    use crate::imap::testing::{Host, entry};
    use crate::mailbox::Rights;
    use crate::proxy::ListedEntry;

    fn page(names: &[(&str, &str)], knowledge: Knowledge) -> ListPage {
        let listed = |(name, server): &(&str, &str)| ListedEntry {
            entry: entry(name, server, ""),
            reserved: false,
            rights: Rights::ALL,
        };
        ListPage { entries: names.iter().map(listed).collect(), next: None, knowledge }
    }

    #[test]
    fn command_goes_to_the_server_of_the_tree() {
        let args = setquota_args(b"user.user010 (STORAGE 5000 MESSAGE -1)").unwrap();
        let mut host = Host::new(QuotaTask::set(&args)).admin();
        assert_eq!(host.wants(), ["page \"user.user010\" after \"\""]);
        let tree =
            [("user.user010", "backend1"), ("user.user010.Sub", "backend1"), ("user.user0100", "backend2")];
        assert_eq!(host.news(News::Page(&page(&tree, Knowledge::Stale))), ["backend backend1"]);
        let sent = ["B1> A1 SETQUOTA user.user010 (STORAGE 5000 MESSAGE -1)\r\n"];
        assert_eq!(host.news(News::Backend(Ok(BackendId(1)))), sent);
        assert_eq!(host.line(1, "A1 OK Completed\r\n"), (Line::Relay, vec!["done".to_owned()]));
    }

    #[test]
    fn only_what_changes_something_may_have_been_done() {
        let lost = |task: QuotaTask| {
            let mut host = Host::new(task).admin();
            host.wants();
            host.news(News::Page(&page(&[("user.a", "backend1")], Knowledge::Live)));
            host.news(News::Backend(Ok(BackendId(1))));
            host.news(News::Lost(BackendId(1)))
        };
        let wants = lost(QuotaTask::get(b"user.a"));
        assert_eq!(wants, ["C> A1 NO [UNAVAILABLE] Server(s) unavailable to complete operation\r\n", "done"]);
        let wants = lost(QuotaTask::set(&setquota_args(b"user.a (STORAGE 5000)").unwrap()));
        assert!(wants[0].contains("may have been done"), "{wants:?}");
    }

    #[test]
    fn tree_on_two_servers_is_refused() {
        let mut host = Host::new(QuotaTask::get(b"team")).admin();
        host.wants();
        let tree = [("team", "backend1"), ("team.a", "backend2")];
        assert_eq!(host.news(News::Page(&page(&tree, Knowledge::Live))), ["Barrier"], "or it moves");
        host.news(News::Barrier(Ok(())));
        let wants = host.news(News::Page(&page(&tree, Knowledge::Live)));
        assert!(wants[0].contains("does not exist on a single backend server"), "{wants:?}");
    }

    #[test]
    fn absence_is_proven_before_it_is_told() {
        let mut host = Host::new(QuotaTask::get(b"nosuch")).admin();
        host.wants();
        assert_eq!(host.news(News::Page(&page(&[], Knowledge::Live))), ["Barrier"]);
        assert_eq!(host.news(News::Barrier(Ok(()))), ["page \"nosuch\" after \"\""]);
        let wants = host.news(News::Page(&page(&[], Knowledge::Live)));
        assert_eq!(wants, ["C> A1 NO Quota root does not exist\r\n", "done"]);
        let mut stale = Host::new(QuotaTask::get(b"nosuch")).admin();
        stale.wants();
        assert!(stale.news(News::Page(&page(&[], Knowledge::Stale)))[0].contains("[UNAVAILABLE]"));
    }

    #[test]
    fn tree_that_its_server_has_not_is_looked_for_behind_a_barrier() {
        let asked = || {
            let mut host = Host::new(QuotaTask::get(b"user.user010")).admin();
            host.wants();
            host.news(News::Page(&page(&[("user.user010", "backend1")], Knowledge::Live)));
            host.news(News::Backend(Ok(BackendId(1))));
            assert_eq!(host.says(1, "A1 NO Quota root does not exist\r\n"), ["Barrier"]);
            assert_eq!(host.news(News::Barrier(Ok(()))), ["page \"user.user010\" after \"\""]);
            host
        };
        let mut moved = asked();
        let wants = moved.news(News::Page(&page(&[("user.user010", "backend2")], Knowledge::Live)));
        assert_eq!(wants, ["backend backend2"]);
        assert_eq!(moved.news(News::Backend(Ok(BackendId(2)))), ["B2> A1 GETQUOTA user.user010\r\n"]);
        let mut same = asked();
        let wants = same.news(News::Page(&page(&[("user.user010", "backend1")], Knowledge::Live)));
        assert_eq!(wants, ["C> A1 NO Quota root does not exist\r\n", "done"]);
    }

    fn moving(names: &[(&str, &str)], reserved: &[&str]) -> ListPage {
        let mut page = page(names, Knowledge::Live);
        let moves = |listed: &ListedEntry| reserved.iter().any(|name| *listed.entry.name == *name.as_bytes());
        page.entries.iter_mut().for_each(|listed| listed.reserved = moves(listed));
        page
    }

    #[test]
    fn tree_that_moves_is_asked_for_where_it_is_and_not_called_absent() {
        let mut host = Host::new(QuotaTask::get(b"user.a")).admin();
        host.wants();
        let tree = moving(&[("user.a", "backend1"), ("user.a.Sub", "backend1")], &["user.a"]);
        assert_eq!(host.news(News::Page(&tree)), ["backend backend1"]);
        host.news(News::Backend(Ok(BackendId(1))));
        assert_eq!(host.says(1, "A1 NO [REFERRAL imap://;AUTH=*@x/user.a] Remote mailbox.\r\n"), ["Barrier"]);
        host.news(News::Barrier(Ok(())));
        let wants = host.news(News::Page(&tree));
        assert!(wants[0].starts_with("C> A1 NO [UNAVAILABLE]"), "{wants:?}");
    }

    #[test]
    fn word_of_a_server_is_not_the_last_while_the_list_is_not_known() {
        let mut host = Host::new(QuotaTask::get(b"user.a")).admin();
        host.wants();
        host.news(News::Page(&page(&[("user.a", "backend1")], Knowledge::Stale)));
        host.news(News::Backend(Ok(BackendId(1))));
        assert_eq!(host.says(1, "A1 NO Mailbox does not exist\r\n"), ["Barrier"]);
        let wants = host.news(News::Barrier(Err(crate::proxy::Unavailable)));
        assert!(wants[0].starts_with("C> A1 NO [UNAVAILABLE]"), "{wants:?}");
    }

    #[test]
    fn tree_that_is_half_moved_is_refused_for_a_moment() {
        let mut host = Host::new(QuotaTask::get(b"user.a")).admin();
        host.wants();
        let half = moving(&[("user.a", "backend2"), ("user.a.Sub", "backend1")], &["user.a.Sub"]);
        assert_eq!(host.news(News::Page(&half)), ["Barrier"]);
        host.news(News::Barrier(Ok(())));
        let wants = host.news(News::Page(&half));
        assert!(wants[0].starts_with("C> A1 NO [UNAVAILABLE]"), "{wants:?}");
    }

    #[test]
    fn users_are_denied() {
        let mut host = Host::new(QuotaTask::get(b"user.user001"));
        assert_eq!(host.wants(), ["C> A1 NO Permission denied\r\n", "done"]);
    }
}
