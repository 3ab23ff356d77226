use super::*;
use crate::imap::backend::Backend;
use crate::imap::grammar::list_args;
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

#[test]
fn star_lists_own_tree_then_shared_as_recorded() {
    let rows = [
        r#"* LIST (\HasChildren) "." INBOX"#,
        r#"* LIST (\HasNoChildren) "." INBOX.Drafts"#,
        r#"* LIST (\HasNoChildren) "." INBOX.Sent"#,
        r#"* LIST (\HasNoChildren) "." INBOX.Trash"#,
        r#"* LIST (\HasChildren) "." INBOX.Work"#,
        r#"* LIST (\HasNoChildren) "." INBOX.Work.Projects"#,
        r#"* LIST (\HasChildren) "." team01"#,
        r#"* LIST (\HasNoChildren) "." team01.docs"#,
        r#"* LIST (\HasChildren) "." team02"#,
        r#"* LIST (\HasNoChildren) "." team02.docs"#,
    ];
    expect(|| host(r#""" "*""#), &[], &rows);
}

#[test]
fn percent_lists_one_level_as_recorded() {
    let rows = [
        r#"* LIST (\HasChildren) "." INBOX"#,
        r#"* LIST (\HasChildren) "." team01"#,
        r#"* LIST (\HasChildren) "." team02"#,
    ];
    expect(|| host(r#""" "%""#), &[], &rows);
    let below = [
        r#"* LIST (\HasNoChildren) "." INBOX.Drafts"#,
        r#"* LIST (\HasNoChildren) "." INBOX.Sent"#,
        r#"* LIST (\HasNoChildren) "." INBOX.Trash"#,
        r#"* LIST (\HasChildren) "." INBOX.Work"#,
    ];
    expect(|| host(r#""" "INBOX.%""#), &[], &below);
    expect(|| host(r#""inbox." "%""#), &[], &below);
    expect(|| host(r#""user." "%""#), &[], &[]);
    expect(|| host(r#""" INBOX"#), &[], &rows[..1]);
    expect(|| host(r#""" team%"#), &[], &rows[1..]);
    expect(|| host(r#""" ("team02" "inbox")"#), &[], &[rows[0], rows[2]]);
}

#[test]
fn other_users_mailbox_shows_its_parent_once() {
    let shared = [
        ("user.user003", "backend1", "user003\tlrs\tuser001\tlrs\t"),
        ("user.user003.a.b", "backend1", "user001\tlr\t"),
    ];
    let rows = [
        r#"* LIST (\HasChildren) "." INBOX"#,
        r#"* LIST (\Noselect \HasChildren) "." user"#,
        r#"* LIST (\HasChildren) "." team01"#,
        r#"* LIST (\HasChildren) "." team02"#,
    ];
    expect(|| host(r#""" "%""#), &shared, &rows);
    expect(|| host(r#""" "user""#), &shared, &rows[1..2]);
    // "If the "%" wildcard is the last character of a mailbox name argument, matching levels of hierarchy
    // are also returned" (RFC 3501 section 6.3.8), whatever stands before it.
    let levels = [
        r#"* LIST (\Noselect \HasChildren) "." user"#,
        r#"* LIST (\HasChildren) "." user.user003"#,
        r#"* LIST (\Noselect \HasChildren) "." user.user003.a"#,
        r#"* LIST (\HasNoChildren) "." user.user003.a.b"#,
    ];
    expect(|| host(r#""" "user*%""#), &shared, &levels);
    expect(|| host(r#""" "user%*""#), &shared, &[levels[1], levels[3]]);
    expect(|| host(r#""" "user.%""#), &shared, &[r#"* LIST (\HasChildren) "." user.user003"#]);
    expect(
        || host(r#""" "user.user003.%""#),
        &shared,
        &[r#"* LIST (\Noselect \HasChildren) "." user.user003.a"#],
    );
    let star =
        [r#"* LIST (\HasChildren) "." user.user003"#, r#"* LIST (\HasNoChildren) "." user.user003.a.b"#];
    expect(|| host(r#""" "user*""#), &shared, &star);
}

#[test]
fn administrators_see_all_names_and_deleted_ones() {
    let rows = [
        r#"* LIST (\Noselect \HasChildren) "." user"#,
        r#"* LIST (\Noselect \HasChildren) "." DELETED"#,
        r#"* LIST (\HasChildren) "." team01"#,
        r#"* LIST (\HasChildren) "." team02"#,
    ];
    expect(|| host(r#""" "%""#).admin(), &[], &rows);
    let users = [
        r#"* LIST (\HasChildren) "." user.user001"#,
        r#"* LIST (\HasNoChildren) "." user.user0010"#,
        r#"* LIST (\HasChildren) "." user.user002"#,
    ];
    expect(|| host(r#""" user.%"#).admin(), &[], &users);
    let deleted = [
        r#"* LIST (\HasNoChildren) "." DELETED.team02.old.6B0206B0"#,
        r#"* LIST (\HasNoChildren) "." DELETED.user.user001.Direct.6B0206B0"#,
    ];
    expect(|| host(r#""" DELETED.*"#).admin(), &[], &deleted);
}

#[test]
fn one_level_of_many_names_is_read_by_leaps() {
    let mut host = host(r#""" user.%"#).admin();
    let owned: Vec<String> = (0..400).map(|n| format!("user.user002.f{n:03}.sub")).collect();
    let extra: Vec<_> = owned.iter().map(|name| (name.as_str(), "backend1", "")).collect();
    let (mut pages, mut wants) = (0, host.wants());
    while wants.iter().any(|want| want.starts_with("page ")) {
        pages += 1;
        let query = host.task.walk.as_ref().and_then(Walk::poll_query).unwrap();
        let page = page(&host, &extra, &query, 10);
        wants = host.news(News::Page(&page));
    }
    assert!(pages < 12, "{pages} pages of 10 names each for three rows");
}

#[test]
fn alternate_namespace_as_recorded() {
    let make = |args: &str| {
        let mut host = host(args);
        let namespace = Arc::make_mut(&mut host.config.namespace);
        (namespace.alt, namespace.separator) = (true, b'/');
        host
    };
    let rows = [
        r#"* LIST (\HasNoChildren) "/" INBOX"#,
        r#"* LIST (\HasNoChildren) "/" Drafts"#,
        r#"* LIST (\HasNoChildren) "/" Sent"#,
        r#"* LIST (\HasNoChildren) "/" Trash"#,
        r#"* LIST (\HasChildren) "/" Work"#,
        r#"* LIST (\HasNoChildren) "/" Work/Projects"#,
        r#"* LIST (\HasChildren) "/" "Shared Folders/team01""#,
        r#"* LIST (\HasNoChildren) "/" "Shared Folders/team01/docs""#,
        r#"* LIST (\HasChildren) "/" "Shared Folders/team02""#,
        r#"* LIST (\HasNoChildren) "/" "Shared Folders/team02/docs""#,
    ];
    expect(|| make(r#""" *"#), &[], &rows);
    let top = [
        rows[0],
        rows[1],
        rows[2],
        rows[3],
        rows[4],
        r#"* LIST (\Noselect \HasChildren) "/" "Shared Folders""#,
    ];
    expect(|| make(r#""" %"#), &[], &top);
    expect(|| make(r#""" "Other Users/%""#), &[], &[]);
    let odd = [
        ("user.user001.INBOX", "backend1", "user001\tlrs\t"),
        ("user.user001.INBOX.x", "backend1", "user001\tlrs\t"),
    ];
    let inbox = [r#"* LIST (\HasChildren) "/" INBOX"#, r#"* LIST (\HasNoChildren) "/" INBOX/x"#];
    expect(|| make(r#""" INBOX*"#), &odd, &inbox);
    let odd_one = [r#"* LIST (\Noinferiors \HasNoChildren) "/" "Alt Folders/INBOX""#];
    expect(|| make(r#""" "Alt Folders/*""#), &odd, &odd_one);
    expect(|| make(r#""" "Shared Folders/%""#), &[], &[rows[6], rows[8]]);
}

const DOMAIN: &[(&str, &str, &str)] = &[
    ("example.org!news", "backend1", "anyone\tlrs\t"),
    ("example.org!user.user001", "backend2", "user001@example.org\tlrswipkxtecdan\t"),
    ("example.org!user.user001.Sub", "backend2", "user001@example.org\tlrswipkxtecdan\t"),
];

fn with_domains(args: &str) -> Host<ListTask> {
    let mut host = host(args);
    Arc::make_mut(&mut host.config.namespace).virtdomains = names::VirtDomains::UserId;
    host
}

#[test]
fn users_of_a_domain_see_their_own_as_recorded() {
    let make = |args: &str| {
        let mut host = with_domains(args);
        Arc::make_mut(&mut host.identity).user = (*b"user001@example.org").into();
        host
    };
    let rows = [
        r#"* LIST (\HasChildren) "." INBOX"#,
        r#"* LIST (\HasNoChildren) "." INBOX.Sub"#,
        r#"* LIST (\HasNoChildren) "." news"#,
    ];
    expect(|| make(r#""" *"#), DOMAIN, &rows);
    expect(|| make(r#""" %"#), DOMAIN, &[rows[0], rows[2]]);
    let own = [r#"* LIST (\HasChildren) "." INBOX.Work"#];
    expect(|| with_domains(r#""" INBOX.W%"#), DOMAIN, &own);
    expect(|| with_domains(r#""" news*"#), DOMAIN, &[]);
}

#[test]
fn administrators_see_domains_behind_names_and_children_below() {
    let rows = [
        r#"* LIST (\HasChildren) "." user.user001@example.org"#,
        r#"* LIST (\HasNoChildren) "." user.user001.Sub@example.org"#,
    ];
    expect(|| with_domains(r#""" *@example.org"#).admin(), &DOMAIN[1..], &rows);
    let shared = [rows[0], rows[1], r#"* LIST (\HasNoChildren) "." news@example.org"#];
    expect(|| with_domains(r#""" *@example.org"#).admin(), DOMAIN, &shared);
    let top = [
        r#"* LIST (\Noselect \HasChildren) "." user"#,
        r#"* LIST (\Noselect \HasChildren) "." DELETED"#,
        r#"* LIST (\HasChildren) "." team01"#,
        r#"* LIST (\HasChildren) "." team02"#,
    ];
    expect(|| with_domains(r#""" %"#).admin(), &[], &top);
}

#[test]
fn empty_pattern_tells_the_separator() {
    let lines = plain(host(r#""" """#), &[], 1);
    assert_eq!(lines, [r#"* LIST (\Noselect) "." """#, "A1 OK Completed"]);
}

#[test]
fn never_synced_list_is_unavailable() {
    let mut host = host(r#""" *"#);
    host.wants();
    let page = ListPage { entries: Vec::new(), next: None, knowledge: Knowledge::NeverSynced };
    let wants = host.news(News::Page(&page));
    assert_eq!(wants, ["C> A1 NO [UNAVAILABLE] mailbox temporarily unavailable\r\n", "done"]);
}

/// The home server: what user001 subscribed to.
fn home(host: &mut Host<ListTask>, want: &str) -> Vec<String> {
    match want {
        "find user.user001" => host.news(found("user.user001", "backend1", "")),
        "backend backend1" => host.news(News::Backend(Ok(BackendId(1)))),
        "B1> RK0 LSUB \"\" \"*\"\r\n" => {
            for line in [
                r#"(\HasChildren) "." INBOX"#,
                r#"() "." INBOX.Sent"#,
                r#"(\Noselect) "." team02"#,
                r#"(\Noselect) "." gone"#,
            ] {
                assert!(host.says(1, &format!("* LSUB {line}\r\n")).is_empty());
            }
            host.says(1, "RK0 OK Completed\r\n")
        }
        _ => panic!("unexpected {want}"),
    }
}

#[test]
fn subscribed_selection_as_recorded_with_the_lost_one_told() {
    let lines = run(host(r#"(SUBSCRIBED) "" "*""#), &[], usize::MAX, home);
    let rows = [
        r#"* LIST (\Subscribed \HasChildren) "." INBOX"#,
        r#"* LIST (\Subscribed \HasNoChildren) "." INBOX.Sent"#,
        r#"* LIST (\Subscribed \HasChildren) "." team02"#,
        r#"* LIST (\NonExistent \Subscribed) "." gone"#,
        "A1 OK Completed",
    ];
    assert_eq!(lines, rows);
    let lines = run(host(r#"(SUBSCRIBED RECURSIVEMATCH) "" "%""#), &[], usize::MAX, home);
    assert_eq!(lines[0], r#"* LIST (\Subscribed \HasChildren) "." INBOX (CHILDINFO ("SUBSCRIBED"))"#);
    assert_eq!(lines[1], r#"* LIST (\Subscribed \HasChildren) "." team02"#);
    let lines = run(host(r#""" "INBOX*" RETURN (SUBSCRIBED)"#), &[], usize::MAX, home);
    assert_eq!(lines[1], r#"* LIST (\HasNoChildren) "." INBOX.Drafts"#);
    assert_eq!(lines[2], r#"* LIST (\Subscribed \HasNoChildren) "." INBOX.Sent"#);
}

#[test]
fn subscriptions_without_a_home_server_are_unavailable() {
    let mut host = host(r#"(SUBSCRIBED) "" "*""#);
    assert_eq!(host.wants(), ["find user.user001"]);
    assert_eq!(host.news(News::Found(Finding::Unknown)), ["Recall"]);
    let wants = host.news(News::Kept(&HomeCopy::default()));
    assert_eq!(wants, ["C> A1 NO [UNAVAILABLE] Server(s) unavailable to complete operation\r\n", "done"]);
}

/// The home is away; what it told last.
fn away(host: &mut Host<ListTask>, want: &str) -> Vec<String> {
    let names = ["INBOX", "INBOX.Sent", "gone"].map(|name| name.as_bytes().into());
    let special = [((*b"INBOX.Sent").into(), (*b"\\Sent").into())];
    let copy = HomeCopy { subscribed: Some(names.into()), special: Some(special.into()) };
    match want {
        "find user.user001" => host.news(found("user.user001", "backend1", "")),
        "backend backend1" => host.news(News::Backend(Err(Unavailable))),
        "Recall" => host.news(News::Kept(&copy)),
        want => panic!("unexpected {want}"),
    }
}

#[test]
fn home_that_is_away_is_answered_for_by_what_it_told_last() {
    let at_home = |args| {
        let mut host = host(args);
        host.home = Some(b"backend1".to_vec());
        host
    };
    let lines = run(at_home(r#"(SUBSCRIBED) "" "*" RETURN (SPECIAL-USE)"#), &[], usize::MAX, away);
    let rows = [
        r#"* LIST (\Subscribed \HasChildren) "." INBOX"#,
        r#"* LIST (\Subscribed \HasNoChildren \Sent) "." INBOX.Sent"#,
        r#"* LIST (\NonExistent \Subscribed) "." gone"#,
        "A1 OK Completed with what server backend1 told last",
    ];
    assert_eq!(lines, rows);
    let lines = run(at_home(r#"(SPECIAL-USE) "" "*""#), &[], usize::MAX, away);
    assert_eq!(lines, [r#"* LIST (\HasNoChildren \Sent) "." INBOX.Sent"#, rows[3]]);
    let without = |host: &mut Host<ListTask>, want: &str| match want {
        "Recall" => host.news(News::Kept(&HomeCopy::default())),
        want => away(host, want),
    };
    let lines = run(at_home(r#""" INBOX RETURN (SPECIAL-USE)"#), &[], usize::MAX, without);
    assert_eq!(
        lines,
        [r#"* LIST (\HasChildren) "." INBOX"#, "A1 OK Completed without data of server backend1"]
    );
}

#[test]
fn home_that_says_nothing_or_dies_is_as_good_as_away() {
    for news in [News::Time, News::Lost(BackendId(1))] {
        let mut host = host(r#"(SUBSCRIBED) "" "*""#);
        host.wants();
        host.news(found("user.user001", "backend1", ""));
        host.news(News::Backend(Ok(BackendId(1))));
        assert_eq!(host.news(news).last().map(String::as_str), Some("Recall"));
    }
}

#[test]
fn special_uses_are_told_in_every_list_where_that_is_configured() {
    let always = |args| {
        let mut host = host(args);
        host.config.commands.special_use_always = true;
        host
    };
    let lines = run(always(r#""" "INBOX.S%""#), &[], usize::MAX, |host, want| match want {
        "find user.user001" => host.news(found("user.user001", "backend1", "")),
        "backend backend1" => host.news(News::Backend(Ok(BackendId(1)))),
        _ => {
            host.says(1, "* LIST (\\HasNoChildren \\Sent) \".\" INBOX.Sent\r\n");
            host.says(1, "RK1 OK Completed\r\n")
        }
    });
    assert_eq!(lines, [r#"* LIST (\HasNoChildren \Sent) "." INBOX.Sent"#, "A1 OK Completed"]);
    let shared = plain(always(r#""" "team01""#), &[], usize::MAX);
    assert_eq!(shared.len(), 2, "nobody is asked for what is not the user's own");
}

#[test]
fn subscription_in_a_disabled_namespace_is_not_told() {
    let mut host = host(r#"(SUBSCRIBED) "" "*""#);
    Arc::make_mut(&mut host.config.namespace).disable_shared = true;
    host.home = Some(b"backend1".to_vec());
    let names = ["INBOX", "team02", "user.gone"].map(|name| name.as_bytes().into());
    let copy = HomeCopy { subscribed: Some(names.into()), special: None };
    let lines = run(host, &[], usize::MAX, |host, want| match want {
        "Recall" => host.news(News::Kept(&copy)),
        want => away(host, want),
    });
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1], r#"* LIST (\NonExistent \Subscribed) "." user.gone"#);
}

#[test]
fn parent_without_a_row_tells_of_the_subscription_below() {
    let mut host = host(r#"(SUBSCRIBED RECURSIVEMATCH) "" "%""#);
    host.home = Some(b"backend1".to_vec());
    let names = ["user.joe.work", "user.joe", "team01"].map(|name| name.as_bytes().into());
    let copy = HomeCopy { subscribed: Some(names.into()), special: None };
    let lines = run(host, &[], usize::MAX, |host, want| match want {
        "Recall" => host.news(News::Kept(&copy)),
        want => away(host, want),
    });
    let rows = [
        r#"* LIST (\Subscribed \HasChildren) "." team01"#,
        r#"* LIST (\NonExistent \HasChildren) "." user (CHILDINFO ("SUBSCRIBED"))"#,
    ];
    assert_eq!(lines[..2], rows);
}

#[test]
fn what_all_servers_call_malformed_is_bad() {
    let asked = || {
        let mut host = host(r#""" "team0%" RETURN (STATUS (BOGUS))"#);
        host.wants();
        let query = host.task.walk.as_ref().and_then(Walk::poll_query).unwrap();
        let page = page(&host, &[], &query, usize::MAX);
        host.news(News::Page(&page));
        host.news(News::Backend(Ok(BackendId(1))));
        host.news(News::Backend(Ok(BackendId(2))));
        host
    };
    let mut all = asked();
    all.says(1, "RK2 BAD Invalid Status attributes bogus\r\n");
    let wants = all.says(2, "RK3 BAD Invalid Status attributes bogus\r\n");
    assert_eq!(wants, ["C> A1 BAD Invalid Status attributes bogus\r\n", "done"]);
    let mut one = asked();
    one.says(1, "RK2 BAD Invalid Status attributes bogus\r\n");
    let wants = one.says(2, "RK3 OK Completed\r\n");
    assert_eq!(wants, ["C> A1 OK Completed without data of server backend1\r\n", "done"]);
}

#[test]
fn status_comes_from_all_servers_of_rows_and_names_the_dead() {
    let mut told = Vec::new();
    let lines = run(host(r#""" "%" RETURN (STATUS (MESSAGES))"#), &[], usize::MAX, |host, want| match want {
        "backend backend1" => host.news(News::Backend(Ok(BackendId(1)))),
        "backend backend2" => host.news(News::Backend(Err(Unavailable))),
        "B1> RK2 LIST \"\" (\"%\") RETURN (STATUS (MESSAGES))\r\n" => {
            told.push("asked");
            let mut wants = host.says(1, "* LIST (\\HasChildren) \".\" INBOX\r\n");
            wants.extend(host.says(1, "* STATUS INBOX (MESSAGES 5)\r\n"));
            wants.extend(host.says(1, "RK2 OK Completed\r\n"));
            wants
        }
        want if want.starts_with("Wake") => Vec::new(),
        want => panic!("unexpected {want}"),
    });
    assert_eq!(told, ["asked"]);
    assert_eq!(
        lines[3..],
        ["* STATUS INBOX (MESSAGES 5)", "A1 OK Completed without data of server backend2"]
    );
}

#[test]
fn server_that_says_nothing_is_given_up_and_named() {
    let mut host = host(r#""" "team%" RETURN (STATUS (MESSAGES))"#);
    host.wants();
    let query = host.task.walk.as_ref().and_then(Walk::poll_query).unwrap();
    let page = page(&host, &[], &query, usize::MAX);
    host.news(News::Page(&page));
    host.news(News::Backend(Ok(BackendId(1))));
    host.news(News::Backend(Ok(BackendId(2))));
    assert!(host.says(2, "RK3 OK Completed\r\n").is_empty());
    let answer = "C> A1 OK Completed without data of server backend1\r\n";
    assert_eq!(host.news(News::Time), ["abandon B1", answer, "done"]);
}

#[test]
fn parent_that_is_no_mailbox_has_no_status() {
    let shared = [("user.user003", "backend1", "user001\tlr\t")];
    let lines =
        run(host(r#""" "us%" RETURN (STATUS (MESSAGES))"#), &shared, usize::MAX, |_, want| panic!("{want}"));
    assert_eq!(lines, [r#"* LIST (\NonExistent \HasChildren) "." user"#, "A1 OK Completed"]);
    let answer = |host: &mut Host<ListTask>, want: &str| match want {
        "backend backend1" => host.news(News::Backend(Ok(BackendId(1)))),
        want if want.starts_with("B1> ") => {
            let mut wants = host.says(1, "* STATUS user (MESSAGES 5)\r\n");
            wants.extend(host.says(1, "* STATUS {12}\r\nuser.user003 (MESSAGES 4)\r\n"));
            // So Cyrus tells what is below a place that has none itself.
            wants.extend(host.says(1, "* METADATA user.user003.a (\"/shared/x\" NIL)\r\n"));
            wants.extend(host.says(1, "RK2 OK Completed\r\n"));
            wants
        }
        want => panic_unless_wake(want),
    };
    let lines = run(host(r#""" ("us%" "user.%") RETURN (STATUS (MESSAGES))"#), &shared, usize::MAX, answer);
    assert_eq!(lines[2..], ["* STATUS {12}", "user.user003 (MESSAGES 4)", "A1 OK Completed"]);
}

fn panic_unless_wake(want: &str) -> Vec<String> {
    assert!(want.starts_with("Wake"), "unexpected {want}");
    Vec::new()
}

#[test]
fn rights_and_special_uses_stand_with_the_rows() {
    let answer = |host: &mut Host<ListTask>, want: &str| match want {
        "find user.user001" => host.news(found("user.user001", "backend1", "")),
        "backend backend1" => host.news(News::Backend(Ok(BackendId(1)))),
        want if want.starts_with("B1> RK1 LIST (SPECIAL-USE)") => {
            host.says(1, "* LIST (\\HasNoChildren \\Sent) \".\" INBOX.Sent\r\n");
            host.says(1, "RK1 OK Completed\r\n")
        }
        want => panic!("unexpected {want}"),
    };
    let lines =
        run(host(r#""" ("INBOX.S%" "team02") RETURN (SPECIAL-USE MYRIGHTS)"#), &[], usize::MAX, answer);
    let rows = [
        r#"* LIST (\HasNoChildren \Sent) "." INBOX.Sent"#,
        "* MYRIGHTS INBOX.Sent lrswipkxtecdan",
        r#"* LIST (\HasChildren) "." team02"#,
        "* MYRIGHTS team02 lrswipkxtecd",
        "A1 OK Completed",
    ];
    assert_eq!(lines, rows);
}

#[test]
fn long_answers_wait_for_the_client() {
    let owned: Vec<String> = (0..2000).map(|n| format!("team01.folder-with-a-long-name-{n:04}")).collect();
    let extra: Vec<_> = owned.iter().map(|name| (name.as_str(), "backend1", "anyone\tlrs\t")).collect();
    let lines = plain(host(r#""" team01.folder*"#), &extra, 300);
    assert_eq!(lines.len(), 2001);
}

#[test]
fn reserved_names_are_listed_to_administrators_alone() {
    let asks_for = |is_admin| {
        let who = Identity { is_admin, user: (*b"user001").into(), ..Identity::default() };
        let patterns = vec![Pattern::new(b"", b"*", b'.')];
        let walk = Walk::new(patterns, Arc::default(), Arc::new(who), Dav::Hidden);
        walk.poll_query().unwrap().reserved
    };
    assert_eq!(asks_for(false), Reserved::Hidden);
    assert_eq!(asks_for(true), Reserved::Shown);
}

#[test]
fn home_is_looked_up_anew_for_every_list_that_asks_it() {
    let args = list_args(b"(SUBSCRIBED) \"\" *").unwrap();
    let mut host = Host::new(ListTask::new(Word::List, &args));
    host.home = Some(b"backend1".to_vec());
    assert_eq!(host.wants(), ["find user.user001"]);
    assert_eq!(host.news(found("user.user001", "backend2", "")), ["backend backend2"], "he was moved");
    let mut unknown = Host::new(ListTask::new(Word::List, &args));
    unknown.home = Some(b"backend1".to_vec());
    unknown.wants();
    assert_eq!(unknown.news(News::Found(Finding::Unknown)), ["backend backend1"]);
}

/// A LIST with STATUS where backend2 does not know LIST-STATUS.
fn beside_an_old_server(args: &str) -> Host<ListTask> {
    let mut host = host(args);
    let old = Offer::read(b"IMAP4rev1 LITERAL+ LIST-EXTENDED LIST-METADATA");
    host.backends[1] = Backend::ready_for_test(BackendId(2), b"backend2", old);
    host
}

#[test]
fn server_without_list_status_is_asked_for_one_mailbox_after_another() {
    let host = beside_an_old_server(r#""" ("team0%" "team02*") RETURN (STATUS (MESSAGES))"#);
    let lines = run(host, &[], usize::MAX, |host, want| match want {
        "backend backend1" => host.news(News::Backend(Ok(BackendId(1)))),
        "backend backend2" => host.news(News::Backend(Ok(BackendId(2)))),
        "B1> RK2 LIST \"\" (\"team0%\" \"team02*\") RETURN (STATUS (MESSAGES))\r\n" => {
            let mut wants = host.says(1, "* LIST () \".\" team01\r\n");
            assert_eq!(host.line(1, "* STATUS team01 (MESSAGES 1)\r\n").0, Line::Relay);
            wants.extend(host.says(1, "RK2 OK Completed\r\n"));
            wants
        }
        "B2> RK1000 LIST \"\" \"team0%\"\r\n" => {
            let mut wants = host.says(2, "* LIST (\\HasChildren) \".\" team02\r\n");
            wants.extend(host.says(2, "* LIST (\\Noselect) \".\" team0x\r\n"));
            wants.extend(host.says(2, "RK1000 OK Completed\r\n"));
            wants
        }
        "B2> RK1001 LIST \"\" \"team02*\"\r\n" => {
            let mut wants = host.says(2, "* LIST (\\HasChildren) \".\" team02\r\n");
            wants.extend(host.says(2, "* LIST () \".\" team02.docs\r\n"));
            wants.extend(host.says(2, "RK1001 OK Completed\r\n"));
            wants
        }
        "B2> RK1002 STATUS team02 (MESSAGES)\r\n" => {
            assert_eq!(host.line(2, "* STATUS team02 (MESSAGES 2)\r\n").0, Line::Relay);
            host.says(2, "RK1002 OK Completed\r\n")
        }
        "B2> RK1003 STATUS team02.docs (MESSAGES)\r\n" => host.says(2, "RK1003 NO Permission denied\r\n"),
        other => panic!("{other}"),
    });
    assert_eq!(lines.last().map(String::as_str), Some("A1 OK Completed"));
}

#[test]
fn server_without_list_status_that_dies_is_named() {
    let host = beside_an_old_server(r#""" "team02" RETURN (STATUS (MESSAGES) METADATA (/private/comment))"#);
    let lines = run(host, &[], usize::MAX, |host, want| match want {
        "backend backend2" => host.news(News::Backend(Ok(BackendId(2)))),
        "B2> RK1000 LIST \"\" team02\r\n" => host.news(News::Lost(BackendId(2))),
        other => panic!("{other}"),
    });
    let last = "A1 OK Completed without data of server backend2";
    assert_eq!(lines.last().map(String::as_str), Some(last));
}

#[test]
fn server_without_list_status_is_asked_few_questions_at_a_time() {
    let mut host = beside_an_old_server(r#""" "team02*" RETURN (STATUS (MESSAGES))"#);
    assert_eq!(host.wants().len(), 1, "a page of the list");
    let rows = ListPage {
        entries: vec![ListedEntry {
            entry: entry("team02", "backend2", "anyone\tlrs\t"),
            reserved: false,
            rights: Rights::ALL,
        }],
        next: None,
        knowledge: Knowledge::Live,
    };
    host.news(News::Page(&rows));
    host.news(News::Backend(Ok(BackendId(2))));
    for n in 0..40 {
        assert_eq!(host.line(2, &format!("* LIST () \".\" team02.n{n:02}\r\n")).0, Line::Drop);
    }
    let asked = host.says(2, "RK1000 OK Completed\r\n");
    assert_eq!(asked.len(), 16, "{asked:?}");
    let next = host.says(2, "RK1001 OK Completed\r\n");
    assert_eq!(next, ["B2> RK1017 STATUS team02.n16 (MESSAGES)\r\n"]);
}

#[test]
fn stupid_clients_are_fooled_only_without_a_reference() {
    let fooled = |args: &str| {
        let mut host = host(args);
        host.config.commands.fool_stupid_clients = true;
        host
    };
    let drafts = r#"* LIST (\HasNoChildren) "." INBOX.Drafts"#;
    let lines = plain(fooled(r#""INBOX." "*""#), &[], usize::MAX);
    assert!(lines.iter().any(|line| line == drafts), "{lines:?}");
    let lines = plain(fooled(r#""" "*""#), &[], usize::MAX);
    assert!(lines.iter().any(|line| line == drafts) && !lines.iter().any(|line| line.contains("team")));
}

#[test]
fn reference_counts_before_a_separator_even_where_it_is_ignored() {
    let ignoring = |args: &str| {
        let mut host = host(args);
        host.config.commands.ignore_reference = true;
        host
    };
    expect(|| ignoring(r#""team01" ".docs""#), &[], &[r#"* LIST (\HasNoChildren) "." team01.docs"#]);
    expect(|| ignoring(r#""nosuch." "team01""#), &[], &[r#"* LIST (\HasChildren) "." team01"#]);
}

#[test]
fn deleted_mailboxes_are_shown_to_users_that_ask() {
    let args = r#"(VENDOR.CMU-INCLUDE-DELETED) "" "DELETED.*""#;
    let rows = [
        r#"* LIST (\HasNoChildren) "." DELETED.team02.old.6B0206B0"#,
        r#"* LIST (\HasNoChildren) "." DELETED.user.user001.Direct.6B0206B0"#,
    ];
    expect(|| host(args), &[], &rows);
    expect(|| host(r#""" "DELETED.*""#), &[], &[]);
    let alternate = || {
        let mut host = host(args);
        Arc::make_mut(&mut host.config.namespace).alt = true;
        host
    };
    expect(alternate, &[], &[]);
}

/// A folder of the user's own that lies on another server than his home.
const AWAY: &[(&str, &str, &str)] = &[("user.user001.Away", "backend2", "user001\tlrswipkxtecdan\t")];

fn with_a_folder_away(told: &str) -> Vec<String> {
    let told = told.to_owned();
    let asked = host(r#""" "INBOX.%" RETURN (SPECIAL-USE)"#);
    run(asked, AWAY, usize::MAX, move |host, want| match want {
        "backend backend2" if told.is_empty() => host.news(News::Backend(Err(Unavailable))),
        "backend backend2" => host.news(News::Backend(Ok(BackendId(2)))),
        "find user.user001" => host.news(found("user.user001", "backend1", "")),
        "backend backend1" => host.news(News::Backend(Ok(BackendId(1)))),
        "B1> RK1 LIST (SPECIAL-USE) \"\" \"*\" RETURN (SPECIAL-USE)\r\n" => {
            let mut wants = host.says(1, "* LIST (\\Sent) \".\" INBOX.Sent\r\n");
            wants.extend(host.says(1, "RK1 OK Completed\r\n"));
            wants
        }
        "B2> RK1 LIST (SPECIAL-USE) \"\" \"*\" RETURN (SPECIAL-USE)\r\n" => {
            let mut wants = host.says(2, "* LIST (\\Archive) \".\" INBOX.Away\r\n");
            wants.extend(host.says(2, &told));
            wants
        }
        want => panic_unless_wake(want),
    })
}

#[test]
fn special_use_of_a_folder_away_from_home_is_told_by_its_server() {
    let lines = with_a_folder_away("RK1 OK Completed\r\n");
    assert!(lines.contains(&r#"* LIST (\HasNoChildren \Archive) "." INBOX.Away"#.to_owned()), "{lines:?}");
    assert!(lines.contains(&r#"* LIST (\HasNoChildren \Sent) "." INBOX.Sent"#.to_owned()), "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("A1 OK Completed"));
}

#[test]
fn folder_whose_server_is_away_has_a_row_and_the_server_is_named() {
    for told in ["", "RK1 NO no\r\n"] {
        let lines = with_a_folder_away(told);
        assert_eq!(lines.iter().filter(|line| line.contains("INBOX.Away")).count(), 1, "{lines:?}");
        let last = "A1 OK Completed without data of server backend2";
        assert_eq!(lines.last().map(String::as_str), Some(last));
    }
}
