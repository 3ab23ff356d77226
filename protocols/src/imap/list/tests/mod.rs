//! LISTs over the list of the recorded murder.

mod fan;
mod home;
mod rows;

use super::*;
use crate::imap::backend::Backend;
use crate::imap::grammar::list_args;
use crate::imap::offer::Offer;
use crate::imap::testing::{Host, entry, found};
use crate::mailbox::{Identity, Rights, acl, names};
use crate::proxy::{Finding, ListQuery, ListedEntry, Reserved, Unavailable};

/// Bytes of a write from which on the driver tells when they are gone.
const DRAINED_BYTES_MIN: usize = 8 * 1024;

/// The mailboxes of the recorded murder: name, server, ACL.
const SEED: &[(&str, &str, &str)] = &[
    ("team01", "backend1", "anyone\tlrswipkxtecd\t"),
    ("team01.docs", "backend1", "anyone\tlrswipkxtecd\t"),
    ("team02", "backend2", "anyone\tlrswipkxtecd\t"),
    ("team02.docs", "backend2", "anyone\tlrswipkxtecd\t"),
    ("user.user001", "backend1", "user001\tlrswipkxtecdan\t"),
    ("user.user001.#calendars", "backend1", "user001\tlrswipkxtecdan\t"),
    ("user.user001.Drafts", "backend1", "user001\tlrswipkxtecdan\t"),
    ("user.user001.Sent", "backend1", "user001\tlrswipkxtecdan\t"),
    ("user.user001.Trash", "backend1", "user001\tlrswipkxtecdan\t"),
    ("user.user001.Work", "backend1", "user001\tlrswipkxtecdan\t"),
    ("user.user001.Work.Projects", "backend1", "user001\tlrswipkxtecdan\t"),
    ("user.user0010", "backend2", "user0010\tlrswipkxtecdan\t"),
    ("user.user002", "backend2", "user002\tlrswipkxtecdan\t"),
    ("user.user002.Sent", "backend2", "user002\tlrswipkxtecdan\t"),
    ("DELETED.team02.old.6B0206B0", "backend2", "anyone\tlr\t"),
    ("DELETED.user.user001.Direct.6B0206B0", "backend1", "user001\tlrswipkxtecdan\t"),
];

/// Answers a page as the engine does, `names_max` names at a time.
fn page(
    host: &Host<ListTask>,
    extra: &[(&str, &str, &str)],
    query: &ListQuery,
    names_max: usize,
) -> ListPage {
    let mut all: Vec<_> = SEED.iter().chain(extra).collect();
    all.sort_by(|a, b| names::compare(a.0.as_bytes(), b.0.as_bytes()));
    let mut entries = Vec::new();
    let mut next = None;
    let looked = all.into_iter().filter(|(name, ..)| {
        name.as_bytes().starts_with(&query.prefix)
            && (query.after.is_empty() || names::compare(name.as_bytes(), &query.after).is_gt())
    });
    for (n, (name, server, acl)) in looked.enumerate() {
        if n == names_max {
            break;
        }
        let entry = entry(name, server, acl);
        let rights = acl::rights(&entry.acl, &entry.name, &host.identity, &host.config.acl);
        next = Some(entry.name.clone());
        if rights.contains(Rights::L) {
            entries.push(ListedEntry { entry, reserved: false, rights });
        }
    }
    let is_full = next.is_some() && names_max != usize::MAX;
    ListPage { entries, next: next.filter(|_| is_full), knowledge: Knowledge::Live }
}

/// Runs a LIST and gives what the client sees; other wants are answered by `answer`.
fn run(
    mut host: Host<ListTask>,
    extra: &[(&str, &str, &str)],
    names_max: usize,
    mut answer: impl FnMut(&mut Host<ListTask>, &str) -> Vec<String>,
) -> Vec<String> {
    let mut client = String::new();
    let mut wants: VecDeque<String> = host.wants().into();
    let mut pages = 0;
    while let Some(want) = wants.pop_front() {
        if let Some(bytes) = want.strip_prefix("C> ") {
            assert!(bytes.len() <= AUTHORED_BYTES_MAX);
            client.push_str(bytes);
            // The driver tells of long writes only.
            if bytes.len() >= DRAINED_BYTES_MIN && wants.is_empty() {
                wants.extend(host.news(News::Drained(Side::Client)));
            }
        } else if want.starts_with("page ") {
            pages += 1;
            assert!(pages < 1000, "no end of pages");
            let query = host.task.walk.as_ref().and_then(Walk::poll_query).unwrap();
            let page = page(&host, extra, &query, names_max);
            wants.extend(host.news(News::Page(&page)));
        } else if want.starts_with("Wake(") || want.starts_with("Keep(") {
            continue;
        } else if want != "done" {
            let more = answer(&mut host, &want);
            for want in more {
                match want.strip_prefix("relay ") {
                    Some(line) => client.push_str(&line[1..line.len() - 1].replace("\\r\\n", "\r\n")),
                    None => wants.push_back(want),
                }
            }
        }
    }
    client.lines().map(str::to_owned).collect()
}

fn host(args: &str) -> Host<ListTask> {
    Host::new(ListTask::new(Word::List, &list_args(args.as_bytes()).unwrap()))
}

fn plain(host: Host<ListTask>, extra: &[(&str, &str, &str)], names_max: usize) -> Vec<String> {
    run(host, extra, names_max, |_, want| panic!("unexpected {want}"))
}

/// Checks the names and attributes of an answer, whatever the size of the pages.
fn expect(make: impl Fn() -> Host<ListTask>, extra: &[(&str, &str, &str)], rows: &[&str]) {
    for names_max in [1, 2, 3, 5, usize::MAX] {
        let mut lines = plain(make(), extra, names_max);
        assert_eq!(lines.pop().as_deref(), Some("A1 OK Completed"));
        assert_eq!(lines, rows, "{names_max} names a page");
    }
}

fn panic_unless_wake(want: &str) -> Vec<String> {
    assert!(want.starts_with("Wake"), "unexpected {want}");
    Vec::new()
}
