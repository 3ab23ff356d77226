use super::*;
use crate::imap::grammar::args::{annotation_args, getmetadata_args, setmetadata_args};
use crate::imap::task::{Line, News, Want};
use crate::imap::testing::{Host, entry, found};
use crate::mailbox::Rights;
use crate::proxy::{BackendId, Finding, Knowledge, ListPage, ListedEntry, Unavailable};

impl Task for Box<dyn Task> {
    fn handle_news(
        &mut self,
        news: News<'_>,
        cx: &crate::imap::task::Context<'_>,
        now: crate::proxy::Instant,
    ) {
        (**self).handle_news(news, cx, now);
    }

    fn handle_line(
        &mut self,
        from: crate::proxy::Side,
        line: &[u8],
        cx: &crate::imap::task::Context<'_>,
        now: crate::proxy::Instant,
    ) -> Line {
        (**self).handle_line(from, line, cx, now)
    }

    fn poll_want(&mut self, cx: &crate::imap::task::Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        (**self).poll_want(cx, out)
    }
}

fn scoped(begin: impl FnOnce(&Scope<'_>) -> Begun) -> Host<Box<dyn Task>> {
    let namespace = Arc::new(Namespace { separator: b'.', alt: false, ..Namespace::default() });
    let identity = Arc::new(Identity { user: (*b"user001").into(), ..Identity::default() });
    Host::new(begin(&Scope { namespace: &namespace, identity: &identity }).ok().unwrap())
}

fn asks(args: &str) -> Host<Box<dyn Task>> {
    scoped(|scope| get(&getmetadata_args(args.as_bytes()).unwrap(), scope))
}

fn page(names: &[(&str, &str)]) -> ListPage {
    let listed = |(name, server): &(&str, &str)| ListedEntry {
        entry: entry(name, server, "anyone\tlrs\t"),
        reserved: false,
        rights: Rights::ALL,
    };
    ListPage { entries: names.iter().map(listed).collect(), next: None, knowledge: Knowledge::Live }
}

#[test]
fn one_mailbox_is_asked_of_its_server_with_the_options() {
    let mut host = asks("(MAXSIZE 10 DEPTH 1) INBOX /private/comment");
    assert_eq!(host.wants(), ["find user.user001"]);
    assert_eq!(host.news(found("user.user001", "backend1", "")), ["backend backend1"]);
    let sent = "B1> A1 GETMETADATA (MAXSIZE 10 DEPTH 1) \"INBOX\" /private/comment\r\n";
    assert_eq!(host.news(News::Backend(Ok(BackendId(1)))), [sent]);
    assert_eq!(host.line(1, "* METADATA INBOX (\"/private/comment\" NIL)\r\n").0, Line::Relay);
    assert_eq!(host.line(1, "A1 OK [METADATA LONGENTRIES 3] Completed\r\n").0, Line::Relay);
}

#[test]
fn server_of_a_mailbox_is_told_from_the_list_as_recorded() {
    let mut host = asks("team02 /shared/vendor/cmu/cyrus-imapd/server");
    assert_eq!(host.wants(), ["find team02"]);
    assert_eq!(host.news(found("team02", "backend2", "")), ["page \"team02\" after \"\""]);
    let wants = host.news(News::Page(&page(&[("team02", "backend2"), ("team02.docs", "backend1")])));
    let told = "C> * METADATA team02 (\"/shared/vendor/cmu/cyrus-imapd/server\" \"backend2\")\r\n";
    assert_eq!(wants, [told, "C> A1 OK Completed\r\n", "done"]);
    let mut absent = asks("nosuch /shared/vendor/cmu/cyrus-imapd/server");
    absent.wants();
    assert_eq!(absent.news(News::Found(Finding::Absent)), ["C> A1 NO Mailbox does not exist\r\n", "done"]);
}

#[test]
fn patterns_are_asked_of_each_server_with_a_match_once() {
    let mut host = asks("(\"team%\" \"user.%\") (/private/comment /shared/comment)");
    host.wants();
    host.news(News::Page(&page(&[("user.user002", "backend2")])));
    let wants = host.news(News::Page(&page(&[
        ("team01", "backend1"),
        ("team02", "backend2"),
        ("team03", "backend1"),
    ])));
    assert_eq!(wants[..2], ["backend backend1", "backend backend2"]);
    let entries = "(/private/comment /shared/comment)";
    let sent = [format!("B1> RK2 GETMETADATA \"team%\" {entries}\r\n")];
    assert_eq!(host.news(News::Backend(Ok(BackendId(1)))), sent);
    let sent = [
        format!("B2> RK3 GETMETADATA \"team%\" {entries}\r\n"),
        format!("B2> RK4 GETMETADATA \"user.%\" {entries}\r\n"),
    ];
    assert_eq!(host.news(News::Backend(Ok(BackendId(2)))), sent);
    assert_eq!(host.line(2, "* METADATA team02 (\"/private/comment\" {3}\r\n").0, Line::Relay);
    assert!(host.says(1, "RK2 OK Completed\r\n").is_empty());
    assert!(host.says(2, "RK4 OK Completed\r\n").is_empty());
    let refused = host.says(2, "RK3 NO Permission denied\r\n");
    assert_eq!(refused, ["C> A1 NO Permission denied\r\n", "done"]);
}

#[test]
fn dead_server_is_named() {
    let mut host = asks("\"team%\" /private/comment");
    host.wants();
    host.news(News::Page(&page(&[("team01", "backend1")])));
    let wants = host.news(News::Backend(Err(Unavailable)));
    assert_eq!(wants, ["C> A1 NO [UNAVAILABLE] no answer of server backend1\r\n", "done"]);
}

#[test]
fn values_reach_the_server_byte_for_byte() {
    let args = setmetadata_args(b"INBOX (/private/comment {4}\r\n{1}\r /private/b \"a\\\"b\")").unwrap();
    let mut host = scoped(|scope| set(&args, scope));
    host.wants();
    host.news(found("user.user001", "backend1", ""));
    let sent = "B1> A1 SETMETADATA \"INBOX\" (/private/comment {4+}\r\n{1}\r /private/b \"a\\\"b\")\r\n";
    assert_eq!(host.news(News::Backend(Ok(BackendId(1)))), [sent]);
    assert_eq!(host.line(1, "A1 NO [METADATA TOOMANY] no\r\n").0, Line::Relay, "a refusal is told");
}

#[test]
fn server_annotations_are_those_of_the_home() {
    let mut host = asks("\"\" /shared/comment");
    assert_eq!(host.wants(), ["find user.user001"]);
    assert_eq!(host.news(found("user.user001", "backend1", "")), ["backend backend1"]);
    let sent = "B1> A1 GETMETADATA \"\" /shared/comment\r\n";
    assert_eq!(host.news(News::Backend(Ok(BackendId(1)))), [sent]);
    let args = setmetadata_args(b"\"\" (/private/comment NIL)").unwrap();
    let mut homeless = scoped(|scope| set(&args, scope));
    homeless.wants();
    assert_eq!(homeless.news(News::Found(Finding::Absent)), ["C> A1 NO Permission denied\r\n", "done"]);
}

#[test]
fn annotations_go_the_same_ways() {
    let args = annotation_args(b"INBOX \"/comment\" \"value.priv\"").unwrap();
    let mut host = scoped(|scope| annotation(b"GETANNOTATION", &args, scope));
    host.wants();
    host.news(found("user.user001", "backend1", ""));
    let sent = "B1> A1 GETANNOTATION \"INBOX\" \"/comment\" \"value.priv\"\r\n";
    assert_eq!(host.news(News::Backend(Ok(BackendId(1)))), [sent]);
}
