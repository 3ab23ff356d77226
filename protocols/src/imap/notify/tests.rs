//! What a plan may cost.

use super::*;
use crate::imap::grammar::{NotifyArgs, notify_args};
use crate::imap::testing::{CYRUS, Host, entry};
use crate::mailbox::Rights;
use crate::proxy::{Knowledge, ListPage, ListedEntry};

fn page(rows: &[(String, String)], next: Option<&str>, knowledge: Knowledge) -> ListPage {
    let listed = |(name, server): &(String, String)| ListedEntry {
        entry: entry(name, server, ""),
        reserved: false,
        rights: Rights::ALL,
    };
    let next = next.map(|next| next.as_bytes().into());
    ListPage { entries: rows.iter().map(listed).collect(), next, knowledge }
}

/// `NOTIFY SET` with these groups, before its first page.
fn asked(groups: &str) -> Host<Notify> {
    let Ok(NotifyArgs::Set { status, groups }) = notify_args(groups.as_bytes()) else { panic!("{groups}") };
    Host::new(Notify::set(status, &groups, |typed| Some(typed.to_vec())))
}

fn rows(count: usize, row: impl Fn(usize) -> (String, String)) -> Vec<(String, String)> {
    (0..count).map(row).collect()
}

const SUBTREE: &str = "SET (subtree team (MailboxName))";
const TOO_MUCH: &str = "C> A1 NO [NOTIFICATIONOVERFLOW] too many servers or mailboxes to watch\r\n";

#[test]
fn more_servers_than_a_client_may_cost_are_refused_before_any_is_asked() {
    let mut host = asked(SUBTREE);
    assert_eq!(host.wants(), ["page \"team\" after \"\""]);
    let many = rows(17, |n| (format!("team.{n:02}"), format!("be{n}")));
    let wants = host.news(News::Page(&page(&many, None, Knowledge::Live)));
    assert_eq!(wants, [TOO_MUCH, "done"]);
    let mut host = asked(SUBTREE);
    host.wants();
    let wants = host.news(News::Page(&page(&many[..16], None, Knowledge::Live)));
    assert_eq!(wants.len(), 16, "{wants:?}");
}

#[test]
fn more_names_than_a_command_may_hold_are_refused() {
    let mut host = asked(SUBTREE);
    host.wants();
    // Without a mailbox above them each is told by its name.
    let many = rows(400, |n| (format!("team.{n:03}{}", "x".repeat(20)), "backend1".to_owned()));
    assert_eq!(host.news(News::Page(&page(&many, None, Knowledge::Live))), [TOO_MUCH, "done"]);
}

#[test]
fn longer_walk_than_is_made_for_one_client_is_refused() {
    let mut host = asked(SUBTREE);
    host.wants();
    let many = rows(10_000, |n| (format!("team.{n:05}"), "backend1".to_owned()));
    for _ in 0..2 {
        let wants = host.news(News::Page(&page(&many, Some("team.9"), Knowledge::Live)));
        assert_eq!(wants, ["page \"team\" after \"team.9\""]);
    }
    assert_eq!(host.news(News::Page(&page(&many, Some("team.9"), Knowledge::Live))), [TOO_MUCH, "done"]);
}

#[test]
fn walk_ends_behind_the_last_mailbox_that_is_meant() {
    let mut host = asked("SET (personal (MessageNew MessageExpunge))");
    assert_eq!(host.wants(), ["page \"user.user001\" after \"\""]);
    let own = rows(1, |_| ("user.user001".to_owned(), "backend1".to_owned()));
    let wants = host.news(News::Page(&page(&own, Some("user.user0010"), Knowledge::Live)));
    assert_eq!(wants, ["apart backend1"]);
}

#[test]
fn list_that_was_never_seen_is_no_ground_for_a_plan() {
    let mut host = asked(SUBTREE);
    host.wants();
    let wants = host.news(News::Page(&page(&[], None, Knowledge::NeverSynced)));
    assert_eq!(wants, ["C> A1 NO [UNAVAILABLE] mailbox temporarily unavailable\r\n", "done"]);
}

#[test]
fn subscriptions_beyond_what_is_looked_up_are_refused() {
    let mut host = asked("SET (subscribed (MessageNew MessageExpunge))");
    assert_eq!(host.wants(), ["find user.user001"]);
    host.offer(1, &[CYRUS, b" NOTIFY"].concat());
    host.news(crate::imap::testing::found("user.user001", "backend1", ""));
    assert_eq!(host.news(News::Backend(Ok(BackendId(1)))), ["B1> RK98 LSUB \"\" \"*\"\r\n"]);
    for n in 0..200 {
        assert!(host.says(1, &format!("* LSUB () \".\" team{n:03}\r\n")).is_empty());
    }
    assert_eq!(host.says(1, "RK98 OK Completed\r\n"), [TOO_MUCH, "done"]);
}
