//! Which rows there are, and how they are written.

use super::*;

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
