//! GETQUOTA and SETQUOTA, for administrators (RFC 9208): to the one server that has the whole tree.
//! GETQUOTAROOT needs no more than the server of its mailbox.

use super::agenda::{
    Agenda, DENIED, NO_MAILBOX, SERVER_UNAVAILABLE, UNAVAILABLE, aside_of, internal, result_line, result_of,
};
use super::grammar::Status;
use super::grammar::args::SetQuotaArgs;
use super::route::is_elsewhere;
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
    phase: Phase,
    proof: Proof,
    /// The internal name of the root.
    name: Vec<u8>,
    /// Of the mailboxes seen so far.
    server: Option<Box<[u8]>>,
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
        QuotaTask::new(root, command, b"NO Quota root does not exist")
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
        QuotaTask::new(root, command, NO_MAILBOX)
    }

    fn new(root: &[u8], mut command: Vec<u8>, absent: &'static [u8]) -> QuotaTask {
        command.extend_from_slice(b"\r\n");
        QuotaTask {
            root: root.into(),
            command,
            absent,
            phase: Phase::Start,
            proof: Proof::Snapshot,
            name: Vec::new(),
            server: None,
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
            reserved: Reserved::Hidden,
        }));
        self.phase = Phase::ExpectPage;
    }

    fn handle_page(&mut self, page: &ListPage, cx: &Context<'_>) {
        for listed in &page.entries {
            let name = &listed.entry.name;
            let is_below = matches!(name.get(self.name.len()), None | Some(b'.'));
            let Some(server) = listed.entry.location.server().filter(|_| is_below) else { continue };
            match &self.server {
                Some(seen) if **seen != *server => return self.finish(cx, SPREAD),
                Some(_) => {}
                None => self.server = Some(server.into()),
            }
        }
        match (&page.next, &self.server, page.knowledge) {
            (Some(next), _, _) => self.ask_page(next.clone()),
            (None, Some(server), _) => {
                if let Some((_, result)) = self.refused.take_if(|(asked, _)| asked == server) {
                    return self.finish(cx, &result);
                }
                self.agenda.want(Want::Backend { server: server.to_vec() });
                self.phase = Phase::ExpectBackend;
            }
            (None, None, _) if self.refused.is_some() => self.finish_refused(cx),
            (None, None, Knowledge::NeverSynced | Knowledge::Stale) => self.finish(cx, UNAVAILABLE),
            (None, None, Knowledge::Live) if self.proof == Proof::Barrier => self.finish(cx, self.absent),
            (None, None, Knowledge::Live) => {
                self.agenda.want(Want::Barrier);
                self.phase = Phase::ExpectBarrier;
            }
        }
    }

    fn finish_refused(&mut self, cx: &Context<'_>) {
        let result = self.refused.take().map_or_else(|| self.absent.to_vec(), |(_, result)| result);
        self.finish(cx, &result);
    }

    /// The server of the tree says that it has none: once more, behind a barrier.
    fn look_again(&mut self, backend: BackendId, result: Vec<u8>, cx: &Context<'_>) {
        self.refused = cx.server(backend).map(|server| (server.into(), result));
        self.agenda.want(Want::Barrier);
        self.phase = Phase::ExpectBarrier;
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
                (self.proof, self.server) = (Proof::Barrier, None);
                self.ask_page(Box::default());
            }
            (Phase::ExpectBarrier, News::Barrier(Err(_))) if self.refused.is_some() => {
                self.finish_refused(cx);
            }
            (Phase::ExpectBarrier, News::Barrier(Err(_))) => self.finish(cx, UNAVAILABLE),
            (Phase::ExpectBackend, News::Backend(Ok(backend))) => {
                let line = [cx.tag, b" ", &self.command].concat();
                self.agenda.send(backend, line);
                self.phase = Phase::Relaying(backend);
            }
            (Phase::ExpectBackend, News::Backend(Err(_))) => self.finish(cx, SERVER_UNAVAILABLE),
            (Phase::Relaying(backend), News::Lost(lost)) if lost == backend => {
                self.finish(
                    cx,
                    b"NO [UNAVAILABLE] connection to the server was lost; the command may have been done",
                );
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
        if status == Status::No && is_absent && self.proof == Proof::Snapshot {
            self.look_again(backend, result_line(status, text), cx);
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
    fn tree_on_two_servers_is_refused() {
        let mut host = Host::new(QuotaTask::get(b"team")).admin();
        host.wants();
        let tree = [("team", "backend1"), ("team.a", "backend2")];
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

    #[test]
    fn users_are_denied() {
        let mut host = Host::new(QuotaTask::get(b"user.user001"));
        assert_eq!(host.wants(), ["C> A1 NO Permission denied\r\n", "done"]);
    }
}
